//! A community whose meters, loyalty and beacon are what tests say.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use commonwatt_clearing::{Mechanism, Side};
use commonwatt_primitives::{
    Coin, Hash, Month, Ppm, Role, Step, Wh,
    beacon::Beacon,
    traits::{
        EnergyMove, Holding, Loyalty, MarketClock, MarketConduct, OnShortfall, Registrar,
        TradableEnergy,
    },
};
use frame_support::{
    PalletId, derive_impl, parameter_types,
    storage::unhashed,
    traits::{Hooks, fungible::InspectHold},
};
use frame_system::EnsureRoot;
use sp_runtime::{BuildStorage, DispatchError, DispatchResult};

use crate as pallet_double_auction;
use crate::{Cap, OrderId, OrderTerms, STEPS_AHEAD_MAX, When};

pub type AccountId = u64;

pub const ANNA: AccountId = 1;
pub const BEN: AccountId = 2;
pub const CARLA: AccountId = 3;
pub const DORA: AccountId = 4;
pub const STRANGER: AccountId = 500;
pub const TREASURY: AccountId = 900;
/// Members are the accounts below this.
pub const MEMBERS_END: AccountId = 100;
/// What each member of the first ones begins with.
pub const COINS: Coin = 10_000;
pub const UNIT: Wh = Wh(10);
pub const RETENTION: u32 = 10;
pub const EPOCH: u32 = 8;
pub const STEPS_PER_MONTH: u32 = 8;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        Market: pallet_double_auction,
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
    pub const Treasury: AccountId = TREASURY;
    pub const Retention: u32 = RETENTION;
    pub const EpochLength: u32 = EPOCH;
    pub const MaxOrders: u32 = 4;
    pub const MaxStanding: u32 = 3;
    pub const MaxBooked: u32 = 10;
    pub const MaxOrdersPerStep: u32 = 40;
    pub const MaxTerms: u32 = 3;
    pub const ExpiredBooksPerBlock: u32 = 3;
    pub const MarketPalletId: PalletId = PalletId(*b"cw/marke");
}

impl pallet_double_auction::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Clock = Community;
    type Registry = Community;
    type Energy = Community;
    type Loyalty = Community;
    type Shortfalls = Community;
    type Beacon = Community;
    type TermsOrigin = EnsureRoot<AccountId>;
    type Treasury = Treasury;
    type Retention = Retention;
    type EpochLength = EpochLength;
    type MaxOrders = MaxOrders;
    type MaxStanding = MaxStanding;
    type MaxBooked = MaxBooked;
    type MaxOrdersPerStep = MaxOrdersPerStep;
    type MaxTerms = MaxTerms;
    type ExpiredBooksPerBlock = ExpiredBooksPerBlock;
    type PalletId = MarketPalletId;
    type WeightInfo = ();
}

#[derive(Default)]
struct World {
    holdings: BTreeMap<(Step, AccountId), Holding>,
    loyalties: BTreeMap<AccountId, Ppm>,
    conducts: Vec<(Step, AccountId, MarketConduct)>,
    shortfalls: Vec<(Step, AccountId, Wh, Wh)>,
    deregistered: BTreeSet<AccountId>,
    is_late: bool,
    has_lost_seeds: bool,
    refuses_energy: bool,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Registry, clock, meters, loyalty and beacon in one.
pub struct Community;

impl Registrar<AccountId> for Community {
    fn role_of(who: &AccountId) -> Option<Role> {
        let is_gone = WORLD.with_borrow(|world| world.deregistered.contains(who));
        (*who < MEMBERS_END && !is_gone).then_some(Role::Member)
    }
}

impl MarketClock for Community {
    fn current_step() -> Step {
        Step(System::block_number())
    }

