//! What can go wrong with a chain.

use commonwatt_executor::{CallError, ExecutionError};
use commonwatt_runtime::Hash;
use commonwatt_storage::{StateError, StorageError};

use crate::AgreementError;

/// Why the chain did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The database refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state asked for is not there.
    #[error(transparent)]
    State(#[from] StateError),
    /// The runtime refused a block.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The runtime refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A block's author, seal or certificate is not right.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Nobody said who may make blocks, so none can be checked.
    #[error("this node knows no validator to check block {0} against")]
    NoAgreement(u32),
    /// The state says nobody may make a block.
    #[error(
        "the state before block {0} does not say who makes it: was the chain begun by another version?"
    )]
    NoLineup(u32),
    /// The block does not follow the best block.
    #[error(
        "block {number} with parent {parent:?} does not follow the best block {best} ({best_hash:?})"
    )]
    NotNext {
        /// The block's number.
        number: u32,
        /// The parent it names.
        parent: Hash,
        /// The best block's number.
        best: u32,
        /// The best block's hash.
        best_hash: Hash,
    },
    /// The state was made by a runtime this binary does not know.
    #[error(
        "the chain runs {found:?}, this binary executes {known:?}: install the version of commonwatt that \
         knows it; the database was not touched"
    )]
    UnknownRuntime {
        /// The marker in the state.
        found: String,
        /// The marker of this binary.
        known: String,
    },
    /// A genesis that the runtime cannot build.
    #[error("the chain spec's genesis is not usable: {0}")]
    Genesis(String),
}
