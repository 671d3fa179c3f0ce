//! A line on a terminal that knows when the step closes.

use std::{
    future::Future,
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use commonwatt_primitives::{Step, StepTiming};

/// How often the line is written anew.
const TICK: Duration = Duration::from_millis(250);
/// Milliseconds up to which tenths of a second are shown.
const TENTHS_MAX_MS: u64 = 10_000;

/// Returns the time, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|passed| u64::try_from(passed.as_millis()).ok())
        .unwrap_or_default()
}

/// Writes a span of time, as people wait for it.
pub fn show_span(span_ms: u64) -> String {
    let seconds = span_ms / 1_000;
    match span_ms {
        0..TENTHS_MAX_MS => format!("{seconds}.{} s", span_ms % 1_000 / 100),
        TENTHS_MAX_MS..120_000 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Says where in its step a chain is: when the running step closes, or that the block of the last one is due.
pub fn describe_moment(timing: &StepTiming, now_ms: u64) -> String {
    let step = timing.step_at(now_ms);
    if step == Step(0) {
        let left = show_span(timing.genesis_ms.saturating_sub(now_ms));
        return format!("the chain's first step begins in {left}");
    }
    let closed = step.saturating_sub(1);
    let settles_at_ms = timing.settles_at_ms(closed);
    if closed > Step(0) && now_ms < settles_at_ms {
        let left = show_span(settles_at_ms.saturating_sub(now_ms));
        return format!("step {closed} closed, its block is made in {left}");
    }
    let left = show_span(timing.closes_at_ms(step).saturating_sub(now_ms));
    format!("step {step} closes in {left}")
}

/// The line.
pub struct Progress {
    timing: StepTiming,
    is_shown: bool,
}

impl Progress {
    /// Shows the line if somebody watches, and if it would not get between the lines of an answer for programs.
    pub fn new(timing: StepTiming, is_json: bool) -> Self {
        Self {
            timing,
            is_shown: !is_json && io::stderr().is_terminal(),
        }
    }

    /// Waits for something, and says meanwhile for what, and how long it takes.
    pub async fn during<Output>(
        &self,
        what: &str,
        waiting: impl Future<Output = Output>,
    ) -> Output {
        if !self.is_shown {
            return waiting.await;
        }
        let mut ticks = tokio::time::interval(TICK);
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                output = &mut waiting => {
                    self.clear();
                    return output;
                }
                _ = ticks.tick() => self.write(&format!("{what}: {}", describe_moment(&self.timing, now_ms()))),
            }
        }
    }

    /// Writes the line over what it said before. Nobody needs it, so it does not matter whether that works.
    fn write(&self, text: &str) {
        let _ = write!(io::stderr(), "\r\u{1b}[K{text}");
        let _ = io::stderr().flush();
    }

    fn clear(&self) {
        self.write("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: StepTiming = StepTiming {
        genesis_ms: 1_000_000,
        ..StepTiming::PRODUCTION
    };

    #[test]
    fn the_line_knows_when_the_step_closes() {
        let at = |ms: u64| describe_moment(&TIMING, TIMING.genesis_ms + ms);
        assert_eq!(at(1), "step 1 closes in 14 min 59 s");
        assert_eq!(at(897_700), "step 1 closes in 2.3 s");
        assert_eq!(at(900_000), "step 1 closes in 0.0 s");
        assert_eq!(at(901_000), "step 1 closed, its block is made in 2.0 s");
        assert_eq!(at(903_000), "step 2 closes in 14 min 57 s");
        assert_eq!(
            describe_moment(&TIMING, 995_000),
            "the chain's first step begins in 5.0 s"
        );
    }

    #[test]
    fn spans_are_as_exact_as_people_need() {
        assert_eq!(show_span(9_999), "9.9 s");
        assert_eq!(show_span(10_000), "10 s");
        assert_eq!(show_span(119_999), "119 s");
        assert_eq!(show_span(120_000), "2 min 00 s");
    }

    #[tokio::test]
    async fn waiting_returns_what_was_waited_for() {
        for is_shown in [true, false] {
            let progress = Progress {
                timing: TIMING,
                is_shown,
            };
            assert_eq!(progress.during("a test", async { 7 }).await, 7);
        }
    }
}
