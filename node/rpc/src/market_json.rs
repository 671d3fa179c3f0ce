//! The shapes of `market_*`, `loyalty_get` and `grid_statement`.

use std::collections::BTreeMap;

use commonwatt_clearing::{
    Breakeven, CancelledUnits, Clearing, Mechanism, Order, Quote, Range, Side, Trade, Withdrawal,
};
use commonwatt_primitives::{AccountId, Coin, Hash, Month, Ppm, Price, Step, Wh};
use commonwatt_runtime::apis::{MarketRates, Matched};
use pallet_double_auction::{
    Cap, ClearingInfo, ClearingRecord, CurveLevel, HistoryEntry, MarketContract, MarketTerms,
    MemberOrders, MonthEntry, OrderBook, OrderId, OrderInfo, OrderStatus, StandingOrder,
    StepOutcome, VoidReason,
};
use pallet_outer_grid::{GridTotal, PostedRates, Rate, Statement, StatementLine, Tariff};
use serde::{Serialize, Serializer};

use crate::{
    market::Page,
    types::{Decimal, MonthName, SignedNumber},
};

/// An order's id, as people write it.
pub(crate) struct Id(pub(crate) OrderId);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// How prices are found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MechanismJson {
    name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kappa_bps: Option<u16>,
}

impl From<Mechanism> for MechanismJson {
    fn from(mechanism: Mechanism) -> Self {
        let (name, kappa_bps) = match mechanism {
            Mechanism::Average => ("average", None),
            Mechanism::Loyal => ("loyal", None),
            Mechanism::Uniform { kappa } => ("uniform", Some(kappa.0)),
            Mechanism::McAfee => ("mcafee", None),
            Mechanism::Continuous => ("continuous", None),
        };
        Self { name, kappa_bps }
    }
}

/// A page of a list.
#[derive(Serialize)]
struct PageJson<T> {
    items: Vec<T>,
    /// Where the next page begins.
    next: Option<u32>,
    total: u32,
}

impl<T> PageJson<T> {
    fn new<U>(all: Vec<U>, page: Page, mut json: impl FnMut(u32, U) -> T) -> Self {
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        Self {
            items: page
                .of(all)
                .map(|(position, item)| json(position, item))
                .collect(),
            next: page.next(total),
            total,
        }
    }
}

// ---------------------------------------------------------------------------------- rules

