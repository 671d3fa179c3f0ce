//! [T] 4.4: N. Shvetsov, "Exploring auction based energy trade with the support of MAS and blockchain technology", 2017,
//! chapter 4, in its words.

use commonwatt_clearing::{Mechanism, Order, Quote, Range, Rest, Side::*, compute_outcomes};
use commonwatt_primitives::{Ppm, Price};

use crate::support::{CALLS, cleared, fills, order, orders, single_price};

/// "Each record in this table is of form (Buy/Sell, Volume, Price)": four buy and four sell orders, as in Table 4.1.
fn table_4_1() -> Vec<Order<u64>> {
    orders(&[
        (Buy, 9, 4),
        (Buy, 7, 3),
        (Buy, 4, 5),
        (Buy, 2, 2),
        (Sell, 2, 3),
        (Sell, 3, 3),
        (Sell, 6, 4),
        (Sell, 8, 2),
    ])
}

#[test]
fn k_is_the_largest_index_such_that_b_k_is_at_least_s_k() {
    // "Order the buyers in decreasing order of their bid", "Order the sellers in increasing order of their bid", "Let k be
    // the largest index such that b_k ≥ s_k (the "breakeven index")": 9 9 9 9 7 7 7 4 … over 2 2 2 3 3 3 6 6 …
    let breakeven = cleared(&table_4_1(), Mechanism::Average).breakeven;
    assert_eq!(breakeven.k, 7);
    assert_eq!((breakeven.bid, breakeven.ask), (Some(7), Some(6)));
    assert_eq!((breakeven.next_bid, breakeven.next_ask), (Some(4), Some(6)));
}

#[test]
fn every_price_in_the_range_is_an_equilibrium_price() {
    // Table 4.2, "Range of equilibrium prices", its four cases: b_{k+1} below s_k or not, s_{k+1} above b_k or not.
    for (next_bid, next_ask, range) in [
        (10, 40, (20, 30)), // b_{k+1} < s_k, s_{k+1} > b_k: [s_k, b_k]
        (10, 25, (20, 25)), // b_{k+1} < s_k, s_{k+1} ≤ b_k: [s_k, s_{k+1}]
        (24, 40, (24, 30)), // b_{k+1} ≥ s_k, s_{k+1} > b_k: [b_{k+1}, b_k]
        (24, 27, (24, 27)), // b_{k+1} ≥ s_k, s_{k+1} ≤ b_k: [b_{k+1}, s_{k+1}]
    ] {
        let orders = orders(&[
            (Buy, 30, 5),
            (Buy, next_bid, 5),
            (Sell, 20, 5),
            (Sell, next_ask, 5),
        ]);
        let breakeven = cleared(&orders, Mechanism::Average).breakeven;
        assert_eq!(
            breakeven.range(),
            Range {
                low: Some(range.0),
                high: Some(range.1)
            }
        );
        // "since both demand and supply are k": at any price of the range, as many want to buy as to sell, up to who is
        // indifferent.
        for price in range.0..=range.1 {
            let sum = |is_in: &dyn Fn(&Order<u64>) -> bool| {
                orders
                    .iter()
                    .filter(|order| is_in(order))
                    .map(|order| u64::from(order.units))
                    .sum::<u64>()
            };
            assert!(sum(&|order| order.side == Buy && order.limit > price) <= breakeven.k);
            assert!(sum(&|order| order.side == Buy && order.limit >= price) >= breakeven.k);
            assert!(sum(&|order| order.side == Sell && order.limit < price) <= breakeven.k);
            assert!(sum(&|order| order.side == Sell && order.limit <= price) >= breakeven.k);
        }
    }
}

