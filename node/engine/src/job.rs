//! What takes long: building a block, executing one. Run by the driver on another thread, or at once in a simulator.

use std::{collections::BTreeSet, fmt, sync::Arc};

use commonwatt_chain::{Chain, ChainError, Checked, Pooled, ProposalDraft, Proposed};
use commonwatt_consensus::{Block, CheckId};
use commonwatt_executor::{BuildLimits, decode_extrinsic, extrinsic_hash};
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_runtime::{Hash, RuntimeCall};
use pallet_double_auction::Call as MarketCall;
use pallet_energy_token::Call as EnergyCall;
use pallet_miner_auction::Call as AuctionCall;

use crate::{
    blocks::{to_block, to_stored},
    config::BODY_BYTES_MAX,
    timeliness::{Item, ItemKind, Sighting, Tolerance},
};

/// Candidates that may fail to fit before building stops.
const MISFITS_MAX: u32 = 64;

/// Transactions of a block from which on it counts as full, unless it holds something of less urgency than what it leaves
/// out: its author may have run out of time.
const FULL_EXTRINSICS: usize = 1_000;

/// Inherents of a block: its time.
const INHERENTS: usize = 1;

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
    let (missing, items): (Vec<_>, Vec<_>) = judging
        .map(|judging| find_missing(&judging, Step(height), &hashes))
        .unwrap_or_default()
        .into_iter()
        .unzip();
    Ok(
        match chain.check(&header, &body, &missing, BODY_BYTES_MAX)? {
            Checked::WrongBody => Finding::WrongBody,
            Checked::Outdated => Finding::Outdated,
            Checked::Wrong(error) => Finding::Wrong(error.to_string()),
            Checked::Right { left_out } => {
                let kinds: Vec<_> = match is_judged {
                    true => body.iter().map(|bytes| kind_of(bytes)).collect(),
                    false => Vec::new(),
                };
                let others = kinds.iter().filter(|kind| kind.is_none()).count();
                let is_full = kinds.len() >= FULL_EXTRINSICS && others <= INHERENTS;
                let left_out = left_out
                    .into_iter()
                    .filter(|_| !is_full)
                    .filter_map(|place| Some((missing.get(place)?.clone(), *items.get(place)?)))
                    .collect();
                let included = body.iter().zip(kinds);
                Finding::Right {
                    left_out,
                    included: included
                        .filter_map(|(bytes, kind)| Some((extrinsic_hash(bytes), kind?)))
                        .collect(),
                }
            }
        },
    )
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

/// Returns what kind of item an extrinsic is; `None` for what no deadline is set for.
fn kind_of(extrinsic: &[u8]) -> Option<ItemKind> {
    match decode_extrinsic(extrinsic).ok()?.function {
        RuntimeCall::EnergyToken(
            EnergyCall::report { .. } | EnergyCall::report_batch { .. } | EnergyCall::relay { .. },
        ) => Some(ItemKind::Reading),
        RuntimeCall::DoubleAuction(
            MarketCall::place { .. } | MarketCall::replace { .. } | MarketCall::cancel { .. },
        ) => Some(ItemKind::Order),
        RuntimeCall::MinerAuction(AuctionCall::bid { .. }) => Some(ItemKind::Bid),
        RuntimeCall::MinerAuction(AuctionCall::report_equivocation { .. }) => {
            Some(ItemKind::Evidence)
        }
        _ => None,
    }
}
