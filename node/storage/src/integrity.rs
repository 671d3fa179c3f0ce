//! Looking for damage: a little at every start, everything on request.

use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::backend::{Backend, IterArgs};
use sp_trie::{EMPTY_PREFIX, LayoutV1, empty_trie_root};

use crate::{
    chain::{ChainDb, Header, Shared, Statistics},
    error::{OpenError, StorageError, StoreError},
    folder::Folder,
    store::{Column, for_each},
};

/// Newest blocks that are verified when the database is opened.
const VERIFIED_BLOCKS: u32 = 32;

/// Checks that the back end still has every block that it acknowledged.
pub(crate) fn verify_progress(folder: &Folder, best: Option<u32>) -> Result<(), OpenError> {
    match folder.read_progress()? {
        Some(reached) if best.is_none_or(|best| best < reached) => {
            let found = best.map_or("no block".to_owned(), |best| format!("block {best}"));
            let what = format!("it had reached block {reached} and now ends at {found}");
            Err(StorageError::Damaged { what }.into())
        }
        _ => Ok(()),
    }
}

/// Checks the newest blocks and that the best state has its root; returns the best header.
pub(crate) fn verify_tail(shared: &Shared, best: u32, hash: H256) -> Result<Header, StorageError> {
    let mut expected = hash;
    let mut best_header = None;
    for number in (best.saturating_sub(VERIFIED_BLOCKS)..=best).rev() {
        let header = verify_link(shared, number, expected)?;
        expected = header.parent_hash;
        best_header.get_or_insert(header);
    }
    let header = best_header.ok_or_else(|| StorageError::Damaged {
        what: format!("block {best} is missing"),
    })?;
    let root = header.state_root;
    let is_empty = root == empty_trie_root::<LayoutV1<BlakeTwo256>>();
    let key = sp_trie::prefixed_key::<BlakeTwo256>(&root, EMPTY_PREFIX);
    if !is_empty && shared.store().get(Column::State, &key)?.is_none() {
        return Err(
            StoreError::corrupt(Column::State, &key, "the best state's root is missing").into(),
        );
    }
    Ok(header)
}

/// Checks that block `number` is `expected` and complete; returns its header.
fn verify_link(shared: &Shared, number: u32, expected: H256) -> Result<Header, StorageError> {
    let damaged = |what: String| StorageError::Damaged {
        what: format!("block {number}: {what}"),
    };
    let key = number.to_be_bytes();
    let hash = shared
        .get_decoded::<H256>(Column::Numbers, &key)?
        .ok_or_else(|| damaged("its number is not in the index".to_owned()))?;
    if hash != expected {
        return Err(damaged(format!(
            "the index says {hash:?}, its child says {expected:?}"
        )));
    }
    let header = shared
        .get_decoded::<Header>(Column::Headers, hash.as_bytes())?
        .ok_or_else(|| damaged("its header is missing".to_owned()))?;
    if header.hash() != hash || header.number != number {
        return Err(damaged("its header is that of another block".to_owned()));
    }
    if shared
        .get_decoded::<Vec<Vec<u8>>>(Column::Bodies, &key)?
        .is_none()
    {
        return Err(damaged("its body is missing".to_owned()));
    }
    Ok(header)
}

impl ChainDb {
    /// Reads everything on disk: every record's checksum, every block's link to its parent, and every
    /// value of the best state. Takes as long as reading the whole database.
    pub fn check_integrity(&self) -> Result<(), StorageError> {
        self.flush()?;
        let (best, hash) = self.best();
        if !self.is_initialized() {
            return Err(StorageError::NotInitialized);
        }
        self.statistics()?;
        let mut expected = hash;
        for number in (0..=best).rev() {
            expected = verify_link(&self.shared, number, expected)?.parent_hash;
        }
        let state = self
            .state_at(&hash)
            .map_err(|error| StorageError::Damaged {
                what: error.to_string(),
            })?;
        let unreadable = |what: String| StorageError::Damaged {
            what: format!("the state after block {best}: {what}"),
        };
        for pair in state.pairs(IterArgs::default()).map_err(unreadable)? {
            pair.map_err(unreadable)?;
        }
        Ok(())
    }

    /// Counts what is on disk, column by column. Reads the whole database.
    pub fn statistics(&self) -> Result<Vec<Statistics>, StorageError> {
        Column::ALL
            .into_iter()
            .map(|column| {
                let mut sum = Statistics {
                    column,
                    records: 0,
                    key_bytes: 0,
                    value_bytes: 0,
                };
                let add = |total: &mut u64, length: usize| {
                    *total = total.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                };
                for_each(self.shared.store(), column, &[], |key, value| {
                    add(&mut sum.records, 1);
                    add(&mut sum.key_bytes, key.len());
                    add(&mut sum.value_bytes, value.len());
                    Ok::<_, StorageError>(())
                })?;
                Ok(sum)
            })
            .collect()
    }

    /// Returns how many dead trie nodes wait on disk for their state to leave the window.
    pub fn pending_deaths(&self) -> usize {
        self.shared.pruning.lock().pending_len()
    }
}
