//! The disk of a node: records of the database and the write-ahead log, in memory, lost and torn on demand.
//!
//! Everything that asks for a sync is one operation, counted over database and log together; a fault strikes a chosen
//! one. From then on the node has no power, until it starts its next life on what the disk kept.

use std::{collections::BTreeMap, io, ops::Bound, sync::Arc};

use codec::{DecodeAll, Encode};
use commonwatt_consensus::{
    Certificate,
    wal::{self, Log, Recovered, WalEntry, WalError},
};
use commonwatt_primitives::Hash;
use commonwatt_storage::{
    Batch, Column, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, Store, StoreError,
};
use parking_lot::Mutex;

use crate::random::Random;

/// What a disk writes as a whole: what fits into one page is there or is not.
const PAGE_BYTES: usize = 4096;

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the operation happens.
    Before,
    /// Some of what a log's sync writes arrives; a commit of the database happens or does not.
    Torn,
    /// All of it happens, but nobody learns of it.
    After,
}

/// What is wrong with a disk, or with the code on it: planted, for the simulator to find.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The log says it has synced, but has not.
    pub is_log_unsynced: bool,
    /// The database acknowledges what is not on disk: the last commits are lost with the power.
    pub is_database_unsynced: bool,
    /// What the database commits is on disk only when the node has nothing else to do; the log is at once.
    pub is_database_lazy: bool,
    /// The head of the log is damaged whenever the node stops.
    pub damages_log: bool,
    /// The database does not keep the number of each seventh block.
    pub loses_numbers: bool,
    /// The database keeps only one signature of a certificate.
    pub cuts_certificates: bool,
}

/// Commits after which a database that does not sync happens to be on disk.
const UNSYNCED_COMMITS: usize = 5;
/// Which numbers a database loses that loses some.
const LOST_NUMBERS: u32 = 7;

type Key = (usize, Vec<u8>);

#[derive(Default)]
struct Inner {
    columns: [BTreeMap<Vec<u8>, Vec<u8>>; Column::ALL.len()],
    /// What undoes the commits that are not on disk, oldest first; only with a flaw.
    undo: Vec<Vec<(Key, Option<Vec<u8>>)>>,
    /// The log's file, when there is one.
    log: Option<Vec<u8>>,
    /// How many of its bytes are not on disk; only with a flaw.
    unsynced_log: usize,
    /// Counts starts: who holds a handle of an earlier life writes nothing.
    life: u64,
    has_no_power: bool,
    operations: u64,
    fault: Option<(u64, Moment)>,
    flaws: Flaws,
    random: Option<Random>,
}

/// The disk: outlives the node.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

/// What a disk held at some time.
#[derive(Clone)]
pub struct DiskCopy {
    columns: [BTreeMap<Vec<u8>, Vec<u8>>; Column::ALL.len()],
    log: Option<Vec<u8>>,
}

/// What becomes of an operation.
enum Fate {
    Happens,
    Torn(Random),
    HappensUnheard,
}

impl Inner {
    /// Counts an operation; `Err` when nothing of it happens.
    fn operate(&mut self, life: u64) -> Result<Fate, ()> {
        if self.has_no_power || self.life != life {
            return Err(());
        }
        let now = self.operations;
        self.operations = now.saturating_add(1);
        match self.fault {
            Some((at, moment)) if at == now => {
                self.has_no_power = true;
                self.fault = None;
                match moment {
                    Moment::Before => Err(()),
                    Moment::Torn => {
                        let random = self.random.get_or_insert_with(|| Random::new(0));
                        Ok(Fate::Torn(Random::new(random.any())))
                    }
                    Moment::After => Ok(Fate::HappensUnheard),
                }
            }
            _ => Ok(Fate::Happens),
        }
    }

    fn apply(&mut self, batch: &Batch<'_>) {
        let mut undo = Vec::new();
        let flaws = self.flaws;
        let is_kept_back = flaws.is_database_unsynced || flaws.is_database_lazy;
        for (column, key, value) in batch.iter() {
            let place = usize::from(column.id());
            if flaws.loses_numbers && column == Column::Numbers && is_lost_number(key) {
                continue;
            }
            let records = &mut self.columns[place];
            let before = match value {
                Some(value) => {
                    let value = match flaws.cuts_certificates && column == Column::Justifications {
                        true => cut_certificate(value),
                        false => value.to_vec(),
                    };
                    records.insert(key.to_vec(), value)
                }
                None => records.remove(key),
            };
            if is_kept_back {
                undo.push(((place, key.to_vec()), before));
            }
        }
        if is_kept_back {
            self.undo.push(undo);
            if self.undo.len() > UNSYNCED_COMMITS {
                self.undo.clear();
            }
        }
    }

