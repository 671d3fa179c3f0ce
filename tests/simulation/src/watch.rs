//! What left the nodes and what came to them, remembered to find contradictions and what blocks leave out.

use std::collections::{BTreeMap, BTreeSet};

use commonwatt_consensus::{Message, VoteKind};
use commonwatt_engine::{ItemKind, Tolerance};
use commonwatt_primitives::{AccountId, Step, StepTiming};
use commonwatt_runtime::Hash;

use crate::{community::GENESIS_MS, oracle::Taken, violation::Violation};

/// Blocks, in multiples of the number of validators, in which what all honest nodes have must be taken.
const STARVED_ROUNDS: u32 = 2;

/// What somebody signed.
type Occasion = (AccountId, u32, u32, &'static str);

/// What wants to be in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bid, good for one block.
    Bid,
    /// A reading.
    Reading,
    /// Anything without a deadline.
    Other,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Bid => "bid",
            Self::Reading => "reading",
            Self::Other => "transfer",
        }
    }
}

struct Item {
    kind: Kind,
    /// The block it is for.
    due: u32,
    /// What has to be taken before it.
    after: Option<Hash>,
    /// Since when each node has it.
    seen_ms: Vec<Option<u64>>,
    /// Blocks in time that were made while all honest nodes had it.
    passed_over: u32,
}

/// Evidence that a node has brought into its pool.
struct Accusation {
    node: usize,
    life: u64,
    offender: AccountId,
    height: u32,
    at_ms: u64,
}

/// The memory of a run.
pub struct Watch {
    timing: StepTiming,
    tolerance: Tolerance,
    signed: BTreeMap<Occasion, Vec<u8>>,
    items: BTreeMap<Hash, Item>,
    accusations: Vec<Accusation>,
    honest: Vec<bool>,
    /// Until when some clock was, or had been, wrong.
    pub unsteady_until_ms: u64,
}

/// How the network stood when a block was decided.
pub struct Standing {
    /// When.
    pub now_ms: u64,
    /// Whether all honest nodes were up.
    pub all_up: bool,
    /// How far clocks were off.
    pub skew_ms: u64,
}

impl Watch {
    /// Begins to watch nodes.
    pub fn new(timing: StepTiming, honest: Vec<bool>) -> Self {
        Self {
            tolerance: Tolerance::of(&timing),
            timing,
            signed: BTreeMap::new(),
            items: BTreeMap::new(),
            accusations: Vec::new(),
            honest,
            unsteady_until_ms: 0,
        }
    }

