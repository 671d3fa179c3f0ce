//! What a node cannot start with, and that it says so.

mod support;

use std::{fs, process::Command};

use support::{DevNode, binary, command, expect_failure};

#[test]
fn a_second_process_on_the_same_database_is_refused() {
    let base = tempfile::tempdir().unwrap();
    let node = DevNode::start(base.path(), &["--step-ms", "1000"]);
    let said = expect_failure(command(base.path(), &[]));
    assert!(said.contains("another process"), "{said}");
    // The first one is not disturbed.
    node.expect_block();
}

#[test]
fn another_back_ends_folder_is_refused() {
    let base = tempfile::tempdir().unwrap();
    drop(DevNode::start(base.path(), &["--database", "sled"]));
    let said = expect_failure(command(base.path(), &["--database", "redb"]));
    assert!(said.contains("sled") && said.contains("redb"), "{said}");
}

#[test]
fn another_chains_spec_in_the_folder_is_refused() {
    let base = tempfile::tempdir().unwrap();
    drop(DevNode::start(base.path(), &[]));
    let path = base.path().join("chains/dev/chain-spec.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"retention\": 3360", "\"retention\": 3361"),
    )
    .unwrap();
    let said = expect_failure(command(base.path(), &[]));
    assert!(said.contains("another chain"), "{said}");
}

#[test]
fn a_broken_chain_spec_is_located() {
    let base = tempfile::tempdir().unwrap();
    drop(DevNode::start(base.path(), &[]));
    let path = base.path().join("chains/dev/chain-spec.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let said = expect_failure(command(base.path(), &[]));
    assert!(
        said.contains("chain-spec.json") && said.contains("line"),
        "{said}"
    );
}

#[test]
fn a_changed_step_length_or_key_is_refused() {
    let base = tempfile::tempdir().unwrap();
    drop(DevNode::start(base.path(), &["--step-ms", "2000"]));
    let said = expect_failure(command(base.path(), &["--step-ms", "3000"]));
    assert!(
        said.contains("steps of 2000 ms") && said.contains("--base-path"),
        "{said}"
    );
    let said = expect_failure(command(base.path(), &["--key", "prorata"]));
    assert!(said.contains("another key"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let base = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = Command::new(binary());
    command
        .args(["dev", "--rpc-port", &port, "--base-path"])
        .arg(base.path());
    let said = expect_failure(command);
    assert!(said.contains(&port), "{said}");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let refused = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments);
        expect_failure(command)
    };
    let said = refused(&["dev", "--state-pruning", "none"]);
    assert!(said.contains("archive"), "{said}");
    let said = refused(&["dev", "--step-ms", "1"]);
    assert!(said.contains("250"), "{said}");
    let said = refused(&["replay", "no-such-folder"]);
    assert!(said.contains("no-such-folder"), "{said}");
    let said = refused(&["check-spec", "no-such-file.json"]);
    assert!(said.contains("no-such-file.json"), "{said}");
    let said = refused(&["--log", "===", "export-chain-spec"]);
    assert!(said.contains("==="), "{said}");
}

#[test]
fn the_exported_chain_spec_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let exported = Command::new(binary())
        .arg("export-chain-spec")
        .output()
        .unwrap();
    assert!(exported.status.success());
    let path = folder.path().join("spec.json");
    fs::write(&path, exported.stdout).unwrap();
    let checked = Command::new(binary())
        .arg("check-spec")
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success() && said.contains("is sound; genesis 0x"),
        "{said}"
    );
    assert!(said.contains("note: timing"), "{said}");
}
