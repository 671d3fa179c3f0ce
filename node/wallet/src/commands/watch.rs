//! `watch`: each step's market, and the account's own orders, as they happen.

use std::time::Duration;

use clap::Args;
use commonwatt_clearing::Side;
use commonwatt_primitives::{Step, Wh};
use jsonrpsee::{core::client::Subscription, rpc_params};
use pallet_double_auction::OrderStatus;
use serde_json::{Value, json};

use super::{
    Console,
    args::{NodeArgs, WhoArgs},
    history::{describe_price, describe_state, volume},
    orders::understand,
    session::ask_rules,
};
use crate::{
    answers::{Amount, Clearing, ClosedStep, Fill, MarketState, Order, Orders},
    client::{Client, ClientError, harmless},
    error::WalletError,
    progress::Progress,
    signing::show_units,
    units::CoinFormat,
};

/// How long the news of a step that has closed are waited for: they come with the same block, and by other ways.
const NEWS_PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    who: WhoArgs,
    /// End when so many steps have closed [default: go on until Ctrl-C]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// What there is to tell.
enum News {
    Closed(ClosedStep),
    Clearing(Value),
    Fill(Value),
    /// Somebody pressed Ctrl-C.
    Stop,
}

/// What is followed.
struct Feeds {
    steps: Subscription<ClosedStep>,
    clearings: Subscription<Value>,
    fills: Option<Subscription<Value>>,
}

impl Feeds {
    async fn open(client: &Client, account: Option<String>) -> Result<Self, ClientError> {
        let clearings = client
            .follow(
                "market_subscribeClearings",
                rpc_params![],
                "market_unsubscribeClearings",
            )
            .await?;
        let fills = match account {
            None => None,
            Some(account) => Some(
                client
                    .follow(
                        "market_subscribeFills",
                        rpc_params![account],
                        "market_unsubscribeFills",
                    )
                    .await?,
            ),
        };
        // Last, so that no step is counted whose news could have been missed.
        let steps = client
            .follow(
                "energy_subscribeSteps",
                rpc_params![],
                "energy_unsubscribeSteps",
            )
            .await?;
        Ok(Self {
            steps,
            clearings,
            fills,
        })
    }

    /// Waits for news.
    async fn next(&mut self) -> Result<News, ClientError> {
        let Self {
            steps,
            clearings,
            fills,
        } = self;
        tokio::select! {
            biased;
            news = next_of_market(clearings, fills.as_mut()) => news,
            closed = next("energy_subscribeSteps", steps) => closed.map(News::Closed),
        }
    }

    /// Waits for news of the market alone.
    async fn next_of_market(&mut self) -> Result<News, ClientError> {
        next_of_market(&mut self.clearings, self.fills.as_mut()).await
    }
}

async fn next_of_market(
    clearings: &mut Subscription<Value>,
    fills: Option<&mut Subscription<Value>>,
) -> Result<News, ClientError> {
    let fills = async {
        match fills {
            Some(fills) => next("market_subscribeFills", fills).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        stopped = tokio::signal::ctrl_c() => {
            stopped.map_err(|error| ClientError::Lost(error.to_string()))?;
            Ok(News::Stop)
        }
        clearing = next("market_subscribeClearings", clearings) => clearing.map(News::Clearing),
        fill = fills => fill.map(News::Fill),
    }
}

/// The last steps whose news were told. Each way tells steps in their sequence.
#[derive(Clone, Copy, Debug)]
struct Told {
    clearing: Step,
    fill: Step,
}

/// What a step that has closed brings, and was not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    clearing: bool,
    fill: bool,
}

