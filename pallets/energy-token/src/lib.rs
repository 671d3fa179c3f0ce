//! # Energy token
//!
//! Turns signed cryptometer reports into energy lots, one account of every watt-hour (PROTOCOL 3).
//!
//! ## Terms
//! - reading: what the chain knows about a meter's energy in a step.
//! - lot: the reading of a generator; the energy token. Its id is a hash of meter and step.
//! - increment, interval: a report of energy to be added, or of the step's whole.
//! - late: reported for a step whose block has been made. A late reading makes a new version of its own
//!   step, never of the step that carries it.
//! - register: the meter's own counter, which the DSO reads to check what was credited.
//! ## Invariants
//! - Energy enters only by a report of the meter's device, or by the DSO with a reason.
//! - No sequence number of a device counts twice, whether it came directly or through a gateway.
//! - A reading is never replaced by one of worse quality.
//! - A step lists exactly the meters that have a reading in it, each once.
//! - A past step whose readings changed is among the changed steps until somebody takes it.
//! - No reading, commitment or list of a step outlives the retention.
//! ## Not here
//! Who gets the energy, and the second distribution after a late reading (`pallet-virtual-meter`); who
//! may report (`pallet-registry`).
//!
//! A normal report writes two entries of its own, the reading and the device's state, and appends to the
//! step's list, which all reports of a block share.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod corrections;
pub mod math;
mod registers;
mod reports;
pub mod sequence;
pub mod types;
pub mod weights;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

pub use pallet::*;
pub use reports::{
    COMMITMENT_DOMAIN, LOT_DOMAIN, RELAY_DOMAIN, compute_commitment, compute_lot_id,
};
pub use sequence::DeviceState;
pub use types::{
    ClassErrors, Conditions, Flag, Load, METERS_PER_BUCKET, Measurement, MpeTable, Reading,
    ReadingBucket, ReadingIndex, ReadingSource, RegisterReading, Report, Rules, TemperatureBand,
    bucket_of,
};
pub use weights::WeightInfo;

