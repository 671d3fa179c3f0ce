//! What nodes answer, as far as a wallet looks at it. Fields that are not named here are passed over.

use std::{fmt, str::FromStr};

use commonwatt_clearing::Side;
use commonwatt_primitives::{Hash, Price, Step, Wh};
use pallet_double_auction::{Cap, OrderId, OrderStatus};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A block's number, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNumber(pub u32);

impl<'de> Deserialize<'de> for BlockNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("0x")
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("a block number is not in hexadecimal"))
    }
}

/// The head of a block.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Header {
    /// Its number.
    pub number: BlockNumber,
}

/// A block with its transactions.
#[derive(Clone, Debug, Deserialize)]
pub struct SignedBlock {
    /// The block.
    pub block: Block,
}

/// A block's transactions.
#[derive(Clone, Debug, Deserialize)]
pub struct Block {
    /// Its head.
    pub header: Header,
    /// They, encoded in hexadecimal.
    pub extrinsics: Vec<String>,
}

/// An unsigned amount, written as decimal digits in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub u128);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::custom("an amount is not written in digits"))
    }
}

/// An amount that may be negative, written as digits in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedAmount(pub i128);

impl<'de> Deserialize<'de> for SignedAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::custom("an amount is not written in digits"))
    }
}

/// What an order is known by, written `STEP-NUMBER` or `standing-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderName(pub OrderId);

/// A text names no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an order is named STEP-NUMBER, like 1234-0, or standing-NUMBER: `commonwatt wallet orders` shows them"
)]
pub struct OrderNameError;

const STANDING: &str = "standing";

impl FromStr for OrderName {
    type Err = OrderNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (step, number) = text.split_once('-').ok_or(OrderNameError)?;
        let parse = |digits: &str| -> Result<u32, OrderNameError> {
            let all_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
            digits
                .parse()
                .ok()
                .filter(|_| all_digits)
                .ok_or(OrderNameError)
        };
        let number = parse(number)?;
        if step == STANDING {
            return Ok(Self(OrderId::standing(number)));
        }
        match parse(step)? {
            0 => Err(OrderNameError),
            step => Ok(Self(OrderId {
                step: Step(step),
                number,
            })),
        }
    }
}

impl fmt::Display for OrderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(id) = self;
        match id.is_standing() {
            true => write!(f, "{STANDING}-{}", id.number),
            false => write!(f, "{}-{}", id.step, id.number),
        }
    }
}

impl<'de> Deserialize<'de> for OrderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

// ---------------------------------------------------------------------------------- energy

/// What the chain knows about an account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// What it may do; null when it is not registered.
    pub role: Option<serde_json::Value>,
    /// Coins that are not on hold.
    pub coins: Amount,
    /// Voting tokens that can be bid.
    pub voting_tokens: Amount,
    /// Voting tokens that later issues are short of.
    pub voting_debt: Amount,
    /// Its virtual generation meter, newest step first.
    pub entries: Vec<Entry>,
}

/// A virtual generation meter in a step.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The step.
    pub step: Step,
    /// Allocated by the key.
    pub shared: Wh,
    /// The unshared part of its generators.
    pub rest: Wh,
    /// Bought from members.
    pub bought: Wh,
    /// Sold to members.
    pub sold: Wh,
    /// What it consumed, if that is known.
    pub consumption: Option<Wh>,
}

impl Entry {
    /// Returns what is left after all trades.
    pub fn net_wh(&self) -> i128 {
        let had = i128::from(self.shared.0) + i128::from(self.rest.0) + i128::from(self.bought.0);
        had - i128::from(self.sold.0)
    }
}

/// Entries of an account's virtual generation meter, newest step first.
#[derive(Clone, Debug, Deserialize)]
pub struct Entries {
    /// They; steps without one are left out.
    pub entries: Vec<Entry>,
}

/// What one generator made.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Origin {
    /// Its meter.
    pub meter: u32,
    /// How much.
    pub energy: Wh,
}

/// Where an account's energy of a step came from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// What the key allocated, by generator.
    pub from: Vec<Origin>,
    /// What was bought, by generator.
    pub bought_from: Vec<Origin>,
    /// What was bought and withdrawn from its seller later.
    pub bought_from_outer_grid: Wh,
}

/// A step that has closed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ClosedStep {
    /// The step.
    pub step: Step,
    /// The block that closed it.
    pub block: Hash,
}

// ---------------------------------------------------------------------------------- market

