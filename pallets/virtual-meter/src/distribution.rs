//! One run of a step's distribution: lots in, virtual generation meters out (PROTOCOL 3, 4).
//!
//! A run is computed whole before anything is written. The first run and every later one are the same
//! code: the first starts from nothing, a later one from what is kept of the step, and only what differs
//! is written, issued and told.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{fmt::Debug, marker::PhantomData};

use commonwatt_primitives::{
    MeterId, MeterKind, Month, Step, Wh,
    metering::MeterInfo,
    traits::{MarketClock, Meters, Readings},
};
use frame_support::{BoundedVec, traits::Get};

use crate::{
    Agreement, Agreements, Config, Event, LOG_TARGET, LastRun, Lots, MonthTotals, Pallet,
    Retention, Schedule, StepSummaries, StorageBalances, StorageMoves, TokensPerWh,
    allocation::{Allocation, Cap, allocate_pro_rata, allocate_static, compute_loss, split_rest},
    storage::{Effect, compute_credit, compute_stored, replace_effect},
    types::{
        Key, Lot, MonthTotal, Refusal, RunSize, Scheduled, StepSummary, StorageMove, VgmEntry,
    },
};

type AgreementOf<T> =
    Agreement<<T as frame_system::Config>::AccountId, <T as Config>::MaxParticipants>;
type EntriesOf<T> = BTreeMap<<T as frame_system::Config>::AccountId, VgmEntry>;

/// The agreements that the runs of one block need, each read once.
pub(crate) struct AgreementBook<T: Config> {
    schedule: Vec<Scheduled>,
    open: Option<(u32, AgreementOf<T>)>,
}

impl<T: Config> AgreementBook<T> {
    pub(crate) fn new() -> Self {
        Self {
            schedule: Schedule::<T>::get().into_inner(),
            open: None,
        }
    }

    /// Returns the agreement in force in `step`, with its version.
    pub(crate) fn in_force(&mut self, step: Step) -> Option<&(u32, AgreementOf<T>)> {
        let version = self
            .schedule
            .iter()
            .rev()
            .find(|entry| entry.effective_from <= step)?
            .version;
        if self.open.as_ref().is_none_or(|(open, _)| *open != version) {
            self.open = Agreements::<T>::get(version).map(|agreement| (version, agreement));
        }
        self.open.as_ref()
    }
}

/// What the readings of a step say, sorted by what is done with them.
struct Inputs<AccountId> {
    meters: u32,
    injections: Vec<Injection<AccountId>>,
    consumption: BTreeMap<AccountId, Wh>,
    charges: Vec<Charge<AccountId>>,
}

struct Injection<AccountId> {
    meter: MeterId,
    energy: Wh,
    info: MeterInfo<AccountId>,
}

struct Charge<AccountId> {
    storage: MeterId,
    energy: Wh,
    info: MeterInfo<AccountId>,
}

/// A discharge that a storage did not cover.
struct Uncovered {
    meter: MeterId,
    reported: Wh,
    credited: Wh,
}

/// An account whose entry a run changes.
struct Change<AccountId> {
    who: AccountId,
    before: VgmEntry,
    after: VgmEntry,
    month_total: MonthTotal,
}

/// What a run will write.
struct Run<T: Config> {
    step: Step,
    month: Month,
    size: RunSize,
    summary: StepSummary,
    lots: BoundedVec<Lot<T::AccountId>, T::MaxMeters>,
    moves: BoundedVec<StorageMove, T::MaxMeters>,
    had_moves: bool,
    balances: Vec<(MeterId, i128)>,
    uncovered: Vec<Uncovered>,
    changes: Vec<Change<T::AccountId>>,
}

impl<T: Config> Pallet<T> {
    /// Distributes a step, for the first time or again.
    ///
    /// A step that cannot be distributed is left as it is, and an event says why: one step that is
    /// wrong must not keep the chain from making blocks.
    pub(crate) fn distribute(step: Step, book: &mut AgreementBook<T>) {
        match Self::compute_run(step, book) {
            Ok(run) => Self::write_run(run),
            Err(reason) => {
                tracing::error!(target: LOG_TARGET, %step, ?reason, "step not distributed");
                Self::deposit_event(Event::DistributionRefused { step, reason });
            }
        }
    }

