//! Random books, each cleared by every mechanism, compared with a clearing unit by unit, and tampered with.
//!
//! `COMMONWATT_RANDOM_BOOKS=100000 cargo test --release -p commonwatt-clearing properties` tries a hundred thousand.

use commonwatt_clearing::{
    Clearing, Mechanism, Order, Quote, Range, Side, compute_outcomes, verify,
};
use commonwatt_primitives::{Bps, Hash, Ppm};
use proptest::prelude::*;

use crate::support::{ByUnits, CALLS, cleared, expand, fills};

/// How many random books are tried when nobody asks for more.
const BOOKS: u32 = 128;

fn books() -> ProptestConfig {
    let cases = std::env::var("COMMONWATT_RANDOM_BOOKS").map_or(BOOKS, |text| {
        text.parse()
            .expect("COMMONWATT_RANDOM_BOOKS is a number of books")
    });
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Few prices, members, loyalties and blocks, so that ties and own orders are frequent.
fn any_order(width: u32) -> impl Strategy<Value = Order<u64>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    (
        side,
        0..width,
        1..12u32,
        0..8u64,
        0..4u32,
        0..3u32,
        any::<u8>(),
    )
        .prop_map(
            |(side, limit, units, account, loyalty, arrival, tie)| Order {
                id: Hash::zero(),
                account,
                side,
                limit: limit.into(),
                units,
                loyalty: Ppm(loyalty * 500_000),
                arrival,
                tie_break: Hash::from_low_u64_be(u64::from(tie) % 4),
            },
        )
}

fn any_book() -> impl Strategy<Value = Vec<Order<u64>>> {
    (prop_oneof![Just(4u32), Just(30), Just(4_000)])
        .prop_flat_map(|width| prop::collection::vec(any_order(width), 0..24))
        .prop_map(|mut orders| {
            for (order, id) in orders.iter_mut().zip(1..) {
                order.id = Hash::from_low_u64_le(id);
            }
            orders
        })
}

/// What holds of the trades of every mechanism.
fn check_trades(orders: &[Order<u64>], clearing: &Clearing) {
    let (mut paid, mut received, mut energy) = (0, 0, 0);
    let mut balances = std::collections::BTreeMap::<u64, (i128, i128)>::new();
    for trade in &clearing.trades {
        let (buy, sell) = (
            &orders[usize::try_from(trade.buy).unwrap()],
            &orders[usize::try_from(trade.sell).unwrap()],
        );
        assert_eq!((buy.side, sell.side), (Side::Buy, Side::Sell));
        assert_ne!(buy.account, sell.account, "a member trades with itself");
        assert!(
            trade.buyer_pays <= buy.limit && trade.seller_gets >= sell.limit,
            "worse than a limit"
        );
        assert!(trade.units > 0);
        let (owes, receives) = (
            trade.buyer_owes().unwrap(),
            trade.seller_receives().unwrap(),
        );
        paid += owes;
        received += receives;
        energy += u64::from(trade.units);
        let buyer = balances.entry(buy.account).or_default();
        buyer.0 += i128::from(trade.units);
        buyer.1 -= i128::try_from(owes).unwrap();
        let seller = balances.entry(sell.account).or_default();
        seller.0 -= i128::from(trade.units);
        seller.1 += i128::try_from(receives).unwrap();
    }
    assert_eq!(energy, clearing.totals.volume);
    assert_eq!(
        (paid, paid - received),
        (clearing.totals.turnover, clearing.totals.surplus)
    );
    assert_eq!(
        balances.values().map(|balance| balance.0).sum::<i128>(),
        0,
        "energy is conserved"
    );
    let treasury = i128::try_from(clearing.totals.surplus).unwrap();
    assert_eq!(
        balances.values().map(|balance| balance.1).sum::<i128>() + treasury,
        0,
        "coins are conserved"
    );
    for (order, filled) in orders.iter().zip(fills(orders, &clearing.trades)) {
        assert!(filled <= u64::from(order.units));
    }
    for (order, outcome) in orders.iter().zip(compute_outcomes(orders, clearing)) {
        assert_eq!(outcome.traded + outcome.netted + outcome.left, order.units);
    }
}

