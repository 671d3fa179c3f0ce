//! What a new block changes.

use std::collections::BTreeSet;

use sp_runtime::transaction_validity::{InvalidTransaction, TransactionTag};

use crate::{
    Account, BlockNumber, Hash, Pool, Refusal, TransactionStatus,
    transaction::{
        Arrival, Checked, Place, Transaction, TransactionValidator, Verdict, compute_distinct,
    },
};

/// A block as the pool needs to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockReport {
    /// Its number.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
    /// The hashes of its extrinsics, in their order.
    pub included: Vec<Hash>,
    /// Tags that extrinsics unknown to the pool provided, as far as the node knows them. Those of
    /// the pool's own transactions need not be named.
    pub provided: Vec<TransactionTag>,
    /// Senders of extrinsics unknown to the pool, as far as the node knows them.
    pub senders: Vec<Account>,
}

/// What a block changed in the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockOutcome {
    /// Transactions of the pool that the block includes.
    pub included: usize,
    /// Transactions whose time was over.
    pub expired: usize,
    /// Transactions that were validated again.
    pub revalidated: usize,
    /// Transactions that the runtime refuses now.
    pub refused: usize,
}

impl Pool {
    /// Takes note of a block: what it includes leaves, what waited for it becomes ready, what is
    /// over is dropped, and a bounded number is validated again.
    ///
    /// `validator` must answer for the state after this block.
    pub fn on_block(
        &mut self,
        block: &BlockReport,
        validator: &(impl TransactionValidator + ?Sized),
    ) -> BlockOutcome {
        self.best = self.best.max(block.number);
        let mut senders: BTreeSet<Account> = block.senders.iter().copied().collect();
        let included = self.prune(block, &mut senders);
        self.bans.expire(self.best);
        let expired = self.expire();
        let chosen = self.choose_for_validation(&senders);
        let refused = self.validate_again(&chosen, validator);
        self.trim();
        BlockOutcome {
            included,
            expired,
            revalidated: chosen.len(),
            refused,
        }
    }

    /// Tells the watchers of these transactions that their block is final.
    pub fn on_finalized(&mut self, block: Hash, included: &[Hash]) {
        for hash in included {
            self.book
                .events
                .push(*hash, TransactionStatus::Finalized(block));
        }
    }

    /// Takes note that a transaction could not be applied to the block under construction.
    ///
    /// One for which the block had no room left, or its sender no quota, stays. One that is not valid yet, as when the
    /// transaction before it failed, is validated again after the block. Any other is removed and
    /// banned, and its dependents become future. Best called when the block is complete: dependents
    /// for which there is no room as future ones are dropped, even if the builder still holds them.
    pub fn report_invalid(&mut self, hash: &Hash, refusal: Refusal) {
        if refusal.is_of_one_block() {
            return;
        }
        if let Some(arrival) = self.book.get(hash).map(|tx| tx.arrival) {
            self.learn_refusal(arrival, refusal);
            self.trim();
        }
    }

    /// Removes what the block includes, and what it makes stale. Returns how many it includes.
    fn prune(&mut self, block: &BlockReport, senders: &mut BTreeSet<Account>) -> usize {
        let mut tags = block.provided.clone();
        let mut included = 0_usize;
        for hash in &block.included {
            let Some(arrival) = self.book.by_hash.get(hash).copied() else {
                continue;
            };
            if let Some(mut tx) = self.book.take(arrival) {
                included = included.saturating_add(1);
                senders.extend(tx.sender);
                tags.append(&mut tx.provides);
                self.book
                    .events
                    .push(*hash, TransactionStatus::InBlock(block.hash));
            }
        }
        // All tags first: no dependent may lose its provider before the tag counts as on chain.
        for tag in &tags {
            self.book.satisfy(tag);
        }
        for stale in self.rivals_of(&tags, Arrival::MAX) {
            self.learn_refusal(stale, Refusal::Invalid(InvalidTransaction::Stale));
        }
        self.recent.push(
            block.number,
            block.included.clone(),
            tags,
            self.limits.recent_entries,
        );
        included
    }

    /// Drops what is over. Returns how many that were.
    fn expire(&mut self) -> usize {
        let mut expired = 0_usize;
        while let Some((valid_till, arrival)) = self.book.by_end.first().copied() {
            if valid_till > u64::from(self.best) {
                break;
            }
            self.book.discard(arrival, TransactionStatus::Dropped);
            expired = expired.saturating_add(1);
        }
        expired
    }

    /// Chooses what to validate again: what shares a sender with the block, what is due, and some
    /// of the rest in turn. Each group has its own limit, so that none starves another.
    fn choose_for_validation(&mut self, senders: &BTreeSet<Account>) -> BTreeSet<Arrival> {
        let places = &self.book.places;
        let mut chosen: BTreeSet<Arrival> = senders
            .iter()
            .filter_map(|sender| places.accounts.get(sender))
            .flat_map(|holdings| holdings.ready.iter().chain(&holdings.unready))
            .take(self.limits.revalidated_of_senders)
            .copied()
            .collect();
        chosen.extend(
            places
                .due
                .iter()
                .take_while(|(retry_at, _)| *retry_at <= self.best)
                .take(self.limits.revalidated_waiting)
                .map(|(_, arrival)| arrival),
        );
        let transactions = &self.book.transactions;
        let in_turn = transactions
            .range(self.turn..)
            .chain(transactions.range(..self.turn))
            .take(self.limits.revalidated_in_turn);
        for (arrival, tx) in in_turn {
            self.turn = arrival.saturating_add(1);
            if !matches!(tx.place, Place::Waiting { .. }) {
                chosen.insert(*arrival);
            }
        }
        chosen
    }

