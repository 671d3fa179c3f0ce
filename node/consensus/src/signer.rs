//! Where signatures come from: the caller's keystore.

use sp_core::ed25519;

use crate::Signature;

/// Signs with the node's vote key.
///
/// The key stays with the caller; the machine hands over what is to be signed. What may be signed is decided
/// here alone, so nothing else must sign with the vote key but block seals, whose payload is a bare hash.
pub trait Signer: Send + Sync {
    /// Returns the public part of the vote key.
    fn public(&self) -> ed25519::Public;

    /// Signs `payload`.
    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError>;
}

/// The keystore did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);
