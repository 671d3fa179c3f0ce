//! Kinds of gossip, and what is said about a message.

use crate::{
    limits::{BATCH_BYTES_MAX, PROPOSAL_BYTES_MAX, URGENT_BYTES_MAX, VOTE_BYTES_MAX},
    numbers::PeerNumber,
};

/// One kind of gossip, most urgent first. The order is that in which events are handed out and messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Votes, proofs of lock and round certificates.
    Votes,
    /// Proposals with their compact blocks.
    Proposals,
    /// Bids and proofs of equivocation.
    Urgent,
    /// Everything else for the pool, in batches.
    Transactions,
}

impl Topic {
    /// All topics, most urgent first.
    pub const ALL: [Self; 4] = [
        Self::Votes,
        Self::Proposals,
        Self::Urgent,
        Self::Transactions,
    ];

    /// Returns its name, as it stands in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Proposals => "proposals",
            Self::Urgent => "urgent",
            Self::Transactions => "transactions",
        }
    }

    /// Returns how many bytes one message may have.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Votes => VOTE_BYTES_MAX,
            Self::Proposals => PROPOSAL_BYTES_MAX,
            Self::Urgent => URGENT_BYTES_MAX,
            Self::Transactions => BATCH_BYTES_MAX,
        }
    }

    /// Returns its place in [`Self::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Votes => 0,
            Self::Proposals => 1,
            Self::Urgent => 2,
            Self::Transactions => 3,
        }
    }
}

/// Names a gossiped message that awaits its verdict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Its topic.
    pub topic: Topic,
    /// Who passed it on first.
    pub peer: PeerNumber,
    /// BLAKE2b-256 of topic, attempt and payload.
    pub hash: [u8; 32],
}

/// What the caller says about a gossiped message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right and of use: pass it on.
    Accept,
    /// Of no use, or it cannot be told: do not pass it on.
    Ignore,
    /// No honest node sends or passes it on: do not, and count it against whoever did.
    Reject,
}
