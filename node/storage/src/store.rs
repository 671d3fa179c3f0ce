//! The ordered key-value back end under [`crate::ChainDb`].

use std::{borrow::Cow, collections::BTreeMap, fmt};

use crate::error::StoreError;

/// Records that one [`Store::scan`] returns at most.
pub const SCAN_RECORDS_MAX: usize = 1_024;

/// Payload bytes after which a [`Store::scan`] stops; the record that crosses the bound is still
/// returned, so that a scan always makes progress.
pub const SCAN_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a record is about. The number is on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Column {
    /// Few small records about the database itself: best block, genesis.
    Meta = 0,
    /// Block hash → encoded header.
    Headers = 1,
    /// Block number → encoded list of encoded extrinsics.
    Bodies = 2,
    /// Block number → justification.
    Justifications = 3,
    /// Block number → block hash.
    Numbers = 4,
    /// Extrinsic hash → block number and index in its body.
    Extrinsics = 5,
    /// Prefixed node key → trie node.
    State = 6,
    /// Block number → the trie nodes that died there and are still on disk.
    Deaths = 7,
    /// Number of an epoch's last block → proof of who validates in the next epoch.
    SetProofs = 8,
}

impl Column {
    /// Every column, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Meta,
        Self::Headers,
        Self::Bodies,
        Self::Justifications,
        Self::Numbers,
        Self::Extrinsics,
        Self::State,
        Self::Deaths,
        Self::SetProofs,
    ];

    /// The column's number on disk.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The column's position in [`Column::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The column's name, as used in messages and as a table name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Headers => "headers",
            Self::Bodies => "bodies",
            Self::Justifications => "justifications",
            Self::Numbers => "numbers",
            Self::Extrinsics => "extrinsics",
            Self::State => "state",
            Self::Deaths => "deaths",
            Self::SetProofs => "set_proofs",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes that a batch owns or borrows.
type Bytes<'a> = Cow<'a, [u8]>;

/// Changes that are committed together. The last change of a key counts.
///
/// Sorted by column and key, which is the order that trees on disk like best. Borrows where it can: a
/// group of blocks is tens of MiB.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    changes: BTreeMap<(Column, Bytes<'a>), Option<Bytes<'a>>>,
}

impl<'a> Batch<'a> {
    /// Returns a batch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of `key`.
    pub fn put(
        &mut self,
        column: Column,
        key: impl Into<Cow<'a, [u8]>>,
        value: impl Into<Cow<'a, [u8]>>,
    ) {
        self.changes
            .insert((column, key.into()), Some(value.into()));
    }

    /// Removes `key`; a key that does not exist is no error.
    pub fn delete(&mut self, column: Column, key: impl Into<Cow<'a, [u8]>>) {
        self.changes.insert((column, key.into()), None);
    }

    /// Returns the changes in order of column and key; `None` removes the key.
    pub fn iter(&self) -> impl Iterator<Item = (Column, &[u8], Option<&[u8]>)> {
        self.changes
            .iter()
            .map(|((column, key), value)| (*column, key.as_ref(), value.as_deref()))
    }

    /// Returns how many keys change.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// An ordered key-value store with a fixed set of columns.
///
/// Reads run beside a commit and see either all of it or nothing.
pub trait Store: Send + Sync {
    /// Returns the value of `key`, verified against its checksum.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the next records whose key starts with `prefix` and is greater than `after`, ascending.
    ///
    /// Bounded by [`SCAN_RECORDS_MAX`] and [`SCAN_BYTES_MAX`]; an empty answer is the end. Continue with
    /// the last key.
    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError>;

    /// Applies `batch` completely or not at all; when this returns `Ok` the batch is on disk.
    ///
    /// After an error the store accepts no further commit: what the operating system did with the
    /// data of a failed write is unknown until the database is opened again. Reads go on.
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError>;
}

/// Calls `visit` with every record whose key starts with `prefix`, ascending.
pub(crate) fn for_each<E: From<StoreError>>(
    store: &dyn Store,
    column: Column,
    prefix: &[u8],
    mut visit: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(column, prefix, after.as_deref())?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(last.clone());
        for (key, value) in page {
            visit(key, value)?;
        }
    }
}
