//! What measuring programs share: chains on empty disks, keys in numbers, blocks of given transactions, a thread's time.

use std::{fs, path::Path, sync::Arc};

use commonwatt_chain::{Chain, ChainConfig, SessionPairs, Validators};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::digest::Punctuality;
use commonwatt_runtime::{
    example::{beacon_pair, pair},
    genesis::CommunityGenesis,
};
use commonwatt_storage::{ChainDb, CommitMode, DatabaseKind, DbConfig, StoredBlock};
use sp_core::{Pair, ed25519};
use sp_runtime::transaction_validity::TransactionSource;

/// Returns the key of a number.
pub fn numbered_pair(number: u32) -> ed25519::Pair {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    seed[31] = 1;
    ed25519::Pair::from_seed(&seed)
}

/// Opens a new chain whose only validator is X, with X's keys.
pub fn open(path: &Path, kind: DatabaseKind, genesis: &CommunityGenesis) -> Chain {
    let config = DbConfig {
        kind,
        trie_cache_bytes: 256 * 1024 * 1024,
        ..DbConfig::default()
    };
    let db = ChainDb::open(path, config).expect("a new database");
    let storage = genesis.build_storage().expect("a sound genesis");
    let mut chain =
        Chain::open(db, Executor::new(), storage, ChainConfig::default()).expect("a new chain");
    let lineup = chain.next_lineup().expect("block 1 has its author");
    let pairs = SessionPairs {
        vote: pair("X"),
        beacon: beacon_pair("X"),
    };
    let agreement = Validators::new(&lineup.validators[0], pairs).expect("its key");
    chain.set_agreement(Arc::new(agreement));
    chain
}

/// Makes the next block, which holds all of these transactions.
pub fn make_block(
    chain: &Chain,
    genesis: &CommunityGenesis,
    transactions: Vec<Vec<u8>>,
) -> StoredBlock {
    let wanted = transactions.len() + 1;
    for result in chain.submit_many(TransactionSource::External, transactions) {
        result.expect("the transaction is valid");
    }
    let limits = BuildLimits {
        bytes_max: 1 << 24,
        misfits_max: 0,
        is_over: &|| false,
    };
    let made = chain
        .author_next(
            &genesis.timing,
            Punctuality::OnTime,
            &limits,
            CommitMode::bulk(),
        )
        .expect("the block is made")
        .expect("this chain makes blocks");
    assert_eq!(made.extrinsics, wanted, "every transaction is in the block");
    chain
        .db()
        .block(&made.hash)
        .expect("readable")
        .expect("just stored")
}

/// Seconds this thread has run; zero where the system does not say.
pub fn thread_s() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    nanoseconds.map_or(0.0, |nanoseconds: f64| nanoseconds / 1e9)
}
