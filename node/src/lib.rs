//! # Node
//!
//! The `commonwatt` binary: command line, chain specs, and the tasks that run round a chain.
//!
//! ## Not here
//! Making and checking blocks (`commonwatt-chain`), the runtime's rules, storage, JSON-RPC.

pub mod cli;
pub mod community;
pub mod dev;
pub mod logging;
pub mod meters;
pub mod paths;
pub mod producer;
pub mod replay;
pub mod report;
pub mod spec;
pub mod threads;
