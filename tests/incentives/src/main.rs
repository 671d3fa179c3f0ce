//! Prints the tables of ADR 0019; see the library.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use commonwatt_incentives::{attacks::EXPERIMENTS, estimate::Effort};

/// Measures what deviating from the rules of the auction gains.
#[derive(Debug, Parser)]
#[command(about, version)]
struct Options {
    /// Which experiments to run; all, when none is named.
    experiments: Vec<String>,
    /// From which every random number follows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Independent chains for each figure; intervals are those of their means.
    #[arg(long, default_value_t = 8)]
    replicas: u32,
    /// Measured heights of each chain.
    #[arg(long, default_value_t = 3_000)]
    heights: u32,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(
        options.replicas >= 5,
        "an interval needs at least 5 replicas"
    );
    ensure!(options.heights > 0, "nothing is measured over no heights");
    let known: Vec<_> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
    for name in &options.experiments {
        ensure!(
            known.contains(&name.as_str()),
            "there is no experiment {name:?}; there are: {}",
            known.join(", ")
        );
    }
    let effort = Effort {
        seed: options.seed,
        replicas: options.replicas,
        heights: options.heights,
    };
    println!(
        "seed {}, {} replicas of {} heights; ± is the half of a 95 % confidence interval\n",
        effort.seed, effort.replicas, effort.heights
    );
    let is_wanted = |name: &str| {
        options.experiments.is_empty() || options.experiments.iter().any(|one| one == name)
    };
    for (name, experiment) in EXPERIMENTS.iter().filter(|(name, _)| is_wanted(name)) {
        let began = Instant::now();
        for table in experiment(&effort) {
            println!("{table}");
        }
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}
