use commonwatt_clearing::{LIMIT_MAX, Mechanism, Side};
use commonwatt_primitives::{Step, Wh};
use frame_support::{assert_noop, assert_ok};

use crate::{
    Books, Cap, Error, Event, OrderId, OrderStatus, OrderTerms, STEPS_AHEAD_MAX, Sizes, When,
    mock::*,
};

#[test]
fn a_buy_order_holds_what_it_can_cost_at_most() {
    test(|| {
        let id = buy(ANNA, 2, 7, 100);
        assert_eq!(coins(ANNA), (COINS - 700, 700));
        let id_expected = OrderId {
            step: Step(2),
            number: 0,
        };
        assert_eq!(id, id_expected);
        sell(BEN, 2, 3, 100);
        assert_eq!(coins(BEN), (COINS, 0));
        let size = Sizes::<Test>::get(Step(2));
        assert_eq!((size.orders, size.members), (2, 2));
        finish_block();
    });
}

#[test]
fn an_order_without_coins_is_refused() {
    test(|| {
        // One coin keeps the account alive.
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, 100, 100)),
            Error::<Test>::NotEnoughCoins
        );
        assert_ok!(place(ANNA, terms(Side::Buy, 2, 99, 100)));
        assert_noop!(
            place(ANNA, terms(Side::Buy, 3, 1, 100)),
            Error::<Test>::NotEnoughCoins
        );
        assert_noop!(
            place(50, terms(Side::Buy, 2, 1, 1)),
            Error::<Test>::NotEnoughCoins
        );
    });
}

#[test]
fn an_order_in_another_unit_is_refused() {
    test(|| {
        let order = OrderTerms {
            unit: Wh(100),
            ..terms(Side::Buy, 2, 5, 10)
        };
        assert_noop!(place(ANNA, order), Error::<Test>::WrongUnit);
    });
}

#[test]
fn an_order_after_the_gate_is_refused() {
    test(|| {
        finish_blocks_until(5);
        // Block 5 closes step 5: readings of it may be known. Step 6 runs, and its gate is still open.
        for step in [0, 4, 5] {
            assert_noop!(
                place(ANNA, terms(Side::Sell, step, 5, 10)),
                Error::<Test>::GateClosed
            );
        }
        assert_ok!(place(ANNA, terms(Side::Sell, 6, 5, 10)));
    });
}

#[test]
fn an_order_too_far_ahead_is_refused() {
    test(|| {
        let last = 1 + STEPS_AHEAD_MAX;
        assert_noop!(
            place(ANNA, terms(Side::Sell, last + 1, 5, 10)),
            Error::<Test>::TooFarAhead
        );
        assert_ok!(place(ANNA, terms(Side::Sell, last, 5, 10)));
    });
}

#[test]
fn a_stranger_is_refused() {
    test(|| {
        for who in [STRANGER, TREASURY] {
            assert_noop!(
                place(who, terms(Side::Sell, 2, 5, 10)),
                Error::<Test>::NotAMember
            );
        }
        deregister(ANNA);
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, 5, 10)),
            Error::<Test>::NotAMember
        );
    });
}

#[test]
fn an_order_for_nothing_is_refused() {
    test(|| {
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, 5, 0)),
            Error::<Test>::NothingOrdered
        );
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, 0, 5)),
            Error::<Test>::LimitIsZero
        );
        // Somebody may give energy away.
        assert_ok!(place(ANNA, terms(Side::Sell, 2, 0, 5)));
    });
}

#[test]
fn numbers_that_are_too_large_are_refused() {
    test(|| {
        for limit in [LIMIT_MAX + 1, u128::MAX] {
            for side in [Side::Buy, Side::Sell] {
                assert_noop!(
                    place(ANNA, terms(side, 2, limit, u32::MAX)),
                    Error::<Test>::LimitTooHigh
                );
            }
        }
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, LIMIT_MAX, u32::MAX)),
            Error::<Test>::NotEnoughCoins
        );
        assert_ok!(place(ANNA, terms(Side::Sell, 2, LIMIT_MAX, u32::MAX)));
    });
}

#[test]
fn another_members_order_is_left_alone() {
    test(|| {
        let id = buy(ANNA, 2, 5, 10);
        let standing = stand(ANNA, Side::Buy, 5, 10, None);
        for id in [id, standing] {
            assert_noop!(cancel(BEN, id), Error::<Test>::NotYourOrder);
            assert_noop!(replace(BEN, id, 6, 10), Error::<Test>::NotYourOrder);
        }
        deregister(CARLA);
        assert_noop!(cancel(CARLA, id), Error::<Test>::NotAMember);
    });
}

