//! # Light
//!
//! Follows a chain by its headers and certificates alone: for whoever wants to know what was agreed on, and has neither
//! the disk nor the time for the state. From the genesis in the chain spec on, every header is verified before the next
//! one is looked at. Decisions in `docs/adr/0022-light-nodes.md`.
//!
//! Open first: [`verify_next`], then [`Follower`].
//!
//! ## Terms
//! - tip: the last block that was verified, with all that the next one is checked against.
//! - ledger: what was verified, on disk.
//! - flaw: what is wrong with an answer. Its giver's fault; nothing of it is kept.
//! - contradiction: what more than two thirds of the validators signed and must not have. No peer can make one up.
//!
//! ## Invariants
//! - No set of validators is believed that the state root of a verified header does not prove; the first is the genesis'.
//! - What is not verified is not stored.
//! - A contradiction is kept as evidence and ends the following, also after a restart.
//! - Every queue, table and answer has a named bound (`limits.rs`).
//!
//! ## Not here
//! Extrinsics and state: whether a block's content is right, its validators say. Who won the auction, likewise; author,
//! seal and the randomness beacon are checked.

mod contradiction;
mod follow;
mod ledger;
pub mod limits;
mod plan;
mod tip;
mod verify;

pub use contradiction::Contradiction;
pub use follow::{FollowError, Follower, News};
pub use ledger::{Ledger, LedgerError};
pub use tip::{Genesis, GenesisError, Tip};
pub use verify::{Breach, Flaw, Refused, Verified, verify_next, verify_same};

#[cfg(test)]
mod tests;
