//! Where an account's energy came from, through the distribution and through every sale.
//!
//! Nothing of it is stored (ADR 0003): it follows from lots, entries and sales.

use alloc::{collections::BTreeMap, vec::Vec};

use commonwatt_primitives::{MeterId, Step, Wh, split::trace_lots_of, traits::Sales};

use crate::{Config, Lot, Lots, Pallet, StepSummaries, Trace, VgmEntry};

/// Energy by the generator that made it.
type Origins = Vec<(MeterId, Wh)>;

/// What is known of a step.
struct StepDetail<AccountId> {
    lots: Vec<Lot<AccountId>>,
    shared_lots: Vec<u64>,
    entries: Vec<(AccountId, VgmEntry)>,
    parts: Vec<u64>,
}

/// What a buyer got from one seller.
#[derive(Default)]
struct Purchase {
    from: BTreeMap<MeterId, Wh>,
    outer_grid: Wh,
}

impl<T: Config> Pallet<T> {
    /// Returns from which generators an account's energy of a step came; `None` when the account has
    /// no entry, the step is not kept, or nobody knows any more who traded with whom.
    ///
    /// The shared parts of the lots are traced to the members in the order of their account ids, see
    /// [`trace_lots_of`]; a rest and a loss belong to the generator they are part of. What a member sold is
    /// traced to its buyers in the same way, in the order of the sales.
    pub fn trace(step: Step, member: &T::AccountId) -> Option<Trace<T::AccountId>> {
        let summary = StepSummaries::<T>::get(step)?;
        let detail = Self::step_detail(step)?;
        let position = detail.position(member)?;
        let (_, entry) = detail.entries.get(position)?;
        let purchases = Self::trace_purchases(step, &detail, member)?;
        Some(Trace {
            step,
            version: summary.version,
            member: member.clone(),
            allocated: Wh::checked_sum([entry.shared, entry.rest, entry.lost])?,
            from: detail.origins(position)?,
            bought: entry.bought,
            bought_from: purchases.from.into_iter().collect(),
            bought_from_outer_grid: purchases.outer_grid,
            sold: entry.sold,
            net_wh: entry.net_wh(),
        })
    }

    fn step_detail(step: Step) -> Option<StepDetail<T::AccountId>> {
        let lots = Lots::<T>::get(step).into_inner();
        let entries = Self::allocations(step);
        Some(StepDetail {
            shared_lots: lots
                .iter()
                .map(|lot| Some(lot.shared()?.0))
                .collect::<Option<_>>()?,
            parts: entries.iter().map(|(_, entry)| entry.shared.0).collect(),
            lots,
            entries,
        })
    }

    fn trace_purchases(
        step: Step,
        detail: &StepDetail<T::AccountId>,
        buyer: &T::AccountId,
    ) -> Option<Purchase> {
        let mut by_seller = BTreeMap::<T::AccountId, Vec<(bool, u64)>>::new();
        for sale in T::Sales::sales_of(step)? {
            let is_own = sale.buyer == *buyer;
            by_seller
                .entry(sale.seller)
                .or_default()
                .push((is_own, sale.energy.0));
        }
        let mut purchase = Purchase::default();
        for (seller, sales) in by_seller {
            if sales.iter().any(|(is_own, _)| *is_own) {
                detail.add_sales(&seller, &sales, &mut purchase)?;
            }
        }
        Some(purchase)
    }
}

impl<AccountId: Ord> StepDetail<AccountId> {
    fn position(&self, who: &AccountId) -> Option<usize> {
        self.entries
            .binary_search_by(|(other, _)| other.cmp(who))
            .ok()
    }

    /// Returns how much of what an account was allocated, or of what was lost, each generator made.
    fn origins(&self, position: usize) -> Option<Origins> {
        let (who, entry) = self.entries.get(position)?;
        let row = trace_lots_of(&self.shared_lots, &self.parts, position)?;
        self.lots
            .iter()
            .zip(row)
            .map(|(lot, shared)| {
                let rest = if lot.beneficiary == *who {
                    lot.rest
                } else {
                    Wh::ZERO
                };
                // Only the loss account has an entry with losses.
                let loss = if entry.lost.is_zero() {
                    Wh::ZERO
                } else {
                    lot.loss
                };
                Some((lot.meter, Wh::checked_sum([Wh(shared), rest, loss])?))
            })
            .filter(|from| from.is_none_or(|(_, energy)| !energy.is_zero()))
            .collect()
    }

    /// Adds what a buyer got of a seller's `sales`, in each of which it says whether the buyer is meant.
    ///
    /// What the seller was allocated is handed out to its sales and, last, to itself. What it lacks for them, since
    /// a correction, is a lot of the outer grid.
    fn add_sales(
        &self,
        seller: &AccountId,
        sales: &[(bool, u64)],
        purchase: &mut Purchase,
    ) -> Option<()> {
        let origins = match self.position(seller) {
            Some(position) => self.origins(position)?,
            None => Vec::new(),
        };
        let allocated = Wh::checked_sum(origins.iter().map(|&(_, energy)| energy))?.0;
        let sold = Wh::checked_sum(sales.iter().map(|&(_, energy)| Wh(energy)))?.0;
        let mut lots: Vec<u64> = origins.iter().map(|(_, energy)| energy.0).collect();
        lots.push(sold.saturating_sub(allocated));
        let mut parts: Vec<u64> = sales.iter().map(|&(_, energy)| energy).collect();
        parts.push(allocated.saturating_sub(sold));
        for (position, _) in sales.iter().enumerate().filter(|(_, (is_own, _))| *is_own) {
            let mut row = trace_lots_of(&lots, &parts, position)?;
            purchase.outer_grid = purchase.outer_grid.checked_add(Wh(row.pop()?))?;
            for ((meter, _), part) in origins.iter().zip(row) {
                if part > 0 {
                    let from = purchase.from.entry(*meter).or_default();
                    *from = from.checked_add(Wh(part))?;
                }
            }
        }
        Some(())
    }
}
