//! What happens to transactions, for those who watch them.

use std::{collections::VecDeque, mem};

use crate::{Hash, Refusal};

/// A change of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolEvent {
    /// The transaction.
    pub hash: Hash,
    /// What became of it.
    pub status: TransactionStatus,
}

/// What became of a transaction; the cases of `author_submitAndWatchExtrinsic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// It waits for another transaction, or for a later block.
    Future,
    /// It can be built into the next block.
    Ready,
    /// It is in this block.
    InBlock(Hash),
    /// It is in this block, which is final.
    Finalized(Hash),
    /// Another transaction took its place.
    Usurped(Hash),
    /// It had to leave: its time was over, or the pool was full.
    Dropped,
    /// The runtime refuses it.
    Invalid(Refusal),
}

impl TransactionStatus {
    /// Returns whether nothing follows for this transaction unless it is submitted again.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Finalized(_) | Self::Usurped(_) | Self::Dropped | Self::Invalid(_) => true,
            Self::Future | Self::Ready | Self::InBlock(_) => false,
        }
    }
}

/// Events in their order, until the node takes them.
#[derive(Debug)]
pub(crate) struct EventLog {
    events: VecDeque<PoolEvent>,
    events_max: usize,
    lost: u64,
}

impl EventLog {
    pub(crate) fn new(events_max: usize) -> Self {
        Self {
            events: VecDeque::new(),
            events_max,
            lost: 0,
        }
    }

    /// Appends an event. Whoever takes them too rarely loses the oldest.
    pub(crate) fn push(&mut self, hash: Hash, status: TransactionStatus) {
        self.events.push_back(PoolEvent { hash, status });
        if self.events.len() > self.events_max {
            self.events.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Returns the events since the last call.
    pub(crate) fn take(&mut self) -> Vec<PoolEvent> {
        if self.lost > 0 {
            tracing::warn!(
                lost = self.lost,
                "pool events were lost, watchers may miss a status: take them after each call"
            );
            self.lost = 0;
        }
        mem::take(&mut self.events).into()
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}
