//! What a block changes.

use super::chain::{World, account, call, reading, tag};
use crate::{
    BlockReport, InvalidTransaction, Refusal, TransactionSource, TransactionStatus,
    TransactionValidator, Verdict,
};

#[test]
fn included_transactions_leave_and_the_next_nonces_are_ready() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(1, 1), call(1, 2)]);
    world.pool.take_events();
    assert_eq!(world.build(2).included, 2);
    assert_eq!(world.order(), [(1, 2)]);
    assert!(world.told(&call(1, 2)).is_empty());
}

#[test]
fn transaction_of_another_author_promotes_its_dependents() {
    let mut world = World::new();
    world.submit_all(&[call(1, 1)]);
    world.apply(&call(1, 0));
    world.import_report(BlockReport {
        included: vec![call(1, 0).hash()],
        provided: vec![tag(1, 0)],
        ..BlockReport::default()
    });
    assert_eq!(world.order(), [(1, 1)]);
}

#[test]
fn sender_named_by_the_node_is_validated_again() {
    let mut world = World::with(|limits| limits.revalidated_in_turn = 0);
    world.submit_all(&[call(1, 0), call(1, 1), call(2, 0)]);
    world.pool.take_events();
    world.apply(&call(1, 0));
    let outcome = world.import_report(BlockReport {
        senders: vec![account(1)],
        ..BlockReport::default()
    });
    assert_eq!((outcome.revalidated, outcome.refused), (2, 1));
    assert_eq!(world.order(), [(1, 1), (2, 0)]);
    assert!(world.told(&call(1, 1)).is_empty(), "it was ready all along");
}

#[test]
fn transaction_whose_nonce_another_one_used_is_stale() {
    let mut world = World::new();
    let (loser, winner) = (call(1, 0), call(1, 0).tip(9));
    world.submit_all(&[loser.clone(), call(1, 1)]);
    world.apply(&winner);
    world.import_report(BlockReport {
        included: vec![winner.hash()],
        provided: vec![tag(1, 0)],
        ..BlockReport::default()
    });
    assert_eq!(world.order(), [(1, 1)]);
    let stale = Refusal::Invalid(InvalidTransaction::Stale);
    assert_eq!(
        world.told(&loser),
        [TransactionStatus::Ready, TransactionStatus::Invalid(stale)]
    );
}

#[test]
fn waiting_one_is_ready_when_its_step_can_be_closed() {
    let mut world = World::new();
    world.submit_all(&[reading(1, 0).valid_from(3)]);
    world.build(0);
    assert!(world.order().is_empty());
    assert_eq!(
        world.chain.validations.get(),
        1,
        "not asked before it is due"
    );
    world.build(0);
    assert_eq!(world.order(), [(1, 0)]);
}

#[test]
fn backlog_of_a_catch_up_goes_in_step_by_step() {
    let mut world = World::new();
    for step in 1..=20_u32 {
        world.submit_all(&[
            reading(1, step - 1).valid_from(step),
            reading(2, step - 1).valid_from(step),
        ]);
    }
    for step in 1..=20 {
        assert_eq!(world.order(), [(1, step - 1), (2, step - 1)]);
        assert_eq!(world.build(100).included, 2);
    }
    assert!(world.pool.is_empty());
}

#[test]
fn transaction_is_dropped_when_its_longevity_is_over() {
    let mut world = World::new();
    let short = call(1, 0).longevity(2);
    world.submit_all(&[short.clone(), call(1, 1)]);
    world.build(0);
    // Validated again it would live longer; the second block comes without that.
    world.pool.limits.revalidated_in_turn = 0;
    world.build(0);
    assert!(world.has(&short));
    assert_eq!(world.build(0).expired, 1);
    assert_eq!(world.told(&short).last(), Some(&TransactionStatus::Dropped));
    assert!(!world.is_ready(&call(1, 1)) && world.has(&call(1, 1)));
}

/// A runtime for which it is always too early.
struct NeverYet;

impl TransactionValidator for NeverYet {
    fn validate(&self, _: TransactionSource, _: &[u8]) -> Verdict {
        Err(Refusal::Invalid(InvalidTransaction::Future))
    }
}

