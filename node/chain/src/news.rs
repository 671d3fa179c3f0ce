//! News of the chain, and of single transactions.

use std::collections::HashMap;

use commonwatt_runtime::{Hash, Header};
use commonwatt_txpool::{PoolEvent, TransactionStatus};
use tokio::sync::mpsc;

/// A block that has been stored and is final.
#[derive(Debug)]
pub struct NewHead {
    /// Its hash.
    pub hash: Hash,
    /// Its header.
    pub header: Header,
    /// Every storage key it wrote with its new value, `None` when removed; ordered by key.
    pub storage: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The hashes of its extrinsics, in order.
    pub extrinsics: Vec<Hash>,
}

/// The life of one transaction, from submission to its end.
pub type Watch = mpsc::Receiver<TransactionStatus>;

/// Statuses a watcher may leave unread: a transaction has fewer between submission and finality.
const STATUSES_MAX: usize = 16;

/// Watches at one time, of some 2 KB each; JSON-RPC's own bounds on connections and subscriptions give fewer.
pub(crate) const WATCHES_MAX: usize = 16_384;

/// Those who watch transactions.
#[derive(Default)]
pub(crate) struct Watchers {
    by_hash: HashMap<Hash, Vec<mpsc::Sender<TransactionStatus>>>,
    /// How many there are in all.
    count: usize,
}

impl Watchers {
    /// Begins a watch; `None` when there are as many as may be.
    pub(crate) fn watch(&mut self, hash: Hash) -> Option<Watch> {
        if self.count >= WATCHES_MAX {
            self.sweep();
        }
        if self.count >= WATCHES_MAX {
            return None;
        }
        let (sender, receiver) = mpsc::channel(STATUSES_MAX);
        self.by_hash.entry(hash).or_default().push(sender);
        self.count = self.count.saturating_add(1);
        Some(receiver)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_hash.is_empty() && self.count == 0
    }

    /// Forgets those watchers of a transaction that went away.
    pub(crate) fn forget_closed(&mut self, hash: &Hash) {
        if let Some(senders) = self.by_hash.get_mut(hash) {
            let before = senders.len();
            senders.retain(|sender| !sender.is_closed());
            self.count = self
                .count
                .saturating_sub(before.saturating_sub(senders.len()));
            if senders.is_empty() {
                self.by_hash.remove(hash);
            }
        }
    }

    /// Tells everybody concerned, and forgets those who heard the last or went away.
    pub(crate) fn tell(&mut self, events: Vec<PoolEvent>) {
        for PoolEvent { hash, status } in events {
            let Some(senders) = self.by_hash.get_mut(&hash) else {
                continue;
            };
            // A watcher that does not read loses the statuses it has no room for, and then the watch.
            let before = senders.len();
            senders.retain(|sender| sender.try_send(status.clone()).is_ok());
            let mut gone = before.saturating_sub(senders.len());
            if senders.is_empty() || status.is_last() {
                gone = before;
                self.by_hash.remove(&hash);
            }
            self.count = self.count.saturating_sub(gone);
        }
    }

    /// Forgets watchers that went away without their transaction having an end.
    pub(crate) fn sweep(&mut self) {
        self.by_hash.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        self.count = self.by_hash.values().map(Vec::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(watchers: &Watchers) -> usize {
        let held = watchers.by_hash.values().map(Vec::len).sum();
        assert_eq!(watchers.count, held);
        held
    }

    #[test]
    fn watches_are_bounded_and_those_that_went_away_make_room() {
        let mut watchers = Watchers::default();
        let watches: Vec<_> = (0..WATCHES_MAX)
            .map(|number| {
                watchers
                    .watch(Hash::from_low_u64_be(number as u64))
                    .unwrap()
            })
            .collect();
        assert!(watchers.watch(Hash::zero()).is_none());
        drop(watches);
        assert!(watchers.watch(Hash::zero()).is_some());
        assert_eq!(counted(&watchers), 1);
    }

    #[test]
    fn the_count_follows_whoever_leaves() {
        let mut watchers = Watchers::default();
        let hash = Hash::repeat_byte(1);
        let event = |status| vec![PoolEvent { hash, status }];
        let (one, _two, three) = (
            watchers.watch(hash),
            watchers.watch(hash),
            watchers.watch(hash),
        );
        drop(one);
        watchers.forget_closed(&hash);
        assert_eq!(counted(&watchers), 2);
        drop(three);
        watchers.tell(event(TransactionStatus::Ready));
        assert_eq!(counted(&watchers), 1);
        watchers.tell(event(TransactionStatus::Dropped));
        assert_eq!(counted(&watchers), 0);
    }
}
