//! Votes and proposals as validators sign them, and the proof that one contradicted itself (PROTOCOL 7).
//!
//! ## What is signed
//!
//! Payloads are SCALE and start with a domain, so that no signature means two things:
//!
//! | | bytes |
//! |---|---|
//! | vote | `"commonwatt/vote/1"` ‖ genesis hash (32) ‖ height (u32 LE) ‖ round (u32 LE) ‖ kind (1 prevote, 2 precommit) ‖ `0x00` for nil, or `0x01` and the block's hash (32) ‖ account (32) |
//! | proposal | `"commonwatt/proposal/1"` ‖ genesis hash (32) ‖ height (u32 LE) ‖ round (u32 LE) ‖ block hash (32) ‖ `0x00`, or `0x01` and the round of the proof of lock (u32 LE) ‖ account (32) |
//!
//! After the genesis hash stands the encoding of [`Vote`] or [`Proposal`] itself. The signature is ed25519 by the
//! validator's vote key.
//!
//! ## Invariants
//! - Everything here has a fixed bound: evidence is part of a transaction.
//! - The encodings are those of the consensus crate, so what it finds is decoded as it is.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_core::ed25519;
use sp_runtime::traits::Verify;

use crate::{
    AccountId, BlockNumber, Hash,
    auction::{Equivocation, EvidenceFlaw},
};

/// Domain of votes.
const VOTE_DOMAIN: &[u8; 17] = b"commonwatt/vote/1";
/// Domain of proposals.
const PROPOSAL_DOMAIN: &[u8; 21] = b"commonwatt/proposal/1";

/// The two phases of voting.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum VoteKind {
    /// "I have executed this block and it is right."
    #[codec(index = 1)]
    Prevote,
    /// "More than two thirds say so."
    #[codec(index = 2)]
    Precommit,
}

/// A vote.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Vote {
    /// The height it is for.
    pub height: BlockNumber,
    /// The round it is for.
    pub round: u32,
    /// Its phase.
    pub kind: VoteKind,
    /// The block it is for; `None` is nil: for none in this round.
    pub block: Option<Hash>,
    /// Who votes.
    pub validator: AccountId,
}

/// A vote with its signature.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SignedVote {
    /// The vote.
    pub vote: Vote,
    /// By the vote key of its validator.
    pub signature: ed25519::Signature,
}

/// A proposal: names the block; the block itself travels beside it.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Proposal {
    /// The height it is for.
    pub height: BlockNumber,
    /// The round it is for.
    pub round: u32,
    /// The block it proposes.
    pub block: Hash,
    /// For a re-proposal, the earlier round in which two thirds prevoted the block.
    pub pol_round: Option<u32>,
    /// Who proposes.
    pub validator: AccountId,
}

/// A proposal with its signature.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct SignedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// By the vote key of its validator.
    pub signature: ed25519::Signature,
}

/// Two different votes, or proposals, of one validator for the same height, round and phase.
///
/// The two stand in ascending order of their encodings, so that one offence has one encoding.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum EquivocationProof {
    /// Two votes.
    #[codec(index = 1)]
    Votes {
        /// The one whose encoding is smaller.
        first: SignedVote,
        /// The other.
        second: SignedVote,
    },
    /// Two proposals.
    #[codec(index = 2)]
    Proposals {
        /// The one whose encoding is smaller.
        first: SignedProposal,
        /// The other.
        second: SignedProposal,
    },
}

/// What is brought to the chain: the proof, and the vote key that signed both messages.
///
/// The messages name an account; whose key it was at that height, the chain knows.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Evidence {
    /// The key that signed both.
    pub key: ed25519::Public,
    /// The two messages.
    pub proof: EquivocationProof,
}

/// One of the two messages, as far as evidence looks at it.
struct Message<'a> {
    height: BlockNumber,
    validator: &'a AccountId,
    /// What both messages must have in common beside height and validator.
    occasion: (u32, Option<VoteKind>),
    /// Its own encoding.
    content: Vec<u8>,
    domain: &'static [u8],
    signature: &'a ed25519::Signature,
}

impl Message<'_> {
    fn is_signed_by(&self, key: &ed25519::Public, genesis: &Hash) -> bool {
        let payload = [self.domain, genesis.as_bytes(), &self.content].concat();
        self.signature.verify(payload.as_slice(), key)
    }
}

impl<'a> From<&'a SignedVote> for Message<'a> {
    fn from(signed: &'a SignedVote) -> Self {
        let SignedVote { vote, signature } = signed;
        Self {
            height: vote.height,
            validator: &vote.validator,
            occasion: (vote.round, Some(vote.kind)),
            content: vote.encode(),
            domain: VOTE_DOMAIN,
            signature,
        }
    }
}

impl<'a> From<&'a SignedProposal> for Message<'a> {
    fn from(signed: &'a SignedProposal) -> Self {
        let SignedProposal {
            proposal,
            signature,
        } = signed;
        Self {
            height: proposal.height,
            validator: &proposal.validator,
            occasion: (proposal.round, None),
            content: proposal.encode(),
            domain: PROPOSAL_DOMAIN,
            signature,
        }
    }
}

