//! One rule per test.

use crate as pallet_registry;
use crate::{EnsureDso, Error, Event, Pallet, types::MeterChange};
use commonwatt_primitives::{
    Bps, MeterClass, MeterId, MeterKind, Month, Role, Step,
    auction::ValidatorRegistry as _,
    keys::SessionKeys,
    metering::MeterInfo,
    traits::{MarketClock, Meters as _, Registrar as _},
};
use frame_support::{assert_noop, assert_ok, derive_impl, traits::ConstU32};
use sp_runtime::{BuildStorage, DispatchError, traits::IdentityLookup};

const DSO: u64 = 1;
const ANNE: u64 = 10;
const BOB: u64 = 11;
const DEVICE: u64 = 100;
const SPARE: u64 = 101;
const STRANGER: u64 = 999;

type Block = frame_system::mocking::MockBlockU32<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Registry: pallet_registry,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = u64;
    type Lookup = IdentityLookup<u64>;
}

pub struct Clock;

impl MarketClock for Clock {
    fn current_step() -> Step {
        Step(System::block_number())
    }
    fn is_late() -> bool {
        false
    }
    fn on_time_steps_since(step: Step) -> u32 {
        Self::current_step().since(step)
    }
    fn metered_ms() -> u64 {
        900_000
    }
    fn month_of(_: Step) -> Month {
        Month(0)
    }
}

impl pallet_registry::Config for Test {
    type DsoOrigin = EnsureDso<Test>;
    type Clock = Clock;
    type MaxMeters = ConstU32<3>;
    type MaxMembers = ConstU32<3>;
    type MaxValidators = ConstU32<2>;
    type MaxPastBindings = ConstU32<2>;
    type WeightInfo = ();
}

fn meter(owner: u64) -> MeterInfo<u64> {
    MeterInfo {
        kind: MeterKind::Generation,
        owner,
        beneficiary: owner,
        class: MeterClass::B,
        pulses_per_kwh: 1_000,
        capacity_w: 10_000,
        loss: Bps(0),
        efficiency: Bps::FULL,
        storage_pair: None,
        commissioned: Step(5),
        retired: None,
    }
}

fn keys() -> SessionKeys {
    SessionKeys {
        vote: sp_core::ed25519::Public::from_raw([1; 32]),
        beacon: sp_core::sr25519::Public::from_raw([2; 32]),
    }
}

fn dso() -> RuntimeOrigin {
    RuntimeOrigin::signed(DSO)
}

fn test(story: impl FnOnce()) {
    let storage = RuntimeGenesisConfig {
        registry: pallet_registry::GenesisConfig {
            dsos: vec![DSO],
            members: vec![ANNE],
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(5);
        story();
        Pallet::<Test>::do_try_state().expect("the invariants hold");
    });
}

