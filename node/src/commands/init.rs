//! `commonwatt init`: sets a node up.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use commonwatt_keystore::{Keystore, NodeKey, Protection, Purpose, StoredKey, files::Draft};
use commonwatt_primitives::keys::SessionKeys;
use commonwatt_runtime::Hash;
use commonwatt_storage::{ChainDb, OpenError};

use super::purge_chain;
use crate::{
    args::{ChainArgs, base_flag},
    key::{PasswordArgs, Prompt},
    paths::ChainFolder,
    report::{say, shell_word},
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
        let base_path = self.chain.base_path.as_deref();
        say!("{}", made.describe(base_path, &self.password))?;
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
        let password = self.password.read(prompt)?;
        let opens_some = password.is_some() && before.iter().any(is_encrypted);
        let keystore = Keystore::open(folder.keystore(), password)?;
        if opens_some {
            // Now, and not when the validator starts.
            keystore.session_keys()?;
        }
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
                         `commonwatt purge-chain --chain {}{}` first",
                        folder.path().display(),
                        spec.id,
                        spec.id,
                        base_flag(folder.base())
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
    let mut draft = Draft::begin(path)?;
    draft.file().write_all(text.as_bytes())?;
    draft.replace()
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
    /// Returns what there is now, and what comes next.
    fn describe(&self, base_path: Option<&Path>, password: &PasswordArgs) -> String {
        let mut lines = vec![self.folder.display().to_string()];
        let line = |name: &str, value: String| format!("  {name:<11} {value}");
        if let Some((spec, how)) = &self.spec {
            lines.push(line(
                "chain spec",
                format!("{} ({}), {how}", spec.name, spec.id),
            ));
            if let Ok(genesis) = spec.genesis_hash() {
                lines.push(line("genesis", format!("{genesis:?}")));
            }
        }
        let (peer_id, how) = &self.peer_id;
        lines.push(line("peer id", format!("{peer_id}, {how}")));
        for (key, how) in &self.keys {
            let protection = match key.protection {
                Protection::Clear => "not encrypted",
                Protection::Password => "encrypted",
            };
            lines.push(line(
                &format!("{} key", key.purpose),
                format!("0x{}, {how}, {protection}", hex::encode(key.public)),
            ));
        }
        lines.push(String::new());
        let base = base_path
            .map(|base| format!(" --base-path {}", shell_word(&base.to_string_lossy())))
            .unwrap_or_default();
        lines.extend(self.describe_next(&base, password));
        lines.join("\n")
    }

    /// Returns what comes next; `base` is the flag for the base path, if it needs one.
    fn describe_next(&self, base: &str, password: &PasswordArgs) -> Vec<String> {
        let id = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let Some((spec, _)) = &self.spec else {
            return vec![
                format!(
                    "Next: put the public keys into the chain spec, whose \"id\" is {id:?}, under genesis.validators:"
                ),
                self.describe_keys(),
                "then run".to_owned(),
                format!("  commonwatt init --chain FILE{base}"),
            ];
        };
        let validators = spec.genesis.validators.iter();
        let named = validators
            .filter_map(|validator| {
                let vote = self.find(Purpose::Vote, &validator.keys.vote.0)?;
                Some((vote, &validator.keys))
            })
            .next();
        let Some((vote, keys)) = named else {
            return vec![
                "The chain spec names none of these vote keys, so this node can serve the chain and makes no blocks."
                    .to_owned(),
                "Next: start it".to_owned(),
                format!("  commonwatt --chain {id}{base}"),
                "or, to make blocks, put the keys into the spec before the chain begins, under genesis.validators:"
                    .to_owned(),
                self.describe_keys(),
            ];
        };
        let mut lines = Vec::new();
        if self.find(Purpose::Beacon, &keys.beacon.0).is_none() {
            lines.push(format!(
                "The chain spec names the vote key above with the beacon key 0x{}, which is not here: insert it with \
                 `commonwatt key insert --purpose beacon`, or correct the spec before the chain begins:",
                hex::encode(keys.beacon.0)
            ));
            lines.push(self.describe_keys());
        }
        let password = match vote.protection {
            Protection::Clear => String::new(),
            Protection::Password => format!(" {}", password.flags()),
        };
        lines.push("Next: start the validator".to_owned());
        lines.push(format!(
            "  commonwatt --chain {id}{base} --validator{password}"
        ));
        lines
    }

    /// Returns a key that is here.
    fn find(&self, purpose: Purpose, public: &[u8; 32]) -> Option<&StoredKey> {
        self.keys
            .iter()
            .map(|(key, _)| key)
            .find(|key| key.purpose == purpose && key.public == *public)
    }

    /// Returns the keys as the chain spec has them: one of each purpose, if there is one only.
    fn describe_keys(&self) -> String {
        let only = |purpose| {
            let mut keys = self.keys.iter().filter(|(key, _)| key.purpose == purpose);
            let (key, _) = keys.next()?;
            keys.next().is_none().then_some(key.public)
        };
        let (Some(vote), Some(beacon)) = (only(Purpose::Vote), only(Purpose::Beacon)) else {
            return "  (the keystore holds several keys: see `commonwatt key list`)".to_owned();
        };
        let keys = SessionKeys {
            vote: vote.into(),
            beacon: beacon.into(),
        };
        let keys = serde_json::to_string(&keys).expect("two keys have no foreign types");
        format!("  \"keys\": {keys}")
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
    fn what_comes_next_can_be_run_as_it_stands() {
        use clap::Parser;
        #[derive(Parser)]
        struct Given {
            #[command(flatten)]
            password: PasswordArgs,
        }
        let given = |words: &[&str]| Given::parse_from([&["x"], words].concat()).password;
        let spec = crate::community::dev_spec(
            &commonwatt_community_data::Community::demo().unwrap(),
            crate::community::KeyKind::Static,
        );
        let keys = &spec.genesis.validators[0].keys;
        let stored = |purpose, public| StoredKey {
            purpose,
            public,
            protection: Protection::Password,
            path: PathBuf::new(),
        };
        let (vote, beacon) = (keys.vote.0, keys.beacon.0);
        let mut made = Made {
            folder: "/media/my disk/chains/dev".into(),
            peer_id: ("12D3KooW".into(), NEW),
            keys: vec![
                (stored(Purpose::Vote, vote), NEW),
                (stored(Purpose::Beacon, beacon), NEW),
            ],
            spec: Some((spec, NEW)),
        };
        let base = Some(Path::new("/media/my disk"));
        let said = made.describe(base, &given(&["--password-file", "/run/my password"]));
        let command = "commonwatt --chain dev --base-path '/media/my disk' --validator --password-file '/run/my password'";
        assert!(said.ends_with(command), "{said}");
        assert!(!said.contains("not here"), "{said}");
        let said = made.describe(base, &given(&["--password-interactive"]));
        assert!(
            said.ends_with("--validator --password-interactive"),
            "{said}"
        );
        let said = made.describe(None, &given(&[]));
        assert!(
            said.ends_with("--chain dev --validator --password-file FILE"),
            "{said}"
        );
        made.keys[1].0.public = [0; 32];
        let said = made.describe(base, &given(&[]));
        let missing = format!("beacon key 0x{}, which is not here", hex::encode(beacon));
        assert!(said.contains(&missing), "{said}");
        for (key, _) in &mut made.keys {
            key.protection = Protection::Clear;
        }
        assert!(made.describe(None, &given(&[])).ends_with("--validator"));
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
