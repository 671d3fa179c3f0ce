//! Which states are kept, and when a dead trie node leaves the disk.
//!
//! ## Terms
//! - A *commit* takes the state from that of block `previous` to that of block `number` (one block, or a
//!   group of blocks whose states between are not kept).
//! - A node *dies* in the commit whose new state no longer has it. The states up to `previous` may still need
//!   it, so it stays on disk until `previous` leaves the window; until then it is *pending*.
//! - A pending node may be *reborn*: a later state has the same node at the same place again. It then
//!   stays, whatever the older record says.
//!
//! ## Records
//! Each commit writes a record of its dead and its reborn nodes to [`Column::Deaths`], in the same batch.
//! Replaying the records in order gives the pending nodes after a restart. A record goes in the batch
//! that removes its nodes, oldest first, so the states that can be read are always `previous` of each record
//! that is left, and the best.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    str::FromStr,
};

use codec::{Decode, Encode};

use crate::{
    error::{StorageError, StoreError},
    group::{DeadNodes, Group},
    store::{Batch, Column, Store, for_each},
};

/// Nodes after which one commit removes no further records. Only reached when the window was made
/// much smaller between two starts; the next commits go on.
const REMOVED_NODES_MAX: usize = 200_000;

/// States that are always kept: a commit must not remove what the state it builds on needs, because that
/// one is still the best if the commit fails half-way.
const WINDOW_MIN: u32 = 2;

/// Which states a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatePruning {
    /// The state after every block.
    Archive,
    /// The states after this many newest blocks, at least two.
    Keep(u32),
}

impl Default for StatePruning {
    fn default() -> Self {
        Self::Keep(256)
    }
}

impl StatePruning {
    /// What the database remembers: an archive and a window cannot be turned into each other, the length
    /// of a window can change.
    pub(crate) const fn mode(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Keep(_) => "N",
        }
    }

    pub(crate) const fn dead_nodes(self) -> DeadNodes {
        match self {
            Self::Archive => DeadNodes::Keep,
            Self::Keep(_) => DeadNodes::Drop,
        }
    }
}

impl fmt::Display for StatePruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive => f.write_str("archive"),
            Self::Keep(blocks) => write!(f, "{blocks}"),
        }
    }
}

impl FromStr for StatePruning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "archive" => Ok(Self::Archive),
            number => match number.parse::<u32>() {
                Ok(blocks) if blocks > 0 => Ok(Self::Keep(blocks)),
                _ => Err(format!(
                    "'{text}' is neither 'archive' nor a number of blocks above 0"
                )),
            },
        }
    }
}

/// What a commit did to nodes that were on disk before it.
#[derive(Encode, Decode)]
struct DeathRecord {
    previous: u32,
    dead: Vec<Vec<u8>>,
    reborn: Vec<Vec<u8>>,
}

/// Where a record is and which state its nodes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordPlace {
    number: u32,
    previous: u32,
}

/// The pending nodes and the records that hold them.
pub(crate) struct Pruning {
    pruning: StatePruning,
    /// Node key → number of the commit in which it died last.
    pending: HashMap<Vec<u8>, u32>,
    /// Ascending.
    records: VecDeque<RecordPlace>,
}

impl Pruning {
    /// Reads the records that are left.
    pub(crate) fn load(pruning: StatePruning, store: &dyn Store) -> Result<Self, StorageError> {
        let mut pending = HashMap::new();
        let mut records = VecDeque::new();
        for_each(store, Column::Deaths, &[], |key, value| {
            let number = decode_number(&key)?;
            let record = decode_record(&key, &value)?;
            for node in &record.reborn {
                pending.remove(node);
            }
            pending.extend(record.dead.into_iter().map(|node| (node, number)));
            records.push_back(RecordPlace {
                number,
                previous: record.previous,
            });
            Ok::<_, StorageError>(())
        })?;
        Ok(Self {
            pruning,
            pending,
            records,
        })
    }

    /// Returns the numbers of the readable states below the best.
    pub(crate) fn kept_states(&self) -> impl Iterator<Item = u32> {
        self.records.iter().map(|record| record.previous)
    }

