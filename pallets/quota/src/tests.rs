//! One rule per test.

use crate as pallet_quota;
use crate::{CallGate, ChargeBeyondQuota, Quotas, TransactionRefusal, extension::quota_units};
use codec::Encode;
use commonwatt_primitives::{Role, traits::Registrar};
use frame_support::{
    derive_impl,
    dispatch::{DispatchInfo, GetDispatchInfo, PostDispatchInfo},
    traits::{ConstU128, Hooks},
    weights::{IdentityFee, Weight},
};
use pallet_transaction_payment::{ChargeTransactionPayment, FungibleAdapter};
use sp_runtime::{
    BuildStorage,
    traits::{DispatchTransaction, IdentityLookup, TransactionExtension},
    transaction_validity::{InvalidTransaction, TransactionSource, TransactionValidityError},
};

const RICH: u64 = 1;
const POOR: u64 = 2;
const DEVICE: u64 = 50;
const STRANGER: u64 = 99;

type Block = frame_system::mocking::MockBlock<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        TransactionPayment: pallet_transaction_payment,
        Quota: pallet_quota,
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
    type ExistentialDeposit = ConstU128<1>;
    type AccountStore = System;
}

#[derive_impl(pallet_transaction_payment::config_preludes::TestDefaultConfig)]
impl pallet_transaction_payment::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = FungibleAdapter<Balances, ()>;
    type WeightToFee = IdentityFee<u128>;
    type LengthToFee = IdentityFee<u128>;
}

pub struct Registry;

impl Registrar<u64> for Registry {
    fn role_of(who: &u64) -> Option<Role> {
        match *who {
            STRANGER => None,
            DEVICE => Some(Role::Cryptometer),
            _ => Some(Role::Member),
        }
    }
}

pub struct Gate;

impl CallGate<RuntimeCall> for Gate {
    fn is_premature(call: &RuntimeCall) -> bool {
        matches!(call, RuntimeCall::System(frame_system::Call::remark { remark }) if remark == b"later")
    }

    fn is_metering(call: &RuntimeCall) -> bool {
        matches!(call, RuntimeCall::System(frame_system::Call::remark { remark }) if remark == b"reading")
    }
}

impl pallet_quota::Config for Test {
    type Registry = Registry;
    type Gate = Gate;
}

fn test(story: impl FnOnce()) {
    let storage = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: vec![(RICH, 1_000_000_000_000)],
            ..Default::default()
        },
        quota: pallet_quota::GenesisConfig {
            quotas: Quotas {
                dso: 0,
                member: 2,
                cryptometer: 2,
            },
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    sp_io::TestExternalities::new(storage).execute_with(|| {
        System::set_block_number(1);
        story();
    });
}

fn call(remark: &[u8]) -> RuntimeCall {
    frame_system::Call::remark {
        remark: remark.to_vec(),
    }
    .into()
}

fn send(who: u64, tip: u128, remark: &[u8]) -> Result<(), TransactionValidityError> {
    let call = call(remark);
    let info: DispatchInfo = call.get_dispatch_info();
    ChargeBeyondQuota::<Test>::from(tip)
        .test_run(RuntimeOrigin::signed(who), &call, &info, 100, 0, |_| {
            Ok(PostDispatchInfo::default())
        })
        .map(|_| ())
}

fn validate(who: u64) -> Result<(), TransactionValidityError> {
    let call = call(b"");
    let info = call.get_dispatch_info();
    ChargeBeyondQuota::<Test>::from(0)
        .validate_only(
            RuntimeOrigin::signed(who),
            &call,
            &info,
            100,
            TransactionSource::External,
            0,
        )
        .map(|_| ())
}

fn fees_paid() -> usize {
    let is_fee = |event: &RuntimeEvent| {
        matches!(
            event,
            RuntimeEvent::TransactionPayment(
                pallet_transaction_payment::Event::TransactionFeePaid { .. }
            )
        )
    };
    System::events()
        .iter()
        .filter(|record| is_fee(&record.event))
        .count()
}

#[test]
fn within_the_quota_nothing_is_paid_nor_reported_as_paid() {
    test(|| {
        let before = Balances::free_balance(RICH);
        assert_eq!(send(RICH, 0, b""), Ok(()));
        assert_eq!(send(RICH, 0, b""), Ok(()));
        assert_eq!(Balances::free_balance(RICH), before);
        assert_eq!(fees_paid(), 0);
    });
}