    fn write_back(&mut self) {
        if self.flaws.is_database_lazy {
            self.undo.clear();
        }
    }

    fn lose_power(&mut self) {
        self.has_no_power = true;
        while let Some(undo) = self.undo.pop() {
            for ((place, key), before) in undo.into_iter().rev() {
                match before {
                    Some(value) => self.columns[place].insert(key, value),
                    None => self.columns[place].remove(&key),
                };
            }
        }
        let lost = std::mem::take(&mut self.unsynced_log);
        if let Some(log) = &mut self.log {
            log.truncate(log.len().saturating_sub(lost));
        }
    }

    fn damage_log(&mut self) {
        let log = self.log.as_mut().filter(|_| self.flaws.damages_log);
        if let Some(first) = log.and_then(|log| log.first_mut()) {
            *first = u8::MAX;
        }
    }
}

fn is_lost_number(key: &[u8]) -> bool {
    <[u8; 4]>::try_from(key).is_ok_and(|bytes| {
        let number = u32::from_be_bytes(bytes);
        number > 0 && number % LOST_NUMBERS == 0
    })
}

fn cut_certificate(bytes: &[u8]) -> Vec<u8> {
    match Certificate::decode_all(&mut &bytes[..]) {
        Ok(mut certificate) => {
            certificate.signatures.truncate(1);
            certificate.encode()
        }
        Err(_) => bytes.to_vec(),
    }
}

impl Disk {
    /// Returns an empty disk; `random` says how writes are torn.
    pub fn new(random: Random, flaws: Flaws) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            flaws,
            random: Some(random),
            ..Inner::default()
        })))
    }

    /// Begins the next life of its node, with power.
    pub fn start_life(&self) -> Volume {
        let mut inner = self.0.lock();
        inner.life = inner.life.saturating_add(1);
        inner.has_no_power = false;
        inner.fault = None;
        Volume {
            disk: self.clone(),
            life: inner.life,
        }
    }

    /// Has a fault strike after so many more operations.
    pub fn plan_fault(&self, after: u64, moment: Moment) {
        let mut inner = self.0.lock();
        let at = inner.operations.saturating_add(after);
        inner.fault = Some((at, moment));
    }

    /// Has no fault strike that was planned.
    pub fn forget_fault(&self) {
        self.0.lock().fault = None;
    }

    /// The machine is off from now on. What was written and not synced is lost.
    pub fn lose_power(&self) {
        self.0.lock().lose_power();
    }

    /// The process is killed: what it has written stays.
    pub fn stop(&self) {
        let mut inner = self.0.lock();
        inner.has_no_power = true;
        inner.write_back();
        inner.damage_log();
    }

    /// The node has nothing to do: time for what a lazy disk has kept back.
    pub fn idle(&self) {
        self.0.lock().write_back();
    }

    /// Returns whether a fault has struck, or the power is off.
    pub fn has_no_power(&self) -> bool {
        self.0.lock().has_no_power
    }

    /// Copies everything.
    pub fn copy(&self) -> DiskCopy {
        let inner = self.0.lock();
        DiskCopy {
            columns: inner.columns.clone(),
            log: inner.log.clone(),
        }
    }

    /// Has the disk of a node that is off hold what it held once.
    pub fn bring_back(&self, copy: DiskCopy) {
        let mut inner = self.0.lock();
        inner.columns = copy.columns;
        inner.log = copy.log;
        inner.undo.clear();
        inner.unsynced_log = 0;
    }

    /// Loses the log's file.
    pub fn lose_log(&self) {
        self.0.lock().log = None;
    }
}

/// The disk as one life of its node sees it.
#[derive(Clone)]
pub struct Volume {
    disk: Disk,
    life: u64,
}

