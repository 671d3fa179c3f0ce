//! What was verified, on disk.

use super::*;
use crate::{Ledger, LedgerError};
use commonwatt_storage::{Batch, Column, RedbStore, Store};
use tempfile::TempDir;

pub(super) fn store(folder: &TempDir) -> Box<dyn Store> {
    Box::new(RedbStore::open(folder.path(), 1 << 20).unwrap())
}

fn append(ledger: &mut Ledger, village: &mut Village, to: u32) -> Vec<LightBlock> {
    let mut hashes = Vec::new();
    let mut blocks = Vec::new();
    for _ in village.next_number()..=to {
        blocks.push(village.make(None));
        hashes.push(village.tip.hash);
    }
    let kept: Vec<_> = hashes.into_iter().zip(blocks.clone()).collect();
    ledger.append(&kept, village.tip.clone()).unwrap();
    blocks
}

#[test]
fn a_ledger_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut village = Village::four();
    let mut ledger = Ledger::open(store(&folder), village.genesis.clone()).unwrap();
    assert_eq!(ledger.tip(), &village.tip);
    let blocks = append(&mut ledger, &mut village, 3);
    drop(ledger);
    let ledger = Ledger::open(store(&folder), village.genesis.clone()).unwrap();
    assert_eq!(ledger.tip(), &village.tip);
    for (number, block) in (1..).zip(&blocks) {
        assert_eq!(ledger.block(number).unwrap().as_ref(), Some(block));
    }
    assert_eq!(ledger.block(0).unwrap(), None);
    assert_eq!(ledger.block(4).unwrap(), None);
    let genesis = ledger.hash_of(0).unwrap().unwrap();
    assert_eq!(genesis, village.genesis.hash());
    assert!(ledger.header_bytes(&genesis).unwrap().is_some());
}

#[test]
fn who_validated_is_proven_from_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut village = Village::four();
    let mut ledger = Ledger::open(store(&folder), village.genesis.clone()).unwrap();
    append(&mut ledger, &mut village, EPOCH_LENGTH - 2);
    let newcomers = people(3..=7);
    let last = village.make(Some(newcomers.clone()));
    ledger
        .append(&[(village.tip.hash, last)], village.tip.clone())
        .unwrap();
    let former = validators(&people(1..=4));
    assert_eq!(ledger.validators_of(1).unwrap(), former);
    assert_eq!(ledger.validators_of(EPOCH_LENGTH - 1).unwrap(), former);
    let next = ledger.validators_of(EPOCH_LENGTH).unwrap();
    assert_eq!(next, validators(&newcomers));
    assert!(ledger.validators_of(2 * EPOCH_LENGTH).is_err());
}

#[test]
fn another_chain_and_damage_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut village = Village::four();
    let mut ledger = Ledger::open(store(&folder), village.genesis.clone()).unwrap();
    append(&mut ledger, &mut village, 2);
    drop(ledger);
    let mut other = Village::four();
    other.genesis.tip.hash = Hash::repeat_byte(0xdd);
    let refused = Ledger::open(store(&folder), other.genesis).unwrap_err();
    assert!(matches!(refused, LedgerError::OtherChain { .. }));

    let damage = |change: &dyn Fn(&mut Batch<'_>)| {
        let mut batch = Batch::new();
        change(&mut batch);
        store(&folder).commit(&batch).unwrap();
        Ledger::open(store(&folder), village.genesis.clone()).unwrap_err()
    };
    let error = damage(&|batch| batch.delete(Column::Numbers, 2u32.to_be_bytes().to_vec()));
    assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
    let error = damage(&|batch| batch.put(Column::Meta, &b"light/tip"[..], vec![1]));
    assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
    let error = damage(&|batch| batch.put(Column::Meta, &b"light/format"[..], 7u32.encode()));
    assert!(matches!(error, LedgerError::UnknownFormat(7)), "{error}");
}
