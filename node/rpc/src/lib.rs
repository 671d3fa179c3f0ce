//! # JSON-RPC
//!
//! JSON-RPC 2.0 over HTTP and WebSocket on one port, in Substrate's methods and shapes, so that the clients
//! written for Substrate chains work unmodified; and `energy_*` for what they do not know (PROTOCOL 10).
//!
//! ## Invariants
//! - Work on the chain runs on a bounded number of threads of its own, never on those that serve connections.
//! - Everything a stranger can make grow is bounded: connections, subscriptions, batches, requests, responses,
//!   keys, waiting work and unread news.
//! - An error says what was wrong and what to do.
//! - A method that is listed by `rpc_methods` can be called.
//! ## Not here
//! What is true: the chain's. TLS: a reverse proxy's, in front of which [`Safety::Safe`] should be chosen, since
//! to the node every request then comes from its own machine.

mod arguments;
mod author;
mod chain;
mod config;
mod energy;
mod error;
mod limits;
mod methods;
mod news;
mod origin;
mod payment;
mod server;
mod state;
mod system;
mod types;

pub use config::{ChainType, Cors, Hosts, NodeInfo, NodeRole, RpcConfig, Safety};
pub use error::RpcError;
pub use limits::{
    ANSWER_BYTES_MAX, BLOCKS_PER_QUERY_MAX, CALL_BYTES_MAX, KEYS_PER_PAGE_MAX, KEYS_PER_QUERY_MAX,
    PAIRS_MAX,
};
pub use server::{RpcServer, start};
