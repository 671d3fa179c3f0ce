//! The database folder: one process at a time, and a marker that says what is inside.

use std::{
    any::Any,
    ffi::OsStr,
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::error::OpenError;

/// The format that this version reads and writes. Raised by every change that an older version would
/// misread.
pub(crate) const FORMAT_VERSION: u32 = 1;

const LOCK_FILE: &str = "lock";
pub(crate) const PROGRESS_FILE: &str = "progress";
/// The file that makes a folder a database.
pub const DATABASE_MARKER: &str = "database.txt";
const MARKER_DRAFT: &str = "database.txt.new";
/// The files of every back end's folder.
const OWN_FILES: [&str; 4] = [LOCK_FILE, DATABASE_MARKER, MARKER_DRAFT, PROGRESS_FILE];
const MARKER_TITLE: &str = "commonwatt database";
/// Two notes of a height and its checksum.
const PROGRESS_BYTES: u64 = 16;
/// A marker is four short lines.
const MARKER_BYTES_MAX: u64 = 4_096;

/// The back end of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatabaseKind {
    /// sled, the default.
    #[default]
    Sled,
    /// redb.
    Redb,
}

impl DatabaseKind {
    /// Every back end.
    pub const ALL: [Self; 2] = [Self::Sled, Self::Redb];

    /// The name on the command line and in the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sled => "sled",
            Self::Redb => "redb",
        }
    }
}

impl fmt::Display for DatabaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DatabaseKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("unknown database '{text}': use sled or redb"))
    }
}

/// An open database folder; other processes are kept out until it is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    kind: DatabaseKind,
    progress: File,
    _lock: File,
}

/// Returns what turns a failure of `action` on `path` into an error.
fn to_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        action,
        path,
        source,
    }
}

impl Folder {
    /// Creates `path` if needed, locks it, and reads or writes its marker.
    pub(crate) fn open(path: &Path, kind: DatabaseKind) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(to_error("create the folder", path))?;
        let entries = list(path).map_err(to_error("list the folder", path))?;
        let is_marked = entries.iter().any(|name| name == DATABASE_MARKER);
        if !is_marked
            && let Some(other) = entries
                .iter()
                .find(|name| !OWN_FILES.contains(&name.as_str()))
        {
            let what = format!("it holds '{other}' and no '{DATABASE_MARKER}'");
            return Err(OpenError::NotADatabase {
                path: path.to_owned(),
                what,
            });
        }

        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(to_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(to_error("lock", &lock_path)(source));
            }
        }

        let progress_path = path.join(PROGRESS_FILE);
        let progress = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&progress_path)
            .map_err(to_error("open", &progress_path))?;
        let folder = Self {
            path: path.to_owned(),
            kind,
            progress,
            _lock: lock,
        };
        // Looked up again under the lock: another process may just have written it.
        if folder.path.join(DATABASE_MARKER).exists() {
            folder.verify_marker()?;
        } else {
            folder
                .write_marker()
                .map_err(to_error("write the marker in", path))?;
        }
        let data = folder.data_path();
        fs::create_dir_all(&data).map_err(to_error("create the folder", &data))?;
        sync_path(path).map_err(to_error("sync", path))?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_path(parent).map_err(to_error("sync", parent))?;
        }
        Ok(folder)
    }

    /// The folder of the back end.
    pub(crate) fn data_path(&self) -> PathBuf {
        self.path.join(self.kind.name())
    }

    /// The back end.
    pub(crate) fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The database folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the height that the database had reached at least, if it ever had a genesis block.
    ///
    /// A back end that finds damage in its log may cut it there and open what comes before, down to an empty
    /// database. This note is how we know that blocks are missing.
    pub(crate) fn read_progress(&self) -> Result<Option<u32>, OpenError> {
        let mut bytes = Vec::new();
        (&self.progress)
            .seek(SeekFrom::Start(0))
            .and_then(|_| {
                (&self.progress)
                    .take(PROGRESS_BYTES)
                    .read_to_end(&mut bytes)
            })
            .map_err(to_error("read", &self.path.join(PROGRESS_FILE)))?;
        // Two copies, written one after the other: whatever a crash does to one, the other is whole.
        let reached = bytes.chunks(8).filter_map(parse_progress).max();
        if reached.is_none() && !bytes.is_empty() {
            let what = format!("'{PROGRESS_FILE}' is damaged");
            return Err(OpenError::NotADatabase {
                path: self.path.clone(),
                what,
            });
        }
        Ok(reached)
    }

    /// Notes that block `number` is on disk. A note that a power loss undoes is too low, never wrong, so
    /// it is not synced.
    pub(crate) fn note_progress(&self, number: u32) -> io::Result<()> {
        let number_bytes = number.to_le_bytes();
        let mut note = number_bytes.to_vec();
        note.extend_from_slice(&crc32c::crc32c(&number_bytes).to_le_bytes());
        let mut file = &self.progress;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&note)?;
        file.write_all(&note)
    }

    /// Makes the last note durable.
    pub(crate) fn sync_progress(&self) -> io::Result<()> {
        self.progress.sync_all()
    }

    fn write_marker(&self) -> io::Result<()> {
        let draft = self.path.join(MARKER_DRAFT);
        let mut file = File::create(&draft)?;
        write!(
            file,
            "{MARKER_TITLE}\nformat = {FORMAT_VERSION}\ndatabase = {}\n",
            self.kind
        )?;
        file.sync_all()?;
        fs::rename(&draft, self.path.join(DATABASE_MARKER))?;
        sync_path(&self.path)
    }

    fn verify_marker(&self) -> Result<(), OpenError> {
        let found = read_marker(&self.path)?;
        if found != self.kind {
            return Err(OpenError::OtherKind {
                path: self.path.clone(),
                found,
                asked: self.kind,
            });
        }
        Ok(())
    }
}

