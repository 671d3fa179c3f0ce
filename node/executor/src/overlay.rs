//! What a block or a call reads and changes, until it is written.
//!
//! Substrate's own overlay is an ordered map of everything that changed; each of a reading's accesses to the state
//! descends it, comparing long keys that begin alike, and what is only read goes on to the state each time. Here a
//! key is hashed once for each access, what was read stays at hand, and order is made where somebody asks for it.
//!
//! ## Terms
//! - slot: a key with its value as the runtime sees it, read or written.
//! - family: the written slots of one storage item: keys that share their first [`FAMILY_BYTES`] bytes.
//! ## Invariants
//! - The runtime sees what Substrate's overlay would show it: values, order of keys, counts of removals, roots.
//! - Nothing depends on the order in which the table holds its slots.
//! - What a transaction changed is undone exactly when it is rolled back.
//! ## Not here
//! Child tries and offchain storage, which this runtime does not use.

use std::{
    any::{Any, TypeId},
    borrow::Cow,
    cmp::Ordering,
    collections::BTreeMap,
    hash::BuildHasher,
    mem,
    ops::Bound,
};

use codec::{Compact, Decode, Encode};
use commonwatt_runtime::Hash;
use hashbrown::{DefaultHashBuilder, HashTable};
use sp_core::storage::{ChildInfo, StateVersion, TrackedStorageKey, well_known_keys};
use sp_externalities::{
    Error as ExtensionError, Extension, ExtensionStore, Externalities, MultiRemovalResults,
};
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_state_machine::{Backend, IterArgs};
use sp_trie::PrefixedMemoryDB;

use crate::{BlockChanges, native::STATE_FAILURE};

/// Length of the prefix of a storage item: pallet and item, 16 bytes each.
const FAMILY_BYTES: usize = 32;

/// Bytes of values kept that were only read. What a block's weight lets it read fits; a query that reads more reads
/// the rest from the state.
const READ_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rough cost of a slot beside key and value.
const SLOT_BYTES: usize = 128;

/// New slots of a family up to this part of the ordered ones are put in one by one, more are sorted together.
const SORTED_TOGETHER: usize = 16;

const NO_CHILD_TRIES: &str = "this runtime has no child tries";

/// Everything that was read and written, open transactions included.
#[derive(Default)]
pub(crate) struct Overlay {
    hasher: DefaultHashBuilder,
    /// Places in `slots`, by key.
    places: HashTable<u32>,
    slots: Vec<Slot>,
    read_bytes: usize,
    families: BTreeMap<Vec<u8>, Family>,
    /// How to take back what open transactions changed, in their order.
    undo: Vec<Undo>,
    /// Length of `undo` when each open transaction began.
    transactions: Vec<usize>,
    /// The trie after all changes, until the next one.
    root: Option<Root>,
}

struct Slot {
    key: Vec<u8>,
    value: Value,
    /// Whether the value is a change; otherwise it is what the state holds.
    is_written: bool,
    /// Whether its family knows it.
    is_listed: bool,
    /// Whether the state is known to hold nothing under the key.
    is_new: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// Nobody has read what the state holds: the key was only written, and that was taken back.
    Unread,
    Nothing,
    Whole(Vec<u8>),
    /// A list that grows: its encoded items without the count that goes before them.
    List {
        items: Vec<u8>,
        count: u32,
    },
}

enum Undo {
    /// The slot held something else.
    Replaced {
        place: u32,
        value: Value,
        was_written: bool,
    },
    /// The slot's list was shorter.
    Appended {
        place: u32,
        length: usize,
        count: u32,
    },
}

/// The written slots of a storage item.
#[derive(Default)]
struct Family {
    /// Ordered by key.
    ordered: Vec<u32>,
    /// Not put in order yet.
    fresh: Vec<u32>,
}

struct Root {
    version: StateVersion,
    hash: Hash,
    nodes: PrefixedMemoryDB<BlakeTwo256>,
}

