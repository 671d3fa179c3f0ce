//! Orders in short form, and a clearing that expands orders into units.

use std::collections::BTreeMap;

use commonwatt_clearing::{Clearing, Mechanism, Order, Side, Trade, clear, verify};
use commonwatt_primitives::{Bps, Hash, Ppm, Price};

/// Every mechanism that clears all orders at once.
pub const CALLS: [Mechanism; 6] = [
    Mechanism::Average,
    Mechanism::Loyal,
    Mechanism::Uniform { kappa: Bps(0) },
    Mechanism::Uniform { kappa: Bps(3_333) },
    Mechanism::Uniform { kappa: Bps(10_000) },
    Mechanism::McAfee,
];

/// Returns an order of a member; positions decide where nothing else does.
pub fn order(position: u32, account: u64, side: Side, limit: Price, units: u32) -> Order<u64> {
    Order {
        id: Hash::from_low_u64_be(position.into()),
        account,
        side,
        limit,
        units,
        loyalty: Ppm::FULL,
        arrival: 0,
        tie_break: Hash::from_low_u64_be(position.into()),
    }
}

/// Returns orders of different members from side, limit and units.
pub fn orders(rows: &[(Side, Price, u32)]) -> Vec<Order<u64>> {
    let row = |((side, limit, units), position): (&(Side, Price, u32), u32)| {
        order(position, position.into(), *side, *limit, *units)
    };
    rows.iter().zip(0..).map(row).collect()
}

/// Clears, and sees to it that the proof is accepted.
pub fn cleared(orders: &[Order<u64>], mechanism: Mechanism) -> Clearing {
    let clearing = clear(orders, mechanism).unwrap();
    assert_eq!(verify(orders, &clearing), Ok(()), "{mechanism}");
    clearing
}

/// Returns how many units each order trades.
pub fn fills(orders: &[Order<u64>], trades: &[Trade]) -> Vec<u64> {
    let mut fills = vec![0; orders.len()];
    for trade in trades {
        for position in [trade.buy, trade.sell] {
            fills[usize::try_from(position).unwrap()] += u64::from(trade.units);
        }
    }
    fills
}

/// Returns the only price of all trades.
pub fn single_price(clearing: &Clearing) -> Price {
    let price = clearing.trades[0].buyer_pays;
    assert!(
        clearing
            .trades
            .iter()
            .all(|trade| (trade.buyer_pays, trade.seller_gets) == (price, price))
    );
    price
}

/// A clearing by the protocol's words alone: "Orders are split into units". Slow, and too simple to be wrong.
pub struct ByUnits {
    /// `k`.
    pub k: usize,
    /// The limits `b_k`, `s_k`, `b_{k+1}`, `s_{k+1}`.
    pub limits: [Option<Price>; 4],
    /// Position of buyer and seller of each unit, with a member's own taken out.
    pub pairs: Vec<(usize, usize)>,
    /// Units taken out on each side.
    pub netted: usize,
}

impl ByUnits {
    pub fn clear(orders: &[Order<u64>], mechanism: Mechanism) -> Self {
        let expand = |side: Side| {
            let mut places: Vec<usize> = (0..orders.len())
                .filter(|&place| orders[place].side == side)
                .collect();
            places.sort_by(|&a, &b| {
                let (a, b) = (&orders[a], &orders[b]);
                let by_limit = if side == Side::Buy {
                    b.limit.cmp(&a.limit)
                } else {
                    a.limit.cmp(&b.limit)
                };
                let by_loyalty = b.loyalty.cmp(&a.loyalty);
                by_limit
                    .then(if mechanism == Mechanism::Loyal {
                        by_loyalty
                    } else {
                        std::cmp::Ordering::Equal
                    })
                    .then((a.arrival, a.tie_break, a.id).cmp(&(b.arrival, b.tie_break, b.id)))
            });
            let units = |place: usize| {
                std::iter::repeat_n(place, usize::try_from(orders[place].units).unwrap())
            };
            places.into_iter().flat_map(units).collect::<Vec<usize>>()
        };
        let (mut buys, mut sells) = (expand(Side::Buy), expand(Side::Sell));
        let limit = |units: &[usize], at: Option<usize>| {
            at.and_then(|at| units.get(at))
                .map(|&place| orders[place].limit)
        };
        let mut k = 0;
        while k < buys.len() && k < sells.len() && orders[buys[k]].limit >= orders[sells[k]].limit {
            k += 1;
        }
        let limits = [
            limit(&buys, k.checked_sub(1)),
            limit(&sells, k.checked_sub(1)),
            limit(&buys, Some(k)),
            limit(&sells, Some(k)),
        ];
        let is_reduced = mechanism == Mechanism::McAfee
            && k > 0
            && match limits {
                [Some(bid), Some(ask), Some(next_bid), Some(next_ask)] => {
                    let doubled = next_bid + next_ask;
                    doubled < 2 * ask || doubled > 2 * bid
                }
                _ => true,
            };
        let traded = if is_reduced { k - 1 } else { k };
        buys.truncate(traded);
        sells.truncate(traded);
        let mut netted = 0;
        let mut members: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
        for (side, units) in [(0, &buys), (1, &sells)] {
            for &place in units {
                members.entry(orders[place].account).or_default()[side] += 1;
            }
        }
        for (&account, &[bought, sold]) in &members {
            let own = bought.min(sold);
            netted += own;
            for units in [&mut buys, &mut sells] {
                for _ in 0..own {
                    let last = units
                        .iter()
                        .rposition(|&place| orders[place].account == account)
                        .unwrap();
                    units.remove(last);
                }
            }
        }
        Self {
            k,
            limits,
            pairs: buys.into_iter().zip(sells).collect(),
            netted,
        }
    }
}

/// Returns the pairs of a clearing, unit by unit.
pub fn expand(trades: &[Trade]) -> Vec<(usize, usize)> {
    let pair = |trade: &Trade| {
        (
            usize::try_from(trade.buy).unwrap(),
            usize::try_from(trade.sell).unwrap(),
        )
    };
    let units = |trade: &Trade| usize::try_from(trade.units).unwrap();
    trades
        .iter()
        .flat_map(|trade| std::iter::repeat_n(pair(trade), units(trade)))
        .collect()
}
