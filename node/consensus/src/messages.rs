//! What validators sign and send.
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
//! After the genesis hash stands the encoding of [`Vote`] or [`Proposal`] itself. The signature is ed25519 by
//! the validator's vote key. That is all a pallet needs to check evidence or a certificate.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_primitives::{AccountId, Hash};
use sp_core::{Pair, ed25519};

use crate::{
    block::Block,
    limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX},
};

/// A signature by a vote key.
pub type Signature = ed25519::Signature;

/// Domain of votes.
const VOTE_DOMAIN: [u8; 17] = *b"commonwatt/vote/1";
/// Domain of proposals.
const PROPOSAL_DOMAIN: [u8; 21] = *b"commonwatt/proposal/1";

/// The two phases of voting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum VoteKind {
    /// "I have executed this block and it is right."
    #[codec(index = 1)]
    Prevote,
    /// "More than two thirds say so."
    #[codec(index = 2)]
    Precommit,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vote {
    /// The height it is for.
    pub height: u32,
    /// The round it is for.
    pub round: u32,
    /// Its phase.
    pub kind: VoteKind,
    /// The block it is for; `None` is nil: for none in this round.
    pub block: Option<Hash>,
    /// Who votes.
    pub validator: AccountId,
}

impl Vote {
    /// Returns the bytes that are signed.
    pub fn payload(&self, genesis: &Hash) -> Vec<u8> {
        (VOTE_DOMAIN, genesis, self).encode()
    }
}

/// A vote with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedVote {
    /// The vote.
    pub vote: Vote,
    /// By the vote key of its validator.
    pub signature: Signature,
}

impl SignedVote {
    /// Returns whether `key` signed this vote on the chain of `genesis`.
    pub fn is_signed_by(&self, key: &ed25519::Public, genesis: &Hash) -> bool {
        ed25519::Pair::verify(&self.signature, self.vote.payload(genesis), key)
    }
}

/// A proposal: names the block; the block itself travels beside it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proposal {
    /// The height it is for.
    pub height: u32,
    /// The round it is for.
    pub round: u32,
    /// The block it proposes.
    pub block: Hash,
    /// For a re-proposal, the earlier round in which two thirds prevoted the block.
    pub pol_round: Option<u32>,
    /// Who proposes.
    pub validator: AccountId,
}

impl Proposal {
    /// Returns the bytes that are signed.
    pub fn payload(&self, genesis: &Hash) -> Vec<u8> {
        (PROPOSAL_DOMAIN, genesis, self).encode()
    }
}

/// A proposal with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedProposal {
    /// The proposal.
    pub proposal: Proposal,
    /// By the vote key of its validator.
    pub signature: Signature,
}

impl SignedProposal {
    /// Returns whether `key` signed this proposal on the chain of `genesis`.
    pub fn is_signed_by(&self, key: &ed25519::Public, genesis: &Hash) -> bool {
        ed25519::Pair::verify(&self.signature, self.proposal.payload(genesis), key)
    }
}

/// A proposal together with its block: only the proposer of a round can make others take blocks.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ProposedBlock {
    /// Who proposes what.
    pub signed: SignedProposal,
    /// The block.
    pub block: Block,
}

/// One signature of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ValidatorSignature {
    /// Who signed.
    pub validator: AccountId,
    /// The signature under its vote.
    pub signature: Signature,
}

/// More than two thirds have prevoted a block: its proof of lock.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PolkaCertificate {
    /// The height.
    pub height: u32,
    /// The round of the prevotes.
    pub round: u32,
    /// The block.
    pub block: Hash,
    /// The prevotes' signatures.
    pub signatures: Vec<ValidatorSignature>,
}

/// What a round certificate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RoundCertificateKind {
    /// More than a third, so somebody honest, are in this round.
    #[codec(index = 1)]
    Skip,
    /// More than two thirds have precommitted in this round without agreeing: the next may begin.
    #[codec(index = 2)]
    Precommit,
}

/// A vote inside a round certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundVote {
    /// Its phase.
    pub kind: VoteKind,
    /// The block it is for.
    pub block: Option<Hash>,
    /// Who voted.
    pub validator: AccountId,
    /// The signature under the vote.
    pub signature: Signature,
}

/// Votes that justify entering a round.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoundCertificate {
    /// The height.
    pub height: u32,
    /// The round of the votes.
    pub round: u32,
    /// What they prove.
    pub kind: RoundCertificateKind,
    /// The votes.
    pub votes: Vec<RoundVote>,
}

impl PolkaCertificate {
    /// Returns the votes it is made of.
    pub(crate) fn votes(&self) -> impl ExactSizeIterator<Item = SignedVote> {
        self.signatures.iter().map(|signed| SignedVote {
            vote: Vote {
                height: self.height,
                round: self.round,
                kind: VoteKind::Prevote,
                block: Some(self.block),
                validator: signed.validator.clone(),
            },
            signature: signed.signature,
        })
    }
}