/// What the market is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RulesJson {
    unit: Wh,
    mechanisms: Vec<TermsJson>,
    steps_ahead: u32,
    orders_max: u32,
    standing_max: u32,
    tariffs: Vec<TariffJson>,
    coin_rates: Option<CoinRatesJson>,
    loyalty: pallet_loyalty::Rules,
    next_step: Step,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TermsJson {
    from_step: Step,
    mechanism: MechanismJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TariffJson {
    from_step: Step,
    buy: Decimal<u64>,
    feed_in: Decimal<u64>,
}

#[derive(Serialize)]
struct CoinRatesJson {
    since: Step,
    buy: RateJson,
    sell: RateJson,
}

#[derive(Serialize)]
struct RateJson {
    money: Decimal<u64>,
    coins: Decimal<u64>,
}

impl RulesJson {
    pub(crate) fn new(contract: MarketContract, rates: MarketRates, next_step: Step) -> Self {
        let MarketContract {
            unit,
            terms,
            steps_ahead,
            orders_max,
            standing_max,
        } = contract;
        let terms = terms.into_iter().map(
            |MarketTerms {
                 effective_from,
                 mechanism,
             }| TermsJson {
                from_step: effective_from,
                mechanism: mechanism.into(),
            },
        );
        let tariffs = rates.tariffs.into_iter().map(
            |Tariff {
                 effective_from,
                 prices,
             }| TariffJson {
                from_step: effective_from,
                buy: Decimal(prices.buy),
                feed_in: Decimal(prices.feed_in),
            },
        );
        let rate = |Rate { money, coins }| RateJson {
            money: Decimal(money),
            coins: Decimal(coins),
        };
        let coin_rates = rates
            .coins
            .map(|PostedRates { since, rates }| CoinRatesJson {
                since,
                buy: rate(rates.buy),
                sell: rate(rates.sell),
            });
        Self {
            unit,
            mechanisms: terms.collect(),
            steps_ahead,
            orders_max,
            standing_max,
            tariffs: tariffs.collect(),
            coin_rates,
            loyalty: rates.loyalty,
            next_step,
        }
    }
}

// ---------------------------------------------------------------------------------- orders

/// An order in the book of a step.
#[derive(Serialize)]
pub(crate) struct OrderJson {
    id: Id,
    step: Step,
    owner: AccountId,
    side: Side,
    limit: Decimal<Price>,
    units: u32,
    cap: Cap,
    arrival: u32,
    status: OrderStatus,
    withdrawn: Option<u32>,
    offered: u32,
    traded: u32,
    coins: Decimal<Coin>,
}

impl From<OrderInfo<AccountId>> for OrderJson {
    fn from(order: OrderInfo<AccountId>) -> Self {
        Self {
            id: Id(order.id),
            step: order.step,
            owner: order.owner,
            side: order.side,
            limit: Decimal(order.limit),
            units: order.units,
            cap: order.cap,
            arrival: order.arrival,
            status: order.status,
            withdrawn: order.withdrawn,
            offered: order.offered,
            traded: order.traded,
            coins: Decimal(order.coins),
        }
    }
}

#[derive(Serialize)]
struct StandingJson {
    id: Id,
    side: Side,
    limit: Decimal<Price>,
    units: u32,
    cap: Cap,
    arrival: u32,
    until: Option<Step>,
}

impl From<StandingOrder> for StandingJson {
    fn from(order: StandingOrder) -> Self {
        Self {
            id: Id(OrderId::standing(order.number)),
            side: order.side,
            limit: Decimal(order.limit),
            units: order.units,
            cap: order.cap,
            arrival: order.arrival,
            until: order.until,
        }
    }
}

/// A part of the book of a step.
#[derive(Serialize)]
pub(crate) struct OrderBookJson {
    step: Step,
    unit: Wh,
    mechanism: MechanismJson,
    orders: Vec<OrderJson>,
    next: Option<u32>,
    total: u32,
}

impl OrderBookJson {
    pub(crate) fn new(book: OrderBook<AccountId>, page: Page) -> Self {
        Self {
            step: book.step,
            unit: book.unit,
            mechanism: book.mechanism.into(),
            orders: book.orders.into_iter().map(Into::into).collect(),
            next: page.next(book.total),
            total: book.total,
        }
    }
}

/// A member's orders.
#[derive(Serialize)]
pub(crate) struct MemberOrdersJson {
    account: AccountId,
    open: Vec<OrderJson>,
    standing: Vec<StandingJson>,
    held: Decimal<Coin>,
    past: Vec<OrderJson>,
    months: Vec<TradeMonthJson>,
    loyalty: LoyaltyText,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TradeMonthJson {
    month: MonthName,
    bought_units: u64,
    sold_units: u64,
    paid: Decimal<Coin>,
    received: Decimal<Coin>,
}

impl From<MonthEntry> for TradeMonthJson {
    fn from((month, total): MonthEntry) -> Self {
        Self {
            month: MonthName(month),
            bought_units: total.bought,
            sold_units: total.sold,
            paid: Decimal(total.paid),
            received: Decimal(total.received),
        }
    }
}

impl MemberOrdersJson {
    pub(crate) fn new(
        account: AccountId,
        orders: MemberOrders<AccountId>,
        months: Vec<MonthEntry>,
        loyalty: Ppm,
    ) -> Self {
        let json = |orders: Vec<OrderInfo<AccountId>>| orders.into_iter().map(Into::into).collect();
        Self {
            account,
            open: json(orders.open),
            standing: orders.standing.into_iter().map(Into::into).collect(),
            held: Decimal(orders.held),
            past: json(orders.past),
            months: months.into_iter().map(Into::into).collect(),
            loyalty: LoyaltyText(loyalty),
        }
    }
}

// ---------------------------------------------------------------------------------- clearings

/// An order as it was cleared: what everybody got follows from the limits, loyalties and ties of these, and where orders
/// match as they arrive also from when they were cancelled and from what their owners had for sale.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClearedOrderJson {
    position: u32,
    id: Id,
    owner: AccountId,
    side: Side,
    limit: Decimal<Price>,
    units: u32,
    loyalty_millionths: Ppm,
    arrival: u32,
    tie_break: Hash,
    withdrawn: Option<u32>,
    for_sale_units: Option<u64>,
}

impl ClearedOrderJson {
    fn new(
        position: u32,
        order: Order<AccountId>,
        withdrawn: &[Option<u32>],
        for_sale_units: Option<u64>,
    ) -> Self {
        let at = usize::try_from(position).ok();
        Self {
            withdrawn: at.and_then(|at| withdrawn.get(at).copied().flatten()),
            for_sale_units,
            position,
            id: Id(OrderId::from_hash(order.id)),
            owner: order.account,
            side: order.side,
            limit: Decimal(order.limit),
            units: order.units,
            loyalty_millionths: order.loyalty,
            arrival: order.arrival,
            tie_break: order.tie_break,
        }
    }
}

/// Who sold to whom. The orders are named by their ids and by their positions among those that were cleared.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TradeJson {
    buyer: Option<AccountId>,
    seller: Option<AccountId>,
    buy_order: Option<Id>,
    sell_order: Option<Id>,
    buy_at: u32,
    sell_at: u32,
    units: u32,
    price: Decimal<Price>,
    buyer_paid: Option<Decimal<Coin>>,
    seller_received: Option<Decimal<Coin>>,
}

