//! `bid`, `ask`, `standing`, `cancel`, `replace` and `orders`.

use clap::{Args, ValueEnum};
use commonwatt_clearing::Side;
use commonwatt_primitives::{Price, Step, Wh};
use jsonrpsee::rpc_params;
use pallet_double_auction::{Cap, OrderId, OrderStatus, OrderTerms, When};
use serde_json::Value;

use super::{
    Console,
    args::{NodeArgs, StepText, WhoArgs},
    session::{Market, Session, SignArgs, ask_rules},
    tariff::{Limit, TariffArgs},
};
use crate::{
    answers::{self, Amount, OrderName, StandingOrder},
    client::harmless,
    error::WalletError,
    signing::{cancel, place, replace, show_units},
    table::{Align, Table},
    units::{CoinFormat, EnergyText, PriceText, grouped},
};

/// Past steps in which orders are looked for unless somebody says otherwise.
const PAST_STEPS: u32 = 8;

/// How much, and at which price.
#[derive(Debug, Args)]
struct Offer {
    /// How much: like 1.5kWh, 250Wh, or 25units of the chain's trading unit
    #[arg(value_name = "ENERGY", allow_negative_numbers = true)]
    energy: EnergyText,
    /// The limit: coins for a trading unit like 7uCWC, or for energy like 0.0007/kWh
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true)]
    limit: PriceText,
    #[command(flatten)]
    tariff: TariffArgs,
}

impl Offer {
    fn terms(
        &self,
        session: &Session<'_>,
        market: &Market,
        side: Side,
        cap: Cap,
        when: When,
    ) -> Result<OrderTerms, WalletError> {
        let (unit, coin) = (market.unit, session.coin());
        let limit = self.limit.to_price(coin, unit)?;
        let units = self.energy.to_units(unit)?;
        if side == Side::Buy && limit == 0 {
            return Err(WalletError::usage(
                "a buyer offers at least the smallest coin for a unit: raise --limit",
            ));
        }
        if let Some(rules) = &market.rules {
            let price = limit;
            self.tariff
                .verify(Limit { side, price, when }, rules, coin)?;
        }
        Ok(OrderTerms {
            side,
            limit,
            units,
            unit,
            when,
            cap,
        })
    }
}

/// Places an order for one step.
async fn place_once(
    offer: &Offer,
    step: StepText,
    side: Side,
    cap: Cap,
    sign: &SignArgs,
    console: &mut Console<'_>,
) -> Result<(), WalletError> {
    let session = sign.begin(console.notes).await?;
    let market = session.market().await?;
    let step = session.step(step, &market)?;
    let when = When::Once(step);
    let terms = offer.terms(&session, &market, side, cap, when)?;
    session.finish(place(terms), market.unit, console).await
}

#[derive(Debug, Args)]
pub(super) struct Bid {
    #[command(flatten)]
    offer: Offer,
    /// For which step: next, so many after that like +4, or its number
    #[arg(long, default_value = "next")]
    step: StepText,
    /// Buy no more than the account turns out to lack: its consumption less its virtual generation meter
    #[arg(long)]
    need: bool,
    #[command(flatten)]
    sign: SignArgs,
}

impl Bid {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let cap = cap_of(self.need);
        place_once(&self.offer, self.step, Side::Buy, cap, &self.sign, console).await
    }
}

fn cap_of(need: bool) -> Cap {
    match need {
        true => Cap::Need,
        false => Cap::Quantity,
    }
}

#[derive(Debug, Args)]
pub(super) struct Ask {
    #[command(flatten)]
    offer: Offer,
    /// For which step: next, so many after that like +4, or its number
    #[arg(long, default_value = "next")]
    step: StepText,
    #[command(flatten)]
    sign: SignArgs,
}

impl Ask {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let cap = Cap::Quantity;
        place_once(&self.offer, self.step, Side::Sell, cap, &self.sign, console).await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SideText {
    Buy,
    Sell,
}

#[derive(Debug, Args)]
pub(super) struct Standing {
    /// Buys or sells
    #[arg(value_enum)]
    side: SideText,
    #[command(flatten)]
    offer: Offer,
    /// The last step it is for: so many after the next one like +96, or its number [default: until it is cancelled]
    #[arg(long, value_name = "STEP")]
    until: Option<StepText>,
    /// Buy no more than the account turns out to lack in each step
    #[arg(long)]
    need: bool,
    #[command(flatten)]
    sign: SignArgs,
}

impl Standing {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let side = match self.side {
            SideText::Buy => Side::Buy,
            SideText::Sell if self.need => {
                return Err(WalletError::usage(
                    "sales are capped by what is there to sell; --need is for purchases",
                ));
            }
            SideText::Sell => Side::Sell,
        };
        let session = self.sign.begin(console.notes).await?;
        let market = session.market().await?;
        let until = self.until.map(|text| session.step(text, &market));
        let when = When::Standing {
            until: until.transpose()?,
        };
        let cap = cap_of(self.need);
        let terms = self.offer.terms(&session, &market, side, cap, when)?;
        session.finish(place(terms), market.unit, console).await
    }
}

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The order: STEP-NUMBER or standing-NUMBER, as `commonwatt wallet orders` shows it
    #[arg(value_name = "ORDER")]
    order: OrderName,
    #[command(flatten)]
    sign: SignArgs,
}

