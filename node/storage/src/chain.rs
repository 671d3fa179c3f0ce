//! The chain on disk: opening, blocks, indexes and states. How blocks get there: [`crate::commit`].

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
};

use codec::{Decode, Encode};
use parking_lot::{Mutex, RwLock};
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::TrieBackendBuilder;
use sp_trie::PrefixedMemoryDB;

use crate::{
    commit::write_genesis,
    error::{OpenError, StateError, StorageError, StoreError},
    folder::{DatabaseKind, Folder, find_kind, measure_disk_usage},
    group::{Group, GroupBlock},
    integrity::{verify_progress, verify_tail},
    nodes::{NodeCache, StateNodes},
    pruning::{Pruning, StatePruning},
    redb_store::RedbStore,
    sled_store::SledStore,
    state::{KeptStates, Remembering, State, StateStorage},
    store::{Batch, Column, Store},
    values::{StateChange, ValueCache},
};

/// Page cache of the back end unless configured otherwise.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The values of the newest state get this part of the state's cache, its trie the rest.
const VALUE_CACHE_PART: usize = 4;

pub(crate) const META_BEST: &[u8] = b"best";
pub(crate) const META_GENESIS: &[u8] = b"genesis";
pub(crate) const META_PRUNING: &[u8] = b"pruning";

/// A block header of the chain.
pub type Header = sp_runtime::generic::Header<u32, BlakeTwo256>;

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredBlock {
    /// The header.
    pub header: Header,
    /// The encoded extrinsics, in order.
    pub body: Vec<Vec<u8>>,
    /// The proof that the block is final, if there is one.
    pub justification: Option<Vec<u8>>,
}

/// A block to be stored, with what its execution changed.
pub struct NewBlock {
    /// The block.
    pub block: StoredBlock,
    /// The hash of its header.
    pub hash: H256,
    /// The trie nodes that the block adds and removes: the transaction of the `StorageChanges`.
    pub state_changes: PrefixedMemoryDB<BlakeTwo256>,
    /// Every key that the block changes, with its new value: the main changes of the `StorageChanges`.
    pub values: Vec<StateChange>,
    /// The hash of each extrinsic of the body, in order.
    pub extrinsic_hashes: Vec<H256>,
}

/// When a block has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// When the commit returns, together with everything before it.
    Durable,
    /// Soon: consecutive blocks are collected, readable at once, and written together by a second thread
    /// while the next ones are collected. States between two groups are not kept, unless the database is
    /// an archive. For replay, import and synchronisation, which can repeat what a crash loses.
    Bulk {
        /// Blocks after which a group is written, at most [`crate::BULK_BLOCKS_MAX`].
        max_blocks: u32,
        /// Bytes of memory after which a group is written, at most [`crate::BULK_BYTES_MAX`].
        max_bytes: usize,
    },
}

impl CommitMode {
    /// Groups of 256 blocks or 16 MiB.
    ///
    /// Larger groups write less, since more nodes are born and die inside one: with large blocks the disk is the bound, and
    /// groups of 4 MiB import half as fast. But sled keeps every replaced version of a page until the batch is applied:
    /// the first 300 blocks of `examples/commit_rate.rs` peak at 553 MiB.
    pub const fn bulk() -> Self {
        Self::Bulk {
            max_blocks: 256,
            max_bytes: 16 * 1024 * 1024,
        }
    }
}

/// How to open a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbConfig {
    /// The back end.
    pub kind: DatabaseKind,
    /// Which states to keep.
    pub pruning: StatePruning,
    /// Page cache of the back end in bytes.
    pub cache_bytes: usize,
    /// Cache of the state in bytes: trie nodes shared by all states, and values of the newest one.
    pub trie_cache_bytes: usize,
}

impl Default for DbConfig {
    fn default() -> Self {
        Self {
            kind: DatabaseKind::default(),
            pruning: StatePruning::default(),
            cache_bytes: CACHE_BYTES,
            trie_cache_bytes: CACHE_BYTES,
        }
    }
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The column.
    pub column: Column,
    /// How many records it has.
    pub records: u64,
    /// The bytes of their keys.
    pub key_bytes: u64,
    /// The bytes of their values.
    pub value_bytes: u64,
}

/// The newest block.
#[derive(Clone, Copy)]
pub(crate) struct Best {
    pub(crate) number: u32,
    pub(crate) hash: H256,
    pub(crate) state_root: H256,
}

