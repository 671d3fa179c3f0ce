//! Access to the state after a block.

use std::{collections::BTreeSet, sync::Arc};

use hash_db::Prefix;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion},
};
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::{
    Backend, BackendTransaction, DefaultError, IterArgs, StateMachineStats, StorageIterator,
    StorageKey, StorageValue, TrieBackend, TrieBackendBuilder, TrieBackendStorage, UsageInfo,
};
use sp_trie::{MerkleValue, StorageProof, cache::LocalTrieCache, recorder::Recorder};

use crate::{
    chain::Shared,
    nodes::StateNodes,
    state_root::{self, Division},
    store::Column,
};

/// The trie of a state.
type Trie = TrieBackend<StateStorage, BlakeTwo256, StateNodes>;

/// The state after one block, ready for reading, execution and proofs.
///
/// It does not keep the block's state from being pruned: a state that is read while it leaves the window
/// answers with errors from then on, never with wrong values.
pub struct State {
    trie: Trie,
    shared: Arc<Shared>,
    remembering: Remembering,
}

/// Whether what a state reads stays in the cache of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembering {
    /// For building and importing: the next block will read much of the same.
    Remember,
    /// For queries, which would push out what blocks need.
    OnlyLook,
}

impl State {
    pub(crate) fn new(trie: Trie, shared: Arc<Shared>, remembering: Remembering) -> Self {
        Self {
            trie,
            shared,
            remembering,
        }
    }

    /// Returns the root of the state's trie.
    pub fn root(&self) -> &H256 {
        self.trie.root()
    }

    /// Returns the trie nodes that show what the state holds under `keys`, or that it holds nothing there.
    pub fn prove<Key: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<StorageProof, DefaultError> {
        // Without the cache, so that every node of the way is recorded.
        let recording = TrieBackendBuilder::wrap(&self.trie)
            .with_optional_cache(None::<LocalTrieCache<BlakeTwo256>>)
            .with_recorder(Recorder::default())
            .build();
        for key in keys {
            recording.storage(key.as_ref())?;
        }
        Ok(recording
            .extract_proof()
            .expect("a recorder was given above"))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("State").field(self.root()).finish()
    }
}

/// Keys and values of a state, from its trie.
pub struct StateIter(<Trie as Backend<BlakeTwo256>>::RawIter);

impl StorageIterator<BlakeTwo256> for StateIter {
    type Backend = State;
    type Error = DefaultError;

    fn next_key(&mut self, backend: &State) -> Option<Result<StorageKey, DefaultError>> {
        self.0.next_key(&backend.trie)
    }

    fn next_pair(
        &mut self,
        backend: &State,
    ) -> Option<Result<(StorageKey, StorageValue), DefaultError>> {
        self.0.next_pair(&backend.trie)
    }

    fn was_complete(&self) -> bool {
        self.0.was_complete()
    }
}

impl Backend<BlakeTwo256> for State {
    type Error = DefaultError;
    type TrieBackendStorage = StateStorage;
    type RawIter = StateIter;

    fn storage(&self, key: &[u8]) -> Result<Option<StorageValue>, DefaultError> {
        let (values, root) = (self.shared.values(), self.trie.root());
        if let Some(value) = values.get(root, key) {
            return Ok(value);
        }
        let value = self.trie.storage(key)?;
        if self.remembering == Remembering::Remember {
            values.insert(root, key, value.clone());
        }
        Ok(value)
    }

    fn exists_storage(&self, key: &[u8]) -> Result<bool, DefaultError> {
        Ok(self.storage(key)?.is_some())
    }

    fn storage_hash(&self, key: &[u8]) -> Result<Option<H256>, DefaultError> {
        self.trie.storage_hash(key)
    }

    fn closest_merkle_value(&self, key: &[u8]) -> Result<Option<MerkleValue<H256>>, DefaultError> {
        self.trie.closest_merkle_value(key)
    }

