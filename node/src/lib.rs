//! # Node
//!
//! The `commonwatt` binary: command line, chain specs, and the tasks that run round a chain.
//!
//! ## Not here
//! Making and checking blocks (`commonwatt-chain`), the runtime's rules, storage, JSON-RPC.

pub mod agreement;
pub mod args;
pub mod bidding;
pub mod block_stream;
pub mod cli;
pub mod commands;
pub mod community;
pub mod dev;
pub mod flags_file;
pub mod gateway;
pub mod informant;
pub mod key;
pub mod keystore_signer;
pub mod light;
pub mod localnet;
pub mod logging;
pub mod meters;
pub mod paths;
pub mod producer;
pub mod replay;
pub mod report;
pub mod run;
pub mod service;
pub mod session_keystore;
pub mod signals;
pub mod spec;
pub mod stop;
pub mod supervisor;
pub mod threads;
pub mod traders;
pub mod validators;
pub mod watch;
