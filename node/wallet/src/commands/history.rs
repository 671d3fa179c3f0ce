//! `history`: how the markets of past steps ended, and with `--trades` what an account traded in them.

use clap::Args;
use commonwatt_primitives::{Step, Wh};
use jsonrpsee::rpc_params;
use serde_json::Value;

use super::{
    Console,
    args::{NodeArgs, WhoArgs},
    orders::understand,
    session::ask_rules,
    trades,
};
use crate::{
    answers::{Amount, Clearing, MarketState},
    client::harmless,
    error::WalletError,
    table::{Align, Table},
    units::{CoinFormat, grouped, table_wh},
};

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    node: NodeArgs,
    /// So many steps
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=3_360))]
    steps: u32,
    /// The last one of them [default: the last that closed]
    #[arg(long, value_name = "STEP")]
    newest: Option<u32>,
    /// Show the account's own trades instead: with whom, how much, at which price, and which generators made it
    #[arg(long)]
    trades: bool,
    #[command(flatten)]
    who: WhoArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        if self.trades {
            return self.show_trades(console).await;
        }
        if self.who.is_named() {
            return Err(WalletError::usage(
                "the markets of past steps are the same for every account: give --trades too, to see the trades of this one",
            ));
        }
        let client = self.node.connect().await?;
        let asked = rpc_params![self.newest, self.steps];
        let answer: Value = client.ask("market_history", asked).await?;
        if self.json {
            return console.json(&answer);
        }
        let clearings: Vec<Clearing> = understand("market_history", answer)?;
        let unit = ask_rules(&client).await?.unit;
        let table = clearing_table(&clearings, &client.facts().coin, unit);
        match table.is_empty() {
            true => writeln!(console.out, "no orders in these steps")?,
            false => write!(console.out, "{table}")?,
        }
        Ok(())
    }

    async fn show_trades(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let account = self.who.id(console.notes)?.to_string();
        let client = self.node.connect().await?;
        let question = trades::Question {
            account: &account,
            newest: self.newest.map(Step),
            steps: self.steps,
        };
        let history = trades::History::ask(&client, question).await?;
        if self.json {
            return console.json(&history.to_json());
        }
        write!(console.out, "{}", history.describe(&client.facts().coin)?)?;
        Ok(())
    }
}

/// Says what a unit cost: one price, the mean of several, or between which ones.
///
/// The range is where a call would find its price. Where orders match as they arrive nobody paid a price of it, and where
/// sellers get less than buyers pay neither of them need be in it: there it is told what was paid.
pub(super) fn describe_price(clearing: &Clearing, coin: &CoinFormat) -> String {
    let bound = |amount: Option<Amount>| amount.map(|Amount(price)| coin.show(price));
    let mean = clearing
        .turnover
        .zip(clearing.volume_units)
        .and_then(|(Amount(turnover), units)| coin.show_mean(turnover, units));
    if let (None, Some(mechanism), Some(mean)) = (clearing.price, &clearing.mechanism, mean) {
        if mechanism.is_continuous() {
            return format!("{mean} on average");
        }
        if mechanism.is_reducing() {
            return format!("{mean} for buyers");
        }
    }
    match (clearing.price, clearing.range) {
        (Some(Amount(price)), _) => coin.show(price),
        (None, _) if clearing.volume_units.unwrap_or_default() == 0 => "no trade".to_owned(),
        (None, Some(range)) => match (bound(range.low), bound(range.high)) {
            (Some(low), Some(high)) if low == high => low,
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("from {low}"),
            (None, Some(high)) => format!("up to {high}"),
            (None, None) => "several".to_owned(),
        },
        (None, None) => "several".to_owned(),
    }
}

/// Says how a step's market ended, in a word.
pub(super) fn describe_state(clearing: &Clearing) -> String {
    match (clearing.state, &clearing.reason) {
        (MarketState::Cleared, _) => "cleared".to_owned(),
        (MarketState::Void, None) => "void".to_owned(),
        (MarketState::Void, Some(reason)) => format!("void: {}", harmless(reason)),
    }
}

/// Returns the energy of a clearing.
pub(super) fn volume(clearing: &Clearing, unit: Wh) -> String {
    let units = u128::from(clearing.volume_units.unwrap_or_default());
    table_wh(units.saturating_mul(u128::from(unit.0)))
}

