//! What the work of this pallet costs.
//!
//! Times are upper bounds of native execution on one core of a small server: a draw hashes once and squares
//! 64 times per candidate, sorting multiplies 512-bit numbers `n·log n` times, and a beacon proof takes
//! two scalar multiplications. Reads and writes are counted from the code, the longest path of each
//! call.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// `bid` with this many validators.
    fn bid(validators: u32) -> Weight;
    /// `set_keys`.
    fn set_keys() -> Weight;
    /// `report_equivocation` with bids for this many heights open.
    fn report_equivocation(open: u32) -> Weight;
    /// `pardon`.
    fn pardon() -> Weight;
    /// The hooks of a block: claim, pot, penalties, epoch and ranking.
    fn block(validators: u32) -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn bid(validators: u32) -> Weight {
        bid(T::DbWeight::get(), validators)
    }

    fn set_keys() -> Weight {
        set_keys(T::DbWeight::get())
    }

    fn report_equivocation(open: u32) -> Weight {
        report_equivocation(T::DbWeight::get(), open)
    }

    fn pardon() -> Weight {
        pardon(T::DbWeight::get())
    }

    fn block(validators: u32) -> Weight {
        block(T::DbWeight::get(), validators)
    }
}

impl WeightInfo for () {
    fn bid(validators: u32) -> Weight {
        bid(RocksDbWeight::get(), validators)
    }

    fn set_keys() -> Weight {
        set_keys(RocksDbWeight::get())
    }

    fn report_equivocation(open: u32) -> Weight {
        report_equivocation(RocksDbWeight::get(), open)
    }

    fn pardon() -> Weight {
        pardon(RocksDbWeight::get())
    }

    fn block(validators: u32) -> Weight {
        block(RocksDbWeight::get(), validators)
    }
}

/// Rules, set, offence and books are read, and the balance of every validator when candidates are few;
/// book and two accounts are written.
fn bid(db: RuntimeDbWeight, validators: u32) -> Weight {
    let validators = u64::from(validators);
    time(60_000, 2_000, validators)
        .saturating_add(db.reads_writes(validators.saturating_add(12), 4))
}

/// Two signatures; the registry's record and its index of keys.
fn set_keys(db: RuntimeDbWeight) -> Weight {
    time(250_000, 0, 0).saturating_add(db.reads_writes(5, 4))
}

/// Two signatures; set, offence, balance, and every open book.
fn report_equivocation(db: RuntimeDbWeight, open: u32) -> Weight {
    let open = u64::from(open);
    time(300_000, 20_000, open).saturating_add(db.reads_writes(
        open.saturating_mul(2).saturating_add(6),
        open.saturating_mul(2).saturating_add(4),
    ))
}

fn pardon(db: RuntimeDbWeight) -> Weight {
    time(20_000, 0, 0).saturating_add(db.reads_writes(1, 1))
}

/// For each validator: offence, age, reputation, balance and role are read; a balance is written when the
/// pot is paid and when a penalty is due; an age at the beginning of an epoch.
fn block(db: RuntimeDbWeight, validators: u32) -> Weight {
    let validators = u64::from(validators);
    time(600_000, 60_000, validators).saturating_add(db.reads_writes(
        validators.saturating_mul(8).saturating_add(20),
        validators.saturating_mul(4).saturating_add(12),
    ))
}

/// A nanosecond is a thousand units of reference time.
fn time(fixed_ns: u64, each_ns: u64, count: u64) -> Weight {
    let ns = fixed_ns.saturating_add(each_ns.saturating_mul(count));
    Weight::from_parts(ns.saturating_mul(1_000), 0)
}
