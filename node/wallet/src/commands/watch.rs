//! `watch`: each step's market, and the account's own orders, as they happen.

use clap::Args;
use commonwatt_clearing::Side;
use commonwatt_primitives::Wh;
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
    answers::{Amount, Clearing, ClosedStep, Fill, MarketState, Order},
    client::{Client, ClientError, harmless},
    error::WalletError,
    progress::Progress,
    signing::show_units,
    units::CoinFormat,
};

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

    /// Waits for news. What a step brought goes before that it closed.
    async fn next(&mut self) -> Result<News, ClientError> {
        let Self {
            steps,
            clearings,
            fills,
        } = self;
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
            closed = next("energy_subscribeSteps", steps) => closed.map(News::Closed),
        }
    }
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
        let id = self.who.id_if_any()?;
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
        let mut feeds = Feeds::open(&client, account).await?;
        let coin = &client.facts().coin;
        let progress = Progress::new(client.facts().timing, self.json);
        // The last step is told of at once, and closed before anybody watched.
        let mut left = self.steps.map(|count| count.saturating_add(1));
        while left != Some(0) {
            match progress.during("watching", feeds.next()).await? {
                News::Stop => return Ok(()),
                News::Closed(closed) => {
                    left = left.map(|left| left.saturating_sub(1));
                    if self.json {
                        console.json_line(&json!({"closed": closed.step}))?;
                    }
                }
                News::Clearing(clearing) if self.json => {
                    console.json_line(&json!({ "clearing": clearing }))?;
                }
                News::Fill(fill) if self.json => console.json_line(&json!({ "fill": fill }))?,
                News::Clearing(clearing) => {
                    let clearing: Clearing = understand("market_subscribeClearings", clearing)?;
                    writeln!(console.out, "{}", describe_clearing(&clearing, coin, unit))?;
                }
                News::Fill(fill) => {
                    let fill: Fill = understand("market_subscribeFills", fill)?;
                    for line in describe_fill(&fill, coin, unit) {
                        writeln!(console.out, "  {line}")?;
                    }
                }
            }
            console.out.flush()?;
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
            ],
        }));
        assert_eq!(
            lines,
            [
                "order 9-1 bought 100Wh of 1kWh for 70 uCWC",
                "order 9-2 sold nothing of 1kWh",
                "order standing-1 expired: nothing of 1kWh was sold",
                "order standing-2 leaves step 10 out: the account has too few free coins",
            ]
        );
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