/// Whose orders trades are between, by position.
struct Parties(Vec<(AccountId, Hash)>);

impl Parties {
    fn of(orders: &[Order<AccountId>]) -> Self {
        let parties = orders.iter();
        Self(
            parties
                .map(|order| (order.account.clone(), order.id))
                .collect(),
        )
    }

    fn json(&self, trade: &Trade) -> TradeJson {
        let party = |position: u32| {
            let at = usize::try_from(position).ok()?;
            self.0.get(at)
        };
        let owner = |position| party(position).map(|(owner, _)| owner.clone());
        let id = |position| party(position).map(|(_, id)| Id(OrderId::from_hash(*id)));
        TradeJson {
            buyer: owner(trade.buy),
            seller: owner(trade.sell),
            buy_order: id(trade.buy),
            sell_order: id(trade.sell),
            buy_at: trade.buy,
            sell_at: trade.sell,
            units: trade.units,
            price: Decimal(trade.buyer_pays),
            buyer_paid: trade.buyer_owes().map(Decimal),
            seller_received: trade.seller_receives().map(Decimal),
        }
    }
}

/// What orders of a step to come have matched so far.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MatchedJson {
    step: Step,
    orders: Vec<ClearedOrderJson>,
    trades: Vec<TradeJson>,
    next: Option<u32>,
    orders_total: u32,
    trades_total: u32,
}

impl MatchedJson {
    pub(crate) fn new(step: Step, matched: Matched, page: Page) -> Self {
        let Matched {
            orders,
            withdrawn,
            trades,
        } = matched;
        let parties = Parties::of(&orders);
        let trades = PageJson::new(trades, page, |_, trade| parties.json(&trade));
        // What sellers will have, nobody knows yet.
        let orders = PageJson::new(orders, page, |position, order| {
            ClearedOrderJson::new(position, order, &withdrawn, None)
        });
        Self {
            step,
            orders: orders.items,
            next: orders.next.or(trades.next),
            trades: trades.items,
            orders_total: orders.total,
            trades_total: trades.total,
        }
    }
}

/// Equilibrium prices; an end may be open.
#[derive(Serialize)]
pub(crate) struct RangeJson {
    low: Option<Decimal<Price>>,
    high: Option<Decimal<Price>>,
}

