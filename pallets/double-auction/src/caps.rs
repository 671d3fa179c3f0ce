//! How much of a member's orders takes part in a clearing: pure functions (PROTOCOL 9).
//!
//! "A sell order is capped at clearing by `max(0, VGM − C)` where consumption is on the chain, else by the VGM; a
//! buy order may ask to be capped by the need `max(0, C − VGM)`. Caps apply across all of a member's orders."
//!
//! What is there goes to the orders that would trade first: to those that sell cheapest, and to those that buy
//! dearest, ties to the earlier one. Units are whole: what is left of a cap below one is not traded.

use alloc::{vec, vec::Vec};
use core::cmp::Reverse;

use commonwatt_clearing::Side;
use commonwatt_primitives::{Price, Wh, traits::Holding};

use crate::types::{BookedOrder, Cap, units_in};

/// What bounds a member's orders, in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What it has for sale.
    pub for_sale: u64,
    /// What it lacks.
    pub need: u64,
}

impl Bounds {
    /// Returns the bounds of what an account has; nothing for a step that is not distributed.
    pub fn of(holding: Option<Holding>, unit: Wh) -> Self {
        let holding = holding.unwrap_or_default();
        Self {
            for_sale: units_in(holding.surplus(), unit),
            need: units_in(holding.need(), unit),
        }
    }
}

/// Returns how many units of each of a member's orders take part in a call.
pub fn compute_offers(orders: &[BookedOrder], bounds: Bounds) -> Vec<u32> {
    let mut offers: Vec<u32> = orders
        .iter()
        .map(|order| match (order.side, order.cap) {
            (Side::Buy, Cap::Quantity) => order.units,
            _ => 0,
        })
        .collect();
    let of = |side: Side| {
        move |order: &BookedOrder| {
            order.side == side && (side == Side::Sell || order.cap == Cap::Need)
        }
    };
    hand_out(
        orders,
        &mut offers,
        bounds.for_sale,
        of(Side::Sell),
        |limit| (limit, Reverse(0)),
    );
    hand_out(orders, &mut offers, bounds.need, of(Side::Buy), |limit| {
        (0, Reverse(limit))
    });
    offers
}

fn hand_out(
    orders: &[BookedOrder],
    offers: &mut [u32],
    mut left: u64,
    is_meant: impl Fn(&BookedOrder) -> bool,
    rank: impl Fn(Price) -> (Price, Reverse<Price>),
) {
    let mut meant: Vec<_> = orders
        .iter()
        .zip(offers.iter_mut())
        .filter(|(order, _)| is_meant(order))
        .collect();
    // A stable sort: a member's orders stand in the sequence they came in.
    meant.sort_by_key(|(order, _)| (rank(order.limit), order.arrival));
    for (order, offer) in meant {
        let units = u32::try_from(left).map_or(order.units, |left| left.min(order.units));
        *offer = units;
        left = left.saturating_sub(u64::from(units));
    }
}

