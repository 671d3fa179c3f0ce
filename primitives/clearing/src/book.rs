//! The resting order book of `continuous`.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use codec::{Decode, DecodeWithMemTracking, Encode};
use commonwatt_primitives::{BlockNumber, Price};
use scale_info::TypeInfo;

use crate::{
    CancelledUnits, Clearing, History, Mechanism, Order, OrderError, Side, Totals, Trade,
    Withdrawal,
    order::{check_count, check_order, check_orders, index},
    ranking::Ranking,
};

/// The orders of a step that wait for a counterpart, price then time.
///
/// It knows an order by its position among all that were submitted, and holds no more of it than matching needs, so that
/// a chain can read and write it once a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Book<AccountId> {
    submitted: u32,
    buys: BTreeMap<Place, Resting<AccountId>>,
    sells: BTreeMap<Place, Resting<AccountId>>,
}

/// An order's place in its queue: the limit, inverted for buyers, then the position, which is the time.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
)]
struct Place {
    #[codec(compact)]
    limit: u64,
    #[codec(compact)]
    position: u32,
}

/// What is left of an order in the book.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Resting<AccountId> {
    /// Whose it is.
    pub account: AccountId,
    /// How many units wait.
    #[codec(compact)]
    pub units: u32,
}

impl<AccountId> Default for Book<AccountId> {
    fn default() -> Self {
        Self {
            submitted: 0,
            buys: BTreeMap::new(),
            sells: BTreeMap::new(),
        }
    }
}

impl<AccountId: Clone + Ord> Book<AccountId> {
    /// Returns how many orders have been submitted: the position of the next one.
    pub fn submitted(&self) -> u32 {
        self.submitted
    }

    /// Matches an order with those that wait, best price first, earlier first, each at the resting order's limit; what is
    /// left waits. Resting orders of the same member are passed over.
    ///
    /// # Errors
    /// The order is not what [`Order`] says, or one too many. The book is as it was then.
    pub fn submit(&mut self, order: &Order<AccountId>) -> Result<Vec<Trade>, OrderError> {
        let position = self.submitted;
        check_count(index(position).saturating_add(1))?;
        let limit = check_order(order, position)?;
        let (own, others) = match order.side {
            Side::Buy => (&mut self.buys, &mut self.sells),
            Side::Sell => (&mut self.sells, &mut self.buys),
        };
        let mut left = order.units;
        let mut trades = Vec::new();
        let mut served = Vec::new();
        for (place, resting) in others.iter_mut() {
            let price = place.limit(order.side.opposite());
            if left == 0 || !order.crosses(price) {
                break;
            }
            if resting.account == order.account {
                continue;
            }
            let units = left.min(resting.units);
            left -= units;
            resting.units -= units;
            if resting.units == 0 {
                served.push(*place);
            }
            let (buy, sell) = match order.side {
                Side::Buy => (position, place.position),
                Side::Sell => (place.position, position),
            };
            trades.push(Trade {
                buy,
                sell,
                units,
                buyer_pays: price,
                seller_gets: price,
            });
        }
        for place in served {
            others.remove(&place);
        }
        if left > 0 {
            let resting = Resting {
                account: order.account.clone(),
                units: left,
            };
            own.insert(Place::new(order.side, limit, position), resting);
        }
        self.submitted += 1;
        Ok(trades)
    }

    /// Takes back what is left of an order; `None` when nothing of it waits.
    pub fn withdraw(&mut self, position: u32, order: &Order<AccountId>) -> Option<Withdrawal> {
        let place = Place::new(order.side, u64::try_from(order.limit).ok()?, position);
        let queue = match order.side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        };
        queue.remove(&place)?;
        Some(Withdrawal {
            order: position,
            before: self.submitted,
        })
    }

    /// Returns what waits on a side, in the order of priority: position, limit, and what is left.
    pub fn resting(&self, side: Side) -> impl Iterator<Item = (u32, Price, &Resting<AccountId>)> {
        let queue = match side {
            Side::Buy => &self.buys,
            Side::Sell => &self.sells,
        };
        queue
            .iter()
            .map(move |(place, resting)| (place.position, place.limit(side), resting))
    }
}

impl Place {
    fn new(side: Side, limit: u64, position: u32) -> Self {
        let limit = match side {
            Side::Buy => !limit,
            Side::Sell => limit,
        };
        Self { limit, position }
    }

    fn limit(self, side: Side) -> Price {
        Price::from(match side {
            Side::Buy => !self.limit,
            Side::Sell => self.limit,
        })
    }
}

/// Brings orders into the sequence in which a book takes them: by block, and within a block by the tie-break hash, so that
/// its author gains nothing by their order.
pub fn sort_arrivals<AccountId>(orders: &mut [Order<AccountId>]) {
    orders.sort_unstable_by(|a, b| {
        (a.arrival, a.tie_break, a.id).cmp(&(b.arrival, b.tie_break, b.id))
    });
}

