//! A chain of nonces to test against: extrinsics are lines of text, validity is arithmetic.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    Account, BlockNumber, BlockOutcome, BlockReport, Checked, Hash, InvalidTransaction, Lane, Pool,
    PoolError, PoolLimits, Refusal, TransactionSource, TransactionStatus, TransactionTag,
    TransactionValidator, ValidTransaction, Verdict, hash_of,
};

/// An extrinsic of the test chain.
#[derive(Clone, Debug)]
pub struct Call {
    pub account: u8,
    pub nonce: u32,
    pub lane: Lane,
    pub tip: u64,
    pub valid_from: BlockNumber,
    pub longevity: u64,
    pub bytes: usize,
}

/// Returns a call of the last lane.
pub fn call(account: u8, nonce: u32) -> Call {
    Call {
        account,
        nonce,
        lane: Lane::Other,
        tip: 0,
        valid_from: 0,
        longevity: 1_000,
        bytes: 40,
    }
}

/// Returns a reading.
pub fn reading(account: u8, nonce: u32) -> Call {
    Call {
        lane: Lane::Reading,
        ..call(account, nonce)
    }
}

/// Returns evidence.
pub fn evidence(account: u8, nonce: u32) -> Call {
    Call {
        lane: Lane::Evidence,
        ..call(account, nonce)
    }
}

impl Call {
    pub fn tip(self, tip: u64) -> Self {
        Self { tip, ..self }
    }

    pub fn valid_from(self, valid_from: BlockNumber) -> Self {
        Self { valid_from, ..self }
    }

    pub fn longevity(self, longevity: u64) -> Self {
        Self { longevity, ..self }
    }

    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    pub fn encode(&self) -> Vec<u8> {
        let lane = self.lane.index();
        let text = format!(
            "{} {} {lane} {} {} {} ",
            self.account, self.nonce, self.tip, self.valid_from, self.longevity
        );
        let mut bytes = text.into_bytes();
        bytes.resize(self.bytes.max(bytes.len()), b'.');
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split(' ');
        Some(Self {
            account: words.next()?.parse().ok()?,
            nonce: words.next()?.parse().ok()?,
            lane: *Lane::ALL.get(words.next()?.parse::<usize>().ok()?)?,
            tip: words.next()?.parse().ok()?,
            valid_from: words.next()?.parse().ok()?,
            longevity: words.next()?.parse().ok()?,
            bytes: bytes.len(),
        })
    }

    pub fn hash(&self) -> Hash {
        hash_of(&self.encode())
    }
}

/// Returns the id of a numbered account.
pub fn account(number: u8) -> Account {
    [number; 32]
}

/// Returns the tag of a nonce.
pub fn tag(account: u8, nonce: u32) -> TransactionTag {
    let mut tag = vec![account];
    tag.extend(nonce.to_be_bytes());
    tag
}

/// The state that validity depends on.
#[derive(Default)]
pub struct Chain {
    pub best: BlockNumber,
    pub nonces: BTreeMap<u8, u32>,
    pub banned_accounts: BTreeSet<u8>,
    pub validations: Cell<usize>,
}

impl Chain {
    fn nonce(&self, account: u8) -> u32 {
        self.nonces.get(&account).copied().unwrap_or(0)
    }
}

impl TransactionValidator for Chain {
    fn validate(&self, _: TransactionSource, extrinsic: &[u8]) -> Verdict {
        self.validations.set(self.validations.get() + 1);
        let call = Call::decode(extrinsic).ok_or(Refusal::Malformed("not a call".into()))?;
        let sender = Some(account(call.account));
        if self.banned_accounts.contains(&call.account) {
            return Err(Refusal::Invalid(InvalidTransaction::BadSigner));
        }
        if call.nonce < self.nonce(call.account) {
            return Err(Refusal::Invalid(InvalidTransaction::Stale));
        }
        if call.valid_from > self.best + 1 {
            return Err(Refusal::NotYet {
                sender,
                lane: call.lane,
                retry_at: Some(call.valid_from - 1),
            });
        }
        let requires = if call.nonce > self.nonce(call.account) {
            vec![tag(call.account, call.nonce - 1)]
        } else {
            vec![]
        };
        Ok(Checked {
            validity: ValidTransaction {
                priority: call.tip,
                requires,
                provides: vec![tag(call.account, call.nonce)],
                longevity: call.longevity,
                propagate: true,
            },
            sender,
            lane: call.lane,
        })
    }
}

