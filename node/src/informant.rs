//! Every few seconds, in one line of the log: where the node is.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use commonwatt_chain::HealthCheck;
use commonwatt_metrics::{LastStep, Metrics};
use commonwatt_primitives::Step;
use commonwatt_runtime::Hash;
use commonwatt_txpool::PoolStatus;
use tokio::time::MissedTickBehavior;

use crate::{
    report::{energy, grouped, utc},
    stop::now_ms,
};

/// How often the line comes: as often as on Substrate's nodes.
const INTERVAL: Duration = Duration::from_secs(5);

/// Settled steps without a block from which something is wrong. One is being closed now.
const STEPS_BEHIND_MIN: u32 = 2;

/// Logs the line for ever. `is_authority` says whether the node makes blocks.
pub async fn run(check: HealthCheck, metrics: Arc<Metrics>, is_authority: bool) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, when nothing is to be said yet.
    ticks.tick().await;
    let mut before = (Instant::now(), check.chain().best().0);
    let mut was_clock_behind = false;
    loop {
        ticks.tick().await;
        let (best, hash) = check.chain().best();
        let (then, best_then) = std::mem::replace(&mut before, (Instant::now(), best));
        let now_ms = now_ms();
        let next = Step(best.saturating_add(1));
        let state = State::of(&check, now_ms, metrics.agreement().peers(), is_authority);
        let is_clock_behind = matches!(state, State::ClockBehind { .. });
        if is_clock_behind && !was_clock_behind {
            tracing::warn!(
                clock = %utc(now_ms),
                best,
                closed = %utc(check.timing().closes_at_ms(Step(best))),
                "the clock shows a time before the best block's step closed: it is behind, or was ahead when that block was \
                 made; no block is made until it is there: set it"
            );
        }
        was_clock_behind = is_clock_behind;
        let glance = Glance {
            state,
            best,
            hash,
            closes_in_s: check
                .timing()
                .closes_at_ms(next)
                .saturating_sub(now_ms)
                .div_ceil(1_000),
            blocks: best.saturating_sub(best_then),
            within: then.elapsed(),
            pool: check.chain().pool_status(),
            last_step: metrics.last_step(),
        };
        tracing::info!("{glance}");
    }
}

/// What the node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first step has not begun.
    Waiting { begins_in_s: u64 },
    /// Steps close as they should.
    Idle,
    /// The clock shows a time at which the best block cannot have been made.
    ClockBehind { ahead: u32 },
    /// Missed steps are made up for.
    CatchingUp { behind: u32 },
    /// Steps settle, their blocks are others' to make or to give, and nobody is there.
    Alone { behind: u32 },
    /// Steps settle and no block comes.
    Overdue { behind: u32 },
}

impl State {
    fn of(check: &HealthCheck, now_ms: u64, peers: i64, is_authority: bool) -> Self {
        let genesis_ms = check.timing().genesis_ms;
        let behind = check.steps_behind(now_ms);
        if let Some(ahead) = check.clock_behind(now_ms) {
            Self::ClockBehind { ahead }
        } else if now_ms < genesis_ms {
            let begins_in_s = genesis_ms.saturating_sub(now_ms).div_ceil(1_000);
            Self::Waiting { begins_in_s }
        } else if behind >= STEPS_BEHIND_MIN && peers == 0 && needs_others(check, is_authority) {
            Self::Alone { behind }
        } else if check.chain().is_catching_up() {
            Self::CatchingUp { behind }
        } else if behind >= STEPS_BEHIND_MIN {
            Self::Overdue { behind }
        } else {
            Self::Idle
        }
    }
}

/// Returns whether a node gets no block without others: it makes none, or agrees on them.
fn needs_others(check: &HealthCheck, is_authority: bool) -> bool {
    let lineup = check.chain().next_lineup();
    !is_authority || lineup.is_ok_and(|lineup| lineup.validators.len() > 1)
}

/// What the line says.
struct Glance {
    state: State,
    best: u32,
    hash: Hash,
    /// Until the step after the best block's closes; 0 while its block is made.
    closes_in_s: u64,
    /// Blocks since the last line.
    blocks: u32,
    /// Time since the last line.
    within: Duration,
    pool: PoolStatus,
    last_step: Option<LastStep>,
}

