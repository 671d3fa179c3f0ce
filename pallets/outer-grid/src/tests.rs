//! One rule per test.

use std::{cell::RefCell, collections::BTreeMap};

use commonwatt_primitives::{
    Month, Step, Wh,
    traits::{MarketClock, MarketFace, OnHoldingExpired},
};
use frame_support::{assert_noop, assert_ok, derive_impl, parameter_types};
use frame_system::EnsureRoot;
use sp_runtime::{BuildStorage, DispatchError};

use crate as pallet_outer_grid;
use crate::{
    CoinRates, Error, Event, GridTotal, MonthTotals, PostedRates, Prices, Rate, Statement, Tariff,
};

type AccountId = u64;

const ANNA: AccountId = 1;
const STEPS_PER_MONTH: u32 = 8;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        OuterGrid: pallet_outer_grid,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
}

parameter_types! {
    pub const MaxTariffs: u32 = 3;
}

impl pallet_outer_grid::Config for Test {
    type Clock = Community;
    type Meters = Community;
    type TariffOrigin = EnsureRoot<AccountId>;
    type TreasuryOrigin = EnsureRoot<AccountId>;
    type MaxTariffs = MaxTariffs;
    type WeightInfo = ();
}

#[derive(Default)]
struct World {
    faces: BTreeMap<(Step, AccountId), i128>,
    oldest: u32,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

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

    fn month_of(step: Step) -> Month {
        Month(step.0 / STEPS_PER_MONTH)
    }
}

impl MarketFace<AccountId> for Community {
    fn market_face_wh(step: Step, who: &AccountId) -> Option<i128> {
        WORLD.with_borrow(|world| world.faces.get(&(step, *who)).copied())
    }

    fn kept_steps() -> (Step, Step) {
        (
            Step(WORLD.with_borrow(|world| world.oldest)),
            Self::current_step(),
        )
    }
}

fn face(step: u32, wh: i128) {
    WORLD.with_borrow_mut(|world| world.faces.insert((Step(step), ANNA), wh));
}

/// The detail of all steps before `oldest` leaves the state, as the virtual meter does it.
fn expire_before(oldest: u32) {
    let expired: Vec<_> = WORLD.with_borrow_mut(|world| {
        world.oldest = oldest;
        let kept = world.faces.split_off(&(Step(oldest), 0));
        core::mem::replace(&mut world.faces, kept)
            .into_iter()
            .collect()
    });
    for ((step, who), wh) in expired {
        OuterGrid::on_holding_expired(step, &who, wh);
    }
}

fn test(story: impl FnOnce()) {
    WORLD.with_borrow_mut(|world| {
        *world = World {
            oldest: 1,
            ..World::default()
        }
    });
    let storage = RuntimeGenesisConfig::default()
        .build_storage()
        .expect("the genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(4);
        story();
        OuterGrid::do_try_state().expect("the invariants hold");
    });
}

fn prices(buy: u64, feed_in: u64) -> Prices {
    Prices { buy, feed_in }
}

fn set_tariff(from: u32, buy: u64, feed_in: u64) -> sp_runtime::DispatchResult {
    OuterGrid::set_tariff(RuntimeOrigin::root(), Step(from), prices(buy, feed_in))
}

fn statement(from: u32, to: u32) -> Statement {
    OuterGrid::statement(&ANNA, Step(from), Step(to))
}

#[test]
fn the_outer_grid_is_the_last_resort_at_a_fixed_rate() {
    // [T 4.4] "Approved buyers buy from outer grid at stable fixed rate", "Approved sellers sell their
    // surplus, over battery capacity to outer grid at stable fixed rate."
    test(|| {
        face(1, 1_000);
        face(3, -500);
        let statement = statement(0, 4);
        assert_eq!(statement.lines.len(), 2);
        assert_eq!(statement.total.charged, 900);
        assert_eq!(statement.total.credited, 100);
        assert_eq!(statement.total.owed(), 800);
        assert!(statement.months.is_empty());
    });
}

#[test]
fn each_step_is_priced_by_the_tariff_of_its_time() {
    test(|| {
        assert_ok!(set_tariff(6, 20, 4));
        System::assert_last_event(
            Event::TariffSet {
                effective_from: Step(6),
                prices: prices(20, 4),
                replaced: 0,
            }
            .into(),
        );
        System::set_block_number(7);
        face(5, 10);
        face(6, 10);
        let charged: Vec<_> = statement(1, 9)
            .lines
            .iter()
            .map(|line| (line.step, line.total.charged))
            .collect();
        assert_eq!(charged, [(Step(5), 9), (Step(6), 20)]);
    });
}

#[test]
fn a_tariff_never_changes_a_step_that_has_begun() {
    test(|| {
        for from in [0, 3, 4, 5] {
            assert_noop!(set_tariff(from, 1, 1), Error::<Test>::StartsTooEarly);
        }
    });
}

