//! # Transaction pool
//!
//! Holds what wants to be in a block until it is: validated by the runtime, bounded in every
//! direction, ordered for the builder.
//!
//! The pool is a plain data structure. It runs no task, reads no clock and calls no runtime of its
//! own: the node hands it a [`TransactionValidator`] and block numbers, and wraps it in a mutex.
//!
//! ## Terms
//! - lane: evidence and bids, readings, everything else (PROTOCOL 7). A lane goes before the next
//!   one, whatever priority the next one offers.
//! - ready: everything it requires is on chain or provided by another ready transaction.
//! - future: it requires a tag that nobody provides yet, as a nonce after a gap does.
//! - waiting: the runtime says "not yet", as for the reading of a step that has not closed; it is
//!   asked again after each block.
//! ## Invariants
//! - No limit of [`PoolLimits`] is exceeded between two calls.
//! - Each tag has at most one provider in the pool.
//! - A transaction is ready exactly when all its required tags are provided by ready ones, and the
//!   builder gets providers before their dependents.
//! - Every index holds exactly what is in the pool: [`Pool::check_invariants`] recomputes them all.
//! ## Not here
//! Whether a transaction is valid: the runtime. Gossip, RPC, block building: the node.

mod bans;
mod block;
mod book;
mod error;
mod event;
mod limits;
mod pool;
mod ready;
mod recent;
#[cfg(test)]
mod tests;
mod transaction;

pub use block::{BlockOutcome, BlockReport};
pub use error::{PoolError, Refusal};
pub use event::{PoolEvent, TransactionStatus};
pub use limits::PoolLimits;
pub use pool::{LaneCounts, Pool, PoolStatus, Prechecked, hash_of};
pub use ready::Ready;
pub use transaction::{Account, Checked, Lane, Place, Transaction, TransactionValidator, Verdict};

pub use commonwatt_primitives::{BlockNumber, Hash};
pub use sp_runtime::transaction_validity::{
    InvalidTransaction, TransactionSource, TransactionTag, UnknownTransaction, ValidTransaction,
};
