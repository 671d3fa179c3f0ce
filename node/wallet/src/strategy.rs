//! How an automatic trader decides: what it will have or lack in a step to come, and what it offers for that.
//!
//! Pure integer functions of the member's own history and of public prices, so that the same history makes the same
//! orders on every machine.
//!
//! ## Terms
//! - balance: what a member was allocated in a step less what it consumed, before any trade.
//! - value: what a unit is worth to a member without the market: the outer grid's buy tariff to who lacks it, its
//!   feed-in tariff to who has it left. In coins, by the treasury's rates.

use std::{cmp::Ordering, fmt, str::FromStr};

use commonwatt_clearing::{LIMIT_MAX, Side};
use commonwatt_primitives::{Bps, Price, Step, Wh};

/// Steps whose mean is the forecast when the same step of the day before is not known: an hour of quarter-hours.
pub const MEAN_STEPS: usize = 4;

/// Milliseconds of a day of metered time.
const DAY_MS: u64 = 86_400_000;

/// Returns how many steps a day of metered time has, at least one.
pub fn steps_per_day(metered_ms: u64) -> u32 {
    let steps = DAY_MS.checked_div(metered_ms).unwrap_or(1).max(1);
    u32::try_from(steps).unwrap_or(u32::MAX)
}

/// What a member had in a step, before its trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastStep {
    /// The step.
    pub step: Step,
    /// What the agreement gave it: `shared + rest`.
    pub allocated: Wh,
    /// What it consumed. A step without is not forecast from: nobody knows what was left or lacking in it.
    pub consumption: Option<Wh>,
}

impl PastStep {
    /// Returns `allocated − consumption`, if both are known.
    fn balance_wh(&self) -> Option<i128> {
        let consumption = self.consumption?;
        Some(self.allocated.signed_difference(consumption))
    }
}

/// What a forecast was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The same step of the day before.
    DayBefore(Step),
    /// The mean of so many of the latest steps.
    Mean(u32),
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DayBefore(step) => write!(f, "step {step}, a day before"),
            Self::Mean(1) => f.write_str("the latest step"),
            Self::Mean(steps) => write!(f, "the mean of the latest {steps} steps"),
        }
    }
}

/// What a member will have left or lack in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The step.
    pub step: Step,
    /// What it will have left (above zero) or lack (below), in watt-hours.
    pub balance_wh: i128,
    /// What this was made from.
    pub basis: Basis,
}

impl Forecast {
    /// Forecasts a step: as the same step of the day before, if that is known, else as the mean of the latest
    /// [`MEAN_STEPS`] known steps, rounded towards zero. Returns `None` when no step is known.
    ///
    /// The order of the history does not matter; steps from `step` on are not looked at.
    pub fn make(history: &[PastStep], step: Step, steps_per_day: u32) -> Option<Self> {
        let mut known: Vec<(Step, i128)> = history
            .iter()
            .filter(|past| past.step < step)
            .filter_map(|past| Some((past.step, past.balance_wh()?)))
            .collect();
        known.sort_by(|one, other| other.cmp(one));
        let day_before = step.0.checked_sub(steps_per_day.max(1)).map(Step);
        if let Some(&(step_before, balance_wh)) = known
            .iter()
            .find(|(known_step, _)| Some(*known_step) == day_before)
        {
            return Some(Self {
                step,
                balance_wh,
                basis: Basis::DayBefore(step_before),
            });
        }
        let latest = known.get(..MEAN_STEPS.min(known.len()))?;
        let count = u32::try_from(latest.len()).ok()?;
        // Each balance is below 2^64, and there are few.
        let sum: i128 = latest.iter().map(|(_, balance_wh)| balance_wh).sum();
        Some(Self {
            step,
            balance_wh: sum.checked_div(i128::from(count))?,
            basis: Basis::Mean(count),
        })
    }

    /// Returns which side the member is on, and the energy; `None` when nothing is left or lacking.
    pub fn side(&self) -> Option<(Side, Wh)> {
        let energy = Wh(u64::try_from(self.balance_wh.unsigned_abs()).unwrap_or(u64::MAX));
        match self.balance_wh.cmp(&0) {
            Ordering::Greater => Some((Side::Sell, energy)),
            Ordering::Less => Some((Side::Buy, energy)),
            Ordering::Equal => None,
        }
    }
}