#[test]
fn only_the_dso_changes_the_registry() {
    test(|| {
        let anne = || RuntimeOrigin::signed(ANNE);
        assert_noop!(
            Registry::register_member(anne(), BOB),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::remove_member(anne(), ANNE),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::register_validator(anne(), ANNE, keys()),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::remove_validator(anne(), ANNE),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::commission_meter(anne(), meter(ANNE), None),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::swap_device(anne(), MeterId(0), DEVICE),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::retire_meter(anne(), MeterId(0), Step(9)),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn a_registered_account_can_transact_without_coins() {
    test(|| {
        assert_eq!(System::sufficients(&BOB), 0);
        assert_ok!(Registry::register_member(dso(), BOB));
        System::assert_last_event(
            Event::AccountRegistered {
                who: BOB,
                role: Role::Member,
            }
            .into(),
        );
        assert_eq!(System::sufficients(&BOB), 1);
        assert!(Registry::is_member(&BOB));
        assert_eq!(Registry::role_of(&STRANGER), None);
    });
}

#[test]
fn an_account_has_one_role() {
    test(|| {
        assert_noop!(
            Registry::register_member(dso(), ANNE),
            Error::<Test>::AlreadyRegistered
        );
        assert_noop!(
            Registry::register_member(dso(), DSO),
            Error::<Test>::AlreadyRegistered
        );
        assert_noop!(
            Registry::commission_meter(dso(), meter(ANNE), Some(ANNE)),
            Error::<Test>::AlreadyRegistered
        );
    });
}

#[test]
fn members_and_meters_are_bounded() {
    test(|| {
        assert_ok!(Registry::register_member(dso(), BOB));
        assert_ok!(Registry::register_member(dso(), 12));
        assert_noop!(
            Registry::register_member(dso(), 13),
            Error::<Test>::TooManyMembers
        );
        for _ in 0..3 {
            assert_ok!(Registry::commission_meter(dso(), meter(ANNE), None));
        }
        assert_noop!(
            Registry::commission_meter(dso(), meter(ANNE), None),
            Error::<Test>::TooManyMeters
        );
    });
}

#[test]
fn a_member_in_use_is_not_removed() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), None));
        assert_noop!(
            Registry::remove_member(dso(), ANNE),
            Error::<Test>::StillInUse
        );
        assert_ok!(Registry::retire_meter(dso(), MeterId(0), Step(6)));
        assert_ok!(Registry::register_validator(dso(), ANNE, keys()));
        assert_noop!(
            Registry::remove_member(dso(), ANNE),
            Error::<Test>::StillInUse
        );
        assert_ok!(Registry::remove_validator(dso(), ANNE));
        assert_ok!(Registry::remove_member(dso(), ANNE));
        assert_eq!(System::sufficients(&ANNE), 1);
        assert_noop!(
            Registry::remove_member(dso(), ANNE),
            Error::<Test>::NotRegistered
        );
    });
}

#[test]
fn a_validator_is_a_member_or_the_dso() {
    test(|| {
        assert_noop!(
            Registry::register_validator(dso(), STRANGER, keys()),
            Error::<Test>::NotRegistered
        );
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        assert_noop!(
            Registry::register_validator(dso(), DEVICE, keys()),
            Error::<Test>::NotAMember
        );
        assert_ok!(Registry::register_validator(dso(), DSO, keys()));
        assert_noop!(
            Registry::remove_validator(dso(), ANNE),
            Error::<Test>::NotRegistered
        );
    });
}

#[test]
fn a_meter_is_not_commissioned_in_the_past_nor_for_a_stranger() {
    test(|| {
        let early = MeterInfo {
            commissioned: Step(4),
            ..meter(ANNE)
        };
        assert_noop!(
            Registry::commission_meter(dso(), early, None),
            Error::<Test>::StepInThePast
        );
        assert_noop!(
            Registry::commission_meter(dso(), meter(STRANGER), None),
            Error::<Test>::UnknownOwner
        );
    });
}

#[test]
fn impossible_meters_are_refused() {
    test(|| {
        let commission = |info| Registry::commission_meter(dso(), info, None);
        assert_noop!(
            commission(MeterInfo {
                pulses_per_kwh: 0,
                ..meter(ANNE)
            }),
            Error::<Test>::ZeroPulsesOrCapacity
        );
        assert_noop!(
            commission(MeterInfo {
                capacity_w: 0,
                ..meter(ANNE)
            }),
            Error::<Test>::ZeroPulsesOrCapacity
        );
        assert_noop!(
            commission(MeterInfo {
                loss: Bps(10_001),
                ..meter(ANNE)
            }),
            Error::<Test>::NotAFraction
        );
        assert_noop!(
            commission(MeterInfo {
                retired: Some(Step(9)),
                ..meter(ANNE)
            }),
            Error::<Test>::MeterRetired
        );
        assert_noop!(
            commission(MeterInfo {
                storage_pair: Some(MeterId(7)),
                ..meter(ANNE)
            }),
            Error::<Test>::WrongStoragePair
        );
    });
}

