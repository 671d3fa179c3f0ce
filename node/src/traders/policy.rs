//! What the demo community's members ask and bid: pure functions of what each of them knows.
//!
//! Everybody wants to part with what is left over and to have what is lacking, and prefers a neighbour to the outer grid as
//! long as there is something in it: each member has reservation prices between the two tariffs, from which it never
//! departs. How much it offers follows from what it remembers of its own meters; the chain cuts that to what is there.

use commonwatt_clearing::{Mechanism, Quote, Side};
use commonwatt_primitives::{Price, Wh};
use pallet_double_auction::{Cap, ClearingRecord, OrderTerms, When};
use pallet_outer_grid::Prices;

/// What a unit of energy is worth to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The least that it sells one for.
    pub ask: Price,
    /// The most that it buys one for.
    pub bid: Price,
}

impl Reserve {
    /// Returns the prices of the member that stands at `place` in the community.
    ///
    /// It wants a margin of `1 + place mod ⌈span / 2⌉` coins over the feed-in tariff when it sells, and below the buying
    /// tariff when it buys; `span` is what lies between the two. So members differ, most of them come to terms with each
    /// other, and those who want most do not meet. Where nothing lies between the tariffs, nobody comes to terms.
    pub fn of_place(place: usize, grid: Prices) -> Self {
        let span = grid.buy.saturating_sub(grid.feed_in);
        let margins = span.div_ceil(2).max(1);
        let place = u64::try_from(place).unwrap_or(u64::MAX);
        let margin = (place % margins).saturating_add(1);
        Self {
            ask: Price::from(grid.feed_in.saturating_add(margin)),
            bid: Price::from(grid.buy.saturating_sub(margin)).max(1),
        }
    }

    /// Returns the prices of somebody who would rather trade than not at the outer grid's own tariffs: all that members
    /// can exchange is exchanged.
    pub fn of_grid(grid: Prices) -> Self {
        Self {
            ask: Price::from(grid.feed_in),
            bid: Price::from(grid.buy).max(1),
        }
    }

    /// Returns the order of a member that expects to have so much left over, or to lack it when it is negative; `None` when
    /// that is less than a unit.
    pub fn order(self, expected_wh: i128, market: &Market, when: When) -> Option<OrderTerms> {
        let units = expected_wh
            .unsigned_abs()
            .checked_div(u128::from(market.unit.0))?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        if units == 0 {
            return None;
        }
        let side = match expected_wh > 0 {
            true => Side::Sell,
            false => Side::Buy,
        };
        Some(self.terms(side, units, market, when))
    }

    /// Returns an order of a side for so many units; a purchase is capped by the need where the mechanism knows it.
    pub fn terms(self, side: Side, units: u32, market: &Market, when: When) -> OrderTerms {
        let (limit, cap) = match side {
            Side::Buy => (self.bid, need_cap(market.mechanism)),
            Side::Sell => (self.ask, Cap::Quantity),
        };
        OrderTerms {
            side,
            limit,
            units,
            unit: market.unit,
            when,
            cap,
        }
    }
}

/// What of the market's agreement an order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// The trading unit.
    pub unit: Wh,
    /// How prices are found.
    pub mechanism: Mechanism,
    /// What the outer grid takes and pays.
    pub grid: Prices,
}

/// Returns how a purchase can be capped: where orders match as they arrive, nobody knows a need.
pub fn need_cap(mechanism: Mechanism) -> Cap {
    match mechanism {
        Mechanism::Continuous => Cap::Quantity,
        _ => Cap::Need,
    }
}

/// Returns what a member expects to have left over, negative when it expects to lack something: the mean of what it
/// remembers, rounded towards nothing; nothing when it remembers nothing.
pub fn compute_expected_wh(memory: impl IntoIterator<Item = i128>) -> i128 {
    let (sum, count) = memory.into_iter().fold((0i128, 0i128), |(sum, count), wh| {
        (sum.saturating_add(wh), count.saturating_add(1))
    });
    sum.checked_div(count).unwrap_or_default()
}

