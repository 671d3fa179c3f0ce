//! `create`, `import`, `export` and `list`: the accounts of the wallet. No node is needed.

use std::{
    fs::File,
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use clap::Args;
use commonwatt_keystore::{
    Account, FileError, KeyPair, Password, Scheme, SecretUri, Zeroizing,
    files::{self, Exposure},
    parse_word_count,
};
use commonwatt_primitives::{AccountId, Hash};
use commonwatt_runtime::configs::SS58_PREFIX;
use serde_json::json;

use super::{
    Console,
    args::{FolderArgs, PASSWORD, warn_of},
};
use crate::{
    accounts::{AccountFolder, AccountsError, Listing, Name, genesis_of},
    error::WalletError,
    password::{Prompt, Question},
    table::{Align, Table},
};

/// How another password for an exported file is asked for.
const NEW_PASSWORD: Question = Question {
    what: "password of the new file",
    flag: "--new-password-file",
};

#[derive(Debug, Args)]
pub(super) struct Create {
    /// The account's name in this wallet
    name: Name,
    #[command(flatten)]
    folder: FolderArgs,
    /// Scheme of the key: ed25519 or sr25519
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519)]
    scheme: Scheme,
    /// Words of the secret phrase: 12, 15, 18, 21 or 24
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = parse_word_count)]
    words: usize,
    /// Write the secret phrase into this new file, readable by its owner alone, instead of showing it
    #[arg(long, value_name = "FILE")]
    phrase_file: Option<PathBuf>,
    /// File with the password of the account in its first line [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Genesis hash of the only chain that the account signs for [default: any]
    #[arg(long, value_name = "HASH")]
    genesis: Option<Hash>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Create {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        if self.phrase_file.is_none() && is_output_nowhere() {
            return Err(unseen("the standard output is closed, or leads nowhere"));
        }
        let folder = self.folder.folder()?;
        let path = folder.path_of(&self.name);
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path).into());
        }
        let password = PASSWORD.ask(self.password_file.as_deref(), Prompt::New)?;
        self.make(&folder, &password, console)
    }

    /// Makes the account. What nobody could be told the phrase of is not kept.
    fn make(
        &self,
        folder: &AccountFolder,
        password: &Password,
        console: &mut Console<'_>,
    ) -> Result<(), WalletError> {
        let secret = SecretUri::generate_phrase(self.words)?;
        let pair = secret.to_pair(self.scheme)?;
        let path = folder.path_of(&self.name);
        // The phrase first: an account whose phrase could not be written would be half lost already.
        if let Some(file) = &self.phrase_file {
            files::write_private(file, secret.expose().as_bytes())?;
            folder.keep(&self.name, &pair, password, self.genesis)?;
            print_account(&self.name, &pair, &path, None, self.json, console)?;
        } else {
            let phrase = Some(secret.expose());
            print_account(&self.name, &pair, &path, phrase, self.json, console)
                .and_then(|()| Ok(console.out.flush()?))
                .map_err(|error| match error {
                    WalletError::Output(cause) => unseen(&cause.to_string()),
                    error => error,
                })?;
            folder.keep(&self.name, &pair, password, self.genesis)?;
        }
        let where_to_keep = match &self.phrase_file {
            Some(file) => format!("The secret phrase is in {}.", file.display()),
            None => "Write the secret phrase down on paper, and clear the screen.".to_owned(),
        };
        writeln!(
            console.notes,
            "{where_to_keep} Whoever has it owns the account, and nothing else brings it back when file or password are lost."
        )?;
        Ok(())
    }
}

/// Says that a new phrase cannot be shown. The cause is told in words alone: a reader who went away is no fault elsewhere.
fn unseen(cause: &str) -> WalletError {
    WalletError::usage(format!(
        "the secret phrase cannot be shown ({cause}): no account was kept; run it again in a terminal, or have the phrase \
         written with --phrase-file"
    ))
}

/// Returns whether the standard output leads to where nobody reads. One that was closed is opened as the null device when a
/// program starts, so that writing to it would be no error.
fn is_output_nowhere() -> bool {
    let device_of = |file: &File| {
        let metadata = file.metadata().ok()?;
        let is_device = metadata.file_type().is_char_device();
        is_device.then(|| metadata.rdev())
    };
    let output = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    match (output, File::open("/dev/null")) {
        (Err(_), _) => true,
        (Ok(output), Ok(null)) => {
            device_of(&output).is_some() && device_of(&output) == device_of(&null)
        }
        (Ok(_), Err(_)) => false,
    }
}