    fn compute_run(step: Step, book: &mut AgreementBook<T>) -> Result<Run<T>, Refusal> {
        if T::Clock::current_step().since(step) >= Retention::<T>::get() {
            return Err(Refusal::Expired);
        }
        let agreement = book.in_force(step);
        let before = StepSummaries::<T>::get(step);
        let (entries_before, moves_before) = match before {
            Some(_) => (Self::entries(step), StorageMoves::<T>::get(step)),
            None => Default::default(),
        };

        let inputs = Self::gather_inputs(step)?;
        let mut storages = StorageLedger::<T>::new(&moves_before);
        let mut lots = Self::compute_lots(&inputs, agreement, &mut storages)?;
        let mut entries = Self::compute_entries(&inputs, agreement, &mut lots)?;
        keep_trades(&entries_before, &mut entries);
        storages.store_charges(&inputs.charges, &entries)?;

        let version = before.map_or(1, |before| before.version.saturating_add(1));
        let agreement = agreement.map(|(version, _)| *version);
        let summary = summarize(version, agreement, &lots, &entries).ok_or(Refusal::Overflow)?;
        verify_conservation(&summary, &lots)?;

        let month = T::Clock::month_of(step);
        Ok(Run {
            step,
            month,
            size: RunSize {
                meters: inputs.meters,
                accounts: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            },
            summary,
            lots: lots.try_into().map_err(|_| Refusal::TooManyMeters)?,
            moves: storages
                .moves()
                .try_into()
                .map_err(|_| Refusal::TooManyMeters)?,
            had_moves: !moves_before.is_empty(),
            balances: storages.balances()?,
            uncovered: storages.uncovered,
            changes: Self::compute_changes(month, entries_before, entries)?,
        })
    }

    /// Sorts the readings of a step by what is done with them.
    fn gather_inputs(step: Step) -> Result<Inputs<T::AccountId>, Refusal> {
        let readings = T::Readings::readings_of(step);
        let mut inputs = Inputs {
            meters: u32::try_from(readings.len()).unwrap_or(u32::MAX),
            injections: Vec::new(),
            consumption: BTreeMap::new(),
            charges: Vec::new(),
        };
        for reading in readings {
            let Some(info) = T::Registry::meter_at(reading.meter, step) else {
                // Only registered meters can report, and a meter is never forgotten.
                tracing::error!(target: LOG_TARGET, meter = %reading.meter, "meter unknown");
                continue;
            };
            if info.kind.is_generation() {
                let injection = Injection {
                    meter: reading.meter,
                    energy: reading.energy,
                    info,
                };
                inputs.injections.push(injection);
                continue;
            }
            let consumed = inputs.consumption.entry(info.owner.clone()).or_default();
            *consumed = consumed
                .checked_add(reading.energy)
                .ok_or(Refusal::Overflow)?;
            if let (MeterKind::StorageCharge, Some(storage)) = (info.kind, info.storage_pair) {
                inputs.charges.push(Charge {
                    storage,
                    energy: reading.energy,
                    info,
                });
            }
        }
        Ok(inputs)
    }

    /// Returns the lots of a step, before anything is known of their rests.
    ///
    /// Without an agreement there is no loss account, so nothing is taken off.
    fn compute_lots(
        inputs: &Inputs<T::AccountId>,
        agreement: Option<&(u32, AgreementOf<T>)>,
        storages: &mut StorageLedger<T>,
    ) -> Result<Vec<Lot<T::AccountId>>, Refusal> {
        let mut lots = Vec::with_capacity(inputs.injections.len());
        for Injection {
            meter,
            energy,
            info,
        } in &inputs.injections
        {
            let energy = match info.kind {
                MeterKind::StorageDischarge => storages.credit(*meter, *energy),
                _ => *energy,
            };
            if !energy.is_zero() {
                lots.push(Lot {
                    meter: *meter,
                    energy,
                    loss: agreement.map_or(Wh::ZERO, |_| compute_loss(energy, info.loss)),
                    rest: Wh::ZERO,
                    beneficiary: info.beneficiary.clone(),
                });
            }
        }
        Ok(lots)
    }

