//! # Executor
//!
//! Runs the native runtime over a state: answers calls, validates transactions, builds blocks and executes
//! them again.
//!
//! ## Invariants
//! - A panic inside the runtime never leaves this crate: it becomes an error that names what panicked.
//! - Nothing here writes a state: what execution changed is returned.
//! - Extrinsics from outside are decoded to a bounded depth: the stack holds whatever comes.
//! - A block is accepted only when executing it gives the roots in its header.
//! ## Not here
//! Storage, the pool, the clock: the caller says when building must stop.

mod build;
mod decode;
mod error;
mod execute;
mod native;
mod overlay;
mod preverify;

pub use build::{
    BlockDraft, BuildLimits, Built, Candidate, Outcome, extrinsic_hash, extrinsics_root,
};
pub use decode::{EXTRINSIC_DEPTH_MAX, decode_extrinsic};
pub use error::{CallError, ExecutionError};
pub use execute::{BlockChanges, GenesisBlock};
pub use native::{install_panic_hook, is_state_failure};

use std::sync::Arc;

use commonwatt_runtime::signature::VerifiedSignatures;

/// Signatures remembered on a node: two generations of as many as fit into one block, 13 MB together.
const SIGNATURES_MAX: usize = 100_000;

/// Runs the runtime. Cheap to clone; clones share the memory of verified signatures.
#[derive(Clone)]
pub struct Executor {
    signatures: Arc<VerifiedSignatures>,
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// Creates an executor, and silences what the runtime's own panics would print.
    pub fn new() -> Self {
        install_panic_hook();
        Self {
            signatures: Arc::new(VerifiedSignatures::new(SIGNATURES_MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
