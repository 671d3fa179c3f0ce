//! Who may bid what, and when.

use commonwatt_primitives::Step;
use frame_support::{assert_noop, assert_ok};

use crate::{BidTerms, Call, Error, Event, Rules, mock::*};

fn bid_for(who: AccountId, height: u32, amount: u128) -> sp_runtime::DispatchResult {
    Auction::bid(RuntimeOrigin::signed(who), Step(height), amount)
}

#[test]
fn a_bid_goes_into_escrow_for_the_height_that_is_due() {
    test(|| {
        block(|| {
            assert_ok!(bid_for(1, 5, 30));
            assert_eq!(balance(1), 70);
            assert_eq!(balance(Auction::escrow_account()), 30);
            System::assert_last_event(
                Event::BidPlaced {
                    height: Step(5),
                    who: 1,
                    amount: 30,
                }
                .into(),
            );
        });
        assert_eq!(Auction::bids_of(&1), [(Step(5), 30)]);
        assert_eq!(Auction::bids_for(Step(5)).len(), 1);
    });
}

#[test]
fn there_is_one_bid_per_candidate_and_height() {
    test(|| {
        block(|| {
            assert_ok!(bid(1, 30));
            assert_noop!(bid(1, 31), Error::<Test>::AlreadyBid);
            assert_ok!(bid(2, 30));
        });
        // The next height is another auction.
        block(|| {
            assert_ok!(bid(1, 30));
        });
        assert_eq!(Auction::bids_of(&1), [(Step(5), 30), (Step(6), 30)]);
    });
}

#[test]
fn nobody_bids_more_than_it_has() {
    test(|| {
        block(|| {
            assert_noop!(bid(1, 101), Error::<Test>::NotEnoughTokens);
            assert_noop!(bid(1, 0), Error::<Test>::NothingOffered);
            assert_noop!(bid(1, 1 << 64), Error::<Test>::BidTooLarge);
            assert_ok!(bid(1, 60));
        });
        // What is in escrow cannot be offered again.
        block(|| {
            assert_noop!(bid(1, 41), Error::<Test>::NotEnoughTokens);
        });
    });
}

#[test]
fn the_last_token_can_be_bid() {
    test(|| {
        block(|| {
            assert_ok!(bid(1, 99));
        });
        block(|| {
            assert_ok!(bid(1, 1));
            assert_eq!(balance(1), 0);
        });
    });
}

#[test]
fn bids_are_taken_in_one_block_only() {
    test(|| {
        block(|| {
            assert_noop!(bid_for(1, 6, 1), Error::<Test>::BidTooEarly);
            assert_noop!(bid_for(1, u32::MAX, 1), Error::<Test>::BidTooEarly);
            assert_noop!(bid_for(1, 4, 1), Error::<Test>::BidTooLate);
            assert_noop!(bid_for(1, 0, 1), Error::<Test>::BidTooLate);
        });
    });
}

#[test]
fn a_bid_for_a_later_height_waits_in_the_pool() {
    test(|| {
        block(|| {
            let call = |height| Call::<Test>::bid {
                height: Step(height),
                amount: 1,
            };
            assert!(Auction::is_premature(&call(6)));
            assert!(!Auction::is_premature(&call(5)));
            assert!(!Auction::is_premature(&call(4)));
            assert!(!Auction::is_premature(&Call::pardon { who: 1 }));
        });
    });
}

#[test]
fn a_late_block_takes_no_bids() {
    test(|| {
        late_block_by_rank(0, || {
            assert_noop!(bid(1, 1), Error::<Test>::AuctionVoid);
        });
    });
}

#[test]
fn only_validators_bid() {
    test(|| {
        block(|| {
            assert_noop!(bid(6, 1), Error::<Test>::NotAValidator);
            // Registered now, it is a validator from the second epoch after this one.
            register(6);
            assert_noop!(bid(6, 1), Error::<Test>::NotAValidator);
        });
        run_to(2 * EPOCH - 6);
        // Block 11 takes bids for height 15, block 12 for 16, the first of epoch 2.
        block(|| {
            assert_noop!(bid(6, 1), Error::<Test>::NotAValidator);
        });
        block(|| {
            assert_noop!(bid(6, 1), Error::<Test>::NotEnoughTokens);
        });
    });
}

