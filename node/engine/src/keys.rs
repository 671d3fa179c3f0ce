//! This node's vote at a height: its keys, as the consensus crate asks for them.

use std::sync::Arc;

use commonwatt_chain::SessionSigner;
use commonwatt_consensus::{FindVoter, Signature, Signer, SignerError, ValidatorSet};
use commonwatt_primitives::AccountId;
use sp_core::ed25519;

/// Looks in the node's own keys for one that has a vote.
pub struct KeyHolder(Arc<dyn SessionSigner>);

impl KeyHolder {
    /// Looks in `keys`.
    pub fn new(keys: Arc<dyn SessionSigner>) -> Self {
        Self(keys)
    }
}

impl FindVoter for KeyHolder {
    /// The first by account, should several members' keys lie here: a node has one vote.
    fn find(&self, set: &ValidatorSet) -> Option<(AccountId, Arc<dyn Signer>)> {
        set.accounts().find_map(|account| {
            let key = *set.vote_key(account)?;
            self.0.holds(&key).then(|| {
                let keys = self.0.clone();
                let signer: Arc<dyn Signer> = Arc::new(VoteKey { key, keys });
                (account.clone(), signer)
            })
        })
    }
}

struct VoteKey {
    key: ed25519::Public,
    keys: Arc<dyn SessionSigner>,
}

impl Signer for VoteKey {
    fn public(&self) -> ed25519::Public {
        self.key
    }

    fn sign(&self, payload: &[u8]) -> Result<Signature, SignerError> {
        self.keys
            .sign(&self.key, payload)
            .ok_or_else(|| SignerError("the keystore no longer holds it".into()))
    }
}
