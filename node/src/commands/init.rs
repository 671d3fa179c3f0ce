//! `commonwatt init`: sets a node up.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use commonwatt_keystore::{Keystore, NodeKey, Protection, Purpose, StoredKey};
use commonwatt_primitives::keys::SessionKeys;
use commonwatt_runtime::Hash;
use commonwatt_storage::{ChainDb, OpenError};
use tempfile::NamedTempFile;

use super::purge_chain;
use crate::{
    args::ChainArgs,
    key::{PasswordArgs, Prompt},
    paths::ChainFolder,
    spec::{self, ChainSpec},
};

/// Sets a node up: its folder, its identity on the network, and a validator's keys. What is there is left as it is: no key
/// is ever replaced.
///
/// With `--chain FILE` the chain spec is copied there. With `--chain ID` only keys are made, so that their public halves can
/// go into a spec that is still being written; give the spec with `init --chain FILE` when it is ready.
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

/// What there is after the set-up.
struct Made {
    folder: PathBuf,
    spec: Option<(ChainSpec, &'static str)>,
    peer_id: (String, &'static str),
    keys: Vec<(StoredKey, &'static str)>,
}

const NEW: &str = "new";
const KEPT: &str = "was there";
const REPLACED: &str = "replaces the earlier one, which had no block yet";
const MENDED: &str = "replaces the earlier one of the same chain";

impl Init {
    /// Sets up, and tells what there is and what comes next.
    pub fn run(self) -> Result<()> {
        let base = self.chain.base()?;
        let chain = self.chain.chain.as_deref().ok_or_else(|| {
            anyhow!("say which chain: --chain FILE with its chain spec, or --chain ID with a name for it")
        })?;
        let (folder, spec) = match self.chain.spec_file() {
            Some(file) => {
                let spec = ChainSpec::read(file)?;
                (ChainFolder::create(&base, &spec.id)?, Some(spec))
            }
            None => {
                ensure!(
                    spec::is_id(chain),
                    "--chain {chain:?} is neither a file nor an id: an id has letters, digits, - and _ only, 64 at most"
                );
                let folder = ChainFolder::create(&base, chain)?;
                let kept = folder.chain_spec();
                let spec = kept.exists().then(|| ChainSpec::read(&kept)).transpose()?;
                (folder, spec)
            }
        };
        let _lock = folder.lock()?;
        let spec = spec
            .map(|spec| take_spec(&folder, &spec).map(|how| (spec, how)))
            .transpose()?;
        let made = Made {
            folder: folder.path().to_owned(),
            spec,
            peer_id: take_node_key(&folder.network().join(NodeKey::FILE_NAME))?,
            keys: self.take_keys(&folder)?,
        };
        made.tell(self.chain.base_path.as_deref());
        Ok(())
    }

    /// Makes a validator's keys unless there are some.
    fn take_keys(&self, folder: &ChainFolder) -> Result<Vec<(StoredKey, &'static str)>> {
        let before = Keystore::open(folder.keystore(), None)?.list()?;
        let is_encrypted = |key: &StoredKey| key.protection == Protection::Password;
        // A first password has nothing to open, so only typing it twice shows a mistake.
        let prompt = match before.iter().any(is_encrypted) {
            true => Prompt::Known,
            false => Prompt::New,
        };
        let keystore = Keystore::open(folder.keystore(), self.password.read(prompt)?)?;
        for purpose in Purpose::ALL {
            if !before.iter().any(|key| key.purpose == purpose) {
                keystore.generate(purpose)?;
            }
        }
        let how = |key: StoredKey| {
            let how = if before.contains(&key) { KEPT } else { NEW };
            (key, how)
        };
        Ok(keystore.list()?.into_iter().map(how).collect())
    }
}

/// Copies the chain spec unless it is there; replaces another one only as long as no block was made by it.
fn take_spec(folder: &ChainFolder, spec: &ChainSpec) -> Result<&'static str> {
    let path = folder.chain_spec();
    let how = match path.exists() {
        false => NEW,
        true if ChainSpec::read(&path).ok().as_ref() == Some(spec) => return Ok(KEPT),
        true => {
            let genesis = spec.genesis_hash()?;
            let kept = ChainSpec::read(&path).and_then(|kept| kept.genesis_hash());
            if kept.is_ok_and(|kept| kept == genesis) {
                MENDED
            } else {
                match find_blocks(folder, genesis) {
                    Blocks::OfThisChain => MENDED,
                    Blocks::None => {
                        if folder.database().exists() {
                            purge_chain::remove_content(&folder.database())
                                .context("cannot remove block 0 of the earlier spec")?;
                        }
                        REPLACED
                    }
                    Blocks::Others => bail!(
                        "{} holds blocks of another chain with the id {:?}, or some that cannot be read: give the new spec \
                         another id; or keep a copy of that folder, and remove them with \
                         `commonwatt purge-chain --chain {}` first",
                        folder.path().display(),
                        spec.id,
                        spec.id
                    ),
                }
            }
        }
    };
    replace(&path, &spec.to_json()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(how)
}

/// What a chain's folder holds beside the spec.
#[derive(Debug, PartialEq, Eq)]
enum Blocks {
    /// None, or block 0 of another chain alone.
    None,
    /// Those of the chain that the spec begins.
    OfThisChain,
    /// Those of another chain, or something that cannot be looked into.
    Others,
}

/// Finds out what the folder holds, seen from a spec whose block 0 has the hash `genesis`.
fn find_blocks(folder: &ChainFolder, genesis: Hash) -> Blocks {
    match ChainDb::open_as_it_is(&folder.database()) {
        Ok(db) if db.genesis_hash() == genesis => Blocks::OfThisChain,
        Ok(db) if db.best().0 == 0 => Blocks::None,
        // Without its marker a database may still hold everything.
        Err(OpenError::NoDatabase { .. }) if is_empty(&folder.database()) => Blocks::None,
        Ok(_) | Err(_) => Blocks::Others,
    }
}

/// Returns whether a folder holds nothing, or is not there.
fn is_empty(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Writes a file so that it is on disk whole, or the former one is.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = NamedTempFile::new_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// Makes the node key unless there is one; returns the peer id.
fn take_node_key(path: &Path) -> Result<(String, &'static str)> {
    if let Some(key) = NodeKey::read(path)? {
        return Ok((key.peer_id(), KEPT));
    }
    let key = NodeKey::generate()?;
    key.write(path)?;
    Ok((key.peer_id(), NEW))
}

impl Made {
    fn tell(&self, base_path: Option<&Path>) {
        let line = |name: &str, value: String| println!("  {name:<11} {value}");
        println!("{}", self.folder.display());
        if let Some((spec, how)) = &self.spec {
            line("chain spec", format!("{} ({}), {how}", spec.name, spec.id));
            if let Ok(genesis) = spec.genesis_hash() {
                line("genesis", format!("{genesis:?}"));
            }
        }
        line("peer id", format!("{}, {}", self.peer_id.0, self.peer_id.1));
        for (key, how) in &self.keys {
            let protection = match key.protection {
                Protection::Clear => "not encrypted",
                Protection::Password => "encrypted",
            };
            line(
                &format!("{} key", key.purpose),
                format!("0x{}, {how}, {protection}", hex::encode(key.public)),
            );
        }
        println!();
        let id = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let base = base_path
            .map(|base| format!(" --base-path {}", base.display()))
            .unwrap_or_default();
        let Some((spec, _)) = &self.spec else {
            println!(
                "Next: put the public keys into the chain spec, whose \"id\" is {id:?}, under genesis.validators:"
            );
            self.tell_keys();
            println!("then run\n  commonwatt init --chain FILE{base}");
            return;
        };
        let is_validator = spec.genesis.validators.iter().any(|validator| {
            let held = |purpose, public: &[u8; 32]| {
                self.keys
                    .iter()
                    .any(|(key, _)| key.purpose == purpose && key.public == *public)
            };
            held(Purpose::Vote, &validator.keys.vote.0)
        });
        if is_validator {
            println!("Next: start the validator\n  commonwatt --chain {id}{base} --validator");
        } else {
            println!(
                "The chain spec names none of these vote keys, so this node can serve the chain and makes no blocks.\n\
                 Next: start it\n  commonwatt --chain {id}{base}\n\
                 or, to make blocks, put the keys into the spec before the chain begins, under genesis.validators:"
            );
            self.tell_keys();
        }
    }

    /// Prints the keys as the chain spec has them: one of each purpose, if there is one only.
    fn tell_keys(&self) {
        let only = |purpose| {
            let mut keys = self.keys.iter().filter(|(key, _)| key.purpose == purpose);
            let (key, _) = keys.next()?;
            keys.next().is_none().then_some(key.public)
        };
        let (Some(vote), Some(beacon)) = (only(Purpose::Vote), only(Purpose::Beacon)) else {
            println!("  (the keystore holds several keys: see `commonwatt key list`)");
            return;
        };
        let keys = SessionKeys {
            vote: vote.into(),
            beacon: beacon.into(),
        };
        let keys = serde_json::to_string(&keys).expect("two keys have no foreign types");
        println!("  \"keys\": {keys}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_looked_into_may_be_blocks() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "village").unwrap();
        assert_eq!(find_blocks(&folder, Hash::zero()), Blocks::None);
        fs::create_dir_all(folder.database().join("sled")).unwrap();
        assert_eq!(find_blocks(&folder, Hash::zero()), Blocks::Others);
        fs::remove_dir(folder.database().join("sled")).unwrap();
        assert_eq!(find_blocks(&folder, Hash::zero()), Blocks::None);
    }

    #[test]
    fn the_node_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network").join(NodeKey::FILE_NAME);
        let (first, how) = take_node_key(&path).unwrap();
        assert_eq!(how, NEW);
        assert_eq!(take_node_key(&path).unwrap(), (first, KEPT));
    }
}
