//! A runtime with this pallet alone, a registry and a clock that tests set as they need.

use crate as pallet_energy_token;
use alloc::collections::{BTreeMap, BTreeSet};
use commonwatt_primitives::{
    AccountId, Bps, MeterClass, MeterId, MeterKind, Month, Quality, Role, Step, Wh,
    metering::MeterInfo,
    traits::{MarketClock, Meters, Registrar},
};
use frame_support::{
    derive_impl, parameter_types,
    traits::{ConstU32, Hooks},
};
use frame_system::EnsureRoot;
use sp_core::{Pair, ed25519};
use sp_runtime::{
    BuildStorage, MultiSignature,
    traits::{IdentifyAccount, IdentityLookup},
};

pub type Block = frame_system::mocking::MockBlockU32<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        EnergyToken: pallet_energy_token,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId;
    type Lookup = IdentityLookup<AccountId>;
}

parameter_types! {
    pub static Now: Step = Step(1);
    pub static LateSteps: BTreeSet<Step> = BTreeSet::new();
    pub static Roles: BTreeMap<AccountId, Role> = BTreeMap::new();
    pub static MetersKnown: BTreeMap<MeterId, MeterInfo<AccountId>> = BTreeMap::new();
    pub static Bindings: Vec<Binding> = Vec::new();
}

/// A device's time at a meter; it still speaks for it when there is no last step.
#[derive(Clone)]
pub struct Binding {
    pub device: AccountId,
    pub meter: MeterId,
    pub from: Step,
    pub last: Option<Step>,
}

pub struct MockRegistry;

impl Registrar<AccountId> for MockRegistry {
    fn role_of(who: &AccountId) -> Option<Role> {
        Roles::get().get(who).copied()
    }
}

impl Meters<AccountId> for MockRegistry {
    fn meter_of_device(device: &AccountId) -> Option<MeterId> {
        let bindings = Bindings::get();
        let current = bindings
            .iter()
            .find(|b| b.device == *device && b.last.is_none())?;
        Some(current.meter)
    }

    fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>> {
        MetersKnown::get().get(&meter).cloned()
    }

    fn meter_at(meter: MeterId, _: Step) -> Option<MeterInfo<AccountId>> {
        Self::meter(meter)
    }

    fn was_bound(device: &AccountId, meter: MeterId, step: Step) -> bool {
        Bindings::get().iter().any(|b| {
            b.device == *device
                && b.meter == meter
                && b.from <= step
                && b.last.is_none_or(|last| step <= last)
        })
    }
}

pub struct MockClock;

impl MarketClock for MockClock {
    fn current_step() -> Step {
        Now::get()
    }

    fn is_late() -> bool {
        LateSteps::get().contains(&Now::get())
    }

    fn on_time_steps_since(step: Step) -> u32 {
        let late = LateSteps::get();
        let count = (step.0 + 1..=Now::get().0)
            .filter(|s| !late.contains(&Step(*s)))
            .count();
        u32::try_from(count).expect("tests run few steps")
    }

    fn metered_ms() -> u64 {
        900_000
    }

    fn month_of(_: Step) -> Month {
        Month(0)
    }
}

impl pallet_energy_token::Config for Test {
    type Registry = MockRegistry;
    type Clock = MockClock;
    type DsoOrigin = EnsureRoot<AccountId>;
    type DeviceSignature = MultiSignature;
    type MaxMeters = ConstU32<4>;
    type MaxBatch = ConstU32<8>;
    type MaxReasonLength = ConstU32<32>;
    type MaxChangedSteps = ConstU32<3>;
    type RegisterIntervalMax = ConstU32<10>;
    type WeightInfo = ();
}

/// Correction window and retention of the mock's genesis.
pub const WINDOW: u32 = 5;
pub const RETENTION: u32 = 12;

/// Generator of 10 kW, at most 2 750 Wh in a step, 1 000 pulses for each kilowatt-hour.
pub const PV: MeterId = MeterId(0);
/// Consumption of 10 kW, with 3 000 pulses for each kilowatt-hour.
pub const HOUSE: MeterId = MeterId(1);

