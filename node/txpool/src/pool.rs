//! The pool: who gets in, and who has to leave for it.

use std::sync::Arc;

use sp_core::{Blake2Hasher, Hasher};
use sp_runtime::transaction_validity::{InvalidTransaction, TransactionSource, TransactionTag};

use crate::{
    Account, BlockNumber, Hash, PoolError, PoolEvent, PoolLimits, Ready, Refusal,
    TransactionStatus,
    bans::Bans,
    book::{Book, Tally},
    recent::Recent,
    transaction::{
        Arrival, Checked, Lane, Place, Transaction, TransactionValidator, Verdict, compute_distinct,
    },
};

/// Returns the hash by which an encoded extrinsic is known: BLAKE2b-256.
pub fn hash_of(extrinsic: &[u8]) -> Hash {
    Blake2Hasher::hash(extrinsic)
}

/// Numbers of transactions by lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Evidence and bids.
    pub evidence: usize,
    /// Readings.
    pub readings: usize,
    /// Every other call.
    pub other: usize,
}

impl LaneCounts {
    fn of(tallies: &[Tally; 3]) -> Self {
        let of_lane = |lane: Lane| tallies[lane.index()].transactions;
        Self {
            evidence: of_lane(Lane::Evidence),
            readings: of_lane(Lane::Reading),
            other: of_lane(Lane::Other),
        }
    }

    /// Returns the number in all lanes.
    pub fn total(&self) -> usize {
        self.evidence
            .saturating_add(self.readings)
            .saturating_add(self.other)
    }
}

/// How full the pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Ready transactions.
    pub ready: LaneCounts,
    /// Future transactions.
    pub future: LaneCounts,
    /// Waiting transactions.
    pub waiting: LaneCounts,
    /// Bytes of the ready ones.
    pub ready_bytes: usize,
    /// Bytes of everything.
    pub bytes: usize,
    /// Hashes refused unseen.
    pub banned: usize,
}

/// The transaction pool.
#[derive(Debug)]
pub struct Pool {
    pub(crate) limits: PoolLimits,
    /// The block up to which the pool knows the chain.
    pub(crate) best: BlockNumber,
    pub(crate) book: Book,
    pub(crate) bans: Bans,
    pub(crate) recent: Recent,
    /// Where the next turn of validating again starts.
    pub(crate) turn: Arrival,
    next_arrival: Arrival,
}

/// Extrinsics that a pool has looked at and nobody has validated yet.
#[derive(Debug, Default)]
pub struct Prechecked {
    results: Vec<Result<Hash, PoolError>>,
    batch: Vec<(TransactionSource, Arc<[u8]>)>,
}

impl Prechecked {
    /// Returns what is to be validated.
    pub fn batch(&self) -> &[(TransactionSource, Arc<[u8]>)] {
        &self.batch
    }
}

impl Pool {
    /// Returns an empty pool for a chain whose best block is `best`.
    pub fn new(limits: PoolLimits, best: BlockNumber) -> Self {
        Self {
            book: Book::new(limits.events),
            limits,
            best,
            bans: Bans::default(),
            recent: Recent::new(best),
            turn: 0,
            next_arrival: 0,
        }
    }

    /// Validates one extrinsic at the best block and takes it in.
    pub fn submit(
        &mut self,
        source: TransactionSource,
        extrinsic: impl Into<Arc<[u8]>>,
        validator: &(impl TransactionValidator + ?Sized),
    ) -> Result<Hash, PoolError> {
        let extrinsic = extrinsic.into();
        self.precheck(source, &extrinsic)?;
        let verdict = validator.validate(source, &extrinsic);
        self.insert(source, extrinsic, verdict, self.best)
    }

    /// Prechecks many extrinsics of one source; what passes is to be validated as one batch, which needs no pool.
    pub fn precheck_many(&self, source: TransactionSource, extrinsics: Vec<Vec<u8>>) -> Prechecked {
        let mut prechecked = Prechecked::default();
        for extrinsic in extrinsics {
            let result = self.precheck(source, &extrinsic);
            if result.is_ok() {
                prechecked.batch.push((source, Arc::from(extrinsic)));
            }
            prechecked.results.push(result);
        }
        prechecked
    }

