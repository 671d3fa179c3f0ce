//! Demand and supply as steps, for charts.

use alloc::vec::Vec;

use commonwatt_primitives::Price;
use serde::Serialize;

use crate::{Order, Side};

/// A step of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// The price.
    pub price: Price,
    /// Demand: the units with this limit or a higher one. Supply: those with this limit or a lower one.
    pub units: u64,
}

/// Demand by falling, supply by rising price.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Curves {
    /// What would be bought.
    pub demand: Vec<Level>,
    /// What would be sold.
    pub supply: Vec<Level>,
}

/// Returns the curves with at most `levels_max` levels each: where there are more prices, evenly chosen ones of them, the
/// first and the last among them. Each level that is there is exact.
pub fn compute_curves<AccountId>(orders: &[Order<AccountId>], levels_max: u32) -> Curves {
    let collect = |side: Side| {
        let of_side = orders.iter().filter(|order| order.side == side);
        let mut steps: Vec<(Price, u32)> =
            of_side.map(|order| (order.limit, order.units)).collect();
        match side {
            Side::Buy => steps.sort_unstable_by(|a, b| b.cmp(a)),
            Side::Sell => steps.sort_unstable(),
        }
        thin(accumulate(&steps), levels_max)
    };
    Curves {
        demand: collect(Side::Buy),
        supply: collect(Side::Sell),
    }
}

fn accumulate(steps: &[(Price, u32)]) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    let mut units = 0u64;
    for &(price, more) in steps {
        units = units.saturating_add(u64::from(more));
        match levels.last_mut() {
            Some(level) if level.price == price => level.units = units,
            _ => levels.push(Level { price, units }),
        }
    }
    levels
}

fn thin(levels: Vec<Level>, levels_max: u32) -> Vec<Level> {
    let wanted = crate::order::index(levels_max);
    if levels.len() <= wanted {
        return levels;
    }
    match wanted {
        0 => Vec::new(),
        1 => levels.last().copied().into_iter().collect(),
        _ => {
            let last = levels.len() - 1;
            (0..wanted)
                .map(|step| levels[step * last / (wanted - 1)])
                .collect()
        }
    }
}
