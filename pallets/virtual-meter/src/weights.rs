//! What the work of this pallet costs.
//!
//! Times are native execution. 57 meters and 36 accounts took, in an unoptimised build on a 2-core machine,
//! 1.3 ms for the energy, 5.5 ms for the voting tokens of all accounts, and 0.4 ms for the expiry of a
//! step. Optimised code takes a small part of that (docs/benchmarks.md has a whole block); the constants
//! below add up to a quarter of it, which leaves room for slower machines. Reads and writes are counted
//! from the code and priced by the database weights of the runtime.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// `set_agreement` with this many participants.
    fn set_agreement(participants: u32) -> Weight;
    /// One run of a step's distribution over this many meters and accounts.
    fn distribute(meters: u32, accounts: u32) -> Weight;
    /// The removal of an expired step's detail of this many accounts.
    fn expire(accounts: u32) -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct SubstrateWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {
    fn set_agreement(participants: u32) -> Weight {
        set_agreement(T::DbWeight::get(), participants)
    }

    fn distribute(meters: u32, accounts: u32) -> Weight {
        distribute(T::DbWeight::get(), meters, accounts)
    }

    fn expire(accounts: u32) -> Weight {
        expire(T::DbWeight::get(), accounts)
    }
}

impl WeightInfo for () {
    fn set_agreement(participants: u32) -> Weight {
        set_agreement(RocksDbWeight::get(), participants)
    }

    fn distribute(meters: u32, accounts: u32) -> Weight {
        distribute(RocksDbWeight::get(), meters, accounts)
    }

    fn expire(accounts: u32) -> Weight {
        expire(RocksDbWeight::get(), accounts)
    }
}

/// A participant costs one read, of its role.
fn set_agreement(db: RuntimeDbWeight, participants: u32) -> Weight {
    let participants = u64::from(participants);
    time(20_000, 2_000, participants)
        .saturating_add(db.reads_writes(participants.saturating_add(3), 3))
}

/// A run reads schedule, agreement, readings, summary, lots, storage moves and sizes, and writes the
/// last four. A meter costs its registration, and the balance of its storage. An account costs its VGM,
/// month's total, role, voting debt and tokens, and the total of all tokens.
fn distribute(db: RuntimeDbWeight, meters: u32, accounts: u32) -> Weight {
    let (meters, accounts) = (u64::from(meters), u64::from(accounts));
    time(40_000, 4_000, meters)
        .saturating_add(time(0, 40_000, accounts))
        .saturating_add(db.reads_writes(7, 4))
        .saturating_add(db.reads_writes(2, 1).saturating_mul(meters))
        .saturating_add(db.reads_writes(6, 5).saturating_mul(accounts))
}

/// An expired step has its summary, lots and storage moves, and a VGM for each account, whose month's total of
/// the outer grid is read and written; so are the position of the oldest step and the schedule of the agreements.
fn expire(db: RuntimeDbWeight, accounts: u32) -> Weight {
    let accounts = u64::from(accounts);
    let each = accounts.saturating_mul(2);
    time(10_000, 6_000, accounts)
        .saturating_add(db.reads_writes(each.saturating_add(2), each.saturating_add(6)))
}

/// A nanosecond is a thousand units of reference time.
fn time(fixed_ns: u64, each_ns: u64, count: u64) -> Weight {
    let ns = fixed_ns.saturating_add(each_ns.saturating_mul(count));
    Weight::from_parts(ns.saturating_mul(1_000), 0)
}