/// A pool together with its chain.
pub struct World {
    pub pool: Pool,
    pub chain: Chain,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(adjust: impl FnOnce(&mut PoolLimits)) -> Self {
        let mut limits = PoolLimits::default();
        adjust(&mut limits);
        Self {
            pool: Pool::new(limits, 0),
            chain: Chain::default(),
        }
    }

    pub fn submit(&mut self, call: &Call) -> Result<Hash, PoolError> {
        let result = self
            .pool
            .submit(TransactionSource::External, call.encode(), &self.chain);
        self.pool.check_invariants().unwrap();
        result
    }

    /// Submits calls of which none may be refused.
    pub fn submit_all(&mut self, calls: &[Call]) {
        for call in calls {
            self.submit(call).unwrap();
        }
    }

    /// Submits a call that must be refused, and asserts that nothing changed.
    pub fn submit_in_vain(&mut self, call: &Call) -> PoolError {
        let before: Vec<_> = self.pool.pending().cloned().collect();
        let events = self.pool.book.events.len();
        let error = self.submit(call).unwrap_err();
        assert_eq!(self.pool.pending().cloned().collect::<Vec<_>>(), before);
        assert_eq!(self.pool.book.events.len(), events);
        error
    }

    /// Makes a block of the first ready transactions and tells the pool.
    pub fn build(&mut self, transactions: usize) -> BlockOutcome {
        let included: Vec<Hash> = self
            .pool
            .ready()
            .take(transactions)
            .map(|tx| tx.hash)
            .collect();
        self.import(included)
    }

    /// Makes a block of pooled transactions and tells the pool.
    pub fn import(&mut self, included: Vec<Hash>) -> BlockOutcome {
        for hash in &included {
            let call = Call::decode(&self.pool.get(hash).unwrap().extrinsic).unwrap();
            self.apply(&call);
        }
        self.import_report(BlockReport {
            included,
            ..BlockReport::default()
        })
    }

    /// Tells the pool of a block, numbered and hashed here.
    pub fn import_report(&mut self, report: BlockReport) -> BlockOutcome {
        self.chain.best += 1;
        let report = BlockReport {
            number: self.chain.best,
            hash: block_hash(self.chain.best),
            ..report
        };
        let outcome = self.pool.on_block(&report, &self.chain);
        self.pool.check_invariants().unwrap();
        outcome
    }

    /// Applies a call to the state. The nonce must be the next one.
    pub fn apply(&mut self, call: &Call) {
        let nonce = self.chain.nonces.entry(call.account).or_default();
        assert_eq!(*nonce, call.nonce, "nonces come in their order");
        *nonce += 1;
    }

    pub fn is_ready(&self, call: &Call) -> bool {
        self.pool.get(&call.hash()).is_some_and(|tx| tx.is_ready())
    }

    pub fn has(&self, call: &Call) -> bool {
        self.pool.contains(&call.hash())
    }

    /// Returns account and nonce of the ready transactions in the order of building.
    pub fn order(&self) -> Vec<(u8, u32)> {
        self.pool
            .ready()
            .map(|tx| Call::decode(&tx.extrinsic).unwrap())
            .map(|call| (call.account, call.nonce))
            .collect()
    }

    /// Returns what the pool told of a call, and forgets what it told of others.
    pub fn told(&mut self, call: &Call) -> Vec<TransactionStatus> {
        let hash = call.hash();
        self.pool
            .take_events()
            .into_iter()
            .filter(|event| event.hash == hash)
            .map(|event| event.status)
            .collect()
    }
}

/// Returns the hash of a numbered block.
pub fn block_hash(number: BlockNumber) -> Hash {
    Hash::from_low_u64_be(u64::from(number))
}