#[test]
fn waiting_one_is_dropped_after_its_blocks() {
    let mut pool = World::with(|limits| limits.waiting_blocks = 2).pool;
    let source = TransactionSource::External;
    let hash = pool.submit(source, call(1, 0).encode(), &NeverYet).unwrap();
    for number in 1..=2 {
        assert!(pool.contains(&hash));
        let report = BlockReport {
            number,
            ..BlockReport::default()
        };
        pool.on_block(&report, &NeverYet);
    }
    assert!(pool.is_empty());
}

#[test]
fn rest_is_validated_again_in_turn() {
    let mut world = World::with(|limits| limits.revalidated_in_turn = 2);
    for number in 1..=6 {
        world.submit_all(&[call(number, 0)]);
    }
    world.chain.banned_accounts.extend(1..=6);
    for left in [4, 2, 0] {
        assert_eq!(world.build(0).refused, 2);
        assert_eq!(world.pool.len(), left);
    }
}

#[test]
fn turn_passes_over_a_crowd_of_waiting_ones() {
    let mut world = World::with(|limits| limits.revalidated_in_turn = 2);
    for number in 1..=6 {
        world.submit_all(&[reading(number, 0).valid_from(900)]);
    }
    world.submit_all(&[call(7, 0)]);
    world.chain.banned_accounts.insert(7);
    for _ in 0..4 {
        world.build(0);
    }
    assert!(!world.has(&call(7, 0)));
}

#[test]
fn validation_after_a_block_is_bounded() {
    let mut world = World::with(|limits| {
        limits.revalidated_of_senders = 3;
        limits.revalidated_waiting = 2;
        limits.revalidated_in_turn = 0;
    });
    for nonce in 0..10 {
        world.submit_all(&[call(1, nonce)]);
    }
    for number in 2..=6 {
        world.submit_all(&[reading(number, 0).valid_from(2)]);
    }
    assert_eq!(world.build(1).revalidated, 5);
}

#[test]
fn failed_transaction_is_removed_banned_and_its_dependents_are_future() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(1, 1)]);
    let payment = Refusal::Invalid(InvalidTransaction::Payment);
    world.pool.report_invalid(&call(1, 0).hash(), payment);
    world.pool.check_invariants().unwrap();
    assert!(world.order().is_empty() && world.has(&call(1, 1)));
    assert_eq!(world.submit_in_vain(&call(1, 0)).rpc_code(), 1012);
}

#[test]
fn transaction_for_which_the_block_had_no_room_or_its_sender_no_quota_stays() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0)]);
    for of_one_block in [
        InvalidTransaction::ExhaustsResources,
        InvalidTransaction::Custom(2),
    ] {
        let refusal = Refusal::Invalid(of_one_block);
        world.pool.report_invalid(&call(1, 0).hash(), refusal);
        assert!(world.is_ready(&call(1, 0)));
    }
}

#[test]
fn waiting_ones_of_an_account_are_counted() {
    let mut world = World::new();
    world.submit_all(&[
        reading(1, 0),
        reading(1, 1).valid_from(9),
        reading(2, 0).valid_from(9),
    ]);
    assert_eq!(world.pool.ready_count_of(&[1; 32]), 1);
    assert_eq!(world.pool.waiting_count_of(&[1; 32]), 1);
    assert_eq!(world.pool.waiting_count_of(&[3; 32]), 0);
}

#[test]
fn transaction_that_was_too_early_in_the_block_gets_another_chance() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0), call(1, 1)]);
    let future = Refusal::Invalid(InvalidTransaction::Future);
    world.pool.report_invalid(&call(1, 0).hash(), future);
    world.pool.check_invariants().unwrap();
    assert_eq!(world.pool.status().waiting.other, 1);
    assert!(world.order().is_empty());
    world.build(0);
    assert_eq!(world.order(), [(1, 0), (1, 1)]);
}

#[test]
fn removed_transaction_may_come_again() {
    let mut world = World::new();
    let tx = call(1, 0);
    world.submit_all(&[tx.clone(), call(1, 1)]);
    assert_eq!(world.pool.remove(&tx.hash()).unwrap().hash, tx.hash());
    assert!(world.pool.remove(&tx.hash()).is_none());
    assert!(!world.is_ready(&call(1, 1)));
    world.submit_all(&[tx]);
    assert_eq!(world.order(), [(1, 0), (1, 1)]);
}
