//! Going back: what is left is what was there before, on disk and in memory.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    helpers::{
        Changes, Seeded, TestChain, key_of, nodes_on_disk, on_both_back_ends, open, read_recording,
    },
    memory_store::{Fault, MemoryStore},
};
use crate::{ChainDb, CommitMode, DatabaseKind, OpenError, StateError, StatePruning};

fn open_memory(store: &MemoryStore, pruning: StatePruning) -> ChainDb {
    ChainDb::with_store(Box::new(store.clone()), pruning, 1 << 20).unwrap()
}

impl TestChain {
    /// Takes the newest commit back and forgets what it held; returns whether there was a state to go back to.
    fn revert(&mut self) -> bool {
        let before = self.db.best();
        match self.db.revert_last() {
            Ok(number) => {
                assert!(number < before.0);
                self.forget_lost_blocks();
                assert_eq!(self.db.best().0, number);
                assert_eq!(self.db.durable_number(), number);
                assert_eq!(self.db.block(&before.1).unwrap(), None);
                assert!(self.db.state_at(&before.1).is_err());
                true
            }
            Err(StateError::StateDiscarded { .. }) => {
                assert_eq!(self.db.best(), before);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn verify_nodes_on_disk(&self) {
        let mut reachable = BTreeSet::new();
        for number in self.verify() {
            reachable.extend(read_recording(&self.db, &self.hashes[number]).unwrap().1);
        }
        assert_eq!(nodes_on_disk(&self.db), reachable);
    }
}

fn a_reverted_chain_goes_on_from_the_earlier_block(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let pruning = StatePruning::Keep(6);
    let mut random = Seeded::new(31);
    let mut chain = TestChain::start(open(folder.path(), kind, pruning));
    for _ in 0..12 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    for expected in [11, 10, 9, 8] {
        assert!(chain.revert());
        assert_eq!(chain.db.best().0, expected);
        chain.verify_nodes_on_disk();
    }
    chain = chain.reopened(|| open(folder.path(), kind, pruning));
    assert_eq!(chain.verify(), [7, 8]);
    chain.db.check_integrity().unwrap();
    for _ in 0..9 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
        chain.verify_nodes_on_disk();
    }
    assert_eq!(chain.db.best().0, 17);
    chain.db.check_integrity().unwrap();
}

fn nothing_is_reverted_beyond_the_states_that_are_kept(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(32);
    let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Keep(3)));
    assert!(!chain.revert(), "block 0 has none before it");
    for _ in 0..8 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    assert_eq!(chain.db.kept_states(), Some(vec![6, 7, 8]));
    assert!(chain.revert() && chain.revert());
    assert!(!chain.revert());
    assert_eq!(chain.verify(), [6]);
    chain.verify_nodes_on_disk();
}

fn a_group_is_reverted_as_a_whole(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(33);
    let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Keep(50)));
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    for _ in 0..5 {
        chain.push(&random.changes(), CommitMode::bulk()).unwrap();
    }
    // What is collected is written first, so that there is one order of things.
    assert!(chain.revert());
    assert_eq!(chain.verify(), [0, 1]);
    chain.verify_nodes_on_disk();
}

fn an_archive_goes_back_to_its_genesis(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(34);
    let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Archive));
    for _ in 0..6 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    assert_eq!(chain.db.kept_states(), None);
    while chain.revert() {
        chain.verify();
    }
    assert_eq!(chain.db.best().0, 0);
    for _ in 0..3 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    assert_eq!(chain.verify(), [0, 1, 2, 3]);
    chain.db.check_integrity().unwrap();
}

