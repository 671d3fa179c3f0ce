//! A proof is refused for its own reason, and orders that cannot be cleared are named.

use commonwatt_clearing::{
    LIMIT_MAX, Mechanism, ORDERS_MAX, Order, OrderError, ProofError, Quote, Side::*, clear, verify,
};
use commonwatt_primitives::Bps;

use crate::support::{cleared, order, orders};

fn book() -> Vec<Order<u64>> {
    orders(&[
        (Buy, 30, 5),
        (Buy, 24, 5),
        (Buy, 24, 5),
        (Sell, 20, 7),
        (Sell, 27, 5),
    ])
}

#[test]
fn each_change_is_refused_for_its_reason() {
    let orders = book();
    let clearing = cleared(&orders, Mechanism::Average);
    let refused = |change: &dyn Fn(&mut commonwatt_clearing::Clearing)| {
        let mut changed = clearing.clone();
        change(&mut changed);
        verify(&orders, &changed).unwrap_err()
    };
    assert!(matches!(
        refused(&|clearing| clearing.breakeven.k -= 1),
        ProofError::Limit { .. } | ProofError::NotBreakeven(_)
    ));
    assert!(matches!(
        refused(&|clearing| clearing.breakeven.demand_above += 1),
        ProofError::Count { .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.breakeven.next_ask = None),
        ProofError::Limit { .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.breakeven.bid = Some(25)),
        ProofError::Count { .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.quote = Quote::Single { price: 23 }),
        ProofError::Quote { .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.trades[0].buyer_pays += 1),
        ProofError::Trade {
            trade: 0,
            fault: "its price is not the mechanism's"
        }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.trades[1].units += 1),
        ProofError::Fill { .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.trades[1].buy = 99),
        ProofError::Trade { trade: 1, .. }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.trades.swap(0, 1)),
        ProofError::Trade { trade: 1, .. }
    ));
    assert!(matches!(
        refused(&|clearing| {
            // The later of two equal bids is served instead.
            clearing.trades[1].buy = 2;
        }),
        ProofError::Fill { order: 1, .. }
    ));
    assert!(matches!(
        refused(&|clearing| {
            let mut half = clearing.trades[0];
            half.units -= 1;
            clearing.trades[0].units = 1;
            clearing.trades.insert(1, half);
        }),
        ProofError::Trade {
            trade: 1,
            fault: "it is a part of the trade before"
        }
    ));
    assert!(matches!(
        refused(&|clearing| clearing.totals.welfare += 1),
        ProofError::Totals
    ));
    assert!(matches!(
        refused(&|clearing| clearing.totals.netted += 1),
        ProofError::Totals
    ));
    assert!(matches!(
        refused(&|clearing| {
            clearing
                .history
                .withdrawals
                .push(commonwatt_clearing::Withdrawal {
                    order: 9,
                    before: 9,
                });
        }),
        ProofError::History(_)
    ));
    let said = refused(&|clearing| clearing.quote = Quote::Single { price: 23 }).to_string();
    assert!(said.contains("average") && said.contains("23"), "{said}");
}

#[test]
fn other_orders_refuse_the_same_clearing() {
    let clearing = cleared(&book(), Mechanism::Average);
    for change in 0..book().len() {
        let mut orders = book();
        orders[change].limit = 25;
        assert!(verify(&orders, &clearing).is_err(), "{change}");
        let mut orders = book();
        orders[change].units += 1;
        // Only what a worse order than the marginal ones wants more changes nothing.
        assert_eq!(verify(&orders, &clearing).is_ok(), change == 4, "{change}");
    }
}

#[test]
fn orders_that_cannot_be_cleared_are_named() {
    for mechanism in [Mechanism::Average, Mechanism::Continuous] {
        let said = clear(&[order(0, 1, Buy, 1, 1), order(1, 1, Buy, 1, 0)], mechanism).unwrap_err();
        assert!(matches!(said, OrderError::NoUnits { position: 1, .. }));
        assert!(said.to_string().contains("order 1"));
        let said = clear(&[order(0, 1, Buy, LIMIT_MAX + 1, 1)], mechanism).unwrap_err();
        assert!(matches!(said, OrderError::LimitTooHigh { position: 0, .. }));
    }
    let twice = [
        order(7, 1, Buy, 1, 1),
        order(7, 2, Buy, 1, 1),
        order(8, 3, Sell, 1, 1),
    ];
    assert_eq!(
        clear(&twice, Mechanism::Average),
        Err(OrderError::Twice { id: twice[0].id })
    );
    let steep = Mechanism::Uniform { kappa: Bps(10_001) };
    assert_eq!(
        clear(&book(), steep),
        Err(OrderError::KappaAboveOne(10_001))
    );
    let many = vec![order(0, 1, Buy, 1, 1); usize::try_from(ORDERS_MAX).unwrap() + 1];
    assert_eq!(
        clear(&many, Mechanism::Average),
        Err(OrderError::TooMany(many.len()))
    );
}

#[test]
fn the_largest_numbers_fit() {
    let orders = orders(&[
        (Buy, LIMIT_MAX, u32::MAX),
        (Buy, LIMIT_MAX, u32::MAX),
        (Sell, 0, u32::MAX),
        (Sell, LIMIT_MAX, 1),
    ]);
    for mechanism in crate::support::CALLS
        .into_iter()
        .chain([Mechanism::Continuous])
    {
        cleared(&orders, mechanism);
    }
}

#[test]
fn a_mechanism_reads_what_it_writes() {
    for text in [
        "average",
        "loyal",
        "uniform:0",
        "uniform:10000",
        "mcafee",
        "continuous",
    ] {
        assert_eq!(text.parse::<Mechanism>().unwrap().to_string(), text);
    }
    assert_eq!(
        "uniform".parse(),
        Ok(Mechanism::Uniform { kappa: Bps(5_000) })
    );
    for text in [
        "",
        "Average",
        "uniform:",
        "uniform:10001",
        "uniform:-1",
        "uniform:0.5",
    ] {
        assert!(text.parse::<Mechanism>().is_err(), "{text}");
    }
}