impl Evidence {
    fn messages(&self) -> [Message<'_>; 2] {
        match &self.proof {
            EquivocationProof::Votes { first, second } => [first.into(), second.into()],
            EquivocationProof::Proposals { first, second } => [first.into(), second.into()],
        }
    }
}

impl Equivocation for Evidence {
    fn height(&self) -> BlockNumber {
        match &self.proof {
            EquivocationProof::Votes { first, .. } => first.vote.height,
            EquivocationProof::Proposals { first, .. } => first.proposal.height,
        }
    }

    fn signer(&self) -> ed25519::Public {
        self.key
    }

    fn verify(&self, genesis: &Hash) -> Result<(), EvidenceFlaw> {
        let [first, second] = self.messages();
        let contradict = first.height == second.height
            && first.validator == second.validator
            && first.occasion == second.occasion
            && first.content < second.content;
        if !contradict {
            return Err(EvidenceFlaw::NoConflict);
        }
        let are_signed =
            first.is_signed_by(&self.key, genesis) && second.is_signed_by(&self.key, genesis);
        are_signed.then_some(()).ok_or(EvidenceFlaw::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::Pair as _;

    const GENESIS: Hash = Hash::repeat_byte(9);

    fn pair() -> ed25519::Pair {
        ed25519::Pair::from_seed(&[1; 32])
    }

    fn vote(block: Option<Hash>) -> Vote {
        Vote {
            height: 7,
            round: 2,
            kind: VoteKind::Precommit,
            block,
            validator: AccountId::new([3; 32]),
        }
    }

    fn signed(vote: Vote) -> SignedVote {
        let payload = (VOTE_DOMAIN, GENESIS, &vote).encode();
        SignedVote {
            signature: pair().sign(&payload),
            vote,
        }
    }

    fn evidence(first: Vote, second: Vote) -> Evidence {
        Evidence {
            key: pair().public(),
            proof: EquivocationProof::Votes {
                first: signed(first),
                second: signed(second),
            },
        }
    }

    #[test]
    fn two_votes_for_one_occasion_contradict_each_other() {
        let sound = evidence(vote(None), vote(Some(Hash::repeat_byte(5))));
        assert_eq!(sound.verify(&GENESIS), Ok(()));
        assert_eq!((sound.height(), sound.signer()), (7, pair().public()));
        assert_eq!(
            sound.verify(&Hash::repeat_byte(8)),
            Err(EvidenceFlaw::BadSignature)
        );
    }

    #[test]
    fn what_does_not_contradict_is_no_evidence() {
        let block = Some(Hash::repeat_byte(5));
        let others = [
            vote(None),
            Vote {
                height: 8,
                ..vote(block)
            },
            Vote {
                round: 3,
                ..vote(block)
            },
            Vote {
                kind: VoteKind::Prevote,
                ..vote(block)
            },
            Vote {
                validator: AccountId::new([4; 32]),
                ..vote(block)
            },
        ];
        for other in others {
            let flaw = evidence(vote(None), other.clone()).verify(&GENESIS);
            assert_eq!(flaw, Err(EvidenceFlaw::NoConflict), "{other:?}");
        }
        // The same two in the other order.
        let turned = evidence(vote(block), vote(None));
        assert_eq!(turned.verify(&GENESIS), Err(EvidenceFlaw::NoConflict));
    }

    #[test]
    fn evidence_that_another_key_signed_is_forged() {
        let sound = evidence(vote(None), vote(Some(Hash::repeat_byte(5))));
        let forged = Evidence {
            key: ed25519::Pair::from_seed(&[2; 32]).public(),
            ..sound
        };
        assert_eq!(forged.verify(&GENESIS), Err(EvidenceFlaw::BadSignature));
    }

    #[test]
    fn two_proposals_of_one_round_contradict_each_other() {
        let signed = |block: u8| {
            let proposal = Proposal {
                height: 7,
                round: 2,
                block: Hash::repeat_byte(block),
                pol_round: Some(1),
                validator: AccountId::new([3; 32]),
            };
            let payload = (PROPOSAL_DOMAIN, GENESIS, &proposal).encode();
            SignedProposal {
                signature: pair().sign(&payload),
                proposal,
            }
        };
        let evidence = |first, second| Evidence {
            key: pair().public(),
            proof: EquivocationProof::Proposals {
                first: signed(first),
                second: signed(second),
            },
        };
        assert_eq!(evidence(1, 2).verify(&GENESIS), Ok(()));
        assert_eq!(
            evidence(1, 1).verify(&GENESIS),
            Err(EvidenceFlaw::NoConflict)
        );
        assert!(evidence(1, 2).encoded_size() <= Evidence::max_encoded_len());
    }

    #[test]
    fn the_signed_bytes_of_a_vote_are_as_documented() {
        let mut expected = b"commonwatt/vote/1".to_vec();
        expected.extend([9; 32]);
        expected.extend([7, 0, 0, 0, 2, 0, 0, 0, 2, 1]);
        expected.extend([5; 32]);
        expected.extend([3; 32]);
        let vote = vote(Some(Hash::repeat_byte(5)));
        assert_eq!((VOTE_DOMAIN, GENESIS, vote).encode(), expected);
    }
}
