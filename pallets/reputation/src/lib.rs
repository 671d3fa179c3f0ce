//! # Reputation
//!
//! How far a member is trusted, by two measures of which the community chooses one for its auctions
//! (PROTOCOL 8). Both are computed always, so that the choice can be judged.
//!
//! ## Terms
//! - blocks created: the blocks an account made in the last `reputation_window` steps, less the turns it
//!   let pass in them, at least nothing [P, D].
//! - delivery: a score `R` that grows with declarations kept [L]. A member declares for a whole period
//!   of `T_C` steps what it will use and offer; afterwards
//!   `R_{v+1} = min(R_v + 1 − Σ|y − y#| / Σy#, τ + A_v)`, at least nothing, with `A_v` the steps since
//!   its last block.
//! - period: steps `v·T_C + 1` to `(v+1)·T_C`.
//!
//! ## Invariants
//! - Tallies are the sums over the turns in the window.
//! - A declaration is made before its period begins, for all of its steps, and counted once.
//!
//! ## Decisions
//! - Scores are integers in millionths; deviations are rounded up, against the member.
//! - The scale of a deviation is the mean of what was declared, see [`math::Deviation::relative`].
//! - Who declares nothing keeps its score. Who is no validator has no last block: its `A_v` is 0.
//! - The ceiling `τ + A_v` also holds when the auction asks: else a score that grew while its owner made no
//!   blocks could be kept for ever by declaring no more (ADR 0019).
//! - Evaluations are spread over the next blocks, so many in each, in the order of the storage, which is
//!   the same on every node. They take what is known then; later corrections change no score.
//! - Energy that was sold as orders arrived, and then was not there, lowers the delivery score by the part that was
//!   missing, at once (PROTOCOL 9).
//! - What was not measured in clear counts as nothing: whoever declares lets itself be measured.
//!
//! ## Not here
//! Who made a block (`pallet-miner-auction` tells); what was measured and offered (the meters and the
//! market).

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod math;
pub mod types;
pub mod weights;

#[cfg(test)]
mod tests;

pub use pallet::*;
pub use types::*;
pub use weights::WeightInfo;

/// How many periods ahead a member may declare.
pub const DECLARE_AHEAD_MAX: u32 = 2;

