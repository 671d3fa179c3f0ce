//! Decoded trie nodes that were read or made lately, of all states.
//!
//! A node is known by its hash, so one answer serves every state, and a block that is refused leaves nothing wrong.
//! Values are not kept here: those of the newest state have a cache of their own.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::TrieCacheProvider;
use sp_trie::{Error, NodeCodec};
use trie_db::{CachedValue, TrieCache, node::NodeOwned};

type Node = Arc<NodeOwned<H256>>;
type Fetched<T> = trie_db::Result<T, H256, Error<H256>>;

/// Rough cost of an entry beside its node.
const ENTRY_BYTES: usize = 128;

/// A state for queries adds at most this part of a generation.
const QUERY_PART: usize = 8;

/// Decoded nodes in two generations: what is used moves to the young one, and when that is full the old one goes.
pub(crate) struct NodeCache {
    generation_bytes_max: usize,
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    young: HashMap<H256, Node>,
    young_bytes: usize,
    old: HashMap<H256, Node>,
    old_bytes: usize,
}

impl NodeCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            generation_bytes_max: bytes_max / 2,
            nodes: Mutex::default(),
        }
    }

    /// Returns how much memory the nodes take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let nodes = self.nodes.lock();
        nodes.young_bytes.saturating_add(nodes.old_bytes)
    }

    fn get(&self, hash: &H256) -> Option<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.young.get(hash) {
            return Some(Arc::clone(node));
        }
        let node = nodes.old.remove(hash)?;
        let bytes = bytes_of(&node);
        nodes.old_bytes = nodes.old_bytes.saturating_sub(bytes);
        nodes.put(*hash, Arc::clone(&node), bytes, self.generation_bytes_max);
        Some(node)
    }

    fn insert(&self, hash: H256, node: Node, bytes: usize) {
        if self.generation_bytes_max > 0 {
            let mut nodes = self.nodes.lock();
            nodes.put(hash, node, bytes, self.generation_bytes_max);
        }
    }
}

impl Nodes {
    fn put(&mut self, hash: H256, node: Node, bytes: usize, generation_bytes_max: usize) {
        if self.young_bytes >= generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        if self.young.insert(hash, node).is_none() {
            self.young_bytes = self.young_bytes.saturating_add(bytes);
        }
    }
}

fn bytes_of(node: &NodeOwned<H256>) -> usize {
    node.size_in_bytes().saturating_add(ENTRY_BYTES)
}

/// One state's way to the nodes.
pub(crate) struct StateNodes {
    cache: Arc<NodeCache>,
    /// Bytes that the state may still add.
    room: AtomicUsize,
}

impl StateNodes {
    /// For building and importing: everything stays.
    pub(crate) fn working(cache: Arc<NodeCache>) -> Self {
        Self {
            cache,
            room: AtomicUsize::new(usize::MAX),
        }
    }

    /// For queries, which would push out what blocks need.
    pub(crate) fn querying(cache: Arc<NodeCache>) -> Self {
        let room = AtomicUsize::new(cache.generation_bytes_max / QUERY_PART);
        Self { cache, room }
    }

    fn insert(&self, hash: H256, node: Node) {
        let bytes = bytes_of(&node);
        let room = self.room.load(Ordering::Relaxed);
        if let Some(left) = room.checked_sub(bytes) {
            if room != usize::MAX {
                self.room.store(left, Ordering::Relaxed);
            }
            self.cache.insert(hash, node, bytes);
        }
    }
}

/// One walk through a trie.
pub(crate) struct Walk<'a> {
    nodes: &'a StateNodes,
    /// The node looked at, which the walk holds while it does.
    current: Option<Node>,
}

impl TrieCacheProvider<BlakeTwo256> for StateNodes {
    type Cache<'a> = Walk<'a>;

    fn as_trie_db_cache(&self, _: H256) -> Walk<'_> {
        self.as_trie_db_mut_cache()
    }

    fn as_trie_db_mut_cache(&self) -> Walk<'_> {
        Walk {
            nodes: self,
            current: None,
        }
    }

    fn merge<'a>(&'a self, _: Walk<'a>, _: H256) {}
}

impl TrieCache<NodeCodec<BlakeTwo256>> for Walk<'_> {
    fn lookup_value_for_key(&mut self, _: &[u8]) -> Option<&CachedValue<H256>> {
        None
    }

    fn cache_value_for_key(&mut self, _: &[u8], _: CachedValue<H256>) {}

    fn get_or_insert_node(
        &mut self,
        hash: H256,
        fetch: &mut dyn FnMut() -> Fetched<NodeOwned<H256>>,
    ) -> Fetched<&NodeOwned<H256>> {
        let node = match self.nodes.cache.get(&hash) {
            Some(node) => node,
            None => {
                let node = Arc::new(fetch()?);
                self.nodes.insert(hash, Arc::clone(&node));
                node
            }
        };
        Ok(self.current.insert(node))
    }

    fn get_node(&mut self, hash: &H256) -> Option<&NodeOwned<H256>> {
        self.current = self.nodes.cache.get(hash);
        self.current.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> H256 {
        H256::from_low_u64_be(number)
    }

    fn add(nodes: &StateNodes, number: u64) {
        nodes.insert(hash(number), Arc::new(NodeOwned::Empty));
    }

    #[test]
    fn what_is_used_outlives_what_is_not() {
        let bytes = bytes_of(&NodeOwned::Empty);
        let cache = Arc::new(NodeCache::new(8 * bytes));
        let nodes = StateNodes::working(Arc::clone(&cache));
        for number in 0..100 {
            add(&nodes, number);
            assert!(cache.get(&hash(0)).is_some());
        }
        assert!(cache.get(&hash(1)).is_none());
        assert!(cache.bytes() <= 8 * bytes);
        let held = cache.nodes.lock();
        assert_eq!(held.young_bytes, held.young.len() * bytes);
        assert_eq!(held.old_bytes, held.old.len() * bytes);
    }

    #[test]
    fn a_query_adds_a_part_of_a_generation_only() {
        let bytes = bytes_of(&NodeOwned::Empty);
        let cache = Arc::new(NodeCache::new(2 * QUERY_PART * 3 * bytes));
        let nodes = StateNodes::querying(Arc::clone(&cache));
        for number in 0..100 {
            add(&nodes, number);
        }
        assert_eq!(cache.bytes(), 3 * bytes);
    }
}