impl Due {
    /// Asks in the step's own block whether there was a market, and whether the account had orders in it, or has a standing
    /// order that the next step is without.
    async fn ask(
        client: &Client,
        account: Option<&str>,
        closed: ClosedStep,
    ) -> Result<Self, ClientError> {
        let ClosedStep { step, block } = closed;
        let asked = rpc_params![step, 1, block];
        let markets: Vec<Clearing> = client.ask("market_history", asked).await?;
        let fill = match account {
            None => false,
            Some(account) => {
                let asked = rpc_params![account, 1, block];
                let orders: Orders = client.ask("market_orders", asked).await?;
                is_fill_due(&orders, step)
            }
        };
        Ok(Self {
            clearing: markets.iter().any(|market| market.step == step),
            fill,
        })
    }

    /// Leaves out what was told.
    fn without(self, told: Told, step: Step) -> Self {
        Self {
            clearing: self.clearing && told.clearing < step,
            fill: self.fill && told.fill < step,
        }
    }

    fn is_nothing(self) -> bool {
        !self.clearing && !self.fill
    }
}

/// Returns whether a block that closed a step has to tell an account of its orders, by what that block knows of them.
fn is_fill_due(orders: &Orders, step: Step) -> bool {
    let had_orders = orders.past.iter().any(|order| order.step == step);
    let left_out = orders.standing.iter().any(|standing| {
        let mut open = orders.open.iter();
        !open.any(|order| order.id == standing.id)
    });
    had_orders || left_out
}

/// Waits for what a subscription tells next.
pub(super) async fn next<T: serde::de::DeserializeOwned>(
    method: &'static str,
    subscription: &mut Subscription<T>,
) -> Result<T, ClientError> {
    match subscription.next().await {
        Some(news) => news.map_err(|error| ClientError::Answer {
            method,
            cause: harmless(&error.to_string()),
        }),
        None => Err(ClientError::Lost(format!(
            "the subscription of {method} ended"
        ))),
    }
}

impl Watch {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let id = self.who.id_if_any(console.notes)?;
        let client = self.node.connect().await?;
        let unit = ask_rules(&client).await?.unit;
        let account = id.map(|id| id.to_string());
        if !self.json {
            match &account {
                Some(account) => writeln!(
                    console.notes,
                    "Watching the market, and the orders of {account}."
                )?,
                None => writeln!(
                    console.notes,
                    "Watching the market. Name an account with --account to see what becomes of its orders."
                )?,
            }
        }
        let feeds = Feeds::open(&client, account.clone()).await?;
        let mut watcher = Watcher {
            account: account.as_deref(),
            coin: &client.facts().coin,
            progress: Progress::new(client.facts().timing, self.json),
            client: &client,
            feeds,
            told: Told {
                clearing: Step(0),
                fill: Step(0),
            },
            unit,
            is_json: self.json,
        };
        watcher.run(self.steps, console).await
    }
}

/// Somebody who tells what happens.
struct Watcher<'a> {
    client: &'a Client,
    account: Option<&'a str>,
    coin: &'a CoinFormat,
    progress: Progress,
    feeds: Feeds,
    told: Told,
    unit: Wh,
    is_json: bool,
}

