//! Who watches the chain at work, for figures alone.

use std::time::Duration;

use commonwatt_txpool::{PoolError, PoolEvent};

/// Is told what the chain does, while it does it and partly under its locks: so it returns at once, and what it
/// does changes nothing.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn observe(&self, what: Observed<'_>);
}

/// What the chain did.
#[derive(Debug)]
pub enum Observed<'a> {
    /// The runtime is asked about so many transactions.
    ValidationBegan(usize),
    /// The runtime has answered about so many.
    ValidationDone(usize),
    /// A transaction that was submitted is not taken.
    Refused(&'a PoolError),
    /// Transactions of the pool, or ones that came, have another status.
    Pool(&'a [PoolEvent]),
    /// A block was built, and is not stored yet.
    Built {
        /// How long that took.
        took: Duration,
        /// Extrinsics it holds, inherents included.
        extrinsics: usize,
    },
    /// A block that somebody made was executed.
    Executed {
        /// How long that took.
        took: Duration,
    },
    /// A block was handed to the database.
    Stored {
        /// How long it took until the database returned.
        took: Duration,
        /// Extrinsics it holds, inherents included.
        extrinsics: usize,
        /// Their bytes.
        bytes: usize,
    },
}
