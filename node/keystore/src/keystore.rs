//! The folder of validator keys.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use commonwatt_primitives::keys::SessionKeys;
use sp_core::{ed25519, sr25519};
use zeroize::Zeroizing;

use crate::{
    account::{Account, AccountError},
    files::{self, FileError},
    pair::{BeaconPair, KeyPair, Scheme, VotePair},
    password::Password,
    secret::{EntropyError, SecretError, SecretUri},
};

/// Most keys that a keystore may hold. A validator that rotates every day needs a year for so many.
const KEYS_MAX: usize = 1_024;
/// Most entries of the folder that are looked at.
const ENTRIES_MAX: usize = 4 * KEYS_MAX;
/// Digits of a key's file name: 4 bytes for the type and 32 for the public key.
const NAME_DIGITS: usize = 2 * 36;
/// Room for a secret in JSON, so that it is not copied while it grows: every character may have to be escaped.
const CONTENT_BYTES: usize = 32 * 1024;
/// The address format that means any Substrate chain: a key file belongs to no chain in particular.
const SS58_ANY: u16 = 42;

/// What a validator key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Proposals, votes and seals.
    Vote,
    /// The beacon's verifiable random function.
    Beacon,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 2] = [Self::Vote, Self::Beacon];

    /// The four characters that file names begin with, in hexadecimal digits.
    pub const fn key_type(self) -> [u8; 4] {
        match self {
            Self::Vote => *b"vote",
            Self::Beacon => *b"becn",
        }
    }

    /// The scheme of its keys.
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::Vote => Scheme::Ed25519,
            Self::Beacon => Scheme::Sr25519,
        }
    }

    /// The word the command line knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Beacon => "beacon",
        }
    }

    fn file_name(self, public: &[u8; 32]) -> String {
        format!("{}{}", hex::encode(self.key_type()), hex::encode(public))
    }

    /// Returns what a file name says; `None` when it is no key's.
    fn of_file_name(name: &str) -> Option<(Self, [u8; 32])> {
        if name.len() != NAME_DIGITS || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let bytes = hex::decode(name).ok()?;
        let (key_type, public) = bytes.split_first_chunk::<4>()?;
        let purpose = Self::ALL
            .into_iter()
            .find(|purpose| purpose.key_type() == *key_type)?;
        Some((purpose, public.try_into().ok()?))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.name() == text)
            .ok_or_else(|| format!("unknown purpose '{text}': use vote or beacon"))
    }
}

/// How a key lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// In clear; only the file's permissions protect it.
    Clear,
    /// Under a password.
    Password,
}

/// A key that a keystore holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// What it signs.
    pub purpose: Purpose,
    /// Its public key.
    pub public: [u8; 32],
    /// How it lies in its file.
    pub protection: Protection,
    /// Its file.
    pub path: PathBuf,
}

/// All validator keys of a keystore, by ascending public key.
#[derive(Debug, Default)]
pub struct SessionPairs {
    /// Keys for votes.
    pub vote: Vec<VotePair>,
    /// Keys for the beacon.
    pub beacon: Vec<BeaconPair>,
}