#[test]
fn beyond_the_quota_the_fee_is_paid() {
    test(|| {
        let before = Balances::free_balance(RICH);
        for _ in 0..3 {
            assert_eq!(send(RICH, 0, b""), Ok(()));
        }
        assert!(Balances::free_balance(RICH) < before);
        assert_eq!(fees_paid(), 1);
    });
}

#[test]
fn who_cannot_pay_waits_for_the_next_step() {
    test(|| {
        assert_eq!(send(POOR, 0, b""), Ok(()));
        assert_eq!(send(POOR, 0, b""), Ok(()));
        assert_eq!(
            send(POOR, 0, b""),
            Err(TransactionRefusal::QuotaUsed.into())
        );
        Quota::on_finalize(1);
        assert_eq!(send(POOR, 0, b""), Ok(()));
    });
}

#[test]
fn a_tip_is_charged_even_within_the_quota() {
    test(|| {
        let before = Balances::free_balance(RICH);
        assert_eq!(send(RICH, 7, b""), Ok(()));
        assert!(Balances::free_balance(RICH) <= before - 7);
        assert_eq!(
            send(POOR, 7, b""),
            // The next step's quota does not pay a tip either.
            Err(InvalidTransaction::Payment.into())
        );
    });
}

#[test]
fn strangers_are_refused_with_a_reason() {
    test(|| {
        let refusal = TransactionRefusal::Unregistered;
        assert_eq!(send(STRANGER, 0, b""), Err(refusal.into()));
        assert_eq!(validate(STRANGER), Err(refusal.into()));
        assert_eq!(TransactionRefusal::from_code(refusal as u8), Some(refusal));
        assert_eq!(
            TransactionRefusal::from_code(2),
            Some(TransactionRefusal::QuotaUsed)
        );
        assert_eq!(TransactionRefusal::from_code(0), None);
    });
}

#[test]
fn premature_calls_wait() {
    test(|| {
        assert_eq!(
            send(RICH, 0, b"later"),
            Err(InvalidTransaction::Future.into())
        );
    });
}

#[test]
fn validating_uses_up_no_quota() {
    test(|| {
        for _ in 0..5 {
            assert_eq!(validate(POOR), Ok(()));
        }
        assert_eq!(Quota::left_for(&POOR, Role::Member), 2);
    });
}

#[test]
fn clients_see_the_extension_they_know() {
    let ours = ChargeBeyondQuota::<Test>::from(9);
    let known = ChargeTransactionPayment::<Test>::from(9);
    assert_eq!(ours.encode(), known.encode());
    type Extension = ChargeBeyondQuota<Test>;
    let ours = <Extension as TransactionExtension<RuntimeCall>>::metadata();
    let known = <ChargeTransactionPayment<Test> as TransactionExtension<RuntimeCall>>::metadata();
    assert_eq!(ours[0].identifier, known[0].identifier);
    assert_eq!(ours[0].ty.type_id(), known[0].ty.type_id());
}

#[test]
fn a_cryptometers_quota_covers_readings_alone() {
    test(|| {
        assert_eq!(
            send(DEVICE, 0, b"anything"),
            Err(TransactionRefusal::QuotaUsed.into())
        );
        assert_eq!(send(DEVICE, 0, b"reading"), Ok(()));
    });
}

#[test]
fn long_transactions_count_as_several() {
    let info = |milliseconds: u64| DispatchInfo {
        call_weight: Weight::from_parts(milliseconds * 1_000_000_000, 0),
        ..Default::default()
    };
    assert_eq!(quota_units(&info(19), 65_535), 1);
    assert_eq!(quota_units(&info(20), 100), 2);
    assert_eq!(quota_units(&info(100), 130 * 1_024), 8);
    test(|| {
        let call = call(b"");
        let run = || {
            ChargeBeyondQuota::<Test>::from(0)
                .test_run(
                    RuntimeOrigin::signed(POOR),
                    &call,
                    &info(20),
                    100,
                    0,
                    |_| Ok(PostDispatchInfo::default()),
                )
                .map(|_| ())
        };
        assert_eq!(run(), Ok(()));
        assert_eq!(Quota::left_for(&POOR, Role::Member), 0);
        assert_eq!(run(), Err(TransactionRefusal::QuotaUsed.into()));
    });
}
