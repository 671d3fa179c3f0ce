//! # Outer grid
//!
//! The last resort [T 4.4]: what the community and its market leave over is bought from or sold to the
//! outer grid at a posted tariff, and recorded as money owed (PROTOCOL 9).
//!
//! ## Terms
//! - market face meter: `consumption − VGM` of an account in a step [D 2.3]; bought when it is positive, fed
//!   in when it is negative.
//! - tariff: prices for a trading unit, from a step on; never changed for a step that has begun.
//! - money: owed outside the chain, in its smallest unit. Coins are another thing and never mixed with it.
//! - rates: at which the treasury changes coins into money and back.
//!
//! ## Invariants
//! - Tariffs follow one another by their steps; one is in force in every kept step from the genesis on.
//! - A month's total holds exactly those of its steps whose detail has left the state.
//!
//! ## Decisions
//! - What a kept step costs is computed from the meter and the tariff of the step whenever it is asked for, and
//!   written into the month's total when the detail expires. So there is no second book that a correction would
//!   have to mend, and a block writes nothing here for those who are only metered.
//! - Each step is rounded to the nearest smallest unit of money: lines add up to totals, and rounding favours
//!   nobody.
//! - A new tariff replaces those that have not begun and would begin at its step or later, as a new
//!   agreement does.
//!
//! ## Not here
//! What was consumed and allocated (`pallet-virtual-meter`); minting and burning (`pallet-energy-coin`); who
//! has paid what.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod types;
pub mod weights;

#[cfg(test)]
mod tests;

pub use pallet::*;
pub use types::*;
pub use weights::WeightInfo;

/// Steps that one statement looks at: 35 days of quarter-hours.
pub const STATEMENT_STEPS_MAX: u32 = 3_360;
/// Months that one statement looks at.
pub const STATEMENT_MONTHS_MAX: u32 = 120;
/// The trading unit unless the chain spec says otherwise (PROTOCOL 9).
pub const TRADING_UNIT_DEFAULT: Wh = Wh(10);

use commonwatt_primitives::Wh;

#[frame_support::pallet]
pub mod pallet {
    use commonwatt_primitives::{
        Month, Step, Wh,
        traits::{MarketClock, MarketFace, OnHoldingExpired},
    };
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;

    use crate::{
        STATEMENT_MONTHS_MAX, STATEMENT_STEPS_MAX, TRADING_UNIT_DEFAULT, types::*,
        weights::WeightInfo,
    };

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Which step it is.
        type Clock: MarketClock;
        /// What is left of each step.
        type Meters: MarketFace<Self::AccountId>;
        /// Who posts tariffs: the DSO, or the community's governance.
        type TariffOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Who posts the rates for coins: the treasury.
        type TreasuryOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Greatest number of tariffs kept: those in force in a kept step, and those scheduled.
        #[pallet::constant]
        type MaxTariffs: Get<u32>;
        /// What the calls weigh.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The tariffs by ascending step: the one in force in the oldest kept step, and all after it.
    #[pallet::storage]
    pub type Tariffs<T: Config> = StorageValue<_, BoundedVec<Tariff, T::MaxTariffs>, ValueQuery>;

    /// The energy that prices are for; a genesis value.
    #[pallet::storage]
    pub type Unit<T> = StorageValue<_, Wh, ValueQuery>;

    /// The treasury's rates, if it posted any.
    #[pallet::storage]
    pub type Rates<T> = StorageValue<_, PostedRates, OptionQuery>;

    /// What each account had in a month, of steps whose detail is no longer kept.
    #[pallet::storage]
    pub type MonthTotals<T: Config> =
        StorageDoubleMap<_, Twox64Concat, Month, Twox64Concat, T::AccountId, GridTotal, ValueQuery>;

