//! Flipped bytes in the files: an error, or the right data, never wrong data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::helpers::{Seeded, TestChain, config, on_both_back_ends, open, read_recording};
use crate::{ChainDb, CommitMode, DatabaseKind, StatePruning};

const PRUNING: StatePruning = StatePruning::Keep(4);

/// What reading a whole database with unknown damage came to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The damage hit nothing that is in use.
    Right,
    /// An error said so.
    Refused,
}

/// The back end's large file.
fn data_file(path: &Path, kind: DatabaseKind) -> PathBuf {
    match kind {
        DatabaseKind::Sled => path.join("sled/db"),
        DatabaseKind::Redb => path.join("redb/chain.redb"),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn read_everything(path: &Path, kind: DatabaseKind, chain: &TestChain) -> Outcome {
    let Ok(db) = ChainDb::open(path, config(kind, PRUNING)) else {
        return Outcome::Refused;
    };
    let mut outcome = Outcome::Right;
    for (number, hash) in (0_u32..).zip(&chain.hashes) {
        match (db.hash_of(number), db.block(hash)) {
            (Ok(found), Ok(Some(block))) => {
                assert_eq!(found, Some(*hash));
                assert_eq!(
                    Some(block),
                    chain.db.block(hash).unwrap(),
                    "wrong data in {number}"
                );
            }
            (Ok(None), _) | (_, Ok(None)) => panic!("block {number} vanished silently"),
            _ => outcome = Outcome::Refused,
        }
    }
    let (best, hash) = db.best();
    let at = usize::try_from(best).unwrap();
    match read_recording(&db, &hash) {
        Ok((model, _)) => assert_eq!(model, chain.models[at], "wrong state"),
        Err(_) => outcome = Outcome::Refused,
    }
    outcome
}

fn a_flipped_byte_never_gives_wrong_data(kind: DatabaseKind) {
    let original = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let mut random = Seeded::new(21);
    let mut chain = TestChain::start(open(original.path(), kind, PRUNING));
    for _ in 0..20 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    let pristine = copies.path().join("pristine");
    // Closed and copied, then opened again as the reference.
    chain = chain.reopened(|| {
        copy(original.path(), &pristine);
        open(original.path(), kind, PRUNING)
    });
    let data = fs::read(data_file(&pristine, kind)).unwrap();
    let used: Vec<usize> = (0..data.len()).filter(|at| data[*at] != 0).collect();
    let mut refused = 0;
    for attempt in 0..60_u64 {
        let folder = copies.path().join(attempt.to_string());
        copy(&pristine, &folder);
        let mut damaged = data.clone();
        let at = used[usize::try_from(random.below(u64::try_from(used.len()).unwrap())).unwrap()];
        damaged[at] ^= 1 << random.below(8);
        fs::write(data_file(&folder, kind), damaged).unwrap();
        if read_everything(&folder, kind, &chain) == Outcome::Refused {
            refused += 1;
        }
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(refused > 0, "no damage was noticed");
}

/// Finds the body of block 2 in the file by its text and damages it behind the back end's own checksums'
/// back, where there are none: in redb, which verifies pages only when it repairs.
#[test]
fn damage_in_a_body_names_column_and_key() {
    let kind = DatabaseKind::Redb;
    let folder = tempfile::tempdir().unwrap();
    let mut chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let mut random = Seeded::new(22);
    for _ in 0..3 {
        chain.push(&random.changes(), CommitMode::Durable).unwrap();
    }
    drop(chain);
    let file = data_file(folder.path(), kind);
    let mut data = fs::read(&file).unwrap();
    let text = b"inherent 2";
    let places: Vec<usize> = (0..data.len() - text.len())
        .filter(|at| data[*at..].starts_with(text))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        data[at] = b'I';
    }
    fs::write(&file, data).unwrap();
    let error = ChainDb::open(folder.path(), config(kind, PRUNING))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("column bodies") && error.contains("0x00000002"),
        "{error}"
    );
    assert!(error.contains("from a copy"), "{error}");
}

on_both_back_ends!(a_flipped_byte_never_gives_wrong_data);
