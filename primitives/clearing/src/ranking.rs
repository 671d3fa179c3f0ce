//! Orders of each side in the order of priority, as keys that fit a cache.

use alloc::{vec, vec::Vec};

use codec::Encode;
use commonwatt_primitives::{Ppm, Price};

use crate::{
    Breakeven, Mechanism, Order, OrderError, Side,
    order::{check_count, check_order, index},
};

/// An order's limit, position and units in one number: sorting numbers of 16 bytes is several times faster than sorting
/// orders, or positions with a look at two orders for each comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u128);

/// What decides among equal limits, less first: the loyalty, inverted, where the mechanism looks at it; the arrival; the
/// first bytes of the tie-break hash.
type Tie = u128;

/// The market, sorted by limit; among equal limits after [`Ranking::break_ties`] only.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    pub buys: Vec<Key>,
    pub sells: Vec<Key>,
    /// By position.
    ties: Vec<Tie>,
    /// A few bits of each order's account, by position.
    tags: Vec<u32>,
}

impl Key {
    fn new(side: Side, limit: u64, position: u32, units: u32) -> Self {
        let limit = match side {
            Side::Buy => !limit,
            Side::Sell => limit,
        };
        Self((u128::from(limit) << 64) | (u128::from(position) << 32) | u128::from(units))
    }

    /// Returns the limit of a buy order.
    pub fn bid(&self) -> Price {
        Price::from(u64::MAX) - (self.0 >> 64)
    }

    /// Returns the limit of a sell order.
    pub fn ask(&self) -> Price {
        self.0 >> 64
    }

