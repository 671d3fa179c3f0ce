//! kill -9 at random moments while readings come in: what was announced is there afterwards.
//!
//! `COMMONWATT_KILLS` says how often for each back end (4 unless told otherwise), `COMMONWATT_SEED` where the
//! random moments begin.

mod support;

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use support::DevNode;

fn number_from(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn survives(database: &str) {
    let kills = number_from("COMMONWATT_KILLS", 4);
    let seed = number_from("COMMONWATT_SEED", 1);
    println!("{database}: {kills} kills, seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let base = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["--step-ms", "500", "--database", database];
    let mut announced = BTreeMap::new();
    for kill in 1..=kills {
        let node = DevNode::start(base.path(), &arguments);
        // Everything announced before is still there, unchanged.
        for (step, hash) in &announced {
            let found = node.block_hash(*step);
            assert_eq!(
                found.as_ref(),
                Some(hash),
                "step {step} after kill {kill} (seed {seed})"
            );
        }
        // The next step's block comes, then the node dies somewhere in the steps after it.
        let first = node.expect_block();
        announced.insert(first.step, first.hash);
        let mut left = Duration::from_millis(random.random_range(0..1_200));
        while !left.is_zero() {
            let began = std::time::Instant::now();
            if let Some(block) = node.next_block(left) {
                announced.insert(block.step, block.hash);
            }
            left = left.saturating_sub(began.elapsed());
        }
        announced.extend(
            node.kill()
                .into_iter()
                .map(|block| (block.step, block.hash)),
        );
    }
    let node = DevNode::start(base.path(), &arguments);
    node.expect_block();
    for (step, hash) in &announced {
        assert_eq!(
            node.block_hash(*step).as_ref(),
            Some(hash),
            "step {step} (seed {seed})"
        );
    }
    println!(
        "{database}: {} announced blocks, none missing",
        announced.len()
    );
}

#[test]
fn no_announced_block_is_lost_on_sled() {
    survives("sled");
}

#[test]
fn no_announced_block_is_lost_on_redb() {
    survives("redb");
}