/// What readers see beside the disk.
pub(crate) struct View {
    pub(crate) best: Option<Best>,
    /// The blocks that are being collected.
    pub(crate) current: Group,
    /// The blocks that are being written, or could not be written.
    pub(crate) in_flight: Option<Arc<Group>>,
}

impl View {
    /// The groups in memory, newest first.
    fn groups(&self) -> impl Iterator<Item = &Group> {
        std::iter::once(&self.current).chain(self.in_flight.as_deref())
    }
}

/// What readers, the writing thread and open states share.
pub(crate) struct Shared {
    pub(crate) store: Box<dyn Store>,
    pub(crate) view: RwLock<View>,
    pub(crate) kept_states: RwLock<KeptStates>,
    pub(crate) pruning: Mutex<Pruning>,
    /// The last block on disk.
    pub(crate) durable_number: AtomicU32,
    /// The first failed write.
    pub(crate) failure: OnceLock<String>,
    genesis: OnceLock<H256>,
    values: ValueCache,
    /// Last, so that the store is closed before the lock is given up.
    pub(crate) folder: Option<Folder>,
}

impl Shared {
    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// Returns the values of the newest state that are in memory.
    pub(crate) fn values(&self) -> &ValueCache {
        &self.values
    }

    pub(crate) fn node_in_memory(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.view
            .read()
            .groups()
            .find_map(|group| group.node(key))
            .cloned()
    }

    /// Returns whether the state after this block can be read.
    pub(crate) fn is_state_kept(&self, number: u32, hash: &H256) -> bool {
        {
            let view = self.view.read();
            if view.best.is_some_and(|best| best.hash == *hash) {
                return true;
            }
            if view.groups().any(|group| group.block(hash).is_some()) {
                // Of blocks in memory the states between are complete only in an archive; the last
                // state of the group in flight is complete, too.
                let is_last = view
                    .in_flight
                    .as_ref()
                    .and_then(|group| group.last())
                    .is_some_and(|last| last.hash == *hash);
                return is_last || matches!(*self.kept_states.read(), KeptStates::Every);
            }
        }
        self.kept_states.read().contains(number)
    }

    pub(crate) fn in_memory<T>(
        &self,
        hash: &H256,
        read: impl FnOnce(&GroupBlock) -> T,
    ) -> Option<T> {
        let view = self.view.read();
        view.groups().find_map(|group| group.block(hash)).map(read)
    }

    pub(crate) fn header(&self, hash: &H256) -> Result<Option<Header>, StorageError> {
        if let Some(header) = self.in_memory(hash, |block| block.header.clone()) {
            return Ok(Some(header));
        }
        self.get_decoded(Column::Headers, hash.as_bytes())
    }

    pub(crate) fn hash_of(&self, number: u32) -> Result<Option<H256>, StorageError> {
        {
            let view = self.view.read();
            let found = view.groups().find_map(|group| group.block_at(number));
            if let Some(block) = found {
                return Ok(Some(block.hash));
            }
        }
        self.get_decoded(Column::Numbers, &number.to_be_bytes())
    }

    pub(crate) fn get_decoded<T: Decode>(
        &self,
        column: Column,
        key: &[u8],
    ) -> Result<Option<T>, StorageError> {
        let Some(value) = self.store.get(column, key)? else {
            return Ok(None);
        };
        let mut rest = &value[..];
        match T::decode(&mut rest) {
            Ok(decoded) if rest.is_empty() => Ok(Some(decoded)),
            Ok(_) => Err(StoreError::corrupt(column, key, "it is too long").into()),
            Err(error) => Err(StoreError::corrupt(column, key, error.to_string()).into()),
        }
    }
}

/// The database of one chain. Share it behind an [`Arc`]; one thread at a time writes.
///
/// Dropping it writes what is collected; [`ChainDb::close`] does the same and says whether it worked.
pub struct ChainDb {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Mutex<Writer>,
    nodes: Arc<NodeCache>,
    pub(crate) pruning: StatePruning,
}

/// What only the writing side needs.
#[derive(Default)]
pub(crate) struct Writer {
    /// The thread that writes the group in flight.
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for ChainDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, hash) = self.best();
        f.debug_struct("ChainDb")
            .field("best", &number)
            .field("hash", &hash)
            .finish()
    }
}