impl Cancel {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let OrderName(id) = self.order;
        let session = self.sign.begin(console.notes).await?;
        let market = session.market().await?;
        session.finish(cancel(id), market.unit, console).await
    }
}

#[derive(Debug, Args)]
pub(super) struct Replace {
    /// The order: STEP-NUMBER or standing-NUMBER, as `commonwatt wallet orders` shows it
    #[arg(value_name = "ORDER")]
    order: OrderName,
    /// How much: like 1.5kWh, 250Wh or 25units [default: as before]
    #[arg(long, value_name = "ENERGY", allow_hyphen_values = true)]
    energy: Option<EnergyText>,
    /// The limit: like 7uCWC for a trading unit, or 0.0007/kWh [default: as before]
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true)]
    limit: Option<PriceText>,
    #[command(flatten)]
    tariff: TariffArgs,
    #[command(flatten)]
    sign: SignArgs,
}

impl Replace {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let OrderName(id) = self.order;
        if self.energy.is_none() && self.limit.is_none() {
            return Err(WalletError::usage(
                "say what shall be another: --energy, --limit or both",
            ));
        }
        let session = self.sign.begin(console.notes).await?;
        let market = session.market().await?;
        let energy = self.energy.map(|text| text.to_units(market.unit));
        let limit = self
            .limit
            .map(|text| text.to_price(session.coin(), market.unit));
        let (limit, units) = match (limit.transpose()?, energy.transpose()?, &market.rules) {
            // Nobody can be asked what the order was.
            (Some(limit), Some(units), None) => (limit, units),
            (limit, units, rules) => {
                let before = find_order(&session, id).await?;
                if let (Some(price), Some(rules)) = (limit, rules) {
                    let limit = Limit {
                        side: before.side,
                        price,
                        when: before.when,
                    };
                    self.tariff.verify(limit, rules, session.coin())?;
                }
                (limit.unwrap_or(before.limit), units.unwrap_or(before.units))
            }
        };
        session
            .finish(replace(id, limit, units), market.unit, console)
            .await
    }
}

/// What an order said.
struct Before {
    side: Side,
    limit: Price,
    units: u32,
    when: When,
}

/// Returns what the signer's open order says.
async fn find_order(session: &Session<'_>, id: OrderId) -> Result<Before, WalletError> {
    let Some(client) = session.client() else {
        return Err(WalletError::usage(
            "nobody knows offline what the order said: give --energy and --limit",
        ));
    };
    let account = session.signer.id().to_string();
    let (_, at) = client.best().await?;
    let asked = rpc_params![account, 0, at];
    let orders: answers::Orders = client.ask("market_orders", asked).await?;
    let name = OrderName(id);
    let mut once = orders.open.iter().map(|order| {
        let when = When::Once(order.step);
        (order.id, order.side, order.limit, order.units, when)
    });
    let mut standing = orders.standing.iter().map(|order| {
        let when = When::Standing { until: order.until };
        (order.id, order.side, order.limit, order.units, when)
    });
    // A standing order stands in the book of the next step under its own name too.
    standing
        .find(|(found, ..)| *found == name)
        .or_else(|| once.find(|(found, ..)| *found == name))
        .map(|(_, side, Amount(limit), units, when)| Before {
            side,
            limit,
            units,
            when,
        })
        .ok_or_else(|| {
            WalletError::usage(format!(
                "the account has no open order {name}: `commonwatt wallet orders` shows those it has"
            ))
        })
}

// ---------------------------------------------------------------------------------- orders

#[derive(Debug, Args)]
pub(super) struct Orders {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    who: WhoArgs,
    /// Show the orders of so many past steps, too
    #[arg(long, value_name = "STEPS", default_value_t = PAST_STEPS, value_parser = clap::value_parser!(u32).range(0..=960))]
    past: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Orders {
    pub(super) async fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        let account = self.who.id(console.notes)?.to_string();
        let client = self.node.connect().await?;
        let answer: Value = client
            .ask("market_orders", rpc_params![account, self.past])
            .await?;
        if self.json {
            return console.json(&answer);
        }
        let orders: answers::Orders = understand("market_orders", answer)?;
        let unit = ask_rules(&client).await?.unit;
        let coin = &client.facts().coin;
        let Amount(held) = orders.held;
        writeln!(
            console.out,
            "{} on hold for orders; limits are for {}",
            coin.show(held),
            show_units(1, unit)
        )?;
        let tables = [
            ("standing", standing_table(&orders.standing, coin, unit)),
            ("open", order_table(&orders.open, coin, unit)),
            ("past", order_table(&orders.past, coin, unit)),
        ];
        for (name, table) in tables {
            if !table.is_empty() {
                write!(console.out, "\n{name} orders\n{table}")?;
            }
        }
        if !orders.months.is_empty() {
            let table = month_table(&orders, coin, unit);
            write!(console.out, "\nmonths before\n{table}")?;
        }
        Ok(())
    }
}

