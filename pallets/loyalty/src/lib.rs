//! # Loyalty
//!
//! How loyal members are to the community's market [T 4.4]: a score that begins at 1.0 and weighs in
//! ties and in the prices of the mechanism `loyal` (PROTOCOL 9).
//!
//! ## Terms
//! - score: in millionths, 1.0 being a million; within the floor and the ceiling of the rules.
//! - conduct: how much of a member's orders of a step was traded, priced well but left without a
//!   counterpart, or cut off by the clearing price.
//!
//! ## Invariants
//! - A score changes at most once in a step, by at most the greatest of `boost`, `slight` and `cut`.
//! - Every score lies between floor and ceiling. Only scores other than 1.0 are kept.
//!
//! ## Decisions
//! - A step's energy counts in proportion, in full from `scale` Wh on: neither many tiny orders nor one large
//!   one gain more than a step is worth.
//! - Scores fade towards 1.0 when they are read; no block has to touch those who do not trade.
//! - A side that met no opposite side at all had no conduct [T 4.4 "They do not get penalized"]: the
//!   market does not tell of it.
//!
//! ## Not here
//! What was traded (`pallet-double-auction` tells), and at what price.

#![cfg_attr(not(feature = "std"), no_std)]

pub mod math;
pub mod types;
pub mod weights;

#[cfg(test)]
mod tests;

pub use pallet::*;
pub use types::*;
pub use weights::WeightInfo;

#[frame_support::pallet]
pub mod pallet {
    use commonwatt_primitives::{
        Ppm, Step,
        traits::{Loyalty, MarketConduct},
    };
    use frame_support::pallet_prelude::*;

    use crate::{math, types::*, weights::WeightInfo};

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// What the work costs.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The community's contract about loyalty.
    #[pallet::storage]
    pub type LoyaltyRules<T> = StorageValue<_, Rules, ValueQuery>;

    /// The scores of those who traded. Everyone else's is 1.0.
    #[pallet::storage]
    pub type Scores<T: Config> = StorageMap<_, Twox64Concat, T::AccountId, Record, OptionQuery>;

    /// The contract about loyalty.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The contract.
        pub rules: Rules,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            if let Err(error) = self.rules.verify() {
                panic!("genesis: loyalty: {error}");
            }
            LoyaltyRules::<T>::put(self.rules);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A step's market changed a member's loyalty.
        LoyaltyChanged {
            /// Whose.
            who: T::AccountId,
            /// By the market of which step.
            step: Step,
            /// The score before, faded to this step.
            from: Ppm,
            /// The score since.
            to: Ppm,
        },
    }

    impl<T: Config> Pallet<T> {
        /// Returns the contract about loyalty.
        pub fn rules() -> Rules {
            LoyaltyRules::<T>::get()
        }

        /// Checks what the module's documentation promises.
        #[cfg(any(feature = "try-runtime", test))]
        pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
            let rules = LoyaltyRules::<T>::get();
            for record in Scores::<T>::iter_values() {
                ensure!(
                    rules.floor <= record.score && record.score <= rules.ceiling,
                    "a score out of bounds"
                );
                ensure!(record.score != math::START, "a score of 1.0 is kept");
            }
            Ok(())
        }
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<frame_system::pallet_prelude::BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(
            _: frame_system::pallet_prelude::BlockNumberFor<T>,
        ) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    impl<T: Config> Loyalty<T::AccountId> for Pallet<T> {
        fn loyalty_of(who: &T::AccountId, step: Step) -> Ppm {
            math::score_in(Scores::<T>::get(who), step, &LoyaltyRules::<T>::get())
        }

        fn on_market_cleared(who: &T::AccountId, step: Step, conduct: MarketConduct) {
            let rules = LoyaltyRules::<T>::get();
            let record = Scores::<T>::get(who);
            if record.is_some_and(|record| record.updated >= step) {
                return;
            }
            let from = math::score_in(record, step, &rules);
            let to = math::compute_updated(from, conduct, &rules);
            if to == from && record.is_none() {
                return;
            }

            if to == math::START {
                Scores::<T>::remove(who);
            } else {
                let record = Record {
                    score: to,
                    updated: step,
                };
                Scores::<T>::insert(who, record);
            }

            if to != from {
                let who = who.clone();
                Self::deposit_event(Event::LoyaltyChanged {
                    who,
                    step,
                    from,
                    to,
                });
            }
        }
    }
}
