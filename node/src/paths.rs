//! Where a node keeps its things: `<base>/chains/<id>/{db, light, keystore, network, chain-spec.json}`.

use std::{
    env,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use commonwatt_keystore::files::Draft;

/// The folders of one chain.
#[derive(Clone, Debug)]
pub struct ChainFolder(PathBuf);

impl ChainFolder {
    /// Creates the folder of chain `id` below `base`.
    pub fn create(base: &Path, id: &str) -> Result<Self> {
        let folder = base.join(CHAINS).join(id);
        create_folders(&folder).with_context(|| {
            format!(
                "cannot create {}; choose another folder with --base-path",
                folder.display()
            )
        })?;
        Ok(Self(folder))
    }

    /// Returns the folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the folder that this one's chain and others lie below.
    pub fn base(&self) -> &Path {
        let chains = self.0.parent().unwrap_or(&self.0);
        chains.parent().unwrap_or(chains)
    }

    /// Returns the folder of the database.
    pub fn database(&self) -> PathBuf {
        self.0.join("db")
    }

    /// Returns the chain spec that the chain was begun with.
    pub fn chain_spec(&self) -> PathBuf {
        self.0.join(CHAIN_SPEC)
    }

    /// Returns the folder of the validator's keys.
    pub fn keystore(&self) -> PathBuf {
        self.0.join("keystore")
    }

    /// Returns the folder of what the node needs on its network: its identity there.
    pub fn network(&self) -> PathBuf {
        self.0.join("network")
    }

    /// Returns the folder of what a light node has verified.
    pub fn light(&self) -> PathBuf {
        self.0.join("light")
    }

    /// Returns the file in which a validator remembers what it has signed.
    pub fn agreement_log(&self) -> PathBuf {
        self.0.join("agreement.log")
    }

    /// Returns the folder of chain `id` below `base` if that chain was set up there.
    pub fn find(base: &Path, id: &str) -> Option<Self> {
        let folder = Self(base.join(CHAINS).join(id));
        folder.chain_spec().is_file().then_some(folder)
    }

    /// Returns the ids of the chains that were set up below `base`, sorted.
    pub fn list(base: &Path) -> Result<Vec<String>> {
        Self::list_those(base, |id| Self::find(base, id).is_some())
    }

    /// Returns the folder of chain `id` below `base` if a validator's keys or a node's identity were made there, before
    /// there is a chain spec.
    pub fn find_keys(base: &Path, id: &str) -> Option<Self> {
        let folder = Self(base.join(CHAINS).join(id));
        let has_keys = folder.keystore().is_dir() || folder.network().is_dir();
        has_keys.then_some(folder)
    }

    /// Returns the ids of such folders, sorted.
    pub fn list_keys(base: &Path) -> Result<Vec<String>> {
        Self::list_those(base, |id| Self::find_keys(base, id).is_some())
    }

    fn list_those(base: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let chains = base.join(CHAINS);
        let entries = match fs::read_dir(&chains) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.with_context(|| format!("cannot list {}", chains.display()))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", chains.display()))?;
            if let Ok(id) = entry.file_name().into_string()
                && is_wanted(&id)
            {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// Keeps other processes from using or removing the chain until the lock is dropped.
    pub fn lock(&self) -> Result<FolderLock> {
        let path = self.0.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            // Whoever can open it can lock it, and keep the node from starting.
            .mode(LOCK_MODE)
            .open(&path)
            .with_context(|| {
                format!(
                    "cannot open {}; is the folder this user's? Choose another with --base-path",
                    path.display()
                )
            })?;
        match file.try_lock() {
            Ok(()) => {
                // One that an earlier version made. Not being able to is no reason to stay down.
                let _ = file.set_permissions(Permissions::from_mode(LOCK_MODE));
                Ok(FolderLock(file))
            }
            Err(TryLockError::WouldBlock) => bail!(
                "another process uses the chain in {}; stop it, or give this one another folder with --base-path",
                self.0.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// A chain's folder, locked until this is dropped.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Who may open a chain's lock: its user.
const LOCK_MODE: u32 = 0o600;

/// Folder of all chains.
const CHAINS: &str = "chains";

/// File of the spec that a chain was begun with.
const CHAIN_SPEC: &str = "chain-spec.json";

/// Creates a folder with those above it, each of them on disk when this returns.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        create_folders(above)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    above.map_or(Ok(()), |above| File::open(above)?.sync_all())
}

/// Writes a file that is not there yet, so that it is on disk whole or not at all; leaves it alone when somebody
/// else wrote it first.
pub fn write_new(path: &Path, text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut draft = Draft::begin(path)?;
        draft.file().write_all(text.as_bytes())?;
        match draft.keep_new() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the folder below which chains are kept unless told otherwise.
pub fn default_base_path() -> Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("commonwatt"))
        .ok_or_else(|| {
            anyhow!("neither XDG_DATA_HOME nor HOME is set; name a folder with --base-path")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_first_decides() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "a").unwrap();
        write_new(&folder.chain_spec(), "one").unwrap();
        write_new(&folder.chain_spec(), "other").unwrap();
        assert_eq!(fs::read_to_string(folder.chain_spec()).unwrap(), "one");
        // No draft is left behind.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_process_at_a_time_uses_a_chain() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "a").unwrap();
        let lock = folder.lock().unwrap();
        let mode = fs::metadata(folder.path().join("lock"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, LOCK_MODE);
        let said = folder.lock().unwrap_err().to_string();
        assert!(said.contains("another process"), "{said}");
        drop(lock);
        folder.lock().unwrap();
    }

    #[test]
    fn only_chains_that_were_set_up_are_listed() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(
            ChainFolder::list(base.path()).unwrap(),
            Vec::<String>::new()
        );
        for id in ["b", "a", "half"] {
            let folder = ChainFolder::create(base.path(), id).unwrap();
            if id != "half" {
                write_new(&folder.chain_spec(), "{}").unwrap();
            }
        }
        assert_eq!(ChainFolder::list(base.path()).unwrap(), ["a", "b"]);
        assert!(ChainFolder::find(base.path(), "half").is_none());
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ChainFolder::create(&file, "a").unwrap_err();
        assert!(format!("{error:#}").contains("--base-path"), "{error:#}");
    }
}