fn open_store(
    folder: &Folder,
    kind: DatabaseKind,
    cache_bytes: usize,
) -> Result<Box<dyn Store>, OpenError> {
    let data = folder.data_path();
    Ok(match kind {
        DatabaseKind::Sled => {
            let cache_bytes = u64::try_from(cache_bytes).unwrap_or(u64::MAX);
            Box::new(SledStore::open(&data, cache_bytes)?)
        }
        DatabaseKind::Redb => Box::new(RedbStore::open(&data, cache_bytes)?),
    })
}

impl ChainDb {
    /// Opens the database in the folder `path`, or creates an empty one.
    ///
    /// The folder is locked until the database and every [`State`] taken from it are dropped. The newest
    /// blocks and the pruning records are verified; [`ChainDb::check_integrity`] verifies everything.
    pub fn open(path: &Path, config: DbConfig) -> Result<Self, OpenError> {
        let folder = Folder::open(path, config.kind)?;
        let store = open_store(&folder, config.kind, config.cache_bytes)?;
        Self::open_with(store, Some(folder), config.pruning, config.trie_cache_bytes)
    }

    /// Opens a database that is there, with the back end and the kind of pruning it was made with, and keeps every state
    /// that it has: to look at it, or to go back in it.
    pub fn open_as_it_is(path: &Path) -> Result<Self, OpenError> {
        let config = DbConfig::default();
        let kind = find_kind(path)?;
        let folder = Folder::open(path, kind)?;
        let store = open_store(&folder, kind, config.cache_bytes)?;
        let is_archive = store
            .get(Column::Meta, META_PRUNING)?
            .is_some_and(|found| found == StatePruning::Archive.mode().as_bytes());
        let pruning = if is_archive {
            StatePruning::Archive
        } else {
            StatePruning::Keep(u32::MAX)
        };
        Self::open_with(store, Some(folder), pruning, config.trie_cache_bytes)
    }

    /// Opens the chain in `store`, which nobody else writes to. For back ends of one's own, such as those
    /// of a simulation.
    pub fn with_store(
        store: Box<dyn Store>,
        pruning: StatePruning,
        trie_cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        Self::open_with(store, None, pruning, trie_cache_bytes)
    }

    fn open_with(
        store: Box<dyn Store>,
        folder: Option<Folder>,
        pruning: StatePruning,
        trie_cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        if pruning == StatePruning::Keep(0) {
            let what = "at least the state after the newest block must be kept".to_owned();
            return Err(OpenError::Config { what });
        }
        if let Some(found) = store.get(Column::Meta, META_PRUNING)?
            && found != pruning.mode().as_bytes()
        {
            let found = String::from_utf8_lossy(&found).into_owned();
            return Err(OpenError::OtherPruning {
                found,
                asked: pruning.to_string(),
            });
        }
        let index = Pruning::load(pruning, store.as_ref())?;
        let value_cache_bytes = trie_cache_bytes / VALUE_CACHE_PART;
        let trie_cache_bytes = trie_cache_bytes.saturating_sub(value_cache_bytes);
        let shared = Shared {
            store,
            view: RwLock::new(View {
                best: None,
                current: Group::new(pruning.dead_nodes()),
                in_flight: None,
            }),
            kept_states: RwLock::new(match pruning {
                StatePruning::Archive => KeptStates::Every,
                StatePruning::Keep(_) => KeptStates::Some(index.kept_states().collect()),
            }),
            pruning: Mutex::new(index),
            durable_number: AtomicU32::new(0),
            failure: OnceLock::new(),
            genesis: OnceLock::new(),
            values: ValueCache::new(value_cache_bytes),
            folder,
        };
        let best = shared.get_decoded::<(u32, H256)>(Column::Meta, META_BEST)?;
        if let Some(folder) = &shared.folder {
            verify_progress(folder, best.map(|(number, _)| number))?;
        }
        if let Some((number, hash)) = best {
            let header = verify_tail(&shared, number, hash)?;
            let genesis = shared
                .get_decoded::<H256>(Column::Meta, META_GENESIS)?
                .ok_or_else(|| StoreError::corrupt(Column::Meta, META_GENESIS, "it is missing"))?;
            shared.accept_best(Best {
                number,
                hash,
                state_root: header.state_root,
            });
            shared.genesis.get_or_init(|| genesis);
        }
        Ok(Self {
            shared: Arc::new(shared),
            writer: Mutex::new(Writer::default()),
            nodes: Arc::new(NodeCache::new(trie_cache_bytes)),
            pruning,
        })
    }