impl Value {
    fn is_some(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::List { .. })
    }

    fn from_option(value: Option<Vec<u8>>) -> Self {
        value.map_or(Self::Nothing, Self::Whole)
    }

    fn to_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Unread | Self::Nothing => None,
            Self::Whole(bytes) => Some(Cow::Borrowed(bytes)),
            Self::List { items, count } => Some(Cow::Owned(encode_list(items, *count))),
        }
    }

    fn into_option(self) -> Option<Vec<u8>> {
        match self {
            Self::Unread | Self::Nothing => None,
            Self::Whole(bytes) => Some(bytes),
            Self::List { items, count } => Some(encode_list(&items, count)),
        }
    }

    /// Takes the value apart as a list; what is none counts as empty, as in Substrate.
    fn into_list(self) -> (Vec<u8>, u32) {
        match self {
            Self::Unread | Self::Nothing => (Vec::new(), 0),
            Self::List { items, count } => (items, count),
            Self::Whole(mut bytes) => {
                let mut rest = &bytes[..];
                match Compact::<u32>::decode(&mut rest) {
                    Ok(Compact(count)) => {
                        let prefix = bytes.len().saturating_sub(rest.len());
                        bytes.drain(..prefix);
                        (bytes, count)
                    }
                    Err(_) => (Vec::new(), 0),
                }
            }
        }
    }
}

fn encode_list(items: &[u8], count: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len().saturating_add(4));
    Compact(count).encode_to(&mut bytes);
    bytes.extend_from_slice(items);
    bytes
}

fn family_of(key: &[u8]) -> &[u8] {
    key.get(..FAMILY_BYTES).unwrap_or(key)
}

impl Family {
    /// Puts the slots that came since the last time in order.
    fn settle(&mut self, slots: &[Slot]) {
        let key_of = |place: &u32| slot(slots, *place).map(|slot| &slot.key);
        if self.fresh.len().saturating_mul(SORTED_TOGETHER) > self.ordered.len() {
            self.ordered.append(&mut self.fresh);
            self.ordered.sort_by(|a, b| key_of(a).cmp(&key_of(b)));
            return;
        }
        for place in self.fresh.drain(..) {
            let key = key_of(&place);
            let position = self.ordered.partition_point(|known| key_of(known) < key);
            self.ordered.insert(position, place);
        }
    }
}

fn slot(slots: &[Slot], place: u32) -> Option<&Slot> {
    slots.get(usize::try_from(place).ok()?)
}

