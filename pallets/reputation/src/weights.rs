//! What the work of this pallet costs: native execution times as upper bounds for one core of a small server,
//! and the storage that the longest path of each piece of work touches.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// `declare` for this many steps.
    fn declare(steps: u32) -> Weight;
    /// The end of a block: so many evaluations over so many steps each.
    fn block(evaluations: u32, steps: u32) -> Weight;
    /// A block's author and so many missed turns, coming into the window and leaving it.
    fn turn(missed: u32) -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn declare(steps: u32) -> Weight {
        declare(T::DbWeight::get(), steps)
    }

    fn block(evaluations: u32, steps: u32) -> Weight {
        block(T::DbWeight::get(), evaluations, steps)
    }

    fn turn(missed: u32) -> Weight {
        turn(T::DbWeight::get(), missed)
    }
}

impl WeightInfo for () {
    fn declare(steps: u32) -> Weight {
        declare(RocksDbWeight::get(), steps)
    }

    fn block(evaluations: u32, steps: u32) -> Weight {
        block(RocksDbWeight::get(), evaluations, steps)
    }

    fn turn(missed: u32) -> Weight {
        turn(RocksDbWeight::get(), missed)
    }
}

fn declare(db: RuntimeDbWeight, steps: u32) -> Weight {
    time(20_000, 50, steps.into()).saturating_add(db.reads_writes(3, 1))
}

/// An evaluation reads declaration, score and age, and what was used and what was offered in each step.
fn block(db: RuntimeDbWeight, evaluations: u32, steps: u32) -> Weight {
    let evaluations = u64::from(evaluations);
    let readings = evaluations.saturating_mul(steps.into());
    time(10_000, 5_000, evaluations)
        .saturating_add(time(0, 200, readings))
        .saturating_add(
            db.reads_writes(
                readings
                    .saturating_mul(2)
                    .saturating_add(evaluations.saturating_mul(3))
                    .saturating_add(3),
                evaluations.saturating_mul(2).saturating_add(1),
            ),
        )
}

fn turn(db: RuntimeDbWeight, missed: u32) -> Weight {
    let accounts = u64::from(missed).saturating_add(1).saturating_mul(2);
    time(10_000, 1_000, accounts)
        .saturating_add(db.reads_writes(accounts.saturating_add(2), accounts.saturating_add(2)))
}

/// A nanosecond is a thousand units of reference time.
fn time(fixed_ns: u64, each_ns: u64, count: u64) -> Weight {
    let ns = fixed_ns.saturating_add(each_ns.saturating_mul(count));
    Weight::from_parts(ns.saturating_mul(1_000), 0)
}
