//! The mechanisms and their price formulas.

use core::{fmt, str::FromStr};

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Bps, Ppm, Price};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{Breakeven, OrderError, Range};

/// How a community finds prices. Chosen in its agreement.
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
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Mechanism {
    /// One price, `⌊(b_k + s_k) / 2⌋` ([T] 4.4).
    #[default]
    Average,
    /// A price for each pair, better for the more loyal side ([T] 4.11–4.13).
    Loyal,
    /// One price, `⌊κ·p_high + (1−κ)·p_low⌋`.
    Uniform {
        /// `κ`: 0 gives buyers the best price of the range, 10 000 sellers.
        kappa: Bps,
    },
    /// McAfee's trade reduction: truthful for who trades a single unit, never in deficit.
    McAfee,
    /// Matched as orders arrive, at the resting order's price.
    Continuous,
}

/// What a clearing's prices are made of.
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
pub enum Quote {
    /// `k` is zero: there is no price.
    NoTrade,
    /// Everyone pays and gets the same.
    Single {
        /// A unit's price.
        #[codec(compact)]
        price: Price,
    },
    /// McAfee's reduction: the `k`-th unit doesn't trade, and its limits are the others' prices.
    Reduced {
        /// What a unit costs a buyer: `b_k`.
        #[codec(compact)]
        buyers_pay: Price,
        /// What a unit earns a seller: `s_k`.
        #[codec(compact)]
        sellers_get: Price,
    },
    /// Each pair has its own price in this range; see [`compute_loyal_price`].
    Pairwise {
        /// The best price for a buyer.
        #[codec(compact)]
        low: Price,
        /// The best price for a seller.
        #[codec(compact)]
        high: Price,
    },
    /// Each trade has the price of the order that was there first.
    Resting,
}

impl Mechanism {
    pub(crate) fn check(self) -> Result<(), OrderError> {
        match self {
            Self::Uniform { kappa } if !kappa.is_fraction() => {
                Err(OrderError::KappaAboveOne(kappa.0))
            }
            _ => Ok(()),
        }
    }

    /// Returns the prices that follow from the breakeven index and its neighbours.
    pub(crate) fn compute_quote(self, breakeven: &Breakeven) -> Quote {
        if self == Self::Continuous {
            return Quote::Resting;
        }
        let (Some(bid), Some(ask)) = (breakeven.bid, breakeven.ask) else {
            return Quote::NoTrade;
        };
        let Range {
            low: Some(low),
            high: Some(high),
        } = breakeven.range()
        else {
            return Quote::NoTrade;
        };
        match self {
            Self::Average => Quote::Single {
                price: compute_middle(bid, ask),
            },
            Self::Loyal => Quote::Pairwise { low, high },
            Self::Uniform { kappa } => Quote::Single {
                price: compute_uniform_price(low, high, kappa),
            },
            Self::McAfee => compute_mcafee_quote(breakeven, bid, ask),
            Self::Continuous => Quote::Resting,
        }
    }
}

impl Quote {
    /// Returns how many of the first `k` units trade, before a member's own are taken out.
    pub(crate) fn traded_units(self, k: u64) -> u64 {
        match self {
            Self::Reduced { .. } => k.saturating_sub(1),
            _ => k,
        }
    }

    /// Returns what every buyer pays and every seller gets for a unit; `None` when trades have different prices.
    pub(crate) fn prices_of_all(self) -> Option<(Price, Price)> {
        match self {
            Self::Single { price } => Some((price, price)),
            Self::Reduced {
                buyers_pay,
                sellers_get,
            } => Some((buyers_pay, sellers_get)),
            Self::NoTrade | Self::Pairwise { .. } | Self::Resting => None,
        }
    }

    /// Returns what the buyer pays and the seller gets for a unit; `None` when each trade of a book has its own price.
    pub(crate) fn prices_of_pair(self, buyer: Ppm, seller: Ppm) -> Option<(Price, Price)> {
        match self {
            Self::Pairwise { low, high } => {
                let price = compute_loyal_price(low, high, buyer, seller);
                Some((price, price))
            }
            _ => self.prices_of_all(),
        }
    }

