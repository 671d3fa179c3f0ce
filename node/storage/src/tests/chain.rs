//! The chain database on both back ends.

use std::sync::atomic::{AtomicBool, Ordering};

use sp_core::H256;
use sp_state_machine::backend::Backend;

use super::helpers::{
    Seeded, TestChain, build_block, extrinsic_hash, genesis, key_of, nodes_on_disk,
    on_both_back_ends, open, read_recording,
};
use crate::{CommitMode, DatabaseKind, StateError, StatePruning, StorageError};

const PRUNING: StatePruning = StatePruning::Keep(6);

fn blocks_and_states_survive_reopening(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(11);
    let mut chain = TestChain::start(open(folder.path(), kind, PRUNING));
    for _ in 0..12 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
        assert_eq!(chain.db.durable_number(), chain.db.best().0);
    }
    assert_eq!(chain.verify(), (7..=12).collect::<Vec<_>>());
    chain = chain.reopened(|| open(folder.path(), kind, PRUNING));
    assert_eq!(chain.verify(), (7..=12).collect::<Vec<_>>());
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    chain.db.check_integrity().unwrap();
    assert!(chain.db.disk_usage().unwrap() > 0);
}

fn groups_are_readable_at_once_and_durable_after_a_flush(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(12);
    let mut chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let mode = CommitMode::Bulk {
        max_blocks: 5,
        max_bytes: usize::MAX,
    };
    for number in 1..=23 {
        chain.push(&random.changes(), mode).unwrap();
        chain.verify();
        assert_eq!(chain.db.best().0, number);
        assert!(chain.db.durable_number() <= number);
        assert_eq!(chain.db.durable_number() % 5, 0);
    }
    chain.db.flush().unwrap();
    assert_eq!(chain.db.durable_number(), 23);
    // The states at the ends of the groups, as far as they are in the window.
    assert_eq!(chain.verify(), [20, 23]);
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    assert_eq!(chain.verify(), [20, 23, 24]);
    // Dropping flushes, too.
    chain.push(&random.changes(), mode).unwrap();
    chain = chain.reopened(|| open(folder.path(), kind, PRUNING));
    assert_eq!(chain.db.best().0, 25);
    chain.verify();
    chain.db.check_integrity().unwrap();
}

fn both_modes_end_in_the_same_nodes(kind: DatabaseKind) {
    let mut ends = Vec::new();
    for mode in [
        CommitMode::Durable,
        CommitMode::Bulk {
            max_blocks: 7,
            max_bytes: 20_000,
        },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Seeded::new(13);
        let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Keep(1)));
        for _ in 0..40 {
            chain.push(&random.changes(), mode).unwrap();
        }
        // Two blocks that change nothing: then all kept states are the same.
        for _ in 0..2 {
            chain.push(&vec![], CommitMode::Durable).unwrap();
        }
        let hash = chain.db.best().1;
        let nodes = nodes_on_disk(&chain.db);
        assert_eq!(nodes, read_recording(&chain.db, &hash).unwrap().1);
        ends.push((hash, nodes));
    }
    assert_eq!(ends[0], ends[1]);
}

fn only_the_child_of_the_best_block_is_accepted(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let mut random = Seeded::new(14);
    let sibling = chain.build(&random.changes(), vec![]);
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    let best = chain.db.best();
    for mode in [CommitMode::Durable, CommitMode::bulk()] {
        let again = crate::NewBlock {
            block: sibling.block.clone(),
            hash: sibling.hash,
            state_changes: sibling.state_changes.clone(),
            values: vec![],
            extrinsic_hashes: vec![],
        };
        let error = chain.db.commit_block(again, mode).unwrap_err();
        assert!(matches!(
            error,
            StorageError::NotChildOfBest {
                number: 1,
                best_number: 1,
                ..
            }
        ));
    }
    let mut wrong_hash = chain.build(&random.changes(), vec![]);
    wrong_hash.hash = H256::zero();
    let mut wrong_count = chain.build(&random.changes(), vec![]);
    wrong_count.extrinsic_hashes.push(H256::zero());
    let mut no_state = chain.build(&vec![(key_of(500), Some(vec![1]))], vec![]);
    no_state.state_changes = Default::default();
    for block in [wrong_hash, wrong_count, no_state] {
        let error = chain
            .db
            .commit_block(block, CommitMode::Durable)
            .unwrap_err();
        assert!(
            matches!(error, StorageError::InvalidBlock { number: 2, .. }),
            "{error}"
        );
    }
    assert_eq!(chain.db.best(), best);
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    chain.verify();
}

