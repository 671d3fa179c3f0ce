//! One more chain, that no fault touches: it executes each decided block again, from the first node that stored it, and
//! checks what must hold on its state.

use std::collections::{BTreeMap, BTreeSet};

use codec::DecodeAll;
use commonwatt_chain::{AgreementError, Chain, ChainConfig, ChainError, Validators, validator_set};
use commonwatt_consensus::{Certificate, ValidatorSet, verify_certificate};
use commonwatt_executor::Executor;
use commonwatt_primitives::{AccountId, Step, digest::StepDigest};
use commonwatt_runtime::{
    Hash,
    apis::{AuctionContract, Lineup},
    genesis::GENESIS_VOTING_TOKENS,
};
use commonwatt_storage::{ChainDb, CommitMode, State, StatePruning, StoredBlock};
use pallet_virtual_meter::{StepSummary, VgmEntry};
use std::sync::Arc;

use crate::{
    community::{Community, hash_of},
    disk::{Disk, Flaws},
    ledger,
    random::Random,
    violation::Violation,
};

/// Steps after which a reading may be refused, and is not expected any more.
const CORRECTABLE_STEPS: u32 = 80;
/// Blocks in which a correction is distributed.
const CORRECTION_BLOCKS: u32 = 4;
/// States that are kept.
const STATES: u32 = 4;
/// Bytes of the cache of a chain's state.
pub const STATE_CACHE_BYTES: usize = 2 * 1024 * 1024;

/// The reference chain.
pub struct Oracle {
    chain: Chain,
    /// Who votes at each height, from height 1 on to the next.
    sets: Vec<ValidatorSet>,
    hashes: Vec<Hash>,
    /// Who is ranked next.
    lineup: Lineup,
    /// Voting tokens ever issued.
    issued: u128,
    /// What devices measured, by the hash of the transaction that says so.
    readings: BTreeMap<Hash, (Step, u64)>,
    /// What was measured in a step, as far as blocks say so.
    measured: BTreeMap<u32, u64>,
    /// Steps whose corrections are not distributed yet, and since which block they are there.
    unsettled: BTreeMap<u32, u32>,
    /// Certificates known to be good.
    good: BTreeSet<(u32, Vec<u8>)>,
    accounts: Vec<AccountId>,
    honest: Vec<bool>,
    offenders: BTreeSet<AccountId>,
}

/// A block that was decided.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: Hash,
    /// The round that decided it.
    pub round: u32,
    /// Its author.
    pub author: AccountId,
    /// Whether it is marked late.
    pub is_late: bool,
    /// What it holds.
    pub included: BTreeSet<Hash>,
}

