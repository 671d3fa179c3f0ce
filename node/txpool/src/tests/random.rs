//! Random sequences of everything that can happen, against the invariants.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::chain::{Call, World, account, call, tag};
use crate::{
    BlockReport, Hash, InvalidTransaction, Lane, Refusal, Transaction, TransactionStatus,
    TransactionTag, UnknownTransaction,
};

#[derive(Clone, Debug)]
enum Step {
    Submit(Call),
    Build(usize),
    Foreign { account: u8, is_named: bool },
    Report(usize, Refusal),
    Remove(usize),
    ToggleAccount(u8),
}

fn any_call() -> impl Strategy<Value = Call> {
    (
        0..5_u8,
        0..9_u32,
        0..3_usize,
        0..4_u64,
        0..9_u32,
        1..9_u64,
        30..60_usize,
    )
        .prop_map(
            |(account, nonce, lane, tip, valid_from, longevity, bytes)| Call {
                lane: Lane::ALL[lane],
                // Most calls are valid at once.
                valid_from: if valid_from > 6 { valid_from } else { 0 },
                ..call(account, nonce)
                    .tip(tip)
                    .longevity(longevity)
                    .bytes(bytes)
            },
        )
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::Invalid(InvalidTransaction::Payment)),
        Just(Refusal::Invalid(InvalidTransaction::Future)),
        Just(Refusal::Invalid(InvalidTransaction::ExhaustsResources)),
        Just(Refusal::Unknown(UnknownTransaction::CannotLookup)),
        Just(Refusal::RuntimePanic("overflow".into())),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => any_call().prop_map(Step::Submit),
        2 => (0..6_usize).prop_map(Step::Build),
        1 => (0..5_u8, any::<bool>())
            .prop_map(|(account, is_named)| Step::Foreign { account, is_named }),
        1 => (0..20_usize, any_refusal()).prop_map(|(index, refusal)| Step::Report(index, refusal)),
        1 => (0..20_usize).prop_map(Step::Remove),
        1 => (0..5_u8).prop_map(Step::ToggleAccount),
    ]
}

/// Returns the order of building, found the slow way: always the best of what is provided for.
fn expected_order(world: &World) -> Vec<Hash> {
    let mut left: Vec<&Transaction> = world.pool.pending().filter(|tx| tx.is_ready()).collect();
    let mut provided: Vec<&TransactionTag> = Vec::new();
    let mut order = Vec::new();
    while let Some(best) = left
        .iter()
        .filter(|tx| tx.requires.iter().all(|tag| provided.contains(&tag)))
        .min_by_key(|tx| (tx.lane, u64::MAX - tx.priority, tx.arrival))
        .copied()
    {
        order.push(best.hash);
        provided.extend(&best.provides);
        left.retain(|tx| tx.hash != best.hash);
    }
    assert!(left.is_empty(), "every ready transaction can be built");
    order
}

/// Follows the events and compares what they say with what is in the pool.
fn check_events(world: &mut World, last: &mut BTreeMap<Hash, TransactionStatus>) {
    for event in world.pool.take_events() {
        last.insert(event.hash, event.status);
    }
    for (hash, status) in last.iter() {
        let told = match status {
            TransactionStatus::Ready => Some(true),
            TransactionStatus::Future => Some(false),
            _ => None,
        };
        let actual = world.pool.get(hash).map(Transaction::is_ready);
        assert_eq!(
            told, actual,
            "events and pool agree on {hash:?}: {status:?}"
        );
    }
    for tx in world.pool.pending() {
        assert!(last.contains_key(&tx.hash), "every arrival is told");
    }
}

fn nth_hash(world: &World, index: usize) -> Option<Hash> {
    world.pool.pending().nth(index).map(|tx| tx.hash)
}

