//! # Energy coin
//!
//! The treasury of the local currency [T 4.3.1]. The coin is the chain's native balance, kept by
//! `pallet-balances`; this pallet only lets the treasury mint and burn it.
//!
//! ## Terms
//! - coin: the smallest unit of the native balance.
//! - treasury: the origin the community trusts with the currency.
//! ## Invariants
//! - Coins come into being only at genesis and by the treasury's calls. They cease by its calls and as
//!   fees, which are burned.
//! ## Not here
//! The rates at which the treasury buys and sells coins against money (`pallet-outer-grid`); transfers
//! (`pallet-balances`).

#![cfg_attr(not(feature = "std"), no_std)]

pub use pallet::*;
pub use weights::WeightInfo;

pub mod weights;

#[cfg(test)]
mod tests;

#[frame_support::pallet]
pub mod pallet {
    use super::WeightInfo;
    use commonwatt_primitives::{Coin, traits::Registrar};
    use frame_support::{
        pallet_prelude::*,
        traits::{
            fungible::Mutate,
            tokens::{Fortitude, Precision, Preservation},
        },
    };
    use frame_system::pallet_prelude::*;

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The native balance.
        type Currency: Mutate<Self::AccountId, Balance = Coin>;
        /// Who is registered: coins are minted to nobody else. Transfers reach any account, but an
        /// unregistered one cannot send a transaction to spend them.
        type Registry: Registrar<Self::AccountId>;
        /// Who may mint and burn.
        type TreasuryOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// What the calls weigh.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// The treasury minted coins to an account.
        CoinsMinted {
            /// Who received them.
            to: T::AccountId,
            /// How many.
            amount: Coin,
        },
        /// The treasury burned coins of an account.
        CoinsBurned {
            /// Who lost them.
            from: T::AccountId,
            /// How many.
            amount: Coin,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The amount is zero.
        NothingToDo,
        /// The receiver is not registered: ask the DSO to register it first.
        NotRegistered,
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Creates `amount` coins for a registered account.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::mint())]
        pub fn mint(origin: OriginFor<T>, to: T::AccountId, amount: Coin) -> DispatchResult {
            T::TreasuryOrigin::ensure_origin(origin)?;
            ensure!(amount > 0, Error::<T>::NothingToDo);
            ensure!(
                T::Registry::role_of(&to).is_some(),
                Error::<T>::NotRegistered
            );

            T::Currency::mint_into(&to, amount)?;

            Self::deposit_event(Event::CoinsMinted { to, amount });
            Ok(())
        }

        /// Destroys `amount` coins of an account; all of them or, when it has fewer, none.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::burn())]
        pub fn burn(origin: OriginFor<T>, from: T::AccountId, amount: Coin) -> DispatchResult {
            T::TreasuryOrigin::ensure_origin(origin)?;
            ensure!(amount > 0, Error::<T>::NothingToDo);

            T::Currency::burn_from(
                &from,
                amount,
                Preservation::Expendable,
                Precision::Exact,
                Fortitude::Polite,
            )?;

            Self::deposit_event(Event::CoinsBurned { from, amount });
            Ok(())
        }
    }
}
