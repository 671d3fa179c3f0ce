//! `chainHead_v1_*`, `chainSpec_v1_*` and `transaction_v1_*`.

use codec::{Decode, Encode};
use commonwatt_rpc::{
    BROADCASTS_PER_CONNECTION_MAX, FOLLOWS_PER_CONNECTION_MAX, OPERATIONS_MAX, PINNED_BLOCKS_MAX,
};
use commonwatt_runtime::{Hash, Header, code_marker, example::account};
use jsonrpsee::{
    core::client::Subscription, core::client::SubscriptionKind, types::SubscriptionId,
};
use serde_json::{Value, json};
use sp_core::Bytes;

use crate::support::{Client, TestNode, hex, next, remark, storage_key};

const FOLLOW: &str = "chainHead_v1_follow";
const UNFOLLOW: &str = "chainHead_v1_unfollow";

/// A subscription to the head, and its id.
struct Head {
    events: Subscription<Value>,
    id: String,
}

impl Head {
    async fn follow(client: &Client, with_runtime: bool) -> Self {
        let events = client
            .subscribe(FOLLOW, json!([with_runtime]), UNFOLLOW)
            .await;
        let id = match events.kind() {
            SubscriptionKind::Subscription(SubscriptionId::Str(id)) => id.to_string(),
            other => panic!("an id is text: {other:?}"),
        };
        Self { events, id }
    }

    /// Follows, and takes in what a subscription begins with: the blocks it reports.
    async fn begin(client: &Client) -> (Self, Vec<Value>) {
        let mut head = Self::follow(client, true).await;
        let initialized = head.next().await;
        assert_eq!(initialized["event"], json!("initialized"));
        let hashes = initialized["finalizedBlockHashes"]
            .as_array()
            .unwrap()
            .clone();
        assert_eq!(head.next().await["event"], json!("bestBlockChanged"));
        (head, hashes)
    }

    async fn next(&mut self) -> Value {
        next(&mut self.events).await
    }

