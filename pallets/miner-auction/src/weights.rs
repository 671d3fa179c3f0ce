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
    /// `bid` with this many validators, and bids for this many heights open.
    fn bid(validators: u32, open: u32) -> Weight;
    /// `set_keys`.
    fn set_keys() -> Weight;
    /// `report_equivocation` with bids for this many heights open.
    fn report_equivocation(open: u32) -> Weight;
    /// `pardon`.
    fn pardon() -> Weight;
    /// The hooks of a block: claim, pot, penalties, epoch and ranking.
    fn block(validators: u32, open: u32) -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn bid(validators: u32, open: u32) -> Weight {
        bid(T::DbWeight::get(), validators, open)
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

    fn block(validators: u32, open: u32) -> Weight {
        block(T::DbWeight::get(), validators, open)
    }
}

impl WeightInfo for () {
    fn bid(validators: u32, open: u32) -> Weight {
        bid(RocksDbWeight::get(), validators, open)
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

    fn block(validators: u32, open: u32) -> Weight {
        block(RocksDbWeight::get(), validators, open)
    }
}

/// Rules and set are read, every validator's offence, and its balance and every open book when candidates are few;
/// book and two accounts are written.
fn bid(db: RuntimeDbWeight, validators: u32, open: u32) -> Weight {
    let (validators, open) = (u64::from(validators), u64::from(open));
    let reads = validators
        .saturating_mul(2)
        .saturating_add(open)
        .saturating_add(12);
    time(60_000, 2_000, validators.saturating_add(open)).saturating_add(db.reads_writes(reads, 4))
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

/// For each validator: an account when the pot is paid or bids return; offence, role and balance for the penalty;
/// offence, age, reputation (two values) and balance for the ranking; registration and two offences when an epoch
/// begins. Written are two balances and two ages. Every open book is read.
fn block(db: RuntimeDbWeight, validators: u32, open: u32) -> Weight {
    let (validators, open) = (u64::from(validators), u64::from(open));
    let reads = validators
        .saturating_mul(12)
        .saturating_add(open)
        .saturating_add(30);
    let writes = validators.saturating_mul(4).saturating_add(16);
    time(600_000, 60_000, validators)
        .saturating_add(time(0, 2_000, open))
        .saturating_add(db.reads_writes(reads, writes))
}

/// A nanosecond is a thousand units of reference time.
fn time(fixed_ns: u64, each_ns: u64, count: u64) -> Weight {
    let ns = fixed_ns.saturating_add(each_ns.saturating_mul(count));
    Weight::from_parts(ns.saturating_mul(1_000), 0)
}