#[test]
fn after_leaving_the_set_nobody_bids() {
    test(|| {
        block(|| deregister(5));
        run_to(2 * EPOCH - 6);
        // Still a validator at height 15, where it may author; no longer at 16.
        block(|| {
            assert_ok!(bid_for(5, 2 * EPOCH - 1, 10));
        });
        block(|| {
            assert_noop!(bid_for(5, 2 * EPOCH, 10), Error::<Test>::NotAValidator);
        });
    });
}

#[test]
fn a_bid_made_as_validator_comes_back_after_leaving() {
    test(|| {
        block(|| deregister(5));
        run_to(2 * EPOCH - 6);
        block(|| {
            assert_ok!(bid_for(5, 2 * EPOCH - 1, 10));
        });
        run_to(2 * EPOCH - 2);
        let ranking = Auction::ranking(Step(2 * EPOCH - 1)).unwrap();
        // It alone bid, so it wins its last height, unless it made the block before.
        assert!(ranking[0] == 5 || !ranking.contains(&5));
        run_to(2 * EPOCH);
        assert_eq!(balance(Auction::escrow_account()), 0);
        assert!(!Auction::ranking(Step(2 * EPOCH + 1)).unwrap().contains(&5));
    });
}

fn risk_averse() -> Rules {
    Rules {
        few_candidates: 6,
        ..rules()
    }
}

#[test]
fn with_few_candidates_a_bid_is_at_most_40_percent_of_the_free_tokens() {
    test_with(risk_averse(), &[1, 2, 3, 4, 5], || {
        block(|| {
            assert_noop!(bid(1, 41), Error::<Test>::BidAboveBound);
            assert_ok!(bid(1, 40));
        });
        // 40 % of the 60 that are left, so that open bids never add up to all.
        block(|| {
            assert_noop!(bid(1, 25), Error::<Test>::BidAboveBound);
            assert_ok!(bid(1, 24));
        });
    });
}

#[test]
fn below_the_floor_a_bid_is_exactly_one() {
    test_with(risk_averse(), &[1, 2, 3, 4, 5], || {
        // 500 tokens in all, an equal share is 100, the floor 20.
        for amount in [40, 24, 14, 3] {
            block(|| {
                assert_ok!(bid(1, amount));
            });
        }
        block(|| {
            assert_eq!(balance(1), 19);
            assert_noop!(bid(1, 2), Error::<Test>::BidMustBeOne);
            assert_ok!(bid(1, 1));
        });
        assert_eq!(Auction::bids_of(&1).last(), Some(&(Step(9), 1)));
    });
}

#[test]
fn the_bound_is_forty_percent_a_floor_and_never_nothing() {
    use crate::ranking::compute_risk_averse_bound as bound;
    assert_eq!(bound(100, 400, 4), 40);
    assert_eq!(bound(99, 400, 4), 39);
    // An equal share is 100, the floor 20.
    assert_eq!(bound(20, 400, 4), 8);
    assert_eq!(bound(19, 400, 4), 1);
    // 40 % of two is less than one.
    assert_eq!(bound(2, 8, 4), 1);
    assert_eq!(bound(u128::MAX, u128::MAX, 4), u64::MAX);
}

#[test]
fn with_enough_candidates_bids_are_free() {
    let enough = Rules {
        few_candidates: 5,
        ..rules()
    };
    test_with(enough, &[1, 2, 3, 4, 5], || {
        block(|| {
            assert_ok!(bid(1, 100));
        });
    });
}

#[test]
fn the_terms_say_what_the_next_block_would_take() {
    test_with(risk_averse(), &[1, 2, 3, 4, 5], || {
        block(|| {
            assert_ok!(bid(1, 40));
        });
        let terms = Auction::bid_terms(&1).unwrap();
        assert_eq!(
            terms,
            BidTerms {
                height: Step(6),
                free: 60,
                in_escrow: 40,
                min: 1,
                max: 24,
            }
        );
        assert_eq!(Auction::bid_terms(&6), None);
        block(|| {
            assert_ok!(bid_for(1, 6, 24));
        });
    });
}

#[test]
fn an_equivocator_bids_no_more() {
    test(|| {
        block(|| {
            let evidence = TwoVotes::by(&pairs(2, 0).0, 1, [1, 2]);
            assert_ok!(Auction::report_equivocation(
                RuntimeOrigin::signed(1),
                Box::new(evidence)
            ));
            assert_noop!(bid(2, 1), Error::<Test>::Equivocator);
        });
        assert_eq!(Auction::bid_terms(&2), None);
    });
}
