//! `history --trades`: whom an account traded with in past steps, and which generators made what it had.

use std::collections::{BTreeMap, BTreeSet};

use commonwatt_clearing::{ORDERS_MAX, Side};
use commonwatt_primitives::{Coin, Hash, Price, Step, Wh};
use jsonrpsee::rpc_params;
use pallet_double_auction::ORDERS_PER_ANSWER_MAX;
use serde_json::{Value, json};

use super::{orders::understand, session::ask_rules};
use crate::{
    answers::{
        Amount, ClearedTrades, Entries, MarketState, MatchedTrades, OrderName, Orders, Trace, Trade,
    },
    client::{Client, ClientError, harmless},
    error::WalletError,
    table::{Align, Table},
    units::{CoinFormat, grouped, show_wh, table_wh},
};

/// Steps of a meter in one answer.
const STEPS_PER_ANSWER: u32 = 672;

/// Whose trades are asked for, and of which steps.
pub(super) struct Question<'a> {
    pub account: &'a str,
    /// The last step; when it is left out the last that closed, and what orders for steps to come matched so far is
    /// told too.
    pub newest: Option<Step>,
    pub steps: u32,
}

/// An account's trades of the steps it traded in, newest first.
pub(super) struct History {
    account: String,
    unit: Wh,
    steps: Vec<StepTrades>,
}

/// An account's trades in a step.
struct StepTrades {
    step: Step,
    stage: Stage,
    /// As the node tells of them.
    told: Vec<Value>,
    deals: Vec<Deal>,
    sums: Sums,
}

/// What is known of a step beside its trades.
enum Stage {
    /// It is to come: its orders match as they arrive.
    Open,
    /// It was cleared.
    Cleared {
        mechanism: Option<Value>,
        trace: Option<Value>,
    },
}

/// A trade as one of its sides sees it.
#[derive(Debug, PartialEq, Eq)]
struct Deal {
    side: Side,
    with: String,
    order: Option<OrderName>,
    units: u32,
    price: Price,
    coins: Coin,
}

/// What trades came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    bought: u64,
    sold: u64,
    paid: Coin,
    received: Coin,
}

impl Deal {
    /// Returns what a trade was for the account; `None` when it was between others, or makes no sense.
    fn of(trade: &Trade, account: &str) -> Option<Self> {
        let is = |who: &Option<String>| who.as_deref() == Some(account);
        let with = |who: &Option<String>| who.as_deref().map_or_else(String::new, harmless);
        if is(&trade.buyer) {
            let Amount(coins) = trade.buyer_paid?;
            let Amount(price) = trade.price;
            return Some(Self {
                side: Side::Buy,
                with: with(&trade.seller),
                order: trade.buy_order,
                units: trade.units,
                price,
                coins,
            });
        }
        if is(&trade.seller) {
            let Amount(coins) = trade.seller_received?;
            return Some(Self {
                side: Side::Sell,
                with: with(&trade.buyer),
                order: trade.sell_order,
                units: trade.units,
                // Where the treasury takes a part, the seller's price is not the buyer's.
                price: coins.checked_div(Coin::from(trade.units))?,
                coins,
            });
        }
        None
    }
}

impl Sums {
    /// Returns these and a further trade; `None` when they don't fit.
    fn with(self, side: Side, units: u64, coins: Coin) -> Option<Self> {
        Some(match side {
            Side::Buy => Self {
                bought: self.bought.checked_add(units)?,
                paid: self.paid.checked_add(coins)?,
                ..self
            },
            Side::Sell => Self {
                sold: self.sold.checked_add(units)?,
                received: self.received.checked_add(coins)?,
                ..self
            },
        })
    }
}

impl StepTrades {
    /// Takes an account's trades out of those of a step; `None` when it has none there.
    fn of(
        method: &'static str,
        account: &str,
        step: Step,
        stage: Stage,
        all: Vec<Value>,
    ) -> Result<Option<Self>, WalletError> {
        let is_own = |trade: &Value| {
            ["buyer", "seller"]
                .iter()
                .any(|side| trade.get(side).and_then(Value::as_str) == Some(account))
        };
        let told: Vec<_> = all.into_iter().filter(is_own).collect();
        let mut deals = Vec::with_capacity(told.len());
        let mut sums = Sums::default();
        for trade in &told {
            let trade: Trade = understand(method, trade.clone())?;
            let deal = Deal::of(&trade, account)
                .ok_or_else(|| wrong(method, "a trade says not what was paid"))?;
            sums = sums
                .with(deal.side, u64::from(deal.units), deal.coins)
                .ok_or_else(|| wrong(method, "the sums of its trades are too large"))?;
            deals.push(deal);
        }
        Ok((!told.is_empty()).then_some(Self {
            step,
            stage,
            told,
            deals,
            sums,
        }))
    }

    fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Cleared { .. })
    }

    fn to_json(&self) -> Value {
        let (state, mechanism, trace) = match &self.stage {
            Stage::Open => ("matched", &None, &None),
            Stage::Cleared { mechanism, trace } => ("cleared", mechanism, trace),
        };
        json!({
            "step": self.step,
            "state": state,
            "mechanism": mechanism,
            "trades": self.told,
            "bought": self.sums.bought,
            "sold": self.sums.sold,
            "paid": self.sums.paid.to_string(),
            "received": self.sums.received.to_string(),
            "trace": trace,
        })
    }
}

impl History {
    /// Asks a node, about one block.
    pub(super) async fn ask(client: &Client, question: Question<'_>) -> Result<Self, WalletError> {
        let Question {
            account,
            newest,
            steps,
        } = question;
        let (best, at) = client.best().await?;
        let mut found = Vec::new();
        let rules = ask_rules(client).await?;
        if newest.is_none() {
            let orders: Orders = client
                .ask("market_orders", rpc_params![account, 0, at])
                .await?;
            let open: BTreeSet<Step> = orders.open.iter().map(|order| order.step).collect();
            for step in open
                .into_iter()
                .rev()
                .filter(|step| rules.is_continuous_at(*step))
            {
                found.extend(ask_matched(client, account, step, at).await?);
            }
        }
        let newest = newest.map_or(best, |Step(newest)| newest.min(best));
        for step in ask_traded_steps(client, account, newest, steps, at).await? {
            found.extend(ask_cleared(client, account, step, at).await?);
        }
        Ok(Self {
            account: account.to_owned(),
            unit: rules.unit,
            steps: found,
        })
    }

    /// Returns a list of steps.
    pub(super) fn to_json(&self) -> Value {
        self.steps.iter().map(StepTrades::to_json).collect()
    }

    /// Returns tables and sums for people.
    pub(super) fn describe(&self, coin: &CoinFormat) -> Result<String, WalletError> {
        if self.steps.is_empty() {
            return Ok(format!("no trades of {} in these steps\n", self.account));
        }
        let mut text = self.trade_table(coin).to_string();
        let mut sums = Sums::default();
        for StepTrades { sums: step, .. } in self.steps.iter().filter(|step| step.is_over()) {
            sums = sums
                .with(Side::Buy, step.bought, step.paid)
                .and_then(|sums| sums.with(Side::Sell, step.sold, step.received))
                .ok_or_else(|| wrong("market_clearing", "the sums of its trades are too large"))?;
        }
        text.push_str(&format!(
            "\nbought {} for {}, sold {} for {}\n",
            self.energy(sums.bought),
            coin.show(sums.paid),
            self.energy(sums.sold),
            coin.show(sums.received)
        ));
        let origins = self.origin_table()?;
        if !origins.is_empty() {
            text.push_str(&format!("\nmade by\n{origins}"));
        }
        Ok(text)
    }

    fn energy(&self, units: u64) -> String {
        table_wh(u128::from(units).saturating_mul(u128::from(self.unit.0)))
    }

    fn trade_table(&self, coin: &CoinFormat) -> Table {
        let price = format!("price of {}", show_wh(u128::from(self.unit.0)));
        let mut table = Table::new([
            ("step", Align::Right),
            ("trade", Align::Left),
            ("energy", Align::Right),
            (price.as_str(), Align::Right),
            ("paid", Align::Right),
            ("received", Align::Right),
            ("order", Align::Left),
            ("with", Align::Left),
        ]);
        for step in &self.steps {
            for deal in &step.deals {
                let coins = coin.show(deal.coins);
                let (paid, received) = match deal.side {
                    Side::Buy => (coins, String::new()),
                    Side::Sell => (String::new(), coins),
                };
                let verb = match (deal.side, step.is_over()) {
                    (Side::Buy, true) => "bought",
                    (Side::Buy, false) => "will buy",
                    (Side::Sell, true) => "sold",
                    (Side::Sell, false) => "will sell",
                };
                let order = deal.order.map(|order| order.to_string());
                table.row([
                    grouped(u128::from(step.step.0)),
                    verb.to_owned(),
                    self.energy(u64::from(deal.units)),
                    coin.show(deal.price),
                    paid,
                    received,
                    order.unwrap_or_default(),
                    deal.with.clone(),
                ]);
            }
        }
        table
    }