    /// Writes the genesis block and its state to an empty database.
    pub fn initialize(
        &self,
        genesis_header: Header,
        state: PrefixedMemoryDB<BlakeTwo256>,
    ) -> Result<(), StorageError> {
        let _writer = self.writer.lock();
        if self.is_initialized() {
            return Err(StorageError::AlreadyInitialized {
                genesis: self.genesis_hash(),
            });
        }
        let hash = write_genesis(&self.shared, self.pruning, &genesis_header, state)?;
        self.shared.genesis.get_or_init(|| hash);
        let state_root = genesis_header.state_root;
        self.shared.accept_best(Best {
            number: genesis_header.number,
            hash,
            state_root,
        });
        Ok(())
    }

    /// Returns whether there is a genesis block.
    pub fn is_initialized(&self) -> bool {
        self.shared.view.read().best.is_some()
    }

    /// Checks that the database belongs to the chain with this genesis.
    pub fn verify_genesis(&self, expected: &H256) -> Result<(), StorageError> {
        match self.shared.genesis.get() {
            None => Err(StorageError::NotInitialized),
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(StorageError::OtherChain {
                expected: *expected,
                found: *found,
            }),
        }
    }

    /// The number and hash of the newest block; zeros while the database is empty.
    pub fn best(&self) -> (u32, H256) {
        self.shared
            .view
            .read()
            .best
            .map_or((0, H256::zero()), |best| (best.number, best.hash))
    }

    /// The hash of the genesis block; zeros while the database is empty.
    pub fn genesis_hash(&self) -> H256 {
        self.shared.genesis.get().copied().unwrap_or_default()
    }

    /// The number of the newest block that is on disk with its state.
    pub fn durable_number(&self) -> u32 {
        self.shared.durable_number.load(Ordering::Acquire)
    }

    /// Why nothing more is written, if a write failed.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// The back end, unless it is one of the caller's own.
    pub fn kind(&self) -> Option<DatabaseKind> {
        self.shared.folder.as_ref().map(Folder::kind)
    }

    /// Which states this database keeps.
    pub fn pruning(&self) -> StatePruning {
        self.pruning
    }

    /// Returns the header of a block.
    pub fn header(&self, hash: &H256) -> Result<Option<Header>, StorageError> {
        self.shared.header(hash)
    }

    /// Returns the hash of the block at this height.
    pub fn hash_of(&self, number: u32) -> Result<Option<H256>, StorageError> {
        self.shared.hash_of(number)
    }

    /// Returns the number of a block.
    pub fn number_of(&self, hash: &H256) -> Result<Option<u32>, StorageError> {
        Ok(self.header(hash)?.map(|header| header.number))
    }

    /// Returns the encoded extrinsics of a block.
    pub fn body(&self, hash: &H256) -> Result<Option<Vec<Vec<u8>>>, StorageError> {
        if let Some(encoded) = self.shared.in_memory(hash, |block| block.body.clone()) {
            return Vec::decode(&mut &encoded[..]).map(Some).map_err(|error| {
                StorageError::Damaged {
                    what: format!("body of {hash:?} in memory: {error}"),
                }
            });
        }
        let Some(number) = self.number_of(hash)? else {
            return Ok(None);
        };
        let key = number.to_be_bytes();
        match self.shared.get_decoded(Column::Bodies, &key)? {
            Some(body) => Ok(Some(body)),
            None => Err(StoreError::corrupt(Column::Bodies, &key, "it is missing").into()),
        }
    }

    /// Returns the justification of a block, if the block is known and has one.
    pub fn justification(&self, hash: &H256) -> Result<Option<Vec<u8>>, StorageError> {
        self.added_to_block(hash, Column::Justifications, |block| {
            block.justification.clone()
        })
    }

    /// Returns a whole block.
    pub fn block(&self, hash: &H256) -> Result<Option<StoredBlock>, StorageError> {
        let Some(header) = self.header(hash)? else {
            return Ok(None);
        };
        let Some(body) = self.body(hash)? else {
            return Ok(None);
        };
        Ok(Some(StoredBlock {
            header,
            body,
            justification: self.justification(hash)?,
        }))
    }

    /// Returns the block number and the index in its body of an extrinsic.
    ///
    /// The same bytes may be in several blocks, as inherents can be; then it is the newest one.
    pub fn find_extrinsic(&self, hash: &H256) -> Result<Option<(u32, u32)>, StorageError> {
        {
            let view = self.shared.view.read();
            let found = view.groups().find_map(|group| group.find_extrinsic(hash));
            if found.is_some() {
                return Ok(found);
            }
        }
        self.shared.get_decoded(Column::Extrinsics, hash.as_bytes())
    }

