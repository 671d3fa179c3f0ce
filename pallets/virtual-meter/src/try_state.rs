//! The invariants of the pallet, checked after every block of the tests.

use alloc::collections::BTreeMap;
use commonwatt_primitives::{MeterId, Month, Ppm, Step, Wh, traits::MarketClock};
use frame_support::ensure;
use sp_runtime::TryRuntimeError;

use crate::{
    Agreements, Config, Key, Lot, Lots, MonthTotal, MonthTotals, OldestKept, Pallet, Schedule,
    StepSummaries, StorageBalances, StorageMoves, Vgm, VgmBuckets, VgmEntry, VotingDebt, bucket_of,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_try_state() -> Result<(), TryRuntimeError> {
        Self::check_agreements()?;
        let oldest = OldestKept::<T>::get();
        for (step, _) in StepSummaries::<T>::iter() {
            ensure!(step >= oldest, "a summary outlives its retention");
            Self::check_step(step)?;
        }
        for (step, number, bucket) in Vgm::<T>::iter() {
            let is_expiring = step == oldest;
            let has_summary = StepSummaries::<T>::contains_key(step);
            ensure!(
                is_expiring || has_summary,
                "a VGM of a step without summary"
            );
            let buckets = VgmBuckets::<T>::get(step).unwrap_or(0);
            ensure!(
                number < buckets && !bucket.is_empty(),
                "a bucket of VGMs is not counted, or empty"
            );
            ensure!(
                bucket.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "the VGMs of a bucket do not stand in order"
            );
            for (who, entry) in &bucket {
                ensure!(!entry.is_empty(), "an empty VGM is kept");
                // An expiring step counts fewer buckets from block to block.
                ensure!(
                    !has_summary || bucket_of(who, buckets) == number,
                    "a VGM stands in another's bucket"
                );
            }
        }
        let without_summary = |step: Step| !StepSummaries::<T>::contains_key(step);
        ensure!(
            !Lots::<T>::iter_keys().any(without_summary),
            "lots of a step without summary"
        );
        ensure!(
            !StorageMoves::<T>::iter_keys().any(without_summary),
            "storage moves of a step without summary"
        );
        ensure!(
            VotingDebt::<T>::iter_values().all(|debt| debt > 0),
            "a debt of nothing is kept"
        );
        Self::check_storages()?;
        Self::check_months()
    }

    fn check_agreements() -> Result<(), TryRuntimeError> {
        let schedule = Schedule::<T>::get();
        ensure!(
            schedule.windows(2).all(|pair| match pair {
                [a, b] => a.effective_from < b.effective_from && a.version < b.version,
                _ => false,
            }),
            "agreements do not follow one another"
        );
        ensure!(
            Agreements::<T>::iter_keys().count() == schedule.len(),
            "an agreement is not scheduled"
        );
        for entry in schedule {
            let agreement =
                Agreements::<T>::get(entry.version).ok_or("a scheduled agreement is missing")?;
            ensure!(
                agreement.effective_from == entry.effective_from,
                "an agreement moved in time"
            );
            let participants = agreement.key.participants();
            ensure!(
                participants.is_sorted_by(|a, b| a < b),
                "participants out of order"
            );
            if let Key::Static { shares, .. } = &agreement.key {
                let sum: u64 = shares.iter().map(|(_, share)| u64::from(share.0)).sum();
                ensure!(
                    sum == u64::from(Ppm::FULL.0),
                    "the coefficients do not sum to one"
                );
            }
        }
        Ok(())
    }

    fn check_step(step: Step) -> Result<(), TryRuntimeError> {
        let summary = StepSummaries::<T>::get(step).ok_or("the step has a summary")?;
        let lots = Lots::<T>::get(step);
        let of_lots = |part: fn(&Lot<T::AccountId>) -> Option<Wh>| {
            lots.iter()
                .map(part)
                .try_fold(Wh::ZERO, |sum, part| sum.checked_add(part?))
        };
        ensure!(
            of_lots(|lot| Some(lot.energy)) == Some(summary.generated),
            "lots ≠ generated"
        );
        ensure!(
            of_lots(|lot| Some(lot.loss)) == Some(summary.losses),
            "losses of lots ≠ losses"
        );
        ensure!(
            of_lots(|lot| Some(lot.rest)) == Some(summary.rest),
            "rests of lots ≠ rest"
        );
        ensure!(
            of_lots(Lot::shared) == Some(summary.shared),
            "shared of lots ≠ shared"
        );
        ensure!(
            lots.is_sorted_by(|a, b| a.meter < b.meter),
            "lots out of order"
        );

        let entries = Self::allocations(step);
        let of_entries = |part: fn(&VgmEntry) -> Wh| {
            Wh::checked_sum(entries.iter().map(|(_, entry)| part(entry)))
        };
        ensure!(
            of_entries(|entry| entry.shared) == Some(summary.shared),
            "VGMs ≠ shared"
        );
        ensure!(
            of_entries(|entry| entry.rest) == Some(summary.rest),
            "VGMs ≠ rest"
        );
        ensure!(
            of_entries(|entry| entry.lost) == Some(summary.losses),
            "VGMs ≠ losses"
        );
        ensure!(
            of_entries(|entry| entry.consumption.unwrap_or_default()) == Some(summary.consumption),
            "VGMs ≠ consumption"
        );
        ensure!(
            of_entries(|entry| entry.bought) == of_entries(|entry| entry.sold),
            "bought ≠ sold"
        );
        Ok(())
    }

    /// As long as no step has expired, a storage holds what the steps put in, less what they took out.
    fn check_storages() -> Result<(), TryRuntimeError> {
        if OldestKept::<T>::get() != Step(1) {
            return Ok(());
        }
        let mut balances = BTreeMap::<MeterId, i128>::new();
        for moved in StorageMoves::<T>::iter_values().flatten() {
            let balance = balances.entry(moved.storage).or_default();
            *balance = balance.saturating_add(moved.stored.signed_difference(moved.credited));
        }
        for (storage, balance) in StorageBalances::<T>::iter() {
            let moved = balances.remove(&storage).unwrap_or_default();
            ensure!(
                balance == moved,
                "a storage's balance differs from its moves"
            );
        }
        ensure!(
            balances.values().all(|moved| *moved == 0),
            "a storage's balance is missing"
        );
        Ok(())
    }

    /// The totals of a month contain what is kept of its steps, and nothing else as long as none of its
    /// steps has expired.
    fn check_months() -> Result<(), TryRuntimeError> {
        let mut kept = BTreeMap::<(Month, T::AccountId), MonthTotal>::new();
        let entries = Vgm::<T>::iter()
            .flat_map(|(step, _, bucket)| bucket.into_iter().map(move |held| (step, held)));
        for (step, (who, entry)) in entries {
            let total = kept.entry((T::Clock::month_of(step), who)).or_default();
            *total = total
                .replace(&VgmEntry::default(), &entry)
                .ok_or("a month's total does not fit")?;
        }
        // Steps older than the oldest kept one may belong to its month and to earlier ones, and the
        // oldest one itself may be half removed.
        let oldest = OldestKept::<T>::get();
        let whole_from = match oldest {
            Step(1) if StepSummaries::<T>::contains_key(oldest) => Month(0),
            oldest => Month(T::Clock::month_of(oldest).0.saturating_add(1)),
        };
        for (month, who, total) in MonthTotals::<T>::iter() {
            let kept = kept.remove(&(month, who)).unwrap_or_default();
            ensure!(
                month < whole_from || kept == total,
                "a month's total differs from its steps"
            );
        }
        ensure!(kept.is_empty(), "a month's total is missing");
        Ok(())
    }
}