impl Overlay {
    fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.places
            .find(hash, |place| {
                slot(&self.slots, *place).is_some_and(|slot| slot.key == key)
            })
            .copied()
    }

    fn slot(&self, place: u32) -> &Slot {
        slot(&self.slots, place).expect("places are of slots, which are never removed")
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        usize::try_from(place)
            .ok()
            .and_then(|index| self.slots.get_mut(index))
            .expect("places are of slots, which are never removed")
    }

    /// Adds a slot for a key that has none.
    fn add(&mut self, key: Vec<u8>, value: Value, is_new: bool) -> u32 {
        let place =
            u32::try_from(self.slots.len()).expect("memory ends long before there are 2^32 slots");
        let hash = self.hasher.hash_one(&key[..]);
        self.slots.push(Slot {
            key,
            value,
            is_written: false,
            is_listed: false,
            is_new,
        });
        let Self {
            hasher,
            places,
            slots,
            ..
        } = self;
        places.insert_unique(hash, place, |place| {
            slot(slots, *place).map_or(0, |slot| hasher.hash_one(&slot.key[..]))
        });
        place
    }

    /// Keeps what the state holds under a key that has no slot yet, if there is room.
    fn remember(&mut self, key: &[u8], value: Option<&Vec<u8>>) {
        if self.read_bytes >= READ_BYTES_MAX {
            return;
        }
        let bytes = key.len().saturating_add(value.map_or(0, Vec::len));
        self.read_bytes = self
            .read_bytes
            .saturating_add(bytes)
            .saturating_add(SLOT_BYTES);
        let is_new = value.is_none();
        self.add(key.to_vec(), Value::from_option(value.cloned()), is_new);
    }

    /// Notes that a slot holds a change from now on.
    fn list(&mut self, place: u32) {
        self.root = None;
        let slot = self.slot_mut(place);
        slot.is_written = true;
        if mem::replace(&mut slot.is_listed, true) {
            return;
        }
        let Self {
            slots, families, ..
        } = self;
        let Some(key) = crate::overlay::slot(slots, place).map(|slot| family_of(&slot.key)) else {
            return;
        };
        match families.get_mut(key) {
            Some(family) => family.fresh.push(place),
            None => {
                let family = Family {
                    ordered: Vec::new(),
                    fresh: vec![place],
                };
                families.insert(key.to_vec(), family);
            }
        }
    }

    fn set(&mut self, key: Vec<u8>, value: Value) {
        let place = match self.find(&key) {
            Some(place) => place,
            None => self.add(key, Value::Unread, false),
        };
        self.replace(place, value);
    }

    fn replace(&mut self, place: u32, value: Value) {
        let slot = self.slot_mut(place);
        let (value, was_written) = (mem::replace(&mut slot.value, value), slot.is_written);
        if !self.transactions.is_empty() {
            self.undo.push(Undo::Replaced {
                place,
                value,
                was_written,
            });
        }
        self.list(place);
    }

    /// Appends an encoded item to the list in a slot.
    fn append(&mut self, place: u32, item: &[u8]) {
        let in_transaction = !self.transactions.is_empty();
        let slot = self.slot_mut(place);
        let was_written = slot.is_written;
        if let (Value::List { items, count }, true) = (&mut slot.value, was_written) {
            let undo = Undo::Appended {
                place,
                length: items.len(),
                count: *count,
            };
            items.extend_from_slice(item);
            *count = count.saturating_add(1);
            if in_transaction {
                self.undo.push(undo);
            }
        } else {
            let before = mem::replace(&mut slot.value, Value::Nothing);
            if in_transaction {
                self.undo.push(Undo::Replaced {
                    place,
                    value: before.clone(),
                    was_written,
                });
            }
            let (mut items, count) = before.into_list();
            items.extend_from_slice(item);
            let count = count.saturating_add(1);
            self.slot_mut(place).value = Value::List { items, count };
        }
        self.list(place);
    }

    fn begin(&mut self) {
        self.transactions.push(self.undo.len());
    }

    fn commit(&mut self) -> Result<(), ()> {
        self.transactions.pop().ok_or(())?;
        if self.transactions.is_empty() {
            self.undo.clear();
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), ()> {
        let kept = self.transactions.pop().ok_or(())?;
        self.root = None;
        while self.undo.len() > kept {
            match self.undo.pop() {
                Some(Undo::Replaced {
                    place,
                    value,
                    was_written,
                }) => {
                    let slot = self.slot_mut(place);
                    slot.value = value;
                    slot.is_written = was_written;
                }
                Some(Undo::Appended {
                    place,
                    length,
                    count: count_before,
                }) => {
                    if let Value::List { items, count } = &mut self.slot_mut(place).value {
                        items.truncate(length);
                        *count = count_before;
                    }
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Returns the places of all changed keys that begin with `prefix`.
    fn written_under(&self, prefix: &[u8]) -> Vec<u32> {
        let first = family_of(prefix);
        let range = (Bound::Included(first), Bound::Unbounded);
        self.families
            .range::<[u8], _>(range)
            .take_while(|(key, _)| key.starts_with(first))
            .flat_map(|(_, family)| family.ordered.iter().chain(&family.fresh))
            .copied()
            .filter(|place| {
                let slot = self.slot(*place);
                slot.is_written && slot.key.starts_with(prefix)
            })
            .collect()
    }

    /// Returns the changed key that follows `key`, and whether it has a value.
    fn next_written(&mut self, key: &[u8]) -> Option<(Vec<u8>, bool)> {
        let Self {
            slots, families, ..
        } = self;
        let range = (Bound::Included(family_of(key)), Bound::Unbounded);
        for (_, family) in families.range_mut::<[u8], _>(range) {
            family.settle(slots);
            let position = family.ordered.partition_point(|place| {
                slot(slots, *place).is_some_and(|slot| slot.key.as_slice() <= key)
            });
            let next = family
                .ordered
                .iter()
                .skip(position)
                .filter_map(|place| slot(slots, *place))
                .find(|slot| slot.is_written);
            if let Some(next) = next {
                return Some((next.key.clone(), next.value.is_some()));
            }
        }
        None
    }

    /// Returns the root of the state with all changes.
    fn root<B: Backend<BlakeTwo256>>(
        &mut self,
        backend: &B,
        version: StateVersion,
    ) -> Result<&Root, B::Error> {
        // Borrowed anew below: a reference returned from here would keep `self` borrowed.
        if self
            .root
            .as_ref()
            .is_none_or(|root| root.version != version)
        {
            let mut delta = Vec::with_capacity(self.slots.len());
            for slot in self.slots.iter().filter(|slot| slot.is_written) {
                let value = slot.value.to_bytes();
                // Counters and lists of a block alone come and go; the trie need not search for them.
                let is_nowhere =
                    value.is_none() && (slot.is_new || !backend.exists_storage(&slot.key)?);
                if !is_nowhere {
                    delta.push((&slot.key[..], value));
                }
            }
            let delta = delta.iter().map(|(key, value)| (*key, value.as_deref()));
            let (hash, nodes) = backend.storage_root(delta, version);
            self.root = Some(Root {
                version,
                hash,
                nodes,
            });
        }
        Ok(self.root.as_ref().expect("it was just computed"))
    }

    /// Returns what changed, and leaves nothing.
    pub(crate) fn drain<B: Backend<BlakeTwo256>>(
        &mut self,
        backend: &B,
        version: StateVersion,
    ) -> Result<BlockChanges, B::Error> {
        self.root(backend, version)?;
        let Self { slots, root, .. } = mem::take(self);
        let root = root.expect("it was just computed");
        let mut storage: Vec<_> = slots
            .into_iter()
            .filter(|slot| slot.is_written)
            .map(|slot| (slot.key, slot.value.into_option()))
            .collect();
        storage.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(BlockChanges {
            nodes: root.nodes,
            storage,
            state_root: root.hash,
        })
    }
}

/// What the runtime sees: a state under an overlay.
pub(crate) struct Environment<'a, B> {
    pub(crate) overlay: &'a mut Overlay,
    pub(crate) backend: &'a B,
}

impl<B: Backend<BlakeTwo256>> Environment<'_, B> {
    /// Returns the slot of a key, if it has one, and reads from the state what is not known of it.
    fn find(&mut self, key: &[u8]) -> Option<u32> {
        let place = self.overlay.find(key)?;
        if self.overlay.slot(place).value == Value::Unread {
            let value = self.backend.storage(key).expect(STATE_FAILURE);
            let slot = self.overlay.slot_mut(place);
            slot.is_new = value.is_none();
            slot.value = Value::from_option(value);
        }
        Some(place)
    }

    /// Returns the slot of a key, read from the state if need be.
    fn open(&mut self, key: Vec<u8>) -> u32 {
        match self.find(&key) {
            Some(place) => place,
            None => {
                let value = self.backend.storage(&key).expect(STATE_FAILURE);
                let is_new = value.is_none();
                self.overlay.add(key, Value::from_option(value), is_new)
            }
        }
    }
}

impl<B: Backend<BlakeTwo256>> Externalities for Environment<'_, B> {
    fn set_offchain_storage(&mut self, _: &[u8], _: Option<&[u8]>) {}

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        if let Some(place) = self.find(key) {
            return self
                .overlay
                .slot(place)
                .value
                .to_bytes()
                .map(Cow::into_owned);
        }
        let value = self.backend.storage(key).expect(STATE_FAILURE);
        self.overlay.remember(key, value.as_ref());
        value
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.find(key) {
            Some(place) => {
                let value = self.overlay.slot(place).value.to_bytes();
                value.map(|value| BlakeTwo256::hash(&value).encode())
            }
            None => {
                let hash = self.backend.storage_hash(key).expect(STATE_FAILURE);
                hash.map(|hash| hash.encode())
            }
        }
    }

    fn child_storage_hash(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        panic!("{NO_CHILD_TRIES}")
    }

    fn child_storage(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        panic!("{NO_CHILD_TRIES}")
    }

    fn exists_storage(&mut self, key: &[u8]) -> bool {
        match self.find(key) {
            Some(place) => self.overlay.slot(place).value.is_some(),
            None => {
                let value = self.backend.storage(key).expect(STATE_FAILURE);
                self.overlay.remember(key, value.as_ref());
                value.is_some()
            }
        }
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let next_below = |key: &[u8]| self.backend.next_storage_key(key).expect(STATE_FAILURE);
        let mut below = next_below(key);
        let mut written = self.overlay.next_written(key);
        loop {
            let Some((next, has_value)) = written else {
                return below;
            };
            let order = below.as_ref().map(|below| below.cmp(&next));
            if order == Some(Ordering::Less) {
                return below;
            }
            if has_value {
                return Some(next);
            }
            if order == Some(Ordering::Equal) {
                below = next_below(&next);
            }
            written = self.overlay.next_written(&next);
        }
    }

    fn next_child_storage_key(&mut self, _: &ChildInfo, _: &[u8]) -> Option<Vec<u8>> {
        panic!("{NO_CHILD_TRIES}")
    }

    fn kill_child_storage(
        &mut self,
        _: &ChildInfo,
        _: Option<u32>,
        _: Option<&[u8]>,
    ) -> MultiRemovalResults {
        panic!("{NO_CHILD_TRIES}")
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        maybe_limit: Option<u32>,
        maybe_cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        let mut removed = MultiRemovalResults {
            maybe_cursor: None,
            backend: 0,
            unique: 0,
            loops: 0,
        };
        if well_known_keys::starts_with_child_storage_key(prefix) {
            return removed;
        }
        for place in self.overlay.written_under(prefix) {
            if self.overlay.slot(place).value.is_some() {
                removed.unique = removed.unique.saturating_add(1);
            }
            self.overlay.replace(place, Value::Nothing);
        }
        let mut range = IterArgs::default();
        range.prefix = Some(prefix);
        range.start_at = maybe_cursor;
        let keys = self.backend.keys(range);
        for key in keys.expect(STATE_FAILURE) {
            let key = key.expect(STATE_FAILURE);
            if maybe_limit == Some(removed.loops) {
                removed.maybe_cursor = Some(key);
                break;
            }
            let place = self.overlay.find(&key);
            let is_removed = place.is_some_and(|place| {
                let slot = self.overlay.slot(place);
                slot.is_written && !slot.value.is_some()
            });
            if !is_removed {
                self.overlay.set(key, Value::Nothing);
                removed.backend = removed.backend.saturating_add(1);
            }
            removed.loops = removed.loops.saturating_add(1);
        }
        removed.unique = removed.unique.saturating_add(removed.backend);
        removed
    }

    fn clear_child_prefix(
        &mut self,
        _: &ChildInfo,
        _: &[u8],
        _: Option<u32>,
        _: Option<&[u8]>,
    ) -> MultiRemovalResults {
        panic!("{NO_CHILD_TRIES}")
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        if !well_known_keys::is_child_storage_key(&key) {
            self.overlay.set(key, Value::from_option(value));
        }
    }

    fn place_child_storage(&mut self, _: &ChildInfo, _: Vec<u8>, _: Option<Vec<u8>>) {
        panic!("{NO_CHILD_TRIES}")
    }

    fn storage_root(&mut self, state_version: StateVersion) -> Vec<u8> {
        let root = self.overlay.root(self.backend, state_version);
        root.expect(STATE_FAILURE).hash.encode()
    }

    fn child_storage_root(&mut self, _: &ChildInfo, _: StateVersion) -> Vec<u8> {
        panic!("{NO_CHILD_TRIES}")
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let place = self.open(key);
        self.overlay.append(place, &value);
    }

    fn storage_start_transaction(&mut self) {
        self.overlay.begin();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.overlay.roll_back()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.overlay.commit()
    }

    fn storage_index_transaction(&mut self, _: u32, _: &[u8], _: u32) {}

    fn storage_renew_transaction_index(&mut self, _: u32, _: &[u8]) {}

    // What follows is for FRAME's benchmarks, which the node does not run.

    fn wipe(&mut self) {}

    fn commit(&mut self) {}

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        (0, 0, 0, 0)
    }

    fn reset_read_write_count(&mut self) {}

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        Vec::new()
    }

    fn set_whitelist(&mut self, _: Vec<TrackedStorageKey>) {}

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        Vec::new()
    }
}

