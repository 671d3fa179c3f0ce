//! An auditor's small machine beside a validator: it verifies the chain by headers and certificates alone.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::{
    operator::{Site, succeed},
    rpc,
};

/// Steps that have gone by when the chain begins: more than two epochs of 96.
const STEPS_BEFORE: u64 = 200;

/// Sets up a validator whose chain should have begun a while ago.
fn validator() -> Site {
    let site = Site::validator();
    let mut spec: Value = serde_json::from_slice(&fs::read(&site.spec).unwrap()).unwrap();
    let timing = &mut spec["genesis"]["timing"];
    let began = timing["genesisMs"].as_u64().unwrap();
    let step = timing["stepMs"].as_u64().unwrap();
    timing["genesisMs"] = (began - STEPS_BEFORE * step).into();
    fs::write(&site.spec, spec.to_string()).unwrap();
    site.run(&["init", "--chain", site.spec()]);
    site
}

fn peer_id(site: &Site) -> String {
    let base = site.base();
    let base = base.to_str().unwrap();
    succeed(&["key", "inspect-node-key", "--base-path", base])
}

fn lines(said: &str) -> Vec<Value> {
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_auditor_verifies_the_chain_over_epochs_and_goes_on_after_a_restart() {
    let site = validator();
    let auditor = site.another();
    let peer = peer_id(&auditor);
    // It keeps the states of few blocks, so it must have kept what shows who validated.
    let node = site.start(&[
        "--validator",
        "--state-pruning",
        "16",
        "--listen-addr",
        "/ip4/127.0.0.1/tcp/0",
        "--reserved-nodes",
        peer.trim(),
    ]);
    node.wait_for_block(200);
    let addresses = rpc::ask(&node.url, "system_localListenAddresses");
    let address = addresses[0].as_str().unwrap();

    let follow = |until: &str| {
        let words = ["light", "--bootnodes", address, "--until", until, "--json"];
        lines(&auditor.run(&words))
    };
    let blocks = follow("198");
    assert_eq!(blocks.len(), 198);
    for (number, block) in (1..).zip(&blocks) {
        assert_eq!(block["number"], number);
        assert_eq!(block["hash"].as_str(), node.block_hash(number).as_deref());
        assert_eq!(block["signed"], 1);
        assert_eq!(block["validators"], 1);
    }
    assert_eq!(blocks[0]["late"], true);
    let blocks = follow("200");
    let numbers: Vec<_> = blocks.iter().map(|block| &block["number"]).collect();
    assert_eq!(numbers, [199, 200]);

    // Beside the running chain it tells each block as it comes, for people to read.
    let mut light = Command::new(support::binary())
        .arg("light")
        .arg("--base-path")
        .arg(auditor.base())
        .args(["--bootnodes", address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(light.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("block ") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it goes on");
    }
    let words: Vec<_> = line.split_whitespace().collect();
    let number: u32 = words[1].parse().unwrap();
    assert!(number > 200);
    assert_eq!(Some(words[2].to_owned()), node.block_hash(number));
    assert!(line.contains("signed by 1 of 1"), "{line}");
    let sent = Command::new("kill")
        .arg(light.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success());
    let mut log = String::new();
    light
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(light.wait().unwrap().success(), "{log}");
    assert!(log.contains("what was verified is on disk"), "{log}");

    // It took nothing from the validator but answers.
    node.stop();
}

#[test]
fn an_auditor_is_told_what_is_missing() {
    let site = Site::validator();
    let auditor = site.another();
    let said = auditor.refused(&["light"]);
    assert!(said.contains("--bootnodes"), "{said}");
    let peer = peer_id(&auditor);
    let own = format!("/ip4/127.0.0.1/tcp/30333/p2p/{}", peer.trim());
    let said = auditor.refused(&["light", "--bootnodes", &own]);
    assert!(said.contains("own peer id"), "{said}");

    // What the validators did to each other is not forgotten by starting again.
    let folder = auditor.chain().join("light");
    fs::write(folder.join("contradiction-1.json"), "{}").unwrap();
    let other = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";
    let said = auditor.refused(&["light", "--bootnodes", other]);
    assert!(said.contains("contradicted themselves"), "{said}");
}
