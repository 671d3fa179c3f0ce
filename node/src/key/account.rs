//! `key generate` and `key inspect`: accounts.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use commonwatt_keystore::{AccountError, Scheme, SecretUri, Zeroizing, files, parse_word_count};
use commonwatt_primitives::address::account_from_address;
use commonwatt_runtime::configs::SS58_PREFIX;
use serde::Serialize;
use sp_core::crypto::{AccountId32, Ss58AddressFormat, Ss58Codec};

use super::{
    Console,
    password::{AccountPasswordArgs, Prompt},
    secret_input::{SecretInput, parse_public},
};

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// Signature scheme: ed25519, or sr25519 as most wallets use
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519)]
    scheme: Scheme,
    /// Words of the secret phrase: 12, 15, 18, 21 or 24
    #[arg(long, value_name = "COUNT", default_value_t = 12, value_parser = parse_word_count)]
    words: usize,
    /// Write the secret phrase to this new file, readable by its owner alone, instead of showing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Generate {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let secret = SecretUri::generate_phrase(self.words)?;
        let pair = secret.to_pair(self.scheme)?;
        let shown = Identity {
            scheme: Some(self.scheme),
            public: pair.public(),
        };
        let phrase = match &self.output {
            Some(file) => {
                files::write_private(file, secret.expose().as_bytes())?;
                writeln!(
                    console.notes,
                    "The secret phrase is in {}. Whoever has it owns the account: keep a copy on paper.",
                    file.display()
                )?;
                None
            }
            None => {
                writeln!(
                    console.notes,
                    "Whoever has the secret phrase owns the account: write it down on paper, and clear the screen."
                )?;
                Some(secret.expose())
            }
        };
        shown.print(phrase, self.json, console)
    }
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A file with a secret phrase or seed, a key file, an account file, - for the standard input, an address, or the
    /// secret itself (//Alice), which other users of this machine can then see
    #[arg(value_name = "FILE|-|ADDRESS|SECRET")]
    what: String,
    /// Take it for a public key in hexadecimal digits, instead of a seed
    #[arg(long)]
    public: bool,
    /// Signature scheme of a secret: ed25519 or sr25519
    #[arg(long, value_name = "ed25519|sr25519", default_value_t = Scheme::Ed25519)]
    scheme: Scheme,
    #[command(flatten)]
    password: AccountPasswordArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let shown = if self.public {
            Identity {
                scheme: None,
                public: parse_public(&self.what).map_err(anyhow::Error::msg)?,
            }
        } else {
            self.read(console)?
        };
        shown.print(None, self.json, console)
    }

    fn read(&self, console: &mut Console<'_>) -> Result<Identity> {
        Ok(match SecretInput::read(&self.what, console)? {
            SecretInput::Public(public) => Identity {
                scheme: None,
                public,
            },
            SecretInput::Secret(secret) => {
                if secret.is_well_known() {
                    writeln!(
                        console.notes,
                        "This key comes from the public development phrase: anybody can sign with it."
                    )?;
                }
                Identity {
                    scheme: Some(self.scheme),
                    public: secret.to_pair(self.scheme)?.public(),
                }
            }
            SecretInput::Account(account) => {
                let password = self.password.read(Prompt::Known)?;
                if account.is_encrypted()? && password.is_none() {
                    writeln!(
                        console.notes,
                        "The account file is encrypted, so this is what it says of itself. To check it, give its \
                         password with --account-password-file or --account-password-interactive."
                    )?;
                    let address = account_from_address(account.address())
                        .ok_or(AccountError::Damaged("its address is mistyped"))?;
                    Identity {
                        scheme: Some(account.scheme()?),
                        public: address.into(),
                    }
                } else {
                    let pair = account.open(password.as_ref())?;
                    Identity {
                        scheme: Some(pair.scheme()),
                        public: pair.public(),
                    }
                }
            }
        })
    }
}

/// Room for what is printed as JSON: a phrase of 24 words and three lines.
const JSON_BYTES: usize = 1_024;

/// A key in JSON, with the names that Substrate's tools use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    account_id: &'a str,
    public_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_phrase: Option<&'a str>,
    ss58_address: &'a str,
}

/// What may be known of a key.
pub(super) struct Identity {
    pub(super) scheme: Option<Scheme>,
    pub(super) public: [u8; 32],
}

impl Identity {
    /// Returns the address, as wallets show it on this chain.
    pub(super) fn address(&self) -> String {
        let format = Ss58AddressFormat::custom(SS58_PREFIX);
        AccountId32::new(self.public).to_ss58check_with_version(format)
    }

    /// Prints it; in JSON under the names that Substrate's tools use.
    pub(super) fn print(
        &self,
        phrase: Option<&str>,
        is_json: bool,
        console: &mut Console<'_>,
    ) -> Result<()> {
        let public = format!("0x{}", hex::encode(self.public));
        let scheme = self.scheme.map(Scheme::name);
        if is_json {
            let answer = Answer {
                account_id: &public,
                public_key: &public,
                scheme,
                secret_phrase: phrase,
                ss58_address: &self.address(),
            };
            // Wiped, and not copied while it grows.
            let mut json = Zeroizing::new(Vec::with_capacity(JSON_BYTES));
            serde_json::to_writer_pretty(&mut *json, &answer)?;
            json.push(b'\n');
            console.out.write_all(&json)?;
            return Ok(());
        }
        if let Some(phrase) = phrase {
            writeln!(console.out, "Secret phrase:  {phrase}")?;
        }
        if let Some(scheme) = scheme {
            writeln!(console.out, "Scheme:         {scheme}")?;
        }
        writeln!(console.out, "Public key:     {public}")?;
        writeln!(console.out, "Account id:     {public}")?;
        writeln!(console.out, "SS58 address:   {}", self.address())?;
        Ok(())
    }
}
