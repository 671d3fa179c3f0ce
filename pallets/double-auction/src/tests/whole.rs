//! Random markets over many blocks: whatever is ordered, the invariants hold and no coin is made or lost.

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{Bps, Step};
use proptest::prelude::*;

use crate::{Cap, OrderId, OrderTerms, When, mock::*};

#[derive(Clone, Debug)]
enum Act {
    Place(AccountId, OrderTerms),
    Cancel(AccountId, OrderId),
    Replace(AccountId, OrderId, u128, u32),
    Meter(AccountId, u32, i128, Option<u64>),
    NextBlock { is_late: bool },
}

const STEPS: u32 = 14;
const PEOPLE: core::ops::Range<AccountId> = 1..6;

fn any_when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => (1..STEPS).prop_map(|step| When::Once(Step(step))),
        1 => prop::option::of((1..STEPS).prop_map(Step)).prop_map(|until| When::Standing { until }),
    ]
}

fn any_terms() -> impl Strategy<Value = OrderTerms> {
    (
        any::<bool>(),
        0u128..30,
        0u32..120,
        any_when(),
        any::<bool>(),
    )
        .prop_map(|(buys, limit, units, when, capped)| OrderTerms {
            when,
            cap: if buys && capped {
                Cap::Need
            } else {
                Cap::Quantity
            },
            ..terms(if buys { Side::Buy } else { Side::Sell }, 0, limit, units)
        })
}

fn any_id() -> impl Strategy<Value = OrderId> {
    (0..STEPS, 0u32..8).prop_map(|(step, number)| OrderId {
        step: Step(step),
        number,
    })
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (PEOPLE, any_terms()).prop_map(|(who, terms)| Act::Place(who, terms)),
        2 => (PEOPLE, any_id()).prop_map(|(who, id)| Act::Cancel(who, id)),
        2 => (PEOPLE, any_id(), 0u128..30, 0u32..120)
            .prop_map(|(who, id, limit, units)| Act::Replace(who, id, limit, units)),
        6 => (PEOPLE, 1..STEPS, -50i128..2_000, prop::option::of(0u64..1_500))
            .prop_map(|(who, step, vgm, used)| Act::Meter(who, step, vgm, used)),
        3 => prop::bool::weighted(0.1).prop_map(|is_late| Act::NextBlock { is_late }),
    ]
}

fn any_mechanism() -> impl Strategy<Value = Mechanism> {
    prop_oneof![
        Just(Mechanism::Average),
        Just(Mechanism::Loyal),
        (0u16..=10_000).prop_map(|kappa| Mechanism::Uniform { kappa: Bps(kappa) }),
        Just(Mechanism::McAfee),
        Just(Mechanism::Continuous),
    ]
}

fn all_coins() -> u128 {
    (1..10)
        .chain([TREASURY, Market::pot()])
        .map(|who| {
            let (free, held) = coins(who);
            free + held
        })
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn coins_are_conserved_and_every_clearing_is_proved(
        mechanism in any_mechanism(),
        loyalties in prop::collection::vec(100_000u32..5_000_000, 5),
        acts in prop::collection::vec(any_act(), 1..80),
    ) {
        test_with(mechanism, || {
            for (who, loyalty) in PEOPLE.zip(loyalties) {
                set_loyalty(who, loyalty);
            }
            let before = all_coins();
            for act in acts {
                // What is refused is refused; the invariants are checked with each block.
                match act {
                    Act::Place(who, terms) => drop(place(who, terms)),
                    Act::Cancel(who, id) => drop(cancel(who, id)),
                    Act::Replace(who, id, limit, units) => drop(replace(who, id, limit, units)),
                    Act::Meter(who, step, vgm, used) => hold_energy(step, who, vgm, used),
                    Act::NextBlock { is_late } => {
                        set_late(is_late);
                        finish_block();
                        set_late(false);
                    }
                }
            }
            for _ in 0..STEPS {
                finish_block();
                assert_eq!(all_coins(), before);
            }
            assert_eq!(coins(Market::pot()), (0, 0));
        });
    }
}