impl Volume {
    /// Opens the log, as [`wal::FileLog`] does; returns what it held.
    ///
    /// # Errors
    /// It is damaged.
    pub fn open_log(&self, genesis: Hash) -> Result<(DiskLog, Option<Recovered>), WalError> {
        let mut inner = self.disk.0.lock();
        let mut log = DiskLog {
            volume: self.clone(),
            genesis,
            begun: None,
            pending: Vec::new(),
        };
        let Some(bytes) = &mut inner.log else {
            return Ok((log, None));
        };
        let contents = wal::decode(bytes, &genesis)?;
        bytes.truncate(contents.sound_bytes);
        inner.unsynced_log = 0;
        let entries = u32::try_from(contents.entries.len()).map_err(|_| WalError::TooLong)?;
        log.begun = Some((contents.height, entries));
        let recovered = Recovered {
            height: contents.height,
            entries: contents.entries,
        };
        Ok((log, Some(recovered)))
    }
}

impl Store for Volume {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.disk.0.lock();
        Ok(inner.columns[usize::from(column.id())].get(key).cloned())
    }

    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError> {
        let inner = self.disk.0.lock();
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut bytes = 0usize;
        let records =
            inner.columns[usize::from(column.id())].range::<[u8], _>((start, Bound::Unbounded));
        Ok(records
            .take_while(|(key, _)| key.starts_with(prefix))
            .take_while(|(_, value)| {
                let goes_on = bytes < SCAN_BYTES_MAX;
                bytes = bytes.saturating_add(value.len());
                goes_on
            })
            .take(SCAN_RECORDS_MAX)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let off = || StoreError::Io {
            action: "write the database".to_owned(),
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let mut inner = self.disk.0.lock();
        match inner.operate(self.life) {
            Ok(Fate::Happens) => {
                inner.apply(batch);
                Ok(())
            }
            Ok(Fate::HappensUnheard) => {
                inner.apply(batch);
                Err(off())
            }
            Ok(Fate::Torn(mut random)) => {
                if random.percent(50) {
                    inner.apply(batch);
                }
                Err(off())
            }
            Err(()) => Err(off()),
        }
    }
}

/// The write-ahead log: the real format on the simulated disk.
pub struct DiskLog {
    volume: Volume,
    genesis: Hash,
    /// Height and number of entries on disk.
    begun: Option<(u32, u32)>,
    pending: Vec<WalEntry>,
}

impl Log for DiskLog {
    fn reset(&mut self, height: u32) -> Result<(), WalError> {
        let mut inner = self.volume.disk.0.lock();
        let fate = inner.operate(self.volume.life);
        // The file is replaced by renaming, so it is the old one or the new one.
        let (happens, is_heard) = match fate {
            Ok(Fate::Happens) => (true, true),
            Ok(Fate::HappensUnheard) => (true, false),
            Ok(Fate::Torn(mut random)) => (random.percent(50), false),
            Err(()) => (false, false),
        };
        if happens {
            inner.log = Some(wal::encode_header(&self.genesis, height));
            inner.unsynced_log = 0;
        }
        if !is_heard {
            return Err(WalError::Stopped);
        }
        self.begun = Some((height, 0));
        self.pending.clear();
        Ok(())
    }

    fn append(&mut self, entry: &WalEntry) -> Result<(), WalError> {
        if self.begun.is_none() {
            return Err(WalError::NotBegun);
        }
        self.pending.push(entry.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), WalError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (height, entries) = self.begun.ok_or(WalError::NotBegun)?;
        let pending = std::mem::take(&mut self.pending);
        let batch = wal::encode_batch(&self.genesis, height, entries, &pending)?;
        let count = u32::try_from(pending.len()).map_err(|_| WalError::TooLong)?;
        let mut inner = self.volume.disk.0.lock();
        let fate = inner.operate(self.volume.life);
        let is_unsynced = inner.flaws.is_log_unsynced;
        let Some(log) = inner.log.as_mut() else {
            return Err(WalError::NotBegun);
        };
        match fate {
            Ok(Fate::Happens) => {
                log.extend(&batch);
                if is_unsynced {
                    inner.unsynced_log = inner.unsynced_log.saturating_add(batch.len());
                }
                self.begun = Some((height, entries.saturating_add(count)));
                Ok(())
            }
            Ok(Fate::HappensUnheard) => {
                log.extend(&batch);
                Err(WalError::Stopped)
            }
            Ok(Fate::Torn(mut random)) => {
                let marks = wal::encode_batch(&self.genesis, height, entries, &[])?;
                tear(log, &batch, marks.len(), &mut random);
                Err(WalError::Stopped)
            }
            Err(()) => Err(WalError::Stopped),
        }
    }
}

/// Writes what happens to arrive of a batch. [`wal::FileLog`] brings the entries of a batch that spans pages to disk before
/// its marks, so that some pages may be missing, but no mark stands behind a missing one.
fn tear(log: &mut Vec<u8>, batch: &[u8], marks: usize, random: &mut Random) {
    let begins = log.len();
    if begins % PAGE_BYTES + batch.len() <= PAGE_BYTES {
        if random.percent(50) {
            log.extend(batch);
        }
        return;
    }
    let length = random.index(batch.len());
    log.extend(&batch[..length]);
    if length > batch.len().saturating_sub(marks) {
        // The entries are on disk.
        return;
    }
    let first_page = begins.div_ceil(PAGE_BYTES);
    for page in first_page..log.len() / PAGE_BYTES {
        if random.percent(20) {
            log[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::wal::LoggedTimeout;

    const GENESIS: Hash = Hash::repeat_byte(7);

    fn entry(round: u32) -> WalEntry {
        WalEntry::Timeout {
            round,
            kind: LoggedTimeout::Prevote,
        }
    }

    fn large() -> WalEntry {
        WalEntry::Block(commonwatt_consensus::Block {
            header: vec![1; 9_000],
            body: Default::default(),
        })
    }

    #[test]
    fn a_torn_batch_never_damages_what_was_synced() {
        for seed in 0..200 {
            let disk = Disk::new(Random::new(seed), Flaws::default());
            let (mut log, _) = disk.start_life().open_log(GENESIS).unwrap();
            log.reset(3).unwrap();
            log.append(&entry(0)).unwrap();
            log.sync().unwrap();
            disk.plan_fault(0, Moment::Torn);
            log.append(&large()).unwrap();
            assert!(log.sync().is_err());
            assert!(disk.has_no_power());
            let (_, recovered) = disk.start_life().open_log(GENESIS).unwrap();
            let entries = recovered.unwrap().entries;
            assert_eq!(entries.first(), Some(&entry(0)), "seed {seed}");
            assert!(entries.len() <= 2);
        }
    }

    #[test]
    fn who_holds_an_old_handle_writes_nothing() {
        let disk = Disk::new(Random::new(0), Flaws::default());
        let old = disk.start_life();
        let new = disk.start_life();
        let mut batch = Batch::new();
        batch.put(Column::Meta, &b"a"[..], &b"1"[..]);
        assert!(old.commit(&batch).is_err());
        assert_eq!(new.get(Column::Meta, b"a").unwrap(), None);
        new.commit(&batch).unwrap();
        assert_eq!(old.get(Column::Meta, b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(new.scan(Column::Meta, b"", None).unwrap().len(), 1);
        assert_eq!(new.scan(Column::Meta, b"", Some(b"a")).unwrap().len(), 0);
    }

    #[test]
    fn a_flawed_disk_loses_with_the_power_what_it_acknowledged() {
        let flaws = Flaws {
            is_log_unsynced: true,
            is_database_unsynced: true,
            ..Flaws::default()
        };
        let disk = Disk::new(Random::new(0), flaws);
        let volume = disk.start_life();
        let (mut log, _) = volume.open_log(GENESIS).unwrap();
        log.reset(3).unwrap();
        log.append(&entry(0)).unwrap();
        log.sync().unwrap();
        let mut batch = Batch::new();
        batch.put(Column::Meta, &b"a"[..], &b"1"[..]);
        volume.commit(&batch).unwrap();
        disk.lose_power();
        let volume = disk.start_life();
        assert_eq!(volume.get(Column::Meta, b"a").unwrap(), None);
        let (_, recovered) = volume.open_log(GENESIS).unwrap();
        assert_eq!(recovered.unwrap().entries, []);
    }

    #[test]
    fn a_lazy_disk_loses_only_what_was_committed_since_it_was_idle() {
        let flaws = Flaws {
            is_database_lazy: true,
            ..Flaws::default()
        };
        let disk = Disk::new(Random::new(0), flaws);
        let volume = disk.start_life();
        let commit = |key: &'static [u8]| {
            let mut batch = Batch::new();
            batch.put(Column::Meta, key, &b"1"[..]);
            volume.commit(&batch).unwrap();
        };
        commit(b"a");
        disk.idle();
        commit(b"b");
        disk.lose_power();
        let volume = disk.start_life();
        assert_eq!(volume.get(Column::Meta, b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(volume.get(Column::Meta, b"b").unwrap(), None);
    }
}
