//! # Metrics
//!
//! The node in figures: what Prometheus reads, and whether the node is ready.
//!
//! Figures that existing Substrate dashboards show have the names they have there, `substrate_…`; ours begin with
//! `commonwatt_` and say their unit. Every figure carries the label `chain`. `docs/metrics.md` lists them all.
//!
//! ## Invariants
//! - A figure says what is true: what this node does not know it does not export.
//! - The labels of a figure take a bounded number of values, whoever calls.
//! - Figures never hold up blocks: the chain is told nothing, and waits for nothing here.
//! - Counters begin with the process, as Prometheus expects.
//! ## Not here
//! The rules that decide over energy: figures come out of blocks, their events and summaries.

mod agreement;
mod chain;
mod counts;
mod follow;
mod metrics;
mod node;
mod pool;
mod register;
mod rpc;
mod server;

#[cfg(test)]
mod tests;

pub use agreement::{AgreementEvent, AgreementFigures};
pub use counts::{Count, ReadCounts};
pub use follow::{Follower, follow, now_ms};
pub use metrics::{About, LastStep, Metrics};
pub use register::{Described, Kind};
pub use rpc::{Protocol, RpcFigures};
pub use server::{MetricsServer, ServeError, serve};

/// The commit the node is built from; `unknown` outside a checkout.
pub const COMMIT: &str = env!("COMMONWATT_BUILT_FROM");
