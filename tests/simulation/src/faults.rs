//! What goes wrong with nodes, clocks and lines, and how it is mended.

use crate::{
    community::GENESIS_MS,
    disk::Moment,
    plan::Fault,
    violation::Violation,
    world::{Task, World},
};

/// The end of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// All lines are sound again.
    Lines,
    /// A node's clock is set right.
    Clock(usize),
}

/// Operations within which a node loses its power.
const OPERATIONS: u64 = 12;
/// Actions within which a process is killed.
const ACTIONS: u64 = 8;
/// How far a clock is set wrong at most, in steps.
const CLOCK_STEPS: u64 = 3;

impl World {
    /// Plans when the next fault strikes.
    pub(crate) fn plan_fault(&mut self) {
        let step_ms = self.community.timing.step_ms;
        let gap_ms = step_ms.saturating_mul(self.plan.fault_gap_percent) / 100;
        let mut after = self.random.within(gap_ms / 4..=gap_ms);
        if step_ms > 60_000 && self.random.percent(70) {
            // Most of such a step nothing happens that a fault could disturb.
            let beat_ms = self.beat_ms();
            let until_ms = self
                .until_settled_ms()
                .saturating_add(self.random.below(2 * beat_ms));
            after = until_ms.saturating_sub(beat_ms / 2).max(1);
        }
        self.push(after, Task::Fault);
    }

