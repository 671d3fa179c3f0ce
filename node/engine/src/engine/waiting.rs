//! When the engine has to be called again.

use commonwatt_consensus::{Input, Timeout};
use commonwatt_primitives::Step;

use super::Engine;
use crate::{config::Now, error::Fatal, timeliness::ItemKind};

/// Longest wait: a driver that calls at least that often notices when the time of day was set.
const WAIT_MS_MAX: u64 = 60_000;

impl Engine {
    /// Returns after how many milliseconds at most [`crate::Event::Woken`] is due.
    pub fn wait_ms(&self, now: Now) -> u64 {
        let timer = self.timers.first();
        let timer_ms = timer.map_or(WAIT_MS_MAX, |(at, _)| at.saturating_sub(now.steady_ms));
        let instants = self.instants().into_iter();
        let instant_ms = instants
            .filter_map(|at| at.checked_sub(now.unix_ms))
            .filter(|wait| *wait > 0)
            .min();
        let newcomer = self.newcomer.as_ref();
        let newcomer_ms = newcomer.and_then(|newcomer| newcomer.due_ms());
        let newcomer_ms = newcomer_ms.map_or(WAIT_MS_MAX, |at| at.saturating_sub(now.steady_ms));
        timer_ms
            .min(newcomer_ms)
            .min(instant_ms.unwrap_or(WAIT_MS_MAX))
            .min(WAIT_MS_MAX)
    }

    /// Returns the times of day that matter soon: when the next height begins, and those round the closures of this step
    /// and the next, so that it is known what came before them and what after.
    fn instants(&self) -> Vec<u64> {
        let timing = &self.config.timing;
        let delay_ms = self.config.tolerance.delay_ms;
        let step = Step(self.next.height);
        let mut instants = Vec::new();
        for step in [step, Step(step.0.saturating_add(1))] {
            instants.push(timing.settles_at_ms(step));
            for kind in [ItemKind::Bid, ItemKind::Reading] {
                let closes_ms = kind.closes_at_ms(timing, step);
                instants.extend([
                    closes_ms.saturating_sub(delay_ms).saturating_sub(1),
                    closes_ms,
                    closes_ms.saturating_add(delay_ms).saturating_add(1),
                ]);
            }
        }
        instants
    }

    pub(super) fn schedule(&mut self, timeout: Timeout, duration: std::time::Duration) {
        let lasts_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.cancel(timeout);
        let at = self.now.steady_ms.saturating_add(lasts_ms);
        self.timers.insert((at, timeout));
    }

    pub(super) fn cancel(&mut self, timeout: Timeout) {
        self.timers.retain(|(_, other)| *other != timeout);
    }

    /// Gives back the timeouts that are over, each before those it leads to.
    pub(super) fn end_timeouts(&mut self) -> Result<(), Fatal> {
        while let Some((at, timeout)) = self.timers.first().copied() {
            if at > self.now.steady_ms {
                return Ok(());
            }
            self.timers.pop_first();
            self.feed(Input::TimeoutElapsed(timeout))?;
        }
        Ok(())
    }
}
