//! The runtime as a whole: what it refuses, what clients see, and what a block does.

mod auction;
mod market;

use codec::Encode;
use commonwatt_primitives::{
    AccountId, MeterId, Quality, Step, Wh, beacon,
    digest::{Punctuality, StepDigest},
};
use frame_support::{
    assert_ok,
    traits::{Contains, Get},
};
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use sp_core::{Pair, sr25519};
use sp_io::TestExternalities;
use sp_runtime::{
    ApplyExtrinsicResult, Digest, DispatchError,
    generic::Era,
    traits::Header as _,
    transaction_validity::{InvalidTransaction, TransactionSource, TransactionValidityError},
};

use crate::{
    Executive, Hash, Header, Runtime, RuntimeCall, RuntimeEvent, System, UncheckedExtrinsic,
    calls::CallFilter,
    example::{account, beacon_pair, genesis, pair},
    transaction::{SigningContext, sign_with},
};

fn test(story: impl FnOnce()) {
    test_on(&genesis(), story);
}

fn test_on(genesis: &crate::genesis::CommunityGenesis, story: impl FnOnce()) {
    let storage = genesis.build_storage().unwrap();
    TestExternalities::new(storage).execute_with(story);
}

fn begin_block(number: u32) {
    let before = crate::MinerAuction::beacon(Step(number - 1)).unwrap();
    let digest = StepDigest::V1 {
        author: account("X"),
        author_rank: 0,
        winner: account("X"),
        beacon: beacon::prove(&beacon_pair("X"), &before, number),
        punctuality: Punctuality::OnTime,
    };
    // Any hashes do, as long as no two blocks share one.
    let parent = Hash::from_low_u64_be(u64::from(number));
    let header = Header::new(
        number,
        Default::default(),
        Default::default(),
        parent,
        Digest {
            logs: digest.to_items(),
        },
    );
    Executive::initialize_block(&header);
    let now = genesis().timing.closes_at_ms(Step(number));
    let inherent =
        UncheckedExtrinsic::new_bare(RuntimeCall::Timestamp(pallet_timestamp::Call::set { now }));
    assert_ok!(Executive::apply_extrinsic(inherent).unwrap());
}

fn context() -> SigningContext {
    SigningContext::immortal(System::block_hash(0))
}

fn signed(call: RuntimeCall, nonce: u32, context: &SigningContext, by: &str) -> UncheckedExtrinsic {
    let key = pair(by);
    sign_with(call, nonce, 0, context, account(by), |payload| {
        key.sign(payload).into()
    })
}

fn apply(call: RuntimeCall, nonce: u32, by: &str) -> ApplyExtrinsicResult {
    Executive::apply_extrinsic(signed(call, nonce, &context(), by))
}

fn remark() -> RuntimeCall {
    frame_system::Call::remark { remark: vec![1] }.into()
}

fn reading(sequence: u64, step: u32, energy: u64) -> RuntimeCall {
    let reading = Measurement::Interval {
        energy: Wh(energy),
        version: 1,
        quality: Quality::Measured,
    };
    EnergyCall::report {
        sequence,
        report: Report {
            step: Step(step),
            reading,
        },
    }
    .into()
}

fn invalid(reason: InvalidTransaction) -> ApplyExtrinsicResult {
    Err(TransactionValidityError::Invalid(reason))
}

#[test]
fn the_example_of_the_papers_runs_through_a_block() {
    // [D] Table 1: 15 kWh from A, 10 kWh from B; 8 kWh to X, 17 kWh to Y.
    test(|| {
        begin_block(1);
        assert_ok!(apply(reading(1, 1, 15_000), 0, "A").unwrap());
        assert_ok!(apply(reading(1, 1, 10_000), 0, "B").unwrap());
        Executive::finalize_block();

        let vgm = |who| crate::VirtualMeter::vgm(Step(1), &account(who)).unwrap();
        assert_eq!(vgm("X").shared, Wh(8_000));
        assert_eq!(vgm("Y").shared, Wh(17_000));
        let trace = crate::VirtualMeter::trace(Step(1), &account("X")).unwrap();
        assert_eq!(
            trace.from,
            vec![(MeterId(0), Wh(4_800)), (MeterId(1), Wh(3_200))]
        );
        let tokens = |who| crate::VotingTokens::free_balance(account(who));
        // One token for 100 Wh, and 100 at genesis for the validator [P 5.1], which lost one of them because
        // nobody bid.
        assert_eq!((tokens("X"), tokens("Y")), (179, 170));
    });
}

#[test]
fn a_wrong_signature_is_refused() {
    test(|| {
        begin_block(1);
        let key = pair("Y");
        let forged = sign_with(remark(), 0, 0, &context(), account("X"), |payload| {
            key.sign(payload).into()
        });
        assert_eq!(
            Executive::apply_extrinsic(forged),
            invalid(InvalidTransaction::BadProof)
        );
    });
}

