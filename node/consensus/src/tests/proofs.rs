//! Certificates and evidence, right and wrong.

use codec::{DecodeAll, Encode};
use commonwatt_primitives::Hash;
use sp_core::Pair;

use super::net::*;
use crate::{
    Certificate, CertificateError, CertifiedBlock, EquivocationProof, EvidenceError, MessageError,
    VoteKind,
    limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX},
    verify_certificate, verify_evidence,
};

const HASH: Hash = Hash::repeat_byte(5);

fn verify(certificate: &Certificate) -> Result<(), CertificateError> {
    verify_certificate(&set(), &GENESIS, 3, &HASH, certificate)
}

#[test]
fn more_than_two_thirds_prove_a_block_final() {
    for signers in [&[0, 1, 2][..], &[3, 1, 0], &[0, 1, 2, 3]] {
        let certificate = certificate_by(signers, 3, 1, HASH);
        assert_eq!(verify(&certificate), Ok(()));
        let again = Certificate::decode_all(&mut &certificate.encode()[..]).unwrap();
        assert_eq!(again, certificate);
    }
}

#[test]
fn answers_of_peers_are_decoded_within_bounds() {
    let block = block(2, 3, 0, "good");
    let certificate = certificate_by(&[0, 1, 2], 3, 0, block.hash());
    let mut certified = CertifiedBlock { block, certificate };
    let mut bytes = certified.encode();
    assert_eq!(
        CertifiedBlock::decode_bounded(&bytes),
        Ok(certified.clone())
    );
    bytes.push(0);
    assert!(matches!(
        CertifiedBlock::decode_bounded(&bytes),
        Err(MessageError::Malformed(_))
    ));
    let crowd = vec![certified.certificate.signatures[0].clone(); VALIDATORS_MAX + 1];
    certified.certificate.signatures = crowd;
    assert_eq!(
        CertifiedBlock::decode_bounded(&certified.encode()),
        Err(MessageError::TooManySignatures(VALIDATORS_MAX + 1))
    );
    assert!(matches!(
        CertifiedBlock::decode_bounded(&vec![0; MESSAGE_BYTES_MAX + 1]),
        Err(MessageError::TooLong(_))
    ));
}

#[test]
fn two_thirds_are_too_few() {
    assert_eq!(
        verify(&certificate_by(&[0, 1], 3, 1, HASH)),
        Err(CertificateError::TooFew {
            signed: 2,
            count: 4,
            needed: 3
        })
    );
    assert!(matches!(
        verify(&certificate_by(&[], 3, 1, HASH)),
        Err(CertificateError::TooFew { signed: 0, .. })
    ));
}

#[test]
fn nobody_signs_twice_and_no_stranger_signs() {
    assert_eq!(
        verify(&certificate_by(&[0, 1, 1], 3, 1, HASH)),
        Err(CertificateError::Duplicate(account(1)))
    );
    assert_eq!(
        verify(&certificate_by(&[0, 1, 2, 7], 3, 1, HASH)),
        Err(CertificateError::Foreign(account(7)))
    );
    // A stranger under a validator's name.
    let mut certificate = certificate_by(&[0, 1, 7], 3, 1, HASH);
    certificate.signatures[2].validator = account(2);
    assert_eq!(
        verify(&certificate),
        Err(CertificateError::BadSignature(account(2)))
    );
}

#[test]
fn a_certificate_is_for_one_height_one_block_one_round_and_one_chain() {
    assert_eq!(
        verify(&certificate_by(&[0, 1, 2], 4, 1, HASH)),
        Err(CertificateError::WrongHeight {
            expected: 3,
            actual: 4
        })
    );
    assert!(matches!(
        verify(&certificate_by(&[0, 1, 2], 3, 1, Hash::zero())),
        Err(CertificateError::WrongBlock { .. })
    ));
    // The claims can be changed, the signatures cannot.
    let mut other_height = certificate_by(&[0, 1, 2], 4, 1, HASH);
    other_height.height = 3;
    let mut other_block = certificate_by(&[0, 1, 2], 3, 1, Hash::zero());
    other_block.block = HASH;
    let mut other_round = certificate_by(&[0, 1, 2], 3, 1, HASH);
    other_round.round = 2;
    for forged in [other_height, other_block, other_round] {
        assert_eq!(
            verify(&forged),
            Err(CertificateError::BadSignature(account(0)))
        );
    }
    let certificate = certificate_by(&[0, 1, 2], 3, 1, HASH);
    assert_eq!(
        verify_certificate(&set(), &Hash::zero(), 3, &HASH, &certificate),
        Err(CertificateError::BadSignature(account(0)))
    );
}

