//! The outer grid's tariff as a bound: an order that does worse is refused, unless it is said that this is meant.

use clap::Args;
use commonwatt_clearing::Side;
use commonwatt_primitives::Price;
use pallet_double_auction::When;

use super::auto::rates_of;
use crate::{
    answers::{Amount, Rules},
    error::WalletError,
    strategy::Prices,
    units::CoinFormat,
};

/// Whether a limit may be worse than the tariff.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct TariffArgs {
    /// The limit may be worse than the outer grid's tariff: a purchase above it, or a sale below what is fed in for
    #[arg(long)]
    beyond_tariff: bool,
}

/// A limit, and the steps it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub side: Side,
    pub price: Price,
    pub when: When,
}

impl TariffArgs {
    /// Refuses a limit that is worse than the outer grid, counted in coins as the automatic trader does.
    ///
    /// A coin has many smallest ones, and a limit without a unit is in whole coins: so a forgotten letter would cost a
    /// million times what was meant. Where no tariff is posted there is nothing to compare with.
    pub(super) fn verify(
        self,
        limit: Limit,
        rules: &Rules,
        coin: &CoinFormat,
    ) -> Result<(), WalletError> {
        if self.beyond_tariff {
            return Ok(());
        }
        let (first, last) = match limit.when {
            When::Once(step) => (step, Some(step)),
            When::Standing { until } => (rules.next_step, until),
        };
        for tariff in rules.tariffs_within(first, last) {
            let (Amount(buy), Amount(feed_in)) = (tariff.buy, tariff.feed_in);
            let prices = Prices::in_coins(buy, feed_in, rates_of(rules.coin_rates), None)
                .ok_or_else(|| {
                    WalletError::usage(
                        "no coins are worth the outer grid's tariff at the treasury's rates: nothing was signed; say with \
                         --beyond-tariff that the order is meant all the same",
                    )
                })?;
            let value = prices.value(limit.side);
            let (is_worse, compared, mend) = match limit.side {
                Side::Buy => (
                    limit.price > value,
                    "more than the outer grid takes",
                    "lower",
                ),
                Side::Sell => (
                    limit.price < value,
                    "less than the outer grid pays",
                    "raise",
                ),
            };
            if is_worse {
                let at_rates = match rules.coin_rates {
                    Some(_) => " at the treasury's rates",
                    None => "",
                };
                return Err(WalletError::usage(format!(
                    "the limit is {}, and that is {compared}, which is {}{at_rates}: nothing was signed; {mend} --limit ({}), or \
                     say with --beyond-tariff that it is meant",
                    coin.show_price(limit.price, rules.unit),
                    coin.show_price(value, rules.unit),
                    coin.explain_words(),
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_primitives::Step;
    use serde_json::{Value, from_value, json};

    fn rules(rates: Value) -> Rules {
        from_value(json!({
            "unit": 10, "stepsAhead": 96, "nextStep": 7, "mechanisms": [], "coinRates": rates,
            "tariffs": [{"fromStep": 5, "buy": "9", "feedIn": "2"}, {"fromStep": 20, "buy": "6", "feedIn": "4"}],
        }))
        .unwrap()
    }

    fn verify(side: Side, price: Price, first: u32, last: Option<u32>) -> Result<(), String> {
        verify_at(side, price, first, last, Value::Null)
    }

    fn verify_at(
        side: Side,
        price: Price,
        first: u32,
        last: Option<u32>,
        rates: Value,
    ) -> Result<(), String> {
        let when = match last == Some(first) {
            true => When::Once(Step(first)),
            false => When::Standing {
                until: last.map(Step),
            },
        };
        let limit = Limit { side, price, when };
        let args = |beyond_tariff| TariffArgs { beyond_tariff };
        let (rules, coin) = (rules(rates), CoinFormat::default());
        args(true).verify(limit, &rules, &coin).unwrap();
        args(false)
            .verify(limit, &rules, &coin)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_purchase_above_the_buy_tariff_is_refused_with_both_figures() {
        verify(Side::Buy, 9, 7, Some(7)).unwrap();
        let said = verify(Side::Buy, 7_000_000, 7, Some(7)).unwrap_err();
        assert!(
            said.contains("is 7 CWC/10Wh") && said.contains("takes, which is 9 uCWC/10Wh:"),
            "{said}"
        );
        assert!(
            said.contains("--beyond-tariff") && said.contains("lower --limit"),
            "{said}"
        );
        assert!(
            said.contains("nothing was signed") && said.contains("uCWC is a millionth"),
            "{said}"
        );
    }

    #[test]
    fn a_sale_below_the_feed_in_tariff_is_refused() {
        verify(Side::Sell, 2, 7, Some(7)).unwrap();
        let said = verify(Side::Sell, 1, 7, Some(7)).unwrap_err();
        assert!(
            said.contains("is 1 uCWC/10Wh") && said.contains("pays, which is 2 uCWC/10Wh:"),
            "{said}"
        );
    }

    #[test]
    fn the_tariffs_of_all_steps_count() {
        verify(Side::Buy, 9, 7, Some(19)).unwrap();
        for last in [Some(20), None] {
            let said = verify(Side::Buy, 9, 7, last).unwrap_err();
            assert!(said.contains("6 uCWC/10Wh"), "{said}");
        }
        assert!(verify(Side::Sell, 3, 30, Some(30)).is_err());
    }

    #[test]
    fn without_a_tariff_nothing_is_compared() {
        verify(Side::Buy, 7_000_000, 4, Some(4)).unwrap();
    }

    #[test]
    fn tariffs_are_compared_at_the_treasurys_rates() {
        // A thousand coins for one of money.
        let rate = |money: &str| json!({"money": money, "coins": "1000"});
        let rates = json!({"buy": rate("1"), "sell": rate("1")});
        verify_at(Side::Buy, 9_000, 7, Some(7), rates.clone()).unwrap();
        let said = verify_at(Side::Buy, 9_001, 7, Some(7), rates).unwrap_err();
        assert!(
            said.contains("9000 uCWC/10Wh at the treasury's rates"),
            "{said}"
        );
        let worthless = json!({"buy": rate("0"), "sell": rate("0")});
        let said = verify_at(Side::Sell, 5, 7, Some(7), worthless).unwrap_err();
        assert!(said.contains("no coins are worth"), "{said}");
    }
}
