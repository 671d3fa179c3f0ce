//! # Registry
//!
//! Who is who on this permissioned chain: the DSO, members, their validators, meters and the
//! cryptometers bound to them (PROTOCOL 2).
//!
//! ## Terms
//! - meter: a certified metering point; it keeps its number when its device or owner changes.
//! - cryptometer: the device that signs a meter's readings, one account for each device.
//! - binding: the span of steps in which a device spoke for a meter.
//! ## Invariants
//! - An account has one role. A device is bound to at most one meter, a meter to at most one device.
//! - A meter's number is never given twice; a retired meter keeps its record.
//! - A registered account can transact without owning a coin (it holds a sufficient reference). It keeps
//!   the reference when it is removed, so that its nonce never begins again and no transaction of it can
//!   be replayed.
//! - The two meters of a storage name each other.
//! - What a change says about sharing (beneficiary, loss, efficiency) holds from the next step on; a past
//!   step is distributed again with what held then.
//! - No two validators share a vote key or a beacon key, and there are at most `MaxValidators`.
//! ## Not here
//! What meters measured (`pallet-energy-token`); who gets the energy (`pallet-virtual-meter`); who makes
//! the next block.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub use pallet::*;
pub use weights::WeightInfo;

pub mod types;
pub mod weights;

#[cfg(test)]
mod tests;

#[frame_support::pallet]
pub mod pallet {
    use super::{WeightInfo, types::*};
    use alloc::vec::Vec;
    use commonwatt_primitives::{
        Bps, MeterId, Role, Step,
        auction::{Validator, ValidatorRegistry},
        keys::SessionKeys,
        metering::MeterInfo,
        traits::{MarketClock, Meters as MetersT, Registrar},
    };
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;

