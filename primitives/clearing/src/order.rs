//! Orders, as they are handed over for clearing.

use core::cmp::Ordering;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{BlockNumber, Hash, Ppm, Price};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::Mechanism;

/// Most orders of one clearing: ten for each of a hundred thousand members, with some to spare.
pub const ORDERS_MAX: u32 = 1 << 20;

/// Highest limit price. With it, a whole clearing's coins fit their type: at most 2^20 orders of 2^32 units at less than
/// 2^64 each.
pub const LIMIT_MAX: Price = u64::MAX as Price;

/// Which side of the market an order is on.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// Wants energy, pays coins.
    Buy,
    /// Wants coins, gives energy.
    Sell,
}

impl Side {
    /// Returns the other side.
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// An order of one step.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Order<AccountId> {
    /// What it is known by; no two orders of a step share it.
    pub id: Hash,
    /// Whose it is.
    pub account: AccountId,
    /// Its side.
    pub side: Side,
    /// What a unit may cost a buyer at most, or earn a seller at least; up to [`LIMIT_MAX`].
    #[codec(compact)]
    pub limit: Price,
    /// How many trading units, after the caps; at least one.
    #[codec(compact)]
    pub units: u32,
    /// The owner's loyalty, [`Ppm::FULL`] for 1.0. Only `loyal` looks at it.
    #[codec(compact)]
    pub loyalty: Ppm,
    /// The block it came with.
    #[codec(compact)]
    pub arrival: BlockNumber,
    /// `hash(S_{s-1}, id)`: decides among orders that are equal otherwise, as nobody could foresee.
    pub tie_break: Hash,
}

impl<AccountId> Order<AccountId> {
    /// Orders by priority: what trades first is less.
    pub fn cmp_priority(&self, other: &Self, mechanism: Mechanism) -> Ordering {
        let by_limit = match self.side {
            Side::Buy => other.limit.cmp(&self.limit),
            Side::Sell => self.limit.cmp(&other.limit),
        };
        by_limit.then_with(|| self.cmp_tie(other, mechanism))
    }

    /// Orders by priority among orders of one side with the same limit.
    pub(crate) fn cmp_tie(&self, other: &Self, mechanism: Mechanism) -> Ordering {
        let by_loyalty = match mechanism {
            Mechanism::Loyal => other.loyalty.cmp(&self.loyalty),
            _ => Ordering::Equal,
        };
        by_loyalty
            .then_with(|| self.arrival.cmp(&other.arrival))
            .then_with(|| self.tie_break.cmp(&other.tie_break))
            .then_with(|| self.id.cmp(&other.id))
    }

    /// Returns whether the two would trade with each other, were they of different members.
    pub(crate) fn crosses(&self, resting_limit: Price) -> bool {
        match self.side {
            Side::Buy => self.limit >= resting_limit,
            Side::Sell => self.limit <= resting_limit,
        }
    }
}

/// Why orders cannot be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There are more than [`ORDERS_MAX`].
    #[error("{0} orders are too many: clear at most {ORDERS_MAX} at once")]
    TooMany(usize),
    /// An order is for nothing.
    #[error("order {position} ({id:?}) is for no unit: leave it out, or ask for one at least")]
    NoUnits {
        /// Where it stands.
        position: u32,
        /// Its id.
        id: Hash,
    },
    /// A limit is above [`LIMIT_MAX`].
    #[error(
        "the limit {limit} of order {position} ({id:?}) is above {LIMIT_MAX}, the most that a unit may cost"
    )]
    LimitTooHigh {
        /// Where it stands.
        position: u32,
        /// Its id.
        id: Hash,
        /// Its limit.
        limit: Price,
    },
    /// Two orders that would trade are the same to every rule of priority.
    #[error("order {id:?} is there twice: an id belongs to one order")]
    Twice {
        /// The id of both.
        id: Hash,
    },
    /// In `continuous`, an order stands after one that came later.
    #[error(
        "order {position} came in block {arrival}, before the order it stands after: sort by arrival"
    )]
    OutOfOrder {
        /// Where it stands.
        position: u32,
        /// The block it came with.
        arrival: BlockNumber,
    },
    /// `κ` is above one.
    #[error("κ is {0} of 10000: it must be between 0 and 10000")]
    KappaAboveOne(u16),
    /// The trades, withdrawals or positions handed over don't belong to the orders.
    #[error("what is recorded of the book does not belong to these orders: {0}")]
    ForeignRecord(&'static str),
}

/// Checks what every mechanism asks of orders.
pub(crate) fn check_orders<AccountId>(
    orders: &[Order<AccountId>],
    mechanism: Mechanism,
) -> Result<(), OrderError> {
    check_count(orders.len())?;
    mechanism.check()?;
    let mut earliest = 0;
    for (order, position) in orders.iter().zip(0u32..) {
        check_order(order, position)?;
        if mechanism == Mechanism::Continuous {
            if order.arrival < earliest {
                return Err(OrderError::OutOfOrder {
                    position,
                    arrival: order.arrival,
                });
            }
            earliest = order.arrival;
        }
    }
    Ok(())
}

/// Checks that a clearing takes so many orders.
pub(crate) fn check_count(orders: usize) -> Result<(), OrderError> {
    match u32::try_from(orders) {
        Ok(count) if count <= ORDERS_MAX => Ok(()),
        _ => Err(OrderError::TooMany(orders)),
    }
}

/// Checks one order, and returns its limit in the narrower type that it fits.
#[inline]
pub(crate) fn check_order<AccountId>(
    order: &Order<AccountId>,
    position: u32,
) -> Result<u64, OrderError> {
    if order.units == 0 {
        return Err(OrderError::NoUnits {
            position,
            id: order.id,
        });
    }
    u64::try_from(order.limit).map_err(|_| OrderError::LimitTooHigh {
        position,
        id: order.id,
        limit: order.limit,
    })
}

/// A position as an index: `u32` fits `usize` on every platform a node runs on.
#[inline]
pub(crate) fn index(position: u32) -> usize {
    usize::try_from(position).expect("usize has at least 32 bits")
}
