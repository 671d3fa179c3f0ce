//! Keys that can sign.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signer, SigningKey};
use sp_core::{Pair, crypto::UncheckedFrom, ed25519, sr25519};
use zeroize::Zeroizing;

/// A signature scheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Edwards-curve signatures, RFC 8032: accounts, devices, votes.
    #[default]
    Ed25519,
    /// Schnorr signatures on Ristretto, with a verifiable random function: wallets, the beacon.
    Sr25519,
}

impl Scheme {
    /// The name polkadot.js and the command line know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Sr25519 => "sr25519",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ed25519, Self::Sr25519]
            .into_iter()
            .find(|scheme| scheme.name() == text)
            .ok_or_else(|| format!("unknown scheme '{text}': use ed25519 or sr25519"))
    }
}

/// An ed25519 key. Wiped when dropped, never printed.
///
/// Not `sp_core::ed25519::Pair`, which is `Copy` and so stays in memory wherever it has been. Boxed, so that moving
/// it copies no secret.
pub struct Ed25519Pair(Box<SigningKey>);

/// The key a validator's proposals, votes and seals are signed with.
pub type VotePair = Ed25519Pair;

impl Ed25519Pair {
    /// Makes the key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// Returns the public key.
    pub fn public(&self) -> ed25519::Public {
        ed25519::Public::unchecked_from(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> ed25519::Signature {
        ed25519::Signature::from_raw(self.0.sign(message).to_bytes())
    }

    /// Returns the key as Substrate's type, for an interface that asks for that. It is not wiped when dropped.
    pub fn to_pair(&self) -> ed25519::Pair {
        ed25519::Pair::from_seed(self.0.as_bytes())
    }

    /// Returns the seed.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl fmt::Debug for Ed25519Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Pair(public 0x{})", hex::encode(self.public().0))
    }
}

/// An sr25519 key. Wiped when dropped, never printed.
pub struct Sr25519Pair(Box<sr25519::Pair>);

/// The key a validator evaluates the beacon's verifiable random function with.
pub type BeaconPair = Sr25519Pair;

impl Sr25519Pair {
    pub(crate) fn from_secret(secret: schnorrkel::SecretKey) -> Self {
        Self(Box::new(sr25519::Pair::from(secret.to_keypair())))
    }

    /// Returns the public key.
    pub fn public(&self) -> sr25519::Public {
        self.0.public()
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> sr25519::Signature {
        self.0.sign(message)
    }

    /// Returns the key as Substrate's type, whose `VrfSecret` evaluates the random function. This type wipes itself
    /// too.
    pub fn as_pair(&self) -> &sr25519::Pair {
        &self.0
    }

    pub(crate) fn secret(&self) -> &schnorrkel::SecretKey {
        let keypair: &schnorrkel::Keypair = (*self.0).as_ref();
        &keypair.secret
    }
}

impl fmt::Debug for Sr25519Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sr25519Pair(public 0x{})", hex::encode(self.public().0))
    }
}

/// A key of either scheme.
#[derive(Debug)]
pub enum KeyPair {
    /// An ed25519 key.
    Ed25519(Ed25519Pair),
    /// An sr25519 key.
    Sr25519(Sr25519Pair),
}

impl KeyPair {
    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Ed25519(_) => Scheme::Ed25519,
            Self::Sr25519(_) => Scheme::Sr25519,
        }
    }

    /// Returns the public key, which is also the account id.
    pub fn public(&self) -> [u8; 32] {
        match self {
            Self::Ed25519(pair) => pair.public().0,
            Self::Sr25519(pair) => pair.public().0,
        }
    }

    /// Signs a message; the signature's meaning depends on the scheme.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match self {
            Self::Ed25519(pair) => pair.sign(message).0,
            Self::Sr25519(pair) => pair.sign(message).0,
        }
    }
}