#[test]
fn the_price_is_the_average_of_the_kth_values() {
    // "set the price at the average of the k-th values: p = (b_k + s_k)/2. The first k sellers sell the good to the first k
    // buyers." (7 + 6) / 2, rounded down.
    let orders = table_4_1();
    let clearing = cleared(&orders, Mechanism::Average);
    assert_eq!(single_price(&clearing), 6);
    assert_eq!(fills(&orders, &clearing.trades), [4, 3, 0, 0, 3, 3, 1, 0]);
    // "Individual Rationality (IR) - no person should lose from joining the auction".
    for trade in &clearing.trades {
        let limit = |position: u32| orders[usize::try_from(position).unwrap()].limit;
        assert!(trade.buyer_pays <= limit(trade.buy) && trade.seller_gets >= limit(trade.sell));
    }
    // "Economic efficiency (EE) - the total social welfare (the sum of the values of all players) should be the best
    // possible": 4·9 + 3·7 − 3·2 − 3·3 − 6.
    assert_eq!(clearing.totals.welfare, 36);
}

/// One unit on each side, with the range [20, 30].
fn pair_of_loyalties(buyer: u32, seller: u32) -> Vec<Order<u64>> {
    let mut orders = orders(&[(Buy, 30, 1), (Sell, 20, 1)]);
    orders[0].loyalty = Ppm(buyer);
    orders[1].loyalty = Ppm(seller);
    orders
}

#[test]
fn the_price_inclines_to_the_end_that_suits_the_more_loyal() {
    // 4.11–4.13: P_formed = p_min·w_buy + p_max·w_sell, w_buy = l_b/(l_b + l_s), w_sell = l_s/(l_b + l_s). "If seller have
    // more loyalty value, the price will incline towards higher end in equilibrium price range. Else, price will incline to
    // the lower end of range".
    for (buyer, seller, price) in [
        (1_000_000, 1_000_000, 25),
        (1_000_000, 3_000_000, 27), // 20·1/4 + 30·3/4 = 27.5
        (3_000_000, 1_000_000, 22), // 20·3/4 + 30·1/4 = 22.5
        (1_000_000, 4_000_000, 28),
        (0, 1, 30),
        (1, 0, 20),
        (0, 0, 25), // the formula says nothing here: both weigh the same
        (u32::MAX, u32::MAX, 25),
    ] {
        let clearing = cleared(&pair_of_loyalties(buyer, seller), Mechanism::Loyal);
        assert_eq!(clearing.quote, Quote::Pairwise { low: 20, high: 30 });
        assert_eq!(single_price(&clearing), price, "{buyer} {seller}");
    }
}

#[test]
fn loyalty_is_the_price_formation_and_sorting_parameter() {
    // Two buyers at the same limit, one unit for sale: the more loyal one gets it, though it came later.
    let mut orders = orders(&[(Buy, 30, 1), (Buy, 30, 1), (Sell, 20, 1)]);
    orders[0].loyalty = Ppm(999_999);
    orders[1].arrival = 7;
    assert_eq!(
        fills(&orders, &cleared(&orders, Mechanism::Loyal).trades),
        [0, 1, 1]
    );
    assert_eq!(
        fills(&orders, &cleared(&orders, Mechanism::Average).trades),
        [1, 0, 1]
    );
}

#[test]
fn each_pair_has_its_own_price_by_its_loyalties() {
    let mut orders = orders(&[(Buy, 30, 2), (Buy, 30, 2), (Sell, 20, 4)]);
    orders[0].loyalty = Ppm(3_000_000);
    let clearing = cleared(&orders, Mechanism::Loyal);
    let prices: Vec<Price> = clearing
        .trades
        .iter()
        .map(|trade| trade.buyer_pays)
        .collect();
    assert_eq!(prices, [22, 25]);
    assert_eq!(clearing.totals.turnover, 2 * 22 + 2 * 25);
    assert_eq!(
        clearing.totals.surplus, 0,
        "a price rounded down leaves nothing over"
    );
}

#[test]
fn split_orders_are_summed_up_after_matching() {
    // "order amount splitting to the least divisible value (100 Wh) take place … After transactions are collected list is
    // summed up."
    let clearing = cleared(
        &orders(&[(Buy, 9, 1_000), (Sell, 2, 1_000)]),
        Mechanism::Average,
    );
    assert_eq!(clearing.trades.len(), 1);
    assert_eq!(clearing.trades[0].units, 1_000);
}

