use commonwatt_primitives::{Month, Step};

use crate::{Books, MonthTotals, MonthTrade, OldestKept, Outcomes, Trades, mock::*};

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
