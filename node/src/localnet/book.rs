//! What the nodes of a network say of their chain, compared.
//!
//! ## Invariants
//! - Height for height, every node's block is compared with what the first one said.
//! - Bounded: the newest blocks are kept, and the first contradictions.

use std::collections::BTreeMap;

use commonwatt_primitives::Wh;
use commonwatt_runtime::Hash;
use pallet_double_auction::{HistoryEntry, StepOutcome};
use serde::Serialize;

use crate::traders::policy::price_in_words;

/// Blocks whose hashes are kept; who lags further behind is not compared there.
const BLOCKS_KEPT_MAX: usize = 8 * 1024;

/// Contradictions that are kept. One is too many.
const CONTRADICTIONS_MAX: usize = 16;

/// What is to be told of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// Who made it: an address.
    pub author: String,
    /// The author's place in the ranking.
    pub rank: u32,
    /// The round in which it was agreed upon, if it is proven.
    pub round: Option<u32>,
    /// Whether it came after the next step had closed.
    pub is_late: bool,
    /// Whose bids counted for it.
    pub bidders: Vec<String>,
    /// Who would have had the turn before the author.
    pub missed: Vec<String>,
    /// How the market of its step ended; `None` when nobody had an order.
    pub market: Option<MarketFacts>,
}

/// How the market of a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketFacts {
    /// The step.
    pub step: u32,
    /// What was traded.
    pub volume_wh: u64,
    /// At which price for a unit, in words; `None` when nothing was traded.
    pub price: Option<String>,
    /// The trading unit.
    pub unit_wh: u64,
}

impl MarketFacts {
    /// Returns what is told of a step's market.
    pub fn new(entry: &HistoryEntry, unit: Wh) -> Self {
        let (volume, price) = match &entry.outcome {
            StepOutcome::Cleared(record) if record.totals.volume > 0 => {
                (record.totals.volume, Some(price_in_words(record)))
            }
            StepOutcome::Cleared(_) | StepOutcome::Void(_) => (0, None),
        };
        Self {
            step: entry.step.0,
            volume_wh: volume.saturating_mul(unit.0),
            price,
            unit_wh: unit.0,
        }
    }
}

/// What became of a validator's bids and turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Heights it has bid for.
    pub bids: u32,
    /// Blocks it made.
    pub made: u32,
    /// Turns it missed.
    pub missed: u32,
}

/// Two nodes have different blocks of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The height.
    pub height: u32,
    /// The place of one node, and its block.
    pub one: (usize, Hash),
    /// The same of another.
    pub other: (usize, Hash),
}

struct Entry {
    hash: Hash,
    /// Who said so first.
    node: usize,
    facts: Option<BlockFacts>,
}

/// Compares and counts. Heights are noted from when the network was started.
#[derive(Default)]
pub struct Book {
    entries: BTreeMap<u32, Entry>,
    tallies: BTreeMap<String, Tally>,
    late: u32,
    contradictions: Vec<Contradiction>,
}

impl Book {
    /// Takes down a node's block of a height.
    pub fn note_block(&mut self, node: usize, height: u32, hash: Hash) -> Option<Contradiction> {
        if let Some(entry) = self.entries.get(&height) {
            if entry.hash == hash {
                return None;
            }
            let contradiction = Contradiction {
                height,
                one: (entry.node, entry.hash),
                other: (node, hash),
            };
            let is_known = self
                .contradictions
                .iter()
                .any(|known| known.height == height && known.other == contradiction.other);
            if is_known || self.contradictions.len() >= CONTRADICTIONS_MAX {
                return None;
            }
            self.contradictions.push(contradiction.clone());
            return Some(contradiction);
        }
        let oldest = self.entries.first_key_value().map(|(oldest, _)| *oldest);
        if self.entries.len() >= BLOCKS_KEPT_MAX {
            if oldest.is_some_and(|oldest| height < oldest) {
                return None;
            }
            self.entries.pop_first();
        }
        let facts = None;
        self.entries.insert(height, Entry { hash, node, facts });
        None
    }

    /// Returns whether more is to be learned of a block.
    pub fn is_wanted(&self, height: u32, hash: Hash) -> bool {
        self.entries
            .get(&height)
            .is_some_and(|entry| entry.hash == hash && entry.facts.is_none())
    }

    /// Takes down what a block tells, once.
    pub fn note_facts(&mut self, height: u32, hash: Hash, facts: BlockFacts) {
        if !self.is_wanted(height, hash) {
            return;
        }
        for who in &facts.bidders {
            let bids = &mut self.tallies.entry(who.clone()).or_default().bids;
            *bids = bids.saturating_add(1);
        }
        for who in &facts.missed {
            let missed = &mut self.tallies.entry(who.clone()).or_default().missed;
            *missed = missed.saturating_add(1);
        }
        let made = &mut self.tallies.entry(facts.author.clone()).or_default().made;
        *made = made.saturating_add(1);
        self.late = self.late.saturating_add(u32::from(facts.is_late));
        if let Some(entry) = self.entries.get_mut(&height) {
            entry.facts = Some(facts);
        }
    }

