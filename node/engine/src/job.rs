//! What takes long: building a block, executing one. Run by the driver on another thread, or at once in a simulator.

use std::{collections::BTreeSet, fmt, sync::Arc};

use commonwatt_chain::{Chain, ChainError, Checked, Pooled, ProposalDraft, Proposed};
use commonwatt_consensus::{Block, CheckId};
use commonwatt_executor::{BuildLimits, decode_extrinsic, extrinsic_hash};
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_runtime::{
    Hash,
    items::{Contents, ItemKind, Turns, Urgency},
};

use crate::{
    blocks::{to_block, to_stored},
    config::BODY_BYTES_MAX,
    timeliness::{Item, Sighting, Tolerance},
};

/// Candidates that may fail to fit before building stops: any number, until its time is over. The others judge by all that
/// they know whether something was left out though there was room.
const MISFITS_MAX: u32 = u32::MAX;

/// Transactions of a block from which on its author may have run out of time, and then left out nothing but what was not yet
/// to have its turn.
const FULL_EXTRINSICS: usize = 1_000;

/// A transaction of the pool and when it came.
pub(crate) type Seen = (Pooled, Sighting);

/// A piece of work.
pub struct Job {
    pub(crate) chain: Arc<Chain>,
    pub(crate) task: Task,
}

pub(crate) enum Task {
    Build {
        height: u32,
        round: u32,
        rank: u32,
        timing: StepTiming,
        tolerance: Tolerance,
        candidates: Vec<Seen>,
        /// How long adding transactions may take, in milliseconds.
        budget_ms: u64,
    },
    Verify {
        check: CheckId,
        height: u32,
        block: Block,
        /// What is needed to judge timeliness, where it counts.
        judging: Option<Judging>,
    },
}

/// What a verifying job needs to find out what a block leaves out.
pub(crate) struct Judging {
    pub timing: StepTiming,
    pub tolerance: Tolerance,
    pub pooled: Vec<Seen>,
}

/// What came of a job.
pub struct JobDone(pub(crate) Outcome);

pub(crate) enum Outcome {
    Built {
        height: u32,
        round: u32,
        block: Result<Option<Block>, ChainError>,
    },
    Verified {
        check: CheckId,
        finding: Result<Finding, ChainError>,
    },
}

/// What executing a block found.
pub(crate) enum Finding {
    Right {
        /// Items that it leaves out though there was room, with what they are.
        left_out: Vec<(Pooled, Item)>,
        /// Items it holds, without when they came.
        included: Vec<(Hash, ItemKind)>,
    },
    WrongBody,
    Wrong(String),
    Outdated,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Task::Build { height, round, .. } => write!(f, "Job(build {height}/{round})"),
            Task::Verify { check, height, .. } => write!(f, "Job(verify {check:?} of {height})"),
        }
    }
}

impl fmt::Debug for JobDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Built { height, round, .. } => write!(f, "JobDone(built {height}/{round})"),
            Outcome::Verified { check, .. } => write!(f, "JobDone(verified {check:?})"),
        }
    }
}

impl Job {
    /// Does the work. `unix_ms` shows the time of day; a driver without one that goes on meanwhile gives a constant.
    pub fn run(self, unix_ms: &dyn Fn() -> u64) -> JobDone {
        let Self { chain, task } = self;
        JobDone(match task {
            Task::Build {
                height,
                round,
                rank,
                timing,
                tolerance,
                candidates,
                budget_ms,
            } => {
                let step = Step(height);
                let began_ms = unix_ms();
                // Nobody holds anything against a late block, and what is in the pool has waited long.
                let is_late = timing.is_late(step, began_ms);
                let is_taken = |(pooled, seen): &Seen| {
                    is_late || is_taken(pooled, *seen, &timing, &tolerance, step)
                };
                let taken = candidates.into_iter().filter(is_taken);
                let candidates: Vec<_> = taken.map(|(pooled, _)| pooled).collect();
                let draft = ProposalDraft {
                    timing: &timing,
                    step,
                    rank,
                    punctuality: match is_late {
                        true => Punctuality::Late,
                        false => Punctuality::OnTime,
                    },
                    candidates: &candidates,
                };
                let over_ms = began_ms.saturating_add(budget_ms);
                Outcome::Built {
                    height,
                    round,
                    block: build(&chain, &draft, &|| unix_ms() >= over_ms),
                }
            }
            Task::Verify {
                check,
                height,
                block,
                judging,
            } => Outcome::Verified {
                check,
                finding: verify(&chain, height, &block, judging),
            },
        })
    }
}