/// Why a keystore does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The secret is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The key is there already; it was left as it is.
    #[error(
        "the {purpose} key 0x{} is in the keystore already ({path}) and was left as it is: nothing is to be done, \
         or move that file away first to store it anew",
        hex::encode(public)
    )]
    Exists {
        /// What it signs.
        purpose: Purpose,
        /// Its public key.
        public: [u8; 32],
        /// Its file.
        path: PathBuf,
    },
    /// A key of the other scheme.
    #[error("a {purpose} key is of the scheme {}, this one is {actual}: use another key or another purpose", purpose.scheme())]
    WrongScheme {
        /// What it should sign.
        purpose: Purpose,
        /// What it is.
        actual: Scheme,
    },
    /// The keys are encrypted and no password was given.
    #[error(
        "the keys in {0} are encrypted: give the password with --password-file, --password-interactive or the \
         variable COMMONWATT_PASSWORD"
    )]
    PasswordNeeded(PathBuf),
    /// The password is not the one the keys are encrypted with.
    #[error("the password does not open {0}: give the one this keystore was made with")]
    WrongPassword(PathBuf),
    /// A file does not hold what its name says.
    #[error(
        "the key file {path} is damaged ({what}): restore it from a copy, or move it away and insert the key anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A key the chain expects is not there.
    #[error(
        "the keystore {folder} has no {purpose} key 0x{}, which the chain knows this validator by: insert it with \
         `commonwatt key insert --purpose {purpose}`, or make new keys with `commonwatt key rotate` and have the DSO \
         register them",
        hex::encode(public)
    )]
    Missing {
        /// The keystore.
        folder: PathBuf,
        /// What it signs.
        purpose: Purpose,
        /// Its public key.
        public: [u8; 32],
    },
    /// There are more files than any keystore has.
    #[error(
        "the keystore {0} holds more than {KEYS_MAX} keys, or {ENTRIES_MAX} files: move those that are no longer used to \
         another folder"
    )]
    TooMany(PathBuf),
    /// There is no room for another key.
    #[error(
        "the keystore {folder} holds {keys} keys and takes {KEYS_MAX}, so there is no room for {more} more: move those that \
         are no longer used to another folder"
    )]
    Full {
        /// The keystore.
        folder: PathBuf,
        /// How many it holds.
        keys: usize,
        /// How many should be added.
        more: usize,
    },
}

/// A folder of validator keys.
///
/// Nothing is kept in memory but the password: each question reads the files, and opening an encrypted key takes
/// half a second on purpose. The node asks once, when it starts.
#[derive(Debug)]
pub struct Keystore {
    folder: PathBuf,
    password: Option<Password>,
}

