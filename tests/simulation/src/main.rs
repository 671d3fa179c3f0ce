//! Runs simulated networks; see the library and `docs/simulation.md`.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use commonwatt_simulation::{
    Delay, PlanName, Report,
    grow::{FAR, HEAD, SIZES, measure},
    runner::{Choice, Outcome, Until, alone, run, run_many},
};

/// Puts networks of real nodes through everything that can go wrong, from seeds.
#[derive(Debug, Parser)]
#[command(about, version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed, and tell what came of it
    Run {
        /// The seed
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        choice: ChoiceArgs,
        /// Print so many of the last lines of the record
        #[arg(long, default_value_t = 0)]
        trace: usize,
    },
    /// Run seeds until so many heights were decided
    Ci {
        /// Heights of all runs together
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        total: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        #[command(flatten)]
        choice: ChoiceArgs,
    },
    /// Run seeds for so many minutes
    Soak {
        /// Minutes
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// The first seed; by the time of day otherwise, so that no two soaks are the same
        #[arg(long)]
        first_seed: Option<u64>,
        #[command(flatten)]
        choice: ChoiceArgs,
    },
    /// Measure how rounds, messages and times grow with the number of validators
    Grow {
        /// Steps of each run
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
        steps: u32,
        /// The seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// No more validators than this; 4 at least
        #[arg(long, default_value_t = 100)]
        validators_max: usize,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct ChoiceArgs {
    /// What goes wrong; of the seed's choosing otherwise
    #[arg(long)]
    plan: Option<PlanName>,
    /// How many validators; of the seed's choosing otherwise
    #[arg(long)]
    validators: Option<usize>,
    /// Steps until everything is healed; of the seed's choosing otherwise
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    heights: Option<u32>,
    /// Nodes pass nothing on, whatever the plan says
    #[arg(long)]
    direct: bool,
}

impl ChoiceArgs {
    /// Returns the flags that make the same choice, each after a space.
    fn flags(self) -> String {
        let words = [
            self.plan.map(|plan| format!(" --plan {plan}")),
            self.validators
                .map(|count| format!(" --validators {count}")),
            self.heights.map(|count| format!(" --heights {count}")),
            self.direct.then(|| " --direct".to_owned()),
        ];
        words.into_iter().flatten().collect()
    }
}

impl From<ChoiceArgs> for Choice {
    fn from(args: ChoiceArgs) -> Self {
        Self {
            plan: args.plan,
            validators: args.validators,
            steps: args.heights,
            is_direct: args.direct,
            bug: None,
        }
    }
}

fn main() -> Result<()> {
    match Options::parse().command {
        Command::Run {
            seed,
            choice,
            trace,
        } => run_one(seed, choice, trace),
        Command::Ci {
            total,
            first_seed,
            choice,
        } => run_all(first_seed, choice, Until::Heights(total)),
        Command::Soak {
            minutes,
            first_seed,
            choice,
        } => {
            let first = first_seed.unwrap_or_else(seed_of_now);
            run_all(
                first,
                choice,
                Until::Time(Duration::from_secs(minutes * 60)),
            )
        }
        Command::Grow {
            steps,
            seed,
            validators_max,
        } => grow(steps, seed, validators_max),
    }
}

fn seed_of_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn run_one(seed: u64, choice: ChoiceArgs, trace: usize) -> Result<()> {
    verify(choice)?;
    let choice = choice.into();
    let began = Instant::now();
    let outcome = alone(|| run(seed, &choice, trace > 0));
    let from = outcome.words.len().saturating_sub(trace);
    for line in outcome
        .words
        .iter()
        .skip(from)
        .filter(|line| !line.is_empty())
    {
        println!("{line}");
    }
    println!("{:#?}", outcome.plan);
    println!("{:#?}", outcome.report);
    println!("{} ms", began.elapsed().as_millis());
    match outcome.failure {
        Some(failure) => bail!("seed {seed}: {failure}"),
        None => Ok(()),
    }
}

fn verify(choice: ChoiceArgs) -> Result<()> {
    let validators = choice.validators.unwrap_or(4);
    ensure!(
        (4..=100).contains(&validators),
        "a simulated network has 4 to 100 validators, not {validators}"
    );
    Ok(())
}

fn run_all(first: u64, choice: ChoiceArgs, until: Until) -> Result<()> {
    verify(choice)?;
    let began = Instant::now();
    let sum = Mutex::new((Report::default(), 0u64, Vec::new()));
    println!("seeds from {first} on");
    run_many(first, &choice.into(), until, |outcome| {
        let Outcome {
            seed,
            plan,
            report,
            failure,
            ..
        } = outcome;
        let words = failure
            .as_ref()
            .map_or("passed".to_owned(), |failure| format!("FAILED: {failure}"));
        println!(
            "seed {seed}: {} of {} validators, {} liars, {} heights, trace {:016x}: {words}",
            plan.name,
            plan.validators,
            plan.liars.len(),
            report.heights,
            report.trace
        );
        let mut sum = sum
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        sum.0.add(&report);
        match failure {
            None => sum.1 += 1,
            Some(_) => sum.2.push(seed),
        }
    });
    let (report, passed, failed) = sum
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{report:#?}");
    println!(
        "{} heights in {} s, {} s of virtual time",
        report.heights,
        began.elapsed().as_secs(),
        report.virtual_ms / 1_000
    );
    for seed in &failed {
        println!(
            "failed: commonwatt-simulation run --seed {seed}{} --trace 200",
            choice.flags()
        );
    }
    println!("{passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty(), "an invariant was broken");
    Ok(())
}

fn grow(steps: u32, seed: u64, validators_max: usize) -> Result<()> {
    ensure!(
        SIZES.iter().any(|size| *size <= validators_max),
        "the smallest network has 4 validators: --validators-max {validators_max} leaves none"
    );
    for (name, delay) in [
        ("near: 2 to 20 ms", Delay::NEAR),
        ("far: 15 to 50 ms, one in fifty up to 165 ms", FAR),
    ] {
        println!("\n{name}, seed {seed}\n\n{HEAD}");
        for validators in SIZES.into_iter().filter(|size| *size <= validators_max) {
            println!("{}", measure(seed, validators, steps, delay)?);
        }
    }
    Ok(())
}
