//! HTTP, and which pages may use the node.

use commonwatt_rpc::{Cors, Hosts, RpcConfig, RpcError, start};
use commonwatt_storage::StatePruning;
use jsonrpsee_ws_client::{HeaderMap, HeaderValue, WsClientBuilder};
use serde_json::{Value, json};

use crate::support::{TestNode, config, info};

const CHAIN: &str = r#"{"jsonrpc":"2.0","id":1,"method":"system_chain"}"#;
const POST: &str = "POST / HTTP/1.1\r\nContent-Type: application/json";

#[tokio::test(flavor = "multi_thread")]
async fn http_and_websocket_share_the_port() {
    let node = TestNode::start().await;
    let (status, body) = node.post(CHAIN).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["result"], json!("Example"));
    assert_eq!(
        node.client().await.call("system_chain", json!([])).await,
        json!("Example")
    );
    let (status, _, body) = node
        .http("GET /health HTTP/1.1\r\nHost: localhost", "")
        .await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""isSyncing":false"#), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_foreign_origins_are_refused_with_the_flag() {
    let node = TestNode::start().await;
    let from = |origin: &str| format!("{POST}\r\nHost: localhost\r\nOrigin: {origin}");
    let (status, head, _) = node.http(&from("https://polkadot.js.org"), CHAIN).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://polkadot.js.org"),
        "{head}"
    );
    let (status, _, body) = node.http(&from("https://evil.example"), CHAIN).await;
    assert_eq!(status, 403);
    assert!(body.contains("--rpc-cors https://evil.example"), "{body}");

    let preflight = "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\n\
                     Access-Control-Request-Method: POST";
    let (status, head, _) = node.http(preflight, "").await;
    assert_eq!(status, 204);
    assert!(
        head.contains("access-control-allow-headers: content-type"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_cannot_open_a_websocket_either() {
    let node = TestNode::start().await;
    let url = format!("ws://{}", node.server.local_addr());
    let open = async |origin: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("origin", HeaderValue::from_static(origin));
        WsClientBuilder::default()
            .set_headers(headers)
            .build(&url)
            .await
            .map(|_| ())
    };
    assert!(open("https://evil.example").await.is_err());
    assert!(open("http://localhost:8080").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_page_may_when_the_operator_says_so() {
    let config = RpcConfig {
        cors: Cors::Any,
        ..config()
    };
    let node = TestNode::start_with(config, StatePruning::default()).await;
    let head = format!("{POST}\r\nHost: localhost\r\nOrigin: https://evil.example");
    assert_eq!(node.http(&head, CHAIN).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_name_for_this_machine_is_refused() {
    let node = TestNode::start().await;
    let (status, _, _) = node
        .http(&format!("{POST}\r\nHost: rebound.example:9944"), CHAIN)
        .await;
    assert_eq!(status, 403);
    let hosts = Hosts::Only(vec!["rpc.example.org:*".into()]);
    let node = TestNode::start_with(RpcConfig { hosts, ..config() }, StatePruning::default()).await;
    let (status, _, _) = node
        .http(&format!("{POST}\r\nHost: rpc.example.org:443"), CHAIN)
        .await;
    assert_eq!(status, 200);
    // Names that were given come to the machine's own.
    let (status, _, _) = node
        .http(&format!("{POST}\r\nHost: localhost"), CHAIN)
        .await;
    assert_eq!(status, 200);
    let (status, _, _) = node
        .http(&format!("{POST}\r\nHost: rebound.example"), CHAIN)
        .await;
    assert_eq!(status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_said_with_the_mend() {
    let node = TestNode::start().await;
    let config = RpcConfig {
        listen: node.server.local_addr(),
        ..config()
    };
    let error = start(node.chain.clone(), info(), config).await.unwrap_err();
    assert!(matches!(error, RpcError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("--rpc-port"), "{error}");
    let hosts = Hosts::Only(vec!["a host".into()]);
    let config = RpcConfig {
        hosts,
        ..crate::support::config()
    };
    let error = start(node.chain.clone(), info(), config).await.unwrap_err();
    assert!(error.to_string().contains("\"a host\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_lets_go_of_its_port_and_its_clients() {
    let node = TestNode::start().await;
    let client = node.client().await;
    let end = "chain_unsubscribeNewHeads";
    let mut heads = client
        .subscribe("chain_subscribeNewHeads", json!([]), end)
        .await;
    crate::support::next(&mut heads).await;
    let TestNode { chain, server, .. } = node;
    let address = server.local_addr();
    server.stop().await;
    client.0.on_disconnect().await;
    let config = RpcConfig {
        listen: address,
        ..config()
    };
    let server = start(chain.clone(), info(), config)
        .await
        .expect("the port is free again");
    server.stop().await;
}