#[test]
fn both_kinds_of_keys_are_accepted() {
    test(|| {
        begin_block(1);
        assert_ok!(apply(remark(), 0, "X").unwrap());
        let key = sr25519::Pair::from_string("//Sr", None).unwrap();
        let who = AccountId::new(key.public().0);
        let call = pallet_registry::Call::register_member { who: who.clone() }.into();
        assert_ok!(apply(call, 0, "Dso").unwrap());
        let extrinsic = sign_with(remark(), 0, 0, &context(), who, |payload| {
            key.sign(payload).into()
        });
        assert_ok!(Executive::apply_extrinsic(extrinsic).unwrap());
    });
}

#[test]
fn a_wrong_nonce_is_refused() {
    test(|| {
        begin_block(1);
        assert_eq!(apply(remark(), 1, "X"), invalid(InvalidTransaction::Future));
        assert_ok!(apply(remark(), 0, "X").unwrap());
        assert_eq!(apply(remark(), 0, "X"), invalid(InvalidTransaction::Stale));
    });
}

#[test]
fn another_chains_transaction_is_refused() {
    test(|| {
        begin_block(1);
        let other = SigningContext::immortal(Hash::repeat_byte(7));
        let extrinsic = signed(remark(), 0, &other, "X");
        assert_eq!(
            Executive::apply_extrinsic(extrinsic),
            invalid(InvalidTransaction::BadProof)
        );
    });
}

#[test]
fn an_era_that_is_over_is_refused() {
    test(|| {
        for number in 1..=20 {
            begin_block(number);
            Executive::finalize_block();
        }
        begin_block(21);
        let context = SigningContext {
            era: Era::mortal(4, 2),
            era_hash: System::block_hash(2),
            ..context()
        };
        let extrinsic = signed(remark(), 0, &context, "X");
        let refused = Executive::apply_extrinsic(extrinsic);
        assert_eq!(refused, invalid(InvalidTransaction::BadProof));
    });
}

#[test]
fn strangers_are_refused() {
    test(|| {
        begin_block(1);
        assert_eq!(
            apply(remark(), 0, "Stranger"),
            invalid(InvalidTransaction::Payment)
        );
        // Coins do not make a member.
        let gift = pallet_balances::Call::<Runtime>::transfer_allow_death {
            dest: account("Stranger").into(),
            value: 1_000,
        };
        assert_ok!(apply(gift.into(), 0, "X").unwrap());
        let refusal = pallet_quota::TransactionRefusal::Unregistered as u8;
        assert_eq!(
            apply(remark(), 0, "Stranger"),
            invalid(InvalidTransaction::Custom(refusal))
        );
    });
}

#[test]
fn a_reading_of_a_step_not_closed_yet_waits() {
    test(|| {
        begin_block(1);
        assert_eq!(
            apply(reading(1, 2, 5), 0, "A"),
            invalid(InvalidTransaction::Future)
        );
        Executive::finalize_block();
        begin_block(2);
        assert_ok!(apply(reading(1, 2, 5), 0, "A").unwrap());
    });
}

#[test]
fn readings_are_validated_for_the_block_to_come() {
    test(|| {
        begin_block(1);
        Executive::finalize_block();
        let validate = |step| {
            let extrinsic = signed(reading(1, step, 5), 0, &context(), "A");
            sp_io::storage::start_transaction();
            let validity = Executive::validate_transaction(
                TransactionSource::External,
                extrinsic,
                System::block_hash(1),
            );
            sp_io::storage::rollback_transaction();
            validity.map(|_| ())
        };
        assert_eq!(validate(2), Ok(()));
        assert_eq!(validate(3), Err(InvalidTransaction::Future.into()));
    });
}

#[test]
fn calls_that_need_wasm_or_bypass_the_pallets_are_filtered() {
    use frame_system::Call;
    let refused: [RuntimeCall; 5] = [
        Call::set_code { code: vec![] }.into(),
        Call::set_code_without_checks { code: vec![] }.into(),
        Call::apply_authorized_upgrade { code: vec![] }.into(),
        Call::set_storage { items: vec![] }.into(),
        Call::kill_prefix {
            prefix: vec![],
            subkeys: 0,
        }
        .into(),
    ];
    for call in refused {
        assert!(!CallFilter::contains(&call), "{call:?}");
    }
    let transfer =
        pallet_balances::Call::<Runtime, crate::configs::VotingTokensInstance>::transfer_all {
            dest: account("Y").into(),
            keep_alive: false,
        };
    assert!(!CallFilter::contains(&RuntimeCall::VotingTokens(
        transfer.clone()
    )));
    test(|| {
        begin_block(1);
        let result = apply(RuntimeCall::VotingTokens(transfer), 0, "X").unwrap();
        assert_eq!(
            result,
            Err(frame_system::Error::<Runtime>::CallFiltered.into())
        );
    });
}

