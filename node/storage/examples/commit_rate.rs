//! Measures how many blocks a second the storage takes, on both back ends and in both modes.
//!
//! ```text
//! cargo run --release -p commonwatt-storage --example commit_rate -- [blocks] [folder] [which] [group MiB]
//! ```
//!
//! `which` selects the runs whose name contains it, such as `sled` or `redb bulk`: the peak of memory is
//! that of the process, so it is exact for the first run only.
//!
//! Every block changes 400 keys of a state that grows: 57 meters overwrite their current values and each
//! also gets a few new entries, as readings and lots do, while those that fell out of a retention of 300
//! blocks are removed. The body is 57 signed readings of 200 bytes. Two times are given per block: `trie` is
//! what computing the state root takes (the execution's work, not the storage's, but it reads through it), `store`
//! is what `commit_block` takes, waiting for the disk included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use commonwatt_storage::{
    ChainDb, CommitMode, DatabaseKind, DbConfig, Header, NewBlock, StatePruning, StoredBlock,
};
use sp_core::H256;
use sp_runtime::{
    Digest, StateVersion,
    traits::{BlakeTwo256, Hash as _, Header as _},
};
use sp_state_machine::backend::Backend;
use sp_trie::{LayoutV1, empty_trie_root};

type Failure = Box<dyn std::error::Error>;

const METERS: u32 = 57;
const NEW_KEYS_PER_METER: u32 = 3;
const RETENTION_BLOCKS: u32 = 300;
const READING_BYTES: usize = 200;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let blocks = arguments
        .next()
        .map_or(Ok(2_000), |text| text.parse::<u32>())?;
    let folder = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("commit-rate-{}", std::process::id())),
        PathBuf::from,
    );
    let which = arguments.next().unwrap_or_default();
    let bulk = match arguments.next() {
        Some(mib) => CommitMode::Bulk {
            max_blocks: 256,
            max_bytes: mib.parse::<usize>()? << 20,
        },
        None => CommitMode::bulk(),
    };
    println!("{blocks} blocks; window of 256 states; times in ms per block");
    for kind in DatabaseKind::ALL {
        for (name, mode, blocks) in [
            ("bulk", bulk, blocks),
            ("durable", CommitMode::Durable, blocks.div_ceil(10)),
        ] {
            if !format!("{kind} {name}").contains(&which) {
                continue;
            }
            measure(&folder, kind, name, mode, blocks)?;
        }
    }
    Ok(())
}

fn measure(
    folder: &Path,
    kind: DatabaseKind,
    name: &str,
    mode: CommitMode,
    blocks: u32,
) -> Result<(), Failure> {
    let path = folder.join(format!("{kind}-{name}"));
    std::fs::create_dir_all(&path)?;
    let pruning = StatePruning::Keep(256);
    let db = ChainDb::open(
        &path,
        DbConfig {
            kind,
            pruning,
            ..DbConfig::default()
        },
    )?;
    let root = empty_trie_root::<LayoutV1<BlakeTwo256>>();
    let header = Header::new(0, H256::zero(), root, H256::zero(), Digest::default());
    db.initialize(header, Default::default())?;

    let start = Instant::now();
    let (mut trie, mut store) = (Duration::ZERO, Duration::ZERO);
    let mut slowest = Duration::ZERO;
    for _ in 0..blocks {
        let at = Instant::now();
        let block = build(&db)?;
        trie += at.elapsed();
        let at = Instant::now();
        db.commit_block(block, mode)?;
        slowest = slowest.max(at.elapsed());
        store += at.elapsed();
    }
    let at = Instant::now();
    db.flush()?;
    store += at.elapsed();
    let total = start.elapsed();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(blocks);
    println!(
        "{kind:5} {name:8} {:7.0} blocks/s  trie {:6.2}  store {:6.2}  slowest {:5} ms  {:5} MiB on disk, \
         peak memory {} MiB",
        f64::from(blocks) / total.as_secs_f64(),
        milliseconds(trie),
        milliseconds(store),
        slowest.as_millis(),
        db.disk_usage()? >> 20,
        peak_memory_mib(),
    );
    db.close()?;
    let at = Instant::now();
    let db = ChainDb::open(
        &path,
        DbConfig {
            kind,
            pruning,
            ..DbConfig::default()
        },
    )?;
    println!(
        "{kind:5} {name:8} opens in {} ms at block {}",
        at.elapsed().as_millis(),
        db.best().0
    );
    drop(db);
    std::fs::remove_dir_all(path)?;
    Ok(())
}

fn build(db: &ChainDb) -> Result<NewBlock, Failure> {
    let (best, parent) = db.best();
    let number = best + 1;
    let mut changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
    for meter in 0..METERS {
        changes.insert(key("current", meter, 0), Some(value(meter, number)));
        for entry in 0..NEW_KEYS_PER_METER {
            let item = meter * NEW_KEYS_PER_METER + entry;
            changes.insert(key("detail", item, number), Some(value(item, number)));
            if let Some(old) = number.checked_sub(RETENTION_BLOCKS) {
                changes.insert(key("detail", item, old), None);
            }
        }
    }
    let body: Vec<Vec<u8>> = (0..METERS)
        .map(|meter| {
            value(meter, number)
                .into_iter()
                .cycle()
                .take(READING_BYTES)
                .collect()
        })
        .collect();
    let state = db.working_state_at(&parent)?;
    let delta = changes
        .iter()
        .map(|(key, value)| (&key[..], value.as_deref()));
    let (root, state_changes) = state.storage_root(delta, StateVersion::V1);
    let header = Header::new(number, H256::zero(), root, parent, Digest::default());
    Ok(NewBlock {
        hash: header.hash(),
        extrinsic_hashes: body
            .iter()
            .map(|extrinsic| BlakeTwo256::hash(extrinsic))
            .collect(),
        block: StoredBlock {
            header,
            body,
            justification: Some(vec![0; 300]),
        },
        state_changes,
        values: changes.into_iter().collect(),
    })
}

/// A key as a storage map makes it: the map's prefix, then a hash.
fn key(map: &str, item: u32, number: u32) -> Vec<u8> {
    let mut key = BlakeTwo256::hash(map.as_bytes()).as_bytes().to_vec();
    let mut seed = item.to_le_bytes().to_vec();
    seed.extend_from_slice(&number.to_le_bytes());
    key.extend_from_slice(&BlakeTwo256::hash(&seed).as_bytes()[..16]);
    key.extend_from_slice(&seed);
    key
}

fn value(item: u32, number: u32) -> Vec<u8> {
    let mut seed = item.to_le_bytes().to_vec();
    seed.extend_from_slice(&number.to_le_bytes());
    let hash = BlakeTwo256::hash(&seed);
    hash.as_bytes()
        .iter()
        .chain(hash.as_bytes())
        .copied()
        .collect()
}

/// The most memory that the process ever had, all runs so far together.
fn peak_memory_mib() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find(|line| line.starts_with("VmHWM:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        / 1024
}
