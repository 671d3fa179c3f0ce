//! # Quota
//!
//! Registered accounts transact free of charge within a quota for each step; beyond it they pay the
//! ordinary fee; unregistered accounts are refused (PROTOCOL 2).
//!
//! ## Terms
//! - quota: how many transactions an account of a role sends free of charge in one step. Height is
//!   step, so a step's transactions are a block's. A long one counts as several: one more for each full
//!   20 ms of execution and each full 64 KiB. A cryptometer's covers readings alone; whatever else it
//!   sends pays the fee.
//! ## Invariants
//! - Nothing is counted outside a block: the counters are gone when it is finished.
//! - The extension encodes as FRAME's `ChargeTransactionPayment` does, under the same name, so that
//!   every Substrate client signs for it unknowingly.
//! ## Not here
//! What a fee is and where it goes: `pallet-transaction-payment`.

#![cfg_attr(not(feature = "std"), no_std)]

pub use extension::{ChargeBeyondQuota, TransactionRefusal};
pub use pallet::*;

mod extension;

#[cfg(test)]
mod tests;

/// What a call needs before it may enter a block. Answered by the runtime.
pub trait CallGate<Call> {
    /// Returns whether the call speaks of a step that has not closed yet, so that it must wait.
    fn is_premature(call: &Call) -> bool;

    /// Returns whether the call brings in readings, which a cryptometer is there for.
    fn is_metering(call: &Call) -> bool;
}

impl<Call> CallGate<Call> for () {
    fn is_premature(_: &Call) -> bool {
        false
    }

    fn is_metering(_: &Call) -> bool {
        false
    }
}

#[frame_support::pallet]
pub mod pallet {
    use super::CallGate;
    use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
    use commonwatt_primitives::{Role, traits::Registrar};
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;
    use scale_info::TypeInfo;
    use serde::{Deserialize, Serialize};

    /// Transactions free of charge in a step, for an account of each role.
    #[derive(
        Clone,
        Copy,
        Debug,
        PartialEq,
        Eq,
        Encode,
        Decode,
        DecodeWithMemTracking,
        MaxEncodedLen,
        TypeInfo,
        Serialize,
        Deserialize,
    )]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct Quotas {
        /// For a DSO.
        pub dso: u32,
        /// For a member.
        pub member: u32,
        /// For a cryptometer: one transaction for each pulse is allowed, which S0 bounds to 16.7 a
        /// second (IEC 62053-31).
        pub cryptometer: u32,
    }

    impl Default for Quotas {
        fn default() -> Self {
            Self {
                dso: 10_000,
                member: 200,
                cryptometer: 16_000,
            }
        }
    }

    impl Quotas {
        /// Returns the quota of a role.
        pub fn of(&self, role: Role) -> u32 {
            match role {
                Role::Dso => self.dso,
                Role::Member => self.member,
                Role::Cryptometer => self.cryptometer,
            }
        }
    }

    #[pallet::config]
    pub trait Config: frame_system::Config {
        /// Who is registered.
        type Registry: Registrar<Self::AccountId>;
        /// Which calls must wait.
        type Gate: CallGate<<Self as frame_system::Config>::RuntimeCall>;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The quotas; a genesis value.
    #[pallet::storage]
    pub type Allowed<T> = StorageValue<_, Quotas, ValueQuery>;

    /// Transactions an account has sent, long ones counted as several, in the block under construction.
    #[pallet::storage]
    pub type Used<T: Config> = StorageMap<_, Twox64Concat, T::AccountId, u32, ValueQuery>;

    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Transactions free of charge in a step.
        pub quotas: Quotas,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Allowed::<T>::put(self.quotas);
        }
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_finalize(_: BlockNumberFor<T>) {
            // Every key under the prefix was written in this block, so the trie holds none of them.
            let _ = Used::<T>::clear(u32::MAX, None);
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns how many transactions an account of this role may still send free of charge in this
        /// block.
        pub fn left_for(who: &T::AccountId, role: Role) -> u32 {
            Allowed::<T>::get()
                .of(role)
                .saturating_sub(Used::<T>::get(who))
        }
    }
}