#[test]
fn a_storage_is_two_meters_of_one_owner() {
    test(|| {
        assert_ok!(Registry::register_member(dso(), BOB));
        let charge = MeterInfo {
            kind: MeterKind::StorageCharge,
            ..meter(ANNE)
        };
        assert_ok!(Registry::commission_meter(dso(), charge, None));
        let discharge = |owner| MeterInfo {
            kind: MeterKind::StorageDischarge,
            storage_pair: Some(MeterId(0)),
            ..meter(owner)
        };
        assert_noop!(
            Registry::commission_meter(dso(), discharge(BOB), None),
            Error::<Test>::WrongStoragePair
        );
        assert_ok!(Registry::commission_meter(dso(), discharge(ANNE), None));
        let pair_of = |meter| Registry::meter(meter).and_then(|info| info.storage_pair);
        assert_eq!(pair_of(MeterId(0)), Some(MeterId(1)));
        assert_eq!(pair_of(MeterId(1)), Some(MeterId(0)));
        assert_noop!(
            Registry::commission_meter(dso(), discharge(ANNE), None),
            Error::<Test>::WrongStoragePair
        );
    });
}

#[test]
fn a_swapped_device_still_speaks_for_its_own_steps() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        System::set_block_number(8);
        assert_ok!(Registry::swap_device(dso(), MeterId(0), SPARE));
        System::assert_last_event(
            Event::DeviceBound {
                meter: MeterId(0),
                device: SPARE,
                replaced: Some(DEVICE),
                from: Step(8),
            }
            .into(),
        );
        assert_eq!(Registry::meter_of_device(&DEVICE), None);
        assert_eq!(Registry::meter_of_device(&SPARE), Some(MeterId(0)));
        assert!(Registry::was_bound(&DEVICE, MeterId(0), Step(7)));
        assert!(!Registry::was_bound(&DEVICE, MeterId(0), Step(8)));
        assert!(Registry::was_bound(&SPARE, MeterId(0), Step(8)));
        assert!(!Registry::was_bound(&SPARE, MeterId(0), Step(7)));
    });
}

#[test]
fn a_device_in_use_is_not_bound_again() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        assert_noop!(
            Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)),
            Error::<Test>::DeviceInUse
        );
        assert_noop!(
            Registry::swap_device(dso(), MeterId(0), DEVICE),
            Error::<Test>::DeviceInUse
        );
    });
}

#[test]
fn former_devices_are_remembered_up_to_a_bound() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        for (number, device) in [(6, 201), (7, 202), (8, 203)] {
            System::set_block_number(number);
            assert_ok!(Registry::swap_device(dso(), MeterId(0), device));
        }
        assert!(!Registry::was_bound(&DEVICE, MeterId(0), Step(5)));
        assert!(Registry::was_bound(&201, MeterId(0), Step(6)));
        assert!(Registry::was_bound(&202, MeterId(0), Step(7)));
    });
}

#[test]
fn a_meter_is_retired_once_and_not_in_the_past() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        assert_noop!(
            Registry::retire_meter(dso(), MeterId(9), Step(9)),
            Error::<Test>::UnknownMeter
        );
        assert_noop!(
            Registry::retire_meter(dso(), MeterId(0), Step(4)),
            Error::<Test>::StepInThePast
        );
        assert_ok!(Registry::retire_meter(dso(), MeterId(0), Step(6)));
        assert_noop!(
            Registry::retire_meter(dso(), MeterId(0), Step(7)),
            Error::<Test>::MeterRetired
        );
        assert_noop!(
            Registry::swap_device(dso(), MeterId(0), SPARE),
            Error::<Test>::MeterRetired
        );
        let info = Registry::meter(MeterId(0)).expect("its record stays");
        assert!(info.is_active_in(Step(6)) && !info.is_active_in(Step(7)));
    });
}

