//! What every store promises, run on each back end.

use std::path::Path;

use super::helpers::{Seeded, on_both_back_ends};
use crate::{
    Batch, Column, DatabaseKind, RedbStore, SCAN_BYTES_MAX, SCAN_RECORDS_MAX, SledStore, Store,
    store::for_each,
};

fn open(path: &Path, kind: DatabaseKind) -> Box<dyn Store> {
    match kind {
        DatabaseKind::Sled => Box::new(SledStore::open(path, 4 << 20).unwrap()),
        DatabaseKind::Redb => Box::new(RedbStore::open(path, 4 << 20).unwrap()),
    }
}

fn on_fresh_store(kind: DatabaseKind, test: impl FnOnce(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(open(folder.path(), kind).as_ref());
}

fn put(store: &dyn Store, column: Column, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(column, key, value);
    store.commit(&batch).unwrap();
}

fn count(store: &dyn Store, column: Column, prefix: &[u8]) -> usize {
    let mut records = 0;
    for_each(store, column, prefix, |_, _| {
        records += 1;
        Ok::<_, crate::StoreError>(())
    })
    .unwrap();
    records
}

fn a_value_is_read_back_and_can_be_replaced_and_removed(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        assert_eq!(store.get(Column::Meta, b"key").unwrap(), None);
        put(store, Column::Meta, b"key", b"first");
        assert_eq!(
            store.get(Column::Meta, b"key").unwrap(),
            Some(b"first".to_vec())
        );
        put(store, Column::Meta, b"key", b"");
        assert_eq!(store.get(Column::Meta, b"key").unwrap(), Some(Vec::new()));
        let mut batch = Batch::new();
        batch.delete(Column::Meta, &b"key"[..]);
        batch.delete(Column::Meta, &b"never there"[..]);
        store.commit(&batch).unwrap();
        assert_eq!(store.get(Column::Meta, b"key").unwrap(), None);
    });
}

fn columns_do_not_mix(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        for column in Column::ALL {
            put(store, column, b"key", column.name().as_bytes());
        }
        for column in Column::ALL {
            let name = column.name().as_bytes().to_vec();
            assert_eq!(store.get(column, b"key").unwrap(), Some(name.clone()));
            assert_eq!(
                store.scan(column, b"", None).unwrap(),
                vec![(b"key".to_vec(), name)]
            );
        }
    });
}

fn the_last_change_of_a_key_in_a_batch_counts(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        let mut batch = Batch::new();
        batch.put(Column::State, &b"a"[..], vec![1; 50_000]);
        batch.delete(Column::State, &b"a"[..]);
        batch.delete(Column::State, &b"b"[..]);
        batch.put(Column::State, &b"b"[..], &b"stays"[..]);
        store.commit(&batch).unwrap();
        let expected = vec![(b"b".to_vec(), b"stays".to_vec())];
        assert_eq!(store.scan(Column::State, b"", None).unwrap(), expected);
    });
}

fn scans_are_ordered_bounded_and_keep_to_the_prefix(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        let total = u32::try_from(SCAN_RECORDS_MAX).unwrap() * 2 + 10;
        let mut batch = Batch::new();
        for number in 0..total {
            let mut key = b"in".to_vec();
            key.extend_from_slice(&number.to_be_bytes());
            batch.put(Column::Deaths, key, number.to_le_bytes().to_vec());
        }
        for key in [&b"im"[..], b"io", b"i"] {
            batch.put(Column::Deaths, key, &b"outside"[..]);
        }
        store.commit(&batch).unwrap();
        assert_eq!(
            store.scan(Column::Deaths, b"in", None).unwrap().len(),
            SCAN_RECORDS_MAX
        );
        let mut seen = Vec::new();
        for_each(store, Column::Deaths, b"in", |key, value| {
            assert_eq!(&key[..2], b"in");
            seen.push(u32::from_le_bytes(value.try_into().unwrap()));
            Ok::<_, crate::StoreError>(())
        })
        .unwrap();
        assert!(seen.into_iter().eq(0..total));
        assert_eq!(
            count(store, Column::Deaths, b""),
            usize::try_from(total).unwrap() + 3
        );
        assert_eq!(
            store.scan(Column::Deaths, b"in", Some(b"io")).unwrap(),
            vec![]
        );
    });
}

fn scans_of_big_values_stop_at_the_byte_bound(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        let mut batch = Batch::new();
        for number in 0..5_u8 {
            batch.put(
                Column::Bodies,
                vec![number],
                vec![number; SCAN_BYTES_MAX / 2],
            );
        }
        store.commit(&batch).unwrap();
        assert_eq!(store.scan(Column::Bodies, b"", None).unwrap().len(), 2);
        assert_eq!(count(store, Column::Bodies, b""), 5);
    });
}

