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

/// Those who watch transactions.
#[derive(Default)]
pub(crate) struct Watchers {
    by_hash: HashMap<Hash, Vec<mpsc::Sender<TransactionStatus>>>,
}

impl Watchers {
    pub(crate) fn watch(&mut self, hash: Hash) -> Watch {
        let (sender, receiver) = mpsc::channel(STATUSES_MAX);
        self.by_hash.entry(hash).or_default().push(sender);
        receiver
    }

    /// Tells everybody concerned, and forgets those who heard the last or went away.
    pub(crate) fn tell(&mut self, events: Vec<PoolEvent>) {
        for PoolEvent { hash, status } in events {
            let Some(senders) = self.by_hash.get_mut(&hash) else {
                continue;
            };
            // A watcher that does not read loses the statuses it has no room for, and then the watch.
            senders.retain(|sender| sender.try_send(status.clone()).is_ok());
            if senders.is_empty() || status.is_last() {
                self.by_hash.remove(&hash);
            }
        }
    }

    /// Forgets watchers that went away without their transaction having an end.
    pub(crate) fn sweep(&mut self) {
        self.by_hash.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
    }
}