    /// Gives the lots to the accounts: by the key to the participants, the rest to the beneficiaries,
    /// the losses to the loss account. Writes into each lot how much of it is rest.
    fn compute_entries(
        inputs: &Inputs<T::AccountId>,
        agreement: Option<&(u32, AgreementOf<T>)>,
        lots: &mut [Lot<T::AccountId>],
    ) -> Result<EntriesOf<T>, Refusal> {
        let mut entries = EntriesOf::<T>::new();
        for (who, &consumed) in &inputs.consumption {
            entries.entry(who.clone()).or_default().consumption = Some(consumed);
        }
        let injections: Vec<Wh> = lots
            .iter()
            .map(Lot::shared)
            .collect::<Option<_>>()
            .ok_or(Refusal::Overflow)?;
        let pool = Wh::checked_sum(injections.iter().copied()).ok_or(Refusal::Overflow)?;
        let mut rest = pool;
        if let Some((_, agreement)) = agreement {
            let allocation = compute_allocation(pool, &agreement.key, &inputs.consumption)
                .ok_or(Refusal::Overflow)?;
            rest = allocation.rest;
            let participants = agreement
                .key
                .participants()
                .into_iter()
                .zip(allocation.parts);
            for (who, part) in participants.filter(|(_, part)| !part.is_zero()) {
                entries.entry(who.clone()).or_default().shared = part;
            }
            let losses = Wh::checked_sum(lots.iter().map(|lot| lot.loss));
            let losses = losses.ok_or(Refusal::Overflow)?;
            if !losses.is_zero() {
                entries
                    .entry(agreement.loss_account.clone())
                    .or_default()
                    .lost = losses;
            }
        }
        let rests = split_rest(rest, &injections).ok_or(Refusal::OutputsDifferFromInputs)?;
        for (lot, rest) in lots
            .iter_mut()
            .zip(rests)
            .filter(|(_, rest)| !rest.is_zero())
        {
            lot.rest = rest;
            let entry = entries.entry(lot.beneficiary.clone()).or_default();
            entry.rest = entry.rest.checked_add(rest).ok_or(Refusal::Overflow)?;
        }
        Ok(entries)
    }

    /// Returns the accounts whose entry differs. Trades stay as they are.
    fn compute_changes(
        month: Month,
        mut before: EntriesOf<T>,
        after: EntriesOf<T>,
    ) -> Result<Vec<Change<T::AccountId>>, Refusal> {
        let mut changes = Vec::with_capacity(after.len());
        let mut compare = |who: T::AccountId, before: VgmEntry, after: VgmEntry| {
            let after = VgmEntry {
                bought: before.bought,
                sold: before.sold,
                ..after
            };
            if before != after {
                let month_total = MonthTotals::<T>::get(month, &who)
                    .replace(&before, &after)
                    .ok_or(Refusal::Overflow)?;
                changes.push(Change {
                    who,
                    before,
                    after,
                    month_total,
                });
            }
            Ok(())
        };
        for (who, entry) in after {
            let entry_before = before.remove(&who).unwrap_or_default();
            compare(who, entry_before, entry)?;
        }
        for (who, entry_before) in before {
            compare(who, entry_before, VgmEntry::default())?;
        }
        changes.sort_unstable_by(|a, b| a.who.cmp(&b.who));
        Ok(changes)
    }

    fn write_run(run: Run<T>) {
        let Run {
            step,
            summary,
            size,
            ..
        } = run;
        StepSummaries::<T>::insert(step, summary);
        Lots::<T>::insert(step, run.lots);
        if run.had_moves || !run.moves.is_empty() {
            StorageMoves::<T>::insert(step, run.moves);
        }
        for (storage, balance) in run.balances {
            StorageBalances::<T>::insert(storage, balance);
        }
        Self::write_entries(
            step,
            run.changes.iter().map(|change| (&change.who, change.after)),
        );
        for Change {
            who, month_total, ..
        } in &run.changes
        {
            MonthTotals::<T>::insert(run.month, who, month_total);
        }
        let StepSummary {
            version,
            generated,
            shared,
            rest,
            ..
        } = summary;
        let is_first = version == 1;
        if is_first {
            LastRun::<T>::mutate(|last| *last = size.or_fallen_from(*last));
        }

        for Uncovered {
            meter,
            reported,
            credited,
        } in run.uncovered
        {
            Self::deposit_event(Event::DischargeNotCovered {
                step,
                meter,
                reported,
                credited,
            });
        }
        Self::deposit_event(if is_first {
            let members = size.accounts;
            Event::StepDistributed {
                step,
                version,
                generated,
                shared,
                rest,
                members,
            }
        } else {
            Event::StepCorrected {
                step,
                version,
                generated,
                shared,
                rest,
            }
        });
        let tokens_per_wh = TokensPerWh::<T>::get();
        for Change {
            who, before, after, ..
        } in run.changes
        {
            let (from, to) = (before.net_wh(), after.net_wh());
            if !is_first && from != to {
                let member = who.clone();
                Self::deposit_event(Event::VgmCorrected {
                    step,
                    member,
                    from,
                    to,
                });
            }
            // Each is at most what the step generated, which fits.
            if let (Some(before), Some(after)) = (before.allocated(), after.allocated()) {
                Self::adjust_voting_tokens(&who, before, after, tokens_per_wh);
            }
        }
    }
}

