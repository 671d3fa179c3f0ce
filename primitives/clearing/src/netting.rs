//! What a member would trade with itself is taken out.

use alloc::{vec, vec::Vec};

use crate::{
    Order,
    order::index,
    ranking::{Key, Ranking},
};

/// Marks a sell order in an [`Entry`].
const SELL: u64 = 1 << 31;
/// The rank in an [`Entry`]: more than [`ORDERS_MAX`](crate::ORDERS_MAX) needs.
const RANK: u64 = SELL - 1;

/// A filled order of a member that may be on both sides: the account's tag, then the side, then the rank there. Sorted,
/// the orders of a member stand together, its buy orders first, each side in the order of priority.
type Entry = u64;

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
    let order_of = |entry: Entry| {
        let rank = rank_of(entry);
        let keys = if entry & SELL == 0 {
            &ranking.buys
        } else {
            &ranking.sells
        };
        &orders[index(keys[rank].position())]
    };
    let mut entries = collect_entries(ranking, buys.len(), sells.len());
    entries.sort_unstable();
    let mut netted = 0;
    for same_tag in entries.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
        let first = &order_of(same_tag[0]).account;
        if same_tag
            .iter()
            .any(|&entry| order_of(entry).account != *first)
        {
            same_tag.sort_unstable_by(|&a, &b| {
                order_of(a)
                    .account
                    .cmp(&order_of(b).account)
                    .then(a.cmp(&b))
            });
        }
        for member in same_tag.chunk_by(|&a, &b| order_of(a).account == order_of(b).account) {
            netted += take_out(member, buys, sells);
        }
    }
    netted
}

/// Takes out what one member would trade with itself.
fn take_out(member: &[Entry], buys: &mut [u32], sells: &mut [u32]) -> u64 {
    let (bought, sold) = member.split_at(member.partition_point(|entry| entry & SELL == 0));
    let sum = |entries: &[Entry], fills: &[u32]| {
        entries
            .iter()
            .map(|&entry| u64::from(fills[rank_of(entry)]))
            .sum()
    };
    let own: u64 = u64::min(sum(bought, buys), sum(sold, sells));
    take_last(own, bought, buys);
    take_last(own, sold, sells);
    own
}

/// Takes units out of a member's filled orders, the last in priority first. They have as many.
fn take_last(mut units: u64, entries: &[Entry], fills: &mut [u32]) {
    for &entry in entries.iter().rev() {
        let filled = &mut fills[rank_of(entry)];
        let taken = u32::try_from(units).map_or(*filled, |units| units.min(*filled));
        *filled -= taken;
        units -= u64::from(taken);
    }
}

/// Returns the filled orders of every member that is on both sides, and perhaps some of others.
fn collect_entries(ranking: &Ranking, buys: usize, sells: usize) -> Vec<Entry> {
    let entry = |side: u64| {
        move |(key, rank): (&Key, u64)| (u64::from(ranking.tag(*key)) << 32) | side | rank
    };
    let mut bought: Vec<Entry> = ranking.buys[..buys].iter().zip(0..).map(entry(0)).collect();
    let mut sold: Vec<Entry> = ranking.sells[..sells]
        .iter()
        .zip(0..)
        .map(entry(SELL))
        .collect();
    let buyers = TagSet::new(&bought);
    sold.retain(|&entry| buyers.may_contain(entry));
    let sellers = TagSet::new(&sold);
    bought.retain(|&entry| sellers.may_contain(entry));
    bought.append(&mut sold);
    bought
}

fn rank_of(entry: Entry) -> usize {
    usize::try_from(entry & RANK).expect("a rank has 31 bits")
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
            shift: 64 - bits.trailing_zeros(),
        };
        for &entry in entries {
            let (word, bit) = set.place(entry);
            set.words[word] |= bit;
        }
        set
    }

    fn may_contain(&self, entry: Entry) -> bool {
        let (word, bit) = self.place(entry);
        self.words[word] & bit != 0
    }

    /// The tag's first bits say where.
    fn place(&self, entry: Entry) -> (usize, u64) {
        let place = entry >> self.shift;
        (
            usize::try_from(place / 64).expect("there are at most 2^25 bits"),
            1 << (place % 64),
        )
    }
}
