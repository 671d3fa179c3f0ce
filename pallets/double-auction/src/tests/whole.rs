//! Random markets over many blocks, in which members come and go and the agreement changes: whatever is ordered, the
//! invariants hold, no coin is made or lost, and what the months say when all detail is gone is what moved.

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{Bps, Step};
use frame_support::assert_ok;
use proptest::prelude::*;

use crate::{
    Books, CancelledMatches, Cap, MonthTotals, OrderId, OrderTerms, Outcomes, STEPS_AHEAD_MAX,
    Sizes, Standing, Trades, When, mock::*,
};

#[derive(Clone, Debug)]
enum Act {
    Place(AccountId, OrderTerms),
    Cancel(AccountId, OrderId),
    Replace(AccountId, OrderId, u128, u32),
    Meter(AccountId, u32, i128, Option<u64>),
    Leave(AccountId),
    Return(AccountId),
    NextBlock { is_late: bool },
}

const STEPS: u32 = 14;
const PEOPLE: core::ops::Range<AccountId> = 1..6;
/// When the second agreement begins: an epoch that is further ahead of the first block than orders may be.
const CHANGE: u32 = (1 + STEPS_AHEAD_MAX).next_multiple_of(EPOCH);
/// When people begin to act, so that they do it under both agreements.
const FIRST: u32 = CHANGE - STEPS / 2;
/// Blocks after which all detail must be gone.
const BLOCKS_MAX: u32 = 400;

fn any_step() -> impl Strategy<Value = u32> {
    FIRST + 1..FIRST + STEPS
}

fn any_when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => any_step().prop_map(|step| When::Once(Step(step))),
        1 => prop::option::of(any_step().prop_map(Step)).prop_map(|until| When::Standing { until }),
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
    let step = prop_oneof![STEPS => any_step(), 1 => Just(0)];
    (step, 0u32..8).prop_map(|(step, number)| OrderId {
        step: Step(step),
        number,
    })
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        24 => (PEOPLE, any_terms()).prop_map(|(who, terms)| Act::Place(who, terms)),
        6 => (PEOPLE, any_id()).prop_map(|(who, id)| Act::Cancel(who, id)),
        6 => (PEOPLE, any_id(), 0u128..30, 0u32..120)
            .prop_map(|(who, id, limit, units)| Act::Replace(who, id, limit, units)),
        18 => (PEOPLE, any_step(), -50i128..2_000, prop::option::of(0u64..1_500))
            .prop_map(|(who, step, vgm, used)| Act::Meter(who, step, vgm, used)),
        1 => PEOPLE.prop_map(Act::Leave),
        1 => PEOPLE.prop_map(Act::Return),
        9 => prop::bool::weighted(0.1).prop_map(|is_late| Act::NextBlock { is_late }),
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

fn act(act: Act) {
    // What is refused is refused; the invariants are checked with each block.
    match act {
        Act::Place(who, terms) => drop(place(who, terms)),
        Act::Cancel(who, id) => drop(cancel(who, id)),
        Act::Replace(who, id, limit, units) => drop(replace(who, id, limit, units)),
        Act::Meter(who, step, vgm, used) => hold_energy(step, who, vgm, used),
        Act::Leave(who) => deregister(who),
        Act::Return(who) => register(who),
        Act::NextBlock { is_late } => {
            set_late(is_late);
            finish_block();
            set_late(false);
        }
    }
}

/// Everybody leaves, and the market goes on until nothing of it is left but months and coins.
fn wait_until_all_is_forgotten() {
    PEOPLE.for_each(deregister);
    let last = System::block_number() + BLOCKS_MAX;
    while Books::<Test>::iter().next().is_some() || Standing::<Test>::count() > 0 {
        finish_block();
        assert!(System::block_number() < last, "books are kept for ever");
    }
    finish_blocks_until(System::block_number() + RETENTION);
    assert_eq!(Outcomes::<Test>::iter().count(), 0);
    assert_eq!(Trades::<Test>::iter().count(), 0);
    assert_eq!(CancelledMatches::<Test>::iter().count(), 0);
    assert_eq!(Sizes::<Test>::iter().count(), 0);
    assert!(PEOPLE.chain([Market::pot()]).all(|who| coins(who).1 == 0));
}

/// The months' totals are what the meters were told, and coins paid are coins received.
fn check_months() {
    let (mut paid, mut received) = (0, 0);
    for who in PEOPLE {
        let all = MonthTotals::<Test>::iter().filter(|(_, whose, _)| *whose == who);
        let (mut bought, mut sold) = (0, 0);
        for (_, _, total) in all {
            bought += total.bought;
            sold += total.sold;
            paid += total.paid;
            received += total.received;
        }
        let moved = (1..System::block_number()).map(|step| moved(step, who));
        let moved = moved.fold((0, 0), |sums, one| (sums.0 + one.0, sums.1 + one.1));
        assert_eq!((bought * UNIT.0, sold * UNIT.0), moved, "{who}");
    }
    let (surplus, _) = coins(TREASURY);
    assert_eq!(paid, received + surplus);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn coins_are_conserved_and_every_clearing_is_proved(
        (mechanism, next) in (any_mechanism(), any_mechanism()),
        loyalties in prop::collection::vec(100_000u32..5_000_000, 5),
        acts in prop::collection::vec(any_act(), 1..80),
    ) {
        test_with(mechanism, || {
            for (who, loyalty) in PEOPLE.zip(loyalties) {
                set_loyalty(who, loyalty);
            }
            assert_ok!(Market::set_terms(RuntimeOrigin::root(), Step(CHANGE), next));
            skip_blocks_until(FIRST);
            let before = all_coins();
            acts.into_iter().for_each(act);
            for _ in 0..STEPS {
                finish_block();
                assert_eq!(all_coins(), before);
            }
            assert_eq!(coins(Market::pot()), (0, 0));
            wait_until_all_is_forgotten();
            assert_eq!(all_coins(), before);
            check_months();
        });
    }
}
