//! What the machine asks for.

use core::time::Duration;

use commonwatt_primitives::Hash;

use crate::{
    block::{Block, HeaderFacts, Purpose},
    certificate::Certificate,
    error::Refusal,
    evidence::EquivocationProof,
    messages::Message,
    timing::Timeout,
    wal::WalEntry,
};

/// A peer, as the caller numbers its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// One question about a block. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId(pub u64);

/// What is to be done outside, in the order given. If one of the three about the write-ahead log fails, the
/// caller stops the process before it carries out the next.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Empty the write-ahead log and begin that of `height`; on disk when done.
    ResetWal {
        /// The height.
        height: u32,
    },
    /// Append to the write-ahead log.
    AppendWal(WalEntry),
    /// Bring the write-ahead log to disk before going on.
    SyncWal,
    /// Send to all peers.
    Broadcast {
        /// The message.
        message: Message,
        /// Counts repetitions, so that a network that drops what it has seen lets them pass.
        attempt: u32,
    },
    /// Tell all peers how far this node is.
    AnnounceStatus {
        /// The last block that was decided, and stored by an earlier effect or start.
        decided: u32,
    },
    /// Tell one peer, which is behind, how far this node is.
    SendStatus {
        /// The peer.
        peer: PeerId,
        /// The last block decided.
        decided: u32,
    },
    /// Give `timeout` back after `duration`.
    ScheduleTimeout {
        /// The timeout.
        timeout: Timeout,
        /// From now.
        duration: Duration,
    },
    /// Forget a timeout. One that is given back nevertheless does no harm.
    CancelTimeout(Timeout),
    /// It is this node's turn: build and seal a block, then answer with [`crate::Input::BlockBuilt`].
    BuildBlock {
        /// The height.
        height: u32,
        /// The round.
        round: u32,
        /// The author's rank that the header must name.
        rank: u32,
    },
    /// Execute a block, then answer with [`crate::Input::BlockVerified`].
    VerifyBlock {
        /// Which question this is.
        check: CheckId,
        /// Its hash.
        hash: Hash,
        /// The block.
        block: Block,
        /// What its header says; height, author and rank are as they must be.
        facts: HeaderFacts,
        /// What it is for.
        purpose: Purpose,
    },
    /// The block is final: store it with its certificate, and then start the next height.
    ///
    /// After a restart it can come again for a height that was not stored, and without a preceding
    /// [`Effect::VerifyBlock`], since the verdict is in the write-ahead log.
    Decide {
        /// The height.
        height: u32,
        /// The block's hash.
        hash: Hash,
        /// The block.
        block: Block,
        /// Its proof; the encoding is the block's justification.
        certificate: Certificate,
    },
    /// Ask a peer for a decided block.
    RequestBlock {
        /// Whom.
        peer: PeerId,
        /// Which.
        height: u32,
    },
    /// A validator contradicted itself: bring the proof on chain. Can come again after a restart.
    Evidence(EquivocationProof),
    /// Somebody else signs with this node's vote key, or this node's write-ahead log was lost: a vote or proposal
    /// of its own came in that it does not know. It does not vote at this height, or not any more; tell the operator. When
    /// the height's time came after this process began, it was certainly somebody else.
    Silenced {
        /// The height.
        height: u32,
        /// The round of what came in.
        round: u32,
    },
    /// This node's vote key helped to decide a block, and this node's write-ahead log does not know: it is an old copy, or
    /// belongs to an earlier life. What else was signed since is not known either, so the caller writes down a later height
    /// that nobody can have voted at, with [`crate::wal::Log::reset`] and [`crate::Machine::raise_votes_from`].
    Forgotten {
        /// The height of the block.
        height: u32,
    },
    /// A peer sent something that no honest node sends or passes on: count it against the peer.
    Refused {
        /// The peer.
        peer: PeerId,
        /// What was wrong.
        refusal: Refusal,
    },
}
