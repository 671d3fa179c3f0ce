//! One rule per test.

use crate as pallet_energy_coin;
use crate::{Error, Event};
use commonwatt_primitives::{Role, traits::Registrar};
use frame_support::{assert_noop, assert_ok, derive_impl};
use frame_system::EnsureRoot;
use sp_runtime::{BuildStorage, DispatchError, TokenError, traits::IdentityLookup};

const MEMBER: u64 = 1;
const STRANGER: u64 = 99;

type Block = frame_system::mocking::MockBlock<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        EnergyCoin: pallet_energy_coin,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = u64;
    type Lookup = IdentityLookup<u64>;
    type AccountData = pallet_balances::AccountData<u128>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = u128;
    type ExistentialDeposit = frame_support::traits::ConstU128<1>;
    type AccountStore = System;
}

pub struct Registry;

impl Registrar<u64> for Registry {
    fn role_of(who: &u64) -> Option<Role> {
        (*who != STRANGER).then_some(Role::Member)
    }
}

impl pallet_energy_coin::Config for Test {
    type Currency = Balances;
    type Registry = Registry;
    type TreasuryOrigin = EnsureRoot<u64>;
    type WeightInfo = ();
}

fn test(story: impl FnOnce()) {
    let storage = frame_system::GenesisConfig::<Test>::default()
        .build_storage()
        .expect("the default genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(1);
        story();
    });
}

#[test]
fn the_treasury_mints_and_burns() {
    test(|| {
        assert_ok!(EnergyCoin::mint(RuntimeOrigin::root(), MEMBER, 500));
        System::assert_last_event(
            Event::CoinsMinted {
                to: MEMBER,
                amount: 500,
            }
            .into(),
        );
        assert_ok!(EnergyCoin::burn(RuntimeOrigin::root(), MEMBER, 200));
        System::assert_last_event(
            Event::CoinsBurned {
                from: MEMBER,
                amount: 200,
            }
            .into(),
        );
        assert_eq!(Balances::free_balance(MEMBER), 300);
        assert_eq!(Balances::total_issuance(), 300);
    });
}

#[test]
fn nobody_else_mints_or_burns() {
    test(|| {
        let member = || RuntimeOrigin::signed(MEMBER);
        assert_noop!(
            EnergyCoin::mint(member(), MEMBER, 1),
            DispatchError::BadOrigin
        );
        assert_noop!(
            EnergyCoin::burn(member(), MEMBER, 1),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn strangers_get_no_coins() {
    test(|| {
        assert_noop!(
            EnergyCoin::mint(RuntimeOrigin::root(), STRANGER, 1),
            Error::<Test>::NotRegistered
        );
    });
}

#[test]
fn more_than_there_is_is_not_burned_in_part() {
    test(|| {
        assert_ok!(EnergyCoin::mint(RuntimeOrigin::root(), MEMBER, 10));
        assert_noop!(
            EnergyCoin::burn(RuntimeOrigin::root(), MEMBER, 11),
            DispatchError::Token(TokenError::FundsUnavailable)
        );
    });
}

#[test]
fn nothing_is_refused() {
    test(|| {
        assert_noop!(
            EnergyCoin::mint(RuntimeOrigin::root(), MEMBER, 0),
            Error::<Test>::NothingToDo
        );
    });
}
