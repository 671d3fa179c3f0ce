//! What the machine is told.

use crate::{
    block::{Block, Verdict},
    certificate::CertifiedBlock,
    effect::{CheckId, PeerId},
    messages::Message,
    timing::Timeout,
    validators::ValidatorSet,
};

/// What has happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The next height begins: its predecessor is on disk, and its time has come. For a step in time that is
    /// `T_s + settle_delay`; a missed step begins at once.
    StartHeight {
        /// The height, one above the last decided one.
        height: u32,
        /// Who votes and proposes, from the state after the block below.
        validators: ValidatorSet,
        /// Whether timeliness counts.
        pace: Pace,
    },
    /// The wait of [`crate::Machine::wait_below`] is over: this node votes, also at the height that is going on.
    WaitIsOver,
    /// A message came in.
    Message {
        /// Who passed it on, which need not be who signed it.
        peer: PeerId,
        /// The message.
        message: Message,
    },
    /// The answer to [`crate::Effect::BuildBlock`]. If there is none the round passes without a proposal.
    BlockBuilt {
        /// The height asked for.
        height: u32,
        /// The round asked for.
        round: u32,
        /// The sealed block.
        block: Block,
    },
    /// The answer to [`crate::Effect::VerifyBlock`].
    BlockVerified {
        /// Which question this answers.
        check: CheckId,
        /// What was found.
        verdict: Verdict,
    },
    /// A timeout that was asked for has elapsed.
    TimeoutElapsed(Timeout),
    /// A peer says how far it is.
    Status {
        /// The peer.
        peer: PeerId,
        /// The last block it has; zero is genesis.
        decided: u32,
    },
    /// The answer to [`crate::Effect::RequestBlock`].
    BlockResponse {
        /// Who answers.
        peer: PeerId,
        /// The height asked for.
        height: u32,
        /// The block; `None` when the peer does not have it.
        block: Option<CertifiedBlock>,
    },
    /// A peer is gone.
    PeerGone(PeerId),
}

/// Whether the network is in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The step has just closed: timeliness counts.
    OnTime,
    /// The step closed long ago; missed blocks are made one after the other, and timeliness does not count.
    CatchUp,
}
