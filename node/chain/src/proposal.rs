//! Blocks that are not decided yet: made, checked, and what executing them changed kept until they are.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use commonwatt_executor::{
    BlockChanges, BlockDraft, BuildLimits, Built, ExecutionError, Outcome, extrinsics_root,
    is_state_failure,
};
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_runtime::{Hash, Header};
use commonwatt_txpool::{Lane, Refusal, Transaction};
use sp_runtime::traits::Header as _;

use crate::{
    Chain, ChainError, Observed,
    agreement::take_seal,
    chain::{lineup_of, refusal_of},
};

/// Blocks of the next height whose changes are kept. Rounds beyond that are rare, and a block whose changes were let go is
/// executed once more when it is decided.
pub(crate) const CHECKED_BLOCKS_MAX: usize = 4;

/// A ready transaction of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooled {
    /// Its hash.
    pub hash: Hash,
    /// Its encoding.
    pub extrinsic: Arc<[u8]>,
    /// Its lane.
    pub lane: Lane,
    /// The number it arrived under: a later one is greater.
    pub arrival: u64,
}

impl Pooled {
    fn of(transaction: &Transaction) -> Self {
        Self {
            hash: transaction.hash,
            extrinsic: transaction.extrinsic.clone(),
            lane: transaction.lane,
            arrival: transaction.arrival,
        }
    }
}

/// What a block is to be made for.
#[derive(Clone, Copy, Debug)]
pub struct ProposalDraft<'a> {
    /// When steps close.
    pub timing: &'a StepTiming,
    /// The step, one above the best block's.
    pub step: Step,
    /// The author's rank.
    pub rank: u32,
    /// Whether it is made in time.
    pub punctuality: Punctuality,
    /// What it may hold, in the order of building.
    pub candidates: &'a [Pooled],
}

/// A sealed block that is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its hash.
    pub hash: Hash,
    /// Its header, seal included.
    pub header: Header,
    /// Its encoded extrinsics.
    pub body: Vec<Vec<u8>>,
}

/// What was found about a block that somebody proposes.
#[derive(Debug)]
pub enum Checked {
    /// It is right. Of the transactions asked about, those it leaves out though there was room, by their places.
    Right {
        /// The places.
        left_out: Vec<usize>,
    },
    /// The body is not the one that the header names: nothing is known about the block.
    WrongBody,
    /// No block with this header can ever be right.
    Wrong(ChainError),
    /// It does not follow the best block, which may have changed meanwhile.
    Outdated,
}

/// What executing proposed blocks changed, by their hashes; the oldest first.
#[derive(Default)]
pub(crate) struct CheckedBlocks(VecDeque<(Hash, BlockChanges)>);

impl CheckedBlocks {
    fn insert(&mut self, hash: Hash, changes: BlockChanges) {
        self.0.retain(|(known, _)| *known != hash);
        if self.0.len() >= CHECKED_BLOCKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((hash, changes));
    }

    fn contains(&self, hash: &Hash) -> bool {
        self.0.iter().any(|(known, _)| known == hash)
    }

    /// Takes the changes of a block out and forgets those of its rivals.
    pub(crate) fn take(&mut self, hash: &Hash) -> Option<BlockChanges> {
        let place = self.0.iter().position(|(known, _)| known == hash);
        let found = place.and_then(|place| self.0.remove(place));
        self.0.clear();
        found.map(|(_, changes)| changes)
    }
}

impl Chain {
    /// Returns the ready transactions of the pool in the order of building.
    pub fn ready(&self) -> Vec<Pooled> {
        self.pool.lock().ready().map(Pooled::of).collect()
    }

    /// Returns everything in the pool, ready or not, in the order of arrival.
    pub fn pooled(&self) -> Vec<Pooled> {
        let pool = self.pool.lock();
        pool.pending().map(Pooled::of).collect()
    }

    /// Returns a transaction of the pool; `None` when it is not there.
    pub fn find_pooled(&self, hash: &Hash) -> Option<Pooled> {
        self.pool.lock().get(hash).map(Pooled::of)
    }

    /// Returns the number the pool's next transaction arrives under.
    pub fn pool_arrivals(&self) -> u64 {
        self.pool.lock().arrivals()
    }

    /// Returns the number that a transaction of the pool arrived under; `None` when it is not there.
    pub fn arrival_of(&self, hash: &Hash) -> Option<u64> {
        let pool = self.pool.lock();
        pool.get(hash).map(|transaction| transaction.arrival)
    }

