//! One rule per test.

use std::{cell::RefCell, collections::BTreeMap};

use commonwatt_primitives::{
    Month, Role, Step, Wh,
    auction::{Deliveries, Delivery, MinerAge, OnBlockAuthored, Reputation as _},
    traits::{MarketClock, OnShortfall as _, Registrar},
};
use frame_support::{assert_noop, assert_ok, derive_impl, parameter_types, traits::Hooks};
use proptest::prelude::*;
use sp_runtime::{BuildStorage, DispatchResult};

use crate as pallet_reputation;
use crate::{Declared, Error, Event, Measure, ReputationInfo, Rules, RulesError, Score, Tally};

type AccountId = u64;

const WINDOW: u32 = 6;
const PERIOD: u32 = 4;
const STRANGER: AccountId = 99;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Reputation: pallet_reputation,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
}

parameter_types! {
    pub const MaxValidators: u32 = 4;
    pub const MaxPeriod: u32 = 96;
    pub static EvaluationsPerBlock: u32 = 2;
}

impl pallet_reputation::Config for Test {
    type Clock = Community;
    type Registry = Community;
    type Deliveries = Community;
    type Ages = Community;
    type MaxValidators = MaxValidators;
    type MaxPeriod = MaxPeriod;
    type EvaluationsPerBlock = EvaluationsPerBlock;
    type WeightInfo = ();
}

#[derive(Default)]
struct World {
    deliveries: BTreeMap<(AccountId, Step), Delivery>,
    ages: BTreeMap<AccountId, u32>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Clock, registry, meters and auction in one.
pub struct Community;

impl MarketClock for Community {
    fn current_step() -> Step {
        Step(System::block_number())
    }

    fn is_late() -> bool {
        false
    }

    fn on_time_steps_since(step: Step) -> u32 {
        Self::current_step().since(step)
    }

    fn metered_ms() -> u64 {
        900_000
    }

