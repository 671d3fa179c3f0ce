//! What anyone can check of a clearing.
//!
//! Shares the price formulas with the clearing and nothing of how it finds `k`, fills and pairs: it counts where that
//! sorts.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use commonwatt_primitives::{BlockNumber, Price};

use crate::{
    Breakeven, Clearing, History, Mechanism, Order, OrderError, Played, Quote, Side, Totals, Trade,
    book::{cancel, play},
    order::{check_orders, index},
};

/// Why a clearing doesn't follow from its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The orders could not have been cleared.
    #[error("the orders cannot be cleared: {0}")]
    Orders(#[from] OrderError),
    /// A count of the proof is wrong.
    #[error("{what} is {claimed}, but the orders have {counted}")]
    Count {
        /// Which count.
        what: &'static str,
        /// What the clearing says.
        claimed: u64,
        /// What the orders say.
        counted: u64,
    },
    /// A limit of the proof is wrong.
    #[error("{what} is {claimed:?}, but by the orders it is {found:?}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the clearing says.
        claimed: Option<Price>,
        /// What the orders say.
        found: Option<Price>,
    },
    /// `k` isn't the largest index with `b_k ≥ s_k`.
    #[error("k is not the breakeven index: {0}")]
    NotBreakeven(&'static str),
    /// The prices aren't the mechanism's.
    #[error("the prices are {claimed:?}, but by {mechanism} they are {computed:?}")]
    Quote {
        /// The mechanism.
        mechanism: Mechanism,
        /// What the clearing says.
        claimed: Quote,
        /// What the formula says.
        computed: Quote,
    },
    /// A trade is not what it must be.
    #[error("trade {trade} is wrong: {fault}")]
    Trade {
        /// Its position.
        trade: u32,
        /// What is wrong.
        fault: &'static str,
    },
    /// An order trades more or less than is due to it.
    #[error("order {order} trades {traded} units, but {due} are due")]
    Fill {
        /// The order's position.
        order: u32,
        /// What its trades sum to.
        traded: u64,
        /// What it should be.
        due: u64,
    },
    /// The sums are not those of the trades.
    #[error("the totals are not the sums of the trades")]
    Totals,
    /// What happened to the book can't have happened.
    #[error("the history of the book is wrong: {0}")]
    History(&'static str),
}

/// Checks that a clearing is the one that follows from its orders: `k` by the counts of demand and supply at `b_k` and
/// `s_k`, the price formula, who is filled, who trades with whom, and the sums.
///
/// A clearing of `continuous` follows from its orders only where nobody cancelled any and no seller lacked energy, as
/// [`clear`](crate::clear) has it; [`verify_book`] checks the others.
///
/// # Errors
/// Says what is wrong first.
pub fn verify<AccountId: Clone + Ord>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
) -> Result<(), ProofError> {
    verify_book(orders, clearing, |_| None, |_| u64::MAX)
}

/// Checks that a clearing is the one that follows from its orders and, in `continuous`, from the blocks in which orders
/// were `cancelled`, by position, and from how many units each seller `may_sell`. A call depends on neither.
///
/// # Errors
/// Says what is wrong first.
pub fn verify_book<AccountId: Clone + Ord>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
    cancelled: impl Fn(u32) -> Option<BlockNumber>,
    may_sell: impl Fn(&AccountId) -> u64,
) -> Result<(), ProofError> {
    check_orders(orders, clearing.mechanism)?;
    let taken_back: BTreeSet<u32> = clearing
        .history
        .withdrawals
        .iter()
        .map(|withdrawal| withdrawal.order)
        .collect();
    verify_breakeven(orders, &clearing.breakeven, |position| {
        !taken_back.contains(&position)
    })?;
    let computed = clearing.mechanism.compute_quote(&clearing.breakeven);
    if computed != clearing.quote {
        return Err(ProofError::Quote {
            mechanism: clearing.mechanism,
            claimed: clearing.quote,
            computed,
        });
    }
    let netted = match clearing.mechanism {
        Mechanism::Continuous => {
            verify_history(orders, clearing, cancelled, may_sell)?;
            0
        }
        _ => verify_call(orders, clearing)?,
    };
    match Totals::compute(orders, &clearing.trades, netted) {
        Some(totals) if totals == clearing.totals => Ok(()),
        _ => Err(ProofError::Totals),
    }
}

