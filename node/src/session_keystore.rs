//! The validator's keystore, lent to JSON-RPC: its keys are made and looked for while the node runs.
//!
//! Those that are made meanwhile act once the chain names them (`keystore_signer.rs`).

use std::sync::Arc;

use codec::{DecodeAll, Encode};
use commonwatt_keystore::{Keystore, KeystoreError, Purpose, SecretUri};
use commonwatt_primitives::keys::SessionKeys;
use commonwatt_rpc::{KeystoreError as Refusal, SessionKeystore};

/// Lends a keystore. Who may use it is JSON-RPC's to say.
pub struct LentKeystore(Arc<Keystore>);

impl LentKeystore {
    /// Lends `keystore`.
    pub fn new(keystore: Arc<Keystore>) -> Self {
        Self(keystore)
    }

    fn is_kept(&self, wanted: &[(Purpose, &[u8])]) -> Result<bool, Refusal> {
        let kept = self.0.list().map_err(refusal)?;
        let is_kept = |(purpose, public): &(Purpose, &[u8])| {
            kept.iter()
                .any(|key| key.purpose == *purpose && key.public == *public)
        };
        Ok(wanted.iter().all(is_kept))
    }
}

fn refusal(error: impl std::fmt::Display) -> Refusal {
    Refusal(error.to_string())
}

fn purpose_of(key_type: [u8; 4]) -> Result<Purpose, Refusal> {
    Purpose::ALL
        .into_iter()
        .find(|purpose| purpose.key_type() == key_type)
        .ok_or_else(|| {
            Refusal(format!(
                "validators have no keys of the type {:?}: give \"vote\" (ed25519) or \"becn\" (sr25519, the beacon)",
                String::from_utf8_lossy(&key_type)
            ))
        })
}

impl SessionKeystore for LentKeystore {
    fn rotate(&self) -> Result<Vec<u8>, Refusal> {
        Ok(self.0.rotate().map_err(refusal)?.encode())
    }

    fn insert(&self, key_type: [u8; 4], secret: &str, public: &[u8]) -> Result<(), Refusal> {
        let purpose = purpose_of(key_type)?;
        let secret = SecretUri::parse(secret).map_err(refusal)?;
        let pair = secret.to_pair(purpose.scheme()).map_err(refusal)?;
        if pair.public() != *public {
            return Err(Refusal(format!(
                "the secret's {} key is 0x{}, not 0x{}: give the secret and the public key of the same {purpose} key",
                purpose.scheme(),
                hex::encode(pair.public()),
                hex::encode(public)
            )));
        }
        match self.0.insert(purpose, &secret) {
            // It is as the caller wants it.
            Ok(_) | Err(KeystoreError::Exists { .. }) => Ok(()),
            Err(error) => Err(refusal(error)),
        }
    }

    fn has_key(&self, public: &[u8], key_type: [u8; 4]) -> Result<bool, Refusal> {
        self.is_kept(&[(purpose_of(key_type)?, public)])
    }

    fn has_session_keys(&self, session_keys: &[u8]) -> Result<bool, Refusal> {
        let keys = SessionKeys::decode_all(&mut &session_keys[..]).map_err(|_| {
            Refusal(format!(
                "session keys have 64 bytes, the vote key and then the beacon key, these have {}: give what \
                 author_rotateKeys answered",
                session_keys.len()
            ))
        })?;
        self.is_kept(&[
            (Purpose::Vote, &keys.vote.0),
            (Purpose::Beacon, &keys.beacon.0),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent() -> (tempfile::TempDir, LentKeystore) {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(folder.path().join("keystore"), None).unwrap();
        (folder, LentKeystore::new(Arc::new(keystore)))
    }

    #[test]
    fn rotated_keys_are_kept_and_found() {
        let (_folder, lent) = lent();
        let keys = lent.rotate().unwrap();
        assert_eq!(lent.has_session_keys(&keys), Ok(true));
        assert_eq!(lent.has_key(&keys[..32], *b"vote"), Ok(true));
        assert_eq!(lent.has_key(&keys[32..], *b"becn"), Ok(true));
        assert_eq!(lent.has_key(&keys[32..], *b"vote"), Ok(false));
        assert_ne!(lent.rotate().unwrap(), keys);
        assert_eq!(lent.has_session_keys(&keys), Ok(true), "the old ones stay");
        assert_eq!(lent.has_session_keys(&[7; 64]), Ok(false));
        let refused = lent.has_session_keys(&keys[1..]).unwrap_err();
        assert!(refused.0.contains("these have 63"), "{refused}");
    }

    #[test]
    fn a_key_is_inserted_once_and_only_under_its_own_name() {
        let (_folder, lent) = lent();
        let secret = "//Alice";
        let pair = SecretUri::parse(secret)
            .unwrap()
            .to_pair(Purpose::Beacon.scheme())
            .unwrap();
        let refused = lent.insert(*b"becn", secret, &[7; 32]).unwrap_err();
        assert!(refused.0.contains("not 0x0707"), "{refused}");
        let refused = lent.insert(*b"aura", secret, &pair.public()).unwrap_err();
        assert!(refused.0.contains("\"aura\""), "{refused}");
        assert_eq!(lent.has_key(&pair.public(), *b"becn"), Ok(false));
        for _ in 0..2 {
            assert_eq!(lent.insert(*b"becn", secret, &pair.public()), Ok(()));
        }
        assert_eq!(lent.has_key(&pair.public(), *b"becn"), Ok(true));
    }
}