/// How prices are found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mechanism {
    /// Its name.
    pub name: String,
    /// The parameter of `uniform`.
    pub kappa_bps: Option<u16>,
}

impl Mechanism {
    /// Returns whether orders match as they arrive.
    pub fn is_continuous(&self) -> bool {
        self.name == "continuous"
    }

    /// Returns whether buyers may pay more than sellers receive.
    pub fn is_reducing(&self) -> bool {
        self.name == "mcafee"
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::client::harmless(&self.name);
        match self.kappa_bps {
            None => f.write_str(&name),
            Some(kappa) => write!(f, "{name} (kappa {kappa}/10000)"),
        }
    }
}

/// A mechanism, and the first step it governs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MechanismFrom {
    /// The first step.
    pub from_step: Step,
    /// How prices are found.
    pub mechanism: Mechanism,
}

/// What energy costs from the outer grid, in smallest units of money, and from which step on.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tariff {
    /// The first step.
    pub from_step: Step,
    /// What a unit costs.
    pub buy: Amount,
    /// What a unit earns.
    pub feed_in: Amount,
}

/// So much money for so many coins, each in its smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Rate {
    /// So much money.
    pub money: Amount,
    /// For so many coins.
    pub coins: Amount,
}

/// At which rates the treasury changes coins and money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct CoinRates {
    /// What it gives for coins.
    pub buy: Rate,
    /// What it takes for coins.
    pub sell: Rate,
}

/// What the market is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// The trading unit.
    pub unit: Wh,
    /// The mechanisms, ascending.
    pub mechanisms: Vec<MechanismFrom>,
    /// How far ahead orders may be.
    pub steps_ahead: u32,
    /// The tariffs, ascending.
    pub tariffs: Vec<Tariff>,
    /// The treasury's rates, if it posted any.
    pub coin_rates: Option<CoinRates>,
    /// The first step that an order in the next block can be for.
    pub next_step: Step,
}

impl Rules {
    /// Returns the tariff in force in a step.
    pub fn tariff_at(&self, step: Step) -> Option<Tariff> {
        let begun = self.tariffs.iter();
        begun
            .filter(|tariff| tariff.from_step <= step)
            .max_by_key(|tariff| tariff.from_step)
            .copied()
    }

    /// Returns the tariffs in force from one step to another; with no last one, for ever after.
    pub fn tariffs_within(&self, first: Step, last: Option<Step>) -> Vec<Tariff> {
        let later = self.tariffs.iter().filter(|tariff| {
            tariff.from_step > first && last.is_none_or(|last| tariff.from_step <= last)
        });
        let now = self.tariff_at(first).into_iter();
        now.chain(later.copied()).collect()
    }

    /// Returns whether orders for a step match as they arrive.
    pub fn is_continuous_at(&self, step: Step) -> bool {
        self.mechanisms
            .iter()
            .filter(|from| from.from_step <= step)
            .max_by_key(|from| from.from_step)
            .is_some_and(|from| from.mechanism.is_continuous())
    }
}

/// An order in the book of a step.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    /// What it is known by.
    pub id: OrderName,
    /// The step.
    pub step: Step,
    /// Buys or sells.
    pub side: Side,
    /// The limit for a unit.
    pub limit: Amount,
    /// How many units at most.
    pub units: u32,
    /// What else bounds it.
    pub cap: Cap,
    /// Where it is.
    pub status: OrderStatus,
    /// How many units took part in the clearing.
    pub offered: u32,
    /// How many were traded.
    pub traded: u32,
    /// Coins paid or received.
    pub coins: Amount,
}

impl Order {
    /// Returns whether it was taken back, and stays for what it may have matched until then.
    pub fn is_withdrawn(&self) -> bool {
        self.status == OrderStatus::Withdrawn
    }
}

/// A standing order.
#[derive(Clone, Debug, Deserialize)]
pub struct StandingOrder {
    /// What it is known by.
    pub id: OrderName,
    /// Buys or sells.
    pub side: Side,
    /// The limit for a unit.
    pub limit: Amount,
    /// How many units in a step at most.
    pub units: u32,
    /// What else bounds it.
    pub cap: Cap,
    /// The last step it is for.
    pub until: Option<Step>,
}

impl StandingOrder {
    /// Returns whether it is for this step, too.
    pub fn covers(&self, step: Step) -> bool {
        self.until.is_none_or(|until| step <= until)
    }
}

/// A member's month on the market, of steps no longer kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TradeMonth {
    /// Like `2026-07`.
    pub month: String,
    /// Units bought.
    pub bought_units: u64,
    /// Units sold.
    pub sold_units: u64,
    /// Coins paid.
    pub paid: Amount,
    /// Coins received.
    pub received: Amount,
}

