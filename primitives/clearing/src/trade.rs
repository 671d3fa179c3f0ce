//! Trades, and what is stored of a clearing.

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Coin, Price};
use scale_info::TypeInfo;

use crate::{Breakeven, Mechanism, Order, Quote, order::index};

/// Units that one order sells to another.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Trade {
    /// Position of the buy order.
    #[codec(compact)]
    pub buy: u32,
    /// Position of the sell order.
    #[codec(compact)]
    pub sell: u32,
    /// How many units.
    #[codec(compact)]
    pub units: u32,
    /// What a unit costs the buyer.
    #[codec(compact)]
    pub buyer_pays: Price,
    /// What a unit earns the seller. The same, but in McAfee's reduction, where it is less.
    #[codec(compact)]
    pub seller_gets: Price,
}

impl Trade {
    /// Returns the coins that leave the buyer's escrow; `None` when they don't fit, which no verified trade does.
    pub fn buyer_owes(&self) -> Option<Coin> {
        self.buyer_pays.checked_mul(Coin::from(self.units))
    }

    /// Returns the coins that the seller receives; `None` when they don't fit, which no verified trade does.
    pub fn seller_receives(&self) -> Option<Coin> {
        self.seller_gets.checked_mul(Coin::from(self.units))
    }
}

/// The sums of a clearing.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Totals {
    /// Units traded.
    #[codec(compact)]
    pub volume: u64,
    /// Units taken out on each side because a member would have traded with itself; not in `volume`.
    #[codec(compact)]
    pub netted: u64,
    /// Coins that buyers owe.
    #[codec(compact)]
    pub turnover: Coin,
    /// The part of that which no seller receives: the treasury's.
    #[codec(compact)]
    pub surplus: Coin,
    /// The limits of the units bought less those of the units sold: what the market was worth to its members.
    #[codec(compact)]
    pub welfare: Coin,
}

impl Totals {
    /// Sums trades up; `None` when one names no order, or the sums don't fit.
    pub(crate) fn compute<AccountId>(
        orders: &[Order<AccountId>],
        trades: &[Trade],
        netted: u64,
    ) -> Option<Self> {
        let (mut totals, mut received, mut bids, mut asks) = (
            Self {
                netted,
                ..Self::default()
            },
            0u128,
            0u128,
            0u128,
        );
        for trade in trades {
            let units = Coin::from(trade.units);
            let limit_of = |position: u32| orders.get(index(position)).map(|order| order.limit);
            totals.volume = totals.volume.checked_add(u64::from(trade.units))?;
            totals.turnover = totals.turnover.checked_add(trade.buyer_owes()?)?;
            received = received.checked_add(trade.seller_receives()?)?;
            bids = bids.checked_add(limit_of(trade.buy)?.checked_mul(units)?)?;
            asks = asks.checked_add(limit_of(trade.sell)?.checked_mul(units)?)?;
        }
        totals.surplus = totals.turnover.checked_sub(received)?;
        totals.welfare = bids.checked_sub(asks)?;
        Some(totals)
    }
}

/// A clearing with its proof. With the orders it was made of, and in `continuous` with the cancellations and what sellers
/// had, [`verify_book`](crate::verify_book) accepts it and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct Clearing {
    /// How prices were found.
    pub mechanism: Mechanism,
    /// Where demand and supply meet. In `continuous` for information: where the step's orders would have met in a call,
    /// those left out that were taken back.
    pub breakeven: Breakeven,
    /// The prices.
    pub quote: Quote,
    /// The sums.
    pub totals: Totals,
    /// Who sells to whom: in a call in the order of priority, in `continuous` in the order of time.
    pub trades: Vec<Trade>,
    /// What else happened to the book; empty in a call.
    pub history: History,
}

/// What happened to the book of a step, beside orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct History {
    /// Orders taken back, in the order of time.
    pub withdrawals: Vec<Withdrawal>,
    /// Matched units that the seller lacked at the end, by match.
    pub cancelled: Vec<CancelledUnits>,
}

/// An order that was taken back while it rested.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Withdrawal {
    /// Position of the order.
    #[codec(compact)]
    pub order: u32,
    /// How many orders had been submitted by then: the position of the next one.
    #[codec(compact)]
    pub before: u32,
}

/// Units of a match that were cancelled for want of energy.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct CancelledUnits {
    /// Which match: its position among all matches of the book.
    #[codec(compact)]
    pub matched: u32,
    /// Position of the sell order.
    #[codec(compact)]
    pub sell: u32,
    /// How many units.
    #[codec(compact)]
    pub units: u32,
}
