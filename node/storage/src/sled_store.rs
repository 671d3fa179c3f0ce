//! The default back end: sled 0.34.
//!
//! What sled does, and what this adds:
//! - `flush` writes the log with `sync_file_range`, which neither waits for the disk's own cache nor
//!   writes the file's length. So every commit ends with `fdatasync` on the log file.
//! - An item larger than a quarter of a segment (128 KiB) goes to a file of its own under `blobs/` that is
//!   never synced. Items are tree leaves of about 16 records, whatever their size, so values longer than
//!   [`CHUNK_BYTES`] are split: then no leaf comes near the limit. Should a blob appear all the same it is
//!   synced with the commit.
//! - A batch on one tree is atomic and costs less than a transaction over several, so all columns share
//!   the default tree, told apart by the first byte of the key.
//! - Segments are reused only after the log has become stable past the batch that emptied them, and
//!   commits come one after the other, each ending with a sync. So a reused segment never held
//!   the only durable copy of anything.
//! - Reads wait while a batch is applied. [`crate::ChainDb`] answers most of them from memory.
//! - sled panics on some damaged files; here this becomes an error.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    error::StoreError,
    folder::{DatabaseKind, sync_path},
    record::{self, RecordKind},
    store::{Batch, Column, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, Store},
};

/// Payload bytes of one chunk of a long value. A leaf holds up to 17 records before it is split; with
/// 4 KiB it stays at about half of what would become a blob.
const CHUNK_BYTES: usize = 4 * 1024;

/// Set in a key's first byte when the record is a chunk.
const CHUNK_FLAG: u8 = 0x80;

/// A value that claims to be longer is damage, not data.
const VALUE_BYTES_MAX: u64 = 1 << 32;

/// How long opening waits for an earlier sled of this process to let go of its file, and how often it
/// looks.
const UNLOCK_WAIT_MAX: Duration = Duration::from_secs(10);
const UNLOCK_POLL: Duration = Duration::from_millis(5);

/// A [`Store`] on sled.
pub struct SledStore {
    db: sled::Db,
    path: PathBuf,
    /// The log file, open a second time to sync it.
    log: File,
    /// One commit at a time; holds the blobs that are synced already.
    committing: Mutex<BTreeSet<OsString>>,
    /// Whether a column ever held a split value: only then overwriting must look for old chunks.
    has_chunks: [AtomicBool; Column::ALL.len()],
    stopped: OnceLock<String>,
}

