//! `key insert`, `key list`, `key rotate`: the keystore of a validator.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use commonwatt_keystore::{Keystore, KeystoreError, Protection, Purpose};
use serde_json::json;

use super::{
    Console,
    password::{PasswordArgs, Prompt},
    secret_input::{ask_secret, read_secret},
};
use crate::args::ChainArgs;

/// Which keystore, and its password.
#[derive(Clone, Debug, Default, Args)]
pub struct KeystoreArgs {
    /// Folder of the keystore [default: `keystore` in the folder of the chain]
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["chain", "base_path"])]
    keystore: Option<PathBuf>,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    password: PasswordArgs,
}

impl KeystoreArgs {
    /// Opens a keystore that new keys go into; it is created if it is not there.
    pub fn open_or_create(&self) -> Result<Keystore> {
        let folder = match &self.keystore {
            Some(folder) => folder.clone(),
            None if self.chain.spec_file().is_some() => self.chain.open_or_create()?.0.keystore(),
            None => self.chain.key_folder()?.keystore(),
        };
        let is_encrypted = Keystore::open(&folder, None)?
            .list()?
            .iter()
            .any(|key| key.protection == Protection::Password);
        // A first password has nothing to open, so only typing it twice shows a mistake.
        let prompt = match is_encrypted {
            true => Prompt::Known,
            false => Prompt::New,
        };
        Ok(Keystore::open(folder, self.password.read(prompt)?)?)
    }

    /// Opens a keystore that is there, to read its keys.
    pub fn existing(&self) -> Result<Keystore> {
        let folder = self.existing_folder()?;
        Ok(Keystore::open(folder, self.password.read(Prompt::Known)?)?)
    }

    fn existing_folder(&self) -> Result<PathBuf> {
        let folder = match &self.keystore {
            Some(folder) => folder.clone(),
            None => self.chain.key_folder()?.keystore(),
        };
        if !folder.is_dir() {
            bail!(
                "there is no keystore in {}: make keys with `commonwatt key rotate`, or name another folder with \
                 --keystore or --base-path",
                folder.display()
            );
        }
        Ok(folder)
    }
}

#[derive(Debug, Args)]
pub(super) struct Insert {
    /// What the key signs: vote (an ed25519 key) or beacon (an sr25519 key)
    #[arg(long, value_name = "vote|beacon")]
    purpose: Purpose,
    /// File with the secret phrase or seed, - for the standard input, or the secret itself (//Alice), which other
    /// users of this machine can then see [default: asked for]
    #[arg(long, value_name = "FILE|-|SECRET")]
    suri: Option<String>,
    #[command(flatten)]
    keystore: KeystoreArgs,
}

impl Insert {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let secret = match &self.suri {
            Some(suri) => read_secret(suri, console)?,
            None => ask_secret()?,
        };
        let keystore = self.keystore.open_or_create()?;
        if secret.is_well_known() {
            writeln!(
                console.notes,
                "Warning: this key comes from the public development phrase, so anybody can sign with it. Never use \
                 it for a real community."
            )?;
        }
        tell_inserted(
            self.purpose,
            keystore.insert(self.purpose, &secret),
            console,
        )
    }
}

/// Prints the public key that was stored; that it was there before is no failure, so that setting up can be repeated.
pub(super) fn tell_inserted(
    purpose: Purpose,
    result: Result<[u8; 32], KeystoreError>,
    console: &mut Console<'_>,
) -> Result<()> {
    let public = match result {
        Err(KeystoreError::Exists { public, path, .. }) => {
            writeln!(
                console.notes,
                "The key is in the keystore already and was left as it is: {}",
                path.display()
            )?;
            public
        }
        result => result?,
    };
    writeln!(console.out, "{purpose} 0x{}", hex::encode(public))?;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    keystore: KeystoreArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        // Public keys stand in the files' names, so no password is needed.
        let keystore = Keystore::open(self.keystore.existing_folder()?, None)?;
        let keys = keystore.list()?;
        let protection = |protection| match protection {
            Protection::Clear => "clear",
            Protection::Password => "encrypted",
        };
        if self.json {
            let keys: Vec<_> = keys
                .iter()
                .map(|key| {
                    json!({
                        "purpose": key.purpose.name(),
                        "scheme": key.purpose.scheme().name(),
                        "publicKey": format!("0x{}", hex::encode(key.public)),
                        "protection": protection(key.protection),
                        "file": key.path,
                    })
                })
                .collect();
            writeln!(console.out, "{:#}", json!(keys))?;
            return Ok(());
        }
        if keys.is_empty() {
            writeln!(
                console.notes,
                "The keystore {} is empty: make keys with `commonwatt key rotate`.",
                keystore.folder().display()
            )?;
        }
        for key in keys {
            writeln!(
                console.out,
                "{:<6}  {}  0x{}  {}",
                key.purpose.name(),
                key.purpose.scheme(),
                hex::encode(key.public),
                protection(key.protection)
            )?;
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    keystore: KeystoreArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Rotate {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let keystore = self.keystore.open_or_create()?;
        let keys = keystore.rotate()?;
        let vote = format!("0x{}", hex::encode(keys.vote.0));
        let beacon = format!("0x{}", hex::encode(keys.beacon.0));
        // SCALE writes the two one after the other, as they stand.
        let session_keys = format!("0x{}", hex::encode([keys.vote.0, keys.beacon.0].concat()));
        if self.json {
            let answer = json!({ "vote": vote, "beacon": beacon, "sessionKeys": session_keys });
            writeln!(console.out, "{answer:#}")?;
        } else {
            writeln!(console.out, "Vote key:      {vote}")?;
            writeln!(console.out, "Beacon key:    {beacon}")?;
            writeln!(console.out, "Session keys:  {session_keys}")?;
        }
        writeln!(
            console.notes,
            "Send these to the DSO, who registers them with registry.registerValidator(your account, keys). The old \
             keys stay in {}: the chain asks for them until it uses the new ones.",
            keystore.folder().display()
        )?;
        Ok(())
    }
}
