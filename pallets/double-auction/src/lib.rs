//! # Double auction
//!
//! The market of a step [T 4.4]: members' orders for the energy of their virtual generation meters, the coins held
//! for them, and the clearing in the block of the step, with what proves it (PROTOCOL 9).
//!
//! ## Terms
//! - unit: the trading unit, the least energy that is traded; limits and prices are for one.
//! - book: the orders of a step. A member's orders of a step are one value.
//! - gate: orders for a step are taken and given back in blocks before the step's own.
//! - escrow: a buyer's `limit × units`, on hold on its own account.
//! - standing order: one that is put into the book of every step, one step at a time.
//! - call: a clearing of all orders at once; `continuous` matches them in the order of their arrival.
//!
//! ## Invariants
//! - What is on hold for an account is the sum of its escrows in the books of the steps to come.
//! - Energy and coins of a clearing move together or not at all, and none of either is made or lost.
//! - Nobody sells more than `max(0, VGM − C)`, pays more than its limit, gets less than it, or trades with itself.
//! - A stored clearing is proved by what is stored with it, as long as it is kept: `commonwatt_clearing::verify_book`
//!   accepts it and no other.
//! - The agreement that clears a step is known before the first order for it can be placed.
//!
//! ## Decisions (ADR 0016)
//! - **The gate is a block.** Block `s − 1` is made after step `s` began and, by the genesis' timing, before its gate
//!   closes; so an order in it was in time, for every node alike, and nobody has to believe anybody's clock. An
//!   author of block `s`, who knows the readings of `s`, cannot bring an order for it, nor withdraw one. A late block may
//!   be made after the gate of the next step, so it takes none.
//! - Ties that limit, loyalty and block leave are broken by a hash of the beacon and the *owner*. A hash of the order's
//!   number would let the author of block `s − 1`, who knows the beacon first, choose numbers.
//! - One order for each side and limit of a member and step: quantities are changed by replacing. A replaced order is new
//!   to every rule of priority.
//! - In `continuous` matches follow from the arrivals and withdrawals in the state, and are computed when somebody asks
//!   and when the step is settled. A withdrawn order keeps its place and its escrow until then, for what it may have
//!   matched; one that no order of the book would ever have met is gone at once.
//! - A need without a reported consumption is nothing; an order capped by it does not trade then.
//! - What McAfee's reduction leaves goes to the treasury's keyless account.
//!
//! ## Not here
//! The algorithm and its proof (`commonwatt-clearing`); energy (`pallet-virtual-meter`); coins (`pallet-balances`,
//! `pallet-energy-coin`); what is left over (`pallet-outer-grid`); loyalty and reputation.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod caps;
mod orders;
mod queries;
mod settlement;
#[cfg(any(test, feature = "try-runtime"))]
mod try_state;
pub mod types;
pub mod weights;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

pub use pallet::*;
pub use queries::{HISTORY_MAX, LEVELS_MAX, MatchedOrders, ORDERS_PER_ANSWER_MAX, PAST_STEPS_MAX};
pub use types::*;
pub use weights::WeightInfo;

const LOG_TARGET: &str = "commonwatt::double-auction";