fn a_database_is_opened_as_it_is(kind: DatabaseKind) {
    for pruning in [StatePruning::Keep(4), StatePruning::Archive] {
        let folder = tempfile::tempdir().unwrap();
        let missing = ChainDb::open_as_it_is(folder.path()).unwrap_err();
        assert!(matches!(missing, OpenError::NoDatabase { .. }), "{missing}");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "looking makes nothing"
        );
        let mut random = Seeded::new(35);
        let mut chain = TestChain::start(open(folder.path(), kind, pruning));
        for _ in 0..6 {
            chain.push(&random.changes(), CommitMode::Durable).unwrap();
        }
        let kept = chain.verify();
        chain = chain.reopened(|| ChainDb::open_as_it_is(folder.path()).unwrap());
        assert_eq!(chain.db.kind(), Some(kind));
        assert_eq!(chain.verify(), kept);
        assert!(chain.revert());
        chain = chain.reopened(|| open(folder.path(), kind, pruning));
        assert_eq!(chain.db.best().0, 5);
        chain.verify();
    }
}

#[derive(Clone, Debug)]
enum Act {
    Durable(Changes),
    Bulk(Changes),
    Revert,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let value = prop_oneof![
        Just(None),
        (0..3_u8).prop_map(|byte| Some(vec![byte; 8])),
        (0..3_u8).prop_map(|byte| Some(vec![byte; 90])),
    ];
    let changes = || prop::collection::vec(((0..40_u64).prop_map(key_of), value.clone()), 0..10);
    prop_oneof![
        5 => changes().prop_map(Act::Durable),
        2 => changes().prop_map(Act::Bulk),
        3 => Just(Act::Revert),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn however_often_a_chain_goes_back_the_disk_holds_what_its_states_need(
        acts in prop::collection::vec(act(), 1..50),
        window in 1..7_u32,
        group in 1..4_u32,
    ) {
        let store = MemoryStore::new();
        let pruning = StatePruning::Keep(window);
        let bulk = CommitMode::Bulk { max_blocks: group, max_bytes: usize::MAX };
        let mut chain = TestChain::start(open_memory(&store, pruning));
        for act in acts {
            match act {
                Act::Durable(changes) => chain.push(&changes, CommitMode::Durable).unwrap(),
                Act::Bulk(changes) => chain.push(&changes, bulk).unwrap(),
                Act::Revert => { chain.revert(); },
                Act::Reopen => chain = chain.reopened(|| open_memory(&store, pruning)),
            }
            chain.verify();
        }
        chain.db.flush().unwrap();
        chain.verify_nodes_on_disk();
        chain.db.check_integrity().unwrap();
        // When only the last state is left, so are only its nodes.
        for _ in 0..=window {
            chain.push(&Vec::new(), CommitMode::Durable).unwrap();
        }
        let hash = chain.db.best().1;
        prop_assert_eq!(nodes_on_disk(&chain.db), read_recording(&chain.db, &hash).unwrap().1);
        prop_assert_eq!(chain.db.pending_deaths(), 0);
    }
}

#[test]
fn a_crash_while_reverting_leaves_the_commit_whole_or_gone() {
    for seed in 40..48 {
        for operation in 0..2 {
            for fault in [
                Fault::DiskFull { operation },
                Fault::PowerLoss { operation },
                Fault::LatePowerLoss { operation },
            ] {
                let store = MemoryStore::new();
                let pruning = StatePruning::Keep(5);
                let mut random = Seeded::new(seed);
                let mut chain = TestChain::start(open_memory(&store, pruning));
                for _ in 0..9 {
                    chain.push(&random.changes(), CommitMode::Durable).unwrap();
                }
                store.plan(fault);
                assert!(chain.db.revert_last().is_err());
                assert!(chain.db.failure().is_some());
                let after = store.restart();
                let mut chain = chain.reopened(|| open_memory(&after, pruning));
                assert!([8, 9].contains(&chain.db.best().0), "{fault:?}");
                chain.verify_nodes_on_disk();
                chain.db.check_integrity().unwrap();
                assert!(chain.revert());
                chain.push(&random.changes(), CommitMode::Durable).unwrap();
                chain.verify_nodes_on_disk();
            }
        }
    }
}

on_both_back_ends!(
    a_reverted_chain_goes_on_from_the_earlier_block,
    nothing_is_reverted_beyond_the_states_that_are_kept,
    a_group_is_reverted_as_a_whole,
    an_archive_goes_back_to_its_genesis,
    a_database_is_opened_as_it_is,
);