#[test]
fn a_cancelled_order_gives_its_coins_back() {
    test(|| {
        let id = buy(ANNA, 3, 5, 10);
        finish_block();
        assert_ok!(cancel(ANNA, id));
        assert_eq!(coins(ANNA), (COINS, 0));
        assert!(!Books::<Test>::contains_key(Step(3), ANNA));
        assert_eq!(events(), [Event::OrderCancelled { who: ANNA, id }]);
        assert_noop!(cancel(ANNA, id), Error::<Test>::NotYourOrder);
        finish_block();
    });
}

#[test]
fn an_order_cannot_be_taken_back_after_the_gate() {
    test(|| {
        let id = sell(ANNA, 2, 5, 10);
        finish_block();
        assert_noop!(cancel(ANNA, id), Error::<Test>::GateClosed);
        assert_noop!(replace(ANNA, id, 6, 10), Error::<Test>::GateClosed);
        finish_block();
        assert_noop!(cancel(ANNA, id), Error::<Test>::GateClosed);
    });
}

#[test]
fn a_late_block_takes_no_orders() {
    test(|| {
        let id = sell(ANNA, 3, 5, 10);
        finish_block();
        set_late(true);
        assert_noop!(
            place(BEN, terms(Side::Buy, 3, 5, 10)),
            Error::<Test>::BlockLate
        );
        assert_noop!(cancel(ANNA, id), Error::<Test>::BlockLate);
        assert_noop!(replace(ANNA, id, 6, 10), Error::<Test>::BlockLate);
    });
}

#[test]
fn a_member_has_so_many_orders_in_a_step() {
    test(|| {
        for limit in 1..=4 {
            sell(ANNA, 2, limit, 1);
        }
        assert_noop!(
            place(ANNA, terms(Side::Sell, 2, 5, 1)),
            Error::<Test>::TooManyOrders
        );
        sell(ANNA, 3, 5, 1);
        // Standing ones have room of their own.
        for limit in 1..=3 {
            stand(ANNA, Side::Sell, limit, 1, None);
        }
        let more = OrderTerms {
            when: When::Standing { until: None },
            ..terms(Side::Sell, 0, 4, 1)
        };
        assert_noop!(place(ANNA, more), Error::<Test>::TooManyStandingOrders);
        finish_block();
    });
}

#[test]
fn a_step_has_so_many_orders() {
    test(|| {
        for who in 1..=10 {
            for limit in 1..=4 {
                sell(who, 2, limit, 1);
            }
        }
        assert_noop!(
            place(11, terms(Side::Sell, 2, 1, 1)),
            Error::<Test>::BookFull
        );
        sell(11, 3, 1, 1);
        finish_block();
    });
}

#[test]
fn the_same_order_twice_is_refused() {
    test(|| {
        buy(ANNA, 2, 5, 10);
        assert_noop!(
            place(ANNA, terms(Side::Buy, 2, 5, 3)),
            Error::<Test>::DuplicateOrder
        );
        buy(ANNA, 3, 5, 10);
        sell(ANNA, 2, 5, 10);
        buy(ANNA, 2, 6, 10);
        buy(BEN, 2, 5, 10);
        stand(ANNA, Side::Buy, 5, 10, None);
        let again = OrderTerms {
            when: When::Standing {
                until: Some(Step(9)),
            },
            ..terms(Side::Buy, 0, 5, 1)
        };
        assert_noop!(place(ANNA, again), Error::<Test>::DuplicateOrder);
        finish_block();
    });
}

#[test]
fn a_replaced_order_holds_what_the_new_one_costs() {
    test(|| {
        let old = buy(ANNA, 3, 5, 100);
        finish_block();
        assert_ok!(replace(ANNA, old, 4, 50));
        assert_eq!(coins(ANNA), (COINS - 200, 200));
        let new = match &events()[..] {
            [Event::OrderReplaced { new, .. }] => *new,
            other => panic!("not a replacement: {other:?}"),
        };
        assert_ok!(replace(ANNA, new, 6, 100));
        assert_eq!(coins(ANNA), (COINS - 600, 600));
        let orders = Market::orders_of(&ANNA, 0).open;
        let [order] = &orders[..] else {
            panic!("one order, not {orders:?}");
        };
        assert_eq!((order.limit, order.units, order.arrival), (6, 100, 2));
        finish_block();
    });
}

#[test]
fn an_order_that_is_not_there_cannot_be_replaced() {
    test(|| {
        let id = OrderId {
            step: Step(2),
            number: 7,
        };
        assert_noop!(replace(ANNA, id, 5, 5), Error::<Test>::UnknownOrder);
        assert_noop!(cancel(ANNA, id), Error::<Test>::UnknownOrder);
        let id = OrderId::standing(0);
        assert_noop!(replace(ANNA, id, 5, 5), Error::<Test>::UnknownOrder);
        assert_noop!(cancel(ANNA, id), Error::<Test>::UnknownOrder);
    });
}

