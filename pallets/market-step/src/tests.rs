//! One rule per test.

use crate as pallet_market_step;
use commonwatt_primitives::{
    AccountId, Step, StepTiming,
    beacon::BeaconProof,
    digest::{Punctuality, StepDigest},
    traits::MarketClock,
};
use frame_support::{
    derive_impl,
    traits::{ConstU32, Hooks, OnTimestampSet},
};
use sp_runtime::{BuildStorage, Digest};

type Block = frame_system::mocking::MockBlockU32<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        MarketStep: pallet_market_step,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
}

impl pallet_market_step::Config for Test {
    type Retention = ConstU32<100>;
}

const TIMING: StepTiming = StepTiming {
    genesis_ms: 1_000,
    ..StepTiming::PRODUCTION
};

fn test(story: impl FnOnce()) {
    let storage = RuntimeGenesisConfig {
        market_step: pallet_market_step::GenesisConfig {
            timing: Some(TIMING),
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the timing is valid");
    sp_io::TestExternalities::new(storage).execute_with(story);
}

fn run_block(number: u32, punctuality: Punctuality) {
    let author = AccountId::new([1; 32]);
    let digest = StepDigest::V1 {
        author: author.clone(),
        author_rank: 0,
        winner: author,
        beacon: BeaconProof {
            pre_output: [0; 32],
            proof: [0; 64],
        },
        punctuality,
    };
    System::reset_events();
    System::initialize(
        &number,
        &Default::default(),
        &Digest {
            logs: digest.to_items(),
        },
    );
    MarketStep::on_initialize(number);
    assert_eq!(MarketStep::is_late(), punctuality == Punctuality::Late);
    MarketStep::on_finalize(number);
    // Pallets that end the block after this one still know.
    assert_eq!(MarketStep::is_late(), punctuality == Punctuality::Late);
}

#[test]
#[should_panic(expected = "a block's header must hold exactly one valid step digest")]
fn a_block_without_a_step_digest_is_rejected() {
    test(|| {
        System::initialize(&1, &Default::default(), &Digest::default());
        MarketStep::on_initialize(1);
    });
}

#[test]
fn height_is_step() {
    test(|| {
        run_block(1, Punctuality::OnTime);
        run_block(2, Punctuality::OnTime);
        assert_eq!(MarketStep::current_step(), Step(2));
    });
}

#[test]
fn late_steps_do_not_shorten_the_correction_window() {
    test(|| {
        for number in 1..=10 {
            let late = (4..=7).contains(&number);
            run_block(
                number,
                if late {
                    Punctuality::Late
                } else {
                    Punctuality::OnTime
                },
            );
        }
        assert_eq!(MarketStep::on_time_steps_since(Step(2)), 4);
        assert_eq!(MarketStep::on_time_steps_since(Step(10)), 0);
    });
}

#[test]
fn forgotten_steps_are_longer_ago_than_any_window() {
    test(|| {
        for number in 1..=150 {
            run_block(number, Punctuality::OnTime);
        }
        assert_eq!(MarketStep::on_time_steps_since(Step(49)), u32::MAX);
        assert_eq!(MarketStep::on_time_steps_since(Step(50)), 100);
    });
}

#[test]
fn the_block_time_is_when_its_step_closes() {
    test(|| {
        run_block(1, Punctuality::OnTime);
        MarketStep::on_timestamp_set(1_000 + 900_000);
    });
}

#[test]
#[should_panic(expected = "block time must be 901000, when its step closes, not 901001")]
fn no_author_chooses_the_time() {
    test(|| {
        run_block(1, Punctuality::OnTime);
        MarketStep::on_timestamp_set(901_001);
    });
}

#[test]
#[should_panic(expected = "gateOpenMs + gateCloseMs + settleDelayMs must be less than stepMs")]
fn impossible_gates_stop_the_genesis() {
    let timing = StepTiming {
        gate_open_ms: 900_000,
        ..TIMING
    };
    let genesis = pallet_market_step::GenesisConfig::<Test> {
        timing: Some(timing),
        ..Default::default()
    };
    let _ = genesis.build_storage();
}
