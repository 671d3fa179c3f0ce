//! Who contradicts itself is punished; who does not is not.

#![allow(deprecated, reason = "as in the pallet")]

use commonwatt_primitives::Step;
use frame_support::{assert_noop, assert_ok};
#[allow(deprecated, reason = "the trait is")]
use sp_runtime::traits::ValidateUnsigned;
use sp_runtime::{
    DispatchError, DispatchResult,
    transaction_validity::{InvalidTransaction, TransactionSource},
};

use crate::{Call, Error, Event, Exclusion, Offence, mock::*};

const ALL: [AccountId; 6] = [1, 2, 3, 4, 5, 6];

fn report(evidence: TwoVotes) -> DispatchResult {
    Auction::report_equivocation(RuntimeOrigin::signed(77), Box::new(evidence))
}

fn votes(who: AccountId, height: u32) -> TwoVotes {
    TwoVotes::by(&pairs(who, 0).0, height, [1, 2])
}

#[test]
fn an_equivocator_loses_all_its_tokens_and_its_open_bids() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_ok!(bid(2, 30));
        });
        block(|| {
            assert_ok!(bid(2, 20));
        });
        block(|| {
            assert_ok!(bid(3, 5));
            assert_ok!(report(votes(2, 2)));
            assert_eq!(balance(2), 0);
            assert_eq!(balance(Auction::escrow_account()), 5);
            System::assert_last_event(
                Event::EquivocationPunished {
                    who: 2,
                    height: Step(2),
                    burned: 100,
                }
                .into(),
            );
        });
        assert_eq!(Auction::burned(), 100);
        assert_eq!(
            Auction::offence_of(&2),
            Some(Offence {
                height: Step(2),
                reported: Step(3),
                pardoned: None
            })
        );
        assert!(Auction::bids_of(&2).is_empty());
    });
}

#[test]
fn a_burned_bid_spares_the_others_the_penalty() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_ok!(bid(2, 30));
            assert_ok!(report(votes(2, 1)));
        });
        assert_eq!(Auction::burned(), 100);
        assert_eq!(balance(3), 100);
    });
}

#[test]
fn an_equivocator_is_no_longer_ranked() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_ok!(report(votes(2, 1)));
        });
        for height in 2..EPOCH {
            let auction = Auction::auction(Step(height)).unwrap();
            assert!(auction.ranking.iter().all(|one| one.account != 2));
            assert!(
                auction
                    .excluded
                    .iter()
                    .any(|one| one.account == 2 && one.reason == Exclusion::Equivocated)
            );
            block(|| ());
        }
    });
}

#[test]
fn an_equivocating_author_gets_no_pot() {
    test_with(rules(), &ALL, || {
        block(|| {
            for who in ALL {
                assert_ok!(bid(who, 10));
            }
        });
        run_to(4);
        let author = claim_of_rank(0).author;
        block(|| {
            assert_ok!(report(votes(author, 3)));
        });
        assert_eq!(balance(author), 0);
        let outcome = Auction::auction(Step(5)).unwrap().outcome.unwrap();
        assert_eq!((outcome.pot, outcome.burned, outcome.returned), (0, 0, 50));
    });
}

#[test]
fn an_equivocator_leaves_the_next_epochs_set() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_ok!(report(votes(2, 1)));
        });
        run_to(EPOCH - 1);
        assert!(events().contains(&Event::EpochBegan {
            epoch: 1,
            removed: vec![2]
        }));
        // It votes until the epoch ends, and not in the next ones.
        assert!(Auction::is_validator_at(&2, Step(EPOCH - 1)));
        assert!(!Auction::is_validator_at(&2, Step(EPOCH)));
        assert!(!Auction::is_validator_at(&2, Step(2 * EPOCH)));
        run_to(4 * EPOCH);
        assert!(!Auction::is_validator_at(&2, Step(4 * EPOCH)));
    });
}

#[test]
fn four_validators_remain() {
    test(|| {
        block(|| {
            assert_ok!(report(votes(2, 1)));
            assert_ok!(report(votes(1, 1)));
        });
        run_to(EPOCH - 1);
        // Reported in the same block: the smaller account leaves, the other still votes.
        assert!(!Auction::is_validator_at(&1, Step(EPOCH)));
        assert!(Auction::is_validator_at(&2, Step(EPOCH)));
        run_to(3 * EPOCH);
        assert!(Auction::is_validator_at(&2, Step(3 * EPOCH)));
        let ranking = Auction::ranking(Step(3 * EPOCH + 1)).unwrap();
        assert!(!ranking.contains(&2));
    });
}

#[test]
fn when_all_have_equivocated_blocks_are_still_made() {
    test_with(rules(), &[1, 2, 3, 4], || {
        block(|| {
            for who in 1..=4 {
                assert_ok!(report(votes(who, 1)));
            }
        });
        run_to(3 * EPOCH);
        assert_eq!(Auction::ranking(Step(3 * EPOCH + 1)).unwrap().len(), 3);
    });
}

#[test]
fn stale_evidence_and_evidence_from_the_future_are_refused() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_noop!(report(votes(2, 2)), Error::<Test>::EvidenceFromTheFuture);
        });
        run_to(WINDOW + 1);
        block(|| {
            assert_noop!(report(votes(2, 1)), Error::<Test>::EvidenceStale);
            // Just in time.
            assert_ok!(report(votes(2, 2)));
        });
    });
}

