//! `chain_*`.

use commonwatt_runtime::Header;
use serde_json::{Value, json};

use crate::support::{TestNode, hex, next};

#[tokio::test(flavor = "multi_thread")]
async fn headers_can_be_hashed_again_by_clients() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let authored = node.author();
    let json = client.call("chain_getHeader", json!([])).await;
    assert_eq!(json["number"], json!("0x1"));
    assert!(
        json["digest"]["logs"][0]
            .as_str()
            .unwrap()
            .starts_with("0x06706f775f")
    );
    let header: Header = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(header.hash(), authored.hash);
    let names: Vec<_> = json
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "digest",
            "extrinsicsRoot",
            "number",
            "parentHash",
            "stateRoot"
        ]
    );
    let nobody = json!([hex(&[9; 32])]);
    assert_eq!(
        client.call("chain_getHeader", nobody.clone()).await,
        Value::Null
    );
    assert_eq!(client.call("chain_getBlock", nobody).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_come_with_their_extrinsics_and_their_proof() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = node.sign_reading("A", 0, 1, 25_000);
    client
        .call("author_submitExtrinsic", json!([hex(&extrinsic)]))
        .await;
    let hash = node.author().hash;
    let block = client.call("chain_getBlock", json!([hash])).await;
    let extrinsics = block["block"]["extrinsics"].as_array().unwrap();
    assert_eq!(extrinsics.len(), 2);
    assert_eq!(extrinsics[1], json!(hex(&extrinsic)));
    assert_eq!(block["justifications"][0][0], json!(b"cwtt"));
    let kept = node.chain.db().block(&hash).unwrap().unwrap();
    let proof = kept.justification.unwrap();
    assert_eq!(block["justifications"][0][1], json!(proof));
    let genesis = client
        .call("chain_getBlock", json!([node.chain.genesis_hash()]))
        .await;
    assert_eq!(genesis["justifications"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_are_found_by_number_in_every_form() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let one = json!(node.author().hash);
    let genesis = json!(node.chain.genesis_hash());
    for (given, expected) in [
        (json!([]), one.clone()),
        (json!([null]), one.clone()),
        (json!([0]), genesis.clone()),
        (json!(["0x1"]), one.clone()),
        (json!([7]), Value::Null),
        (json!([[]]), json!([])),
        (json!([[1, "0x0", 9]]), json!([one, genesis, null])),
    ] {
        assert_eq!(
            client.call("chain_getBlockHash", given.clone()).await,
            expected,
            "{given}"
        );
    }
    assert_eq!(client.call("chain_getHead", json!([])).await, one);
    assert_eq!(client.call("chain_getFinalizedHead", json!([])).await, one);
    assert_eq!(client.call("chain_getFinalisedHead", json!([])).await, one);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_begin_with_the_best_and_follow_each_block_once() {
    let node = TestNode::start().await;
    let client = node.client().await;
    node.author();
    for (subscribe, end) in [
        ("chain_subscribeNewHeads", "chain_unsubscribeNewHeads"),
        ("chain_subscribeNewHead", "chain_unsubscribeNewHead"),
        ("chain_subscribeAllHeads", "chain_unsubscribeAllHeads"),
        (
            "chain_subscribeFinalizedHeads",
            "chain_unsubscribeFinalizedHeads",
        ),
        (
            "chain_subscribeFinalisedHeads",
            "chain_unsubscribeFinalisedHeads",
        ),
    ] {
        let best = node.chain.best().0;
        let mut heads = client.subscribe(subscribe, json!([]), end).await;
        assert_eq!(
            next(&mut heads).await["number"],
            json!(format!("{best:#x}"))
        );
        node.author();
        node.author();
        for number in [best + 1, best + 2] {
            assert_eq!(
                next(&mut heads).await["number"],
                json!(format!("{number:#x}"))
            );
        }
        heads.unsubscribe().await.unwrap();
    }
}
