//! The chain of one node.

use std::{
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use commonwatt_executor::{
    BlockChanges, BlockDraft, BuildLimits, Built, Executor, Outcome, decode_extrinsic,
    extrinsic_hash, extrinsics_root,
};
use commonwatt_primitives::{
    AccountId, Step, StepTiming,
    digest::{ENGINE_ID, Punctuality},
    keys::SessionKeys,
};
use commonwatt_runtime::{Hash, Header, apis::Lineup, code_marker};
use commonwatt_storage::{ChainDb, CommitMode, NewBlock, State, StateError, StoredBlock};
use commonwatt_txpool::{
    BlockReport, Pool, PoolError, PoolLimits, PoolStatus, Refusal, TransactionValidator,
};
use parking_lot::Mutex;
use sp_core::storage::{Storage, well_known_keys};
use sp_runtime::{
    DigestItem,
    traits::Header as _,
    transaction_validity::{TransactionSource, TransactionValidityError},
};
use sp_state_machine::Backend;
use tokio::sync::broadcast;

use crate::{
    Agreement, AgreementError, ChainError, NewHead, Observed, Observer, Pooled, Watch,
    agreement::take_seal,
    news::{WATCHES_MAX, Watchers},
    proposal::CheckedBlocks,
    validation::{AtBlock, is_bound_alike},
};

/// Heads a subscriber may leave unread before it misses some.
const HEADS_MAX: usize = 256;

/// Transactions a subscriber may leave unread before it misses some: as many as one large block holds.
const ACCEPTED_MAX: usize = 16_384;

/// How a chain is kept.
#[derive(Clone, Debug, Default)]
pub struct ChainConfig {
    /// Bounds of the transaction pool.
    pub pool: PoolLimits,
}

/// A block this node made.
#[derive(Debug)]
pub struct Authored {
    /// Its hash.
    pub hash: Hash,
    /// Its header.
    pub header: Header,
    /// How many extrinsics it holds, inherents included.
    pub extrinsics: usize,
    /// Candidates that were refused for ever and left the pool.
    pub refused: usize,
    /// Candidates that stay in the pool for a later block.
    pub postponed: usize,
}

/// The chain of one node: database, runtime and pool.
pub struct Chain {
    db: ChainDb,
    executor: Executor,
    pub(crate) agreement: Option<Arc<dyn Agreement>>,
    genesis_hash: Hash,
    pub(crate) pool: Mutex<Pool>,
    watchers: Mutex<Watchers>,
    heads: broadcast::Sender<Arc<NewHead>>,
    accepted: broadcast::Sender<Pooled>,
    /// Held while a block is built, checked or imported: one after the other.
    pub(crate) writing: Mutex<()>,
    /// What executing proposed blocks changed.
    pub(crate) checked: Mutex<CheckedBlocks>,
    /// Whether blocks are missing that the clock says should be there.
    is_catching_up: AtomicBool,
    observer: OnceLock<Arc<dyn Observer>>,
}

impl Chain {
    /// Opens the chain that begins with `genesis`: writes block 0 into an empty database, checks it in any
    /// other.
    ///
    /// The runtime is looked at before anything is written or compared: another version may describe the same
    /// chain by another genesis.
    pub fn open(
        db: ChainDb,
        executor: Executor,
        genesis: Storage,
        config: ChainConfig,
    ) -> Result<Self, ChainError> {
        let code = genesis.top.get(well_known_keys::CODE).cloned();
        let block = Executor::build_genesis(genesis);
        let genesis_hash = block.header.hash();
        if db.is_initialized() {
            verify_runtime(&db)?;
            db.verify_genesis(&genesis_hash)?;
        } else {
            verify_marker(&code.unwrap_or_default())?;
            db.initialize(block.header, block.nodes)?;
        }
        let (best, best_hash) = db.best();
        let chain = Self {
            db,
            executor,
            agreement: None,
            genesis_hash,
            pool: Mutex::new(Pool::new(config.pool, best)),
            watchers: Mutex::default(),
            heads: broadcast::channel(HEADS_MAX).0,
            accepted: broadcast::channel(ACCEPTED_MAX).0,
            writing: Mutex::default(),
            checked: Mutex::default(),
            is_catching_up: AtomicBool::new(false),
            observer: OnceLock::new(),
        };
        // What a crash kept from being added to the last block.
        chain.keep_set_proof(&chain.header(&best_hash)?, &best_hash);
        Ok(chain)
    }

    /// Says who may make blocks and when they count. Without it the chain can be read and its pool filled, but
    /// it does not grow.
    pub fn set_agreement(&mut self, agreement: Arc<dyn Agreement>) {
        self.agreement = Some(agreement);
    }

    /// Has an observer told what the chain does; a second one is not taken, and this is false.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(crate) fn observe(&self, what: Observed<'_>) {
        if let Some(observer) = self.observer.get() {
            observer.observe(what);
        }
    }

    /// Returns the database.
    pub fn db(&self) -> &ChainDb {
        &self.db
    }

    /// Returns the executor.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Returns the hash of block 0, which names the chain.
    pub fn genesis_hash(&self) -> Hash {
        self.genesis_hash
    }

    /// Returns number and hash of the best block, which is final.
    pub fn best(&self) -> (u32, Hash) {
        self.db.best()
    }

    /// Returns the state after a block, the best one when `at` is `None`.
    pub fn state(&self, at: Option<Hash>) -> Result<State, StateError> {
        self.db.state_at(&at.unwrap_or_else(|| self.best().1))
    }

    /// Notes whether blocks are missing that the clock says should be there. The caller has the clock; here it
    /// is only told to those who ask.
    pub fn set_catching_up(&self, is_catching_up: bool) {
        self.is_catching_up.store(is_catching_up, Ordering::Relaxed);
    }

    /// Returns whether blocks are missing that the clock says should be there.
    pub fn is_catching_up(&self) -> bool {
        self.is_catching_up.load(Ordering::Relaxed)
    }

    /// Returns when steps close.
    pub fn timing(&self) -> Result<StepTiming, ChainError> {
        Ok(self
            .executor
            .call(&self.state(None)?, "EnergyApi_timing", ())?)
    }

    /// Returns the validators and their keys at the best block.
    pub fn validators(&self) -> Result<Vec<(AccountId, SessionKeys)>, ChainError> {
        Ok(self
            .executor
            .call(&self.state(None)?, "RegistryApi_validators", ())?)
    }

    /// Returns who makes the block after the best one.
    pub fn next_lineup(&self) -> Result<Lineup, ChainError> {
        let (best, hash) = self.best();
        let state = self.state(Some(hash))?;
        lineup_of(&self.executor, &state, best.saturating_add(1))
    }

    /// Subscribes to blocks as they become final. Who is too slow misses some, and is told how many.
    pub fn subscribe_heads(&self) -> broadcast::Receiver<Arc<NewHead>> {
        self.heads.subscribe()
    }

    // ---------------------------------------------------------------------------------- transactions

    /// Subscribes to transactions that this node's own clients bring into the pool, to be passed on to others. Who is too
    /// slow misses some.
    pub fn subscribe_accepted(&self) -> broadcast::Receiver<Pooled> {
        self.accepted.subscribe()
    }

    fn announce_accepted<'a>(&self, results: impl Iterator<Item = &'a Result<Hash, PoolError>>) {
        if self.accepted.receiver_count() == 0 {
            return;
        }
        for hash in results.flatten() {
            if let Some(pooled) = self.find_pooled(hash) {
                // Nobody listening is no fault.
                let _ = self.accepted.send(pooled);
            }
        }
    }

    /// Takes a transaction into the pool.
    pub fn submit(&self, source: TransactionSource, extrinsic: Vec<u8>) -> Result<Hash, PoolError> {
        let result = self
            .try_submit(source, extrinsic)
            .inspect_err(|error| self.observe(Observed::Refused(error)));
        self.announce_accepted([&result].into_iter());
        result
    }

    fn try_submit(&self, source: TransactionSource, extrinsic: Vec<u8>) -> Result<Hash, PoolError> {
        self.pool.lock().precheck(source, &extrinsic)?;
        let (number, hash) = self.best();
        // Validated without the lock, so that submissions do not wait for each other.
        let verdict = AtBlock { chain: self, hash }.validate(source, &extrinsic);
        self.with_pool(|pool| pool.insert(source, extrinsic, verdict, number))
    }

    /// Takes many transactions into the pool, their signatures verified on all cores; one result each.
    pub fn submit_many(
        &self,
        source: TransactionSource,
        extrinsics: Vec<Vec<u8>>,
    ) -> Vec<Result<Hash, PoolError>> {
        let results = self.take_in(source, extrinsics);
        self.announce_accepted(results.iter());
        results
    }

    /// Takes many transactions into the pool that came from other nodes, which pass them on themselves.
    pub fn submit_passed_on(&self, extrinsics: Vec<Vec<u8>>) -> Vec<Result<Hash, PoolError>> {
        self.take_in(TransactionSource::External, extrinsics)
    }

    /// Returns whether no signature of any block near this node's best makes a transaction right whose signature was found
    /// wrong here: nobody that has it from somebody honest passes it on.
    pub fn is_forged(&self, extrinsic: &[u8]) -> bool {
        let best = self.best().0;
        decode_extrinsic(extrinsic).is_ok_and(|extrinsic| is_bound_alike(&extrinsic, best))
    }

    fn take_in(
        &self,
        source: TransactionSource,
        extrinsics: Vec<Vec<u8>>,
    ) -> Vec<Result<Hash, PoolError>> {
        let (number, prechecked) = {
            let pool = self.pool.lock();
            (pool.best(), pool.precheck_many(source, extrinsics))
        };
        // Of the block up to which the pool knows the chain, as far as the database does.
        let known = self.db.hash_of(number).ok().flatten();
        let (number, hash) = known.map_or_else(|| self.best(), |hash| (number, hash));
        // Validated without the lock, so that neither submissions nor the agreement wait for a batch of others.
        let verdicts = AtBlock { chain: self, hash }.validate_batch(prechecked.batch());
        let results = self.with_pool(|pool| pool.insert_many(prechecked, verdicts, number));
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            self.observe(Observed::Refused(error));
        }
        results
    }

    /// Takes a transaction into the pool and follows what becomes of it.
    ///
    /// The watch begins first, so that it misses nothing, and ends at once when the transaction is refused.
    pub fn submit_and_watch(
        &self,
        source: TransactionSource,
        extrinsic: Vec<u8>,
    ) -> Result<(Hash, Watch), PoolError> {
        let hash = commonwatt_txpool::hash_of(&extrinsic);
        let watch = self
            .watchers
            .lock()
            .watch(hash)
            .ok_or(PoolError::TooManyWatched { limit: WATCHES_MAX })
            .inspect_err(|error| self.observe(Observed::Refused(error)))?;
        match self.submit(source, extrinsic) {
            Ok(hash) => Ok((hash, watch)),
            Err(error) => {
                drop(watch);
                self.watchers.lock().forget_closed(&hash);
                Err(error)
            }
        }
    }

    /// Returns the transactions of the pool, ready ones first.
    pub fn pending(&self) -> Vec<Arc<[u8]>> {
        self.pool
            .lock()
            .pending()
            .map(|transaction| transaction.extrinsic.clone())
            .collect()
    }

    /// Returns how full the pool is.
    pub fn pool_status(&self) -> PoolStatus {
        self.pool.lock().status()
    }

    /// Takes a transaction out of the pool; returns whether it was there.
    pub fn remove_transaction(&self, hash: &Hash) -> bool {
        self.with_pool(|pool| pool.remove(hash).is_some())
    }

    /// Returns the nonce of an account's next transaction, those in the pool counted that are ready or wait for
    /// their block.
    pub fn next_nonce(&self, account: &AccountId) -> Result<u32, ChainError> {
        // The pool may be a block behind: what that block includes would count twice on the best state.
        let (best, pooled) = {
            let pool = self.pool.lock();
            let owner = account.clone().into();
            let waiting = pool.waiting_count_of(&owner);
            (
                pool.best(),
                pool.ready_count_of(&owner).saturating_add(waiting),
            )
        };
        let state = self.state(self.db.hash_of(best)?)?;
        let on_chain = self.executor.account_nonce(&state, account)?;
        Ok(on_chain.saturating_add(u32::try_from(pooled).unwrap_or(u32::MAX)))
    }

    #[cfg(test)]
    pub(crate) fn is_unwatched(&self) -> bool {
        self.watchers.lock().is_empty()
    }

    pub(crate) fn with_pool<Output>(&self, task: impl FnOnce(&mut Pool) -> Output) -> Output {
        let mut pool = self.pool.lock();
        let output = task(&mut pool);
        let events = pool.take_events();
        self.observe(Observed::Pool(&events));
        // The pool stays locked, so that watchers hear of events in their order.
        self.watchers.lock().tell(events);
        output
    }

    /// Verifies signatures ahead, on all cores, so that taking the transactions in is faster. Changes
    /// nothing else.
    pub fn preverify<Bytes: AsRef<[u8]> + Sync>(&self, extrinsics: &[Bytes]) {
        self.preverify_for(self.best().0.saturating_add(1), extrinsics);
    }

    /// Verifies ahead the signatures of what is to be in block `number`.
    fn preverify_for<Bytes: AsRef<[u8]> + Sync>(&self, number: u32, extrinsics: &[Bytes]) {
        self.executor
            .preverify(extrinsics, self.genesis_hash, number, |birth| {
                self.db.hash_of(birth).ok().flatten()
            });
    }

    // ---------------------------------------------------------------------------------- blocks

    /// Makes, stores and announces the next block, if this node is the only validator; `None` when it is none.
    ///
    /// # Errors
    /// Others decide with it, or it should make the block but cannot.
    pub fn author_next(
        &self,
        timing: &StepTiming,
        punctuality: Punctuality,
        limits: &BuildLimits<'_>,
        mode: CommitMode,
    ) -> Result<Option<Authored>, ChainError> {
        let _one_at_a_time = self.writing.lock();
        let Some(agreement) = &self.agreement else {
            return Ok(None);
        };
        let (number, parent_hash) = self.best();
        let step = Step(number.saturating_add(1));
        let state = self.db.working_state_at(&parent_hash)?;
        let lineup = lineup_of(&self.executor, &state, step.0)?;
        if lineup.validators.len() != 1 {
            let several = AgreementError::SeveralValidators(lineup.validators.len());
            return Err(several.into());
        }
        let Some(digest) = agreement.claim(step, 0, punctuality, &lineup)? else {
            return Ok(None);
        };
        let parent = self.header(&parent_hash)?;
        let draft = BlockDraft {
            parent,
            digest,
            closes_at_ms: timing.closes_at_ms(step),
        };
        let (candidates, hashes): (Vec<_>, Vec<_>) = self
            .pool
            .lock()
            .ready()
            .map(|transaction| (transaction.extrinsic.clone(), transaction.hash))
            .unzip();
        let (hash, built) = self.build_sealed(
            agreement.as_ref(),
            &state,
            &lineup,
            &draft,
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
        let certificate = agreement.certify(&self.genesis_hash, step.0, &hash, &lineup)?;

        let refused: Vec<_> = hashes
            .iter()
            .zip(&outcomes)
            .filter_map(|(hash, outcome)| Some((*hash, refusal_of(outcome)?)))
            .collect();
        let postponed = outcomes
            .iter()
            .filter(|outcome| **outcome == Outcome::Postponed)
            .count();
        let authored = Authored {
            hash,
            header: header.clone(),
            extrinsics: body.len(),
            refused: refused.len(),
            postponed,
        };
        let block = StoredBlock {
            header,
            body,
            justification: Some(certificate),
        };
        self.store_and_announce(block, hash, changes, refused, mode)?;
        Ok(Some(authored))
    }

    /// Builds a block and seals it; the header that is returned has the seal, and hashes to the hash.
    pub(crate) fn build_sealed(
        &self,
        agreement: &dyn Agreement,
        state: &State,
        lineup: &Lineup,
        draft: &BlockDraft,
        candidates: &[Arc<[u8]>],
        limits: &BuildLimits<'_>,
    ) -> Result<(Hash, Built), ChainError> {
        let began = Instant::now();
        let mut built = self
            .executor
            .build_block(state, draft, candidates, limits)?;
        self.observe(Observed::Built {
            took: began.elapsed(),
            extrinsics: built.body.len(),
        });
        let seal = agreement.seal(&built.header, lineup)?;
        let digest = built.header.digest_mut();
        digest.push(DigestItem::Seal(ENGINE_ID, seal));
        Ok((built.header.hash(), built))
    }

    /// Checks a block that somebody made: parent, author, seal, certificate and every extrinsic; then stores and
    /// announces it. One that [`Chain::check`] or [`Chain::propose`] has seen is not executed again.
    pub fn import(&self, block: StoredBlock, mode: CommitMode) -> Result<Hash, ChainError> {
        self.import_block(block, mode, false)
    }

    /// `is_verified` says that the signatures were verified ahead.
    fn import_block(
        &self,
        block: StoredBlock,
        mode: CommitMode,
        is_verified: bool,
    ) -> Result<Hash, ChainError> {
        let _one_at_a_time = self.writing.lock();
        let StoredBlock {
            header,
            body,
            justification,
        } = block;
        let (best, best_hash) = self.best();
        let number = *header.number();
        if number != best.saturating_add(1) || *header.parent_hash() != best_hash {
            let parent = *header.parent_hash();
            return Err(ChainError::NotNext {
                number,
                parent,
                best,
                best_hash,
            });
        }
        let hash = header.hash();
        let mut unsealed = header.clone();
        let seal = take_seal(&mut unsealed)?;
        let agreement = self
            .agreement
            .as_ref()
            .ok_or(ChainError::NoAgreement(number))?;
        let state = self.db.working_state_at(&best_hash)?;
        let lineup = lineup_of(&self.executor, &state, number)?;
        agreement.verify_author(&unsealed, &seal, &lineup)?;
        let certificate = justification.as_deref().unwrap_or_default();
        agreement.verify_certificate(&self.genesis_hash, number, &hash, certificate, &lineup)?;
        // Of a block that was checked when it was proposed only the body can differ.
        let known = self.checked.lock().take(&hash);
        let known = known.filter(|_| extrinsics_root(&body) == *header.extrinsics_root());
        let changes = match known {
            Some(changes) => changes,
            None => {
                let began = Instant::now();
                if !is_verified {
                    self.preverify(&body);
                }
                let changes = self.executor.execute_block(&state, &unsealed, &body)?;
                self.observe(Observed::Executed {
                    took: began.elapsed(),
                });
                changes
            }
        };
        drop(state);
        let block = StoredBlock {
            header,
            body,
            justification,
        };
        self.store_and_announce(block, hash, changes, Vec::new(), mode)?;
        Ok(hash)
    }

    /// Imports blocks in their order; while one is executed, the signatures of the next are verified on the
    /// other cores, and on no more, so that the executing thread keeps its own. Returns how many were imported.
    ///
    /// # Errors
    /// What was wrong with the first block that was refused; those before it stay imported.
    pub fn import_all(
        &self,
        blocks: impl IntoIterator<Item = StoredBlock>,
        mode: CommitMode,
    ) -> Result<u32, ChainError> {
        let mut blocks = blocks.into_iter();
        let mut imported = 0u32;
        let mut upcoming = blocks.next();
        if let Some(first) = &upcoming {
            self.preverify(&first.body);
        }
        while let Some(block) = upcoming {
            upcoming = blocks.next();
            beside(|scope| {
                if let Some(next) = &upcoming {
                    scope.spawn(|_| self.preverify_for(*next.header.number(), &next.body));
                }
                self.import_block(block, mode, true)
            })?;
            imported = imported.saturating_add(1);
        }
        Ok(imported)
    }

    pub(crate) fn header(&self, hash: &Hash) -> Result<Header, ChainError> {
        Ok(self
            .db
            .header(hash)?
            .ok_or(StateError::UnknownBlock { hash: *hash })?)
    }

    fn store_and_announce(
        &self,
        block: StoredBlock,
        hash: Hash,
        changes: BlockChanges,
        refused: Vec<(Hash, Refusal)>,
        mode: CommitMode,
    ) -> Result<(), ChainError> {
        let header = block.header.clone();
        let extrinsics: Vec<_> = block
            .body
            .iter()
            .map(|bytes| extrinsic_hash(bytes))
            .collect();
        let bytes = block.body.iter().map(Vec::len).sum();
        let BlockChanges { nodes, storage, .. } = changes;
        let began = Instant::now();
        self.db.commit_block(
            NewBlock {
                block,
                hash,
                state_changes: nodes,
                values: storage.clone(),
                extrinsic_hashes: extrinsics.clone(),
            },
            mode,
        )?;
        self.observe(Observed::Stored {
            took: began.elapsed(),
            extrinsics: extrinsics.len(),
            bytes,
        });
        self.keep_set_proof(&header, &hash);
        self.with_pool(|pool| {
            for (hash, refusal) in refused {
                pool.report_invalid(&hash, refusal);
            }
            let report = BlockReport {
                number: *header.number(),
                hash,
                included: extrinsics.clone(),
                ..Default::default()
            };
            pool.on_block(&report, &AtBlock { chain: self, hash });
            // With a certificate a stored block is final at once.
            pool.on_finalized(hash, &extrinsics);
        });
        self.watchers.lock().sweep();
        // Nobody listening is no fault.
        let _ = self.heads.send(Arc::new(NewHead {
            hash,
            header,
            storage,
            extrinsics,
        }));
        Ok(())
    }
}

