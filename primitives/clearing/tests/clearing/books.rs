//! Order books whose figures others computed.

use std::{fs::File, io::BufReader, path::Path};

use commonwatt_clearing::{Mechanism, Order, Quote, Side, compute_curves};
use commonwatt_primitives::{Bps, Price};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::support::{CALLS, cleared, fills, orders, single_price};

/// The oracle's books, beside the project where they may be used.
const ORACLE: &str = "../../../shared/data/double-auction/books.json.gz";

fn read_orders(book: &Value) -> Vec<Order<u64>> {
    let row = |row: &Value| {
        let side = if row[0] == 0 { Side::Buy } else { Side::Sell };
        (
            side,
            Price::from(row[1].as_u64().unwrap()),
            u32::try_from(row[2].as_u64().unwrap()).unwrap(),
        )
    };
    orders(
        &book["orders"]
            .as_array()
            .unwrap()
            .iter()
            .map(row)
            .collect::<Vec<_>>(),
    )
}

fn price(value: &Value) -> Option<Price> {
    value.as_u64().map(Price::from)
}

/// Clears a book with every mechanism and compares all that the oracle says of it.
fn check(book: &Value) {
    let (id, expected) = (&book["id"], &book["expected"]);
    let orders = read_orders(book);
    let k = expected["k"].as_u64().unwrap();
    let fills_expected: Vec<u64> = expected["fills_price_time"]
        .as_array()
        .unwrap()
        .iter()
        .map(|units| units.as_u64().unwrap())
        .collect();
    for mechanism in CALLS {
        let clearing = cleared(&orders, mechanism);
        let breakeven = clearing.breakeven;
        assert_eq!(breakeven.k, k, "{id} {mechanism}");
        assert_eq!(breakeven.bid, price(&expected["b_k"]), "{id}");
        assert_eq!(breakeven.ask, price(&expected["s_k"]), "{id}");
        assert_eq!(breakeven.next_bid, price(&expected["b_k1"]), "{id}");
        assert_eq!(breakeven.next_ask, price(&expected["s_k1"]), "{id}");
        assert_eq!(breakeven.range().low, price(&expected["price_lo"]), "{id}");
        assert_eq!(breakeven.range().high, price(&expected["price_hi"]), "{id}");
        assert_eq!(clearing.totals.netted, 0, "{id}");
        if mechanism == Mechanism::McAfee {
            check_mcafee(id, &expected["mcafee"], &clearing);
            continue;
        }
        assert_eq!(
            clearing.totals.volume * 100,
            expected["volume_wh"].as_u64().unwrap(),
            "{id}"
        );
        assert_eq!(
            clearing.totals.welfare,
            Price::from(expected["welfare"].as_u64().unwrap()),
            "{id}"
        );
        assert_eq!(clearing.totals.surplus, 0, "{id}");
        assert_eq!(
            fills(&orders, &clearing.trades),
            fills_expected,
            "{id} {mechanism}"
        );
        if let (Mechanism::Average, Some(doubled)) = (mechanism, price(&expected["mid_x2"])) {
            assert_eq!(
                single_price(&clearing),
                doubled / 2,
                "{id}: the floor of the mid price"
            );
        }
    }
    check_curves(id, k, &orders);
    // Nothing the mechanisms need to agree on depends on how orders are handed over.
    let mut reversed = orders;
    reversed.reverse();
    assert_eq!(
        cleared(&reversed, Mechanism::Average).breakeven.k,
        k,
        "{id}"
    );
}

/// Half units of price are rounded down, on both sides, so that the operator's part stays what the oracle says.
fn check_mcafee(id: &Value, expected: &Value, clearing: &commonwatt_clearing::Clearing) {
    if expected.is_null() {
        assert_eq!(clearing.quote, Quote::NoTrade, "{id}");
        return;
    }
    let doubled = |name: &str| Price::from(expected[name].as_u64().unwrap());
    assert_eq!(
        clearing.totals.volume,
        expected["units"].as_u64().unwrap(),
        "{id}"
    );
    assert_eq!(clearing.totals.surplus * 2, doubled("operator_x2"), "{id}");
    let (buyers, sellers) = match clearing.quote {
        Quote::Single { price } => (price, price),
        Quote::Reduced {
            buyers_pay,
            sellers_get,
        } => (buyers_pay, sellers_get),
        other => panic!("{id}: {other:?} is not a quote of McAfee's"),
    };
    assert_eq!(buyers, doubled("buy_price_x2") / 2, "{id}");
    assert_eq!(sellers, doubled("sell_price_x2") / 2, "{id}");
}

/// The curves meet at `k`.
fn check_curves(id: &Value, k: u64, orders: &[Order<u64>]) {
    let curves = compute_curves(orders, u32::MAX);
    let demand_at = |price: Price| {
        curves
            .demand
            .iter()
            .filter(|level| level.price >= price)
            .map(|level| level.units)
            .max()
    };
    let supply_at = |price: Price| {
        curves
            .supply
            .iter()
            .filter(|level| level.price <= price)
            .map(|level| level.units)
            .max()
    };
    let prices = orders.iter().map(|order| order.limit);
    let met = prices
        .map(|price| {
            demand_at(price)
                .unwrap_or(0)
                .min(supply_at(price).unwrap_or(0))
        })
        .max();
    assert_eq!(met.unwrap_or(0), k, "{id}");
}

#[test]
fn the_books_of_the_project_clear_as_counted_unit_by_unit() {
    let books: Vec<Value> = serde_json::from_str(include_str!("../books.json")).unwrap();
    assert_eq!(books.len(), 12);
    books.iter().for_each(check);
}

#[test]
fn the_oracles_books_clear_to_the_same_figures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(ORACLE);
    let Ok(file) = File::open(&path) else {
        println!("skipped 1 test: the oracle's books are not beside the project ({ORACLE})");
        return;
    };
    let books: Vec<Value> = serde_json::from_reader(BufReader::new(GzDecoder::new(file))).unwrap();
    assert!(books.len() >= 100, "only {} books", books.len());
    books.iter().for_each(check);
    println!("{} books of the oracle, all figures equal", books.len());
}

#[test]
fn kappa_leans_to_buyers_at_0_and_to_sellers_at_10000() {
    let orders = orders(&[
        (Side::Buy, 30, 5),
        (Side::Buy, 10, 5),
        (Side::Sell, 20, 5),
        (Side::Sell, 40, 5),
    ]);
    for (kappa, price) in [(0, 20), (3_333, 23), (5_000, 25), (9_999, 29), (10_000, 30)] {
        let clearing = cleared(&orders, Mechanism::Uniform { kappa: Bps(kappa) });
        assert_eq!(single_price(&clearing), price, "κ = {kappa}");
    }
}

#[test]
fn curves_are_thinned_to_their_bound_with_both_ends() {
    let rows: Vec<_> = (0..100).map(|price| (Side::Buy, price, 2)).collect();
    let orders = orders(&rows);
    let curves = compute_curves(&orders, 10);
    assert_eq!(curves.demand.len(), 10);
    assert_eq!((curves.demand[0].price, curves.demand[0].units), (99, 2));
    assert_eq!((curves.demand[9].price, curves.demand[9].units), (0, 200));
    for level in &curves.demand {
        assert_eq!(Price::from(level.units), (100 - level.price) * 2);
    }
    assert_eq!(compute_curves(&orders, 1).demand.len(), 1);
    assert!(compute_curves(&orders, 0).demand.is_empty() && curves.supply.is_empty());
}