#[frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;
    use commonwatt_primitives::{
        Step, Wh,
        auction::{Deliveries, MinerAge, OnBlockAuthored, Reputation},
        traits::{MarketClock, OnShortfall, Registrar},
    };
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;

    use crate::{DECLARE_AHEAD_MAX, math, types::*, weights::WeightInfo};

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The chain's clock.
        type Clock: MarketClock;
        /// Who is a member.
        type Registry: Registrar<Self::AccountId>;
        /// What members really used and offered.
        type Deliveries: Deliveries<Self::AccountId>;
        /// How old the last blocks of miners are.
        type Ages: MinerAge<Self::AccountId>;
        /// Greatest number of validators, and so of turns missed for one block.
        #[pallet::constant]
        type MaxValidators: Get<u32>;
        /// Longest period.
        #[pallet::constant]
        type MaxPeriod: Get<u32>;
        /// How many declarations a block evaluates. With fewer in a period than members, evaluations
        /// would fall behind.
        #[pallet::constant]
        type EvaluationsPerBlock: Get<u32>;
        /// What the work costs.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The community's contract about reputation.
    #[pallet::storage]
    pub type ReputationRules<T> = StorageValue<_, Rules, ValueQuery>;

    /// Who made each block of the window, and whose turns passed.
    #[pallet::storage]
    pub type Turns<T: Config> =
        StorageMap<_, Twox64Concat, Step, Turn<T::AccountId, T::MaxValidators>, OptionQuery>;

    /// What each account did in the window; nothing for those who did nothing.
    #[pallet::storage]
    pub type Tallies<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Tally, ValueQuery>;

    /// Declarations by period and member, until they are evaluated.
    #[pallet::storage]
    pub type Declarations<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        u32,
        Blake2_128Concat,
        T::AccountId,
        BoundedVec<Declared, T::MaxPeriod>,
        OptionQuery,
    >;

    /// The earliest period of which declarations may wait for their evaluation.
    #[pallet::storage]
    pub type OldestOpen<T> = StorageValue<_, u32, ValueQuery>;

    /// The delivery score of each account that ever declared.
    #[pallet::storage]
    pub type Scores<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Score, ValueQuery>;

    /// The contract about reputation.
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
            if let Err(error) = self.rules.verify(T::MaxPeriod::get()) {
                panic!("genesis: reputation: {error}");
            }
            ReputationRules::<T>::put(self.rules);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A member declared what it will use and offer in a period.
        Declared {
            /// Who.
            who: T::AccountId,
            /// The period.
            period: u32,
        },
        /// A declaration was compared with what came of it.
        DeliveryEvaluated {
            /// Whose.
            who: T::AccountId,
            /// The period.
            period: u32,
            /// By how much it was missed, relative to what was declared.
            deviation: Score,
            /// The score since.
            score: Score,
        },
        /// A member sold more than it had.
        ShortfallCounted {
            /// Who.
            who: T::AccountId,
            /// In which step.
            step: Step,
            /// What it had sold.
            promised: Wh,
            /// What of it was not there.
            missing: Wh,
            /// The delivery score since.
            score: Score,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// Only members declare.
        NotAMember,
        /// The period has begun, or its first step has: declare for a later one.
        PeriodBegun,
        /// Declare for one of the next two periods.
        PeriodTooFar,
        /// Declare for each step of the period, no more and no less.
        WrongLength,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            let rules = ReputationRules::<T>::get();
            T::WeightInfo::turn(T::MaxValidators::get()).saturating_add(T::WeightInfo::block(
                T::EvaluationsPerBlock::get(),
                rules.period,
            ))
        }

        fn on_finalize(_: BlockNumberFor<T>) {
            Self::evaluate(T::Clock::current_step());
        }

        fn integrity_test() {
            assert!(
                T::EvaluationsPerBlock::get() > 0,
                "a block must evaluate at least one declaration, or none ever is"
            );
            assert!(T::MaxPeriod::get() > 0, "a period has at least one step");
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Declares for each step of `period`, which has not begun, what the caller will use and
        /// offer. A later declaration for the same period replaces an earlier one.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::declare(T::MaxPeriod::get()))]
        pub fn declare(
            origin: OriginFor<T>,
            period: u32,
            steps: BoundedVec<Declared, T::MaxPeriod>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            ensure!(T::Registry::is_member(&who), Error::<T>::NotAMember);
            let rules = ReputationRules::<T>::get();
            let now = T::Clock::current_step();
            // When block `s` is made, step `s + 1` runs already.
            let begun = Self::period_of(Step(now.0.saturating_add(1)), &rules);
            ensure!(period > begun, Error::<T>::PeriodBegun);
            ensure!(
                period.saturating_sub(begun) <= DECLARE_AHEAD_MAX,
                Error::<T>::PeriodTooFar
            );
            ensure!(
                u32::try_from(steps.len()) == Ok(rules.period),
                Error::<T>::WrongLength
            );

            Declarations::<T>::insert(period, &who, steps);

            Self::deposit_event(Event::Declared { who, period });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        /// Returns the period of a step; genesis belongs to the first one.
        fn period_of(step: Step, rules: &Rules) -> u32 {
            step.0.saturating_sub(1) / rules.period.max(1)
        }

        /// Evaluates declarations of periods that are over, the earliest first.
        fn evaluate(now: Step) {
            let rules = ReputationRules::<T>::get();
            let next = Self::period_of(Step(now.0.saturating_add(1)), &rules);
            let mut period = OldestOpen::<T>::get();
            let mut budget = usize::try_from(T::EvaluationsPerBlock::get()).unwrap_or(usize::MAX);
            while period < next {
                let batch: Vec<_> = Declarations::<T>::iter_prefix(period)
                    .take(budget)
                    .collect();
                budget -= batch.len();
                for (who, declared) in batch {
                    Declarations::<T>::remove(period, &who);
                    Self::evaluate_one(who, period, &declared, &rules);
                }
                if budget == 0 {
                    break;
                }
                period += 1;
            }
            OldestOpen::<T>::put(period);
        }

        fn evaluate_one(who: T::AccountId, period: u32, declared: &[Declared], rules: &Rules) {
            let first = u64::from(period).saturating_mul(rules.period.into());
            let mut sums = math::Deviation::default();
            for (step, declared) in (first.saturating_add(1)..).zip(declared) {
                let delivered = u32::try_from(step)
                    .ok()
                    .and_then(|step| T::Deliveries::delivery_of(&who, Step(step)))
                    .unwrap_or_default();
                sums.add(*declared, delivered);
            }
            let deviation = sums.relative();
            let age = T::Ages::age_of(&who).unwrap_or_default();
            let score = math::compute_next(Scores::<T>::get(&who), deviation, rules.tau, age);

            Scores::<T>::insert(&who, score);

            Self::deposit_event(Event::DeliveryEvaluated {
                who,
                period,
                deviation,
                score,
            });
        }

        fn change_tally(who: &T::AccountId, change: impl FnOnce(&mut Tally)) {
            Tallies::<T>::mutate_exists(who, |stored| {
                let mut tally = stored.unwrap_or_default();
                change(&mut tally);
                *stored = (!tally.is_empty()).then_some(tally);
            });
        }

        /// Returns the contract about reputation.
        pub fn rules() -> Rules {
            ReputationRules::<T>::get()
        }

        /// Returns an account's reputation by both measures.
        pub fn reputation_info(who: &T::AccountId) -> ReputationInfo {
            ReputationInfo {
                tally: Tallies::<T>::get(who),
                delivery: Scores::<T>::get(who),
                reputation: Self::reputation_of(who),
            }
        }

        /// Returns what an account declared for a period that is not evaluated yet.
        pub fn declaration(period: u32, who: &T::AccountId) -> Option<Vec<Declared>> {
            Declarations::<T>::get(period, who).map(BoundedVec::into_inner)
        }

        /// Checks what the module's documentation promises.
        #[cfg(any(feature = "try-runtime", test))]
        pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
            use alloc::collections::BTreeMap;

            let rules = ReputationRules::<T>::get();
            let now = T::Clock::current_step();
            let mut sums = BTreeMap::<T::AccountId, Tally>::new();
            for (height, turn) in Turns::<T>::iter() {
                ensure!(
                    height <= now && now.since(height) < rules.reputation_window,
                    "a turn outside the window"
                );
                let author = sums.entry(turn.author).or_default();
                author.authored = author.authored.saturating_add(1);
                for who in turn.missed {
                    let tally = sums.entry(who).or_default();
                    tally.missed = tally.missed.saturating_add(1);
                }
            }
            let stored: BTreeMap<_, _> = Tallies::<T>::iter().collect();
            ensure!(stored == sums, "tallies are not the sums of the turns");
            let oldest = OldestOpen::<T>::get();
            for (period, _, declared) in Declarations::<T>::iter() {
                ensure!(period >= oldest, "a declaration was forgotten");
                ensure!(
                    u32::try_from(declared.len()) == Ok(rules.period),
                    "a declaration does not fit its period"
                );
            }
            Ok(())
        }
    }

    impl<T: Config> OnBlockAuthored<T::AccountId> for Pallet<T> {
        fn on_block_authored(height: Step, author: &T::AccountId, missed: &[T::AccountId]) {
            let window = ReputationRules::<T>::get().reputation_window;
            let expired = height.0.checked_sub(window).map(Step);
            if let Some(turn) = expired.and_then(Turns::<T>::take) {
                Self::change_tally(&turn.author, |tally| {
                    tally.authored = tally.authored.saturating_sub(1);
                });
                for who in &turn.missed {
                    Self::change_tally(who, |tally| tally.missed = tally.missed.saturating_sub(1));
                }
            }
            // A ranking has no more places than validators, so nothing is cut off.
            let missed = BoundedVec::truncate_from(missed.to_vec());
            Self::change_tally(author, |tally| {
                tally.authored = tally.authored.saturating_add(1);
            });
            for who in &missed {
                Self::change_tally(who, |tally| tally.missed = tally.missed.saturating_add(1));
            }
            let author = author.clone();
            Turns::<T>::insert(height, Turn { author, missed });
        }
    }

    impl<T: Config> OnShortfall<T::AccountId> for Pallet<T> {
        fn on_shortfall(who: &T::AccountId, step: Step, promised: Wh, missing: Wh) {
            let score = math::compute_after_shortfall(Scores::<T>::get(who), promised, missing);

            Scores::<T>::insert(who, score);

            Self::deposit_event(Event::ShortfallCounted {
                who: who.clone(),
                step,
                promised,
                missing,
                score,
            });
        }
    }

    impl<T: Config> Reputation<T::AccountId> for Pallet<T> {
        fn reputation_of(who: &T::AccountId) -> u16 {
            let rules = ReputationRules::<T>::get();
            match rules.measure {
                Measure::BlocksCreated => Tallies::<T>::get(who).score(),
                Measure::Delivery => {
                    let age = T::Ages::age_of(who).unwrap_or_default();
                    let ceiling = math::compute_ceiling(rules.tau, age);
                    Scores::<T>::get(who).min(ceiling).in_hundredths()
                }
            }
        }
    }
}