/// Runs `task` here, and what it spawns on the other cores.
fn beside<'scope, Output>(task: impl FnOnce(&rayon::Scope<'scope>) -> Output) -> Output {
    static OTHERS: LazyLock<Option<rayon::ThreadPool>> = LazyLock::new(|| {
        let cores = rayon::current_num_threads();
        rayon::ThreadPoolBuilder::new()
            .num_threads(cores.saturating_sub(1).max(1))
            .thread_name(|number| format!("ahead-{number}"))
            .build()
            .inspect_err(
                |error| tracing::warn!(%error, "no threads for verifying signatures ahead"),
            )
            .ok()
    });
    match &*OTHERS {
        Some(others) => others.in_place_scope(task),
        None => rayon::in_place_scope(task),
    }
}

/// Checks that this binary executes the runtime that made the best block of a database, which is not empty.
pub fn verify_runtime(db: &ChainDb) -> Result<(), ChainError> {
    let state = db.state_at(&db.best().1)?;
    let found = state
        .storage(well_known_keys::CODE)
        .map_err(commonwatt_executor::ExecutionError::State)?;
    verify_marker(&found.unwrap_or_default())
}

/// Returns who makes block `number`, on the state after the block before.
///
/// # Errors
/// The state does not say.
pub fn lineup_of(executor: &Executor, state: &State, number: u32) -> Result<Lineup, ChainError> {
    executor
        .call::<Option<Lineup>>(state, "AuctionApi_lineup", Step(number))?
        .filter(|lineup| !lineup.ranking.is_empty())
        .ok_or(ChainError::NoLineup(number))
}

/// Checks that this binary executes the runtime a state was made by.
fn verify_marker(found: &[u8]) -> Result<(), ChainError> {
    let known = code_marker();
    if found == known {
        return Ok(());
    }
    Err(ChainError::UnknownRuntime {
        found: String::from_utf8_lossy(found).into_owned(),
        known: String::from_utf8_lossy(&known).into_owned(),
    })
}

pub(crate) fn refusal_of(outcome: &Outcome) -> Option<Refusal> {
    match outcome {
        Outcome::Included | Outcome::Postponed => None,
        Outcome::Refused(TransactionValidityError::Invalid(invalid)) => {
            Some(Refusal::Invalid(*invalid))
        }
        Outcome::Refused(TransactionValidityError::Unknown(unknown)) => {
            Some(Refusal::Unknown(*unknown))
        }
        Outcome::Undecodable(reason) => Some(Refusal::Malformed(reason.clone())),
        Outcome::Panicked(reason) => Some(Refusal::RuntimePanic(reason.clone())),
    }
}
