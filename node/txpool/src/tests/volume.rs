//! As many transactions as one block takes.

use super::chain::{World, call, reading};

/// Transactions of one full block.
const BLOCK: u32 = 100_000;

#[test]
fn full_block_of_readings_goes_in_and_out() {
    let mut world = World::new();
    for index in 0..BLOCK {
        let account = u8::try_from(index % 200).unwrap();
        let tx = reading(account, index / 200).encode();
        let source = crate::TransactionSource::External;
        world.pool.submit(source, tx, &world.chain).unwrap();
    }
    assert_eq!(world.build(usize::MAX).included, 100_000);
    assert!(world.pool.is_empty());
}

#[test]
fn long_chain_of_one_account_is_promoted_demoted_and_replaced() {
    let mut world = World::new();
    let source = crate::TransactionSource::External;
    for nonce in 1..16_000 {
        let tx = call(1, nonce).encode();
        world.pool.submit(source, tx, &world.chain).unwrap();
    }
    world.submit_all(&[call(1, 0)]);
    assert_eq!(world.order().len(), 16_000);
    for tip in 1..2_000 {
        let tx = call(1, 0).tip(tip).encode();
        world.pool.submit(source, tx, &world.chain).unwrap();
    }
    world.pool.remove(&call(1, 0).tip(1_999).hash());
    assert!(world.order().is_empty());
    world.pool.check_invariants().unwrap();
}