    /// Returns how the last market that had orders ended, among the blocks that are known.
    pub fn last_market(&self) -> Option<MarketFacts> {
        let newest = self.entries.values().rev();
        let mut markets = newest.filter_map(|entry| entry.facts.as_ref()?.market.clone());
        markets.next()
    }

    /// Returns what is known of a node's block.
    pub fn facts(&self, height: u32, hash: Hash) -> Option<&BlockFacts> {
        let entry = self.entries.get(&height)?;
        entry.facts.as_ref().filter(|_| entry.hash == hash)
    }

    /// Returns a validator's bids and turns.
    pub fn tally(&self, account: &str) -> Tally {
        self.tallies.get(account).copied().unwrap_or_default()
    }

    /// Returns how many blocks came late.
    pub fn late(&self) -> u32 {
        self.late
    }

    /// Returns the first contradiction, if nodes have contradicted each other.
    pub fn contradiction(&self) -> Option<&Contradiction> {
        self.contradictions.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> Hash {
        Hash::repeat_byte(number)
    }

    fn facts(author: &str) -> BlockFacts {
        BlockFacts {
            author: author.into(),
            rank: 1,
            round: Some(0),
            is_late: true,
            bidders: vec!["a".into(), "b".into()],
            missed: vec!["a".into()],
            market: None,
        }
    }

    fn market(step: u32, volume_wh: u64) -> MarketFacts {
        MarketFacts {
            step,
            volume_wh,
            price: Some("5".into()),
            unit_wh: 10,
        }
    }

    #[test]
    fn nodes_that_say_the_same_agree() {
        let mut book = Book::default();
        for node in 0..3 {
            for height in 1..4 {
                let block = hash(u8::try_from(height).unwrap());
                assert_eq!(book.note_block(node, height, block), None);
            }
        }
        assert_eq!(book.contradiction(), None);
    }

    #[test]
    fn a_contradiction_is_told_once_and_kept() {
        let mut book = Book::default();
        book.note_block(0, 7, hash(1));
        let expected = Contradiction {
            height: 7,
            one: (0, hash(1)),
            other: (2, hash(2)),
        };
        assert_eq!(book.note_block(2, 7, hash(2)), Some(expected.clone()));
        assert_eq!(book.note_block(2, 7, hash(2)), None);
        assert_eq!(book.contradiction(), Some(&expected));
    }

    #[test]
    fn a_block_counts_once_whoever_tells_of_it() {
        let mut book = Book::default();
        book.note_block(0, 7, hash(1));
        assert!(book.is_wanted(7, hash(1)) && !book.is_wanted(7, hash(2)));
        book.note_facts(7, hash(1), facts("b"));
        book.note_facts(7, hash(1), facts("b"));
        assert!(!book.is_wanted(7, hash(1)));
        let tally = |bids, made, missed| Tally { bids, made, missed };
        assert_eq!(book.tally("a"), tally(1, 0, 1));
        assert_eq!(book.tally("b"), tally(1, 1, 0));
        assert_eq!(book.tally("c"), Tally::default());
        assert_eq!(book.late(), 1);
        assert_eq!(book.facts(7, hash(1)), Some(&facts("b")));
        assert_eq!(book.facts(7, hash(2)), None);
    }

    #[test]
    fn the_last_market_is_that_of_the_newest_block_with_orders() {
        let mut book = Book::default();
        assert_eq!(book.last_market(), None);
        for (height, volume_wh) in [(8, Some(120)), (7, Some(90)), (9, None)] {
            book.note_block(0, height, hash(1));
            let facts = BlockFacts {
                market: volume_wh.map(|volume_wh| market(height, volume_wh)),
                ..facts("b")
            };
            book.note_facts(height, hash(1), facts);
        }
        assert_eq!(book.last_market(), Some(market(8, 120)));
    }

    #[test]
    fn a_market_without_trade_or_that_was_void_has_no_price() {
        use commonwatt_primitives::Step;
        use pallet_double_auction::VoidReason;

        let entry = HistoryEntry {
            step: Step(7),
            outcome: StepOutcome::Void(VoidReason::Late),
        };
        let facts = MarketFacts::new(&entry, Wh(10));
        assert_eq!((facts.step, facts.volume_wh, facts.price), (7, 0, None));
    }

    #[test]
    fn the_newest_blocks_are_kept() {
        let mut book = Book::default();
        let last = u32::try_from(BLOCKS_KEPT_MAX).unwrap() + 5;
        for height in 1..=last {
            book.note_block(0, height, hash(1));
        }
        assert_eq!(book.entries.len(), BLOCKS_KEPT_MAX);
        assert_eq!(book.note_block(1, 1, hash(2)), None);
        assert_eq!(book.entries.len(), BLOCKS_KEPT_MAX);
        assert!(book.note_block(1, last, hash(2)).is_some());
    }
}
