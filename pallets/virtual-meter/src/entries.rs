//! The virtual generation meters of a step, in buckets.
//!
//! An entry of the state for each account would have every block add and remove as many trie nodes as there are
//! members. Accounts share buckets by their hash; how many a step has is decided when it is first distributed, and
//! again when one has grown too large.
//!
//! ## Invariants
//! - An account's entry is in the bucket that [`bucket_of`] says, and nowhere else.
//! - A bucket's entries stand by ascending account, and none is empty.

use alloc::{collections::BTreeMap, vec::Vec};

use codec::Encode;
use commonwatt_primitives::Step;
use frame_support::{StorageHasher, Twox64Concat};

use crate::{Config, Pallet, Vgm, VgmBuckets, VgmEntry};

/// Accounts that a bucket holds on average when a step's buckets are counted.
const ACCOUNTS_PER_BUCKET: usize = 16;

/// Accounts in a bucket at which the step's buckets are counted anew.
const BUCKET_ACCOUNTS_MAX: usize = 4 * ACCOUNTS_PER_BUCKET;

/// An account with its entry.
type Held<T> = (<T as frame_system::Config>::AccountId, VgmEntry);

/// Returns which of a step's `buckets` holds an account's entry: the first four bytes of the twox64 hash of its id,
/// little endian, modulo their number.
pub fn bucket_of<AccountId: Encode>(who: &AccountId, buckets: u32) -> u32 {
    // The hash stands before what was hashed.
    let hash = who.using_encoded(Twox64Concat::hash);
    let hash = hash.first_chunk().copied().map_or(0, u32::from_le_bytes);
    hash.checked_rem(buckets).unwrap_or(0)
}

fn buckets_for(accounts: usize) -> u32 {
    u32::try_from(accounts.div_ceil(ACCOUNTS_PER_BUCKET))
        .unwrap_or(u32::MAX)
        .max(1)
}

impl<T: Config> Pallet<T> {
    /// Returns an account's entry of a step, kept or expiring.
    pub(crate) fn entry(step: Step, who: &T::AccountId) -> Option<VgmEntry> {
        let buckets = VgmBuckets::<T>::get(step)?;
        let bucket = Vgm::<T>::get(step, bucket_of(who, buckets));
        let place = bucket.binary_search_by(|(known, _)| known.cmp(who)).ok()?;
        bucket.get(place).map(|(_, entry)| *entry)
    }

    /// Returns all entries of a step.
    pub(crate) fn entries(step: Step) -> BTreeMap<T::AccountId, VgmEntry> {
        (0..VgmBuckets::<T>::get(step).unwrap_or(0))
            .flat_map(|bucket| Vgm::<T>::get(step, bucket))
            .collect()
    }

    /// Puts entries in the place of those that the accounts had; empty ones are removed.
    pub(crate) fn write_entries<'a>(
        step: Step,
        changes: impl ExactSizeIterator<Item = (&'a T::AccountId, VgmEntry)>,
    ) where
        T::AccountId: 'a,
    {
        if changes.len() == 0 {
            return;
        }
        let known = VgmBuckets::<T>::get(step);
        let buckets = known.unwrap_or_else(|| buckets_for(changes.len()));
        if known.is_none() {
            VgmBuckets::<T>::insert(step, buckets);
        }
        let mut changed = BTreeMap::<u32, Vec<Held<T>>>::new();
        for (who, entry) in changes {
            let bucket = bucket_of(who, buckets);
            changed
                .entry(bucket)
                .or_default()
                .push((who.clone(), entry));
        }
        let mut longest = 0;
        for (number, changes) in changed {
            let bucket = Vgm::<T>::get(step, number);
            let bucket = merge::<T>(bucket, changes);
            longest = longest.max(bucket.len());
            put::<T>(step, number, bucket);
        }
        if longest > BUCKET_ACCOUNTS_MAX {
            Self::count_buckets_anew(step, buckets);
        }
    }

    fn count_buckets_anew(step: Step, buckets_before: u32) {
        let entries = Self::entries(step);
        let buckets = buckets_for(entries.len());
        if buckets <= buckets_before {
            return;
        }
        let mut sorted = BTreeMap::<u32, Vec<Held<T>>>::new();
        for (who, entry) in entries {
            let bucket = bucket_of(&who, buckets);
            sorted.entry(bucket).or_default().push((who, entry));
        }
        for number in 0..buckets {
            put::<T>(step, number, sorted.remove(&number).unwrap_or_default());
        }
        VgmBuckets::<T>::insert(step, buckets);
    }

    /// Removes buckets of a step until `limit` accounts or more are gone, or all; returns what they held.
    pub(crate) fn remove_entries(step: Step, limit: u32) -> Vec<Held<T>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut removed = Vec::new();
        let before = VgmBuckets::<T>::get(step).unwrap_or(0);
        let mut left = before;
        while left > 0 && removed.len() < limit {
            left = left.saturating_sub(1);
            removed.append(&mut Vgm::<T>::take(step, left));
        }
        match left {
            0 if before > 0 => VgmBuckets::<T>::remove(step),
            left if left < before => VgmBuckets::<T>::insert(step, left),
            _ => {}
        }
        removed
    }
}

/// Returns a bucket after changes.
fn merge<T: Config>(bucket: Vec<Held<T>>, changes: Vec<Held<T>>) -> Vec<Held<T>> {
    let mut merged: BTreeMap<_, _> = bucket.into_iter().collect();
    for (who, entry) in changes {
        if entry.is_empty() {
            merged.remove(&who);
        } else {
            merged.insert(who, entry);
        }
    }
    merged.into_iter().collect()
}

fn put<T: Config>(step: Step, number: u32, bucket: Vec<Held<T>>) {
    if bucket.is_empty() {
        Vgm::<T>::remove(step, number);
    } else {
        Vgm::<T>::insert(step, number, bucket);
    }
}
