//! What a caller cannot do: too much, too long, or nonsense.

use std::time::Duration;

use codec::Encode;
use commonwatt_rpc::RpcConfig;
use commonwatt_runtime::Hash;
use commonwatt_storage::StatePruning;
use jsonrpsee_ws_client::WsClientBuilder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{TestNode, config, hex};

async fn node_with(config: RpcConfig) -> TestNode {
    TestNode::start_with(config, StatePruning::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_methods_and_malformed_requests_are_errors_of_their_kind() {
    let node = TestNode::start().await;
    let client = node.client().await;
    assert_eq!(
        client.refusal("energy_forEverybody", json!([])).await.code,
        -32601
    );
    for (body, code) in [
        ("nonsense", -32700),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"chain_getBlockHash","params":[-1]}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"chain_getHeader","params":["0x12"]}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"chain_getHeader","params":[{"a":1}]}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"state_getStorage","params":["no hex"]}"#,
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"state_getStorage"}"#,
            -32602,
        ),
    ] {
        let (_, answer) = node.post(body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], json!(code), "{body}: {answer}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"chain_getHeader","params":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(node.post(&deep).await.1.contains("error"));
    assert_eq!(
        client.call("system_chain", json!([])).await,
        json!("Example")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_nested_without_end_are_refused_and_the_node_answers_on() {
    let node = TestNode::start().await;
    let client = node.client().await;
    // `utility.as_derivative` of itself, 100 000 times, in an unsigned extrinsic.
    let mut call = vec![0x04_u8];
    call.extend([42, 1, 0, 0].repeat(100_000));
    call.extend([0, 0, 0]);
    let extrinsic = call.encode();
    let judged = (2_u8, &call, Hash::zero()).encode();
    let header = node.chain.db().header(&node.chain.genesis_hash());
    let body = (header.unwrap().unwrap(), vec![&call]).encode();
    let questions = [
        ("author_submitExtrinsic", json!([hex(&extrinsic)])),
        ("payment_queryInfo", json!([hex(&extrinsic)])),
        ("payment_queryFeeDetails", json!([hex(&extrinsic)])),
        ("system_dryRun", json!([hex(&extrinsic)])),
        (
            "state_call",
            json!(["TaggedTransactionQueue_validate_transaction", hex(&judged)]),
        ),
        (
            "state_call",
            json!([
                "TransactionPaymentApi_query_info",
                hex(&(&call, 1_u32).encode())
            ]),
        ),
        (
            "state_call",
            json!(["BlockBuilder_apply_extrinsic", hex(&extrinsic)]),
        ),
        ("state_call", json!(["Core_execute_block", hex(&body)])),
        (
            "state_call",
            json!(["BlockBuilder_check_inherents", hex(&body)]),
        ),
    ];
    for (method, list) in questions {
        let refused = client.refusal(method, list).await;
        let told = format!("{} {}", refused.message, refused.data);
        assert!(told.contains("recursion depth"), "{method}: {told}");
    }
    assert_eq!(
        client.call("system_chain", json!([])).await,
        json!("Example")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_requests_and_batches_are_refused() {
    let node = node_with(RpcConfig {
        max_request_bytes: 10_000,
        max_batch: 3,
        ..config()
    })
    .await;
    let request = |text: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"system_chain","params":["{text}"]}}"#)
    };
    assert_eq!(node.post(&request(&"x".repeat(9_000))).await.0, 200);
    let (status, body) = node.post(&request(&"x".repeat(11_000))).await;
    assert!(status == 413 || body.contains("error"), "{status} {body}");
    let batch = |count| format!("[{}]", vec![request(""); count].join(","));
    let (_, body) = node.post(&batch(3)).await;
    assert_eq!(
        serde_json::from_str::<Value>(&body)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let (_, body) = node.post(&batch(4)).await;
    assert!(body.contains("-32010"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_responses_are_replaced_by_an_error() {
    let node = node_with(RpcConfig {
        max_response_bytes: 10_000,
        ..config()
    })
    .await;
    let client = node.client().await;
    let refused = client.refusal("state_getMetadata", json!([])).await;
    assert_eq!(refused.code, -32008, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_a_connection_are_bounded() {
    let node = node_with(RpcConfig {
        max_subscriptions_per_connection: 2,
        ..config()
    })
    .await;
    let client = node.client().await;
    let (subscribe, end) = ("chain_subscribeNewHeads", "chain_unsubscribeNewHeads");
    let _one = client.subscribe(subscribe, json!([]), end).await;
    let _two = client.subscribe(subscribe, json!([]), end).await;
    assert_eq!(
        client
            .try_subscribe(subscribe, json!([]), end)
            .await
            .unwrap_err()
            .code,
        -32006
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let node = node_with(RpcConfig {
        max_connections: 1,
        ..config()
    })
    .await;
    let client = node.client().await;
    client.call("system_chain", json!([])).await;
    let url = format!("ws://{}", node.server.local_addr());
    assert!(WsClientBuilder::default().build(&url).await.is_err());
    // One that asks for nothing takes a place as well, and gives it back.
    let (status, _, body) = node
        .http("GET /health HTTP/1.1\r\nHost: localhost", "")
        .await;
    assert_eq!(status, 429);
    assert!(body.contains("--rpc-max-connections"), "{body}");
    drop(client);
    let again = async {
        while WsClientBuilder::default().build(&url).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("the place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_leave_the_others_and_the_next_block_alone() {
    let node = node_with(RpcConfig {
        max_connections: 50,
        ..config()
    })
    .await;
    let client = node.client().await;
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        // The system may refuse some as well.
        if let Ok(stream) = TcpStream::connect(node.server.local_addr()).await {
            streams.push(stream);
        }
    }
    assert_eq!(
        client.call("system_chain", json!([])).await,
        json!("Example")
    );
    assert_eq!(node.author().header.number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_of_all_connections_are_bounded() {
    let node = node_with(RpcConfig {
        max_subscriptions: 2,
        ..config()
    })
    .await;
    let (one, other) = (node.client().await, node.client().await);
    let (subscribe, end) = ("chain_subscribeNewHeads", "chain_unsubscribeNewHeads");
    let first = one.subscribe(subscribe, json!([]), end).await;
    let _second = other
        .subscribe(
            "energy_subscribeSteps",
            json!([]),
            "energy_unsubscribeSteps",
        )
        .await;
    let refused = one.try_subscribe(subscribe, json!([]), end).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, -32006, "{refused:?}");
    assert!(refused.data.contains("try again later"), "{refused:?}");
    first.unsubscribe().await.unwrap();
    let again = async { while one.try_subscribe(subscribe, json!([]), end).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("a place is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_takes_too_long_is_given_up() {
    let node = node_with(RpcConfig {
        max_answer_time: Duration::ZERO,
        ..config()
    })
    .await;
    let client = node.client().await;
    let refused = client.refusal("state_getMetadata", json!([])).await;
    assert_eq!(refused.code, -32001, "{refused:?}");
    assert!(refused.data.contains("ask for less"), "{refused:?}");
    // What needs no work is answered.
    assert_eq!(
        client.call("system_chain", json!([])).await,
        json!("Example")
    );
}

/// Writes a text frame, masked with zeros.
async fn write_frame(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(text.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_does_not_read_is_not_read_from_and_then_cut() {
    let node = node_with(RpcConfig {
        max_waiting_bytes: 4 * 1024 * 1024,
        ..config()
    })
    .await;
    let client = node.client().await;
    let mut stream = open_by_hand(&node).await;
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"state_getMetadata","params":[]}"#;
    // Each answer is some hundred kilobytes: without a bound they would soon be gigabytes.
    let asking = async { while write_frame(&mut stream, request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .expect("it is cut while it asks");
    // Nobody else notices.
    let metadata = client.call("state_getMetadata", json!([])).await;
    assert!(metadata.as_str().unwrap().len() > 100_000);
    assert_eq!(node.author().header.number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_many_requests_at_once_and_reads_gets_every_answer() {
    let node = TestNode::start().await;
    let mut stream = open_by_hand(&node).await;
    let (mut reader, mut writer) = stream.split();
    let ask = async {
        for id in 0..5_000 {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"system_chain"}}"#);
            let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
            frame.extend_from_slice(text.as_bytes());
            writer.write_all(&frame).await.unwrap();
        }
    };
    let read = async {
        let mut answers = 0;
        while answers < 5_000 {
            let (_, text) = read_frame(&mut reader).await;
            answers += usize::from(text.contains("Example"));
        }
    };
    let both = async { tokio::join!(ask, read) };
    tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("all are answered");
}

/// Opens a WebSocket by hand and subscribes to heads.
async fn open_by_hand(node: &TestNode) -> TcpStream {
    let mut stream = TcpStream::connect(node.server.local_addr()).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    let text = br#"{"jsonrpc":"2.0","id":1,"method":"chain_subscribeNewHeads","params":[]}"#;
    // A text frame, masked with zeros.
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text);
    stream.write_all(&frame).await.unwrap();
    stream
}

/// Reads a frame of the server: its kind and its text.
async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> (u8, String) {
    let kind = stream.read_u8().await.unwrap() & 0x0f;
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, String::from_utf8_lossy(&payload).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_hears_pings_and_a_message_that_means_nothing() {
    let config = RpcConfig {
        ping_interval: Duration::from_millis(200),
        keep_alive: Duration::from_millis(100),
        ..config()
    };
    let node = node_with(config).await;
    let mut stream = open_by_hand(&node).await;
    let (mut pings, mut keep_alives) = (0, 0);
    let listen = async {
        while pings == 0 || keep_alives < 2 {
            let (kind, text) = read_frame(&mut stream).await;
            pings += u32::from(kind == 9);
            if text.contains("rpc_keepAlive") {
                let message: Value = serde_json::from_str(&text).unwrap();
                let expected = json!({ "subscription": "keep-alive", "result": null });
                assert_eq!(message["params"], expected);
                keep_alives += 1;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listen)
        .await
        .expect("both come");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_for_very_long_is_disconnected() {
    let config = RpcConfig {
        ping_interval: Duration::from_millis(50),
        max_silence: Duration::from_millis(100),
        ..config()
    };
    let node = node_with(config).await;
    let mut stream = open_by_hand(&node).await;
    let mut all = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await;
    assert!(closed.is_ok(), "the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_ping_for_a_while_is_served_when_he_asks_again() {
    let config = RpcConfig {
        ping_interval: Duration::from_millis(10),
        ..config()
    };
    let node = node_with(config).await;
    let mut stream = open_by_hand(&node).await;
    let mut pings = 0;
    // Ten times what used to be the most.
    while pings < 30 {
        pings += u32::from(read_frame(&mut stream).await.0 == 9);
    }
    let request = r#"{"jsonrpc":"2.0","id":7,"method":"system_chain","params":[]}"#;
    write_frame(&mut stream, request).await.unwrap();
    let answered = async { while !read_frame(&mut stream).await.1.contains("Example") {} };
    tokio::time::timeout(Duration::from_secs(30), answered)
        .await
        .expect("it is answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_id_is_none_is_refused_over_http_and_websocket() {
    let node = TestNode::start().await;
    let mut stream = open_by_hand(&node).await;
    for id in ["{}", "[1]", "true", r#"1,"id":2"#] {
        let request = format!(r#"{{"jsonrpc":"2.0","method":"system_name","id":{id}}}"#);
        let (status, body) = node.post(&request).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["error"]["code"]), (200, &json!(-32600)));
        assert_eq!(answer["id"], Value::Null);
        write_frame(&mut stream, &request).await.unwrap();
        let refused = async { while !read_frame(&mut stream).await.1.contains("-32600") {} };
        tokio::time::timeout(Duration::from_secs(30), refused)
            .await
            .unwrap_or_else(|_| panic!("{request} is answered"));
        let batch = format!(r#"[{request},{{"jsonrpc":"2.0","method":"system_name","id":3}}]"#);
        let answers: Value = serde_json::from_str(&node.post(&batch).await.1).unwrap();
        assert_eq!(answers[0]["error"]["code"], json!(-32600), "{answers}");
        assert_eq!(answers[1]["result"], json!("Commonwatt"), "{answers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_called_so_though_its_length_was_not_said() {
    let node = node_with(RpcConfig {
        max_request_bytes: 10_000,
        ..config()
    })
    .await;
    let mut stream = TcpStream::connect(node.server.local_addr()).await.unwrap();
    let text = format!("{POST}Transfer-Encoding: chunked\r\n\r\n4e20\r\n{{");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(&[b' '; 19_999]).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_cannot_be_read_is_the_clients_fault() {
    let node = node_with(config()).await;
    let mut stream = TcpStream::connect(node.server.local_addr()).await.unwrap();
    let text = format!("{POST}Transfer-Encoding: chunked\r\n\r\nno number\r\n{{}}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
}

const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

/// How connections begin that keep a place and never send a whole request.
fn stalling() -> [String; 5] {
    [
        String::new(),
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: web".to_owned(),
        POST.to_owned(),
        format!("{POST}Content-Length: 1000000\r\n\r\n{{"),
        // Not a WebSocket, though it looks like one.
        format!("{POST}Sec-WebSocket-Key: x\r\nContent-Length: 1000000\r\n\r\n{{"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_sends_a_whole_request_is_closed() {
    let node = node_with(RpcConfig {
        max_request_time: Duration::from_millis(200),
        ..config()
    })
    .await;
    for first in stalling() {
        let mut stream = TcpStream::connect(node.server.local_addr()).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest));
        // Whether it ends in order or is reset.
        let _ = closed
            .await
            .unwrap_or_else(|_| panic!("{first:?} is not closed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_send_no_whole_request_keep_nobody_out() {
    let node = node_with(RpcConfig {
        max_connections: 5,
        ..config()
    })
    .await;
    let mut streams = Vec::new();
    for first in stalling() {
        let mut stream = TcpStream::connect(node.server.local_addr()).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // Each may keep its place for a second, and far longer when nobody wants it.
    let request = r#"{"jsonrpc":"2.0","id":1,"method":"system_chain"}"#;
    let let_in = async { while node.post(request).await.0 != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), let_in)
        .await
        .expect("somebody else is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_taken_in_while_all_who_answer_queries_are_busy() {
    let node = node_with(RpcConfig {
        max_running: 1,
        max_waiting: 1,
        ..config()
    })
    .await;
    let reading = hex(&node.sign_reading("A", 0, 1, 7));
    let meter = node.client().await;
    let list = meter.call("state_getKeysPaged", json!(["0x", 1_000])).await;
    let (busy, mut is_busy) = tokio::sync::mpsc::channel(1);
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (asking, question, busy) = (node.client().await, json!([list]), busy.clone());
        floods.spawn(async move {
            loop {
                let ask = || asking.try_call("state_getReadProof", question.clone());
                let (one, other) = tokio::join!(ask(), ask());
                for refused in [one, other].into_iter().filter_map(Result::err) {
                    assert_eq!(refused.code, -32000, "{refused:?}");
                    // It is full when that was said before.
                    let _ = busy.try_send(());
                }
            }
        });
    }
    let submit = async {
        is_busy.recv().await.expect("somebody is refused");
        meter.call("author_submitExtrinsic", json!([reading])).await;
    };
    tokio::time::timeout(Duration::from_secs(60), submit)
        .await
        .expect("the reading is taken in");
    assert_eq!(node.chain.pending().len(), 1);
    floods.abort_all();
}
