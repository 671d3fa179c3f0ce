//! The write-ahead log in a file. The only module of this crate that touches one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use commonwatt_primitives::Hash;

use super::{
    Log, Recovered, WalEntry, WalError,
    codec::{MARKS_BYTES, decode, encode_batch, encode_header},
};
use crate::limits::WAL_BYTES_MAX;

/// What a disk writes as a whole.
const PAGE_BYTES: u64 = 4096;

/// A log in one file.
///
/// Entries gather in memory and are written with their marks as one batch, then `fdatasync`ed. A new height
/// replaces the file by renaming, so there is never a file without a sound header.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    genesis: Hash,
    /// `None` before the first height of a new log.
    begun: Option<Begun>,
    pending: Vec<WalEntry>,
    /// An operation failed, so nothing more is written.
    is_stopped: bool,
}

#[derive(Debug)]
struct Begun {
    file: File,
    height: u32,
    bytes: u64,
    entries: u32,
}

impl FileLog {
    /// Opens the log in `path`, or starts a new one there; returns what it held.
    pub fn open(
        path: impl Into<PathBuf>,
        genesis: Hash,
    ) -> Result<(Self, Option<Recovered>), WalError> {
        let path = path.into();
        let mut log = Self {
            path,
            genesis,
            begun: None,
            pending: Vec::new(),
            is_stopped: false,
        };
        let mut file = match File::open(&log.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((log, None)),
            Err(error) => return Err(log.error("open", error)),
        };
        let length = file
            .metadata()
            .map_err(|error| log.error("read", error))?
            .len();
        if length > WAL_BYTES_MAX {
            return Err(WalError::TooLong);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| log.error("read", error))?;
        let contents = decode(&bytes, &log.genesis)?;
        // A process that ended while it synced leaves entries that can be read but are not on disk. Replaying
        // sends them, so all that is sound is written anew first; a torn end is thereby cut off.
        let sound = &bytes[..contents.sound_bytes];
        let sound_bytes = u64::try_from(sound.len()).unwrap_or(u64::MAX);
        let file = replace(&log.path, &fresh(&log.path), sound)
            .map_err(|error| log.error("rewrite", error))?;
        log.begun = Some(Begun {
            file,
            height: contents.height,
            bytes: sound_bytes,
            entries: u32::try_from(contents.entries.len()).map_err(|_| WalError::TooLong)?,
        });
        let recovered = Recovered {
            height: contents.height,
            entries: contents.entries,
        };
        Ok((log, Some(recovered)))
    }

    fn error(&self, action: &'static str, source: io::Error) -> WalError {
        WalError::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }

    /// Runs `operation`; after a failure nothing more is written.
    fn guarded<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, WalError>,
    ) -> Result<T, WalError> {
        if self.is_stopped {
            return Err(WalError::Stopped);
        }
        let outcome = operation(self);
        self.is_stopped = outcome.is_err();
        outcome
    }

    fn begin(&mut self, height: u32) -> Result<(), WalError> {
        let header = encode_header(&self.genesis, height);
        let file = replace(&self.path, &fresh(&self.path), &header)
            .map_err(|error| self.error("begin", error))?;
        self.pending.clear();
        self.begun = Some(Begun {
            file,
            height,
            bytes: u64::try_from(header.len()).unwrap_or(u64::MAX),
            entries: 0,
        });
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), WalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let begun = self.begun.as_mut().ok_or(WalError::NotBegun)?;
        let batch = encode_batch(&self.genesis, begun.height, begun.entries, &self.pending)?;
        let written = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let bytes = begun.bytes.saturating_add(written);
        if bytes > WAL_BYTES_MAX {
            return Err(WalError::TooLong);
        }
        let count = u32::try_from(self.pending.len()).map_err(|_| WalError::TooLong)?;
        let entries = begun.entries.checked_add(count).ok_or(WalError::TooLong)?;
        let outcome = write_in_order(&mut begun.file, begun.bytes, &batch);
        begun.bytes = bytes;
        begun.entries = entries;
        self.pending.clear();
        outcome.map_err(|error| self.error("write to", error))
    }
}

/// Writes a batch behind `offset`; on disk when done.
///
/// The marks of one that spans pages follow when the rest is on disk. Otherwise a power cut could leave a mark
/// behind entries that never arrived, and the log would count as damaged though nothing had left the node.
fn write_in_order(file: &mut File, offset: u64, batch: &[u8]) -> io::Result<()> {
    let length = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    if (offset % PAGE_BYTES).saturating_add(length) > PAGE_BYTES {
        let (entries, marks) = batch.split_at(batch.len().saturating_sub(MARKS_BYTES));
        file.write_all(entries)?;
        file.sync_data()?;
        file.write_all(marks)?;
    } else {
        file.write_all(batch)?;
    }
    file.sync_data()
}