    /// Returns which generators made what the account was allocated, and what it bought.
    fn origin_table(&self) -> Result<Table, WalletError> {
        let mut table = Table::new([
            ("step", Align::Right),
            ("meter", Align::Right),
            ("allocated", Align::Right),
            ("bought", Align::Right),
        ]);
        for StepTrades { step, stage, .. } in &self.steps {
            let Stage::Cleared {
                trace: Some(trace), ..
            } = stage
            else {
                continue;
            };
            let trace: Trace = understand("energy_trace", trace.clone())?;
            let mut made: BTreeMap<u32, (Wh, Wh)> = BTreeMap::new();
            for origin in &trace.from {
                made.entry(origin.meter).or_default().0 = origin.energy;
            }
            for origin in &trace.bought_from {
                made.entry(origin.meter).or_default().1 = origin.energy;
            }
            let mut row = |meter: String, allocated: Wh, bought: Wh| {
                let energy = |energy: Wh| match energy.is_zero() {
                    true => String::new(),
                    false => table_wh(u128::from(energy.0)),
                };
                table.row([
                    grouped(u128::from(step.0)),
                    meter,
                    energy(allocated),
                    energy(bought),
                ]);
            };
            for (meter, (allocated, bought)) in made {
                row(meter.to_string(), allocated, bought);
            }
            if !trace.bought_from_outer_grid.is_zero() {
                row("outer grid".to_owned(), Wh(0), trace.bought_from_outer_grid);
            }
        }
        Ok(table)
    }
}

/// Returns the steps up to `newest` in which an account bought or sold, newest first: its meter tells, so that no other
/// step's trades have to be read.
async fn ask_traded_steps(
    client: &Client,
    account: &str,
    newest: u32,
    steps: u32,
    at: Hash,
) -> Result<Vec<Step>, WalletError> {
    let mut end = newest.saturating_add(1);
    let first = end.saturating_sub(steps).max(1);
    let mut traded = Vec::new();
    while end > first {
        let count = end.saturating_sub(first).min(STEPS_PER_ANSWER);
        let page: Entries = client
            .ask("energy_member", rpc_params![account, end, count, at])
            .await?;
        let begin = end.saturating_sub(count);
        let of_page = page.entries.iter().filter(|entry| {
            let did_trade = !entry.bought.is_zero() || !entry.sold.is_zero();
            did_trade && (begin..end).contains(&entry.step.0)
        });
        traded.extend(of_page.map(|entry| entry.step));
        end = begin;
    }
    Ok(traded)
}

async fn ask_cleared(
    client: &Client,
    account: &str,
    step: Step,
    at: Hash,
) -> Result<Option<StepTrades>, WalletError> {
    const METHOD: &str = "market_clearing";
    let (mut all, mut start) = (Vec::new(), 0);
    let mechanism = loop {
        let asked = rpc_params![step, start, ORDERS_PER_ANSWER_MAX, at];
        let page: Option<ClearedTrades> = client.ask(METHOD, asked).await?;
        let Some(page) = page.filter(|page| page.state == MarketState::Cleared) else {
            return Ok(None);
        };
        all.extend(page.trades.items);
        match next_start(METHOD, start, page.trades.next)? {
            Some(next) => start = next,
            None => break page.mechanism,
        }
    };
    let mut trace: Option<Value> = client
        .ask("energy_trace", rpc_params![step, account, at])
        .await?;
    // The proof is of no use without the block's header, and long.
    if let Some(fields) = trace.as_mut().and_then(Value::as_object_mut) {
        fields.remove("proof");
    }
    StepTrades::of(
        METHOD,
        account,
        step,
        Stage::Cleared { mechanism, trace },
        all,
    )
}

async fn ask_matched(
    client: &Client,
    account: &str,
    step: Step,
    at: Hash,
) -> Result<Option<StepTrades>, WalletError> {
    const METHOD: &str = "market_matched";
    let (mut all, mut start) = (Vec::new(), 0);
    loop {
        let asked = rpc_params![step, start, ORDERS_PER_ANSWER_MAX, at];
        let page: MatchedTrades = client.ask(METHOD, asked).await?;
        all.extend(page.trades);
        match next_start(METHOD, start, page.next)? {
            Some(next) => start = next,
            None => break,
        }
    }
    StepTrades::of(METHOD, account, step, Stage::Open, all)
}

/// Returns where the next page begins, after checking that the pages end: each trade serves at least one order in full,
/// so there are no more than orders.
fn next_start(
    method: &'static str,
    start: u32,
    next: Option<u32>,
) -> Result<Option<u32>, WalletError> {
    match next {
        Some(next) if next <= start || next > ORDERS_MAX => {
            Err(wrong(method, "its pages do not follow each other"))
        }
        next => Ok(next),
    }
}

