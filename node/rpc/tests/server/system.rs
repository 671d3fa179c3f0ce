//! `system_*` and `rpc_methods`.

use commonwatt_rpc::{RpcConfig, Safety};
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
        ("system_localPeerId", json!("")),
        ("system_localListenAddresses", json!([])),
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
    ] {
        assert!(names.contains(&name), "{name}");
    }
    // Clients switch to these as soon as one of them is listed.
    for prefix in ["archive_", "chainHead_", "transactionWatch_"] {
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
        assert!(refused.data.contains("--rpc-unsafe"), "{refused:?}");
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
