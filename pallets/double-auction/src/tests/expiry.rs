use commonwatt_clearing::Mechanism;
use commonwatt_primitives::{Month, Step, traits::Sales as _};

use crate::{
    Books, MonthTotals, MonthTrade, OldestKept, Outcomes, STEPS_AHEAD_MAX, Trades, mock::*,
};

#[test]
fn a_kept_clearing_reads_the_same_at_every_age() {
    for mechanism in [
        Mechanism::Average,
        Mechanism::Loyal,
        Mechanism::McAfee,
        Mechanism::Continuous,
    ] {
        test_with(mechanism, || {
            // As early as orders may come, all in one block and at one limit: only ties tell who trades with whom.
            let step = 1 + STEPS_AHEAD_MAX;
            for seller in [BEN, CARLA, DORA] {
                hold_energy(step, seller, 100, None);
                sell(seller, step, 3, 10);
            }
            for buyer in [ANNA, 5, 6, 7, 8] {
                buy(buyer, step, 9, 7);
            }
            finish_blocks_until(step + 1);
            let first = Market::clearing(Step(step)).expect("it is kept");
            let sales = Market::sales_of(Step(step)).expect("they are kept");
            assert!(sales.len() > 3, "{mechanism}: {sales:?}");
            assert_eq!(first.verify(), Ok(()));
            for age in 2..RETENTION {
                finish_block();
                let now = System::block_number();
                assert_eq!(now, step + age);
                assert_eq!(Market::clearing(Step(step)), Some(first.clone()), "{age}");
                assert_eq!(Market::sales_of(Step(step)), Some(sales.clone()), "{age}");
            }
            finish_block();
            assert_eq!(Market::clearing(Step(step)), None);
        });
    }
}

#[test]
fn the_detail_of_a_step_goes_and_its_sums_stay_with_the_month() {
    test(|| {
        for step in [2, 3] {
            hold_energy(step, BEN, 1_000, None);
            buy(ANNA, step, 9, 60);
            sell(BEN, step, 3, 80);
        }
        finish_blocks_until(2 + RETENTION);
        assert!(!Outcomes::<Test>::contains_key(Step(2)));
        assert!(Outcomes::<Test>::contains_key(Step(3)));
        assert_eq!(Books::<Test>::iter_prefix(Step(2)).count(), 0);
        assert_eq!(Trades::<Test>::iter_prefix(Step(2)).count(), 0);
        let bought = MonthTrade {
            bought: 60,
            paid: 360,
            ..Default::default()
        };
        assert_eq!(MonthTotals::<Test>::get(Month(0), ANNA), bought);
        finish_block();
        let months = Market::months_of(&BEN, Month(3), 12);
        let sold = MonthTrade {
            sold: 120,
            received: 720,
            ..Default::default()
        };
        assert_eq!(months, [(Month(0), sold)]);
    });
}

#[test]
fn a_block_removes_so_many_books_and_catches_up() {
    test(|| {
        for who in 1..=8 {
            buy(who, 2, 9, 1);
        }
        finish_blocks_until(2 + RETENTION);
        // Three in each block; the step is gone from the answers at once.
        assert_eq!(Books::<Test>::iter_prefix(Step(2)).count(), 5);
        assert_eq!(Market::clearing(Step(2)), None);
        assert_eq!(OldestKept::<Test>::get(), Step(2));
        finish_block();
        assert_eq!(Books::<Test>::iter_prefix(Step(2)).count(), 2);
        finish_block();
        assert_eq!(Books::<Test>::iter_prefix(Step(2)).count(), 0);
        finish_block();
        assert_eq!(OldestKept::<Test>::get(), Step(2 + 3 + 1));
        assert_eq!(MonthTotals::<Test>::iter().count(), 0);
    });
}
