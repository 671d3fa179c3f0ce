//! Going back to an earlier state: taking the newest commits back, one after the other.
//!
//! A commit is one block, or the group of blocks that was written as one. Undoing it removes its blocks and indexes and
//! the trie nodes that were born in it, and makes those that died in it live again, in one batch: after a crash the
//! commit is either whole or gone.
//!
//! ## Which nodes were born
//! The record of deaths says which nodes the former state has and the newest lacks. Walking the former trie through
//! those nodes only, the references that lead out of them lead to what both tries share. Walking the newest trie
//! up to what is shared gives the rest: the births. Both walks touch only what the commit changed.
//!
//! An archive keeps every node: older states may have those of the newest, and nothing says which. There the nodes of an
//! undone commit stay on disk.

use std::collections::BTreeSet;

use codec::Encode;
use sp_core::H256;
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_trie::{LayoutV1, NodeCodec, empty_trie_root, prefixed_key};
use trie_db::{
    NibbleVec, NodeCodec as _,
    node::{Node, NodeHandle, Value},
};

use crate::{
    chain::{Best, ChainDb, META_BEST, Shared},
    error::{StateError, StorageError, StoreError},
    pruning::StatePruning,
    store::{Batch, Column},
};

impl ChainDb {
    /// Takes the newest commit back, its blocks with it, and returns the number of the block that is the best now.
    ///
    /// The blocks are gone, though they may have been final. When this returns, that is on disk. For a node that is
    /// stopped: a state that is read meanwhile may answer with errors.
    ///
    /// # Errors
    /// [`StateError::StateDiscarded`] when the state before the commit is not kept: there is nothing to go back to.
    pub fn revert_last(&self) -> Result<u32, StateError> {
        self.flush()?;
        let _writer = self.writer.lock();
        self.refuse_after_failure()?;
        let best = self
            .shared
            .view
            .read()
            .best
            .ok_or(StorageError::NotInitialized)?;
        let previous = self.previous_state(&best)?;
        let mut batch = Batch::new();
        self.shared
            .remove_blocks(previous.number, best.number, &mut batch)?;
        let meta = (previous.number, previous.hash).encode();
        batch.put(Column::Meta, META_BEST, meta);
        let mut pruning = self.shared.pruning.lock();
        if self.pruning != StatePruning::Archive {
            let dead = pruning.newest_deaths(self.shared.store())?;
            let births = self
                .shared
                .find_births(&previous.state_root, &best.state_root, &dead)?;
            pruning.undo_newest(self.shared.store(), births, &mut batch)?;
        }
        // Noted first: a note that is too low is never wrong, one that is too high would look like a loss of blocks.
        self.shared.lower_progress(previous.number)?;
        self.shared.forget_state(best.number);
        self.shared.commit(&batch)?;
        drop(pruning);
        self.shared.accept_best(previous);
        Ok(previous.number)
    }

    /// Returns the numbers of the blocks after which the state is kept, ascending; `None` in an archive, which keeps
    /// all.
    pub fn kept_states(&self) -> Option<Vec<u32>> {
        self.shared.kept_numbers()
    }

    /// Returns the block whose state the newest commit was made on.
    fn previous_state(&self, best: &Best) -> Result<Best, StateError> {
        let before = best.number.saturating_sub(1);
        let number = match self.pruning {
            StatePruning::Archive => (best.number > 0).then_some(before),
            StatePruning::Keep(_) => self.shared.pruning.lock().newest_previous(),
        };
        let Some(number) = number else {
            return Err(StateError::StateDiscarded {
                number: before,
                hash: self.hash_of(before)?.unwrap_or_default(),
                kept: self.shared.kept_states.read().describe(),
            });
        };
        let missing = |what: &str| StorageError::Damaged {
            what: format!("block {number}: {what}"),
        };
        let hash = self
            .hash_of(number)?
            .ok_or_else(|| missing("its number is not in the index"))?;
        let header = self
            .header(&hash)?
            .ok_or_else(|| missing("its header is missing"))?;
        Ok(Best {
            number,
            hash,
            state_root: header.state_root,
        })
    }
}

