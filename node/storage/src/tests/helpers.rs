//! Builds blocks with real state changes and knows what every state must contain.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use hash_db::Prefix;
use parking_lot::Mutex;
use sp_core::H256;
use sp_runtime::{
    Digest, StateVersion,
    traits::{BlakeTwo256, Hash as _, Header as _},
};
use sp_state_machine::{
    TrieBackendBuilder, TrieBackendStorage,
    backend::{Backend, IterArgs},
};
use sp_trie::{PrefixedMemoryDB, TrieMut, trie_types::TrieDBMutBuilderV1};

use crate::{
    ChainDb, Column, CommitMode, DatabaseKind, DbConfig, Header, NewBlock, StatePruning,
    StateStorage, StorageError, StoredBlock,
};

/// A state's contents.
pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Changes of one block; `None` removes the key.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A small reproducible source of numbers (xorshift64*).
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Changes over few keys and few values, so that nodes die and are born again.
    pub(crate) fn changes(&mut self) -> Changes {
        (0..1 + self.below(12))
            .map(|_| (key_of(self.below(48)), self.value()))
            .collect()
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let byte = u8::try_from(self.below(3)).unwrap();
        match self.below(4) {
            0 => None,
            1 => Some(vec![byte; 8]),
            2 => Some(vec![byte; 80]),
            _ => Some(vec![byte; 700]),
        }
    }
}

/// Keys that share prefixes of several lengths.
pub(crate) fn key_of(number: u64) -> Vec<u8> {
    let mut key = vec![u8::try_from(number % 3).unwrap(); 4];
    key.extend_from_slice(&hash_of(&number.to_le_bytes()).as_bytes()[..8]);
    key
}

/// A database with the model of every state it ever had.
pub(crate) struct TestChain {
    pub(crate) db: ChainDb,
    /// By block number.
    pub(crate) models: Vec<Model>,
    pub(crate) hashes: Vec<H256>,
    /// A block whose commit failed: after a power loss it may be there or not.
    unacknowledged: Option<(H256, Model)>,
}

impl TestChain {
    /// Initialises `db` with a small genesis state.
    pub(crate) fn start(db: ChainDb) -> Self {
        let model: Model = (0..20)
            .map(|number| (key_of(number), vec![7; 40]))
            .collect();
        let (header, state) = genesis(&model);
        let hash = header.hash();
        db.initialize(header, state).unwrap();
        Self {
            db,
            models: vec![model],
            hashes: vec![hash],
            unacknowledged: None,
        }
    }

    /// Goes on with the same chain in a reopened database.
    pub(crate) fn reopened(self, open: impl FnOnce() -> ChainDb) -> Self {
        let Self {
            db,
            models,
            hashes,
            unacknowledged,
        } = self;
        drop(db);
        let mut chain = Self {
            db: open(),
            models,
            hashes,
            unacknowledged,
        };
        chain.forget_lost_blocks();
        chain
    }

    /// After a crash: forgets what did not reach the disk.
    pub(crate) fn forget_lost_blocks(&mut self) {
        let (best, hash) = self.db.best();
        let length = usize::try_from(best).unwrap() + 1;
        if let Some((unacknowledged, model)) = self.unacknowledged.take()
            && unacknowledged == hash
        {
            self.hashes.push(unacknowledged);
            self.models.push(model);
        }
        assert!(length <= self.hashes.len(), "the database invented blocks");
        self.models.truncate(length);
        self.hashes.truncate(length);
        assert_eq!(self.hashes.last(), Some(&hash));
    }

    /// Builds the child of the best block without storing it.
    pub(crate) fn build(&self, changes: &Changes, body: Vec<Vec<u8>>) -> NewBlock {
        build_block(&self.db, changes, body)
    }

    /// Stores a block with these changes.
    pub(crate) fn push(&mut self, changes: &Changes, mode: CommitMode) -> Result<(), StorageError> {
        let number = self.hashes.len();
        let body = vec![format!("inherent {number}").into_bytes(), vec![1, 2, 3]];
        let block = self.build(changes, body);
        let hash = block.hash;
        let mut model = self.models.last().unwrap().clone();
        for (key, value) in changes {
            match value {
                Some(value) => model.insert(key.clone(), value.clone()),
                None => model.remove(key),
            };
        }
        if let Err(error) = self.db.commit_block(block, mode) {
            // What came first failed; later ones are refused without being tried.
            self.unacknowledged.get_or_insert((hash, model));
            return Err(error);
        }
        self.models.push(model);
        self.hashes.push(hash);
        Ok(())
    }

