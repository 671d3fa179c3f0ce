//! # Market step
//!
//! The chain's only clock: block `s` closes step `s`, and its time is `T_s` by definition.
//!
//! ## Terms
//! - step: one market interval; see `commonwatt_primitives::time`.
//! - late: made after the next step had closed, while catching up after an outage.
//! ## Invariants
//! - The timestamp of block `s` is `T_s`; no author chooses it [T 6.2.3].
//! - The count of on-time steps grows by one in a block that is not late, and stays in one that is.
//! ## Not here
//! Whether a block really was late: nodes compare with their own clocks before they vote.

#![cfg_attr(not(feature = "std"), no_std)]

pub use pallet::*;

#[cfg(test)]
mod tests;

#[frame_support::pallet]
pub mod pallet {
    use commonwatt_primitives::{Month, Step, StepTiming, digest::StepDigest, traits::MarketClock};
    use frame_support::{pallet_prelude::*, traits::OnTimestampSet};
    use frame_system::pallet_prelude::*;
    use sp_runtime::SaturatedConversion;

    #[pallet::config]
    pub trait Config: frame_system::Config {
        /// For how many steps the count of on-time steps is kept: the detail's retention.
        type Retention: Get<u32>;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// When steps close; a genesis value.
    #[pallet::storage]
    pub type Timing<T> = StorageValue<_, StepTiming, OptionQuery>;

    /// Whether the block under construction is late; after it, whether the last block was. It is not
    /// cleared when the block ends, for other pallets ask at their own ends of the block.
    #[pallet::storage]
    pub type Late<T> = StorageValue<_, bool, ValueQuery>;

    /// How many steps up to and including this one were not late.
    #[pallet::storage]
    pub type OnTimeCount<T> = StorageMap<_, Twox64Concat, Step, u32, OptionQuery>;

    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// When steps close.
        pub timing: Option<StepTiming>,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            let timing = self.timing.unwrap_or(StepTiming::PRODUCTION);
            if let Err(error) = timing.verify() {
                panic!("genesis: {error}");
            }
            Timing::<T>::put(timing);
            OnTimeCount::<T>::insert(Step(0), 0);
        }
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(number: BlockNumberFor<T>) -> Weight {
            let step = Self::step_of(number);
            // A panic here rejects the block: nobody may leave open whether it is late.
            let is_late = StepDigest::find(&frame_system::Pallet::<T>::digest())
                .expect("a block's header must hold exactly one valid step digest")
                .is_late();
            let before = OnTimeCount::<T>::get(step.saturating_sub(1)).unwrap_or_default();

            Late::<T>::put(is_late);
            OnTimeCount::<T>::insert(step, before.saturating_add(u32::from(!is_late)));
            if let Some(expired) = step.0.checked_sub(T::Retention::get().saturating_add(1)) {
                OnTimeCount::<T>::remove(Step(expired));
            }
            T::DbWeight::get().reads_writes(2, 3)
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns when steps close.
        pub fn timing() -> StepTiming {
            Timing::<T>::get().unwrap_or(StepTiming::PRODUCTION)
        }

        fn step_of(number: BlockNumberFor<T>) -> Step {
            Step(number.saturated_into())
        }
    }

    impl<T: Config> MarketClock for Pallet<T> {
        fn current_step() -> Step {
            Self::step_of(frame_system::Pallet::<T>::block_number())
        }

        fn is_late() -> bool {
            Late::<T>::get()
        }

        fn on_time_steps_since(step: Step) -> u32 {
            let now = Self::current_step();
            // Outside a block, as when a transaction is validated, the current step has no count yet.
            let count = OnTimeCount::<T>::get(now)
                .or_else(|| OnTimeCount::<T>::get(now.saturating_sub(1)))
                .unwrap_or_default();
            match OnTimeCount::<T>::get(step) {
                Some(then) => count.saturating_sub(then),
                None if step >= now => 0,
                // Forgotten: longer ago than any window.
                None => u32::MAX,
            }
        }

        fn metered_ms() -> u64 {
            Self::timing().metered_ms
        }

        fn month_of(step: Step) -> Month {
            Month::from_unix_ms(Self::timing().closes_at_ms(step))
        }
    }

    impl<T: Config> OnTimestampSet<u64> for Pallet<T> {
        fn on_timestamp_set(moment: u64) {
            // Reached only through the inherent, where a panic rejects the whole block.
            let due = Self::timing().closes_at_ms(Self::current_step());
            assert!(
                moment == due,
                "block time must be {due}, when its step closes, not {moment}"
            );
        }
    }
}
