//! JSON-RPC and metrics: parameters of every method, bodies of requests, and whatever comes over a connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, LazyLock},
    time::Duration,
};

use commonwatt_chain::HealthCheck;
use commonwatt_metrics::{About, Metrics, MetricsServer, serve};
use commonwatt_rpc::{
    ChainType, KeystoreError, LogFilter, Network, NodeInfo, NodeRole, PeerInfo, RpcConfig,
    RpcServer, Services, SessionKeystore, start_with,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::fixtures::{grow, new_chain};

/// How long an answer may take. The server's own bound is 30 s; nothing that fits into these inputs needs it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer: the server's bound, and the head of a response.
const ANSWER_BYTES_MAX: usize = 17 * 1024 * 1024;
/// Requests that one connection takes, so that what they begin ends with it.
const REQUESTS_PER_CONNECTION: u32 = 64;
/// Messages of subscriptions that may come before an answer.
const MESSAGES_MAX: usize = 4_096;
/// Calls of one input.
const CALLS_MAX: usize = 24;
/// Longest answer that can be an id.
const ID_BYTES_MAX: usize = 80;

struct Server {
    server: RpcServer,
    metrics: MetricsServer,
    methods: Vec<String>,
    best: String,
    // Answers as long as it lives.
    _runtime: Runtime,
}

/// What the node lends in these targets: it reads what it is given and keeps nothing.
struct Lent;

impl SessionKeystore for Lent {
    fn rotate(&self) -> Result<Vec<u8>, KeystoreError> {
        Ok(vec![7; 64])
    }

    fn insert(&self, _: [u8; 4], _: &str, _: &[u8]) -> Result<(), KeystoreError> {
        Ok(())
    }

    fn has_key(&self, public: &[u8], _: [u8; 4]) -> Result<bool, KeystoreError> {
        Ok(public.len() == 32)
    }

    fn has_session_keys(&self, session_keys: &[u8]) -> Result<bool, KeystoreError> {
        Ok(session_keys.len() == 64)
    }
}

impl Network for Lent {
    fn local_peer_id(&self) -> String {
        "12D3KooW".to_owned()
    }

    fn listen_addresses(&self) -> Vec<String> {
        Vec::new()
    }

    fn peers(&self) -> Vec<PeerInfo> {
        Vec::new()
    }

    fn should_have_peers(&self) -> bool {
        true
    }
}

impl LogFilter for Lent {
    fn add(&self, directives: &str) -> Result<(), String> {
        match directives.len() {
            0..=64 => Ok(()),
            _ => Err("too long".to_owned()),
        }
    }

    fn reset(&self) -> Result<(), String> {
        Ok(())
    }
}

fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads can be started");
        let info = NodeInfo {
            name: "Commonwatt".into(),
            version: "0".into(),
            chain_name: "Example".into(),
            chain_id: Some("example".into()),
            chain_type: ChainType::Development,
            properties: Map::new(),
            roles: vec![NodeRole::Full],
        };
        let config = RpcConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..RpcConfig::default()
        };
        let lent = Arc::new(Lent);
        let services = Services {
            keystore: Some(lent.clone()),
            network: Some(lent.clone()),
            log_filter: Some(lent),
            observer: None,
        };
        let (chain, _) = new_chain();
        grow(&chain);
        let best = format!("{:?}", chain.best().1);
        let chain = Arc::new(chain);
        let server = runtime
            .block_on(start_with(chain.clone(), info, config, services))
            .expect("a free port");
        let about = About {
            name: "Commonwatt".into(),
            version: "0".into(),
            chain_id: "example".into(),
            is_authority: false,
        };
        let metrics = Arc::new(Metrics::new(&about).expect("each figure is registered once"));
        let check = HealthCheck::new(chain).expect("the best state is kept");
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let metrics = runtime
            .block_on(serve(anywhere, metrics, check))
            .expect("a free port");
        let mut server = Server {
            server,
            metrics,
            methods: Vec::new(),
            best,
            _runtime: runtime,
        };
        let mut stream = connect(server.server.local_addr());
        let listed = json!({ "jsonrpc": "2.0", "id": 1, "method": "rpc_methods" }).to_string();
        let (_, body) = post(&mut stream, listed.as_bytes());
        let listed: Value = serde_json::from_slice(&body).expect("an answer is JSON");
        let names = listed["result"]["methods"].as_array().expect("a list");
        server.methods = names
            .iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect();
        server
    });
    &SERVER
}

/// Returns the names of all methods.
pub fn methods() -> &'static [String] {
    &server().methods
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a fresh connection");
    for result in [
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)),
        stream.set_write_timeout(Some(ANSWER_TIMEOUT)),
    ] {
        result.expect("a time above zero");
    }
    stream
}

fn read_exact(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    assert!(count <= ANSWER_BYTES_MAX, "an answer of {count} bytes");
    let mut bytes = vec![0; count];
    if let Err(error) = stream.read_exact(&mut bytes) {
        panic!("no answer: {error}");
    }
    bytes
}

// ---------------------------------------------------------------------------------- HTTP

/// Posts a body; returns the status and the answer's body.
fn post(stream: &mut TcpStream, body: &[u8]) -> (u16, Vec<u8>) {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body].concat();
    stream.write_all(&request).expect("the server reads");
    let head = read_head(stream);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().expect("a length"))
    });
    let answer = read_exact(stream, length.expect("an answer says how long it is"));
    (status.expect("a status"), answer)
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(head.len() < 16 * 1024, "a head without end");
        head.extend(read_exact(stream, 1));
    }
    String::from_utf8(head).expect("a head is text")
}