    fn month_of(_: Step) -> Month {
        Month(0)
    }
}

impl Registrar<AccountId> for Community {
    fn role_of(who: &AccountId) -> Option<Role> {
        (*who != STRANGER).then_some(Role::Member)
    }
}

impl Deliveries<AccountId> for Community {
    fn delivery_of(who: &AccountId, step: Step) -> Option<Delivery> {
        WORLD.with_borrow(|world| world.deliveries.get(&(*who, step)).copied())
    }
}

impl MinerAge<AccountId> for Community {
    fn age_of(who: &AccountId) -> Option<u32> {
        WORLD.with_borrow(|world| world.ages.get(who).copied())
    }
}

fn rules() -> Rules {
    Rules {
        measure: Measure::BlocksCreated,
        reputation_window: WINDOW,
        period: PERIOD,
        tau: 2,
    }
}

fn test(story: impl FnOnce()) {
    test_with(rules(), story);
}

fn test_with(rules: Rules, story: impl FnOnce()) {
    WORLD.with_borrow_mut(|world| *world = World::default());
    let storage = RuntimeGenesisConfig {
        reputation: pallet_reputation::GenesisConfig {
            rules,
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the rules are valid");
    sp_io::TestExternalities::new(storage).execute_with(story);
}

fn block(author: AccountId, missed: &[AccountId], transactions: impl FnOnce()) {
    let number = System::block_number() + 1;
    System::reset_events();
    System::initialize(&number, &Default::default(), &Default::default());
    Reputation::on_initialize(number);
    Reputation::on_block_authored(Step(number), &author, missed);
    transactions();
    Reputation::on_finalize(number);
    Reputation::do_try_state().expect("the invariants hold");
}

fn run_to(number: u32) {
    while System::block_number() < number {
        block(9, &[], || ());
    }
}

fn constant(used: u64, offered: u64, steps: u32) -> Vec<Declared> {
    let declared = Declared {
        used: Wh(used),
        offered: Wh(offered),
    };
    vec![declared; steps as usize]
}

fn declare(who: AccountId, period: u32, steps: Vec<Declared>) -> DispatchResult {
    let steps = steps.try_into().expect("within the bound");
    Reputation::declare(RuntimeOrigin::signed(who), period, steps)
}

/// A member delivers the same in each step of a period.
fn deliver(who: AccountId, period: u32, used: u64, offered: u64) {
    let delivery = Delivery {
        used: Wh(used),
        offered: Wh(offered),
    };
    WORLD.with_borrow_mut(|world| {
        for step in period * PERIOD + 1..=(period + 1) * PERIOD {
            world.deliveries.insert((who, Step(step)), delivery);
        }
    });
}

fn score(who: AccountId) -> Score {
    Reputation::reputation_info(&who).delivery
}

#[test]
fn blocks_made_count_and_missed_turns_count_against() {
    test(|| {
        block(1, &[], || ());
        block(1, &[2], || ());
        block(3, &[2, 1], || ());
        let tally = |authored, missed| Tally { authored, missed };
        assert_eq!(Reputation::reputation_info(&1).tally, tally(2, 1));
        assert_eq!(Reputation::reputation_of(&1), 1);
        // Never below nothing.
        assert_eq!(Reputation::reputation_info(&2).tally, tally(0, 2));
        assert_eq!(Reputation::reputation_of(&2), 0);
        assert_eq!(Reputation::reputation_of(&3), 1);
        assert_eq!(Reputation::reputation_of(&4), 0);
    });
}

#[test]
fn only_the_window_counts() {
    test(|| {
        block(1, &[2], || ());
        for height in 2..=WINDOW {
            assert_eq!(Reputation::reputation_of(&1), 1, "at {height}");
            block(3, &[], || ());
        }
        assert_eq!(Reputation::reputation_info(&2).tally.missed, 1);
        block(3, &[], || ());
        assert_eq!(Reputation::reputation_of(&1), 0);
        assert_eq!(Reputation::reputation_info(&2).tally, Tally::default());
        assert_eq!(
            Reputation::reputation_of(&3),
            u16::try_from(WINDOW).unwrap()
        );
    });
}

#[test]
fn a_kept_declaration_gains_one() {
    test(|| {
        block(9, &[], || {
            assert_ok!(declare(1, 1, constant(100, 20, PERIOD)));
        });
        deliver(1, 1, 100, 20);
        run_to(2 * PERIOD - 1);
        assert_eq!(score(1), Score(0));
        run_to(2 * PERIOD);
        assert_eq!(score(1), Score::ONE);
        System::assert_has_event(
            Event::DeliveryEvaluated {
                who: 1,
                period: 1,
                deviation: Score(0),
                score: Score::ONE,
            }
            .into(),
        );
        assert_eq!(Reputation::declaration(1, &1), None);
    });
}

#[test]
fn a_missed_declaration_costs_in_proportion() {
    test(|| {
        block(9, &[], || {
            assert_ok!(declare(1, 1, constant(100, 0, PERIOD)));
            assert_ok!(declare(2, 1, constant(100_000, 0, PERIOD)));
        });
        deliver(1, 1, 75, 0);
        deliver(2, 1, 125_000, 0);
        run_to(2 * PERIOD + 1);
        // Big and small members compare.
        assert_eq!(score(1), Score(750_000));
        assert_eq!(score(2), Score(750_000));
    });
}

#[test]
fn what_was_not_measured_was_not_delivered() {
    test(|| {
        block(9, &[], || {
            assert_ok!(declare(1, 1, constant(100, 0, PERIOD)));
        });
        run_to(2 * PERIOD);
        assert_eq!(score(1), Score(0));
    });
}

#[test]
fn a_score_ends_at_tau_and_the_age_of_the_last_block() {
    test(|| {
        WORLD.with_borrow_mut(|world| world.ages.insert(2, 1));
        for period in 1..=5 {
            run_to((period - 1) * PERIOD + 1);
            block(9, &[], || {
                for who in [1, 2] {
                    assert_ok!(declare(who, period, constant(100, 0, PERIOD)));
                    deliver(who, period, 100, 0);
                }
            });
        }
        run_to(6 * PERIOD + 1);
        // Five periods kept; τ is 2. Who never mined has no age.
        assert_eq!(score(1), Score::whole(2));
        assert_eq!(score(2), Score::whole(3));
    });
}

#[test]
fn declarations_come_before_their_period_and_not_long_before() {
    test(|| {
        block(9, &[], || {
            let steps = || constant(1, 1, PERIOD);
            assert_noop!(declare(1, 0, steps()), Error::<Test>::PeriodBegun);
            assert_ok!(declare(1, 1, steps()));
            assert_ok!(declare(1, 2, steps()));
            assert_noop!(declare(1, 3, steps()), Error::<Test>::PeriodTooFar);
            assert_noop!(declare(1, u32::MAX, steps()), Error::<Test>::PeriodTooFar);
        });
        run_to(PERIOD - 1);
        // While block 4 is made, step 5 of period 1 runs already.
        block(9, &[], || {
            let steps = constant(1, 1, PERIOD);
            assert_noop!(declare(1, 1, steps), Error::<Test>::PeriodBegun);
        });
    });
}

#[test]
fn a_declaration_is_for_each_step_of_a_period() {
    test(|| {
        block(9, &[], || {
            for steps in [0, PERIOD - 1, PERIOD + 1] {
                assert_noop!(
                    declare(1, 1, constant(1, 1, steps)),
                    Error::<Test>::WrongLength
                );
            }
        });
    });
}

#[test]
fn a_later_declaration_replaces_an_earlier_one() {
    test(|| {
        block(9, &[], || {
            assert_ok!(declare(1, 1, constant(7, 0, PERIOD)));
            assert_ok!(declare(1, 1, constant(100, 0, PERIOD)));
            assert_eq!(
                Reputation::declaration(1, &1),
                Some(constant(100, 0, PERIOD))
            );
        });
        deliver(1, 1, 100, 0);
        run_to(2 * PERIOD);
        assert_eq!(score(1), Score::ONE);
    });
}

#[test]
fn strangers_declare_nothing() {
    test(|| {
        block(9, &[], || {
            let steps = constant(1, 1, PERIOD);
            assert_noop!(declare(STRANGER, 1, steps), Error::<Test>::NotAMember);
        });
    });
}

#[test]
fn many_declarations_are_evaluated_over_several_blocks() {
    test(|| {
        block(9, &[], || {
            for who in 1..=7 {
                assert_ok!(declare(who, 1, constant(10, 0, PERIOD)));
                deliver(who, 1, 10, 0);
            }
        });
        let evaluated = || (1..=7).filter(|who| score(*who) == Score::ONE).count();
        // Two in each block.
        for (block, expected) in [(8, 2), (9, 4), (10, 6), (11, 7), (12, 7)] {
            run_to(block);
            assert_eq!(evaluated(), expected, "after block {block}");
        }
    });
}

#[test]
fn the_community_chooses_what_feeds_the_auction() {
    let by_delivery = Rules {
        measure: Measure::Delivery,
        ..rules()
    };
    test_with(by_delivery, || {
        block(1, &[], || {
            assert_ok!(declare(1, 1, constant(100, 0, PERIOD)));
        });
        deliver(1, 1, 75, 0);
        run_to(2 * PERIOD);
        assert_eq!(
            Reputation::reputation_info(&1),
            ReputationInfo {
                // Its block has left the window.
                tally: Tally::default(),
                delivery: Score(750_000),
                reputation: 75,
            }
        );
        assert_eq!(Reputation::reputation_of(&1), 75);
    });
}

#[test]
fn a_score_that_grew_with_age_is_worth_no_more_once_its_owner_mines() {
    let by_delivery = Rules {
        measure: Measure::Delivery,
        ..rules()
    };
    test_with(by_delivery, || {
        WORLD.with_borrow_mut(|world| world.ages.insert(1, 50));
        for period in 1..=5 {
            run_to((period - 1) * PERIOD + 1);
            block(9, &[], || {
                assert_ok!(declare(1, period, constant(100, 0, PERIOD)));
                deliver(1, period, 100, 0);
            });
        }
        run_to(6 * PERIOD + 1);
        assert_eq!(Reputation::reputation_of(&1), 500);
        // It declares no more, so nothing is evaluated; τ is 2.
        WORLD.with_borrow_mut(|world| world.ages.insert(1, 0));
        assert_eq!(score(1), Score::whole(5));
        assert_eq!(Reputation::reputation_of(&1), 200);
    });
}

#[test]
fn energy_sold_and_not_there_lowers_the_delivery_score() {
    test(|| {
        // Events of block 0 are not kept.
        System::set_block_number(1);
        crate::Scores::<Test>::insert(1, Score::whole(3));
        Reputation::on_shortfall(&1, Step(7), Wh(400), Wh(100));
        assert_eq!(score(1), Score(2_750_000));
        let counted = Event::ShortfallCounted {
            who: 1,
            step: Step(7),
            promised: Wh(400),
            missing: Wh(100),
            score: Score(2_750_000),
        };
        System::assert_last_event(counted.into());
    });
}

#[test]
#[should_panic(expected = "or none ever is")]
fn a_block_that_evaluates_nothing_is_refused() {
    EvaluationsPerBlock::set(0);
    <Reputation as Hooks<u32>>::integrity_test();
}

#[test]
fn impossible_rules_are_refused() {
    assert_eq!(Rules::default().verify(96), Ok(()));
    for window in [0, 65_536] {
        let rules = Rules {
            reputation_window: window,
            ..rules()
        };
        assert_eq!(rules.verify(96), Err(RulesError::Window));
    }
    for period in [0, 97] {
        let rules = Rules { period, ..rules() };
        assert_eq!(rules.verify(96), Err(RulesError::Period(96)));
    }
}

#[test]
#[should_panic(expected = "genesis: reputation: period must lie between 1 and 96 steps")]
fn impossible_rules_stop_the_genesis() {
    test_with(
        Rules {
            period: 97,
            ..rules()
        },
        || (),
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn tallies_always_sum_up_the_window(
        blocks in prop::collection::vec((1u64..6, prop::collection::vec(1u64..6, 0..4)), 1..60),
    ) {
        test(|| {
            for (author, missed) in &blocks {
                // `do_try_state` compares tallies and turns after each block.
                block(*author, missed, || ());
            }
            let recent = blocks.iter().rev().take(WINDOW as usize);
            let authored = recent.filter(|(author, _)| *author == 1).count();
            let tally = Reputation::reputation_info(&1).tally;
            assert_eq!(tally.authored as usize, authored);
        });
    }
}
