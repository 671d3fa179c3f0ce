//! What the last blocks brought on chain, to judge verdicts obtained before them.

use std::collections::{HashMap, VecDeque};

use sp_runtime::transaction_validity::TransactionTag;

use crate::{BlockNumber, Hash};

/// Blocks looked back. A verdict is used within milliseconds, blocks follow each other fast only in
/// catch-up; beyond this, validating again is cheaper than remembering.
const RECENT_BLOCKS_MAX: usize = 8;

/// One block's share of what is remembered.
#[derive(Debug)]
struct RecentBlock {
    number: BlockNumber,
    hashes: Vec<Hash>,
    tags: Vec<TransactionTag>,
}

impl RecentBlock {
    fn entries(&self) -> usize {
        self.hashes.len().saturating_add(self.tags.len())
    }
}

/// Hashes and tags that the last blocks included.
#[derive(Debug)]
pub(crate) struct Recent {
    blocks: VecDeque<RecentBlock>,
    hashes: HashMap<Hash, BlockNumber>,
    tags: HashMap<TransactionTag, BlockNumber>,
    entries: usize,
    /// The earliest block whose verdicts can still be judged.
    judged_from: BlockNumber,
}

impl Recent {
    pub(crate) fn new(best: BlockNumber) -> Self {
        Self {
            blocks: VecDeque::new(),
            hashes: HashMap::new(),
            tags: HashMap::new(),
            entries: 0,
            judged_from: best,
        }
    }

    /// Returns the block that included a transaction.
    pub(crate) fn block_of(&self, hash: &Hash) -> Option<BlockNumber> {
        self.hashes.get(hash).copied()
    }

    /// Returns whether a tag came on chain in a block after `at`.
    pub(crate) fn is_satisfied_after(&self, tag: &TransactionTag, at: BlockNumber) -> bool {
        self.tags.get(tag).is_some_and(|number| *number > at)
    }

    /// Returns the earliest block whose verdicts can still be judged.
    pub(crate) fn judged_from(&self) -> BlockNumber {
        self.judged_from
    }

    pub(crate) fn push(
        &mut self,
        number: BlockNumber,
        hashes: Vec<Hash>,
        tags: Vec<TransactionTag>,
        entries_max: usize,
    ) {
        self.hashes
            .extend(hashes.iter().map(|hash| (*hash, number)));
        self.tags
            .extend(tags.iter().map(|tag| (tag.clone(), number)));
        let block = RecentBlock {
            number,
            hashes,
            tags,
        };
        self.entries = self.entries.saturating_add(block.entries());
        self.blocks.push_back(block);
        while self.blocks.len() > RECENT_BLOCKS_MAX
            || (self.blocks.len() > 1 && self.entries > entries_max)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(block) = self.blocks.pop_front() else {
            return;
        };
        self.entries = self.entries.saturating_sub(block.entries());
        self.judged_from = self.judged_from.max(block.number);
        for hash in &block.hashes {
            if self.hashes.get(hash) == Some(&block.number) {
                self.hashes.remove(hash);
            }
        }
        for tag in &block.tags {
            if self.tags.get(tag) == Some(&block.number) {
                self.tags.remove(tag);
            }
        }
    }

    /// Returns whether the maps hold nothing that no remembered block brought.
    pub(crate) fn is_consistent(&self) -> bool {
        let entries: usize = self.blocks.iter().map(RecentBlock::entries).sum();
        self.entries == entries
            && self.hashes.len().saturating_add(self.tags.len()) <= entries
            && self.blocks.len() <= RECENT_BLOCKS_MAX
    }
}