#[test]
fn sellers_without_buyers_are_not_penalized() {
    // "No buyers, approved sellers … They do not get penalized in loyal type of auction."
    let orders = orders(&[(Sell, 5, 3), (Sell, 7, 2)]);
    for mechanism in CALLS.into_iter().chain([Mechanism::Continuous]) {
        let clearing = cleared(&orders, mechanism);
        assert!(clearing.trades.is_empty());
        assert_eq!(
            clearing.breakeven.range(),
            Range {
                low: None,
                high: Some(5)
            }
        );
        let outcomes = compute_outcomes(&orders, &clearing);
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.rest == Rest::Unopposed && outcome.left > 0),
            "{mechanism}"
        );
    }
}

#[test]
fn buyers_without_sellers_are_not_penalized() {
    // "No sellers, approved buyers … They do not get penalized in loyal type of auction."
    let orders = orders(&[(Buy, 5, 3), (Buy, 7, 2)]);
    for mechanism in CALLS.into_iter().chain([Mechanism::Continuous]) {
        let clearing = cleared(&orders, mechanism);
        assert!(clearing.trades.is_empty());
        assert_eq!(
            clearing.breakeven.range(),
            Range {
                low: Some(7),
                high: None
            }
        );
        let outcomes = compute_outcomes(&orders, &clearing);
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.rest == Rest::Unopposed && outcome.left > 0),
            "{mechanism}"
        );
    }
}

#[test]
fn who_is_left_over_was_priced_well_or_cut_off() {
    // "participated buyers and sellers get boost … Those, who does not get a supplier or buyer, but had appropriate price,
    // get slight loyalty parameter increase. Those, who was cut from the auction by clearing price get decrease".
    let orders = table_4_1();
    let outcomes = compute_outcomes(&orders, &cleared(&orders, Mechanism::Average));
    let rests: Vec<Rest> = outcomes.iter().map(|outcome| outcome.rest).collect();
    use Rest::*;
    // The price is 6: three units asked for at 6 found no buyer; bids of 4 and 2, and the ask of 8, are cut off.
    assert_eq!(
        rests,
        [
            Nothing, Nothing, CutOff, CutOff, Nothing, Nothing, Unserved, CutOff
        ]
    );
    assert_eq!((outcomes[6].traded, outcomes[6].left), (1, 3));
}

#[test]
fn nobody_meets_where_every_bid_is_below_every_ask() {
    let orders = orders(&[(Buy, 10, 3), (Sell, 11, 3)]);
    for mechanism in CALLS {
        let clearing = cleared(&orders, mechanism);
        assert_eq!(clearing.quote, Quote::NoTrade);
        assert_eq!(
            clearing.breakeven.range(),
            Range {
                low: Some(10),
                high: Some(11)
            }
        );
        let outcomes = compute_outcomes(&orders, &clearing);
        assert!(outcomes.iter().all(|outcome| outcome.rest == Rest::CutOff));
    }
}

#[test]
fn mcafee_drops_the_kth_deal_and_its_difference_goes_to_the_treasury() {
    // The neighbours' middle (4 + 40) / 2 = 22 is above b_k = 9.
    let orders = orders(&[(Buy, 9, 4), (Buy, 4, 1), (Sell, 2, 4), (Sell, 40, 1)]);
    let clearing = cleared(&orders, Mechanism::McAfee);
    assert_eq!(
        clearing.quote,
        Quote::Reduced {
            buyers_pay: 9,
            sellers_get: 2
        }
    );
    assert_eq!(clearing.totals.volume, 3);
    assert_eq!(clearing.totals.surplus, 3 * 7);
    // One unit on each side: the reduction leaves nothing.
    let orders = vec![order(0, 0, Buy, 9, 1), order(1, 1, Sell, 2, 1)];
    assert!(cleared(&orders, Mechanism::McAfee).trades.is_empty());
}
