//! `author_*`.

use codec::Encode;
use commonwatt_runtime::{
    Hash, RuntimeCall, UncheckedExtrinsic,
    example::{account, pair},
    transaction::{SigningContext, sign_with},
};
use serde_json::{Value, json};
use sp_core::Pair;
use sp_runtime::generic::Era;

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

fn timestamp() -> RuntimeCall {
    RuntimeCall::Timestamp(pallet_timestamp::Call::set { now: 1 })
}

/// Returns the first transaction of a signer, for a chain and an era, with a tip.
fn sign_as(signer: &str, context: &SigningContext, tip: u128) -> Vec<u8> {
    let key = pair(signer);
    let sign = |payload: &[u8]| key.sign(payload).into();
    let who = account(signer);
    sign_with(remark(b"text"), 0, tip, context, who, sign).encode()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reason_of_a_refusal_comes_with_its_cause_and_its_mend() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let used = node.sign("X", 0, remark(b"used"));
    client
        .call("author_submitExtrinsic", json!([hex(&used)]))
        .await;
    for _ in 0..8 {
        node.author();
    }
    let here = SigningContext::immortal(node.chain.genesis_hash());
    let elsewhere = SigningContext::immortal(Hash::repeat_byte(7));
    let long_ago = SigningContext {
        era: Era::mortal(4, 2),
        era_hash: node.chain.db().hash_of(2).unwrap().unwrap(),
        ..here
    };
    let mut forged = sign_as("Y", &here, 0);
    *forged.last_mut().unwrap() ^= 1;
    let unsigned = UncheckedExtrinsic::new_bare(remark(b"unsigned")).encode();
    let refusals = [
        (
            "an unregistered signer",
            sign_as("Stranger", &here, 0),
            1010,
            "not registered",
            "ask the DSO",
        ),
        (
            "a used nonce",
            node.sign("X", 0, remark(b"again")),
            1010,
            "nonce 0, expected 1",
            "system_accountNextIndex",
        ),
        (
            "a device beyond its quota",
            node.sign("A", 0, remark(b"chat")),
            1010,
            "quota used up",
            "add coins",
        ),
        (
            "a tip without coins",
            sign_as("Y", &here, 1_000),
            1010,
            "not enough coins for the tip",
            "lower it",
        ),
        (
            "a forged signature",
            forged,
            1010,
            "signature does not match",
            "own key",
        ),
        (
            "another chain",
            sign_as("Y", &elsewhere, 0),
            1010,
            "signature does not match",
            "genesis hash",
        ),
        (
            "an era that is over",
            sign_as("Y", &long_ago, 0),
            1010,
            "its era may be over",
            "recent block",
        ),
        (
            "an author's call",
            node.sign("Y", 0, timestamp()),
            1010,
            "only the author",
            "cannot be submitted",
        ),
        (
            "no signature",
            unsigned,
            1010,
            "not allowed on this chain",
            "another origin",
        ),
        (
            "no extrinsic",
            vec![1, 2, 3],
            1010,
            "no extrinsic of this chain",
            "metadata",
        ),
        (
            "too long",
            node.sign("Y", 0, remark(&vec![0; 600_000])),
            1010,
            "at most",
            "split it",
        ),
    ];
    for (what, extrinsic, code, cause, mend) in refusals {
        let refused = watch_refusal(&client, &extrinsic).await;
        assert_eq!(refused.code, code, "{what}: {refused:?}");
        assert!(refused.data.contains(cause), "{what}: {refused:?}");
        assert!(refused.data.contains(mend), "{what}: {refused:?}");
        // The second time it may be refused unseen, for the same reason.
        let refused = client
            .refusal("author_submitExtrinsic", json!([hex(&extrinsic)]))
            .await;
        assert!(matches!(refused.code, 1010 | 1012), "{what}: {refused:?}");
        assert!(!refused.data.is_empty(), "{what}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_offers_no_more_is_refused_with_both_priorities() {
    let node = TestNode::start().await;
    let client = node.client().await;
    for (text, code) in [("one", None), ("two", Some(1014))] {
        let extrinsic = node.sign("X", 0, remark(text.as_bytes()));
        let submitted = client
            .try_call("author_submitExtrinsic", json!([hex(&extrinsic)]))
            .await;
        assert_eq!(submitted.as_ref().err().map(|refused| refused.code), code);
        if let Err(refused) = submitted {
            assert!(refused.data.contains("offer a higher tip"), "{refused:?}");
        }
    }
}