    fn is_late() -> bool {
        WORLD.with_borrow(|world| world.is_late)
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

/// Where moved energy is kept: in the state, so that it is undone with it.
fn moved_key(step: Step, who: AccountId) -> Vec<u8> {
    format!("moved/{step}/{who}").into_bytes()
}

/// Returns what an account bought and sold in a step, in watt-hours.
pub fn moved(step: u32, who: AccountId) -> (u64, u64) {
    unhashed::get_or_default(&moved_key(Step(step), who))
}

impl TradableEnergy<AccountId> for Community {
    fn holding(step: Step, who: &AccountId) -> Option<Holding> {
        WORLD.with_borrow(|world| world.holdings.get(&(step, *who)).copied())
    }

    fn move_energy(step: Step, moves: &[EnergyMove<AccountId>]) -> DispatchResult {
        assert!(moves.is_sorted_by(|a, b| a.who < b.who), "moves in order");
        let sum = |part: fn(&EnergyMove<AccountId>) -> Wh| -> u64 {
            moves.iter().map(|one| part(one).0).sum()
        };
        assert_eq!(sum(|one| one.bought), sum(|one| one.sold));
        for EnergyMove { who, bought, sold } in moves {
            let holding = Self::holding(step, who).unwrap_or_default();
            assert!(*sold <= holding.surplus(), "{who} sells what it has");
            unhashed::put(&moved_key(step, *who), &(bought.0, sold.0));
        }
        if WORLD.with_borrow(|world| world.refuses_energy) {
            return Err(DispatchError::Other("the meters refuse"));
        }
        Ok(())
    }
}

impl Loyalty<AccountId> for Community {
    fn loyalty_of(who: &AccountId, _: Step) -> Ppm {
        WORLD.with_borrow(|world| world.loyalties.get(who).copied().unwrap_or(Ppm::FULL))
    }

    fn on_market_cleared(who: &AccountId, step: Step, conduct: MarketConduct) {
        WORLD.with_borrow_mut(|world| world.conducts.push((step, *who, conduct)));
    }
}

impl OnShortfall<AccountId> for Community {
    fn on_shortfall(who: &AccountId, step: Step, promised: Wh, missing: Wh) {
        WORLD.with_borrow_mut(|world| world.shortfalls.push((step, *who, promised, missing)));
    }
}

/// It keeps the seeds that kept steps need, and not one more.
impl Beacon for Community {
    fn seed_of(height: Step) -> Option<Hash> {
        let now = Self::current_step();
        let is_kept = height <= now && now.since(height) < RETENTION + STEPS_AHEAD_MAX;
        let is_lost = WORLD.with_borrow(|world| world.has_lost_seeds);
        (is_kept && !is_lost).then_some(Hash::repeat_byte(
            u8::try_from(height.0 % 251).expect("below 251"),
        ))
    }
}

/// Says what an account has of a step.
pub fn hold_energy(step: u32, who: AccountId, vgm_wh: i128, consumption: Option<u64>) {
    let holding = Holding {
        vgm_wh,
        consumption: consumption.map(Wh),
    };
    WORLD.with_borrow_mut(|world| world.holdings.insert((Step(step), who), holding));
}

pub fn set_loyalty(who: AccountId, loyalty: u32) {
    WORLD.with_borrow_mut(|world| world.loyalties.insert(who, Ppm(loyalty)));
}

pub fn deregister(who: AccountId) {
    WORLD.with_borrow_mut(|world| world.deregistered.insert(who));
}

/// Registers somebody again who was deregistered.
pub fn register(who: AccountId) {
    WORLD.with_borrow_mut(|world| world.deregistered.remove(&who));
}

/// The beacon knows no seed any more.
pub fn lose_seeds() {
    WORLD.with_borrow_mut(|world| world.has_lost_seeds = true);
}

pub fn refuse_energy() {
    WORLD.with_borrow_mut(|world| world.refuses_energy = true);
}

pub fn set_late(is_late: bool) {
    WORLD.with_borrow_mut(|world| world.is_late = is_late);
}

pub fn conduct(step: u32, who: AccountId) -> Option<MarketConduct> {
    WORLD.with_borrow(|world| {
        let mut told = world.conducts.iter();
        told.find(|(of, whose, _)| (*of, *whose) == (Step(step), who))
            .map(|(_, _, conduct)| *conduct)
    })
}

pub fn shortfalls() -> Vec<(Step, AccountId, Wh, Wh)> {
    WORLD.with_borrow(|world| world.shortfalls.clone())
}

/// A chain whose first block is under construction; accounts 1 to 9 have coins.
pub fn test_with(mechanism: Mechanism, story: impl FnOnce()) {
    WORLD.set(World::default());
    let storage = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: (1..10).map(|who| (who, COINS)).collect(),
            ..Default::default()
        },
        market: pallet_double_auction::GenesisConfig {
            mechanism,
            unit: UNIT,
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        begin_block(1);
        story();
    });
}

pub fn test(story: impl FnOnce()) {
    test_with(Mechanism::Average, story);
}

fn begin_block(number: u32) {
    System::set_block_number(number);
    System::reset_events();
    Market::on_initialize(number);
}

/// Finishes the block under construction, checks every invariant, and begins the next one. The events of the
/// finished block are returned.
pub fn finish_block() -> Vec<crate::Event<Test>> {
    let number = System::block_number();
    Market::on_finalize(number);
    let told = events();
    Market::do_try_state().expect("the invariants hold");
    begin_block(number + 1);
    told
}

/// Goes on as if blocks without orders had come; for a market that had none so far.
pub fn skip_blocks_until(number: u32) {
    crate::OldestKept::<Test>::put(Step(number.saturating_sub(RETENTION)));
    begin_block(number);
}

pub fn finish_blocks_until(number: u32) {
    while System::block_number() < number {
        finish_block();
    }
}

pub fn events() -> Vec<crate::Event<Test>> {
    System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::Market(event) => Some(event),
            _ => None,
        })
        .collect()
}