impl Watcher<'_> {
    /// Tells of so many steps, or until somebody presses Ctrl-C.
    async fn run(
        &mut self,
        steps: Option<u32>,
        console: &mut Console<'_>,
    ) -> Result<(), WalletError> {
        let mut left = steps;
        // The last step is told of at once, and closed before anybody watched.
        let mut is_first = true;
        while left != Some(0) {
            match self.progress.during("watching", self.feeds.next()).await? {
                News::Stop => return Ok(()),
                News::Closed(closed) => {
                    if !is_first {
                        let is_stopped = self.tell_due(closed, console).await?;
                        if is_stopped {
                            return Ok(());
                        }
                        left = left.map(|left| left.saturating_sub(1));
                    }
                    is_first = false;
                    if self.is_json {
                        console.json_line(&json!({"closed": closed.step}))?;
                    }
                }
                News::Clearing(clearing) => self.tell_clearing(clearing, console)?,
                News::Fill(fill) => self.tell_fill(fill, console)?,
            }
            console.out.flush()?;
        }
        Ok(())
    }

    /// Tells what a step brought that has closed, before it is said that it has: the ways of the news are several, and race.
    /// Returns whether somebody pressed Ctrl-C.
    async fn tell_due(
        &mut self,
        closed: ClosedStep,
        console: &mut Console<'_>,
    ) -> Result<bool, WalletError> {
        let step = closed.step;
        let due = Due::ask(self.client, self.account, closed).await?;
        let end = tokio::time::Instant::now() + NEWS_PATIENCE;
        while !due.without(self.told, step).is_nothing() {
            let news = tokio::time::timeout_at(end, self.feeds.next_of_market());
            let Ok(news) = self.progress.during("watching", news).await else {
                writeln!(
                    console.notes,
                    "Warning: the node did not tell all of step {step} within {NEWS_PATIENCE:?}: see `commonwatt wallet history` and \
                     `orders`."
                )?;
                return Ok(false);
            };
            match news? {
                News::Stop => return Ok(true),
                News::Clearing(clearing) => self.tell_clearing(clearing, console)?,
                News::Fill(fill) => self.tell_fill(fill, console)?,
                News::Closed(_) => {}
            }
        }
        Ok(false)
    }

    fn tell_clearing(&mut self, news: Value, console: &mut Console<'_>) -> Result<(), WalletError> {
        let clearing: Clearing = understand("market_subscribeClearings", news.clone())?;
        self.told.clearing = self.told.clearing.max(clearing.step);
        if self.is_json {
            return console.json_line(&json!({ "clearing": news }));
        }
        let line = describe_clearing(&clearing, self.coin, self.unit);
        writeln!(console.out, "{line}")?;
        Ok(())
    }

    fn tell_fill(&mut self, news: Value, console: &mut Console<'_>) -> Result<(), WalletError> {
        let fill: Fill = understand("market_subscribeFills", news.clone())?;
        self.told.fill = self.told.fill.max(fill.step);
        if self.is_json {
            return console.json_line(&json!({ "fill": news }));
        }
        for line in describe_fill(&fill, self.coin, self.unit) {
            writeln!(console.out, "  {line}")?;
        }
        Ok(())
    }
}

fn describe_clearing(clearing: &Clearing, coin: &CoinFormat, unit: Wh) -> String {
    let state = describe_state(clearing);
    let step = clearing.step;
    if clearing.state == MarketState::Void {
        return format!("step {step} {state}; orders expired, coins on hold are free");
    }
    let price = match clearing.volume_units {
        None | Some(0) => "nobody traded".to_owned(),
        Some(_) => format!(
            "{} traded at {} for {}",
            volume(clearing, unit),
            describe_price(clearing, coin),
            show_units(1, unit)
        ),
    };
    let orders = clearing.orders.unwrap_or_default();
    format!("step {step} {state}: {price}; {orders} orders")
}

fn describe_order(order: &Order, coin: &CoinFormat, unit: Wh) -> String {
    let (id, asked) = (order.id, show_units(order.units, unit));
    let Amount(coins) = order.coins;
    let verb = match order.side {
        Side::Buy => "bought",
        Side::Sell => "sold",
    };
    match (order.status, order.traded) {
        (OrderStatus::Expired, _) => format!("order {id} expired: nothing of {asked} was {verb}"),
        (OrderStatus::Withdrawn, 0) => {
            format!("order {id} was cancelled: nothing of {asked} was {verb}")
        }
        (_, 0) => format!("order {id} {verb} nothing of {asked}"),
        (_, traded) => format!(
            "order {id} {verb} {} of {asked} for {}",
            show_units(traded, unit),
            coin.show(coins)
        ),
    }
}