/// A member's orders.
#[derive(Clone, Debug, Deserialize)]
pub struct Orders {
    /// For steps to come.
    pub open: Vec<Order>,
    /// For every step.
    pub standing: Vec<StandingOrder>,
    /// Coins on hold for them.
    pub held: Amount,
    /// Of past steps, newest first.
    pub past: Vec<Order>,
    /// What it paid and received before that.
    pub months: Vec<TradeMonth>,
}

/// How the market of a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MarketState {
    /// It was cleared.
    Cleared,
    /// Orders expired, coins on hold went back.
    Void,
}

/// Prices at which demand and supply agree.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Range {
    /// The lowest; null when nothing bounds it.
    pub low: Option<Amount>,
    /// The highest; null when nothing bounds it.
    pub high: Option<Amount>,
}

/// The market of a step in figures. A void one has a reason and no figures.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Clearing {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub state: MarketState,
    /// Why it is void.
    #[serde(default)]
    pub reason: Option<String>,
    /// How prices were found.
    #[serde(default)]
    pub mechanism: Option<Mechanism>,
    /// The breakeven index.
    #[serde(default)]
    pub k: Option<u64>,
    /// The price of all, if there was one.
    #[serde(default)]
    pub price: Option<Amount>,
    /// Prices at which demand and supply agree.
    #[serde(default)]
    pub range: Option<Range>,
    /// Units traded.
    #[serde(default)]
    pub volume_units: Option<u64>,
    /// Coins that buyers paid.
    #[serde(default)]
    pub turnover: Option<Amount>,
    /// Orders that took part.
    #[serde(default)]
    pub orders: Option<u32>,
    /// Trades.
    #[serde(default)]
    pub trades: Option<u32>,
}

impl Clearing {
    /// Returns what a unit cost, if it cost all the same.
    pub fn single_price(&self) -> Option<Price> {
        self.price.map(|Amount(price)| price)
    }
}

/// What one order sold to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trade {
    /// Who bought.
    pub buyer: Option<String>,
    /// Who sold.
    pub seller: Option<String>,
    /// The buyer's order.
    pub buy_order: Option<OrderName>,
    /// The seller's order.
    pub sell_order: Option<OrderName>,
    /// How many units.
    pub units: u32,
    /// What a unit cost the buyer.
    pub price: Amount,
    /// Coins that the buyer paid.
    pub buyer_paid: Option<Amount>,
    /// Coins that the seller received.
    pub seller_received: Option<Amount>,
}

/// A part of a list, whose items are looked at one by one.
#[derive(Clone, Debug, Deserialize)]
pub struct Page {
    /// The items.
    pub items: Vec<serde_json::Value>,
    /// Where the next part begins; null on the last one.
    pub next: Option<u32>,
}

/// A part of a clearing's trades.
#[derive(Clone, Debug, Deserialize)]
pub struct ClearedTrades {
    /// How the step's market ended.
    pub state: MarketState,
    /// How prices were found.
    pub mechanism: Option<serde_json::Value>,
    /// They.
    pub trades: Page,
}

/// A part of what orders of a step to come matched so far.
#[derive(Clone, Debug, Deserialize)]
pub struct MatchedTrades {
    /// They.
    pub trades: Vec<serde_json::Value>,
    /// Where the next part begins; null on the last one.
    pub next: Option<u32>,
}

/// A standing order that a step was left out of.
#[derive(Clone, Debug, Deserialize)]
pub struct Skipped {
    /// Which.
    pub id: OrderName,
    /// The step it leaves out.
    pub step: Step,
    /// Why.
    pub reason: String,
}

/// What became of a member's orders in a step.
#[derive(Clone, Debug, Deserialize)]
pub struct Fill {
    /// The step.
    pub step: Step,
    /// How its market ended; null when the account had no orders in it.
    #[serde(default)]
    pub state: Option<MarketState>,
    /// The orders that ended in it.
    #[serde(default)]
    pub orders: Vec<Order>,
    /// Standing orders that leave it out.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

/// How loyal a member is.
#[derive(Clone, Debug, Deserialize)]
pub struct Loyalty {
    /// Like `1.000000`.
    pub loyalty: String,
}

/// What an account owes for the outer grid.
#[derive(Clone, Debug, Deserialize)]
pub struct Statement {
    /// The sums of the period.
    pub total: StatementTotal,
}

/// The sums of a statement, in smallest coins' worth of money.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatementTotal {
    /// Bought from the outer grid.
    pub bought_wh: Wh,
    /// Fed into it.
    pub fed_in_wh: Wh,
    /// What is owed; below zero, what is due.
    pub owed: SignedAmount,
}

