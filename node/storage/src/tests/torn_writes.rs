//! redb on a file that loses any part of what was not synced.

use std::{io, sync::Arc};

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use super::helpers::{Seeded, TestChain};
use crate::{ChainDb, CommitMode, RedbStore, StatePruning};

#[derive(Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    visible: Vec<u8>,
    unsynced: Vec<Write>,
    operations_left: Option<u64>,
}

/// A file in memory that knows what was synced.
#[derive(Clone, Debug, Default)]
struct LossyFile(Arc<Mutex<File>>);

impl Write {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Bytes(offset, bytes) => {
                let end = offset + bytes.len();
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[*offset..end].copy_from_slice(bytes);
            }
            Self::Length(length) => data.resize(*length, 0),
        }
    }
}

impl File {
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change(&mut self, write: Write) -> io::Result<()> {
        self.operate()?;
        write.apply(&mut self.visible);
        self.unsynced.push(write);
        Ok(())
    }
}

impl LossyFile {
    fn lose_power_after(&self, operations: u64) {
        self.0.lock().operations_left = Some(operations);
    }

    /// What is on disk after the power loss: everything synced, and each later write or not.
    fn restart(&self, random: &mut Seeded) -> Self {
        let file = self.0.lock();
        let mut data = file.durable.clone();
        for write in file.unsynced.iter().filter(|_| random.below(2) == 0) {
            write.apply(&mut data);
        }
        let file = File {
            durable: data.clone(),
            visible: data,
            ..File::default()
        };
        Self(Arc::new(Mutex::new(file)))
    }
}

impl StorageBackend for LossyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.lock().visible.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = self.0.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = file
            .visible
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0
            .lock()
            .change(Write::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut file = self.0.lock();
        file.operate()?;
        file.durable = file.visible.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().change(Write::Bytes(
            usize::try_from(offset).unwrap(),
            data.to_vec(),
        ))
    }
}

fn open(file: &LossyFile) -> ChainDb {
    let database = Database::builder()
        .create_with_backend(file.clone())
        .unwrap();
    let store = RedbStore::with_database(database).unwrap();
    ChainDb::with_store(Box::new(store), StatePruning::Keep(3), 1 << 20).unwrap()
}

#[test]
fn power_loss_between_any_two_writes_loses_no_acknowledged_block() {
    for seed in 200..240 {
        let mut random = Seeded::new(seed);
        let file = LossyFile::default();
        let mut chain = TestChain::start(open(&file));
        file.lose_power_after(random.below(400));
        let mut acknowledged = 0;
        for _ in 0..30 {
            let mode = match random.below(2) {
                0 => CommitMode::Durable,
                _ => CommitMode::Bulk {
                    max_blocks: 4,
                    max_bytes: usize::MAX,
                },
            };
            if chain.push(&random.changes(), mode).is_err() {
                break;
            }
            acknowledged = chain.db.durable_number();
        }
        let after = file.restart(&mut random);
        let mut chain = chain.reopened(|| open(&after));
        assert!(
            chain.db.best().0 >= acknowledged,
            "seed {seed} lost {acknowledged}"
        );
        chain.verify();
        chain.db.check_integrity().unwrap();
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
        chain.verify();
    }
}
