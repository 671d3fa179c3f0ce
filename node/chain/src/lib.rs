//! # Chain
//!
//! The node's core: it makes, checks and keeps blocks, pools transactions, and tells the news. Who may make a
//! block and when one counts sits behind [`Agreement`].
//!
//! ## Invariants
//! - Height is step: block `s` follows block `s − 1` and closes step `s`.
//! - A block is announced only when it is stored.
//! - Blocks are built and imported one after the other; readers never wait for them.
//! ## Not here
//! The clock (the caller says whether a block is late), the network, JSON-RPC.

mod agreement;
mod chain;
mod error;
mod health;
mod light;
mod news;
mod observer;
mod proposal;
mod validation;

pub use agreement::{
    Agreement, AgreementError, SessionPairs, SessionSigner, Validators, take_seal, validator_set,
    verify_claim,
};
pub use chain::{Authored, Chain, ChainConfig, lineup_of, verify_runtime};
pub use error::ChainError;
pub use health::{HealthCheck, Unready};
pub use light::{
    LightBlock, SET_PROOF_BYTES_MAX, SET_PROOF_NODES_MAX, SetProof, SetProofError, closes_epoch,
};
pub use news::{NewHead, Watch};
pub use observer::{Observed, Observer};
pub use proposal::{Checked, Pooled, ProposalDraft, Proposed};

#[cfg(test)]
mod tests;
