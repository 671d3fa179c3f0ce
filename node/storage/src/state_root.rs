//! The root of a state after changes, worked out by several threads.
//!
//! Storage keys begin with the hash of their pallet's name, so the children of a trie's root node divide what a block
//! changes about evenly. Each thread puts the changes below some of the children into a trie of its own that begins as
//! the old one; the new root node takes each child from the thread that had it.
//!
//! ## Invariants
//! - Root and nodes are those that one thread alone would come to.

use std::{num::NonZero, panic, sync::OnceLock, thread};

use hash_db::HashDB;
use sp_core::H256;
use sp_runtime::traits::BlakeTwo256;
use sp_trie::{EMPTY_PREFIX, LayoutV1, NodeCodec, PrefixedMemoryDB, empty_trie_root};
use trie_db::{
    ChildReference, NodeCodec as _,
    node::{Node, NodeHandle},
};

/// A key and what stands under it afterwards.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// What it takes to change a trie.
type Nodes = PrefixedMemoryDB<BlakeTwo256>;

/// Children of a node.
const CHILDREN: usize = 16;

/// How work is divided among threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Division {
    /// Threads at most.
    pub(crate) threads_max: usize,
    /// What is worth a thread, as [`cost_of`] counts.
    pub(crate) cost_per_thread: usize,
}

impl Division {
    /// Returns what suits this machine: not more threads than find something to do, since a few pallets change most of
    /// the state, and none for less than some milliseconds.
    pub(crate) fn usual() -> Self {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get));
        Self {
            threads_max: cores.min(4),
            cost_per_thread: 500,
        }
    }
}

/// Bytes of a value that take as long to hash as it takes to find the place of a key.
const BYTES_PER_KEY: usize = 1_024;

/// Returns the root after `changes` to the trie with the root `old`, and the nodes that came and went; `apply` does
/// that for any part of the changes.
pub(crate) fn compute(
    old: &H256,
    changes: Vec<Change<'_>>,
    division: Division,
    apply: impl Fn(Vec<Change<'_>>) -> (H256, Nodes) + Sync,
) -> (H256, Nodes) {
    let Some(shares) = divide(&changes, division) else {
        return apply(changes);
    };
    join(old, apply_all(&shares.changes, &apply), &shares.owners)
        // Rare: the root node became or stays something else than a plain branch, or nodes could not be read.
        .unwrap_or_else(|| apply(changes))
}

/// Changes divided among threads.
struct Shares<'a> {
    changes: Vec<Vec<Change<'a>>>,
    /// The share that each child of the root node belongs to.
    owners: [usize; CHILDREN],
}

/// About how much work a change is, in keys.
fn cost_of((_, value): &Change<'_>) -> usize {
    let bytes = value.map_or(0, <[u8]>::len);
    1_usize.saturating_add(bytes.checked_div(BYTES_PER_KEY).unwrap_or(0))
}

/// Returns the child of the root node below which a key stands; `None` for the empty key, which stands in it.
fn child_of(key: &[u8]) -> Option<usize> {
    key.first().map(|byte| usize::from(byte >> 4))
}

/// Divides changes among threads; `None` when one does better.
fn divide<'a>(changes: &[Change<'a>], division: Division) -> Option<Shares<'a>> {
    let mut costs = [0_usize; CHILDREN];
    for change in changes {
        let cost = costs.get_mut(child_of(change.0)?)?;
        *cost = cost.saturating_add(cost_of(change));
    }
    let all = costs
        .iter()
        .fold(0_usize, |sum, cost| sum.saturating_add(*cost));
    let worth = all.checked_div(division.cost_per_thread).unwrap_or(0);
    let count = division.threads_max.min(worth);
    if count < 2 {
        return None;
    }
    // The largest first, each to who has least.
    let mut children: Vec<usize> = (0..CHILDREN).collect();
    children.sort_by_key(|child| std::cmp::Reverse(costs.get(*child)));
    let mut owners = [0; CHILDREN];
    let mut loads = vec![0_usize; count];
    for child in children {
        let (share, load) = loads
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, load)| **load)?;
        *load = load.saturating_add(*costs.get(child)?);
        *owners.get_mut(child)? = share;
    }
    let mut shares = vec![Vec::new(); count];
    for change in changes {
        shares
            .get_mut(*owners.get(child_of(change.0)?)?)?
            .push(*change);
    }
    shares
        .iter()
        .all(|share| !share.is_empty())
        .then_some(Shares {
            changes: shares,
            owners,
        })
}

