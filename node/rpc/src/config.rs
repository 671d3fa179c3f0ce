//! How the server listens, and what it says about the node.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Map, Value};

/// Which methods may be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Safety {
    /// All when only this machine can connect, the safe ones otherwise.
    #[default]
    Auto,
    /// Only those that can neither harm the node nor keep it busy for long.
    Safe,
    /// All, whoever connects.
    Unsafe,
}

/// Which web pages may use the node. Programs that are not browsers send no `Origin` and are not concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Every page.
    Any,
    /// Pages of these origins, such as `https://polkadot.js.org`; `http://localhost:*` allows any port.
    Origins(Vec<String>),
}

impl Default for Cors {
    /// Pages on this machine, and polkadot.js Apps.
    fn default() -> Self {
        let origins = [
            "http://localhost:*",
            "https://localhost:*",
            "http://127.0.0.1:*",
            "https://127.0.0.1:*",
            "http://[::1]:*",
            "https://polkadot.js.org",
        ];
        Self::Origins(origins.map(str::to_owned).to_vec())
    }
}

/// Under which names, in the `Host` header, the node may be reached.
///
/// A page can point its own name at 127.0.0.1 and so reach what listens only there, with an `Origin` of its
/// choice; the name then gives it away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Hosts {
    /// `localhost`, `127.0.0.1` and `[::1]` when only this machine can connect, any name otherwise.
    #[default]
    Auto,
    /// Any name.
    Any,
    /// These and this machine's own names; `rpc.example.org:*` allows any port.
    Only(Vec<String>),
}

/// How the server listens, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// Where to listen; 127.0.0.1:9944 by default.
    pub listen: SocketAddr,
    /// Which methods may be called; [`Safety::Auto`] by default.
    pub methods: Safety,
    /// Which web pages may use the node.
    pub cors: Cors,
    /// Under which names the node may be reached.
    pub hosts: Hosts,
    /// Connections at one time; 100 by default.
    pub max_connections: u32,
    /// Bytes of a request, and of a batch; 8 MiB by default.
    pub max_request_bytes: u32,
    /// Bytes of a response; 16 MiB by default. Hexadecimal doubles what it writes, so blocks of nearly 8 MiB, half
    /// of the largest there can be, are answered.
    pub max_response_bytes: u32,
    /// Subscriptions of one connection; 1 024 by default.
    pub max_subscriptions_per_connection: u32,
    /// Subscriptions of all connections; 8 192 by default.
    pub max_subscriptions: u32,
    /// Requests in one batch; 256 by default.
    pub max_batch: u32,
    /// Messages kept for a connection that reads too slowly; 64 by default. Beyond that its subscriptions wait,
    /// and end when the news they wait with is outdated.
    pub max_unread_messages: u32,
    /// Requests that query the chain at one time; as many as there are processors by default, 2 to 8. As many
    /// take transactions in besides.
    pub max_running: u32,
    /// Requests that wait for their turn to do so; 8 192 by default. Further ones are refused as "busy".
    pub max_waiting: u32,
    /// How long a request may take, its time of waiting included; 30 s by default. The work of one that takes longer
    /// goes on, and counts as running until it is done.
    pub max_answer_time: Duration,
    /// Bytes of requests and responses that wait in memory, over all connections; 128 MiB by default, for which
    /// the process takes several times as much. Beyond that the connection that owes most is cut; one alone is not
    /// read from while it has 16 MiB waiting.
    pub max_waiting_bytes: usize,
    /// Time between two WebSocket pings, which keep proxies from closing what seems idle; 20 s by default.
    pub ping_interval: Duration,
    /// How long a WebSocket may say nothing, answer no ping even; 1 h by default. A script that works once a step
    /// sleeps in between, and its library with it. Who has vanished is noticed earlier, by the pings that nobody
    /// acknowledges.
    pub max_silence: Duration,
    /// How long an HTTP request may take to come whole, its head and body, and a connection its first; 30 s by default.
    pub max_request_time: Duration,
    /// Silence after which a subscription sends a message that means nothing; 30 s by default. In a browser
    /// polkadot-api sees no pings, and gives a node up after 40 s without a message; steps are 15 minutes apart.
    pub keep_alive: Duration,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9944)),
            methods: Safety::default(),
            cors: Cors::default(),
            hosts: Hosts::default(),
            max_connections: 100,
            max_request_bytes: 8 * 1024 * 1024,
            max_response_bytes: 16 * 1024 * 1024,
            max_subscriptions_per_connection: 1_024,
            max_subscriptions: 8_192,
            max_batch: 256,
            max_unread_messages: 64,
            max_running: processors().clamp(2, 8),
            max_waiting: 8_192,
            max_answer_time: Duration::from_secs(30),
            max_waiting_bytes: 128 * 1024 * 1024,
            ping_interval: Duration::from_secs(20),
            max_silence: Duration::from_secs(3_600),
            max_request_time: Duration::from_secs(30),
            keep_alive: Duration::from_secs(30),
        }
    }
}

fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, NonZero::get);
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl RpcConfig {
    /// Returns whether unsafe methods may be called.
    pub(crate) fn is_unsafe_allowed(&self) -> bool {
        match self.methods {
            Safety::Auto => self.listen.ip().is_loopback(),
            Safety::Safe => false,
            Safety::Unsafe => true,
        }
    }
}

/// What kind of chain it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ChainType {
    /// One node on one machine; well-known keys.
    Development,
    /// Several nodes on one machine; well-known keys.
    Local,
    /// A real community.
    Live,
    /// Something else.
    Custom(String),
}

/// What the node does on its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NodeRole {
    /// Follows the chain.
    Full,
    /// Makes blocks and votes on them.
    Authority,
}

/// What clients are told about the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The software's name.
    pub name: String,
    /// The software's version.
    pub version: String,
    /// The chain's name for people.
    pub chain_name: String,
    /// The chain's name for programs and folders, if it has one.
    pub chain_id: Option<String>,
    /// What kind of chain it is.
    pub chain_type: ChainType,
    /// `ss58Format`, `tokenSymbol`, `tokenDecimals`: how wallets show accounts and amounts.
    pub properties: Map<String, Value>,
    /// What the node does.
    pub roles: Vec<NodeRole>,
}
