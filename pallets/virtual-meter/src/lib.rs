//! # Virtual meter
//!
//! The community's agreement, and what it makes of each step: lots in, virtual generation meters out
//! (PROTOCOL 3, 4), with the voting tokens that are issued along the same path (PROTOCOL 5).
//!
//! ## Terms
//! - VGM, virtual generation meter: what a member has of the community's generation in a step,
//!   `allocated + bought − sold`, signed.
//! - allocated: what the key shared to the member, and the rest of generation it is beneficiary of.
//! - market face meter: `consumption − VGM` [D 2.3], what the outer grid covers.
//! - run: one distribution of a step. A correction of its readings makes the next run, under the
//!   agreement that was in force in that step, and only the difference moves.
//!
//! ## Invariants
//! - The outputs of a step (shared, rest, losses) equal its lots to the last Wh. A run that would break
//!   this writes nothing.
//! - In every step the energy bought equals the energy sold, and no run touches either.
//! - Voting tokens issued, less those burned, less debts, are those of what was allocated.
//! - What a storage took in is what the virtual generation meter covered of its charge after all trades: energy
//!   that was sold is not stored as well.
//! - The lots a storage gave never exceed the lots it took in, but for corrections that came after the
//!   discharge; see `storage`.
//! - An agreement in force is never changed; participants stand in the order of their account ids.
//!
//! ## Decisions
//! - Corrections run before the step's own distribution, as PROTOCOL 1 orders the block: what a
//!   correction puts into a storage can be discharged in this very step, and debts are known when
//!   tokens are issued.
//! - A new agreement replaces those that have not yet begun and would begin at its step or later: the
//!   community's last word counts, and what has begun cannot be replaced.
//! - Without an agreement everything is rest, and no losses are taken off, for there is no account to
//!   credit them to.
//! - A meter's beneficiary, loss and efficiency are those that held in the step distributed, however
//!   late it is distributed again; its owner never changes, a new owner gets a new meter.
//! - The VGMs of a step stand in buckets of some sixteen accounts: a member proves its own with a light client by
//!   one of them, and a block adds and removes few entries of the state (see `entries`, ADR 0023).
//!
//! ## Not here
//! What was measured: `pallet-energy-token`. Consumption under a commitment is unknown here; once it is
//! revealed it is a reading that changed. Who trades with whom, and at what price: the markets, which move
//! energy through [`TradableEnergy`](commonwatt_primitives::traits::TradableEnergy) and remember the sales. Keys that need more than a step's pool and consumption (relative,
//! optimal, multi-round) are new variants of [`Key`].

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod allocation;
mod distribution;
mod entries;
mod market;
pub mod storage;
mod trace;
#[cfg(any(test, feature = "try-runtime"))]
mod try_state;
mod types;
mod voting;
pub mod weights;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

pub use entries::bucket_of;
pub use pallet::*;
pub use types::*;
pub use weights::WeightInfo;

const LOG_TARGET: &str = "commonwatt::virtual-meter";

