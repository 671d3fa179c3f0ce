//! `author_*`.

use serde_json::{Value, json};

use crate::support::{Client, Refused, TestNode, hex, next, remark};

const SUBMIT_AND_WATCH: &str = "author_submitAndWatchExtrinsic";
const UNWATCH: &str = "author_unwatchExtrinsic";

async fn watch_refusal(client: &Client, extrinsic: &[u8]) -> Refused {
    let watched = client
        .try_subscribe(SUBMIT_AND_WATCH, json!([hex(extrinsic)]), UNWATCH)
        .await;
    watched.expect_err("it is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_is_watched_until_it_is_final() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign_reading("A", 0, 1, 25_000));
    let mut watch = client
        .subscribe(SUBMIT_AND_WATCH, json!([extrinsic]), UNWATCH)
        .await;
    assert_eq!(next(&mut watch).await, json!("ready"));
    assert_eq!(
        client.call("author_pendingExtrinsics", json!([])).await,
        json!([extrinsic])
    );
    let hash = node.author().hash;
    assert_eq!(next(&mut watch).await, json!({ "inBlock": hash }));
    assert_eq!(next(&mut watch).await, json!({ "finalized": hash }));
    assert_eq!(
        client.call("author_pendingExtrinsics", json!([])).await,
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_of_a_later_step_waits_for_it() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign_reading("A", 0, 2, 100));
    let mut watch = client
        .subscribe(SUBMIT_AND_WATCH, json!([extrinsic]), UNWATCH)
        .await;
    assert_eq!(next(&mut watch).await, json!("future"));
    node.author();
    assert_eq!(next(&mut watch).await, json!("ready"));
    let hash = node.author().hash;
    assert_eq!(next(&mut watch).await, json!({ "inBlock": hash }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_whom_to_ask_again_and_again() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = node.sign("Stranger", 0, remark(b"hello"));
    let refused = watch_refusal(&client, &extrinsic).await;
    assert_eq!(
        (refused.code, &refused.message[..]),
        (1010, "Invalid Transaction")
    );
    assert!(
        refused.data.contains("account not registered: ask the DSO"),
        "{refused:?}"
    );
    let refused = client
        .refusal("author_submitExtrinsic", json!([hex(&extrinsic)]))
        .await;
    assert_eq!(refused.code, 1012);
    assert!(
        refused.data.contains("account not registered: ask the DSO"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_transactions_are_told_the_cause() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let first = node.sign("X", 0, remark(b"first"));
    let submitted = client
        .call("author_submitExtrinsic", json!([hex(&first)]))
        .await;
    assert_eq!(submitted, json!(commonwatt_txpool::hash_of(&first)));
    let refused = client
        .refusal("author_submitExtrinsic", json!([hex(&first)]))
        .await;
    assert_eq!(refused.code, 1013, "{refused:?}");
    node.author();

    let stale = node.sign("X", 0, remark(b"second"));
    let refused = watch_refusal(&client, &stale).await;
    assert_eq!(refused.code, 1010);
    assert!(refused.data.contains("nonce 0, expected 1"), "{refused:?}");

    let mut forged = node.sign("X", 1, remark(b"third"));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let refused = watch_refusal(&client, &forged).await;
    assert_eq!(refused.code, 1010);
    assert!(refused.data.contains("signature"), "{refused:?}");

    let refused = watch_refusal(&client, b"no extrinsic").await;
    assert_eq!(refused.code, 1010);
    assert!(
        refused.data.contains("no extrinsic of this chain"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_transactions_can_be_removed_by_hash_and_by_bytes() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsics = [
        node.sign("X", 0, remark(b"one")),
        node.sign("Y", 0, remark(b"two")),
    ];
    let mut hashes = Vec::new();
    for extrinsic in &extrinsics {
        hashes.push(
            client
                .call("author_submitExtrinsic", json!([hex(extrinsic)]))
                .await,
        );
    }
    let wanted = json!([[{ "hash": hashes[0] }, { "extrinsic": hex(&extrinsics[1]) }]]);
    let removed = client.call("author_removeExtrinsic", wanted.clone()).await;
    assert_eq!(removed, Value::Array(hashes));
    assert_eq!(
        client.call("author_removeExtrinsic", wanted).await,
        json!([])
    );
    assert_eq!(
        client.call("author_pendingExtrinsics", json!([])).await,
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_transaction_tells_its_watcher() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign("X", 0, remark(b"one")));
    let mut watch = client
        .subscribe(SUBMIT_AND_WATCH, json!([extrinsic]), UNWATCH)
        .await;
    assert_eq!(next(&mut watch).await, json!("ready"));
    client
        .call(
            "author_removeExtrinsic",
            json!([{ "extrinsic": extrinsic }]),
        )
        .await;
    assert_eq!(next(&mut watch).await, json!("dropped"));
}
