//! How long a node takes to import the block that settles a step: members with some orders each.
//!
//! `cargo run --release -p commonwatt-chain --example settlement_block -- [MEMBERS] [ORDERS_EACH] [sled|redb] [MECHANISM]`
//!
//! One chain makes the blocks: each but the last carries an order of every member for the last one's step, which
//! carries a reading and settles. Another, empty chain imports them, and the last one's import is timed: checks,
//! distribution, settlement, loyalty, outer grid, events, state root, and the disk. Beside it stands the same block of a
//! chain without orders, so that the difference is what the market costs. Times are of the clock, and in brackets of
//! the thread that executes.

mod support;

use std::{env, fs, time::Instant};

use commonwatt_chain::Chain;
use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{AccountId, Quality, Step, Wh};
use commonwatt_runtime::{
    RuntimeCall,
    example::{genesis, pair, shared_alike},
    genesis::CommunityGenesis,
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{CommitMode, DatabaseKind, StoredBlock};
use mimalloc::MiMalloc;
use pallet_double_auction::{Cap, OrderTerms, When};
use pallet_energy_token::{Measurement, Report};
use rayon::prelude::*;
use sp_core::{Pair, ed25519};

use support::{make_block, numbered_pair, open, thread_s};

/// As in the node.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What each member is allocated in the step, in Wh.
const ENERGY_EACH_WH: u64 = 1_000;

/// What is asked for.
#[derive(Clone, Copy)]
struct Plan {
    members: u32,
    orders_each: u32,
    kind: DatabaseKind,
    mechanism: Mechanism,
}

fn main() {
    // As in the node, whose log leaves FRAME's spans round every access to the state out.
    tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::default())
        .expect("the first and only one");
    let argument = |position: usize| env::args().nth(position);
    let number = |position: usize, usual: u32| {
        argument(position).map_or(usual, |text| text.parse().expect("a number"))
    };
    let plan = Plan {
        members: number(1, 10_000),
        orders_each: number(2, 10),
        kind: argument(3)
            .map_or(Ok(DatabaseKind::Redb), |text| text.parse())
            .unwrap_or_else(|error| panic!("{error}")),
        mechanism: argument(4).map_or(Mechanism::Average, |text| {
            text.parse().expect("a mechanism")
        }),
    };
    let members: Vec<_> = (0..plan.members)
        .into_par_iter()
        .map(numbered_pair)
        .collect();
    for with_orders in [false, true] {
        let (wall_s, thread_s, trades) = settle(&plan, &members, with_orders);
        let orders = if with_orders { plan.orders_each } else { 0 };
        println!(
            "{} members with {orders} orders each, {}, {}: {trades} trades, block imported in {:.0} ms ({:.0} ms), peak \
             memory {} MiB",
            plan.members,
            plan.mechanism,
            plan.kind,
            1e3 * wall_s,
            1e3 * thread_s,
            peak_mib()
        );
    }
}

/// Returns how long the last block's import took by the clock and on its thread, and how many trades it made.
fn settle(plan: &Plan, members: &[ed25519::Pair], with_orders: bool) -> (f64, f64, u32) {
    let genesis = community(plan, members);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let maker = open(&folder.path().join("maker"), plan.kind, &genesis);
    let importer = open(&folder.path().join("importer"), plan.kind, &genesis);
    let mut blocks = make_blocks(&maker, &genesis, plan, members, with_orders);
    let last = blocks.pop().expect("there is one block at least");
    drop(maker);
    importer
        .import_all(blocks, CommitMode::bulk())
        .expect("the blocks are good");
    importer.db().flush().expect("the disk is good");
    let (began, thread_before) = (Instant::now(), thread_s());
    importer
        .import_all(vec![last], CommitMode::Durable)
        .expect("the block is good");
    let (wall, thread) = (began.elapsed().as_secs_f64(), thread_s() - thread_before);
    (wall, thread, count_trades(&importer, plan))
}

fn count_trades(chain: &Chain, plan: &Plan) -> u32 {
    let (_, best) = chain.best();
    let state = chain.state(Some(best)).expect("the state is there");
    let step = Step(plan.orders_each + 1);
    let history: Vec<pallet_double_auction::HistoryEntry> = chain
        .executor()
        .call(&state, "MarketApi_history", (step, 1u32))
        .expect("the runtime answers");
    history
        .into_iter()
        .filter_map(|entry| match entry.outcome {
            pallet_double_auction::StepOutcome::Cleared(record) => Some(record.trades),
            pallet_double_auction::StepOutcome::Void(_) => None,
        })
        .sum()
}

fn community(plan: &Plan, members: &[ed25519::Pair]) -> CommunityGenesis {
    let mut genesis = genesis();
    let people: Vec<_> = members
        .iter()
        .map(|pair| AccountId::new(pair.public().0))
        .collect();
    genesis.agreement = Some(shared_alike(&people));
    genesis.members.extend(people.iter().cloned());
    genesis
        .coins
        .extend(people.into_iter().map(|who| (who, 1_000_000)));
    genesis.meters[0].info.capacity_w = 1_000_000_000;
    genesis.market.mechanism = plan.mechanism;
    genesis
}

fn make_blocks(
    chain: &Chain,
    genesis: &CommunityGenesis,
    plan: &Plan,
    members: &[ed25519::Pair],
    with_orders: bool,
) -> Vec<StoredBlock> {
    let context = SigningContext::immortal(chain.genesis_hash());
    let last = plan.orders_each + 1;
    let orders = (0..plan.orders_each).map(|place| -> Vec<Vec<u8>> {
        if !with_orders {
            return Vec::new();
        }
        let sign = |(number, pair): (u32, &ed25519::Pair)| {
            sign_ed25519(order(number, place, Step(last)), place, &context, pair)
        };
        let numbered: Vec<_> = (0u32..).zip(members).collect();
        numbered.into_par_iter().map(sign).collect()
    });
    let reading = sign_ed25519(reading(plan, Step(last)), 0, &context, &pair("A"));
    orders
        .chain([vec![reading]])
        .map(|transactions| make_block(chain, genesis, transactions))
        .collect()
}

/// Returns an order with a limit of 1 to 40; buyers' are somewhat higher, and no member has two at one limit.
fn order(number: u32, place: u32, step: Step) -> RuntimeCall {
    let spread = u128::from((number.wrapping_mul(7_919) + place * 31) % 30);
    let (side, limit) = match number % 2 {
        0 => (Side::Sell, 1 + spread),
        _ => (Side::Buy, 11 + spread),
    };
    let terms = OrderTerms {
        side,
        limit,
        units: 1 + place,
        unit: Wh(10),
        when: When::Once(step),
        cap: Cap::Quantity,
    };
    pallet_double_auction::Call::place { terms }.into()
}

fn reading(plan: &Plan, step: Step) -> RuntimeCall {
    let reading = Measurement::Interval {
        energy: Wh(u64::from(plan.members) * ENERGY_EACH_WH),
        version: 1,
        quality: Quality::Measured,
    };
    let report = Report { step, reading };
    pallet_energy_token::Call::report {
        sequence: 1,
        report,
    }
    .into()
}

/// The most memory the process has had so far; zero where the system does not say.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib / 1_024)
}
