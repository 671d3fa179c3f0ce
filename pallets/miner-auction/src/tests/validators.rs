//! The set of validators changes at epochs.

use commonwatt_primitives::{Step, keys::SessionKeys};
use frame_support::{assert_noop, assert_ok};
use sp_runtime::DispatchError;

use crate::{Error, Event, mock::*};

fn accounts_at(height: u32) -> Option<Vec<AccountId>> {
    let set = Auction::validators(Step(height))?;
    Some(set.into_iter().map(|validator| validator.account).collect())
}

fn set_keys(who: AccountId, holder: AccountId, version: u8) -> sp_runtime::DispatchResult {
    let (keys, vote, beacon) = possession(who, holder, version);
    Auction::set_keys(RuntimeOrigin::signed(who), keys, vote, beacon)
}

#[test]
fn a_set_is_fixed_one_epoch_ahead() {
    test(|| {
        assert_eq!(accounts_at(2 * EPOCH - 1), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(accounts_at(2 * EPOCH), None);
        block(|| {
            register(6);
            deregister(1);
        });
        run_to(EPOCH - 1);
        // Epoch 1 stays as it was, epoch 2 is fixed now.
        assert_eq!(accounts_at(EPOCH), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(accounts_at(2 * EPOCH), Some(vec![2, 3, 4, 5, 6]));
        assert_eq!(accounts_at(3 * EPOCH), None);
        assert!(events().contains(&Event::ValidatorSetFixed {
            epoch: 2,
            validators: vec![2, 3, 4, 5, 6]
        }));
        // What comes now is for epoch 3.
        block(|| deregister(2));
        assert_eq!(accounts_at(2 * EPOCH), Some(vec![2, 3, 4, 5, 6]));
        run_to(2 * EPOCH - 1);
        assert_eq!(accounts_at(3 * EPOCH), Some(vec![3, 4, 5, 6]));
        run_to(3 * EPOCH + 2);
        assert_eq!(Auction::ranking(Step(3 * EPOCH + 3)).unwrap().len(), 3);
    });
}

#[test]
fn a_newcomer_is_not_old() {
    test(|| {
        block(|| register(6));
        run_to(2 * EPOCH - 1);
        let auction = Auction::auction(Step(2 * EPOCH)).unwrap();
        let newcomer = auction.ranking.iter().find(|one| one.account == 6);
        assert_eq!(newcomer.unwrap().criteria.age, 1);
    });
}

#[test]
fn new_keys_act_two_epochs_after_their_registration() {
    test(|| {
        let first = Auction::keys_at(&1, Step(1)).unwrap();
        block(|| {
            assert_ok!(set_keys(1, 1, 1));
            System::assert_last_event(
                Event::KeysSet {
                    who: 1,
                    keys: keys(1, 1),
                    from_epoch: 2,
                }
                .into(),
            );
        });
        run_to(EPOCH - 1);
        assert_eq!(Auction::keys_at(&1, Step(2 * EPOCH - 1)), Some(first));
        assert_eq!(Auction::keys_at(&1, Step(2 * EPOCH)), Some(keys(1, 1)));
    });
}

#[test]
fn key_changes_during_an_auction_do_not_touch_it() {
    test(|| {
        block(|| {
            assert_ok!(bid(1, 10));
            assert_ok!(set_keys(1, 1, 1));
        });
        run_to(3);
        // Somebody else makes block 4, so that 1, the only one who bid, is to make the next.
        block_by_rank(u32::from(claim_of_rank(0).author == 1), || ());
        let mut claim = claim_of_rank(0);
        assert_eq!(claim.author, 1);
        // A beacon proof of the new key is none yet.
        claim.beacon = commonwatt_primitives::beacon::prove(
            &pairs(1, 1).1,
            &Auction::beacon(Step(4)).unwrap(),
            5,
        );
        assert_eq!(
            Auction::verify_claim(Step(5), &claim),
            Err(crate::ClaimError::ForgedBeacon)
        );
        // Blocks are made with the old key until the epoch, and with the new one after it.
        run_to(3 * EPOCH);
        let by_1 = authored().into_iter().filter(|(_, who, _)| *who == 1);
        let (old, new): (Vec<_>, Vec<_>) = by_1.partition(|(step, ..)| step.0 < 2 * EPOCH);
        assert!(!old.is_empty() && !new.is_empty());
    });
}

#[test]
fn keys_need_proofs_of_possession_for_this_account() {
    test(|| {
        block(|| {
            let (keys, vote, beacon) = possession(1, 1, 1);
            // Another account's proofs.
            assert_noop!(
                Auction::set_keys(RuntimeOrigin::signed(2), keys.clone(), vote, beacon),
                Error::<Test>::NoProofOfPossession
            );
            // One key of the two is not held.
            let (foreign, _, foreign_proof) = possession(1, 2, 1);
            let mixed = SessionKeys {
                vote: keys.vote,
                beacon: foreign.beacon,
            };
            for proof in [beacon, foreign_proof] {
                assert_noop!(
                    Auction::set_keys(RuntimeOrigin::signed(1), mixed.clone(), vote, proof),
                    Error::<Test>::NoProofOfPossession
                );
            }
            // Another's key, with that one's proof for its own account.
            let (stolen, vote, beacon) = possession(2, 2, 1);
            assert_noop!(
                Auction::set_keys(RuntimeOrigin::signed(1), stolen, vote, beacon),
                Error::<Test>::NoProofOfPossession
            );
        });
    });
}

#[test]
fn a_vote_key_has_one_holder() {
    test(|| {
        block(|| {
            // Both nodes hold the key; still only one may register it.
            assert_noop!(
                set_keys(1, 2, 0),
                DispatchError::Other("the key is another's")
            );
        });
    });
}

#[test]
fn only_registered_validators_set_keys() {
    test(|| {
        block(|| {
            assert_noop!(set_keys(6, 6, 0), Error::<Test>::NotAValidator);
            // It may before it is in a set.
            register(6);
            assert_ok!(set_keys(6, 6, 1));
        });
    });
}

#[test]
fn an_empty_registry_leaves_the_set() {
    test(|| {
        block(|| (1..=5).for_each(deregister));
        run_to(5 * EPOCH);
        assert_eq!(accounts_at(5 * EPOCH), Some(vec![1, 2, 3, 4, 5]));
    });
}

#[test]
fn those_who_validate_stay_when_there_is_no_room() {
    test_with(rules(), &[10, 11, 12, 13, 14], || {
        block(|| (1..=6).for_each(register));
        run_to(EPOCH - 1);
        // Nine have room: the five that are there, and the first four of the six newcomers.
        assert_eq!(
            accounts_at(2 * EPOCH),
            Some(vec![1, 2, 3, 4, 10, 11, 12, 13, 14])
        );
        assert!(events().contains(&Event::ValidatorSetFull {
            epoch: 2,
            left_out: 2
        }));
    });
}

#[test]
fn sets_are_kept_as_long_as_evidence_counts() {
    test(|| {
        run_to(6 * EPOCH);
        let oldest = 6 * EPOCH - WINDOW;
        assert!(Auction::validators(Step(oldest)).is_some());
        assert!(Auction::validators(Step(oldest - EPOCH)).is_none());
    });
}