/// Room for what is printed as JSON: a phrase of 24 words and four lines.
const JSON_BYTES: usize = 2_048;

fn print_account(
    name: &Name,
    pair: &KeyPair,
    path: &Path,
    phrase: Option<&str>,
    is_json: bool,
    console: &mut Console<'_>,
) -> Result<(), WalletError> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        name: &'a str,
        address: &'a str,
        scheme: &'a str,
        file: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_phrase: Option<&'a str>,
    }
    let address = AccountId::new(pair.public()).to_string();
    let (name, file) = (name.to_string(), path.display().to_string());
    if is_json {
        let answer = Answer {
            name: &name,
            address: &address,
            scheme: pair.scheme().name(),
            file: &file,
            secret_phrase: phrase,
        };
        // Wiped, and not copied while it grows.
        let mut json = Zeroizing::new(Vec::with_capacity(JSON_BYTES));
        serde_json::to_writer_pretty(&mut *json, &answer).map_err(std::io::Error::from)?;
        json.push(b'\n');
        console.out.write_all(&json)?;
        return Ok(());
    }
    if let Some(phrase) = phrase {
        writeln!(console.out, "Secret phrase:  {phrase}")?;
    }
    writeln!(console.out, "Name:           {name}")?;
    writeln!(console.out, "Address:        {address}")?;
    writeln!(console.out, "Scheme:         {}", pair.scheme())?;
    writeln!(console.out, "File:           {file}")?;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The account's name in this wallet
    name: Name,
    /// An account file of polkadot.js, or a file with a secret phrase or seed; - for the standard input [default: the
    /// secret is asked for]
    source: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArgs,
    /// Scheme of the key that comes from a phrase or seed: ed25519 or sr25519
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519)]
    scheme: Scheme,
    /// File with the password in its first line: of an encrypted account file, which the account keeps, else a new one
    /// [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Genesis hash of the only chain that the account signs for [default: the one that the account file names, else any]
    #[arg(long, value_name = "HASH")]
    genesis: Option<Hash>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Import {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let (pair, password, kept_for) = self.read(console)?;
        let folder = self.folder.folder()?;
        let genesis = self.genesis.or(kept_for);
        let path = folder.keep(&self.name, &pair, &password, genesis)?;
        print_account(&self.name, &pair, &path, None, self.json, console)
    }

    fn read(
        &self,
        console: &mut Console<'_>,
    ) -> Result<(KeyPair, Password, Option<Hash>), WalletError> {
        let bytes = match &self.source {
            None => {
                let typed = rpassword::prompt_password("Secret phrase or seed: ").map_err(|error| {
                    WalletError::usage(format!(
                        "there is no terminal to ask for the secret ({error}): give it in a file, or as - on the standard \
                         input"
                    ))
                })?;
                Zeroizing::new(typed.into_bytes())
            }
            Some(source) if source.as_os_str() == "-" => files::read_stream(&mut *console.input)?,
            Some(source) => {
                let (bytes, exposure) = files::read_input(source)?;
                if let Exposure::Others(mode) = exposure {
                    writeln!(
                        console.notes,
                        "Warning: other users of this machine can read {path} (mode {mode:04o}): run `chmod 600 '{path}'`.",
                        path = source.display()
                    )?;
                }
                bytes
            }
        };
        let ask = |prompt| PASSWORD.ask(self.password_file.as_deref(), prompt);
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            let file = Account::parse(&bytes).map_err(AccountsError::from)?;
            let is_encrypted = file.is_encrypted().map_err(AccountsError::from)?;
            let password = ask(match is_encrypted {
                true => Prompt::Known,
                false => Prompt::New,
            })?;
            let pair = file
                .open(is_encrypted.then_some(&password))
                .map_err(AccountsError::from)?;
            return Ok((pair, password, genesis_of(&bytes)));
        }
        let secret = SecretUri::from_file_content(&bytes)?;
        if secret.is_well_known() {
            writeln!(
                console.notes,
                "This key comes from the public development phrase: anybody can sign with it."
            )?;
        }
        let pair = secret.to_pair(self.scheme)?;
        Ok((pair, ask(Prompt::New)?, None))
    }
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    folder: FolderArgs,
    /// The account: its name in the wallet, or its address [default: the only one]
    #[arg(long, value_name = "NAME|ADDRESS")]
    account: Option<String>,
    /// File with the password of the account in its first line [default: it is asked for]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with another password for the new file [default: the same password]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// New file, readable by its owner alone [default: the standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let kept = self.folder.find(self.account.as_deref(), console.notes)?;
        let password = PASSWORD.ask(self.password_file.as_deref(), Prompt::Known)?;
        // Opened even if it is copied as it is: a file whose password nobody knows is no copy.
        let pair = kept.open(&password)?;
        let bytes = match &self.new_password_file {
            None => kept.read()?,
            Some(file) => {
                let password = NEW_PASSWORD.ask(Some(file), Prompt::New)?;
                let name = kept.name.to_string();
                let file = Account::new(&pair, Some(&password), Some(&name), SS58_PREFIX)
                    .map_err(AccountsError::from)?;
                file.to_json().to_vec()
            }
        };
        match &self.output {
            None => console.out.write_all(&bytes)?,
            Some(path) => {
                files::write_private(path, &bytes)?;
                writeln!(
                    console.notes,
                    "{} is in {}, encrypted. It holds the key and not the phrase it came from, so keep that too.",
                    kept.id,
                    path.display()
                )?;
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    folder: FolderArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let folder = self.folder.folder()?;
        let Listing { accounts, broken } = folder.list()?;
        warn_of(&broken, console.notes)?;
        if self.json {
            let accounts: Vec<_> = accounts
                .iter()
                .map(|kept| {
                    json!({
                        "name": kept.name.to_string(),
                        "address": kept.id.to_string(),
                        "scheme": kept.scheme,
                        "genesis": kept.genesis,
                        "file": kept.path.display().to_string(),
                    })
                })
                .collect();
            return console.json(&json!(accounts));
        }
        let mut table = Table::new(
            ["name", "address", "scheme", "chain"].map(|heading| (heading, Align::Left)),
        );
        for kept in &accounts {
            let chain = kept
                .genesis
                .map_or_else(|| "any".to_owned(), |hash| hash.to_string());
            table.row([
                kept.name.to_string(),
                kept.id.to_string(),
                kept.scheme.to_owned(),
                chain,
            ]);
        }
        match table.is_empty() {
            true => writeln!(
                console.out,
                "no accounts in {}: make one with `commonwatt wallet create NAME`",
                folder.path().display()
            )?,
            false => write!(console.out, "{table}")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::io::{BufWriter, Write};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    /// Makes an account that is told of to `out`; returns how many are there then.
    fn make(
        folder: &AccountFolder,
        more: &[&str],
        out: &mut dyn Write,
    ) -> (Result<(), String>, usize) {
        let words = ["create", "anna"].iter().chain(more);
        let create = Line::try_parse_from(words).unwrap().create;
        let password = Password::new(Zeroizing::new("long enough".to_owned())).unwrap();
        let console = &mut Console {
            out,
            notes: &mut io::sink(),
            input: &mut io::empty(),
        };
        let made = create.make(folder, &password, console);
        let count = folder.list().unwrap().accounts.len();
        (made.map_err(|error| error.to_string()), count)
    }

    /// What a pipe is that nobody reads any more, or a disk without room.
    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_account_whose_phrase_nobody_saw_is_not_kept() {
        let parent = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(Some(&parent.path().join("wallet"))).unwrap();
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
            for more in [&[][..], &["--json"]] {
                // At once, and only when it is flushed.
                let mut buffered = BufWriter::new(Closed(kind));
                for out in [&mut Closed(kind) as &mut dyn Write, &mut buffered] {
                    let (made, count) = make(&folder, more, out);
                    let said = made.unwrap_err();
                    assert!(
                        said.contains("no account was kept") && said.contains("--phrase-file"),
                        "{said}"
                    );
                    assert_eq!(count, 0);
                }
            }
        }
        let mut out = Vec::new();
        let (made, count) = make(&folder, &[], &mut out);
        made.unwrap();
        assert_eq!(count, 1);
        assert!(String::from_utf8(out).unwrap().contains("Secret phrase:"));
    }

    #[test]
    fn a_phrase_in_a_file_is_not_shown() {
        let parent = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(Some(&parent.path().join("wallet"))).unwrap();
        let file = parent.path().join("phrase");
        let mut out = Vec::new();
        let words = ["--phrase-file", file.to_str().unwrap()];
        let (made, count) = make(&folder, &words, &mut out);
        made.unwrap();
        assert_eq!(count, 1);
        assert!(file.exists() && !String::from_utf8(out).unwrap().contains("phrase:"));
    }
}
