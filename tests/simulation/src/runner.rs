//! Runs seeds, several at a time.

use std::{
    num::NonZero,
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pallet_miner_auction::draw::Rule;

use crate::{Bug, Plan, PlanName, Random, Report, Violation, World};

/// Steps of a run until everything is healed.
const STEPS: std::ops::RangeInclusive<u64> = 20..=90;
/// Some runs go over an epoch's end, in percent; over two of them in as many.
const LONG_PERCENT: u64 = 6;
const LONG_STEPS: std::ops::RangeInclusive<u64> = 110..=230;
/// What is mixed into a seed, so that the plan is drawn from other numbers than the run.
const PLAN_SALT: u64 = 0x706c_616e;

/// What is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// The plan; of the seed's choosing otherwise.
    pub plan: Option<PlanName>,
    /// How miners are chosen; `proportional` otherwise.
    pub rule: Option<Rule>,
    /// How many validators; of the seed's choosing otherwise.
    pub validators: Option<usize>,
    /// Steps until everything is healed; of the seed's choosing otherwise.
    pub steps: Option<u32>,
    /// Whether nodes pass nothing on, whatever the plan says: liars can then keep honest nodes apart.
    pub is_direct: bool,
    /// A bug that is planted.
    pub bug: Option<Bug>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What was planned.
    pub plan: Plan,
    /// What it brought.
    pub report: Report,
    /// What was broken, if anything was.
    pub failure: Option<Failure>,
    /// The record in words, if it was asked for.
    pub words: Vec<String>,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An invariant is broken.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Something panicked.
    #[error("panicked: {0}")]
    Panic(String),
    /// The world could not be made.
    #[error("no world: {0}")]
    NoWorld(String),
}

impl Failure {
    /// Returns the name of what was broken.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.kind(),
            Self::Panic(_) => "panic",
            Self::NoWorld(_) => "no world",
        }
    }
}

/// Returns the plan that a seed draws.
pub fn plan_of(seed: u64, choice: &Choice) -> Plan {
    let mut random = Random::new(seed ^ PLAN_SALT);
    let name = choice.plan.unwrap_or_else(|| PlanName::of_seed(seed));
    let drawn = match random.percent(LONG_PERCENT) {
        true => random.within(LONG_STEPS),
        false => random.within(STEPS),
    };
    let drawn = u32::try_from(drawn).unwrap_or(u32::MAX);
    let steps = choice.steps.unwrap_or(drawn);
    let mut plan = Plan::draw(name, choice.validators, steps, &mut random);
    plan.is_relayed &= !choice.is_direct;
    plan.rule = choice.rule.unwrap_or(plan.rule);
    plan
}

/// Runs one seed.
pub fn run(seed: u64, choice: &Choice, has_words: bool) -> Outcome {
    run_plan(seed, plan_of(seed, choice), choice.bug, has_words)
}

/// Runs one plan.
pub fn run_plan(seed: u64, plan: Plan, bug: Option<Bug>, has_words: bool) -> Outcome {
    let mut outcome = Outcome {
        seed,
        plan: plan.clone(),
        report: Report::default(),
        failure: None,
        words: Vec::new(),
    };
    let mut world = match World::new(seed, plan, bug, has_words) {
        Ok(world) => world,
        Err(why) => {
            outcome.failure = Some(Failure::NoWorld(why));
            return outcome;
        }
    };
    let ended = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    outcome.failure = match ended {
        Ok(ended) => ended.err().map(Failure::Violation),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| {
                payload
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
            });
            Some(Failure::Panic(
                text.unwrap_or_else(|| "no reason given".to_owned()),
            ))
        }
    };
    outcome.report = world.report();
    outcome.words = world.words();
    outcome
}

/// When to stop running seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// So many heights were decided.
    Heights(u64),
    /// So much time is over.
    Time(Duration),
    /// So many seeds were run.
    Seeds(u64),
}

/// Runs one seed after the other from `first` on, on all cores, and hands out how each ended.
///
/// Each world has a thread, and what the node's crates would do on other cores stays on it, so that worlds do not wait
/// for each other.
pub fn run_many(first: u64, choice: &Choice, until: Until, tell: impl Fn(Outcome) + Send + Sync) {
    let next = AtomicU64::new(first);
    let heights = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let told = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_enough = match until {
                        Until::Heights(max) => heights.load(Ordering::Relaxed) >= max,
                        Until::Time(max) => began.elapsed() >= max,
                        Until::Seeds(max) => seed.saturating_sub(first) >= max,
                    };
                    if is_enough {
                        is_over.store(true, Ordering::Relaxed);
                        return;
                    }
                    let outcome = alone(|| run(seed, choice, false));
                    heights.fetch_add(outcome.report.heights.into(), Ordering::Relaxed);
                    let _one_at_a_time = told.lock();
                    tell(outcome);
                }
            });
        }
    });
}

/// Runs a task whose parallel parts run on the same thread.
pub fn alone<Output: Send>(task: impl FnOnce() -> Output + Send) -> Output {
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => pool.install(task),
        Err(_) => task(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::RULES;

    #[test]
    fn a_rule_changes_nothing_else_of_a_plan() {
        let drawn = plan_of(7, &Choice::default());
        assert_eq!(drawn.rule, Rule::Proportional);
        for rule in RULES {
            let choice = Choice {
                rule: Some(rule),
                ..Choice::default()
            };
            let mut chosen = plan_of(7, &choice);
            assert_eq!(chosen.rule, rule);
            chosen.rule = drawn.rule;
            assert_eq!(format!("{chosen:?}"), format!("{drawn:?}"));
        }
    }
}
