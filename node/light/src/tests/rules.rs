//! What makes a header the next one.

use super::*;
use crate::{Breach, Contradiction, Flaw, Refused, verify_same};
use commonwatt_chain::SetProofError;
use commonwatt_consensus::CertificateError;

fn refused(village: &Village, block: &LightBlock) -> Refused {
    verify_next(&village.tip, &village.genesis.hash(), block).expect_err("refused")
}

fn not_final(village: &Village, block: &LightBlock) -> CertificateError {
    match refused(village, block) {
        Refused::Flaw(Flaw::NotFinal(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn broken<'a>(village: &'a Village, change: impl FnOnce(&mut Making<'a>)) -> String {
    let mut making = village.making();
    change(&mut making);
    let block = village.certified(&village.header(&making));
    match refused(village, &block) {
        Refused::Breach(Breach::BrokenRule { number, what }) => {
            assert_eq!(number, village.next_number());
            what
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn blocks_of_the_validators_follow_each_other() {
    let mut village = Village::four();
    let before = village.tip.clone();
    let mut making = village.making();
    making.punctuality = Punctuality::Late;
    let block = village.certified(&village.header(&making));
    let (tip, verified) = verify_next(&before, &village.genesis.hash(), &block).unwrap();
    assert_eq!((verified.number, verified.rank), (1, 0));
    assert_eq!((verified.signed, verified.validators), (3, 4));
    assert_eq!(verified.author, village.people[0].account);
    assert_eq!(verified.punctuality, Punctuality::Late);
    assert_eq!(tip.validators, before.validators);
    assert_ne!(tip.seed, before.seed);
    village.make_to(5);
    assert_eq!(village.tip.number, 5);
}

#[test]
fn a_header_that_was_changed_is_not_final() {
    let mut village = Village::four();
    let block = village.clone().make(None);
    let mut forged = block.clone();
    // A byte of the state root.
    forged.header[40] ^= 1;
    assert!(matches!(
        not_final(&village, &forged),
        CertificateError::WrongBlock { .. }
    ));
    let mut longer = block.clone();
    longer.header.push(0);
    assert_eq!(refused(&village, &longer), Flaw::NoHeader.into());
    let mut shorter = block;
    shorter.header.pop();
    assert_eq!(refused(&village, &shorter), Flaw::NoHeader.into());
    village.make(None);
}

#[test]
fn a_gap_and_what_is_known_already_are_refused() {
    let mut village = Village::four();
    let blocks = village.clone().make_to(3);
    let wrong = |expected, actual| Refused::from(Flaw::WrongNumber { expected, actual });
    assert_eq!(refused(&village, &blocks[1]), wrong(1, 2));
    village.make(None);
    assert_eq!(refused(&village, &blocks[0]), wrong(2, 1));
    assert_eq!(refused(&village, &blocks[2]), wrong(2, 3));
}

#[test]
fn it_takes_the_signatures_of_more_than_two_thirds() {
    let village = Village::four();
    let header = village.header(&village.making());
    let mut block = village.certified(&header);
    let too_few = |signed| CertificateError::TooFew {
        signed,
        count: 4,
        needed: 3,
    };
    block.certificate = village.certificate(&header, &village.people[..2]);
    assert_eq!(not_final(&village, &block), too_few(2));
    block.certificate.signatures.clear();
    assert_eq!(not_final(&village, &block), too_few(0));
    let mut twice = village.certificate(&header, &village.people[..2]);
    twice.signatures.push(twice.signatures[0].clone());
    block.certificate = twice;
    assert!(matches!(
        not_final(&village, &block),
        CertificateError::Duplicate(_)
    ));
    let strangers = people([1, 2, 9]);
    block.certificate = village.certificate(&header, &strangers);
    assert_eq!(
        not_final(&village, &block),
        CertificateError::Foreign(person(9).account)
    );
    let mut forged = village.certificate(&header, &village.people);
    forged.signatures[3].signature = forged.signatures[2].signature;
    block.certificate = forged;
    assert!(matches!(
        not_final(&village, &block),
        CertificateError::BadSignature(_)
    ));
}

#[test]
fn a_block_of_another_chain_is_not_final_here() {
    let village = Village::four();
    let header = village.header(&village.making());
    let mut block = village.certified(&header);
    let elsewhere = Hash::repeat_byte(0xee);
    block.certificate = certificate_of(&elsewhere, &header, &village.people);
    assert!(matches!(
        not_final(&village, &block),
        CertificateError::BadSignature(_)
    ));
}

#[test]
fn who_makes_up_another_parent_is_a_liar_and_validators_who_sign_one_split_the_chain() {
    let mut village = Village::four();
    village.make_to(2);
    let parent = Hash::repeat_byte(7);
    let mut making = village.making();
    making.parent = parent;
    let header = village.header(&making);
    let mut block = village.certified(&header);
    let expected = village.tip.hash;
    assert_eq!(
        refused(&village, &block),
        Breach::OtherParent {
            number: 3,
            parent,
            expected
        }
        .into()
    );
    block.certificate.signatures.pop();
    assert!(matches!(
        not_final(&village, &block),
        CertificateError::TooFew { .. }
    ));
}

#[test]
fn who_validates_changes_with_the_epoch_and_only_as_the_state_proves() {
    let mut village = Village::four();
    village.make_to(EPOCH_LENGTH - 2);
    let last = village.next_number();
    let former = village.clone();
    let newcomers = people([2, 3, 4, 5, 6]);
    let block = village.make(Some(newcomers.clone()));
    assert_eq!(village.tip.validators, validators(&newcomers));

    // Without the proof, or with one of another state, nobody is believed.
    let mut unproven = block.clone();
    unproven.next_set = None;
    assert_eq!(refused(&former, &unproven), Refused::NoSetProof(last));
    let (_, foreign) = state_with(last, &code_marker(), &people(7..=9));
    let mut swapped = block.clone();
    swapped.next_set = Some(foreign);
    assert!(matches!(
        refused(&former, &swapped),
        Refused::Flaw(Flaw::BadSetProof(SetProofError::OtherState { .. }))
    ));
    let mut cut = block.clone();
    cut.next_set.as_mut().unwrap().0.pop();
    assert!(matches!(
        refused(&former, &cut),
        Refused::Flaw(Flaw::BadSetProof(_))
    ));
    let mut large = block.clone();
    large.next_set.as_mut().unwrap().0.push(vec![0; 1 << 20]);
    assert!(matches!(
        refused(&former, &large),
        Refused::Flaw(Flaw::BadSetProof(SetProofError::TooLarge { .. }))
    ));
    // The proof belongs to the last block of an epoch and to no other.
    let mut needless = Village::four().make(None);
    needless.next_set = block.next_set;
    assert_eq!(
        refused(&Village::four(), &needless),
        Flaw::NeedlessSetProof(1).into()
    );

    // The former set decides no more, and a newcomer does.
    let header = village.header(&village.making());
    let mut block = village.certified(&header);
    block.certificate = village.certificate(&header, &former.people);
    assert_eq!(
        not_final(&village, &block),
        CertificateError::Foreign(person(1).account)
    );
    block.certificate = village.certificate(&header, &people([2, 3, 4]));
    assert!(matches!(
        not_final(&village, &block),
        CertificateError::TooFew { needed: 4, .. }
    ));
    village.make_to(EPOCH_LENGTH + 3);
}

#[test]
fn a_runtime_that_is_not_known_ends_the_following() {
    let mut village = Village::four();
    village.make_to(EPOCH_LENGTH - 2);
    let number = village.next_number();
    let (root, proof) = state_with(number, b"native:commonwatt-999", &village.people);
    let mut making = village.making();
    making.state_root = root;
    let mut block = village.certified(&village.header(&making));
    block.next_set = Some(proof);
    let Refused::UnknownRuntime(error) = refused(&village, &block) else {
        panic!("a runtime that nobody knows was taken");
    };
    assert!(error.to_string().contains("commonwatt-999"), "{error}");
}

#[test]
fn an_empty_set_is_none() {
    let (root, proof) = state_with(95, &code_marker(), &[]);
    assert_eq!(proof.verify(root, 95), Err(SetProofError::NoSet(1)));
    let (root, proof) = state_with(95, &code_marker(), &people([1]));
    assert_eq!(proof.verify(root, 95), Ok(validators(&people([1]))));
    // The same nodes say nothing about another epoch.
    assert!(proof.verify(root, 191).is_err());
}

#[test]
fn what_validators_sign_against_the_rules_is_told() {
    let mut village = Village::four();
    village.make_to(2);
    let stranger = person(9);
    let said = broken(&village, |making| {
        making.author = &stranger;
        making.winner = &stranger;
    });
    assert!(said.contains("no validator"), "{said}");
    let other = village.people[0].clone();
    let said = broken(&village, |making| making.winner = &other);
    assert!(said.contains("cannot have rank 0"), "{said}");
    let said = broken(&village, |making| {
        making.winner = &other;
        making.rank = 4;
    });
    assert!(said.contains("cannot have rank 4"), "{said}");
    let said = broken(&village, |making| making.seed = Hash::repeat_byte(5));
    assert!(said.contains("beacon"), "{said}");

    let mut unsealed = village.header(&village.making());
    unsealed.digest_mut().pop();
    let block = village.certified(&unsealed);
    assert!(matches!(refused(&village, &block), Refused::Breach(_)));
    let seal = village.people[1].vote.sign(unsealed.hash().as_bytes());
    unsealed
        .digest_mut()
        .push(DigestItem::Seal(ENGINE_ID, seal.encode()));
    let block = village.certified(&unsealed);
    let said = refused(&village, &block).to_string();
    assert!(said.contains("seal"), "{said}");
}

#[test]
fn two_final_blocks_of_one_height_name_who_signed_both() {
    let mut village = Village::four();
    village.make_to(2);
    let mut making = village.making();
    making.state_root = Hash::repeat_byte(0x55);
    let mut other = village.certified(&village.header(&making));
    let header = village.header(&making);
    other.certificate = village.certificate(&header, &village.people[1..]);
    let set = village.tip.validators.clone();
    let block = village.make(None);
    let (number, known) = (village.tip.number, village.tip.hash);
    let same =
        |block: &LightBlock| verify_same(number, &known, &set, &village.genesis.hash(), block);
    assert_eq!(same(&block), Ok(()));
    let Err(Refused::Breach(breach)) = same(&other) else {
        panic!("two blocks of one height are a breach");
    };
    assert_eq!(
        breach,
        Breach::TwoBlocks {
            number,
            first: known,
            second: header.hash()
        }
    );
    let contradiction = Contradiction {
        breach,
        genesis: village.genesis.hash(),
        before: Some(block),
        against: other.clone(),
    };
    assert_eq!(
        contradiction.signed_both(),
        [person(2).account, person(3).account]
    );
    let json = contradiction.to_json();
    assert_eq!(json["against"]["number"], number);
    assert_eq!(json["signedBoth"].as_array().unwrap().len(), 2);
    // What nobody signed is a peer's invention.
    other.certificate.signatures.truncate(2);
    assert!(matches!(
        same(&other),
        Err(Refused::Flaw(Flaw::NotFinal(_)))
    ));
}

#[test]
fn answers_are_decoded_within_bounds() {
    let block = Village::four().make(None);
    let bytes = block.encode();
    assert_eq!(LightBlock::decode_bounded(&bytes), Ok(block.clone()));
    for cut in 0..bytes.len() {
        assert!(LightBlock::decode_bounded(&bytes[..cut]).is_err(), "{cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(LightBlock::decode_bounded(&longer).is_err());
    let mut large = block.clone();
    large.header = vec![0; 17 * 1024];
    assert!(LightBlock::decode_bounded(&large.encode()).is_err());
    let mut crowded = block;
    let one = crowded.certificate.signatures[0].clone();
    crowded.certificate.signatures = vec![one; 257];
    assert!(LightBlock::decode_bounded(&crowded.encode()).is_err());
    assert!(LightBlock::decode_bounded(&vec![0; 1 << 20]).is_err());
}