fn describe_fill(fill: &Fill, coin: &CoinFormat, unit: Wh) -> Vec<String> {
    let orders = fill.orders.iter();
    let orders = orders.map(|order| describe_order(order, coin, unit));
    let skipped = fill.skipped.iter().map(|skipped| {
        let reason = match skipped.reason.as_str() {
            "notEnoughCoins" => "the account has too few free coins".to_owned(),
            "bookFull" => "the book is full".to_owned(),
            "needUnknown" => "orders match as they arrive, when nobody knows a need".to_owned(),
            "notAMember" => "the account is no member any more".to_owned(),
            other => harmless(other),
        };
        format!(
            "order {} leaves step {} out: {reason}",
            skipped.id, skipped.step
        )
    });
    orders.chain(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    fn told(fill: Value) -> Vec<String> {
        let fill: Fill = from_value(fill).unwrap();
        describe_fill(&fill, &CoinFormat::default(), Wh(10))
    }

    fn order(id: &str, side: &str, status: &str, traded: u32) -> Value {
        json!({
            "id": id, "step": 9, "owner": "5…", "side": side, "limit": "9", "units": 100, "cap": "quantity", "arrival": 7,
            "status": status, "offered": 100, "traded": traded, "coins": "70",
        })
    }

    #[test]
    fn fills_are_told_order_by_order() {
        let lines = told(json!({
            "step": 9, "state": "cleared", "skipped": [{"id": "standing-2", "step": 10, "reason": "notEnoughCoins"}],
            "orders": [
                order("9-1", "buy", "cleared", 10),
                order("9-2", "sell", "cleared", 0),
                order("standing-1", "sell", "expired", 0),
                order("9-3", "buy", "withdrawn", 0),
                order("9-4", "buy", "withdrawn", 10),
            ],
        }));
        assert_eq!(
            lines,
            [
                "order 9-1 bought 100Wh of 1kWh for 70 uCWC",
                "order 9-2 sold nothing of 1kWh",
                "order standing-1 expired: nothing of 1kWh was sold",
                "order 9-3 was cancelled: nothing of 1kWh was bought",
                "order 9-4 bought 100Wh of 1kWh for 70 uCWC",
                "order standing-2 leaves step 10 out: the account has too few free coins",
            ]
        );
    }

    #[test]
    fn an_account_is_told_of_its_orders_and_of_standing_ones_left_out() {
        let due = |open: Value, standing: Value, past: Value| {
            let orders: Orders = from_value(json!({
                "open": open, "standing": standing, "held": "0", "past": past, "months": [],
            }))
            .unwrap();
            is_fill_due(&orders, Step(9))
        };
        let standing = json!([{
            "id": "standing-1", "side": "sell", "limit": "3", "units": 9, "cap": "quantity", "until": null,
        }]);
        let booked = json!([order("standing-1", "sell", "open", 0)]);
        let none = || json!([]);
        assert!(!due(none(), none(), none()));
        assert!(due(
            none(),
            none(),
            json!([order("9-1", "buy", "cleared", 0)])
        ));
        assert!(!due(booked, standing.clone(), none()));
        assert!(due(none(), standing, none()));
    }

    #[test]
    fn clearings_are_told_in_a_line() {
        let told = |clearing: Value| {
            let clearing: Clearing = from_value(clearing).unwrap();
            describe_clearing(&clearing, &CoinFormat::default(), Wh(10))
        };
        assert_eq!(
            told(json!({
                "step": 9, "state": "cleared", "mechanism": {"name": "average"}, "k": 12, "price": "7", "range": null,
                "volumeUnits": 12, "turnover": "84", "orders": 5, "trades": 3,
            })),
            "step 9 cleared: 120 Wh traded at 7 uCWC for 10Wh; 5 orders"
        );
        let nothing = told(json!({
            "step": 9, "state": "cleared", "mechanism": {"name": "average"}, "k": 0, "price": null, "range": null,
            "volumeUnits": 0, "turnover": "0", "orders": 5, "trades": 0,
        }));
        assert_eq!(nothing, "step 9 cleared: nobody traded; 5 orders");
        let void = told(json!({"step": 9, "state": "void", "reason": "late"}));
        assert!(
            void.contains("void: late") && void.contains("coins on hold are free"),
            "{void}"
        );
    }
}
