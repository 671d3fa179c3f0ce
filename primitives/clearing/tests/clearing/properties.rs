//! Random books, each cleared by every mechanism, compared with a clearing unit by unit, and tampered with.
//!
//! `COMMONWATT_RANDOM_BOOKS=100000 cargo test --release -p commonwatt-clearing properties` tries a hundred thousand.

use commonwatt_clearing::{
    Clearing, Mechanism, Order, Played, ProofError, Quote, Range, Side, Trade, compute_outcomes,
    play, settle, verify, verify_book,
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
fn check_that_no_change_passes(
    orders: &[Order<u64>],
    clearing: &Clearing,
    check: impl Fn(&Clearing) -> Result<(), ProofError>,
) {
    let refuse = |what: &str, change: &dyn Fn(&mut Clearing)| {
        let mut changed = clearing.clone();
        change(&mut changed);
        assert!(
            check(&changed).is_err(),
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
            check_that_no_change_passes(&orders, &clearing, |changed| verify(&orders, changed));
        }
    }

    #[test]
    fn every_book_of_arrivals_settles_and_its_proof_allows_nothing_else(mut orders in any_book()) {
        commonwatt_clearing::sort_arrivals(&mut orders);
        let clearing = cleared(&orders, Mechanism::Continuous);
        check_trades(&orders, &clearing);
        check_that_no_change_passes(&orders, &clearing, |changed| verify(&orders, changed));
        // Nothing that rests could still trade with another member.
        let left = fills(&orders, &clearing.trades);
        let rests = |side: Side| orders.iter().zip(&left).filter(move |(order, filled)| order.side == side && **filled < order.units.into());
        for (buy, _) in rests(Side::Buy) {
            for (sell, _) in rests(Side::Sell) {
                prop_assert!(buy.limit < sell.limit || buy.account == sell.account);
            }
        }
    }

    #[test]
    fn what_sellers_had_and_when_orders_were_cancelled_leave_one_clearing(
        mut orders in any_book(),
        had in prop::collection::vec(0..30u64, 8),
        cancelled in prop::collection::vec(prop::option::of(1..4u32), 24),
        other_had in prop::collection::vec(0..30u64, 8),
        (which, other_cancelled) in (0..24usize, prop::option::of(1..4u32)),
    ) {
        commonwatt_clearing::sort_arrivals(&mut orders);
        // So many blocks after the order came.
        let block_of = |cancelled: &[Option<u32>], position: u32| {
            let at = usize::try_from(position).unwrap();
            cancelled[at].map(|later| orders[at].arrival + later)
        };
        let may_sell = |had: &[u64], account: &u64| had[usize::try_from(*account).unwrap()];
        let settled = |cancelled: &[Option<u32>], had: &[u64]| {
            let Played { matches, withdrawals } = play(&orders, |position| block_of(cancelled, position)).unwrap();
            let clearing = settle(&orders, &matches, withdrawals, |account| may_sell(had, account)).unwrap();
            (matches, clearing)
        };
        let check = |clearing: &Clearing| {
            verify_book(&orders, clearing, |position| block_of(&cancelled, position), |account| may_sell(&had, account))
        };
        let (matches, clearing) = settled(&cancelled, &had);
        prop_assert_eq!(check(&clearing), Ok(()));
        check_trades(&orders, &clearing);
        check_that_no_change_passes(&orders, &clearing, check);
        // Each seller sells what it matched and has.
        let sold = |trades: &[Trade], account: u64| {
            let of_seller = trades.iter().filter(|trade| orders[usize::try_from(trade.sell).unwrap()].account == account);
            of_seller.map(|trade| u64::from(trade.units)).sum::<u64>()
        };
        for account in 0..8 {
            prop_assert_eq!(sold(&clearing.trades, account), sold(&matches, account).min(may_sell(&had, &account)));
        }
        // A clearing that would be right if sellers had something else, or orders were cancelled otherwise, is refused.
        let mut otherwise = cancelled.clone();
        otherwise[which] = other_cancelled;
        let mut nobody = cancelled.clone();
        nobody.fill(None);
        let mut one_less = had.clone();
        one_less[which % 8] = one_less[which % 8].saturating_sub(1);
        for (cancelled, had) in [
            (&otherwise, &had), (&nobody, &had), (&cancelled, &other_had), (&cancelled, &one_less), (&otherwise, &other_had),
        ] {
            let (_, forged) = settled(cancelled, had);
            prop_assert_eq!(check(&forged).is_ok(), forged == clearing);
        }
    }

    #[test]
    fn what_nothing_crossed_may_as_well_never_have_come(
        mut orders in any_book(),
        cancelled in prop::collection::vec(prop::option::of(1..4u32), 24),
    ) {
        commonwatt_clearing::sort_arrivals(&mut orders);
        let named = |orders: &[(Order<u64>, Option<u32>)]| {
            let book: Vec<_> = orders.iter().map(|(order, _)| order.clone()).collect();
            let at = |position: u32| &orders[usize::try_from(position).unwrap()];
            let played = play(&book, |position| {
                let (order, later) = at(position);
                later.map(|later| order.arrival + later)
            });
            let matches = played.unwrap().matches.into_iter();
            let id = |position: u32| at(position).0.id;
            let named = matches.map(|trade| (id(trade.buy), id(trade.sell), trade.units, trade.buyer_pays));
            named.collect::<Vec<_>>()
        };
        let all: Vec<_> = orders.iter().cloned().zip(cancelled).collect();
        let is_crossed = |order: &Order<u64>| {
            orders.iter().any(|other| other.side != order.side && match order.side {
                Side::Buy => other.limit <= order.limit,
                Side::Sell => other.limit >= order.limit,
            })
        };
        let kept: Vec<_> = all.iter().filter(|(order, later)| later.is_none() || is_crossed(order)).cloned().collect();
        prop_assert_eq!(named(&all), named(&kept));
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
