//! `key export` and `key import`: account files of polkadot.js.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args};
use commonwatt_keystore::{Account, KeyPair, Keystore, Purpose, Scheme, SecretUri, files};
use commonwatt_runtime::configs::SS58_PREFIX;

use super::{
    Console,
    account::Identity,
    password::{AccountPasswordArgs, Prompt},
    secret_input::{SecretInput, parse_public, read_secret},
    store::{KeystoreArgs, tell_inserted},
};

/// Formats that keys are exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// JSON, version 3, as polkadot.js, its extension and other wallets read it.
    PolkadotJs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["suri", "purpose"])))]
#[command(group(
    ArgGroup::new("protection")
        .required(true)
        .args(["account_password_file", "account_password_interactive", "unencrypted"])
))]
pub(super) struct Export {
    /// Format of the file
    #[arg(long, value_enum, default_value_t = Format::PolkadotJs)]
    format: Format,
    /// Export this secret: a file with the phrase or seed, - for the standard input, or the secret itself (//Alice),
    /// which other users of this machine can then see
    #[arg(long, value_name = "FILE|-|SECRET", conflicts_with_all = ["keystore", "chain", "base_path", "public"])]
    suri: Option<String>,
    /// Signature scheme of the secret: ed25519 or sr25519
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519, conflicts_with = "purpose")]
    scheme: Scheme,
    /// Export a key of the keystore: vote or beacon
    #[arg(long, value_name = "vote|beacon")]
    purpose: Option<Purpose>,
    /// Which key of the keystore, if there are several: its public key
    #[arg(long, value_name = "HEX", value_parser = parse_public)]
    public: Option<[u8; 32]>,
    #[command(flatten)]
    keystore: KeystoreArgs,
    #[command(flatten)]
    password: AccountPasswordArgs,
    /// Write the key in clear, so that whoever reads the file owns the account
    #[arg(long)]
    unencrypted: bool,
    /// Name that wallets show
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// New file, readable by its owner alone [default: the standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let Format::PolkadotJs = self.format;
        let pair = match (&self.suri, self.purpose) {
            (Some(suri), _) => read_secret(suri, console)?.to_pair(self.scheme)?,
            (None, Some(purpose)) => find(&self.keystore.existing()?, purpose, self.public)?,
            (None, None) => bail!("say which key to export, with --suri or --purpose"),
        };
        let password = self.password.read(Prompt::New)?;
        let account = Account::new(&pair, password.as_ref(), self.name.as_deref(), SS58_PREFIX)?;
        match &self.output {
            None => console.out.write_all(&account.to_json())?,
            Some(file) => {
                files::write_private(file, &account.to_json())?;
                writeln!(
                    console.notes,
                    "{} is in {}. It holds the key and not the phrase it came from, so keep that too.",
                    account.address(),
                    file.display()
                )?;
            }
        }
        Ok(())
    }
}

/// Returns the key of a keystore that is meant.
fn find(keystore: &Keystore, purpose: Purpose, public: Option<[u8; 32]>) -> Result<KeyPair> {
    let mut candidates = keystore.list()?;
    candidates
        .retain(|key| key.purpose == purpose && public.is_none_or(|public| public == key.public));
    let folder = keystore.folder().display();
    match candidates.as_slice() {
        [key] => keystore
            .pair(purpose, &key.public)?
            .with_context(|| format!("{} was removed meanwhile: try again", key.path.display())),
        [] => bail!("the keystore {folder} has no such {purpose} key: see `commonwatt key list`"),
        [_, _, ..] => bail!(
            "the keystore {folder} has {} {purpose} keys: say which with --public, as `commonwatt key list` shows them",
            candidates.len()
        ),
    }
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true).args(["purpose", "output"])))]
pub(super) struct Import {
    /// The account file, or - for the standard input
    #[arg(value_name = "FILE|-")]
    file: String,
    #[command(flatten)]
    account_password: AccountPasswordArgs,
    /// Put the key into the keystore: as vote (ed25519) or beacon (sr25519) key
    #[arg(long, value_name = "vote|beacon")]
    purpose: Option<Purpose>,
    /// Write the secret to this new file, readable by its owner alone, as other commands and tools read it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keystore", "chain", "base_path"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    keystore: KeystoreArgs,
}

impl Import {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let SecretInput::Account(account) = SecretInput::read(&self.file, console)? else {
            bail!(
                "this is no account file but a bare key: use `commonwatt key insert --suri FILE`"
            );
        };
        let password = self.account_password.read(Prompt::Known)?;
        if account.is_encrypted()? && password.is_none() {
            bail!(
                "the account file is encrypted: give its password with --account-password-file or \
                 --account-password-interactive"
            );
        }
        let pair = account.open(password.as_ref())?;
        match (self.purpose, &self.output) {
            (Some(purpose), _) => {
                let keystore = self.keystore.open_or_create()?;
                tell_inserted(purpose, keystore.insert_pair(purpose, &pair), console)
            }
            (None, Some(file)) => {
                files::write_private(file, SecretUri::of_pair(&pair).expose().as_bytes())?;
                let identity = Identity {
                    scheme: Some(pair.scheme()),
                    public: pair.public(),
                };
                identity.print(None, false, console)
            }
            (None, None) => bail!("say where the key goes, with --purpose or --output"),
        }
    }
}
