//! sled's own files after a power loss that kept any part of what was not synced.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::helpers::{Seeded, TestChain};
use crate::folder::PROGRESS_FILE;
use crate::{ChainDb, CommitMode, DatabaseKind, DbConfig, StatePruning};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

fn open(path: &Path) -> ChainDb {
    let config = DbConfig {
        kind: DatabaseKind::Sled,
        pruning: StatePruning::Keep(3),
        ..DbConfig::default()
    };
    ChainDb::open(path, config).unwrap()
}

/// Returns every file under `folder`, with its path relative to it.
fn read_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).unwrap().to_owned();
                files.push((relative, fs::read(path).unwrap()));
            }
        }
    }
    files
}

/// Returns the file as it may be on disk when it was `synced` once and then written to until it was `written`:
/// each sector in one state or the other, and the length, too.
fn tear(synced: &[u8], written: &[u8], random: &mut Seeded) -> Vec<u8> {
    let mut torn: Vec<u8> = written
        .chunks(SECTOR)
        .zip(0..)
        .flat_map(|(new, sector)| {
            let old = synced.chunks(SECTOR).nth(sector).unwrap_or_default();
            match random.below(2) {
                0 => new.to_vec(),
                // What was never written reads as zeros.
                _ => (0..new.len())
                    .map(|index| old.get(index).copied().unwrap_or(0))
                    .collect(),
            }
        })
        .collect();
    if random.below(4) == 0 {
        torn.truncate(synced.len());
    }
    torn
}

#[test]
fn power_loss_after_any_sync_loses_no_acknowledged_block() {
    for seed in 300..330 {
        let mut random = Seeded::new(seed);
        let before = tempfile::tempdir().unwrap();
        let mut chain = TestChain::start(open(before.path()));
        for _ in 0..random.below(12) {
            chain.push(&random.changes(), CommitMode::Durable).unwrap();
        }
        let acknowledged = chain.db.durable_number();
        let synced = read_files(before.path());
        // One more commit: between the sync before and its own, any part of it may reach the disk.
        for _ in 0..1 + random.below(3) {
            chain.push(&random.changes(), CommitMode::bulk()).unwrap();
        }
        chain.db.flush().unwrap();
        let written = read_files(before.path());

        let after = tempfile::tempdir().unwrap();
        for (path, bytes) in &written {
            let old = synced
                .iter()
                .find(|(name, _)| name == path)
                .map_or(&[][..], |(_, bytes)| bytes);
            let target = after.path().join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            // The note of how far the chain got is written after the sync, so the tear comes before it.
            let torn = match path.ends_with(PROGRESS_FILE) {
                true => old.to_vec(),
                false => tear(old, bytes, &mut random),
            };
            fs::write(target, torn).unwrap();
        }
        let mut chain = chain.reopened(|| open(after.path()));
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
