//! Secret URIs: what people write down and what key files hold.

use std::fmt;

use bip39::{Language, Mnemonic};
use codec::Encode;
use schnorrkel::{
    ExpansionMode, MiniSecretKey, SecretKey,
    derive::{ChainCode, Derivation},
};
use sp_core::{
    Blake2Hasher, Hasher,
    crypto::{AddressUri, DEV_PHRASE, DeriveJunction},
};
use zeroize::Zeroizing;

use crate::pair::{Ed25519Pair, KeyPair, Scheme, Sr25519Pair};

/// How many words a secret phrase may have.
pub const WORD_COUNTS: [usize; 5] = [12, 15, 18, 21, 24];

/// Reads how many words a secret phrase is to have, as a command line gives it.
///
/// # Errors
/// It is none of [`WORD_COUNTS`]; the text says which there are.
pub fn parse_word_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| WORD_COUNTS.contains(count))
        .ok_or_else(|| "a secret phrase has 12, 15, 18, 21 or 24 words".to_owned())
}

/// Longest secret URI that is read, in bytes: 24 words, a path and a password are a quarter of it.
const URI_BYTES_MAX: usize = 4_096;
/// Most steps in a derivation path.
const JUNCTIONS_MAX: usize = 32;
/// Room for the longest phrase, so that it is not copied while it grows.
const PHRASE_BYTES_MAX: usize = 24 * 9;

/// Keeps hard derivation apart from every other use of the hash function.
const ED25519_DERIVATION: &str = "Ed25519HDKD";

/// A phrase or a hexadecimal seed, with a derivation path (`//hard/soft`) and a password (`///password`) if wanted,
/// as Substrate's tools write it. Without a phrase it stands for the public development phrase. Wiped when dropped,
/// never printed.
#[derive(Clone)]
pub struct SecretUri(Zeroizing<String>);

/// Why a text is no secret. None of them repeats it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is nothing.
    #[error(
        "the secret is empty: give a phrase of {WORDS} words or a seed of 64 hexadecimal digits after 0x"
    )]
    Empty,
    /// It is longer than any secret.
    #[error("the secret is longer than {URI_BYTES_MAX} bytes: is it another file?")]
    TooLong,
    /// It is not text.
    #[error("the secret is not UTF-8 text: is it another file?")]
    NotText,
    /// It has a character or a separator where none may be.
    #[error(
        "the secret is not written as words or 0x…, then //hard or /soft steps, then ///password: check it for \
         other characters, line breaks and empty steps"
    )]
    Syntax,
    /// A phrase with another number of words.
    #[error(
        "the secret phrase has {0} words, but phrases have {WORDS}: compare it with what was written down"
    )]
    WordCount(usize),
    /// A word that no phrase has.
    #[error(
        "word {0} of the secret phrase is not in the English BIP-39 word list: check how it is spelled"
    )]
    UnknownWord(usize),
    /// All words are known, but they don't belong together.
    #[error("the secret phrase's checksum is wrong: a word is mistaken or two have changed places")]
    Checksum,
    /// A seed of another length, or with other characters.
    #[error("the seed is not 0x and 64 hexadecimal digits: compare it with what was written down")]
    Seed,
    /// An expanded key, which only one scheme has.
    #[error(
        "0x and 128 hexadecimal digits are an expanded sr25519 key: use --scheme sr25519, or give a seed"
    )]
    ExpandedSeed,
    /// The path is longer than any path.
    #[error("the derivation path has more than {JUNCTIONS_MAX} steps: shorten it")]
    PathTooLong,
    /// A step that ed25519 cannot take.
    #[error("ed25519 keys have no soft derivation: write //step instead of /step, or use sr25519")]
    SoftPath,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

const WORDS: &str = "12, 15, 18, 21 or 24";

/// The operating system gave no randomness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system gives no random bytes ({0}): make keys on another machine until that is mended"
)]
pub struct EntropyError(String);

/// Fills a buffer with the operating system's randomness.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), EntropyError> {
    getrandom::fill(bytes).map_err(|error| EntropyError(error.to_string()))
}

/// Writes bytes as 0x and hexadecimal digits, leaving no copy.
pub(crate) fn to_secret_hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new(String::with_capacity(2 + 2 * bytes.len()));
    text.push_str("0x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    text
}