/// Reads an answer that was asked for as it is.
pub(super) fn understand<T: serde::de::DeserializeOwned>(
    method: &'static str,
    answer: Value,
) -> Result<T, WalletError> {
    serde_json::from_value(answer).map_err(|error| {
        WalletError::Client(crate::client::ClientError::Answer {
            method,
            cause: harmless(&error.to_string()),
        })
    })
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn cap_word(cap: Cap) -> &'static str {
    match cap {
        Cap::Quantity => "",
        Cap::Need => "need",
    }
}

fn status_word(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Open => "open",
        OrderStatus::Withdrawn => "withdrawn",
        OrderStatus::Cleared => "cleared",
        OrderStatus::Expired => "expired",
    }
}

/// Returns orders of steps as a table.
pub(super) fn order_table(orders: &[answers::Order], coin: &CoinFormat, unit: Wh) -> Table {
    let mut table = Table::new([
        ("order", Align::Left),
        ("step", Align::Right),
        ("side", Align::Left),
        ("up to", Align::Right),
        ("cap", Align::Left),
        ("limit", Align::Right),
        ("status", Align::Left),
        ("traded", Align::Right),
        ("coins", Align::Right),
    ]);
    for order in orders {
        // What was taken back may have matched before, where orders match as they arrive.
        let is_over = match order.status {
            OrderStatus::Cleared => true,
            OrderStatus::Withdrawn => order.traded > 0,
            OrderStatus::Open | OrderStatus::Expired => false,
        };
        let (Amount(limit), Amount(coins)) = (order.limit, order.coins);
        table.row([
            order.id.to_string(),
            grouped(u128::from(order.step.0)),
            side_word(order.side).to_owned(),
            show_units(order.units, unit),
            cap_word(order.cap).to_owned(),
            coin.show(limit),
            status_word(order.status).to_owned(),
            if is_over {
                show_units(order.traded, unit)
            } else {
                String::new()
            },
            if is_over {
                coin.show(coins)
            } else {
                String::new()
            },
        ]);
    }
    table
}

fn standing_table(orders: &[StandingOrder], coin: &CoinFormat, unit: Wh) -> Table {
    let mut table = Table::new([
        ("order", Align::Left),
        ("side", Align::Left),
        ("up to", Align::Right),
        ("cap", Align::Left),
        ("limit", Align::Right),
        ("last step", Align::Right),
    ]);
    for order in orders {
        let Amount(limit) = order.limit;
        let until = order.until.map(|Step(step)| grouped(u128::from(step)));
        table.row([
            order.id.to_string(),
            side_word(order.side).to_owned(),
            show_units(order.units, unit),
            cap_word(order.cap).to_owned(),
            coin.show(limit),
            until.unwrap_or_else(|| "no end".to_owned()),
        ]);
    }
    table
}

fn month_table(orders: &answers::Orders, coin: &CoinFormat, unit: Wh) -> Table {
    let mut table = Table::new([
        ("month", Align::Left),
        ("bought", Align::Right),
        ("paid", Align::Right),
        ("sold", Align::Right),
        ("received", Align::Right),
    ]);
    let energy =
        |units: u64| crate::units::table_wh(u128::from(units).saturating_mul(u128::from(unit.0)));
    for month in &orders.months {
        let (Amount(paid), Amount(received)) = (month.paid, month.received);
        table.row([
            harmless(&month.month),
            energy(month.bought_units),
            coin.show(paid),
            energy(month.sold_units),
            coin.show(received),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_standing_order_without_an_end_says_so() {
        let orders: Vec<StandingOrder> = from_value(json!([
            {"id": "standing-1", "side": "buy", "limit": "3", "units": 9, "cap": "need", "until": null},
            {"id": "standing-2", "side": "sell", "limit": "3", "units": 9, "cap": "quantity", "until": 1200},
        ]))
        .unwrap();
        let text = standing_table(&orders, &CoinFormat::default(), Wh(10)).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("last step"), "{text}");
        assert!(lines[1].ends_with("no end"), "{text}");
        assert!(lines[2].ends_with("1 200"), "{text}");
    }
}