#[test]
fn only_the_council_sets_the_agreement_and_mints_coins() {
    test(|| {
        begin_block(1);
        let mint = pallet_energy_coin::Call::mint {
            to: account("Y"),
            amount: 5,
        };
        let mint: RuntimeCall = mint.into();
        assert_eq!(
            apply(mint.clone(), 0, "Dso").unwrap(),
            Err(DispatchError::BadOrigin)
        );
        let motion = pallet_collective::Call::<Runtime, crate::configs::CouncilInstance>::propose {
            threshold: 1,
            proposal: Box::new(mint),
            length_bound: 1_000,
        };
        assert_ok!(apply(RuntimeCall::Council(motion), 0, "X").unwrap());
        assert_eq!(crate::Balances::free_balance(account("Y")), 5);
    });
}

#[test]
fn the_block_time_is_the_end_of_its_step() {
    test(|| {
        begin_block(1);
        Executive::finalize_block();
        let now = pallet_timestamp::Now::<Runtime>::get();
        assert_eq!(now, genesis().timing.genesis_ms + 900_000);
        let expected_block_ms = <Runtime as pallet_timestamp::Config>::MinimumPeriod::get() * 2;
        assert_eq!(expected_block_ms, 900_000);
    });
}

#[test]
fn the_code_marker_names_the_version() {
    let storage = genesis().build_storage().unwrap();
    assert_eq!(storage.top[&b":code"[..]], b"native:commonwatt-1");
}

#[test]
fn clients_are_offered_the_metadata_versions_they_know() {
    test(|| {
        let versions = Runtime::metadata_versions();
        for version in [14, 15, 16] {
            assert!(versions.contains(&version), "{versions:?}");
            assert!(Runtime::metadata_at_version(version).is_some());
        }
        let text = format!(
            "{:?}",
            Runtime::metadata_at_version(15).unwrap().encode().len()
        );
        assert!(!text.is_empty());
    });
}

#[test]
fn transaction_extensions_are_those_that_substrate_clients_know() {
    let metadata =
        <crate::TxExtension as sp_runtime::traits::TransactionExtension<RuntimeCall>>::metadata();
    let names: Vec<_> = metadata
        .iter()
        .map(|extension| extension.identifier)
        .collect();
    assert_eq!(
        names,
        [
            "CheckNonZeroSender",
            "CheckSpecVersion",
            "CheckTxVersion",
            "CheckGenesis",
            "CheckMortality",
            "CheckNonce",
            "CheckWeight",
            "ChargeTransactionPayment",
        ]
    );
}

#[test]
fn forty_thousand_readings_fit_into_a_block() {
    use frame_support::dispatch::GetDispatchInfo;
    let limits = <Runtime as frame_system::Config>::BlockWeights::get();
    let class = limits.get(frame_support::dispatch::DispatchClass::Normal);
    let info = reading(1, 1, 1).get_dispatch_info();
    let extension =
        <crate::TxExtension as sp_runtime::traits::TransactionExtension<RuntimeCall>>::weight(
            &crate::transaction::extension(Era::Immortal, 0, 0),
            &reading(1, 1, 1),
        );
    let each = info
        .call_weight
        .saturating_add(extension)
        .saturating_add(class.base_extrinsic);
    let fit = class.max_total.unwrap().ref_time() / each.ref_time();
    assert!(fit >= 40_000, "{fit} readings of {each:?}");
}

#[test]
fn events_of_a_reading_name_meter_device_and_step() {
    test(|| {
        begin_block(1);
        assert_ok!(apply(reading(9, 1, 15_000), 0, "A").unwrap());
        let expected = RuntimeEvent::EnergyToken(pallet_energy_token::Event::GenerationReported {
            meter: MeterId(0),
            device: account("A"),
            step: Step(1),
            sequence: 9,
            energy: Wh(15_000),
        });
        assert!(
            System::events()
                .iter()
                .any(|record| record.event == expected)
        );
    });
}

