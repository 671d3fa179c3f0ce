//! What people watch the node by: readiness, the counts of calls and connections, the log's filter.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use commonwatt_rpc::{CallObserver, CallProtocol, LogFilter, RpcConfig, Safety, Services};
use commonwatt_storage::StatePruning;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{TestNode, config};

/// Counts by what happened.
#[derive(Default)]
struct Counts {
    counts: Mutex<BTreeMap<String, u32>>,
    changed: Notify,
}

impl Counts {
    fn add(&self, what: String) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
        self.changed.notify_waiters();
    }

    fn of(&self, what: &str) -> u32 {
        let counts = self.counts.lock().unwrap();
        counts.get(what).copied().unwrap_or_default()
    }

    /// Waits until something has happened.
    async fn wait_for(&self, what: &str) {
        let met = async {
            loop {
                let changed = self.changed.notified();
                if self.of(what) > 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), met)
            .await
            .unwrap_or_else(|_| panic!("{what} never happens: {:?}", self.counts));
    }
}

impl CallObserver for Counts {
    fn call_started(&self, protocol: CallProtocol, method: &'static str) {
        self.add(format!("{protocol:?} {method} started"));
    }

    fn call_finished(
        &self,
        protocol: CallProtocol,
        method: &'static str,
        is_error: bool,
        _: Duration,
    ) {
        let how = if is_error { "failed" } else { "answered" };
        self.add(format!("{protocol:?} {method} {how}"));
    }

    fn session_opened(&self) {
        self.add("opened".into());
    }

    fn session_closed(&self) {
        self.add("closed".into());
    }
}

async fn counted() -> (TestNode, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let services = Services {
        observer: Some(counts.clone()),
        ..Services::default()
    };
    let node = TestNode::start_lending(config(), StatePruning::default(), services).await;
    (node, counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_one_by_one_in_a_batch_too() {
    let (node, counts) = counted().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "system_chain" },
        { "jsonrpc": "2.0", "id": 2, "method": "made_up_name" },
        { "jsonrpc": "2.0", "method": "system_name" },
        { "jsonrpc": "2.0", "id": 3, "method": "system_chain" },
        7,
    ]);
    let (status, body) = node.post(&batch.to_string()).await;
    assert_eq!(status, 200);
    let answers: Vec<Value> = serde_json::from_str(&body).unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].clone()).collect();
    let null = Value::Null;
    assert_eq!(ids, [json!(1), json!(2), null.clone(), json!(3), null]);
    assert_eq!(answers[2]["error"]["code"], json!(-32600));
    assert_eq!(answers[3]["result"], json!("Example"));

    assert_eq!(counts.of("Http system_chain started"), 2);
    assert_eq!(counts.of("Http system_chain answered"), 2);
    assert_eq!(counts.of("Http unknown failed"), 1);
    assert_eq!(counts.of("Http made_up_name started"), 0);
    // A notification is no call: nothing is done for it.
    assert_eq!(counts.of("Http system_name started"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_batch_and_one_of_notifications_are_answered_as_ever() {
    let (node, _) = counted().await;
    let plain = TestNode::start().await;
    for body in ["[]", r#"[{"jsonrpc":"2.0","method":"system_name"}]"#] {
        assert_eq!(node.post(body).await, plain.post(body).await, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_counted_when_they_open_and_when_they_close() {
    let (node, counts) = counted().await;
    node.post(r#"{"jsonrpc":"2.0","id":1,"method":"system_chain"}"#)
        .await;
    assert_eq!(counts.of("opened"), 0);
    let client = node.client().await;
    client.call("system_chain", json!([])).await;
    assert_eq!(counts.of("opened"), 1);
    assert_eq!(counts.of("WebSocket system_chain answered"), 1);
    assert_eq!(counts.of("closed"), 0);
    drop(client);
    counts.wait_for("closed").await;
    assert_eq!(counts.of("closed"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_for_by_http_and_says_why_not() {
    let node = TestNode::start().await;
    let head = "GET /health/readiness HTTP/1.1\r\nHost: localhost";
    // The example's steps began to close long ago.
    let (status, _, body) = node.http(head, "").await;
    assert_eq!(status, 503);
    assert!(body.contains("block 0 is the last"), "{body}");
    node.chain.set_catching_up(true);
    let (status, _, body) = node.http(head, "").await;
    assert_eq!(status, 503);
    assert!(body.contains("catching up"), "{body}");
    // Not for names this node does not go by.
    let foreign = "GET /health/readiness HTTP/1.1\r\nHost: evil.example";
    assert_eq!(node.http(foreign, "").await.0, 403);
}

// ---------------------------------------------------------------------------------- the log's filter

/// Keeps what it is told, and takes nothing that is loud.
#[derive(Default)]
struct Filter(Mutex<Vec<String>>);

impl LogFilter for Filter {
    fn add(&self, directives: &str) -> Result<(), String> {
        if directives.contains("loud") {
            return Err("loud is no level".into());
        }
        self.0.lock().unwrap().push(directives.to_owned());
        Ok(())
    }

    fn reset(&self) -> Result<(), String> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}

async fn filtered(methods: Safety) -> (TestNode, Arc<Filter>) {
    let filter = Arc::new(Filter::default());
    let services = Services {
        log_filter: Some(filter.clone()),
        ..Services::default()
    };
    let config = RpcConfig {
        methods,
        ..config()
    };
    let node = TestNode::start_lending(config, StatePruning::default(), services).await;
    (node, filter)
}

async fn ask(node: &TestNode, method: &str, parameters: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": parameters });
    let (_, body) = node.post(&request.to_string()).await;
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_filter_is_added_to_and_reset() {
    let (node, filter) = filtered(Safety::Unsafe).await;
    let answer = ask(&node, "system_addLogFilter", json!(["energy=debug"])).await;
    assert_eq!(answer.get("result"), Some(&json!(null)), "{answer}");
    assert_eq!(*filter.0.lock().unwrap(), ["energy=debug"]);
    let answer = ask(&node, "system_addLogFilter", json!(["energy=loud"])).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("loud is no level"), "{answer}");
    ask(&node, "system_resetLogFilter", json!([])).await;
    assert!(filter.0.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_everybody_may_change_the_logs_filter() {
    let (node, filter) = filtered(Safety::Safe).await;
    for method in ["system_addLogFilter", "system_resetLogFilter"] {
        let answer = ask(&node, method, json!(["energy=debug"])).await;
        assert_eq!(answer["error"]["code"], json!(-32601), "{answer}");
        let listed = ask(&node, "rpc_methods", json!([])).await;
        let names = listed["result"]["methods"].as_array().unwrap();
        assert!(!names.contains(&json!(method)));
    }
    assert!(filter.0.lock().unwrap().is_empty());
}
