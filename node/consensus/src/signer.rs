//! Where signatures come from: the caller's keystore.

use std::sync::Arc;

use commonwatt_primitives::AccountId;
use sp_core::ed25519;

use crate::{Signature, ValidatorSet};

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

/// Finds this node's vote. Keys change with the heights, so each height is looked at anew.
pub trait FindVoter: Send + Sync {
    /// Returns whom this node votes for among `set`, and with which key; `None` when it has no vote there.
    fn find(&self, set: &ValidatorSet) -> Option<(AccountId, Arc<dyn Signer>)>;
}

/// One account and one key at all heights; where the key is not the one on chain there is no vote.
impl FindVoter for (AccountId, Arc<dyn Signer>) {
    fn find(&self, _: &ValidatorSet) -> Option<(AccountId, Arc<dyn Signer>)> {
        Some(self.clone())
    }
}

/// The keystore did not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignerError(pub String);
