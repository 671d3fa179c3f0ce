//! How long the settlement of a step takes: members with ten orders each, on an in-memory trie.
//!
//! `cargo run --release -p commonwatt-runtime --example settlement_rate -- MEMBERS [MECHANISM]`
//!
//! Prints the times of distribution, settlement (reads, caps, clearing, energy, coins, loyalty, events, writes,
//! standing orders) and state root of the step's block, with what was traded.

use std::time::Instant;

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{
    AccountId, Ppm, Quality, Step, Wh, beacon,
    digest::{Punctuality, StepDigest},
};
use commonwatt_runtime::{
    DoubleAuction, EnergyToken, Executive, Hash, Header, MinerAuction, Runtime, RuntimeOrigin,
    System, UncheckedExtrinsic, VirtualMeter,
    example::{account, beacon_pair, genesis},
};
use frame_support::traits::Hooks;
use pallet_double_auction::{Cap, OrderTerms, StepOutcome, When};
use pallet_energy_token::{Measurement, Report};
use pallet_virtual_meter::{GenesisAgreement, KeyTerms};
use sp_io::TestExternalities;
use sp_runtime::{Digest, StateVersion, traits::Header as _};

const ORDERS_EACH: u32 = 10;
const COINS_EACH: u128 = 1_000_000;

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
    let people: Vec<_> = (0..members).map(member).collect();
    let part = Ppm::FULL.0 / members;
    let mut shares: Vec<_> = people.iter().map(|who| (who.clone(), Ppm(part))).collect();
    shares[0].1.0 += Ppm::FULL.0 - part * members;
    genesis.members.extend(people.iter().cloned());
    genesis
        .coins
        .extend(people.iter().map(|who| (who.clone(), COINS_EACH)));
    genesis.agreement = Some(GenesisAgreement {
        key: KeyTerms::Static {
            capped: false,
            shares,
        },
        community_account: account("Community"),
        loss_account: account("Losses"),
    });
    genesis.meters[0].info.capacity_w = 1_000_000_000;
    genesis.market.mechanism = mechanism;
    TestExternalities::new(genesis.build_storage().expect("the genesis is sound"))
}

fn place_orders(members: u32) {
    for number in 0..members {
        for place in 0..ORDERS_EACH {
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
                when: When::Once(Step(2)),
                cap: Cap::Quantity,
            };
            // Equal limits of one member are refused; they are few.
            let _ = DoubleAuction::place(RuntimeOrigin::signed(member(number)), terms);
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let members: u32 = arguments
        .next()
        .map_or(10_000, |text| text.parse().expect("a number of members"));
    let mechanism: Mechanism = arguments.next().map_or(Mechanism::Average, |text| {
        text.parse().expect("a mechanism")
    });
    let mut chain = chain(members, mechanism);
    chain.execute_with(|| {
        begin_block(1);
        place_orders(members);
        Executive::finalize_block();
    });
    chain.commit_all().expect("the state is sound");
    chain.execute_with(|| {
        begin_block(2);
        let report = Report {
            step: Step(2),
            reading: Measurement::Interval {
                energy: Wh(u64::from(members) * 1_000),
                version: 1,
                quality: Quality::Measured,
            },
        };
        EnergyToken::report(RuntimeOrigin::signed(account("A")), 1, report)
            .expect("the reading is plausible");
        let size = pallet_double_auction::Sizes::<Runtime>::get(Step(2));
        let start = Instant::now();
        VirtualMeter::on_finalize(2);
        let distribution = start.elapsed();
        let events_before = System::event_count();
        let start = Instant::now();
        DoubleAuction::on_finalize(2);
        let settlement = start.elapsed();
        let start = Instant::now();
        let _ = sp_io::storage::root(StateVersion::V1);
        let root = start.elapsed();
        let record = match pallet_double_auction::Outcomes::<Runtime>::get(Step(2)) {
            Some(StepOutcome::Cleared(record)) => record,
            other => panic!("step 2 is {other:?}"),
        };
        println!(
            "members {} orders {} mechanism {mechanism} trades {} units {} events {} distribution {:.0?} settlement \
             {:.0?} root of the whole block {:.0?}",
            size.members,
            size.orders,
            record.trades,
            record.totals.volume,
            System::event_count() - events_before,
            distribution,
            settlement,
            root,
        );
    });
}