/// What the orders of a side say about a marginal limit.
struct Counts {
    better: u64,
    as_good: u64,
    /// The best limit that is worse; the best of all when there is no marginal one.
    best_worse: Option<Price>,
}

impl Counts {
    fn new<'a, AccountId: 'a>(
        orders: impl Iterator<Item = &'a Order<AccountId>>,
        side: Side,
        marginal: Option<Price>,
    ) -> Self {
        let is_better = |a: Price, b: Price| match side {
            Side::Buy => a > b,
            Side::Sell => a < b,
        };
        let mut counts = Self {
            better: 0,
            as_good: 0,
            best_worse: None,
        };
        for order in orders.filter(|order| order.side == side) {
            let (limit, units) = (order.limit, u64::from(order.units));
            match marginal {
                Some(marginal) if is_better(limit, marginal) => {
                    counts.better += units;
                    counts.as_good += units;
                }
                Some(marginal) if limit == marginal => counts.as_good += units,
                _ => {
                    if counts.best_worse.is_none_or(|best| is_better(limit, best)) {
                        counts.best_worse = Some(limit);
                    }
                }
            }
        }
        counts
    }

    /// Returns the limit of unit `k + 1`.
    fn next(&self, k: u64, marginal: Option<Price>) -> Option<Price> {
        if k < self.as_good {
            marginal
        } else {
            self.best_worse
        }
    }
}

fn verify_breakeven<AccountId>(
    orders: &[Order<AccountId>],
    claimed: &Breakeven,
    is_in: impl Fn(u32) -> bool,
) -> Result<(), ProofError> {
    let k = claimed.k;
    let included = || {
        orders
            .iter()
            .zip(0u32..)
            .filter(|&(_, position)| is_in(position))
            .map(|(order, _)| order)
    };
    let demand = Counts::new(included(), Side::Buy, claimed.bid);
    let supply = Counts::new(included(), Side::Sell, claimed.ask);
    for (what, claimed, counted) in [
        ("the demand above b_k", claimed.demand_above, demand.better),
        (
            "the demand at b_k or above",
            claimed.demand_at_least,
            demand.as_good,
        ),
        ("the supply below s_k", claimed.supply_below, supply.better),
        (
            "the supply at s_k or below",
            claimed.supply_at_most,
            supply.as_good,
        ),
    ] {
        if claimed != counted {
            return Err(ProofError::Count {
                what,
                claimed,
                counted,
            });
        }
    }
    for (what, claimed, found) in [
        ("b_{k+1}", claimed.next_bid, demand.next(k, claimed.bid)),
        ("s_{k+1}", claimed.next_ask, supply.next(k, claimed.ask)),
    ] {
        if claimed != found {
            return Err(ProofError::Limit {
                what,
                claimed,
                found,
            });
        }
    }
    match (claimed.bid, claimed.ask) {
        (None, None) if k == 0 => {}
        (Some(bid), Some(ask)) if k > 0 => {
            if !(demand.better < k && k <= demand.as_good) {
                return Err(ProofError::NotBreakeven(
                    "the k-th buy unit has another limit than b_k",
                ));
            }
            if !(supply.better < k && k <= supply.as_good) {
                return Err(ProofError::NotBreakeven(
                    "the k-th sell unit has another limit than s_k",
                ));
            }
            if bid < ask {
                return Err(ProofError::NotBreakeven("b_k is below s_k"));
            }
        }
        _ => {
            return Err(ProofError::NotBreakeven(
                "b_k and s_k are there exactly when k is above zero",
            ));
        }
    }
    match (claimed.next_bid, claimed.next_ask) {
        (Some(next_bid), Some(next_ask)) if next_bid >= next_ask => {
            Err(ProofError::NotBreakeven("the next units would trade too"))
        }
        _ => Ok(()),
    }
}

/// Checks the trades of a call; returns how many units were taken out because members would trade with themselves.
fn verify_call<AccountId: Ord>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
) -> Result<u64, ProofError> {
    if clearing.history != History::default() {
        return Err(ProofError::History("a call has none"));
    }
    let mut due = compute_gross_fills(orders, clearing);
    let netted = take_out_own(orders, clearing.mechanism, &mut due);
    let mut traded = vec![0u64; orders.len()];
    let mut previous: Option<&Trade> = None;
    for (trade, position) in clearing.trades.iter().zip(0u32..) {
        verify_trade(orders, clearing, previous, trade).map_err(|fault| ProofError::Trade {
            trade: position,
            fault,
        })?;
        for order in [trade.buy, trade.sell] {
            if let Some(sum) = traded.get_mut(index(order)) {
                *sum = sum.saturating_add(u64::from(trade.units));
            }
        }
        previous = Some(trade);
    }
    for ((order, &traded), due) in (0u32..).zip(&traded).zip(due.into_iter().map(u64::from)) {
        if traded != due {
            return Err(ProofError::Fill { order, traded, due });
        }
    }
    Ok(netted)
}

