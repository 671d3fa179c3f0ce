//! # Consensus
//!
//! One block a market step, final at once: two-phase voting by the validators, one vote each, more than two
//! thirds to decide (PROTOCOL 7). The engine is the core of Malachite; this crate drives it, checks every
//! signature, keeps the write-ahead log in order and speaks to the outside in [`Input`]s and [`Effect`]s.
//!
//! Open first: [`Machine::handle`].
//!
//! ## Terms
//! - height: the step that the block closes; block `s` closes step `s`.
//! - round: one attempt at a height; rank `round mod len` of the height's ranking proposes.
//! - fresh proposal: a block that its author proposes itself; re-proposal: a block two thirds have prevoted in
//!   an earlier round (its proof of lock), proposed again by whoever's turn it is.
//! - certificate: the precommits of more than two thirds for one block; the block's justification.
//!
//! ## Invariants
//! - Deterministic: the same inputs give the same effects. No clock, network, disk, randomness or threads, but
//!   for [`wal::file`], which alone touches files and which the machine does not know.
//! - Nothing signed leaves before it is on disk: between [`Effect::AppendWal`] and [`Effect::Broadcast`] there
//!   is always an [`Effect::SyncWal`].
//! - A validator signs one proposal, one prevote and one precommit a round, across restarts too.
//! - A value reaches the engine as valid only after the block was executed.
//! - Every queue, buffer and message has a named bound (`limits.rs`).
//! - An error is final: no effect of the failed input is handed out, and the caller stops the process.
//!
//! ## Not here
//! Who ranks where: `pallet-miner-auction`. What makes a block valid: the executor. Storing blocks and serving
//! them to others: the node.

mod block;
mod buffer;
mod certificate;
mod context;
mod effect;
mod error;
mod evidence;
mod input;
pub mod limits;
mod machine;
mod messages;
mod signer;
mod timing;
mod validators;
mod verify;
pub mod wal;

pub use block::{Block, HeaderFacts, Purpose, ReadHeader, Verdict};
pub use certificate::{Certificate, CertificateError, CertifiedBlock, verify_certificate};
pub use effect::{CheckId, Effect, PeerId};
pub use error::{Fatal, Refusal};
pub use evidence::{EquivocationProof, EvidenceError, verify_evidence};
pub use input::{Input, Pace};
pub use machine::{Config, Machine};
pub use messages::{
    Message, MessageError, PolkaCertificate, Proposal, ProposedBlock, RoundCertificate,
    RoundCertificateKind, RoundVote, Signature, SignedProposal, SignedVote, ValidatorSignature,
    Vote, VoteKind,
};
pub use signer::{FindVoter, Signer, SignerError};
pub use timing::{Timeout, TimeoutKind, Timing};
pub use validators::{Validator, ValidatorSet, ValidatorSetError};
pub use verify::verify_message;

#[cfg(test)]
mod tests;
