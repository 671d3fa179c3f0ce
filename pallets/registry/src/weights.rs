//! What the calls weigh: a fixed native execution time plus the storage they touch.

use core::marker::PhantomData;
use frame_support::{traits::Get, weights::Weight};

/// Weights of this pallet's calls.
pub trait WeightInfo {
    /// Weight of `register_member`.
    fn register_member() -> Weight;
    /// Weight of `remove_member`.
    fn remove_member() -> Weight;
    /// Weight of `register_validator` and `remove_validator`.
    fn register_validator() -> Weight;
    /// Weight of `commission_meter`.
    fn commission_meter() -> Weight;
    /// Weight of `swap_device` and `remove_device`.
    fn swap_device() -> Weight;
    /// Weight of `retire_meter`.
    fn retire_meter() -> Weight;
    /// Weight of `change_meter`.
    fn change_meter() -> Weight;
}

/// Native execution of any call here, without its storage.
const CALL: Weight = Weight::from_parts(15_000_000, 0);

/// Weights on the runtime's database.
pub struct NativeWeight<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for NativeWeight<T> {
    fn register_member() -> Weight {
        CALL + T::DbWeight::get().reads_writes(3, 3)
    }

    fn remove_member() -> Weight {
        CALL + T::DbWeight::get().reads_writes(4, 2)
    }

    fn register_validator() -> Weight {
        CALL + T::DbWeight::get().reads_writes(5, 6)
    }

    fn commission_meter() -> Weight {
        CALL + T::DbWeight::get().reads_writes(10, 9)
    }

    fn swap_device() -> Weight {
        CALL + T::DbWeight::get().reads_writes(7, 6)
    }

    fn retire_meter() -> Weight {
        CALL + T::DbWeight::get().reads_writes(3, 2)
    }

    fn change_meter() -> Weight {
        CALL + T::DbWeight::get().reads_writes(4, 2)
    }
}

impl WeightInfo for () {
    fn register_member() -> Weight {
        CALL
    }

    fn remove_member() -> Weight {
        CALL
    }

    fn register_validator() -> Weight {
        CALL
    }

    fn commission_meter() -> Weight {
        CALL
    }

    fn swap_device() -> Weight {
        CALL
    }

    fn retire_meter() -> Weight {
        CALL
    }

    fn change_meter() -> Weight {
        CALL
    }
}
