//! Who is let in: validators of the chain, by their vote keys, and the nodes the operator names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use commonwatt_chain::{Chain, ChainError, SessionSigner};
use commonwatt_network::{Admission, Admit, Claim, Hello, Introduction, PeerId};
use commonwatt_primitives::AccountId;
use parking_lot::RwLock;
use sp_core::{Pair, ed25519};

/// The vote keys of validators, by account: those that act, and those that are registered and act soon.
pub type VoteKeys = BTreeMap<AccountId, BTreeSet<ed25519::Public>>;

/// Knows who may come in, and says who this node is.
pub struct Doorkeeper {
    /// This node's own keys, if it votes.
    keys: Option<Arc<dyn SessionSigner>>,
    /// Nodes that the operator names.
    named: BTreeSet<PeerId>,
    known: RwLock<VoteKeys>,
}

impl Doorkeeper {
    /// Creates a doorkeeper that knows the validators of the chain as it is.
    pub fn new(
        chain: &Chain,
        keys: Option<Arc<dyn SessionSigner>>,
        named: BTreeSet<PeerId>,
    ) -> Result<Self, ChainError> {
        Ok(Self {
            keys,
            named,
            known: RwLock::new(find_vote_keys(chain)?),
        })
    }

    /// Looks up the validators again; returns whether anything has changed.
    pub fn refresh(&self, chain: &Chain) -> Result<bool, ChainError> {
        let found = find_vote_keys(chain)?;
        let mut known = self.known.write();
        let has_changed = *known != found;
        *known = found;
        Ok(has_changed)
    }

    /// Returns whether a validator's vote key signed something.
    pub fn is_signed(
        &self,
        account: &AccountId,
        is_signed_by: impl Fn(&ed25519::Public) -> bool,
    ) -> bool {
        let known = self.known.read();
        known
            .get(account)
            .is_some_and(|keys| keys.iter().any(is_signed_by))
    }
}

fn find_vote_keys(chain: &Chain) -> Result<VoteKeys, ChainError> {
    let mut found = VoteKeys::new();
    for validator in chain.next_lineup()?.validators {
        let keys = found.entry(validator.account).or_default();
        keys.insert(validator.keys.vote);
    }
    for (account, keys) in chain.validators()? {
        found.entry(account).or_default().insert(keys.vote);
    }
    Ok(found)
}

impl Admission for Doorkeeper {
    fn admit(&self, peer: &PeerId, hello: &Hello, signed: &[u8]) -> Admit {
        if let Claim::Validator { account, signature } = &hello.claim {
            let signature = ed25519::Signature::from_raw(*signature);
            let is_signed_by =
                |key: &ed25519::Public| ed25519::Pair::verify(&signature, signed, key);
            if self.is_signed(account, is_signed_by) {
                return Admit::Validator(account.clone());
            }
        }
        if self.named.contains(peer) {
            return Admit::Full;
        }
        Admit::Refused(match &hello.claim {
            Claim::Full => "this node lets in validators and the full nodes that its operator names with --reserved-nodes".into(),
            Claim::Validator { account, .. } => format!(
                "{account} is no validator here, or that is not its vote key: register it, or be named with --reserved-nodes"
            ),
        })
    }
}

impl Introduction for Doorkeeper {
    fn claim(&self, payload: &[u8]) -> Claim {
        let Some(keys) = &self.keys else {
            return Claim::Full;
        };
        let known = self.known.read();
        let signed = known.iter().find_map(|(account, votes)| {
            let signature = votes.iter().find_map(|key| keys.sign(key, payload))?;
            Some(Claim::Validator {
                account: account.clone(),
                signature: signature.0,
            })
        });
        signed.unwrap_or(Claim::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_chain::{ChainConfig, SessionPairs};
    use commonwatt_executor::Executor;
    use commonwatt_network::hello_payload;
    use commonwatt_runtime::example;
    use commonwatt_storage::{ChainDb, DbConfig};

    fn keys(name: &str) -> Arc<dyn SessionSigner> {
        Arc::new(SessionPairs {
            vote: example::pair(name),
            beacon: example::beacon_pair(name),
        })
    }

    #[test]
    fn validators_come_in_by_their_vote_key_and_others_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let storage = example::genesis().build_storage().unwrap();
        let chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
        let genesis = chain.genesis_hash();
        let (own, remote, friend) = (PeerId::random(), PeerId::random(), PeerId::random());
        let named = BTreeSet::from([friend]);
        let keeper = Doorkeeper::new(&chain, None, named.clone()).unwrap();
        let signed = hello_payload(&genesis, &remote, &own);
        let hello = |keys: Option<Arc<dyn SessionSigner>>, payload: &[u8]| Hello {
            version: 1,
            genesis,
            claim: Doorkeeper::new(&chain, keys, BTreeSet::new())
                .unwrap()
                .claim(payload),
        };

        let validator = hello(Some(keys("X")), &signed);
        assert_eq!(
            keeper.admit(&remote, &validator, &signed),
            Admit::Validator(example::account("X"))
        );
        // What was signed for somebody else is of no use.
        let stolen = hello_payload(&genesis, &remote, &friend);
        let stolen = hello(Some(keys("X")), &stolen);
        assert!(matches!(
            keeper.admit(&remote, &stolen, &signed),
            Admit::Refused(_)
        ));
        // Whose key is no validator's says that it is a full node.
        for stranger in [hello(Some(keys("Y")), &signed), hello(None, &signed)] {
            assert_eq!(stranger.claim, Claim::Full);
            let Admit::Refused(why) = keeper.admit(&remote, &stranger, &signed) else {
                panic!("a stranger was let in");
            };
            assert!(why.contains("--reserved-nodes"), "{why}");
            assert_eq!(keeper.admit(&friend, &stranger, &signed), Admit::Full);
        }
        assert!(!keeper.refresh(&chain).unwrap());
    }
}