impl Shared {
    /// Removes the blocks above `keep` up to `best`, and what leads to them.
    fn remove_blocks(
        &self,
        keep: u32,
        best: u32,
        batch: &mut Batch<'_>,
    ) -> Result<(), StorageError> {
        for number in keep.saturating_add(1)..=best {
            let key = number.to_be_bytes().to_vec();
            let hash = self
                .hash_of(number)?
                .ok_or_else(|| StoreError::corrupt(Column::Numbers, &key, "it is missing"))?;
            let body: Vec<Vec<u8>> = self
                .get_decoded(Column::Bodies, &key)?
                .ok_or_else(|| StoreError::corrupt(Column::Bodies, &key, "it is missing"))?;
            for extrinsic in &body {
                let extrinsic_hash = BlakeTwo256::hash(extrinsic);
                let place: Option<(u32, u32)> =
                    self.get_decoded(Column::Extrinsics, extrinsic_hash.as_bytes())?;
                if place.is_some_and(|(in_block, _)| in_block == number) {
                    batch.delete(Column::Extrinsics, extrinsic_hash.as_bytes().to_vec());
                }
            }
            batch.delete(Column::Headers, hash.as_bytes().to_vec());
            batch.delete(Column::Numbers, key.clone());
            batch.delete(Column::Justifications, key.clone());
            batch.delete(Column::SetProofs, key.clone());
            batch.delete(Column::Bodies, key);
        }
        Ok(())
    }

    /// Returns the nodes that the trie `new` has and the trie `old` lacks, where `dead` are those that the trie `old`
    /// has and the trie `new` lacks.
    fn find_births(
        &self,
        old: &H256,
        new: &H256,
        dead: &BTreeSet<Vec<u8>>,
    ) -> Result<BTreeSet<Vec<u8>>, StorageError> {
        let mut common = BTreeSet::new();
        self.walk(old, |key| {
            let goes_on = dead.contains(key);
            if !goes_on {
                common.insert(key.to_vec());
            }
            goes_on
        })?;
        let mut births = BTreeSet::new();
        self.walk(new, |key| {
            !common.contains(key) && births.insert(key.to_vec())
        })?;
        Ok(births)
    }

    /// Walks the trie with this root, into those nodes for whose database keys `enter` says so.
    fn walk(&self, root: &H256, mut enter: impl FnMut(&[u8]) -> bool) -> Result<(), StorageError> {
        if *root == empty_trie_root::<LayoutV1<BlakeTwo256>>() {
            return Ok(());
        }
        let mut open = vec![Reference {
            path: NibbleVec::new(),
            what: Referred::Node(*root),
        }];
        while let Some(Reference { path, what }) = open.pop() {
            match what {
                Referred::Node(hash) => {
                    let key = prefixed_key::<BlakeTwo256>(&hash, path.as_prefix());
                    if enter(&key) {
                        let node = self.store().get(Column::State, &key)?.ok_or_else(|| {
                            StoreError::corrupt(Column::State, &key, "it is missing")
                        })?;
                        add_references(&path, &node, &mut open)
                            .map_err(|what| StoreError::corrupt(Column::State, &key, what))?;
                    }
                }
                Referred::Value(hash) => {
                    enter(&prefixed_key::<BlakeTwo256>(&hash, path.as_prefix()));
                }
                Referred::Inline(node) => {
                    add_references(&path, &node, &mut open).map_err(|what| {
                        let root = root.as_bytes();
                        StoreError::corrupt(Column::State, root, what)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A place in a trie and what is there.
struct Reference {
    path: NibbleVec,
    what: Referred,
}

enum Referred {
    /// A node with a record of its own.
    Node(H256),
    /// A value with a record of its own.
    Value(H256),
    /// A node within the one that refers to it.
    Inline(Vec<u8>),
}

/// Adds what a node at `path` refers to.
fn add_references(path: &NibbleVec, node: &[u8], open: &mut Vec<Reference>) -> Result<(), String> {
    let decoded = NodeCodec::<BlakeTwo256>::decode(node)
        .map_err(|error| format!("it is no trie node: {error:?}"))?;
    let (partial, children, value) = match decoded {
        Node::Empty => return Ok(()),
        Node::Leaf(partial, value) => (partial, None, Some(value)),
        Node::NibbledBranch(partial, children, value) => (partial, Some(children), value),
        Node::Extension(..) | Node::Branch(..) => {
            return Err("it is a kind of node that this trie does not have".to_owned());
        }
    };
    let mut path = path.clone();
    for nibble in partial.iter() {
        path.push(nibble);
    }
    if let Some(Value::Node(hash)) = value {
        open.push(Reference {
            path: path.clone(),
            what: Referred::Value(hash_from(hash)?),
        });
    }
    for (nibble, child) in (0_u8..).zip(children.into_iter().flatten()) {
        let what = match child {
            None => continue,
            Some(NodeHandle::Hash(hash)) => Referred::Node(hash_from(hash)?),
            Some(NodeHandle::Inline(node)) => Referred::Inline(node.to_vec()),
        };
        let mut path = path.clone();
        path.push(nibble);
        open.push(Reference { path, what });
    }
    Ok(())
}

fn hash_from(bytes: &[u8]) -> Result<H256, String> {
    let hash: [u8; 32] = bytes
        .try_into()
        .map_err(|_| "it refers to a node by something that is no hash".to_owned())?;
    Ok(hash.into())
}
