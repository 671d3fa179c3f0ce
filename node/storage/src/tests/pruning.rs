//! Pruning against a model: what is kept is complete, what is gone is gone from the disk.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    helpers::{Changes, Seeded, TestChain, key_of, nodes_on_disk, read_recording},
    memory_store::MemoryStore,
};
use crate::{ChainDb, CommitMode, StatePruning};

#[derive(Clone, Debug)]
enum Step {
    Durable(Changes),
    Bulk(Changes),
    Flush,
    Reopen,
}

fn changes() -> impl Strategy<Value = Changes> {
    let value = prop_oneof![
        Just(None),
        (0..3_u8).prop_map(|byte| Some(vec![byte; 8])),
        (0..3_u8).prop_map(|byte| Some(vec![byte; 90])),
    ];
    prop::collection::vec(((0..40_u64).prop_map(key_of), value), 0..10)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => changes().prop_map(Step::Durable),
        4 => changes().prop_map(Step::Bulk),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

fn open(store: &MemoryStore, pruning: StatePruning) -> ChainDb {
    ChainDb::with_store(Box::new(store.clone()), pruning, 1 << 20).unwrap()
}

/// The nodes that the kept states can reach.
fn reachable(chain: &TestChain) -> BTreeSet<Vec<u8>> {
    let mut nodes = BTreeSet::new();
    for number in chain.verify() {
        nodes.extend(read_recording(&chain.db, &chain.hashes[number]).unwrap().1);
    }
    nodes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn kept_states_are_complete_and_the_disk_holds_nothing_else(
        steps in prop::collection::vec(step(), 1..40),
        window in 1..6_u32,
        group in 1..6_u32,
    ) {
        let store = MemoryStore::new();
        let pruning = StatePruning::Keep(window);
        let bulk = CommitMode::Bulk { max_blocks: group, max_bytes: usize::MAX };
        let mut chain = TestChain::start(open(&store, pruning));
        let mut durable_only = true;
        for step in steps {
            match step {
                Step::Durable(changes) => chain.push(&changes, CommitMode::Durable).unwrap(),
                Step::Bulk(changes) => {
                    chain.push(&changes, bulk).unwrap();
                    durable_only = false;
                },
                Step::Flush => chain.db.flush().unwrap(),
                Step::Reopen => {
                    let flushed = chain.db.best();
                    chain = chain.reopened(|| open(&store, pruning));
                    prop_assert_eq!(chain.db.best(), flushed);
                },
            }
            let kept = chain.verify();
            if durable_only {
                let first = chain.hashes.len().saturating_sub(usize::try_from(window.max(2)).unwrap());
                prop_assert!(kept.into_iter().eq(first..chain.hashes.len()));
            }
        }
        chain.db.flush().unwrap();
        let nodes = reachable(&chain);
        prop_assert_eq!(nodes_on_disk(&chain.db), nodes);

        // When only the last state is left, so are only its nodes.
        for _ in 0..=window {
            chain.push(&Vec::new(), CommitMode::Durable).unwrap();
        }
        let hash = chain.db.best().1;
        prop_assert_eq!(nodes_on_disk(&chain.db), read_recording(&chain.db, &hash).unwrap().1);
        prop_assert_eq!(chain.db.pending_deaths(), 0);
    }

    #[test]
    fn an_archive_keeps_every_state(
        steps in prop::collection::vec(step(), 1..25),
        group in 1..6_u32,
    ) {
        let store = MemoryStore::new();
        let bulk = CommitMode::Bulk { max_blocks: group, max_bytes: usize::MAX };
        let mut chain = TestChain::start(open(&store, StatePruning::Archive));
        for step in steps {
            match step {
                Step::Durable(changes) => chain.push(&changes, CommitMode::Durable).unwrap(),
                Step::Bulk(changes) => chain.push(&changes, bulk).unwrap(),
                Step::Flush => chain.db.flush().unwrap(),
                Step::Reopen => chain = chain.reopened(|| open(&store, StatePruning::Archive)),
            }
        }
        prop_assert_eq!(chain.verify().len(), chain.hashes.len());
        chain.db.flush().unwrap();
        prop_assert_eq!(chain.verify().len(), chain.hashes.len());
        let nodes = reachable(&chain);
        prop_assert_eq!(nodes_on_disk(&chain.db), nodes);
    }
}

#[test]
fn a_node_that_is_born_again_outlives_its_first_death() {
    let store = MemoryStore::new();
    let pruning = StatePruning::Keep(3);
    let mut chain = TestChain::start(open(&store, pruning));
    let set = |byte: u8| vec![(key_of(100), Some(vec![byte; 100]))];
    // Dies, lives and dies in turn, with a restart between.
    for byte in [1, 2, 1, 2, 2, 1, 1, 1, 1, 1, 2, 1] {
        chain.push(&set(byte), CommitMode::Durable).unwrap();
        chain.verify();
        chain = chain.reopened(|| open(&store, pruning));
        chain.verify();
        assert_eq!(nodes_on_disk(&chain.db), reachable(&chain));
    }
}

#[test]
fn the_window_can_change_between_two_starts() {
    let store = MemoryStore::new();
    let mut random = Seeded::new(8);
    let mut chain = TestChain::start(open(&store, StatePruning::Keep(20)));
    for _ in 0..30 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    assert_eq!(chain.verify().len(), 20);
    chain = chain.reopened(|| open(&store, StatePruning::Keep(2)));
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    assert_eq!(chain.verify().len(), 2);
    assert_eq!(nodes_on_disk(&chain.db), reachable(&chain));
    chain = chain.reopened(|| open(&store, StatePruning::Keep(5)));
    for _ in 0..10 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    assert_eq!(chain.verify().len(), 5);
    assert_eq!(nodes_on_disk(&chain.db), reachable(&chain));
}

#[test]
fn an_archive_and_a_window_are_not_confused() {
    let store = MemoryStore::new();
    drop(TestChain::start(open(&store, StatePruning::Archive)));
    let error = ChainDb::with_store(Box::new(store.clone()), StatePruning::Keep(7), 0).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("archive") && text.contains('7'), "{text}");
    let error = ChainDb::with_store(Box::new(store), StatePruning::Keep(0), 0).unwrap_err();
    assert!(error.to_string().contains("at least the state"), "{error}");
}
