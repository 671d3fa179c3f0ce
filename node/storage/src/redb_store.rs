//! The second back end: redb, a copy-on-write B-tree in one file.
//!
//! Every commit is synced before it returns (`Durability::Immediate`) and keeps the allocator state
//! (`quick_repair`), so that opening after a crash does not walk the whole file. Reads run on
//! snapshots and never wait for a commit.

use std::{
    ops::{Bound, Deref},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::OnceLock,
};

use parking_lot::Mutex;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use crate::{
    error::StoreError,
    folder::{DatabaseKind, describe_panic, sync_path},
    record::{self, RecordKind},
    store::{Batch, Column, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, Store},
};

/// A [`Store`] on redb.
pub struct RedbStore {
    db: Closing,
    /// One commit at a time.
    committing: Mutex<()>,
    stopped: OnceLock<String>,
}

/// A database that is closed without a panic.
///
/// Closing writes what redb knows of free pages, and redb panics when those records are damaged. What was committed is
/// on disk before, so nothing is lost by it.
struct Closing(Option<Database>);

impl Deref for Closing {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0
            .as_ref()
            .expect("it is taken only when it is dropped")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let db = self.0.take();
        if let Err(error) = guarded("close", || {
            drop(db);
            Ok(())
        }) {
            tracing::warn!(%error, "the database was left as after a crash; check the disk");
        }
    }
}

const fn table(column: Column) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(column.name())
}

impl RedbStore {
    /// Opens or creates the store in the folder `path`, with about `cache_bytes` of page cache.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        guarded("open", || {
            let file = path.join("chain.redb");
            let mut builder = Database::builder();
            builder.set_cache_size(cache_bytes);
            let store = Self::with_database(builder.create(&file).map_err(|e| failed("open", e))?)?;
            sync_path(path).map_err(|e| StoreError::io(format!("sync {}", path.display()), e))?;
            Ok(store)
        })
    }

    /// Makes a store of an open database.
    pub(crate) fn with_database(db: Database) -> Result<Self, StoreError> {
        let store = Self {
            db: Closing(Some(db)),
            committing: Mutex::new(()),
            stopped: OnceLock::new(),
        };
        let complete = {
            let read = store.db.begin_read().map_err(|e| failed("open", e))?;
            read.list_tables().map_err(|e| failed("open", e))?.count() == Column::ALL.len()
        };
        if !complete {
            // An empty commit creates the tables, so that reads find them.
            store.commit_locked(&Batch::new())?;
        }
        Ok(store)
    }

    fn commit_locked(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut write = self.db.begin_write().map_err(|e| failed("write", e))?;
        write
            .set_durability(Durability::Immediate)
            .map_err(|e| failed("write", e))?;
        write.set_quick_repair(true);
        let mut changes = batch.iter().peekable();
        for column in Column::ALL {
            let mut table = write
                .open_table(table(column))
                .map_err(|e| failed("write", e))?;
            while let Some((_, key, value)) = changes.next_if(|change| change.0 == column) {
                match value {
                    Some(value) => {
                        let sealed = record::seal(column, key, RecordKind::Whole, value);
                        table
                            .insert(key, sealed.as_slice())
                            .map_err(|e| failed("write", e))?;
                    }
                    None => {
                        table.remove(key).map_err(|e| failed("write", e))?;
                    }
                }
            }
        }
        write.commit().map_err(|e| failed("write", e))
    }
}

impl Store for RedbStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded("read", || {
            let read = self.db.begin_read().map_err(|e| failed("read", e))?;
            let table = read
                .open_table(table(column))
                .map_err(|e| failed("read", e))?;
            let Some(stored) = table.get(key).map_err(|e| failed("read", e))? else {
                return Ok(None);
            };
            read_value(column, key, stored.value()).map(Some)
        })
    }

    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError> {
        guarded("read", || {
            let read = self.db.begin_read().map_err(|e| failed("read", e))?;
            let table = read
                .open_table(table(column))
                .map_err(|e| failed("read", e))?;
            let first = match after {
                Some(after) => Bound::Excluded(after),
                None => Bound::Included(prefix),
            };
            let range = table
                .range::<&[u8]>((first, Bound::Unbounded))
                .map_err(|e| failed("read", e))?;
            let mut records = Vec::new();
            let mut bytes = 0_usize;
            for item in range {
                let (key, stored) = item.map_err(|e| failed("read", e))?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                let value = read_value(column, key.value(), stored.value())?;
                bytes = bytes.saturating_add(value.len());
                records.push((key.value().to_vec(), value));
                if records.len() >= SCAN_RECORDS_MAX || bytes >= SCAN_BYTES_MAX {
                    break;
                }
            }
            Ok(records)
        })
    }

    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let _committing = self.committing.lock();
        if let Some(cause) = self.stopped.get() {
            return Err(StoreError::Stopped {
                cause: cause.clone(),
            });
        }
        let result = guarded("write", || self.commit_locked(batch));
        if let Err(error) = &result {
            self.stopped.get_or_init(|| error.to_string());
        }
        result
    }
}

fn read_value(column: Column, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
    match record::open(column, key, stored)? {
        (RecordKind::Whole, payload) => Ok(payload.to_vec()),
        (kind, _) => Err(StoreError::corrupt(
            column,
            key,
            format!("unexpected kind {kind:?}"),
        )),
    }
}

/// Runs `operation` and turns a panic of redb into an error.
fn guarded<T>(
    action: &'static str,
    operation: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        let what = describe_panic(panic.as_ref());
        Err(StoreError::BackEnd {
            kind: DatabaseKind::Redb,
            action,
            what,
        })
    })
}

fn failed(action: &'static str, error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(source) => StoreError::io(format!("{action} the database"), source),
        other => StoreError::BackEnd {
            kind: DatabaseKind::Redb,
            action,
            what: other.to_string(),
        },
    }
}