#[test]
fn prevotes_and_nil_do_not_commit() {
    let mut certificate = certificate_by(&[0, 1, 2], 3, 1, HASH);
    certificate.signatures[1].signature = vote(1, 3, 1, VoteKind::Prevote, Some(HASH)).signature;
    assert_eq!(
        verify(&certificate),
        Err(CertificateError::BadSignature(account(1)))
    );
    certificate.signatures[1].signature = vote(1, 3, 1, VoteKind::Precommit, None).signature;
    assert_eq!(
        verify(&certificate),
        Err(CertificateError::BadSignature(account(1)))
    );
}

fn judged(proof: &EquivocationProof) -> Result<commonwatt_primitives::AccountId, EvidenceError> {
    verify_evidence(&set(), &GENESIS, proof)
}

#[test]
fn evidence_is_the_same_whoever_found_it() {
    let nil = vote(1, 3, 0, VoteKind::Precommit, None);
    let for_block = vote(1, 3, 0, VoteKind::Precommit, Some(HASH));
    let proof = EquivocationProof::of_votes(nil.clone(), for_block.clone());
    assert_eq!(proof, EquivocationProof::of_votes(for_block, nil));
    assert_eq!(judged(&proof), Ok(account(1)));
    assert_eq!(
        EquivocationProof::decode_all(&mut &proof.encode()[..]),
        Ok(proof)
    );
}

#[test]
fn invented_evidence_is_refused() {
    let base = vote(1, 3, 0, VoteKind::Precommit, None);
    let against = |other| judged(&EquivocationProof::of_votes(base.clone(), other));
    // The same vote twice.
    assert_eq!(against(base.clone()), Err(EvidenceError::Identical));
    // Different heights, rounds, phases: no contradiction.
    for other in [
        vote(1, 4, 0, VoteKind::Precommit, Some(HASH)),
        vote(1, 3, 1, VoteKind::Precommit, Some(HASH)),
        vote(1, 3, 0, VoteKind::Prevote, Some(HASH)),
    ] {
        assert_eq!(against(other), Err(EvidenceError::DifferentOccasions));
    }
    // Two validators.
    assert!(matches!(
        against(vote(2, 3, 0, VoteKind::Precommit, Some(HASH))),
        Err(EvidenceError::DifferentValidators(..))
    ));
    // A vote that somebody else signed.
    let mut forged = vote(1, 3, 0, VoteKind::Precommit, Some(HASH));
    forged.signature = pair(2).sign(&forged.vote.payload(&GENESIS));
    assert_eq!(
        against(forged),
        Err(EvidenceError::BadSignature(account(1)))
    );
    // A stranger's.
    let stranger = EquivocationProof::of_votes(
        vote(7, 3, 0, VoteKind::Prevote, None),
        vote(7, 3, 0, VoteKind::Prevote, Some(HASH)),
    );
    assert_eq!(
        judged(&stranger),
        Err(EvidenceError::Foreign(account(7), 3))
    );
    // The wrong way round.
    let right =
        EquivocationProof::of_votes(base.clone(), vote(1, 3, 0, VoteKind::Precommit, Some(HASH)));
    let EquivocationProof::Votes { first, second } = right else {
        panic!("votes");
    };
    let swapped = EquivocationProof::Votes {
        first: second,
        second: first,
    };
    assert_eq!(judged(&swapped), Err(EvidenceError::WrongOrder));
}

#[test]
fn two_proposals_of_one_round_are_evidence() {
    let one = proposed(2, 0, None, &block(2, 3, 0, "one")).signed;
    let other = proposed(2, 0, None, &block(2, 3, 0, "two")).signed;
    let proof = EquivocationProof::of_proposals(one.clone(), other.clone());
    assert_eq!(judged(&proof), Ok(account(2)));
    let mut forged = other;
    forged.signature = one.signature;
    assert_eq!(
        judged(&EquivocationProof::of_proposals(one, forged)),
        Err(EvidenceError::BadSignature(account(2)))
    );
}
