//! # JSON-RPC
//!
//! JSON-RPC 2.0 over HTTP and WebSocket on one port, in Substrate's methods and shapes, so that the clients
//! written for Substrate chains work unmodified; and `energy_*`, `auction_*`, `market_*`, `loyalty_*` and `grid_*` for what
//! they do not know (PROTOCOL 10).
//!
//! ## Invariants
//! - Work on the chain runs on a bounded number of threads of its own, never on those that serve connections.
//! - Everything a stranger can make grow is bounded: connections, subscriptions, batches, requests, responses,
//!   keys, waiting work, unread news, and the bytes of all that wait in memory.
//! - What a connection has begun ends with it.
//! - An error says what was wrong and what to do.
//! - A method that is listed by `rpc_methods` can be called.
//! ## Not here
//! What is true: the chain's. TLS: a reverse proxy's, in front of which [`Safety::Safe`] should be chosen, since
//! to the node every request then comes from its own machine.

mod arguments;
mod auction;
mod author;
mod calls;
mod chain;
mod chain_head;
mod chain_spec;
mod clock;
mod config;
mod connection;
mod corrections;
mod energy;
mod error;
mod limits;
mod market;
mod market_json;
mod market_news;
mod methods;
mod news;
mod observe;
mod operations;
mod origin;
mod payment;
mod readiness;
mod server;
mod services;
mod state;
mod system;
mod transaction;
mod types;

pub use auction::{AuctionJson, BidJson, RulesJson};
pub use chain_head::{FOLLOWS_PER_CONNECTION_MAX, OPERATIONS_MAX, PINNED_BLOCKS_MAX};
pub use config::{ChainType, Cors, Hosts, NodeInfo, NodeRole, RpcConfig, Safety};
pub use energy::STEPS_PER_PAGE_MAX;
pub use error::RpcError;
pub use limits::{
    ANSWER_BYTES_MAX, BLOCKS_PER_QUERY_MAX, CALL_BYTES_MAX, KEYS_PER_PAGE_MAX, KEYS_PER_QUERY_MAX,
    PAIRS_MAX,
};
pub use server::{RpcServer, start, start_with};
pub use services::{
    CallObserver, CallProtocol, KeystoreError, LogFilter, Network, PeerInfo, Services,
    SessionKeystore,
};
pub use transaction::BROADCASTS_PER_CONNECTION_MAX;