pub fn terms(side: Side, step: u32, limit: u128, units: u32) -> OrderTerms {
    OrderTerms {
        side,
        limit,
        units,
        unit: UNIT,
        when: When::Once(Step(step)),
        cap: Cap::Quantity,
    }
}

pub fn place(who: AccountId, terms: OrderTerms) -> DispatchResult {
    Market::place(RuntimeOrigin::signed(who), terms)
}

/// Places an order to buy for a step and returns its id.
pub fn buy(who: AccountId, step: u32, limit: u128, units: u32) -> OrderId {
    placed(who, terms(Side::Buy, step, limit, units))
}

/// Places an order to sell for a step and returns its id.
pub fn sell(who: AccountId, step: u32, limit: u128, units: u32) -> OrderId {
    placed(who, terms(Side::Sell, step, limit, units))
}

/// Places an order for every step and returns its id.
pub fn stand(who: AccountId, side: Side, limit: u128, units: u32, until: Option<u32>) -> OrderId {
    let until = until.map(Step);
    placed(
        who,
        OrderTerms {
            when: When::Standing { until },
            ..terms(side, 0, limit, units)
        },
    )
}

pub fn placed(who: AccountId, terms: OrderTerms) -> OrderId {
    place(who, terms).expect("the order is right");
    match events().last() {
        Some(crate::Event::OrderPlaced { id, .. }) => *id,
        other => panic!("not an order: {other:?}"),
    }
}

pub fn cancel(who: AccountId, id: OrderId) -> DispatchResult {
    Market::cancel(RuntimeOrigin::signed(who), id)
}

pub fn replace(who: AccountId, id: OrderId, limit: u128, units: u32) -> DispatchResult {
    Market::replace(RuntimeOrigin::signed(who), id, limit, units)
}

/// Returns an account's coins, free and held.
pub fn coins(who: AccountId) -> (Coin, Coin) {
    let held = Balances::balance_on_hold(&crate::HoldReason::Order.into(), &who);
    (Balances::free_balance(who), held)
}

/// Returns how many units of an order were traded, and for how many coins.
pub fn fill(step: u32, who: AccountId, id: OrderId) -> (u32, Coin) {
    let book = crate::Books::<Test>::get(Step(step), who).expect("it has a book");
    let mut orders = book.orders.iter();
    let order = orders
        .find(|order| order.origin.id(Step(step)) == id)
        .expect("the order is in it");
    (order.traded, order.coins)
}
