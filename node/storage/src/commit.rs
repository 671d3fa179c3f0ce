//! How blocks get to disk: one at a time, or in groups by a second thread.
//!
//! A group goes through three places: `current` collects it, `in_flight` is read-only while it is
//! written, the store has it afterwards. A group leaves memory only when it is in the store, and readers look
//! in this order, so nothing is ever invisible. One group is in flight at most: whoever fills the next
//! one faster than the disk takes the first waits.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use codec::Encode;
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_trie::{EMPTY_PREFIX, LayoutV1, PrefixedMemoryDB, empty_trie_root};

use crate::{
    chain::{
        Best, ChainDb, CommitMode, Header, META_BEST, META_GENESIS, META_PRUNING, NewBlock, Shared,
        Writer,
    },
    error::{StorageError, StoreError},
    folder::Folder,
    group::{Group, GroupBlock},
    pruning::StatePruning,
    state::KeptStates,
    store::{Batch, Column},
};

/// Blocks of a group at most.
pub const BULK_BLOCKS_MAX: u32 = 4_096;

/// Bytes of a group at most, less its last block. Two groups are in memory at a time.
pub const BULK_BYTES_MAX: usize = 128 * 1024 * 1024;

impl ChainDb {
    /// Stores the child of the best block with its state.
    ///
    /// After an error in writing the best block is what it was, no further block is accepted, and
    /// reads go on.
    pub fn commit_block(&self, mut new: NewBlock, mode: CommitMode) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        self.refuse_after_failure()?;
        let best = self
            .shared
            .view
            .read()
            .best
            .ok_or(StorageError::NotInitialized)?;
        verify_block(&new, &best)?;
        let (state_root, values) = (new.block.header.state_root, std::mem::take(&mut new.values));
        match mode {
            CommitMode::Durable => self.commit_durable(&mut writer, new, best.number),
            CommitMode::Bulk {
                max_blocks,
                max_bytes,
            } => {
                let max_blocks = max_blocks.clamp(1, BULK_BLOCKS_MAX);
                let max_bytes = max_bytes.clamp(1, BULK_BYTES_MAX);
                self.commit_bulk(&mut writer, new, max_blocks, max_bytes)
            }
        }?;
        let known = self.shared.values();
        known.advance(&best.state_root, state_root, values);
        Ok(())
    }

    /// Writes everything that is collected and returns when it is on disk.
    pub fn flush(&self) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        self.flush_locked(&mut writer)
    }

    /// Flushes and closes the database.
    pub fn close(self) -> Result<(), StorageError> {
        self.flush()
    }

    pub(crate) fn refuse_after_failure(&self) -> Result<(), StorageError> {
        match self.shared.failure.get() {
            None => Ok(()),
            Some(cause) => Err(StorageError::Stopped {
                cause: cause.clone(),
                durable_number: self.durable_number(),
            }),
        }
    }

    fn commit_durable(
        &self,
        writer: &mut Writer,
        new: NewBlock,
        previous: u32,
    ) -> Result<(), StorageError> {
        self.flush_locked(writer)?;
        let mut group = Group::new(self.pruning.dead_nodes());
        let (block, state_changes) = prepare_block(new);
        let best = best_of(&block);
        group.push(block, state_changes);
        // Readers see the block when it is on disk, not before.
        self.shared.write_group(&group, previous)?;
        self.shared.view.write().best = Some(best);
        Ok(())
    }

    fn commit_bulk(
        &self,
        writer: &mut Writer,
        new: NewBlock,
        max_blocks: u32,
        max_bytes: usize,
    ) -> Result<(), StorageError> {
        let is_full = |group: &Group| {
            u32::try_from(group.blocks().len()).unwrap_or(u32::MAX) >= max_blocks
                || group.bytes() >= max_bytes
        };
        if is_full(&self.shared.view.read().current) {
            self.send_group(writer)?;
        }
        let (block, state_changes) = prepare_block(new);
        let best = best_of(&block);
        let is_now_full = {
            let mut view = self.shared.view.write();
            view.current.push(block, state_changes);
            view.best = Some(best);
            is_full(&view.current)
        };
        let is_idle = writer
            .thread
            .as_ref()
            .is_none_or(|thread| thread.is_finished());
        if is_now_full && is_idle {
            // The block is accepted. A failure of the group before it is told by the next call.
            let _ = self.send_group(writer);
        }
        Ok(())
    }

    /// Hands the collected group to a thread of its own, after the one before it is written.
    fn send_group(&self, writer: &mut Writer) -> Result<(), StorageError> {
        self.wait_for_group(writer)?;
        let Some((group, previous)) = self.shared.take_group(self.pruning) else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new()
            .name("storage-writer".to_owned())
            .spawn(move || {
                // The failure is kept in `shared`, where the next commit finds it.
                if shared.write_group(&group, previous).is_ok() {
                    shared.view.write().in_flight = None;
                }
            });
        match thread {
            Ok(handle) => {
                writer.thread = Some(handle);
                Ok(())
            }
            Err(error) => {
                let cause = format!("cannot start a thread: {error}");
                self.shared.failure.get_or_init(|| cause);
                self.refuse_after_failure()
            }
        }
    }

    /// Waits for the group in flight and returns whether it was written.
    pub(crate) fn wait_for_group(&self, writer: &mut Writer) -> Result<(), StorageError> {
        if let Some(thread) = writer.thread.take()
            && thread.join().is_err()
        {
            self.shared
                .failure
                .get_or_init(|| "the writing thread panicked".to_owned());
        }
        self.refuse_after_failure()
    }

    fn flush_locked(&self, writer: &mut Writer) -> Result<(), StorageError> {
        self.wait_for_group(writer)?;
        if let Some((group, previous)) = self.shared.take_group(self.pruning) {
            self.shared.write_group(&group, previous)?;
            self.shared.view.write().in_flight = None;
        }
        Ok(())
    }
}