    /// Adds to `batch` what the commit of `group` on top of the state of block `previous` does to the state
    /// column, and returns the numbers of the states that it discards.
    ///
    /// If the batch is not committed afterwards, this index no longer describes the disk.
    pub(crate) fn prepare<'a>(
        &mut self,
        group: &'a Group,
        previous: u32,
        store: &dyn Store,
        batch: &mut Batch<'a>,
    ) -> Result<BTreeSet<u32>, StorageError> {
        let StatePruning::Keep(window) = self.pruning else {
            for (key, node) in group.births() {
                batch.put(Column::State, key, node);
            }
            return Ok(BTreeSet::new());
        };
        let window = window.max(WINDOW_MIN);
        let Some(number) = group.last().map(|block| block.number) else {
            return Ok(BTreeSet::new());
        };
        let mut reborn = Vec::new();
        for (key, node) in group.births() {
            if self.pending.remove(key).is_some() {
                reborn.push(key.clone());
            } else {
                batch.put(Column::State, key, node);
            }
        }
        self.pending
            .extend(group.deaths().iter().map(|key| (key.clone(), number)));
        self.records.push_back(RecordPlace { number, previous });

        // State `s` is kept while s + window > number.
        let mut discarded = BTreeSet::new();
        let mut removed = 0_usize;
        while removed < REMOVED_NODES_MAX
            && let Some(record) = self
                .records
                .front()
                .copied()
                .filter(|record| record.previous.saturating_add(window) <= number)
        {
            self.records.pop_front();
            discarded.insert(record.previous);
            if record.number == number {
                for key in group.deaths() {
                    self.remove_if_pending(key.clone(), number, batch);
                }
            } else {
                let record_key = record.number.to_be_bytes();
                let dead = read_record(store, record.number)?.dead;
                removed = removed.saturating_add(dead.len());
                for key in dead {
                    self.remove_if_pending(key, record.number, batch);
                }
                batch.delete(Column::Deaths, record_key.to_vec());
            }
        }
        if self
            .records
            .back()
            .is_some_and(|record| record.number == number)
        {
            let mut dead: Vec<Vec<u8>> = group.deaths().iter().cloned().collect();
            dead.sort_unstable();
            reborn.sort_unstable();
            let record = DeathRecord {
                previous,
                dead,
                reborn,
            };
            batch.put(
                Column::Deaths,
                number.to_be_bytes().to_vec(),
                record.encode(),
            );
        }
        Ok(discarded)
    }

    /// Returns the block whose state the newest commit was made on, if that state is kept.
    pub(crate) fn newest_previous(&self) -> Option<u32> {
        self.records.back().map(|record| record.previous)
    }

    /// Returns the nodes that died in the newest commit.
    pub(crate) fn newest_deaths(
        &self,
        store: &dyn Store,
    ) -> Result<BTreeSet<Vec<u8>>, StorageError> {
        match self.records.back() {
            Some(place) => Ok(read_record(store, place.number)?.dead.into_iter().collect()),
            None => Ok(BTreeSet::new()),
        }
    }

    /// Takes the newest commit back, in which `births` were born: adds to `batch` what that does to the state.
    ///
    /// If the batch is not committed afterwards, this index no longer describes the disk.
    pub(crate) fn undo_newest(
        &mut self,
        store: &dyn Store,
        births: BTreeSet<Vec<u8>>,
        batch: &mut Batch<'_>,
    ) -> Result<(), StorageError> {
        let Some(place) = self.records.pop_back() else {
            return Ok(());
        };
        let DeathRecord { dead, reborn, .. } = read_record(store, place.number)?;
        batch.delete(Column::Deaths, place.number.to_be_bytes().to_vec());
        for key in &dead {
            self.pending.remove(key);
        }
        // What was reborn is dead again, since when the record of its former death says. If that record is gone, so are
        // all states that had the node.
        let mut homeless: BTreeSet<Vec<u8>> = reborn.into_iter().collect();
        for earlier in self.records.iter().rev() {
            if homeless.is_empty() {
                break;
            }
            for key in read_record(store, earlier.number)?.dead {
                if let Some(key) = homeless.take(&key) {
                    self.pending.insert(key, earlier.number);
                }
            }
        }
        for key in births {
            if !self.pending.contains_key(&key) {
                batch.delete(Column::State, key);
            }
        }
        Ok(())
    }

    /// Removes a node unless it was reborn, or died again later.
    fn remove_if_pending(&mut self, key: Vec<u8>, died_in: u32, batch: &mut Batch<'_>) {
        if self.pending.get(&key) == Some(&died_in) {
            self.pending.remove(&key);
            batch.delete(Column::State, key);
        }
    }

    /// Returns how many dead nodes are on disk.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.len()
    }
}

fn decode_number(key: &[u8]) -> Result<u32, StoreError> {
    key.try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| StoreError::corrupt(Column::Deaths, key, "its key is no block number"))
}

fn read_record(store: &dyn Store, number: u32) -> Result<DeathRecord, StoreError> {
    let key = number.to_be_bytes();
    let stored = store
        .get(Column::Deaths, &key)?
        .ok_or_else(|| StoreError::corrupt(Column::Deaths, &key, "it is missing"))?;
    decode_record(&key, &stored)
}

fn decode_record(key: &[u8], value: &[u8]) -> Result<DeathRecord, StoreError> {
    DeathRecord::decode(&mut &value[..])
        .map_err(|error| StoreError::corrupt(Column::Deaths, key, error.to_string()))
}
