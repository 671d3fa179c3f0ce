//! What tests of these modules share.

use std::{path::Path, sync::Arc};

use commonwatt_chain::{Chain, ChainConfig, SessionPairs, Validators};
use commonwatt_executor::Executor;
use commonwatt_runtime::example;
use commonwatt_storage::{ChainDb, DbConfig};

/// A chain whose only validator is X, with X's keys.
pub fn chain(folder: &Path) -> Chain {
    let db = ChainDb::open(folder, DbConfig::default()).unwrap();
    let storage = example::genesis().build_storage().unwrap();
    let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
    let pairs = SessionPairs {
        vote: example::pair("X"),
        beacon: example::beacon_pair("X"),
    };
    chain.set_agreement(Arc::new(Validators::holding(Arc::new(pairs))));
    chain
}