#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use alloc::vec::Vec;
    use commonwatt_primitives::{
        Bps, Hash, MeterId, Quality, Step, Wh,
        traits::{MarketClock, MeteredEnergy, Meters, Readings as ReadingsOfSteps, Registrar},
    };
    use frame_support::{BoundedBTreeSet, pallet_prelude::*};
    use frame_system::pallet_prelude::*;
    use sp_runtime::traits::{IdentifyAccount, Verify};

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Who is registered, and which meters there are.
        type Registry: Registrar<Self::AccountId> + Meters<Self::AccountId>;
        /// The chain's clock.
        type Clock: MarketClock;
        /// Who corrects readings and reports registers.
        type DsoOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// A device's signature under a report that a gateway relays.
        type DeviceSignature: Verify<Signer: IdentifyAccount<AccountId = Self::AccountId>>
            + Parameter;
        /// Greatest number of meters with a reading in one step.
        #[pallet::constant]
        type MaxMeters: Get<u32>;
        /// Greatest number of reports in a batch.
        #[pallet::constant]
        type MaxBatch: Get<u32>;
        /// Greatest length of a correction's reason, in bytes.
        #[pallet::constant]
        type MaxReasonLength: Get<u32>;
        /// Greatest number of past steps that wait for a new distribution.
        #[pallet::constant]
        type MaxChangedSteps: Get<u32>;
        /// Greatest number of steps between two register readings that are compared.
        #[pallet::constant]
        type RegisterIntervalMax: Get<u32>;
        /// What the calls weigh.
        type WeightInfo: WeightInfo;
    }

    /// Why a reading was corrected.
    pub type ReasonOf<T> = BoundedVec<u8, <T as Config>::MaxReasonLength>;
    /// Reports of one device with their sequence numbers.
    pub type BatchOf<T> = BoundedVec<(u64, Report), <T as Config>::MaxBatch>;
    /// Past steps whose readings changed.
    pub type ChangedStepsOf<T> = BoundedBTreeSet<Step, <T as Config>::MaxChangedSteps>;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// The genesis values.
    #[pallet::storage]
    pub type Settings<T> = StorageValue<_, Rules, ValueQuery>;

    /// What is known about the energy of the meters in each step kept, by step and bucket ([`bucket_of`]): an entry
    /// of the state for each reading would cost most of a block's time and bytes.
    #[pallet::storage]
    pub type Readings<T> =
        StorageDoubleMap<_, Twox64Concat, Step, Twox64Concat, u32, ReadingBucket, ValueQuery>;

    /// How many readings a step has, and in which buckets; so that neither the distribution nor the end of a step's
    /// retention has to search the trie.
    #[pallet::storage]
    pub type ReadingIndexes<T: Config> =
        StorageMap<_, Twox64Concat, Step, ReadingIndex<T::MaxMeters>, ValueQuery>;

    /// Consumption reported as a salted commitment. It stays when the consumption is revealed.
    #[pallet::storage]
    pub type Commitments<T> =
        StorageDoubleMap<_, Twox64Concat, Step, Twox64Concat, MeterId, Hash, OptionQuery>;

    /// The meters that have a commitment in a step.
    #[pallet::storage]
    pub type CommittersOfStep<T: Config> =
        StorageMap<_, Twox64Concat, Step, BoundedVec<MeterId, T::MaxMeters>, ValueQuery>;

    /// What is remembered of each device. The DSO registers devices, so nobody else chooses keys here.
    #[pallet::storage]
    pub type Devices<T: Config> =
        StorageMap<_, Twox64Concat, T::AccountId, DeviceState, OptionQuery>;

    /// Past steps whose readings changed since they were distributed.
    #[pallet::storage]
    pub type ChangedSteps<T: Config> = StorageValue<_, ChangedStepsOf<T>, ValueQuery>;

    /// The last register reading of each meter.
    #[pallet::storage]
    pub type Registers<T> = StorageMap<_, Twox64Concat, MeterId, RegisterReading, OptionQuery>;

    /// Meters that were credited with more or less than their register permits.
    #[pallet::storage]
    pub type FlaggedMeters<T> = StorageMap<_, Twox64Concat, MeterId, Flag, OptionQuery>;

    /// Maximum permissible errors.
    #[pallet::storage]
    pub type MpeTableOf<T> = StorageValue<_, MpeTable, ValueQuery>;

    /// The genesis values, checked when the chain is made.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// For how many on-time steps after its own a device may still report a step.
        pub correction_window: u32,
        /// For how many steps readings are kept; more than the correction window.
        pub retention: u32,
        /// What part of a meter's capacity a step may reach.
        pub plausibility_tolerance: Bps,
        /// Maximum permissible errors.
        pub mpe_table: MpeTable,
        #[serde(skip)]
        #[doc(hidden)]
        pub _config: core::marker::PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            let rules = Rules::default();
            Self {
                correction_window: rules.correction_window,
                retention: rules.retention,
                plausibility_tolerance: rules.tolerance,
                mpe_table: MpeTable::default(),
                _config: core::marker::PhantomData,
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            let rules = Rules {
                correction_window: self.correction_window,
                retention: self.retention,
                tolerance: self.plausibility_tolerance,
            };
            if let Err(error) = rules.verify() {
                panic!("genesis: energyToken: {error}");
            }
            assert!(
                self.mpe_table.is_plausible(),
                "genesis: energyToken: every error in mpeTable must be at most 10000, the whole"
            );
            Settings::<T>::put(rules);
            MpeTableOf::<T>::put(self.mpe_table);
        }
    }

    /// What changed a reading of a past step, or of the current one against its device.
    #[derive(
        CloneNoBound,
        DebugNoBound,
        PartialEqNoBound,
        EqNoBound,
        Encode,
        Decode,
        DecodeWithMemTracking,
        TypeInfo,
    )]
    #[scale_info(skip_type_params(T))]
    pub enum CorrectionCause<T: Config> {
        /// A report that came after its block.
        LateReport {
            /// The device.
            device: T::AccountId,
            /// Its sequence number.
            sequence: u64,
        },
        /// The DSO, for this reason.
        Dso {
            /// In the DSO's words.
            reason: ReasonOf<T>,
        },
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Energy was added to the lot of a generator, on time.
        GenerationReported {
            /// The meter.
            meter: MeterId,
            /// The device that signed the report.
            device: T::AccountId,
            /// The step, which is the current one.
            step: Step,
            /// The device's sequence number; missing ones are on their way or lost.
            sequence: u64,
            /// The step's energy so far.
            energy: Wh,
        },
        /// Consumption was reported, on time.
        ConsumptionReported {
            /// The meter.
            meter: MeterId,
            /// The device that signed the report.
            device: T::AccountId,
            /// The step, which is the current one.
            step: Step,
            /// The device's sequence number; missing ones are on their way or lost.
            sequence: u64,
            /// The step's energy so far.
            energy: Wh,
        },
        /// Consumption was reported as a salted commitment.
        ConsumptionCommitted {
            /// The meter.
            meter: MeterId,
            /// The device that signed the report.
            device: T::AccountId,
            /// The step.
            step: Step,
            /// The device's sequence number.
            sequence: u64,
            /// The commitment.
            commitment: Hash,
        },
        /// Consumption that had been committed to was revealed.
        ConsumptionRevealed {
            /// The meter.
            meter: MeterId,
            /// The step.
            step: Step,
            /// The step's energy.
            energy: Wh,
        },
        /// A reading was made or replaced outside the ordinary course.
        ReadingCorrected {
            /// The meter.
            meter: MeterId,
            /// The step it belongs to.
            step: Step,
            /// Its energy before; `None` when there was no reading.
            from: Option<Wh>,
            /// Its energy now.
            to: Wh,
            /// Why.
            cause: CorrectionCause<T>,
        },
        /// A device skipped more numbers than the window reaches: the earlier ones can no longer come.
        SequenceJumped {
            /// The device.
            device: T::AccountId,
            /// The highest number before.
            from: u64,
            /// The highest number now.
            to: u64,
        },
        /// A register reading was taken as the beginning of the next comparison, without one of its own.
        RegisterStarted {
            /// The meter.
            meter: MeterId,
            /// The step at whose end it was read.
            step: Step,
            /// What the register showed.
            register: Wh,
        },
        /// A register was compared with what was credited.
        RegisterCompared {
            /// The meter.
            meter: MeterId,
            /// The last step compared.
            step: Step,
            /// Energy credited on the chain.
            credited: Wh,
            /// Energy the register counted.
            metered: Wh,
            /// By how much they may differ.
            tolerance: Wh,
        },
        /// A register could not be compared: consumption in between is only committed to.
        RegisterIncomparable {
            /// The meter.
            meter: MeterId,
            /// The last step that was to be compared.
            step: Step,
            /// How many steps are hidden.
            committed_steps: u32,
        },
        /// Credited and metered energy of a meter differ by more than is permissible.
        MeterFlagged {
            /// The meter.
            meter: MeterId,
            /// The last step compared.
            step: Step,
        },
        /// The DSO has cleared up why a meter was flagged.
        FlagCleared {
            /// The meter.
            meter: MeterId,
        },
        /// The table of maximum permissible errors was changed.
        MpeTableChanged {
            /// The new table.
            table: MpeTable,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account is not registered: ask the DSO.
        NotRegistered,
        /// The account is registered, but not as a cryptometer.
        NotACryptometer,
        /// The device is bound to no meter: ask the DSO to bind it.
        DeviceNotBound,
        /// The device was not bound to its present meter in that step.
        DeviceNotBoundInStep,
        /// There is no meter of that number.
        MeterUnknown,
        /// Step 0 is genesis; the first step measured is 1.
        StepIsGenesis,
        /// The step has not come yet: report it when it closes.
        StepInFuture,
        /// The step lies before the meter's commissioning.
        StepBeforeCommissioning,
        /// The step lies after the meter's retirement.
        StepAfterRetirement,
        /// The step's correction window has closed: only the DSO can correct it.
        CorrectionWindowClosed,
        /// The step's readings are no longer kept: nobody can change them.
        StepBeyondRetention,
        /// The sequence number was used before.
        SequenceReplayed,
        /// The sequence number lies more than 1 024 below the device's highest.
        SequenceTooOld,
        /// The last number of all cannot be used: number on from the device's highest, or ask the DSO to
        /// give the device a new account.
        SequenceExhausted,
        /// The gateway's device signature does not fit the report.
        DeviceSignatureInvalid,
        /// No pulses or no energy to add: report an interval of zero instead.
        NothingMeasured,
        /// A batch needs at least one report.
        BatchEmpty,
        /// A report of the batch is refused, and with it the batch. The four bytes of the error are its
        /// own number, the report's place (two bytes, little-endian), and the number of the cause.
        BatchReportRefused {
            /// Place of the report in the batch, from 0.
            index: u16,
            /// Number of the cause among this pallet's errors.
            cause: u8,
        },
        /// The whole of the step is known already: report a newer interval instead of an increment.
        IncrementAfterWhole,
        /// The step has a reading of better quality.
        QualityWorse,
        /// The step has an interval of this version or a newer one.
        VersionNotNewer,
        /// The DSO has corrected this reading: only an interval of better quality replaces it.
        CorrectedByDso,
        /// More energy than the meter's capacity allows in a step.
        BeyondCapacity,
        /// The energy does not fit into the number range.
        EnergyOverflow,
        /// The meter's pulse constant is zero: ask the DSO to set it.
        PulseConstantZero,
        /// Only consumption may be hidden behind a commitment.
        CommitmentNotForConsumption,
        /// The step has a commitment: reveal it instead of reporting anew.
        StepCommitted,
        /// The step's consumption is known in clear.
        StepInClear,
        /// The step has no commitment of this meter.
        NotCommitted,
        /// Meter, step, energy and salt do not give the commitment.
        CommitmentMismatch,
        /// Only the meter's owner, its device or the DSO may reveal its consumption.
        NotOwnerOfConsumption,
        /// The step has as many meters as it can hold.
        StepFull,
        /// Too many past steps wait for a new distribution: try again in the next block.
        TooManyChangedSteps,
        /// A correction needs a reason.
        ReasonEmpty,
        /// The register was read in a step that has not closed: report it in the next one.
        RegisterStepOpen,
        /// The step's readings can still change: compare it when its correction window is over.
        RegisterStepCorrectable,
        /// The register was read in this step or a later one before.
        RegisterStepNotNewer,
        /// The last register reading is too long ago to compare: report more often; start anew with
        /// `replace_register` without a last reading.
        RegisterIntervalTooLong,
        /// The register shows less than before: use `roll_over_register` or `replace_register`.
        RegisterRanBackwards,
        /// The register did not roll over: it does not show less than before, or its modulus is too small.
        RegisterDidNotRollOver,
        /// The meter has no register reading to compare with.
        RegisterUnknown,
        /// The meter is not flagged.
        NotFlagged,
        /// A permissible error is more than the whole.
        MpeAboveWhole,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        /// Forgets the step whose retention ends with this one.
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::forget_expired_step(T::Clock::current_step())
        }

        fn integrity_test() {
            assert!(
                (1..u32::from(u16::MAX)).contains(&T::MaxBatch::get()),
                "MaxBatch must fit the index of BatchReportRefused"
            );
            assert!(T::MaxMeters::get() > 0, "a step must have room for a meter");
            assert!(T::MaxReasonLength::get() > 0, "a reason must have room");
            assert!(
                T::MaxChangedSteps::get() > 0,
                "a late reading must have room"
            );
            assert!(
                T::RegisterIntervalMax::get() > 0,
                "register readings must be comparable"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Reports what a meter measured. The caller is the meter's device.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::report())]
        pub fn report(origin: OriginFor<T>, sequence: u64, report: Report) -> DispatchResult {
            let device = ensure_signed(origin)?;
            Self::do_report(device, sequence, report)
        }

        /// Reports many steps at once, all or none.
        ///
        /// All or none, so that a device keeps one answer for each batch; the error names the first
        /// report that is refused and why, and the device sends the batch again without it.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::report_batch(reports.len().try_into().unwrap_or(u32::MAX)))]
        pub fn report_batch(origin: OriginFor<T>, reports: BatchOf<T>) -> DispatchResult {
            let device = ensure_signed(origin)?;
            Self::do_report_batch(device, reports)
        }

        /// Passes on a report that a device has signed. The caller is any registered account.
        ///
        /// The device signs `Pallet::relay_payload`. Reports passed on by several gateways, or by a
        /// gateway and by the device itself, may overtake each other; none counts twice.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::relay())]
        pub fn relay(
            origin: OriginFor<T>,
            device: T::AccountId,
            sequence: u64,
            report: Report,
            signature: T::DeviceSignature,
        ) -> DispatchResult {
            let gateway = ensure_signed(origin)?;
            Self::do_relay(gateway, device, sequence, report, signature)
        }

        /// Reveals consumption that was reported as a commitment. The caller is the meter's owner, its
        /// device, or the DSO, who alone may do so after the correction window.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::reveal_consumption())]
        pub fn reveal_consumption(
            origin: OriginFor<T>,
            meter: MeterId,
            step: Step,
            energy: Wh,
            salt: [u8; 32],
        ) -> DispatchResult {
            let by = match T::DsoOrigin::try_origin(origin) {
                Ok(_) => None,
                Err(origin) => Some(ensure_signed(origin)?),
            };
            Self::do_reveal_consumption(by, meter, step, energy, salt)
        }

        /// Corrects the reading of a step that is still kept, even after its correction window.
        #[pallet::call_index(4)]
        #[pallet::weight((T::WeightInfo::correct_reading(), DispatchClass::Operational))]
        pub fn correct_reading(
            origin: OriginFor<T>,
            meter: MeterId,
            step: Step,
            energy: Wh,
            quality: Quality,
            reason: ReasonOf<T>,
        ) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            Self::do_correct_reading(meter, step, energy, quality, reason)
        }

        /// Compares a register with what was credited since it was last read, and flags the meter when
        /// they differ by more than is permissible. The first reading only begins a comparison.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::compare_register(T::RegisterIntervalMax::get()))]
        pub fn report_register(
            origin: OriginFor<T>,
            meter: MeterId,
            step: Step,
            register: Wh,
            conditions: Conditions,
        ) -> DispatchResultWithPostInfo {
            T::DsoOrigin::ensure_origin(origin)?;
            Self::do_report_register(meter, step, register, conditions)
        }

        /// As `report_register`, for a register that went past its end and began again at zero.
        /// `modulus` is what one round counts: 1 000 000 000 Wh for six digits of kilowatt-hours.
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::compare_register(T::RegisterIntervalMax::get()))]
        pub fn roll_over_register(
            origin: OriginFor<T>,
            meter: MeterId,
            step: Step,
            register: Wh,
            modulus: Wh,
            conditions: Conditions,
        ) -> DispatchResultWithPostInfo {
            T::DsoOrigin::ensure_origin(origin)?;
            Self::do_roll_over_register(meter, step, register, modulus, conditions)
        }

        /// Puts a new register in the place of the old one. `last` is what the old one showed at the
        /// end, which is compared as by `report_register`; `None` when it cannot be read.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::compare_register(
            if last.is_some() { T::RegisterIntervalMax::get() } else { 0 }
        ))]
        pub fn replace_register(
            origin: OriginFor<T>,
            meter: MeterId,
            step: Step,
            last: Option<Wh>,
            first: Wh,
            conditions: Conditions,
        ) -> DispatchResultWithPostInfo {
            T::DsoOrigin::ensure_origin(origin)?;
            Self::do_replace_register(meter, step, last, first, conditions)
        }

        /// Clears a meter's flag once the DSO knows why it was raised.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::clear_flag())]
        pub fn clear_flag(origin: OriginFor<T>, meter: MeterId) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            // Check.
            ensure!(
                FlaggedMeters::<T>::contains_key(meter),
                Error::<T>::NotFlagged
            );
            // Write.
            FlaggedMeters::<T>::remove(meter);
            // Tell.
            Self::deposit_event(Event::FlagCleared { meter });
            Ok(())
        }

        /// Sets the maximum permissible errors.
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::set_mpe_table())]
        pub fn set_mpe_table(origin: OriginFor<T>, table: MpeTable) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            // Check.
            ensure!(table.is_plausible(), Error::<T>::MpeAboveWhole);
            // Write.
            MpeTableOf::<T>::put(table);
            // Tell.
            Self::deposit_event(Event::MpeTableChanged { table });
            Ok(())
        }
    }

    /// Queries for other pallets, the runtime's interfaces and the transaction pool.
    impl<T: Config> Pallet<T> {
        /// Returns whether a call reports a step that has not come yet.
        ///
        /// The transaction check answers such a call as one of the future, so that the pool keeps it
        /// until its step closes. A batch waits for its latest step.
        pub fn is_premature(call: &Call<T>) -> bool {
            let now = T::Clock::current_step();
            match call {
                Call::report { report, .. } | Call::relay { report, .. } => report.step > now,
                Call::report_batch { reports } => {
                    reports.iter().any(|(_, report)| report.step > now)
                }
                _ => false,
            }
        }

        /// Returns the id of the lot of a meter in a step; see [`compute_lot_id`].
        pub fn lot_id(meter: MeterId, step: Step) -> Hash {
            compute_lot_id(meter, step)
        }

        /// Returns what is known about a meter's energy in a step.
        pub fn reading(meter: MeterId, step: Step) -> Option<Reading> {
            let bucket = Readings::<T>::get(step, bucket_of(meter));
            bucket.get(meter).copied()
        }

        /// Returns a meter's readings of the `count` steps from `first` on, by ascending step.
        pub fn readings_of_meter(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Reading)> {
            Self::steps_from(first, count)
                .filter_map(|step| Some((step, Self::reading(meter, step)?)))
                .collect()
        }

        /// Returns a meter's commitments of the `count` steps from `first` on, by ascending step.
        pub fn commitments_of_meter(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Hash)> {
            Self::steps_from(first, count)
                .filter_map(|step| Some((step, Commitments::<T>::get(step, meter)?)))
                .collect()
        }

        /// Returns the steps from `first` on that may have readings, at most `count`.
        fn steps_from(first: Step, count: u32) -> impl Iterator<Item = Step> {
            let end = T::Clock::current_step().0.saturating_add(1);
            (first.0..end.min(first.0.saturating_add(count))).map(Step)
        }

        /// Returns what the DSO last read off a meter's own register.
        pub fn register_of(meter: MeterId) -> Option<RegisterReading> {
            Registers::<T>::get(meter)
        }

        /// Returns why a meter is flagged, if it is.
        pub fn flag_of(meter: MeterId) -> Option<Flag> {
            FlaggedMeters::<T>::get(meter)
        }

        /// Returns for how many steps readings are kept.
        pub fn retention() -> u32 {
            Settings::<T>::get().retention
        }
    }

    impl<T: Config> ReadingsOfSteps for Pallet<T> {
        fn readings_of(step: Step) -> Vec<MeteredEnergy> {
            let mut buckets = ReadingIndexes::<T>::get(step).buckets.into_inner();
            buckets.sort_unstable();
            buckets
                .into_iter()
                .flat_map(|bucket| Readings::<T>::get(step, bucket).0)
                .map(|(meter, Reading { energy, .. })| MeteredEnergy { meter, energy })
                .collect()
        }

        fn take_changed_steps(limit: u32) -> Vec<Step> {
            let mut changed = ChangedSteps::<T>::get().into_inner();
            let count = changed
                .len()
                .min(usize::try_from(limit).unwrap_or(usize::MAX));
            // Most blocks carry no late reading; they write nothing here.
            if count == 0 {
                return Vec::new();
            }
            let taken = (0..count).map_while(|_| changed.pop_first()).collect();
            if changed.is_empty() {
                ChangedSteps::<T>::kill();
            } else if let Ok(rest) = ChangedStepsOf::<T>::try_from(changed) {
                ChangedSteps::<T>::put(rest);
            }
            taken
        }
    }

    impl<T: Config> Pallet<T> {
        /// Forgets what is kept of the step that is `retention` before `now`.
        ///
        /// Every block forgets one step, so nothing older is left. Steps that still wait for a new
        /// distribution are not lost here: no step of that age can change any more, and the earliest
        /// is taken first.
        fn forget_expired_step(now: Step) -> Weight {
            let Some(expired) = now.0.checked_sub(Self::retention()).map(Step) else {
                return T::WeightInfo::forget_step(0, 0);
            };
            let index = ReadingIndexes::<T>::take(expired);
            let committers = CommittersOfStep::<T>::take(expired);
            for bucket in &index.buckets {
                Readings::<T>::remove(expired, bucket);
            }
            for meter in &committers {
                Commitments::<T>::remove(expired, meter);
            }
            let mut changed = ChangedSteps::<T>::get();
            if changed.remove(&expired) {
                ChangedSteps::<T>::put(changed);
            }
            let committers = u32::try_from(committers.len()).unwrap_or(u32::MAX);
            T::WeightInfo::forget_step(index.readings, committers)
        }
    }

    /// The invariants of this pallet, checked after every test and by `try-runtime`.
    #[cfg(any(feature = "try-runtime", test))]
    impl<T: Config> Pallet<T> {
        /// Checks every invariant that storage alone can show.
        pub fn do_try_state() -> Result<(), sp_runtime::DispatchError> {
            let rules = Settings::<T>::get();
            ensure!(
                rules.verify().is_ok(),
                "the genesis values do not fit together"
            );
            let now = T::Clock::current_step();
            let is_kept = |step: Step| step <= now && now.since(step) < rules.retention;

            let mut listed = 0usize;
            for (step, index) in ReadingIndexes::<T>::iter() {
                ensure!(
                    is_kept(step),
                    "an index of readings lies outside the retention"
                );
                let mut buckets = index.buckets.into_inner();
                buckets.sort_unstable();
                ensure!(
                    buckets.windows(2).all(|pair| pair[0] != pair[1]),
                    "a bucket of readings is listed twice"
                );
                let mut readings = 0usize;
                for number in &buckets {
                    let bucket = Readings::<T>::get(step, number).0;
                    ensure!(!bucket.is_empty(), "a bucket is listed without a reading");
                    ensure!(
                        bucket.iter().all(|(meter, _)| bucket_of(*meter) == *number)
                            && bucket.windows(2).all(|pair| pair[0].0 < pair[1].0),
                        "a bucket holds what does not belong there, or not by ascending meter"
                    );
                    readings += bucket.len();
                }
                ensure!(
                    u32::try_from(readings) == Ok(index.readings),
                    "a step's readings are miscounted"
                );
                listed += buckets.len();
            }
            ensure!(
                Readings::<T>::iter().count() == listed,
                "a bucket of readings is not listed"
            );

            let mut committed = 0usize;
            for (step, meters) in CommittersOfStep::<T>::iter() {
                ensure!(
                    is_kept(step),
                    "a list of commitments lies outside the retention"
                );
                committed += meters.len();
                for meter in meters {
                    ensure!(
                        Commitments::<T>::contains_key(step, meter),
                        "a meter is listed without its commitment"
                    );
                }
            }
            ensure!(
                Commitments::<T>::iter().count() == committed,
                "a commitment is not listed, or twice"
            );

            for step in ChangedSteps::<T>::get() {
                ensure!(
                    step < now,
                    "a step that is not past waits for a new distribution"
                );
                ensure!(
                    is_kept(step),
                    "a step that is forgotten waits for a new distribution"
                );
            }
            for device in Devices::<T>::iter_values() {
                ensure!(
                    device
                        .missing
                        .windows(2)
                        .all(|pair| pair[0].index < pair[1].index)
                        && device
                            .missing
                            .iter()
                            .all(|word| word.index < 16 && word.bits != 0),
                    "a sequence window is not in its shortest form"
                );
            }
            for register in Registers::<T>::iter_values() {
                ensure!(
                    register.step < now,
                    "a register was read in a step that has not closed"
                );
            }
            Ok(())
        }
    }
}
