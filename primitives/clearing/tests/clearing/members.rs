//! A member never trades with itself.

use commonwatt_clearing::{Mechanism, Side::*, compute_outcomes};
use commonwatt_primitives::Bps;

use crate::support::{CALLS, cleared, fills, order, single_price};

#[test]
fn a_members_own_units_are_taken_out_of_both_sides() {
    let orders = vec![
        order(0, 1, Buy, 30, 10),
        order(1, 2, Buy, 25, 10),
        order(2, 1, Sell, 5, 10),
        order(3, 3, Sell, 10, 10),
    ];
    let clearing = cleared(&orders, Mechanism::Average);
    assert_eq!(clearing.breakeven.k, 20);
    assert_eq!((clearing.totals.volume, clearing.totals.netted), (10, 10));
    assert_eq!(fills(&orders, &clearing.trades), [0, 10, 0, 10]);
    assert_eq!(clearing.totals.welfare, 10 * (25 - 10));
    let outcomes = compute_outcomes(&orders, &clearing);
    assert_eq!(
        (outcomes[0].netted, outcomes[0].left),
        (10, 0),
        "neither traded nor left over"
    );
}

#[test]
fn the_last_in_priority_are_taken_out_first() {
    let orders = vec![
        order(0, 1, Buy, 30, 4),
        order(1, 1, Buy, 28, 4),
        order(2, 2, Sell, 3, 5),
        order(3, 1, Sell, 4, 2),
        order(4, 1, Sell, 5, 1),
    ];
    let clearing = cleared(&orders, Mechanism::Average);
    assert_eq!(clearing.totals.netted, 3);
    assert_eq!(fills(&orders, &clearing.trades), [4, 1, 5, 0, 0]);
}

#[test]
fn orders_against_oneself_that_everybody_would_trade_with_move_no_price() {
    let others = vec![
        order(0, 1, Buy, 30, 7),
        order(1, 2, Buy, 20, 3),
        order(2, 3, Sell, 10, 8),
        order(3, 4, Sell, 26, 9),
    ];
    let mut washed = others.clone();
    washed.extend([order(4, 9, Buy, 1_000, 50), order(5, 9, Sell, 0, 50)]);
    for mechanism in CALLS {
        let (plain, with_wash) = (cleared(&others, mechanism), cleared(&washed, mechanism));
        assert_eq!(with_wash.breakeven.k, plain.breakeven.k + 50);
        assert_eq!(with_wash.breakeven.range(), plain.breakeven.range());
        assert_eq!(with_wash.quote, plain.quote);
        assert_eq!(with_wash.trades, plain.trades);
        assert_eq!(with_wash.totals.netted, 50);
    }
}

#[test]
fn a_pair_of_ones_own_at_the_margin_moves_the_price_as_a_dearer_last_unit_does() {
    let buys = order(0, 1, Buy, 9, 10);
    let honest = [buys.clone(), order(1, 2, Sell, 3, 10)];
    let washed = [
        buys.clone(),
        order(1, 2, Sell, 3, 10),
        order(2, 2, Sell, 9, 1),
        order(3, 2, Buy, 9, 1),
    ];
    let dearer = [buys, order(1, 2, Sell, 3, 9), order(2, 2, Sell, 9, 1)];
    for (mechanism, price) in [
        (Mechanism::Average, 6),
        (Mechanism::Loyal, 6),
        (Mechanism::Uniform { kappa: Bps(5_000) }, 6),
    ] {
        let plain = cleared(&honest, mechanism);
        assert_eq!(single_price(&plain), price, "{mechanism}");
        for moved in [cleared(&washed, mechanism), cleared(&dearer, mechanism)] {
            assert_eq!(moved.totals.volume, 10, "{mechanism}");
            assert_eq!(single_price(&moved), 9, "{mechanism}");
            // Nobody pays or gets what its limit does not allow.
            let range = plain.breakeven.range();
            assert!(range.low <= Some(9) && Some(9) <= range.high);
        }
    }
}

#[test]
fn a_member_alone_trades_nothing() {
    let orders = vec![order(0, 1, Buy, 30, 7), order(1, 1, Sell, 10, 8)];
    for mechanism in CALLS.into_iter().chain([Mechanism::Continuous]) {
        let clearing = cleared(&orders, mechanism);
        assert!(clearing.trades.is_empty(), "{mechanism}");
    }
}
