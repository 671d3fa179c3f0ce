//! What the work of this pallet costs.
//!
//! Times are upper bounds of native execution on one core of a small server. A clearing sorts its orders, and
//! pairs and proves them in some hundred nanoseconds each; a member costs its ledger entries: coins, hold, meter,
//! month, loyalty and book. Reads and writes are counted from the code, the longest path of each.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// `place`.
    fn place() -> Weight;
    /// `cancel`.
    fn cancel() -> Weight;
    /// `replace`.
    fn replace() -> Weight;
    /// `set_terms`.
    fn set_terms() -> Weight;
    /// The settlement of a step with so many orders of so many members, of whom so many have standing orders for
    /// the next one.
    fn settle(orders: u32, members: u32, standing: u32) -> Weight;
    /// The removal of so many members' books of expired steps.
    fn expire(books: u32) -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn place() -> Weight {
        order(T::DbWeight::get())
    }

    fn cancel() -> Weight {
        order(T::DbWeight::get())
    }

    fn replace() -> Weight {
        order(T::DbWeight::get())
    }

    fn set_terms() -> Weight {
        set_terms(T::DbWeight::get())
    }

    fn settle(orders: u32, members: u32, standing: u32) -> Weight {
        settle(T::DbWeight::get(), orders, members, standing)
    }

    fn expire(books: u32) -> Weight {
        expire(T::DbWeight::get(), books)
    }
}

impl WeightInfo for () {
    fn place() -> Weight {
        order(RocksDbWeight::get())
    }

    fn cancel() -> Weight {
        order(RocksDbWeight::get())
    }

    fn replace() -> Weight {
        order(RocksDbWeight::get())
    }

    fn set_terms() -> Weight {
        set_terms(RocksDbWeight::get())
    }

    fn settle(orders: u32, members: u32, standing: u32) -> Weight {
        settle(RocksDbWeight::get(), orders, members, standing)
    }

    fn expire(books: u32) -> Weight {
        expire(RocksDbWeight::get(), books)
    }
}

/// Role, lateness, unit, terms, book, size, standing orders and their number are read, with account and hold; book,
/// size, standing orders and number, account and hold are written.
fn order(db: RuntimeDbWeight) -> Weight {
    time(30_000, 0, 0).saturating_add(db.reads_writes(10, 6))
}

fn set_terms(db: RuntimeDbWeight) -> Weight {
    time(20_000, 0, 0).saturating_add(db.reads_writes(2, 1))
}

/// A member's book, role, meter, month, account, hold and loyalty are read, and all but the role written; one with
/// standing orders has another book. An order costs its share of sorting, pairing and storing.
fn settle(db: RuntimeDbWeight, orders: u32, members: u32, standing: u32) -> Weight {
    let (orders, members, standing) = (u64::from(orders), u64::from(members), u64::from(standing));
    time(20_000, 1_000, orders)
        .saturating_add(time(0, 15_000, members))
        .saturating_add(time(0, 5_000, standing))
        .saturating_add(db.reads_writes(6, 4))
        .saturating_add(db.reads_writes(7, 6).saturating_mul(members))
        .saturating_add(db.reads_writes(4, 3).saturating_mul(standing))
}

/// A book is removed, and its month's total read and written.
fn expire(db: RuntimeDbWeight, books: u32) -> Weight {
    let books = u64::from(books);
    time(10_000, 5_000, books).saturating_add(db.reads_writes(
        books.saturating_mul(2).saturating_add(1),
        books.saturating_mul(2).saturating_add(4),
    ))
}

/// A nanosecond is a thousand units of reference time.
fn time(fixed_ns: u64, each_ns: u64, count: u64) -> Weight {
    let ns = fixed_ns.saturating_add(each_ns.saturating_mul(count));
    Weight::from_parts(ns.saturating_mul(1_000), 0)
}