/// Clears a step of `continuous` from what its book has matched: cancels what sellers lack, sums up, and keeps what
/// proves it.
///
/// `orders` are all that were submitted, by position; `matches` all that [`Book::submit`] returned, in the order of time;
/// `may_sell` says how many units a member has for sale. "A seller's shortfall cancels its last matches first"
/// (PROTOCOL 9).
///
/// # Errors
/// The orders are not what [`Order`] says or out of order, or the matches or withdrawals name others.
pub fn settle<AccountId: Clone + Ord + Encode>(
    orders: &[Order<AccountId>],
    matches: &[Trade],
    withdrawals: Vec<Withdrawal>,
    may_sell: impl Fn(&AccountId) -> u64,
) -> Result<Clearing, OrderError> {
    const FOREIGN: OrderError =
        OrderError::ForeignRecord("a match names an order that isn't there");
    check_orders(orders, Mechanism::Continuous)?;
    let cancelled = compute_cancelled(orders, matches, may_sell).ok_or(FOREIGN)?;
    let trades = cancel(matches, &cancelled).ok_or(FOREIGN)?;
    let totals = Totals::compute(orders, &trades, 0).ok_or(FOREIGN)?;
    let taken_back: BTreeSet<u32> = withdrawals
        .iter()
        .map(|withdrawal| withdrawal.order)
        .collect();
    let ranking = Ranking::new(orders, Mechanism::Continuous, |position| {
        !taken_back.contains(&position)
    })?;
    let breakeven = ranking.compute_breakeven();
    Ok(Clearing {
        mechanism: Mechanism::Continuous,
        quote: Mechanism::Continuous.compute_quote(&breakeven),
        breakeven,
        totals,
        trades,
        history: History {
            withdrawals,
            cancelled,
        },
    })
}

/// Clears orders as if they arrived one after the other, with nobody lacking energy.
pub(crate) fn clear_in_sequence<AccountId: Clone + Ord + Encode>(
    orders: &[Order<AccountId>],
) -> Result<Clearing, OrderError> {
    let played = play(orders, |_| None)?;
    settle(orders, &played.matches, Vec::new(), |_| u64::MAX)
}

/// What happened to the book of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// What matched, in the order of time.
    pub matches: Vec<Trade>,
    /// Which orders were taken back while something of them waited, in the order of time.
    pub withdrawals: Vec<Withdrawal>,
}

/// Plays the arrivals and cancellations of a step through an empty book: in each block what was cancelled goes first, by
/// position, then what arrived is matched.
///
/// `orders` are all that were submitted, by position; `cancelled` says in which block an order was cancelled, which
/// comes after the one it arrived in.
///
/// # Errors
/// The orders are not what [`Order`] says or out of order, or one was cancelled before it came.
pub fn play<AccountId: Clone + Ord>(
    orders: &[Order<AccountId>],
    cancelled: impl Fn(u32) -> Option<BlockNumber>,
) -> Result<Played, OrderError> {
    check_orders(orders, Mechanism::Continuous)?;
    let mut due = Vec::new();
    for (order, position) in orders.iter().zip(0u32..) {
        match cancelled(position) {
            Some(block) if block <= order.arrival => {
                return Err(OrderError::ForeignRecord(
                    "an order was cancelled before it came",
                ));
            }
            Some(block) => due.push((block, position)),
            None => {}
        }
    }
    due.sort_unstable();
    let mut due = due.into_iter().peekable();
    let mut book = Book::default();
    let mut played = Played::default();
    let mut withdraw = |book: &mut Book<AccountId>, position: u32| {
        let order = orders.get(index(position));
        let withdrawal = order.and_then(|order| book.withdraw(position, order));
        played.withdrawals.extend(withdrawal);
    };
    for order in orders {
        while let Some((_, position)) = due.next_if(|(block, _)| *block <= order.arrival) {
            withdraw(&mut book, position);
        }
        played.matches.extend(book.submit(order)?);
    }
    for (_, position) in due {
        withdraw(&mut book, position);
    }
    Ok(played)
}

/// Returns which units sellers lack, their last matches first; `None` when a match names no order.
fn compute_cancelled<AccountId: Ord>(
    orders: &[Order<AccountId>],
    matches: &[Trade],
    may_sell: impl Fn(&AccountId) -> u64,
) -> Option<Vec<CancelledUnits>> {
    let mut lacking: BTreeMap<&AccountId, u64> = BTreeMap::new();
    for matched in matches {
        let sold = lacking
            .entry(&orders.get(index(matched.sell))?.account)
            .or_default();
        *sold = sold.checked_add(u64::from(matched.units))?;
    }
    lacking.retain(|seller, units| {
        *units = units.saturating_sub(may_sell(seller));
        *units > 0
    });
    let mut cancelled = Vec::new();
    if lacking.is_empty() {
        return Some(cancelled);
    }
    let positions = 0..u32::try_from(matches.len()).ok()?;
    for (matched, position) in matches.iter().rev().zip(positions.rev()) {
        if let Some(left) = lacking.get_mut(&orders.get(index(matched.sell))?.account) {
            let units = u32::try_from(*left).map_or(matched.units, |left| left.min(matched.units));
            if units > 0 {
                cancelled.push(CancelledUnits {
                    matched: position,
                    sell: matched.sell,
                    units,
                });
                *left -= u64::from(units);
            }
        }
    }
    cancelled.reverse();
    Some(cancelled)
}

/// Takes cancelled units out of matches; `None` when they aren't there, or not by rising position.
pub(crate) fn cancel(matches: &[Trade], cancelled: &[CancelledUnits]) -> Option<Vec<Trade>> {
    let mut cancelled = cancelled.iter().peekable();
    let mut trades = Vec::with_capacity(matches.len());
    for (matched, position) in matches.iter().zip(0u32..) {
        let mut left = *matched;
        if let Some(entry) = cancelled.next_if(|entry| entry.matched == position) {
            left.units = left.units.checked_sub(entry.units)?;
            if entry.sell != matched.sell || entry.units == 0 {
                return None;
            }
        }
        if left.units > 0 {
            trades.push(left);
        }
    }
    cancelled.next().is_none().then_some(trades)
}
