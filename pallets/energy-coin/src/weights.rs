//! What the calls weigh: a fixed native execution time plus the storage they touch.

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::Weight};

/// Weights of this pallet's calls.
pub trait WeightInfo {
    /// Weight of `mint`.
    fn mint() -> Weight;
    /// Weight of `burn`.
    fn burn() -> Weight;
}

/// Weights on the runtime's database: role, account and issuance are touched.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn mint() -> Weight {
        Weight::from_parts(20_000_000, 0) + T::DbWeight::get().reads_writes(3, 2)
    }

    fn burn() -> Weight {
        Weight::from_parts(20_000_000, 0) + T::DbWeight::get().reads_writes(2, 2)
    }
}

impl WeightInfo for () {
    fn mint() -> Weight {
        Weight::from_parts(20_000_000, 0)
    }

    fn burn() -> Weight {
        Weight::from_parts(20_000_000, 0)
    }
}
