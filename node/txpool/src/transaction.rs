//! A transaction in the pool, and what the runtime said about it.

use std::{cmp::Reverse, sync::Arc};

use sp_runtime::transaction_validity::{
    TransactionPriority, TransactionSource, TransactionTag, ValidTransaction,
};

use crate::{BlockNumber, Hash, Refusal};

/// An account, as the 32 bytes of its id.
pub type Account = [u8; 32];

/// The number of a transaction's arrival, and its name inside the pool.
pub(crate) type Arrival = u64;

/// What the runtime says about an extrinsic.
pub type Verdict = Result<Checked, Refusal>;

/// The order in which the builder takes subjects (PROTOCOL 7), first lane first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Evidence of misbehaviour and bids: they have a deadline and decide who authors.
    Evidence,
    /// Reports of cryptometers: the step's energy.
    Reading,
    /// Every other call.
    Other,
}

impl Lane {
    /// All lanes, in the order of building.
    pub const ALL: [Lane; 3] = [Lane::Evidence, Lane::Reading, Lane::Other];

    /// Returns the lane's position in tables with one row a lane.
    pub(crate) fn index(self) -> usize {
        match self {
            Lane::Evidence => 0,
            Lane::Reading => 1,
            Lane::Other => 2,
        }
    }
}

/// Where in the pool a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It can be built into the next block.
    Ready,
    /// It requires a tag that no ready transaction provides.
    Future,
    /// The runtime said "not yet".
    Waiting {
        /// The best block at which asking again makes sense.
        retry_at: BlockNumber,
    },
}

impl Place {
    /// Returns the place's position in tables with one row a place.
    pub(crate) fn index(self) -> usize {
        match self {
            Place::Ready => 0,
            Place::Future => 1,
            Place::Waiting { .. } => 2,
        }
    }
}

/// A valid extrinsic, as the validator understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The runtime's answer.
    pub validity: ValidTransaction,
    /// Who signed it; `None` for an unsigned one, which counts towards no account's limit.
    pub sender: Option<Account>,
    /// Which lane its call belongs to.
    pub lane: Lane,
}

/// Asks the runtime at the best block. The node implements it.
pub trait TransactionValidator {
    /// Returns what the runtime says about an extrinsic at the best block.
    fn validate(&self, source: TransactionSource, extrinsic: &[u8]) -> Verdict;

    /// Returns what the runtime says about each of many extrinsics, in their order.
    ///
    /// One after the other here; a node with several cores overrides it.
    fn validate_batch(&self, batch: &[(TransactionSource, Arc<[u8]>)]) -> Vec<Verdict> {
        batch
            .iter()
            .map(|(source, extrinsic)| self.validate(*source, extrinsic))
            .collect()
    }
}

/// A transaction in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// BLAKE2b-256 of the encoded extrinsic.
    pub hash: Hash,
    /// The encoded extrinsic.
    pub extrinsic: Arc<[u8]>,
    /// Where it came from.
    pub source: TransactionSource,
    /// Who signed it, as far as known.
    pub sender: Option<Account>,
    /// Its lane.
    pub lane: Lane,
    /// Its priority within the lane; 0 while waiting.
    pub priority: TransactionPriority,
    /// The tags it provides; none while waiting.
    pub provides: Vec<TransactionTag>,
    /// The tags it requires that are not on chain yet.
    pub requires: Vec<TransactionTag>,
    /// The block number with which it is dropped.
    pub valid_till: u64,
    /// Whether other nodes should get it.
    pub propagate: bool,
    /// Where in the pool it stands.
    pub place: Place,
    /// The number of its arrival: a later one is greater.
    pub arrival: u64,
}

impl Transaction {
    /// Returns what it is worth, which orders both building and eviction.
    pub(crate) fn rank(&self) -> Rank {
        Rank {
            lane: Reverse(self.lane),
            priority: self.priority,
            arrival: Reverse(self.arrival),
        }
    }

    /// Returns the length of the encoded extrinsic.
    pub fn bytes(&self) -> usize {
        self.extrinsic.len()
    }

    /// Returns whether the builder can take it once what it requires is in the block.
    pub fn is_ready(&self) -> bool {
        self.place == Place::Ready
    }

    /// Returns whether it can be built without any other transaction of the pool.
    pub(crate) fn is_root(&self) -> bool {
        self.is_ready() && self.requires.is_empty()
    }

    /// Takes over what the runtime now says, keeping its bytes and its arrival.
    pub(crate) fn learn(
        &mut self,
        checked: Checked,
        requires: Vec<TransactionTag>,
        at: BlockNumber,
    ) {
        self.sender = checked.sender;
        self.lane = checked.lane;
        self.priority = checked.validity.priority;
        self.provides = compute_distinct(checked.validity.provides);
        self.requires = requires;
        self.valid_till = u64::from(at).saturating_add(checked.validity.longevity);
        self.propagate = checked.validity.propagate;
    }
}

/// What a transaction is worth; the greater is built first and evicted last.
///
/// Fields in the order of comparison: lane, then priority, then the earlier arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    lane: Reverse<Lane>,
    priority: TransactionPriority,
    pub(crate) arrival: Reverse<Arrival>,
}

/// Returns the tags without repetitions, in ascending order.
pub(crate) fn compute_distinct(mut tags: Vec<TransactionTag>) -> Vec<TransactionTag> {
    tags.sort_unstable();
    tags.dedup();
    tags
}