    /// Makes the block of a step as the author of a rank and seals it, but does not store it; `None` when this node does
    /// not hold that author's keys, or the step's block is there.
    pub fn propose(
        &self,
        draft: &ProposalDraft<'_>,
        limits: &BuildLimits<'_>,
    ) -> Result<Option<Proposed>, ChainError> {
        let _one_at_a_time = self.writing.lock();
        let (best, parent_hash) = self.best();
        let step = draft.step;
        let Some(agreement) = &self.agreement else {
            return Ok(None);
        };
        if best.checked_add(1) != Some(step.0) {
            return Ok(None);
        }
        let state = self.db().working_state_at(&parent_hash)?;
        let lineup = lineup_of(self.executor(), &state, step.0)?;
        let Some(digest) = agreement.claim(step, draft.rank, draft.punctuality, &lineup)? else {
            return Ok(None);
        };
        let block_draft = BlockDraft {
            parent: self.header(&parent_hash)?,
            digest,
            closes_at_ms: draft.timing.closes_at_ms(step),
        };
        let candidates: Vec<_> = draft
            .candidates
            .iter()
            .map(|candidate| candidate.extrinsic.clone())
            .collect();
        let (hash, built) = self.build_sealed(
            agreement.as_ref(),
            &state,
            &lineup,
            &block_draft,
            &candidates,
            limits,
        )?;
        drop(state);
        let Built {
            header,
            body,
            changes,
            outcomes,
        } = built;
        self.checked.lock().insert(hash, changes);
        self.report_outcomes(draft.candidates, &outcomes);
        Ok(Some(Proposed { hash, header, body }))
    }

    /// Tells the pool which candidates can never be in a block.
    fn report_outcomes(&self, candidates: &[Pooled], outcomes: &[Outcome]) {
        let refused: Vec<(Hash, Refusal)> = candidates
            .iter()
            .zip(outcomes)
            .filter_map(|(candidate, outcome)| Some((candidate.hash, refusal_of(outcome)?)))
            .collect();
        self.with_pool(|pool| {
            for (hash, refusal) in refused {
                pool.report_invalid(&hash, refusal);
            }
        });
    }

    /// Checks everything about a block that follows the best one, but that it is decided: author, beacon proof, seal, every
    /// extrinsic and the state root. What executing it changed is kept, so that deciding it needs no second execution.
    ///
    /// Of `expected` it tells which would have had room in the block but are not in it.
    ///
    /// # Errors
    /// This node's own trouble, which says nothing about the block.
    pub fn check(
        &self,
        header: &Header,
        body: &[Vec<u8>],
        expected: &[Pooled],
        bytes_max: usize,
    ) -> Result<Checked, ChainError> {
        let _one_at_a_time = self.writing.lock();
        let (best, parent_hash) = self.best();
        let number = *header.number();
        if best.checked_add(1) != Some(number) {
            return Ok(Checked::Outdated);
        }
        if extrinsics_root(body) != *header.extrinsics_root() {
            return Ok(Checked::WrongBody);
        }
        let agreement = self
            .agreement
            .as_ref()
            .ok_or(ChainError::NoAgreement(number))?;
        if *header.parent_hash() != parent_hash {
            return Ok(Checked::Wrong(ChainError::NotNext {
                number,
                parent: *header.parent_hash(),
                best,
                best_hash: parent_hash,
            }));
        }
        let mut unsealed = header.clone();
        let seal = match take_seal(&mut unsealed) {
            Ok(seal) => seal,
            Err(error) => return Ok(Checked::Wrong(error.into())),
        };
        let state = self.db().working_state_at(&parent_hash)?;
        let lineup = lineup_of(self.executor(), &state, number)?;
        if let Err(error) = agreement.verify_author(&unsealed, &seal, &lineup) {
            return Ok(Checked::Wrong(error.into()));
        }
        let hash = header.hash();
        if !self.checked.lock().contains(&hash) {
            let began = Instant::now();
            self.preverify(body);
            match self.executor().execute_block(&state, &unsealed, body) {
                Ok(changes) => self.checked.lock().insert(hash, changes),
                Err(error) if is_own_trouble(&error) => return Err(error.into()),
                Err(error) => return Ok(Checked::Wrong(error.into())),
            }
            self.observe(Observed::Executed {
                took: began.elapsed(),
            });
        }
        let mut left_out = Vec::new();
        if !expected.is_empty() {
            let candidates: Vec<_> = expected.iter().map(|one| one.extrinsic.clone()).collect();
            let found =
                self.executor()
                    .find_left_out(&state, &unsealed, body, &candidates, bytes_max);
            // A candidate that makes the runtime panic is no reason to hold anything against the block.
            let found = found.unwrap_or_default();
            let places = found.iter().enumerate();
            left_out.extend(places.filter_map(|(place, is_left_out)| is_left_out.then_some(place)));
        }
        Ok(Checked::Right { left_out })
    }
}

/// Returns whether execution failed for a reason that says nothing about the block.
fn is_own_trouble(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::State(_) => true,
        ExecutionError::Rejected(reason) => is_state_failure(reason),
        ExecutionError::UndecodableExtrinsic { .. }
        | ExecutionError::StateRootDiffers { .. }
        | ExecutionError::Inherent(_) => false,
    }
}