    /// Checks blocks and indexes, and that every state is either discarded or complete; returns the
    /// numbers of the complete ones.
    pub(crate) fn verify(&self) -> Vec<usize> {
        let (best, hash) = self.db.best();
        assert_eq!(usize::try_from(best).unwrap() + 1, self.hashes.len());
        assert_eq!(self.hashes.last(), Some(&hash));
        assert_eq!(self.db.genesis_hash(), self.hashes[0]);
        let mut readable = Vec::new();
        for (number, hash) in self.hashes.iter().enumerate() {
            let wire_number = u32::try_from(number).unwrap();
            assert_eq!(self.db.hash_of(wire_number).unwrap(), Some(*hash));
            let block = self.db.block(hash).unwrap().expect("stored");
            assert_eq!(block.header.hash(), *hash);
            assert_eq!(block.body.len(), if number == 0 { 0 } else { 2 });
            if let Some(first) = block.body.first() {
                let found = self.db.find_extrinsic(&extrinsic_hash(first)).unwrap();
                assert_eq!(found, Some((wire_number, 0)));
            }
            match self.db.state_at(hash) {
                Ok(_) => match read_recording(&self.db, hash) {
                    Ok((model, _)) => {
                        assert_eq!(model, self.models[number], "{number}");
                        readable.push(number);
                    }
                    // The group in flight may have discarded it in the meantime.
                    Err(error) => {
                        let now = self.db.state_at(hash).err();
                        let is_discarded =
                            matches!(now, Some(crate::StateError::StateDiscarded { .. }));
                        assert!(is_discarded, "state {number}: {error}, now {now:?}");
                    }
                },
                Err(crate::StateError::StateDiscarded {
                    number: discarded, ..
                }) => {
                    assert_eq!(discarded, wire_number);
                }
                Err(error) => panic!("state {number}: {error}"),
            }
        }
        assert_eq!(
            readable.last(),
            Some(&(self.hashes.len() - 1)),
            "the best state is readable"
        );
        readable
    }
}

fn hash_of(bytes: &[u8]) -> H256 {
    BlakeTwo256::hash(bytes)
}

pub(crate) fn extrinsic_hash(extrinsic: &[u8]) -> H256 {
    hash_of(extrinsic)
}

/// Builds a block on the best one.
pub(crate) fn build_block(db: &ChainDb, changes: &Changes, body: Vec<Vec<u8>>) -> NewBlock {
    let (number, parent) = db.best();
    let state = db.working_state_at(&parent).unwrap();
    let delta: BTreeMap<&[u8], Option<&[u8]>> = changes
        .iter()
        .map(|(key, value)| (&key[..], value.as_deref()))
        .collect();
    let (root, state_changes) = state.storage_root(delta.into_iter(), StateVersion::V1);
    let header = Header::new(
        number + 1,
        H256::repeat_byte(9),
        root,
        parent,
        Digest { logs: vec![] },
    );
    NewBlock {
        hash: header.hash(),
        extrinsic_hashes: body
            .iter()
            .map(|extrinsic| extrinsic_hash(extrinsic))
            .collect(),
        block: StoredBlock {
            header,
            body,
            justification: Some(vec![5; 3]),
        },
        state_changes,
        values: changes.clone().into_iter().collect(),
    }
}

/// A genesis block with this state.
pub(crate) fn genesis(model: &Model) -> (Header, PrefixedMemoryDB<BlakeTwo256>) {
    let mut nodes = PrefixedMemoryDB::default();
    let mut root = H256::default();
    {
        let mut trie: sp_trie::TrieDBMut<'_, sp_trie::LayoutV1<BlakeTwo256>> =
            TrieDBMutBuilderV1::new(&mut nodes, &mut root).build();
        for (key, value) in model {
            trie.insert(key, value).unwrap();
        }
    }
    let header = Header::new(0, H256::zero(), root, H256::zero(), Digest { logs: vec![] });
    (header, nodes)
}

/// Reads a whole state without any trie cache, so that every node comes from the database, and returns it
/// with the database keys of its nodes.
pub(crate) fn read_recording(
    db: &ChainDb,
    hash: &H256,
) -> Result<(Model, BTreeSet<Vec<u8>>), String> {
    struct Recording(StateStorage, Arc<Mutex<BTreeSet<Vec<u8>>>>);
    impl TrieBackendStorage<BlakeTwo256> for Recording {
        fn get(&self, key: &H256, prefix: Prefix<'_>) -> Result<Option<Vec<u8>>, String> {
            self.1
                .lock()
                .insert(sp_trie::prefixed_key::<BlakeTwo256>(key, prefix));
            self.0.get(key, prefix)
        }
    }
    let header = db.header(hash).unwrap().unwrap();
    let storage = StateStorage::new(Arc::clone(&db.shared), header.number, *hash);
    let keys = Arc::new(Mutex::new(BTreeSet::new()));
    let recording = Recording(storage, Arc::clone(&keys));
    let state = TrieBackendBuilder::new(recording, header.state_root).build();
    let model = state
        .pairs(IterArgs::default())?
        .collect::<Result<Model, String>>()?;
    let keys = keys.lock().clone();
    Ok((model, keys))
}

/// The database keys of all trie nodes on disk.
pub(crate) fn nodes_on_disk(db: &ChainDb) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    crate::store::for_each(db.shared.store(), Column::State, &[], |key, _| {
        keys.insert(key);
        Ok::<_, StorageError>(())
    })
    .unwrap();
    keys
}

pub(crate) fn config(kind: DatabaseKind, pruning: StatePruning) -> DbConfig {
    DbConfig {
        kind,
        pruning,
        cache_bytes: 4 << 20,
        trie_cache_bytes: 1 << 20,
    }
}

pub(crate) fn open(path: &Path, kind: DatabaseKind, pruning: StatePruning) -> ChainDb {
    ChainDb::open(path, config(kind, pruning)).unwrap()
}

/// Makes one test per back end of a function that takes the kind.
macro_rules! on_both_back_ends {
    ($($name:ident),* $(,)?) => {
        mod on_sled {
            $(#[test]
            fn $name() {
                super::$name($crate::DatabaseKind::Sled);
            })*
        }
        mod on_redb {
            $(#[test]
            fn $name() {
                super::$name($crate::DatabaseKind::Redb);
            })*
        }
    };
}
pub(crate) use on_both_back_ends;
