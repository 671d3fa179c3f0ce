//! A community without devices: tests say what was measured.

use std::{cell::RefCell, collections::BTreeMap};

use commonwatt_primitives::{
    Bps, MeterClass, MeterId, MeterKind, Month, Ppm, Role, Step, Wh,
    metering::MeterInfo,
    traits::{
        EnergyMove, MarketClock, MeteredEnergy, Meters, OnHoldingExpired, Readings, Registrar,
        Sale, Sales, TradableEnergy,
    },
};
use frame_support::{
    derive_impl, parameter_types,
    traits::{Hooks, fungible::Inspect},
};
use frame_system::EnsureRoot;
use sp_runtime::BuildStorage;

use crate as pallet_virtual_meter;
use crate::{GenesisAgreement, KeyTerms};

pub type AccountId = u64;

pub const COMMUNITY: AccountId = 1_000;
pub const LOSSES: AccountId = 1_001;
/// Members are the accounts below this.
pub const MEMBERS_END: AccountId = 100;
pub const STEPS_PER_MONTH: u32 = 8;
pub const RETENTION: u32 = 10;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        VotingTokens: pallet_balances,
        VirtualMeter: pallet_virtual_meter,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
    type AccountData = pallet_balances::AccountData<u128>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = u128;
    type AccountStore = System;
}

parameter_types! {
    pub const MaxParticipants: u32 = 40;
    pub const MaxMeters: u32 = 80;
    pub const MaxAgreements: u32 = 3;
    pub const ChangedStepsPerBlock: u32 = 2;
}

impl pallet_virtual_meter::Config for Test {
    type Registry = Community;
    type Clock = Community;
    type Readings = Community;
    type VotingTokens = VotingTokens;
    type Sales = Community;
    type OnHoldingExpired = Community;
    type AgreementOrigin = EnsureRoot<AccountId>;
    type MaxParticipants = MaxParticipants;
    type MaxMeters = MaxMeters;
    type MaxAgreements = MaxAgreements;
    type ChangedStepsPerBlock = ChangedStepsPerBlock;
    type WeightInfo = ();
}

#[derive(Default)]
struct Measured {
    meters: BTreeMap<MeterId, MeterInfo<AccountId>>,
    former: Vec<(MeterId, Step, MeterInfo<AccountId>)>,
    readings: BTreeMap<Step, BTreeMap<MeterId, Wh>>,
    changed: Vec<Step>,
    sales: Vec<(Step, Sale<AccountId>)>,
    is_market_forgetful: bool,
    expired: Vec<(Step, AccountId, i128)>,
}

thread_local! {
    static MEASURED: RefCell<Measured> = RefCell::default();
}

/// Registry, clock and readings in one.
pub struct Community;

impl Registrar<AccountId> for Community {
    fn role_of(who: &AccountId) -> Option<Role> {
        (*who < MEMBERS_END).then_some(Role::Member)
    }
}

impl Meters<AccountId> for Community {
    fn meter_of_device(_: &AccountId) -> Option<MeterId> {
        None
    }

    fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>> {
        MEASURED.with_borrow(|measured| measured.meters.get(&meter).cloned())
    }

    fn meter_at(meter: MeterId, step: Step) -> Option<MeterInfo<AccountId>> {
        MEASURED.with_borrow(|measured| {
            let mut former = measured.former.iter();
            former
                .find(|(id, last, _)| *id == meter && step <= *last)
                .map(|(_, _, info)| info)
                .or_else(|| measured.meters.get(&meter))
                .cloned()
        })
    }

    fn was_bound(_: &AccountId, _: MeterId, _: Step) -> bool {
        false
    }
}

impl MarketClock for Community {
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

    fn month_of(step: Step) -> Month {
        Month(step.0 / STEPS_PER_MONTH)
    }
}

impl Readings for Community {
    fn readings_of(step: Step) -> Vec<MeteredEnergy> {
        MEASURED.with_borrow(|measured| {
            let readings = measured.readings.get(&step).into_iter().flatten();
            readings
                .map(|(&meter, &energy)| MeteredEnergy { meter, energy })
                .collect()
        })
    }

    fn take_changed_steps(limit: u32) -> Vec<Step> {
        MEASURED.with_borrow_mut(|measured| {
            measured.changed.sort_unstable();
            measured.changed.dedup();
            let count = measured.changed.len().min(limit as usize);
            measured.changed.drain(..count).collect()
        })
    }
}

impl Sales<AccountId> for Community {
    fn sales_of(step: Step) -> Option<Vec<Sale<AccountId>>> {
        MEASURED.with_borrow(|measured| {
            let of_step = measured.sales.iter().filter(|(of, _)| *of == step);
            let sales = of_step.map(|(_, sale)| *sale).collect();
            (!measured.is_market_forgetful).then_some(sales)
        })
    }
}

impl OnHoldingExpired<AccountId> for Community {
    fn on_holding_expired(step: Step, who: &AccountId, market_face_wh: i128) {
        MEASURED.with_borrow_mut(|measured| measured.expired.push((step, *who, market_face_wh)));
    }
}

/// Returns what left the state, in the order of steps and accounts.
pub fn expired() -> Vec<(Step, AccountId, i128)> {
    let mut expired = MEASURED.with_borrow(|measured| measured.expired.clone());
    expired.sort_unstable();
    expired
}

