//! The node key: by it the node's peers know it. An ed25519 key of its own, so that a validator's keys never meet
//! the network.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{
    files::{self, FileError},
    pair::Ed25519Pair,
    secret::{EntropyError, fill_random, to_secret_hex},
};

/// What a peer id begins with: the identity multihash (0x00) of 36 bytes, which are a protobuf message with the
/// key's type (field 1: ed25519) and its 32 bytes (field 2).
const PEER_ID_HEAD: [u8; 6] = [0x00, 36, 0x08, 0x01, 0x12, 32];

/// A node key. Wiped when dropped, never printed.
pub struct NodeKey(Ed25519Pair);

/// Why there is no node key.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds something else.
    #[error(
        "{0} holds no node key (64 hexadecimal digits or 32 bytes): restore it from a copy, or move it away and make \
         another with `commonwatt key generate-node-key`, which gives the node another peer id"
    )]
    Damaged(PathBuf),
    /// The text is no node key.
    #[error(
        "a node key is 64 hexadecimal digits or 32 bytes: make one with `commonwatt key generate-node-key`"
    )]
    Malformed,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl NodeKey {
    /// The name of its file, as other nodes of this kind name it.
    pub const FILE_NAME: &str = "secret_ed25519";

    /// Makes a new key.
    pub fn generate() -> Result<Self, EntropyError> {
        let mut seed = Zeroizing::new([0; 32]);
        fill_random(&mut *seed)?;
        Ok(Self::from_seed(&seed))
    }

    /// Makes the key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519Pair::from_seed(seed))
    }

    /// Takes a key as it is written: 64 hexadecimal digits, with or without 0x, or the 32 bytes themselves.
    ///
    /// Random bytes are never all digits, so 32 of those are half a key that was cut, and refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, NodeKeyError> {
        let digits = bytes.trim_ascii();
        let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
        let is_text = digits.iter().all(u8::is_ascii_hexdigit);
        let mut seed = Zeroizing::new([0; 32]);
        if bytes.len() == seed.len() && !is_text {
            seed.copy_from_slice(bytes);
        } else {
            hex::decode_to_slice(digits, &mut *seed).map_err(|_| NodeKeyError::Malformed)?;
        }
        Ok(Self::from_seed(&seed))
    }

    /// Reads a key file; `None` when there is none. Refuses one that others can read.
    pub fn read(path: &Path) -> Result<Option<Self>, NodeKeyError> {
        let Some(bytes) = files::read_private(path)? else {
            return Ok(None);
        };
        let key = Self::parse(&bytes).map_err(|_| NodeKeyError::Damaged(path.to_owned()))?;
        Ok(Some(key))
    }

    /// Writes the key to a new file, with its folder; refuses to overwrite one.
    pub fn write(&self, path: &Path) -> Result<(), NodeKeyError> {
        // One that is there may be shared, like /tmp: the file in it is private all the same.
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            files::create_private_folder(folder)?;
        }
        Ok(files::write_private(path, self.to_hex().as_bytes())?)
    }

    /// Returns the seed, from which the network makes its own key.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_seed()
    }

    /// Returns the seed in hexadecimal digits, as the file has it.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let text = to_secret_hex(&*self.to_seed());
        Zeroizing::new(text["0x".len()..].to_owned())
    }

    /// Returns the public key.
    pub fn public(&self) -> sp_core::ed25519::Public {
        self.0.public()
    }

    /// Returns the libp2p peer id, as it stands in the addresses of boot nodes.
    pub fn peer_id(&self) -> String {
        let public = self.public();
        bs58::encode([&PEER_ID_HEAD[..], &public.0].concat()).into_string()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.peer_id())
    }
}