    /// Lets one fault strike.
    pub(crate) fn strike(&mut self) -> Result<(), Violation> {
        let faults = self.plan.faults.clone();
        let Some(fault) = self.random.pick(&faults).copied() else {
            return Ok(());
        };
        let node = self.random.index(self.nodes.len());
        let at_ms = self.now_ms;
        self.trace.note(&[10, at_ms, node as u64], || {
            format!("{at_ms:>9} {fault:?} strikes, perhaps node {node}")
        });
        let step_ms = self.community.timing.step_ms;
        let is_up = self.nodes[node].process.is_some();
        match fault {
            Fault::PowerAtOperation if is_up => {
                let moments = [Moment::Before, Moment::Torn, Moment::After];
                let moment = *self.random.pick(&moments).unwrap_or(&Moment::Before);
                let after = self.random.below(OPERATIONS);
                self.nodes[node].disk.plan_fault(after, moment);
            }
            Fault::Power if is_up => self.power_is_off(node),
            Fault::Kill if is_up => {
                self.report.kills += 1;
                self.go_down(node, true);
            }
            Fault::KillBetweenActions if is_up => {
                let after = self.random.below(ACTIONS);
                self.nodes[node].killed_after = usize::try_from(after).ok();
            }
            Fault::Blackout => {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].process.is_some() {
                        self.power_is_off(node);
                    }
                }
            }
            Fault::LostLog if is_up && self.may_lose_log(node) => {
                self.report.lost_logs += 1;
                self.nodes[node].has_lost_log = true;
                self.power_is_off(node);
                self.nodes[node].disk.lose_log();
                self.nodes[node].votes_from = None;
            }
            Fault::OldCopy if is_up && self.may_lose_log(node) => self.bring_back(node),
            Fault::Partition => self.part(),
            Fault::OneWay => {
                self.report.partitions += 1;
                let lines = 1 + self.random.index(self.nodes.len());
                for _ in 0..lines {
                    let from = self.random.index(self.nodes.len());
                    let to = self.random.index(self.nodes.len());
                    self.network.cut(from, to);
                }
                self.mend_lines_later();
            }
            Fault::SlowLine => {
                self.report.partitions += 1;
                self.network.slow[node] = self.random.within(3..=30);
                self.mend_lines_later();
            }
            Fault::ClockSet => {
                self.report.clock_faults += 1;
                let most = CLOCK_STEPS.saturating_mul(step_ms);
                let off = i64::try_from(self.random.within(0..=2 * most)).unwrap_or_default();
                self.nodes[node].clock_ms = off - i64::try_from(most).unwrap_or_default();
                let after = self.random.within(step_ms / 4..=3 * step_ms);
                let steady_ms = self
                    .now_ms
                    .saturating_add(after)
                    .saturating_add(2 * step_ms);
                self.watch.unsteady_until_ms = self.watch.unsteady_until_ms.max(steady_ms);
                self.push(after, Task::Mend(Mend::Clock(node)));
            }
            Fault::Pause => {
                self.report.clock_faults += 1;
                let lasts_ms = self.random.within(step_ms / 10..=2 * step_ms);
                self.nodes[node].paused_until_ms = self.now_ms.saturating_add(lasts_ms);
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns whether a node may lose its log: of a chain without a block nobody could say from when on to vote, and
    /// without the votes of a third at one height nothing would ever be decided there. Who has never voted has no log either.
    fn may_lose_log(&self, node: usize) -> bool {
        self.nodes[node].acknowledged > 0
            && self.plan.liars.is_empty()
            && self.nodes.iter().all(|it| it.has_voted)
            && !self
                .nodes
                .iter()
                .any(crate::node::Node::is_kept_from_voting)
    }

    /// Copies a node's disk, or has the node go on with the copy that was made before.
    ///
    /// No vote that it cast before is needed any more when it comes back, as the operator guide demands where a log is old:
    /// all others have the block it voted for last.
    fn bring_back(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let Some((copy, best)) = it.copy.take() else {
            it.copy = Some((it.disk.copy(), it.acknowledged));
            return;
        };
        it.has_lost_log = true;
        it.votes_from = None;
        it.waits_for = Some(it.acknowledged.saturating_add(1));
        self.report.old_copies += 1;
        self.power_is_off(node);
        let it = &mut self.nodes[node];
        it.disk.bring_back(copy);
        it.acknowledged = best;
    }

    /// Parts the nodes into two groups that do not hear of each other.
    fn part(&mut self) {
        self.report.partitions += 1;
        let mut nodes: Vec<_> = (0..self.nodes.len()).collect();
        self.random.shuffle(&mut nodes);
        let (some, rest) = nodes.split_at(1 + self.random.index(nodes.len() / 2));
        for one in some {
            for other in rest {
                self.network.cut(*one, *other);
                self.network.cut(*other, *one);
                self.connect(*one, *other, false);
            }
        }
        self.mend_lines_later();
    }

    fn mend_lines_later(&mut self) {
        let step_ms = self.community.timing.step_ms;
        let longest = match self.random.percent(70) {
            true => step_ms,
            false => 6 * step_ms,
        };
        let after = self.random.within(step_ms / 10..=longest);
        self.push(after, Task::Mend(Mend::Lines));
    }

    /// Ends a fault.
    pub(crate) fn mend(&mut self, mend: Mend) -> Result<(), Violation> {
        match mend {
            Mend::Lines => {
                self.network.mend();
                self.connect_all();
            }
            Mend::Clock(node) => {
                if self.nodes[node].is_honest() {
                    self.nodes[node].clock_ms = 0;
                }
                if self.nodes[node].paused_until_ms <= self.now_ms {
                    self.feed(node, commonwatt_engine::Event::Woken)?;
                }
            }
        }
        Ok(())
    }

    fn connect_all(&mut self) {
        for one in 0..self.nodes.len() {
            for other in 0..one {
                let are_up =
                    self.nodes[one].process.is_some() && self.nodes[other].process.is_some();
                if are_up {
                    self.connect(one, other, true);
                }
            }
        }
    }

    /// Mends everything at once. From here on only liars do wrong.
    pub(crate) fn heal(&mut self) -> Result<(), Violation> {
        let at_ms = self.now_ms;
        self.trace
            .note(&[11, at_ms], || format!("{at_ms:>9} everything is healed"));
        self.healed_at_ms = Some(at_ms);
        let unix_ms = GENESIS_MS.saturating_add(at_ms);
        self.disturbed = self.community.timing.step_at(unix_ms);
        self.network.mend();
        self.network.loss_permille = 0;
        self.network.twice_permille = 0;
        self.network.delay = crate::network::Delay::NEAR;
        self.set_clocks();
        let slowest = self.nodes.iter().filter(|it| it.is_honest());
        let slowest = slowest.map(|it| it.acknowledged).min();
        self.report.behind_at_healing = self
            .settled_step()
            .saturating_sub(slowest.unwrap_or_default());
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until_ms = 0;
            self.nodes[node].killed_after = None;
            self.nodes[node].disk.forget_fault();
            if self.nodes[node].process.is_none() {
                self.push(100, Task::Boot(node));
            } else {
                self.feed(node, commonwatt_engine::Event::Woken)?;
            }
        }
        self.connect_all();
        Ok(())
    }
}
