use commonwatt_primitives::{Month, Step, Wh};
use proptest::prelude::*;

use super::distribution::{STEPS, Week, any_week};
use crate::{Event, KeyTerms, LastRun, MonthTotals, Refusal, RunSize, VotingDebt, mock::*};

const X: AccountId = 10;
const Y: AccountId = 20;
const PV: u32 = 1;

fn halves() -> KeyTerms<AccountId> {
    static_key(false, &[(X, 500_000), (Y, 500_000)])
}

#[test]
fn a_late_reading_moves_only_the_difference() {
    chain(agreement(static_key(true, &[(X, 500_000), (Y, 500_000)]))).execute_with(|| {
        register_generator(PV, COMMUNITY);
        register_consumer(X);
        register_consumer(Y);
        measure(1, PV, 1_000);
        consume(1, X, 400);
        consume(1, Y, 600);
        finish_block();
        consume(1, Y, 450);
        let told = finish_block();
        let moved = |member, from, to| Event::VgmCorrected {
            step: Step(1),
            member,
            from,
            to,
        };
        assert_eq!(
            told.get(..4),
            Some(
                &[
                    Event::StepCorrected {
                        step: Step(1),
                        version: 2,
                        generated: Wh(1_000),
                        shared: Wh(850),
                        rest: Wh(150),
                    },
                    moved(Y, 500, 450),
                    Event::VotingTokensWithdrawn {
                        who: Y,
                        burned: 5,
                        owed: 0
                    },
                    moved(COMMUNITY, 100, 150),
                ][..]
            )
        );
        assert!(matches!(
            told.get(4..),
            Some([Event::StepDistributed { step: Step(2), .. }])
        ));
    });
}

#[test]
fn corrections_come_before_the_steps_own_distribution() {
    chain(agreement(halves())).execute_with(|| {
        finish_block();
        announce_change(1);
        let told = finish_block();
        assert!(matches!(
            told[..],
            [
                Event::StepCorrected { step: Step(1), .. },
                Event::StepDistributed { step: Step(2), .. }
            ]
        ));
    });
}

#[test]
fn a_correction_uses_the_agreement_of_its_step() {
    chain(agreement(halves())).execute_with(|| {
        register_generator(PV, COMMUNITY);
        let set = VirtualMeter::set_agreement(
            RuntimeOrigin::root(),
            Step(2),
            static_key(false, &[(X, 1_000_000)]),
            COMMUNITY,
            LOSSES,
        );
        assert_eq!(set, Ok(()));
        finish_block();
        measure(2, PV, 100);
        finish_block();
        measure(1, PV, 100);
        finish_block();
        let shared = |step| VirtualMeter::vgm(Step(step), &X).map(|entry| entry.shared);
        assert_eq!([shared(1), shared(2)], [Some(Wh(50)), Some(Wh(100))]);
        let versions =
            [1, 2].map(|s| VirtualMeter::step_summary(Step(s)).and_then(|s| s.agreement));
        assert_eq!(versions, [Some(1), Some(2)]);
    });
}

#[test]
fn one_block_corrects_a_bounded_number_of_steps_and_the_next_goes_on() {
    chain(agreement(halves())).execute_with(|| {
        register_generator(PV, COMMUNITY);
        finish_blocks_until(4);
        for step in 1..=3 {
            measure(step, PV, 10);
        }
        finish_block();
        let version = |step| VirtualMeter::step_summary(Step(step)).map(|s| s.version);
        assert_eq!([1, 2, 3].map(version), [Some(2), Some(2), Some(1)]);
        finish_block();
        assert_eq!([1, 2, 3].map(version), [Some(2), Some(2), Some(2)]);
    });
}

#[test]
fn a_correction_to_nothing_leaves_no_entry() {
    chain(agreement(halves())).execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 10);
        finish_block();
        measure(1, PV, 0);
        finish_block();
        assert_eq!(VirtualMeter::allocations(Step(1)), []);
    });
}

#[test]
fn a_correction_of_an_expired_step_is_refused() {
    chain(agreement(halves())).execute_with(|| {
        register_generator(PV, COMMUNITY);
        measure(1, PV, 10);
        finish_blocks_until(RETENTION + 1);
        measure(1, PV, 20);
        let told = finish_block();
        let refused = Event::DistributionRefused {
            step: Step(1),
            reason: Refusal::Expired,
        };
        assert_eq!(told.first(), Some(&refused));
        assert_eq!(VirtualMeter::month_total(Month(0), &X).shared, Wh(5));
    });
}