fn unknown_and_discarded_states_are_told_apart(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Keep(2)));
    let mut random = Seeded::new(15);
    for _ in 0..4 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    let unknown = chain.db.state_at(&H256::repeat_byte(1)).err().unwrap();
    assert!(matches!(unknown, StateError::UnknownBlock { .. }));
    let discarded = chain.db.state_at(&chain.hashes[2]).err().unwrap();
    assert!(matches!(
        discarded,
        StateError::StateDiscarded { number: 2, .. }
    ));
    assert!(
        discarded.to_string().contains("blocks 3 and 4"),
        "{discarded}"
    );
}

fn a_state_that_leaves_the_window_while_it_is_read_gives_errors(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = TestChain::start(open(folder.path(), kind, StatePruning::Keep(1)));
    let value = |byte: u8| vec![(key_of(1), Some(vec![byte; 200]))];
    chain.push(&value(1), CommitMode::Durable).unwrap();
    let state = chain.db.state_at(&chain.hashes[1]).unwrap();
    for byte in 2..5 {
        chain.push(&value(byte), CommitMode::Durable).unwrap();
    }
    match state.storage(&key_of(1)) {
        Ok(Some(read)) => assert_eq!(read, vec![1; 200], "from the cache"),
        Ok(None) => panic!("the value seems never to have been there"),
        Err(_) => (),
    }
}

fn justifications_and_proofs_of_sets_can_be_added_later(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let mut random = Seeded::new(16);
    let mode = CommitMode::Bulk {
        max_blocks: 2,
        max_bytes: usize::MAX,
    };
    chain.push(&random.changes(), CommitMode::Durable).unwrap();
    for _ in 0..3 {
        chain.push(&random.changes(), mode).unwrap();
    }
    // Genesis and block 1 are on disk, 2 and 3 perhaps on their way, 4 is collected.
    for (number, hash) in chain.hashes.clone().iter().enumerate() {
        let justification = vec![u8::try_from(number).unwrap(); 10_000];
        chain
            .db
            .set_justification(hash, justification.clone())
            .unwrap();
        assert_eq!(chain.db.justification(hash).unwrap(), Some(justification));
        assert_eq!(chain.db.set_proof(hash).unwrap(), None);
        let proof = vec![u8::try_from(number).unwrap(); 100];
        chain.db.keep_set_proof(hash, proof.clone()).unwrap();
        assert_eq!(chain.db.set_proof(hash).unwrap(), Some(proof));
    }
    let unknown = chain.db.set_justification(&H256::repeat_byte(1), vec![]);
    assert!(matches!(unknown, Err(StorageError::UnknownBlock { .. })));
    chain = chain.reopened(|| open(folder.path(), kind, PRUNING));
    for (number, hash) in chain.hashes.iter().enumerate() {
        let read = chain.db.justification(hash).unwrap().unwrap();
        assert_eq!(read, vec![u8::try_from(number).unwrap(); 10_000]);
        let read = chain.db.set_proof(hash).unwrap().unwrap();
        assert_eq!(read, vec![u8::try_from(number).unwrap(); 100]);
    }
}

fn big_bodies_are_stored(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let body: Vec<Vec<u8>> = (0..6_u8).map(|byte| vec![byte; 1_000_000]).collect();
    for mode in [CommitMode::Durable, CommitMode::bulk()] {
        let block = chain.build(&vec![], body.clone());
        let hash = block.hash;
        chain.db.commit_block(block, mode).unwrap();
        chain.db.flush().unwrap();
        assert!(chain.db.body(&hash).unwrap() == Some(body.clone()));
        let found = chain.db.find_extrinsic(&extrinsic_hash(&body[5])).unwrap();
        assert_eq!(found, Some((chain.db.best().0, 5)));
    }
}

