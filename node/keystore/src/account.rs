//! Account files as polkadot.js writes them: version 3, content `pkcs8`, in clear or under a password.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use commonwatt_primitives::address::account_from_address;
use schnorrkel::{ExpansionMode, MiniSecretKey, SecretKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sp_core::crypto::{AccountId32, Ss58AddressFormat, Ss58Codec};
use zeroize::Zeroizing;

use crate::{
    envelope::{self, EnvelopeError},
    pair::{Ed25519Pair, KeyPair, Scheme, Sr25519Pair},
    password::Password,
    secret::EntropyError,
};

/// What stands before the secret.
const HEADER: [u8; 16] = [48, 83, 2, 1, 1, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
/// What stands between the secret and the public key.
const DIVIDER: [u8; 5] = [161, 35, 3, 33, 0];
/// The secret as it is written now.
const SECRET_BYTES: usize = 64;
/// The secret as earlier versions wrote it.
const SEED_BYTES: usize = 32;
/// Room for an account file, so that none is copied while it grows.
const JSON_BYTES: usize = 4_096;

const VERSION: &str = "3";
const CONTENT: &str = "pkcs8";
const SEALED: [&str; 2] = ["scrypt", "xsalsa20-poly1305"];
const CLEAR: &str = "none";

/// A key as polkadot.js exports it.
///
/// It holds the key itself and not the phrase it came from, so a phrase that is needed elsewhere must be kept apart.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// Base64 of the key, in clear or sealed.
    encoded: Zeroizing<String>,
    encoding: Encoding,
    address: String,
    #[serde(default)]
    meta: Map<String, Value>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Encoding {
    content: Vec<String>,
    #[serde(rename = "type")]
    kind: Vec<String>,
    version: String,
}

/// Why an account file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is not JSON of this form.
    #[error(
        "this is no account file of polkadot.js (line {line}, column {column}): export the account anew in the \
         wallet, one account a file"
    )]
    Parse {
        /// Where reading ended.
        line: usize,
        /// Where reading ended.
        column: usize,
    },
    /// Another version or encryption.
    #[error(
        "the account file is of another kind ({0}): import it into polkadot.js and export it anew, which makes a \
         version 3 file"
    )]
    Kind(String),
    /// A scheme we have no use for.
    #[error(
        "the account is of the type {0:?}, and this chain knows ed25519 and sr25519: make another account"
    )]
    Scheme(String),
    /// It is sealed.
    #[error("the account file is encrypted: give its password")]
    PasswordNeeded,
    /// The password is wrong; damage looks alike.
    #[error(
        "the password does not open the account file: type it again; if it is right, the file is damaged"
    )]
    WrongPassword,
    /// It asks for work that no polkadot.js asks for.
    #[error(
        "the account file asks for unknown scrypt parameters, so it is not opened: export the account anew"
    )]
    Cost,
    /// It does not hold what it should.
    #[error("the account file is damaged ({0}): take another copy, or export the account anew")]
    Damaged(&'static str),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl From<EnvelopeError> for AccountError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::TooShort => Self::Damaged("it is too short"),
            EnvelopeError::Cost => Self::Cost,
            EnvelopeError::Closed => Self::WrongPassword,
        }
    }
}

impl Account {
    /// Writes a key into an account file, in clear without a password. `name` is what wallets show.
    pub fn new(
        pair: &KeyPair,
        password: Option<&Password>,
        name: Option<&str>,
        ss58_format: u16,
    ) -> Result<Self, AccountError> {
        let plain = encode(pair);
        let (encoded, kind) = match password {
            Some(password) => (
                BASE64.encode(envelope::seal(&plain, password)?),
                SEALED.map(str::to_owned).to_vec(),
            ),
            None => (BASE64.encode(&*plain), vec![CLEAR.to_owned()]),
        };
        let format = Ss58AddressFormat::custom(ss58_format);
        let name = name.map(|name| ("name".to_owned(), Value::from(name)));
        Ok(Self {
            encoded: Zeroizing::new(encoded),
            encoding: Encoding {
                content: vec![CONTENT.to_owned(), pair.scheme().name().to_owned()],
                kind,
                version: VERSION.to_owned(),
            },
            address: AccountId32::new(pair.public()).to_ss58check_with_version(format),
            meta: name.into_iter().collect(),
        })
    }

    /// Reads an account file.
    pub fn parse(bytes: &[u8]) -> Result<Self, AccountError> {
        let account: Self = serde_json::from_slice(bytes).map_err(|error| AccountError::Parse {
            line: error.line(),
            column: error.column(),
        })?;
        account.scheme()?;
        account.is_encrypted()?;
        Ok(account)
    }

