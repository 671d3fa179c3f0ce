//! Hashes refused without validation.

use std::collections::{BTreeSet, HashMap};

use crate::{BlockNumber, Hash};

/// Characters of a cause that are remembered: a sentence, not a dump.
const CAUSE_CHARS_MAX: usize = 200;

/// Why and how long a hash is refused.
#[derive(Debug)]
pub(crate) struct Ban {
    /// The block with which the ban ends.
    pub(crate) until: BlockNumber,
    /// What was wrong with the transaction.
    pub(crate) cause: String,
}

/// The banned hashes; when full, those whose ban ends first are forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    by_hash: HashMap<Hash, Ban>,
    by_end: BTreeSet<(BlockNumber, Hash)>,
}

impl Bans {
    pub(crate) fn get(&self, hash: &Hash) -> Option<&Ban> {
        self.by_hash.get(hash)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    /// Bans a hash, for the longer of an old and the new ban.
    pub(crate) fn insert(
        &mut self,
        hash: Hash,
        until: BlockNumber,
        cause: &str,
        banned_max: usize,
    ) {
        let until = match self.by_hash.remove(&hash) {
            Some(old) => {
                self.by_end.remove(&(old.until, hash));
                until.max(old.until)
            }
            None => until,
        };
        let cause = cause.chars().take(CAUSE_CHARS_MAX).collect();
        self.by_hash.insert(hash, Ban { until, cause });
        self.by_end.insert((until, hash));
        while self.by_hash.len() > banned_max {
            self.forget_first();
        }
    }

    /// Ends the bans that last until `number` or less.
    pub(crate) fn expire(&mut self, number: BlockNumber) {
        while self
            .by_end
            .first()
            .is_some_and(|(until, _)| *until <= number)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, hash)) = self.by_end.pop_first() {
            self.by_hash.remove(&hash);
        }
    }

    /// Returns whether both indices say the same.
    pub(crate) fn is_consistent(&self) -> bool {
        self.by_hash.len() == self.by_end.len()
            && self
                .by_hash
                .iter()
                .all(|(hash, ban)| self.by_end.contains(&(ban.until, *hash)))
    }
}
