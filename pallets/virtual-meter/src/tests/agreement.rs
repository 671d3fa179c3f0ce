use commonwatt_primitives::{Ppm, Step};
use frame_support::{assert_noop, assert_ok};
use sp_runtime::DispatchError;

use crate::{Agreements, Error, Event, KeyTerms, Schedule, mock::*};

fn set(effective_from: u32, key: KeyTerms<AccountId>) -> sp_runtime::DispatchResult {
    VirtualMeter::set_agreement(
        RuntimeOrigin::root(),
        Step(effective_from),
        key,
        COMMUNITY,
        LOSSES,
    )
}

fn version_at(step: u32) -> Option<u32> {
    VirtualMeter::agreement_at(Step(step)).map(|agreement| agreement.version)
}

#[test]
fn an_agreement_governs_from_its_step_on() {
    chain(agreement(pro_rata(&[1, 2]))).execute_with(|| {
        assert_ok!(set(3, static_key(false, &[(2, 250_000), (1, 750_000)])));
        assert_eq!(
            virtual_meter_events(),
            [Event::AgreementSet {
                version: 2,
                effective_from: Step(3),
                replaced: 0
            }]
        );
        assert_eq!([2, 3, 99].map(version_at), [Some(1), Some(2), Some(2)]);
        let key = VirtualMeter::agreement_at(Step(3)).map(|agreement| agreement.key);
        let sorted = vec![(1, Ppm(750_000)), (2, Ppm(250_000))];
        assert_eq!(
            key,
            Some(KeyTerms::Static {
                capped: false,
                shares: sorted
            })
        );
    });
}

#[test]
fn without_a_genesis_agreement_none_governs() {
    chain(None).execute_with(|| {
        assert_eq!(version_at(1), None);
        assert_ok!(set(2, pro_rata(&[1])));
        assert_eq!([1, 2].map(version_at), [None, Some(1)]);
    });
}

#[test]
fn a_new_agreement_replaces_those_that_would_begin_at_its_step_or_later() {
    chain(agreement(pro_rata(&[1]))).execute_with(|| {
        assert_ok!(set(5, pro_rata(&[1, 2])));
        assert_ok!(set(9, pro_rata(&[1, 2, 3])));
        assert_ok!(set(5, pro_rata(&[3])));
        let told = virtual_meter_events();
        let last = Event::AgreementSet {
            version: 4,
            effective_from: Step(5),
            replaced: 2,
        };
        assert_eq!(told.last(), Some(&last));
        assert_eq!([4, 5, 9].map(version_at), [Some(1), Some(4), Some(4)]);
        assert_eq!(Agreements::<Test>::iter().count(), 2);
        finish_block();
    });
}

#[test]
fn only_the_agreement_origin_sets_it() {
    chain(None).execute_with(|| {
        let call = VirtualMeter::set_agreement(
            RuntimeOrigin::signed(1),
            Step(5),
            pro_rata(&[1]),
            COMMUNITY,
            LOSSES,
        );
        assert_noop!(call, DispatchError::BadOrigin);
    });
}

#[test]
fn coefficients_that_do_not_sum_to_one_are_refused() {
    chain(None).execute_with(|| {
        for last in [499_999, 500_001, u32::MAX] {
            let key = static_key(false, &[(1, 500_000), (2, last)]);
            assert_noop!(set(5, key), Error::<Test>::SharesDoNotSumToOne);
        }
    });
}

#[test]
fn a_participant_named_twice_is_refused() {
    chain(None).execute_with(|| {
        let key = static_key(true, &[(1, 300_000), (2, 400_000), (1, 300_000)]);
        assert_noop!(set(5, key), Error::<Test>::DuplicateParticipant);
        assert_noop!(
            set(5, pro_rata(&[2, 1, 2])),
            Error::<Test>::DuplicateParticipant
        );
    });
}

#[test]
fn a_participant_who_is_no_member_is_refused() {
    chain(None).execute_with(|| {
        let key = static_key(false, &[(1, 500_000), (MEMBERS_END, 500_000)]);
        assert_noop!(set(5, key), Error::<Test>::NotAMember);
        assert_noop!(set(5, pro_rata(&[COMMUNITY])), Error::<Test>::NotAMember);
    });
}

#[test]
fn an_agreement_that_starts_in_the_past_or_now_is_refused() {
    chain(None).execute_with(|| {
        finish_blocks_until(5);
        assert_noop!(set(4, pro_rata(&[1])), Error::<Test>::StartsInThePast);
        assert_noop!(set(5, pro_rata(&[1])), Error::<Test>::StartsInThePast);
        assert_ok!(set(6, pro_rata(&[1])));
    });
}

#[test]
fn an_agreement_without_participants_is_refused() {
    chain(None).execute_with(|| {
        assert_noop!(set(5, pro_rata(&[])), Error::<Test>::NoParticipants);
        assert_noop!(
            set(5, static_key(false, &[])),
            Error::<Test>::NoParticipants
        );
    });
}

#[test]
fn too_many_participants_are_refused() {
    chain(None).execute_with(|| {
        let many: Vec<AccountId> = (0..41).collect();
        assert_noop!(set(5, pro_rata(&many)), Error::<Test>::TooManyParticipants);
        assert_ok!(set(5, pro_rata(&many[..40])));
    });
}

#[test]
fn too_many_agreements_are_refused_until_old_ones_expire() {
    chain(agreement(pro_rata(&[1]))).execute_with(|| {
        assert_ok!(set(2, pro_rata(&[2])));
        assert_ok!(set(3, pro_rata(&[3])));
        assert_noop!(set(4, pro_rata(&[4])), Error::<Test>::TooManyAgreements);
        // Step 1, which the first agreement governed, expires in block 11.
        finish_blocks_until(RETENTION + 1);
        assert_eq!(Schedule::<Test>::get().len(), 2);
        assert_eq!([1, 2].map(version_at), [None, Some(2)]);
        assert_ok!(set(20, pro_rata(&[4])));
        finish_block();
    });
}

#[test]
#[should_panic(expected = "genesis: agreement: SharesDoNotSumToOne")]
fn a_genesis_agreement_is_checked() {
    chain(agreement(static_key(false, &[(1, 1)])));
}

#[test]
#[should_panic(expected = "genesis: tokensPerWh must be at most 10000")]
fn genesis_tokens_are_a_fraction_of_the_energy() {
    chain_with_tokens(None, commonwatt_primitives::Bps(10_001));
}