    /// Returns the file.
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let mut json = Zeroizing::new(Vec::with_capacity(JSON_BYTES));
        serde_json::to_writer_pretty(&mut *json, self)
            .expect("the fields are strings, and writing to memory does not fail");
        json.push(b'\n');
        json
    }

    /// Returns the account's address, as the file says it. [`Account::open`] checks it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the name that wallets show.
    pub fn name(&self) -> Option<&str> {
        self.meta.get("name").and_then(Value::as_str)
    }

    /// Returns the scheme of the key.
    pub fn scheme(&self) -> Result<Scheme, AccountError> {
        let Encoding {
            content, version, ..
        } = &self.encoding;
        match content.as_slice() {
            [content, scheme] if content == CONTENT && version == VERSION => scheme
                .parse()
                .map_err(|_| AccountError::Scheme(brief(scheme))),
            _ => {
                let content = brief(&content.join(", "));
                let version = brief(version);
                Err(AccountError::Kind(format!(
                    "version {version}, content {content}"
                )))
            }
        }
    }

    /// Says whether a password is needed.
    pub fn is_encrypted(&self) -> Result<bool, AccountError> {
        let kind: Vec<&str> = self.encoding.kind.iter().map(String::as_str).collect();
        match kind.as_slice() {
            [CLEAR] => Ok(false),
            kind if kind == SEALED => Ok(true),
            kind => Err(AccountError::Kind(format!(
                "type {}",
                brief(&kind.join(", "))
            ))),
        }
    }

    /// Takes the key out.
    pub fn open(&self, password: Option<&Password>) -> Result<KeyPair, AccountError> {
        let scheme = self.scheme()?;
        let bytes = decode_text(&self.encoded).ok_or(AccountError::Damaged(
            "its key is neither base64 nor hexadecimal",
        ))?;
        let plain = match (self.is_encrypted()?, password) {
            (false, _) => bytes,
            (true, None) => return Err(AccountError::PasswordNeeded),
            (true, Some(password)) => envelope::open(&bytes, password)?,
        };
        let pair = decode(&plain, scheme)?;
        let address = account_from_address(&self.address)
            .ok_or(AccountError::Damaged("its address is mistyped"))?;
        if address != AccountId32::new(pair.public()) {
            return Err(AccountError::Damaged("its address is another key's"));
        }
        Ok(pair)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({}, key hidden)", self.address)
    }
}

/// Reads hexadecimal digits after `0x`, or base64. One salt in 4 096 makes base64 begin with `0x` too, so what is not
/// hexadecimal to its end is taken as base64, as `isHex` of polkadot.js does.
fn decode_text(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.strip_prefix("0x");
    digits
        .and_then(|digits| hex::decode(digits).ok())
        .or_else(|| BASE64.decode(text.as_bytes()).ok())
        .map(Zeroizing::new)
}

/// Shortens what a file says, for an error message.
fn brief(text: &str) -> String {
    text.chars().take(32).collect()
}

fn encode(pair: &KeyPair) -> Zeroizing<Vec<u8>> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    match pair {
        KeyPair::Ed25519(pair) => {
            secret[..SEED_BYTES].copy_from_slice(&*pair.to_seed());
            secret[SEED_BYTES..].copy_from_slice(&pair.public().0);
        }
        KeyPair::Sr25519(pair) => {
            secret.copy_from_slice(&*Zeroizing::new(pair.secret().to_ed25519_bytes()));
        }
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(128));
    plain.extend_from_slice(&HEADER);
    plain.extend_from_slice(&*secret);
    plain.extend_from_slice(&DIVIDER);
    plain.extend_from_slice(&pair.public());
    plain
}

/// Splits header, secret, divider and public key.
fn split(plain: &[u8], secret_bytes: usize) -> Option<(&[u8], &[u8])> {
    let rest = plain.strip_prefix(&HEADER)?;
    let (secret, rest) = rest.split_at_checked(secret_bytes)?;
    let public = rest.strip_prefix(&DIVIDER)?;
    (public.len() == 32).then_some((secret, public))
}

fn decode(plain: &[u8], scheme: Scheme) -> Result<KeyPair, AccountError> {
    const DAMAGED: AccountError = AccountError::Damaged("its key is not in the pkcs8 form");
    let (secret, public) = split(plain, SECRET_BYTES)
        .or_else(|| split(plain, SEED_BYTES))
        .ok_or(DAMAGED)?;
    let pair = match (scheme, secret.len()) {
        (Scheme::Ed25519, _) => {
            let seed = secret.first_chunk().ok_or(DAMAGED)?;
            KeyPair::Ed25519(Ed25519Pair::from_seed(seed))
        }
        (Scheme::Sr25519, SECRET_BYTES) => {
            let secret = SecretKey::from_ed25519_bytes(secret).map_err(|_| DAMAGED)?;
            KeyPair::Sr25519(Sr25519Pair::from_secret(secret))
        }
        (Scheme::Sr25519, _) => {
            let seed = MiniSecretKey::from_bytes(secret).map_err(|_| DAMAGED)?;
            KeyPair::Sr25519(Sr25519Pair::from_secret(
                seed.expand(ExpansionMode::Ed25519),
            ))
        }
    };
    if pair.public() != *public {
        return Err(AccountError::Damaged(
            "its public key is not the secret one's",
        ));
    }
    Ok(pair)
}
