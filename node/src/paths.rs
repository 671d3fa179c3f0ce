//! Where a node keeps its things: `<base>/chains/<id>/{db, keystore, network, chain-spec.json}`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};

/// The folders of one chain.
#[derive(Clone, Debug)]
pub struct ChainFolder(PathBuf);

impl ChainFolder {
    /// Creates the folder of chain `id` below `base`.
    pub fn create(base: &Path, id: &str) -> Result<Self> {
        let folder = base.join("chains").join(id);
        fs::create_dir_all(&folder).with_context(|| {
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

    /// Returns the folder of the database.
    pub fn database(&self) -> PathBuf {
        self.0.join("db")
    }

    /// Returns the chain spec that the chain was begun with.
    pub fn chain_spec(&self) -> PathBuf {
        self.0.join("chain-spec.json")
    }
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
