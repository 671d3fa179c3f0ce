//! What watchers are told.

use super::chain::{World, block_hash, call};
use crate::{PoolEvent, TransactionStatus};

#[test]
fn life_of_a_transaction_is_told_up_to_finality() {
    let mut world = World::new();
    let tx = call(1, 1);
    world.submit_all(&[tx.clone(), call(1, 0)]);
    world.build(2);
    world.pool.on_finalized(block_hash(1), &[tx.hash()]);
    let told = world.told(&tx);
    let expected = [
        TransactionStatus::Future,
        TransactionStatus::Ready,
        TransactionStatus::InBlock(block_hash(1)),
        TransactionStatus::Finalized(block_hash(1)),
    ];
    assert_eq!(told, expected);
    assert!(told[3].is_last() && !told[2].is_last());
}

#[test]
fn events_are_given_out_once() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0)]);
    let hash = call(1, 0).hash();
    let status = TransactionStatus::Ready;
    assert_eq!(world.pool.take_events(), [PoolEvent { hash, status }]);
    assert!(world.pool.take_events().is_empty());
}

#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut world = World::with(|limits| limits.events = 2);
    world.submit_all(&[call(1, 0), call(2, 0), call(3, 0)]);
    let hashes: Vec<_> = world
        .pool
        .take_events()
        .into_iter()
        .map(|event| event.hash)
        .collect();
    assert_eq!(hashes, [call(2, 0).hash(), call(3, 0).hash()]);
}
