//! What a clearing means for each order: what loyalty asks ([T] 4.4).

use alloc::{vec, vec::Vec};

use crate::{Clearing, Mechanism, Order, Side, order::index, proof::compute_gross_fills};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Units that traded.
    pub traded: u32,
    /// Units taken out because the member would have traded with itself: neither traded nor left over.
    pub netted: u32,
    /// Units left over.
    pub left: u32,
    /// Why.
    pub rest: Rest,
}

/// Why units are left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// None are.
    Nothing,
    /// There is no order on the other side: "they do not get penalized".
    Unopposed,
    /// Priced well, but there were not enough counterparts: "those, who does not get a supplier or buyer, but had
    /// appropriate price".
    Unserved,
    /// "Those, who was cut from the auction by clearing price"; everyone left over when no bid meets an ask.
    CutOff,
}

/// Returns what became of each order, by position.
///
/// The clearing price of `loyal` and `continuous` is the range: a buyer with its low end or more was priced well, and a
/// seller with its high end or less.
pub fn compute_outcomes<AccountId>(
    orders: &[Order<AccountId>],
    clearing: &Clearing,
) -> Vec<Outcome> {
    let mut traded = vec![0u32; orders.len()];
    for trade in &clearing.trades {
        for position in [trade.buy, trade.sell] {
            if let Some(units) = traded.get_mut(index(position)) {
                *units = units.saturating_add(trade.units);
            }
        }
    }
    let gross = match clearing.mechanism {
        Mechanism::Continuous => traded.clone(),
        _ => compute_gross_fills(orders, clearing),
    };
    let has = |side: Side| orders.iter().any(|order| order.side == side);
    let is_two_sided = has(Side::Buy) && has(Side::Sell);
    let admission = clearing.quote.admission(&clearing.breakeven);
    let outcome = |(order, (traded, gross)): (&Order<AccountId>, (u32, u32))| {
        let left = order.units.saturating_sub(gross);
        let is_priced_well = admission.is_some_and(|(buyer, seller)| match order.side {
            Side::Buy => order.limit >= buyer,
            Side::Sell => order.limit <= seller,
        });
        let rest = match (left, is_two_sided, is_priced_well) {
            (0, _, _) => Rest::Nothing,
            (_, false, _) => Rest::Unopposed,
            (_, true, true) => Rest::Unserved,
            (_, true, false) => Rest::CutOff,
        };
        Outcome {
            traded,
            netted: gross.saturating_sub(traded),
            left,
            rest,
        }
    };
    orders
        .iter()
        .zip(traded.into_iter().zip(gross))
        .map(outcome)
        .collect()
}
