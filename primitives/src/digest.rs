//! What a header says about its making: author, lateness, seal (PROTOCOL 1, 6).

use alloc::vec::Vec;
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use sp_runtime::{ConsensusEngineId, DigestItem, generic::Digest};

use crate::{AccountId, auction::BlockClaim, beacon::BeaconProof};

/// Engine id of our own digests.
pub const ENGINE_ID: ConsensusEngineId = *b"cwtt";
/// Engine id under which polkadot.js looks for an author when there is no session pallet.
pub const AUTHOR_ENGINE_ID: ConsensusEngineId = *b"pow_";

/// Whether a block was made in time for its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub enum Punctuality {
    /// Made before the next step closed.
    OnTime,
    /// Made after `T_{s+1}`, while catching up: the market of its step does not clear.
    Late,
}

/// How block and author came together; part of the header before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub enum StepDigest {
    /// The first format.
    #[codec(index = 1)]
    V1 {
        /// Who made the block.
        author: AccountId,
        /// The author's place in the ranking of this height; zero is the winner of the auction.
        author_rank: u32,
        /// Who won the auction of this height.
        winner: AccountId,
        /// The author's turn of the beacon.
        beacon: BeaconProof,
        /// Whether the block came in time.
        punctuality: Punctuality,
    },
}

impl StepDigest {
    /// Returns who made the block.
    pub fn author(&self) -> &AccountId {
        let Self::V1 { author, .. } = self;
        author
    }

    /// Returns whether the block was made after its step's successor had closed.
    pub fn is_late(&self) -> bool {
        let Self::V1 { punctuality, .. } = self;
        *punctuality == Punctuality::Late
    }

    /// Returns what the header claims about its author.
    pub fn into_claim(self) -> BlockClaim<AccountId> {
        let Self::V1 {
            author,
            author_rank,
            winner,
            beacon,
            ..
        } = self;
        BlockClaim {
            author,
            author_rank,
            winner,
            beacon,
        }
    }

    /// Returns the digest items a header of this making begins with.
    pub fn to_items(&self) -> Vec<DigestItem> {
        alloc::vec![
            DigestItem::PreRuntime(AUTHOR_ENGINE_ID, self.author().encode()),
            DigestItem::PreRuntime(ENGINE_ID, self.encode()),
        ]
    }

    /// Reads the digest out of a header; `None` when it is missing, doubled or malformed.
    pub fn find(digest: &Digest) -> Option<Self> {
        let mut found = digest.logs().iter().filter_map(|item| match item {
            DigestItem::PreRuntime(ENGINE_ID, payload) => Some(payload),
            _ => None,
        });
        let payload = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let mut rest = payload.as_slice();
        let step = Self::decode(&mut rest).ok()?;
        rest.is_empty().then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> StepDigest {
        let alice = AccountId::new([1; 32]);
        StepDigest::V1 {
            author: alice.clone(),
            author_rank: 0,
            winner: alice,
            beacon: BeaconProof {
                pre_output: [2; 32],
                proof: [3; 64],
            },
            punctuality: Punctuality::Late,
        }
    }

    #[test]
    fn a_step_digest_is_found_again() {
        let mut header = Digest::default();
        digest()
            .to_items()
            .into_iter()
            .for_each(|item| header.push(item));
        assert_eq!(StepDigest::find(&header), Some(digest()));
    }

    #[test]
    fn a_doubled_or_overlong_step_digest_is_none() {
        let mut doubled = Digest::default();
        doubled.push(DigestItem::PreRuntime(ENGINE_ID, digest().encode()));
        doubled.push(DigestItem::PreRuntime(ENGINE_ID, digest().encode()));
        assert_eq!(StepDigest::find(&doubled), None);

        let mut overlong = Digest::default();
        let mut payload = digest().encode();
        payload.push(0);
        overlong.push(DigestItem::PreRuntime(ENGINE_ID, payload));
        assert_eq!(StepDigest::find(&overlong), None);
    }
}