impl RangeJson {
    fn of(breakeven: &Breakeven) -> Option<Self> {
        let Range { low, high } = breakeven.range();
        low.or(high)?;
        Some(Self {
            low: low.map(Decimal),
            high: high.map(Decimal),
        })
    }
}

/// What a clearing's prices are made of.
#[derive(Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "name"
)]
enum QuoteJson {
    NoTrade,
    Single {
        price: Decimal<Price>,
    },
    Reduced {
        buyers_pay: Decimal<Price>,
        sellers_get: Decimal<Price>,
    },
    Pairwise {
        low: Decimal<Price>,
        high: Decimal<Price>,
    },
    Resting,
}

impl From<Quote> for QuoteJson {
    fn from(quote: Quote) -> Self {
        match quote {
            Quote::NoTrade => Self::NoTrade,
            Quote::Single { price } => Self::Single {
                price: Decimal(price),
            },
            Quote::Reduced {
                buyers_pay,
                sellers_get,
            } => Self::Reduced {
                buyers_pay: Decimal(buyers_pay),
                sellers_get: Decimal(sellers_get),
            },
            Quote::Pairwise { low, high } => Self::Pairwise {
                low: Decimal(low),
                high: Decimal(high),
            },
            Quote::Resting => Self::Resting,
        }
    }
}

/// Returns the one price of a clearing, if all pay and get the same.
fn price_of(quote: Quote) -> Option<Decimal<Price>> {
    match quote {
        Quote::Single { price } => Some(Decimal(price)),
        _ => None,
    }
}

/// The counts that prove `k`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    k: u64,
    bid: Option<Decimal<Price>>,
    ask: Option<Decimal<Price>>,
    next_bid: Option<Decimal<Price>>,
    next_ask: Option<Decimal<Price>>,
    demand_above: u64,
    demand_at_least: u64,
    supply_below: u64,
    supply_at_most: u64,
    netted: u64,
}

impl ProofJson {
    fn new(breakeven: Breakeven, netted: u64) -> Self {
        Self {
            k: breakeven.k,
            bid: breakeven.bid.map(Decimal),
            ask: breakeven.ask.map(Decimal),
            next_bid: breakeven.next_bid.map(Decimal),
            next_ask: breakeven.next_ask.map(Decimal),
            demand_above: breakeven.demand_above,
            demand_at_least: breakeven.demand_at_least,
            supply_below: breakeven.supply_below,
            supply_at_most: breakeven.supply_at_most,
            netted,
        }
    }
}

#[derive(Serialize)]
struct LevelJson {
    price: Decimal<Price>,
    units: u64,
}

#[derive(Serialize)]
struct WithdrawalJson {
    order: u32,
    before: u32,
}

#[derive(Serialize)]
struct CancelledJson {
    matched: u32,
    sell: u32,
    units: u32,
}

/// How the market of a step ended, in one word, and why if it is void; null when it did not.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct StateJson {
    state: Option<&'static str>,
    reason: Option<VoidReason>,
}

impl From<Option<&StepOutcome>> for StateJson {
    fn from(outcome: Option<&StepOutcome>) -> Self {
        let (state, reason) = match outcome {
            None => (None, None),
            Some(StepOutcome::Cleared(_)) => (Some("cleared"), None),
            Some(StepOutcome::Void(reason)) => (Some("void"), Some(*reason)),
        };
        Self { state, reason }
    }
}

/// How the market of a step ended, with a part of what proves it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClearingJson {
    step: Step,
    unit: Wh,
    #[serde(flatten)]
    state: StateJson,
    #[serde(flatten)]
    figures: ClearedFigures,
    quote: Option<QuoteJson>,
    energy_wh: Option<SignedNumber>,
    surplus: Option<Decimal<Coin>>,
    unmatched_demand: Option<u64>,
    unmatched_supply: Option<u64>,
    demand: Vec<LevelJson>,
    supply: Vec<LevelJson>,
    proof: Option<ProofJson>,
    orders: PageJson<ClearedOrderJson>,
    trades: PageJson<TradeJson>,
    withdrawals: PageJson<WithdrawalJson>,
    cancelled: PageJson<CancelledJson>,
}

