//! Certificates: that a block is final, and why a round may be entered or a block proposed again.

use std::collections::BTreeSet;

use codec::{Decode, DecodeAll, Encode};
use commonwatt_primitives::{AccountId, Hash};

use crate::{
    block::Block,
    limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX},
    messages::{
        MessageError, PolkaCertificate, RoundCertificate, RoundCertificateKind, SignedVote,
        ValidatorSignature, Vote, VoteKind,
    },
    validators::ValidatorSet,
};

/// The precommits that decided a block. Its SCALE encoding is the block's justification.
///
/// Which of the signatures beyond two thirds it holds differs from node to node; it is proof, not part of the
/// block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    /// The height.
    pub height: u32,
    /// The round that decided.
    pub round: u32,
    /// The block.
    pub block: Hash,
    /// The precommits' signatures, by ascending account.
    pub signatures: Vec<ValidatorSignature>,
}

/// A final block with its proof, as it is served to whoever catches up.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CertifiedBlock {
    /// The block.
    pub block: Block,
    /// Its justification.
    pub certificate: Certificate,
}

impl CertifiedBlock {
    /// Decodes an answer of a peer, within its bounds.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong(bytes.len()));
        }
        let certified = Self::decode_all(&mut &bytes[..]).map_err(MessageError::Malformed)?;
        certified.verify_bounds()?;
        Ok(certified)
    }

    /// Checks the bounds that the length of the encoding says nothing about.
    pub fn verify_bounds(&self) -> Result<(), MessageError> {
        let signatures = self.certificate.signatures.len();
        if signatures > VALIDATORS_MAX {
            return Err(MessageError::TooManySignatures(signatures));
        }
        Ok(())
    }
}

/// Why a certificate proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// For another height.
    #[error("the certificate is for height {actual}, not {expected}")]
    WrongHeight {
        /// The height asked for.
        expected: u32,
        /// The certificate's.
        actual: u32,
    },
    /// For another block.
    #[error("the certificate is for block {actual:?}, not {expected:?}")]
    WrongBlock {
        /// The block asked for.
        expected: Hash,
        /// The certificate's.
        actual: Hash,
    },
    /// Signed by somebody who has no vote at this height.
    #[error("{0} signed the certificate but is no validator of its height")]
    Foreign(AccountId),
    /// Signed by somebody twice.
    #[error("{0} signed the certificate twice; one validator has one vote")]
    Duplicate(AccountId),
    /// A signature is not right.
    #[error("the signature of {0} in the certificate is not right")]
    BadSignature(AccountId),
    /// A vote of another phase.
    #[error("the vote of {0} in the certificate is no precommit")]
    WrongKind(AccountId),
    /// Not enough.
    #[error("{signed} of {count} validators signed the certificate; it takes {needed}")]
    TooFew {
        /// How many signed.
        signed: usize,
        /// How many there are.
        count: usize,
        /// How many it takes.
        needed: usize,
    },
}

/// Checks that `certificate` proves block `hash` of `height` final on the chain of `genesis`, where `set` are
/// the validators of that height.
pub fn verify_certificate(
    set: &ValidatorSet,
    genesis: &Hash,
    height: u32,
    hash: &Hash,
    certificate: &Certificate,
) -> Result<(), CertificateError> {
    if certificate.height != height {
        return Err(CertificateError::WrongHeight {
            expected: height,
            actual: certificate.height,
        });
    }
    if certificate.block != *hash {
        return Err(CertificateError::WrongBlock {
            expected: *hash,
            actual: certificate.block,
        });
    }
    let votes = certificate.signatures.iter().map(|signed| SignedVote {
        vote: Vote {
            height,
            round: certificate.round,
            kind: VoteKind::Precommit,
            block: Some(*hash),
            validator: signed.validator.clone(),
        },
        signature: signed.signature,
    });
    verify_votes(set, genesis, set.quorum(), votes)
}

/// Checks that more than two thirds prevoted the block of `certificate`.
pub(crate) fn verify_polka(
    set: &ValidatorSet,
    genesis: &Hash,
    certificate: &PolkaCertificate,
) -> Result<(), CertificateError> {
    verify_votes(set, genesis, set.quorum(), certificate.votes())
}

/// Checks that the votes of `certificate` justify entering a round.
pub(crate) fn verify_round(
    set: &ValidatorSet,
    genesis: &Hash,
    certificate: &RoundCertificate,
) -> Result<(), CertificateError> {
    let needed = match certificate.kind {
        RoundCertificateKind::Skip => set.honest(),
        RoundCertificateKind::Precommit => set.quorum(),
    };
    if certificate.kind == RoundCertificateKind::Precommit {
        let mut votes = certificate.votes.iter();
        if let Some(vote) = votes.find(|vote| vote.kind != VoteKind::Precommit) {
            return Err(CertificateError::WrongKind(vote.validator.clone()));
        }
    }
    verify_votes(set, genesis, needed, certificate.votes())
}

/// Checks votes of different validators, at least `needed`; what is cheap comes first.
fn verify_votes(
    set: &ValidatorSet,
    genesis: &Hash,
    needed: usize,
    votes: impl Iterator<Item = SignedVote>,
) -> Result<(), CertificateError> {
    let mut keyed = Vec::with_capacity(set.count());
    let mut seen = BTreeSet::new();
    for signed in votes {
        let validator = &signed.vote.validator;
        let Some(key) = set.vote_key(validator) else {
            return Err(CertificateError::Foreign(validator.clone()));
        };
        // At most as many as validators pass, whatever was sent.
        if !seen.insert(validator.clone()) {
            return Err(CertificateError::Duplicate(validator.clone()));
        }
        keyed.push((key, signed));
    }
    if keyed.len() < needed {
        return Err(CertificateError::TooFew {
            signed: keyed.len(),
            count: set.count(),
            needed,
        });
    }
    for (key, signed) in keyed {
        if !signed.is_signed_by(key, genesis) {
            return Err(CertificateError::BadSignature(signed.vote.validator));
        }
    }
    Ok(())
}