#[frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;
    use commonwatt_primitives::{
        Bps, MeterId, Month, Ppm, Step, VotingToken, Wh,
        traits::{MarketClock, Meters, OnHoldingExpired, Readings, Registrar, Sales},
    };
    use frame_support::{pallet_prelude::*, traits::fungible};
    use frame_system::pallet_prelude::*;

    use crate::{distribution::AgreementBook, types::*, weights::WeightInfo};

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Who is a member, and which meters there are.
        type Registry: Registrar<Self::AccountId> + Meters<Self::AccountId>;
        /// Which step it is.
        type Clock: MarketClock;
        /// What was measured.
        type Readings: Readings;
        /// The voting tokens. Their existential deposit must not exceed one, see `integrity_test`.
        type VotingTokens: fungible::Mutate<Self::AccountId, Balance = VotingToken>;
        /// Who sold to whom, for traces.
        type Sales: Sales<Self::AccountId>;
        /// Who is told what each account had of a step when its detail goes.
        type OnHoldingExpired: OnHoldingExpired<Self::AccountId>;
        /// Who may set the agreement: the DSO, or the community's governance.
        type AgreementOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Greatest number of participants of an agreement.
        #[pallet::constant]
        type MaxParticipants: Get<u32>;
        /// Greatest number of meters with a reading in a step.
        #[pallet::constant]
        type MaxMeters: Get<u32>;
        /// Greatest number of agreements kept: those in force in a kept step, and those scheduled.
        #[pallet::constant]
        type MaxAgreements: Get<u32>;
        /// Greatest number of past steps that one block distributes again.
        #[pallet::constant]
        type ChangedStepsPerBlock: Get<u32>;
        /// What the work costs.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// Which agreement governs from which step, by ascending step.
    #[pallet::storage]
    pub type Schedule<T: Config> =
        StorageValue<_, BoundedVec<Scheduled, T::MaxAgreements>, ValueQuery>;

    /// The agreements by version.
    #[pallet::storage]
    pub type Agreements<T: Config> =
        StorageMap<_, Twox64Concat, u32, Agreement<T::AccountId, T::MaxParticipants>, OptionQuery>;

    /// Version of the agreement that was set last.
    #[pallet::storage]
    pub type LastVersion<T> = StorageValue<_, u32, ValueQuery>;

    /// What each account's virtual generation meter holds of a step, by step and bucket ([`bucket_of`]). Accounts
    /// without an entry have nothing.
    ///
    /// A bucket's bound is the number of accounts that the DSO registered; some sixteen share one.
    #[pallet::storage]
    #[pallet::unbounded]
    pub type Vgm<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        Step,
        Twox64Concat,
        u32,
        Vec<(T::AccountId, VgmEntry)>,
        ValueQuery,
    >;

    /// How many buckets of virtual generation meters a step has.
    #[pallet::storage]
    pub type VgmBuckets<T> = StorageMap<_, Twox64Concat, Step, u32, OptionQuery>;

    /// Each kept step in figures.
    #[pallet::storage]
    pub type StepSummaries<T> = StorageMap<_, Twox64Concat, Step, StepSummary, OptionQuery>;

    /// The lots of each kept step, by ascending meter, and where they went.
    #[pallet::storage]
    pub type Lots<T: Config> =
        StorageMap<_, Twox64Concat, Step, BoundedVec<Lot<T::AccountId>, T::MaxMeters>, ValueQuery>;

    /// What each kept step did to the storages; steps that did nothing have no entry.
    #[pallet::storage]
    pub type StorageMoves<T: Config> =
        StorageMap<_, Twox64Concat, Step, BoundedVec<StorageMove, T::MaxMeters>, ValueQuery>;

    /// Lots in each storage, in watt-hours, by its discharge meter. Negative after a correction of what
    /// was charged, when it had been discharged already.
    #[pallet::storage]
    pub type StorageBalances<T> = StorageMap<_, Twox64Concat, MeterId, i128, ValueQuery>;

    /// What each account had in a month.
    #[pallet::storage]
    pub type MonthTotals<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        Month,
        Twox64Concat,
        T::AccountId,
        MonthTotal,
        ValueQuery,
    >;

    /// Voting tokens that were withdrawn from a member after it had spent them, deducted from later
    /// issues.
    #[pallet::storage]
    pub type VotingDebt<T: Config> =
        StorageMap<_, Twox64Concat, T::AccountId, VotingToken, ValueQuery>;

    /// Voting tokens issued for each Wh allocated; a genesis value.
    #[pallet::storage]
    pub type TokensPerWh<T> = StorageValue<_, Bps, ValueQuery>;

    /// How many steps the detail is kept; a genesis value.
    #[pallet::storage]
    pub type Retention<T> = StorageValue<_, u32, ValueQuery>;

    /// Earliest step whose detail is kept.
    #[pallet::storage]
    pub type OldestKept<T> = StorageValue<_, Step, ValueQuery, FirstStep>;

    /// How large distributions are of late: the last one, or somewhat less than before.
    #[pallet::storage]
    pub type LastRun<T> = StorageValue<_, RunSize, ValueQuery>;

    /// Step 0 is genesis; the first step with energy is 1.
    #[doc(hidden)]
    pub struct FirstStep;

    impl Get<Step> for FirstStep {
        fn get() -> Step {
            Step(1)
        }
    }

    /// The agreement of a new chain, in force from step 1.
    #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub struct GenesisAgreement<AccountId> {
        /// How the energy is shared.
        pub key: KeyTerms<AccountId>,
        /// The community's own account.
        pub community_account: AccountId,
        /// Where losses are credited.
        pub loss_account: AccountId,
    }

    /// The registry's genesis must be built before, since participants must be members.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// The first agreement, if it is known.
        pub agreement: Option<GenesisAgreement<T::AccountId>>,
        /// Voting tokens issued for each Wh allocated, at most one.
        pub tokens_per_wh: Bps,
        /// How many steps the detail is kept.
        pub retention: u32,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                agreement: None,
                tokens_per_wh: Bps(100),
                retention: RETENTION_DEFAULT,
            }
        }
    }

    /// 35 days of quarter-hours.
    pub const RETENTION_DEFAULT: u32 = 3_360;

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.retention > 0,
                "genesis: retention must be at least one step"
            );
            assert!(
                self.tokens_per_wh.is_fraction(),
                "genesis: tokensPerWh must be at most {}, one token for each Wh",
                Bps::FULL
            );
            Retention::<T>::put(self.retention);
            TokensPerWh::<T>::put(self.tokens_per_wh);
            if let Some(GenesisAgreement {
                key,
                community_account,
                loss_account,
            }) = self.agreement.clone()
            {
                let key = Pallet::<T>::verify_terms(key)
                    .unwrap_or_else(|error| panic!("genesis: agreement: {error:?}"));
                let effective_from = FirstStep::get();
                let agreement = Agreement {
                    effective_from,
                    key,
                    community_account,
                    loss_account,
                };
                let schedule = alloc::vec![Scheduled {
                    effective_from,
                    version: 1
                }];
                Pallet::<T>::put_agreement(
                    1,
                    agreement,
                    schedule
                        .try_into()
                        .expect("integrity_test: at least two agreements fit"),
                );
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An agreement will govern from a step on.
        AgreementSet {
            /// Its number.
            version: u32,
            /// First step it governs.
            effective_from: Step,
            /// How many agreements it replaced that had not begun.
            replaced: u32,
        },
        /// A step's lots were distributed.
        StepDistributed {
            /// The step.
            step: Step,
            /// Always 1.
            version: u32,
            /// Sum of the lots.
            generated: Wh,
            /// Part shared by the key.
            shared: Wh,
            /// Part that went to the generators' beneficiaries.
            rest: Wh,
            /// How many accounts have an entry.
            members: u32,
        },
        /// A step was distributed again, because its readings changed.
        StepCorrected {
            /// The step.
            step: Step,
            /// How often it has been distributed.
            version: u32,
            /// Sum of the lots.
            generated: Wh,
            /// Part shared by the key.
            shared: Wh,
            /// Part that went to the generators' beneficiaries.
            rest: Wh,
        },
        /// A correction changed a virtual generation meter.
        VgmCorrected {
            /// The step.
            step: Step,
            /// Whose it is.
            member: T::AccountId,
            /// Watt-hours before.
            from: i128,
            /// Watt-hours after.
            to: i128,
        },
        /// A step was left as it was, because distributing it would have broken a rule.
        DistributionRefused {
            /// The step.
            step: Step,
            /// Which rule.
            reason: Refusal,
        },
        /// A storage gave more than was stored of the community's lots; the difference is grid energy.
        DischargeNotCovered {
            /// The step.
            step: Step,
            /// The discharge meter.
            meter: MeterId,
            /// What it reported.
            reported: Wh,
            /// What became a lot.
            credited: Wh,
        },
        /// Energy of a step changed hands.
        EnergyTraded {
            /// The step.
            step: Step,
            /// How much.
            energy: Wh,
            /// How many accounts bought or sold.
            accounts: u32,
        },
        /// A trade changed how much of a charge lots covered.
        ChargeCovered {
            /// The step.
            step: Step,
            /// The storage, by its discharge meter.
            storage: MeterId,
            /// Lots that went in, as of before.
            from: Wh,
            /// Lots that went in.
            to: Wh,
        },
        /// A correction withdrew voting tokens.
        VotingTokensWithdrawn {
            /// From whom.
            who: T::AccountId,
            /// What was taken from the balance.
            burned: VotingToken,
            /// What had been spent, deducted from later issues.
            owed: VotingToken,
        },
        /// The ledger of the voting tokens refused an issue.
        VotingTokensNotIssued {
            /// Who should have got them.
            who: T::AccountId,
            /// How many.
            amount: VotingToken,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The agreement must begin after the current step: what is past was shared by the agreement of
        /// its time.
        StartsInThePast,
        /// The coefficients of a static key must sum to exactly 1 000 000.
        SharesDoNotSumToOne,
        /// A participant is named twice.
        DuplicateParticipant,
        /// Every participant, and everyone who trades, must be a registered member.
        NotAMember,
        /// An agreement needs at least one participant.
        NoParticipants,
        /// More participants than `MaxParticipants`.
        TooManyParticipants,
        /// `MaxAgreements` are kept or scheduled; wait until old ones expire, or replace a scheduled one.
        TooManyAgreements,
        /// The version numbers are used up.
        VersionsExhausted,
        /// The detail of this step is not, not yet or no longer kept.
        StepNotKept,
        /// What is bought must be what is sold, and more than nothing.
        UnbalancedTrade,
        /// Accounts that trade must be named once each, in the order of their ids.
        TradersOutOfOrder,
        /// The seller's virtual generation meter holds less in this step.
        NotEnoughEnergy,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            let expiry = Self::expire(T::Clock::current_step());
            let runs = u64::from(Self::reruns_max()).saturating_add(1);
            expiry.saturating_add(Self::run_weight().saturating_mul(runs))
        }

        fn on_finalize(_: BlockNumberFor<T>) {
            let step = T::Clock::current_step();
            let changed = T::Readings::take_changed_steps(Self::reruns_max());
            let mut book = AgreementBook::<T>::new();
            for past in changed.into_iter().filter(|&past| past < step) {
                Self::distribute(past, &mut book);
            }
            Self::distribute(step, &mut book);
        }

        fn integrity_test() {
            assert!(
                T::MaxAgreements::get() >= 2,
                "one agreement in force and one scheduled"
            );
            assert!(
                T::ChangedStepsPerBlock::get() >= 1,
                "corrections would never be made"
            );
            assert!(
                <T::VotingTokens as fungible::Inspect<T::AccountId>>::minimum_balance() <= 1,
                "an issue of one voting token would be refused"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Sets the agreement that governs from a future step on.
        ///
        /// It replaces those that have not begun and would begin at this step or later.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_agreement(key.participant_count()))]
        pub fn set_agreement(
            origin: OriginFor<T>,
            effective_from: Step,
            key: KeyTerms<T::AccountId>,
            community_account: T::AccountId,
            loss_account: T::AccountId,
        ) -> DispatchResult {
            T::AgreementOrigin::ensure_origin(origin)?;
            Self::do_set_agreement(effective_from, key, community_account, loss_account)
        }
    }

    impl<T: Config> Pallet<T> {
        fn do_set_agreement(
            effective_from: Step,
            key: KeyTerms<T::AccountId>,
            community_account: T::AccountId,
            loss_account: T::AccountId,
        ) -> DispatchResult {
            // Check.
            ensure!(
                effective_from > T::Clock::current_step(),
                Error::<T>::StartsInThePast
            );
            let key = Self::verify_terms(key)?;
            // Compute.
            let version = LastVersion::<T>::get()
                .checked_add(1)
                .ok_or(Error::<T>::VersionsExhausted)?;
            let mut schedule = Schedule::<T>::get();
            let kept = schedule
                .iter()
                .filter(|entry| entry.effective_from < effective_from)
                .count();
            let replaced: Vec<u32> = schedule
                .iter()
                .skip(kept)
                .map(|entry| entry.version)
                .collect();
            schedule.truncate(kept);
            schedule
                .try_push(Scheduled {
                    effective_from,
                    version,
                })
                .map_err(|_| Error::<T>::TooManyAgreements)?;
            // Write.
            for version in &replaced {
                Agreements::<T>::remove(version);
            }
            let agreement = Agreement {
                effective_from,
                key,
                community_account,
                loss_account,
            };
            Self::put_agreement(version, agreement, schedule);
            // Tell.
            let replaced = u32::try_from(replaced.len()).unwrap_or(u32::MAX);
            Self::deposit_event(Event::AgreementSet {
                version,
                effective_from,
                replaced,
            });
            Ok(())
        }

        fn put_agreement(
            version: u32,
            agreement: Agreement<T::AccountId, T::MaxParticipants>,
            schedule: BoundedVec<Scheduled, T::MaxAgreements>,
        ) {
            LastVersion::<T>::put(version);
            Agreements::<T>::insert(version, agreement);
            Schedule::<T>::put(schedule);
        }

        /// Checks a proposed key and brings its participants into the order of their account ids.
        fn verify_terms(
            terms: KeyTerms<T::AccountId>,
        ) -> Result<Key<T::AccountId, T::MaxParticipants>, Error<T>> {
            match terms {
                KeyTerms::Static { capped, mut shares } => {
                    shares.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                    Self::verify_participants(shares.iter().map(|(who, _)| who))?;
                    let sum: u64 = shares.iter().map(|(_, share)| u64::from(share.0)).sum();
                    ensure!(
                        sum == u64::from(Ppm::FULL.0),
                        Error::<T>::SharesDoNotSumToOne
                    );
                    let shares = shares
                        .try_into()
                        .map_err(|_| Error::<T>::TooManyParticipants)?;
                    Ok(Key::Static { capped, shares })
                }
                KeyTerms::ProRata { mut participants } => {
                    participants.sort_unstable();
                    Self::verify_participants(participants.iter())?;
                    let participants = participants
                        .try_into()
                        .map_err(|_| Error::<T>::TooManyParticipants)?;
                    Ok(Key::ProRata { participants })
                }
            }
        }

        /// Checks participants that stand in the order of their account ids.
        fn verify_participants<'a>(
            participants: impl ExactSizeIterator<Item = &'a T::AccountId>,
        ) -> Result<(), Error<T>> {
            ensure!(participants.len() > 0, Error::<T>::NoParticipants);
            let max = usize::try_from(T::MaxParticipants::get()).unwrap_or(usize::MAX);
            ensure!(participants.len() <= max, Error::<T>::TooManyParticipants);
            let mut previous = None;
            for who in participants {
                ensure!(previous != Some(who), Error::<T>::DuplicateParticipant);
                ensure!(T::Registry::is_member(who), Error::<T>::NotAMember);
                previous = Some(who);
            }
            Ok(())
        }

        /// Removes the detail of the steps that expired, and agreements that only they needed.
        ///
        /// One step expires with each block; a second one is removed when an earlier block could not
        /// remove all the accounts of its step.
        fn expire(current: Step) -> Weight {
            let retention = Retention::<T>::get();
            let oldest_before = OldestKept::<T>::get();
            let mut oldest = oldest_before;
            let mut removed = 0u32;
            while oldest.since(oldest_before) < EXPIRIES_PER_BLOCK
                && current.since(oldest) >= retention
            {
                // Without its summary a step is not kept, even while some of its accounts are left.
                StepSummaries::<T>::remove(oldest);
                Lots::<T>::remove(oldest);
                StorageMoves::<T>::remove(oldest);
                let limit = Self::accounts_max();
                let entries = Self::remove_entries(oldest, limit);
                let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
                for (who, entry) in entries {
                    T::OnHoldingExpired::on_holding_expired(oldest, &who, entry.market_face_wh());
                }
                removed = removed.saturating_add(count);
                if count >= limit {
                    break;
                }
                oldest = Step(oldest.0.saturating_add(1));
            }
            if oldest != oldest_before {
                OldestKept::<T>::put(oldest);
                Self::drop_agreements_before(oldest);
            }
            T::WeightInfo::expire(removed)
        }

        fn drop_agreements_before(oldest: Step) {
            let schedule = Schedule::<T>::get();
            // An agreement ends where the next one begins; the last one never does.
            let ended = schedule
                .iter()
                .skip(1)
                .take_while(|next| next.effective_from <= oldest);
            let ended = ended.count();
            if ended > 0 {
                let mut schedule = schedule;
                for entry in schedule.drain(..ended) {
                    Agreements::<T>::remove(entry.version);
                }
                Schedule::<T>::put(schedule);
            }
        }

        /// Returns how many accounts a step can have: participants, owners and beneficiaries of meters,
        /// and the loss account. Members who only buy come on top; the expiry then takes another block.
        fn accounts_max() -> u32 {
            let of_meters = T::MaxMeters::get().saturating_mul(2);
            T::MaxParticipants::get()
                .saturating_add(of_meters)
                .saturating_add(1)
        }

        /// Returns what one run costs, by the size of recent first runs. One small step, as by night, hardly
        /// lowers it; a community that grows is undercharged for the one block in which it does.
        fn run_weight() -> Weight {
            let RunSize { meters, accounts } = LastRun::<T>::get();
            T::WeightInfo::distribute(meters, accounts)
        }

        /// Returns how many past steps this block may distribute again: so many that they take at most a
        /// quarter of it, at least one, at most `ChangedStepsPerBlock`.
        fn reruns_max() -> u32 {
            let block = <T as frame_system::Config>::BlockWeights::get().max_block;
            let budget = block.ref_time() / 4;
            let affordable = budget / Self::run_weight().ref_time().max(1);
            u32::try_from(affordable)
                .unwrap_or(u32::MAX)
                .clamp(1, T::ChangedStepsPerBlock::get())
        }
    }

    /// One for the step that expires with the block, one to catch up.
    const EXPIRIES_PER_BLOCK: u32 = 2;

    /// The retention, for the pallets whose detail expires together with this one's.
    pub struct RetentionOf<T>(PhantomData<T>);

    impl<T: Config> Get<u32> for RetentionOf<T> {
        fn get() -> u32 {
            Retention::<T>::get()
        }
    }

    /// Queries.
    impl<T: Config> Pallet<T> {
        /// Returns how many steps the detail is kept.
        pub fn retention() -> u32 {
            Retention::<T>::get()
        }

        /// Returns a step in figures, while it is kept.
        pub fn step_summary(step: Step) -> Option<StepSummary> {
            StepSummaries::<T>::get(step)
        }

        /// Returns what an account's virtual generation meter holds of a step, while it is kept.
        pub fn vgm(step: Step, who: &T::AccountId) -> Option<VgmEntry> {
            Self::is_kept(step)
                .then(|| Self::entry(step, who))
                .flatten()
        }

        /// Returns the market face meter of an account in a step, in watt-hours.
        pub fn market_face_meter(step: Step, who: &T::AccountId) -> Option<i128> {
            Self::vgm(step, who).map(|entry| entry.market_face_wh())
        }

        /// Returns every account's entry of a step, by ascending account id.
        pub fn allocations(step: Step) -> Vec<(T::AccountId, VgmEntry)> {
            if !Self::is_kept(step) {
                return Vec::new();
            }
            Self::entries(step).into_iter().collect()
        }

        /// Returns the oldest and the newest step whose detail is kept; the first is after the second while
        /// there is none.
        pub fn kept_steps() -> (Step, Step) {
            (OldestKept::<T>::get(), T::Clock::current_step())
        }

        /// Returns an account's entries of the `count` steps up to `newest`, newest first; steps in which
        /// it has none are left out.
        pub fn entries_of(who: &T::AccountId, newest: Step, count: u32) -> Vec<(Step, VgmEntry)> {
            Self::kept_downwards(newest, count)
                .filter_map(|step| Some((step, Self::vgm(step, who)?)))
                .collect()
        }

        /// Returns which of the `count` steps up to `newest` were distributed more than once and how
        /// often, newest first.
        pub fn corrected_steps(newest: Step, count: u32) -> Vec<(Step, u32)> {
            Self::kept_downwards(newest, count)
                .filter_map(|step| Some((step, Self::step_summary(step)?.version)))
                .filter(|(_, version)| *version > 1)
                .collect()
        }

        /// Returns the steps kept among the `count` up to `newest`, newest first.
        fn kept_downwards(newest: Step, count: u32) -> impl Iterator<Item = Step> {
            let (oldest, current) = Self::kept_steps();
            let newest = newest.min(current).0;
            let end = newest.saturating_add(1);
            (oldest.0.max(end.saturating_sub(count))..end)
                .rev()
                .map(Step)
        }

        /// Returns the voting tokens that are deducted from an account's later issues.
        pub fn voting_debt(who: &T::AccountId) -> VotingToken {
            VotingDebt::<T>::get(who)
        }

        /// Returns what an account had in a month.
        pub fn month_total(month: Month, who: &T::AccountId) -> MonthTotal {
            MonthTotals::<T>::get(month, who)
        }

        /// Returns the agreement that governs a step, while it is kept.
        pub fn agreement_at(step: Step) -> Option<AgreementInfo<T::AccountId>> {
            let (version, agreement) = AgreementBook::<T>::new().in_force(step)?.clone();
            let Agreement {
                effective_from,
                key,
                community_account,
                loss_account,
            } = agreement;
            Some(AgreementInfo {
                version,
                effective_from,
                key: key.into(),
                community_account,
                loss_account,
            })
        }

        pub(crate) fn is_kept(step: Step) -> bool {
            StepSummaries::<T>::contains_key(step)
        }
    }
}
