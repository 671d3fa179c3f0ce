//! # Keystore
//!
//! Where a node's secret keys lie, and how they are read without leaving copies behind.
//!
//! ## Terms
//! - keystore: a folder with one file a validator key, named as Substrate names them: the purpose's key type
//!   and the public key, in hexadecimal digits.
//! - purpose: what a validator key signs: votes (ed25519) or the beacon (sr25519).
//! - node key: names the node to its peers; it is no validator key and lies apart from them.
//! - secret URI: a phrase or a hexadecimal seed, with a derivation path and a password if wanted.
//! - account file: a key as polkadot.js exports it, in clear or under a password.
//!
//! ## Invariants
//! - A file with a secret is never readable by others than its owner, from its first byte on.
//! - No key is overwritten: a file is written whole under another name and then given its own, if that is free.
//! - The key in a file is the one that its name says.
//! - Secrets are wiped from memory when dropped, and no `Debug`, `Display` or error shows one.
//!
//! ## Not here
//! Which keys the chain knows a validator by: `pallet-registry`. Command line: `node/src/key`.

mod account;
mod envelope;
pub mod files;
mod keystore;
mod node_key;
mod pair;
mod password;
mod secret;

#[cfg(test)]
mod tests;

pub use account::{Account, AccountError};
pub use files::FileError;
pub use keystore::{Keystore, KeystoreError, Protection, Purpose, SessionPairs, StoredKey};
pub use node_key::{NodeKey, NodeKeyError};
pub use pair::{BeaconPair, Ed25519Pair, KeyPair, Scheme, Sr25519Pair, VotePair};
pub use password::{Password, PasswordError};
pub use secret::{EntropyError, SecretError, SecretUri, WORD_COUNTS, parse_word_count};
/// What secrets are handed over in.
pub use zeroize::Zeroizing;
