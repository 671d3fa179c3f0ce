//! Building a block from candidates.

use std::collections::{BTreeMap, BTreeSet};

use codec::{DecodeAll, Encode};
use commonwatt_primitives::digest::StepDigest;
use commonwatt_runtime::{
    AccountId, Address, Executive, Hash, Header, UncheckedExtrinsic, VERSION, api,
    items::{Turns, Urgency},
};
use commonwatt_storage::State;
use frame_support::storage::{TransactionOutcome, with_transaction_unchecked};
use sp_inherents::InherentData;
use sp_runtime::{
    Digest,
    generic::Preamble,
    traits::{BlakeTwo256, Header as _},
    transaction_validity::{InvalidTransaction, TransactionValidityError},
};

use crate::{BlockChanges, ExecutionError, Executor, decode_extrinsic, overlay::Overlay};

/// What a block is built on and for.
#[derive(Clone, Debug)]
pub struct BlockDraft {
    /// The block before.
    pub parent: Header,
    /// Who makes it, and whether in time.
    pub digest: StepDigest,
    /// When its step closes: the block's time by definition, milliseconds since the Unix epoch.
    pub closes_at_ms: u64,
}

/// A transaction that may go into the block.
pub trait Candidate {
    /// Its encoding.
    fn bytes(&self) -> &[u8];
}

impl<Bytes: AsRef<[u8]>> Candidate for Bytes {
    fn bytes(&self) -> &[u8] {
        self.as_ref()
    }
}

/// When to stop adding candidates.
pub struct BuildLimits<'a> {
    /// Greatest sum of encoded extrinsics, in bytes.
    pub bytes_max: usize,
    /// Candidates that do not fit and are passed over before building stops: smaller ones may still fit.
    pub misfits_max: u32,
    /// Asked before each candidate: whether the time for building is over.
    pub is_over: &'a (dyn Fn() -> bool + 'a),
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the block; its call may have failed all the same.
    Included,
    /// It stays valid for a later block: no room, a step that has not closed, a quota used up.
    Postponed,
    /// It can never be in a block.
    Refused(TransactionValidityError),
    /// Its bytes are no transaction.
    Undecodable(String),
    /// The runtime panicked over it.
    Panicked(String),
}

/// A finished block, not sealed yet.
pub struct Built {
    /// Its header, to which only a seal may be added.
    pub header: Header,
    /// Its encoded extrinsics.
    pub body: Vec<Vec<u8>>,
    /// What it changes.
    pub changes: BlockChanges,
    /// What became of each candidate that was looked at, in their order and without gaps.
    pub outcomes: Vec<Outcome>,
}

impl Executor {
    /// Builds the block after `draft.parent` from `candidates`, in their order.
    ///
    /// Candidates that depend on one that is not included refuse themselves: their nonce is not due, so they
    /// are postponed.
    pub fn build_block<C: Candidate>(
        &self,
        parent_state: &State,
        draft: &BlockDraft,
        candidates: &[C],
        limits: &BuildLimits<'_>,
    ) -> Result<Built, ExecutionError> {
        // A candidate that makes the runtime panic spoils the overlay, so building starts again without it.
        let mut panicking = BTreeMap::new();
        let mut usable = candidates;
        let mut spoilt = 0;
        let mut built = loop {
            match self.try_build(parent_state, draft, usable, limits, &panicking)? {
                Attempt::Built(built) => break built,
                Attempt::Panicked { index, reason } => {
                    panicking.insert(index, reason);
                    if panicking.len() >= RESTARTS_MAX {
                        let first = panicking.keys().next().copied().unwrap_or(0);
                        usable = candidates.get(..first).unwrap_or_default();
                    }
                }
                Attempt::Unfinished { looked_at, reason } => {
                    tracing::error!(
                        number = draft.parent.number().saturating_add(1),
                        candidates = looked_at,
                        %reason,
                        "the runtime panicked at the end of a block; it is built without transactions, which stay \
                         in the pool: report this to the developers"
                    );
                    if usable.is_empty() {
                        return Err(ExecutionError::Rejected(reason));
                    }
                    usable = &[];
                    spoilt = looked_at;
                }
            }
        };
        // Whatever ended the last attempt early, what panicked in one before is told.
        let told = panicking
            .keys()
            .next_back()
            .map_or(0, |last| last.saturating_add(1));
        let told = told.max(spoilt).max(built.outcomes.len());
        built.outcomes.resize(told, Outcome::Postponed);
        for (index, reason) in panicking {
            if let Some(outcome) = built.outcomes.get_mut(index) {
                *outcome = Outcome::Panicked(reason);
            }
        }
        Ok(built)
    }

