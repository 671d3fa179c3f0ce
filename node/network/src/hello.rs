//! The first words between peers.
//!
//! The chain knows validators by account and vote key, not by peer id. So a validator signs, with its vote key,
//! that this peer id is its own, for this chain and for the peer it talks to:
//!
//! `"commonwatt/hello/1"` ‖ genesis hash (32) ‖ own peer id ‖ remote peer id, the ids each with a length byte.
//!
//! Noise has proved that the remote owns its peer id. The signature cannot be used by, or towards, anybody else.

use crate::p2p::PeerId;
use codec::{Decode, Encode};
use commonwatt_primitives::{AccountId, Hash};

/// Version of everything between peers: topics, requests, answers.
pub const PROTOCOL_VERSION: u32 = 1;

/// Domain of the signature.
const HELLO_DOMAIN: &[u8] = b"commonwatt/hello/1";

/// Bytes of a reason that are sent and shown.
const REASON_BYTES_MAX: usize = 256;

/// Who a peer says it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Claim {
    /// A full node.
    #[codec(index = 1)]
    Full,
    /// A validator.
    #[codec(index = 2)]
    Validator {
        /// Its account.
        account: AccountId,
        /// ed25519 by its vote key over [`hello_payload`].
        signature: [u8; 64],
    },
}

/// What peers say first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The chain.
    pub genesis: Hash,
    /// Who it says it is.
    pub claim: Claim,
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum HelloAnswer {
    /// You are let in; this is who I am.
    #[codec(index = 1)]
    Welcome(Hello),
    /// You are not, for this reason.
    #[codec(index = 2)]
    Refused(Vec<u8>),
}

impl HelloAnswer {
    /// Makes a refusal with a reason of bounded length.
    pub(crate) fn refused(reason: &str) -> Self {
        Self::Refused(reason.bytes().take(REASON_BYTES_MAX).collect())
    }
}

/// Returns a peer's reason so that it can be logged: bounded, and without what could confuse a terminal.
pub(crate) fn readable_reason(reason: &[u8]) -> String {
    let bounded = &reason[..reason.len().min(REASON_BYTES_MAX)];
    String::from_utf8_lossy(bounded)
        .chars()
        .map(|sign| if sign.is_control() { ' ' } else { sign })
        .collect()
}

/// Returns what the validator at `own` signs for its hello to `remote`.
pub fn hello_payload(genesis: &Hash, own: &PeerId, remote: &PeerId) -> Vec<u8> {
    let mut payload = HELLO_DOMAIN.to_vec();
    payload.extend(genesis.as_bytes());
    for id in [own, remote] {
        let bytes = id.to_bytes();
        // A multihash of at most 64 bytes and its head of at most 4.
        payload.push(u8::try_from(bytes.len()).expect("a peer id has at most 68 bytes; qed"));
        payload.extend(bytes);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(seed: u8) -> PeerId {
        let keys = crate::p2p::identity::Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        keys.public().to_peer_id()
    }

    #[test]
    fn the_payload_names_chain_and_both_peers_in_their_order() {
        let genesis = Hash::repeat_byte(7);
        let payload = hello_payload(&genesis, &peer(1), &peer(2));
        let mut expected = b"commonwatt/hello/1".to_vec();
        expected.extend([7; 32]);
        for id in [peer(1), peer(2)] {
            expected.push(38);
            expected.extend(id.to_bytes());
        }
        assert_eq!(payload, expected);
        assert_ne!(payload, hello_payload(&genesis, &peer(2), &peer(1)));
        let other = Hash::repeat_byte(8);
        assert_ne!(payload, hello_payload(&other, &peer(1), &peer(2)));
    }

    #[test]
    fn a_reason_is_cut_and_made_harmless() {
        let HelloAnswer::Refused(bytes) = HelloAnswer::refused(&"x".repeat(5000)) else {
            panic!("a refusal is a refusal");
        };
        assert_eq!(bytes.len(), REASON_BYTES_MAX);
        assert_eq!(readable_reason(b"no\n\x1b[2Jway\xff"), "no  [2Jway\u{fffd}");
    }
}
