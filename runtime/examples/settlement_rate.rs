//! How long the settlement of a step takes: members with some orders each, on an in-memory trie.
//!
//! `cargo run --release -p commonwatt-runtime --example settlement_rate -- MEMBERS [MECHANISM] [ORDERS_EACH]`
//!
//! Prints the times of distribution, settlement (reads, caps, clearing, energy, coins, loyalty, events, writes,
//! standing orders) and state root of the step's block, with what was traded, and the most memory that settlement and
//! root took, the state included.
//!
//! A chain has at most [`MEMBERS_MAX`] members and [`ORDERS_PER_STEP_MAX`] orders in a step. What is asked for beyond that
//! is put into the state as the DSO's registrations and a larger agreement's distribution would have left it there:
//! settlement is the chain's own, but the time of distribution is that of the members within the bound.

use std::{collections::BTreeMap, fs, time::Instant};

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{
    AccountId, Quality, Role, Step, Wh, beacon,
    digest::{Punctuality, StepDigest},
    traits::MarketClock,
};
use commonwatt_runtime::{
    Balances, DoubleAuction, EnergyToken, Executive, Hash, Header, MarketStep, MinerAuction,
    Runtime, RuntimeOrigin, System, UncheckedExtrinsic, VirtualMeter,
    configs::{MEMBERS_MAX, ORDERS_PER_STEP_MAX},
    example::{account, beacon_pair, genesis, shared_alike},
};
use frame_support::traits::{Hooks, fungible::Mutate};
use mimalloc::MiMalloc;
use pallet_double_auction::{Cap, OrderTerms, Sizes, StepOutcome, When};
use pallet_energy_token::{Measurement, Report};
use pallet_registry::{MemberCount, Roles};
use pallet_virtual_meter::{MonthTotals, Vgm, VgmBuckets, VgmEntry, bucket_of};
use sp_io::TestExternalities;
use sp_runtime::{Digest, StateVersion, traits::Header as _};

/// As in the node.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Orders of each member, when it is not said how many.
const ORDERS_EACH: u32 = 10;
const COINS_EACH: u128 = 1_000_000;
/// What each member is allocated.
const ENERGY_EACH: Wh = Wh(1_000);
/// The step that is settled.
const STEP: Step = Step(2);
/// Members that the example's genesis has already.
const OTHERS: u32 = 2;
/// Accounts that share a bucket of virtual generation meters, on average.
const ACCOUNTS_PER_BUCKET: usize = 16;

fn member(number: u32) -> AccountId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    AccountId::new(bytes)
}

fn begin_block(number: u32) {
    let before = MinerAuction::beacon(Step(number - 1)).expect("the beacon is kept");
    let digest = StepDigest::V1 {
        author: account("X"),
        author_rank: 0,
        winner: account("X"),
        beacon: beacon::prove(&beacon_pair("X"), &before, number),
        punctuality: Punctuality::OnTime,
    };
    let header = Header::new(
        number,
        Default::default(),
        Default::default(),
        Hash::from_low_u64_be(u64::from(number)),
        Digest {
            logs: digest.to_items(),
        },
    );
    Executive::initialize_block(&header);
    let now = genesis().timing.closes_at_ms(Step(number));
    let inherent = UncheckedExtrinsic::new_bare(pallet_timestamp::Call::set { now }.into());
    Executive::apply_extrinsic(inherent)
        .expect("the inherent is valid")
        .expect("the time is right");
}

fn chain(members: u32, mechanism: Mechanism) -> TestExternalities {
    let mut genesis = genesis();
    let members = members.min(MEMBERS_MAX - OTHERS);
    let people: Vec<_> = (0..members).map(member).collect();
    genesis.agreement = Some(shared_alike(&people));
    genesis.members.extend(people.iter().cloned());
    genesis
        .coins
        .extend(people.iter().map(|who| (who.clone(), COINS_EACH)));
    genesis.meters[0].info.capacity_w = 1_000_000_000;
    genesis.market.mechanism = mechanism;
    TestExternalities::new(genesis.build_storage().expect("the genesis is sound"))
}

/// Registers the members that a genesis has no room for.
fn register_beyond(members: u32) {
    for number in MEMBERS_MAX - OTHERS..members {
        let who = member(number);
        Roles::<Runtime>::insert(&who, Role::Member);
        System::inc_sufficients(&who);
        Balances::mint_into(&who, COINS_EACH).expect("there is room for the coins");
    }
    MemberCount::<Runtime>::mutate(|count| *count = (*count).max(members + OTHERS));
}