/// Returns where a file is made that is to take the place of `path`.
fn fresh(path: &Path) -> PathBuf {
    let mut fresh = path.as_os_str().to_os_string();
    fresh.push(".new");
    PathBuf::from(fresh)
}

/// Puts a file with `content` in the place of `path`; on disk, name and all, when done.
fn replace(path: &Path, fresh: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(fresh, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()?;
    Ok(file)
}

impl Log for FileLog {
    fn reset(&mut self, height: u32) -> Result<(), WalError> {
        self.guarded(|log| log.begin(height))
    }

    fn append(&mut self, entry: &WalEntry) -> Result<(), WalError> {
        self.guarded(|log| {
            if log.begun.is_none() {
                return Err(WalError::NotBegun);
            }
            log.pending.push(entry.clone());
            Ok(())
        })
    }

    fn sync(&mut self) -> Result<(), WalError> {
        self.guarded(Self::write_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::LoggedTimeout;

    const GENESIS: Hash = Hash::repeat_byte(7);

    fn entry(round: u32) -> WalEntry {
        WalEntry::Timeout {
            round,
            kind: LoggedTimeout::Prevote,
        }
    }

    fn reopen(path: &Path) -> Option<Recovered> {
        FileLog::open(path, GENESIS).unwrap().1
    }

    #[test]
    fn what_was_synced_is_there_after_reopening_and_the_rest_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let (mut log, recovered) = FileLog::open(&path, GENESIS).unwrap();
        assert_eq!(recovered, None);
        log.reset(3).unwrap();
        log.append(&entry(0)).unwrap();
        log.sync().unwrap();
        log.append(&entry(1)).unwrap();
        drop(log);
        let (mut log, recovered) = FileLog::open(&path, GENESIS).unwrap();
        assert_eq!(recovered.unwrap().entries, [entry(0)]);
        log.append(&entry(2)).unwrap();
        log.sync().unwrap();
        let recovered = reopen(&path).unwrap();
        assert_eq!(
            (recovered.height, recovered.entries),
            (3, vec![entry(0), entry(2)])
        );
    }

    #[test]
    fn a_batch_that_spans_pages_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let (mut log, _) = FileLog::open(&path, GENESIS).unwrap();
        log.reset(3).unwrap();
        let large = WalEntry::Block(crate::Block {
            header: vec![1; 9_000],
            body: Default::default(),
        });
        for entry in [&entry(0), &large, &entry(1)] {
            log.append(entry).unwrap();
            log.sync().unwrap();
        }
        // Opened twice: what is read is written anew, and is the same.
        for _ in 0..2 {
            let recovered = reopen(&path).unwrap();
            assert_eq!(recovered.entries, [entry(0), large.clone(), entry(1)]);
        }
    }

    #[test]
    fn a_new_height_empties_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let (mut log, _) = FileLog::open(&path, GENESIS).unwrap();
        log.reset(3).unwrap();
        log.append(&entry(0)).unwrap();
        log.sync().unwrap();
        log.append(&entry(1)).unwrap();
        log.reset(4).unwrap();
        log.sync().unwrap();
        let recovered = reopen(&path).unwrap();
        assert_eq!((recovered.height, recovered.entries.len()), (4, 0));
    }

    #[test]
    fn a_torn_end_is_cut_off_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let (mut log, _) = FileLog::open(&path, GENESIS).unwrap();
        log.reset(3).unwrap();
        log.append(&entry(0)).unwrap();
        log.sync().unwrap();
        drop(log);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend([b'E', 1, 0, 0, 0, 9]);
        fs::write(&path, &bytes).unwrap();
        let (mut log, _) = FileLog::open(&path, GENESIS).unwrap();
        log.append(&entry(1)).unwrap();
        log.sync().unwrap();
        assert_eq!(reopen(&path).unwrap().entries, [entry(0), entry(1)]);
    }

    #[test]
    fn damage_and_other_chains_are_refused_and_the_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let (mut log, _) = FileLog::open(&path, GENESIS).unwrap();
        log.reset(3).unwrap();
        log.append(&entry(0)).unwrap();
        log.sync().unwrap();
        drop(log);
        assert!(matches!(
            FileLog::open(&path, Hash::zero()),
            Err(WalError::OtherChain { .. })
        ));
        let mut bytes = fs::read(&path).unwrap();
        bytes[super::super::codec::HEADER_BYTES + 14] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            FileLog::open(&path, GENESIS),
            Err(WalError::Damaged { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn entries_before_a_height_and_after_a_failure_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = FileLog::open(folder.path().join("wal"), GENESIS).unwrap();
        assert!(matches!(log.append(&entry(0)), Err(WalError::NotBegun)));
        assert!(matches!(log.reset(1), Err(WalError::Stopped)));
        let missing = folder.path().join("missing").join("wal");
        let (mut log, _) = FileLog::open(missing, GENESIS).unwrap();
        assert!(matches!(log.reset(1), Err(WalError::Io { .. })));
        assert!(matches!(log.sync(), Err(WalError::Stopped)));
    }
}
