//! Two transactions of the same nonce.

use super::chain::{World, call, reading};
use crate::{PoolError, TransactionStatus};

#[test]
fn higher_priority_replaces_the_same_nonce() {
    let mut world = World::new();
    let (old, new) = (call(1, 0), call(1, 0).tip(1));
    world.submit_all(&[old.clone(), new.clone()]);
    assert!(!world.has(&old) && world.is_ready(&new));
    let usurped = TransactionStatus::Usurped(new.hash());
    assert_eq!(world.told(&old), [TransactionStatus::Ready, usurped]);
}

#[test]
fn equal_or_lower_priority_does_not_replace() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0).tip(5)]);
    let error = world.submit_in_vain(&call(1, 0).tip(5).bytes(50));
    assert_eq!(error, PoolError::TooLowPriority { old: 5, new: 5 });
    assert_eq!(error.rpc_code(), 1014);
    let error = world.submit_in_vain(&call(1, 0).tip(4));
    assert_eq!(error, PoolError::TooLowPriority { old: 5, new: 4 });
}

#[test]
fn dependents_stay_ready_when_their_provider_is_replaced() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(1, 1), call(1, 2)]);
    world.pool.take_events();
    world.submit_all(&[call(1, 0).tip(3)]);
    assert_eq!(world.order(), [(1, 0), (1, 1), (1, 2)]);
    assert!(world.told(&call(1, 1)).is_empty());
}

#[test]
fn future_one_is_replaced_too() {
    let mut world = World::new();
    world.submit_all(&[call(1, 1), call(1, 1).tip(3)]);
    assert_eq!(world.pool.status().future.other, 1);
}

#[test]
fn replacement_in_a_full_pool_needs_no_other_victim() {
    let mut world = World::with(|limits| limits.transactions = 2);
    world.submit_all(&[call(1, 0), call(2, 0), call(1, 0).tip(1)]);
    assert_eq!(world.order(), [(1, 0), (2, 0)]);
}

#[test]
fn waiting_one_that_becomes_valid_yields_to_a_stronger_one() {
    let mut world = World::new();
    let weak = reading(1, 0).valid_from(2).tip(1);
    let strong = reading(1, 0).tip(2);
    world.submit_all(&[weak.clone(), strong.clone()]);
    world.build(0);
    let usurped = TransactionStatus::Usurped(strong.hash());
    assert_eq!(world.told(&weak), [TransactionStatus::Future, usurped]);
    assert!(world.is_ready(&strong));
}

#[test]
fn waiting_one_that_becomes_valid_replaces_a_weaker_one() {
    let mut world = World::new();
    let weak = reading(1, 0).tip(1);
    let strong = reading(1, 0).valid_from(2).tip(2);
    world.submit_all(&[weak.clone(), strong.clone()]);
    world.build(0);
    assert!(!world.has(&weak) && world.is_ready(&strong));
}
