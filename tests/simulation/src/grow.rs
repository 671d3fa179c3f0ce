//! How the agreement grows with the number of validators.

use std::fmt;

use crate::{
    Delay, Plan, PlanName, Random, Report,
    runner::{Failure, alone, run_plan},
};

/// Numbers of validators that are measured.
pub const SIZES: [usize; 7] = [4, 7, 10, 16, 31, 64, 100];

/// Between households of one country.
pub const FAR: Delay = Delay {
    least_ms: 15,
    spread_ms: 35,
    slow_permille: 20,
    slow_ms: 150,
    bytes_per_ms: 1_250,
};

/// How many validators there are and what it cost.
#[derive(Clone, Debug)]
pub struct Growth {
    /// Validators.
    pub validators: usize,
    /// Figures of the run.
    pub report: Report,
    /// Real time of the run.
    pub took_ms: u128,
}

/// Runs so many validators over so many calm steps of production's timing.
///
/// # Errors
/// The run failed.
pub fn measure(seed: u64, validators: usize, steps: u32, delay: Delay) -> Result<Growth, Failure> {
    let mut plan = Plan::draw(
        PlanName::Calm,
        Some(validators),
        steps,
        &mut Random::new(seed),
    );
    plan.step_ms = 900_000;
    plan.delay = delay;
    plan.is_relayed = false;
    plan.steps_missed = 0;
    // Only the agreement is counted: how transactions are passed on is the network's matter.
    plan.has_work = false;
    let began = std::time::Instant::now();
    let outcome = alone(|| run_plan(seed, plan, None, false));
    match outcome.failure {
        Some(failure) => Err(failure),
        None => Ok(Growth {
            validators,
            report: outcome.report,
            took_ms: began.elapsed().as_millis(),
        }),
    }
}

/// The head of the table whose rows [`Growth`] prints.
pub const HEAD: &str = "\
| validators | heights | rounds a height | messages a height | per validator | kB a height | decided after, mean | longest | real ms a height |
|---|---|---|---|---|---|---|---|---|";

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let heights = u64::from(report.heights).max(1);
        let rounds: u64 = (1..)
            .zip(report.rounds)
            .map(|(round, count)| round * count)
            .sum();
        let validators = u64::try_from(self.validators).unwrap_or(1).max(1);
        write!(
            f,
            "| {} | {} | {}.{:02} | {} | {} | {} | {} ms | {} ms | {} |",
            self.validators,
            report.heights,
            rounds / heights,
            rounds * 100 / heights % 100,
            report.messages / heights,
            report.messages / heights / validators,
            report.bytes / heights / 1_000,
            report.mean_ms(),
            report.took_ms.1,
            self.took_ms / u128::from(heights),
        )
    }
}
