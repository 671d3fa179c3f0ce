//! Orders of each side in the order of priority, as keys that fit a cache.

use alloc::vec::Vec;

use codec::{Encode, Output};
use commonwatt_primitives::{Ppm, Price};

use crate::{
    Breakeven, Mechanism, Order, OrderError, Side,
    order::{check_count, check_order, index},
};

/// An order's priority, position and units in one number: sorting numbers of 16 bytes is several times faster than
/// sorting orders, or positions with a look at two orders for each comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u128);

/// What decides among equal limits, less first: the loyalty, inverted, where the mechanism looks at it; the arrival; the
/// first bytes of the tie-break hash.
type Tie = u128;

/// The market, sorted by limit; among equal limits after [`Ranking::break_ties`] only.
#[derive(Debug, Default)]
pub(crate) struct Ranking {
    pub buys: Vec<Key>,
    pub sells: Vec<Key>,
    buy_scale: Scale,
    sell_scale: Scale,
    /// By position.
    ties: Vec<Tie>,
    /// A few bits of each order's account, by position.
    tags: Vec<u32>,
}

impl Key {
    #[inline]
    fn new(priority: u64, position: u32, units: u32) -> Self {
        Self((u128::from(priority) << 64) | (u128::from(position) << 32) | u128::from(units))
    }

