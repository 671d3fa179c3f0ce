//! A part of the shipped week through the whole node: totals equal, the same root on both back ends, and every
//! allocation as an independent script recomputes it.

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

fn replay(database: &str, key: &str, allocations: &Path) -> Value {
    let output = Command::new(binary())
        .arg("replay")
        .arg(project("chain-specs/demo-community"))
        .args([
            "--json",
            "--steps",
            STEPS,
            "--database",
            database,
            "--key",
            key,
            "--allocations",
        ])
        .arg(allocations)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
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
