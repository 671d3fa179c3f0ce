//! What becomes of the tokens.

use commonwatt_primitives::Step;
use frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, Outcome, mock::*};

fn place(bids: &[(AccountId, u128)]) {
    for &(who, amount) in bids {
        assert_ok!(bid(who, amount));
    }
}

fn outcome_of(height: u32) -> Outcome<AccountId> {
    let auction = Auction::auction(Step(height)).expect("the auction is kept");
    auction.outcome.expect("the block is made")
}

/// Every validator offers the same in block 1; runs to the block before the height they bid for.
fn all_bid(amount: u128) {
    block(|| place(&[1, 2, 3, 4, 5].map(|who| (who, amount))));
    run_to(4);
}

/// Bids of everyone for height 5, less the penalties of the heights nobody bid for.
fn balances() -> Vec<u128> {
    (1..=5).map(balance).collect()
}

#[test]
fn the_winner_takes_the_pot() {
    test(|| {
        all_bid(10);
        let before = balances();
        let last_author = authored().last().unwrap().1;
        let winner = block(|| ());
        let after = balances();
        for who in 1..=5 {
            let place = who as usize - 1;
            // Three penalties are due at most in the same block: only one, for height 9.
            let gained = after[place] + 3 - before[place];
            let expected = match who {
                _ if who == winner => 40,
                // Excluded, since it made the block before.
                _ if who == last_author => 10,
                _ => 0,
            };
            assert_eq!(gained, expected, "of {who}");
        }
        let outcome = outcome_of(5);
        assert_eq!((outcome.pot, outcome.burned, outcome.returned), (40, 0, 10));
    });
}

#[test]
fn an_absent_winner_loses_its_bid_to_the_author_and_its_turn() {
    test(|| {
        all_bid(10);
        let winner = claim_of_rank(0).author;
        let before = balance(winner);
        let author = block_by_rank(1, || ());
        assert_ne!(author, winner);
        assert_eq!(balance(winner), before - 3);
        assert_eq!(outcome_of(5).pot, 40);
        assert_eq!(outcome_of(5).author_rank, 1);
        assert_eq!(authored().last(), Some(&(Step(5), author, vec![winner])));
    });
}

#[test]
fn an_author_without_a_bid_gets_nothing_and_the_absent_bids_burn() {
    test(|| {
        block(|| place(&[(1, 10), (2, 20)]));
        run_to(4);
        let last_author = authored().last().unwrap().1;
        let bidders = Auction::auction(Step(5)).unwrap().bidders;
        let before = (balance(1), balance(2));
        let author = block_by_rank(bidders, || ());
        assert!(author > 2);
        let (burned, returned) = match last_author {
            1 => (20, 10),
            2 => (10, 20),
            _ => (30, 0),
        };
        let outcome = outcome_of(5);
        assert_eq!(
            (outcome.pot, outcome.burned, outcome.returned),
            (0, burned, returned)
        );
        let returned_to = |who| {
            if last_author == who {
                [0, 10, 20][who as usize]
            } else {
                0
            }
        };
        assert_eq!(balance(1) + 3, before.0 + returned_to(1));
        assert_eq!(balance(2) + 3, before.1 + returned_to(2));
        assert_eq!(balance(author) % 3, 100 % 3, "penalties are all it lost");
    });
}

#[test]
fn a_bidder_that_made_the_block_before_is_refunded() {
    test(|| {
        run_to(3);
        // Let one author height 4 who also bid for 5.
        let mut bidder = 0;
        // Bids for 5 were due in block 1; take the next chance: block 4 is for height 8.
        block(|| {
            for who in 1..=5 {
                assert_ok!(bid(who, 10));
            }
        });
        while System::block_number() < 7 {
            bidder = block(|| ());
        }
        let before = balance(bidder);
        block(|| ());
        // The bid is back, the penalty for height 12 is not.
        assert_eq!(balance(bidder), before + 10 - 3);
        assert_eq!(outcome_of(8).returned, 10);
        let auction = Auction::auction(Step(8)).unwrap();
        assert_eq!(auction.excluded[0].account, bidder);
        assert_eq!(auction.excluded[0].offered, 10);
    });
}