/// Where a transaction is on its way into a block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TransactionStatus {
    /// It waits for an earlier one.
    Future,
    /// It waits for a block.
    Ready,
    /// It was told to these peers.
    Broadcast(Vec<String>),
    /// It is in this block.
    InBlock(Hash),
    /// The block was taken back.
    Retracted(Hash),
    /// The block is final.
    Finalized(Hash),
    /// The block was not final in time.
    FinalityTimeout(Hash),
    /// Another transaction took its place.
    Usurped(Hash),
    /// There was no room for it.
    Dropped,
    /// It became invalid.
    Invalid,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn orders_are_named_as_they_are_shown() {
        for text in ["1234-0", "standing-7"] {
            let name: OrderName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "5",
            "5-",
            "-5",
            "0-1",
            "5-x",
            "stand-1",
            "5-+1",
            "4294967296-0",
            "standing-",
            "5-1-2",
        ] {
            assert_eq!(text.parse::<OrderName>(), Err(OrderNameError), "{text}");
        }
    }

    #[test]
    fn amounts_are_digits_in_strings() {
        assert_eq!(
            from_value::<Amount>(json!("340282366920938463463374607431768211455"))
                .unwrap()
                .0,
            u128::MAX
        );
        assert_eq!(from_value::<SignedAmount>(json!("-5")).unwrap().0, -5);
        for wrong in [json!(5), json!("-5"), json!("0x5"), json!(""), Value::Null] {
            assert!(from_value::<Amount>(wrong).is_err());
        }
    }

    #[test]
    fn the_tariff_of_a_step_is_the_last_that_began() {
        let rules: Rules = from_value(json!({
            "unit": 10, "stepsAhead": 96, "ordersMax": 16, "standingMax": 16, "nextStep": 7, "coinRates": null, "loyalty": {},
            "mechanisms": [
                {"fromStep": 1, "mechanism": {"name": "average"}},
                {"fromStep": 96, "mechanism": {"name": "continuous"}},
            ],
            "tariffs": [
                {"fromStep": 1, "buy": "9", "feedIn": "2"},
                {"fromStep": 50, "buy": "12", "feedIn": "3"},
            ],
        }))
        .unwrap();
        assert_eq!(rules.tariff_at(Step(49)).unwrap().buy, Amount(9));
        assert_eq!(rules.tariff_at(Step(50)).unwrap().buy, Amount(12));
        assert!(rules.tariff_at(Step(0)).is_none() && rules.coin_rates.is_none());
        assert!(!rules.is_continuous_at(Step(95)) && rules.is_continuous_at(Step(96)));
    }

    #[test]
    fn what_becomes_of_a_transaction_is_read_in_substrates_words() {
        let hash = Hash::repeat_byte(7);
        assert_eq!(
            from_value::<TransactionStatus>(json!("ready")).unwrap(),
            TransactionStatus::Ready
        );
        let status: TransactionStatus = from_value(json!({ "inBlock": hash })).unwrap();
        assert_eq!(status, TransactionStatus::InBlock(hash));
        assert!(from_value::<TransactionStatus>(json!("lost")).is_err());
    }

    #[test]
    fn news_of_fills_and_of_skipped_orders_are_read() {
        let owner = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
        let fill: Fill = from_value(json!({
            "step": 9, "block": Hash::zero(), "state": "cleared", "bought": 10, "sold": 0, "paid": "70", "received": "0",
            "skipped": [], "orders": [{
                "id": "9-0", "step": 9, "owner": owner, "side": "buy", "limit": "9", "units": 10, "cap": "need",
                "arrival": 7, "status": "cleared", "offered": 10, "traded": 10, "coins": "70",
            }],
        }))
        .unwrap();
        assert_eq!(fill.orders[0].coins, Amount(70));
        let skipped: Fill = from_value(json!({
            "step": 10, "block": Hash::zero(), "state": null, "orders": [], "bought": 0, "sold": 0, "paid": "0", "received": "0",
            "skipped": [{"id": "standing-1", "step": 11, "reason": "notEnoughCoins"}],
        }))
        .unwrap();
        assert_eq!(skipped.skipped[0].id.to_string(), "standing-1");
        assert!(skipped.state.is_none());
    }
}