    /// Returns the limit of an order that was not sorted yet, inverted for a buyer; after that, what its [`Scale`] made
    /// of it.
    #[inline]
    fn priority(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0.to_be_bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns where the order stands.
    #[inline]
    pub fn position(&self) -> u32 {
        let [.., a, b, c, d, _, _, _, _] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns how many units it has.
    #[inline]
    pub fn units(&self) -> u32 {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

/// How a side's priorities are written in 64 bits: how far the limit is behind the side's best one, then the first bits
/// of the tie. Limits of a market lie close together, so there is room for enough of the tie to tell nearly all orders
/// apart.
#[derive(Clone, Copy, Debug, Default)]
struct Scale {
    /// The best limit, inverted for buyers.
    best: u64,
    tie_bits: u32,
}

impl Scale {
    /// Returns the limit, inverted for a buyer.
    #[inline]
    fn limit(self, key: &Key) -> u64 {
        self.best + self.distance(key)
    }

    /// Returns how far the limit is behind the best one.
    #[inline]
    fn distance(self, key: &Key) -> u64 {
        key.priority() >> self.tie_bits
    }
}

/// How the ties of a book are written in as few bits as its loyalties and arrivals need.
#[derive(Clone, Copy)]
struct TieScale {
    /// The least disloyalty and the earliest arrival.
    least: (u32, u32),
    arrival_bits: u32,
    /// Of disloyalty, arrival and hash.
    bits: u32,
}

impl TieScale {
    const HASH_BITS: u32 = u64::BITS;

    fn new(ties: &[Tie]) -> Self {
        let (mut least, mut most) = ((u32::MAX, u32::MAX), (0, 0));
        for tie in ties {
            let (disloyalty, arrival, _) = split_tie(*tie);
            least = (least.0.min(disloyalty), least.1.min(arrival));
            most = (most.0.max(disloyalty), most.1.max(arrival));
        }
        let bits = |least: u32, most: u32| u32::BITS - most.saturating_sub(least).leading_zeros();
        let arrival_bits = bits(least.1, most.1);
        Self {
            least,
            arrival_bits,
            bits: bits(least.0, most.0) + arrival_bits + Self::HASH_BITS,
        }
    }

    /// Returns the first bits of a tie, at most 63.
    #[inline]
    fn first_bits(&self, tie: Tie, count: u32) -> u64 {
        let (disloyalty, arrival, hash) = split_tie(tie);
        let packed = (Tie::from(disloyalty - self.least.0)
            << (self.arrival_bits + Self::HASH_BITS))
            | (Tie::from(arrival - self.least.1) << Self::HASH_BITS)
            | Tie::from(hash);
        let first = packed.checked_shr(self.bits - count).unwrap_or_default();
        u64::try_from(first).expect("there are at most 63 bits")
    }
}

#[inline]
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

/// Returns disloyalty, arrival and hash.
#[inline]
fn split_tie(tie: Tie) -> (u32, u32, u64) {
    let [l, m, n, o, p, q, r, s, a, b, c, d, e, f, g, h] = tie.to_be_bytes();
    (
        u32::from_be_bytes([l, m, n, o]),
        u32::from_be_bytes([p, q, r, s]),
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
    )
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
            ..Self::default()
        };
        for (order, position) in orders.iter().zip(0u32..) {
            let limit = check_order(order, position)?;
            ranking.ties.push(compute_tie(order, mechanism));
            ranking.tags.push(compute_tag(&order.account));
            if is_in(position) {
                let (keys, limit) = match order.side {
                    Side::Buy => (&mut ranking.buys, !limit),
                    Side::Sell => (&mut ranking.sells, limit),
                };
                keys.push(Key::new(limit, position, order.units));
            }
        }
        ranking.sort();
        Ok(ranking)
    }

    fn sort(&mut self) {
        let tie_scale = TieScale::new(&self.ties);
        let mut spare = Vec::new();
        self.buy_scale = sort_by_limit(&mut self.buys, &self.ties, tie_scale, &mut spare);
        self.sell_scale = sort_by_limit(&mut self.sells, &self.ties, tie_scale, &mut spare);
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
        let sides = [
            (&mut self.buys, self.buy_scale),
            (&mut self.sells, self.sell_scale),
        ];
        for (keys, scale) in sides {
            let mut left = units;
            let have_equal_limits = |a: &Key, b: &Key| scale.distance(a) == scale.distance(b);
            for equals in keys.chunk_by_mut(have_equal_limits) {
                if left == 0 {
                    break;
                }
                left = left.saturating_sub(sum_units(equals.iter()));
                for equals in equals.chunk_by_mut(|a, b| a.priority() == b.priority()) {
                    if equals.len() > 1 {
                        sort_equals(equals, &self.ties, &mut sorted, orders, mechanism)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the limit of a buy order.
    #[inline]
    pub fn bid(&self, key: &Key) -> Price {
        Price::from(!self.buy_scale.limit(key))
    }

    /// Returns the limit of a sell order.
    #[inline]
    pub fn ask(&self, key: &Key) -> Price {
        Price::from(self.sell_scale.limit(key))
    }

    /// Returns the loyalty of an order's owner, where the mechanism looks at it.
    #[inline]
    pub fn loyalty(&self, key: Key) -> Ppm {
        let (disloyalty, _, _) = split_tie(self.ties[index(key.position())]);
        Ppm(!disloyalty)
    }

    /// Returns a few bits of an order's account, the same for each of its orders.
    #[inline]
    pub fn tag(&self, key: Key) -> u32 {
        self.tags[index(key.position())]
    }

    /// Finds the breakeven index and what proves it.
    pub fn compute_breakeven(&self) -> Breakeven {
        let (mut k, mut matched) = (0, None);
        let mut buys = Cursor::new(&self.buys);
        let mut sells = Cursor::new(&self.sells);
        while let (Some(buy), Some(sell)) = (buys.next, sells.next)
            && self.bid(buy) >= self.ask(sell)
        {
            let units = buys.left.min(sells.left);
            k += u64::from(units);
            matched = Some((buy, sell));
            buys.take(units);
            sells.take(units);
        }
        let mut breakeven = Breakeven {
            k,
            next_bid: buys.next.map(|key| self.bid(key)),
            next_ask: sells.next.map(|key| self.ask(key)),
            ..Breakeven::default()
        };
        if let Some((bid, ask)) = matched {
            breakeven.bid = Some(self.bid(bid));
            breakeven.ask = Some(self.ask(ask));
            (breakeven.demand_above, breakeven.demand_at_least) =
                count_units(&self.buys, self.buy_scale, bid);
            (breakeven.supply_below, breakeven.supply_at_most) =
                count_units(&self.sells, self.sell_scale, ask);
        }
        breakeven
    }
}

/// Returns how many units have a better limit than the marginal order, and how many have one as good.
fn count_units(keys: &[Key], scale: Scale, marginal: &Key) -> (u64, u64) {
    let distance = scale.distance(marginal);
    let (better, rest) = keys.split_at(keys.partition_point(|key| scale.distance(key) < distance));
    let equal = rest
        .iter()
        .take_while(|key| scale.distance(key) == distance);
    let better = sum_units(better.iter());
    (better, better + sum_units(equal))
}

/// Digits that a pass of [`sort_by_digits`] tells apart.
const DIGITS: usize = 1 << DIGIT_BITS;
const DIGIT_BITS: u32 = 11;
/// With more of them, or fewer numbers than there are digits, comparing is as fast.
const PASSES_MAX: u32 = 3;

/// Sorts a side's keys, which stand in the sequence of their positions and hold their limits, by limit, and by as much of
/// the tie as there is room for; positions ascend where both are equal. Returns how the limits are found again.
fn sort_by_limit(
    keys: &mut Vec<Key>,
    ties: &[Tie],
    tie_scale: TieScale,
    spare: &mut Vec<Key>,
) -> Scale {
    let limits = || keys.iter().map(Key::priority);
    let (Some(best), Some(worst)) = (limits().min(), limits().max()) else {
        return Scale::default();
    };
    let limit_bits = u64::BITS - (worst - best).leading_zeros();
    // As many bits as tell that many orders apart.
    let count_bits = usize::BITS - keys.len().leading_zeros();
    let passes = limit_bits.max(count_bits).div_ceil(DIGIT_BITS);
    let by_digits = passes <= PASSES_MAX && keys.len() >= DIGITS;
    let tie_bits = match by_digits {
        true => passes * DIGIT_BITS - limit_bits,
        false => (u64::BITS - limit_bits).min(u64::BITS - 1),
    };
    for key in keys.iter_mut() {
        let tie = ties[index(key.position())];
        let priority = ((key.priority() - best) << tie_bits) | tie_scale.first_bits(tie, tie_bits);
        *key = Key::new(priority, key.position(), key.units());
    }
    match by_digits {
        true => sort_by_digits(keys, spare, passes, Key::priority),
        false => keys.sort_unstable(),
    }
    Scale { best, tie_bits }
}

/// Sorts by the last digits of a number, leaving the sequence of equals as it is. One pass for each digit is several
/// times faster than comparing.
pub(crate) fn sort_by_digits<Item: Copy + Default>(
    items: &mut Vec<Item>,
    spare: &mut Vec<Item>,
    passes: u32,
    number: impl Fn(&Item) -> u64,
) {
    let digit = |item: &Item, pass: u32| {
        let digits = number(item) >> (pass * DIGIT_BITS);
        usize::try_from(digits % (1 << DIGIT_BITS)).expect("a digit has 11 bits")
    };
    spare.clear();
    spare.resize(items.len(), Item::default());
    for pass in 0..passes {
        let mut places = [0usize; DIGITS];
        for item in items.iter() {
            places[digit(item, pass)] += 1;
        }
        let mut sum = 0;
        for place in &mut places {
            sum += core::mem::replace(place, sum);
        }
        for item in items.iter() {
            let place = &mut places[digit(item, pass)];
            spare[*place] = *item;
            *place += 1;
        }
        core::mem::swap(items, spare);
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

#[inline]
fn sum_units<'a>(keys: impl Iterator<Item = &'a Key>) -> u64 {
    keys.map(|key| u64::from(key.units())).sum()
}

/// Mixes an account into 32 bits. Not against an adversary: equal tags cost time, never change a result.
#[inline]
fn compute_tag(account: &impl Encode) -> u32 {
    let mut mixer = Mixer(0);
    account.encode_to(&mut mixer);
    let [a, b, c, d, ..] = mixer.0.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Mixes what is encoded into it, without keeping it.
struct Mixer(u64);

impl Output for Mixer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = u64::from_le_bytes(word);
            self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
        }
    }
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
    use commonwatt_primitives::Hash;
    use proptest::prelude::*;

    /// Draws numbers below a power of two.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, bits: u32) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // The lower bits of such numbers repeat soon.
            (self.0 ^ (self.0 >> 33))
                .checked_shr(64 - bits)
                .unwrap_or_default()
        }

        fn small(&mut self, bits: u32) -> u32 {
            u32::try_from(self.next(bits)).expect("there are at most 32 bits")
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn digits_sort_as_comparing_does(
            count in 0usize..6_000,
            base in 0..=u64::MAX,
            limit_bits in 0u32..=64,
            (arrival_bits, loyalty_bits, hash_bits) in (0u32..=32, 0u32..=32, 0u32..=64),
            is_loyal: bool,
            seed: u64,
        ) {
            let mut numbers = Numbers(seed);
            let orders: Vec<Order<u64>> = (0u32..).take(count).map(|position| {
                let mut tie_break = Hash::zero();
                tie_break.0[..8].copy_from_slice(&(numbers.next(hash_bits) ^ base).to_be_bytes());
                Order {
                    id: Hash::from_low_u64_be(u64::from(position).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                    account: numbers.next(3),
                    side: if numbers.next(1) == 0 { Side::Buy } else { Side::Sell },
                    limit: base.saturating_add(numbers.next(limit_bits)).into(),
                    units: 1 + numbers.small(3),
                    loyalty: Ppm(u32::MAX - numbers.small(loyalty_bits)),
                    arrival: u32::MAX - numbers.small(arrival_bits),
                    tie_break,
                }
            }).collect();
            let mechanism = if is_loyal { Mechanism::Loyal } else { Mechanism::Average };
            let mut ranking = Ranking::new(&orders, mechanism, |_| true).expect("the orders are sound");
            ranking.break_ties(&orders, mechanism, u64::MAX).expect("no order is there twice");
            for side in [Side::Buy, Side::Sell] {
                let keys = match side {
                    Side::Buy => &ranking.buys,
                    Side::Sell => &ranking.sells,
                };
                let mut expected: Vec<_> = orders.iter().filter(|order| order.side == side).collect();
                expected.sort_by(|a, b| a.cmp_priority(b, mechanism));
                prop_assert_eq!(keys.len(), expected.len());
                for (key, order) in keys.iter().zip(expected) {
                    let limit = match side {
                        Side::Buy => ranking.bid(key),
                        Side::Sell => ranking.ask(key),
                    };
                    prop_assert_eq!(orders[index(key.position())].id, order.id);
                    prop_assert_eq!((limit, key.units()), (order.limit, order.units));
                    if is_loyal {
                        prop_assert_eq!(ranking.loyalty(*key), order.loyalty);
                    }
                }
            }
        }

        #[test]
        fn equals_keep_their_sequence(numbers in prop::collection::vec(0u64..1 << 22, 0..5_000)) {
            let mut items: Vec<(u64, usize)> = numbers.into_iter().zip(0..).collect();
            let mut expected = items.clone();
            expected.sort();
            sort_by_digits(&mut items, &mut Vec::new(), 2, |(number, _)| *number);
            prop_assert_eq!(items, expected);
        }
    }

    #[test]
    fn an_account_has_one_tag_however_many_pieces_it_is_encoded_in() {
        let account = [7u8; 32];
        assert_eq!(
            compute_tag(&account),
            compute_tag(&commonwatt_primitives::AccountId::new(account))
        );
        assert_ne!(compute_tag(&account), compute_tag(&[8u8; 32]));
    }
}