impl Oracle {
    /// Begins with block 0.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(
        community: &Community,
        executor: Executor,
        honest: Vec<bool>,
    ) -> Result<Self, String> {
        let disk = Disk::new(Random::new(0), Flaws::default());
        let volume = Box::new(disk.start_life());
        let db = ChainDb::with_store(volume, StatePruning::Keep(STATES), STATE_CACHE_BYTES)
            .map_err(|error| error.to_string())?;
        let storage = community.storage.clone();
        let mut chain = Chain::open(db, executor, storage, ChainConfig::default())
            .map_err(|error| error.to_string())?;
        chain.set_agreement(Arc::new(Validators::follower()));
        let lineup = chain.next_lineup().map_err(|error| error.to_string())?;
        let set = validator_set(1, &lineup).map_err(|error| error.to_string())?;
        let validators = u128::try_from(community.members.len()).unwrap_or_default();
        Ok(Self {
            hashes: vec![chain.genesis_hash()],
            chain,
            sets: vec![set],
            lineup,
            issued: validators.saturating_mul(GENESIS_VOTING_TOKENS),
            readings: BTreeMap::new(),
            measured: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            good: BTreeSet::new(),
            accounts: community
                .members
                .iter()
                .map(|member| member.account.clone())
                .collect(),
            honest,
            offenders: BTreeSet::new(),
        })
    }

    /// Returns the highest block that anybody honest has decided.
    pub fn best(&self) -> u32 {
        u32::try_from(self.hashes.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Returns the hash of block 0.
    pub fn genesis_hash(&self) -> Hash {
        self.chain.genesis_hash()
    }

    /// Returns the hash of a decided block.
    pub fn hash_at(&self, height: u32) -> Option<Hash> {
        self.hashes.get(usize::try_from(height).ok()?).copied()
    }

    /// Returns who votes at a height, up to the next one.
    pub fn set_of(&self, height: u32) -> Option<&ValidatorSet> {
        self.sets.get(usize::try_from(height.checked_sub(1)?).ok()?)
    }

    /// Returns who has an offence on chain.
    pub fn offenders(&self) -> &BTreeSet<AccountId> {
        &self.offenders
    }

    /// Remembers what a device measured, and in which transaction it says so.
    pub fn note_reading(&mut self, extrinsic: &[u8], step: Step, energy_wh: u64) {
        self.readings.insert(hash_of(extrinsic), (step, energy_wh));
    }

    /// Returns whether what a device said is in no block yet.
    pub fn awaits(&self, hash: &Hash) -> bool {
        self.readings.contains_key(hash)
    }

    /// Takes a block that `node` is the first to have stored, and checks everything about it and the state after it.
    ///
    /// # Errors
    /// What is broken.
    pub fn take(&mut self, node: usize, block: StoredBlock) -> Result<Taken, Violation> {
        let height = block.header.number;
        let invalid = |why: String| Violation::InvalidBlock { height, why };
        let taken =
            describe(&block).ok_or_else(|| invalid("it says nothing about its making".into()))?;
        self.verify_stored(node, height, &taken.hash, block.justification.as_deref())?;
        let imported = self.chain.import(block, CommitMode::Durable);
        imported.map_err(|error| match error {
            ChainError::Agreement(
                error @ (AgreementError::BadCertificate { .. } | AgreementError::NoCertificate(_)),
            ) => Violation::BadCertificate {
                node,
                height,
                why: error.to_string(),
            },
            error => invalid(error.to_string()),
        })?;
        self.hashes.push(taken.hash);
        let state = self
            .chain
            .state(None)
            .map_err(|error| invalid(error.to_string()))?;
        self.verify_tokens(height, &state)?;
        self.verify_energy(&taken, &state)?;
        self.verify_offences(height, &state)?;
        self.lineup = self
            .chain
            .next_lineup()
            .map_err(|error| invalid(error.to_string()))?;
        let set = validator_set(height.saturating_add(1), &self.lineup);
        self.sets
            .push(set.map_err(|error| invalid(error.to_string()))?);
        self.verify_ranking(height.saturating_add(1))?;
        Ok(taken)
    }

    /// Checks the certificate that a node has stored with a block.
    ///
    /// # Errors
    /// It proves nothing, or is missing.
    pub fn verify_stored(
        &mut self,
        node: usize,
        height: u32,
        hash: &Hash,
        certificate: Option<&[u8]>,
    ) -> Result<(), Violation> {
        let bad = |why: String| Violation::BadCertificate { node, height, why };
        let bytes = certificate.ok_or_else(|| bad("there is none".into()))?;
        if self.good.contains(&(height, bytes.to_vec())) {
            return Ok(());
        }
        let certificate =
            Certificate::decode_all(&mut &bytes[..]).map_err(|error| bad(error.to_string()))?;
        let set = self
            .set_of(height)
            .ok_or_else(|| bad("nobody votes there yet".into()))?;
        verify_certificate(set, &self.genesis_hash(), height, hash, &certificate)
            .map_err(|error| bad(error.to_string()))?;
        self.good.insert((height, bytes.to_vec()));
        Ok(())
    }

    fn verify_tokens(&mut self, height: u32, state: &State) -> Result<(), Violation> {
        let unreadable = |why: String| Violation::InvalidBlock { height, why };
        let tokens = ledger::tokens(state).map_err(unreadable)?;
        let minted = ledger::minted(state).map_err(unreadable)?;
        let contract: AuctionContract = self
            .chain
            .executor()
            .call(state, "AuctionApi_contract", ())
            .map_err(|error| unreadable(error.to_string()))?;
        self.issued = self.issued.saturating_add(minted);
        let sums = [
            (
                "the sum of all balances, escrow included,",
                tokens.balances,
                tokens.issuance,
            ),
            ("the escrow", tokens.escrow, tokens.open_bids),
            (
                "what there is",
                tokens.issuance,
                self.issued.saturating_sub(contract.burned),
            ),
        ];
        match sums.into_iter().find(|(_, is, should)| is != should) {
            Some((what, is, should)) => Err(Violation::TokensNotConserved {
                height,
                what,
                is,
                should,
            }),
            None => Ok(()),
        }
    }

    fn verify_energy(&mut self, taken: &Taken, state: &State) -> Result<(), Violation> {
        let height = taken.height;
        let mut steps: BTreeSet<u32> = self.unsettled.keys().copied().collect();
        steps.insert(height);
        for hash in &taken.included {
            let Some((step, energy_wh)) = self.readings.remove(hash) else {
                continue;
            };
            if height.saturating_sub(step.0) > CORRECTABLE_STEPS {
                continue;
            }
            let measured = self.measured.entry(step.0).or_default();
            *measured = measured.saturating_add(energy_wh);
            steps.insert(step.0);
        }
        let waiting =
            ledger::waiting_steps(state).map_err(|why| Violation::InvalidBlock { height, why })?;
        for step in steps {
            let is_waiting = waiting.contains(&Step(step));
            self.verify_step(step, height, is_waiting, state)?;
        }
        Ok(())
    }

    fn verify_step(
        &mut self,
        step: u32,
        height: u32,
        is_waiting: bool,
        state: &State,
    ) -> Result<(), Violation> {
        let unreadable = |why: String| Violation::InvalidBlock { height, why };
        let executor = self.chain.executor();
        let summary: Option<StepSummary> = executor
            .call(state, "EnergyApi_step_summary", Step(step))
            .map_err(|error| unreadable(error.to_string()))?;
        let Some(summary) = summary else {
            return Err(unreadable(format!("step {step} has no summary")));
        };
        let allocations: Vec<(AccountId, VgmEntry)> = executor
            .call(state, "EnergyApi_allocations", Step(step))
            .map_err(|error| unreadable(error.to_string()))?;
        let entries = allocations.iter().map(|(_, entry)| {
            let all = entry.shared.0.saturating_add(entry.rest.0);
            all.saturating_add(entry.lost.0)
        });
        let measured = self.measured.get(&step).copied().unwrap_or_default();
        let outputs = summary.losses.0.saturating_add(summary.shared.0);
        let since = *self.unsettled.entry(step).or_insert(height);
        // A block distributes only so many corrections; the rest waits for the next ones, and the chain says which.
        let may_wait = is_waiting && height.saturating_sub(since) <= CORRECTION_BLOCKS;
        if !is_waiting {
            self.unsettled.remove(&step);
        }
        let expected = match may_wait {
            true => summary.generated.0,
            false => measured,
        };
        let sums = [
            ("what was generated", summary.generated.0, expected),
            (
                "what was distributed",
                outputs.saturating_add(summary.rest.0),
                summary.generated.0,
            ),
            ("the sum of all meters", entries.sum(), summary.generated.0),
        ];
        match sums.into_iter().find(|(_, is, should)| is != should) {
            Some((what, is, should)) => Err(Violation::EnergyNotConserved {
                step,
                height,
                what,
                is,
                should,
            }),
            None => Ok(()),
        }
    }

    fn verify_offences(&mut self, height: u32, state: &State) -> Result<(), Violation> {
        let offences =
            ledger::offences(state).map_err(|why| Violation::InvalidBlock { height, why })?;
        for (offender, _) in offences {
            let node = self.accounts.iter().position(|who| *who == offender);
            if let Some(node) = node.filter(|node| self.honest.get(*node) == Some(&true)) {
                return Err(Violation::HonestAccused { node, height });
            }
            self.offenders.insert(offender);
        }
        Ok(())
    }

    fn verify_ranking(&self, height: u32) -> Result<(), Violation> {
        let mut ranked = self.lineup.ranking.iter();
        match ranked.find(|who| self.offenders.contains(who)) {
            Some(offender) => Err(Violation::EquivocatorRanked {
                offender: offender.clone(),
                height,
            }),
            None => Ok(()),
        }
    }
}

fn describe(block: &StoredBlock) -> Option<Taken> {
    let certificate = block.justification.as_ref();
    let certificate = certificate.and_then(|bytes| Certificate::decode_all(&mut &bytes[..]).ok());
    let digest = StepDigest::find(&block.header.digest)?;
    Some(Taken {
        height: block.header.number,
        hash: block.header.hash(),
        round: certificate.map_or(0, |certificate| certificate.round),
        author: digest.author().clone(),
        is_late: digest.is_late(),
        included: block.body.iter().map(|bytes| hash_of(bytes)).collect(),
    })
}
