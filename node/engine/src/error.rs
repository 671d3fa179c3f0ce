//! What ends an engine.

use commonwatt_chain::ChainError;
use commonwatt_consensus::wal::WalError;
use commonwatt_runtime::Hash;

/// This node must stop.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// An earlier failure.
    #[error("the agreement stopped after an error; start the node again")]
    Stopped,
    /// The agreement cannot go on.
    #[error(transparent)]
    Agreement(#[from] commonwatt_consensus::Fatal),
    /// The write-ahead log failed: what is on disk is unknown.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The chain failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A decided block is no block.
    #[error(
        "block {hash:?} of height {height} was decided but cannot be read; this is a fault of the software"
    )]
    Unreadable {
        /// The height.
        height: u32,
        /// The block.
        hash: Hash,
    },
    /// The clock seems wrong.
    #[error(
        "by this node's clock {missed} steps have gone by since block {best}, more than the {max} that are made up for \
         unasked. Their blocks would be final. If the clock is wrong, set it and start again; if it is right, start with \
         --catch-up-from-clock once"
    )]
    ClockAhead {
        /// The last block.
        best: u32,
        /// Steps without a block.
        missed: u32,
        /// As many are made up for.
        max: u32,
    },
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What this validator signed is not known.
    #[error(
        "this node is to vote, its chain is at block {best}, and its write-ahead log is missing: it cannot know what it has \
         signed, and might contradict itself, which costs all its tokens. If it is elsewhere, bring it back. If it is lost, \
         or if these keys vote for the first time, ask another node for its last block N and start once with \
         --votes-from N+3: up to there this node only follows"
    )]
    LogMissing {
        /// The last block.
        best: u32,
    },
    /// Another process signed with this validator's keys.
    #[error(
        "this node is to vote, but its write-ahead log was closed: another node was seen signing with the same keys, and two \
         that do so contradict each other, which costs all their tokens. Leave the keys on one node only. When the others are \
         off for good, remove agreement.log here, ask another validator for its last block N, and start once with --votes-from \
         N+3. Without --validator this node follows"
    )]
    LogClosed,
    /// The chain does not say who votes.
    #[error(transparent)]
    Chain(#[from] ChainError),
}
