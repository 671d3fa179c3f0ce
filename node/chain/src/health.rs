//! Whether the node does its work, for those who watch over it. The clock is the caller's.

use std::sync::Arc;

use commonwatt_primitives::{Step, StepTiming};
use thiserror::Error;

use crate::{Chain, ChainError};

/// Settled steps without a block from which a node is not ready. One is being closed now.
const STEPS_BEHIND_MIN: u32 = 2;

/// Steps that the best block is ahead of the clock from which the clock is wrong. Clocks of honest nodes differ by less.
const STEPS_AHEAD_MIN: u32 = 2;

/// Looks after a chain.
#[derive(Clone)]
pub struct HealthCheck {
    chain: Arc<Chain>,
    timing: StepTiming,
}

/// Why a node should not be relied on now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unready {
    /// The database wrote nothing since.
    #[error(
        "the database has stopped writing after block {durable_number} ({cause}): mend the disk and start the \
         node again"
    )]
    DatabaseFailed {
        /// The last block on disk.
        durable_number: u32,
        /// What failed.
        cause: String,
    },
    /// The clock shows a time at which the best block cannot have been made.
    #[error(
        "block {best} is {ahead} steps ahead of this machine's clock, so no block is made until the clock is there: the clock is behind, \
         or was ahead when those blocks were made; set it"
    )]
    ClockBehind {
        /// The best block.
        best: u32,
        /// Steps between the last one that has settled by the clock and the best block's.
        ahead: u32,
    },
    /// It makes up for missed steps.
    #[error(
        "catching up: {behind} steps have settled since block {best}; wait until they are made"
    )]
    CatchingUp {
        /// The best block.
        best: u32,
        /// Steps that have settled without a block.
        behind: u32,
    },
    /// Blocks do not come, and nothing is known that makes up for them.
    #[error(
        "block {best} is the last, and {behind} steps have settled since: look into the log for why no block is \
         made"
    )]
    Overdue {
        /// The best block.
        best: u32,
        /// Steps that have settled without a block.
        behind: u32,
    },
}

impl HealthCheck {
    /// Begins to look after a chain.
    pub fn new(chain: Arc<Chain>) -> Result<Self, ChainError> {
        let timing = chain.timing()?;
        Ok(Self { chain, timing })
    }

    /// Returns the chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Returns when the chain's steps close.
    pub fn timing(&self) -> &StepTiming {
        &self.timing
    }

    /// Returns the last step whose block could be there; step 0 until the first has settled.
    pub fn settled(&self, now_ms: u64) -> Step {
        let first_ms = self
            .timing
            .genesis_ms
            .saturating_add(self.timing.settle_delay_ms);
        let steps = now_ms.saturating_sub(first_ms) / self.timing.step_ms.max(1);
        Step(u32::try_from(steps).unwrap_or(u32::MAX))
    }

    /// Returns how many steps have settled and have no block.
    pub fn steps_behind(&self, now_ms: u64) -> u32 {
        self.settled(now_ms).since(Step(self.chain.best().0))
    }

    /// Returns how many steps the best block is ahead of the last one that has settled by the clock: none, as long as the
    /// clocks of those who make blocks and of this machine are right.
    pub fn steps_ahead(&self, now_ms: u64) -> u32 {
        Step(self.chain.best().0).since(self.settled(now_ms))
    }

    /// Returns by how many steps the clock is behind the chain, if that is more than clocks differ.
    pub fn clock_behind(&self, now_ms: u64) -> Option<u32> {
        Some(self.steps_ahead(now_ms)).filter(|ahead| *ahead >= STEPS_AHEAD_MIN)
    }

    /// Returns what Substrate's `system_health` says, as JSON. A node without a network is never without the
    /// peers it should have.
    pub fn health_json(&self) -> String {
        format!(
            r#"{{"peers":0,"isSyncing":{},"shouldHavePeers":false}}"#,
            self.chain.is_catching_up()
        )
    }

    /// Checks whether the node can be relied on: what it says is of now, and it takes transactions.
    pub fn verify_ready(&self, now_ms: u64) -> Result<(), Unready> {
        if let Some(cause) = self.chain.db().failure() {
            return Err(Unready::DatabaseFailed {
                durable_number: self.chain.db().durable_number(),
                cause: cause.to_owned(),
            });
        }
        let (best, _) = self.chain.best();
        if let Some(ahead) = self.clock_behind(now_ms) {
            return Err(Unready::ClockBehind { best, ahead });
        }
        let behind = self.steps_behind(now_ms);
        if self.chain.is_catching_up() {
            return Err(Unready::CatchingUp { best, behind });
        }
        if behind >= STEPS_BEHIND_MIN {
            return Err(Unready::Overdue { best, behind });
        }
        Ok(())
    }
}