pub fn pair(name: &str) -> ed25519::Pair {
    ed25519::Pair::from_seed(&sp_io::hashing::blake2_256(name.as_bytes()))
}

pub fn account(name: &str) -> AccountId {
    sp_runtime::MultiSigner::from(pair(name).public()).into_account()
}

pub fn pv() -> AccountId {
    account("pv")
}

pub fn house() -> AccountId {
    account("house")
}

pub fn alice() -> AccountId {
    account("Alice")
}

pub fn meter_info(kind: MeterKind, pulses_per_kwh: u32) -> MeterInfo<AccountId> {
    MeterInfo {
        kind,
        owner: alice(),
        beneficiary: alice(),
        class: MeterClass::B,
        pulses_per_kwh,
        capacity_w: 10_000,
        loss: Bps(0),
        efficiency: Bps::FULL,
        storage_pair: None,
        commissioned: Step(0),
        retired: None,
    }
}

/// Registers a meter and its device.
pub fn install(meter: MeterId, device: AccountId, info: MeterInfo<AccountId>) {
    Roles::mutate(|roles| roles.insert(device.clone(), Role::Cryptometer));
    MetersKnown::mutate(|meters| meters.insert(meter, info));
    Bindings::mutate(|all| {
        all.push(Binding {
            device,
            meter,
            from: Step(0),
            last: None,
        })
    });
}

pub fn genesis() -> pallet_energy_token::GenesisConfig<Test> {
    pallet_energy_token::GenesisConfig {
        correction_window: WINDOW,
        retention: RETENTION,
        ..Default::default()
    }
}

/// Runs a test in block 1 of a chain with [`PV`] and [`HOUSE`], and checks the invariants after it.
pub fn test(run: impl FnOnce()) {
    let storage = RuntimeGenesisConfig {
        system: Default::default(),
        energy_token: genesis(),
    }
    .build_storage()
    .expect("the genesis is valid");
    Now::set(Step(1));
    LateSteps::set(BTreeSet::new());
    Roles::set([(alice(), Role::Member)].into());
    MetersKnown::set(BTreeMap::new());
    Bindings::set(Vec::new());
    install(PV, pv(), meter_info(MeterKind::Generation, 1_000));
    install(HOUSE, house(), meter_info(MeterKind::Consumption, 3_000));
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(1);
        run();
        assert_eq!(EnergyToken::do_try_state(), Ok(()));
    });
}

/// Makes blocks up to that of `step`, and checks the invariants in each.
pub fn run_to(step: u32) {
    for number in Now::get().0 + 1..=step {
        assert_eq!(EnergyToken::do_try_state(), Ok(()));
        Now::set(Step(number));
        System::set_block_number(number);
        System::reset_events();
        EnergyToken::on_initialize(number);
    }
    assert_eq!(EnergyToken::do_try_state(), Ok(()));
}

/// Makes the blocks up to that of `step`, all of them late.
pub fn run_late_to(step: u32) {
    LateSteps::mutate(|late| late.extend((Now::get().0 + 1..=step).map(Step)));
    run_to(step);
}

pub fn energy_of(meter: MeterId, step: u32) -> Option<Wh> {
    EnergyToken::reading(meter, Step(step)).map(|reading| reading.energy)
}

pub fn interval(step: u32, energy: u64) -> pallet_energy_token::Report {
    interval_of(step, energy, 1, Quality::Measured)
}

pub fn interval_of(
    step: u32,
    energy: u64,
    version: u32,
    quality: Quality,
) -> pallet_energy_token::Report {
    pallet_energy_token::Report {
        step: Step(step),
        reading: pallet_energy_token::Measurement::Interval {
            energy: Wh(energy),
            version,
            quality,
        },
    }
}

pub fn pulses(step: u32, count: u32) -> pallet_energy_token::Report {
    pallet_energy_token::Report {
        step: Step(step),
        reading: pallet_energy_token::Measurement::Pulses(count),
    }
}

pub fn added(step: u32, energy: u64) -> pallet_energy_token::Report {
    pallet_energy_token::Report {
        step: Step(step),
        reading: pallet_energy_token::Measurement::EnergyAdded(Wh(energy)),
    }
}