fn clearing_table(clearings: &[Clearing], coin: &CoinFormat, unit: Wh) -> Table {
    let price = format!("price of {}", crate::units::show_wh(u128::from(unit.0)));
    let mut table = Table::new([
        ("step", Align::Right),
        ("market", Align::Left),
        ("mechanism", Align::Left),
        ("traded", Align::Right),
        (price.as_str(), Align::Right),
        ("turnover", Align::Right),
        ("orders", Align::Right),
        ("trades", Align::Right),
    ]);
    for clearing in clearings {
        let Step(step) = clearing.step;
        let count = |count: Option<u32>| grouped(u128::from(count.unwrap_or_default()));
        let Amount(turnover) = clearing.turnover.unwrap_or_default();
        let is_void = clearing.state == MarketState::Void;
        let unless_void = |text: String| if is_void { String::new() } else { text };
        let mechanism = clearing.mechanism.as_ref().map(ToString::to_string);
        table.row([
            grouped(u128::from(step)),
            describe_state(clearing),
            mechanism.unwrap_or_default(),
            unless_void(volume(clearing, unit)),
            unless_void(describe_price(clearing, coin)),
            unless_void(coin.show(turnover)),
            unless_void(count(clearing.orders)),
            unless_void(count(clearing.trades)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn clearings_with_and_without_a_price_are_shown() {
        let clearings: Vec<Clearing> = from_value(json!([
            {"step": 9, "state": "cleared", "reason": null, "mechanism": {"name": "average"}, "k": 12, "price": "7",
             "range": {"low": "6", "high": "8"}, "volumeUnits": 120, "turnover": "840", "welfare": "1", "orders": 5,
             "members": 4, "trades": 3},
            {"step": 8, "state": "void", "reason": "late", "mechanism": null, "k": null, "price": null, "range": null,
             "volumeUnits": null, "turnover": null, "welfare": null, "orders": null, "members": null, "trades": null},
            {"step": 7, "state": "cleared", "reason": null, "mechanism": {"name": "loyal"}, "k": 1, "price": null,
             "range": {"low": "6", "high": null}, "volumeUnits": 1, "turnover": "6", "orders": 2, "trades": 1},
        ]))
        .unwrap();
        let text = clearing_table(&clearings, &CoinFormat::default(), Wh(10)).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("price of 10Wh"), "{text}");
        assert!(
            lines[1].contains("1 200 Wh") && lines[1].contains("7 uCWC"),
            "{text}"
        );
        assert!(
            lines[2].contains("void: late") && !lines[2].contains("CWC"),
            "{text}"
        );
        assert!(lines[3].contains("from 6 uCWC"), "{text}");
    }

    fn told(mechanism: &str, range: [&str; 2], units: u32, turnover: &str) -> String {
        let clearing: Clearing = from_value(json!({
            "step": 9, "state": "cleared", "mechanism": {"name": mechanism}, "k": 60, "price": null,
            "range": {"low": range[0], "high": range[1]}, "volumeUnits": units, "turnover": turnover, "orders": 5, "trades": 3,
        }))
        .unwrap();
        describe_price(&clearing, &CoinFormat::default())
    }

    /// The range is what a call would have had: nobody paid 3.
    #[test]
    fn where_orders_match_as_they_arrive_the_mean_of_what_was_paid_is_shown() {
        let mean = told("continuous", ["3", "3"], 63, "330");
        assert_eq!(mean, "5.2 uCWC on average");
        assert_eq!(told("continuous", ["3", "3"], 0, "0"), "no trade");
        assert_eq!(told("loyal", ["3", "6"], 63, "330"), "3 uCWC to 6 uCWC");
        assert_eq!(told("loyal", ["8", "8"], 63, "504"), "8 uCWC");
    }

    /// Of 9 and 3 at the breakeven and neighbours of 8 and 20, buyers pay 9 and sellers get 3, and the range is 8 to 9.
    #[test]
    fn where_sellers_get_less_what_buyers_pay_is_shown() {
        assert_eq!(told("mcafee", ["8", "9"], 7, "63"), "9 uCWC for buyers");
    }
}