#[test]
fn the_last_word_about_a_step_counts() {
    test(|| {
        assert_ok!(set_tariff(8, 1, 1));
        assert_ok!(set_tariff(10, 2, 2));
        assert_noop!(set_tariff(12, 3, 3), Error::<Test>::TooManyTariffs);
        assert_ok!(set_tariff(7, 4, 4));
        assert_eq!(OuterGrid::prices_at(Step(20)), Some(prices(4, 4)));
        assert_eq!(OuterGrid::tariffs().len(), 2);
    });
}

#[test]
fn tariffs_that_no_kept_step_needs_make_room() {
    test(|| {
        assert_ok!(set_tariff(8, 1, 1));
        assert_ok!(set_tariff(10, 2, 2));
        System::set_block_number(20);
        expire_before(9);
        assert_ok!(set_tariff(30, 3, 3));
        let first = OuterGrid::tariffs().first().copied();
        assert_eq!(
            first,
            Some(Tariff {
                effective_from: Step(8),
                prices: prices(1, 1)
            })
        );
    });
}

#[test]
fn only_the_right_origins_post() {
    test(|| {
        let signed = || RuntimeOrigin::signed(ANNA);
        assert_noop!(
            OuterGrid::set_tariff(signed(), Step(9), prices(1, 1)),
            DispatchError::BadOrigin
        );
        let rate = Rate { money: 1, coins: 1 };
        let rates = CoinRates {
            buy: rate,
            sell: rate,
        };
        assert_noop!(
            OuterGrid::post_rates(signed(), rates),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn what_expires_goes_into_the_month() {
    test(|| {
        face(1, 1_000);
        face(3, -500);
        face(4, 70);
        let before = statement(1, 4);
        expire_before(4);
        let after = statement(1, 4);
        assert_eq!(after.lines.len(), 1);
        let [(month, total)] = after.months[..] else {
            panic!("one month, not {:?}", after.months);
        };
        assert_eq!(month, Month(0));
        assert_eq!(total.checked_add(&after.total), Some(before.total));
        assert_eq!(MonthTotals::<Test>::iter().count(), 1);
    });
}

#[test]
fn a_correction_before_the_expiry_is_what_counts() {
    test(|| {
        face(1, 1_000);
        face(1, 400);
        expire_before(2);
        assert_eq!(MonthTotals::<Test>::get(Month(0), ANNA).charged, 360);
    });
}

#[test]
fn a_total_that_does_not_fit_is_told_and_left_alone() {
    test(|| {
        let full = GridTotal {
            charged: u128::MAX,
            ..Default::default()
        };
        MonthTotals::<Test>::insert(Month(0), ANNA, full);
        face(1, 10);
        expire_before(2);
        assert_eq!(MonthTotals::<Test>::get(Month(0), ANNA), full);
        System::assert_last_event(
            Event::TotalOverflowed {
                who: ANNA,
                step: Step(1),
            }
            .into(),
        );
    });
}

#[test]
fn a_statement_of_no_steps_is_empty() {
    test(|| {
        face(1, 1_000);
        assert_eq!(statement(3, 2), Statement::default());
        assert_eq!(statement(9, 20), Statement::default());
    });
}

#[test]
fn the_treasury_posts_rates_that_cannot_drain_it() {
    test(|| {
        let rate = |money, coins| Rate { money, coins };
        let post =
            |buy, sell| OuterGrid::post_rates(RuntimeOrigin::root(), CoinRates { buy, sell });
        assert_noop!(post(rate(1, 0), rate(1, 1)), Error::<Test>::NoCoins);
        assert_noop!(post(rate(2, 1), rate(1, 1)), Error::<Test>::BuysAboveSale);
        assert_ok!(post(rate(95, 100), rate(1, 1)));
        let rates = CoinRates {
            buy: rate(95, 100),
            sell: rate(1, 1),
        };
        assert_eq!(
            OuterGrid::rates(),
            Some(PostedRates {
                since: Step(4),
                rates
            })
        );
        System::assert_last_event(Event::RatesPosted { rates }.into());
    });
}

#[test]
fn an_impossible_genesis_is_refused() {
    let genesis = |unit, rates| RuntimeGenesisConfig {
        outer_grid: pallet_outer_grid::GenesisConfig {
            unit,
            rates,
            ..Default::default()
        },
        ..Default::default()
    };
    let is_refused = |config: RuntimeGenesisConfig| {
        std::panic::catch_unwind(|| config.build_storage().map(|_| ())).is_err()
    };
    let free = Rate { money: 1, coins: 0 };
    let drained = CoinRates {
        buy: free,
        sell: free,
    };
    assert!(is_refused(genesis(Wh(0), None)));
    assert!(is_refused(genesis(Wh(10), Some(drained))));
    assert!(!is_refused(genesis(Wh(10), None)));
}