/// Takes the trades of an earlier run over: what was sold no longer covers a charge, what was bought does.
fn keep_trades<AccountId: Clone + Ord>(
    before: &BTreeMap<AccountId, VgmEntry>,
    entries: &mut BTreeMap<AccountId, VgmEntry>,
) {
    let traded = before
        .iter()
        .filter(|(_, entry)| !entry.bought.is_zero() || !entry.sold.is_zero());
    for (who, &VgmEntry { bought, sold, .. }) in traded {
        let entry = entries.entry(who.clone()).or_default();
        (entry.bought, entry.sold) = (bought, sold);
    }
}

/// Applies the key; `None` when the numbers do not fit.
fn compute_allocation<AccountId, Max>(
    pool: Wh,
    key: &Key<AccountId, Max>,
    consumption: &BTreeMap<AccountId, Wh>,
) -> Option<Allocation>
where
    AccountId: Clone + Debug + Ord,
    Max: Get<u32>,
{
    let consumption: Vec<Wh> = key
        .participants()
        .into_iter()
        .map(|who| consumption.get(who).copied().unwrap_or_default())
        .collect();
    match key {
        Key::Static { capped, shares } => {
            let shares: Vec<_> = shares.iter().map(|&(_, share)| share).collect();
            let cap = if *capped { Cap::Consumption } else { Cap::None };
            allocate_static(pool, &shares, &consumption, cap)
        }
        Key::ProRata { .. } => allocate_pro_rata(pool, &consumption),
    }
}

/// Returns the step in figures; `None` when a sum does not fit.
fn summarize<AccountId>(
    version: u32,
    agreement: Option<u32>,
    lots: &[Lot<AccountId>],
    entries: &BTreeMap<AccountId, VgmEntry>,
) -> Option<StepSummary> {
    let total = |part: fn(&VgmEntry) -> Wh| Wh::checked_sum(entries.values().map(part));
    Some(StepSummary {
        version,
        generated: Wh::checked_sum(lots.iter().map(|lot| lot.energy))?,
        losses: total(|entry| entry.lost)?,
        shared: total(|entry| entry.shared)?,
        rest: total(|entry| entry.rest)?,
        consumption: total(|entry| entry.consumption.unwrap_or_default())?,
        agreement,
    })
}

/// Checks that outputs equal inputs to the last Wh, for the step and for each generator.
fn verify_conservation<AccountId>(
    summary: &StepSummary,
    lots: &[Lot<AccountId>],
) -> Result<(), Refusal> {
    let outputs = Wh::checked_sum([summary.losses, summary.shared, summary.rest]);
    let shared_of_lots = lots
        .iter()
        .map(Lot::shared)
        .try_fold(Wh::ZERO, |sum, shared| sum.checked_add(shared?));
    if outputs == Some(summary.generated) && shared_of_lots == Some(summary.shared) {
        Ok(())
    } else {
        Err(Refusal::OutputsDifferFromInputs)
    }
}

/// What a run does to the storages: the effects before it, and those after it.
struct StorageLedger<T: Config> {
    effects: BTreeMap<MeterId, (Effect, Effect)>,
    charged: BTreeMap<MeterId, Wh>,
    uncovered: Vec<Uncovered>,
    _config: PhantomData<T>,
}