    #[pallet::config]
    pub trait Config: frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// Who may change the registry: the DSO or governance.
        type DsoOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// The chain's clock.
        type Clock: MarketClock;
        /// Greatest number of meters ever registered.
        #[pallet::constant]
        type MaxMeters: Get<u32>;
        /// Greatest number of members at one time.
        #[pallet::constant]
        type MaxMembers: Get<u32>;
        /// Greatest number of validators at one time.
        #[pallet::constant]
        type MaxValidators: Get<u32>;
        /// How many former devices of a meter are remembered; the oldest is forgotten first.
        #[pallet::constant]
        type MaxPastBindings: Get<u32>;
        /// What the calls weigh.
        type WeightInfo: WeightInfo;
    }

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    /// What each registered account may do.
    #[pallet::storage]
    pub type Roles<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Role, OptionQuery>;

    /// How many members there are.
    #[pallet::storage]
    pub type MemberCount<T> = StorageValue<_, u32, ValueQuery>;

    /// The keys a member's, or the DSO's, validator signs with.
    #[pallet::storage]
    pub type Validators<T: Config> =
        CountedStorageMap<_, Blake2_128Concat, T::AccountId, SessionKeys, OptionQuery>;

    /// The validator that signs its votes with a key.
    #[pallet::storage]
    pub type VoteKeys<T: Config> =
        StorageMap<_, Blake2_128Concat, sp_core::ed25519::Public, T::AccountId, OptionQuery>;

    /// The validator that evaluates the beacon with a key.
    #[pallet::storage]
    pub type BeaconKeys<T: Config> =
        StorageMap<_, Blake2_128Concat, sp_core::sr25519::Public, T::AccountId, OptionQuery>;

    /// Every meter ever registered.
    #[pallet::storage]
    pub type Meters<T: Config> =
        StorageMap<_, Twox64Concat, MeterId, MeterInfo<T::AccountId>, OptionQuery>;

    /// The terms a meter had before, each with the last step it held in, by ascending step. When there
    /// are too many the oldest is forgotten; the next one then stands for its steps too.
    #[pallet::storage]
    pub type FormerTerms<T: Config> = StorageMap<
        _,
        Twox64Concat,
        MeterId,
        BoundedVec<PastTerms<T::AccountId>, ConstU32<PAST_TERMS_MAX>>,
        ValueQuery,
    >;

    /// How many meters that are not retired a member owns.
    #[pallet::storage]
    pub type MetersOwned<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, u32, ValueQuery>;

    /// The number the next meter gets.
    #[pallet::storage]
    pub type NextMeter<T> = StorageValue<_, MeterId, ValueQuery>;

    /// The meter a device speaks for, and since when.
    #[pallet::storage]
    pub type Devices<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, Binding, OptionQuery>;

    /// The device that speaks for a meter.
    #[pallet::storage]
    pub type DeviceOf<T: Config> = StorageMap<_, Twox64Concat, MeterId, T::AccountId, OptionQuery>;

    /// The devices that spoke for a meter before, oldest first.
    #[pallet::storage]
    pub type PastBindings<T: Config> = StorageMap<
        _,
        Twox64Concat,
        MeterId,
        BoundedVec<PastBinding<T::AccountId>, T::MaxPastBindings>,
        ValueQuery,
    >;

    /// A meter with the device that speaks for it, if any.
    pub type MeterAndDevice<AccountId> = (MeterInfo<AccountId>, Option<AccountId>);

    /// Who is registered from the start. Meters get the numbers 0, 1, 2, … in order.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The metering parties.
        pub dsos: Vec<T::AccountId>,
        /// The members.
        pub members: Vec<T::AccountId>,
        /// The validators, each a member or DSO, with their keys.
        pub validators: Vec<(T::AccountId, SessionKeys)>,
        /// The meters, each with the device that speaks for it, if any.
        pub meters: Vec<MeterAndDevice<T::AccountId>>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            for who in &self.dsos {
                Pallet::<T>::do_register(who, Role::Dso).expect("genesis: each DSO is listed once");
            }
            for who in &self.members {
                Pallet::<T>::do_register(who, Role::Member).expect(
                    "genesis: each member is listed once, with one role, within MaxMembers",
                );
            }
            for (who, keys) in &self.validators {
                assert!(
                    matches!(Roles::<T>::get(who), Some(Role::Member | Role::Dso)),
                    "genesis: a validator must be a member or the DSO"
                );
                assert!(
                    !Validators::<T>::contains_key(who),
                    "genesis: each member runs at most one validator"
                );
                Pallet::<T>::do_set_validator(who, keys)
                    .expect("genesis: each validator has keys of its own, within MaxValidators");
            }
            for (info, device) in &self.meters {
                let meter = Pallet::<T>::do_add_meter(info.clone())
                    .expect("genesis: a meter has an owner, plausible values and a free number");
                if let Some(device) = device {
                    Pallet::<T>::do_bind(device, meter, info.commissioned)
                        .expect("genesis: a device is bound to one meter and has no other role");
                }
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account was registered.
        AccountRegistered {
            /// The account.
            who: T::AccountId,
            /// What it may do.
            role: Role,
        },
        /// An account was taken off the registry.
        AccountRemoved {
            /// The account.
            who: T::AccountId,
        },
        /// A member or DSO began, or changed the keys of, a validator.
        ValidatorRegistered {
            /// The owner of the node.
            who: T::AccountId,
            /// The keys it signs with.
            keys: SessionKeys,
        },
        /// A validator was taken off the registry.
        ValidatorRemoved {
            /// The owner of the node.
            who: T::AccountId,
        },
        /// A meter was put into service.
        MeterCommissioned {
            /// Its number.
            meter: MeterId,
            /// Its owner.
            owner: T::AccountId,
            /// The first step it measures.
            from: Step,
        },
        /// A meter was taken out of service.
        MeterRetired {
            /// Its number.
            meter: MeterId,
            /// The last step it measured.
            last: Step,
        },
        /// What is known about a meter changed.
        MeterChanged {
            /// Its number.
            meter: MeterId,
        },
        /// A device began to speak for a meter; a former one stopped.
        DeviceBound {
            /// The meter.
            meter: MeterId,
            /// The new device.
            device: T::AccountId,
            /// The former device, if there was one.
            replaced: Option<T::AccountId>,
            /// The first step it speaks for.
            from: Step,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The account has a role already.
        AlreadyRegistered,
        /// The account has no role: ask the DSO to register it.
        NotRegistered,
        /// Only a member, or the DSO, may run a validator; only a member may own a meter.
        NotAMember,
        /// The member still owns a meter in service, or runs a validator.
        StillInUse,
        /// There is no room for another member.
        TooManyMembers,
        /// There is no room for another meter.
        TooManyMeters,
        /// There is no meter of this number.
        UnknownMeter,
        /// The meter was retired already.
        MeterRetired,
        /// A meter can be commissioned for the current step or a later one, and retired not before it
        /// was commissioned.
        StepInThePast,
        /// The pulse constant and the capacity must be positive.
        ZeroPulsesOrCapacity,
        /// Loss and efficiency are fractions: at most 10 000 basis points.
        NotAFraction,
        /// The storage pair must be a meter in service of the same owner in the other direction that has
        /// no pair yet.
        WrongStoragePair,
        /// The device speaks for another meter.
        DeviceInUse,
        /// The owner must be a registered member.
        UnknownOwner,
        /// Another validator signs with this vote key: give each its own.
        VoteKeyInUse,
        /// Another validator uses this beacon key: give each its own.
        BeaconKeyInUse,
        /// There is no room for another validator.
        TooManyValidators,
        /// The account is not a cryptometer.
        NotACryptometer,
        /// The device still speaks for a meter in service: swap it, or wait until the meter's last step
        /// is over.
        DeviceStillBound,
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Registers a member.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_member())]
        pub fn register_member(origin: OriginFor<T>, who: T::AccountId) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            Self::do_register(&who, Role::Member)?;
            Self::deposit_event(Event::AccountRegistered {
                who,
                role: Role::Member,
            });
            Ok(())
        }

        /// Removes a member that neither owns a meter in service nor runs a validator. Its tokens and
        /// its past stay, and so does its nonce.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::remove_member())]
        pub fn remove_member(origin: OriginFor<T>, who: T::AccountId) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            ensure!(
                Roles::<T>::get(&who) == Some(Role::Member),
                Error::<T>::NotRegistered
            );
            ensure!(!Validators::<T>::contains_key(&who), Error::<T>::StillInUse);
            ensure!(MetersOwned::<T>::get(&who) == 0, Error::<T>::StillInUse);

            Roles::<T>::remove(&who);
            MemberCount::<T>::mutate(|count| *count = count.saturating_sub(1));

            Self::deposit_event(Event::AccountRemoved { who });
            Ok(())
        }

        /// Registers the validator of a member or DSO, or replaces its keys.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::register_validator())]
        pub fn register_validator(
            origin: OriginFor<T>,
            who: T::AccountId,
            keys: SessionKeys,
        ) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let role = Roles::<T>::get(&who).ok_or(Error::<T>::NotRegistered)?;
            ensure!(
                matches!(role, Role::Member | Role::Dso),
                Error::<T>::NotAMember
            );

            Self::do_set_validator(&who, &keys)?;

            Self::deposit_event(Event::ValidatorRegistered { who, keys });
            Ok(())
        }

        /// Removes a validator.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::register_validator())]
        pub fn remove_validator(origin: OriginFor<T>, who: T::AccountId) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let keys = Validators::<T>::get(&who).ok_or(Error::<T>::NotRegistered)?;

            Validators::<T>::remove(&who);
            VoteKeys::<T>::remove(keys.vote);
            BeaconKeys::<T>::remove(keys.beacon);

            Self::deposit_event(Event::ValidatorRemoved { who });
            Ok(())
        }

        /// Puts a meter into service from `info.commissioned`, which is not in the past, and binds a
        /// device to it.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::commission_meter())]
        pub fn commission_meter(
            origin: OriginFor<T>,
            info: MeterInfo<T::AccountId>,
            device: Option<T::AccountId>,
        ) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let from = info.commissioned;
            ensure!(from >= T::Clock::current_step(), Error::<T>::StepInThePast);
            ensure!(info.retired.is_none(), Error::<T>::MeterRetired);
            let owner = info.owner.clone();
            if let Some(device) = &device {
                Self::verify_bindable(device)?;
            }

            let meter = Self::do_add_meter(info)?;
            Self::deposit_event(Event::MeterCommissioned { meter, owner, from });
            if let Some(device) = device {
                let replaced = Self::do_bind(&device, meter, from)?;
                Self::deposit_event(Event::DeviceBound {
                    meter,
                    device,
                    replaced,
                    from,
                });
            }
            Ok(())
        }

        /// Lets another device speak for a meter from the current step on: a swap of the cryptometer.
        /// What the former device has not reported of earlier steps, the DSO enters as corrections.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::swap_device())]
        pub fn swap_device(
            origin: OriginFor<T>,
            meter: MeterId,
            device: T::AccountId,
        ) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let info = Meters::<T>::get(meter).ok_or(Error::<T>::UnknownMeter)?;
            ensure!(info.retired.is_none(), Error::<T>::MeterRetired);
            Self::verify_bindable(&device)?;

            let from = T::Clock::current_step().max(info.commissioned);
            let replaced = Self::do_bind(&device, meter, from)?;

            Self::deposit_event(Event::DeviceBound {
                meter,
                device,
                replaced,
                from,
            });
            Ok(())
        }

        /// Takes a meter out of service after `last`, which is not in the past.
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::retire_meter())]
        pub fn retire_meter(origin: OriginFor<T>, meter: MeterId, last: Step) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let mut info = Meters::<T>::get(meter).ok_or(Error::<T>::UnknownMeter)?;
            ensure!(info.retired.is_none(), Error::<T>::MeterRetired);
            ensure!(
                last >= T::Clock::current_step() && last >= info.commissioned,
                Error::<T>::StepInThePast
            );

            info.retired = Some(last);
            MetersOwned::<T>::mutate_exists(&info.owner, |owned| {
                *owned = owned
                    .and_then(|count| count.checked_sub(1))
                    .filter(|&count| count > 0);
            });
            Meters::<T>::insert(meter, info);

            Self::deposit_event(Event::MeterRetired { meter, last });
            Ok(())
        }

        /// Changes what is known about a meter: capacity, pulse constant, class, loss, efficiency and
        /// beneficiary. Kind, owner and service time stay: they decide whose energy the past was.
        ///
        /// Loss, efficiency and beneficiary hold from the next step on; the rest, by which readings are
        /// judged when they come in, at once.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::change_meter())]
        pub fn change_meter(
            origin: OriginFor<T>,
            meter: MeterId,
            change: MeterChange<T::AccountId>,
        ) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            let former = Meters::<T>::get(meter).ok_or(Error::<T>::UnknownMeter)?;
            ensure!(former.retired.is_none(), Error::<T>::MeterRetired);
            let mut info = former.clone();
            change.apply_to(&mut info);
            Self::verify_values(&info)?;

            Self::keep_terms(
                meter,
                PastTerms::of(former, T::Clock::current_step()),
                &info,
            );
            Meters::<T>::insert(meter, info);

            Self::deposit_event(Event::MeterChanged { meter });
            Ok(())
        }

        /// Takes a device off the registry: one that was swapped, or whose meter is out of service.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::swap_device())]
        pub fn remove_device(origin: OriginFor<T>, device: T::AccountId) -> DispatchResult {
            T::DsoOrigin::ensure_origin(origin)?;
            ensure!(
                Roles::<T>::get(&device) == Some(Role::Cryptometer),
                Error::<T>::NotACryptometer
            );
            if let Some(binding) = Devices::<T>::get(&device) {
                let last = Meters::<T>::get(binding.meter)
                    .and_then(|info| info.retired)
                    .filter(|&last| last < T::Clock::current_step())
                    .ok_or(Error::<T>::DeviceStillBound)?;
                Self::unbind(&device, last);
            }

            Roles::<T>::remove(&device);

            Self::deposit_event(Event::AccountRemoved { who: device });
            Ok(())
        }
    }

    impl<T: Config> Pallet<T> {
        fn do_register(who: &T::AccountId, role: Role) -> DispatchResult {
            ensure!(
                !Roles::<T>::contains_key(who),
                Error::<T>::AlreadyRegistered
            );
            if role == Role::Member {
                let count = MemberCount::<T>::get();
                ensure!(count < T::MaxMembers::get(), Error::<T>::TooManyMembers);
                MemberCount::<T>::put(count.saturating_add(1));
            }
            Roles::<T>::insert(who, role);
            // An account that was registered before holds its reference still.
            if frame_system::Pallet::<T>::sufficients(who) == 0 {
                frame_system::Pallet::<T>::inc_sufficients(who);
            }
            Ok(())
        }

        fn do_set_validator(who: &T::AccountId, keys: &SessionKeys) -> DispatchResult {
            ensure!(
                VoteKeys::<T>::get(keys.vote).is_none_or(|holder| holder == *who),
                Error::<T>::VoteKeyInUse
            );
            ensure!(
                BeaconKeys::<T>::get(keys.beacon).is_none_or(|holder| holder == *who),
                Error::<T>::BeaconKeyInUse
            );
            let former = Validators::<T>::get(who);
            ensure!(
                former.is_some() || Validators::<T>::count() < T::MaxValidators::get(),
                Error::<T>::TooManyValidators
            );

            if let Some(former) = former {
                VoteKeys::<T>::remove(former.vote);
                BeaconKeys::<T>::remove(former.beacon);
            }
            VoteKeys::<T>::insert(keys.vote, who);
            BeaconKeys::<T>::insert(keys.beacon, who);
            Validators::<T>::insert(who, keys);
            Ok(())
        }

        /// Keeps the terms a change ends, unless it ends none that held in a step.
        fn keep_terms(
            meter: MeterId,
            former: PastTerms<T::AccountId>,
            info: &MeterInfo<T::AccountId>,
        ) {
            if former.is_of(info) {
                return;
            }
            FormerTerms::<T>::mutate(meter, |terms| {
                // Several changes in one step: the first one ended what holds in it.
                if terms.last().is_some_and(|terms| terms.last == former.last) {
                    return;
                }
                push_forgetting_oldest(terms, former);
            });
        }

        /// Ends a device's binding after `last`.
        fn unbind(device: &T::AccountId, last: Step) {
            let Some(Binding { meter, from }) = Devices::<T>::take(device) else {
                return;
            };
            DeviceOf::<T>::remove(meter);
            let device = device.clone();
            PastBindings::<T>::mutate(meter, |bindings| {
                push_forgetting_oldest(bindings, PastBinding { device, from, last });
            });
        }

        fn do_add_meter(info: MeterInfo<T::AccountId>) -> Result<MeterId, DispatchError> {
            Self::verify_values(&info)?;
            ensure!(Self::is_member(&info.owner), Error::<T>::UnknownOwner);
            let meter = NextMeter::<T>::get();
            ensure!(meter.0 < T::MaxMeters::get(), Error::<T>::TooManyMeters);
            let mut partner = None;
            if let Some(pair) = info.storage_pair {
                let other = Meters::<T>::get(pair).ok_or(Error::<T>::WrongStoragePair)?;
                ensure!(
                    is_storage_pair(info.kind, other.kind)
                        && other.owner == info.owner
                        && other.storage_pair.is_none()
                        && other.retired.is_none(),
                    Error::<T>::WrongStoragePair
                );
                partner = Some((pair, other));
            }

            if let Some((pair, mut other)) = partner {
                other.storage_pair = Some(meter);
                Meters::<T>::insert(pair, other);
            }
            NextMeter::<T>::put(MeterId(meter.0.saturating_add(1)));
            MetersOwned::<T>::mutate(&info.owner, |owned| *owned = owned.saturating_add(1));
            Meters::<T>::insert(meter, info);
            Ok(meter)
        }

        fn verify_values(info: &MeterInfo<T::AccountId>) -> DispatchResult {
            ensure!(
                info.pulses_per_kwh > 0 && info.capacity_w > 0,
                Error::<T>::ZeroPulsesOrCapacity
            );
            ensure!(
                info.loss.is_fraction() && info.efficiency <= Bps::FULL,
                Error::<T>::NotAFraction
            );
            Ok(())
        }

        fn verify_bindable(device: &T::AccountId) -> DispatchResult {
            match Roles::<T>::get(device) {
                None => Ok(()),
                Some(Role::Cryptometer) if !Devices::<T>::contains_key(device) => Ok(()),
                Some(Role::Cryptometer) => Err(Error::<T>::DeviceInUse.into()),
                Some(_) => Err(Error::<T>::AlreadyRegistered.into()),
            }
        }

        /// Binds a device and releases the former one, which it returns.
        fn do_bind(
            device: &T::AccountId,
            meter: MeterId,
            from: Step,
        ) -> Result<Option<T::AccountId>, DispatchError> {
            Self::verify_bindable(device)?;

            if Roles::<T>::get(device).is_none() {
                Self::do_register(device, Role::Cryptometer)?;
            }
            let replaced = DeviceOf::<T>::get(meter);
            if let Some(former) = &replaced {
                Self::unbind(former, from.saturating_sub(1));
            }
            DeviceOf::<T>::insert(meter, device);
            Devices::<T>::insert(device, Binding { meter, from });
            Ok(replaced)
        }

        /// Checks what the module's documentation promises.
        #[cfg(any(feature = "try-runtime", test))]
        pub fn do_try_state() -> Result<(), sp_runtime::TryRuntimeError> {
            let members = Roles::<T>::iter()
                .filter(|(_, role)| *role == Role::Member)
                .count();
            ensure!(
                u32::try_from(members) == Ok(MemberCount::<T>::get()),
                "the member count is not the number of members"
            );
            for (device, binding) in Devices::<T>::iter() {
                ensure!(
                    DeviceOf::<T>::get(binding.meter) == Some(device.clone()),
                    "a device's meter does not name the device"
                );
                ensure!(
                    Roles::<T>::get(&device) == Some(Role::Cryptometer),
                    "a bound device has another role"
                );
            }
            for (who, owned) in MetersOwned::<T>::iter() {
                let in_service = Meters::<T>::iter_values()
                    .filter(|info| info.owner == who && info.retired.is_none())
                    .count();
                ensure!(
                    u32::try_from(in_service) == Ok(owned),
                    "a member's count of meters is not the number of its meters"
                );
            }
            for (meter, info) in Meters::<T>::iter() {
                ensure!(
                    meter < NextMeter::<T>::get(),
                    "a meter's number was not given yet"
                );
                Self::verify_values(&info).map_err(|_| "a meter has impossible values")?;
                if let Some(pair) = info.storage_pair {
                    ensure!(
                        Meters::<T>::get(pair)
                            .is_some_and(|other| other.storage_pair == Some(meter)),
                        "the two meters of a storage do not name each other"
                    );
                }
            }
            for (_, terms) in FormerTerms::<T>::iter() {
                ensure!(
                    terms.windows(2).all(|pair| pair[0].last < pair[1].last),
                    "a meter's former terms are out of order"
                );
            }
            for (who, keys) in Validators::<T>::iter() {
                ensure!(
                    VoteKeys::<T>::get(keys.vote) == Some(who.clone()),
                    "a vote key does not name its validator"
                );
                ensure!(
                    BeaconKeys::<T>::get(keys.beacon) == Some(who.clone()),
                    "a beacon key does not name its validator"
                );
                ensure!(
                    matches!(Roles::<T>::get(who), Some(Role::Member | Role::Dso)),
                    "a validator is neither member nor DSO"
                );
            }
            ensure!(
                Validators::<T>::count() <= T::MaxValidators::get(),
                "there are more validators than allowed"
            );
            let validators = Validators::<T>::iter_keys().count();
            ensure!(
                VoteKeys::<T>::iter_keys().count() == validators
                    && BeaconKeys::<T>::iter_keys().count() == validators,
                "a key names a validator that does not use it"
            );
            Ok(())
        }
    }

    /// Queries.
    impl<T: Config> Pallet<T> {
        /// Returns the meters that an account owns or owned, ascending. Looks at every meter: for queries from
        /// outside, never in a block.
        pub fn meters_of(owner: &T::AccountId) -> Vec<MeterId> {
            let mut owned: Vec<_> = Meters::<T>::iter()
                .filter(|(_, info)| info.owner == *owner)
                .map(|(meter, _)| meter)
                .collect();
            owned.sort_unstable();
            owned
        }

        /// Returns the device that speaks for a meter.
        pub fn device_of(meter: MeterId) -> Option<T::AccountId> {
            DeviceOf::<T>::get(meter)
        }
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    impl<T: Config> Registrar<T::AccountId> for Pallet<T> {
        fn role_of(who: &T::AccountId) -> Option<Role> {
            Roles::<T>::get(who)
        }
    }

    impl<T: Config> ValidatorRegistry<T::AccountId> for Pallet<T> {
        fn validators() -> Vec<Validator<T::AccountId>> {
            Validators::<T>::iter()
                .map(|(account, keys)| Validator { account, keys })
                .collect()
        }

        fn is_validator(who: &T::AccountId) -> bool {
            Validators::<T>::contains_key(who)
        }

        fn replace_keys(who: &T::AccountId, keys: &SessionKeys) -> DispatchResult {
            ensure!(
                Validators::<T>::contains_key(who),
                Error::<T>::NotRegistered
            );
            Self::do_set_validator(who, keys)
        }
    }

    impl<T: Config> MetersT<T::AccountId> for Pallet<T> {
        fn meter_of_device(device: &T::AccountId) -> Option<MeterId> {
            Devices::<T>::get(device).map(|binding| binding.meter)
        }

        fn meter(meter: MeterId) -> Option<MeterInfo<T::AccountId>> {
            Meters::<T>::get(meter)
        }

        fn meter_at(meter: MeterId, step: Step) -> Option<MeterInfo<T::AccountId>> {
            let mut info = Meters::<T>::get(meter)?;
            let former = FormerTerms::<T>::get(meter)
                .into_iter()
                .find(|terms| step <= terms.last);
            if let Some(former) = former {
                former.apply_to(&mut info);
            }
            Some(info)
        }

        fn was_bound(device: &T::AccountId, meter: MeterId, step: Step) -> bool {
            Devices::<T>::get(device)
                .is_some_and(|binding| binding.meter == meter && binding.from <= step)
                || PastBindings::<T>::get(meter)
                    .iter()
                    .any(|past| past.device == *device && past.from <= step && step <= past.last)
        }
    }
}

/// The origin of a registered DSO, signed with its own account.
pub struct EnsureDso<T>(core::marker::PhantomData<T>);

impl<T: Config> frame_support::traits::EnsureOrigin<T::RuntimeOrigin> for EnsureDso<T> {
    type Success = T::AccountId;

    fn try_origin(origin: T::RuntimeOrigin) -> Result<Self::Success, T::RuntimeOrigin> {
        use commonwatt_primitives::Role;
        match frame_system::ensure_signed(origin.clone()) {
            Ok(who) if Roles::<T>::get(&who) == Some(Role::Dso) => Ok(who),
            _ => Err(origin),
        }
    }
}
