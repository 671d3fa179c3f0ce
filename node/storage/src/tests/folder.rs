//! What the folder of a database refuses, and how it says so.

use std::fs;

use super::helpers::{TestChain, config, on_both_back_ends, open};
use crate::{ChainDb, DatabaseKind, OpenError, StatePruning};

const PRUNING: StatePruning = StatePruning::Keep(4);

fn a_second_opening_is_refused_until_the_first_is_closed(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let chain = TestChain::start(open(folder.path(), kind, PRUNING));
    let error = ChainDb::open(folder.path(), config(kind, PRUNING)).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    let state = chain.db.state_at(&chain.hashes[0]).unwrap();
    chain.db.close().unwrap();
    // A state that is still in use keeps the database open.
    assert!(ChainDb::open(folder.path(), config(kind, PRUNING)).is_err());
    drop(state);
    drop(open(folder.path(), kind, PRUNING));
}

fn a_database_of_the_other_back_end_is_named(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), kind, PRUNING));
    let asked = DatabaseKind::ALL
        .into_iter()
        .find(|other| *other != kind)
        .unwrap();
    let error = ChainDb::open(folder.path(), config(asked, PRUNING)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&format!("made with {kind}, not with {asked}")),
        "{text}"
    );
    assert!(text.contains(&format!("--database {kind}")), "{text}");
}

fn another_format_is_refused(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), kind, PRUNING));
    let marker = folder.path().join("database.txt");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(&marker, text.replace("format = 1", "format = 2")).unwrap();
    let error = ChainDb::open(folder.path(), config(kind, PRUNING)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::OtherVersion {
                found: 2,
                expected: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(&marker, "something else").unwrap();
    let error = ChainDb::open(folder.path(), config(kind, PRUNING)).unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
}

on_both_back_ends!(
    a_second_opening_is_refused_until_the_first_is_closed,
    a_database_of_the_other_back_end_is_named,
    another_format_is_refused,
);

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("holiday.jpg"), [0]).unwrap();
    let error = ChainDb::open(folder.path(), config(DatabaseKind::Sled, PRUNING)).unwrap_err();
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, [0]).unwrap();
    let error = ChainDb::open(&file.join("db"), config(DatabaseKind::Redb, PRUNING)).unwrap_err();
    assert!(error.to_string().contains("file/db"), "{error}");
}

#[test]
fn names_of_back_ends_and_prunings_parse() {
    assert_eq!("sled".parse(), Ok(DatabaseKind::Sled));
    assert_eq!("redb".parse(), Ok(DatabaseKind::Redb));
    assert!("rocksdb".parse::<DatabaseKind>().is_err());
    assert_eq!("archive".parse(), Ok(StatePruning::Archive));
    assert_eq!("256".parse(), Ok(StatePruning::Keep(256)));
    for wrong in ["0", "-1", "all", ""] {
        assert!(wrong.parse::<StatePruning>().is_err(), "{wrong}");
    }
}