    /// Tells of each candidate, in their order, whether a valid block would have had room for it before whatever is less
    /// urgent: whether its author left it out without need. `header` is without its seal.
    ///
    /// The body is applied in the order in which blocks are built, and the candidates of each turn follow what the block
    /// holds of it. That changes nothing about an honest author's block. Of an account's transactions none overtakes
    /// another, so a candidate whose nonce the block gave to another transaction has no room anywhere.
    ///
    /// # Errors
    /// The block cannot be executed.
    pub fn find_left_out<C: Candidate>(
        &self,
        parent_state: &State,
        header: &Header,
        body: &[Vec<u8>],
        candidates: &[C],
        bytes_max: usize,
    ) -> Result<Vec<bool>, ExecutionError> {
        let mut turns = Turns::default();
        let mut turn_of = |bytes: &[u8]| {
            let extrinsic = decode_extrinsic(bytes);
            extrinsic.map_or(Urgency::Rest, |extrinsic| turns.turn_of(&extrinsic))
        };
        let held: Vec<_> = body.iter().map(|bytes| turn_of(bytes)).collect();
        let asked: Vec<_> = candidates.iter().map(|it| turn_of(it.bytes())).collect();

        let mut overlay = Overlay::default();
        let mut assembly = Assembly::default();
        let mut left_out = vec![false; candidates.len()];
        self.run(parent_state, &mut overlay, || {
            Executive::initialize_block(header);
            for now in Urgency::ALL {
                for (bytes, _) in body.iter().zip(&held).filter(|(_, turn)| **turn == now) {
                    assembly.apply(bytes, usize::MAX);
                }
                let places = candidates.iter().zip(&asked).zip(&mut left_out);
                for ((candidate, _), is_left_out) in places.filter(|((_, turn), _)| **turn == now) {
                    let outcome = assembly.apply(candidate.bytes(), bytes_max);
                    *is_left_out = outcome == Outcome::Included;
                }
            }
        })
        .map_err(ExecutionError::Rejected)?;
        Ok(left_out)
    }

    fn try_build<C: Candidate>(
        &self,
        parent_state: &State,
        draft: &BlockDraft,
        candidates: &[C],
        limits: &BuildLimits<'_>,
        panicking: &BTreeMap<usize, String>,
    ) -> Result<Attempt, ExecutionError> {
        let mut overlay = Overlay::default();
        let mut assembly = Assembly::default();
        let header = Header::new(
            draft.parent.number().saturating_add(1),
            Default::default(),
            Default::default(),
            draft.parent.hash(),
            Digest {
                logs: draft.digest.to_items(),
            },
        );
        self.run(parent_state, &mut overlay, || {
            assembly.begin(&header, draft.closes_at_ms)
        })
        .map_err(ExecutionError::Inherent)??;

        let applied = self.run(parent_state, &mut overlay, || {
            for (index, candidate) in candidates.iter().enumerate() {
                if (limits.is_over)() || assembly.misfits > limits.misfits_max {
                    break;
                }
                assembly.current = index;
                let outcome = match panicking.get(&index) {
                    Some(reason) => Outcome::Panicked(reason.clone()),
                    None => assembly.apply(candidate.bytes(), limits.bytes_max),
                };
                assembly.outcomes.push(outcome);
            }
        });
        if let Err(reason) = applied {
            return Ok(Attempt::Panicked {
                index: assembly.current,
                reason,
            });
        }

        let header = match self.run(parent_state, &mut overlay, Executive::finalize_block) {
            Ok(header) => header,
            Err(reason) => {
                return Ok(Attempt::Unfinished {
                    looked_at: assembly.outcomes.len(),
                    reason,
                });
            }
        };
        let changes = Self::drain(parent_state, &mut overlay)?;
        if changes.state_root != *header.state_root() {
            return Err(ExecutionError::StateRootDiffers {
                expected: *header.state_root(),
                actual: changes.state_root,
            });
        }
        let Assembly { body, outcomes, .. } = assembly;
        Ok(Attempt::Built(Built {
            header,
            body,
            changes,
            outcomes,
        }))
    }
}