/// Returns the back end of the database in `path`.
pub(crate) fn find_kind(path: &Path) -> Result<DatabaseKind, OpenError> {
    if !path.join(DATABASE_MARKER).exists() {
        let path = path.to_owned();
        return Err(OpenError::NoDatabase { path });
    }
    read_marker(path)
}

/// Checks that the database in `path` has our format; returns its back end.
fn read_marker(path: &Path) -> Result<DatabaseKind, OpenError> {
    let marker_path = path.join(DATABASE_MARKER);
    let not_ours = |what: &str| OpenError::NotADatabase {
        path: path.to_owned(),
        what: format!("'{DATABASE_MARKER}' {what}"),
    };
    let to_error = |source| OpenError::Io {
        action: "read",
        path: marker_path.clone(),
        source,
    };
    if fs::metadata(&marker_path).map_err(to_error)?.len() > MARKER_BYTES_MAX {
        return Err(not_ours("is too long"));
    }
    let text = fs::read(&marker_path).map_err(to_error)?;
    let text = String::from_utf8(text).map_err(|_| not_ours("is not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(MARKER_TITLE) {
        return Err(not_ours("does not begin with the program's name"));
    }
    let fields: Vec<(&str, &str)> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let field = |name: &str| {
        fields
            .iter()
            .find(|field| field.0 == name)
            .map(|field| field.1)
    };
    let found = field("format")
        .and_then(|value| value.parse::<u32>().ok())
        .ok_or_else(|| not_ours("names no format"))?;
    if found != FORMAT_VERSION {
        let path = path.to_owned();
        return Err(OpenError::OtherVersion {
            path,
            found,
            expected: FORMAT_VERSION,
        });
    }
    field("database")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| not_ours("names no known back end"))
}

fn parse_progress(note: &[u8]) -> Option<u32> {
    let (number, checksum) = note.split_at_checked(4)?;
    let is_whole = crc32c::crc32c(number).to_le_bytes() == *checksum;
    number
        .try_into()
        .ok()
        .filter(|_| is_whole)
        .map(u32::from_le_bytes)
}

/// Says whether a file or folder of this name may be part of a database.
pub fn is_database_entry(name: &OsStr) -> bool {
    let backends = DatabaseKind::ALL.map(DatabaseKind::name);
    OWN_FILES.iter().chain(&backends).any(|ours| name == *ours)
}

fn list(path: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Makes a file or a folder's list of names durable.
pub(crate) fn sync_path(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Returns the bytes that the files below `path` occupy on disk.
pub(crate) fn measure_disk_usage(path: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // A back end may remove a file while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let size = if metadata.is_dir() {
            measure_disk_usage(&entry.path())?
        } else {
            occupied(&metadata)
        };
        bytes = bytes.saturating_add(size);
    }
    Ok(bytes)
}

#[cfg(unix)]
fn occupied(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.blocks().saturating_mul(512)
}

#[cfg(not(unix))]
fn occupied(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

/// Returns what a panic said.
pub(crate) fn describe_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "it panicked: {}",
        text.as_deref().unwrap_or("without a message")
    )
}
