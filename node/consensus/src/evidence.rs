//! Proof that a validator contradicted itself.

use codec::{Decode, Encode};
use commonwatt_primitives::{AccountId, Hash};

use crate::{
    messages::{SignedProposal, SignedVote},
    validators::ValidatorSet,
};

/// Two different votes, or proposals, of one validator for the same height, round and phase.
///
/// The two stand in ascending order of their encodings, so that one offence has one encoding.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
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

/// Why there is no offence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Votes of two validators.
    #[error("the two are of {0} and {1}; only what one validator signed can contradict itself")]
    DifferentValidators(AccountId, AccountId),
    /// Different heights, rounds or phases.
    #[error(
        "the two are for different heights, rounds or phases, where a validator may change its mind"
    )]
    DifferentOccasions,
    /// The same thing twice.
    #[error("the two are the same")]
    Identical,
    /// Not in canonical order.
    #[error("the two stand in the wrong order: the one with the smaller encoding comes first")]
    WrongOrder,
    /// Not a validator of that height.
    #[error("{0} is no validator of height {1}")]
    Foreign(AccountId, u32),
    /// A signature is not right.
    #[error("{0} did not sign what it is accused of")]
    BadSignature(AccountId),
}

impl EquivocationProof {
    /// Returns the proof of two votes in canonical order.
    pub fn of_votes(one: SignedVote, other: SignedVote) -> Self {
        let (first, second) = in_order(one, other, |signed| signed.vote.encode());
        Self::Votes { first, second }
    }

    /// Returns the proof of two proposals in canonical order.
    pub fn of_proposals(one: SignedProposal, other: SignedProposal) -> Self {
        let (first, second) = in_order(one, other, |signed| signed.proposal.encode());
        Self::Proposals { first, second }
    }

    /// Returns the height of the offence.
    pub fn height(&self) -> u32 {
        match self {
            Self::Votes { first, .. } => first.vote.height,
            Self::Proposals { first, .. } => first.proposal.height,
        }
    }

    /// Returns who is accused.
    pub fn offender(&self) -> &AccountId {
        match self {
            Self::Votes { first, .. } => &first.vote.validator,
            Self::Proposals { first, .. } => &first.proposal.validator,
        }
    }
}

fn in_order<T>(one: T, other: T, key: impl Fn(&T) -> Vec<u8>) -> (T, T) {
    if key(&one) <= key(&other) {
        (one, other)
    } else {
        (other, one)
    }
}

/// Checks `proof` against `set`, the validators of the height it is about, on the chain of `genesis`.
///
/// Age is not looked at: whether an offence still counts is the chain's rule.
pub fn verify_evidence(
    set: &ValidatorSet,
    genesis: &Hash,
    proof: &EquivocationProof,
) -> Result<AccountId, EvidenceError> {
    let (validators, same_occasion, encodings) = match proof {
        EquivocationProof::Votes { first, second } => (
            [&first.vote.validator, &second.vote.validator],
            (first.vote.height, first.vote.round, first.vote.kind)
                == (second.vote.height, second.vote.round, second.vote.kind),
            [first.vote.encode(), second.vote.encode()],
        ),
        EquivocationProof::Proposals { first, second } => (
            [&first.proposal.validator, &second.proposal.validator],
            (first.proposal.height, first.proposal.round)
                == (second.proposal.height, second.proposal.round),
            [first.proposal.encode(), second.proposal.encode()],
        ),
    };
    let offender = validators[0].clone();
    if validators[0] != validators[1] {
        return Err(EvidenceError::DifferentValidators(
            offender,
            validators[1].clone(),
        ));
    }
    if !same_occasion {
        return Err(EvidenceError::DifferentOccasions);
    }
    match encodings[0].cmp(&encodings[1]) {
        std::cmp::Ordering::Less => {}
        std::cmp::Ordering::Equal => return Err(EvidenceError::Identical),
        std::cmp::Ordering::Greater => return Err(EvidenceError::WrongOrder),
    }
    let Some(key) = set.vote_key(&offender) else {
        return Err(EvidenceError::Foreign(offender, proof.height()));
    };
    let are_signed = match proof {
        EquivocationProof::Votes { first, second } => {
            first.is_signed_by(key, genesis) && second.is_signed_by(key, genesis)
        }
        EquivocationProof::Proposals { first, second } => {
            first.is_signed_by(key, genesis) && second.is_signed_by(key, genesis)
        }
    };
    if are_signed {
        Ok(offender)
    } else {
        Err(EvidenceError::BadSignature(offender))
    }
}
