//! Runs simulated networks; see the library and `docs/simulation.md`.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use commonwatt_simulation::{
    Delay, PlanName, Plant, Report,
    grow::{FAR, HEAD, SIZES, measure},
    plan::{parse_rule, rule_word},
    plants::{Find, Miss, PLANTS, search_all},
    runner::{Choice, Outcome, Until, alone, run, run_many},
};
use pallet_miner_auction::draw::Rule;

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
        /// Plant this bug; `plants` has their names
        #[arg(long, value_name = "NAME", value_parser = Plant::of_name)]
        bug: Option<Plant>,
    },
    /// Plant each bug in turn, for each invariant at least one, and see that a seed shows it
    Plants {
        /// Only this one
        #[arg(long, value_name = "NAME", value_parser = Plant::of_name)]
        only: Option<Plant>,
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
    /// How miners are chosen: proportional, ratio or highest-reputation; proportional otherwise
    #[arg(long, value_parser = parse_rule)]
    rule: Option<Rule>,
    /// How many validators; of the seed's choosing otherwise
    #[arg(long)]
    validators: Option<usize>,
    /// Steps until everything is healed, after which a run goes on until the network has come back and six steps more, so that
    /// more heights are decided than these; of the seed's choosing otherwise
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
            self.rule.map(|rule| format!(" --rule {}", rule_word(rule))),
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
            rule: args.rule,
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
            bug,
        } => run_one(seed, choice, trace, bug),
        Command::Plants { only } => match only {
            Some(plant) => find_all(&[plant]),
            None => find_all(&PLANTS),
        },
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

fn run_one(seed: u64, choice: ChoiceArgs, trace: usize, bug: Option<Plant>) -> Result<()> {
    verify(choice)?;
    let choice = Choice {
        bug: bug.map(|plant| plant.bug),
        ..choice.into()
    };
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
            "seed {seed}: {} of {} validators, {}, {} liars, {} heights, trace {:016x}: {words}",
            plan.name,
            plan.validators,
            rule_word(plan.rule),
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

fn find_all(plants: &[Plant]) -> Result<()> {
    let began = Instant::now();
    let failed = AtomicUsize::new(0);
    search_all(plants, |plant, outcome| {
        println!("{}: {}", plant.name, words_of(plant, &outcome));
        if outcome.is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    });
    let failed = failed.into_inner();
    println!("{} s", began.elapsed().as_secs());
    println!("{} passed, {failed} failed", plants.len() - failed);
    ensure!(failed == 0, "a planted bug was not found");
    Ok(())
}

fn words_of(plant: &Plant, outcome: &Result<Find, Miss>) -> String {
    match outcome {
        Ok(find) => {
            // One line each: what cannot be decoded says so in several.
            let failure = find.failure.to_string();
            let failure: Vec<_> = failure.split_whitespace().collect();
            let others: Vec<_> = find
                .others
                .iter()
                .map(|(seed, kind)| format!("; seed {seed} shows {kind}"))
                .collect();
            format!(
                "found by seed {} of {}, {} tried{}: {}; nothing without the bug",
                find.seed,
                plant.plan,
                find.seed,
                others.concat(),
                failure.join(" ")
            )
        }
        Err(miss) => {
            let kinds = plant.kinds.join(" or ");
            let flags = plant.flags();
            format!(
                "FAILED, {kinds}: {miss}\n  commonwatt-simulation run --seed 1 {flags} --trace 200"
            )
        }
    }
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