/// So much money for so many coins, each in its smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So much money.
    pub money: u128,
    /// For so many coins.
    pub coins: u128,
}

impl Rate {
    /// Returns what money is in coins, rounded down; `None` when coins are worth nothing, or there are too many.
    fn coins_below(self, money: u128) -> Option<Price> {
        money.checked_mul(self.coins)?.checked_div(self.money)
    }

    /// Returns what money is in coins, rounded up; `None` when coins are worth nothing, or there are too many.
    fn coins_above(self, money: u128) -> Option<Price> {
        let product = money.checked_mul(self.coins)?;
        let rest = product.checked_rem(self.money)?;
        product
            .checked_div(self.money)?
            .checked_add(u128::from(rest > 0))
    }
}

/// What coins are worth in money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// What the treasury gives for coins: what those are worth that a seller receives.
    pub buy: Rate,
    /// What the treasury takes for coins: what those cost that a buyer pays.
    pub sell: Rate,
}

impl Rates {
    /// The smallest coin for the smallest unit of money: where the treasury posts no rates.
    pub const ONE_TO_ONE: Self = Self {
        buy: Rate { money: 1, coins: 1 },
        sell: Rate { money: 1, coins: 1 },
    };
}

/// What is publicly known about prices, each in coins for a trading unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// What a unit costs from the outer grid.
    pub buy: Price,
    /// What a unit earns from the outer grid.
    pub feed_in: Price,
    /// What a unit cost on the market the last time it had one price.
    pub last: Option<Price>,
}

impl Prices {
    /// Takes the outer grid's tariffs, which are in money, at the treasury's rates.
    ///
    /// A buyer's coins count at what they cost and a seller's at what they bring, each rounded to the disadvantage of
    /// the trade: so what is no worse than these prices in coins is none in money, whichever way the coins came or go.
    /// Returns `None` when no limit in coins can be worth the tariffs.
    pub fn in_coins(
        buy_money: u128,
        feed_in_money: u128,
        rates: Rates,
        last: Option<Price>,
    ) -> Option<Self> {
        let buy = rates.sell.coins_below(buy_money)?;
        let feed_in = rates.buy.coins_above(feed_in_money)?;
        (feed_in <= LIMIT_MAX).then(|| Self {
            buy: buy.min(LIMIT_MAX),
            feed_in,
            last,
        })
    }

    /// Returns what a unit is worth to this side without the market.
    pub fn value(&self, side: Side) -> Price {
        match side {
            Side::Buy => self.buy,
            Side::Sell => self.feed_in,
        }
    }

    /// Returns the two tariffs, the lower one first.
    fn bounds(&self) -> (Price, Price) {
        (self.buy.min(self.feed_in), self.buy.max(self.feed_in))
    }

    /// Returns the middle between feed-in and buy tariff, rounded down on both sides, so that they meet.
    fn middle(&self) -> Price {
        let (low, high) = self.bounds();
        low.saturating_add(high.saturating_sub(low) / 2)
    }

    /// Returns the price, or the tariff that is nearest to it.
    fn within(&self, price: Price) -> Price {
        let (low, high) = self.bounds();
        price.clamp(low, high)
    }

    /// Moves a limit to where it is no worse for this side than the outer grid.
    fn no_worse(&self, side: Side, limit: Price) -> Price {
        match side {
            Side::Buy => limit.min(self.buy),
            Side::Sell => limit.max(self.feed_in),
        }
    }
}

/// How limits are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// What the energy is worth: the buy tariff, or the feed-in tariff. Trades whenever anybody gains by it.
    Truthful,
    /// The middle between the two tariffs.
    Midpoint,
    /// The value, moved towards the other side by this part of the difference between the tariffs. Up to a half, two
    /// members that shade alike still trade.
    Shading(Bps),
    /// What a unit cost the last time, within the tariffs; the middle as long as there was no price.
    LastPrice,
}

/// A text names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no strategy: write truthful, midpoint, last-price, or shading=PERCENT with a whole number from 0 to 100"
)]
pub struct StrategyTextError(String);

