//! What a member would trade with itself is taken out.

use alloc::{vec, vec::Vec};

use crate::{
    Order,
    order::index,
    ranking::{Key, Ranking, sort_by_digits},
};

/// Marks a sell order in an [`Entry`].
const SELL: u32 = 1 << 31;
/// The rank in an [`Entry`]: more than [`ORDERS_MAX`](crate::ORDERS_MAX) needs.
const RANK: u32 = SELL - 1;

/// How many of a tag's first bits are sorted by: two digits.
const SORTED_BITS: u32 = 22;
/// Fewer entries than that are sorted by comparing.
const DIGITS_FROM: usize = 2_048;

/// A filled order of a member that may be on both sides. Sorted, the orders of a member stand together, its buy orders
/// first, each side in the order of priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The account's.
    tag: u32,
    /// The side, then the rank there.
    place: u32,
    /// Where the order stands, so that a look at its account needs no other look first.
    position: u32,
}

impl Entry {
    #[inline]
    fn sorted_bits(&self) -> u32 {
        self.tag >> (u32::BITS - SORTED_BITS)
    }

    #[inline]
    fn is_buy(&self) -> bool {
        self.place & SELL == 0
    }

    #[inline]
    fn rank(&self) -> usize {
        index(self.place & RANK)
    }
}

/// Takes out of `buys` and `sells`, the units filled by rank, what members would trade with themselves; returns how many
/// units that are on each side.
///
/// Most members are on one side of the traded units only. A set of tags, of a few bits each, passes over nearly all of
/// them without a look at their accounts; what is left is sorted. Equal tags of different accounts cost time, never
/// change the result.
pub(crate) fn take_out_own<AccountId: Ord>(
    orders: &[Order<AccountId>],
    ranking: &Ranking,
    buys: &mut [u32],
    sells: &mut [u32],
) -> u64 {
    let account_of = |entry: &Entry| &orders[index(entry.position)].account;
    let mut entries = collect_entries(ranking, buys.len(), sells.len());
    sort_by_tag(&mut entries);
    let mut netted = 0;
    for same_tag in entries.chunk_by_mut(|a, b| a.sorted_bits() == b.sorted_bits()) {
        let first = account_of(&same_tag[0]);
        if same_tag.iter().all(|entry| account_of(entry) == first) {
            netted += take_out(same_tag, buys, sells);
            continue;
        }
        same_tag.sort_unstable_by(|a, b| account_of(a).cmp(account_of(b)).then(a.cmp(b)));
        for member in same_tag.chunk_by(|a, b| account_of(a) == account_of(b)) {
            netted += take_out(member, buys, sells);
        }
    }
    netted
}

/// Brings entries whose tags begin alike together, of which those of one tag ascend. They come by side and rank.
fn sort_by_tag(entries: &mut Vec<Entry>) {
    match entries.len() < DIGITS_FROM {
        true => entries.sort_unstable(),
        false => sort_by_digits(entries, &mut Vec::new(), 2, |entry| {
            u64::from(entry.sorted_bits())
        }),
    }
}

/// Takes out what one member would trade with itself.
fn take_out(member: &[Entry], buys: &mut [u32], sells: &mut [u32]) -> u64 {
    let (bought, sold) = member.split_at(member.partition_point(Entry::is_buy));
    let sum = |entries: &[Entry], fills: &[u32]| {
        entries
            .iter()
            .map(|entry| u64::from(fills[entry.rank()]))
            .sum()
    };
    let own: u64 = u64::min(sum(bought, buys), sum(sold, sells));
    take_last(own, bought, buys);
    take_last(own, sold, sells);
    own
}

/// Takes units out of a member's filled orders, the last in priority first. They have as many.
fn take_last(mut units: u64, entries: &[Entry], fills: &mut [u32]) {
    for entry in entries.iter().rev() {
        let filled = &mut fills[entry.rank()];
        let taken = u32::try_from(units).map_or(*filled, |units| units.min(*filled));
        *filled -= taken;
        units -= u64::from(taken);
    }
}

/// Returns the filled orders of every member that is on both sides, and perhaps some of others.
fn collect_entries(ranking: &Ranking, buys: usize, sells: usize) -> Vec<Entry> {
    let entry = |side: u32| {
        move |(key, rank): (&Key, u32)| Entry {
            tag: ranking.tag(*key),
            place: side | rank,
            position: key.position(),
        }
    };
    let mut bought: Vec<Entry> = ranking.buys[..buys].iter().zip(0..).map(entry(0)).collect();
    let mut sold: Vec<Entry> = ranking.sells[..sells]
        .iter()
        .zip(0..)
        .map(entry(SELL))
        .collect();
    let buyers = TagSet::new(&bought);
    sold.retain(|entry| buyers.may_contain(entry));
    let sellers = TagSet::new(&sold);
    bought.retain(|entry| sellers.may_contain(entry));
    bought.append(&mut sold);
    bought
}

/// A set of tags that may hold more than it was given, never less.
struct TagSet {
    words: Vec<u64>,
    shift: u32,
}

impl TagSet {
    /// Bits for each tag: one in sixteen passes although it is not there.
    const BITS_PER_TAG: usize = 16;

    fn new(entries: &[Entry]) -> Self {
        let bits = entries
            .len()
            .saturating_mul(Self::BITS_PER_TAG)
            .next_power_of_two()
            .max(64);
        let mut set = Self {
            words: vec![0; bits / 64],
            shift: u32::BITS - bits.trailing_zeros(),
        };
        for entry in entries {
            let (word, bit) = set.place(entry);
            set.words[word] |= bit;
        }
        set
    }

    #[inline]
    fn may_contain(&self, entry: &Entry) -> bool {
        let (word, bit) = self.place(entry);
        self.words[word] & bit != 0
    }

    /// The tag's first bits say where.
    #[inline]
    fn place(&self, entry: &Entry) -> (usize, u64) {
        let place = entry.tag >> self.shift;
        (index(place / u64::BITS), 1 << (place % u64::BITS))
    }
}
