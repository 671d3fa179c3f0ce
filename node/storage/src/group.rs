//! Consecutive blocks that go to disk together, readable meanwhile.

use hashbrown::{HashMap, HashSet, hash_map::Entry};
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_trie::PrefixedMemoryDB;

use crate::chain::Header;

/// Rough cost of a map entry beside its key and value.
const ENTRY_BYTES: usize = 64;

/// A block whose body is encoded already.
pub(crate) struct GroupBlock {
    pub(crate) number: u32,
    pub(crate) hash: H256,
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) justification: Option<Vec<u8>>,
    pub(crate) set_proof: Option<Vec<u8>>,
    pub(crate) extrinsic_hashes: Vec<H256>,
}

/// What happens to nodes that are born and die inside the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadNodes {
    /// They never reach the disk: the states between are not kept.
    Drop,
    /// Every state is kept, so nothing ever dies.
    Keep,
}

/// Consecutive blocks, and what they change in the state taken together.
///
/// A node key is the node's place in the trie followed by its hash, so it occurs at most once in a
/// state: births and deaths are sets, and the reference counts of the changes say no more than their sign.
pub(crate) struct Group {
    dead_nodes: DeadNodes,
    blocks: Vec<GroupBlock>,
    positions: HashMap<H256, usize>,
    extrinsics: HashMap<H256, (u32, u32)>,
    /// Nodes that the group's last state has and the state before the group lacks.
    births: HashMap<Vec<u8>, Vec<u8>>,
    /// Nodes that the state before the group has and the group's last state lacks.
    deaths: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Group {
    pub(crate) fn new(dead_nodes: DeadNodes) -> Self {
        Self {
            dead_nodes,
            blocks: Vec::new(),
            positions: HashMap::new(),
            extrinsics: HashMap::new(),
            births: HashMap::new(),
            deaths: HashSet::new(),
            bytes: 0,
        }
    }

    /// Appends a block and what it changes in the state.
    pub(crate) fn push(&mut self, block: GroupBlock, mut changes: PrefixedMemoryDB<BlakeTwo256>) {
        for (key, (node, count)) in changes.drain() {
            if count > 0 {
                self.add_birth(key, node);
            } else if count < 0 {
                self.add_death(key);
            }
        }
        for (index, hash) in (0_u32..).zip(&block.extrinsic_hashes) {
            self.extrinsics.insert(*hash, (block.number, index));
        }
        let indexes = block.extrinsic_hashes.len().saturating_mul(2 * ENTRY_BYTES);
        let justification = block.justification.as_ref().map_or(0, Vec::len);
        self.grow(
            block
                .body
                .len()
                .saturating_add(justification)
                .saturating_add(indexes),
        );
        self.positions.insert(block.hash, self.blocks.len());
        self.blocks.push(block);
    }

    fn add_birth(&mut self, key: Vec<u8>, node: Vec<u8>) {
        if self.dead_nodes == DeadNodes::Drop && self.deaths.remove(&key) {
            // It is on disk and alive again.
            self.shrink(key.len());
            return;
        }
        let size = key.len().saturating_add(node.len());
        if let Entry::Vacant(entry) = self.births.entry(key) {
            entry.insert(node);
            self.grow(size);
        }
    }

    fn add_death(&mut self, key: Vec<u8>) {
        if self.dead_nodes == DeadNodes::Keep {
            return;
        }
        if let Some(node) = self.births.remove(&key) {
            self.shrink(key.len().saturating_add(node.len()));
        } else {
            let size = key.len();
            if self.deaths.insert(key) {
                self.grow(size);
            }
        }
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(ENTRY_BYTES);
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes).saturating_sub(ENTRY_BYTES);
    }

    /// The blocks, ascending.
    pub(crate) fn blocks(&self) -> &[GroupBlock] {
        &self.blocks
    }

    pub(crate) fn births(&self) -> &HashMap<Vec<u8>, Vec<u8>> {
        &self.births
    }

    pub(crate) fn deaths(&self) -> &HashSet<Vec<u8>> {
        &self.deaths
    }

    /// About how much memory the group needs.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn block(&self, hash: &H256) -> Option<&GroupBlock> {
        self.positions
            .get(hash)
            .and_then(|position| self.blocks.get(*position))
    }

    pub(crate) fn block_mut(&mut self, hash: &H256) -> Option<&mut GroupBlock> {
        self.positions
            .get(hash)
            .and_then(|position| self.blocks.get_mut(*position))
    }

    pub(crate) fn block_at(&self, number: u32) -> Option<&GroupBlock> {
        let first = self.blocks.first()?.number;
        self.blocks
            .get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    pub(crate) fn last(&self) -> Option<&GroupBlock> {
        self.blocks.last()
    }

    pub(crate) fn find_extrinsic(&self, hash: &H256) -> Option<(u32, u32)> {
        self.extrinsics.get(hash).copied()
    }

    pub(crate) fn node(&self, key: &[u8]) -> Option<&Vec<u8>> {
        self.births.get(key)
    }
}
