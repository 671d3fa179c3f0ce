//! What an update costs, as an upper bound for one core of a small server.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// One member's score after a step.
    fn update() -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn update() -> Weight {
        update(T::DbWeight::get())
    }
}

impl WeightInfo for () {
    fn update() -> Weight {
        update(RocksDbWeight::get())
    }
}

/// The score is read twice, by the clearing and for the update; the rules stay in the cache.
fn update(db: RuntimeDbWeight) -> Weight {
    Weight::from_parts(4_000_000, 0).saturating_add(db.reads_writes(2, 1))
}