#[test]
fn a_step_announced_from_the_future_is_not_distributed() {
    chain(agreement(halves())).execute_with(|| {
        announce_change(1);
        announce_change(7);
        finish_block();
        assert_eq!(
            VirtualMeter::step_summary(Step(1)).map(|s| s.version),
            Some(1)
        );
        assert_eq!(VirtualMeter::step_summary(Step(7)), None);
    });
}

/// What a chain knows of energy and tokens; the versions and the members' debts are accounted for.
fn outcome() -> impl PartialEq + std::fmt::Debug {
    let steps: Vec<_> = (1..=STEPS as u32)
        .map(|step| {
            let summary = VirtualMeter::step_summary(Step(step)).map(|s| {
                (
                    s.generated,
                    s.losses,
                    s.shared,
                    s.rest,
                    s.consumption,
                    s.agreement,
                )
            });
            (summary, VirtualMeter::allocations(Step(step)))
        })
        .collect();
    let mut totals: Vec<_> = MonthTotals::<Test>::iter()
        .filter(|(_, _, total)| *total != Default::default())
        .collect();
    totals.sort_unstable_by_key(|(month, who, _)| (*month, *who));
    let signed = |amount| i128::try_from(amount).expect("tokens are few");
    let tokens: Vec<i128> = (0..MEMBERS_END)
        .map(|who| signed(tokens(who)) - signed(VotingDebt::<Test>::get(who)))
        .collect();
    (steps, totals, tokens)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Wrong readings, of which the members spend the voting tokens, and then the right ones.
    #[test]
    fn corrected_readings_lead_where_the_right_ones_would_have(
        right in any_week(),
        factors in prop::collection::vec(0u64..3, STEPS),
        spent in prop::bool::ANY,
    ) {
        let fresh = chain(right.agreement()).execute_with(|| {
            right.register();
            for step in 1..=right.steps() {
                right.measure(step);
                finish_block();
            }
            finish_blocks_until(2 * STEPS as u32 + 1);
            outcome()
        });
        let mut wrong: Week = right.clone();
        for (row, factor) in factors.iter().enumerate() {
            for energy in &mut wrong.generation[row] {
                *energy *= factor;
            }
            for energy in wrong.consumption[row].iter_mut().flatten() {
                *energy = *energy * 7 % 2_000;
            }
        }
        let corrected = chain(right.agreement()).execute_with(|| {
            use frame_support::traits::{fungible::Mutate, tokens::*};
            wrong.register();
            let mut burned = std::collections::BTreeMap::new();
            for step in 1..=wrong.steps() {
                wrong.measure(step);
                finish_block();
            }
            if spent {
                for who in (0..MEMBERS_END).filter(|&who| tokens(who) > 0) {
                    let amount = tokens(who);
                    VotingTokens::burn_from(&who, amount, Preservation::Expendable,
                        Precision::Exact, Fortitude::Polite).expect("the balance suffices");
                    burned.insert(who, amount);
                }
            }
            for step in 1..=right.steps() {
                right.measure(step);
            }
            finish_blocks_until(2 * STEPS as u32 + 1);
            for (who, amount) in burned {
                VotingTokens::mint_into(&who, amount).expect("it fits");
            }
            outcome()
        });
        prop_assert_eq!(fresh, corrected);
    }
}

#[test]
fn a_past_step_is_shared_by_the_terms_it_had() {
    chain(None).execute_with(|| {
        register_generator(PV, X);
        measure(1, PV, 1_000);
        finish_block();
        let changed = commonwatt_primitives::metering::MeterInfo {
            beneficiary: Y,
            ..meter(commonwatt_primitives::MeterKind::Generation, X)
        };
        change_after(1, PV, changed);
        measure(1, PV, 800);
        measure(2, PV, 500);
        finish_block();
        let rest = |step, who| crate::Pallet::<Test>::vgm(Step(step), &who).map(|vgm| vgm.rest);
        assert_eq!((rest(1, X), rest(1, Y)), (Some(Wh(800)), None));
        assert_eq!((rest(2, X), rest(2, Y)), (None, Some(Wh(500))));
    });
}

#[test]
fn a_small_step_hardly_lowers_the_weight_of_the_next_block() {
    chain(None).execute_with(|| {
        let large = RunSize {
            meters: 192,
            accounts: 95,
        };
        LastRun::<Test>::put(large);
        finish_block();
        let fallen = RunSize {
            meters: 190,
            accounts: 94,
        };
        assert_eq!(LastRun::<Test>::get(), fallen);
    });
}
