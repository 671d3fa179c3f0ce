//! For the markets: what may be traded of a step, and the trade.

use alloc::vec::Vec;

use commonwatt_primitives::{
    MeterId, Step, Wh,
    traits::{EnergyMove, Holding, MarketClock, MarketFace, Meters, Registrar, TradableEnergy},
};
use frame_support::ensure;
use sp_runtime::{ArithmeticError, DispatchError, DispatchResult};

use crate::{
    Config, Error, Event, MonthTotal, MonthTotals, Pallet, StorageBalances, StorageMove,
    StorageMoves, VgmEntry,
    storage::{Effect, compute_stored, replace_effect},
};

/// An account whose entry a trade changes.
struct Traded<AccountId> {
    who: AccountId,
    after: VgmEntry,
    month_total: MonthTotal,
}

/// What a trade does to a storage, whose charge is covered by more or less than before.
struct Recharge {
    position: usize,
    storage: MeterId,
    before: Wh,
    after: Wh,
    balance_wh: i128,
}

impl<T: Config> TradableEnergy<T::AccountId> for Pallet<T> {
    fn holding(step: Step, who: &T::AccountId) -> Option<Holding> {
        Self::is_kept(step).then(|| {
            let entry = Self::entry(step, who).unwrap_or_default();
            Holding {
                vgm_wh: entry.net_wh(),
                consumption: entry.consumption,
            }
        })
    }

    /// The sellers must hold it: what was allocated and bought, less what was sold. Later corrections leave
    /// the trade alone.
    fn move_energy(step: Step, moves: &[EnergyMove<T::AccountId>]) -> DispatchResult {
        // Check.
        ensure!(Self::is_kept(step), Error::<T>::StepNotKept);
        ensure!(
            moves.is_sorted_by(|one, next| one.who < next.who),
            Error::<T>::TradersOutOfOrder
        );
        let overflow = ArithmeticError::Overflow;
        let sum = |part: fn(&EnergyMove<T::AccountId>) -> Wh| {
            Wh::checked_sum(moves.iter().map(part)).ok_or(overflow)
        };
        let (bought, sold) = (sum(|one| one.bought)?, sum(|one| one.sold)?);
        ensure!(
            bought == sold && !sold.is_zero(),
            Error::<T>::UnbalancedTrade
        );
        // Compute.
        let month = T::Clock::month_of(step);
        let traded = moves
            .iter()
            .map(|one| {
                let before = Self::entry(step, &one.who).unwrap_or_default();
                let after = Self::verify_move(one, before)?;
                let month_total = MonthTotals::<T>::get(month, &one.who)
                    .replace(&before, &after)
                    .ok_or(overflow)?;
                Ok(Traded {
                    who: one.who.clone(),
                    after,
                    month_total,
                })
            })
            .collect::<Result<Vec<_>, DispatchError>>()?;
        let mut storages = StorageMoves::<T>::get(step);
        let recharges = Self::compute_recharges(step, &storages, &traded)?;
        // Write.
        Self::write_entries(step, traded.iter().map(|one| (&one.who, one.after)));
        for Traded {
            who, month_total, ..
        } in &traded
        {
            MonthTotals::<T>::insert(month, who, month_total);
        }
        for recharge in &recharges {
            if let Some(moved) = storages.get_mut(recharge.position) {
                moved.stored = recharge.after;
            }
            StorageBalances::<T>::insert(recharge.storage, recharge.balance_wh);
        }
        if !recharges.is_empty() {
            StorageMoves::<T>::insert(step, storages);
        }
        // Tell.
        Self::deposit_event(Event::EnergyTraded {
            step,
            energy: sold,
            accounts: u32::try_from(traded.len()).unwrap_or(u32::MAX),
        });
        for recharge in recharges {
            Self::deposit_event(Event::ChargeCovered {
                step,
                storage: recharge.storage,
                from: recharge.before,
                to: recharge.after,
            });
        }
        Ok(())
    }
}

impl<T: Config> Pallet<T> {
    /// Returns a trader's entry after its trade.
    fn verify_move(
        one: &EnergyMove<T::AccountId>,
        before: VgmEntry,
    ) -> Result<VgmEntry, DispatchError> {
        ensure!(T::Registry::is_member(&one.who), Error::<T>::NotAMember);
        ensure!(
            before.net_wh() >= i128::from(one.sold.0) || one.sold.is_zero(),
            Error::<T>::NotEnoughEnergy
        );
        let overflow = ArithmeticError::Overflow;
        Ok(VgmEntry {
            bought: before.bought.checked_add(one.bought).ok_or(overflow)?,
            sold: before.sold.checked_add(one.sold).ok_or(overflow)?,
            ..before
        })
    }

    /// Returns what the traders' storages took in after all.
    fn compute_recharges(
        step: Step,
        storages: &[StorageMove],
        traded: &[Traded<T::AccountId>],
    ) -> Result<Vec<Recharge>, DispatchError> {
        let mut recharges = Vec::new();
        let charged = storages
            .iter()
            .enumerate()
            .filter(|(_, moved)| !moved.charged.is_zero());
        for (position, moved) in charged {
            // Both directions of a storage have one owner; the efficiency is that of the charge meter.
            let Some(discharge) = T::Registry::meter_at(moved.storage, step) else {
                continue;
            };
            let Ok(trader) = traded.binary_search_by(|one| one.who.cmp(&discharge.owner)) else {
                continue;
            };
            let efficiency = discharge
                .storage_pair
                .and_then(|charge| T::Registry::meter_at(charge, step))
                .map_or(discharge.efficiency, |charge| charge.efficiency);
            let entry = traded.get(trader).map(|one| one.after).unwrap_or_default();
            let after = compute_stored(
                moved.charged,
                entry.coverage(),
                entry.consumption.unwrap_or_default(),
                efficiency,
            )
            .ok_or(ArithmeticError::Overflow)?;
            if after == moved.stored {
                continue;
            }
            let effect = |stored| Effect {
                credited: moved.credited,
                stored,
            };
            let balance_wh = replace_effect(
                StorageBalances::<T>::get(moved.storage),
                effect(moved.stored),
                effect(after),
            )
            .ok_or(ArithmeticError::Overflow)?;
            recharges.push(Recharge {
                position,
                storage: moved.storage,
                before: moved.stored,
                after,
                balance_wh,
            });
        }
        Ok(recharges)
    }
}

impl<T: Config> MarketFace<T::AccountId> for Pallet<T> {
    fn market_face_wh(step: Step, who: &T::AccountId) -> Option<i128> {
        Self::market_face_meter(step, who)
    }

    fn kept_steps() -> (Step, Step) {
        Self::kept_steps()
    }
}
