//! Makes a block for every step, when its time has come.

use std::time::{Duration, Instant};

use commonwatt_chain::{Authored, Chain, ChainError};
use commonwatt_executor::BuildLimits;
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_storage::CommitMode;

use crate::stop::{Stop, now_ms};

/// Longest body this node builds: the runtime's limit for ordinary calls, less room for inherents.
pub const BODY_BYTES_MAX: usize = 14 * 1024 * 1024;

/// Steps without a block that are no sign of being behind: the one that is open, and the one that just closed.
const STEPS_OPEN_MAX: u32 = 2;

/// Candidates that may fail to fit before building stops.
const MISFITS_MAX: u32 = 64;

/// What happened to a step.
pub struct Produced {
    /// The step.
    pub step: Step,
    /// Its block.
    pub block: Authored,
    /// Whether it came late.
    pub punctuality: Punctuality,
    /// How long making it took.
    pub took: Duration,
}

/// Makes blocks until asked to stop; tells each to `after`.
///
/// Missed steps are made one after the other, marked late, before the next one in time.
pub fn run(
    chain: &Chain,
    timing: &StepTiming,
    stop: &Stop,
    mut after: impl FnMut(Produced),
) -> Result<(), ChainError> {
    loop {
        let step = Step(chain.best().0.saturating_add(1));
        if stop.wait_until(timing.settles_at_ms(step)) {
            return chain.db().flush().map_err(Into::into);
        }
        let now = now_ms();
        let is_late = timing.is_late(step, now);
        let punctuality = if is_late {
            Punctuality::Late
        } else {
            Punctuality::OnTime
        };
        let behind = timing.step_at(now).since(step);
        chain.set_catching_up(behind > 1);
        let began = Instant::now();
        // Half a step for building leaves the other half for execution elsewhere and the gates.
        let deadline = began + Duration::from_millis(timing.step_ms / 2);
        let is_over = || Instant::now() >= deadline;
        let limits = BuildLimits {
            bytes_max: BODY_BYTES_MAX,
            misfits_max: MISFITS_MAX,
            is_over: &is_over,
        };
        // Also when catching up: what is announced as final must be on disk.
        match chain.author_next(timing, punctuality, &limits, CommitMode::Durable)? {
            Some(block) => {
                after(Produced {
                    step,
                    block,
                    punctuality,
                    took: began.elapsed(),
                });
            }
            // Not our turn: nobody else makes blocks yet, so look again when the next step has settled.
            None => {
                if stop.wait_until(timing.settles_at_ms(Step(step.0.saturating_add(1)))) {
                    return Ok(());
                }
            }
        }
    }
}

/// Notes, until asked to stop, whether a chain that this node makes no blocks for is behind the clock.
pub fn watch_clock(chain: &Chain, timing: &StepTiming, stop: &Stop) {
    loop {
        let open = timing.step_at(now_ms());
        chain.set_catching_up(open.since(Step(chain.best().0)) > STEPS_OPEN_MAX);
        if stop.wait_until(timing.settles_at_ms(open)) {
            return;
        }
    }
}
