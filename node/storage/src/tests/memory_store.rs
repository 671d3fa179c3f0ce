//! A store in memory that fails and crashes on demand.

use std::{collections::BTreeMap, io, sync::Arc};

use parking_lot::Mutex;

use crate::{Batch, Column, Record, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, Store, StoreError};

type Contents = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

/// What goes wrong, counted in operations; a commit is two: write, then sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The operation finds the disk full; those after it would succeed.
    DiskFull {
        operation: u64,
    },
    /// The machine loses power before the operation: what was not synced is gone.
    PowerLoss {
        operation: u64,
    },
    /// The machine loses power during the operation, and what was written happened to reach the disk.
    LatePowerLoss {
        operation: u64,
    },
}

/// The disk: outlives the store.
#[derive(Default)]
pub(crate) struct Disk {
    durable: Contents,
    /// Written and not yet synced.
    written: Option<Contents>,
    operations: u64,
    fault: Option<Fault>,
    has_no_power: bool,
    stopped: bool,
}

/// A store on a [`Disk`].
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<Disk>>);

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Plans a fault, counting operations from now.
    pub(crate) fn plan(&self, fault: Fault) {
        let mut disk = self.0.lock();
        disk.operations = 0;
        disk.fault = Some(fault);
    }

    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Power is back or space is free: a new store on what the disk has.
    pub(crate) fn restart(&self) -> Self {
        let disk = self.0.lock();
        let durable = disk.durable.clone();
        Self(Arc::new(Mutex::new(Disk {
            durable,
            ..Disk::default()
        })))
    }

    pub(crate) fn has_no_power(&self) -> bool {
        self.0.lock().has_no_power
    }
}

impl Disk {
    fn operate(&mut self) -> Result<(), StoreError> {
        let error = |kind: io::ErrorKind| StoreError::io("write the database", kind.into());
        if self.has_no_power {
            return Err(error(io::ErrorKind::BrokenPipe));
        }
        let now = self.operations;
        self.operations += 1;
        match self.fault.unwrap_or(Fault::None) {
            Fault::DiskFull { operation } if operation == now => {
                Err(error(io::ErrorKind::StorageFull))
            }
            Fault::PowerLoss { operation } if operation == now => {
                self.has_no_power = true;
                Err(error(io::ErrorKind::BrokenPipe))
            }
            Fault::LatePowerLoss { operation } if operation == now => {
                self.has_no_power = true;
                if let Some(written) = self.written.take() {
                    self.durable = written;
                }
                Err(error(io::ErrorKind::BrokenPipe))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        self.operate()?;
        let mut contents = self.durable.clone();
        for (column, key, value) in batch.iter() {
            match value {
                Some(value) => contents.insert((column, key.to_vec()), value.to_vec()),
                None => contents.remove(&(column, key.to_vec())),
            };
        }
        self.written = Some(contents);
        self.operate()?;
        self.durable = self.written.take().expect("just written");
        Ok(())
    }
}

impl Store for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().durable.get(&(column, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        column: Column,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Result<Vec<Record>, StoreError> {
        let disk = self.0.lock();
        let mut bytes = 0;
        Ok(disk
            .durable
            .range((column, after.unwrap_or(prefix).to_vec())..)
            .take_while(|((found, key), _)| *found == column && key.starts_with(prefix))
            .filter(|((_, key), _)| after != Some(&key[..]))
            .take_while(|(_, value)| {
                let goes_on = bytes < SCAN_BYTES_MAX;
                bytes += value.len();
                goes_on
            })
            .take(SCAN_RECORDS_MAX)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let mut disk = self.0.lock();
        if disk.stopped {
            return Err(StoreError::Stopped {
                cause: "an earlier write failed".to_owned(),
            });
        }
        let result = disk.write(batch);
        disk.stopped |= result.is_err();
        result
    }
}
