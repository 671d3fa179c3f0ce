//! The blocks of a real chain, with the real runtime's states.

use std::sync::Arc;

use super::*;
use commonwatt_chain::{Chain, ChainConfig, SessionPairs, Validators};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::StepTiming;
use commonwatt_runtime::example;
use commonwatt_storage::{ChainDb, CommitMode, DbConfig, StatePruning};

fn open(folder: &tempfile::TempDir) -> Chain {
    let config = DbConfig {
        pruning: StatePruning::Keep(1),
        ..DbConfig::default()
    };
    let db = ChainDb::open(&folder.path().join("db"), config).unwrap();
    let storage = example::genesis().build_storage().unwrap();
    let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
    chain.set_agreement(Arc::new(Validators::holding(Arc::new(SessionPairs {
        vote: example::pair("X"),
        beacon: example::beacon_pair("X"),
    }))));
    chain
}

#[test]
fn a_real_chain_is_followed_over_the_end_of_an_epoch_though_its_states_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let chain = open(&folder);
    let timing: StepTiming = example::genesis().timing;
    let last = EPOCH_LENGTH + 4;
    for number in 1..=last {
        // One by one, and in groups.
        let mode = match number < 20 {
            true => CommitMode::Durable,
            false => CommitMode::bulk(),
        };
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        chain
            .author_next(&timing, Punctuality::Late, &limits, mode)
            .unwrap()
            .unwrap();
    }
    drop(chain);
    let chain = open(&folder);
    assert!(
        chain
            .state(chain.db().hash_of(EPOCH_LENGTH - 1).unwrap())
            .is_err(),
        "its state is gone"
    );

    let genesis = Genesis::of(example::genesis().build_storage().unwrap()).unwrap();
    assert_eq!(genesis.hash(), chain.genesis_hash());
    assert_eq!(chain.light_block(0).unwrap(), None);
    assert_eq!(chain.light_block(last + 1).unwrap(), None);
    let mut tip = genesis.tip.clone();
    for number in 1..=last {
        let block = chain.light_block(number).unwrap().unwrap();
        assert_eq!(block.next_set.is_some(), closes_epoch(number));
        let bytes = block.encode();
        assert_eq!(LightBlock::decode_bounded(&bytes), Ok(block.clone()));
        let (next, verified) = verify_next(&tip, &genesis.hash(), &block).unwrap();
        assert_eq!((verified.signed, verified.validators), (1, 1));
        assert_eq!(verified.author, example::account("X"));
        tip = next;
    }
    assert_eq!((tip.number, tip.hash), chain.best());
    assert_eq!(tip.seed, chain.next_lineup().unwrap().before);
    assert_eq!(tip.validators, chain.next_lineup().unwrap().validators);
}
