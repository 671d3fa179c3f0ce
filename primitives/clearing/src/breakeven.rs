//! The breakeven index, its neighbours, and the counts that prove it.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::Price;
use scale_info::TypeInfo;

/// Where demand and supply meet.
///
/// The counts prove `k` without sorting: `demand_above < k ≤ demand_at_least` makes `bid` the limit of the `k`-th buy
/// unit, `supply_below < k ≤ supply_at_most` makes `ask` that of the `k`-th sell unit; `bid ≥ ask`; and the neighbours
/// don't meet, so no larger index does.
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
pub struct Breakeven {
    /// `k`, in units.
    #[codec(compact)]
    pub k: u64,
    /// `b_k`; `None` when `k` is zero.
    pub bid: Option<Price>,
    /// `s_k`; `None` when `k` is zero.
    pub ask: Option<Price>,
    /// `b_{k+1}`; `None` when no buy unit is left.
    pub next_bid: Option<Price>,
    /// `s_{k+1}`; `None` when no sell unit is left.
    pub next_ask: Option<Price>,
    /// Buy units with a limit above `b_k`.
    #[codec(compact)]
    pub demand_above: u64,
    /// Buy units with a limit of `b_k` or more.
    #[codec(compact)]
    pub demand_at_least: u64,
    /// Sell units with a limit below `s_k`.
    #[codec(compact)]
    pub supply_below: u64,
    /// Sell units with a limit of `s_k` or less.
    #[codec(compact)]
    pub supply_at_most: u64,
}

/// The equilibrium prices ([T] Table 4.2); an end is open when there is neither neighbour nor trade.
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
pub struct Range {
    /// `max(s_k, b_{k+1})`.
    pub low: Option<Price>,
    /// `min(b_k, s_{k+1})`.
    pub high: Option<Price>,
}

impl Breakeven {
    /// Returns `[max(s_k, b_{k+1}), min(b_k, s_{k+1})]`, "since both demand and supply are k" there ([T] 4.4). A missing
    /// neighbour drops out; where nothing trades this is `[b_1, s_1]`.
    pub fn range(&self) -> Range {
        // `None` is less than any price.
        let low = self.ask.max(self.next_bid);
        let high = match (self.bid, self.next_ask) {
            (Some(bid), Some(next_ask)) => Some(bid.min(next_ask)),
            (bid, next_ask) => bid.or(next_ask),
        };
        Range { low, high }
    }
}