/// A body posted to the server: each is answered, with JSON where the answer is a JSON-RPC one.
pub fn rpc_body(data: &[u8]) {
    static STREAM: Mutex<Option<(TcpStream, u32)>> = Mutex::new(None);
    let mut kept = STREAM.lock();
    let (mut stream, count) = kept
        .take()
        .unwrap_or_else(|| (connect(server().server.local_addr()), 0));
    let (status, answer) = post(&mut stream, data);
    match status {
        // A notification has no answer.
        200 if answer.is_empty() => {}
        200 => {
            let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
            match answer {
                Value::Array(answers) => answers.iter().for_each(verify_answer),
                // To a notification, over HTTP.
                Value::Null => {}
                answer => verify_answer(&answer),
            }
        }
        400 | 413 | 500 => assert!(status != 500, "the server failed"),
        other => panic!("status {other}"),
    }
    if count < REQUESTS_PER_CONNECTION {
        *kept = Some((stream, count + 1));
    }
}

/// Checks that an answer is a result, or an error that says what was wrong.
fn verify_answer(answer: &Value) {
    assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
    if answer.get("result").is_some() {
        return;
    }
    let error = &answer["error"];
    assert!(error["code"].is_i64(), "{answer}");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{answer}"
    );
    assert!(error["code"] != -32603, "an internal error: {answer}");
}

/// Whatever comes over a connection, to JSON-RPC or, after an odd byte, to the metrics, and then no more: it is answered as HTTP
/// is, or the connection is closed.
pub fn http(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    let address = match which % 2 {
        0 => server().server.local_addr(),
        _ => server().metrics.local_addr(),
    };
    let mut stream = connect(address);
    // Errors say that the server has closed it already.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let limit = u64::try_from(ANSWER_BYTES_MAX).expect("a length");
    if let Err(error) = stream.take(limit).read_to_end(&mut answer) {
        let is_closed = matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        );
        assert!(is_closed, "neither answered nor closed: {error}");
    }
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "an answer that is not HTTP"
    );
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "the server failed");
}

// ---------------------------------------------------------------------------------- WebSocket

fn open_websocket() -> TcpStream {
    let mut stream = connect(server().server.local_addr());
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Sends one frame, masked with zeros, which leave it as it is.
fn send_frame(stream: &mut TcpStream, kind: u8, payload: &[u8]) {
    const FINAL: u8 = 0x80;
    const MASKED: u8 = 0x80;
    let mut frame = vec![FINAL | kind];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            let length = u64::try_from(payload.len()).expect("a length");
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    stream.write_all(&frame).expect("the server reads");
}

/// Reads one frame: its kind and content.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let head = read_exact(stream, 2);
    let length = match head[1] & 0x7f {
        126 => {
            let bytes = read_exact(stream, 2);
            usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
        }
        127 => {
            let bytes = read_exact(stream, 8);
            let bytes = bytes.try_into().expect("eight bytes");
            usize::try_from(u64::from_be_bytes(bytes)).expect("a length")
        }
        length => usize::from(length),
    };
    let is_final = head[0] & 0x80 != 0;
    assert!(is_final, "the server sends frames whole");
    (head[0] & 0x0f, read_exact(stream, length))
}

/// Reads the answer to the only request under way, past what subscriptions say.
fn read_answer(stream: &mut TcpStream) -> Value {
    for _ in 0..MESSAGES_MAX {
        let (kind, payload) = read_frame(stream);
        match kind {
            TEXT => {
                let message: Value = serde_json::from_slice(&payload).expect("a message is JSON");
                if message.get("method").is_none() {
                    return message;
                }
            }
            PING => send_frame(stream, PONG, &payload),
            other => panic!("a frame of kind {other} instead of an answer"),
        }
    }
    panic!("no answer, and no end of messages");
}

/// Calls, one a line: a method and its parameters, with a blank in between. Each is answered. A name that no method has
/// stands for the one that its first byte points at; `$ID` is what the last call returned, such as a subscription's id,
/// and `$HASH` the best block.
pub fn rpc_call(data: &[u8]) {
    static STREAM: Mutex<Option<(TcpStream, u32)>> = Mutex::new(None);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut kept = STREAM.lock();
    let (mut stream, count) = kept.take().unwrap_or_else(|| (open_websocket(), 0));
    let mut last = String::new();
    for line in text.lines().take(CALLS_MAX) {
        let Server { methods, best, .. } = server();
        let (name, parameters) = line.split_once(' ').unwrap_or((line, "[]"));
        let method = match methods.iter().find(|method| *method == name) {
            Some(method) => method,
            None => &methods[usize::from(*name.as_bytes().first().unwrap_or(&0)) % methods.len()],
        };
        let parameters = parameters.replace("$ID", &last).replace("$HASH", best);
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{parameters}}}"#);
        send_frame(&mut stream, TEXT, request.as_bytes());
        let answer = read_answer(&mut stream);
        verify_answer(&answer);
        if let Some(id) = answer["result"]
            .as_str()
            .filter(|id| id.len() <= ID_BYTES_MAX)
        {
            last = id.to_owned();
        }
    }
    if count < REQUESTS_PER_CONNECTION {
        *kept = Some((stream, count + 1));
    }
}