fn values_of_every_size_survive_reopening(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let value = |size: usize| -> Vec<u8> {
        (0..size)
            .map(|at| u8::try_from(at * 31 % 251).unwrap())
            .collect()
    };
    let sizes: [usize; 11] = [
        0, 1, 4_095, 4_096, 4_097, 8_192, 65_535, 65_536, 131_072, 1_000_000, 9_000_000,
    ];
    let store = open(folder.path(), kind);
    let mut batch = Batch::new();
    for size in sizes {
        batch.put(Column::Bodies, size.to_be_bytes().to_vec(), value(size));
    }
    store.commit(&batch).unwrap();
    drop(store);
    let store = open(folder.path(), kind);
    for size in sizes {
        let read = store.get(Column::Bodies, &size.to_be_bytes()).unwrap();
        assert!(read == Some(value(size)), "{size}");
    }
    // Shrinking and removing leaves nothing behind.
    let mut batch = Batch::new();
    for size in sizes {
        if size % 2 == 0 {
            batch.delete(Column::Bodies, size.to_be_bytes().to_vec());
        } else {
            batch.put(Column::Bodies, size.to_be_bytes().to_vec(), &b"small"[..]);
        }
    }
    store.commit(&batch).unwrap();
    assert_eq!(
        count(store.as_ref(), Column::Bodies, b""),
        sizes.iter().filter(|s| *s % 2 == 1).count()
    );
}

fn long_keys_that_extend_each_other_keep_their_values(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        let mut batch = Batch::new();
        // Such keys would collide if the chunks of a long value were told apart carelessly.
        let keys = [
            &b"k"[..],
            b"k\0\0\0\0",
            b"k\0\0\0\x01",
            b"k\0\0\0\0\0\0\0\0",
        ];
        for (at, key) in (1_u8..).zip(keys) {
            batch.put(Column::State, key, vec![at; 20_000]);
        }
        store.commit(&batch).unwrap();
        for (at, key) in (1_u8..).zip(keys) {
            assert!(
                store.get(Column::State, key).unwrap() == Some(vec![at; 20_000]),
                "{at}"
            );
        }
        assert_eq!(count(store, Column::State, b""), 4);
    });
}

fn random_batches_agree_with_a_map(kind: DatabaseKind) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path(), kind);
    let mut model = std::collections::BTreeMap::new();
    let mut random = Seeded::new(1);
    for round in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..random.below(60) {
            let column = Column::ALL[usize::try_from(random.below(8)).unwrap()];
            let key = random.below(40).to_be_bytes().to_vec();
            if random.below(3) == 0 {
                model.remove(&(column, key.clone()));
                batch.delete(column, key);
            } else {
                let size = if random.below(20) == 0 {
                    30_000
                } else {
                    random.below(200)
                };
                let byte = u8::try_from(random.below(256)).unwrap();
                let value = vec![byte; usize::try_from(size).unwrap()];
                model.insert((column, key.clone()), value.clone());
                batch.put(column, key, value);
            }
        }
        store.commit(&batch).unwrap();
        if round % 10 == 9 {
            drop(store);
            store = open(folder.path(), kind);
        }
        let mut read = std::collections::BTreeMap::new();
        for column in Column::ALL {
            for_each(store.as_ref(), column, b"", |key, value| {
                read.insert((column, key), value);
                Ok::<_, crate::StoreError>(())
            })
            .unwrap();
        }
        assert!(read == model, "round {round}");
    }
}

fn readers_see_all_of_a_batch_or_nothing(kind: DatabaseKind) {
    on_fresh_store(kind, |store| {
        let write = |round: u32| {
            let mut batch = Batch::new();
            for key in 0..40_u8 {
                batch.put(Column::State, vec![key], round.to_le_bytes().to_vec());
            }
            store.commit(&batch).unwrap();
        };
        write(0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut newest = 0;
                while newest < 100 {
                    let records = store.scan(Column::State, b"", None).unwrap();
                    assert_eq!(records.len(), 40);
                    // One key after the other: the later read is never older than the earlier.
                    let first = store.get(Column::State, &[39]).unwrap().unwrap();
                    let second = store.get(Column::State, &[0]).unwrap().unwrap();
                    let first = u32::from_le_bytes(first.try_into().unwrap());
                    let second = u32::from_le_bytes(second.try_into().unwrap());
                    assert!(second >= first, "{second} after {first}");
                    newest = second;
                }
            });
            for round in 1..=100 {
                write(round);
            }
            reader.join().unwrap();
        });
    });
}

on_both_back_ends!(
    a_value_is_read_back_and_can_be_replaced_and_removed,
    columns_do_not_mix,
    the_last_change_of_a_key_in_a_batch_counts,
    scans_are_ordered_bounded_and_keep_to_the_prefix,
    scans_of_big_values_stop_at_the_byte_bound,
    values_of_every_size_survive_reopening,
    long_keys_that_extend_each_other_keep_their_values,
    random_batches_agree_with_a_map,
    readers_see_all_of_a_batch_or_nothing,
);

#[test]
fn long_values_never_become_sled_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path(), 4 << 20).unwrap();
    for round in 0..20_u8 {
        let mut batch = Batch::new();
        batch.put(Column::Bodies, vec![round], vec![round; 3_000_000]);
        store.commit(&batch).unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path().join("blobs"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn replaced_long_values_leave_no_chunks_in_sled() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(folder.path(), 4 << 20).unwrap();
    put(&store, Column::Justifications, b"key", &[1; 100_000]);
    put(&store, Column::Justifications, b"key", &[2; 10_000]);
    assert_eq!(
        store.get(Column::Justifications, b"key").unwrap(),
        Some(vec![2; 10_000])
    );
    assert_eq!(store.count_chunks_on_disk(), 3);
    put(&store, Column::Justifications, b"key", &[3; 10]);
    assert_eq!(store.count_chunks_on_disk(), 0);
}
