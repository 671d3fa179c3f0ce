//! A node: a machine with a disk and a clock, on which a process runs or does not.

use std::{collections::BTreeSet, sync::Arc};

use commonwatt_chain::{Chain, ChainConfig, Validators};
use commonwatt_consensus::wal::Recovered;
use commonwatt_engine::{Engine, EngineConfig, Now, StartError, Tolerance};
use commonwatt_executor::Executor;
use commonwatt_storage::{ChainDb, StatePruning};

use crate::{
    bugs::{Bug, Careless},
    byzantine::Liar,
    community::{Community, GENESIS_MS, Member},
    disk::{Disk, DiskCopy},
    oracle::STATE_CACHE_BYTES,
};

/// States a node keeps: jobs may look at one that was the best a moment ago.
const STATES: u32 = 8;
/// By how much the steady clocks of two lives of a node differ.
const STEADY_MS: u64 = 1_000_003;

/// A node.
pub struct Node {
    /// Whose it is.
    pub member: Member,
    /// Its disk.
    pub disk: Disk,
    /// What runs on it.
    pub process: Option<Process>,
    /// How often it was started.
    pub lives: u64,
    /// By how much its time of day is ahead.
    pub clock_ms: i64,
    /// Until when it stands still.
    pub paused_until_ms: u64,
    /// The last block it has said it has.
    pub acknowledged: u32,
    /// Whether it ever voted at a height, and so has a write-ahead log.
    pub has_voted: bool,
    /// Whether it ever lost its write-ahead log, or got an old one.
    pub has_lost_log: bool,
    /// A copy of its disk, and the last block in it.
    pub copy: Option<(DiskCopy, u32)>,
    /// Its disk is an old copy: its operator starts it when all others have this block.
    pub waits_for: Option<u32>,
    /// From when on its operator lets it vote.
    pub votes_from: Option<u32>,
    /// It is killed after so many further actions.
    pub killed_after: Option<usize>,
    /// What makes it lie, if anything does.
    pub liar: Option<Liar>,
}

/// A running node.
pub struct Process {
    /// Its chain.
    pub chain: Arc<Chain>,
    /// Its engine.
    pub engine: Engine,
    /// Counts what it is to be woken for; earlier ones do not count.
    pub wake: u64,
    /// When it is woken.
    pub wake_at_ms: u64,
    /// Messages it has passed on.
    pub passed_on: BTreeSet<u64>,
}

/// Why a node did not start.
#[derive(Debug)]
pub enum BootError {
    /// Its write-ahead log is missing.
    LogMissing,
    /// Its write-ahead log was closed, since another signs with its keys.
    LogClosed,
    /// Its disk failed while it started.
    Disk,
    /// Anything else, which is a violation.
    Other(String),
}

impl Node {
    /// Returns a node that is switched off.
    pub fn new(member: Member, disk: Disk, liar: Option<Liar>) -> Self {
        Self {
            member,
            disk,
            process: None,
            lives: 0,
            clock_ms: 0,
            paused_until_ms: 0,
            acknowledged: 0,
            has_voted: false,
            has_lost_log: false,
            copy: None,
            waits_for: None,
            votes_from: None,
            killed_after: None,
            liar,
        }
    }

    /// Returns whether it keeps to the rules.
    pub fn is_honest(&self) -> bool {
        self.liar.is_none()
    }

    /// Returns whether it does not vote since it lost its log, or got an old one.
    pub fn is_kept_from_voting(&self) -> bool {
        self.waits_for.is_some()
            || self.has_lost_log && self.votes_from.is_none_or(|from| self.acknowledged < from)
    }

    /// Returns what its clocks show.
    pub fn now(&self, now_ms: u64) -> Now {
        Now {
            unix_ms: GENESIS_MS
                .saturating_add(now_ms)
                .saturating_add_signed(self.clock_ms),
            steady_ms: now_ms.saturating_add(self.lives.saturating_mul(STEADY_MS)),
        }
    }

    /// Starts its next life; returns the height of the log it found.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn boot(
        &mut self,
        community: &Community,
        executor: &Executor,
        bug: Option<Bug>,
    ) -> Result<Option<u32>, BootError> {
        self.lives = self.lives.saturating_add(1);
        let volume = self.disk.start_life();
        let disk = self.disk.clone();
        let failed = |why: String| match disk.has_no_power() {
            true => BootError::Disk,
            false => BootError::Other(why),
        };
        let store = Box::new(volume.clone());
        let db = ChainDb::with_store(store, StatePruning::Keep(STATES), STATE_CACHE_BYTES)
            .map_err(|error| failed(error.to_string()))?;
        let storage = community.storage.clone();
        let mut chain = Chain::open(db, executor.clone(), storage, ChainConfig::default())
            .map_err(|error| failed(error.to_string()))?;
        let session = self.member.session();
        let agreement = Validators::holding(session.clone());
        let bug = bug.filter(|_| self.is_honest());
        chain.set_agreement(Careless::wrap(agreement, bug));
        let chain = Arc::new(chain);
        let (log, recovered) = volume
            .open_log(chain.genesis_hash())
            .map_err(|error| failed(error.to_string()))?;
        let found = recovered
            .as_ref()
            .map(|recovered: &Recovered| recovered.height);
        let mut config = EngineConfig::new(community.timing, Some(session));
        config.votes_from = self.votes_from;
        if bug == Some(Bug::Timeliness) {
            config.tolerance = Tolerance {
                delay_ms: u64::MAX / 4,
                ..config.tolerance
            };
        }
        let engine = Engine::start(chain.clone(), Box::new(log), recovered, config);
        let engine = engine.map_err(|error| match error {
            StartError::LogMissing { .. } => BootError::LogMissing,
            StartError::LogClosed => BootError::LogClosed,
            error => failed(error.to_string()),
        })?;
        self.process = Some(Process {
            chain,
            engine,
            wake: 0,
            wake_at_ms: 0,
            passed_on: BTreeSet::new(),
        });
        Ok(found)
    }
}
