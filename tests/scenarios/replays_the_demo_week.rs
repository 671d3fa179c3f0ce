//! A part of the shipped week through the whole node, without trading and with it: totals equal, the same root on both back
//! ends, and files that independent scripts recompute (`verify_replay.py`, `verify_trading.py`).

mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use support::binary;

/// From midnight to three in the afternoon.
const STEPS: &str = "60";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn run(arguments: &[&str], file: &Path) -> Value {
    let output = Command::new(binary())
        .arg("replay")
        .arg(project("chain-specs/demo-community"))
        .arg("--json")
        .args(arguments)
        .arg(file)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

fn replay(database: &str, key: &str, allocations: &Path) -> Value {
    let chain = ["--steps", STEPS, "--database", database, "--key", key];
    run(&[&chain[..], &["--allocations"]].concat(), allocations)
}

/// Replays so many steps in which everybody trades, on redb.
fn trade(policy: &str, mechanism: &str, steps: &str, trades: &Path) -> Value {
    let chain = ["--steps", steps, "--database", "redb"];
    let market = ["--trade", policy, "--mechanism", mechanism, "--trades"];
    run(&[&chain[..], &market].concat(), trades)
}

#[test]
fn two_back_ends_come_to_the_same_root_and_every_total_is_equal() {
    let folder = tempfile::tempdir().unwrap();
    for key in ["static", "capped", "prorata"] {
        let file = folder.path().join(key);
        let sled = replay("sled", key, &file);
        let redb = replay("redb", key, &folder.path().join("again"));
        assert_eq!(sled["equal"], Value::Bool(true));
        assert_eq!(sled["stateRoot"], redb["stateRoot"]);
        assert_eq!(sled["readings"], 60 * 57);
        assert_eq!(
            std::fs::read(&file).unwrap(),
            std::fs::read(folder.path().join("again")).unwrap()
        );
        if key == "static" {
            assert_eq!(sled["restWh"], 0);
        }
        assert!(sled["generatedWh"]["chain"].as_u64().unwrap() > 50_000);
    }
}

#[test]
fn what_members_trade_is_conserved_and_none_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut volumes = Vec::new();
    for (policy, mechanism) in [
        ("reserve", "average"),
        ("reserve", "loyal"),
        ("reserve", "mcafee"),
        ("perfect", "uniform"),
    ] {
        let file = folder.path().join(mechanism);
        // The replay itself fails unless meters, accounts, proofs and statements agree.
        let told = trade(policy, mechanism, STEPS, &file);
        assert_eq!(told["equal"], Value::Bool(true));
        let market = &told["market"];
        let number = |name: &str| market[name].as_u64().unwrap();
        assert_eq!(number("ordersSent"), 2 * 36);
        assert!(
            number("volumeWh") > 1_000 && number("welfare") > 0,
            "{market}"
        );
        let covered = |which: &str| market["coveredWh"][which].as_u64().unwrap();
        assert_eq!(covered("market") - covered("key"), number("volumeWh"));
        // A unit that is traded is not bought for 9 and not fed in for 2.
        assert_eq!(number("savedByMarket"), number("volumeWh") / 10 * 7);
        let lines = std::fs::read_to_string(&file).unwrap();
        let volume: u64 = lines
            .lines()
            .filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit()))
            .map(|line| line.split(',').nth(4).unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(volume * 10, number("volumeWh"));
        volumes.push(number("volumeWh"));
    }
    let [average, loyal, mcafee, perfect] = volumes[..] else {
        panic!("four runs");
    };
    assert_eq!(average, loyal);
    assert!(mcafee < average && average <= perfect, "{volumes:?}");
}

#[test]
fn yesterday_is_ordered_today() {
    let folder = tempfile::tempdir().unwrap();
    let told = |mechanism: &str, steps: &str| {
        let file = folder.path().join(format!("{mechanism}{steps}"));
        trade("persistence", mechanism, steps, &file)["market"].clone()
    };
    // The first order is for step 97, in the block before.
    assert_eq!(told("average", "95")["ordersSent"], 0);
    let call = told("average", "132");
    let book = told("continuous", "132");
    assert_eq!(call["ordersSent"], book["ordersSent"]);
    assert_eq!(call["cancelledWh"], 0);
    for market in [call, book] {
        assert!(market["volumeWh"].as_u64().unwrap() > 0, "{market}");
    }
}
