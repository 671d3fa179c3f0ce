//! A block not made by its rightful author is invalid.

use commonwatt_primitives::{Hash, Step, beacon::compute_seed};

use crate::{ClaimError, Seeds, mock::*};

#[test]
fn the_claim_of_each_ranked_validator_is_true() {
    test(|| {
        for rank in 0..5 {
            let claim = claim_of_rank(rank);
            assert!(Auction::verify_claim(Step(1), &claim).is_ok());
        }
    });
}

#[test]
fn each_block_advances_the_beacon_by_its_authors_output() {
    test(|| {
        let mut before = Hash::repeat_byte(1);
        for height in 1..6 {
            let claim = claim_of_rank(height % 3);
            let output = Auction::verify_claim(Step(height), &claim).unwrap();
            block_by_rank(height % 3, || ());
            let seed = Seeds::<Test>::get(Step(height)).unwrap();
            assert_eq!(seed, compute_seed(&before, &output));
            before = seed;
        }
    });
}

#[test]
fn another_author_makes_another_seed() {
    let seed_of = |rank| {
        let mut seed = None;
        test(|| {
            block_by_rank(rank, || ());
            seed = Auction::beacon(Step(1));
        });
        seed.unwrap()
    };
    assert_ne!(seed_of(0), seed_of(1));
    assert_eq!(seed_of(2), seed_of(2));
}

#[test]
fn forged_claims_are_found() {
    test(|| {
        let verify = |claim| Auction::verify_claim(Step(1), &claim);
        let honest = claim_of_rank(0);

        let mut forged = honest.clone();
        forged.winner = claim_of_rank(1).author;
        assert_eq!(verify(forged), Err(ClaimError::WrongWinner));

        let mut forged = honest.clone();
        forged.author_rank = 1;
        assert_eq!(verify(forged), Err(ClaimError::WrongRank));
        let mut forged = honest.clone();
        forged.author_rank = 5;
        assert_eq!(verify(forged), Err(ClaimError::WrongRank));
        let mut forged = honest.clone();
        forged.author = 6;
        assert_eq!(verify(forged), Err(ClaimError::WrongRank));

        // A proof for another height, another seed, by another validator.
        let before = Hash::repeat_byte(1);
        let stolen = claim_of_rank(1).beacon;
        let elsewhen = beacon_proof(honest.author, Step(2), &before);
        let elsewhere = beacon_proof(honest.author, Step(1), &Hash::repeat_byte(2));
        for beacon in [stolen, elsewhen, elsewhere] {
            let mut forged = honest.clone();
            forged.beacon = beacon;
            assert_eq!(verify(forged), Err(ClaimError::ForgedBeacon));
        }

        assert!(verify(honest).is_ok());
    });
}

#[test]
fn a_claim_for_a_height_without_ranking_is_none() {
    test(|| {
        let claim = claim_of_rank(0);
        assert_eq!(
            Auction::verify_claim(Step(2), &claim),
            Err(ClaimError::NoRanking)
        );
        block(|| ());
        // The block was made already.
        assert_eq!(
            Auction::verify_claim(Step(1), &claim),
            Err(ClaimError::NoRanking)
        );
    });
}

#[test]
#[should_panic(
    expected = "block 1 is not its author's: the beacon proof is not that of the author's key"
)]
fn a_block_with_a_forged_beacon_is_rejected() {
    test(|| {
        let mut claim = claim_of_rank(0);
        claim.beacon = claim_of_rank(1).beacon;
        begin_block(Some(claim), false);
    });
}

#[test]
#[should_panic(expected = "the author does not have this rank")]
fn a_block_with_a_forged_rank_is_rejected() {
    test(|| {
        let mut claim = claim_of_rank(1);
        claim.author_rank = 0;
        begin_block(Some(claim), false);
    });
}

#[test]
#[should_panic(expected = "a winner who did not win")]
fn a_block_with_a_forged_winner_is_rejected() {
    test(|| {
        let mut claim = claim_of_rank(1);
        claim.winner = claim.author;
        begin_block(Some(claim), false);
    });
}

#[test]
#[should_panic(expected = "the header must hold exactly one claim")]
fn a_block_without_a_claim_is_rejected() {
    test(|| begin_block(None, false));
}
