//! Signs with the keys of a keystore, also with those that come into it while the node runs.
//!
//! Registered keys act epochs later. Which keys act is looked up for each height, and a key that the chain names then and this
//! node has not read is looked for in the keystore: whoever rotates keys need not start the node again.

use std::sync::Arc;

use anyhow::Result;
use commonwatt_chain::SessionSigner;
use commonwatt_keystore::{Keystore, KeystoreError, Purpose, SessionPairs};
use commonwatt_primitives::beacon::{self, BeaconProof};
use commonwatt_runtime::Hash;
use parking_lot::RwLock;
use sp_core::{ed25519, sr25519};

/// Signs with the keys of a keystore.
pub struct KeystoreSigner {
    keystore: Arc<Keystore>,
    /// Those that were read. One that is removed from the keystore still acts until the node ends.
    read: RwLock<SessionPairs>,
}

impl KeystoreSigner {
    /// Reads all keys of a keystore.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn new(keystore: Arc<Keystore>) -> Result<Self> {
        let read = RwLock::new(keystore.session_keys()?);
        Ok(Self { keystore, read })
    }
}

/// Says what came of looking for a key that was not read at the start.
fn note<Pair>(
    purpose: Purpose,
    public: &[u8],
    found: Result<Option<Pair>, KeystoreError>,
) -> Option<Pair> {
    let key = format!("0x{}", hex::encode(public));
    match found {
        Ok(pair) => {
            if pair.is_some() {
                tracing::info!(%purpose, key, "a key came into the keystore; it acts when the chain says so");
            }
            pair
        }
        Err(error) => {
            tracing::error!(%purpose, key, %error, "a key that the chain names cannot be read");
            None
        }
    }
}

impl SessionSigner for KeystoreSigner {
    fn sign(&self, key: &ed25519::Public, message: &[u8]) -> Option<ed25519::Signature> {
        let known = |read: &SessionPairs| {
            let pair = read.vote.iter().find(|pair| pair.public() == *key)?;
            Some(pair.sign(message))
        };
        if let Some(signature) = known(&self.read.read()) {
            return Some(signature);
        }
        let pair = note(Purpose::Vote, &key.0, self.keystore.vote_pair(key))?;
        let mut read = self.read.write();
        read.vote.push(pair);
        known(&read)
    }

    fn prove(&self, key: &sr25519::Public, before: &Hash, height: u32) -> Option<BeaconProof> {
        let known = |read: &SessionPairs| {
            let pair = read.beacon.iter().find(|pair| pair.public() == *key)?;
            Some(beacon::prove(pair.as_pair(), before, height))
        };
        if let Some(proof) = known(&self.read.read()) {
            return Some(proof);
        }
        let pair = note(Purpose::Beacon, &key.0, self.keystore.beacon_pair(key))?;
        let mut read = self.read.write();
        read.beacon.push(pair);
        known(&read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_come_while_the_node_runs_act() {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(folder.path().join("keystore"), None).unwrap();
        let keystore = Arc::new(keystore);
        let first = keystore.rotate().unwrap();
        let signer = KeystoreSigner::new(keystore.clone()).unwrap();
        assert!(signer.holds(&first.vote));
        let strange = ed25519::Public::from_raw([7; 32]);
        assert!(!signer.holds(&strange));
        let second = keystore.rotate().unwrap();
        assert!(signer.holds(&second.vote));
        assert!(signer.prove(&second.beacon, &Hash::zero(), 1).is_some());
        assert!(signer.holds(&first.vote), "the old ones stay");
        assert_eq!(signer.read.read().vote.len(), 2, "each is read once");
    }
}