#[test]
fn a_meters_values_change_but_not_its_owner() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), None));
        let change = |capacity_w| MeterChange {
            beneficiary: Some(BOB),
            class: None,
            pulses_per_kwh: None,
            capacity_w: Some(capacity_w),
            loss: None,
            efficiency: None,
        };
        assert_noop!(
            Registry::change_meter(dso(), MeterId(0), change(0)),
            Error::<Test>::ZeroPulsesOrCapacity
        );
        assert_ok!(Registry::change_meter(dso(), MeterId(0), change(20_000)));
        let expected = MeterInfo {
            beneficiary: BOB,
            capacity_w: 20_000,
            ..meter(ANNE)
        };
        assert_eq!(Registry::meter(MeterId(0)), Some(expected));
    });
}

#[test]
#[should_panic(expected = "a validator must be a member or the DSO")]
fn a_genesis_validator_must_be_registered() {
    let genesis = pallet_registry::GenesisConfig::<Test> {
        validators: vec![(STRANGER, keys())],
        ..Default::default()
    };
    let _ = genesis.build_storage();
}

fn new_terms(beneficiary: Option<u64>, loss: Option<Bps>) -> MeterChange<u64> {
    MeterChange {
        beneficiary,
        class: None,
        pulses_per_kwh: None,
        capacity_w: None,
        loss,
        efficiency: None,
    }
}

#[test]
fn new_terms_hold_from_the_next_step_on() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), None));
        System::set_block_number(8);
        let change = |terms| Registry::change_meter(dso(), MeterId(0), terms);
        assert_ok!(change(new_terms(Some(BOB), None)));
        assert_ok!(change(new_terms(None, Some(Bps(300)))));
        let terms = |step| {
            Registry::meter_at(MeterId(0), Step(step)).map(|info| (info.beneficiary, info.loss))
        };
        assert_eq!(terms(7), Some((ANNE, Bps(0))));
        assert_eq!(terms(8), Some((ANNE, Bps(0))));
        assert_eq!(terms(9), Some((BOB, Bps(300))));
        System::set_block_number(10);
        assert_ok!(change(new_terms(Some(ANNE), None)));
        assert_eq!(terms(8), Some((ANNE, Bps(0))));
        assert_eq!(terms(10), Some((BOB, Bps(300))));
        assert_eq!(terms(11), Some((ANNE, Bps(300))));
        assert_eq!(Registry::meter_at(MeterId(9), Step(8)), None);
    });
}

#[test]
fn former_terms_are_remembered_up_to_a_bound() {
    test(|| {
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), None));
        for step in 10..20u32 {
            System::set_block_number(step);
            let terms = new_terms(Some(step.into()), None);
            assert_ok!(Registry::change_meter(dso(), MeterId(0), terms));
        }
        let beneficiary =
            |step| Registry::meter_at(MeterId(0), Step(step)).map(|info| info.beneficiary);
        assert_eq!(beneficiary(20), Some(19));
        assert_eq!(beneficiary(13), Some(12));
        assert_eq!(beneficiary(5), Some(11));
    });
}

#[test]
fn a_removed_members_nonce_goes_on_when_it_comes_back() {
    test(|| {
        System::inc_account_nonce(ANNE);
        assert_ok!(Registry::remove_member(dso(), ANNE));
        assert_eq!(System::account_nonce(ANNE), 1);
        assert_ok!(Registry::register_member(dso(), ANNE));
        assert_eq!(System::account_nonce(ANNE), 1);
        assert_eq!(System::sufficients(&ANNE), 1);
    });
}

#[test]
fn no_two_validators_sign_with_the_same_vote_key() {
    test(|| {
        assert_ok!(Registry::register_validator(dso(), ANNE, keys()));
        assert_noop!(
            Registry::register_validator(dso(), DSO, keys()),
            Error::<Test>::VoteKeyInUse
        );
        assert_ok!(Registry::register_validator(dso(), ANNE, keys()));
        assert_ok!(Registry::remove_validator(dso(), ANNE));
        assert_ok!(Registry::register_validator(dso(), DSO, keys()));
    });
}