impl Drop for ChainDb {
    fn drop(&mut self) {
        let mut writer = std::mem::take(&mut *self.writer.lock());
        if let Err(error) = self.flush_locked(&mut writer) {
            let (best, _) = self.best();
            if best > self.durable_number() {
                tracing::error!(
                    "blocks above {} are not on disk: {error}",
                    self.durable_number()
                );
            }
        }
    }
}

impl Shared {
    /// Makes the collected group the one in flight, and returns it with the block it builds on.
    fn take_group(&self, pruning: StatePruning) -> Option<(Arc<Group>, u32)> {
        let mut view = self.view.write();
        if view.current.is_empty() {
            return None;
        }
        let empty = Group::new(pruning.dead_nodes());
        let group = Arc::new(std::mem::replace(&mut view.current, empty));
        view.in_flight = Some(Arc::clone(&group));
        Some((group, self.durable_number.load(Ordering::Acquire)))
    }

    /// Writes blocks, indexes and state changes of `group` in one batch.
    fn write_group(&self, group: &Group, previous: u32) -> Result<(), StorageError> {
        let result = self.try_write_group(group, previous);
        if let Err(error) = &result {
            self.failure.get_or_init(|| error.to_string());
        }
        result
    }

    fn try_write_group(&self, group: &Group, previous: u32) -> Result<(), StorageError> {
        let Some(last) = group.last() else {
            return Ok(());
        };
        let mut batch = Batch::new();
        for block in group.blocks() {
            let number_key = block.number.to_be_bytes().to_vec();
            batch.put(
                Column::Headers,
                block.hash.as_bytes(),
                block.header.encode(),
            );
            batch.put(Column::Numbers, number_key.clone(), block.hash.as_bytes());
            if let Some(justification) = &block.justification {
                batch.put(Column::Justifications, number_key.clone(), justification);
            }
            if let Some(proof) = &block.set_proof {
                batch.put(Column::SetProofs, number_key.clone(), proof);
            }
            batch.put(Column::Bodies, number_key, &block.body);
            for (index, hash) in (0_u32..).zip(&block.extrinsic_hashes) {
                batch.put(
                    Column::Extrinsics,
                    hash.as_bytes(),
                    (block.number, index).encode(),
                );
            }
        }
        batch.put(Column::Meta, META_BEST, (last.number, last.hash).encode());
        let mut pruning = self.pruning.lock();
        let discarded = pruning.prepare(group, previous, self.store(), &mut batch)?;
        // A state is discarded for readers before its nodes go.
        if let KeptStates::Some(numbers) = &mut *self.kept_states.write() {
            numbers.retain(|number| !discarded.contains(number));
        }
        // If this fails nobody knows what the disk has, so what was discarded stays discarded.
        self.store.commit(&batch)?;
        if let KeptStates::Some(numbers) = &mut *self.kept_states.write() {
            numbers.insert(last.number);
        }
        self.durable_number.store(last.number, Ordering::Release);
        self.note_progress(last.number);
        Ok(())
    }

    fn note_progress(&self, number: u32) {
        if let Some(Err(error)) = self
            .folder
            .as_ref()
            .map(|folder| folder.note_progress(number))
        {
            tracing::warn!("cannot note that block {number} is on disk: {error}");
        }
    }

