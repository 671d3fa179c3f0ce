//! What can go wrong when the runtime runs.

use commonwatt_runtime::Hash;

/// Why a call was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such runtime function.
    #[error("runtime function {0} does not exist; the metadata lists those there are")]
    UnknownFunction(String),
    /// The arguments hold something that is no extrinsic of this chain.
    #[error(
        "the arguments of {function} are not usable: {reason}; fetch the metadata again and encode with \
         extrinsic version 4"
    )]
    Arguments {
        /// The runtime function.
        function: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The runtime panicked: over the arguments, or over a state it cannot read.
    #[error("the runtime refused {function}: {reason}")]
    Panicked {
        /// The runtime function.
        function: String,
        /// What the panic said.
        reason: String,
    },
    /// The result does not decode: caller and runtime speak of different versions.
    #[error("the answer of {0} does not decode")]
    Undecodable(String),
}

/// Why a block was not executed or built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// An extrinsic of the block does not decode.
    #[error("extrinsic {index} of the block does not decode: {reason}")]
    UndecodableExtrinsic {
        /// Its place in the block.
        index: usize,
        /// What the decoder said.
        reason: String,
    },
    /// The runtime panicked, which is how FRAME rejects a block.
    #[error("the block is invalid: {0}")]
    Rejected(String),
    /// Execution leads to another state than the header says.
    #[error(
        "the block is invalid: its header says state root {expected}, execution gives {actual}"
    )]
    StateRootDiffers {
        /// What the header says.
        expected: Hash,
        /// What execution gave.
        actual: Hash,
    },
    /// The changes could not be collected: the state below is unreadable.
    #[error(
        "the state cannot be read: {0}; keep the database's folder, check the disk, then restore a copy of the folder or \
         import exported blocks into an empty one"
    )]
    State(String),
    /// An inherent of a block under construction failed: the clock or the parent is wrong.
    #[error("an inherent could not be applied: {0}")]
    Inherent(String),
}
