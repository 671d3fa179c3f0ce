//! Timeouts: asked for by the machine, measured by the caller.

use core::time::Duration;

/// A timeout that the machine asked for; given back when it has elapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout {
    /// The height it belongs to.
    pub height: u32,
    /// The round it belongs to; zero for those of synchronising.
    pub round: u32,
    /// What it is for.
    pub kind: TimeoutKind,
}

impl Timeout {
    /// Returns whether it is one of synchronising, which has nothing to do with rounds.
    pub(crate) fn is_of_sync(&self) -> bool {
        matches!(self.kind, TimeoutKind::SyncDelay | TimeoutKind::SyncAnswer)
    }
}

/// What a timeout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeoutKind {
    /// No proposal that can be approved: prevote nil.
    Propose,
    /// Prevotes without a majority: precommit nil.
    Prevote,
    /// Precommits without a majority: next round.
    Precommit,
    /// Send the own votes of the round again.
    Rebroadcast,
    /// A peer has decided this height; ask it for the block if we have not by then.
    SyncDelay,
    /// A peer that was asked for a block has not answered.
    SyncAnswer,
}

/// How long timeouts last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For a proposal to be built, sent and executed, in round 0.
    pub propose: Duration,
    /// For votes to arrive, in round 0.
    pub vote: Duration,
    /// What each further round adds, until the network's real delay is covered.
    pub growth: Duration,
    /// Between repetitions of the own votes.
    pub rebroadcast: Duration,
    /// Before a block that a peer has decided is asked for.
    pub sync_delay: Duration,
    /// For the answer to such a question.
    pub sync_answer: Duration,
    /// No timeout is longer.
    pub max: Duration,
}

impl Timing {
    /// Returns the timing for steps of `step_ms`: several rounds fit into one step, and a step of 15 minutes
    /// does not wait longer than the network needs.
    pub fn for_step(step_ms: u64) -> Self {
        // A block of 10 000 transactions takes some seconds to build, to send and to execute.
        let propose_ms = (step_ms / 6).clamp(200, 10_000);
        let vote_ms = (step_ms / 12).clamp(100, 1_000);
        Self {
            propose: Duration::from_millis(propose_ms),
            vote: Duration::from_millis(vote_ms),
            growth: Duration::from_millis(vote_ms / 2),
            rebroadcast: Duration::from_millis(propose_ms.saturating_add(2 * vote_ms)),
            sync_delay: Duration::from_millis(2 * vote_ms),
            sync_answer: Duration::from_millis(2 * propose_ms),
            max: Duration::from_secs(60),
        }
    }

    /// Returns how long `timeout` lasts.
    pub fn duration_of(&self, timeout: &Timeout) -> Duration {
        let base = match timeout.kind {
            TimeoutKind::Propose => self.propose,
            TimeoutKind::Prevote | TimeoutKind::Precommit => self.vote,
            TimeoutKind::Rebroadcast => self.rebroadcast,
            TimeoutKind::SyncDelay => self.sync_delay,
            TimeoutKind::SyncAnswer => self.sync_answer,
        };
        base.saturating_add(self.growth.saturating_mul(timeout.round))
            .min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rounds_wait_longer_up_to_the_maximum() {
        let timing = Timing::for_step(900_000);
        let of_round = |round| {
            timing.duration_of(&Timeout {
                height: 1,
                round,
                kind: TimeoutKind::Propose,
            })
        };
        assert_eq!(of_round(0), Duration::from_secs(10));
        assert_eq!(of_round(2), Duration::from_secs(11));
        assert_eq!(of_round(u32::MAX), timing.max);
    }

    #[test]
    fn two_rounds_fit_into_the_shortest_step() {
        let timing = Timing::for_step(2_000);
        let round = timing.propose + timing.vote + timing.vote;
        assert!(round + round + timing.growth * 3 < Duration::from_secs(2));
    }
}