impl SledStore {
    /// Opens or creates the store in the folder `path`, with about `cache_bytes` of page cache.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        guarded("open", || {
            let db = open_when_unlocked(path, cache_bytes)?;
            // The files that sled creates once and does not sync.
            for file in [path.join("conf"), path.join("blobs"), path.to_owned()] {
                sync_path(&file)
                    .map_err(|e| StoreError::io(format!("sync {}", file.display()), e))?;
            }
            let log_path = path.join("db");
            let log = File::options()
                .read(true)
                .write(true)
                .open(&log_path)
                .map_err(|e| StoreError::io(format!("open {}", log_path.display()), e))?;
            let store = Self {
                db,
                path: path.to_owned(),
                log,
                committing: Mutex::new(BTreeSet::new()),
                has_chunks: Default::default(),
                stopped: OnceLock::new(),
            };
            for column in Column::ALL {
                let first = store
                    .db
                    .scan_prefix([column.id() | CHUNK_FLAG])
                    .keys()
                    .next();
                let found = first
                    .transpose()
                    .map_err(|error| failed("open", &error))?
                    .is_some();
                store.has_chunks[column.index()].store(found, Ordering::Relaxed);
            }
            store.sync()?;
            Ok(store)
        })
    }

    /// Makes everything that sled has written durable.
    fn sync(&self) -> Result<(), StoreError> {
        let mut synced = self.committing.lock();
        self.sync_locked(&mut synced)
    }

    fn sync_locked(&self, synced_blobs: &mut BTreeSet<OsString>) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| failed("flush", &error))?;
        let blobs = self.path.join("blobs");
        let to_error = |e| StoreError::io(format!("sync {}", blobs.display()), e);
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&blobs).map_err(to_error)? {
            let entry = entry.map_err(to_error)?;
            if !synced_blobs.contains(&entry.file_name()) {
                sync_path(&entry.path()).map_err(to_error)?;
            }
            present.insert(entry.file_name());
        }
        if present != *synced_blobs {
            sync_path(&blobs).map_err(to_error)?;
            *synced_blobs = present;
        }
        self.log
            .sync_data()
            .map_err(|e| StoreError::io("sync the database log", e))
    }

    fn read_value(&self, column: Column, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (kind, payload) = record::open(column, key, stored)?;
        match kind {
            RecordKind::Whole => Ok(payload.to_vec()),
            RecordKind::Split => self.read_chunks(column, key, payload),
            RecordKind::Chunk => Err(StoreError::corrupt(
                column,
                key,
                "a chunk stands in the place of a value",
            )),
        }
    }

    fn read_chunks(
        &self,
        column: Column,
        key: &[u8],
        length: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let damaged = |what: String| StoreError::corrupt(column, key, what);
        let length =
            parse_length(length).ok_or_else(|| damaged("its length is impossible".into()))?;
        let mut value = Vec::new();
        for index in 0..count_chunks(length) {
            let chunk_key = chunk_key(column, key, index);
            let chunk = self
                .db
                .get(&chunk_key)
                .map_err(|error| failed("read", &error))?
                .ok_or_else(|| damaged(format!("chunk {index} is missing")))?;
            match record::open(column, &chunk_key, &chunk)? {
                (RecordKind::Chunk, payload) => value.extend_from_slice(payload),
                _ => return Err(damaged(format!("chunk {index} is not a chunk"))),
            }
        }
        if u64::try_from(value.len()).ok() == Some(length) {
            Ok(value)
        } else {
            Err(damaged(format!(
                "it has {} bytes instead of {length}",
                value.len()
            )))
        }
    }

    /// Adds the removal of the chunks that `key` has now, if any.
    fn remove_old_chunks(
        &self,
        column: Column,
        key: &[u8],
        writes: &mut sled::Batch,
    ) -> Result<(), StoreError> {
        if !self.has_chunks[column.index()].load(Ordering::Relaxed) {
            return Ok(());
        }
        let old = self
            .db
            .get(head_key(column, key))
            .map_err(|error| failed("read", &error))?;
        if let Some(old) = old
            && let (RecordKind::Split, length) = record::open(column, key, &old)?
            && let Some(length) = parse_length(length)
        {
            for index in 0..count_chunks(length) {
                writes.remove(chunk_key(column, key, index));
            }
        }
        Ok(())
    }

    fn commit_locked(
        &self,
        batch: &Batch<'_>,
        synced_blobs: &mut BTreeSet<OsString>,
    ) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (column, key, value) in batch.iter() {
            self.remove_old_chunks(column, key, &mut writes)?;
            match value {
                None => writes.remove(head_key(column, key)),
                Some(value) if value.len() <= CHUNK_BYTES => writes.insert(
                    head_key(column, key),
                    record::seal(column, key, RecordKind::Whole, value),
                ),
                Some(value) => {
                    let length = u64::try_from(value.len())
                        .ok()
                        .filter(|length| *length <= VALUE_BYTES_MAX)
                        .ok_or_else(|| StoreError::corrupt(column, key, "the value is too long"))?;
                    self.has_chunks[column.index()].store(true, Ordering::Relaxed);
                    let head = record::seal(column, key, RecordKind::Split, &length.to_le_bytes());
                    writes.insert(head_key(column, key), head);
                    for (index, chunk) in (0_u32..).zip(value.chunks(CHUNK_BYTES)) {
                        let chunk_key = chunk_key(column, key, index);
                        let sealed = record::seal(column, &chunk_key, RecordKind::Chunk, chunk);
                        writes.insert(chunk_key, sealed);
                    }
                }
            }
        }
        self.db
            .apply_batch(writes)
            .map_err(|error| failed("write", &error))?;
        self.sync_locked(synced_blobs)?;
        free_garbage(batch.len());
        Ok(())
    }
}

