//! Where secrets come from: a file, the standard input, or, with a warning, the command line.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use commonwatt_keystore::{Account, SecretError, SecretUri, Zeroizing, files};
use commonwatt_primitives::address::account_from_address;

use super::{Console, password::warn_if_exposed};

/// What somebody named on the command line, read.
pub(super) enum SecretInput {
    /// A secret of either scheme.
    Secret(SecretUri),
    /// An account file of polkadot.js, perhaps encrypted.
    Account(Account),
    /// No secret, but a public key.
    Public([u8; 32]),
}

impl SecretInput {
    /// Reads what `argument` names: `-` for the standard input, a file, or the thing itself.
    pub(super) fn read(argument: &str, console: &mut Console<'_>) -> Result<Self> {
        if argument == "-" {
            let bytes = files::read_stream(&mut *console.input)?;
            return Self::parse(&bytes).context("the standard input holds no key");
        }
        let path = Path::new(argument);
        // A pipe serves as well, as in `--suri <(…)`.
        if path.exists() && !path.is_dir() {
            let (bytes, exposure) = files::read_input(path)?;
            let input =
                Self::parse(&bytes).with_context(|| format!("{} holds no key", path.display()))?;
            if !matches!(input, Self::Public(_)) {
                warn_if_exposed(path, exposure);
            }
            return Ok(input);
        }
        // The argument may be a mistyped secret, so no error repeats it.
        // `/path/to/key` could be read as soft steps from the public development phrase, and anybody could sign with that.
        ensure!(
            !argument.starts_with('/') || argument.starts_with("//"),
            "what was given is neither a file that exists nor a key: it begins with a single /, as a path does, so look \
             for a mistake in that; soft steps stand after a phrase"
        );
        let input = Self::parse(argument.as_bytes())
            .context("what was given is neither a file that exists nor a key")?;
        if let Self::Secret(secret) = &input
            && !secret.is_well_known()
        {
            writeln!(
                console.notes,
                "Warning: other users of this machine can see a secret on the command line, and the shell keeps it \
                 in its history. Give it in a file, or as - on the standard input."
            )?;
        }
        Ok(input)
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.trim_ascii();
        match bytes.first() {
            Some(b'{') => Ok(Self::Account(Account::parse(bytes)?)),
            // A key file of a keystore.
            Some(b'"') => {
                let text = serde_json::from_slice(bytes)
                    .map(Zeroizing::<String>::new)
                    .map_err(|_| {
                        anyhow!("it begins with a quotation mark but is no JSON string")
                    })?;
                Ok(Self::Secret(SecretUri::parse(&text)?))
            }
            _ => match SecretUri::from_file_content(bytes) {
                Ok(secret) => Ok(Self::Secret(secret)),
                // An address looks like a phrase of one word.
                Err(SecretError::WordCount(1)) => match parse_address(bytes) {
                    Some(public) => Ok(Self::Public(public)),
                    None => bail!(
                        "it is neither an SS58 address (compare it with its source) nor a phrase, nor a seed of 0x \
                         and 64 hexadecimal digits"
                    ),
                },
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn parse_address(bytes: &[u8]) -> Option<[u8; 32]> {
    let text = str::from_utf8(bytes).ok()?;
    account_from_address(text).map(Into::into)
}

/// Reads a public key in hexadecimal digits, with or without 0x.
pub(super) fn parse_public(text: &str) -> Result<[u8; 32], String> {
    let mut public = [0; 32];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(digits, &mut public)
        .map_err(|_| "a public key is 0x and 64 hexadecimal digits".to_owned())?;
    Ok(public)
}

/// Reads a secret that has to sign something.
pub(super) fn read_secret(argument: &str, console: &mut Console<'_>) -> Result<SecretUri> {
    match SecretInput::read(argument, console)? {
        SecretInput::Secret(secret) => Ok(secret),
        SecretInput::Account(_) => bail!("this is an account file: use `commonwatt key import`"),
        SecretInput::Public(_) => {
            bail!("this is an address, which cannot sign: give the secret phrase or seed")
        }
    }
}

/// Asks for a secret on the terminal, without showing it.
pub(super) fn ask_secret() -> Result<SecretUri> {
    let text = rpassword::prompt_password("Secret phrase or seed: ")
        .map(Zeroizing::new)
        .context("there is no terminal to ask for the secret: give it with --suri FILE, or --suri - for the standard input")?;
    Ok(SecretUri::parse(&text)?)
}