/// Every way to change one price or fill, and one of each other number; none may pass.
fn check_that_no_change_passes(orders: &[Order<u64>], clearing: &Clearing) {
    let refuse = |what: &str, change: &dyn Fn(&mut Clearing)| {
        let mut changed = clearing.clone();
        change(&mut changed);
        assert!(
            verify(orders, &changed).is_err(),
            "{what} passes: {changed:?} of {orders:?}"
        );
    };
    for at in 0..clearing.trades.len() {
        refuse("a higher price", &|clearing| {
            clearing.trades[at].buyer_pays += 1
        });
        refuse("a higher income", &|clearing| {
            clearing.trades[at].seller_gets += 1
        });
        refuse("another price", &|clearing| {
            clearing.trades[at].buyer_pays += 1;
            clearing.trades[at].seller_gets += 1;
            clearing.totals.turnover += u128::from(clearing.trades[at].units);
        });
        refuse("a larger fill", &|clearing| {
            clearing.trades[at].units += 1;
            clearing.totals.volume += 1;
        });
        refuse("a smaller fill", &|clearing| clearing.trades[at].units -= 1);
        refuse("a dropped trade", &|clearing| {
            clearing.trades.remove(at);
        });
        refuse("a doubled trade", &|clearing| {
            clearing.trades.insert(at, clearing.trades[at])
        });
        for other in 0..u32::try_from(orders.len()).unwrap() {
            if other != clearing.trades[at].buy {
                refuse("another buyer", &|clearing| clearing.trades[at].buy = other);
            }
            if other != clearing.trades[at].sell {
                refuse("another seller", &|clearing| {
                    clearing.trades[at].sell = other
                });
            }
        }
        if at > 0 {
            refuse("another order of trades", &|clearing| {
                clearing.trades.swap(at - 1, at)
            });
            refuse("a moved unit", &|clearing| {
                clearing.trades[at - 1].units += 1;
                clearing.trades[at].units -= 1;
            });
        }
    }
    refuse("another k", &|clearing| clearing.breakeven.k += 1);
    refuse("another count", &|clearing| {
        clearing.breakeven.supply_at_most += 1
    });
    refuse("another neighbour", &|clearing| {
        clearing.breakeven.next_bid = Some(5_000)
    });
    refuse("another volume", &|clearing| clearing.totals.volume += 1);
    refuse("another surplus", &|clearing| clearing.totals.surplus += 1);
    refuse("another quote", &|clearing| {
        clearing.quote = Quote::Single { price: 5_000 }
    });
}

proptest! {
    #![proptest_config(books())]

    #[test]
    fn every_call_clears_as_unit_by_unit_and_its_proof_allows_nothing_else(orders in any_book()) {
        for mechanism in CALLS {
            let clearing = cleared(&orders, mechanism);
            let expected = ByUnits::clear(&orders, mechanism);
            let breakeven = &clearing.breakeven;
            prop_assert_eq!(breakeven.k, u64::try_from(expected.k).unwrap());
            let limits = [breakeven.bid, breakeven.ask, breakeven.next_bid, breakeven.next_ask];
            prop_assert_eq!(limits, expected.limits);
            prop_assert_eq!(expand(&clearing.trades), expected.pairs);
            prop_assert_eq!(clearing.totals.netted, u64::try_from(expected.netted).unwrap());
            check_trades(&orders, &clearing);
            if let (Range { low: Some(low), high: Some(high) }, false) = (breakeven.range(), matches!(mechanism, Mechanism::Average | Mechanism::McAfee)) {
                prop_assert!(clearing.trades.iter().all(|trade| (low..=high).contains(&trade.buyer_pays)));
            }
            check_that_no_change_passes(&orders, &clearing);
        }
    }

    #[test]
    fn every_book_of_arrivals_settles_and_its_proof_allows_nothing_else(mut orders in any_book(), scarce in 0..30u64) {
        commonwatt_clearing::sort_arrivals(&mut orders);
        let clearing = cleared(&orders, Mechanism::Continuous);
        check_trades(&orders, &clearing);
        check_that_no_change_passes(&orders, &clearing);
        // Nothing that rests could still trade with another member.
        let left = fills(&orders, &clearing.trades);
        let rests = |side: Side| orders.iter().zip(&left).filter(move |(order, filled)| order.side == side && **filled < order.units.into());
        for (buy, _) in rests(Side::Buy) {
            for (sell, _) in rests(Side::Sell) {
                prop_assert!(buy.limit < sell.limit || buy.account == sell.account);
            }
        }
        // Each seller keeps what it has, and no more.
        let settled = commonwatt_clearing::settle(&orders, &clearing.trades, vec![], |_| scarce).unwrap();
        prop_assert_eq!(verify(&orders, &settled), Ok(()));
        check_trades(&orders, &settled);
        let sold = |clearing: &Clearing, account: u64| {
            let of_seller = clearing.trades.iter().filter(|trade| orders[usize::try_from(trade.sell).unwrap()].account == account);
            of_seller.map(|trade| u64::from(trade.units)).sum::<u64>()
        };
        for account in 0..8 {
            prop_assert_eq!(sold(&settled, account), sold(&clearing, account).min(scarce));
        }
    }

    #[test]
    fn a_call_does_not_depend_on_the_sequence_of_its_orders(orders in any_book(), seed in any::<u64>(), kappa in 0..=10_000u16) {
        let mut shuffled = orders.clone();
        shuffled.sort_by_key(|order| order.id.to_low_u64_le().wrapping_mul(seed | 1));
        for mechanism in [Mechanism::Average, Mechanism::Loyal, Mechanism::Uniform { kappa: Bps(kappa) }, Mechanism::McAfee] {
            let named = |orders: &[Order<u64>]| {
                let clearing = cleared(orders, mechanism);
                let id = |position: u32| orders[usize::try_from(position).unwrap()].id;
                let trades = clearing.trades.iter().map(|trade| (id(trade.buy), id(trade.sell), trade.units, trade.buyer_pays, trade.seller_gets));
                (trades.collect::<Vec<_>>(), clearing.breakeven, clearing.quote, clearing.totals)
            };
            prop_assert_eq!(named(&orders), named(&shuffled));
        }
    }
}
