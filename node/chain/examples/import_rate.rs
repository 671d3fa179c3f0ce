//! How fast blocks of single signed readings are imported, against how fast their signatures alone can be
//! verified on the same cores, in the same run.
//!
//! `cargo run --release -p commonwatt-chain --example import_rate -- [DEVICES] [BLOCKS] [sled|redb] [single|batch] [durable|bulk]`
//!
//! One chain makes the blocks; another, empty one imports them: parent, author, seal, certificate, every
//! signature, every call, state root, disk. `single` is one transaction for each reading; `batch` has each device
//! report four readings in one transaction, counted as four. `durable` has each block on disk before the next
//! begins, as a node has that follows the chain; `bulk` is how history is synchronised and files are imported:
//! blocks go to disk in groups, all of them before the time is taken.
//!
//! The times of the cores are Linux's count of what the process used, which other processes disturb less than the
//! clock.

mod support;

use std::{env, fs, time::Instant};

use commonwatt_chain::Chain;
use commonwatt_primitives::{AccountId, Quality, Step, Wh};
use commonwatt_runtime::{
    RuntimeCall,
    example::genesis,
    genesis::{CommunityGenesis, GenesisMeter},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{CommitMode, DatabaseKind, StoredBlock};
use mimalloc::MiMalloc;
use pallet_energy_token::{Call, Measurement, Report};
use rayon::prelude::*;
use sp_core::{Pair, ed25519};
use sp_runtime::{MultiSignature, traits::Verify};

use support::{make_block, numbered_pair, open, thread_s};

/// As in the node.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Readings in a transaction of the `batch` run: one on time, three corrections of the steps before.
const READINGS_IN_BATCH: u64 = 4;

fn main() {
    // As in the node, whose log leaves FRAME's spans round every access to the state out.
    tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::default())
        .expect("the first and only one");
    let argument = |position: usize| env::args().nth(position);
    let device_count: u32 =
        argument(1).map_or(10_000, |text| text.parse().expect("a number of devices"));
    let block_count: u32 = argument(2).map_or(10, |text| text.parse().expect("a number of blocks"));
    let kind: DatabaseKind = argument(3)
        .map_or(Ok(DatabaseKind::Sled), |text| text.parse())
        .unwrap_or_else(|error| panic!("{error}"));
    let in_batches = argument(4).is_some_and(|text| text == "batch");
    let mode = if argument(5).is_some_and(|text| text == "bulk") {
        CommitMode::bulk()
    } else {
        CommitMode::Durable
    };

    let devices: Vec<_> = (0..device_count)
        .into_par_iter()
        .map(numbered_pair)
        .collect();
    let genesis = community(&devices);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let maker = open(&folder.path().join("maker"), kind, &genesis);
    let importer = open(&folder.path().join("importer"), kind, &genesis);

    let blocks = make_blocks(&maker, &genesis, &devices, block_count, in_batches);
    drop(maker);
    let readings = u64::from(device_count)
        * u64::from(block_count)
        * if in_batches { READINGS_IN_BATCH } else { 1 };

    let (began, thread_before, process_before) = (Instant::now(), thread_s(), process_s());
    let imported = importer
        .import_all(blocks, mode)
        .expect("the blocks are good");
    importer.db().flush().expect("the disk is good");
    assert_eq!(imported, block_count, "every block was imported");
    let import_s = began.elapsed().as_secs_f64();
    let (thread_s, process_s) = (thread_s() - thread_before, process_s() - process_before);
    let signatures = u64::from(device_count) * u64::from(block_count);
    let verify_s = verify_alone(&devices, signatures);

    let rate = |seconds: f64, count: u64| count as f64 / seconds;
    let (imported, limit) = (rate(import_s, signatures), rate(verify_s, signatures));
    println!("{block_count} blocks of {device_count} transactions on {kind}, {mode:?}");
    println!(
        "  import          {import_s:8.2} s  {imported:9.0} transactions/s  {:9.0} readings/s",
        rate(import_s, readings)
    );
    let each = |seconds: f64| 1e6 * seconds / readings as f64;
    println!(
        "  cores           {process_s:8.2} s  {:9.0} us/reading; the executing thread {:.0} us/reading",
        each(process_s),
        each(thread_s)
    );
    println!(
        "  ed25519 alone   {verify_s:8.2} s  {limit:9.0} signatures/s on {} threads",
        rayon::current_num_threads()
    );
    println!("  import / limit  {:.0} %", 100.0 * imported / limit);
}

/// Seconds all threads have run, those that ended among them; zero where the system does not say.
fn process_s() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: user and system time are the 12th and 13th word, in hundredths.
    let words = text.rsplit(')').next().unwrap_or_default();
    let ticks = words.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|word| word.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn community(devices: &[ed25519::Pair]) -> CommunityGenesis {
    let mut genesis = genesis();
    let template = genesis.meters[0].info.clone();
    genesis.meters = devices
        .iter()
        .map(|pair| GenesisMeter {
            info: template.clone(),
            device: Some(AccountId::new(pair.public().0)),
        })
        .collect();
    genesis
}

fn make_blocks(
    chain: &Chain,
    genesis: &CommunityGenesis,
    devices: &[ed25519::Pair],
    count: u32,
    in_batches: bool,
) -> Vec<StoredBlock> {
    let context = SigningContext::immortal(chain.genesis_hash());
    (1..=count)
        .map(|number| {
            let transactions: Vec<_> = devices
                .par_iter()
                .map(|pair| {
                    let call = if in_batches {
                        batch(number)
                    } else {
                        report(number)
                    };
                    sign_ed25519(call, number - 1, &context, pair)
                })
                .collect();
            make_block(chain, genesis, transactions)
        })
        .collect()
}

fn interval(step: u32, version: u32) -> Report {
    let reading = Measurement::Interval {
        energy: Wh(u64::from(step) + u64::from(version)),
        version,
        quality: Quality::Measured,
    };
    Report {
        step: Step(step),
        reading,
    }
}

fn report(number: u32) -> RuntimeCall {
    Call::report {
        sequence: u64::from(number),
        report: interval(number, 1),
    }
    .into()
}

fn batch(number: u32) -> RuntimeCall {
    let reports: Vec<_> = (0..READINGS_IN_BATCH)
        .zip(0u32..)
        .filter_map(|(_, back)| {
            let step = number.checked_sub(back).filter(|step| *step > 0)?;
            let sequence = u64::from(number) * READINGS_IN_BATCH + u64::from(back);
            Some((sequence, interval(step, back + 1)))
        })
        .collect();
    Call::report_batch {
        reports: reports.try_into().expect("four fit"),
    }
    .into()
}

/// Verifies as many signatures as were imported, one by one, on all cores.
fn verify_alone(devices: &[ed25519::Pair], count: u64) -> f64 {
    let message = [7u8; 130];
    let signed: Vec<(MultiSignature, AccountId)> = devices
        .par_iter()
        .map(|pair| (pair.sign(&message).into(), AccountId::new(pair.public().0)))
        .collect();
    let rounds = count / signed.len() as u64;
    let began = Instant::now();
    for _ in 0..rounds {
        let all = signed
            .par_iter()
            .all(|(signature, who)| signature.verify(&message[..], who));
        assert!(all, "every signature is good");
    }
    began.elapsed().as_secs_f64()
}