    /// Takes in what was prechecked, with its verdicts at block `validated_at`; one result each, in the order of the extrinsics.
    pub fn insert_many(
        &mut self,
        prechecked: Prechecked,
        verdicts: Vec<Verdict>,
        validated_at: BlockNumber,
    ) -> Vec<Result<Hash, PoolError>> {
        let Prechecked { mut results, batch } = prechecked;
        let mut judged = verdicts.into_iter().zip(batch);
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = match judged.next() {
                Some((verdict, (source, extrinsic))) => {
                    self.insert(source, extrinsic, verdict, validated_at)
                }
                None => Err(PoolError::Unknown(Refusal::Unknown(
                    crate::UnknownTransaction::CannotLookup,
                ))),
            };
        }
        results
    }

    /// Refuses what needs no validation to be refused; returns the hash of the rest.
    pub fn precheck(&self, source: TransactionSource, extrinsic: &[u8]) -> Result<Hash, PoolError> {
        if extrinsic.len() > self.limits.extrinsic_bytes {
            return Err(PoolError::TooLarge {
                bytes: extrinsic.len(),
                bytes_max: self.limits.extrinsic_bytes,
            });
        }
        let hash = hash_of(extrinsic);
        if self.contains(&hash) {
            return Err(PoolError::AlreadyImported(hash));
        }
        if let Some(number) = self.recent.block_of(&hash) {
            return Err(PoolError::AlreadyIncluded { hash, number });
        }
        // Bans save validations for strangers. What the node itself made may rest on another
        // verdict: the runtime accepts some unsigned calls from its own node alone.
        if source != TransactionSource::Local
            && let Some(ban) = self.bans.get(&hash)
        {
            return Err(PoolError::TemporarilyBanned {
                until: ban.until,
                cause: ban.cause.clone(),
            });
        }
        Ok(hash)
    }

    /// Takes in an extrinsic with the verdict that the runtime gave at block `at_block`.
    ///
    /// For nodes that validate in parallel, outside the pool's lock: [`Pool::precheck`], validate,
    /// insert. Blocks that came in between are accounted for.
    pub fn insert(
        &mut self,
        source: TransactionSource,
        extrinsic: impl Into<Arc<[u8]>>,
        verdict: Verdict,
        at_block: BlockNumber,
    ) -> Result<Hash, PoolError> {
        let extrinsic = extrinsic.into();
        let hash = self.precheck(source, &extrinsic)?;
        let judged_from = self.recent.judged_from();
        if at_block < judged_from {
            return Err(PoolError::VerdictTooOld {
                at_block,
                judged_from,
            });
        }
        let newcomer = Transaction {
            hash,
            extrinsic,
            source,
            sender: None,
            lane: Lane::Other,
            priority: 0,
            provides: Vec::new(),
            requires: Vec::new(),
            valid_till: 0,
            propagate: false,
            place: Place::Future,
            arrival: self.next_arrival,
        };
        match verdict {
            Ok(checked) => self.admit(newcomer, checked, at_block)?,
            Err(Refusal::NotYet {
                sender,
                lane,
                retry_at,
            }) => self.admit_waiting(newcomer, sender, lane, retry_at)?,
            Err(refusal) if refusal.invalid() == Some(InvalidTransaction::Future) => {
                self.admit_waiting(newcomer, None, Lane::Other, None)?
            }
            Err(refusal @ Refusal::Unknown(_)) => return Err(PoolError::Unknown(refusal)),
            Err(refusal) => return Err(self.refuse(hash, refusal, at_block)),
        }
        Ok(hash)
    }

    /// Takes in a valid transaction, or changes nothing.
    fn admit(
        &mut self,
        mut newcomer: Transaction,
        checked: Checked,
        at_block: BlockNumber,
    ) -> Result<(), PoolError> {
        // Check.
        if checked.validity.provides.is_empty() {
            return Err(PoolError::NoTags);
        }
        let is_on_chain = |tag: &TransactionTag| self.recent.is_satisfied_after(tag, at_block);
        if checked.validity.provides.iter().any(is_on_chain) {
            let stale = Refusal::Invalid(InvalidTransaction::Stale);
            return Err(self.refuse(newcomer.hash, stale, at_block));
        }
        let mut requires = compute_distinct(checked.validity.requires.clone());
        requires.retain(|tag| !is_on_chain(tag));
        newcomer.learn(checked, requires, at_block);
        let replaced = self.rivals_of(&newcomer.provides, newcomer.arrival);
        if let Some(old) = self.unbeaten_priority(&replaced, newcomer.priority) {
            return Err(PoolError::TooLowPriority {
                old,
                new: newcomer.priority,
            });
        }
        // Compute.
        let is_ready = self.book.is_provided(&newcomer.requires, &replaced);
        newcomer.place = if is_ready {
            Place::Ready
        } else {
            Place::Future
        };
        let victims = self.compute_victims(&newcomer, &replaced)?;
        // Write.
        self.next_arrival = self.next_arrival.saturating_add(1);
        let hash = newcomer.hash;
        for victim in victims {
            self.book.discard(victim, TransactionStatus::Dropped);
        }
        self.book.attach(newcomer, &replaced);
        self.trim();
        if self.contains(&hash) {
            Ok(())
        } else {
            Err(PoolError::ImmediatelyDropped)
        }
    }

    /// Keeps a transaction that is not valid yet, or changes nothing.
    fn admit_waiting(
        &mut self,
        mut newcomer: Transaction,
        sender: Option<Account>,
        lane: Lane,
        retry_at: Option<BlockNumber>,
    ) -> Result<(), PoolError> {
        let next = self.best.saturating_add(1);
        let retry_at = retry_at.map_or(next, |number| number.max(next));
        let last = self.best.saturating_add(self.limits.waiting_blocks);
        if retry_at > last {
            let cause = format!(
                "it is for block {retry_at} or later, this node is at block {} and keeps a transaction for {} \
                 blocks at most: if the node is catching up, send it again when it has caught up",
                self.best, self.limits.waiting_blocks
            );
            return Err(PoolError::Invalid(Refusal::Explained {
                invalid: InvalidTransaction::Future,
                cause,
            }));
        }
        newcomer.sender = sender;
        newcomer.lane = lane;
        newcomer.valid_till = u64::from(last);
        newcomer.place = Place::Waiting { retry_at };
        let victims = self.compute_victims(&newcomer, &[])?;
        self.next_arrival = self.next_arrival.saturating_add(1);
        for victim in victims {
            self.book.discard(victim, TransactionStatus::Dropped);
        }
        self.book
            .events
            .push(newcomer.hash, TransactionStatus::Future);
        self.book.add(newcomer);
        self.trim();
        Ok(())
    }

    /// Returns who provides any of these tags, apart from `except`.
    pub(crate) fn rivals_of(&self, tags: &[TransactionTag], except: Arrival) -> Vec<Arrival> {
        let mut rivals: Vec<Arrival> = tags
            .iter()
            .filter_map(|tag| self.book.providers.get(tag).copied())
            .filter(|arrival| *arrival != except)
            .collect();
        rivals.sort_unstable();
        rivals.dedup();
        rivals
    }

    /// Returns the highest priority among `rivals` that `priority` does not exceed.
    fn unbeaten_priority(&self, rivals: &[Arrival], priority: u64) -> Option<u64> {
        rivals
            .iter()
            .filter_map(|arrival| self.book.transactions.get(arrival))
            .map(|rival| rival.priority)
            .filter(|old| *old >= priority)
            .max()
    }

    /// Returns who has to leave, besides `replaced`, so that the newcomer keeps within the limits.
    fn compute_victims(
        &self,
        newcomer: &Transaction,
        replaced: &[Arrival],
    ) -> Result<Vec<Arrival>, PoolError> {
        let mut victims = Vec::new();
        victims.extend(self.compute_account_victim(newcomer, replaced)?);
        victims.extend(self.compute_unready_victim(newcomer, replaced)?);

        let total = self.book.total();
        let leaving = || replaced.iter().chain(&victims);
        let leaving_bytes: usize = leaving()
            .filter_map(|arrival| self.book.transactions.get(arrival))
            .map(Transaction::bytes)
            .sum();
        let mut transactions = total
            .transactions
            .saturating_add(1)
            .saturating_sub(leaving().count());
        let mut bytes = total
            .bytes
            .saturating_add(newcomer.bytes())
            .saturating_sub(leaving_bytes);

        let rank = newcomer.rank();
        let mut cheapest = self.book.by_worth.iter();
        while transactions > self.limits.transactions || bytes > self.limits.bytes {
            let victim = cheapest
                .next()
                .filter(|victim| **victim < rank)
                .and_then(|victim| self.book.transactions.get(&victim.arrival.0))
                .ok_or(PoolError::ImmediatelyDropped)?;
            if replaced.contains(&victim.arrival) || victims.contains(&victim.arrival) {
                continue;
            }
            // It would saw off the branch it sits on.
            if !newcomer.requires.is_empty() && victim.sender == newcomer.sender {
                return Err(PoolError::ImmediatelyDropped);
            }
            transactions = transactions.saturating_sub(1);
            bytes = bytes.saturating_sub(victim.bytes());
            victims.push(victim.arrival);
        }
        Ok(victims)
    }

    /// Returns whom of its own account the newcomer pushes out: when the account is full, a
    /// transaction that fills a gap goes before the last of those that are not ready.
    fn compute_account_victim(
        &self,
        newcomer: &Transaction,
        replaced: &[Arrival],
    ) -> Result<Option<Arrival>, PoolError> {
        let Some(sender) = newcomer.sender else {
            return Ok(None);
        };
        let Some(holdings) = self.book.places.accounts.get(&sender) else {
            return self.check_account_room(0).map(|()| None);
        };
        let is_leaving = |arrival: &Arrival| replaced.contains(arrival);
        let leaving = replaced
            .iter()
            .filter(|arrival| {
                holdings.ready.contains(arrival) || holdings.unready.contains(arrival)
            })
            .count();
        let room = self.check_account_room(holdings.len().saturating_sub(leaving));
        let last_unready = holdings
            .unready
            .iter()
            .rev()
            .find(|arrival| !is_leaving(arrival));
        match (room, last_unready) {
            (Ok(()), _) => Ok(None),
            (Err(_), Some(victim)) if newcomer.is_ready() => Ok(Some(*victim)),
            (Err(error), _) => Err(error),
        }
    }

    fn check_account_room(&self, held: usize) -> Result<(), PoolError> {
        let limit = self.limits.account_transactions;
        if held < limit {
            Ok(())
        } else {
            Err(PoolError::AccountFull { limit })
        }
    }

    /// Returns whom a newcomer that is not ready pushes out of the room for those.
    fn compute_unready_victim(
        &self,
        newcomer: &Transaction,
        replaced: &[Arrival],
    ) -> Result<Option<Arrival>, PoolError> {
        let (ranks, limit) = match newcomer.place {
            Place::Ready => return Ok(None),
            Place::Future => (&self.book.places.future, self.limits.future_transactions),
            Place::Waiting { .. } => (&self.book.places.waiting, self.limits.waiting_transactions),
        };
        let leaving = replaced
            .iter()
            .filter_map(|arrival| self.book.transactions.get(arrival))
            .filter(|tx| ranks.contains(&tx.rank()))
            .count();
        if ranks.len().saturating_sub(leaving) < limit {
            return Ok(None);
        }
        ranks
            .iter()
            .find(|victim| !replaced.contains(&victim.arrival.0))
            .filter(|victim| **victim < newcomer.rank())
            .map(|victim| Some(victim.arrival.0))
            .ok_or(PoolError::ImmediatelyDropped)
    }

    /// Drops the cheapest of those that became future or waiting beyond their limits.
    pub(crate) fn trim(&mut self) {
        while self.book.places.future.len() > self.limits.future_transactions {
            let Some(cheapest) = self.book.places.future.first().copied() else {
                break;
            };
            self.book
                .discard(cheapest.arrival.0, TransactionStatus::Dropped);
        }
        while self.book.places.waiting.len() > self.limits.waiting_transactions {
            let Some(cheapest) = self.book.places.waiting.first().copied() else {
                break;
            };
            self.book
                .discard(cheapest.arrival.0, TransactionStatus::Dropped);
        }
    }

    /// Bans what the runtime refused at `at_block`, and says so as an error.
    ///
    /// Without a new block the verdict cannot change, so even a cause that can be mended is
    /// remembered until then.
    pub(crate) fn refuse(
        &mut self,
        hash: Hash,
        refusal: Refusal,
        at_block: BlockNumber,
    ) -> PoolError {
        let until = if refusal.is_for_ever() {
            self.best.saturating_add(self.limits.ban_blocks)
        } else {
            at_block.saturating_add(1)
        };
        if until > self.best {
            self.bans
                .insert(hash, until, &refusal.to_string(), self.limits.banned);
        }
        PoolError::Invalid(refusal)
    }

    /// Removes a transaction without refusing it later; watchers see it dropped.
    pub fn remove(&mut self, hash: &Hash) -> Option<Transaction> {
        let tx = self.book.get(hash)?.clone();
        self.book.discard(tx.arrival, TransactionStatus::Dropped);
        self.trim();
        Some(tx)
    }

    /// Refuses a hash unseen for the next blocks, as an operator asks for.
    pub fn ban(&mut self, hash: Hash, cause: &str) {
        let until = self.best.saturating_add(self.limits.ban_blocks);
        self.bans.insert(hash, until, cause, self.limits.banned);
    }

    /// Returns a transaction of the pool.
    pub fn get(&self, hash: &Hash) -> Option<&Transaction> {
        self.book.get(hash)
    }

    /// Returns whether a transaction is in the pool.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.book.by_hash.contains_key(hash)
    }

    /// Returns whether there is nothing in the pool.
    pub fn is_empty(&self) -> bool {
        self.book.transactions.is_empty()
    }

    /// Returns how many transactions are in the pool.
    pub fn len(&self) -> usize {
        self.book.transactions.len()
    }

    /// Returns the block up to which the pool knows the chain.
    pub fn best(&self) -> BlockNumber {
        self.best
    }

    /// Returns the number the next transaction arrives under; those in the pool have smaller ones.
    pub fn arrivals(&self) -> u64 {
        self.next_arrival
    }

    /// Returns the ready transactions in the order of building.
    pub fn ready(&self) -> Ready<'_> {
        Ready::new(&self.book)
    }

    /// Returns everything in the order of arrival.
    pub fn pending(&self) -> impl Iterator<Item = &Transaction> {
        self.book.transactions.values()
    }

    /// Returns how many ready transactions an account has.
    pub fn ready_count_of(&self, account: &Account) -> usize {
        self.book
            .places
            .accounts
            .get(account)
            .map_or(0, |holdings| holdings.ready.len())
    }

    /// Returns how many transactions of an account wait for a later block.
    pub fn waiting_count_of(&self, account: &Account) -> usize {
        let unready = self.book.places.accounts.get(account);
        unready
            .into_iter()
            .flat_map(|holdings| &holdings.unready)
            .filter_map(|arrival| self.book.transactions.get(arrival))
            .filter(|tx| matches!(tx.place, Place::Waiting { .. }))
            .count()
    }

    /// Returns how full the pool is.
    pub fn status(&self) -> PoolStatus {
        let [ready, future, waiting] = &self.book.places.tallies;
        let ready_bytes = ready.iter().map(|tally| tally.bytes).sum();
        PoolStatus {
            ready: LaneCounts::of(ready),
            future: LaneCounts::of(future),
            waiting: LaneCounts::of(waiting),
            ready_bytes,
            bytes: self.book.total().bytes,
            banned: self.bans.len(),
        }
    }

    /// Returns the events since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<PoolEvent> {
        self.book.events.take()
    }

    /// Recomputes every index and compares every limit; says what is wrong.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.book.check_indices()?;
        let total = self.book.total();
        let accounts_max = self
            .book
            .places
            .accounts
            .values()
            .map(crate::book::Holdings::len)
            .max();
        let largest = self.pending().map(Transaction::bytes).max();
        let limits = &self.limits;
        let checks = [
            ("transactions", total.transactions, limits.transactions),
            ("bytes", total.bytes, limits.bytes),
            ("bytes of one", largest.unwrap_or(0), limits.extrinsic_bytes),
            (
                "one account",
                accounts_max.unwrap_or(0),
                limits.account_transactions,
            ),
            (
                "future",
                self.book.places.future.len(),
                limits.future_transactions,
            ),
            (
                "waiting",
                self.book.places.waiting.len(),
                limits.waiting_transactions,
            ),
            ("bans", self.bans.len(), limits.banned),
            ("events", self.book.events.len(), limits.events),
        ];
        for (what, value, limit) in checks {
            if value > limit {
                return Err(format!("{what}: {value}, more than the limit {limit}"));
            }
        }
        if !self.bans.is_consistent() || !self.recent.is_consistent() {
            return Err("the bans or the recent blocks contradict themselves".to_owned());
        }
        let ready = self.ready().count();
        let ready_counted = self.status().ready.total();
        if ready != ready_counted {
            return Err(format!(
                "{ready} can be built, {ready_counted} are counted as ready"
            ));
        }
        Ok(())
    }
}