    /// Adds or replaces the justification of a stored block. On disk when this returns, unless the block
    /// itself still waits to be written: then it goes with the block.
    pub fn set_justification(
        &self,
        hash: &H256,
        justification: Vec<u8>,
    ) -> Result<(), StorageError> {
        self.add_to_block(
            hash,
            Column::Justifications,
            justification,
            |block, added| {
                block.justification = Some(added);
            },
        )
    }

    /// Adds the proof of who validates after a stored block, as [`ChainDb::set_justification`] adds a justification.
    pub fn keep_set_proof(&self, hash: &H256, proof: Vec<u8>) -> Result<(), StorageError> {
        self.add_to_block(hash, Column::SetProofs, proof, |block, added| {
            block.set_proof = Some(added);
        })
    }

    /// Returns the proof of who validates after a block, if the block is known and one was kept.
    pub fn set_proof(&self, hash: &H256) -> Result<Option<Vec<u8>>, StorageError> {
        self.added_to_block(hash, Column::SetProofs, |block| block.set_proof.clone())
    }

    /// Returns what was added to a block, if the block is known and has it, wherever it is.
    fn added_to_block(
        &self,
        hash: &H256,
        column: Column,
        added: impl Fn(&GroupBlock) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        if let Some(found) = self.shared.in_memory(hash, added) {
            return Ok(found);
        }
        let Some(number) = self.number_of(hash)? else {
            return Ok(None);
        };
        Ok(self.shared.store.get(column, &number.to_be_bytes())?)
    }

    /// Adds something to a stored block, in memory or on disk, wherever it is.
    fn add_to_block(
        &self,
        hash: &H256,
        column: Column,
        added: Vec<u8>,
        add: impl FnOnce(&mut GroupBlock, Vec<u8>),
    ) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        self.refuse_after_failure()?;
        if let Some(block) = self.shared.view.write().current.block_mut(hash) {
            add(block, added);
            return Ok(());
        }
        self.wait_for_group(&mut writer)?;
        let number = self
            .number_of(hash)?
            .ok_or(StorageError::UnknownBlock { hash: *hash })?;
        let mut batch = Batch::new();
        batch.put(column, number.to_be_bytes().to_vec(), added);
        self.shared.commit(&batch)
    }

    /// Gives access to the state after a block, for queries: whatever they touch, they take little
    /// room in the shared cache.
    pub fn state_at(&self, hash: &H256) -> Result<State, StateError> {
        let nodes = StateNodes::querying(Arc::clone(&self.nodes));
        self.open_state(hash, nodes, Remembering::OnlyLook)
    }

    /// Gives access to the state after a block, for building and importing its child: everything it touches
    /// stays cached for the next block.
    pub fn working_state_at(&self, hash: &H256) -> Result<State, StateError> {
        let nodes = StateNodes::working(Arc::clone(&self.nodes));
        self.open_state(hash, nodes, Remembering::Remember)
    }

    fn open_state(
        &self,
        hash: &H256,
        nodes: StateNodes,
        remembering: Remembering,
    ) -> Result<State, StateError> {
        let header = self
            .header(hash)?
            .ok_or(StateError::UnknownBlock { hash: *hash })?;
        if !self.shared.is_state_kept(header.number, hash) {
            let kept = self.shared.kept_states.read().describe();
            let number = header.number;
            return Err(StateError::StateDiscarded {
                number,
                hash: *hash,
                kept,
            });
        }
        let storage = StateStorage::new(Arc::clone(&self.shared), header.number, *hash);
        let trie = TrieBackendBuilder::new_with_cache(storage, header.state_root, nodes).build();
        Ok(State::new(trie, Arc::clone(&self.shared), remembering))
    }

    /// Returns how much memory decoded parts of the state take, in bytes.
    pub fn state_cache_bytes(&self) -> usize {
        self.nodes.bytes()
    }

    /// Returns the bytes that the database folder occupies on disk.
    pub fn disk_usage(&self) -> Result<u64, StorageError> {
        let Some(folder) = &self.shared.folder else {
            return Ok(0);
        };
        measure_disk_usage(folder.path())
            .map_err(|error| StoreError::io("measure the database folder", error).into())
    }
}
