//! The validator set, epoch by epoch.

use alloc::{collections::BTreeMap, vec::Vec};
use commonwatt_primitives::{
    Step,
    auction::{VALIDATORS_TOLERANT, Validator, ValidatorRegistry},
    keys::SessionKeys,
};
use frame_support::{BoundedVec, traits::Get};

use crate::{Config, Event, LastBlocks, Offences, Pallet, Sets};

impl<T: Config> Pallet<T> {
    /// Returns the epoch of a height.
    pub fn epoch_of(height: Step) -> u32 {
        height.0 / T::EpochLength::get().max(1)
    }

    /// Returns the validators of a height by account; `None` when they are not yet fixed, or no longer
    /// kept.
    pub fn validators(height: Step) -> Option<Vec<Validator<T::AccountId>>> {
        Sets::<T>::get(Self::epoch_of(height)).map(BoundedVec::into_inner)
    }

    /// Returns the keys of a validator at a height.
    pub fn keys_at(who: &T::AccountId, height: Step) -> Option<SessionKeys> {
        let set = Self::validators(height)?;
        set.into_iter()
            .find(|validator| validator.account == *who)
            .map(|validator| validator.keys)
    }

    /// Returns whether an account is a validator at a height.
    pub fn is_validator_at(who: &T::AccountId, height: Step) -> bool {
        Self::keys_at(who, height).is_some()
    }

    /// Begins an epoch when `next` is its first height: equivocators leave its set, and the set after it
    /// is fixed.
    pub(crate) fn turn_epoch(now: Step, next: Step) {
        let epoch = Self::epoch_of(next);
        if epoch == Self::epoch_of(now) {
            return;
        }
        let fixed = Sets::<T>::get(epoch).unwrap_or_default().into_inner();
        let kept = Self::without_equivocators(fixed.clone());
        let removed: Vec<_> = fixed
            .into_iter()
            .filter(|validator| !kept.contains(validator))
            .map(|validator| validator.account)
            .collect();
        let before: Vec<_> = Sets::<T>::get(Self::epoch_of(now))
            .into_iter()
            .flatten()
            .map(|validator| validator.account)
            .collect();
        for validator in &kept {
            // Nobody is old because it was not there.
            if !before.contains(&validator.account) {
                LastBlocks::<T>::insert(&validator.account, now);
            }
        }
        for account in before {
            if !kept.iter().any(|validator| validator.account == account) {
                LastBlocks::<T>::remove(account);
            }
        }
        if !removed.is_empty() {
            Sets::<T>::insert(epoch, BoundedVec::truncate_from(kept));
        }
        if let Some(expired) = epoch.checked_sub(Self::epochs_kept()) {
            Sets::<T>::remove(expired);
        }
        Self::deposit_event(Event::EpochBegan { epoch, removed });
        Self::fix_set(epoch.saturating_add(1));
    }

    /// Copies the registered validators into the set of an epoch.
    pub(crate) fn fix_set(epoch: u32) {
        let before = epoch
            .checked_sub(1)
            .and_then(Sets::<T>::get)
            .unwrap_or_default()
            .into_inner();
        let registered: BTreeMap<_, _> = T::Validators::validators()
            .into_iter()
            .map(|validator| (validator.account.clone(), validator))
            .collect();
        let mut set = Self::without_equivocators(registered.into_values().collect());
        if set.is_empty() {
            set = before.clone();
        }
        let max = usize::try_from(T::MaxValidators::get()).unwrap_or(usize::MAX);
        let left_out = set.len().saturating_sub(max);
        if left_out > 0 {
            // Those who validate stay; the sort is stable, so equals stay in the order of accounts.
            set.sort_by_key(|validator| {
                !before
                    .iter()
                    .any(|former| former.account == validator.account)
            });
            set.truncate(max);
            set.sort();
            Self::deposit_event(Event::ValidatorSetFull {
                epoch,
                left_out: u32::try_from(left_out).unwrap_or(u32::MAX),
            });
        }
        let validators = set
            .iter()
            .map(|validator| validator.account.clone())
            .collect();
        Sets::<T>::insert(epoch, BoundedVec::truncate_from(set));
        Self::deposit_event(Event::ValidatorSetFixed { epoch, validators });
    }

    /// Removes equivocators, the earliest reported first, as long as enough validators remain.
    fn without_equivocators(mut set: Vec<Validator<T::AccountId>>) -> Vec<Validator<T::AccountId>> {
        let mut offenders: Vec<_> = set
            .iter()
            .filter_map(|validator| {
                let offence = Offences::<T>::get(&validator.account)?;
                let counts = offence.pardoned.is_none();
                counts.then(|| (offence.reported, validator.account.clone()))
            })
            .collect();
        offenders.sort();
        let removable = set.len().saturating_sub(VALIDATORS_TOLERANT);
        offenders.truncate(removable);
        set.retain(|validator| {
            !offenders
                .iter()
                .any(|(_, offender)| *offender == validator.account)
        });
        set
    }

    /// Returns how many epochs back a set is still needed for evidence, and one.
    pub(crate) fn epochs_kept() -> u32 {
        let window = T::EvidenceWindow::get();
        window
            .div_ceil(T::EpochLength::get().max(1))
            .saturating_add(1)
    }
}
