//! What can go wrong, whose fault it is, and what to do about it.

use std::{io, path::PathBuf};

use sp_core::H256;

use crate::{folder::DatabaseKind, store::Column};

/// What to do when the database itself is damaged; ends every such message.
pub(crate) const RESTORE: &str = "check the disk and keep the folder as it is, then restore it \
                                  elsewhere from a copy, or import exported blocks into an empty one";

/// What to do when the disk is full.
const DISK_FULL: &str =
    "the disk is full: make room, then start the node again; blocks that were announced are safe";

/// Failure of the key-value back end.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused a file operation.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("record {key} in column {column} is damaged: {what}; {RESTORE}")]
    Corrupt {
        /// The record's column.
        column: Column,
        /// The record's key in hexadecimal.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The back end reports a failure of its own.
    #[error("the {kind} database failed to {action}: {what}; {RESTORE}")]
    BackEnd {
        /// The back end.
        kind: DatabaseKind,
        /// What was attempted.
        action: &'static str,
        /// What the back end said.
        what: String,
    },
    /// An earlier commit failed, so nothing more is written.
    #[error(
        "the database accepts no more writes since one failed ({cause}); mend the cause (free disk \
         space, check the disk) and start the node again"
    )]
    Stopped {
        /// The first failure.
        cause: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        // Back ends say it in several ways, some of them for programmers.
        let source = match source.kind() {
            io::ErrorKind::StorageFull => io::Error::new(io::ErrorKind::StorageFull, DISK_FULL),
            _ => source,
        };
        Self::Io {
            action: action.into(),
            source,
        }
    }

    pub(crate) fn corrupt(column: Column, key: &[u8], what: impl Into<String>) -> Self {
        Self::Corrupt {
            column,
            key: format!("0x{}", to_hex(key)),
            what: what.into(),
        }
    }
}

/// Failure of an operation on the chain.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The back end failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No genesis block was written yet.
    #[error("the database is empty: initialise it with a genesis block first")]
    NotInitialized,
    /// A genesis block was written already.
    #[error("the database already holds the chain with genesis {genesis:?}; use another folder")]
    AlreadyInitialized {
        /// The genesis that is there.
        genesis: H256,
    },
    /// The database belongs to another chain.
    #[error(
        "this is a database of another chain: its genesis is {found:?}, the chain spec's is \
         {expected:?}; use another folder or another chain spec"
    )]
    OtherChain {
        /// The genesis asked for.
        expected: H256,
        /// The genesis in the database.
        found: H256,
    },
    /// Only the child of the best block can be committed.
    #[error(
        "block {number} with parent {parent:?} does not follow the best block {best_number} \
         ({best:?})"
    )]
    NotChildOfBest {
        /// The offered block's number.
        number: u32,
        /// The offered block's parent.
        parent: H256,
        /// The best block's number.
        best_number: u32,
        /// The best block's hash.
        best: H256,
    },
    /// The block contradicts itself or its state changes.
    #[error("block {number} cannot be stored: {what}")]
    InvalidBlock {
        /// The block's number.
        number: u32,
        /// What is wrong.
        what: String,
    },
    /// The block is not in the database.
    #[error("block {hash:?} is not in the database")]
    UnknownBlock {
        /// The hash asked for.
        hash: H256,
    },
    /// A record decodes to something impossible.
    #[error("the database is damaged: {what}; {RESTORE}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// An earlier write failed, so no more blocks are accepted.
    #[error(
        "no more blocks are stored since a write failed ({cause}); block {durable_number} is the last \
         on disk; mend the cause (free disk space, check the disk) and start the node again"
    )]
    Stopped {
        /// The first failure.
        cause: String,
        /// The last block on disk.
        durable_number: u32,
    },
}

/// Failure to open a database.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused a file operation.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the database open.
    #[error(
        "another process uses the database in {path}; stop it, or give this one another folder"
    )]
    Locked {
        /// The database folder.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{path} is neither empty nor a database of this program: {what}; use another folder")]
    NotADatabase {
        /// The folder.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// There is nothing to open.
    #[error("there is no database in {path}: nothing was stored there yet")]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// The database was written in another format.
    #[error(
        "the database in {path} has format {found}, this version reads format {expected}; use the \
         version that wrote it, or export the blocks with that version and import them into another folder"
    )]
    OtherVersion {
        /// The folder.
        path: PathBuf,
        /// The format on disk.
        found: u32,
        /// The format of this version.
        expected: u32,
    },
    /// The database was made by the other back end.
    #[error(
        "the database in {path} was made with {found}, not with {asked}; start with \
         `--database {found}` or use another folder"
    )]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// The back end on disk.
        found: DatabaseKind,
        /// The back end asked for.
        asked: DatabaseKind,
    },
    /// An archive was opened as a pruned database or the other way round.
    #[error(
        "the database was made with `--state-pruning {found}`, and this start asks for {asked} (256 where the flag \
         is left out): start with `--state-pruning {found}`, or import the exported blocks into another folder"
    )]
    OtherPruning {
        /// The mode on disk.
        found: String,
        /// The mode asked for.
        asked: String,
    },
    /// The configuration makes no sense.
    #[error("the database configuration is wrong: {what}")]
    Config {
        /// What is wrong.
        what: String,
    },
    /// The back end failed or holds damaged records.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.into())
    }
}

/// Failure to give access to a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The block is not in the database.
    #[error("block {hash:?} is not in the database")]
    UnknownBlock {
        /// The hash asked for.
        hash: H256,
    },
    /// The block is there, its state is not.
    #[error(
        "the state after block {number} ({hash:?}) was discarded: this node keeps {kept}; ask for a \
         newer block, or ask an archive node"
    )]
    StateDiscarded {
        /// The block's number.
        number: u32,
        /// The block's hash.
        hash: H256,
        /// Which states there are.
        kept: String,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Storage(error.into())
    }
}

/// Returns `bytes` in hexadecimal, at most its first 64 bytes.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let mut text: String = bytes
        .iter()
        .take(SHOWN_MAX)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if bytes.len() > SHOWN_MAX {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_what_to_do() {
        let error = StoreError::io("write the database", io::Error::from_raw_os_error(28));
        let said = error.to_string();
        assert!(said.contains("the disk is full: make room"), "{said}");
        assert!(!said.contains("Os {"), "{said}");
    }
}