    /// Returns where the order stands.
    pub fn position(&self) -> u32 {
        let [.., a, b, c, d, _, _, _, _] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns how many units it has.
    pub fn units(&self) -> u32 {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn has_limit_of(&self, other: &Self) -> bool {
        self.0 >> 64 == other.0 >> 64
    }
}

fn compute_tie<AccountId>(order: &Order<AccountId>, mechanism: Mechanism) -> Tie {
    let [a, b, c, d, e, f, g, h, ..] = order.tie_break.0;
    let disloyalty = match mechanism {
        Mechanism::Loyal => !order.loyalty.0,
        _ => 0,
    };
    (Tie::from(disloyalty) << 96)
        | (Tie::from(order.arrival) << 64)
        | Tie::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

impl Ranking {
    /// Sorts the orders that `is_in` lets in by their limits.
    pub fn new<AccountId: Encode>(
        orders: &[Order<AccountId>],
        mechanism: Mechanism,
        is_in: impl Fn(u32) -> bool,
    ) -> Result<Self, OrderError> {
        check_count(orders.len())?;
        mechanism.check()?;
        let mut ranking = Self {
            buys: Vec::with_capacity(orders.len()),
            sells: Vec::with_capacity(orders.len()),
            ties: Vec::with_capacity(orders.len()),
            tags: Vec::with_capacity(orders.len()),
        };
        for (order, position) in orders.iter().zip(0u32..) {
            let limit = check_order(order, position)?;
            ranking.ties.push(compute_tie(order, mechanism));
            ranking.tags.push(order.account.using_encoded(compute_tag));
            if is_in(position) {
                let side = match order.side {
                    Side::Buy => &mut ranking.buys,
                    Side::Sell => &mut ranking.sells,
                };
                side.push(Key::new(order.side, limit, position, order.units));
            }
        }
        sort_by_limit(&mut ranking.buys);
        sort_by_limit(&mut ranking.sells);
        Ok(ranking)
    }

    /// Sorts the orders with the first `units` of each side by priority also where limits are equal. Behind them, nobody
    /// asks.
    pub fn break_ties<AccountId>(
        &mut self,
        orders: &[Order<AccountId>],
        mechanism: Mechanism,
        units: u64,
    ) -> Result<(), OrderError> {
        let mut sorted = Vec::new();
        for keys in [&mut self.buys, &mut self.sells] {
            let mut left = units;
            for equals in keys.chunk_by_mut(Key::has_limit_of) {
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(sum_units(equals.iter()));
                if equals.len() > 1 {
                    sort_equals(equals, &self.ties, &mut sorted, orders, mechanism)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the loyalty of an order's owner, where the mechanism looks at it.
    pub fn loyalty(&self, key: Key) -> Ppm {
        let [a, b, c, d, ..] = self.ties[index(key.position())].to_be_bytes();
        Ppm(!u32::from_be_bytes([a, b, c, d]))
    }

    /// Returns a few bits of an order's account, the same for each of its orders.
    pub fn tag(&self, key: Key) -> u32 {
        self.tags[index(key.position())]
    }

    /// Finds the breakeven index and what proves it.
    pub fn compute_breakeven(&self) -> Breakeven {
        let (mut k, mut matched) = (0, None);
        let mut buys = Cursor::new(&self.buys);
        let mut sells = Cursor::new(&self.sells);
        while let (Some(buy), Some(sell)) = (buys.next, sells.next)
            && buy.bid() >= sell.ask()
        {
            let units = buys.left.min(sells.left);
            k += u64::from(units);
            matched = Some((buy.bid(), sell.ask()));
            buys.take(units);
            sells.take(units);
        }
        let mut breakeven = Breakeven {
            k,
            next_bid: buys.next.map(Key::bid),
            next_ask: sells.next.map(Key::ask),
            ..Breakeven::default()
        };
        if let Some((bid, ask)) = matched {
            breakeven.bid = Some(bid);
            breakeven.ask = Some(ask);
            breakeven.demand_above = sum_units(self.buys.iter().take_while(|key| key.bid() > bid));
            breakeven.demand_at_least =
                sum_units(self.buys.iter().take_while(|key| key.bid() >= bid));
            breakeven.supply_below = sum_units(self.sells.iter().take_while(|key| key.ask() < ask));
            breakeven.supply_at_most =
                sum_units(self.sells.iter().take_while(|key| key.ask() <= ask));
        }
        breakeven
    }
}

/// Sorts a side's keys, which stand in the sequence of their positions.
///
/// Limits of a market lie close together: a few digits tell them apart, and one pass for each digit is several times
/// faster than comparing. Each pass keeps the sequence of equal digits, so positions still ascend among equal limits.
fn sort_by_limit(keys: &mut Vec<Key>) {
    const DIGIT_BITS: u32 = 11;
    const DIGITS: usize = 1 << DIGIT_BITS;
    /// With more of them, or fewer keys, comparing is as fast.
    const PASSES_MAX: u32 = 3;

    let limits = || keys.iter().map(|key| key.0 >> 64);
    let (Some(least), Some(greatest)) = (limits().min(), limits().max()) else {
        return;
    };
    let passes = (u128::BITS - (greatest - least).leading_zeros()).div_ceil(DIGIT_BITS);
    if passes > PASSES_MAX || keys.len() < DIGITS {
        keys.sort_unstable();
        return;
    }
    let mut sorted = vec![Key(0); keys.len()];
    for pass in 0..passes {
        let digit = |key: &Key| {
            let digits = ((key.0 >> 64) - least) >> (pass * DIGIT_BITS);
            usize::try_from(digits % (1 << DIGIT_BITS)).expect("a digit has 11 bits")
        };
        let mut places = [0usize; DIGITS];
        for key in keys.iter() {
            places[digit(key)] += 1;
        }
        let mut sum = 0;
        for place in &mut places {
            sum += core::mem::replace(place, sum);
        }
        for key in keys.iter() {
            let place = &mut places[digit(key)];
            sorted[*place] = *key;
            *place += 1;
        }
        core::mem::swap(keys, &mut sorted);
    }
}

/// Returns how many units of each order are among the first `units`; orders without any at the end are left out.
pub(crate) fn fill(keys: &[Key], mut units: u64) -> Vec<u32> {
    let mut fills = Vec::with_capacity(keys.len());
    for key in keys {
        if units == 0 {
            break;
        }
        let filled = u32::try_from(units).map_or(key.units(), |units| units.min(key.units()));
        fills.push(filled);
        units -= u64::from(filled);
    }
    fills
}

/// Sorts orders with equal limits.
fn sort_equals<AccountId>(
    keys: &mut [Key],
    ties: &[Tie],
    sorted: &mut Vec<(Tie, Key)>,
    orders: &[Order<AccountId>],
    mechanism: Mechanism,
) -> Result<(), OrderError> {
    let order_of = |key: &Key| &orders[index(key.position())];
    sorted.clear();
    sorted.extend(keys.iter().map(|key| (ties[index(key.position())], *key)));
    sorted.sort_unstable_by(|(a_tie, a), (b_tie, b)| {
        // Equal hashes in 8 of 32 bytes are rare, and cost a look at the orders.
        a_tie
            .cmp(b_tie)
            .then_with(|| order_of(a).cmp_tie(order_of(b), mechanism))
    });
    for pair in sorted.windows(2) {
        if let [(a_tie, a), (b_tie, b)] = pair
            && a_tie == b_tie
            && order_of(a).cmp_tie(order_of(b), mechanism).is_eq()
        {
            return Err(OrderError::Twice { id: order_of(a).id });
        }
    }
    for (key, (_, next)) in keys.iter_mut().zip(sorted.iter()) {
        *key = *next;
    }
    Ok(())
}

fn sum_units<'a>(keys: impl Iterator<Item = &'a Key>) -> u64 {
    keys.map(|key| u64::from(key.units())).sum()
}

/// Mixes an account into 32 bits. Not against an adversary: equal tags cost time, never change a result.
fn compute_tag(bytes: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = 0u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed = (mixed.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Walks over a side by units, without ever holding one of them.
struct Cursor<'a> {
    rest: core::slice::Iter<'a, Key>,
    next: Option<&'a Key>,
    left: u32,
}

impl<'a> Cursor<'a> {
    fn new(keys: &'a [Key]) -> Self {
        let mut cursor = Self {
            rest: keys.iter(),
            next: None,
            left: 0,
        };
        cursor.advance();
        cursor
    }

    fn advance(&mut self) {
        self.next = self.rest.next();
        self.left = self.next.map_or(0, Key::units);
    }

    /// Takes units of the present order, of which there are as many.
    fn take(&mut self, units: u32) {
        self.left -= units;
        if self.left == 0 {
            self.advance();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn digits_sort_as_comparing_does(
            count in 0usize..6_000,
            base in 0..=u64::MAX,
            bits in 0u32..=64,
            seed: u64,
        ) {
            let mut state = seed;
            let mut keys: Vec<Key> = (0u32..).take(count).map(|position| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let spread = state.checked_shr(64 - bits).unwrap_or_default();
                let side = if seed % 2 == 0 { Side::Buy } else { Side::Sell };
                Key::new(side, base.saturating_add(spread), position, position % 7)
            }).collect();
            let mut expected = keys.clone();
            expected.sort_unstable();
            sort_by_limit(&mut keys);
            prop_assert_eq!(keys, expected);
        }
    }
}