/// Returns the price, or the prices, at which a step was cleared, in words.
pub fn price_in_words(record: &ClearingRecord) -> String {
    match record.quote {
        Quote::NoTrade => "no price".to_owned(),
        Quote::Single { price } => price.to_string(),
        Quote::Reduced {
            buyers_pay,
            sellers_get,
        } => format!("{buyers_pay} for buyers and {sellers_get} for sellers"),
        Quote::Pairwise { low, high } if low == high => low.to_string(),
        Quote::Pairwise { low, high } => format!("{low} to {high}"),
        Quote::Resting => {
            let totals = record.totals;
            let tenths = totals
                .turnover
                .saturating_mul(10)
                .checked_div(totals.volume.into());
            tenths.map_or_else(
                || "no price".to_owned(),
                |tenths| format!("{}.{} on average", tenths / 10, tenths % 10),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_clearing::{Breakeven, Totals};

    const GRID: Prices = Prices { buy: 9, feed_in: 2 };
    const MARKET: Market = Market {
        unit: Wh(10),
        mechanism: Mechanism::Average,
        grid: GRID,
    };

    fn of_place(place: usize) -> (Price, Price) {
        let Reserve { ask, bid } = Reserve::of_place(place, GRID);
        (ask, bid)
    }

    #[test]
    fn members_want_different_margins_and_none_worse_than_the_outer_grid() {
        let prices: Vec<_> = (0..5).map(of_place).collect();
        assert_eq!(prices, [(3, 8), (4, 7), (5, 6), (6, 5), (3, 8)]);
        for place in 0..1_000 {
            let (ask, bid) = of_place(place);
            assert!((2..=9).contains(&ask) && (2..=9).contains(&bid));
        }
    }

    #[test]
    fn whoever_wants_most_does_not_come_to_terms_with_its_like() {
        let (ask, bid) = of_place(3);
        assert!(ask > bid);
        assert!(of_place(2).0 <= bid && ask <= of_place(2).1);
    }

    #[test]
    fn nobody_comes_to_terms_where_nothing_lies_between_the_tariffs() {
        for (buy, feed_in) in [(5, 5), (2, 9), (6, 5)] {
            let grid = Prices { buy, feed_in };
            for place in 0..4 {
                let Reserve { ask, bid } = Reserve::of_place(place, grid);
                assert!(ask > bid, "{grid:?}");
            }
        }
        // A bid of nothing would be refused.
        let Reserve { bid, .. } = Reserve::of_place(0, Prices { buy: 1, feed_in: 0 });
        assert_eq!(bid, 1);
    }

    #[test]
    fn what_is_left_over_is_sold_and_what_is_lacking_is_bought_in_whole_units() {
        let order = |wh| {
            Reserve::of_place(0, GRID).order(
                wh,
                &MARKET,
                When::Once(commonwatt_primitives::Step(7)),
            )
        };
        let sale = order(129).unwrap();
        assert_eq!(
            (sale.side, sale.limit, sale.units, sale.cap),
            (Side::Sell, 3, 12, Cap::Quantity)
        );
        let purchase = order(-129).unwrap();
        assert_eq!(
            (purchase.side, purchase.limit, purchase.units, purchase.cap),
            (Side::Buy, 8, 12, Cap::Need)
        );
        assert_eq!((order(9), order(0), order(-9)), (None, None, None));
    }

    #[test]
    fn a_need_caps_no_purchase_where_nobody_knows_it() {
        let market = Market {
            mechanism: Mechanism::Continuous,
            ..MARKET
        };
        let order = Reserve::of_grid(GRID)
            .order(-50, &market, When::Standing { until: None })
            .unwrap();
        assert_eq!((order.cap, order.limit), (Cap::Quantity, 9));
    }

    #[test]
    fn what_is_expected_is_the_mean_of_what_is_remembered() {
        assert_eq!(compute_expected_wh([100, 50, -30]), 40);
        assert_eq!(compute_expected_wh([-7, 0]), -3);
        assert_eq!(compute_expected_wh([]), 0);
    }

    #[test]
    fn every_way_to_find_a_price_has_its_words() {
        let words = |quote, volume, turnover| {
            let record = ClearingRecord {
                mechanism: Mechanism::Average,
                breakeven: Breakeven::default(),
                quote,
                totals: Totals {
                    volume,
                    turnover,
                    ..Totals::default()
                },
                orders: 0,
                members: 0,
                trades: 0,
                cancelled: 0,
            };
            price_in_words(&record)
        };
        assert_eq!(words(Quote::NoTrade, 0, 0), "no price");
        assert_eq!(words(Quote::Single { price: 5 }, 1, 5), "5");
        let reduced = Quote::Reduced {
            buyers_pay: 6,
            sellers_get: 4,
        };
        assert_eq!(words(reduced, 1, 6), "6 for buyers and 4 for sellers");
        assert_eq!(words(Quote::Pairwise { low: 3, high: 6 }, 1, 5), "3 to 6");
        assert_eq!(words(Quote::Pairwise { low: 4, high: 4 }, 1, 4), "4");
        assert_eq!(words(Quote::Resting, 4, 18), "4.5 on average");
        assert_eq!(words(Quote::Resting, 0, 0), "no price");
    }
}