    /// Notes what an honest node sends; finds a contradiction to what it sent before, in this life or an earlier one.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn note_sent(
        &mut self,
        node: usize,
        own: &AccountId,
        message: &Message,
    ) -> Result<(), Violation> {
        use codec::Encode;
        let (what, content) = match message {
            Message::Vote(signed) if signed.vote.validator == *own => {
                let what = match signed.vote.kind {
                    VoteKind::Prevote => "prevote",
                    VoteKind::Precommit => "precommit",
                };
                (what, signed.vote.block.encode())
            }
            Message::Proposal(proposed) if proposed.signed.proposal.validator == *own => {
                let proposal = &proposed.signed.proposal;
                ("proposal", (proposal.block, proposal.pol_round).encode())
            }
            _ => return Ok(()),
        };
        let (height, round) = (message.height(), message.round());
        let occasion = (own.clone(), height, round, what);
        let before = self
            .signed
            .entry(occasion)
            .or_insert_with(|| content.clone());
        if *before == content {
            return Ok(());
        }
        Err(Violation::Contradiction {
            node,
            what,
            height,
            round,
        })
    }

    /// Follows something that wants to be in a block.
    pub fn follow(&mut self, hash: Hash, kind: Kind, due: u32, after: Option<Hash>) {
        let nodes = self.honest.len();
        self.items.entry(hash).or_insert_with(|| Item {
            kind,
            due,
            after,
            seen_ms: vec![None; nodes],
            passed_over: 0,
        });
    }

    /// Notes that a node has something in its pool.
    pub fn note_seen(&mut self, hash: &Hash, node: usize, now_ms: u64) {
        if let Some(item) = self.items.get_mut(hash) {
            item.seen_ms[node].get_or_insert(now_ms);
        }
    }

    /// Notes that a node went down: what was in its pool is gone.
    pub fn note_down(&mut self, node: usize) {
        for item in self.items.values_mut() {
            item.seen_ms[node] = None;
        }
    }

    /// Notes evidence that a node brought into its pool.
    pub fn note_accusation(
        &mut self,
        node: usize,
        life: u64,
        offender: AccountId,
        height: u32,
        at_ms: u64,
    ) {
        self.accusations.push(Accusation {
            node,
            life,
            offender,
            height,
            at_ms,
        });
    }

    /// Notes a decided block; finds what it should hold and does not.
    ///
    /// # Errors
    /// Something is left out.
    pub fn note_decided(
        &mut self,
        taken: &Taken,
        ranks: u32,
        standing: &Standing,
    ) -> Result<(), Violation> {
        for hash in &taken.included {
            self.items.remove(hash);
        }
        let height = taken.height;
        let next_closes_ms = self.true_ms(self.timing.closes_at_ms(Step(height.saturating_add(1))));
        let is_judged = standing.all_up
            && !taken.is_late
            && taken.round < ranks
            && standing.now_ms.saturating_add(standing.skew_ms) < next_closes_ms
            && standing.now_ms > self.unsteady_until_ms;
        let validators = u32::try_from(self.honest.len()).unwrap_or(u32::MAX);
        let starved = validators.saturating_mul(STARVED_ROUNDS);
        let mut left_out = None;
        let open: BTreeSet<Hash> = self.items.keys().copied().collect();
        for (hash, item) in &mut self.items {
            if item.after.is_some_and(|after| open.contains(&after)) {
                continue;
            }
            let kind = match item.kind {
                Kind::Bid if item.due == height => Some(ItemKind::Bid),
                Kind::Reading if item.due <= height => Some(ItemKind::Reading),
                _ => None,
            };
            if let Some(kind) = kind.filter(|_| is_judged) {
                let closes_ms = kind.closes_at_ms(&self.timing, Step(height));
                let closes_ms = closes_ms.saturating_sub(GENESIS_MS);
                let margin_ms = self
                    .tolerance
                    .delay_ms
                    .saturating_add(2 * standing.skew_ms)
                    .saturating_add(2);
                if is_seen_by_all(item, &self.honest, closes_ms.saturating_sub(margin_ms)) {
                    left_out = Some(Violation::LeftOut {
                        height,
                        round: taken.round,
                        what: item.kind.word(),
                        hash: *hash,
                    });
                }
            }
            let is_open = item.kind != Kind::Bid && item.due <= height && !taken.is_late;
            match is_open && is_seen_by_all(item, &self.honest, standing.now_ms) {
                true => item.passed_over = item.passed_over.saturating_add(1),
                false => item.passed_over = 0,
            }
            if item.passed_over > starved {
                left_out.get_or_insert(Violation::Starved {
                    what: item.kind.word(),
                    hash: *hash,
                    blocks: item.passed_over,
                });
            }
        }
        self.items
            .retain(|_, item| item.kind != Kind::Bid || item.due > height);
        left_out.map_or(Ok(()), Err)
    }

    /// Finds evidence that a node still has and that is not on chain.
    ///
    /// # Errors
    /// There is some.
    pub fn verify_accusations(
        &self,
        offenders: &BTreeSet<AccountId>,
        lives: &[Option<u64>],
        before_ms: u64,
    ) -> Result<(), Violation> {
        let mut accusations = self.accusations.iter();
        let lost = accusations.find(|accusation| {
            accusation.at_ms < before_ms
                && lives[accusation.node] == Some(accusation.life)
                && !offenders.contains(&accusation.offender)
        });
        lost.map_or(Ok(()), |accusation| {
            Err(Violation::EvidenceLost {
                node: accusation.node,
                offender: accusation.offender.clone(),
                height: accusation.height,
            })
        })
    }

    fn true_ms(&self, unix_ms: u64) -> u64 {
        unix_ms.saturating_sub(GENESIS_MS)
    }
}

fn is_seen_by_all(item: &Item, honest: &[bool], before_ms: u64) -> bool {
    let mut nodes = item.seen_ms.iter().zip(honest);
    nodes.all(|(seen_ms, is_honest)| !is_honest || seen_ms.is_some_and(|at| at < before_ms))
}
