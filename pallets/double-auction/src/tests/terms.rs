use commonwatt_clearing::{Mechanism, Quote};
use commonwatt_primitives::{Bps, Step};
use frame_support::{assert_noop, assert_ok};
use sp_runtime::{BuildStorage, DispatchError};

use crate::{Error, Event, MarketTerms, STEPS_AHEAD_MAX, StepOutcome, mock::*};

/// The first epoch that an agreement can begin with in block 1.
const START: u32 = 104;

fn set(from: u32, mechanism: Mechanism) -> sp_runtime::DispatchResult {
    Market::set_terms(RuntimeOrigin::root(), Step(from), mechanism)
}

#[test]
fn an_agreement_begins_with_an_epoch_after_every_open_step() {
    test(|| {
        assert_eq!(START % EPOCH, 0);
        const { assert!(START > 1 + STEPS_AHEAD_MAX && START - EPOCH <= 1 + STEPS_AHEAD_MAX) };
        assert_noop!(
            set(START - EPOCH, Mechanism::Loyal),
            Error::<Test>::TermsStartTooEarly
        );
        assert_noop!(
            set(START + 1, Mechanism::Loyal),
            Error::<Test>::TermsNotAtEpoch
        );
        assert_ok!(set(START, Mechanism::Loyal));
        let terms = MarketTerms {
            effective_from: Step(START),
            mechanism: Mechanism::Loyal,
        };
        assert_eq!(events(), [Event::TermsSet { terms, replaced: 0 }]);
        assert_eq!(Market::mechanism_at(Step(START - 1)), Mechanism::Average);
        assert_eq!(Market::mechanism_at(Step(START)), Mechanism::Loyal);
        finish_block();
    });
}

#[test]
fn only_its_origin_sets_the_agreement() {
    test(|| {
        assert_noop!(
            Market::set_terms(RuntimeOrigin::signed(ANNA), Step(START), Mechanism::Loyal),
            DispatchError::BadOrigin
        );
        let mechanism = Mechanism::Uniform { kappa: Bps(10_001) };
        assert_noop!(set(START, mechanism), Error::<Test>::KappaAboveOne);
    });
}

#[test]
fn the_last_word_about_a_step_counts_and_what_ended_makes_room() {
    test(|| {
        assert_ok!(set(START, Mechanism::Loyal));
        assert_ok!(set(START + EPOCH, Mechanism::McAfee));
        assert_noop!(
            set(START + 2 * EPOCH, Mechanism::Average),
            Error::<Test>::TooManyTerms
        );
        assert_ok!(set(START + EPOCH, Mechanism::Continuous));
        assert_ok!(set(START, Mechanism::McAfee));
        assert_eq!(Market::contract().terms.len(), 2);
        finish_blocks_until(START);
        assert_eq!(Market::contract().terms.len(), 1);
        assert_ok!(set(START * 2, Mechanism::Average));
        assert_ok!(set(START * 2 + EPOCH, Mechanism::Loyal));
        assert_eq!(Market::contract().terms.len(), 3);
    });
}

#[test]
fn each_step_clears_by_the_agreement_of_its_time() {
    test(|| {
        assert_ok!(set(START, Mechanism::McAfee));
        finish_blocks_until(START - 3);
        for step in [START - 1, START] {
            hold_energy(step, BEN, 1_000, None);
            buy(ANNA, step, 9, 10);
            sell(BEN, step, 3, 10);
        }
        finish_blocks_until(START + 1);
        let quote = |step| match crate::Outcomes::<Test>::get(Step(step)) {
            Some(StepOutcome::Cleared(record)) => record.quote,
            other => panic!("{other:?}"),
        };
        assert_eq!(quote(START - 1), Quote::Single { price: 6 });
        assert_eq!(
            quote(START),
            Quote::Reduced {
                buyers_pay: 9,
                sellers_get: 3
            }
        );
    });
}

#[test]
fn an_impossible_genesis_is_refused() {
    let is_refused = |mechanism, unit| {
        std::panic::catch_unwind(move || {
            RuntimeGenesisConfig {
                market: crate::GenesisConfig {
                    mechanism,
                    unit,
                    ..Default::default()
                },
                ..Default::default()
            }
            .build_storage()
            .map(|_| ())
        })
        .is_err()
    };
    assert!(is_refused(Mechanism::Average, commonwatt_primitives::Wh(0)));
    assert!(is_refused(Mechanism::Uniform { kappa: Bps(10_001) }, UNIT));
    assert!(!is_refused(Mechanism::Uniform { kappa: Bps(10_000) }, UNIT));
}