    /// Returns the price up to which a buyer, and from which a seller, was priced well; `None` without a price.
    pub(crate) fn admission(self, breakeven: &Breakeven) -> Option<(Price, Price)> {
        match self {
            Self::NoTrade => None,
            Self::Single { price } => Some((price, price)),
            Self::Reduced {
                buyers_pay,
                sellers_get,
            } => Some((buyers_pay, sellers_get)),
            Self::Pairwise { low, high } => Some((low, high)),
            Self::Resting => match (breakeven.bid, breakeven.range()) {
                (
                    Some(_),
                    Range {
                        low: Some(low),
                        high: Some(high),
                    },
                ) => Some((low, high)),
                _ => None,
            },
        }
    }
}

/// Returns `⌊(a + b) / 2⌋`. Limits are less than 2^64, so the sum fits.
fn compute_middle(a: Price, b: Price) -> Price {
    (a + b) / 2
}

/// Returns `⌊κ·high + (1−κ)·low⌋`. Prices are less than 2^64 and `κ` at most 10^4, so the product fits.
fn compute_uniform_price(low: Price, high: Price, kappa: Bps) -> Price {
    low + (high - low) * Price::from(kappa.0) / Price::from(Bps::FULL.0)
}

/// Returns the price of a pair in `loyal`: `⌊low·w_buy + high·w_sell⌋` with `w_buy = l_b / (l_b + l_s)` and
/// `w_sell = l_s / (l_b + l_s)`. "If seller have more loyalty value, the price will incline towards higher end in
/// equilibrium price range" ([T] 4.4). Where neither has any loyalty, both weigh the same.
///
/// The product fits: prices are less than 2^64, loyalties less than 2^32.
fn compute_loyal_price(low: Price, high: Price, buyer: Ppm, seller: Ppm) -> Price {
    match Price::from(buyer.0) + Price::from(seller.0) {
        0 => compute_middle(low, high),
        sum => low + (high - low) * Price::from(seller.0) / sum,
    }
}

/// Returns McAfee's prices: with `p = (b_{k+1} + s_{k+1}) / 2`, all `k` units at `⌊p⌋` where `s_k ≤ p ≤ b_k`; else the
/// first `k − 1`, buyers at `b_k` and sellers at `s_k`. Limits are whole numbers, so `⌊p⌋` is between them too.
fn compute_mcafee_quote(breakeven: &Breakeven, bid: Price, ask: Price) -> Quote {
    if let (Some(next_bid), Some(next_ask)) = (breakeven.next_bid, breakeven.next_ask) {
        let doubled = next_bid + next_ask;
        if 2 * ask <= doubled && doubled <= 2 * bid {
            return Quote::Single { price: doubled / 2 };
        }
    }
    Quote::Reduced {
        buyers_pay: bid,
        sellers_get: ask,
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Average => f.write_str("average"),
            Self::Loyal => f.write_str("loyal"),
            Self::Uniform { kappa } => write!(f, "uniform:{kappa}"),
            Self::McAfee => f.write_str("mcafee"),
            Self::Continuous => f.write_str("continuous"),
        }
    }
}

/// A text that names no mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such mechanism: choose average, loyal, uniform:KAPPA with KAPPA from 0 to 10000, mcafee or continuous"
)]
pub struct MechanismTextError;

impl FromStr for Mechanism {
    type Err = MechanismTextError;

    /// Reads what [`Display`](fmt::Display) writes. `uniform` alone takes the middle of the range.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mechanism = match text {
            "average" => Self::Average,
            "loyal" => Self::Loyal,
            "uniform" => Self::Uniform {
                kappa: Bps(Bps::FULL.0 / 2),
            },
            "mcafee" => Self::McAfee,
            "continuous" => Self::Continuous,
            other => {
                let kappa = other.strip_prefix("uniform:").ok_or(MechanismTextError)?;
                Self::Uniform {
                    kappa: Bps(kappa.parse().map_err(|_| MechanismTextError)?),
                }
            }
        };
        mechanism.check().map_err(|_| MechanismTextError)?;
        Ok(mechanism)
    }
}