/// There are no extensions: the runtime asks for none.
impl<B> ExtensionStore for Environment<'_, B> {
    fn extension_by_type_id(&mut self, _: TypeId) -> Option<&mut dyn Any> {
        None
    }

    fn register_extension_with_type_id(
        &mut self,
        _: TypeId,
        _: Box<dyn Extension>,
    ) -> Result<(), ExtensionError> {
        Err(ExtensionError::ExtensionsAreNotSupported)
    }

    fn deregister_extension_by_type_id(&mut self, _: TypeId) -> Result<(), ExtensionError> {
        Err(ExtensionError::ExtensionsAreNotSupported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sp_state_machine::{Ext, InMemoryBackend, OverlayedChanges};

    const VERSION: StateVersion = StateVersion::V1;

    type TestBackend = InMemoryBackend<BlakeTwo256>;

    #[derive(Clone, Debug)]
    enum Step {
        Get(Vec<u8>),
        Exists(Vec<u8>),
        Put(Vec<u8>, Vec<u8>),
        Remove(Vec<u8>),
        Append(Vec<u8>, Vec<u8>),
        Clear(Vec<u8>, Option<u32>),
        Next(Vec<u8>),
        Begin,
        Commit,
        RollBack,
        Root,
    }

    /// Keys of few families, some shorter than a family's prefix. None begins another, as in FRAME: `trie-db` panics
    /// over removals of some that do.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            5 => (0u8..3, prop::collection::vec(0u8..4, 2)).prop_map(|(family, rest)| {
                let mut key = vec![family; FAMILY_BYTES];
                key.extend(rest);
                key
            }),
            1 => (3u8..5, 0u8..3).prop_map(|(first, second)| vec![first, second]),
        ]
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            // A list.
            prop::collection::vec(any::<u32>(), 0..80).prop_map(|list| list.encode()),
        ]
    }

    fn prefix() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0u8..3).prop_map(|family| vec![family; FAMILY_BYTES]),
            key(),
            (0u8..3).prop_map(|family| vec![family]),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => key().prop_map(Step::Get),
            1 => key().prop_map(Step::Exists),
            4 => (key(), value()).prop_map(|(key, value)| Step::Put(key, value)),
            2 => key().prop_map(Step::Remove),
            4 => (key(), any::<u32>()).prop_map(|(key, item)| Step::Append(key, item.encode())),
            1 => (prefix(), prop::option::of(0u32..3)).prop_map(|(prefix, limit)| Step::Clear(prefix, limit)),
            3 => key().prop_map(Step::Next),
            2 => Just(Step::Begin),
            1 => Just(Step::Commit),
            1 => Just(Step::RollBack),
            1 => Just(Step::Root),
        ]
    }

    fn run(externalities: &mut dyn Externalities, step: &Step) -> Vec<u8> {
        match step {
            Step::Get(key) => {
                (externalities.storage(key), externalities.storage_hash(key)).encode()
            }
            Step::Exists(key) => externalities.exists_storage(key).encode(),
            Step::Put(key, value) => {
                externalities.place_storage(key.clone(), Some(value.clone()));
                Vec::new()
            }
            Step::Remove(key) => {
                externalities.place_storage(key.clone(), None);
                Vec::new()
            }
            Step::Append(key, item) => {
                externalities.storage_append(key.clone(), item.clone());
                Vec::new()
            }
            Step::Clear(prefix, limit) => {
                let (cursor, backend, unique, loops) = externalities
                    .clear_prefix(prefix, *limit, None)
                    .deconstruct();
                (cursor, backend, unique, loops).encode()
            }
            Step::Next(key) => externalities.next_storage_key(key).encode(),
            Step::Begin => {
                externalities.storage_start_transaction();
                Vec::new()
            }
            Step::Commit => externalities.storage_commit_transaction().is_ok().encode(),
            Step::RollBack => externalities
                .storage_rollback_transaction()
                .is_ok()
                .encode(),
            Step::Root => externalities.storage_root(VERSION),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Every answer, the changes and the root, against Substrate's overlay.
        #[test]
        fn the_runtime_sees_what_substrates_overlay_shows(
            stored in prop::collection::btree_map(key(), value(), 0..12),
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let stored: Vec<_> = stored
                .into_iter()
                .map(|(key, value)| (key, Some(value)))
                .collect();
            let backend: TestBackend = (vec![(None, stored)], VERSION).into();

            let mut known = OverlayedChanges::<BlakeTwo256>::default();
            let mut overlay = Overlay::default();
            let mut open = 0u32;
            for step in &steps {
                match step {
                    Step::Begin => open += 1,
                    Step::Commit | Step::RollBack => open = open.saturating_sub(1),
                    _ => {}
                }
                let expected = if let Step::Root = step {
                    // On a copy: Substrate keeps the root over an append that follows.
                    run(&mut Ext::new(&mut known.clone(), &backend, None), step)
                } else {
                    run(&mut Ext::new(&mut known, &backend, None), step)
                };
                let mut environment = Environment { overlay: &mut overlay, backend: &backend };
                prop_assert_eq!(run(&mut environment, step), expected, "{:?}", step);
            }
            for _ in 0..open {
                known.commit_transaction().expect("it is open");
                overlay.commit().expect("it is open");
            }
            let known = known.drain_storage_changes(&backend, VERSION).expect("it is in memory");
            let changes = overlay.drain(&backend, VERSION).expect("it is in memory");
            prop_assert_eq!(changes.state_root, known.transaction_storage_root);
            prop_assert_eq!(changes.storage, known.main_storage_changes);
        }
    }

    #[test]
    fn what_was_only_read_stays_within_its_bound() {
        let backend = TestBackend::default();
        let mut overlay = Overlay::default();
        let value = vec![0; READ_BYTES_MAX / 4];
        for number in 0..10u8 {
            overlay.remember(&[number], Some(&value));
        }
        assert_eq!(overlay.slots.len(), 4);
        let changes = overlay.drain(&backend, VERSION).expect("it is in memory");
        assert!(changes.storage.is_empty());
    }
}
