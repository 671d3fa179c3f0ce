//! The transactions of the pool and every index over them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use sp_runtime::transaction_validity::TransactionTag;

use crate::{
    Account, BlockNumber, Hash, TransactionStatus,
    event::EventLog,
    transaction::{Arrival, Place, Rank, Transaction},
};

/// Number and bytes of some transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) transactions: usize,
    pub(crate) bytes: usize,
}

impl Tally {
    fn add(&mut self, bytes: usize) {
        self.transactions = self.transactions.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn subtract(&mut self, bytes: usize) {
        self.transactions = self.transactions.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn plus(self, other: Tally) -> Tally {
        Tally {
            transactions: self.transactions.saturating_add(other.transactions),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// What one account has in the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) ready: BTreeSet<Arrival>,
    pub(crate) unready: BTreeSet<Arrival>,
}

impl Holdings {
    pub(crate) fn len(&self) -> usize {
        self.ready.len().saturating_add(self.unready.len())
    }
}

/// The indices that depend on where a transaction stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Ready ones that need no other: where the builder starts.
    pub(crate) roots: BTreeSet<Rank>,
    pub(crate) future: BTreeSet<Rank>,
    pub(crate) waiting: BTreeSet<Rank>,
    /// Waiting ones by the block at which to ask again.
    pub(crate) due: BTreeSet<(BlockNumber, Arrival)>,
    pub(crate) accounts: BTreeMap<Account, Holdings>,
    /// By place, then by lane.
    pub(crate) tallies: [[Tally; 3]; 3],
}

impl Places {
    fn enter(&mut self, tx: &Transaction) {
        match tx.place {
            Place::Ready => {
                if tx.is_root() {
                    self.roots.insert(tx.rank());
                }
            }
            Place::Future => {
                self.future.insert(tx.rank());
            }
            Place::Waiting { retry_at } => {
                self.waiting.insert(tx.rank());
                self.due.insert((retry_at, tx.arrival));
            }
        }
        if let Some(sender) = tx.sender {
            let holdings = self.accounts.entry(sender).or_default();
            if tx.is_ready() {
                holdings.ready.insert(tx.arrival);
            } else {
                holdings.unready.insert(tx.arrival);
            }
        }
        self.tallies[tx.place.index()][tx.lane.index()].add(tx.bytes());
    }

    fn leave(&mut self, tx: &Transaction) {
        match tx.place {
            Place::Ready => {
                if tx.is_root() {
                    self.roots.remove(&tx.rank());
                }
            }
            Place::Future => {
                self.future.remove(&tx.rank());
            }
            Place::Waiting { retry_at } => {
                self.waiting.remove(&tx.rank());
                self.due.remove(&(retry_at, tx.arrival));
            }
        }
        if let Some(sender) = tx.sender
            && let Some(holdings) = self.accounts.get_mut(&sender)
        {
            if tx.is_ready() {
                holdings.ready.remove(&tx.arrival);
            } else {
                holdings.unready.remove(&tx.arrival);
            }
            if holdings.len() == 0 {
                self.accounts.remove(&sender);
            }
        }
        self.tallies[tx.place.index()][tx.lane.index()].subtract(tx.bytes());
    }
}

/// The transactions of the pool and every index over them.
///
/// Hash maps serve look-ups alone; whatever is walked through is ordered.
#[derive(Debug)]
pub(crate) struct Book {
    /// By arrival.
    pub(crate) transactions: BTreeMap<Arrival, Transaction>,
    pub(crate) by_hash: HashMap<Hash, Arrival>,
    pub(crate) providers: HashMap<TransactionTag, Arrival>,
    pub(crate) dependents: HashMap<TransactionTag, BTreeSet<Arrival>>,
    /// Everything, cheapest first.
    pub(crate) by_worth: BTreeSet<Rank>,
    pub(crate) by_end: BTreeSet<(u64, Arrival)>,
    pub(crate) places: Places,
    pub(crate) events: EventLog,
}

impl Book {
    pub(crate) fn new(events_max: usize) -> Self {
        Self {
            transactions: BTreeMap::new(),
            by_hash: HashMap::new(),
            providers: HashMap::new(),
            dependents: HashMap::new(),
            by_worth: BTreeSet::new(),
            by_end: BTreeSet::new(),
            places: Places::default(),
            events: EventLog::new(events_max),
        }
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<&Transaction> {
        self.transactions.get(self.by_hash.get(hash)?)
    }

    /// Returns number and bytes of everything.
    pub(crate) fn total(&self) -> Tally {
        self.places
            .tallies
            .iter()
            .flatten()
            .fold(Tally::default(), |sum, tally| sum.plus(*tally))
    }

    /// Enters a transaction into every index. Its dependents are not looked at: see `settle`.
    pub(crate) fn add(&mut self, tx: Transaction) {
        self.by_hash.insert(tx.hash, tx.arrival);
        for tag in &tx.provides {
            self.providers.insert(tag.clone(), tx.arrival);
        }
        for tag in &tx.requires {
            self.dependents
                .entry(tag.clone())
                .or_default()
                .insert(tx.arrival);
        }
        self.by_worth.insert(tx.rank());
        self.by_end.insert((tx.valid_till, tx.arrival));
        self.places.enter(&tx);
        self.transactions.insert(tx.arrival, tx);
    }

    /// Removes a transaction from every index. Its dependents are not looked at: see `settle`.
    pub(crate) fn take(&mut self, arrival: Arrival) -> Option<Transaction> {
        let tx = self.transactions.remove(&arrival)?;
        self.by_hash.remove(&tx.hash);
        for tag in &tx.provides {
            if self.providers.get(tag) == Some(&arrival) {
                self.providers.remove(tag);
            }
        }
        for tag in &tx.requires {
            if let Some(dependents) = self.dependents.get_mut(tag) {
                dependents.remove(&arrival);
                if dependents.is_empty() {
                    self.dependents.remove(tag);
                }
            }
        }
        self.by_worth.remove(&tx.rank());
        self.by_end.remove(&(tx.valid_till, arrival));
        self.places.leave(&tx);
        Some(tx)
    }

    /// Removes a transaction, tells why, and lets its dependents become future.
    pub(crate) fn discard(&mut self, arrival: Arrival, status: TransactionStatus) {
        if let Some(tx) = self.take(arrival) {
            self.events.push(tx.hash, status);
            self.settle(tx.provides);
        }
    }

    /// Moves a transaction to another place, and tells.
    pub(crate) fn move_to(&mut self, arrival: Arrival, place: Place) {
        let Some(tx) = self.transactions.get_mut(&arrival) else {
            return;
        };
        self.places.leave(tx);
        tx.place = place;
        self.places.enter(tx);
        let status = if tx.is_ready() {
            TransactionStatus::Ready
        } else {
            TransactionStatus::Future
        };
        self.events.push(tx.hash, status);
    }

    /// Returns whether ready transactions other than those of `leaving` provide every tag.
    pub(crate) fn is_provided(&self, tags: &[TransactionTag], leaving: &[Arrival]) -> bool {
        tags.iter().all(|tag| {
            self.providers.get(tag).is_some_and(|provider| {
                !leaving.contains(provider)
                    && self
                        .transactions
                        .get(provider)
                        .is_some_and(Transaction::is_ready)
            })
        })
    }

    /// Makes the places of dependents right again after the providers of `tags` have changed.
    ///
    /// First everything that lost a provider becomes future, then everything that is provided for
    /// becomes ready. Each pass goes one way only, so it ends even if tags form a circle.
    pub(crate) fn settle(&mut self, tags: Vec<TransactionTag>) {
        self.spread(tags.clone(), Place::Ready, Place::Future);
        self.spread(tags, Place::Future, Place::Ready);
    }

    /// Moves the dependents of `tags`, and theirs in turn, from one place to the other where
    /// their providers say so.
    fn spread(&mut self, tags: Vec<TransactionTag>, from: Place, to: Place) {
        let mut open = tags;
        while let Some(tag) = open.pop() {
            let Some(dependents) = self.dependents.get(&tag) else {
                continue;
            };
            for arrival in dependents.clone() {
                let Some(tx) = self.transactions.get(&arrival) else {
                    continue;
                };
                let is_provided = self.is_provided(&tx.requires, &[]);
                if tx.place == from && is_provided == (to == Place::Ready) {
                    open.extend(tx.provides.iter().cloned());
                    self.move_to(arrival, to);
                }
            }
        }
    }

    /// Enters a transaction in place of `replaced`, as ready or future.
    ///
    /// The same nonce with a higher tip is the usual replacement: it needs nothing that the
    /// replaced one did not need, so the dependents can stay as they are, however many they are.
    /// Otherwise they become future first, so that no circle can hold itself up.
    pub(crate) fn attach(&mut self, mut tx: Transaction, replaced: &[Arrival]) {
        let mut tags = Vec::new();
        let mut is_like_for_like = replaced.len() == 1;
        for arrival in replaced {
            if let Some(mut old) = self.take(*arrival) {
                self.events
                    .push(old.hash, TransactionStatus::Usurped(tx.hash));
                is_like_for_like &=
                    old.is_ready() && tx.requires.iter().all(|tag| old.requires.contains(tag));
                tags.append(&mut old.provides);
            }
        }
        if !is_like_for_like {
            self.settle(mem::take(&mut tags));
        }
        tx.place = if self.is_provided(&tx.requires, &[]) {
            Place::Ready
        } else {
            Place::Future
        };
        let status = if tx.is_ready() {
            TransactionStatus::Ready
        } else {
            TransactionStatus::Future
        };
        self.events.push(tx.hash, status);
        tags.extend(tx.provides.iter().cloned());
        self.add(tx);
        self.settle(tags);
    }

    /// Notes that a tag is on chain: nobody needs a provider for it any more.
    pub(crate) fn satisfy(&mut self, tag: &TransactionTag) {
        let Some(dependents) = self.dependents.remove(tag) else {
            return;
        };
        for arrival in dependents {
            let Some(tx) = self.transactions.get_mut(&arrival) else {
                continue;
            };
            self.places.leave(tx);
            tx.requires.retain(|required| required != tag);
            self.places.enter(tx);
            let is_freed = tx.place == Place::Future;
            let (requires, provides) = (tx.requires.clone(), tx.provides.clone());
            if is_freed && self.is_provided(&requires, &[]) {
                self.move_to(arrival, Place::Ready);
                self.settle(provides);
            }
        }
    }

    /// Recomputes every index from the transactions and says which one differs.
    pub(crate) fn check_indices(&self) -> Result<(), String> {
        let mut fresh = Book::new(0);
        for tx in self.transactions.values() {
            fresh.add(tx.clone());
        }
        let checks = [
            ("hashes", self.by_hash == fresh.by_hash),
            ("providers", self.providers == fresh.providers),
            ("dependents", self.dependents == fresh.dependents),
            ("worth", self.by_worth == fresh.by_worth),
            ("ends", self.by_end == fresh.by_end),
            ("roots", self.places.roots == fresh.places.roots),
            ("future", self.places.future == fresh.places.future),
            ("waiting", self.places.waiting == fresh.places.waiting),
            ("due", self.places.due == fresh.places.due),
            ("accounts", self.places.accounts == fresh.places.accounts),
            ("tallies", self.places.tallies == fresh.places.tallies),
        ];
        for (index, is_right) in checks {
            if !is_right {
                return Err(format!(
                    "the index of {index} differs from the transactions"
                ));
            }
        }
        for tx in self.transactions.values() {
            let is_provided = self.is_provided(&tx.requires, &[]);
            let is_right = match tx.place {
                Place::Ready => is_provided,
                Place::Future => !is_provided,
                Place::Waiting { .. } => tx.requires.is_empty() && tx.provides.is_empty(),
            };
            if !is_right {
                return Err(format!("{:?} does not belong into {:?}", tx.hash, tx.place));
            }
            for tag in &tx.provides {
                if self.providers.get(tag) != Some(&tx.arrival) {
                    return Err(format!("{:?} shares a tag it provides", tx.hash));
                }
            }
        }
        Ok(())
    }
}