    /// The outer grid of the first hour.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// Prices from step 1 on.
        pub prices: Prices,
        /// The energy that prices are for.
        pub unit: Wh,
        /// The treasury's rates.
        pub rates: Option<CoinRates>,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                prices: Prices::default(),
                unit: TRADING_UNIT_DEFAULT,
                rates: None,
                _config: PhantomData,
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                !self.unit.is_zero(),
                "genesis: the trading unit must be at least 1 Wh"
            );
            let tariff = Tariff {
                effective_from: Step(1),
                prices: self.prices,
            };
            Tariffs::<T>::put(BoundedVec::truncate_from(alloc::vec![tariff]));
            Unit::<T>::put(self.unit);
            if let Some(rates) = self.rates {
                if let Err(error) = rates.verify() {
                    panic!("genesis: coin rates: {error}");
                }
                Rates::<T>::put(PostedRates {
                    since: Step(0),
                    rates,
                });
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// The outer grid will have other prices.
        TariffSet {
            /// First step they hold in.
            effective_from: Step,
            /// The prices for a trading unit.
            prices: Prices,
            /// How many tariffs it replaced that had not begun.
            replaced: u32,
        },
        /// The treasury posted its rates for coins.
        RatesPosted {
            /// The rates.
            rates: CoinRates,
        },
        /// An amount of money does not fit into 128 bits; the month's total was left as it was.
        TotalOverflowed {
            /// Whose.
            who: T::AccountId,
            /// The step that was left out.
            step: Step,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The tariff must begin after the step that is running: what has begun is priced by the tariff of its
        /// time.
        StartsTooEarly,
        /// `MaxTariffs` are kept or scheduled; wait until old ones expire, or replace a scheduled one.
        TooManyTariffs,
        /// A rate says how much money there is for at least one coin.
        NoCoins,
        /// The treasury must not pay more for a coin than it takes for one.
        BuysAboveSale,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(
                T::MaxTariffs::get() >= 2,
                "one tariff in force and one scheduled"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Posts the outer grid's prices from a future step on.
        ///
        /// It replaces those that have not begun and would begin at this step or later.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_tariff())]
        pub fn set_tariff(
            origin: OriginFor<T>,
            effective_from: Step,
            prices: Prices,
        ) -> DispatchResult {
            T::TariffOrigin::ensure_origin(origin)?;
            // Check. When block `s` is made, step `s + 1` runs already.
            let running = T::Clock::current_step().0.saturating_add(1);
            ensure!(effective_from.0 > running, Error::<T>::StartsTooEarly);
            // Compute.
            let (oldest, _) = T::Meters::kept_steps();
            let mut tariffs = Tariffs::<T>::get();
            let ended = tariffs
                .iter()
                .skip(1)
                .take_while(|next| next.effective_from <= oldest)
                .count();
            tariffs.drain(..ended);
            let before = tariffs.len();
            tariffs.retain(|tariff| tariff.effective_from < effective_from);
            let replaced = u32::try_from(before.saturating_sub(tariffs.len())).unwrap_or(u32::MAX);
            tariffs
                .try_push(Tariff {
                    effective_from,
                    prices,
                })
                .map_err(|_| Error::<T>::TooManyTariffs)?;
            // Write.
            Tariffs::<T>::put(tariffs);
            // Tell.
            Self::deposit_event(Event::TariffSet {
                effective_from,
                prices,
                replaced,
            });
            Ok(())
        }

        /// Posts at which rates the treasury changes coins and money from now on.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::post_rates())]
        pub fn post_rates(origin: OriginFor<T>, rates: CoinRates) -> DispatchResult {
            T::TreasuryOrigin::ensure_origin(origin)?;
            rates.verify().map_err(|error| match error {
                RatesError::NoCoins => Error::<T>::NoCoins,
                RatesError::BuysAboveSale => Error::<T>::BuysAboveSale,
            })?;

            Rates::<T>::put(PostedRates {
                since: T::Clock::current_step(),
                rates,
            });

            Self::deposit_event(Event::RatesPosted { rates });
            Ok(())
        }
    }

    impl<T: Config> OnHoldingExpired<T::AccountId> for Pallet<T> {
        fn on_holding_expired(step: Step, who: &T::AccountId, market_face_wh: i128) {
            if market_face_wh == 0 {
                return;
            }
            let Some(prices) = Self::prices_at(step) else {
                return;
            };
            let month = T::Clock::month_of(step);
            let sum = GridTotal::of_step(market_face_wh, prices, Unit::<T>::get())
                .and_then(|of_step| MonthTotals::<T>::get(month, who).checked_add(&of_step));
            match sum {
                Some(sum) => MonthTotals::<T>::insert(month, who, sum),
                None => Self::deposit_event(Event::TotalOverflowed {
                    who: who.clone(),
                    step,
                }),
            }
        }
    }

    /// Queries.
    impl<T: Config> Pallet<T> {
        /// Returns the prices of a kept or future step.
        pub fn prices_at(step: Step) -> Option<Prices> {
            Self::price_in(&Tariffs::<T>::get(), step)
        }

        fn price_in(tariffs: &[Tariff], step: Step) -> Option<Prices> {
            tariffs
                .iter()
                .rev()
                .find(|tariff| tariff.effective_from <= step)
                .map(|tariff| tariff.prices)
        }

        /// Returns the tariffs by ascending step.
        pub fn tariffs() -> alloc::vec::Vec<Tariff> {
            Tariffs::<T>::get().into_inner()
        }

        /// Returns the energy that prices are for.
        pub fn unit() -> Wh {
            Unit::<T>::get()
        }

        /// Returns the treasury's rates, if it posted any.
        pub fn rates() -> Option<PostedRates> {
            Rates::<T>::get()
        }

        /// Returns what an account owes for the steps from `from` to `to`, both included.
        ///
        /// Of the steps at most [`STATEMENT_STEPS_MAX`] are looked at, the latest ones; of the months at most
        /// [`STATEMENT_MONTHS_MAX`].
        pub fn statement(who: &T::AccountId, from: Step, to: Step) -> Statement {
            let (oldest, newest) = T::Meters::kept_steps();
            let last = to.min(newest);
            let first = from
                .max(oldest)
                .max(Step(last.0.saturating_add(1)).saturating_sub(STATEMENT_STEPS_MAX));
            let tariffs = Tariffs::<T>::get();
            let unit = Unit::<T>::get();
            let mut statement = Statement::default();
            for step in (first.0..=last.0).map(Step) {
                let line = T::Meters::market_face_wh(step, who)
                    .filter(|wh| *wh != 0)
                    .and_then(|wh| {
                        let prices = Self::price_in(&tariffs, step)?;
                        let total = GridTotal::of_step(wh, prices, unit)?;
                        Some(StatementLine {
                            step,
                            prices,
                            total,
                        })
                    });
                if let Some(line) = line
                    && let Some(total) = statement.total.checked_add(&line.total)
                {
                    statement.total = total;
                    statement.lines.push(line);
                }
            }
            let last_month = T::Clock::month_of(last).0;
            let first_month = T::Clock::month_of(from)
                .0
                .max(last_month.saturating_sub(STATEMENT_MONTHS_MAX - 1));
            statement.months = (first_month..=last_month)
                .map(|month| (Month(month), MonthTotals::<T>::get(Month(month), who)))
                .filter(|(_, total)| *total != GridTotal::default())
                .collect();
            statement
        }

        /// Checks what the module's documentation promises.
        #[cfg(any(feature = "try-runtime", test))]
        pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
            let tariffs = Tariffs::<T>::get();
            ensure!(
                tariffs.is_sorted_by(|a, b| a.effective_from < b.effective_from),
                "tariffs out of order"
            );
            let (oldest, _) = T::Meters::kept_steps();
            ensure!(
                Self::prices_at(oldest).is_some(),
                "a kept step has no tariff"
            );
            ensure!(
                MonthTotals::<T>::iter_values().all(|total| total != GridTotal::default()),
                "a total of nothing is kept"
            );
            Ok(())
        }
    }
}
