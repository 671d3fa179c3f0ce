//! `state_*`.

use codec::{Decode, Encode};
use commonwatt_runtime::{Hash, RuntimeEvent, code_marker, example::account};
use commonwatt_storage::StatePruning;
use serde_json::{Value, json};
use sp_core::Bytes;
use sp_runtime::traits::BlakeTwo256;
use sp_state_machine::{StorageProof, read_proof_check};

use crate::support::{TestNode, config, hex, next, remark, storage_key};

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::from_value::<Bytes>(value.clone()).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_version_and_metadata_in_the_forms_they_read() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let version = client.call("state_getRuntimeVersion", json!([])).await;
    assert_eq!(version["specName"], json!("commonwatt"));
    assert_eq!(version["transactionVersion"], json!(1));
    assert!(version["apis"][0][0].as_str().unwrap().starts_with("0x"));
    assert!(version["apis"][0][1].is_number());
    assert_eq!(
        client.call("chain_getRuntimeVersion", json!([])).await,
        version
    );
    let end = "state_unsubscribeRuntimeVersion";
    let mut versions = client
        .subscribe("state_subscribeRuntimeVersion", json!([]), end)
        .await;
    assert_eq!(next(&mut versions).await, version);

    let metadata = bytes(&client.call("state_getMetadata", json!([])).await);
    assert_eq!(&metadata[..5], b"meta\x0e");
    let versions = client
        .call("state_call", json!(["Metadata_metadata_versions", "0x"]))
        .await;
    assert_eq!(
        Vec::<u32>::decode(&mut &bytes(&versions)[..]),
        Ok(vec![14, 15, 16])
    );
    let newest = json!(["Metadata_metadata_at_version", hex(&16u32.encode())]);
    let newest = bytes(&client.call("state_call", newest).await);
    let newest = Option::<Vec<u8>>::decode(&mut &newest[..])
        .unwrap()
        .unwrap();
    assert_eq!(&newest[..5], b"meta\x10");
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_functions_answer_and_say_what_is_wrong() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let question = json!(["AccountNonceApi_account_nonce", hex(&account("X").encode())]);
    assert_eq!(
        client.call("state_call", question.clone()).await,
        json!("0x00000000")
    );
    assert_eq!(
        client.call("state_callAt", question).await,
        json!("0x00000000")
    );
    let refused = client
        .refusal("state_call", json!(["No_such_function", "0x"]))
        .await;
    assert!(refused.message.contains("does not exist"), "{refused:?}");
    let refused = client
        .refusal("state_call", json!(["Core_version", "0xzz"]))
        .await;
    assert_eq!(refused.code, -32602, "{refused:?}");
    let bad = json!(["AccountNonceApi_account_nonce", "0x01"]);
    let refused = client.refusal("state_call", bad).await;
    assert!(
        refused.message.contains("AccountNonceApi_account_nonce"),
        "{refused:?}"
    );
    let long = json!(["Core_version", hex(&vec![0; 1024 * 1024 + 1])]);
    let refused = client.refusal("state_call", long).await;
    assert!(refused.message.contains("at most 1048576"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_block_are_read_at_its_hash() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign_reading("A", 0, 1, 25_000));
    client
        .call("author_submitExtrinsic", json!([extrinsic]))
        .await;
    let hash = node.author().hash;
    node.author();
    let key = hex(&storage_key("System", "Events"));
    let events = bytes(&client.call("state_getStorage", json!([key, hash])).await);
    let events =
        Vec::<frame_system::EventRecord<RuntimeEvent, Hash>>::decode(&mut &events[..]).unwrap();
    assert!(events.iter().any(|record| matches!(
        &record.event,
        RuntimeEvent::System(frame_system::Event::ExtrinsicSuccess { .. })
    )));
    assert!(
        events
            .iter()
            .any(|record| matches!(&record.event, RuntimeEvent::EnergyToken(_)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_have_hash_and_size_or_are_null() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let marker = code_marker();
    let code = json!([hex(b":code")]);
    assert_eq!(
        client.call("state_getStorage", code.clone()).await,
        json!(hex(&marker))
    );
    assert_eq!(
        client.call("state_getStorageAt", code.clone()).await,
        json!(hex(&marker))
    );
    let hash = json!(commonwatt_txpool::hash_of(&marker));
    assert_eq!(
        client.call("state_getStorageHash", code.clone()).await,
        hash
    );
    assert_eq!(
        client.call("state_getStorageSize", code).await,
        json!(marker.len())
    );
    for method in [
        "state_getStorage",
        "state_getStorageHash",
        "state_getStorageSize",
    ] {
        assert_eq!(
            client.call(method, json!(["0xffff"])).await,
            Value::Null,
            "{method}"
        );
    }
    let accounts = json!([hex(&storage_key("System", "Account"))]);
    assert!(
        client
            .call("state_getStorageSize", accounts)
            .await
            .as_u64()
            .unwrap()
            > 80
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_pages_that_follow_each_other() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let prefix = hex(&storage_key("System", "Account"));
    let all = client.call("state_getKeys", json!([prefix])).await;
    let all = all.as_array().unwrap().clone();
    assert!(all.len() >= 3);
    let mut paged: Vec<Value> = Vec::new();
    loop {
        let page = json!([prefix, 2, paged.last()]);
        let page = client.call("state_getKeysPaged", page).await;
        if page == json!([]) {
            break;
        }
        paged.extend(page.as_array().unwrap().clone());
    }
    assert_eq!(paged, all);
    let pairs = client.call("state_getPairs", json!([prefix])).await;
    assert_eq!(pairs.as_array().unwrap().len(), all.len());
    assert_eq!(pairs[0][0], all[0]);
    let refused = client
        .refusal("state_getKeysPaged", json!([prefix, 1_001]))
        .await;
    assert_eq!(refused.code, 4002);
    assert!(refused.message.contains("at most 1000"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_values_are_queried_at_once() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (code, nothing) = (hex(b":code"), "0xffff");
    let answer = client
        .call("state_queryStorageAt", json!([[code, nothing]]))
        .await;
    let expected = json!([{
        "block": node.chain.genesis_hash(),
        "changes": [[code, hex(&code_marker())], [nothing, null]],
    }]);
    assert_eq!(answer, expected);
    let many: Vec<_> = (0..5_000).map(|_| code.clone()).collect();
    assert_eq!(
        client
            .refusal("state_queryStorageAt", json!([many]))
            .await
            .code,
        4002
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribed_values_come_at_once_and_when_they_change() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let number = hex(&storage_key("System", "Number"));
    let code = hex(b":code");
    let end = "state_unsubscribeStorage";
    let mut values = client
        .subscribe("state_subscribeStorage", json!([[number, code]]), end)
        .await;
    let first = next(&mut values).await;
    assert_eq!(first["block"], json!(node.chain.genesis_hash()));
    assert_eq!(first["changes"].as_array().unwrap().len(), 2);
    let hash = node.author().hash;
    let change = json!({ "block": hash, "changes": [[number, "0x01000000"]] });
    assert_eq!(next(&mut values).await, change);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_state_holds_can_be_proven_to_whoever_knows_its_root() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let header = node.author().header;
    let key = storage_key("System", "Number");
    let answer = client
        .call("state_getReadProof", json!([[hex(&key), "0xffff"]]))
        .await;
    assert_eq!(answer["at"], json!(node.chain.best().1));
    let nodes: Vec<_> = answer["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(bytes)
        .collect();
    let proof = StorageProof::new(nodes);
    let keys = [&key[..], &[0xff, 0xff]];
    let values = read_proof_check::<BlakeTwo256, _>(header.state_root, proof, keys).unwrap();
    assert_eq!(values[&key], Some(1u32.encode()));
    assert_eq!(values[&vec![0xff, 0xff]], None);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_blocks_and_discarded_states_are_told_apart() {
    let node = TestNode::start_with(config(), StatePruning::Keep(2)).await;
    let client = node.client().await;
    let code = hex(b":code");
    let refused = client
        .refusal("state_getStorage", json!([code, hex(&[9; 32])]))
        .await;
    assert!(
        refused.message.contains("not in this node's database"),
        "{refused:?}"
    );
    for _ in 0..6 {
        node.author();
    }
    let old = node.chain.db().hash_of(1).unwrap().unwrap();
    let refused = client.refusal("state_getStorage", json!([code, old])).await;
    assert!(refused.message.contains("already discarded"), "{refused:?}");
    assert!(refused.data.contains("ask an archive node"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fees_are_given_for_a_transaction() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign("X", 0, remark(b"hello")));
    let info = client.call("payment_queryInfo", json!([extrinsic])).await;
    assert!(
        info["partialFee"]
            .as_str()
            .unwrap()
            .parse::<u128>()
            .unwrap()
            > 0
    );
    assert_eq!(info["class"], json!("normal"));
    assert!(info["weight"]["ref_time"].is_number());
    let details = client
        .call("payment_queryFeeDetails", json!([extrinsic]))
        .await;
    assert!(
        details["inclusionFee"]["baseFee"]
            .as_str()
            .unwrap()
            .starts_with("0x")
    );
    assert!(
        client
            .refusal("payment_queryInfo", json!(["0x00"]))
            .await
            .message
            .contains("metadata")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_followed_through_blocks() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let blocks: Vec<_> = (0..3).map(|_| node.author().hash).collect();
    let number = hex(&storage_key("System", "Number"));
    let code = hex(b":code");
    let query = json!([[number, code], blocks[0], blocks[2]]);
    let sets = client.call("state_queryStorage", query).await;
    let expected = json!([
        { "block": blocks[0], "changes": [[number, "0x01000000"], [code, hex(&code_marker())]] },
        { "block": blocks[1], "changes": [[number, "0x02000000"]] },
        { "block": blocks[2], "changes": [[number, "0x03000000"]] },
    ]);
    assert_eq!(sets, expected);
    let backwards = json!([[number], blocks[2], blocks[0]]);
    let refused = client.refusal("state_queryStorage", backwards).await;
    assert!(refused.message.contains("exchange them"), "{refused:?}");
    let unknown = json!([[number], hex(&[9; 32])]);
    let refused = client.refusal("state_queryStorage", unknown).await;
    assert!(
        refused.message.contains("not in this node's database"),
        "{refused:?}"
    );
}
