//! `system_*` and `rpc_methods`.

use std::{collections::BTreeSet, sync::Arc};

use commonwatt_rpc::{
    KeystoreError, LogFilter, Network, PeerInfo, RpcConfig, Safety, Services, SessionKeystore,
};
use commonwatt_runtime::example::account;
use commonwatt_storage::StatePruning;
use serde_json::json;

use crate::support::{TestNode, config, hex, remark};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_it_is() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let answers = [
        ("system_name", json!("Commonwatt")),
        ("system_version", json!("0.1.0-test")),
        ("system_chain", json!("Example")),
        ("system_chainType", json!("Development")),
        (
            "system_properties",
            json!({ "ss58Format": 42, "tokenSymbol": "COIN", "tokenDecimals": 6 }),
        ),
        (
            "system_health",
            json!({ "peers": 0, "isSyncing": false, "shouldHavePeers": false }),
        ),
        (
            "system_syncState",
            json!({ "startingBlock": 0, "currentBlock": 0, "highestBlock": 0 }),
        ),
        ("system_peers", json!([])),
        ("system_nodeRoles", json!(["Authority"])),
    ];
    for (method, expected) in answers {
        assert_eq!(client.call(method, json!([])).await, expected, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_catches_up_says_so_and_how_far_it_has_to_go() {
    let node = TestNode::start().await;
    let client = node.client().await;
    node.chain.set_catching_up(true);
    let health = client.call("system_health", json!([])).await;
    assert_eq!(health["isSyncing"], json!(true));
    let state = client.call("system_syncState", json!([])).await;
    assert_eq!(state["currentBlock"], json!(0));
    assert!(state["highestBlock"].as_u64() > Some(0), "{state}");
    let (_, _, body) = node
        .http("GET /health HTTP/1.1\r\nHost: localhost", "")
        .await;
    assert!(body.contains(r#""isSyncing":true"#), "{body}");

    node.chain.set_catching_up(false);
    let health = client.call("system_health", json!([])).await;
    assert_eq!(health["isSyncing"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_nonce_counts_what_is_pending() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let x = account("X").to_string();
    assert_eq!(
        client.call("system_accountNextIndex", json!([x])).await,
        json!(0)
    );
    let extrinsic = hex(&node.sign("X", 0, remark(b"hello")));
    client
        .call("author_submitExtrinsic", json!([extrinsic]))
        .await;
    assert_eq!(client.call("account_nextIndex", json!([x])).await, json!(1));
    // One that waits for its step has taken its nonce as well.
    let waiting = hex(&node.sign_reading("A", 0, 5, 100));
    client
        .call("author_submitExtrinsic", json!([waiting]))
        .await;
    let a = account("A").to_string();
    assert_eq!(client.call("account_nextIndex", json!([a])).await, json!(1));
    let refused = client
        .refusal("system_accountNextIndex", json!(["nobody"]))
        .await;
    assert_eq!(refused.code, -32602);
    assert!(refused.message.contains("SS58"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_listed_method_exists_and_no_unfinished_interface_is_listed() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let listed = client.call("rpc_methods", json!([])).await;
    let names: Vec<_> = listed["methods"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(names.is_sorted());
    for name in [
        "rpc_methods",
        "chain_getHead",
        "chain_getFinalisedHead",
        "chain_subscribeNewHead",
        "chain_subscribeFinalisedHeads",
        "chain_getRuntimeVersion",
        "chain_subscribeRuntimeVersion",
        "state_callAt",
        "state_getStorageAt",
        "state_getStorageHashAt",
        "state_getStorageSizeAt",
        "state_getKeysPagedAt",
        "author_unwatchExtrinsic",
        "payment_queryInfo",
        "energy_trace",
        "system_dryRun",
        "chainHead_v1_follow",
        "transaction_v1_broadcast",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    // Clients switch to these as soon as one of them is listed.
    for prefix in ["archive_", "transactionWatch_"] {
        assert!(
            !names.iter().any(|name| name.starts_with(prefix)),
            "{prefix}"
        );
    }
    for name in names {
        if let Err(refused) = client.try_call(name, json!([])).await {
            assert_ne!(refused.code, -32601, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_methods_are_refused_with_the_flag_and_not_listed() {
    let config = RpcConfig {
        methods: Safety::Safe,
        ..config()
    };
    let node = TestNode::start_with(config, StatePruning::default()).await;
    let client = node.client().await;
    let listed = client.call("rpc_methods", json!([])).await;
    let unsafe_methods = [
        "state_getPairs",
        "state_getKeys",
        "state_queryStorage",
        "author_removeExtrinsic",
        "system_dryRun",
        "system_dryRunAt",
    ];
    for method in unsafe_methods {
        let refused = client.refusal(method, json!(["0x"])).await;
        assert_eq!(
            refused.message,
            "RPC call is unsafe to be called externally"
        );
        assert!(refused.data.contains("--rpc-methods unsafe"), "{refused:?}");
        assert!(
            !listed["methods"]
                .as_array()
                .unwrap()
                .contains(&json!(method)),
            "{method}"
        );
    }
    let refused = client
        .refusal("state_call", json!(["BlockBuilder_finalize_block", "0x"]))
        .await;
    assert!(refused.message.contains("unsafe"), "{refused:?}");
    let end = "state_unsubscribeStorage";
    let refused = client
        .try_subscribe("state_subscribeStorage", json!([]), end)
        .await;
    assert!(refused.unwrap_err().message.contains("unsafe"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let node = TestNode::start().await;
    let client = node.client().await;
    node.author();
    let extrinsic = hex(&node.sign("X", 0, remark(b"hello")));
    // Ok(Ok(())).
    assert_eq!(
        client.call("system_dryRun", json!([extrinsic])).await,
        json!("0x0000")
    );
    assert_eq!(
        client.call("author_pendingExtrinsics", json!([])).await,
        json!([])
    );
    let refused = client.refusal("system_dryRun", json!(["0x1234"])).await;
    assert!(
        refused.message.contains("no extrinsic of this chain"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_does_not_lend_is_not_listed_and_says_what_to_do_instead() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let listed = client.call("rpc_methods", json!([])).await;
    let listed = listed["methods"].as_array().unwrap().clone();
    for (method, mend) in [
        ("author_rotateKeys", "commonwatt key"),
        ("author_insertKey", "commonwatt key"),
        ("author_hasKey", "commonwatt key"),
        ("author_hasSessionKeys", "commonwatt key"),
        ("system_localPeerId", "by itself"),
        ("system_localListenAddresses", "by itself"),
    ] {
        assert!(!listed.contains(&json!(method)), "{method}");
        let refused = client.refusal(method, json!([])).await;
        assert_eq!(refused.code, -32003, "{method}: {refused:?}");
        assert!(refused.data.contains(mend), "{method}: {refused:?}");
    }
}

/// A keystore with one key, a network of one peer, and a log.
struct Lent;

impl SessionKeystore for Lent {
    fn rotate(&self) -> Result<Vec<u8>, KeystoreError> {
        Ok(vec![1; 64])
    }

    fn insert(&self, key_type: [u8; 4], secret: &str, public: &[u8]) -> Result<(), KeystoreError> {
        if (key_type, secret, public) == (*b"vote", "//Alice", &[7; 32]) {
            return Ok(());
        }
        Err(KeystoreError(
            "the public key is not that of the secret: check both".into(),
        ))
    }

    fn has_key(&self, public: &[u8], key_type: [u8; 4]) -> Result<bool, KeystoreError> {
        Ok(public == [7; 32] && key_type == *b"vote")
    }

    fn has_session_keys(&self, session_keys: &[u8]) -> Result<bool, KeystoreError> {
        Ok(session_keys == [1; 64])
    }
}

impl Network for Lent {
    fn local_peer_id(&self) -> String {
        "12D3Koo".into()
    }

    fn listen_addresses(&self) -> Vec<String> {
        vec!["/ip4/127.0.0.1/tcp/30333".into()]
    }

    fn peers(&self) -> Vec<PeerInfo> {
        vec![PeerInfo {
            peer_id: "12D3Other".into(),
            roles: "AUTHORITY".into(),
            best_hash: Default::default(),
            best_number: 3,
        }]
    }

    fn should_have_peers(&self) -> bool {
        true
    }
}

impl LogFilter for Lent {
    fn add(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn reset(&self) -> Result<(), String> {
        Ok(())
    }
}

fn lent() -> Services {
    Services {
        keystore: Some(Arc::new(Lent)),
        network: Some(Arc::new(Lent)),
        log_filter: Some(Arc::new(Lent)),
        ..Services::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_lends_is_used() {
    let node = TestNode::start_lending(config(), StatePruning::default(), lent()).await;
    let client = node.client().await;
    let (public, keys) = (hex(&[7; 32]), hex(&[1; 64]));
    for (method, list, expected) in [
        ("author_rotateKeys", json!([]), json!(keys)),
        ("author_hasKey", json!([public, "vote"]), json!(true)),
        ("author_hasKey", json!([public, "beac"]), json!(false)),
        ("author_hasSessionKeys", json!([keys]), json!(true)),
        (
            "author_insertKey",
            json!(["vote", "//Alice", public]),
            json!(null),
        ),
        ("system_localPeerId", json!([]), json!("12D3Koo")),
        (
            "system_localListenAddresses",
            json!([]),
            json!(["/ip4/127.0.0.1/tcp/30333"]),
        ),
        (
            "system_health",
            json!([]),
            json!({ "peers": 1, "isSyncing": false, "shouldHavePeers": true }),
        ),
    ] {
        assert_eq!(client.call(method, list).await, expected, "{method}");
    }
    let peers = client.call("system_peers", json!([])).await;
    assert_eq!(peers[0]["peerId"], json!("12D3Other"));
    assert_eq!(peers[0]["bestNumber"], json!(3));
    let refused = client
        .refusal("author_insertKey", json!(["vote", "//Bob", public]))
        .await;
    assert!(refused.data.contains("check both"), "{refused:?}");
    let refused = client
        .refusal("author_hasKey", json!([public, "votes"]))
        .await;
    assert_eq!(refused.code, -32602, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_for_everybody() {
    let config = RpcConfig {
        methods: Safety::Safe,
        ..config()
    };
    let node = TestNode::start_lending(config, StatePruning::default(), lent()).await;
    let client = node.client().await;
    for method in [
        "author_rotateKeys",
        "author_insertKey",
        "author_hasKey",
        "author_hasSessionKeys",
    ] {
        let refused = client.refusal(method, json!([])).await;
        assert!(refused.message.contains("unsafe"), "{method}: {refused:?}");
    }
}

/// Returns the names that a table of the documentation gives in its first column.
fn documented_methods() -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rpc.md");
    let text = std::fs::read_to_string(path).unwrap();
    let first_cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    first_cells
        .flat_map(|cell| cell.split('`').step_by(2))
        .filter(|name| name.contains('_') && !name.ends_with('*'))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_names_every_method_and_no_other() {
    let node = TestNode::start_lending(config(), StatePruning::default(), lent()).await;
    let client = node.client().await;
    let listed = client.call("rpc_methods", json!([])).await;
    let listed: BTreeSet<String> = serde_json::from_value(listed["methods"].clone()).unwrap();
    let documented = documented_methods();
    let difference: Vec<_> = documented.symmetric_difference(&listed).collect();
    assert!(
        difference.is_empty(),
        "docs/rpc.md and the node differ in {difference:?}"
    );
}