fn build(
    chain: &Chain,
    draft: &ProposalDraft<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<Option<Block>, ChainError> {
    let limits = BuildLimits {
        bytes_max: BODY_BYTES_MAX,
        misfits_max: MISFITS_MAX,
        is_over,
    };
    let proposed = chain.propose(draft, &limits)?;
    Ok(proposed.map(|Proposed { header, body, .. }| to_block(&header, &body)))
}

fn is_taken(
    pooled: &Pooled,
    seen: Sighting,
    timing: &StepTiming,
    tolerance: &Tolerance,
    step: Step,
) -> bool {
    kind_of(&pooled.extrinsic).is_none_or(|kind| {
        let hash = pooled.hash;
        Item { hash, kind, seen }.is_taken(timing, tolerance, step)
    })
}

fn verify(
    chain: &Chain,
    height: u32,
    block: &Block,
    judging: Option<Judging>,
) -> Result<Finding, ChainError> {
    let Some((header, body)) = to_stored(block) else {
        return Ok(Finding::WrongBody);
    };
    let hashes: BTreeSet<Hash> = match judging {
        Some(_) => body.iter().map(|bytes| extrinsic_hash(bytes)).collect(),
        None => BTreeSet::new(),
    };
    let is_judged = judging.is_some();
    let missing = judging
        .map(|judging| find_missing(&judging, Step(height), &hashes))
        .unwrap_or_default();
    let expected: Vec<_> = missing.iter().map(|(pooled, _)| pooled.clone()).collect();
    Ok(
        match chain.check(&header, &body, &expected, BODY_BYTES_MAX)? {
            Checked::WrongBody => Finding::WrongBody,
            Checked::Outdated => Finding::Outdated,
            Checked::Wrong(error) => Finding::Wrong(error.to_string()),
            Checked::Right { .. } if !is_judged => Finding::Right {
                left_out: Vec::new(),
                included: Vec::new(),
            },
            Checked::Right { left_out } => compare(&body, &missing, left_out),
        },
    )
}

/// Returns what is known of a right block's items and of the missing ones that it had room for, by their places.
fn compare(body: &[Vec<u8>], missing: &[(Pooled, Item)], left_out: Vec<usize>) -> Finding {
    let mut turns = Turns::default();
    let held: Vec<_> = body
        .iter()
        .map(|bytes| look_at(bytes, &mut turns))
        .collect();
    let asked: Vec<_> = missing
        .iter()
        .map(|(pooled, _)| look_at(&pooled.extrinsic, &mut turns).1)
        .collect();
    let last = held.iter().map(|(_, turn)| *turn).max();
    let is_excused = |turn| is_out_of_time(body.len(), last, turn);
    let left_out = left_out.into_iter();
    let included = body.iter().zip(held);
    Finding::Right {
        left_out: left_out
            .filter(|place| asked.get(*place).is_some_and(|turn| !is_excused(*turn)))
            .filter_map(|place| missing.get(place).cloned())
            .collect(),
        included: included
            .filter_map(|(bytes, (kind, _))| Some((extrinsic_hash(bytes), kind?)))
            .collect(),
    }
}

/// Returns the items of the pool that should be in a block, as far as this node saw them, and are not.
fn find_missing(judging: &Judging, step: Step, held: &BTreeSet<Hash>) -> Vec<(Pooled, Item)> {
    let pooled = judging.pooled.iter();
    pooled
        .filter(|(pooled, _)| !held.contains(&pooled.hash))
        .filter_map(|(pooled, seen)| {
            let item = Item {
                hash: pooled.hash,
                kind: kind_of(&pooled.extrinsic)?,
                seen: *seen,
            };
            item.is_expected(&judging.timing, &judging.tolerance, step)
                .then(|| (pooled.clone(), item))
        })
        .collect()
}

/// Returns whether the author of a block of so many transactions may have run out of time before the turn of what it leaves
/// out. It goes by turns, so once its block holds something of a later one, it had the time.
fn is_out_of_time(extrinsics: usize, last: Option<Urgency>, turn: Urgency) -> bool {
    extrinsics >= FULL_EXTRINSICS && last.is_none_or(|last| last <= turn)
}

/// Returns what kind of item an extrinsic is; `None` for what no deadline is set for.
fn kind_of(extrinsic: &[u8]) -> Option<ItemKind> {
    Contents::of(&decode_extrinsic(extrinsic).ok()?.function).item
}

/// Returns what kind of item the next extrinsic is, and when it is its turn.
fn look_at(extrinsic: &[u8], turns: &mut Turns) -> (Option<ItemKind>, Urgency) {
    match decode_extrinsic(extrinsic) {
        Ok(extrinsic) => {
            let kind = Contents::of(&extrinsic.function).item;
            (kind, turns.turn_of(&extrinsic))
        }
        Err(_) => (None, Urgency::Rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_yet_to_have_its_turn_may_be_left_out_of_a_long_block() {
        use Urgency::{EvidenceAndBids, Readings, Rest};
        for (extrinsics, last, excused) in [
            (999, Readings, &[][..]),
            (1_000, EvidenceAndBids, &[EvidenceAndBids, Readings, Rest]),
            (1_000, Readings, &[Readings, Rest]),
            (100_000, Readings, &[Readings, Rest]),
            (100_000, Rest, &[Rest]),
        ] {
            for turn in Urgency::ALL {
                assert_eq!(
                    is_out_of_time(extrinsics, Some(last), turn),
                    excused.contains(&turn),
                    "{extrinsics} up to {last:?}, without {turn:?}"
                );
            }
        }
    }
}