/// The main figures of a clearing; null in a void step.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClearedFigures {
    mechanism: Option<MechanismJson>,
    k: Option<u64>,
    range: Option<RangeJson>,
    price: Option<Decimal<Price>>,
    volume_units: Option<u64>,
    turnover: Option<Decimal<Coin>>,
    welfare: Option<Decimal<Coin>>,
}

impl From<&StepOutcome> for ClearedFigures {
    fn from(outcome: &StepOutcome) -> Self {
        let StepOutcome::Cleared(record) = outcome else {
            return Self::default();
        };
        Self {
            mechanism: Some(record.mechanism.into()),
            k: Some(record.breakeven.k),
            range: RangeJson::of(&record.breakeven),
            price: price_of(record.quote),
            volume_units: Some(record.totals.volume),
            turnover: Some(Decimal(record.totals.turnover)),
            welfare: Some(Decimal(record.totals.welfare)),
        }
    }
}

impl ClearingJson {
    pub(crate) fn new(info: ClearingInfo<AccountId>, page: Page) -> Self {
        let record: Option<ClearingRecord> = match info.outcome {
            StepOutcome::Cleared(record) => Some(record),
            StepOutcome::Void(_) => None,
        };
        let (trades, history) = match info.clearing {
            Some(Clearing {
                trades, history, ..
            }) => (trades, history),
            None => Default::default(),
        };
        let parties = Parties::of(&info.orders);
        let level = |CurveLevel { price, units }| LevelJson {
            price: Decimal(price),
            units,
        };
        let is_cleared = record.is_some();
        let for_sale: BTreeMap<AccountId, u64> = info.for_sale.into_iter().collect();
        Self {
            step: info.step,
            unit: info.unit,
            state: StateJson::from(Some(&info.outcome)),
            figures: ClearedFigures::from(&info.outcome),
            quote: record.map(|record| record.quote.into()),
            energy_wh: record.map(|record| {
                let units = i128::from(record.totals.volume);
                SignedNumber(units.saturating_mul(i128::from(info.unit.0)))
            }),
            surplus: record.map(|record| Decimal(record.totals.surplus)),
            unmatched_demand: is_cleared.then_some(info.unmatched_demand),
            unmatched_supply: is_cleared.then_some(info.unmatched_supply),
            demand: info.demand.into_iter().map(level).collect(),
            supply: info.supply.into_iter().map(level).collect(),
            proof: record.map(|record| ProofJson::new(record.breakeven, record.totals.netted)),
            trades: PageJson::new(trades, page, |_, trade| parties.json(&trade)),
            orders: PageJson::new(info.orders, page, |position, order| {
                let sells = order.side == Side::Sell;
                let units = sells.then(|| for_sale.get(&order.account).copied());
                ClearedOrderJson::new(position, order, &info.withdrawn, units.flatten())
            }),
            withdrawals: PageJson::new(
                history.withdrawals,
                page,
                |_, Withdrawal { order, before }| WithdrawalJson { order, before },
            ),
            cancelled: PageJson::new(
                history.cancelled,
                page,
                |_,
                 CancelledUnits {
                     matched,
                     sell,
                     units,
                 }| CancelledJson {
                    matched,
                    sell,
                    units,
                },
            ),
        }
    }
}

/// The market of a step in figures.
#[derive(Serialize)]
pub(crate) struct HistoryJson {
    step: Step,
    #[serde(flatten)]
    state: StateJson,
    #[serde(flatten)]
    figures: ClearedFigures,
    orders: Option<u32>,
    members: Option<u32>,
    trades: Option<u32>,
}

impl From<HistoryEntry> for HistoryJson {
    fn from(HistoryEntry { step, outcome }: HistoryEntry) -> Self {
        let record = match &outcome {
            StepOutcome::Cleared(record) => Some(record),
            StepOutcome::Void(_) => None,
        };
        Self {
            step,
            state: StateJson::from(Some(&outcome)),
            figures: ClearedFigures::from(&outcome),
            orders: record.map(|record| record.orders),
            members: record.map(|record| record.members),
            trades: record.map(|record| record.trades),
        }
    }
}