impl<T: Config> StorageLedger<T> {
    fn new(moves_before: &[StorageMove]) -> Self {
        let effects = moves_before.iter().map(
            |&StorageMove {
                 storage,
                 credited,
                 stored,
                 charged: _,
             }| { (storage, (Effect { credited, stored }, Effect::default())) },
        );
        Self {
            effects: effects.collect(),
            charged: BTreeMap::new(),
            uncovered: Vec::new(),
            _config: PhantomData,
        }
    }

    /// Returns how much of a discharge the storage covers.
    fn credit(&mut self, storage: MeterId, reported: Wh) -> Wh {
        let (before, after) = self.effects.entry(storage).or_default();
        let credited = compute_credit(reported, StorageBalances::<T>::get(storage), *before);
        after.credited = credited;
        if credited < reported {
            self.uncovered.push(Uncovered {
                meter: storage,
                reported,
                credited,
            });
        }
        credited
    }

    /// Stores of each charge what the lots of its owner covered.
    fn store_charges(
        &mut self,
        charges: &[Charge<T::AccountId>],
        entries: &EntriesOf<T>,
    ) -> Result<(), Refusal> {
        for charge in charges {
            let owner = entries.get(&charge.info.owner).copied().unwrap_or_default();
            let (_, after) = self.effects.entry(charge.storage).or_default();
            after.stored = compute_stored(
                charge.energy,
                owner.coverage(),
                owner.consumption.unwrap_or_default(),
                charge.info.efficiency,
            )
            .and_then(|stored| after.stored.checked_add(stored))
            .ok_or(Refusal::Overflow)?;
            let charged = self.charged.entry(charge.storage).or_default();
            *charged = charged
                .checked_add(charge.energy)
                .ok_or(Refusal::Overflow)?;
        }
        Ok(())
    }

    /// Returns what the step did to each storage.
    fn moves(&self) -> Vec<StorageMove> {
        let moves = self.effects.iter().map(|(&storage, &(_, after))| {
            let Effect { credited, stored } = after;
            let charged = self.charged.get(&storage).copied().unwrap_or_default();
            StorageMove {
                storage,
                credited,
                stored,
                charged,
            }
        });
        moves
            .filter(|one| {
                [one.credited, one.stored, one.charged]
                    .iter()
                    .any(|wh| !wh.is_zero())
            })
            .collect()
    }

    /// Returns the balances that change.
    fn balances(&self) -> Result<Vec<(MeterId, i128)>, Refusal> {
        let changed = self
            .effects
            .iter()
            .filter(|(_, (before, after))| before != after);
        changed
            .map(|(&storage, &(before, after))| {
                let balance = StorageBalances::<T>::get(storage);
                let balance = replace_effect(balance, before, after).ok_or(Refusal::Overflow)?;
                Ok((storage, balance))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn lots(rest: u64) -> Vec<Lot<u64>> {
        let meter = MeterId(1);
        vec![Lot {
            meter,
            energy: Wh(100),
            loss: Wh(10),
            rest: Wh(rest),
            beneficiary: 7,
        }]
    }

    fn entries(shared: u64, rest: u64) -> BTreeMap<u64, VgmEntry> {
        let (shared, rest, lost) = (Wh(shared), Wh(rest), Wh(10));
        BTreeMap::from([
            (
                1,
                VgmEntry {
                    shared,
                    ..Default::default()
                },
            ),
            (
                7,
                VgmEntry {
                    rest,
                    ..Default::default()
                },
            ),
            (
                9,
                VgmEntry {
                    lost,
                    ..Default::default()
                },
            ),
        ])
    }

    #[test]
    fn outputs_that_differ_from_the_inputs_by_one_wh_are_refused() {
        let verify = |lots: Vec<_>, entries| {
            let summary = summarize(1, None, &lots, &entries).expect("it fits");
            verify_conservation(&summary, &lots)
        };
        assert_eq!(verify(lots(30), entries(60, 30)), Ok(()));
        for (shared, rest) in [(61, 30), (59, 30), (60, 29), (59, 31)] {
            let refused = Err(Refusal::OutputsDifferFromInputs);
            assert_eq!(verify(lots(30), entries(shared, rest)), refused);
        }
        assert_eq!(
            verify(lots(91), entries(60, 30)),
            Err(Refusal::OutputsDifferFromInputs)
        );
    }
}