    /// Notes that block `number` is the last on disk, though more were, and makes the note durable.
    pub(crate) fn lower_progress(&self, number: u32) -> Result<(), StorageError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        folder
            .note_progress(number)
            .and_then(|()| folder.sync_progress())
            .map_err(|error| StoreError::io("note how far the database goes", error).into())
    }

    /// Makes the state after a block unreadable, before its nodes go.
    pub(crate) fn forget_state(&self, number: u32) {
        if let KeptStates::Some(numbers) = &mut *self.kept_states.write() {
            numbers.remove(&number);
        }
    }

    /// Returns the numbers of the blocks after which the state is kept; `None` for all.
    pub(crate) fn kept_numbers(&self) -> Option<Vec<u32>> {
        match &*self.kept_states.read() {
            KeptStates::Every => None,
            KeptStates::Some(numbers) => Some(numbers.iter().copied().collect()),
        }
    }

    /// Commits a batch beside the blocks.
    pub(crate) fn commit(&self, batch: &Batch<'_>) -> Result<(), StorageError> {
        self.store.commit(batch).map_err(|error| {
            self.failure.get_or_init(|| error.to_string());
            error.into()
        })
    }

    /// Makes a block that is on disk the best.
    pub(crate) fn accept_best(&self, best: Best) {
        if let KeptStates::Some(numbers) = &mut *self.kept_states.write() {
            numbers.insert(best.number);
        }
        self.durable_number.store(best.number, Ordering::Release);
        self.note_progress(best.number);
        if let Some(Err(error)) = self.folder.as_ref().map(Folder::sync_progress) {
            tracing::warn!("cannot sync the note of the best block: {error}");
        }
        self.view.write().best = Some(best);
    }
}

/// Writes block 0 and returns its hash.
pub(crate) fn write_genesis(
    shared: &Shared,
    pruning: StatePruning,
    header: &Header,
    mut state: PrefixedMemoryDB<BlakeTwo256>,
) -> Result<H256, StorageError> {
    let invalid = |what: &str| StorageError::InvalidBlock {
        number: header.number,
        what: what.to_owned(),
    };
    if header.number != 0 {
        return Err(invalid("the genesis block must have number 0"));
    }
    if !has_root(&header.state_root, &state) {
        return Err(invalid(
            "the given state does not have the header's state root",
        ));
    }
    let hash = header.hash();
    let number_key = header.number.to_be_bytes().to_vec();
    let mut batch = Batch::new();
    batch.put(Column::Headers, hash.as_bytes().to_vec(), header.encode());
    batch.put(
        Column::Numbers,
        number_key.clone(),
        hash.as_bytes().to_vec(),
    );
    batch.put(Column::Bodies, number_key, Vec::<Vec<u8>>::new().encode());
    batch.put(Column::Meta, META_BEST, (header.number, hash).encode());
    batch.put(Column::Meta, META_GENESIS, hash.encode());
    batch.put(Column::Meta, META_PRUNING, pruning.mode().as_bytes());
    for (key, (node, count)) in state.drain() {
        if count > 0 {
            batch.put(Column::State, key, node);
        }
    }
    shared.commit(&batch)?;
    Ok(hash)
}

fn verify_block(new: &NewBlock, best: &Best) -> Result<(), StorageError> {
    let header = &new.block.header;
    if header.parent_hash != best.hash || Some(header.number) != best.number.checked_add(1) {
        return Err(StorageError::NotChildOfBest {
            number: header.number,
            parent: header.parent_hash,
            best_number: best.number,
            best: best.hash,
        });
    }
    let invalid = |what: String| StorageError::InvalidBlock {
        number: header.number,
        what,
    };
    let hash = header.hash();
    if new.hash != hash {
        return Err(invalid(format!(
            "its header has hash {hash:?}, not {:?}",
            new.hash
        )));
    }
    let (extrinsics, hashes) = (new.block.body.len(), new.extrinsic_hashes.len());
    if extrinsics != hashes {
        return Err(invalid(format!(
            "{extrinsics} extrinsics came with {hashes} hashes"
        )));
    }
    // Guards "never a block without its state" against changes that belong to another block.
    if header.state_root != best.state_root && !has_root(&header.state_root, &new.state_changes) {
        let root = header.state_root;
        return Err(invalid(format!(
            "its state changes lack the root {root:?} of its header"
        )));
    }
    Ok(())
}

fn has_root(root: &H256, changes: &PrefixedMemoryDB<BlakeTwo256>) -> bool {
    *root == empty_trie_root::<LayoutV1<BlakeTwo256>>()
        || changes
            .raw(root, EMPTY_PREFIX)
            .is_some_and(|(_, count)| count > 0)
}

fn prepare_block(new: NewBlock) -> (GroupBlock, PrefixedMemoryDB<BlakeTwo256>) {
    let NewBlock {
        block,
        hash,
        state_changes,
        extrinsic_hashes,
        values: _,
    } = new;
    let block = GroupBlock {
        number: block.header.number,
        hash,
        header: block.header,
        body: block.body.encode(),
        justification: block.justification,
        set_proof: None,
        extrinsic_hashes,
    };
    (block, state_changes)
}

fn best_of(block: &GroupBlock) -> Best {
    Best {
        number: block.number,
        hash: block.hash,
        state_root: block.header.state_root,
    }
}