impl Keystore {
    /// Opens the keystore in `folder`, which is created if it is not there. With a password, new keys are encrypted.
    pub fn open(
        folder: impl Into<PathBuf>,
        password: Option<Password>,
    ) -> Result<Self, KeystoreError> {
        let folder = folder.into();
        files::create_private_folder(&folder)?;
        Ok(Self { folder, password })
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns all keys, by purpose and public key. Other files in the folder are left aside.
    pub fn list(&self) -> Result<Vec<StoredKey>, KeystoreError> {
        let failed = |source: io::Error| FileError::Io {
            action: "list the folder",
            path: self.folder.clone(),
            source,
        };
        let too_many = || KeystoreError::TooMany(self.folder.clone());
        let mut keys = Vec::new();
        for (count, entry) in fs::read_dir(&self.folder).map_err(failed)?.enumerate() {
            let entry = entry.map_err(failed)?;
            if count >= ENTRIES_MAX {
                return Err(too_many());
            }
            let name = entry.file_name();
            let Some((purpose, public)) = name.to_str().and_then(Purpose::of_file_name) else {
                continue;
            };
            let path = entry.path();
            // `None` when somebody removed it in between.
            let Some(bytes) = files::read_private(&path)? else {
                continue;
            };
            if keys.len() >= KEYS_MAX {
                return Err(too_many());
            }
            keys.push(StoredKey {
                purpose,
                public,
                protection: Content::parse(&bytes, &path)?.protection(&path)?,
                path,
            });
        }
        keys.sort_by_key(|key| (key.purpose, key.public));
        Ok(keys)
    }

    /// Makes a new key and returns its public key.
    pub fn generate(&self, purpose: Purpose) -> Result<[u8; 32], KeystoreError> {
        self.insert(purpose, &SecretUri::generate_seed()?)
    }

    /// Makes a new key for each purpose; the old ones stay, since the chain asks for them until it knows the new ones.
    pub fn rotate(&self) -> Result<SessionKeys, KeystoreError> {
        // Both or none.
        self.verify_room(&self.list()?, Purpose::ALL.len())?;
        Ok(SessionKeys {
            vote: ed25519::Public::from_raw(self.generate(Purpose::Vote)?),
            beacon: sr25519::Public::from_raw(self.generate(Purpose::Beacon)?),
        })
    }

    /// Stores a key and returns its public key. In clear the secret itself is stored, phrase and path included;
    /// under a password only the key.
    pub fn insert(&self, purpose: Purpose, secret: &SecretUri) -> Result<[u8; 32], KeystoreError> {
        self.store(purpose, &secret.to_pair(purpose.scheme())?, secret)
    }

    /// Stores a key that came without its secret URI.
    pub fn insert_pair(&self, purpose: Purpose, pair: &KeyPair) -> Result<[u8; 32], KeystoreError> {
        self.store(purpose, pair, &SecretUri::of_pair(pair))
    }

    fn store(
        &self,
        purpose: Purpose,
        pair: &KeyPair,
        secret: &SecretUri,
    ) -> Result<[u8; 32], KeystoreError> {
        if pair.scheme() != purpose.scheme() {
            return Err(KeystoreError::WrongScheme {
                purpose,
                actual: pair.scheme(),
            });
        }
        let public = pair.public();
        let path = self.path_of(purpose, &public);
        let exists = || KeystoreError::Exists {
            purpose,
            public,
            path: path.clone(),
        };
        if path.exists() {
            return Err(exists());
        }
        let stored = self.list()?;
        self.verify_room(&stored, 1)?;
        self.verify_password(&stored)?;
        let content = match &self.password {
            None => to_json_string(secret.expose()),
            Some(password) => Account::new(pair, Some(password), None, SS58_ANY)
                .map_err(|error| match error {
                    AccountError::Entropy(error) => KeystoreError::Entropy(error),
                    error => damaged(&path, &error),
                })?
                .to_json(),
        };
        match files::write_private(&path, &content) {
            Err(FileError::Exists(_)) => Err(exists()),
            result => Ok(result.map(|()| public)?),
        }
    }

    /// Removes a key; says whether there was one. A validator that loses a key which the chain knows can no longer
    /// vote.
    pub fn remove(&self, purpose: Purpose, public: &[u8; 32]) -> Result<bool, KeystoreError> {
        Ok(files::remove(&self.path_of(purpose, public))?)
    }

    /// Returns a key; `None` when it is not here.
    pub fn pair(
        &self,
        purpose: Purpose,
        public: &[u8; 32],
    ) -> Result<Option<KeyPair>, KeystoreError> {
        let path = self.path_of(purpose, public);
        let Some(bytes) = files::read_private(&path)? else {
            return Ok(None);
        };
        let pair = self.open_content(Content::parse(&bytes, &path)?, purpose, &path)?;
        if pair.public() != *public {
            let what = format!("it holds the key 0x{}", hex::encode(pair.public()));
            return Err(KeystoreError::Damaged { path, what });
        }
        Ok(Some(pair))
    }

    /// Returns a key for votes; `None` when it is not here.
    pub fn vote_pair(&self, public: &ed25519::Public) -> Result<Option<VotePair>, KeystoreError> {
        Ok(match self.pair(Purpose::Vote, &public.0)? {
            Some(KeyPair::Ed25519(pair)) => Some(pair),
            _ => None,
        })
    }

    /// Returns a key for the beacon; `None` when it is not here.
    pub fn beacon_pair(
        &self,
        public: &sr25519::Public,
    ) -> Result<Option<BeaconPair>, KeystoreError> {
        Ok(match self.pair(Purpose::Beacon, &public.0)? {
            Some(KeyPair::Sr25519(pair)) => Some(pair),
            _ => None,
        })
    }

    /// Returns the keys that the chain knows a validator by; an error says which one is missing and what to do.
    pub fn session_pair(
        &self,
        keys: &SessionKeys,
    ) -> Result<(VotePair, BeaconPair), KeystoreError> {
        let vote = self
            .vote_pair(&keys.vote)?
            .ok_or_else(|| self.missing(Purpose::Vote, keys.vote.0))?;
        let beacon = self
            .beacon_pair(&keys.beacon)?
            .ok_or_else(|| self.missing(Purpose::Beacon, keys.beacon.0))?;
        Ok((vote, beacon))
    }

    fn missing(&self, purpose: Purpose, public: [u8; 32]) -> KeystoreError {
        KeystoreError::Missing {
            folder: self.folder.clone(),
            purpose,
            public,
        }
    }

    /// Returns all keys.
    pub fn session_keys(&self) -> Result<SessionPairs, KeystoreError> {
        let mut pairs = SessionPairs::default();
        for key in self.list()? {
            match self.pair(key.purpose, &key.public)? {
                Some(KeyPair::Ed25519(pair)) => pairs.vote.push(pair),
                Some(KeyPair::Sr25519(pair)) => pairs.beacon.push(pair),
                None => {}
            }
        }
        Ok(pairs)
    }

    fn path_of(&self, purpose: Purpose, public: &[u8; 32]) -> PathBuf {
        self.folder.join(purpose.file_name(public))
    }

    /// Checks that so many more keys can be listed once they are stored.
    fn verify_room(&self, stored: &[StoredKey], more: usize) -> Result<(), KeystoreError> {
        let keys = stored.len();
        if keys.saturating_add(more) > KEYS_MAX {
            let folder = self.folder.clone();
            return Err(KeystoreError::Full { folder, keys, more });
        }
        Ok(())
    }

    /// Checks that the password opens the keys that are here, so that a mistyped one locks nobody out of a new key.
    fn verify_password(&self, stored: &[StoredKey]) -> Result<(), KeystoreError> {
        let sealed = stored
            .iter()
            .find(|key| key.protection == Protection::Password);
        match sealed {
            Some(key) => self.pair(key.purpose, &key.public).map(|_| ()),
            None => Ok(()),
        }
    }

    fn open_content(
        &self,
        content: Content,
        purpose: Purpose,
        path: &Path,
    ) -> Result<KeyPair, KeystoreError> {
        match content {
            Content::Clear(secret) => secret
                .to_pair(purpose.scheme())
                .map_err(|error| damaged(path, &error)),
            Content::Account(account) => {
                let pair = account
                    .open(self.password.as_ref())
                    .map_err(|error| match error {
                        AccountError::PasswordNeeded => {
                            KeystoreError::PasswordNeeded(self.folder.clone())
                        }
                        AccountError::WrongPassword => {
                            KeystoreError::WrongPassword(path.to_owned())
                        }
                        error => damaged(path, &error),
                    })?;
                if pair.scheme() != purpose.scheme() {
                    return Err(damaged(path, &"its key is of another scheme"));
                }
                Ok(pair)
            }
        }
    }
}

fn damaged(path: &Path, what: &dyn fmt::Display) -> KeystoreError {
    KeystoreError::Damaged {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

/// What a key file holds.
enum Content {
    /// A JSON string, as in Substrate's keystore.
    Clear(SecretUri),
    /// An account file of polkadot.js.
    Account(Account),
}

impl Content {
    fn parse(bytes: &[u8], path: &Path) -> Result<Self, KeystoreError> {
        match bytes.trim_ascii_start().first() {
            Some(b'"') => {
                let text = serde_json::from_slice(bytes)
                    .map(Zeroizing::<String>::new)
                    .map_err(|_| damaged(path, &"it is no JSON string"))?;
                SecretUri::parse(&text)
                    .map(Self::Clear)
                    .map_err(|error| damaged(path, &error))
            }
            Some(b'{') => Account::parse(bytes)
                .map(Self::Account)
                .map_err(|error| damaged(path, &error)),
            _ => Err(damaged(
                path,
                &"it is neither a JSON string nor an account file",
            )),
        }
    }

    fn protection(&self, path: &Path) -> Result<Protection, KeystoreError> {
        let is_encrypted = match self {
            Self::Clear(_) => false,
            Self::Account(account) => account
                .is_encrypted()
                .map_err(|error| damaged(path, &error))?,
        };
        Ok(match is_encrypted {
            true => Protection::Password,
            false => Protection::Clear,
        })
    }
}

fn to_json_string(text: &str) -> Zeroizing<Vec<u8>> {
    let mut json = Zeroizing::new(Vec::with_capacity(CONTENT_BYTES));
    serde_json::to_writer(&mut *json, text).expect("writing a string to memory does not fail");
    json
}