impl SecretUri {
    /// Takes a secret as it was typed or read; spaces round it are dropped.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > URI_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        let uri = Self(Zeroizing::new(text.to_owned()));
        let parts = Parts::of(&uri.0)?;
        // A wrong word is found now and not when the key is first needed.
        parts.root()?;
        Ok(uri)
    }

    /// Takes the content of a file.
    pub fn from_file_content(bytes: &[u8]) -> Result<Self, SecretError> {
        Self::parse(str::from_utf8(bytes).map_err(|_| SecretError::NotText)?)
    }

    /// Makes a new phrase.
    pub fn generate_phrase(words: usize) -> Result<Self, SecretError> {
        if !WORD_COUNTS.contains(&words) {
            return Err(SecretError::WordCount(words));
        }
        let mut entropy = Zeroizing::new([0; 32]);
        let entropy = &mut entropy[..words / 3 * 4];
        fill_random(entropy)?;
        let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy)
            .expect("the lengths of entropy are those of the word counts");
        let mut phrase = Zeroizing::new(String::with_capacity(PHRASE_BYTES_MAX));
        for word in mnemonic.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        Ok(Self(phrase))
    }

    /// Makes a new seed of 32 random bytes.
    pub fn generate_seed() -> Result<Self, EntropyError> {
        let mut seed = Zeroizing::new([0; 32]);
        fill_random(&mut *seed)?;
        Ok(Self(to_secret_hex(&*seed)))
    }

    /// Returns the secret of a key, without the phrase it may have come from.
    pub fn of_pair(pair: &KeyPair) -> Self {
        Self(match pair {
            KeyPair::Ed25519(pair) => to_secret_hex(&*pair.to_seed()),
            KeyPair::Sr25519(pair) => to_secret_hex(&*Zeroizing::new(pair.secret().to_bytes())),
        })
    }

    /// Derives the key.
    pub fn to_pair(&self, scheme: Scheme) -> Result<KeyPair, SecretError> {
        let parts = Parts::of(&self.0)?;
        let root = parts.root()?;
        match scheme {
            Scheme::Ed25519 => parts.derive_ed25519(&root).map(KeyPair::Ed25519),
            Scheme::Sr25519 => parts.derive_sr25519(&root).map(KeyPair::Sr25519),
        }
    }

    /// Says whether the secret comes from the public development phrase, so that anybody can sign with it.
    pub fn is_well_known(&self) -> bool {
        Parts::of(&self.0).is_ok_and(|parts| parts.phrase == DEV_PHRASE)
    }

    /// Shows the secret, to be written where its owner wants it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUri(hidden)")
    }
}

/// A secret URI taken apart.
struct Parts<'a> {
    phrase: &'a str,
    junctions: Vec<DeriveJunction>,
    password: &'a str,
}

/// What a phrase or seed stands for.
enum Root {
    Seed(Zeroizing<[u8; 32]>),
    Expanded(SecretKey),
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, SecretError> {
        // The parser's own error repeats the text, so it must not be shown.
        let uri = AddressUri::parse(text).map_err(|_| SecretError::Syntax)?;
        if uri.paths.len() > JUNCTIONS_MAX {
            return Err(SecretError::PathTooLong);
        }
        Ok(Self {
            phrase: uri.phrase.unwrap_or(DEV_PHRASE),
            junctions: uri.paths.into_iter().map(DeriveJunction::from).collect(),
            password: uri.pass.unwrap_or_default(),
        })
    }

    fn root(&self) -> Result<Root, SecretError> {
        match self.phrase.strip_prefix("0x") {
            Some(digits) => seed_of_digits(digits),
            None => seed_of_phrase(self.phrase, self.password).map(Root::Seed),
        }
    }

    fn derive_ed25519(&self, root: &Root) -> Result<Ed25519Pair, SecretError> {
        let Root::Seed(root) = root else {
            return Err(SecretError::ExpandedSeed);
        };
        let mut seed = root.clone();
        for junction in &self.junctions {
            let DeriveJunction::Hard(code) = junction else {
                return Err(SecretError::SoftPath);
            };
            let payload = Zeroizing::new((ED25519_DERIVATION, &*seed, code).encode());
            seed = Zeroizing::new(Blake2Hasher::hash(&payload).0);
        }
        Ok(Ed25519Pair::from_seed(&seed))
    }

    fn derive_sr25519(&self, root: &Root) -> Result<Sr25519Pair, SecretError> {
        let mut secret = match root {
            Root::Seed(seed) => MiniSecretKey::from_bytes(&**seed)
                .map_err(|_| SecretError::Seed)?
                .expand(ExpansionMode::Ed25519),
            Root::Expanded(secret) => secret.clone(),
        };
        for junction in &self.junctions {
            secret = match junction {
                DeriveJunction::Soft(code) => secret.derived_key_simple(ChainCode(*code), []).0,
                DeriveJunction::Hard(code) => secret
                    .hard_derive_mini_secret_key(Some(ChainCode(*code)), b"")
                    .0
                    .expand(ExpansionMode::Ed25519),
            };
        }
        Ok(Sr25519Pair::from_secret(secret))
    }
}

fn seed_of_digits(digits: &str) -> Result<Root, SecretError> {
    let mut bytes = Zeroizing::new([0; 64]);
    let length = digits.len() / 2;
    let target = bytes.get_mut(..length).ok_or(SecretError::Seed)?;
    hex::decode_to_slice(digits, target).map_err(|_| SecretError::Seed)?;
    match length {
        32 => {
            let mut seed = Zeroizing::new([0; 32]);
            seed.copy_from_slice(target);
            Ok(Root::Seed(seed))
        }
        64 => SecretKey::from_bytes(target)
            .map(Root::Expanded)
            .map_err(|_| SecretError::Seed),
        _ => Err(SecretError::Seed),
    }
}

fn seed_of_phrase(phrase: &str, password: &str) -> Result<Zeroizing<[u8; 32]>, SecretError> {
    let mnemonic =
        Mnemonic::parse_in_normalized(Language::English, phrase).map_err(|error| match error {
            bip39::Error::BadWordCount(count) => SecretError::WordCount(count),
            bip39::Error::UnknownWord(place) => SecretError::UnknownWord(place.saturating_add(1)),
            _ => SecretError::Checksum,
        })?;
    let (entropy, length) = mnemonic.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    let long = substrate_bip39::seed_from_entropy(&entropy[..length], password)
        .map(Zeroizing::new)
        .expect("a phrase has one of the lengths of entropy");
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&long[..32]);
    Ok(seed)
}