impl FromStr for Strategy {
    type Err = StrategyTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "truthful" => return Ok(Self::Truthful),
            "midpoint" => return Ok(Self::Midpoint),
            "last-price" => return Ok(Self::LastPrice),
            _ => (),
        }
        text.strip_prefix("shading=")
            .map(|percent| percent.strip_suffix('%').unwrap_or(percent))
            .filter(|percent| percent.bytes().all(|digit| digit.is_ascii_digit()))
            .and_then(|percent| percent.parse::<u16>().ok())
            .filter(|percent| *percent <= 100)
            .and_then(|percent| percent.checked_mul(100))
            .map(|part| Self::Shading(Bps(part)))
            .ok_or_else(|| StrategyTextError(text.chars().take(32).collect()))
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truthful => f.write_str("truthful"),
            Self::Midpoint => f.write_str("midpoint"),
            Self::Shading(part) if part.0.is_multiple_of(100) => {
                write!(f, "shading={}%", part.0 / 100)
            }
            Self::Shading(part) => write!(f, "shading of {part} in 10000"),
            Self::LastPrice => f.write_str("last-price"),
        }
    }
}

impl Strategy {
    /// Returns the limit for a unit: never worse than what the outer grid offers this side.
    pub fn limit(self, side: Side, prices: &Prices) -> Price {
        let value = prices.value(side);
        let wished = match self {
            Self::Truthful => value,
            Self::Midpoint => prices.middle(),
            Self::LastPrice => prices
                .last
                .map_or_else(|| prices.middle(), |last| prices.within(last)),
            Self::Shading(part) => {
                let spread = prices.buy.saturating_sub(prices.feed_in);
                let full = Price::from(Bps::FULL.0);
                let part = Price::from(part.0.min(Bps::FULL.0));
                // Whole and rest apart, so that nothing overflows; rounded down, towards the value.
                let shaded = (spread / full)
                    .saturating_mul(part)
                    .saturating_add((spread % full) * part / full);
                match side {
                    Side::Buy => value.saturating_sub(shaded),
                    Side::Sell => value.saturating_add(shaded),
                }
            }
        };
        prices.no_worse(side, wished).min(LIMIT_MAX)
    }

    /// Returns what to offer for a forecast; `None` when that is less than a unit, or worth nothing to who lacks it.
    pub fn quote(self, forecast: &Forecast, prices: &Prices, unit: Wh) -> Option<Quote> {
        let (side, energy) = forecast.side()?;
        let units = energy.0.checked_div(unit.0)?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let limit = self.limit(side, prices);
        let is_worthless = side == Side::Buy && limit == 0;
        (units > 0 && !is_worthless).then_some(Quote { side, limit, units })
    }
}