/// One member sells energy of a step to another, as a market would.
pub fn sell(
    step: u32,
    seller: AccountId,
    buyer: AccountId,
    energy: u64,
) -> sp_runtime::DispatchResult {
    let energy = Wh(energy);
    let (bought, sold) = (Wh(0), energy);
    let mut moves = [
        EnergyMove {
            who: seller,
            bought,
            sold,
        },
        EnergyMove {
            who: buyer,
            bought: energy,
            sold: Wh(0),
        },
    ];
    moves.sort_unstable_by_key(|one| one.who);
    VirtualMeter::move_energy(Step(step), &moves)?;
    let sale = Sale {
        seller,
        buyer,
        energy,
    };
    MEASURED.with_borrow_mut(|measured| measured.sales.push((Step(step), sale)));
    Ok(())
}

/// The market no longer knows who traded with whom.
pub fn forget_sales() {
    MEASURED.with_borrow_mut(|measured| measured.is_market_forgetful = true);
}

/// A meter to be adjusted and registered.
pub fn meter(kind: MeterKind, owner: AccountId) -> MeterInfo<AccountId> {
    MeterInfo {
        kind,
        owner,
        beneficiary: owner,
        class: MeterClass::B,
        pulses_per_kwh: 1_000,
        capacity_w: 10_000,
        loss: Bps(0),
        efficiency: Bps::FULL,
        storage_pair: None,
        commissioned: Step(1),
        retired: None,
    }
}

pub fn register(id: u32, info: MeterInfo<AccountId>) {
    MEASURED.with_borrow_mut(|measured| measured.meters.insert(MeterId(id), info));
}

/// Changes a meter's record from the step after `last` on.
pub fn change_after(last: u32, id: u32, info: MeterInfo<AccountId>) {
    MEASURED.with_borrow_mut(|measured| {
        let former = measured.meters.insert(MeterId(id), info);
        let former = former.expect("only a registered meter is changed");
        measured.former.push((MeterId(id), Step(last), former));
    });
}

pub fn register_generator(id: u32, beneficiary: AccountId) {
    register(id, meter(MeterKind::Generation, beneficiary));
}

/// Registers consumption meter `100 + member`.
pub fn register_consumer(member: AccountId) {
    register(
        consumption_meter(member),
        meter(MeterKind::Consumption, member),
    );
}

pub fn consumption_meter(member: AccountId) -> u32 {
    100 + u32::try_from(member).expect("members are few")
}

/// Sets a reading; for a past step that makes a correction due.
pub fn measure(step: u32, id: u32, energy: u64) {
    let is_past = Step(step) < Community::current_step();
    MEASURED.with_borrow_mut(|measured| {
        measured
            .readings
            .entry(Step(step))
            .or_default()
            .insert(MeterId(id), Wh(energy));
        if is_past {
            measured.changed.push(Step(step));
        }
    });
}

pub fn consume(step: u32, member: AccountId, energy: u64) {
    measure(step, consumption_meter(member), energy);
}

/// Says that a step changed, true or not.
pub fn announce_change(step: u32) {
    MEASURED.with_borrow_mut(|measured| measured.changed.push(Step(step)));
}

pub fn static_key(capped: bool, shares: &[(AccountId, u32)]) -> KeyTerms<AccountId> {
    let shares = shares
        .iter()
        .map(|&(who, share)| (who, Ppm(share)))
        .collect();
    KeyTerms::Static { capped, shares }
}

pub fn pro_rata(participants: &[AccountId]) -> KeyTerms<AccountId> {
    KeyTerms::ProRata {
        participants: participants.to_vec(),
    }
}

pub fn agreement(key: KeyTerms<AccountId>) -> Option<GenesisAgreement<AccountId>> {
    Some(GenesisAgreement {
        key,
        community_account: COMMUNITY,
        loss_account: LOSSES,
    })
}

/// A chain whose first block is under construction, with an empty community.
pub fn chain(agreement: Option<GenesisAgreement<AccountId>>) -> sp_io::TestExternalities {
    chain_with_tokens(agreement, Bps(1_000))
}

pub fn chain_with_tokens(
    agreement: Option<GenesisAgreement<AccountId>>,
    tokens_per_wh: Bps,
) -> sp_io::TestExternalities {
    MEASURED.set(Measured::default());
    let virtual_meter = pallet_virtual_meter::GenesisConfig {
        agreement,
        tokens_per_wh,
        retention: RETENTION,
    };
    let storage = RuntimeGenesisConfig {
        virtual_meter,
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    let mut chain = sp_io::TestExternalities::new(storage);
    chain.execute_with(|| begin_block(1));
    chain
}

fn begin_block(step: u32) {
    System::set_block_number(step);
    System::reset_events();
    VirtualMeter::on_initialize(step);
}

/// Finishes the block under construction, checks every invariant, and begins the next one. The events
/// of the finished block are returned.
pub fn finish_block() -> Vec<crate::Event<Test>> {
    let step = System::block_number();
    VirtualMeter::on_finalize(step);
    let events = virtual_meter_events();
    VirtualMeter::do_try_state().expect("the invariants hold");
    begin_block(step + 1);
    events
}

pub fn finish_blocks_until(step: u32) {
    while System::block_number() < step {
        finish_block();
    }
}

pub fn virtual_meter_events() -> Vec<crate::Event<Test>> {
    System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::VirtualMeter(event) => Some(event),
            _ => None,
        })
        .collect()
}

pub fn tokens(who: AccountId) -> u128 {
    VotingTokens::balance(&who)
}
