//! What the calls weigh: a fixed native execution time plus the storage they touch.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::RocksDbWeight},
};

/// Weights of this pallet.
pub trait WeightInfo {
    /// `set_tariff`.
    fn set_tariff() -> Weight;
    /// `post_rates`.
    fn post_rates() -> Weight;
    /// An expired holding into its month's total.
    fn expire() -> Weight;
}

/// Weights with the database costs of the runtime.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn set_tariff() -> Weight {
        Weight::from_parts(20_000_000, 0) + T::DbWeight::get().reads_writes(3, 1)
    }

    fn post_rates() -> Weight {
        Weight::from_parts(15_000_000, 0) + T::DbWeight::get().reads_writes(1, 1)
    }

    fn expire() -> Weight {
        expire(T::DbWeight::get())
    }
}

impl WeightInfo for () {
    fn set_tariff() -> Weight {
        Weight::from_parts(20_000_000, 0)
    }

    fn post_rates() -> Weight {
        Weight::from_parts(15_000_000, 0)
    }

    fn expire() -> Weight {
        expire(RocksDbWeight::get())
    }
}

/// Unit and tariffs stay in the cache.
fn expire(db: RuntimeDbWeight) -> Weight {
    Weight::from_parts(3_000_000, 0).saturating_add(db.reads_writes(1, 1))
}