#[test]
fn a_storage_of_the_genesis_stores_and_discharges() {
    use commonwatt_primitives::MeterKind;
    let mut genesis = genesis();
    let storage = |kind, pair, device: &str| {
        let mut meter = genesis.meters[0].clone();
        meter.info.kind = kind;
        meter.info.storage_pair = pair;
        meter.device = Some(account(device));
        meter
    };
    let charge = storage(MeterKind::StorageCharge, None, "C");
    let discharge = storage(MeterKind::StorageDischarge, Some(MeterId(2)), "D");
    genesis.meters.extend([charge, discharge]);
    let state = genesis.build_storage().unwrap();
    TestExternalities::new(state).execute_with(|| {
        begin_block(1);
        assert_ok!(apply(reading(1, 1, 10_000), 0, "A").unwrap());
        assert_ok!(apply(reading(1, 1, 3_000), 0, "C").unwrap());
        Executive::finalize_block();
        let stored = || pallet_virtual_meter::StorageBalances::<Runtime>::get(MeterId(3));
        assert_eq!(stored(), 3_000);

        begin_block(2);
        assert_ok!(apply(reading(1, 2, 2_000), 0, "D").unwrap());
        Executive::finalize_block();
        let summary = crate::VirtualMeter::step_summary(Step(2)).unwrap();
        assert_eq!(summary.generated, Wh(2_000));
        assert_eq!(stored(), 1_000);
    });
}

#[test]
fn a_bid_before_its_gates_waits() {
    test(|| {
        begin_block(1);
        let bid = |height| {
            let call = pallet_miner_auction::Call::bid {
                height: Step(height),
                amount: 10,
            };
            RuntimeCall::MinerAuction(call)
        };
        assert_eq!(apply(bid(6), 0, "X"), invalid(InvalidTransaction::Future));
        assert_ok!(apply(bid(5), 0, "X").unwrap());
        Executive::finalize_block();
        begin_block(2);
        assert_ok!(apply(bid(6), 1, "X").unwrap());
    });
}

#[test]
fn bids_and_evidence_find_room_in_a_block_full_of_readings() {
    use frame_support::dispatch::{DispatchClass, GetDispatchInfo};
    let bid: RuntimeCall = pallet_miner_auction::Call::bid {
        height: Step(5),
        amount: 10,
    }
    .into();
    test(|| assert_eq!(bid.get_dispatch_info().class, DispatchClass::Operational));
}

#[test]
fn what_a_genesis_says_about_mining_is_checked() {
    let errors = |change: fn(&mut crate::genesis::CommunityGenesis)| {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.build_storage().unwrap_err()
    };
    let error = errors(|genesis| genesis.miner_auction.rules.weights.gamma = 40);
    assert!(error.contains("minerAuction.rules: weights"), "{error}");
    let error = errors(|genesis| genesis.miner_auction.rules.bid_lead = 97);
    assert!(error.contains("minerAuction.rules: bidLead"), "{error}");
    let error = errors(|genesis| genesis.reputation.rules.period = 97);
    assert!(error.contains("reputation.rules: period"), "{error}");
    let error = errors(|genesis| genesis.reputation.rules.reputation_window = 0);
    assert!(error.contains("reputationWindow"), "{error}");
    let error = errors(|genesis| {
        let mut other = genesis.validators[0].clone();
        other.account = account("Y");
        other.keys.vote = pair("Y").public();
        genesis.validators.push(other);
    });
    assert!(error.contains("shares its beacon key"), "{error}");
}

#[test]
fn a_genesis_without_a_word_about_mining_has_the_defaults() {
    let mut json = serde_json::to_value(genesis()).unwrap();
    let fields = json.as_object_mut().unwrap();
    assert_eq!(fields["minerAuction"]["rules"]["rule"], "proportional");
    fields.remove("minerAuction").unwrap();
    fields.remove("reputation").unwrap();
    let read: crate::genesis::CommunityGenesis = serde_json::from_value(json).unwrap();
    assert_eq!(read, genesis());
    test(|| {
        let rules = crate::MinerAuction::rules();
        assert_eq!(rules.bid_lead, 4);
        // Shared by all pallets.
        assert_eq!(rules.retention, genesis().retention);
    });
}

#[test]
fn chains_with_the_same_keys_have_different_beacons() {
    let seed_of = |genesis: crate::genesis::CommunityGenesis| {
        let storage = genesis.build_storage().unwrap();
        TestExternalities::new(storage).execute_with(|| crate::MinerAuction::beacon(Step(0)))
    };
    let mut later = genesis();
    later.timing.genesis_ms += 1_000;
    assert_ne!(seed_of(genesis()), seed_of(later));
    let mut chosen = genesis();
    chosen.miner_auction.seed = Some(Hash::repeat_byte(7));
    assert_eq!(seed_of(chosen), Some(Hash::repeat_byte(7)));
}

#[test]
fn a_cryptometer_pays_for_whatever_is_no_reading() {
    test(|| {
        begin_block(1);
        let refusal = pallet_quota::TransactionRefusal::QuotaUsed as u8;
        let refused = apply(remark(), 0, "A");
        assert_eq!(refused, invalid(InvalidTransaction::Custom(refusal)));
        assert_ok!(apply(reading(1, 1, 5), 0, "A").unwrap());
    });
}