#[frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;
    use commonwatt_clearing::{Mechanism, ORDERS_MAX};
    use commonwatt_primitives::{
        Coin, Hash, Month, Price, Step, Wh,
        beacon::Beacon,
        traits::{Loyalty, MarketClock, OnShortfall, Registrar, TradableEnergy},
    };
    use frame_support::{
        PalletId,
        pallet_prelude::*,
        traits::fungible::{Inspect, Mutate, MutateHold},
    };
    use frame_system::pallet_prelude::*;
    use sp_runtime::traits::AccountIdConversion;

    use crate::{types::*, weights::WeightInfo};

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>, Hash = Hash> {
        /// The energy coin. A single one must be able to exist, see `integrity_test`.
        type Currency: Mutate<Self::AccountId, Balance = Coin>
            + MutateHold<Self::AccountId, Reason = Self::RuntimeHoldReason>;
        /// Why coins are on hold, among all pallets.
        type RuntimeHoldReason: From<HoldReason>;
        /// Which step it is.
        type Clock: MarketClock;
        /// Who is a member.
        type Registry: Registrar<Self::AccountId>;
        /// What may be traded.
        type Energy: TradableEnergy<Self::AccountId>;
        /// How loyal members are.
        type Loyalty: Loyalty<Self::AccountId>;
        /// Who is told of sales that were not delivered.
        type Shortfalls: OnShortfall<Self::AccountId>;
        /// The randomness beacon, for ties. It must know the seeds of kept steps and of [`STEPS_AHEAD_MAX`] steps before,
        /// when the earliest of their orders came.
        type Beacon: Beacon;
        /// Who may set the market's agreement.
        type TermsOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Where the surplus of a clearing goes.
        type Treasury: Get<Self::AccountId>;
        /// How many steps the detail is kept.
        type Retention: Get<u32>;
        /// Steps of an epoch, at whose beginnings the agreement may change.
        #[pallet::constant]
        type EpochLength: Get<u32>;
        /// Orders that a member may have in one step, beside standing ones.
        #[pallet::constant]
        type MaxOrders: Get<u32>;
        /// Standing orders that a member may have.
        #[pallet::constant]
        type MaxStanding: Get<u32>;
        /// Orders of a member that one step keeps: those it may have, standing ones, and some that it cancelled after they
        /// may have matched.
        #[pallet::constant]
        type MaxBooked: Get<u32>;
        /// Orders that a step may have.
        #[pallet::constant]
        type MaxOrdersPerStep: Get<u32>;
        /// Agreements that may be scheduled.
        #[pallet::constant]
        type MaxTerms: Get<u32>;
        /// Books of expired steps that one block removes.
        #[pallet::constant]
        type ExpiredBooksPerBlock: Get<u32>;
        /// From which the account is derived through which coins pass within a clearing.
        #[pallet::constant]
        type PalletId: Get<PalletId>;
        /// What the work costs.
        type WeightInfo: WeightInfo;
    }

    /// Why coins are on hold.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// For a buyer's orders.
        Order,
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// Each member's orders of a step: open ones of steps to come, settled ones of kept steps.
    #[pallet::storage]
    pub type Books<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        Step,
        Twox64Concat,
        T::AccountId,
        MemberBook<T::MaxBooked>,
        OptionQuery,
    >;

    /// How large the books of the steps to come are.
    #[pallet::storage]
    pub type Sizes<T> = StorageMap<_, Twox64Concat, Step, BookSize, ValueQuery>;

    /// The standing orders of each member.
    #[pallet::storage]
    pub type Standing<T: Config> = CountedStorageMap<
        _,
        Twox64Concat,
        T::AccountId,
        BoundedVec<StandingOrder, T::MaxStanding>,
        ValueQuery,
    >;

    /// The number of the next standing order.
    #[pallet::storage]
    pub type NextStanding<T> = StorageValue<_, u32, ValueQuery>;

    /// How the market of each kept step ended. Steps without orders have none.
    #[pallet::storage]
    pub type Outcomes<T> = StorageMap<_, Twox64Concat, Step, StepOutcome, OptionQuery>;

    /// Who sold to whom in each kept step, in chunks.
    #[pallet::storage]
    pub type Trades<T> =
        StorageDoubleMap<_, Twox64Concat, Step, Twox64Concat, u32, TradeChunk, ValueQuery>;

    /// Matches that were cancelled for want of energy in each kept step, in chunks.
    #[pallet::storage]
    pub type CancelledMatches<T> =
        StorageDoubleMap<_, Twox64Concat, Step, Twox64Concat, u32, CancelledChunk, ValueQuery>;

    /// What each member paid and received in a month, of steps that are no longer kept.
    #[pallet::storage]
    pub type MonthTotals<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        Month,
        Twox64Concat,
        T::AccountId,
        MonthTrade,
        ValueQuery,
    >;

    /// The market's agreement by ascending step: the one in force, and those scheduled.
    #[pallet::storage]
    pub type Terms<T: Config> = StorageValue<_, BoundedVec<MarketTerms, T::MaxTerms>, ValueQuery>;

    /// The trading unit; a genesis value.
    #[pallet::storage]
    pub type Unit<T> = StorageValue<_, Wh, ValueQuery>;

    /// Earliest step whose detail is kept.
    #[pallet::storage]
    pub type OldestKept<T> = StorageValue<_, Step, ValueQuery, FirstStep>;

    /// Step 0 is genesis; the first step with a market is 1.
    #[doc(hidden)]
    pub struct FirstStep;

    impl Get<Step> for FirstStep {
        fn get() -> Step {
            Step(1)
        }
    }

    /// The market of the first hour.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// How prices are found.
        pub mechanism: Mechanism,
        /// The trading unit.
        pub unit: Wh,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                mechanism: Mechanism::Average,
                unit: TRADING_UNIT_DEFAULT,
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
            if let Err(error) = verify_mechanism(self.mechanism) {
                panic!("genesis: market: {error}");
            }
            let terms = MarketTerms {
                effective_from: FirstStep::get(),
                mechanism: self.mechanism,
            };
            Terms::<T>::put(BoundedVec::truncate_from(alloc::vec![terms]));
            Unit::<T>::put(self.unit);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A member placed an order.
        OrderPlaced {
            /// Who.
            who: T::AccountId,
            /// What the order is known by.
            id: OrderId,
            /// What it says.
            terms: OrderTerms,
        },
        /// A member took an order back.
        OrderCancelled {
            /// Who.
            who: T::AccountId,
            /// Which.
            id: OrderId,
        },
        /// A member put an order in the place of another.
        OrderReplaced {
            /// Who.
            who: T::AccountId,
            /// The one that is gone.
            old: OrderId,
            /// The one that came.
            new: OrderId,
            /// What it says.
            terms: OrderTerms,
        },
        /// A standing order leaves a step out.
        StandingOrderSkipped {
            /// Whose.
            who: T::AccountId,
            /// Which.
            id: OrderId,
            /// The step.
            step: Step,
            /// Why.
            reason: SkipReason,
        },
        /// The market of a step was cleared.
        StepCleared {
            /// The step.
            step: Step,
            /// How.
            record: ClearingRecord,
        },
        /// The market of a step was not cleared: orders expired, escrow went back.
        StepVoid {
            /// The step.
            step: Step,
            /// Why.
            reason: VoidReason,
        },
        /// A member traded.
        MemberTraded {
            /// In which step.
            step: Step,
            /// Who.
            who: T::AccountId,
            /// What it bought.
            bought: Wh,
            /// What it sold.
            sold: Wh,
            /// Coins it paid.
            paid: Coin,
            /// Coins it received.
            received: Coin,
        },
        /// A member sold more than it had, and the last of it was cancelled.
        Shortfall {
            /// In which step.
            step: Step,
            /// Who.
            who: T::AccountId,
            /// What it had sold.
            promised: Wh,
            /// What of it was not there.
            missing: Wh,
        },
        /// The market will have another agreement.
        TermsSet {
            /// What it says, and from when.
            terms: MarketTerms,
            /// How many it replaced that had not begun.
            replaced: u32,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// Only members trade: ask the DSO to register the account.
        NotAMember,
        /// This block is late and may come after the next step's gate: send it again in the next block.
        BlockLate,
        /// The gate of this step is closed: its orders were fixed by the block before. Choose a later step.
        GateClosed,
        /// Orders are taken up to 96 steps ahead: wait, or place a standing one.
        TooFarAhead,
        /// The last step of this standing order has begun: choose a later one.
        AlreadyExpired,
        /// The order is meant in another trading unit than this chain's: convert quantity and limit.
        WrongUnit,
        /// An order asks for at least one unit.
        NothingOrdered,
        /// A limit is at most 2^64 − 1 coins for a unit.
        LimitTooHigh,
        /// A buyer offers at least one coin for a unit.
        LimitIsZero,
        /// Sales are capped by what there is for sale; a need caps purchases only.
        CapOnSale,
        /// Orders match as they arrive in this step, when nobody knows a need yet: leave the cap out.
        NeedUnknown,
        /// The account has too few free coins for `limit × units`, beside the one that keeps it alive: lower one of
        /// them, or cancel another order. Where orders match as they arrive, one that may have matched keeps its coins
        /// until its step, though it is cancelled.
        NotEnoughCoins,
        /// The member has an order of this side, limit and cap for this step already: replace that one.
        DuplicateOrder,
        /// The member has `MaxOrders` orders in this step: replace one of them.
        TooManyOrders,
        /// The member cancelled or replaced so many orders of this step after they may have matched that no more are
        /// kept: leave those that are open as they are, or choose another step.
        TooManyChanges,
        /// The member has `MaxStanding` standing orders: replace one of them.
        TooManyStandingOrders,
        /// The book of this step is full: choose another step.
        BookFull,
        /// The numbers of standing orders are used up.
        NumbersExhausted,
        /// There is no such order.
        UnknownOrder,
        /// The order belongs to somebody else, or it was cancelled, replaced or has expired.
        NotYourOrder,
        /// A market's agreement begins with an epoch, and after every step that orders may have been placed for.
        TermsStartTooEarly,
        /// A market's agreement begins with the first step of an epoch.
        TermsNotAtEpoch,
        /// `kappa` lies between 0 and 10 000, which is one.
        KappaAboveOne,
        /// `MaxTerms` are scheduled: replace one of them.
        TooManyTerms,
    }

    /// Steps whose detail may expire in one block: one for the block, one to catch up.
    const EXPIRIES_PER_BLOCK: u32 = 2;

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            let now = T::Clock::current_step();
            let expiry = Self::expire(now);
            let size = Sizes::<T>::get(now);
            expiry.saturating_add(T::WeightInfo::settle(
                size.orders,
                size.members,
                Standing::<T>::count(),
            ))
        }

        /// Clears the step. The distribution must have run before, and nothing that trades or spends after.
        fn on_finalize(_: BlockNumberFor<T>) {
            Self::settle(T::Clock::current_step());
        }

        fn integrity_test() {
            assert!(
                T::MaxBooked::get() >= T::MaxOrders::get().saturating_add(T::MaxStanding::get()),
                "a member's orders and standing orders of a step must fit into its book"
            );
            assert!(
                T::MaxOrdersPerStep::get() <= ORDERS_MAX,
                "a step must not have more orders than can be cleared"
            );
            assert!(
                T::MaxTerms::get() >= 2,
                "one agreement in force, one scheduled"
            );
            assert!(T::EpochLength::get() > 0, "an epoch has steps");
            assert!(
                T::ExpiredBooksPerBlock::get() > 0,
                "books would never be removed"
            );
            assert!(
                <T::Currency as Inspect<T::AccountId>>::minimum_balance() <= 1,
                "a single coin must be able to be paid"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Places an order for a step to come, or for every one from the next on.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::place())]
        pub fn place(origin: OriginFor<T>, terms: OrderTerms) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_place(who, terms)
        }

        /// Takes an order back whose gate is open.
        ///
        /// Of a standing order, what stands in the book of the running step stays; where orders match as they arrive,
        /// what matched stays.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::cancel())]
        pub fn cancel(origin: OriginFor<T>, id: OrderId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_cancel(who, id)
        }

        /// Takes an order back and places one for the same steps with another limit and quantity.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::replace())]
        pub fn replace(
            origin: OriginFor<T>,
            id: OrderId,
            #[pallet::compact] limit: Price,
            #[pallet::compact] units: u32,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_replace(who, id, limit, units)
        }

        /// Sets how prices are found from the first step of an epoch on, which must be further ahead than orders may be.
        ///
        /// It replaces agreements that have not begun and would begin at this step or later.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::set_terms())]
        pub fn set_terms(
            origin: OriginFor<T>,
            effective_from: Step,
            mechanism: Mechanism,
        ) -> DispatchResult {
            T::TermsOrigin::ensure_origin(origin)?;
            // Check.
            let now = T::Clock::current_step();
            ensure!(
                effective_from.since(now) > STEPS_AHEAD_MAX,
                Error::<T>::TermsStartTooEarly
            );
            ensure!(
                effective_from.0.is_multiple_of(T::EpochLength::get()),
                Error::<T>::TermsNotAtEpoch
            );
            verify_mechanism(mechanism).map_err(|_| Error::<T>::KappaAboveOne)?;
            // Compute.
            let mut all = Terms::<T>::get();
            let ended = all
                .iter()
                .skip(1)
                .take_while(|next| next.effective_from <= now)
                .count();
            all.drain(..ended);
            let before = all.len();
            all.retain(|terms| terms.effective_from < effective_from);
            let replaced = u32::try_from(before.saturating_sub(all.len())).unwrap_or(u32::MAX);
            let terms = MarketTerms {
                effective_from,
                mechanism,
            };
            all.try_push(terms).map_err(|_| Error::<T>::TooManyTerms)?;
            // Write.
            Terms::<T>::put(all);
            // Tell.
            Self::deposit_event(Event::TermsSet { terms, replaced });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns the account through which coins pass within a clearing.
        pub fn pot() -> T::AccountId {
            T::PalletId::get().into_account_truncating()
        }

        /// Removes the detail of the steps that expired; what members paid and received goes into their months.
        fn expire(current: Step) -> Weight {
            let retention = T::Retention::get();
            let oldest_before = OldestKept::<T>::get();
            let mut oldest = oldest_before;
            let most = T::ExpiredBooksPerBlock::get();
            let mut removed = 0u32;
            while oldest.since(oldest_before) < EXPIRIES_PER_BLOCK
                && current.since(oldest) >= retention
            {
                // Without its outcome a step is not kept, even while some of its books are left.
                if Outcomes::<T>::take(oldest).is_some() {
                    let _ = Trades::<T>::clear_prefix(oldest, u32::MAX, None);
                    let _ = CancelledMatches::<T>::clear_prefix(oldest, u32::MAX, None);
                }
                let left = most.saturating_sub(removed);
                let books: Vec<_> = Books::<T>::iter_prefix(oldest)
                    .take(usize::try_from(left).unwrap_or(usize::MAX))
                    .collect();
                let count = u32::try_from(books.len()).unwrap_or(u32::MAX);
                let month = T::Clock::month_of(oldest);
                for (who, book) in books {
                    Books::<T>::remove(oldest, &who);
                    let total = book
                        .orders
                        .iter()
                        .fold(MonthTrade::default(), |total, order| total.with(order));
                    if total != MonthTrade::default() {
                        MonthTotals::<T>::mutate(month, &who, |sum| {
                            *sum = book.orders.iter().fold(*sum, |sum, order| sum.with(order));
                        });
                    }
                }
                removed = removed.saturating_add(count);
                if count >= left {
                    break;
                }
                oldest = Step(oldest.0.saturating_add(1));
            }
            if oldest != oldest_before {
                OldestKept::<T>::put(oldest);
            }
            T::WeightInfo::expire(removed)
        }
    }
}
