//! What the calls weigh: a fixed native execution time plus the storage they touch.
//!
//! The runtime is executed natively and its state is read through the executor's cache, so a call's time
//! is mostly encoding, hashing and, for a relayed report, one signature. The times below are upper
//! bounds for one core of a small server; the reads and writes are counted from the code, the longest
//! path of each call, with one read each for what the registry and the clock are asked. No proof size:
//! nobody but full nodes executes a block.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight},
};

/// Weights of this pallet's calls.
pub trait WeightInfo {
    /// What the database adds.
    type Db: Get<RuntimeDbWeight>;

    /// Weight of `report`.
    fn report() -> Weight {
        REPORT.weigh::<Self::Db>(1)
    }

    /// Weight of `report_batch` with `count` reports.
    fn report_batch(count: u32) -> Weight {
        REPORT
            .weigh::<Self::Db>(1)
            .saturating_add(REPORT_IN_BATCH.weigh::<Self::Db>(count.saturating_sub(1)))
    }

    /// Weight of `relay`.
    fn relay() -> Weight {
        RELAY.weigh::<Self::Db>(1)
    }

    /// Weight of `reveal_consumption`.
    fn reveal_consumption() -> Weight {
        REVEAL.weigh::<Self::Db>(1)
    }

    /// Weight of `correct_reading`.
    fn correct_reading() -> Weight {
        CORRECT.weigh::<Self::Db>(1)
    }

    /// Weight of `report_register`, `roll_over_register` and `replace_register` over `steps` steps.
    fn compare_register(steps: u32) -> Weight {
        COMPARE
            .weigh::<Self::Db>(1)
            .saturating_add(COMPARE_STEP.weigh::<Self::Db>(steps))
    }

    /// Weight of `clear_flag`.
    fn clear_flag() -> Weight {
        CLEAR_FLAG.weigh::<Self::Db>(1)
    }

    /// Weight of `set_mpe_table`.
    fn set_mpe_table() -> Weight {
        SET_MPE_TABLE.weigh::<Self::Db>(1)
    }

    /// Weight of forgetting a step with `readings` readings and `commitments` commitments.
    fn forget_step(readings: u32, commitments: u32) -> Weight {
        FORGET
            .weigh::<Self::Db>(1)
            .saturating_add(FORGET_ENTRY.weigh::<Self::Db>(readings.saturating_add(commitments)))
    }
}

/// Weights on the runtime's database.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    type Db = T::DbWeight;
}

/// Weights without a database, for tests.
impl WeightInfo for () {
    type Db = ();
}

/// Picoseconds in a microsecond, the unit of the times below.
const MICROSECOND: u64 = 1_000_000;

/// What one call costs, before the database's own weights.
struct Cost {
    time_us: u64,
    reads: u64,
    writes: u64,
}

/// The account's role, its meter, the meter, the binding, the rules, the metered time, the on-time
/// count (twice), the device, the reading, the commitment, the length of the step's list and the
/// changed steps; the device, the reading, the list and the changed steps are written.
const REPORT: Cost = Cost {
    time_us: 25,
    reads: 13,
    writes: 4,
};
/// One more report of the same device: its step, its reading, its commitment, its list.
const REPORT_IN_BATCH: Cost = Cost {
    time_us: 10,
    reads: 5,
    writes: 2,
};
/// A signature and the gateway's role on top of a report.
const RELAY: Cost = Cost {
    time_us: 120,
    reads: 15,
    writes: 4,
};
const REVEAL: Cost = Cost {
    time_us: 25,
    reads: 12,
    writes: 3,
};
const CORRECT: Cost = Cost {
    time_us: 25,
    reads: 8,
    writes: 3,
};
const COMPARE: Cost = Cost {
    time_us: 20,
    reads: 5,
    writes: 2,
};
/// One step of a comparison: the reading and, where there is none, the commitment.
const COMPARE_STEP: Cost = Cost {
    time_us: 4,
    reads: 2,
    writes: 0,
};
const CLEAR_FLAG: Cost = Cost {
    time_us: 10,
    reads: 1,
    writes: 1,
};
const SET_MPE_TABLE: Cost = Cost {
    time_us: 10,
    reads: 0,
    writes: 1,
};
/// The rules, the changed steps and the two lists, which are removed.
const FORGET: Cost = Cost {
    time_us: 5,
    reads: 4,
    writes: 3,
};
const FORGET_ENTRY: Cost = Cost {
    time_us: 2,
    reads: 0,
    writes: 1,
};

impl Cost {
    /// Returns the weight of paying this cost `count` times.
    fn weigh<Db: Get<RuntimeDbWeight>>(&self, count: u32) -> Weight {
        Weight::from_parts(self.time_us.saturating_mul(MICROSECOND), 0)
            .saturating_add(Db::get().reads_writes(self.reads, self.writes))
            .saturating_mul(count.into())
    }
}
