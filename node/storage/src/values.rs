//! The values of the newest state that were read or written lately.
//!
//! The trie cache knows a value under its state's root, so every block starts it afresh and every read walks the
//! trie again. Here a block's own changes carry the values over to the next state.
//!
//! ## Invariants
//! - The cache is of one state at a time. Asked for another it knows nothing.
//! - What it says of a key is what the trie of its state says.

use hashbrown::HashMap;
use parking_lot::Mutex;
use sp_core::H256;

/// Rough cost of a map entry beside its key and value.
const ENTRY_BYTES: usize = 96;

/// A key of the state and its value, `None` where there is none.
pub type StateChange = (Vec<u8>, Option<Vec<u8>>);

/// Values of one state, the latest used ones.
pub(crate) struct ValueCache {
    /// Bytes of one generation at most, less its last entry; zero turns the cache off.
    generation_bytes_max: usize,
    values: Mutex<Values>,
}

/// Two generations: what is used moves to the young one, and when that is full the old one goes.
#[derive(Default)]
struct Values {
    root: H256,
    young: HashMap<Vec<u8>, Option<Vec<u8>>>,
    young_bytes: usize,
    old: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl ValueCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            generation_bytes_max: bytes_max / 2,
            values: Mutex::default(),
        }
    }

    /// Returns what the state with this root has under `key`, if it is known.
    pub(crate) fn get(&self, root: &H256, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut values = self.values.lock();
        if values.root != *root {
            return None;
        }
        if let Some(value) = values.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = values.old.remove_entry(key)?;
        values.put(key, value.clone(), self.generation_bytes_max);
        Some(value)
    }

    /// Remembers what the state with this root has under `key`, if the cache is of that state.
    pub(crate) fn insert(&self, root: &H256, key: &[u8], value: Option<Vec<u8>>) {
        let mut values = self.values.lock();
        if values.root == *root && self.generation_bytes_max > 0 {
            values.put(key.to_vec(), value, self.generation_bytes_max);
        }
    }

    /// Goes from the state with the root `from` to the one with the root `to`, which differs by `changes`.
    pub(crate) fn advance(&self, from: &H256, to: H256, changes: Vec<StateChange>) {
        if self.generation_bytes_max == 0 {
            return;
        }
        let mut values = self.values.lock();
        if values.root != *from {
            values.clear();
        }
        values.root = to;
        for (key, value) in changes {
            values.old.remove(&key);
            values.put(key, value, self.generation_bytes_max);
        }
    }
}

impl Values {
    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>, generation_bytes_max: usize) {
        if self.young_bytes >= generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        let size = key
            .len()
            .saturating_add(value.as_ref().map_or(0, Vec::len))
            .saturating_add(ENTRY_BYTES);
        self.young_bytes = self.young_bytes.saturating_add(size);
        self.young.insert(key, value);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(number: u8) -> H256 {
        H256::repeat_byte(number)
    }

    fn change(key: &str, value: Option<&str>) -> StateChange {
        (
            key.as_bytes().to_vec(),
            value.map(|value| value.as_bytes().to_vec()),
        )
    }

    #[test]
    fn changes_carry_values_over_to_the_next_state() {
        let cache = ValueCache::new(1 << 20);
        cache.advance(
            &root(0),
            root(1),
            vec![change("a", Some("1")), change("b", Some("2"))],
        );
        cache.advance(
            &root(1),
            root(2),
            vec![change("a", Some("3")), change("b", None)],
        );
        assert_eq!(cache.get(&root(2), b"a"), Some(Some(b"3".to_vec())));
        assert_eq!(cache.get(&root(2), b"b"), Some(None));
        assert_eq!(cache.get(&root(2), b"c"), None);
    }

    #[test]
    fn another_state_is_not_answered_for() {
        let cache = ValueCache::new(1 << 20);
        cache.advance(&root(0), root(1), vec![change("a", Some("1"))]);
        assert_eq!(cache.get(&root(2), b"a"), None);
        cache.insert(&root(2), b"a", Some(b"2".to_vec()));
        assert_eq!(cache.get(&root(1), b"a"), Some(Some(b"1".to_vec())));
        // The chain went on from a state the cache is not of.
        cache.advance(&root(5), root(6), vec![change("b", Some("2"))]);
        assert_eq!(cache.get(&root(6), b"a"), None);
    }

    #[test]
    fn an_overwritten_value_is_forgotten_in_both_generations() {
        let cache = ValueCache::new(2 * (ENTRY_BYTES + 2));
        cache.advance(
            &root(0),
            root(1),
            vec![change("a", Some("1")), change("b", Some("1"))],
        );
        cache.advance(
            &root(1),
            root(2),
            vec![change("a", Some("2")), change("c", Some("1"))],
        );
        cache.advance(&root(2), root(3), vec![change("d", Some("1"))]);
        let known = cache.get(&root(3), b"a");
        assert!(known.is_none() || known == Some(Some(b"2".to_vec())));
    }

    #[test]
    fn the_cache_stays_within_its_bound() {
        let cache = ValueCache::new(10_000);
        for number in 0..10_000u32 {
            cache.insert(&root(0), &number.to_le_bytes(), Some(vec![0; 8]));
        }
        let values = cache.values.lock();
        let entries = values.young.len() + values.old.len();
        assert!(entries * (ENTRY_BYTES + 12) <= 10_000 + 2 * (ENTRY_BYTES + 12));
    }

    #[test]
    fn a_cache_without_room_remembers_nothing() {
        let cache = ValueCache::new(0);
        cache.advance(&root(0), root(1), vec![change("a", Some("1"))]);
        cache.insert(&root(0), b"a", None);
        assert_eq!(cache.get(&root(1), b"a"), None);
        assert_eq!(cache.get(&root(0), b"a"), None);
    }
}
