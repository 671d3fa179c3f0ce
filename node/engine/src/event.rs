//! What an engine is told, and what it asks for.

use std::sync::Arc;

use commonwatt_consensus::{PeerId, Refusal};
use commonwatt_primitives::AccountId;
use commonwatt_runtime::Hash;

use crate::{
    job::{Job, JobDone},
    timeliness::Untimeliness,
    wire::{BlockAnswer, EngineMessage},
};

/// One message that the network waits to hear about before it passes it on; the driver numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery(pub u64);

/// What has happened outside.
#[derive(Debug)]
pub enum Event {
    /// The wait is over, or anything else that only the clock says. Also the first event of an engine.
    Woken,
    /// A message came in.
    Message {
        /// Who passed it on.
        peer: PeerId,
        /// What came, decoded by [`EngineMessage::decode_bounded`].
        message: EngineMessage,
        /// Set when the network waits for a [`Action::Judge`] about it.
        delivery: Option<Delivery>,
    },
    /// The answer to [`Action::RequestBlock`].
    BlockAnswer {
        /// Who answers.
        peer: PeerId,
        /// What it answers.
        answer: BlockAnswer,
    },
    /// A connection was made: the peer is told how far this node is.
    PeerCame {
        /// Who came.
        peer: PeerId,
        /// Whose node it is, if it has proven to be a validator's.
        account: Option<AccountId>,
    },
    /// A peer is gone.
    PeerGone(PeerId),
    /// A job has been run.
    JobDone(JobDone),
}

/// What is to be done, in the order given.
#[derive(Debug)]
pub enum Action {
    /// Send a message.
    Send {
        /// To whom.
        to: Recipient,
        /// What; its bytes are [`EngineMessage::encode`]d.
        message: EngineMessage,
    },
    /// Say whether the network passes on a message.
    Judge {
        /// Which.
        delivery: Delivery,
        /// Whether.
        judgement: Judgement,
    },
    /// Ask a peer for a decided block.
    RequestBlock {
        /// Whom.
        peer: PeerId,
        /// Which.
        height: u32,
    },
    /// Run a job, which takes long, and give back what came of it.
    Run(Job),
    /// Pass on transactions that a proposed block should have held.
    PassOn(Vec<Arc<[u8]>>),
    /// A peer sent something that no honest node sends or passes on: count it against the peer.
    Blame {
        /// Who.
        peer: PeerId,
        /// What was wrong.
        refusal: Refusal,
    },
    /// Tell the operator.
    Tell(Notice),
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// All peers.
    All,
    /// One peer.
    Peer(PeerId),
}

/// Whether a message is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is what its signer says, and of the height that is going on.
    Accept,
    /// Old, early or known: not passed on, and nobody's fault.
    Ignore,
    /// No honest node sends it or passes it on.
    Reject,
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A height begins.
    HeightStarted {
        /// The height.
        height: u32,
        /// Whether this node votes there.
        is_voting: bool,
        /// How many steps are missing, this one included, when the chain is behind the clock.
        behind: u32,
    },
    /// This node starts behind. Before it votes for steps that were over when it started, it waits to hear from other validators
    /// how far they are.
    Waiting {
        /// Other validators it has heard from.
        heard: usize,
        /// From how many it must have heard.
        needed: usize,
    },
    /// A block is final and stored.
    Decided {
        /// The height.
        height: u32,
        /// The block.
        hash: Hash,
        /// The round that decided.
        round: u32,
        /// Who made it.
        author: AccountId,
        /// The author's rank.
        author_rank: u32,
        /// Whether it was made late.
        is_late: bool,
        /// Whether this node made it.
        is_own: bool,
        /// Whether it was fetched from a peer.
        is_fetched: bool,
        /// Extrinsics in it, inherents included.
        extrinsics: usize,
        /// From the start of the height, by the steady clock.
        took_ms: u64,
    },
    /// Approval of a block is withheld.
    Withheld {
        /// The height.
        height: u32,
        /// The block.
        hash: Hash,
        /// Why.
        why: Untimeliness,
    },
    /// A block is invalid.
    Invalid {
        /// The height.
        height: u32,
        /// The block.
        hash: Hash,
        /// Why.
        why: String,
    },
    /// What this node's vote key signed before this process began came in, and its log does not know: no votes at this height.
    Silenced {
        /// The height.
        height: u32,
        /// The round of what came in.
        round: u32,
    },
    /// This node's vote key helped to decide a block and its log does not know: the log is an old copy.
    Forgotten {
        /// The height of that block.
        height: u32,
        /// From where on it votes again.
        votes_from: u32,
    },
    /// Another process signs with this node's vote key. This one votes never again, nor after a restart.
    Closed {
        /// The height at which that was seen.
        height: u32,
    },
    /// A validator contradicted itself; evidence is on its way into a block.
    EvidenceSubmitted {
        /// Who.
        offender: AccountId,
        /// Where.
        height: u32,
    },
    /// Evidence was not taken, mostly because it is known.
    EvidenceRefused {
        /// Who is accused.
        offender: AccountId,
        /// Where.
        height: u32,
        /// Why not.
        why: String,
    },
    /// This node's turn passes without a block of its own.
    NotBuilt {
        /// The height.
        height: u32,
        /// The round.
        round: u32,
        /// Why.
        why: String,
    },
}