#[test]
fn no_two_validators_share_a_beacon_key() {
    test(|| {
        assert_ok!(Registry::register_validator(dso(), ANNE, keys()));
        let other = SessionKeys {
            vote: sp_core::ed25519::Public::from_raw([3; 32]),
            ..keys()
        };
        assert_noop!(
            Registry::register_validator(dso(), DSO, other.clone()),
            Error::<Test>::BeaconKeyInUse
        );
        assert_ok!(Registry::register_validator(dso(), ANNE, numbered_keys(4)));
        assert_ok!(Registry::register_validator(dso(), DSO, other));
        assert_ok!(Pallet::<Test>::do_try_state());
    });
}

#[test]
fn validators_are_bounded() {
    test(|| {
        assert_ok!(Registry::register_member(dso(), BOB));
        assert_ok!(Registry::register_validator(dso(), ANNE, numbered_keys(1)));
        assert_ok!(Registry::register_validator(dso(), DSO, numbered_keys(2)));
        assert_noop!(
            Registry::register_validator(dso(), BOB, numbered_keys(3)),
            Error::<Test>::TooManyValidators
        );
        // Those who are registered may change their keys.
        assert_ok!(Registry::register_validator(dso(), ANNE, numbered_keys(3)));
        assert_ok!(Registry::remove_validator(dso(), DSO));
        assert_ok!(Registry::register_validator(dso(), BOB, numbered_keys(2)));
        assert_ok!(Pallet::<Test>::do_try_state());
    });
}

#[test]
fn only_a_registered_validator_replaces_its_keys() {
    test(|| {
        assert_noop!(
            Registry::replace_keys(&ANNE, &keys()),
            Error::<Test>::NotRegistered
        );
        assert_ok!(Registry::register_validator(dso(), ANNE, keys()));
        assert_ok!(Registry::register_validator(dso(), DSO, numbered_keys(5)));
        assert_noop!(
            Registry::replace_keys(&ANNE, &numbered_keys(5)),
            Error::<Test>::VoteKeyInUse
        );
        assert_ok!(Registry::replace_keys(&ANNE, &numbered_keys(6)));
        let validators = Registry::validators();
        assert_eq!(validators.len(), 2);
        let anne = validators.iter().find(|one| one.account == ANNE).unwrap();
        assert_eq!(anne.keys, numbered_keys(6));
        assert!(Registry::is_validator(&ANNE) && !Registry::is_validator(&BOB));
        assert_ok!(Pallet::<Test>::do_try_state());
    });
}

fn numbered_keys(number: u8) -> SessionKeys {
    SessionKeys {
        vote: sp_core::ed25519::Public::from_raw([number; 32]),
        beacon: sp_core::sr25519::Public::from_raw([number; 32]),
    }
}

#[test]
fn a_device_out_of_use_is_removed() {
    test(|| {
        assert_noop!(
            Registry::remove_device(RuntimeOrigin::signed(ANNE), DEVICE),
            DispatchError::BadOrigin
        );
        assert_noop!(
            Registry::remove_device(dso(), ANNE),
            Error::<Test>::NotACryptometer
        );
        assert_ok!(Registry::commission_meter(dso(), meter(ANNE), Some(DEVICE)));
        System::set_block_number(6);
        assert_ok!(Registry::swap_device(dso(), MeterId(0), SPARE));
        assert_ok!(Registry::remove_device(dso(), DEVICE));
        assert_eq!(Registry::role_of(&DEVICE), None);

        assert_ok!(Registry::retire_meter(dso(), MeterId(0), Step(7)));
        System::set_block_number(7);
        assert_noop!(
            Registry::remove_device(dso(), SPARE),
            Error::<Test>::DeviceStillBound
        );
        System::set_block_number(8);
        assert_ok!(Registry::remove_device(dso(), SPARE));
        assert_eq!(Registry::role_of(&SPARE), None);
        assert_eq!(Registry::meter_of_device(&SPARE), None);
        assert!(Registry::was_bound(&SPARE, MeterId(0), Step(7)));
    });
}
