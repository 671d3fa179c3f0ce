//! Files that hold secrets: private from the first byte, written whole or not at all, never overwritten.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempPath};
use zeroize::Zeroizing;

/// Largest file with a secret that is read, in bytes. An account file with a long name has less than 1 KiB.
pub const SECRET_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Permission bits that let others than the owner put files into a folder.
const OTHERS_WRITE: u32 = 0o022;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error(
        "cannot {action} {path}: {source}; check that the disk has room and that this user may do so"
    )]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the secret.
    #[error(
        "others than its owner can read {path} (mode {mode:04o}): run `chmod 600 '{path}'`, and replace the key if \
         somebody may have read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can put files into the folder.
    #[error(
        "others than its owner can write to the folder {path} (mode {mode:04o}): if it is for keys alone, run \
         `chmod 700 '{path}'` and check the keys in it; if it is shared, like /tmp, name another"
    )]
    FolderExposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than any secret.
    #[error(
        "{0} is larger than {SECRET_FILE_BYTES_MAX} bytes, so it holds no key: is it another file?"
    )]
    TooLarge(PathBuf),
    /// There is none.
    #[error("there is no file {0}: check the name, or make it first")]
    Missing(PathBuf),
    /// It is a folder or the like.
    #[error("{0} is not a file: name the file itself")]
    NotAFile(PathBuf),
    /// There is one already, and it stays.
    #[error("{0} exists already and is left as it is: choose another name, or move it away first")]
    Exists(PathBuf),
}

/// Returns what turns a failure of `action` on `path` into an error.
fn to_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io {
        action,
        path: path.clone(),
        source,
    }
}

/// Who can read a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Its owner alone, or it is a pipe.
    Private,
    /// Others, too: the permission bits.
    Others(u32),
}

/// Reads a file with a secret that somebody else wrote, such as a password file.
///
/// Secrets that an orchestrator mounts are often readable by all, so that is told and not refused.
pub fn read_input(path: &Path) -> Result<(Zeroizing<Vec<u8>>, Exposure), FileError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => to_error("open", path)(error),
    })?;
    let metadata = file.metadata().map_err(to_error("inspect", path))?;
    if metadata.is_dir() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    let exposure = match metadata.is_file() && mode & OTHERS != 0 {
        true => Exposure::Others(mode),
        false => Exposure::Private,
    };
    Ok((read_bounded(file, path)?, exposure))
}

/// Reads a secret from a stream, such as the standard input.
pub fn read_stream(stream: impl Read) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_bounded(stream, Path::new("the standard input"))
}

fn read_bounded(stream: impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // Room for all of it, so that no copy stays behind when the buffer grows.
    let capacity = usize::try_from(SECRET_FILE_BYTES_MAX).expect("the bound is small") + 64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    stream
        .take(SECRET_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(to_error("read", path))?;
    if bytes.len() + 64 > capacity {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Reads a file with a secret of our own; `None` when there is no such file. Refuses one that others can read.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    // Before it is opened: opening a pipe that nobody writes to would never end.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(to_error("open", path))?,
    };
    // Of the open file and not of the name, so that nothing can change in between.
    let metadata = file.metadata().map_err(to_error("inspect", path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(FileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    read_bounded(file, path).map(Some)
}

/// Writes a file that only its owner can read, so that it is on disk whole or not at all. Refuses to overwrite.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = to_error("write", path);
    let mut draft = Draft::begin(path).map_err(&failed)?;
    draft.file().write_all(bytes).map_err(&failed)?;
    draft.keep_new().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => failed(error),
    })
}

/// A file that is written under another name, and gets its own when all of it is on disk. Removed when it is dropped
/// before.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile,
    path: PathBuf,
}

impl Draft {
    /// Begins the file `path` under a hidden name beside it, readable by its owner alone.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".draft-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder_of(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Begins the file `path` with `file`, which is open and has the name `draft` in the same folder.
    pub fn with(file: File, draft: &Path, path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: NamedTempFile::from_parts(file, TempPath::try_from_path(draft)?),
            path: path.to_owned(),
        })
    }

    /// Returns the file, to write to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; what is there stays.
    pub fn keep_new(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file
            .persist_noclobber(&self.path)
            .map_err(|error| error.error)?;
        sync(folder_of(&self.path))
    }

    /// Gives the file its name, in place of what had it before.
    pub fn replace(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|error| error.error)?;
        sync(folder_of(&self.path))
    }
}

/// Returns the folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Removes a file; says whether there was one.
pub(crate) fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result.map_err(to_error("remove", path))?,
    }
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    Ok(true)
}

/// Creates a folder that only its owner can enter, with those above it; refuses one that others can write to.
pub fn create_private_folder(folder: &Path) -> Result<(), FileError> {
    match fs::metadata(folder) {
        Ok(metadata) => {
            if !metadata.is_dir() {
                return Err(FileError::NotAFile(folder.to_owned()));
            }
            let mode = metadata.permissions().mode() & 0o777;
            if mode & OTHERS_WRITE != 0 {
                return Err(FileError::FolderExposed {
                    path: folder.to_owned(),
                    mode,
                });
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(to_error("create the folder", folder))?;
            // Every folder above may be new, and each entry is on disk only when its own folder is.
            folder
                .ancestors()
                .skip(1)
                .filter(|above| !above.as_os_str().is_empty())
                .take_while(|above| File::open(above).is_ok())
                .try_for_each(sync_folder)
        }
        Err(error) => Err(to_error("inspect the folder", folder)(error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    sync(folder).map_err(to_error("sync the folder", folder))
}

/// Makes a folder's list of names durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
