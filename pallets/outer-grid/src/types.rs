//! What the outer grid costs and pays.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Month, Step, Wh};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Money in its smallest unit, owed between people and never on this chain: no coin.
pub type Money = u128;

/// What the outer grid takes and pays for a trading unit of energy.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// What a unit bought from it costs.
    pub buy: u64,
    /// What a unit fed in earns.
    pub feed_in: u64,
}

impl Default for Prices {
    /// The thesis' fixed rates (PROTOCOL 9).
    fn default() -> Self {
        Self { buy: 9, feed_in: 2 }
    }
}

/// Prices from a step on.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Tariff {
    /// First step they hold in.
    pub effective_from: Step,
    /// The prices.
    pub prices: Prices,
}

/// Money for coins: `money` smallest units of it for every `coins`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// So much money.
    pub money: u64,
    /// For so many coins.
    pub coins: u64,
}

impl Rate {
    /// Returns whether a coin costs at most what it costs at `other`.
    pub(crate) fn is_at_most(&self, other: &Self) -> bool {
        u128::from(self.money) * u128::from(other.coins)
            <= u128::from(other.money) * u128::from(self.coins)
    }
}

/// At which rates the treasury changes coins and money. It mints what it sells and burns what it buys.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CoinRates {
    /// What the treasury pays when it buys coins.
    pub buy: Rate,
    /// What it takes when it sells coins.
    pub sell: Rate,
}

/// What is wrong with [`CoinRates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// A rate divides by its coins.
    #[error("a rate says how much money there is for at least one coin")]
    NoCoins,
    /// Anyone could draw money from the treasury by buying and selling.
    #[error("the treasury must not pay more for a coin than it takes for one")]
    BuysAboveSale,
}

impl CoinRates {
    /// Checks that the treasury cannot be drained by buying and selling.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self) -> Result<(), RatesError> {
        if self.buy.coins == 0 || self.sell.coins == 0 {
            return Err(RatesError::NoCoins);
        }
        if !self.buy.is_at_most(&self.sell) {
            return Err(RatesError::BuysAboveSale);
        }
        Ok(())
    }
}

/// Rates with the block that posted them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct PostedRates {
    /// The step from which they hold; 0 for those of the genesis.
    pub since: Step,
    /// The rates.
    pub rates: CoinRates,
}

/// What an account had from the outer grid, gave to it, and owes for it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct GridTotal {
    /// Watt-hours the outer grid covered.
    pub bought_wh: u128,
    /// Watt-hours it took.
    pub fed_in_wh: u128,
    /// Money for what it covered.
    pub charged: Money,
    /// Money for what it took.
    pub credited: Money,
}

impl GridTotal {
    /// Returns what one step's market face meter costs or earns, each rounded to the nearest smallest unit
    /// of money, halves up; `None` when it does not fit.
    ///
    /// Rounded for each step, so that the lines of a statement add up to its total, and to the nearest, so that
    /// the rounding favours nobody.
    pub fn of_step(market_face_wh: i128, prices: Prices, unit: Wh) -> Option<Self> {
        let energy = market_face_wh.unsigned_abs();
        let cost = |price: u64| {
            let unit = u128::from(unit.0);
            energy
                .checked_mul(price.into())?
                .checked_add(unit / 2)?
                .checked_div(unit)
        };
        Some(if market_face_wh >= 0 {
            Self {
                bought_wh: energy,
                charged: cost(prices.buy)?,
                ..Self::default()
            }
        } else {
            Self {
                fed_in_wh: energy,
                credited: cost(prices.feed_in)?,
                ..Self::default()
            }
        })
    }

    /// Returns the sum of both; `None` when it does not fit.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            bought_wh: self.bought_wh.checked_add(other.bought_wh)?,
            fed_in_wh: self.fed_in_wh.checked_add(other.fed_in_wh)?,
            charged: self.charged.checked_add(other.charged)?,
            credited: self.credited.checked_add(other.credited)?,
        })
    }

    /// Returns what the account owes; negative when it is owed.
    pub fn owed(&self) -> i128 {
        let signed = |money: Money| i128::try_from(money).unwrap_or(i128::MAX);
        signed(self.charged).saturating_sub(signed(self.credited))
    }
}

/// One step of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatementLine {
    /// The step.
    pub step: Step,
    /// The prices of its tariff.
    pub prices: Prices,
    /// What the account had and owes.
    pub total: GridTotal,
}

/// What an account owes for the outer grid.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// The kept steps asked about in which anything was bought or fed in, ascending, as they are known now.
    pub lines: Vec<StatementLine>,
    /// Sum of the lines.
    pub total: GridTotal,
    /// The parts of the months asked about whose steps are no longer kept.
    pub months: Vec<(Month, GridTotal)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRICES: Prices = Prices { buy: 9, feed_in: 2 };

    #[test]
    fn what_is_lacking_costs_and_what_is_left_over_earns() {
        let total = GridTotal::of_step(250, PRICES, Wh(10)).expect("it fits");
        assert_eq!(
            (total.bought_wh, total.charged, total.owed()),
            (250, 225, 225)
        );
        let total = GridTotal::of_step(-250, PRICES, Wh(10)).expect("it fits");
        assert_eq!(
            (total.fed_in_wh, total.credited, total.owed()),
            (250, 50, -50)
        );
        assert_eq!(
            GridTotal::of_step(0, PRICES, Wh(10)),
            Some(GridTotal::default())
        );
    }

    #[test]
    fn money_is_rounded_to_the_nearest() {
        let charged = |wh| GridTotal::of_step(wh, PRICES, Wh(10)).map(|total| total.charged);
        assert_eq!(charged(5), Some(5)); // 4.5
        assert_eq!(charged(4), Some(4)); // 3.6
        assert_eq!(charged(6), Some(5)); // 5.4
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let dear = Prices {
            buy: u64::MAX,
            feed_in: 0,
        };
        assert_eq!(GridTotal::of_step(i128::MAX, dear, Wh(1)), None);
        assert_eq!(GridTotal::of_step(1, PRICES, Wh(0)), None);
    }

    #[test]
    fn a_treasury_that_buys_above_its_sale_is_refused() {
        let rate = |money, coins| Rate { money, coins };
        let rates = |buy, sell| CoinRates { buy, sell };
        assert_eq!(rates(rate(9, 100), rate(10, 100)).verify(), Ok(()));
        assert_eq!(rates(rate(1, 10), rate(10, 100)).verify(), Ok(()));
        assert_eq!(
            rates(rate(11, 100), rate(10, 100)).verify(),
            Err(RatesError::BuysAboveSale)
        );
        assert_eq!(
            rates(rate(0, 0), rate(10, 100)).verify(),
            Err(RatesError::NoCoins)
        );
    }

    proptest! {
        #[test]
        fn money_is_never_further_than_half_a_unit_from_exact(
            wh in -(1i128 << 66)..1i128 << 66, buy in 0u64..1 << 60, feed_in in 0u64..1 << 32, unit in 1u64..10_000,
        ) {
            let total = GridTotal::of_step(wh, Prices { buy, feed_in }, Wh(unit));
            let total = total.expect("it fits");
            let (price, money) = if wh >= 0 { (buy, total.charged) } else { (feed_in, total.credited) };
            let exact = wh.unsigned_abs() * u128::from(price);
            prop_assert!((money * u128::from(unit)).abs_diff(exact) * 2 <= u128::from(unit));
        }
    }
}