fn wrong(method: &'static str, cause: &str) -> WalletError {
    WalletError::Client(ClientError::Answer {
        method,
        cause: cause.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    fn trade(buyer: &str, seller: &str, units: u32, paid: &str, received: &str) -> Value {
        json!({
            "buyer": buyer, "seller": seller, "buyOrder": "9-0", "sellOrder": "standing-3", "buyAt": 0, "sellAt": 1,
            "units": units, "price": "8", "buyerPaid": paid, "sellerReceived": received,
        })
    }

    fn cleared(all: Vec<Value>, trace: Option<Value>) -> Result<Option<StepTrades>, WalletError> {
        let stage = Stage::Cleared {
            mechanism: Some(json!({"name": "mcafee"})),
            trace,
        };
        StepTrades::of("market_clearing", "5me", Step(9), stage, all)
    }

    #[test]
    fn a_seller_sees_what_a_unit_earned_and_not_what_it_cost() {
        let trade: Trade = from_value(trade("5you", "5me", 4, "32", "12")).unwrap();
        let deal = Deal::of(&trade, "5me").unwrap();
        assert_eq!((deal.side, deal.price, deal.coins), (Side::Sell, 3, 12));
        assert_eq!(deal.with, "5you");
        let deal = Deal::of(&trade, "5you").unwrap();
        assert_eq!((deal.side, deal.price, deal.coins), (Side::Buy, 8, 32));
        assert_eq!(Deal::of(&trade, "5other"), None);
    }

    #[test]
    fn trades_of_others_are_left_out_and_the_own_are_summed_up() {
        let trades = vec![
            trade("5me", "5you", 10, "80", "70"),
            trade("5you", "5other", 99, "792", "792"),
            trade("5me", "5other", 2, "16", "14"),
        ];
        let step = cleared(trades, None).unwrap().unwrap();
        assert_eq!((step.deals.len(), step.told.len()), (2, 2));
        let told = step.to_json();
        assert_eq!(
            (&told["bought"], &told["paid"], &told["sold"]),
            (&json!(12), &json!("96"), &json!(0))
        );
        assert!(
            cleared(vec![trade("5a", "5b", 1, "8", "8")], None)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let no_units = vec![trade("5you", "5me", 0, "0", "0")];
        let largest = u128::MAX.to_string();
        let too_much = vec![
            trade("5me", "5you", 1, &largest, "8"),
            trade("5me", "5you", 1, "1", "8"),
        ];
        for wrong in [no_units, too_much] {
            let refusal = cleared(wrong, None).map(|_| ()).unwrap_err();
            assert!(refusal.to_string().contains("market_clearing"), "{refusal}");
        }
        assert_eq!(next_start("m", 0, Some(10_000)).unwrap(), Some(10_000));
        for (start, next) in [(0, 0), (10, 10), (10, 9), (0, ORDERS_MAX + 1)] {
            assert!(next_start("m", start, Some(next)).is_err());
        }
    }

    #[test]
    fn trades_are_shown_with_partner_price_and_generators() {
        let trace = json!({
            "from": [{"meter": 0, "energy": 300}], "boughtFrom": [{"meter": 0, "energy": 60}, {"meter": 7, "energy": 20}],
            "boughtFromOuterGrid": 20,
        });
        let over = cleared(vec![trade("5me", "5you", 10, "80", "80")], Some(trace)).unwrap();
        let open = vec![trade("5you", "5me", 5, "40", "40")];
        let open = StepTrades::of("market_matched", "5me", Step(1_234), Stage::Open, open).unwrap();
        let history = History {
            account: "5me".to_owned(),
            unit: Wh(10),
            steps: open.into_iter().chain(over).collect(),
        };
        let text = history.describe(&CoinFormat::default()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].contains("price of 10Wh"), "{text}");
        for part in [
            "1 234",
            "will sell",
            "50 Wh",
            "40 uCWC",
            "standing-3",
            "5you",
        ] {
            assert!(lines[1].contains(part), "{part}: {text}");
        }
        for part in ["bought", "100 Wh", "8 uCWC", "80 uCWC", "9-0"] {
            assert!(lines[2].contains(part), "{part}: {text}");
        }
        // What is not settled yet is in no sum.
        assert_eq!(lines[4], "bought 100 Wh for 80 uCWC, sold 0 Wh for 0 CWC");
        assert_eq!(
            lines[6..8],
            ["made by", "step       meter  allocated  bought"]
        );
        assert_eq!(lines[8], "   9           0     300 Wh   60 Wh");
        assert_eq!(lines[9], "   9           7              20 Wh");
        assert_eq!(lines[10], "   9  outer grid              20 Wh");
    }

    #[test]
    fn an_account_without_trades_is_told_so() {
        let history = History {
            account: "5me".to_owned(),
            unit: Wh(10),
            steps: Vec::new(),
        };
        let text = history.describe(&CoinFormat::default()).unwrap();
        assert_eq!(text, "no trades of 5me in these steps\n");
        assert_eq!(history.to_json(), json!([]));
    }
}