// ---------------------------------------------------------------------------------- loyalty and the outer grid

/// Loyalty with its six decimals.
struct LoyaltyText(Ppm);

impl Serialize for LoyaltyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, rest) = (self.0.0 / Ppm::FULL.0, self.0.0 % Ppm::FULL.0);
        serializer.collect_str(&format_args!("{whole}.{rest:06}"))
    }
}

/// How loyal a member is.
#[derive(Serialize)]
pub(crate) struct LoyaltyJson {
    account: AccountId,
    loyalty: LoyaltyText,
    millionths: Ppm,
}

impl LoyaltyJson {
    pub(crate) fn new(account: AccountId, loyalty: Ppm) -> Self {
        Self {
            account,
            loyalty: LoyaltyText(loyalty),
            millionths: loyalty,
        }
    }
}

/// What an account owes for the outer grid.
#[derive(Serialize)]
pub(crate) struct StatementJson {
    account: AccountId,
    from: Step,
    to: Step,
    lines: Vec<LineJson>,
    total: GridTotalJson,
    months: Vec<GridMonthJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LineJson {
    step: Step,
    buy: Decimal<u64>,
    feed_in: Decimal<u64>,
    #[serde(flatten)]
    total: GridTotalJson,
}

#[derive(Serialize)]
struct GridMonthJson {
    month: MonthName,
    #[serde(flatten)]
    total: GridTotalJson,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GridTotalJson {
    bought_wh: SignedNumber,
    fed_in_wh: SignedNumber,
    charged: Decimal<u128>,
    credited: Decimal<u128>,
    owed: Decimal<i128>,
}

impl From<GridTotal> for GridTotalJson {
    fn from(total: GridTotal) -> Self {
        let energy = |wh: u128| SignedNumber(i128::try_from(wh).unwrap_or(i128::MAX));
        Self {
            bought_wh: energy(total.bought_wh),
            fed_in_wh: energy(total.fed_in_wh),
            charged: Decimal(total.charged),
            credited: Decimal(total.credited),
            owed: Decimal(total.owed()),
        }
    }
}

impl StatementJson {
    pub(crate) fn new(account: AccountId, (from, to): (Step, Step), statement: Statement) -> Self {
        let line = |StatementLine {
                        step,
                        prices,
                        total,
                    }| LineJson {
            step,
            buy: Decimal(prices.buy),
            feed_in: Decimal(prices.feed_in),
            total: total.into(),
        };
        let month = |(month, total): (Month, GridTotal)| GridMonthJson {
            month: MonthName(month),
            total: total.into(),
        };
        Self {
            account,
            from,
            to,
            lines: statement.lines.into_iter().map(line).collect(),
            total: statement.total.into(),
            months: statement.months.into_iter().map(month).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_primitives::Bps;
    use serde_json::{json, to_value};

    #[test]
    fn mechanisms_are_told_by_name() {
        let told = |mechanism: Mechanism| to_value(MechanismJson::from(mechanism)).expect("JSON");
        assert_eq!(told(Mechanism::Average), json!({ "name": "average" }));
        assert_eq!(told(Mechanism::McAfee), json!({ "name": "mcafee" }));
        let uniform = Mechanism::Uniform { kappa: Bps(2_500) };
        assert_eq!(
            told(uniform),
            json!({ "name": "uniform", "kappaBps": 2_500 })
        );
    }

    #[test]
    fn quotes_are_told_by_name_with_their_prices() {
        let told = |quote: Quote| to_value(QuoteJson::from(quote)).expect("JSON");
        assert_eq!(told(Quote::NoTrade), json!({ "name": "noTrade" }));
        let reduced = Quote::Reduced {
            buyers_pay: 9,
            sellers_get: 3,
        };
        assert_eq!(
            told(reduced),
            json!({ "name": "reduced", "buyersPay": "9", "sellersGet": "3" })
        );
    }

    #[test]
    fn loyalty_has_six_decimals() {
        let told = |loyalty| to_value(LoyaltyText(Ppm(loyalty))).expect("JSON");
        assert_eq!(told(1_000_000), json!("1.000000"));
        assert_eq!(told(999), json!("0.000999"));
        assert_eq!(told(12_050_000), json!("12.050000"));
    }

    #[test]
    fn what_is_owed_to_an_account_is_negative() {
        let total = GridTotal {
            fed_in_wh: 250,
            credited: 50,
            ..GridTotal::default()
        };
        assert_eq!(
            to_value(GridTotalJson::from(total)).expect("JSON"),
            json!({ "boughtWh": 0, "fedInWh": 250, "charged": "0", "credited": "50", "owed": "-50" })
        );
    }

    #[test]
    fn the_largest_page_of_a_clearing_fits_into_a_response() {
        let account = AccountId::new([7; 32]);
        let count = pallet_double_auction::ORDERS_PER_ANSWER_MAX;
        let largest = OrderId {
            step: Step(u32::MAX),
            number: u32::MAX,
        };
        let order = Order {
            id: largest.to_hash(),
            account,
            side: Side::Sell,
            limit: commonwatt_clearing::LIMIT_MAX,
            units: u32::MAX,
            loyalty: pallet_loyalty::CEILING_MAX,
            arrival: u32::MAX,
            tie_break: Hash::repeat_byte(7),
        };
        let trade = Trade {
            buy: count,
            sell: count,
            units: u32::MAX,
            buyer_pays: commonwatt_clearing::LIMIT_MAX,
            seller_gets: commonwatt_clearing::LIMIT_MAX,
        };
        let times = |count| usize::try_from(count).expect("it fits");
        let page = Page { start: 0, count };
        let info = ClearingInfo {
            step: Step(u32::MAX),
            unit: Wh(u64::MAX),
            outcome: StepOutcome::Void(VoidReason::Fault),
            orders: vec![order; times(count + 1)],
            withdrawn: vec![Some(u32::MAX); times(count + 1)],
            for_sale: vec![(AccountId::new([7; 32]), u64::MAX)],
            clearing: Some(Clearing {
                mechanism: Mechanism::Continuous,
                breakeven: Breakeven::default(),
                quote: Quote::Resting,
                totals: Default::default(),
                trades: vec![trade; times(count + 1)],
                history: commonwatt_clearing::History {
                    withdrawals: vec![
                        Withdrawal {
                            order: u32::MAX,
                            before: u32::MAX
                        };
                        times(count + 1)
                    ],
                    cancelled: vec![
                        CancelledUnits {
                            matched: u32::MAX,
                            sell: u32::MAX,
                            units: u32::MAX
                        };
                        times(count + 1)
                    ],
                },
            }),
            demand: vec![
                CurveLevel {
                    price: commonwatt_clearing::LIMIT_MAX,
                    units: u64::MAX
                };
                times(pallet_double_auction::LEVELS_MAX)
            ],
            supply: Vec::new(),
            unmatched_demand: 0,
            unmatched_supply: 0,
        };
        let json = serde_json::to_string(&ClearingJson::new(info, page)).expect("JSON");
        let response_max = times(crate::RpcConfig::default().max_response_bytes);
        assert!(json.len() * 3 / 2 < response_max, "{} bytes", json.len());
        assert!(json.contains(&format!("\"next\":{count}")));
    }

    #[test]
    fn a_void_step_has_no_figures() {
        let entry = HistoryEntry {
            step: Step(7),
            outcome: StepOutcome::Void(VoidReason::Late),
        };
        let told = to_value(HistoryJson::from(entry)).expect("JSON");
        assert_eq!(
            (&told["state"], &told["reason"]),
            (&json!("void"), &json!("late"))
        );
        assert_eq!(
            (&told["k"], &told["mechanism"], &told["orders"]),
            (&json!(null), &json!(null), &json!(null))
        );
    }
}
