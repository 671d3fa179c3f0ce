use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::Step;
use frame_support::{assert_noop, assert_ok, traits::fungible::Mutate};

use crate::{Cap, Error, Event, OrderTerms, SkipReason, Standing, When, mock::*};

#[test]
fn a_standing_order_stands_in_every_step_and_reserves_one_at_a_time() {
    test(|| {
        let id = stand(ANNA, Side::Buy, 5, 100, None);
        for step in 2..6 {
            finish_block();
            assert_eq!(coins(ANNA), (COINS - 500, 500));
            let book = Market::order_book(Step(step), 0, u32::MAX).orders;
            let [order] = &book[..] else {
                panic!("one order in step {step}, not {book:?}");
            };
            assert_eq!((order.id, order.arrival), (id, 1));
        }
    });
}

#[test]
fn a_standing_order_trades_in_each_step() {
    test(|| {
        stand(ANNA, Side::Buy, 5, 100, None);
        stand(BEN, Side::Sell, 3, 40, None);
        for step in 2..5 {
            hold_energy(step, BEN, 1_000, None);
        }
        finish_blocks_until(5);
        // 40 units at 4 in steps 2, 3 and 4.
        assert_eq!(coins(BEN), (COINS + 480, 0));
        assert_eq!(coins(ANNA), (COINS - 480 - 500, 500));
        assert_eq!(moved(4, ANNA), (400, 0));
    });
}

#[test]
fn a_standing_order_skips_a_step_when_the_money_is_short() {
    test(|| {
        let cheap = stand(ANNA, Side::Buy, 5, 100, None);
        let dear = stand(ANNA, Side::Buy, 90, 100, None);
        Balances::burn_from(
            &ANNA,
            300,
            frame_support::traits::tokens::Preservation::Preserve,
            frame_support::traits::tokens::Precision::Exact,
            frame_support::traits::tokens::Fortitude::Polite,
        )
        .expect("it has them");
        // Of 9 700 coins, one stays: 500 and 9 000 fit.
        finish_block();
        assert_eq!(coins(ANNA), (200, 9_500));
        assert_ok!(Balances::transfer_allow_death(
            RuntimeOrigin::signed(ANNA),
            BEN,
            199
        ));
        hold_energy(2, CARLA, 100_000, None);
        // Nothing was offered, so nothing spent; in step 3 both fit again, with the one coin left.
        let told = finish_block();
        assert_eq!(told.len(), 1, "{told:?}");
        sell(CARLA, 4, 1, 1);
        hold_energy(4, CARLA, 100_000, None);
        finish_block();
        let told = finish_block();
        // It bought a unit at 45 in step 4: now the dear one does not fit.
        let skipped = Event::StandingOrderSkipped {
            who: ANNA,
            id: dear,
            step: Step(5),
            reason: SkipReason::NotEnoughCoins,
        };
        assert!(told.contains(&skipped), "{told:?}");
        assert_eq!(coins(ANNA), (9_501 - 45 - 500, 500));
        let book = Market::order_book(Step(5), 0, u32::MAX).orders;
        assert_eq!(
            book.iter().map(|order| order.id).collect::<Vec<_>>(),
            [cheap]
        );
    });
}

#[test]
fn a_standing_order_ends_with_its_last_step() {
    test(|| {
        stand(ANNA, Side::Buy, 5, 100, Some(3));
        finish_blocks_until(3);
        assert_eq!(Market::order_book(Step(3), 0, u32::MAX).orders.len(), 1);
        finish_block();
        assert_eq!(Market::order_book(Step(4), 0, u32::MAX).orders.len(), 0);
        assert_eq!(coins(ANNA), (COINS, 0));
        assert_eq!(Standing::<Test>::count(), 0);
        let over = OrderTerms {
            when: When::Standing {
                until: Some(Step(4)),
            },
            ..terms(Side::Buy, 0, 5, 1)
        };
        assert_noop!(place(ANNA, over), Error::<Test>::AlreadyExpired);
    });
}