/// Checks a trade, and that it follows the one before in the order of priority on both sides. With the sums of each order,
/// that leaves one way to pair.
fn verify_trade<AccountId: Ord>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
    previous: Option<&Trade>,
    trade: &Trade,
) -> Result<(), &'static str> {
    let order_at = |position: u32, side: Side| {
        orders
            .get(index(position))
            .filter(|order| order.side == side)
            .ok_or("it names an order that isn't there")
    };
    let (buy, sell) = (
        order_at(trade.buy, Side::Buy)?,
        order_at(trade.sell, Side::Sell)?,
    );
    if trade.units == 0 {
        return Err("it is of no unit");
    }
    if buy.account == sell.account {
        return Err("a member trades with itself");
    }
    if clearing.quote.prices_of_pair(buy.loyalty, sell.loyalty)
        != Some((trade.buyer_pays, trade.seller_gets))
    {
        return Err("its price is not the mechanism's");
    }
    if trade.buyer_pays > buy.limit || trade.seller_gets < sell.limit {
        return Err("its price is outside a limit");
    }
    let Some(previous) = previous else {
        return Ok(());
    };
    if (previous.buy, previous.sell) == (trade.buy, trade.sell) {
        return Err("it is a part of the trade before");
    }
    for (before, after, side) in [
        (previous.buy, trade.buy, Side::Buy),
        (previous.sell, trade.sell, Side::Sell),
    ] {
        let (earlier, later) = (order_at(before, side)?, order_at(after, side)?);
        if before != after && earlier.cmp_priority(later, clearing.mechanism).is_ge() {
            return Err("it is out of the order of priority");
        }
    }
    Ok(())
}

/// Returns how many units of each order are among the first that trade, before a member's own are taken out: all of an
/// order that is better than the marginal limit, none of one that is worse, and at the limit by priority.
pub(crate) fn compute_gross_fills<AccountId>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
) -> Vec<u32> {
    let breakeven = &clearing.breakeven;
    let traded = clearing.quote.traded_units(breakeven.k);
    let mut fills = vec![0; orders.len()];
    for (side, marginal, better) in [
        (Side::Buy, breakeven.bid, breakeven.demand_above),
        (Side::Sell, breakeven.ask, breakeven.supply_below),
    ] {
        let Some(marginal) = marginal else {
            continue;
        };
        let mut at_limit: Vec<usize> = Vec::new();
        for (place, order) in orders
            .iter()
            .enumerate()
            .filter(|(_, order)| order.side == side)
        {
            if order.limit == marginal {
                at_limit.push(place);
            } else if order.crosses(marginal) {
                fills[place] = order.units;
            }
        }
        at_limit.sort_unstable_by(|&a, &b| orders[a].cmp_tie(&orders[b], clearing.mechanism));
        let mut left = traded.saturating_sub(better);
        for place in at_limit {
            let units = orders[place].units;
            fills[place] = u32::try_from(left).map_or(units, |left| left.min(units));
            left -= u64::from(fills[place]);
        }
    }
    fills
}

