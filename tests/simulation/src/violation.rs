//! What must never happen.

use commonwatt_primitives::AccountId;
use commonwatt_runtime::Hash;

/// An invariant that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two honest nodes hold different blocks of one height.
    #[error("disagreement: node {node} has {hash:?} at height {height}, others have {other:?}")]
    Disagreement {
        /// The node.
        node: usize,
        /// The height.
        height: u32,
        /// Its block.
        hash: Hash,
        /// Theirs.
        other: Hash,
    },
    /// A node's chain has no block at a height below its best.
    #[error("gap: node {node} has no whole block {height}, though its chain is longer")]
    Gap {
        /// The node.
        node: usize,
        /// The height.
        height: u32,
    },
    /// A node has fewer blocks than it said it had.
    #[error("forgotten: node {node} had stored block {had}, and after its restart ends with {has}")]
    Forgotten {
        /// The node.
        node: usize,
        /// What it had.
        had: u32,
        /// What it has.
        has: u32,
    },
    /// Two different things signed by an honest validator for one occasion left its node.
    #[error(
        "contradiction: node {node} sent a second, different {what} for height {height}, round {round}"
    )]
    Contradiction {
        /// The node.
        node: usize,
        /// A prevote, a precommit or a proposal.
        what: &'static str,
        /// The height.
        height: u32,
        /// The round.
        round: u32,
    },
    /// A decided block does not stand up to being executed again.
    #[error("invalid block: {height} was decided, but: {why}")]
    InvalidBlock {
        /// The height.
        height: u32,
        /// What is wrong with it.
        why: String,
    },
    /// A stored certificate proves nothing.
    #[error(
        "bad certificate: node {node} stored one for block {height} that proves nothing: {why}"
    )]
    BadCertificate {
        /// The node.
        node: usize,
        /// The height.
        height: u32,
        /// Why not.
        why: String,
    },
    /// The network was healed, and does not go on.
    #[error(
        "no liveness: {waited_ms} ms after everything was healed node {node} is at block {best}, and the clock at {clock}"
    )]
    NoLiveness {
        /// The node.
        node: usize,
        /// Where it is.
        best: u32,
        /// Where it should be.
        clock: u32,
        /// Since the healing.
        waited_ms: u64,
    },
    /// Voting tokens came from nowhere, or went there.
    #[error("tokens not conserved after block {height}: {what} is {is}, but should be {should}")]
    TokensNotConserved {
        /// The height.
        height: u32,
        /// Which sum.
        what: &'static str,
        /// What it is.
        is: u128,
        /// What it should be.
        should: u128,
    },
    /// Energy came from nowhere, or went there.
    #[error(
        "energy not conserved in step {step} after block {height}: {what} is {is} Wh, but should be {should} Wh"
    )]
    EnergyNotConserved {
        /// The step.
        step: u32,
        /// The height.
        height: u32,
        /// Which sum.
        what: &'static str,
        /// What it is.
        is: u64,
        /// What it should be.
        should: u64,
    },
    /// A block leaves out what was at all honest nodes in time.
    #[error(
        "left out: block {height} of round {round} does not hold the {what} {hash:?} that all honest nodes had in time"
    )]
    LeftOut {
        /// The height.
        height: u32,
        /// The round.
        round: u32,
        /// A bid or a reading.
        what: &'static str,
        /// The item.
        hash: Hash,
    },
    /// Something all honest nodes have had for long is in no block.
    #[error(
        "starved: the {what} {hash:?} was at all honest nodes for {blocks} blocks and is in none"
    )]
    Starved {
        /// What it is.
        what: &'static str,
        /// The item.
        hash: Hash,
        /// Blocks made meanwhile.
        blocks: u32,
    },
    /// Proof of a contradiction did not reach the chain.
    #[error(
        "evidence lost: node {node} had proof against {offender} of height {height}, and it is not on chain"
    )]
    EvidenceLost {
        /// Who had it.
        node: usize,
        /// Who contradicted itself.
        offender: AccountId,
        /// Where.
        height: u32,
    },
    /// Somebody with an offence on chain is ranked.
    #[error(
        "equivocator ranked: {offender} is ranked for height {height}, though its offence is on chain"
    )]
    EquivocatorRanked {
        /// Who.
        offender: AccountId,
        /// Where.
        height: u32,
    },
    /// The chain holds evidence against an honest validator.
    #[error("honest accused: block {height} holds evidence against honest node {node}")]
    HonestAccused {
        /// Who.
        node: usize,
        /// The block.
        height: u32,
    },
    /// A write-ahead log is of a height that is more than one above its chain.
    #[error("log ahead: node {node} has block {best}, and a log of height {log}")]
    LogAhead {
        /// The node.
        node: usize,
        /// The last block.
        best: u32,
        /// The log's height.
        log: u32,
    },
    /// An honest node stopped though nothing was done to it.
    #[error("stopped: node {node} gave up: {why}")]
    Stopped {
        /// The node.
        node: usize,
        /// Why.
        why: String,
    },
    /// An honest node blamed another for what honest nodes do.
    #[error("honest blamed: node {node} blames honest node {peer}: {why}")]
    HonestBlamed {
        /// Who blames.
        node: usize,
        /// Whom.
        peer: usize,
        /// What for.
        why: String,
    },
}

impl Violation {
    /// The names of all invariants.
    pub const KINDS: [&str; 17] = [
        "disagreement",
        "gap",
        "forgotten",
        "contradiction",
        "invalid block",
        "bad certificate",
        "no liveness",
        "tokens not conserved",
        "energy not conserved",
        "left out",
        "starved",
        "evidence lost",
        "equivocator ranked",
        "honest accused",
        "log ahead",
        "stopped",
        "honest blamed",
    ];

    /// Returns the name of the invariant.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disagreement { .. } => "disagreement",
            Self::Gap { .. } => "gap",
            Self::Forgotten { .. } => "forgotten",
            Self::Contradiction { .. } => "contradiction",
            Self::InvalidBlock { .. } => "invalid block",
            Self::BadCertificate { .. } => "bad certificate",
            Self::NoLiveness { .. } => "no liveness",
            Self::TokensNotConserved { .. } => "tokens not conserved",
            Self::EnergyNotConserved { .. } => "energy not conserved",
            Self::LeftOut { .. } => "left out",
            Self::Starved { .. } => "starved",
            Self::EvidenceLost { .. } => "evidence lost",
            Self::EquivocatorRanked { .. } => "equivocator ranked",
            Self::HonestAccused { .. } => "honest accused",
            Self::LogAhead { .. } => "log ahead",
            Self::Stopped { .. } => "stopped",
            Self::HonestBlamed { .. } => "honest blamed",
        }
    }
}