#[test]
fn in_a_late_block_nobody_is_penalised() {
    test(|| {
        block(|| place(&[(1, 10), (2, 20)]));
        run_to(4);
        let bidders = Auction::auction(Step(5)).unwrap().bidders;
        let before = (balance(1), balance(2));
        late_block_by_rank(bidders, || ());
        // The block's own bids are void, so nobody pays for height 9 either.
        assert_eq!((balance(1), balance(2)), (before.0 + 10, before.1 + 20));
        let outcome = outcome_of(5);
        assert!(outcome.is_late);
        assert_eq!((outcome.burned, outcome.returned), (0, 30));
        assert!(authored().last().unwrap().2.is_empty());
    });
}

#[test]
fn a_late_author_that_bid_takes_the_pot() {
    test(|| {
        all_bid(10);
        late_block_by_rank(1, || ());
        assert_eq!(outcome_of(5).pot, 40);
    });
}

#[test]
fn the_first_heights_are_void_and_cost_nobody_anything() {
    test(|| {
        for height in 1..=4 {
            let auction = Auction::auction(Step(height)).unwrap();
            assert!(auction.is_void);
            assert_eq!(auction.bidders, 0);
            let author = block_by_rank(2, || {
                // Keep the later heights from being unbid.
                assert_ok!(bid(1, 1));
            });
            assert_eq!(authored().last(), Some(&(Step(height), author, vec![])));
        }
        assert_eq!(Auction::burned(), 0);
        assert!(!Auction::auction(Step(5)).unwrap().is_void);
    });
}

#[test]
fn the_auction_of_a_late_block_of_bids_is_void() {
    test(|| {
        late_block_by_rank(0, || {
            assert_noop!(bid(1, 1), Error::<Test>::AuctionVoid);
        });
        assert_eq!(Auction::burned(), 0);
        for _ in 2..=4 {
            block(|| {
                assert_ok!(bid(1, 1));
            });
        }
        let auction = Auction::auction(Step(5)).unwrap();
        assert!(auction.is_void);
        block_by_rank(3, || {
            assert_ok!(bid(1, 1));
        });
        assert!(authored().last().unwrap().2.is_empty());
        assert_eq!(Auction::burned(), 0);
    });
}

#[test]
fn if_nobody_bids_every_member_validator_pays() {
    test_with(rules(), &[1, 2, 3, 4, DSO], || {
        block(|| ());
        assert_eq!((1..=4).map(balance).sum::<u128>(), 4 * 97);
        assert_eq!(balance(DSO), 100);
        assert_eq!(Auction::burned(), 12);
        assert!(events().contains(&Event::NobodyBid {
            height: Step(5),
            burned: 12
        }));
        // All are ranked by age and reputation, and a turn that passes is missed.
        run_to(4);
        let auction = Auction::auction(Step(5)).unwrap();
        assert!(!auction.is_void);
        assert_eq!((auction.bidders, auction.ranking.len()), (0, 4));
        block_by_rank(1, || ());
        assert_eq!(authored().last().unwrap().2.len(), 1);
    });
}

#[test]
fn a_penalty_takes_no_more_than_there_is() {
    let poor = crate::Rules {
        no_bid_penalty: 99,
        ..rules()
    };
    test_with(poor, &[1, 2, 3, 4], || {
        block(|| ());
        assert_eq!(balance(1), 1);
        block(|| ());
        block(|| ());
        assert_eq!((1..=4).map(balance).sum::<u128>(), 0);
        assert_eq!(Auction::burned(), 400);
    });
}

#[test]
fn a_single_bid_spares_all_the_penalty() {
    test(|| {
        block(|| {
            assert_ok!(bid(3, 1));
        });
        assert_eq!(Auction::burned(), 0);
    });
}
