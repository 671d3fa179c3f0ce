//! Blocks, state trie and indexes behind a Store trait, with two back ends: sled and redb.
//!
//! ## Layers
//! - [`Store`]: an ordered key-value store with a fixed set of [`Column`]s. A commit is atomic, and it
//!   is on disk when it returns. [`SledStore`] and [`RedbStore`] implement it; every record carries a
//!   checksum that every read verifies.
//! - [`ChainDb`]: the chain in terms of a `Store`: blocks, indexes, the state after each kept block,
//!   and the pruning of the others. It does not know which back end it runs on.
//!
//! ## Invariants
//! - There is never a block without its state: both are in one commit.
//! - A block acknowledged in [`CommitMode::Durable`] is on disk. In [`CommitMode::Bulk`] a block is
//!   readable at once and on disk when [`ChainDb::durable_number`] has reached it.
//! - Pruning removes a trie node only when no kept state can reach it.
//! - After a failed write nothing more is written, and what was acknowledged stays readable.
//!
//! ## Not here
//! Forks (a decided block is final, so only the child of the best block is accepted), execution, and the
//! write-ahead log of the agreement.

mod chain;
mod commit;
mod error;
mod folder;
mod group;
mod integrity;
mod nodes;
mod pruning;
mod record;
mod redb_store;
mod revert;
mod sled_store;
mod state;
mod state_root;
mod store;
mod values;

#[cfg(test)]
mod tests;

pub use chain::{ChainDb, CommitMode, DbConfig, Header, NewBlock, Statistics, StoredBlock};
pub use commit::{BULK_BLOCKS_MAX, BULK_BYTES_MAX};
pub use error::{OpenError, StateError, StorageError, StoreError};
pub use folder::{DATABASE_MARKER, DatabaseKind, is_database_entry};
pub use pruning::StatePruning;
pub use redb_store::RedbStore;
pub use sled_store::SledStore;
pub use state::{State, StateIter, StateStorage};
pub use store::{Batch, Column, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, Store};
pub use values::StateChange;