#[test]
fn a_wrong_replacement_leaves_the_order_as_it_was() {
    test(|| {
        let id = buy(ANNA, 2, 5, 100);
        buy(ANNA, 2, 6, 1);
        let cases = [
            (5, 0, Error::<Test>::NothingOrdered),
            (0, 5, Error::<Test>::LimitIsZero),
            (u128::MAX, 5, Error::<Test>::LimitTooHigh),
            (100, 100, Error::<Test>::NotEnoughCoins),
            (6, 100, Error::<Test>::DuplicateOrder),
        ];
        for (limit, units, error) in cases {
            assert_noop!(replace(ANNA, id, limit, units), error);
        }
    });
}

#[test]
fn a_need_caps_purchases_only_and_only_where_it_is_known() {
    let capped = |side, step| OrderTerms {
        cap: Cap::Need,
        ..terms(side, step, 5, 10)
    };
    test(|| {
        assert_noop!(place(ANNA, capped(Side::Sell, 2)), Error::<Test>::CapOnSale);
        assert_ok!(place(ANNA, capped(Side::Buy, 2)));
    });
    test_with(Mechanism::Continuous, || {
        assert_noop!(
            place(ANNA, capped(Side::Buy, 2)),
            Error::<Test>::NeedUnknown
        );
    });
}

#[test]
fn changing_an_order_that_met_nobody_holds_no_more_coins_than_it_needs() {
    for mechanism in [Mechanism::Average, Mechanism::Continuous] {
        test_with(mechanism, || {
            // Nobody asks for as little as ANNA bids.
            sell(BEN, 60, 30, 5);
            let mut id = buy(ANNA, 60, 9, 10);
            for units in 10..30u32 {
                finish_block();
                let limit = 10 + u128::from(units % 2);
                assert_ok!(replace(ANNA, id, limit, units));
                id = last_id();
                assert_eq!(coins(ANNA).1, limit * u128::from(units));
            }
            assert_eq!(Market::orders_of(&ANNA, 0).open.len(), 1);
            finish_block();
            assert_ok!(cancel(ANNA, id));
            assert_eq!(coins(ANNA), (COINS, 0));
            assert!(!Books::<Test>::contains_key(Step(60), ANNA));
            finish_block();
        });
    }
}

/// Returns the id of the order that just took another's place.
fn last_id() -> OrderId {
    match events().last() {
        Some(Event::OrderReplaced { new, .. }) => *new,
        other => panic!("not a replacement: {other:?}"),
    }
}

#[test]
fn a_changed_order_that_may_have_matched_holds_its_coins_until_its_step() {
    test_with(Mechanism::Continuous, || {
        // There is nothing behind this offer, but ANNA's orders meet it.
        sell(BEN, 12, 1, 1);
        let mut id = buy(ANNA, 12, 9, 10);
        let mut held = 90;
        for limit in 10..16 {
            finish_block();
            assert_ok!(replace(ANNA, id, limit, 10));
            id = last_id();
            held += limit * 10;
            assert_eq!(coins(ANNA).1, held);
        }
        // Seven are kept: another change has no room, and nothing changes.
        finish_block();
        assert_noop!(replace(ANNA, id, 20, 10), Error::<Test>::TooManyChanges);
        assert_noop!(
            place(ANNA, terms(Side::Buy, 12, 20, 1)),
            Error::<Test>::TooManyChanges
        );
        // Standing ones have room of their own.
        for limit in 1..=3 {
            stand(ANNA, Side::Buy, limit, 1, None);
        }
        finish_blocks_until(11);
        assert_eq!(coins(ANNA).1, held + 1 + 2 + 3);
        let told = finish_block();
        let is_left_out = |event: &Event<_>| matches!(event, Event::StandingOrderSkipped { .. });
        assert!(!told.iter().any(is_left_out), "{told:?}");
        let book = Books::<Test>::get(Step(12), ANNA).expect("it has one");
        assert_eq!(book.orders.len(), 7 + 3);
        finish_block();
        // Now only what stands for the next step.
        assert_eq!(coins(ANNA).1, 6);
    });
}

#[test]
fn a_cancelled_order_does_not_count_among_those_a_member_may_have() {
    test_with(Mechanism::Continuous, || {
        sell(BEN, 9, 1, 1);
        let first = buy(ANNA, 9, 9, 1);
        for limit in 10..=12 {
            buy(ANNA, 9, limit, 1);
        }
        finish_block();
        assert_noop!(
            place(ANNA, terms(Side::Buy, 9, 13, 1)),
            Error::<Test>::TooManyOrders
        );
        assert_ok!(cancel(ANNA, first));
        buy(ANNA, 9, 13, 1);
        let open = Market::orders_of(&ANNA, 0).open;
        let is_open = |order: &&crate::OrderInfo<_>| order.status == OrderStatus::Open;
        assert_eq!((open.len(), open.iter().filter(is_open).count()), (5, 4));
        finish_block();
    });
}
