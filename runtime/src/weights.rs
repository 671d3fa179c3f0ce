//! How much fits into a block, and what FRAME's transaction extensions weigh natively.
//!
//! A weight's reference time is picoseconds on one core of a small machine. The state is a native trie in the
//! same process, so reads and writes cost far less than the figures FRAME brings along for wasm on RocksDB.

use std::sync::LazyLock;

use frame_support::{
    parameter_types,
    traits::Get,
    weights::{
        RuntimeDbWeight, Weight,
        constants::{
            WEIGHT_REF_TIME_PER_MICROS, WEIGHT_REF_TIME_PER_MILLIS, WEIGHT_REF_TIME_PER_SECOND,
        },
    },
};
use frame_system::limits::{BlockLength, BlockWeights};
use sp_runtime::Perbill;

/// Longest encoded block body: 100 000 readings of some 150 bytes fit.
const BLOCK_LENGTH_MAX: u32 = 16 * 1024 * 1024;

/// Longest execution of a block. Steps are 15 minutes; faster chains are for demonstration.
const BLOCK_TIME_MAX: Weight = Weight::from_parts(8 * WEIGHT_REF_TIME_PER_SECOND, u64::MAX);

/// Decoding, hashing and bookkeeping of any extrinsic, and verifying its signature.
const EXTRINSIC_BASE: Weight = Weight::from_parts(50 * WEIGHT_REF_TIME_PER_MICROS, 0);

/// Empty block: hooks of all pallets and the root.
const BLOCK_BASE: Weight = Weight::from_parts(2 * WEIGHT_REF_TIME_PER_MILLIS, 0);

parameter_types! {
    /// A read from the cached trie, and a write with its part of the root.
    pub const NativeDbWeight: RuntimeDbWeight = RuntimeDbWeight {
        read: 2 * WEIGHT_REF_TIME_PER_MICROS,
        write: 10 * WEIGHT_REF_TIME_PER_MICROS,
    };
    /// A tenth of a block is kept free for operational calls: corrections of readings.
    /// Body length by class.
    pub Length: BlockLength =
        BlockLength::builder()
            .max_length(BLOCK_LENGTH_MAX)
            .modify_max_length_for_class(frame_support::dispatch::DispatchClass::Normal, |max| {
                *max = Perbill::from_percent(90) * BLOCK_LENGTH_MAX;
            })
            .build();
}

/// Execution by class. FRAME asks ten times for each extrinsic, so it is put together once.
pub struct Weights;

impl Get<BlockWeights> for Weights {
    fn get() -> BlockWeights {
        static WEIGHTS: LazyLock<BlockWeights> = LazyLock::new(build_weights);
        WEIGHTS.clone()
    }
}

fn build_weights() -> BlockWeights {
    BlockWeights::builder()
        .base_block(BLOCK_BASE)
        .for_class(frame_support::dispatch::DispatchClass::all(), |class| {
            class.base_extrinsic = EXTRINSIC_BASE;
        })
        .for_class(frame_support::dispatch::DispatchClass::Normal, |class| {
            class.max_total = Some(Perbill::from_percent(90) * BLOCK_TIME_MAX);
        })
        .for_class(
            frame_support::dispatch::DispatchClass::Operational,
            |class| {
                class.max_total = Some(BLOCK_TIME_MAX);
                class.reserved = Some(Perbill::from_percent(10) * BLOCK_TIME_MAX);
            },
        )
        .avg_block_initialization(Perbill::from_percent(10))
        .build_or_panic()
}

/// Weights of FRAME's transaction extensions, measured on the native trie.
pub struct Extensions;

const CHECK: Weight = Weight::from_parts(WEIGHT_REF_TIME_PER_MICROS / 2, 0);

impl frame_system::ExtensionsWeightInfo for Extensions {
    fn check_genesis() -> Weight {
        CHECK
    }
    fn check_mortality_mortal_transaction() -> Weight {
        CHECK
    }
    fn check_mortality_immortal_transaction() -> Weight {
        CHECK
    }
    fn check_non_zero_sender() -> Weight {
        CHECK
    }
    fn check_nonce() -> Weight {
        CHECK + NativeDbWeight::get().reads_writes(1, 1)
    }
    fn check_spec_version() -> Weight {
        CHECK
    }
    fn check_tx_version() -> Weight {
        CHECK
    }
    fn check_weight() -> Weight {
        CHECK
    }
    fn weight_reclaim() -> Weight {
        CHECK
    }
}

impl pallet_transaction_payment::WeightInfo for Extensions {
    fn charge_transaction_payment() -> Weight {
        // Role, quota, counter; the counter never reaches the trie.
        CHECK + NativeDbWeight::get().reads(3)
    }
}