/// What an automatic trader offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Buys or sells.
    pub side: Side,
    /// What a unit may cost at most, or must earn at least.
    pub limit: Price,
    /// How many trading units.
    pub units: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    const PRICES: Prices = Prices {
        buy: 9,
        feed_in: 2,
        last: None,
    };
    const UNIT: Wh = Wh(10);

    fn past(step: u32, allocated: u64, consumption: u64) -> PastStep {
        PastStep {
            step: Step(step),
            allocated: Wh(allocated),
            consumption: Some(Wh(consumption)),
        }
    }

    fn forecast(balance_wh: i128) -> Forecast {
        Forecast {
            step: Step(1),
            balance_wh,
            basis: Basis::Mean(1),
        }
    }

    #[test]
    fn a_day_has_as_many_steps_as_metered_time_says() {
        assert_eq!(steps_per_day(900_000), 96);
        assert_eq!(steps_per_day(3_600_000), 24);
        assert_eq!(steps_per_day(u64::MAX), 1);
        assert_eq!(steps_per_day(0), 1);
    }

    #[test]
    fn the_day_before_goes_before_the_latest_steps() {
        let history = [past(4, 500, 100), past(99, 0, 900)];
        let made = Forecast::make(&history, Step(100), 96).unwrap();
        assert_eq!(made.basis, Basis::DayBefore(Step(4)));
        assert_eq!(made.balance_wh, 400);
        assert_eq!(made.side(), Some((Side::Sell, Wh(400))));
    }

    #[test]
    fn without_the_day_before_the_latest_steps_are_averaged_towards_zero() {
        let history: Vec<_> = (1..=6).map(|step| past(step, 0, u64::from(step))).collect();
        let made = Forecast::make(&history, Step(8), 96).unwrap();
        // −3 −4 −5 −6 = −18, a quarter of which is −4.5.
        assert_eq!(made.basis, Basis::Mean(4));
        assert_eq!(made.balance_wh, -4);
        assert_eq!(made.side(), Some((Side::Buy, Wh(4))));
    }

    #[test]
    fn steps_without_consumption_and_steps_to_come_are_not_looked_at() {
        let unknown = PastStep {
            consumption: None,
            ..past(3, 700, 0)
        };
        let history = [unknown, past(8, 700, 0), past(9, 700, 0)];
        assert_eq!(Forecast::make(&history, Step(8), 96), None);
        assert_eq!(Forecast::make(&[], Step(8), 96), None);
    }

    #[test]
    fn a_balanced_member_offers_nothing() {
        assert_eq!(forecast(0).side(), None);
        for balance_wh in [0, 9, -9] {
            let quote = Strategy::Truthful.quote(&forecast(balance_wh), &PRICES, UNIT);
            assert_eq!(quote, None, "{balance_wh}");
        }
    }

    #[test]
    fn parts_of_a_unit_are_not_offered() {
        let quote = |balance_wh| Strategy::Truthful.quote(&forecast(balance_wh), &PRICES, UNIT);
        let sale = Quote {
            side: Side::Sell,
            limit: 2,
            units: 12,
        };
        assert_eq!(quote(129), Some(sale));
        let purchase = Quote {
            side: Side::Buy,
            limit: 9,
            units: 12,
        };
        assert_eq!(quote(-129), Some(purchase));
        assert_eq!(
            Strategy::Truthful.quote(&forecast(129), &PRICES, Wh(0)),
            None
        );
    }

    #[test]
    fn strategies_price_between_the_tariffs() {
        let limits =
            |strategy: Strategy| [Side::Buy, Side::Sell].map(|side| strategy.limit(side, &PRICES));
        assert_eq!(limits(Strategy::Truthful), [9, 2]);
        assert_eq!(limits(Strategy::Midpoint), [5, 5]);
        assert_eq!(limits(Strategy::Shading(Bps(0))), [9, 2]);
        assert_eq!(limits(Strategy::Shading(Bps(2_000))), [8, 3]);
        assert_eq!(limits(Strategy::Shading(Bps(5_000))), [6, 5]);
        assert_eq!(limits(Strategy::Shading(Bps::FULL)), [2, 9]);
        assert_eq!(limits(Strategy::LastPrice), [5, 5]);
        let after = |last| {
            let prices = Prices {
                last: Some(last),
                ..PRICES
            };
            [Side::Buy, Side::Sell].map(|side| Strategy::LastPrice.limit(side, &prices))
        };
        assert_eq!(after(7), [7, 7]);
        assert_eq!(after(1), [2, 2]);
        assert_eq!(after(20), [9, 9]);
    }

    #[test]
    fn tariffs_are_taken_at_the_treasurys_rates() {
        let prices = |rates| {
            let prices = Prices::in_coins(9, 2, rates, None)?;
            Some((prices.buy, prices.feed_in))
        };
        assert_eq!(prices(Rates::ONE_TO_ONE), Some((9, 2)));
        let rate = |money, coins| Rate { money, coins };
        // A coin costs 4 and brings 3: two coins are 8, three would be 12; a coin brings more than the 2 of the grid.
        let dear = Rates {
            buy: rate(3, 1),
            sell: rate(4, 1),
        };
        assert_eq!(prices(dear), Some((2, 1)));
        // Coins that cost more than the energy buy none of it.
        let dearer = Rates {
            buy: rate(10, 1),
            sell: rate(10, 1),
        };
        assert_eq!(prices(dearer), Some((0, 1)));
        let cheap = Rates {
            buy: rate(1, 1_000),
            sell: rate(1, 100),
        };
        assert_eq!(prices(cheap), Some((900, 2_000)));
        for worthless in [rate(0, 1), rate(1, u128::MAX)] {
            let rates = Rates {
                buy: worthless,
                ..cheap
            };
            assert_eq!(prices(rates), None, "{worthless:?}");
        }
    }

    #[test]
    fn who_would_pay_nothing_offers_nothing() {
        let free = Prices {
            buy: 0,
            feed_in: 0,
            last: None,
        };
        let quote = |balance_wh| Strategy::Truthful.quote(&forecast(balance_wh), &free, UNIT);
        assert_eq!(quote(-100), None);
        assert_eq!(quote(100).unwrap().limit, 0);
    }

    #[test]
    fn strategies_are_read_as_they_are_written() {
        for text in [
            "truthful",
            "midpoint",
            "last-price",
            "shading=0%",
            "shading=35%",
        ] {
            let strategy: Strategy = text.parse().unwrap();
            assert_eq!(strategy.to_string(), text);
        }
        assert_eq!("shading=20".parse(), Ok(Strategy::Shading(Bps(2_000))));
        for text in [
            "",
            "greedy",
            "shading",
            "shading=",
            "shading=101",
            "shading=+5",
            "shading=1.5",
        ] {
            let error = text.parse::<Strategy>().unwrap_err().to_string();
            assert!(error.contains("write truthful"), "{error}");
        }
    }

    proptest! {
        /// Whatever the prices, nobody offers worse than the outer grid, or what the market does not take.
        #[test]
        fn no_limit_is_worse_than_the_outer_grid(
            buy in any::<u64>(), feed_in in any::<u64>(), last in proptest::option::of(any::<u128>()),
            part in any::<u16>(), balance_wh in -(1i128 << 64)..1i128 << 64, unit in 0u64..1_000,
        ) {
            let prices = Prices { buy: buy.into(), feed_in: feed_in.into(), last };
            let strategies =
                [Strategy::Truthful, Strategy::Midpoint, Strategy::Shading(Bps(part)), Strategy::LastPrice];
            for strategy in strategies {
                let Some(quote) = strategy.quote(&forecast(balance_wh), &prices, Wh(unit)) else { continue };
                prop_assert!(quote.units > 0 && quote.limit <= LIMIT_MAX);
                match quote.side {
                    Side::Buy => prop_assert!(quote.limit > 0 && quote.limit <= prices.buy && balance_wh < 0),
                    Side::Sell => prop_assert!(quote.limit >= prices.feed_in && balance_wh > 0),
                }
                let energy = u128::from(quote.units) * u128::from(unit);
                prop_assert!(energy <= balance_wh.unsigned_abs());
            }
        }

        /// Whatever the rates, nobody pays coins that cost more than the outer grid's energy, nor takes coins that bring less
        /// than what it feeds in.
        #[test]
        fn no_limit_is_worse_than_the_outer_grid_in_money(
            buy in any::<u64>(), feed_in in any::<u64>(), last in proptest::option::of(any::<u128>()), part in any::<u16>(),
            given in (any::<u32>(), 1..u32::MAX), taken in (any::<u32>(), 1..u32::MAX),
        ) {
            let rate = |(money, coins): (u32, u32)| Rate { money: money.into(), coins: coins.into() };
            let rates = Rates { buy: rate(given), sell: rate(taken) };
            let (buy, feed_in) = (u128::from(buy), u128::from(feed_in));
            if let Some(prices) = Prices::in_coins(buy, feed_in, rates, last) {
                let strategies =
                    [Strategy::Truthful, Strategy::Midpoint, Strategy::Shading(Bps(part)), Strategy::LastPrice];
                for strategy in strategies {
                    let paid = strategy.limit(Side::Buy, &prices);
                    prop_assert!(paid * rates.sell.money <= buy * rates.sell.coins);
                    let received = strategy.limit(Side::Sell, &prices);
                    prop_assert!(received <= LIMIT_MAX);
                    prop_assert!(received * rates.buy.money >= feed_in * rates.buy.coins);
                }
            }
        }

        /// The same history in any order makes the same forecast.
        #[test]
        fn the_order_of_the_history_does_not_matter(
            steps in proptest::collection::btree_map(0u32..200, (any::<u64>(), any::<u64>()), 0..20),
            step in 0u32..220,
        ) {
            let mut history: Vec<_> =
                steps.into_iter().map(|(step, (allocated, consumption))| past(step, allocated, consumption)).collect();
            let made = Forecast::make(&history, Step(step), 96);
            history.reverse();
            prop_assert_eq!(made, Forecast::make(&history, Step(step), 96));
        }
    }
}