/// Applies each share on a thread of its own, the first one here.
fn apply_all(
    shares: &[Vec<Change<'_>>],
    apply: &(impl Fn(Vec<Change<'_>>) -> (H256, Nodes) + Sync),
) -> Vec<(H256, Nodes)> {
    thread::scope(|scope| {
        let Some((first, others)) = shares.split_first() else {
            return Vec::new();
        };
        let others: Vec<_> = others
            .iter()
            .map(|share| {
                let work = || apply(share.clone());
                let builder = thread::Builder::new().name("state-root".to_owned());
                (share, builder.spawn_scoped(scope, work))
            })
            .collect();
        let mut results = vec![apply(first.clone())];
        results.extend(others.into_iter().map(|(share, thread)| {
            match thread {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|panic| panic::resume_unwind(panic)),
                // No thread can be had: it takes longer.
                Err(_) => apply(share.clone()),
            }
        }));
        results
    })
}

/// Puts the parts together; `None` when the root node that comes of it is not a plain branch, as before, or a part did not
/// change its trie, as when a node could not be read.
fn join(
    old: &H256,
    parts: Vec<(H256, Nodes)>,
    owners: &[usize; CHILDREN],
) -> Option<(H256, Nodes)> {
    if *old == empty_trie_root::<LayoutV1<BlakeTwo256>>() {
        return None;
    }
    let mut children = vec![None; CHILDREN];
    let mut nodes: Option<Nodes> = None;
    for (share, (root, mut part)) in parts.into_iter().enumerate() {
        if root == *old {
            return None;
        }
        let encoded = part.remove_and_purge(&root, EMPTY_PREFIX)?;
        let Ok(Node::NibbledBranch(partial, of_part, None)) =
            NodeCodec::<BlakeTwo256>::decode(&encoded)
        else {
            return None;
        };
        if !partial.is_empty() {
            return None;
        }
        for ((child, from), _) in children
            .iter_mut()
            .zip(of_part)
            .zip(owners)
            .filter(|(_, owner)| **owner == share)
        {
            *child = match from {
                Some(handle) => Some(reference_to(handle)?),
                None => None,
            };
        }
        match &mut nodes {
            None => nodes = Some(part),
            Some(nodes) => {
                // Each part took the old root node away; once is enough.
                part.emplace(*old, EMPTY_PREFIX, Vec::new());
                nodes.consolidate(part);
            }
        }
    }
    let mut nodes = nodes?;
    if children.iter().flatten().count() < 2 {
        return None;
    }
    let root = NodeCodec::<BlakeTwo256>::branch_node_nibbled(
        std::iter::empty(),
        0,
        children.into_iter(),
        None,
    );
    let root = nodes.insert(EMPTY_PREFIX, &root);
    Some((root, nodes))
}

/// Returns the reference to a child as its parent is encoded with; `None` when it is too long to be one.
fn reference_to(handle: NodeHandle<'_>) -> Option<ChildReference<H256>> {
    let mut hash = H256::zero();
    match handle {
        NodeHandle::Hash(bytes) if bytes.len() == hash.as_bytes().len() => {
            hash.as_bytes_mut().copy_from_slice(bytes);
            Some(ChildReference::Hash(hash))
        }
        NodeHandle::Hash(_) => None,
        NodeHandle::Inline(bytes) => {
            hash.as_bytes_mut()
                .get_mut(..bytes.len())?
                .copy_from_slice(bytes);
            Some(ChildReference::Inline(hash, bytes.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use proptest::{collection::vec, prelude::*};
    use sp_core::storage::StateVersion;
    use sp_state_machine::{Backend, TrieBackendBuilder};

    use super::*;

    type State = BTreeMap<Vec<u8>, Vec<u8>>;
    type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    /// Nodes that come and nodes that go, as the storage takes them.
    type Difference = (BTreeMap<Vec<u8>, Vec<u8>>, BTreeSet<Vec<u8>>);

    fn difference(mut nodes: Nodes) -> Difference {
        let mut difference = Difference::default();
        for (key, (node, count)) in nodes.drain() {
            if count > 0 {
                difference.0.insert(key, node);
            } else if count < 0 {
                difference.1.insert(key);
            }
        }
        difference
    }

    fn empty() -> H256 {
        empty_trie_root::<LayoutV1<BlakeTwo256>>()
    }

    /// Returns root, nodes and the number of tries changed on the way.
    fn change(before: &State, changes: &Changes, threads: usize) -> (H256, Difference, usize) {
        let version = StateVersion::V1;
        let all = before
            .iter()
            .map(|(key, value)| (&key[..], Some(&value[..])));
        let (old, nodes) = TrieBackendBuilder::new(Nodes::default(), empty())
            .build()
            .storage_root(all, version);
        let trie = TrieBackendBuilder::new(nodes, old).build();
        let changes = changes
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect();
        let applied = AtomicUsize::new(0);
        let division = Division {
            threads_max: threads,
            cost_per_thread: 100,
        };
        let (root, nodes) = compute(&old, changes, division, |part| {
            applied.fetch_add(1, Ordering::Relaxed);
            trie.storage_root(part.into_iter(), version)
        });
        (root, difference(nodes), applied.into_inner())
    }

    /// Keys whose beginnings are often the same.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        (0..16_u8, [0..4_u8, 0..4, 0..4])
            .prop_map(|(first, rest)| [&[first << 4][..], &rest].concat())
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..70)
    }

    fn many(prefix: u8, count: u16) -> impl Iterator<Item = Vec<u8>> {
        (0..count).map(move |number| [&[prefix][..], &number.to_be_bytes()].concat())
    }

    #[test]
    fn two_threads_share_the_work() {
        let before: State = (0..16_u8)
            .flat_map(|child| many(child << 4, 40))
            .map(|key| (key, vec![1; 40]))
            .collect();
        let changes: Changes = before
            .keys()
            .map(|key| (key.clone(), Some(vec![2; 40])))
            .collect();
        let (root, nodes, applied) = change(&before, &changes, 1);
        assert_eq!(applied, 1);
        for threads in 2..=4 {
            assert_eq!(
                change(&before, &changes, threads),
                (root, nodes.clone(), threads)
            );
        }
    }

    #[test]
    fn a_few_changes_are_left_to_one() {
        let before: State = many(0x10, 100)
            .chain(many(0x20, 100))
            .map(|key| (key, vec![1]))
            .collect();
        let changes = before
            .keys()
            .take(150)
            .map(|key| (key.clone(), None))
            .collect();
        assert_eq!(change(&before, &changes, 4).2, 1);
    }

    #[test]
    fn what_empties_all_children_but_one_is_done_again_by_one() {
        let before: State = [0x10, 0x20, 0x30]
            .into_iter()
            .flat_map(|child| many(child, 200))
            .map(|key| (key, vec![1; 40]))
            .collect();
        let changes: Changes = before
            .keys()
            .filter(|key| key.first() != Some(&0x30))
            .map(|key| (key.clone(), None))
            .collect();
        let (root, nodes, _) = change(&before, &changes, 1);
        assert_eq!(change(&before, &changes, 2), (root, nodes, 3));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_number_of_threads_comes_to_the_same(
            before in vec((key(), value()), 0..400),
            changes in vec((key(), proptest::option::of(value())), 200..700),
        ) {
            let before: State = before.into_iter().collect();
            let changes: Changes = changes.into_iter().collect();
            let (root, nodes, _) = change(&before, &changes, 1);
            for threads in 2..=4 {
                let (found, of_found, _) = change(&before, &changes, threads);
                prop_assert_eq!(found, root);
                prop_assert_eq!(&of_found, &nodes);
            }
        }
    }
}
