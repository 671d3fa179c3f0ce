//! The order of building.

use super::chain::{World, call, evidence, reading};

#[test]
fn lanes_go_before_priorities() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0).tip(99), reading(2, 0).tip(5), evidence(3, 0)]);
    assert_eq!(world.order(), [(3, 0), (2, 0), (1, 0)]);
}

#[test]
fn higher_priority_goes_first_then_earlier_arrival() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(2, 0).tip(1), call(3, 0)]);
    assert_eq!(world.order(), [(2, 0), (1, 0), (3, 0)]);
}

#[test]
fn nonces_stay_in_order_whatever_the_priorities() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(1, 1).tip(50), call(2, 0).tip(5)]);
    assert_eq!(world.order(), [(2, 0), (1, 0), (1, 1)]);
}

#[test]
fn reading_behind_another_call_of_its_sender_waits_for_it() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), reading(1, 1), reading(2, 0), call(3, 0)]);
    assert_eq!(world.order(), [(2, 0), (1, 0), (1, 1), (3, 0)]);
}

#[test]
fn future_and_waiting_ones_are_not_built() {
    let mut world = World::new();
    world.submit_all(&[call(1, 1), reading(2, 0).valid_from(5), call(3, 0)]);
    assert_eq!(world.order(), [(3, 0)]);
    assert_eq!(world.pool.pending().count(), 3);
}

#[test]
fn builder_can_skip_what_depends_on_a_failed_transaction() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0).tip(9), call(1, 1), call(1, 2), call(2, 0)]);
    let mut ready = world.pool.ready();
    assert_eq!(ready.next().unwrap().hash, call(1, 0).tip(9).hash());
    ready.skip_dependents();
    let rest: Vec<_> = ready.map(|tx| tx.hash).collect();
    assert_eq!(rest, [call(2, 0).hash()]);
}