/// Returns how many units of each order take part in `continuous`: all of them, but of orders that ask to be
/// capped by a need that nobody knew when they might have matched.
pub fn compute_continuous_offers(orders: &[BookedOrder]) -> Vec<u32> {
    let mut offers = vec![0; orders.len()];
    for (order, offer) in orders.iter().zip(&mut offers) {
        if order.cap == Cap::Quantity {
            *offer = order.units;
        }
    }
    offers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Origin;
    use proptest::prelude::*;

    fn order(side: Side, limit: Price, units: u32, cap: Cap, arrival: u32) -> BookedOrder {
        BookedOrder {
            origin: Origin::Once(0),
            side,
            limit,
            units,
            cap,
            arrival,
            withdrawn: None,
            offered: 0,
            traded: 0,
            coins: 0,
        }
    }

    fn sell(limit: Price, units: u32) -> BookedOrder {
        order(Side::Sell, limit, units, Cap::Quantity, 1)
    }

    fn bounds(for_sale: u64, need: u64) -> Bounds {
        Bounds { for_sale, need }
    }

    #[test]
    fn what_is_for_sale_goes_to_the_cheapest_order_first() {
        let orders = [sell(5, 10), sell(3, 4), sell(3, 4)];
        assert_eq!(compute_offers(&orders, bounds(100, 0)), [10, 4, 4]);
        assert_eq!(compute_offers(&orders, bounds(10, 0)), [2, 4, 4]);
        assert_eq!(compute_offers(&orders, bounds(5, 0)), [0, 4, 1]);
        assert_eq!(compute_offers(&orders, bounds(0, 9)), [0, 0, 0]);
    }

    #[test]
    fn an_earlier_order_comes_before_a_later_one_at_the_same_limit() {
        let orders = [
            order(Side::Sell, 3, 4, Cap::Quantity, 8),
            order(Side::Sell, 3, 4, Cap::Quantity, 7),
        ];
        assert_eq!(compute_offers(&orders, bounds(5, 0)), [1, 4]);
    }

    #[test]
    fn a_need_goes_to_the_dearest_order_that_asks_for_it() {
        let buy = |limit, cap| order(Side::Buy, limit, 10, cap, 1);
        let orders = [buy(4, Cap::Need), buy(9, Cap::Quantity), buy(6, Cap::Need)];
        assert_eq!(compute_offers(&orders, bounds(0, 13)), [3, 10, 10]);
        assert_eq!(compute_offers(&orders, bounds(50, 0)), [0, 10, 0]);
        assert_eq!(compute_continuous_offers(&orders), [0, 10, 0]);
    }

    #[test]
    fn consumption_decides_what_may_be_sold_and_what_is_lacking() {
        // PROTOCOL 9: VGM less consumption, or the VGM where consumption is not on the chain.
        let of = |vgm_wh, consumption: Option<u64>| {
            let holding = Holding {
                vgm_wh,
                consumption: consumption.map(Wh),
            };
            Bounds::of(Some(holding), Wh(10))
        };
        assert_eq!(of(1_009, Some(400)), bounds(60, 0));
        assert_eq!(of(1_009, None), bounds(100, 0));
        assert_eq!(of(400, Some(1_009)), bounds(0, 60));
        assert_eq!(of(-30, None), bounds(0, 0));
        assert_eq!(of(-30, Some(0)), bounds(0, 3));
        assert_eq!(Bounds::of(None, Wh(10)), bounds(0, 0));
    }

    proptest! {
        #[test]
        fn no_cap_is_exceeded_and_none_is_wasted(
            raw in prop::collection::vec((any::<bool>(), 0u128..20, 1u32..50, any::<bool>(), 0u32..3), 0..12),
            for_sale in 0u64..200,
            need in 0u64..200,
        ) {
            let orders: Vec<_> = raw
                .into_iter()
                .map(|(buys, limit, units, capped, arrival)| {
                    let side = if buys { Side::Buy } else { Side::Sell };
                    let cap = if buys && capped { Cap::Need } else { Cap::Quantity };
                    order(side, limit, units, cap, arrival)
                })
                .collect();
            let offers = compute_offers(&orders, bounds(for_sale, need));
            let sum = |meant: &dyn Fn(&BookedOrder) -> bool, wanted: bool| -> u64 {
                orders
                    .iter()
                    .zip(&offers)
                    .filter(|(order, _)| meant(order))
                    .map(|(order, &offer)| u64::from(if wanted { order.units } else { offer }))
                    .sum()
            };
            let sells = |order: &BookedOrder| order.side == Side::Sell;
            let capped = |order: &BookedOrder| order.cap == Cap::Need;
            prop_assert_eq!(sum(&sells, false), sum(&sells, true).min(for_sale));
            prop_assert_eq!(sum(&capped, false), sum(&capped, true).min(need));
            for (order, &offer) in orders.iter().zip(&offers) {
                prop_assert!(offer <= order.units);
            }
        }
    }
}