/// Takes out what members would trade with themselves, and returns how much that is on each side.
fn take_out_own<AccountId: Ord>(
    orders: &[Order<AccountId>],
    mechanism: Mechanism,
    fills: &mut [u32],
) -> u64 {
    let mut members: BTreeMap<&AccountId, (u64, u64)> = BTreeMap::new();
    for (order, &filled) in orders
        .iter()
        .zip(fills.iter())
        .filter(|&(_, &filled)| filled > 0)
    {
        let (bought, sold) = members.entry(&order.account).or_default();
        match order.side {
            Side::Buy => *bought += u64::from(filled),
            Side::Sell => *sold += u64::from(filled),
        }
    }
    members.retain(|_, (bought, sold)| *bought > 0 && *sold > 0);
    if members.is_empty() {
        return 0;
    }
    let mut last_first: Vec<usize> = (0..orders.len())
        .filter(|&place| fills[place] > 0 && members.contains_key(&orders[place].account))
        .collect();
    // Only orders of one side and one member are compared where it matters; sides first makes it an order of all.
    last_first.sort_unstable_by(|&a, &b| {
        let (a, b) = (&orders[a], &orders[b]);
        a.side
            .cmp(&b.side)
            .then_with(|| b.cmp_priority(a, mechanism))
    });
    let mut netted = 0;
    for (bought, sold) in members.values_mut() {
        let own = u64::min(*bought, *sold);
        netted += own;
        (*bought, *sold) = (own, own);
    }
    for place in last_first {
        let order = &orders[place];
        let Some((bought, sold)) = members.get_mut(&order.account) else {
            continue;
        };
        let left = match order.side {
            Side::Buy => bought,
            Side::Sell => sold,
        };
        let taken = u32::try_from(*left).map_or(fills[place], |left| left.min(fills[place]));
        fills[place] -= taken;
        *left -= u64::from(taken);
    }
    netted
}

/// Checks that each seller sells all that it matched and has, and no more.
fn verify_shortfalls<AccountId: Ord>(
    orders: &[Order<AccountId>],
    matches: &[Trade],
    trades: &[Trade],
    may_sell: impl Fn(&AccountId) -> u64,
) -> Result<(), ProofError> {
    let mut sellers: BTreeMap<&AccountId, (u64, u64)> = BTreeMap::new();
    let mut add = |trade: &Trade, matched: u64, sold: u64| {
        if let Some(order) = orders.get(index(trade.sell)) {
            let sums = sellers.entry(&order.account).or_default();
            *sums = (sums.0.saturating_add(matched), sums.1.saturating_add(sold));
        }
    };
    for matched in matches {
        add(matched, matched.units.into(), 0);
    }
    for trade in trades {
        add(trade, 0, trade.units.into());
    }
    let is_right = |(seller, (matched, sold)): (&&AccountId, &(u64, u64))| {
        *sold == may_sell(seller).min(*matched)
    };
    if sellers.iter().all(is_right) {
        Ok(())
    } else {
        Err(ProofError::History(
            "what is cancelled of a seller's matches isn't what it lacked",
        ))
    }
}

/// Checks the trades of `continuous`: plays the book again, and takes out what sellers lacked.
fn verify_history<AccountId: Clone + Ord>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
    cancelled: impl Fn(u32) -> Option<BlockNumber>,
    may_sell: impl Fn(&AccountId) -> u64,
) -> Result<(), ProofError> {
    let Played {
        matches,
        withdrawals,
    } = play(orders, cancelled)?;
    if withdrawals != clearing.history.withdrawals {
        return Err(ProofError::History(
            "other orders were taken back, or at other times",
        ));
    }
    let cancelled = &clearing.history.cancelled;
    let trades = cancel(&matches, cancelled).ok_or(ProofError::History(
        "units are cancelled that weren't matched, or out of order",
    ))?;
    verify_shortfalls(orders, &matches, &trades, may_sell)?;
    // From the end, a seller's matches are cancelled whole until one is not; before that, none is.
    let mut done: BTreeSet<&AccountId> = BTreeSet::new();
    let mut entries = cancelled.iter().rev().peekable();
    if !cancelled.is_empty() {
        let positions = 0..u32::try_from(matches.len()).unwrap_or(u32::MAX);
        for (matched, position) in matches.iter().rev().zip(positions.rev()) {
            let seller = orders.get(index(matched.sell)).map(|order| &order.account);
            let Some(seller) = seller else {
                return Err(ProofError::History(
                    "a match names an order that isn't there",
                ));
            };
            let units = entries
                .next_if(|entry| entry.matched == position)
                .map_or(0, |entry| entry.units);
            if units > 0 && done.contains(seller) {
                return Err(ProofError::History(
                    "a seller's earlier match is cancelled before its last",
                ));
            }
            if units < matched.units {
                done.insert(seller);
            }
        }
    }
    for (trade, position) in (0u32..)
        .zip(trades.iter().zip(&clearing.trades))
        .map(|(at, pair)| (pair, at))
    {
        let (expected, claimed) = trade;
        if expected != claimed {
            return Err(ProofError::Trade {
                trade: position,
                fault: "the book matched otherwise",
            });
        }
    }
    if trades.len() != clearing.trades.len() {
        return Err(ProofError::History("the book made more matches, or fewer"));
    }
    Ok(())
}