#[test]
fn invented_evidence_is_refused() {
    test_with(rules(), &ALL, || {
        run_to(3);
        block(|| {
            let same = TwoVotes::by(&pairs(2, 0).0, 3, [1, 1]);
            assert_noop!(report(same), Error::<Test>::EvidenceWithoutConflict);

            let mut forged = votes(2, 3);
            forged.values = [1, 3];
            assert_noop!(report(forged), Error::<Test>::EvidenceForged);

            // Votes of one validator under the name of another.
            let mut blamed = votes(3, 3);
            blamed.signer = keys(2, 0).vote;
            assert_noop!(report(blamed), Error::<Test>::EvidenceForged);

            // Votes of another height.
            let mut moved = votes(2, 3);
            moved.height = 2;
            assert_noop!(report(moved), Error::<Test>::EvidenceForged);

            assert_noop!(
                report(TwoVotes::by(&pairs(66, 0).0, 3, [1, 2])),
                Error::<Test>::EvidenceOfUnknownSigner
            );
        });
        assert_eq!(Auction::burned() % 3, 0, "nothing but penalties");
        assert_eq!(Auction::offence_of(&2), None);
    });
}

#[test]
fn one_contradiction_is_punished_once() {
    test_with(rules(), &ALL, || {
        block(|| ());
        block(|| {
            assert_ok!(report(votes(2, 1)));
            assert_noop!(report(votes(2, 1)), Error::<Test>::EvidenceOutdone);
            assert_noop!(report(votes(2, 2)), Error::<Test>::EvidenceOutdone);
        });
    });
}

#[test]
fn evidence_proves_itself_without_an_account() {
    let judge = |evidence: TwoVotes| {
        let call = Call::<Test>::report_equivocation {
            evidence: Box::new(evidence),
        };
        Auction::validate_unsigned(TransactionSource::External, &call)
    };
    test_with(rules(), &ALL, || {
        run_to(2);
        block(|| {
            let mut forged = votes(3, 2);
            forged.values = [1, 3];
            assert_eq!(judge(forged), InvalidTransaction::BadProof.into());
            assert_eq!(judge(votes(3, 9)), InvalidTransaction::Future.into());
            let validity = judge(votes(3, 2)).unwrap();
            assert!(validity.propagate);
            // Another contradiction of the same offender at the same height is no other transaction.
            let again = TwoVotes::by(&pairs(3, 0).0, 2, [4, 5]);
            assert_eq!(judge(again).unwrap().provides, validity.provides);
            assert_ok!(Auction::report_equivocation(
                RuntimeOrigin::none(),
                Box::new(votes(3, 2))
            ));
            assert_eq!(balance(3), 0);
            assert_eq!(judge(votes(3, 2)), InvalidTransaction::Stale.into());
            assert_noop!(
                Auction::report_equivocation(RuntimeOrigin::root(), Box::new(votes(4, 2))),
                DispatchError::BadOrigin
            );
            // No other call goes without a signature.
            let bid = Call::<Test>::bid {
                height: Step(9),
                amount: 1,
            };
            let refused = Auction::validate_unsigned(TransactionSource::Local, &bid);
            assert_eq!(refused, InvalidTransaction::Call.into());
        });
    });
}

#[test]
fn evidence_is_judged_by_the_set_and_keys_of_its_height() {
    test_with(rules(), &ALL, || {
        block(|| {
            let (keys, vote, beacon) = possession(2, 2, 1);
            assert_ok!(Auction::set_keys(
                RuntimeOrigin::signed(2),
                keys,
                vote,
                beacon
            ));
            deregister(3);
        });
        run_to(2 * EPOCH);
        block(|| {
            let new = |height| TwoVotes::by(&pairs(2, 1).0, height, [1, 2]);
            // The new key did not act before epoch 2, the old one no longer does.
            assert_noop!(
                report(new(2 * EPOCH - 1)),
                Error::<Test>::EvidenceOfUnknownSigner
            );
            assert_noop!(
                report(votes(2, 2 * EPOCH)),
                Error::<Test>::EvidenceOfUnknownSigner
            );
            assert_ok!(report(votes(2, 2 * EPOCH - 1)));
            // Who left since answers for when it was there.
            assert_ok!(report(votes(3, 2 * EPOCH - 1)));
            assert_noop!(
                report(votes(3, 2 * EPOCH)),
                Error::<Test>::EvidenceOfUnknownSigner
            );
        });
    });
}

#[test]
fn a_pardon_lets_an_equivocator_return() {
    test_with(rules(), &ALL, || {
        block(|| {
            assert_noop!(
                Auction::pardon(RuntimeOrigin::root(), 2),
                Error::<Test>::NothingToPardon
            );
            assert_ok!(report(votes(2, 1)));
        });
        run_to(EPOCH);
        block(|| {
            assert_noop!(
                Auction::pardon(RuntimeOrigin::signed(2), 2),
                DispatchError::BadOrigin
            );
            assert_ok!(Auction::pardon(RuntimeOrigin::root(), 2));
            assert_noop!(
                Auction::pardon(RuntimeOrigin::root(), 2),
                Error::<Test>::NothingToPardon
            );
            // What was before the pardon is forgiven.
            assert_noop!(report(votes(2, 5)), Error::<Test>::EvidenceOutdone);
        });
        run_to(3 * EPOCH);
        assert!(Auction::is_validator_at(&2, Step(3 * EPOCH)));
        let ranking = Auction::ranking(Step(3 * EPOCH + 1)).unwrap();
        let last = authored().last().unwrap().1;
        assert!(ranking.contains(&2) || last == 2);
        block(|| {
            assert_ok!(report(votes(2, 3 * EPOCH)));
        });
        assert!(Auction::bid_terms(&2).is_none());
    });
}