    fn child_closest_merkle_value(
        &self,
        child: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<MerkleValue<H256>>, DefaultError> {
        self.trie.child_closest_merkle_value(child, key)
    }

    fn child_storage(
        &self,
        child: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageValue>, DefaultError> {
        self.trie.child_storage(child, key)
    }

    fn child_storage_hash(
        &self,
        child: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<H256>, DefaultError> {
        self.trie.child_storage_hash(child, key)
    }

    fn next_storage_key(&self, key: &[u8]) -> Result<Option<StorageKey>, DefaultError> {
        self.trie.next_storage_key(key)
    }

    fn next_child_storage_key(
        &self,
        child: &ChildInfo,
        key: &[u8],
    ) -> Result<Option<StorageKey>, DefaultError> {
        self.trie.next_child_storage_key(child, key)
    }

    fn storage_root<'a>(
        &self,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        version: StateVersion,
    ) -> (H256, BackendTransaction<BlakeTwo256>) {
        state_root::compute(
            self.trie.root(),
            delta.collect(),
            Division::usual(),
            |changes| self.trie.storage_root(changes.into_iter(), version),
        )
    }

    fn child_storage_root<'a>(
        &self,
        child: &ChildInfo,
        delta: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        version: StateVersion,
    ) -> (H256, bool, BackendTransaction<BlakeTwo256>) {
        self.trie.child_storage_root(child, delta, version)
    }

    fn raw_iter(&self, args: IterArgs<'_>) -> Result<StateIter, DefaultError> {
        self.trie.raw_iter(args).map(StateIter)
    }

    fn register_overlay_stats(&self, stats: &StateMachineStats) {
        self.trie.register_overlay_stats(stats);
    }

    fn usage_info(&self) -> UsageInfo {
        self.trie.usage_info()
    }
}

/// Reads trie nodes from the blocks in memory and from the disk.
pub struct StateStorage {
    shared: Arc<Shared>,
    number: u32,
    hash: H256,
}

impl StateStorage {
    pub(crate) fn new(shared: Arc<Shared>, number: u32, hash: H256) -> Self {
        Self {
            shared,
            number,
            hash,
        }
    }
}

impl TrieBackendStorage<BlakeTwo256> for StateStorage {
    fn get(&self, key: &H256, prefix: Prefix<'_>) -> Result<Option<Vec<u8>>, String> {
        let key = sp_trie::prefixed_key::<BlakeTwo256>(key, prefix);
        if let Some(node) = self.shared.node_in_memory(&key) {
            return Ok(Some(node));
        }
        let place = || format!("the state after block {} ({:?})", self.number, self.hash);
        match self.shared.store().get(Column::State, &key) {
            Ok(Some(node)) => Ok(Some(node)),
            Ok(None) if self.shared.is_state_kept(self.number, &self.hash) => {
                let column = Column::State;
                let key = crate::error::to_hex(&key);
                let error = format!("{} is damaged: {column} 0x{key} is missing", place());
                tracing::error!("{error}; {}", crate::error::RESTORE);
                Err(error)
            }
            Ok(None) => Err(format!("{} was discarded while it was read", place())),
            Err(error) => {
                tracing::error!("cannot read {}: {error}", place());
                Err(error.to_string())
            }
        }
    }
}

/// Which states can be read, beside those in memory.
pub(crate) enum KeptStates {
    /// All.
    Every,
    /// Those after the blocks with these numbers.
    Some(BTreeSet<u32>),
}

impl KeptStates {
    pub(crate) fn contains(&self, number: u32) -> bool {
        match self {
            Self::Every => true,
            Self::Some(numbers) => numbers.contains(&number),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Every => "every state".to_owned(),
            Self::Some(numbers) => match (numbers.first(), numbers.last()) {
                (Some(first), Some(last)) => {
                    format!("{} states between blocks {first} and {last}", numbers.len())
                }
                _ => "no state".to_owned(),
            },
        }
    }
}
