//! Who gets in.

use super::chain::{World, account, call, evidence, reading, tag};
use crate::{
    BlockReport, InvalidTransaction, Lane, PoolError, Refusal, TransactionSource,
    TransactionStatus, TransactionValidator, UnknownTransaction, hash_of,
};

#[test]
fn valid_transaction_becomes_ready() {
    let mut world = World::new();
    let tx = call(1, 0);
    assert_eq!(world.submit(&tx), Ok(hash_of(&tx.encode())));
    assert!(world.is_ready(&tx));
    assert_eq!(world.pool.ready_count_of(&account(1)), 1);
    assert_eq!(world.pool.status().bytes, tx.encode().len());
}

#[test]
fn transaction_after_a_gap_is_future_until_the_gap_is_filled() {
    let mut world = World::new();
    world.submit_all(&[call(1, 2), call(1, 1)]);
    assert!(world.order().is_empty());
    assert_eq!(world.pool.status().future.other, 2);
    world.submit_all(&[call(1, 0)]);
    assert_eq!(world.order(), [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn same_transaction_twice_is_already_imported() {
    let mut world = World::new();
    let tx = call(1, 0);
    world.submit_all(std::slice::from_ref(&tx));
    let error = world.submit_in_vain(&tx);
    assert_eq!(error, PoolError::AlreadyImported(tx.hash()));
    assert_eq!(error.rpc_code(), 1013);
}

#[test]
fn transaction_of_a_recent_block_is_already_included() {
    let mut world = World::new();
    let tx = call(1, 0);
    world.submit_all(std::slice::from_ref(&tx));
    world.build(1);
    let error = world.submit_in_vain(&tx);
    let hash = tx.hash();
    assert_eq!(error, PoolError::AlreadyIncluded { hash, number: 1 });
}

#[test]
fn invalid_transaction_is_refused_with_cause_and_mend() {
    let mut world = World::new();
    world.chain.nonces.insert(1, 5);
    let error = world.submit_in_vain(&call(1, 3));
    let stale = Refusal::Invalid(InvalidTransaction::Stale);
    assert_eq!(error, PoolError::Invalid(stale));
    assert_eq!(error.rpc_code(), 1010);
    assert!(error.cause().contains("system_accountNextIndex"));
}

#[test]
fn explanation_of_the_validator_reaches_the_client() {
    let mut world = World::new();
    let explained = Refusal::Explained {
        invalid: InvalidTransaction::BadSigner,
        cause: "account not registered: ask the DSO".into(),
    };
    let source = TransactionSource::External;
    let result = world
        .pool
        .insert(source, call(1, 0).encode(), Err(explained), 0);
    let error = result.unwrap_err();
    assert_eq!(
        (error.rpc_code(), error.rpc_message()),
        (1010, "Invalid Transaction")
    );
    assert_eq!(error.cause(), "account not registered: ask the DSO");
    let again = world.submit_in_vain(&call(1, 0));
    assert_eq!(again.rpc_code(), 1012);
    assert!(again.cause().contains("ask the DSO"));
}

#[test]
fn malformed_bytes_are_refused_as_invalid() {
    let mut world = World::new();
    let result = world
        .pool
        .submit(TransactionSource::External, &b"\xff"[..], &world.chain);
    assert_eq!(result.unwrap_err().rpc_code(), 1010);
}

#[test]
fn unknown_validity_is_refused_without_a_ban() {
    let mut world = World::new();
    let tx = call(1, 0);
    let unknown = Refusal::Unknown(UnknownTransaction::CannotLookup);
    let source = TransactionSource::External;
    let result = world.pool.insert(source, tx.encode(), Err(unknown), 0);
    assert_eq!(result.unwrap_err().rpc_code(), 1011);
    world.submit_all(&[tx]);
}

#[test]
fn oversized_extrinsic_is_refused_before_validation() {
    let mut world = World::with(|limits| limits.extrinsic_bytes = 100);
    let error = world.submit_in_vain(&call(1, 0).bytes(101));
    let (bytes, bytes_max) = (101, 100);
    assert_eq!(error, PoolError::TooLarge { bytes, bytes_max });
    assert_eq!(world.chain.validations.get(), 0);
}

#[test]
fn transaction_without_tags_is_refused() {
    let mut world = World::new();
    let tx = call(1, 0).encode();
    let source = TransactionSource::External;
    let mut checked = world.chain.validate(source, &tx).unwrap();
    checked.validity.provides.clear();
    let result = world.pool.insert(source, tx, Ok(checked), 0);
    assert_eq!(result, Err(PoolError::NoTags));
}

#[test]
fn lasting_refusal_is_banned_for_some_blocks() {
    let mut world = World::with(|limits| limits.ban_blocks = 2);
    world.chain.nonces.insert(1, 5);
    world.submit_in_vain(&call(1, 3));
    let error = world.submit_in_vain(&call(1, 3));
    assert!(matches!(
        error,
        PoolError::TemporarilyBanned { until: 2, .. }
    ));
    assert_eq!(error.rpc_code(), 1012);
    assert_eq!(world.chain.validations.get(), 1);
    world.build(0);
    assert_eq!(world.submit_in_vain(&call(1, 3)).rpc_code(), 1012);
    world.build(0);
    assert_eq!(world.submit_in_vain(&call(1, 3)).rpc_code(), 1010);
}

#[test]
fn refusal_that_can_be_mended_is_banned_until_the_next_block() {
    let mut world = World::new();
    world.chain.banned_accounts.insert(1);
    assert_eq!(world.submit_in_vain(&call(1, 0)).rpc_code(), 1010);
    assert_eq!(world.submit_in_vain(&call(1, 0)).rpc_code(), 1012);
    world.chain.banned_accounts.clear();
    world.build(0);
    world.submit_all(&[call(1, 0)]);
}

#[test]
fn ban_does_not_bind_the_node_itself() {
    let mut world = World::new();
    let tx = call(1, 0);
    world.pool.ban(tx.hash(), "the operator wished so");
    assert_eq!(world.submit_in_vain(&tx).rpc_code(), 1012);
    let source = TransactionSource::Local;
    assert!(world.pool.submit(source, tx.encode(), &world.chain).is_ok());
}

#[test]
fn bans_are_bounded_and_the_earliest_ending_is_forgotten() {
    let mut world = World::with(|limits| limits.banned = 2);
    let txs = [call(1, 0), call(1, 1), call(1, 2)];
    for tx in &txs {
        world.pool.ban(tx.hash(), "test");
        world.build(0);
    }
    assert_eq!(world.pool.status().banned, 2);
    assert!(world.submit(&txs[0]).is_ok());
    assert_eq!(world.submit_in_vain(&txs[1]).rpc_code(), 1012);
}

#[test]
fn full_account_is_refused_while_others_are_welcome() {
    let mut world = World::with(|limits| limits.account_transactions = 2);
    world.submit_all(&[call(1, 0), call(1, 1)]);
    let error = world.submit_in_vain(&call(1, 2));
    assert_eq!(error, PoolError::AccountFull { limit: 2 });
    assert_eq!(error.rpc_code(), 1016);
    world.submit_all(&[call(2, 0)]);
}

#[test]
fn gap_filler_of_a_full_account_goes_before_its_last_future_one() {
    let mut world = World::with(|limits| limits.account_transactions = 2);
    world.submit_all(&[call(1, 1), call(1, 2), call(1, 0)]);
    assert_eq!(world.order(), [(1, 0), (1, 1)]);
    assert!(!world.has(&call(1, 2)));
}

#[test]
fn replacement_in_a_full_account_is_taken() {
    let mut world = World::with(|limits| limits.account_transactions = 1);
    world.submit_all(&[call(1, 0), call(1, 0).tip(1)]);
    assert_eq!(world.pool.len(), 1);
}

#[test]
fn full_pool_drops_the_youngest_of_the_lowest_priority() {
    let mut world = World::with(|limits| limits.transactions = 3);
    world.submit_all(&[call(1, 0).tip(1), call(2, 0), call(3, 0), call(4, 0).tip(2)]);
    assert_eq!(world.order(), [(4, 0), (1, 0), (2, 0)]);
    assert_eq!(
        world.told(&call(3, 0)).last(),
        Some(&TransactionStatus::Dropped)
    );
}

#[test]
fn full_pool_refuses_what_is_not_better_than_its_cheapest() {
    let mut world = World::with(|limits| limits.transactions = 1);
    world.submit_all(&[call(1, 0).tip(1)]);
    let error = world.submit_in_vain(&call(2, 0).tip(1));
    assert_eq!(error, PoolError::ImmediatelyDropped);
    assert_eq!(error.rpc_code(), 1016);
}

#[test]
fn reading_pushes_out_another_call_and_never_the_other_way() {
    let mut world = World::with(|limits| limits.transactions = 1);
    world.submit_all(&[call(1, 0).tip(1_000), reading(2, 0)]);
    assert_eq!(world.order(), [(2, 0)]);
    world.submit_in_vain(&call(3, 0).tip(u64::MAX));
}

#[test]
fn evidence_pushes_out_readings_and_other_calls() {
    let mut world = World::with(|limits| limits.transactions = 2);
    world.submit_all(&[call(1, 0).tip(9), reading(2, 0).tip(9)]);
    world.submit_all(&[evidence(3, 0), evidence(4, 0)]);
    assert_eq!(world.order(), [(3, 0), (4, 0)]);
    world.submit_in_vain(&reading(5, 0).tip(u64::MAX));
}

#[test]
fn long_newcomer_pushes_out_as_many_as_its_bytes_take() {
    let mut world = World::with(|limits| limits.bytes = 120);
    world.submit_all(&[call(1, 0), call(2, 0), call(3, 0).tip(5)]);
    world.submit_all(&[call(4, 0).tip(9).bytes(80)]);
    assert_eq!(world.order(), [(4, 0), (3, 0)]);
}

#[test]
fn refused_long_newcomer_pushes_out_nobody() {
    let mut world = World::with(|limits| limits.bytes = 120);
    world.submit_all(&[call(1, 0), call(2, 0), call(3, 0).tip(5)]);
    world.submit_in_vain(&call(4, 0).tip(5).bytes(100));
}

#[test]
fn newcomer_does_not_push_out_what_it_depends_on() {
    let mut world = World::with(|limits| limits.transactions = 2);
    world.submit_all(&[call(1, 0), call(2, 0).tip(9)]);
    world.submit_in_vain(&call(1, 1).tip(10));
}

#[test]
fn dependents_of_an_evicted_transaction_become_future() {
    let mut world = World::with(|limits| limits.transactions = 2);
    let dependent = call(1, 1).tip(9);
    world.submit_all(&[call(1, 0), dependent.clone(), call(2, 0).tip(5)]);
    assert_eq!(world.order(), [(2, 0)]);
    assert!(world.has(&dependent));
    let told = world.told(&dependent);
    assert_eq!(told, [TransactionStatus::Ready, TransactionStatus::Future]);
}

#[test]
fn future_ones_have_less_room_and_the_cheapest_leaves() {
    let mut world = World::with(|limits| limits.future_transactions = 2);
    world.submit_all(&[call(1, 1), call(2, 1).tip(1), call(3, 1).tip(2)]);
    assert!(!world.has(&call(1, 1)));
    let error = world.submit_in_vain(&call(4, 1).tip(1));
    assert_eq!(error, PoolError::ImmediatelyDropped);
    world.submit_all(&[call(5, 0)]);
}

#[test]
fn not_yet_valid_transaction_waits_instead_of_being_refused() {
    let mut world = World::new();
    let tx = reading(1, 0).valid_from(3);
    world.submit_all(std::slice::from_ref(&tx));
    assert_eq!(world.pool.status().waiting.readings, 1);
    assert_eq!(world.told(&tx), [TransactionStatus::Future]);
}

#[test]
fn answer_future_without_details_waits_too() {
    let mut world = World::new();
    let tx = call(1, 0).encode();
    let future = Err(Refusal::Invalid(InvalidTransaction::Future));
    let source = TransactionSource::External;
    let hash = world.pool.insert(source, tx, future, 0).unwrap();
    assert_eq!(world.pool.get(&hash).unwrap().lane, Lane::Other);
    world.build(0);
    assert_eq!(world.order(), [(1, 0)]);
}

#[test]
fn waiting_ones_are_bounded_in_all_and_by_account() {
    let mut world = World::with(|limits| {
        limits.waiting_transactions = 3;
        limits.account_transactions = 2;
    });
    let late = |account, nonce| reading(account, nonce).valid_from(9);
    world.submit_all(&[late(1, 0), late(1, 1)]);
    let error = world.submit_in_vain(&late(1, 2));
    assert_eq!(error, PoolError::AccountFull { limit: 2 });
    world.submit_all(&[late(2, 0)]);
    let error = world.submit_in_vain(&late(3, 0));
    assert_eq!(error, PoolError::ImmediatelyDropped);
}

#[test]
fn transaction_of_a_distant_future_is_refused() {
    let mut world = World::with(|limits| limits.waiting_blocks = 10);
    let error = world.submit_in_vain(&reading(1, 0).valid_from(100));
    assert_eq!(error.rpc_code(), 1010);
    assert!(error.cause().contains("catching up"), "{error}");
}

#[test]
fn many_are_validated_as_one_batch_and_answered_in_their_order() {
    let mut world = World::new();
    world.chain.nonces.insert(2, 1);
    let calls = [call(1, 0), call(2, 0), call(1, 0), call(1, 1)];
    let encoded = calls.iter().map(|call| call.encode()).collect();
    let source = TransactionSource::External;
    let prechecked = world.pool.precheck_many(source, encoded);
    let verdicts = world.chain.validate_batch(prechecked.batch());
    let best = world.pool.best();
    let results = world.pool.insert_many(prechecked, verdicts, best);
    let codes: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map_or_else(PoolError::rpc_code, |_| 0))
        .collect();
    assert_eq!(codes, [0, 1010, 1013, 0]);
    assert_eq!(world.order(), [(1, 0), (1, 1)]);
}

#[test]
fn verdict_from_before_a_block_counts_with_what_the_block_brought() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0)]);
    let source = TransactionSource::External;
    let next = call(1, 1).encode();
    let verdict = world.chain.validate(source, &next);
    world.build(1);
    world.pool.insert(source, next, verdict, 0).unwrap();
    assert_eq!(world.order(), [(1, 1)]);
}

#[test]
fn verdict_from_before_a_block_that_used_the_nonce_is_stale() {
    let mut world = World::new();
    world.submit_all(&[call(1, 0)]);
    let source = TransactionSource::External;
    let other = call(1, 0).tip(7).encode();
    let verdict = world.chain.validate(source, &other);
    world.build(1);
    let result = world.pool.insert(source, other, verdict, 0);
    let stale = Refusal::Invalid(InvalidTransaction::Stale);
    assert_eq!(result, Err(PoolError::Invalid(stale)));
}

#[test]
fn verdict_older_than_what_is_remembered_must_be_renewed() {
    let mut world = World::new();
    let source = TransactionSource::External;
    let tx = call(1, 0).encode();
    let verdict = world.chain.validate(source, &tx);
    for _ in 0..10 {
        world.import_report(BlockReport {
            provided: vec![tag(9, world.chain.best)],
            ..BlockReport::default()
        });
    }
    let error = world.pool.insert(source, tx, verdict, 0).unwrap_err();
    let (at_block, judged_from) = (0, 2);
    assert_eq!(
        error,
        PoolError::VerdictTooOld {
            at_block,
            judged_from
        }
    );
    assert_eq!(error.rpc_code(), 1011);
}
