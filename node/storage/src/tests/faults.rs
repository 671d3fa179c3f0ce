//! Full disks and power losses at every point, and at random ones.

use super::{
    helpers::{Seeded, TestChain, nodes_on_disk, read_recording},
    memory_store::{Fault, MemoryStore},
};
use crate::{ChainDb, CommitMode, StatePruning, StorageError};

const PRUNING: StatePruning = StatePruning::Keep(4);

fn open(store: &MemoryStore, pruning: StatePruning) -> ChainDb {
    ChainDb::with_store(Box::new(store.clone()), pruning, 1 << 20).unwrap()
}

/// Runs 24 blocks in changing modes until the first error; returns the last acknowledged height.
fn run(chain: &mut TestChain, random: &mut Seeded) -> Result<(), (StorageError, u32)> {
    let mut acknowledged = chain.db.durable_number();
    for _ in 0..24 {
        let mode = match random.below(3) {
            0 => CommitMode::Durable,
            1 => CommitMode::Bulk {
                max_blocks: 3,
                max_bytes: usize::MAX,
            },
            _ => CommitMode::Bulk {
                max_blocks: 100,
                max_bytes: 2_000,
            },
        };
        let changes = random.changes();
        let result = chain.push(&changes, mode);
        if result.is_ok() && mode == CommitMode::Durable {
            acknowledged = chain.db.best().0;
            assert_eq!(chain.db.durable_number(), acknowledged);
        }
        let result = match random.below(8) {
            0 => result.and_then(|()| chain.db.flush()),
            _ => result,
        };
        acknowledged = acknowledged.max(chain.db.durable_number());
        result.map_err(|error| (error, acknowledged))?;
    }
    chain.db.flush().map_err(|error| (error, acknowledged))
}

fn verify_stopped(chain: &mut TestChain, random: &mut Seeded) {
    // The view in memory is whole: everything up to the best block reads as before.
    chain.verify();
    let best = chain.db.best();
    let changes = random.changes();
    for mode in [CommitMode::Durable, CommitMode::bulk()] {
        match chain.push(&changes, mode) {
            Err(StorageError::Stopped { durable_number, .. }) => {
                assert_eq!(durable_number, chain.db.durable_number());
            }
            other => panic!("a block was accepted after a failed write: {other:?}"),
        }
    }
    assert!(matches!(
        chain.db.flush(),
        Err(StorageError::Stopped { .. })
    ));
    assert!(chain.db.set_justification(&best.1, vec![1]).is_err());
    assert_eq!(chain.db.best(), best);
    assert!(chain.db.failure().is_some());
}

fn run_with_fault(seed: u64, pruning: StatePruning, fault: Fault) {
    let store = MemoryStore::new();
    let mut random = Seeded::new(seed);
    let mut chain = TestChain::start(open(&store, pruning));
    store.plan(fault);
    let result = run(&mut chain, &mut random);
    let acknowledged = match result {
        Ok(()) => chain.db.best().0,
        Err((_, acknowledged)) => {
            verify_stopped(&mut chain, &mut random);
            acknowledged
        }
    };
    let after = store.restart();
    let mut chain = chain.reopened(|| open(&after, pruning));
    assert!(
        chain.db.best().0 >= acknowledged,
        "seed {seed}, {fault:?}: {acknowledged} was lost"
    );
    assert_eq!(chain.db.best().0, chain.db.durable_number());
    chain.verify();
    chain.db.check_integrity().unwrap();
    // The next blocks come, and no node is left over in the end.
    run(&mut chain, &mut random).unwrap();
    verify_nodes_on_disk(&chain);
}

fn verify_nodes_on_disk(chain: &TestChain) {
    let kept = chain.verify();
    let mut reachable = std::collections::BTreeSet::new();
    for number in kept {
        reachable.extend(read_recording(&chain.db, &chain.hashes[number]).unwrap().1);
    }
    assert_eq!(nodes_on_disk(&chain.db), reachable);
}

fn count_operations(seed: u64, pruning: StatePruning) -> u64 {
    let store = MemoryStore::new();
    let mut chain = TestChain::start(open(&store, pruning));
    store.plan(Fault::None);
    run(&mut chain, &mut Seeded::new(seed)).unwrap();
    store.operations()
}

#[test]
fn a_full_disk_at_any_commit_stops_writing_and_loses_nothing() {
    for seed in [1, 2, 3] {
        for operation in 0..count_operations(seed, PRUNING) {
            run_with_fault(seed, PRUNING, Fault::DiskFull { operation });
        }
    }
}

#[test]
fn power_loss_at_any_point_loses_no_acknowledged_block() {
    for seed in [4, 5] {
        for operation in 0..count_operations(seed, PRUNING) {
            run_with_fault(seed, PRUNING, Fault::PowerLoss { operation });
            run_with_fault(seed, PRUNING, Fault::LatePowerLoss { operation });
        }
    }
}

#[test]
fn power_loss_at_random_points_of_random_chains_loses_no_acknowledged_block() {
    for seed in 100..160 {
        let mut random = Seeded::new(seed);
        let pruning = match random.below(5) {
            0 => StatePruning::Archive,
            window => StatePruning::Keep(u32::try_from(window).unwrap()),
        };
        let operation = random.below(50);
        run_with_fault(seed, pruning, Fault::PowerLoss { operation });
    }
}

#[test]
fn a_group_that_is_not_flushed_is_lost_as_a_whole() {
    let store = MemoryStore::new();
    let mut random = Seeded::new(6);
    let mut chain = TestChain::start(open(&store, PRUNING));
    for _ in 0..3 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    for _ in 0..5 {
        chain.push(&random.changes(), CommitMode::bulk()).unwrap();
    }
    assert_eq!((chain.db.best().0, chain.db.durable_number()), (8, 3));
    chain.verify();
    store.plan(Fault::PowerLoss { operation: 0 });
    assert!(chain.db.flush().is_err());
    assert!(store.has_no_power());
    let after = store.restart();
    let chain = chain.reopened(|| open(&after, PRUNING));
    assert_eq!(chain.db.best().0, 3);
    chain.verify();
}

#[test]
fn a_failed_genesis_leaves_an_empty_database() {
    let store = MemoryStore::new();
    store.plan(Fault::DiskFull { operation: 0 });
    let db = open(&store, PRUNING);
    let (header, state) = super::helpers::genesis(&Default::default());
    assert!(matches!(
        db.initialize(header.clone(), state.clone()),
        Err(StorageError::Store(_))
    ));
    assert!(!db.is_initialized());
    let db = open(&store.restart(), PRUNING);
    assert!(!db.is_initialized());
    db.initialize(header, state).unwrap();
}