#[test]
fn a_standing_order_cancelled_in_its_block_leaves_nothing() {
    test(|| {
        let id = stand(ANNA, Side::Buy, 5, 100, None);
        assert_ok!(cancel(ANNA, id));
        assert_eq!(coins(ANNA), (COINS, 0));
        assert_eq!(Market::order_book(Step(2), 0, u32::MAX).orders, []);
        finish_block();
        assert_eq!(Market::order_book(Step(3), 0, u32::MAX).orders, []);
    });
}

#[test]
fn a_cancelled_standing_order_still_counts_in_the_step_whose_gate_is_closed() {
    test(|| {
        let id = stand(ANNA, Side::Buy, 5, 100, None);
        sell(BEN, 2, 5, 10);
        hold_energy(2, BEN, 1_000, None);
        finish_block();
        assert_ok!(cancel(ANNA, id));
        finish_block();
        assert_eq!(coins(ANNA), (COINS - 50, 0));
        assert_eq!(Market::order_book(Step(3), 0, u32::MAX).orders, []);
    });
}

#[test]
fn a_replaced_standing_order_is_another_one_from_the_next_step_on() {
    test(|| {
        let id = stand(ANNA, Side::Buy, 5, 100, Some(9));
        assert_ok!(replace(ANNA, id, 6, 10));
        assert_eq!(coins(ANNA), (COINS - 60, 60));
        finish_block();
        let second = Market::orders_of(&ANNA, 0).standing;
        let [order] = &second[..] else {
            panic!("one standing order, not {second:?}");
        };
        assert_eq!(
            (order.limit, order.units, order.until),
            (6, 10, Some(Step(9)))
        );
        // Now with the first one in step 2's closed book.
        assert_ok!(replace(ANNA, crate::OrderId::standing(order.number), 7, 10));
        assert_eq!(coins(ANNA), (COINS - 60 - 70, 130));
        finish_block();
        assert_eq!(coins(ANNA), (COINS - 70, 70));
    });
}

#[test]
fn who_is_no_member_any_more_has_no_standing_orders() {
    test(|| {
        let id = stand(ANNA, Side::Buy, 5, 100, None);
        deregister(ANNA);
        let told = finish_block();
        assert!(told.contains(&Event::StandingOrderSkipped {
            who: ANNA,
            id,
            step: Step(2),
            reason: SkipReason::NotAMember,
        }));
        assert_eq!(Standing::<Test>::count(), 0);
        finish_block();
        assert_eq!(coins(ANNA), (COINS, 0));
    });
}

#[test]
fn standing_orders_survive_a_late_block() {
    test(|| {
        stand(ANNA, Side::Buy, 5, 100, None);
        finish_block();
        set_late(true);
        finish_block();
        set_late(false);
        assert_eq!(coins(ANNA), (COINS - 500, 500));
        assert_eq!(Market::order_book(Step(3), 0, u32::MAX).orders.len(), 1);
    });
}

#[test]
fn a_standing_order_capped_by_need_leaves_out_steps_that_match_continuously() {
    test(|| {
        let start = (1 + crate::STEPS_AHEAD_MAX).next_multiple_of(EPOCH) + EPOCH;
        assert_ok!(Market::set_terms(
            RuntimeOrigin::root(),
            Step(start),
            Mechanism::Continuous
        ));
        let id = placed(
            ANNA,
            OrderTerms {
                when: When::Standing { until: None },
                cap: Cap::Need,
                ..terms(Side::Buy, 0, 5, 10)
            },
        );
        finish_blocks_until(start - 1);
        let told = finish_block();
        assert!(told.contains(&Event::StandingOrderSkipped {
            who: ANNA,
            id,
            step: Step(start),
            reason: SkipReason::NeedUnknown,
        }));
        assert_eq!(coins(ANNA), (COINS, 0));
    });
}