impl RoundCertificate {
    /// Returns the votes it is made of.
    pub(crate) fn votes(&self) -> impl ExactSizeIterator<Item = SignedVote> {
        self.votes.iter().map(|vote| SignedVote {
            vote: Vote {
                height: self.height,
                round: self.round,
                kind: vote.kind,
                block: vote.block,
                validator: vote.validator.clone(),
            },
            signature: vote.signature,
        })
    }
}

/// What validators broadcast.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// A proposal and its block.
    #[codec(index = 1)]
    Proposal(ProposedBlock),
    /// A vote.
    #[codec(index = 2)]
    Vote(SignedVote),
    /// A proof of lock.
    #[codec(index = 3)]
    Polka(PolkaCertificate),
    /// The justification of a round.
    #[codec(index = 4)]
    Round(RoundCertificate),
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too many bytes.
    #[error("a message of {0} bytes is above the {MESSAGE_BYTES_MAX} that are possible")]
    TooLong(usize),
    /// Not the encoding of a message.
    #[error("a message cannot be decoded: {0}")]
    Malformed(codec::Error),
    /// More signatures than validators are possible.
    #[error("a certificate of {0} signatures is above the {VALIDATORS_MAX} that are possible")]
    TooManySignatures(usize),
}

impl Message {
    /// Decodes a message, within its bounds.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let message = Self::decode_all(&mut &bytes[..]).map_err(MessageError::Malformed)?;
        message.verify_bounds()?;
        Ok(message)
    }

    /// Checks the bounds that the length of the encoding says nothing about.
    pub fn verify_bounds(&self) -> Result<(), MessageError> {
        let signatures = match self {
            Self::Proposal(_) | Self::Vote(_) => 0,
            Self::Polka(certificate) => certificate.signatures.len(),
            Self::Round(certificate) => certificate.votes.len(),
        };
        if signatures > VALIDATORS_MAX {
            return Err(MessageError::TooManySignatures(signatures));
        }
        Ok(())
    }

    /// Returns the height it is for.
    pub fn height(&self) -> u32 {
        match self {
            Self::Proposal(proposed) => proposed.signed.proposal.height,
            Self::Vote(signed) => signed.vote.height,
            Self::Polka(certificate) => certificate.height,
            Self::Round(certificate) => certificate.height,
        }
    }

    /// Returns the round it is of.
    pub fn round(&self) -> u32 {
        match self {
            Self::Proposal(proposed) => proposed.signed.proposal.round,
            Self::Vote(signed) => signed.vote.round,
            Self::Polka(certificate) => certificate.round,
            Self::Round(certificate) => certificate.round,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(block: Option<Hash>) -> Vote {
        Vote {
            height: 7,
            round: 2,
            kind: VoteKind::Precommit,
            block,
            validator: AccountId::new([3; 32]),
        }
    }

    #[test]
    fn the_payload_of_a_vote_is_as_documented() {
        let genesis = Hash::repeat_byte(9);
        let mut expected = b"commonwatt/vote/1".to_vec();
        expected.extend([9; 32]);
        expected.extend([7, 0, 0, 0, 2, 0, 0, 0, 2, 1]);
        expected.extend([5; 32]);
        expected.extend([3; 32]);
        assert_eq!(vote(Some(Hash::repeat_byte(5))).payload(&genesis), expected);
        assert_eq!(vote(None).payload(&genesis).len(), expected.len() - 32);
    }

    #[test]
    fn the_payload_of_a_proposal_is_as_documented() {
        let proposal = Proposal {
            height: 7,
            round: 2,
            block: Hash::repeat_byte(5),
            pol_round: Some(1),
            validator: AccountId::new([3; 32]),
        };
        let mut expected = b"commonwatt/proposal/1".to_vec();
        expected.extend([9; 32]);
        expected.extend([7, 0, 0, 0, 2, 0, 0, 0]);
        expected.extend([5; 32]);
        expected.extend([1, 1, 0, 0, 0]);
        expected.extend([3; 32]);
        assert_eq!(proposal.payload(&Hash::repeat_byte(9)), expected);
    }

    #[test]
    fn messages_are_decoded_within_bounds() {
        let signed = SignedVote {
            vote: vote(None),
            signature: Signature::default(),
        };
        let message = Message::Vote(signed);
        let mut bytes = message.encode();
        assert_eq!(Message::decode_bounded(&bytes), Ok(message));
        bytes.push(0);
        assert!(matches!(
            Message::decode_bounded(&bytes),
            Err(MessageError::Malformed(_))
        ));
        let long = vec![0; MESSAGE_BYTES_MAX + 1];
        assert_eq!(
            Message::decode_bounded(&long),
            Err(MessageError::TooLong(long.len()))
        );
        let crowd = Message::Polka(PolkaCertificate {
            height: 1,
            round: 0,
            block: Hash::zero(),
            signatures: vec![
                ValidatorSignature {
                    validator: AccountId::new([0; 32]),
                    signature: Signature::default(),
                };
                VALIDATORS_MAX + 1
            ],
        });
        assert_eq!(
            Message::decode_bounded(&crowd.encode()),
            Err(MessageError::TooManySignatures(VALIDATORS_MAX + 1))
        );
    }
}
