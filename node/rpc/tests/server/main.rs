//! The server on a real chain, asked over real connections.

// The lint knows test functions, but not the helpers of tests.
#![allow(clippy::unwrap_used)]

mod auction;
mod bounds;
mod chain;
mod chain_head;
mod energy;
mod http;
mod market;
mod state;
mod support;
mod system;
mod transactions;
mod watch;
