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
//! ## Not here
//! Hostile clients: `tests/clients/hostile_rpc.py`.

mod client;
mod delivery;
mod latency;
mod node;
mod readings;
mod reads;
mod report;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;

use crate::{
    client::Endpoint,
    delivery::Subscribers,
    node::Node,
    readings::{Fleet, FleetPlan},
    report::{Loaded, Report},
};

/// Measures a node under load.
#[derive(Debug, Parser)]
#[command(about, version)]
struct Options {
    /// The node's binary; a development chain is started with it
    #[arg(value_name = "BINARY")]
    binary: PathBuf,
    /// Length of a step in milliseconds
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    step_ms: u64,
    /// Steps for which each part is measured
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
    #[arg(long, value_name = "COUNT")]
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
    let node = Node::start(&options.binary, options.step_ms)?;
    let endpoint = Endpoint::new(node.url()).await?;
    let duration = Duration::from_millis(options.step_ms) * options.steps;
    let plan = FleetPlan {
        meters: options.meters,
        gateways: options.gateways,
        in_flight: options.in_flight,
        rate: options.rate,
    };

    eprintln!("idle");
    let idle = node.measure_idle(duration).await?;
    eprintln!("reads alone");
    let reads = reads::measure(&endpoint, options.readers, duration).await?;
    eprintln!("subscriptions alone");
    let following = Subscribers::connect(&endpoint, options.subscribers).await?;
    tokio::time::sleep(duration).await;
    let delivery = following.finish(node.announcements());
    eprintln!("readings alone");
    let mut fleet = Fleet::commission(&endpoint, &plan).await?;
    let submitted = fleet.report_for(&endpoint, options.steps).await?;

    eprintln!("all together");
    let before = node.usage()?;
    let following = Subscribers::connect(&endpoint, options.subscribers).await?;
    let reading = tokio::spawn({
        let endpoint = endpoint.clone();
        async move { reads::measure(&endpoint, options.readers, duration).await }
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