/// Allocates energy to them.
fn allocate_beyond(members: u32) {
    if members <= MEMBERS_MAX - OTHERS {
        return;
    }
    let mut entries: BTreeMap<AccountId, VgmEntry> =
        Vgm::<Runtime>::iter_prefix_values(STEP).flatten().collect();
    let allocated = VgmEntry {
        shared: ENERGY_EACH,
        ..VgmEntry::default()
    };
    let month = MarketStep::month_of(STEP);
    for who in (MEMBERS_MAX - OTHERS..members).map(member) {
        let total = MonthTotals::<Runtime>::get(month, &who)
            .replace(&VgmEntry::default(), &allocated)
            .expect("the energy fits");
        MonthTotals::<Runtime>::insert(month, &who, total);
        entries.insert(who, allocated);
    }
    let _ = Vgm::<Runtime>::clear_prefix(STEP, u32::MAX, None);
    let buckets = u32::try_from(entries.len().div_ceil(ACCOUNTS_PER_BUCKET)).expect("they are few");
    let mut by_bucket = BTreeMap::<u32, Vec<_>>::new();
    for (who, entry) in entries {
        let bucket = bucket_of(&who, buckets);
        by_bucket.entry(bucket).or_default().push((who, entry));
    }
    for (number, bucket) in by_bucket {
        Vgm::<Runtime>::insert(STEP, number, bucket);
    }
    VgmBuckets::<Runtime>::insert(STEP, buckets);
}

fn place_orders(members: u32, orders_each: u32) {
    let is_beyond = members.saturating_mul(orders_each) > ORDERS_PER_STEP_MAX;
    let mut placed = 0;
    for number in 0..members {
        for place in 0..orders_each {
            // Limits spread over 1 to 40, buyers' somewhat higher.
            let spread = u128::from((number.wrapping_mul(7_919) + place * 31) % 30);
            let (side, limit) = if number % 2 == 0 {
                (Side::Sell, 1 + spread)
            } else {
                (Side::Buy, 11 + spread)
            };
            let terms = OrderTerms {
                side,
                limit,
                units: 1 + place,
                unit: Wh(10),
                when: When::Once(STEP),
                cap: Cap::Quantity,
            };
            // Equal limits of one member are refused; they are few.
            let taken = DoubleAuction::place(RuntimeOrigin::signed(member(number)), terms);
            placed += u32::from(taken.is_ok());
        }
        if is_beyond {
            Sizes::<Runtime>::mutate(STEP, |size| size.orders = 0);
        }
    }
    Sizes::<Runtime>::mutate(STEP, |size| size.orders = placed);
}

/// Begins to measure the most memory anew, where the system can; returns what is in use.
fn forget_peak_memory() -> Option<u64> {
    let _ = fs::write("/proc/self/clear_refs", "5");
    memory_mib("VmRSS:")
}

fn memory_mib(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1_024)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let members: u32 = arguments
        .next()
        .map_or(10_000, |text| text.parse().expect("a number of members"));
    let mechanism: Mechanism = arguments.next().map_or(Mechanism::Average, |text| {
        text.parse().expect("a mechanism")
    });
    let orders_each: u32 = arguments.next().map_or(ORDERS_EACH, |text| {
        text.parse().expect("a number of orders")
    });
    // As in the node, whose log leaves FRAME's spans round every access to the state out.
    tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::default())
        .expect("the first and only one");
    let mut chain = chain(members, mechanism);
    chain.execute_with(|| register_beyond(members));
    chain.commit_all().expect("the state is sound");
    chain.execute_with(|| {
        begin_block(1);
        place_orders(members, orders_each);
        Executive::finalize_block();
    });
    chain.commit_all().expect("the state is sound");
    chain.execute_with(|| {
        begin_block(2);
        let report = Report {
            step: STEP,
            reading: Measurement::Interval {
                energy: Wh(u64::from(members.min(MEMBERS_MAX - OTHERS)) * ENERGY_EACH.0),
                version: 1,
                quality: Quality::Measured,
            },
        };
        EnergyToken::report(RuntimeOrigin::signed(account("A")), 1, report)
            .expect("the reading is plausible");
        let size = Sizes::<Runtime>::get(STEP);
        let start = Instant::now();
        VirtualMeter::on_finalize(2);
        let distribution = start.elapsed();
        allocate_beyond(members);
        let memory_before = forget_peak_memory();
        let events_before = System::event_count();
        let start = Instant::now();
        DoubleAuction::on_finalize(2);
        let settlement = start.elapsed();
        let start = Instant::now();
        let _ = sp_io::storage::root(StateVersion::V1);
        let root = start.elapsed();
        let record = match pallet_double_auction::Outcomes::<Runtime>::get(STEP) {
            Some(StepOutcome::Cleared(record)) => record,
            other => panic!("step {STEP} is {other:?}"),
        };
        println!(
            "members {} orders {} mechanism {mechanism} trades {} units {} events {} distribution {} ms settlement {} \
             ms root of the whole block {} ms memory before {} MiB at most {} MiB",
            size.members,
            size.orders,
            record.trades,
            record.totals.volume,
            System::event_count() - events_before,
            distribution.as_millis(),
            settlement.as_millis(),
            root.as_millis(),
            memory_before.unwrap_or_default(),
            memory_mib("VmHWM:").unwrap_or_default(),
        );
    });
}
