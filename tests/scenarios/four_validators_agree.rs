//! Four processes agree on one block a step; one is killed, and catches up.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::{
    operator::{Node, Site},
    rpc,
};

/// Long enough for four debug builds on a small machine.
const STEP_MS: u64 = 2_000;

/// Sets up the validators of one chain, the DSO and three members, each with keys of its own.
fn validators() -> Vec<Site> {
    let example = Site::example();
    let accounts: Vec<Value> = std::iter::once(&example["genesis"]["dsos"][0])
        .chain(example["genesis"]["members"].as_array().unwrap())
        .take(4)
        .cloned()
        .collect();
    let id = example["id"].as_str().unwrap().to_owned();
    let (sites, keys): (Vec<_>, Vec<_>) = accounts
        .iter()
        .map(|_| {
            let site = Site::empty();
            let said = site.run(&["init", "--chain", &id]);
            let keys = said
                .lines()
                .find_map(|line| line.trim().strip_prefix("\"keys\": "))
                .unwrap();
            let keys: Value = serde_json::from_str(keys).unwrap();
            (site, keys)
        })
        .unzip();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(now.as_millis()).unwrap();
    for site in &sites {
        site.write_spec(|spec| {
            let validators = accounts.iter().zip(&keys);
            let validators =
                validators.map(|(account, keys)| json!({"account": account, "keys": keys}));
            spec["genesis"]["validators"] = validators.collect();
            spec["genesis"]["timing"] = json!({
                "genesisMs": now_ms - now_ms % STEP_MS,
                "stepMs": STEP_MS,
                "meteredMs": 900_000,
                "gateOpenMs": 200,
                "gateCloseMs": 200,
                "settleDelayMs": 300,
            });
        });
        site.run(&["init", "--chain", site.spec()]);
    }
    sites
}

/// Starts a validator that knows where others are.
fn start(site: &Site, others: &[String]) -> Node {
    let mut arguments = vec!["--validator", "--listen-addr", "/ip4/127.0.0.1/tcp/0"];
    for other in others {
        arguments.extend(["--bootnodes", other]);
    }
    site.start(&arguments)
}

fn address_of(node: &Node) -> String {
    let addresses = rpc::ask(&node.url, "system_localListenAddresses");
    addresses[0].as_str().unwrap().to_owned()
}

fn assert_same_chain(nodes: &[Node], best: u32) {
    for number in 1..=best {
        let hash = nodes[0].block_hash(number);
        assert!(hash.is_some(), "step {number} has no block");
        for node in nodes {
            assert_eq!(node.block_hash(number), hash, "block {number}");
        }
    }
}

#[test]
fn four_validators_have_the_same_chain_also_after_one_was_killed() {
    let sites = validators();
    let mut nodes: Vec<Node> = Vec::new();
    for site in &sites {
        let known: Vec<_> = nodes.iter().map(address_of).collect();
        nodes.push(start(site, &known));
    }
    nodes.iter().for_each(|node| node.wait_for_block(5));
    assert_same_chain(&nodes, 5);
    for node in &nodes {
        assert_eq!(
            rpc::ask(&node.url, "system_peers")
                .as_array()
                .unwrap()
                .len(),
            3
        );
        let health = rpc::ask(&node.url, "system_health");
        assert_eq!(health["peers"], 3);
        assert_eq!(health["shouldHavePeers"], true);
    }

    // The last is killed while the others go on.
    let killed = nodes.pop().unwrap();
    let _ = killed.end("KILL");
    let best = rpc::best(&nodes[0].url);
    nodes.iter().for_each(|node| node.wait_for_block(best + 3));
    let known: Vec<_> = nodes.iter().map(address_of).collect();
    nodes.push(start(&sites[3], &known));
    let best = best + 6;
    nodes.iter().for_each(|node| node.wait_for_block(best));
    assert_same_chain(&nodes, best);
    for node in nodes {
        let (status, log) = node.end("TERM");
        assert!(status.success(), "{log:#?}");
        // Nobody contradicted itself.
        assert!(
            !log.iter().any(|line| line.contains("contradicted")),
            "{log:#?}"
        );
    }
}
