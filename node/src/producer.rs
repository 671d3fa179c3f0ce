//! Makes a block for every step, when its time has come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use commonwatt_chain::{Authored, Chain, ChainError};
use commonwatt_executor::BuildLimits;
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_storage::CommitMode;
use parking_lot::{Condvar, Mutex};

/// Longest body this node builds: the runtime's limit for ordinary calls, less room for inherents.
pub const BODY_BYTES_MAX: usize = 14 * 1024 * 1024;

/// Candidates that may fail to fit before building stops.
const MISFITS_MAX: u32 = 64;

/// Tells tasks to end, and wakes those that wait.
#[derive(Clone, Default)]
pub struct Stop(Arc<StopInner>);

#[derive(Default)]
struct StopInner {
    asked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Stop {
    /// Asks everybody to stop.
    pub fn ask(&self) {
        let _lock = self.0.lock.lock();
        self.0.asked.store(true, Ordering::SeqCst);
        self.0.wake.notify_all();
    }

    /// Returns whether somebody asked to stop.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits until the clock shows `unix_ms`; returns early, and true, when asked to stop.
    pub fn wait_until(&self, unix_ms: u64) -> bool {
        let mut lock = self.0.lock.lock();
        while !self.is_asked() {
            let left_ms = unix_ms.saturating_sub(now_ms());
            if left_ms == 0 {
                return false;
            }
            // In pieces: the system's clock may be set meanwhile.
            let piece = Duration::from_millis(left_ms.min(1_000));
            let _ = self.0.wake.wait_for(&mut lock, piece);
        }
        true
    }
}

/// Returns the system's clock in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_asked_to_stop() {
        let stop = Stop::default();
        let waiter = stop.clone();
        let thread = std::thread::spawn(move || waiter.wait_until(u64::MAX));
        stop.ask();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_time_in_the_past_is_not_waited_for() {
        assert!(!Stop::default().wait_until(0));
    }
}