    /// Starts an operation and returns its id.
    async fn start(&self, client: &Client, method: &str, rest: Value) -> String {
        let answer = self.ask(client, method, rest).await;
        assert_eq!(answer["result"], json!("started"), "{method}: {answer}");
        answer["operationId"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, client: &Client, method: &str, rest: Value) -> Value {
        client.call(method, self.with(rest)).await
    }

    /// Puts the subscription's id before other parameters.
    fn with(&self, rest: Value) -> Value {
        let mut list = vec![json!(self.id)];
        list.extend(rest.as_array().unwrap().iter().cloned());
        Value::Array(list)
    }

    /// Returns the items of a storage operation, going on as often as it waits.
    async fn items(&mut self, client: &Client, operation: &str) -> (Vec<Value>, u32) {
        let (mut items, mut waits) = (Vec::new(), 0);
        loop {
            let event = self.next().await;
            assert_eq!(event["operationId"], json!(operation), "{event}");
            match event["event"].as_str().unwrap() {
                "operationStorageItems" => {
                    items.extend(event["items"].as_array().unwrap().clone());
                }
                "operationWaitingForContinue" => {
                    waits += 1;
                    self.ask(client, "chainHead_v1_continue", json!([operation]))
                        .await;
                }
                "operationStorageDone" => return (items, waits),
                _ => panic!("{event}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_new_then_best_then_final() {
    let node = TestNode::start().await;
    let client = node.client().await;
    node.author();
    let mut head = Head::follow(&client, true).await;
    let initialized = head.next().await;
    let (genesis, best) = (node.chain.genesis_hash(), node.chain.best().1);
    assert_eq!(initialized["event"], json!("initialized"));
    assert_eq!(initialized["finalizedBlockHashes"], json!([genesis, best]));
    let spec = &initialized["finalizedBlockRuntime"]["spec"];
    assert_eq!(spec["specName"], json!("commonwatt"));
    assert!(spec["apis"]["0xdf6acb689907609b"].is_number(), "{spec}");
    let expected = json!({ "event": "bestBlockChanged", "bestBlockHash": best });
    assert_eq!(head.next().await, expected);
    let hash = node.author().hash;
    for expected in [
        json!({ "event": "newBlock", "blockHash": hash, "parentBlockHash": best, "newRuntime": null }),
        json!({ "event": "bestBlockChanged", "bestBlockHash": hash }),
        json!({ "event": "finalized", "finalizedBlockHashes": [hash], "prunedBlockHashes": [] }),
    ] {
        assert_eq!(head.next().await, expected);
    }
    head.events.unsubscribe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_runtime_nothing_is_said_about_it_and_it_cannot_be_called() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let mut head = Head::follow(&client, false).await;
    let initialized = head.next().await;
    assert!(initialized.get("finalizedBlockRuntime").is_none());
    head.next().await;
    node.author();
    assert!(head.next().await.get("newRuntime").is_none());
    let call = head.with(json!([node.chain.genesis_hash(), "Core_version", "0x"]));
    let refused = client.refusal("chainHead_v1_call", call).await;
    assert_eq!(refused.code, -32802, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn header_body_and_call_of_a_pinned_block_are_answered() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let extrinsic = hex(&node.sign_reading("A", 0, 1, 25_000));
    client
        .call("author_submitExtrinsic", json!([extrinsic]))
        .await;
    let block = node.author();
    let (mut head, _) = Head::begin(&client).await;
    let answer = head
        .ask(&client, "chainHead_v1_header", json!([block.hash]))
        .await;
    let bytes: Bytes = serde_json::from_value(answer).unwrap();
    let header = Header::decode(&mut &bytes[..]).unwrap();
    assert_eq!(header.hash(), block.hash);

    let operation = head
        .start(&client, "chainHead_v1_body", json!([block.hash]))
        .await;
    let event = head.next().await;
    assert_eq!(event["event"], json!("operationBodyDone"));
    assert_eq!(event["operationId"], json!(operation));
    assert_eq!(event["value"][1], json!(extrinsic));

    let question = hex(&account("X").encode());
    let call = json!([block.hash, "AccountNonceApi_account_nonce", question]);
    let operation = head.start(&client, "chainHead_v1_call", call).await;
    let expected = json!({
        "event": "operationCallDone", "operationId": operation, "output": "0x00000000",
    });
    assert_eq!(head.next().await, expected);

    let call = json!([block.hash, "No_such_function", "0x"]);
    head.start(&client, "chainHead_v1_call", call).await;
    let event = head.next().await;
    assert_eq!(event["event"], json!("operationError"));
    assert!(
        event["error"].as_str().unwrap().contains("does not exist"),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_is_answered_in_every_form() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    let (code, nothing) = (hex(b":code"), "0xffff");
    let roles = storage_key("Registry", "Roles");
    let ask = async |head: &mut Head, items: Value| {
        let operation = head
            .start(
                &client,
                "chainHead_v1_storage",
                json!([hashes[0], items, null]),
            )
            .await;
        head.items(&client, &operation).await.0
    };
    let found = ask(
        &mut head,
        json!([
            { "key": code, "type": "value" },
            { "key": nothing, "type": "value" },
            { "key": code, "type": "hash" },
            { "key": nothing, "type": "hash" },
        ]),
    )
    .await;
    let marker = code_marker();
    let expected = json!([
        { "key": code, "value": hex(&marker) },
        { "key": code, "hash": commonwatt_txpool::hash_of(&marker) },
    ]);
    assert_eq!(json!(found), expected);

    let values = ask(
        &mut head,
        json!([{ "key": hex(&roles), "type": "descendantsValues" }]),
    )
    .await;
    let pairs = client.call("state_getPairs", json!([hex(&roles)])).await;
    let values: Vec<_> = values
        .iter()
        .map(|item| json!([item["key"], item["value"]]))
        .collect();
    assert!(values.len() > 2);
    assert_eq!(json!(values), pairs);
    let hashes_found = ask(
        &mut head,
        json!([{ "key": hex(&roles), "type": "descendantsHashes" }]),
    )
    .await;
    assert_eq!(hashes_found.len(), values.len());
    assert_eq!(hashes_found[0]["hash"].as_str().unwrap().len(), 66);

    // The closest descendant of the empty key is the root itself.
    let merkle = "closestDescendantMerkleValue";
    let found = ask(
        &mut head,
        json!([{ "key": "0x", "type": merkle }, { "key": nothing, "type": merkle }]),
    )
    .await;
    let genesis = node.chain.db().header(&node.chain.genesis_hash()).unwrap();
    assert_eq!(
        json!(found),
        json!([{ "key": "0x", merkle: genesis.unwrap().state_root }])
    );
    // Before and after a change somewhere else, the value of a subtree is the same.
    let of_roles = json!([{ "key": hex(&roles), "type": merkle }]);
    let before = ask(&mut head, of_roles.clone()).await;
    assert_eq!(before.len(), 1);
    let child = head
        .start(
            &client,
            "chainHead_v1_storage",
            json!([hashes[0], [{ "key": code, "type": "value" }], "0x00"]),
        )
        .await;
    assert_eq!(head.items(&client, &child).await.0, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn much_storage_comes_page_by_page_as_the_client_goes_on() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    // The whole state under work several times over is more than one page.
    let everything = json!({ "key": "0x", "type": "descendantsValues" });
    let items = json!([hashes[0], vec![everything; 32], null]);
    let operation = head
        .start(&client, "chainHead_v1_storage", items.clone())
        .await;
    let (found, waits) = head.items(&client, &operation).await;
    let all = client.call("state_getPairs", json!(["0x"])).await;
    assert_eq!(found.len(), 32 * all.as_array().unwrap().len());
    assert!(waits > 0, "{} items were one page", found.len());

    // One that does not wait cannot go on, and one that is stopped does not.
    let operation = head.start(&client, "chainHead_v1_storage", items).await;
    loop {
        let event = head.next().await;
        if event["event"] == json!("operationWaitingForContinue") {
            break;
        }
    }
    assert_eq!(
        head.ask(&client, "chainHead_v1_continue", json!(["no such id"]))
            .await,
        Value::Null
    );
    head.ask(&client, "chainHead_v1_stopOperation", json!([operation]))
        .await;
    head.ask(&client, "chainHead_v1_continue", json!([operation]))
        .await;
    let body = head
        .start(&client, "chainHead_v1_body", json!([hashes[0]]))
        .await;
    assert_eq!(head.next().await["operationId"], json!(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_does_not_wait_cannot_be_continued() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    let everything = json!({ "key": "0x", "type": "descendantsValues" });
    let items = json!([hashes[0], vec![everything; 32], null]);
    let operation = head.start(&client, "chainHead_v1_storage", items).await;
    while head.next().await["event"] != json!("operationWaitingForContinue") {}
    let go_on = head.with(json!([operation]));
    // Both are sent before either is answered: one of them finds it waiting no more.
    let (one, other) = tokio::join!(
        client.try_call("chainHead_v1_continue", go_on.clone()),
        client.try_call("chainHead_v1_continue", go_on),
    );
    let refused = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => Some(refused),
        // The next page was ready between the two.
        (Ok(_), Ok(_)) => None,
        both => panic!("{both:?}"),
    };
    assert!(
        refused.is_none_or(|refused| refused.code == -32803),
        "only -32803 may come"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unpinned_blocks_cannot_be_asked_about() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let first = node.author().hash;
    let second = node.author().hash;
    let (head, _) = Head::begin(&client).await;
    let unpin = async |what: Value| {
        client
            .try_call("chainHead_v1_unpin", head.with(json!([what])))
            .await
            .map_err(|refused| refused.code)
    };
    assert_eq!(unpin(json!([first, first])).await, Err(-32804));
    assert_eq!(unpin(json!([first, hex(&[9; 32])])).await, Err(-32801));
    assert_eq!(unpin(json!([first])).await, Ok(Value::Null));
    assert_eq!(unpin(json!(first)).await, Err(-32801));
    assert_eq!(unpin(json!(second)).await, Ok(Value::Null));
    for (method, rest) in [
        ("chainHead_v1_header", json!([first])),
        ("chainHead_v1_body", json!([first])),
        ("chainHead_v1_call", json!([first, "Core_version", "0x"])),
        ("chainHead_v1_storage", json!([first, [], null])),
    ] {
        let refused = client.refusal(method, head.with(rest)).await;
        assert_eq!(refused.code, -32801, "{method}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_not_or_no_more_is_answered_as_the_specification_says() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let hash = node.chain.genesis_hash();
    let limit = json!({ "result": "limitReached" });
    let other_client = node.client().await;
    let (head, _) = Head::begin(&other_client).await;
    // Subscriptions of other connections are none of this one's.
    for id in ["nobody", &head.id] {
        for (method, list, expected) in [
            ("chainHead_v1_header", json!([id, hash]), Value::Null),
            ("chainHead_v1_body", json!([id, hash]), limit.clone()),
            (
                "chainHead_v1_call",
                json!([id, hash, "Core_version", "0x"]),
                limit.clone(),
            ),
            (
                "chainHead_v1_storage",
                json!([id, hash, [], null]),
                limit.clone(),
            ),
            ("chainHead_v1_unpin", json!([id, hash]), Value::Null),
            ("chainHead_v1_continue", json!([id, "0"]), Value::Null),
            ("chainHead_v1_stopOperation", json!([id, "0"]), Value::Null),
        ] {
            assert_eq!(client.call(method, list).await, expected, "{method}");
        }
    }
    for (method, list) in [
        ("chainHead_v1_header", json!(["x"])),
        (
            "chainHead_v1_storage",
            json!(["x", hash, [{ "key": "0x", "type": "all" }]]),
        ),
        (
            "chainHead_v1_call",
            json!(["x", hash, "Core_version", "zz"]),
        ),
    ] {
        assert_eq!(client.refusal(method, list).await.code, -32602, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_connection_and_work_of_a_subscription_are_bounded() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    let mut others = Vec::new();
    for _ in 1..FOLLOWS_PER_CONNECTION_MAX {
        others.push(Head::follow(&client, false).await);
    }
    let refused = client
        .try_subscribe(FOLLOW, json!([true]), UNFOLLOW)
        .await
        .unwrap_err();
    assert_eq!(refused.code, -32800, "{refused:?}");
    drop(others);

    let everything = json!({ "key": "0x", "type": "descendantsValues" });
    let items = vec![everything; OPERATIONS_MAX + 3];
    let answer = head
        .ask(
            &client,
            "chainHead_v1_storage",
            json!([hashes[0], items, null]),
        )
        .await;
    assert_eq!(answer["discardedItems"], json!(3), "{answer}");
    let body = head
        .ask(&client, "chainHead_v1_body", json!([hashes[0]]))
        .await;
    assert_eq!(body, json!({ "result": "limitReached" }));
    // What is stopped makes room.
    head.ask(
        &client,
        "chainHead_v1_stopOperation",
        json!([answer["operationId"]]),
    )
    .await;
    loop {
        let body = head
            .ask(&client, "chainHead_v1_body", json!([hashes[0]]))
            .await;
        if body["result"] == json!("started") {
            break;
        }
        tokio::task::yield_now().await;
    }
    while head.next().await["event"] != json!("operationBodyDone") {}
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_unpins_is_stopped() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    for _ in hashes.len()..PINNED_BLOCKS_MAX {
        node.author();
        for expected in ["newBlock", "bestBlockChanged", "finalized"] {
            assert_eq!(head.next().await["event"], json!(expected));
        }
    }
    node.author();
    assert_eq!(head.next().await, json!({ "event": "stop" }));
    assert_eq!(
        head.ask(&client, "chainHead_v1_header", json!([hashes[0]]))
            .await,
        Value::Null
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_named_as_its_spec_names_it() {
    let node = TestNode::start().await;
    let client = node.client().await;
    for (method, expected) in [
        ("chainSpec_v1_chainName", json!("Example")),
        ("chainSpec_v1_genesisHash", json!(node.chain.genesis_hash())),
        (
            "chainSpec_v1_properties",
            client.call("system_properties", json!([])).await,
        ),
    ] {
        assert_eq!(client.call(method, json!([])).await, expected, "{method}");
    }
}

/// Returns once a transaction is in the pool.
async fn wait_until_pending(client: &Client, extrinsic: &str) {
    loop {
        let pending = client.call("author_pendingExtrinsics", json!([])).await;
        if pending.as_array().unwrap().contains(&json!(extrinsic)) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_offered_until_it_can_be_taken() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let first = hex(&node.sign("X", 0, remark(b"first")));
    let operation = client
        .call("transaction_v1_broadcast", json!([first]))
        .await;
    wait_until_pending(&client, &first).await;
    // Somebody takes it out; after the next block it is offered again.
    client
        .call("author_removeExtrinsic", json!([{ "extrinsic": first }]))
        .await;
    node.author();
    wait_until_pending(&client, &first).await;
    let block = node.author();
    assert_eq!(block.extrinsics, 2);
    assert_eq!(
        client.call("transaction_v1_stop", json!([operation])).await,
        Value::Null
    );
    let refused = client
        .refusal("transaction_v1_stop", json!([operation]))
        .await;
    assert_eq!(refused.code, -32602);
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_of_a_connection_are_bounded_even_when_nothing_is_taken() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let mut operations = Vec::new();
    for _ in 0..BROADCASTS_PER_CONNECTION_MAX {
        let operation = client
            .call("transaction_v1_broadcast", json!(["0x1234"]))
            .await;
        assert!(operation.is_string(), "{operation}");
        operations.push(operation);
    }
    let one_more = || client.call("transaction_v1_broadcast", json!(["0x1234"]));
    assert_eq!(one_more().await, Value::Null);
    client
        .call("transaction_v1_stop", json!([operations[0]]))
        .await;
    assert!(one_more().await.is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_websocket_says_so_over_http() {
    let node = TestNode::start().await;
    for (method, parameter) in [
        (FOLLOW, "true"),
        ("chain_subscribeNewHeads", "1"),
        ("transaction_v1_broadcast", "\"0x00\""),
    ] {
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{parameter}]}}"#);
        let (_, body) = node.post(&request).await;
        assert!(body.contains("-32002") && body.contains("ws://"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_before_the_events_it_announces() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let (mut head, hashes) = Head::begin(&client).await;
    let hash: Hash = serde_json::from_value(hashes[0].clone()).unwrap();
    let mut started = Vec::new();
    for _ in 0..16 {
        started.push(
            head.start(&client, "chainHead_v1_body", json!([hash]))
                .await,
        );
    }
    let mut done = Vec::new();
    for _ in 0..16 {
        done.push(
            head.next().await["operationId"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    done.sort_by_key(|id| id.parse::<u32>().unwrap());
    assert_eq!(done, started);
}
