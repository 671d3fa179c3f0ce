//! # Load
//!
//! Puts a development node under load from another process, over WebSocket alone, and measures how it answers.
//!
//! ```text
//! cargo run --release -p commonwatt-load -- target/release/commonwatt
//! ```
//!
//! First nothing happens, then reads, submissions and subscriptions each alone, then all together. The readings
//! are those of meters that the DSO of the development chain puts into service for the purpose; each is signed here,
//! and counts when it is found in a block and in the chain's own sum.
//!
//! ```text
//! commonwatt-load --network ws://10.0.0.1:9944,ws://10.0.0.2:9944 --per-step 1000
//! ```
//!
//! fills the blocks of a network that runs, and measures nothing but how long that took: a line of JSON for each step.
//! `tests/faults/measure.py` watches the nodes meanwhile.
//!
//! ## Not here
//! Hostile clients: `tests/clients/hostile_rpc.py`.

mod client;
mod delivery;
mod filling;
mod latency;
mod node;
mod readings;
mod reads;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{
    client::Endpoint,
    delivery::Subscribers,
    filling::FillingPlan,
    node::Node,
    readings::{Fleet, FleetPlan},
    report::{Loaded, Report},
};

/// Measures a node under load, or puts a network of nodes under load.
#[derive(Debug, Parser)]
#[command(about, version)]
struct Options {
    /// The node's binary; a development chain is started with it
    #[arg(value_name = "BINARY", required_unless_present = "network")]
    binary: Option<PathBuf>,
    /// Nodes of a development network that runs, by their JSON-RPC: fills its blocks with readings instead of measuring a node
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        conflicts_with = "binary",
        requires = "per_step"
    )]
    network: Vec<String>,
    /// Readings in each step, for `--network`
    #[arg(long, value_name = "COUNT", requires = "network", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_step: Option<u32>,
    /// Milliseconds for which nothing is submitted when all nodes have a block, for `--network`
    #[arg(long, default_value_t = 0, value_name = "MS", requires = "network")]
    rest_ms: u64,
    /// Length of a step in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    step_ms: u64,
    /// Steps for which each part is measured, or that are filled
    #[arg(long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(4..=1_000))]
    steps: u32,
    /// Connections that read values, each waiting for one answer before it asks for the next
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    readers: usize,
    /// Connections that submit readings
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    gateways: usize,
    /// Readings that a connection submits without waiting for an answer
    #[arg(long, default_value_t = 16, value_name = "COUNT")]
    in_flight: usize,
    /// Meters that report
    #[arg(long, default_value_t = 64, value_name = "COUNT")]
    meters: u32,
    /// Readings a second that are submitted at most
    #[arg(long, value_name = "COUNT", conflicts_with = "network")]
    rate: Option<u32>,
    /// Connections that follow the heads
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    subscribers: usize,
    /// Writes the figures into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let plan = FleetPlan {
        meters: options.meters,
        gateways: options.gateways,
        in_flight: options.in_flight,
        rate: options.rate,
    };
    match &options.binary {
        Some(binary) => measure(&options, binary, &plan).await,
        None => fill(&options, &plan).await,
    }
}

/// Fills the blocks of a network that runs.
async fn fill(options: &Options, plan: &FleetPlan) -> Result<()> {
    let per_step = options.per_step.context("--per-step is missing")?;
    let endpoints = filling::endpoints_of(&options.network).await?;
    let first = endpoints.first().context("no node was named")?;
    let mut fleet = Fleet::commission(first, plan).await?;
    let plan = FillingPlan {
        per_step,
        steps: options.steps,
        rest: Duration::from_millis(options.rest_ms),
    };
    filling::fill(&endpoints, &mut fleet, &plan, |filled| {
        println!("{}", serde_json::to_string(filled)?);
        Ok(())
    })
    .await
}

/// Starts a node of its own, and measures it.
async fn measure(options: &Options, binary: &Path, plan: &FleetPlan) -> Result<()> {
    let node = Node::start(binary, options.step_ms)?;
    let endpoint = Endpoint::new(node.url()).await?;
    let duration = Duration::from_millis(options.step_ms) * options.steps;

    eprintln!("idle");
    let idle = node.measure_idle(duration).await?;
    eprintln!("reads alone");
    let reads = reads::measure(&endpoint, options.readers, duration).await?;
    eprintln!("subscriptions alone");
    let following = Subscribers::connect(&endpoint, options.subscribers).await?;
    tokio::time::sleep(duration).await;
    let delivery = following.finish(node.announcements());
    eprintln!("readings alone");
    let mut fleet = Fleet::commission(&endpoint, plan).await?;
    let submitted = fleet.report_for(&endpoint, options.steps).await?;

    eprintln!("all together");
    let before = node.usage()?;
    let following = Subscribers::connect(&endpoint, options.subscribers).await?;
    let reading = tokio::spawn({
        let (endpoint, readers) = (endpoint.clone(), options.readers);
        async move { reads::measure(&endpoint, readers, duration).await }
    });
    let submitted_under_load = fleet.report_for(&endpoint, options.steps).await?;
    let reads_under_load = reading.await??;
    let delivery_under_load = following.finish(node.announcements());
    let after = node.usage()?;

    eprintln!("checking the chain's sums");
    let credited = fleet.credited(&endpoint).await?;
    let report = Report {
        step_ms: options.step_ms,
        steps: options.steps,
        idle,
        alone: Loaded {
            reads,
            delivery,
            readings: submitted,
        },
        together: Loaded {
            reads: reads_under_load,
            delivery: delivery_under_load,
            readings: submitted_under_load,
        },
        cpu_under_load: after.cpu_since(&before),
        memory_peak_kib: after.memory_peak_kib,
        readings_found: fleet.found(),
        pulses_credited: credited,
    };
    node.stop()?;
    println!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()?)?;
    }
    report.verify()
}
