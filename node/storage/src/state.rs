//! Access to the state after a block.

use std::{collections::BTreeSet, sync::Arc};

use hash_db::Prefix;
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::{TrieBackend, TrieBackendStorage};

use crate::{chain::Shared, store::Column};

/// The state after one block, ready for reading, execution and proofs.
///
/// It does not keep the block's state from being pruned: a state that is read while it leaves the window
/// answers with errors from then on, never with wrong values.
pub type State = TrieBackend<StateStorage, BlakeTwo256>;

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
                tracing::error!("{error}; remove the database and synchronise again");
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