    /// Validates transactions again and applies the verdicts. Returns how many are refused.
    fn validate_again(
        &mut self,
        chosen: &BTreeSet<Arrival>,
        validator: &(impl TransactionValidator + ?Sized),
    ) -> usize {
        let batch: Vec<_> = chosen
            .iter()
            .filter_map(|arrival| self.book.transactions.get(arrival))
            .map(|tx| (tx.source, tx.extrinsic.clone()))
            .collect();
        let verdicts: Vec<Verdict> = validator.validate_batch(&batch);
        let mut refusals = Vec::new();
        // Good news first: after a nonce that the pool did not see, the next transaction needs no
        // provider any more and must not become future when the stale one leaves.
        for (arrival, verdict) in chosen.iter().zip(verdicts) {
            match verdict {
                Ok(checked) => self.learn_validity(*arrival, checked),
                Err(refusal) => refusals.push((*arrival, refusal)),
            }
        }
        let mut refused = 0_usize;
        for (arrival, refusal) in refusals {
            if self.learn_refusal(arrival, refusal) {
                refused = refused.saturating_add(1);
            }
        }
        refused
    }

    /// Takes over what the runtime now says about a valid transaction.
    fn learn_validity(&mut self, arrival: Arrival, checked: Checked) {
        let Some(tx) = self.book.transactions.get(&arrival) else {
            return;
        };
        if checked.validity.provides.is_empty() {
            self.book.discard(arrival, TransactionStatus::Dropped);
            return;
        }
        let provides = compute_distinct(checked.validity.provides.clone());
        let requires = compute_distinct(checked.validity.requires.clone());
        let rivals = self.rivals_of(&provides, arrival);
        let stronger = rivals
            .iter()
            .filter_map(|rival| self.book.transactions.get(rival))
            .find(|rival| rival.priority >= checked.validity.priority);
        if let Some(stronger) = stronger {
            let usurper = stronger.hash;
            self.book
                .discard(arrival, TransactionStatus::Usurped(usurper));
            return;
        }
        let needs_nothing_new = !matches!(tx.place, Place::Waiting { .. })
            && tx.provides == provides
            && requires.iter().all(|tag| tx.requires.contains(tag));
        let Some(mut tx) = self.book.take(arrival) else {
            return;
        };
        if needs_nothing_new {
            tx.learn(checked, requires, self.best);
            let is_freed = tx.place == Place::Future && self.book.is_provided(&tx.requires, &[]);
            self.book.add(tx);
            if is_freed {
                self.book.move_to(arrival, Place::Ready);
                self.book.settle(provides);
            }
        } else {
            self.book.settle(std::mem::take(&mut tx.provides));
            tx.learn(checked, requires, self.best);
            self.book.attach(tx, &rivals);
        }
        self.check_account_of(arrival);
    }

    /// Drops a transaction whose sender turned out to have too many.
    fn check_account_of(&mut self, arrival: Arrival) {
        let held = self
            .book
            .transactions
            .get(&arrival)
            .and_then(|tx| tx.sender)
            .and_then(|sender| self.book.places.accounts.get(&sender))
            .map_or(0, crate::book::Holdings::len);
        if held > self.limits.account_transactions {
            self.book.discard(arrival, TransactionStatus::Dropped);
        }
    }

    /// Takes over that the runtime refuses a transaction now. Returns whether it was removed.
    fn learn_refusal(&mut self, arrival: Arrival, refusal: Refusal) -> bool {
        let next = self.best.saturating_add(1);
        match refusal {
            Refusal::NotYet { retry_at, .. } => {
                self.defer(arrival, retry_at.map_or(next, |number| number.max(next)));
                false
            }
            refusal if refusal.invalid() == Some(InvalidTransaction::Future) => {
                self.defer(arrival, next);
                false
            }
            Refusal::Unknown(_) => {
                let is_waiting = |tx: &Transaction| matches!(tx.place, Place::Waiting { .. });
                if self.book.transactions.get(&arrival).is_some_and(is_waiting) {
                    self.defer(arrival, next);
                }
                false
            }
            refusal => {
                if let Some(hash) = self.book.transactions.get(&arrival).map(|tx| tx.hash) {
                    let status = TransactionStatus::Invalid(refusal.clone());
                    self.book.discard(arrival, status);
                    self.refuse(hash, refusal, self.best);
                }
                true
            }
        }
    }

    /// Lets a transaction wait until `retry_at`. Its dependents become future.
    fn defer(&mut self, arrival: Arrival, retry_at: BlockNumber) {
        let Some(mut tx) = self.book.take(arrival) else {
            return;
        };
        let last = u64::from(self.best.saturating_add(self.limits.waiting_blocks));
        let was_waiting = matches!(tx.place, Place::Waiting { .. });
        let provides = std::mem::take(&mut tx.provides);
        tx.requires.clear();
        tx.priority = 0;
        tx.propagate = false;
        tx.place = Place::Waiting { retry_at };
        if !was_waiting {
            tx.valid_till = tx.valid_till.min(last);
            self.book.events.push(tx.hash, TransactionStatus::Future);
        }
        self.book.add(tx);
        self.book.settle(provides);
    }
}