enum Attempt {
    Built(Built),
    /// The runtime panicked over a candidate.
    Panicked {
        index: usize,
        reason: String,
    },
    /// The runtime panicked at the block's end, which no single candidate answers for.
    Unfinished {
        looked_at: usize,
        reason: String,
    },
}

/// A block under construction.
#[derive(Default)]
struct Assembly {
    body: Vec<Vec<u8>>,
    bytes: usize,
    outcomes: Vec<Outcome>,
    misfits: u32,
    /// Senders whose quota of this step is used up.
    spent: BTreeSet<AccountId>,
    /// The candidate being applied, should the runtime panic.
    current: usize,
}

impl Assembly {
    fn begin(&mut self, header: &Header, closes_at_ms: u64) -> Result<(), ExecutionError> {
        Executive::initialize_block(header);
        let mut data = InherentData::new();
        data.put_data(TIMESTAMP, &closes_at_ms)
            .map_err(|error| ExecutionError::Inherent(error.to_string()))?;
        let encoded = api::dispatch("BlockBuilder_inherent_extrinsics", &data.encode())
            .ok_or_else(|| ExecutionError::Inherent("the runtime has no inherents".into()))?;
        let inherents = Vec::<UncheckedExtrinsic>::decode_all(&mut &encoded[..])
            .map_err(|error| ExecutionError::Inherent(error.to_string()))?;
        for inherent in inherents {
            let bytes = inherent.encode();
            match Executive::apply_extrinsic(inherent) {
                Ok(Ok(())) => self.take(bytes),
                other => return Err(ExecutionError::Inherent(format!("{other:?}"))),
            }
        }
        Ok(())
    }

    fn apply(&mut self, bytes: &[u8], bytes_max: usize) -> Outcome {
        if self.bytes.saturating_add(bytes.len()) > bytes_max {
            self.misfits = self.misfits.saturating_add(1);
            return Outcome::Postponed;
        }
        let extrinsic = match decode_extrinsic(bytes) {
            Ok(extrinsic) => extrinsic,
            Err(reason) => return Outcome::Undecodable(reason),
        };
        let sender = match &extrinsic.preamble {
            Preamble::Signed(Address::Id(who), ..) => Some(who.clone()),
            _ => None,
        };
        if sender.as_ref().is_some_and(|who| self.spent.contains(who)) {
            return Outcome::Postponed;
        }
        // What is refused must leave no trace, so it is applied in a transaction of its own.
        let result = with_transaction_unchecked(|| match Executive::apply_extrinsic(extrinsic) {
            Ok(result) => TransactionOutcome::Commit(Ok(result)),
            Err(error) => TransactionOutcome::Rollback(Err(error)),
        });
        match result {
            Ok(_) => {
                self.take(bytes.to_vec());
                Outcome::Included
            }
            Err(TransactionValidityError::Invalid(InvalidTransaction::ExhaustsResources)) => {
                self.misfits = self.misfits.saturating_add(1);
                Outcome::Postponed
            }
            Err(TransactionValidityError::Invalid(InvalidTransaction::Future)) => {
                Outcome::Postponed
            }
            Err(TransactionValidityError::Invalid(InvalidTransaction::Custom(QUOTA_USED))) => {
                self.spent.extend(sender);
                Outcome::Postponed
            }
            Err(error) => Outcome::Refused(error),
        }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.body.push(bytes);
    }
}

/// Times that building starts again because a candidate panicked. After that, those from the first that
/// panicked on are left out, so that a pool full of them costs no more than that many attempts.
const RESTARTS_MAX: usize = 8;

/// Code of a refusal because the sender's quota of the step is used up and the fee beyond it cannot be paid:
/// `pallet_quota::TransactionRefusal::QuotaUsed`. In a later step the same bytes are good.
const QUOTA_USED: u8 = 2;

/// Under which name `pallet-timestamp` looks for the time.
const TIMESTAMP: sp_inherents::InherentIdentifier = *b"timstap0";

/// Returns the root over encoded extrinsics that the header of their block names.
pub fn extrinsics_root(body: &[Vec<u8>]) -> Hash {
    use sp_runtime::traits::Hash as _;
    BlakeTwo256::ordered_trie_root(body.to_vec(), VERSION.extrinsics_root_state_version())
}

/// Returns the hash of an encoded extrinsic.
pub fn extrinsic_hash(bytes: &[u8]) -> Hash {
    use sp_runtime::traits::Hash as _;
    BlakeTwo256::hash(bytes)
}