fn unknown_blocks_and_extrinsics_are_none(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let unknown = H256::repeat_byte(3);
    assert_eq!(chain.db.header(&unknown).unwrap(), None);
    assert_eq!(chain.db.block(&unknown).unwrap(), None);
    assert_eq!(chain.db.body(&unknown).unwrap(), None);
    assert_eq!(chain.db.justification(&unknown).unwrap(), None);
    assert_eq!(chain.db.hash_of(1).unwrap(), None);
    assert_eq!(chain.db.find_extrinsic(&unknown).unwrap(), None);
}

fn an_empty_database_says_so(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), kind, PRUNING);
    assert!(!db.is_initialized());
    assert_eq!(db.best(), (0, H256::zero()));
    let unverified = db.verify_genesis(&H256::zero());
    assert!(matches!(unverified, Err(StorageError::NotInitialized)));
    let (header, state) = genesis(&[(key_of(1), vec![1; 50])].into());
    let mut other = header.clone();
    other.number = 1;
    let refused = db.initialize(other, state.clone());
    assert!(matches!(refused, Err(StorageError::InvalidBlock { .. })));
    let refused = db.initialize(header.clone(), Default::default());
    assert!(matches!(refused, Err(StorageError::InvalidBlock { .. })));
    db.initialize(header.clone(), state.clone()).unwrap();
    let again = db.initialize(header, state);
    assert!(matches!(
        again,
        Err(StorageError::AlreadyInitialized { .. })
    ));
}

fn a_database_of_another_chain_is_refused(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let genesis = chain.hashes[0];
    chain.db.verify_genesis(&genesis).unwrap();
    let other = H256::repeat_byte(0xab);
    let text = chain.db.verify_genesis(&other).unwrap_err().to_string();
    assert!(text.contains("another chain"), "{text}");
    assert!(text.contains(&format!("{genesis:?}")) && text.contains(&format!("{other:?}")));
}

fn readers_beside_the_writer_always_find_whole_blocks(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let chain = TestChain::start(open(folder.path(), kind, StatePruning::Archive));
    let is_done = AtomicBool::new(false);
    let db = &chain.db;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let (number, hash) = db.best();
                let block = db.block(&hash).unwrap().expect("the best block is there");
                assert_eq!(block.header.number, number);
                let state = db.state_at(&hash).unwrap();
                let read = state.storage(b"number").unwrap();
                assert_eq!(read, (number > 0).then(|| number.to_le_bytes().to_vec()));
                assert_eq!(db.hash_of(number).unwrap(), Some(hash));
            }
        });
        let mut random = Seeded::new(17);
        for number in 1..=150_u32 {
            let mut changes = random.changes();
            changes.push((b"number".to_vec(), Some(number.to_le_bytes().to_vec())));
            let mode = match number % 50 {
                0 => CommitMode::Durable,
                _ => CommitMode::Bulk {
                    max_blocks: 4,
                    max_bytes: usize::MAX,
                },
            };
            db.commit_block(build_block(db, &changes, vec![]), mode)
                .unwrap();
        }
        is_done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

on_both_back_ends!(
    blocks_and_states_survive_reopening,
    groups_are_readable_at_once_and_durable_after_a_flush,
    both_modes_end_in_the_same_nodes,
    only_the_child_of_the_best_block_is_accepted,
    unknown_and_discarded_states_are_told_apart,
    a_state_that_leaves_the_window_while_it_is_read_gives_errors,
    justifications_and_proofs_of_sets_can_be_added_later,
    big_bodies_are_stored,
    unknown_blocks_and_extrinsics_are_none,
    an_empty_database_says_so,
    a_database_of_another_chain_is_refused,
    readers_beside_the_writer_always_find_whole_blocks,
);