impl fmt::Display for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Waiting { begins_in_s } => {
                write!(f, "⏳ Waiting (step 1 begins in {begins_in_s} s)")?;
            }
            State::Idle => {
                let open = self.best.saturating_add(1);
                match self.closes_in_s {
                    0 => write!(f, "💤 Idle (step {open} has closed)")?,
                    seconds => write!(f, "💤 Idle (step {open} closes in {seconds} s)")?,
                }
            }
            State::ClockBehind { ahead } => {
                write!(
                    f,
                    "⚠️  Clock behind (the best block is {ahead} steps ahead of it; set the clock)"
                )?;
            }
            State::CatchingUp { behind } => {
                let rate = f64::from(self.blocks) / self.within.as_secs_f64().max(0.001);
                write!(
                    f,
                    "⚙️  Catching up ({behind} steps behind, {rate:.1} steps/s)"
                )?;
            }
            State::Alone { behind } => {
                write!(
                    f,
                    "🔌 Waiting for peers ({behind} steps behind; none is connected: see --bootnodes here, and --reserved-nodes there)"
                )?;
            }
            State::Overdue { behind } => {
                write!(
                    f,
                    "⚠️  Overdue ({behind} steps have settled without a block)"
                )?;
            }
        }
        let (best, hash) = (self.best, ShortHash(self.hash));
        // A stored block is final.
        write!(f, ", best: #{best} ({hash}), finalized #{best} ({hash})")?;
        let all = [self.pool.ready, self.pool.future, self.pool.waiting];
        let sum = |count: fn(&commonwatt_txpool::LaneCounts) -> usize| all.iter().map(count).sum();
        let (total, readings): (usize, usize) =
            (sum(|lane| lane.total()), sum(|lane| lane.readings));
        write!(f, ", pool: {total} ({readings} readings)")?;
        let Some(last) = &self.last_step else {
            return Ok(());
        };
        write!(
            f,
            ", step {}: {} readings, {} generated, {} consumed",
            last.step,
            grouped(last.readings as u128),
            energy(last.generated),
            energy(last.consumed)
        )?;
        if last.is_late {
            f.write_str(", late")?;
        }
        Ok(())
    }
}

/// A hash as the informant of Substrate shows it.
struct ShortHash(Hash);

impl fmt::Display for ShortHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(self.0);
        let (start, end) = (hex.get(..4), hex.get(60..));
        write!(f, "0x{}…{}", start.unwrap_or(&hex), end.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_primitives::Wh;
    use commonwatt_txpool::LaneCounts;

    fn glance(state: State) -> Glance {
        Glance {
            state,
            best: 1_234,
            hash: Hash::repeat_byte(0xa5),
            closes_in_s: 312,
            blocks: 40,
            within: INTERVAL,
            pool: PoolStatus {
                ready: LaneCounts {
                    readings: 2,
                    other: 9,
                    ..LaneCounts::default()
                },
                waiting: LaneCounts {
                    readings: 1,
                    ..LaneCounts::default()
                },
                ..PoolStatus::default()
            },
            last_step: None,
        }
    }

    #[test]
    fn the_line_says_where_the_node_is() {
        let mut idle = glance(State::Idle);
        assert_eq!(
            idle.to_string(),
            "💤 Idle (step 1235 closes in 312 s), best: #1234 (0xa5a5…a5a5), finalized #1234 (0xa5a5…a5a5), pool: 12 \
             (3 readings)"
        );
        idle.last_step = Some(LastStep {
            step: Step(1_234),
            readings: 96,
            generated: Wh(12_345),
            consumed: Wh(9_001),
            is_late: true,
        });
        let line = idle.to_string();
        let end = ", step 1234: 96 readings, 12 345 Wh generated, 9 001 Wh consumed, late";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn a_step_whose_block_is_being_made_has_closed() {
        let mut closed = glance(State::Idle);
        closed.closes_in_s = 0;
        let line = closed.to_string();
        assert!(
            line.starts_with("💤 Idle (step 1235 has closed), best"),
            "{line}"
        );
    }

    #[test]
    fn each_state_is_told_apart() {
        let begins = |state, beginning: &str| {
            let line = glance(state).to_string();
            assert!(line.starts_with(beginning), "{line}");
        };
        begins(
            State::Waiting { begins_in_s: 60 },
            "⏳ Waiting (step 1 begins in 60 s), best",
        );
        begins(
            State::ClockBehind { ahead: 8 },
            "⚠️  Clock behind (the best block is 8 steps ahead of it; set the clock), best",
        );
        begins(
            State::CatchingUp { behind: 12 },
            "⚙️  Catching up (12 steps behind, 8.0 steps/s), best",
        );
        begins(
            State::Alone { behind: 12 },
            "🔌 Waiting for peers (12 steps behind; none is connected",
        );
        begins(
            State::Overdue { behind: 3 },
            "⚠️  Overdue (3 steps have settled without a block), best",
        );
    }
}
