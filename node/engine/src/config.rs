//! How an engine runs.

use std::{sync::Arc, time::Duration};

use commonwatt_chain::SessionSigner;
use commonwatt_consensus::Timing;
use commonwatt_primitives::StepTiming;

use crate::Tolerance;

/// Longest body an engine builds: the runtime's limit for ordinary calls, less room for inherents.
pub const BODY_BYTES_MAX: usize = 14 * 1024 * 1024;

/// Shortest wait for a block that was asked for: a large one takes a while, however short the steps are.
const SYNC_ANSWER_MIN: Duration = Duration::from_secs(3);

/// What the driver's clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time of day, by which steps close: milliseconds since the Unix epoch. It may jump.
    pub unix_ms: u64,
    /// A clock that only goes forward, for timeouts: milliseconds since any instant.
    pub steady_ms: u64,
}

impl Now {
    /// Both clocks show the same, as in a simulator without clock faults.
    pub const fn same(unix_ms: u64) -> Self {
        Self {
            unix_ms,
            steady_ms: unix_ms,
        }
    }
}

/// How an engine runs.
#[derive(Clone)]
pub struct EngineConfig {
    /// Where this node's session keys lie; `None` for a node that only follows. Which of them acts at a height, and for
    /// whom, the chain says.
    pub keys: Option<Arc<dyn SessionSigner>>,
    /// The first height this node votes at, when the operator said so: needed when the write-ahead log is missing on a
    /// chain that has begun.
    pub votes_from: Option<u32>,
    /// When steps close.
    pub timing: StepTiming,
    /// How long timeouts last.
    pub agreement: Timing,
    /// How far clocks and lines may differ before a block counts as untimely.
    pub tolerance: Tolerance,
    /// How many missed steps are made up for unasked; `None` for any number.
    pub missed_steps_max: Option<u32>,
}

impl EngineConfig {
    /// Returns the configuration that follows from a chain's timing, for a node with these keys.
    pub fn new(timing: StepTiming, keys: Option<Arc<dyn SessionSigner>>) -> Self {
        let agreement = Timing::for_step(timing.step_ms);
        Self {
            keys,
            votes_from: None,
            agreement: Timing {
                // What needs more than a round's time, as on a machine that is too slow for its steps, has it soon.
                growth: agreement.growth.max(agreement.propose / 2),
                sync_answer: agreement.sync_answer.max(SYNC_ANSWER_MIN),
                ..agreement
            },
            tolerance: Tolerance::of(&timing),
            timing,
            missed_steps_max: None,
        }
    }
}