impl Store for SledStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded("read", || {
            let stored = self
                .db
                .get(head_key(column, key))
                .map_err(|error| failed("read", &error))?;
            stored
                .map(|stored| self.read_value(column, key, &stored))
                .transpose()
        })
    }

    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError> {
        guarded("read", || {
            let start = head_key(column, after.unwrap_or(prefix));
            let first = match after {
                Some(_) => std::ops::Bound::Excluded(start),
                None => std::ops::Bound::Included(start),
            };
            let mut records = Vec::new();
            let mut bytes = 0_usize;
            for item in self.db.range((first, std::ops::Bound::Unbounded)) {
                let (stored_key, stored) = item.map_err(|error| failed("read", &error))?;
                let Some(key) = stored_key.strip_prefix(&[column.id()]) else {
                    break;
                };
                if !key.starts_with(prefix) {
                    break;
                }
                let value = self.read_value(column, key, &stored)?;
                bytes = bytes.saturating_add(value.len());
                records.push((key.to_vec(), value));
                if records.len() >= SCAN_RECORDS_MAX || bytes >= SCAN_BYTES_MAX {
                    break;
                }
            }
            Ok(records)
        })
    }

    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut synced_blobs = self.committing.lock();
        if let Some(cause) = self.stopped.get() {
            return Err(StoreError::Stopped {
                cause: cause.clone(),
            });
        }
        let result = guarded("write", || self.commit_locked(batch, &mut synced_blobs));
        if let Err(error) = &result {
            // After a failed sync the kernel may drop the dirty pages: trying again would lie.
            self.stopped.get_or_init(|| error.to_string());
        }
        result
    }
}

/// Frees the old versions of the pages that a batch of this many changes replaced.
///
/// sled leaves them to epoch based reclamation, which a batch holds up while it lasts and which afterwards
/// frees a few hundred every 128 operations: with big batches and few reads between it never catches up,
/// and memory grows with everything ever written.
fn free_garbage(changes: usize) {
    // One change replaces a page or two, and sometimes splits one; a flush frees about 500 objects.
    const CHANGES_PER_FLUSH: usize = 64;
    const FLUSHES_MIN: usize = 4;
    for _ in 0..changes
        .div_ceil(CHANGES_PER_FLUSH)
        .saturating_add(FLUSHES_MIN)
    {
        crossbeam_epoch::pin().flush();
    }
}

/// Opens sled, and waits if a sled that was just closed in this process still holds its lock: its threads
/// let go of the file a little after the last handle is dropped.
fn open_when_unlocked(path: &Path, cache_bytes: u64) -> Result<sled::Db, StoreError> {
    let start = Instant::now();
    loop {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            // Commits flush by themselves; a timer would only write half-finished batches early.
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && start.elapsed() < UNLOCK_WAIT_MAX =>
            {
                thread::sleep(UNLOCK_POLL);
            }
            Err(error) => return Err(failed("open", &error)),
        }
    }
}

/// Runs `operation` and turns a panic of sled into an error.
fn guarded<T>(
    action: &'static str,
    operation: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| {
        Err(StoreError::BackEnd {
            kind: DatabaseKind::Sled,
            action,
            what: crate::folder::describe_panic(panic.as_ref()),
        })
    })
}

fn failed(action: &'static str, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => {
            let source = match source.raw_os_error() {
                Some(code) => std::io::Error::from_raw_os_error(code),
                None => std::io::Error::new(source.kind(), source.to_string()),
            };
            StoreError::io(format!("{action} the database"), source)
        }
        other => StoreError::BackEnd {
            kind: DatabaseKind::Sled,
            action,
            what: other.to_string(),
        },
    }
}

fn head_key(column: Column, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len().saturating_add(1));
    bytes.push(column.id());
    bytes.extend_from_slice(key);
    bytes
}

/// Chunk keys of different values differ: the index has a fixed width, so equal chunk keys mean equal keys.
fn chunk_key(column: Column, key: &[u8], index: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len().saturating_add(5));
    bytes.push(column.id() | CHUNK_FLAG);
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes
}

fn parse_length(bytes: &[u8]) -> Option<u64> {
    let length = u64::from_le_bytes(bytes.try_into().ok()?);
    (length <= VALUE_BYTES_MAX).then_some(length)
}

fn count_chunks(length: u64) -> u32 {
    let chunk = u64::try_from(CHUNK_BYTES).expect("4096 fits; qed");
    u32::try_from(length.div_ceil(chunk)).expect("at most 2^32 / 4096 chunks; qed")
}

#[cfg(test)]
impl SledStore {
    /// Returns how many chunks of long values there are.
    pub(crate) fn count_chunks_on_disk(&self) -> usize {
        self.db.range([CHUNK_FLAG]..).count()
    }
}