fn run(world: &mut World, step: Step) {
    match step {
        Step::Submit(call) => {
            let _ = world.submit(&call);
        }
        Step::Build(transactions) => {
            let order: Vec<Call> = world
                .pool
                .ready()
                .take(transactions)
                .map(|tx| Call::decode(&tx.extrinsic).unwrap())
                .collect();
            let mut included = Vec::new();
            for call in order {
                let next = world.chain.nonces.get(&call.account).copied();
                if call.nonce == next.unwrap_or(0) {
                    world.apply(&call);
                    included.push(call.hash());
                } else {
                    let stale = Refusal::Invalid(InvalidTransaction::Stale);
                    world.pool.report_invalid(&call.hash(), stale);
                }
            }
            world.import_report(BlockReport {
                included,
                ..BlockReport::default()
            });
        }
        Step::Foreign {
            account: number,
            is_named,
        } => {
            let next = world.chain.nonces.get(&number).copied().unwrap_or(0);
            world.apply(&call(number, next));
            let report = if is_named {
                BlockReport {
                    provided: vec![tag(number, next)],
                    senders: vec![account(number)],
                    ..BlockReport::default()
                }
            } else {
                BlockReport::default()
            };
            world.import_report(report);
        }
        Step::Report(index, refusal) => {
            if let Some(hash) = nth_hash(world, index) {
                world.pool.report_invalid(&hash, refusal);
            }
        }
        Step::Remove(index) => {
            if let Some(hash) = nth_hash(world, index) {
                world.pool.remove(&hash);
            }
        }
        Step::ToggleAccount(number) => {
            if !world.chain.banned_accounts.remove(&number) {
                world.chain.banned_accounts.insert(number);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_any_sequence(
        steps in prop::collection::vec(any_step(), 1..120),
        transactions in 4..20_usize,
        bytes in 200..900_usize,
        account_transactions in 2..8_usize,
        unready in 1..6_usize,
        revalidated in 0..12_usize,
    ) {
        let mut world = World::with(|limits| {
            limits.transactions = transactions;
            limits.bytes = bytes;
            limits.extrinsic_bytes = 55;
            limits.account_transactions = account_transactions;
            limits.future_transactions = unready;
            limits.waiting_transactions = unready;
            limits.waiting_blocks = 5;
            limits.banned = 4;
            limits.ban_blocks = 2;
            limits.revalidated_of_senders = revalidated;
            limits.revalidated_waiting = revalidated;
            limits.revalidated_in_turn = revalidated;
            limits.recent_entries = 6;
        });
        let mut last = BTreeMap::new();
        for step in steps {
            run(&mut world, step);
            prop_assert_eq!(world.pool.check_invariants(), Ok(()));
            let order: Vec<Hash> = world.pool.ready().map(|tx| tx.hash).collect();
            prop_assert_eq!(order, expected_order(&world));
            check_events(&mut world, &mut last);
        }
    }

    #[test]
    fn everything_valid_gets_into_blocks_and_leaves_nothing_behind(
        nonces in prop::collection::vec((0..5_u8, 0..3_usize, 0..4_u64), 1..60),
        seed in any::<u64>(),
    ) {
        let mut world = World::new();
        let mut next = BTreeMap::<u8, u32>::new();
        let mut calls: Vec<Call> = nonces
            .into_iter()
            .map(|(account, lane, tip)| {
                let nonce = next.entry(account).or_default();
                *nonce += 1;
                Call { lane: Lane::ALL[lane], ..call(account, *nonce - 1).tip(tip) }
            })
            .collect();
        calls.sort_by_key(|call| crate::hash_of(&[&call.encode()[..], &seed.to_be_bytes()].concat()));
        world.submit_all(&calls);
        while !world.pool.is_empty() {
            prop_assert!(world.build(7).included > 0);
        }
        prop_assert_eq!(&world.chain.nonces, &next);
        prop_assert!(world.pool.book.providers.is_empty());
        prop_assert!(world.pool.book.dependents.is_empty());
        prop_assert!(world.pool.book.places.accounts.is_empty());
    }
}
