//! The chain on the real runtime and a real database.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use codec::{Decode, Encode};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::{
    AccountId, Quality, Step, StepTiming, Wh,
    beacon::prove,
    digest::{ENGINE_ID, Punctuality, StepDigest},
};
use commonwatt_runtime::{
    Hash, RuntimeCall,
    apis::Lineup,
    example::{account, beacon_pair, genesis, pair},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{ChainDb, CommitMode, DatabaseKind, DbConfig, StoredBlock};
use commonwatt_txpool::{Lane, PoolError, Refusal, TransactionStatus, TransactionValidator};
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use pallet_miner_auction::{Bid, Call as AuctionCall};
use pallet_virtual_meter::{StepSummary, Trace};
use sp_core::Pair as _;
use sp_runtime::{
    DigestItem, generic::Era, traits::Header as _, transaction_validity::TransactionSource,
};
use tempfile::TempDir;

use crate::{
    Agreement, AgreementError, Authored, Chain, ChainConfig, ChainError, Checked, Observed,
    Observer, ProposalDraft, SessionPairs, Validators, validation::AtBlock,
};

const EXTERNAL: TransactionSource = TransactionSource::External;
const TIMING: StepTiming = StepTiming {
    genesis_ms: 1_700_000_000_000,
    ..StepTiming::PRODUCTION
};

fn open_in(folder: &TempDir, kind: DatabaseKind) -> Result<Chain, String> {
    let config = DbConfig {
        kind,
        ..DbConfig::default()
    };
    let db = ChainDb::open(&folder.path().join("db"), config).map_err(|error| error.to_string())?;
    let storage = genesis().build_storage().unwrap();
    let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default())
        .map_err(|error| error.to_string())?;
    let agreement = agreement_of(&chain);
    chain.set_agreement(Arc::new(agreement));
    Ok(chain)
}

/// Returns the agreement on the node of X, the only validator.
fn agreement_of(chain: &Chain) -> Validators {
    let validator = chain.next_lineup().unwrap().validators.remove(0);
    let pairs = SessionPairs {
        vote: pair("X"),
        beacon: beacon_pair("X"),
    };
    Validators::new(&validator, pairs).unwrap()
}

fn open() -> (Chain, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let chain = open_in(&folder, DatabaseKind::Sled).unwrap();
    (chain, folder)
}

fn reading(step: u32, energy: u64) -> RuntimeCall {
    let reading = Measurement::Interval {
        energy: Wh(energy),
        version: 1,
        quality: Quality::Measured,
    };
    EnergyCall::report {
        sequence: u64::from(step),
        report: Report {
            step: Step(step),
            reading,
        },
    }
    .into()
}

fn signed(chain: &Chain, call: RuntimeCall, nonce: u32, by: &str) -> Vec<u8> {
    sign_ed25519(
        call,
        nonce,
        &SigningContext::immortal(chain.genesis_hash()),
        &pair(by),
    )
}

fn submit(chain: &Chain, call: RuntimeCall, nonce: u32, by: &str) -> Result<Hash, PoolError> {
    chain.submit(EXTERNAL, signed(chain, call, nonce, by))
}

fn author_with(chain: &Chain, punctuality: Punctuality) -> Authored {
    let limits = BuildLimits {
        bytes_max: 1 << 20,
        misfits_max: 8,
        is_over: &|| false,
    };
    chain
        .author_next(&TIMING, punctuality, &limits, CommitMode::Durable)
        .unwrap()
        .unwrap()
}

fn author(chain: &Chain) -> Authored {
    author_with(chain, Punctuality::OnTime)
}

fn remark(text: &[u8]) -> RuntimeCall {
    frame_system::Call::remark {
        remark: text.to_vec(),
    }
    .into()
}

fn cause(result: Result<Hash, PoolError>) -> String {
    result.unwrap_err().cause()
}

#[test]
fn a_reading_is_pooled_built_stored_and_traced() {
    let (chain, _folder) = open();
    submit(&chain, reading(1, 15_000), 0, "A").unwrap();
    submit(&chain, reading(1, 10_000), 0, "B").unwrap();
    let block = author(&chain);
    // The timestamp and the two readings.
    assert_eq!(block.extrinsics, 3);
    assert_eq!(chain.best(), (1, block.hash));

    let state = chain.state(None).unwrap();
    let trace: Option<Trace<commonwatt_primitives::AccountId>> = chain
        .executor()
        .call(&state, "EnergyApi_trace", (Step(1), account("X")))
        .unwrap();
    assert_eq!(trace.unwrap().allocated, Wh(8_000));
    assert_eq!(chain.pool_status().ready.total(), 0);
}

#[test]
fn a_chain_goes_on_where_it_stopped_on_either_back_end() {
    for kind in [DatabaseKind::Sled, DatabaseKind::Redb] {
        let folder = tempfile::tempdir().unwrap();
        let chain = open_in(&folder, kind).unwrap();
        submit(&chain, reading(1, 500), 0, "A").unwrap();
        let block = author(&chain);
        drop(chain);
        let chain = open_in(&folder, kind).unwrap();
        assert_eq!(chain.best(), (1, block.hash));
        submit(&chain, reading(2, 700), 1, "A").unwrap();
        assert_eq!(author(&chain).extrinsics, 2);
    }
}

#[test]
fn watchers_hear_of_a_transaction_until_it_is_final() {
    let (chain, _folder) = open();
    let extrinsic = signed(&chain, reading(1, 5), 0, "A");
    let (_, mut watch) = chain.submit_and_watch(EXTERNAL, extrinsic).unwrap();
    assert_eq!(watch.try_recv(), Ok(TransactionStatus::Ready));
    let block = author(&chain);
    assert_eq!(watch.try_recv(), Ok(TransactionStatus::InBlock(block.hash)));
    assert_eq!(
        watch.try_recv(),
        Ok(TransactionStatus::Finalized(block.hash))
    );
    assert!(watch.try_recv().is_err());
}

#[test]
fn a_refused_transaction_is_not_watched() {
    let (chain, _folder) = open();
    let stranger = signed(&chain, remark(b"x"), 0, "Stranger");
    for _ in 0..3 {
        assert!(chain.submit_and_watch(EXTERNAL, stranger.clone()).is_err());
    }
    assert!(chain.is_unwatched());
}

#[test]
fn the_next_nonce_counts_what_waits_for_its_block() {
    let (chain, _folder) = open();
    for (nonce, step) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(chain.next_nonce(&account("A")).unwrap(), nonce);
        submit(&chain, reading(step, 1), nonce, "A").unwrap();
    }
    assert_eq!(chain.next_nonce(&account("A")).unwrap(), 3);
    author(&chain);
    assert_eq!(chain.next_nonce(&account("A")).unwrap(), 3);
}

#[test]
fn a_state_that_cannot_be_read_says_nothing_against_a_transaction() {
    let (chain, _folder) = open();
    let bytes = signed(&chain, remark(b"x"), 0, "X");
    let hash = Hash::repeat_byte(7);
    let nowhere = AtBlock {
        chain: &chain,
        hash,
    };
    let verdict = nowhere.validate(EXTERNAL, &bytes).unwrap_err();
    assert!(!verdict.is_for_ever(), "{verdict}");
    assert!(matches!(verdict, Refusal::Unknown(_)), "{verdict}");
    chain.submit(EXTERNAL, bytes).unwrap();
}

#[test]
fn a_verdict_on_a_state_discarded_meanwhile_is_asked_for_at_the_best_block() {
    let (chain, _folder) = open_pruned();
    let old = author(&chain).hash;
    for _ in 0..5 {
        author(&chain);
    }
    assert!(chain.state(Some(old)).is_err());
    let bytes = signed(&chain, remark(b"x"), 0, "X");
    let overtaken = AtBlock {
        chain: &chain,
        hash: old,
    };
    overtaken.validate(EXTERNAL, &bytes).unwrap();
    let batch = [(EXTERNAL, Arc::from(bytes))];
    assert!(overtaken.validate_batch(&batch)[0].is_ok());
}

#[test]
fn heads_are_announced_with_what_they_wrote() {
    let (chain, _folder) = open();
    let mut heads = chain.subscribe_heads();
    let block = author(&chain);
    let head = heads.try_recv().unwrap();
    assert_eq!(head.hash, block.hash);
    assert!(!head.storage.is_empty());
    assert!(head.storage.is_sorted_by(|one, other| one.0 < other.0));
}

#[test]
fn readings_of_missed_steps_wait_for_their_own_blocks() {
    let (chain, _folder) = open();
    for (nonce, step) in [(0, 1), (1, 2), (2, 3)] {
        submit(&chain, reading(step, 100 * u64::from(step)), nonce, "A").unwrap();
    }
    for step in 1..=3 {
        let block = author_with(&chain, Punctuality::Late);
        assert_eq!(block.extrinsics, 2, "block {step}");
        let state = chain.state(None).unwrap();
        let summary: Option<StepSummary> = chain
            .executor()
            .call(&state, "EnergyApi_step_summary", Step(step))
            .unwrap();
        assert_eq!(summary.unwrap().generated, Wh(100 * u64::from(step)));
    }
}

#[test]
fn a_late_reading_makes_a_new_version_of_its_own_step() {
    let (chain, _folder) = open();
    author(&chain);
    submit(&chain, reading(1, 900), 0, "A").unwrap();
    author(&chain);
    let state = chain.state(None).unwrap();
    let summary = |step| -> StepSummary {
        let answer: Option<_> = chain
            .executor()
            .call(&state, "EnergyApi_step_summary", Step(step))
            .unwrap();
        answer.unwrap()
    };
    assert_eq!((summary(1).version, summary(1).generated), (2, Wh(900)));
    assert_eq!((summary(2).version, summary(2).generated), (1, Wh(0)));
}

#[test]
fn bytes_that_are_no_transaction_are_refused() {
    let (chain, _folder) = open();
    let good = signed(&chain, reading(1, 5), 0, "A");
    let truncated = good[..good.len() - 3].to_vec();
    let mut overlong = good.clone();
    overlong.push(0);
    let deep = [vec![0xff; 4], vec![0x84; 100]].concat();
    for bytes in [vec![], vec![0], truncated, overlong, deep] {
        let error = chain.submit(EXTERNAL, bytes).unwrap_err();
        assert_eq!(error.rpc_code(), 1010, "{error}");
    }
    let oversized = vec![0; 1 << 20];
    assert!(chain.submit(EXTERNAL, oversized).is_err());
    // Whatever came in, the next block comes.
    assert_eq!(author(&chain).extrinsics, 1);
}

/// Returns `utility.as_derivative` of itself, so many times, round an empty remark.
fn nested(levels: usize) -> Vec<u8> {
    let mut call = [42, 1, 0, 0].repeat(levels);
    call.extend([0, 0, 0]);
    call
}

#[test]
fn calls_nested_without_end_are_refused_before_they_overflow_the_stack() {
    let (chain, _folder) = open();
    let unsigned = [vec![0x04], nested(100_000)].concat().encode();
    let mut signed = signed(&chain, remark(&[]), 0, "X");
    // The signature is wrong, but decoding comes first.
    signed.truncate(signed.len() - 3);
    let signed = [&signed[2..], &nested(100_000)].concat().encode();
    for bytes in [unsigned, signed] {
        let refused = cause(chain.submit(EXTERNAL, bytes.clone()));
        assert!(refused.contains("recursion depth"), "{refused}");
        let results = chain.submit_many(EXTERNAL, vec![bytes; 2]);
        assert!(results.iter().all(Result::is_err));
    }
    assert_eq!(author(&chain).extrinsics, 1);
}

fn bid() -> RuntimeCall {
    AuctionCall::bid {
        height: Step(5),
        amount: 1,
    }
    .into()
}

#[test]
fn a_wrapped_bid_goes_before_readings_unless_it_brings_anything_else() {
    let (chain, _folder) = open();
    let batch = |calls| -> RuntimeCall { pallet_utility::Call::batch { calls }.into() };
    let calls = [
        (bid(), Lane::Evidence),
        (batch(vec![bid()]), Lane::Evidence),
        (batch(vec![bid(), remark(b"x")]), Lane::Other),
        (batch(vec![reading(1, 5)]), Lane::Reading),
        (remark(b"x"), Lane::Other),
    ];
    for (nonce, (call, lane)) in (0..).zip(calls) {
        let hash = submit(&chain, call, nonce, "X").unwrap();
        assert_eq!(chain.find_pooled(&hash).unwrap().lane, lane, "{nonce}");
    }
}

#[test]
fn an_honest_author_leaves_nothing_out_of_a_full_block_without_need() {
    let (chain, _folder) = open();
    let note = |bytes| remark(&vec![7; bytes]);
    let calls = [
        ("X", vec![bid(), note(300), bid(), note(20)]),
        ("Y", vec![note(90), bid(), reading(1, 9), note(500), bid()]),
        ("A", vec![reading(1, 5), reading(1, 6), reading(1, 7)]),
        ("B", vec![reading(1, 5), reading(1, 6)]),
    ];
    for (by, calls) in calls {
        for (nonce, call) in (0..).zip(calls) {
            submit(&chain, call, nonce, by).unwrap();
        }
    }
    let candidates = chain.ready();
    let draft = ProposalDraft {
        timing: &TIMING,
        step: Step(1),
        rank: 0,
        punctuality: Punctuality::OnTime,
        candidates: &candidates,
    };
    let bytes: usize = candidates.iter().map(|one| one.extrinsic.len()).sum();
    let mut lengths = BTreeSet::new();
    for bytes_max in (100..bytes + 100).step_by(90) {
        let limits = BuildLimits {
            bytes_max,
            misfits_max: u32::MAX,
            is_over: &|| false,
        };
        let proposed = chain.propose(&draft, &limits).unwrap().unwrap();
        let held: BTreeSet<_> = proposed.body.iter().map(Vec::as_slice).collect();
        let missing: Vec<_> = candidates
            .iter()
            .filter(|one| !held.contains(&one.extrinsic[..]))
            .cloned()
            .collect();
        let checked = chain.check(&proposed.header, &proposed.body, &missing, bytes_max);
        assert!(
            matches!(checked, Ok(Checked::Right { ref left_out }) if left_out.is_empty()),
            "{bytes_max}: {checked:?}"
        );
        lengths.insert(held.len());
    }
    assert!(lengths.len() > 8, "{lengths:?}");
    assert_eq!(lengths.last(), Some(&(candidates.len() + 1)));
}

#[test]
fn a_call_nested_as_deep_as_may_be_runs_on_half_an_ordinary_stack() {
    let (chain, _folder) = open();
    let deepest = usize::try_from(commonwatt_executor::EXTRINSIC_DEPTH_MAX).unwrap();
    let remark = [0, 0, 0];
    let stranger = [vec![43, 0, 4], vec![7; 32]].concat();
    // What comes before the inner call and after it: `as_derivative`, `batch`, `batch_all`, `force_batch`,
    // `if_else` with a remark to fall back on, and a multisig with a stranger that asks nobody.
    let layers: [(&[u8], &[u8]); 6] = [
        (&[42, 1, 0, 0], &[]),
        (&[42, 0, 4], &[]),
        (&[42, 2, 4], &[]),
        (&[42, 4, 4], &[]),
        (&[42, 6], &remark),
        (&stranger, &[]),
    ];
    author(&chain);
    let task = || {
        for (nonce, (before, after)) in (0..).zip(layers) {
            let bytes = [
                before.repeat(deepest),
                remark.to_vec(),
                after.repeat(deepest),
            ]
            .concat();
            let call = RuntimeCall::decode(&mut &bytes[..]).unwrap();
            let extrinsic = signed(&chain, call, nonce, "X");
            let state = chain.state(None).unwrap();
            let applied =
                chain
                    .executor()
                    .call_raw(&state, "BlockBuilder_apply_extrinsic", &extrinsic);
            // Ok(Ok(())), or a layer that cannot be nested in itself.
            let is_done = applied.as_deref() == Ok(&[0, 0]);
            assert!(is_done || nonce == 2, "{before:?}: {applied:?}");
            chain.submit(EXTERNAL, extrinsic).unwrap();
            assert_eq!(author(&chain).extrinsics, 2);
        }
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        thread.spawn_scoped(scope, task).unwrap().join().unwrap();
    });
    let too_deep = RuntimeCall::decode(&mut &nested(deepest + 1)[..]).unwrap();
    let refused = cause(submit(&chain, too_deep, 6, "X"));
    assert!(refused.contains("recursion depth"), "{refused}");
}

#[test]
fn every_single_byte_changed_is_refused() {
    let (chain, _folder) = open();
    let good = signed(&chain, reading(1, 5), 0, "A");
    for position in 0..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 0x01;
        assert!(chain.submit(EXTERNAL, bytes).is_err(), "byte {position}");
    }
    assert!(chain.submit(EXTERNAL, good).is_ok());
}

#[test]
fn wrong_signers_nonces_and_chains_are_refused_with_a_reason() {
    let (chain, _folder) = open();
    let stranger = cause(submit(&chain, remark(b"x"), 0, "Stranger"));
    assert!(stranger.contains("not registered"), "{stranger}");

    author(&chain);
    submit(&chain, remark(b"x"), 0, "X").unwrap();
    author(&chain);
    let stale = cause(submit(&chain, remark(b"y"), 0, "X"));
    assert!(stale.contains("nonce 0, expected 1"), "{stale}");

    let elsewhere = SigningContext::immortal(Hash::repeat_byte(9));
    let foreign = sign_ed25519(remark(b"x"), 1, &elsewhere, &pair("X"));
    let foreign = cause(chain.submit(EXTERNAL, foreign));
    assert!(foreign.contains("signature"), "{foreign}");
}

#[test]
fn a_call_that_fails_is_in_the_block_and_changes_nothing() {
    let (chain, _folder) = open();
    // A retired, unknown or foreign meter's device, a replay, an implausible reading: the pallet refuses.
    submit(&chain, reading(1, u64::MAX), 0, "A").unwrap();
    assert_eq!(author(&chain).extrinsics, 2);
    let state = chain.state(None).unwrap();
    let summary: Option<StepSummary> = chain
        .executor()
        .call(&state, "EnergyApi_step_summary", Step(1))
        .unwrap();
    assert_eq!(summary.unwrap().generated, Wh(0));
}

/// Makes a block on one chain, so that another can be asked to import it.
fn foreign_block() -> StoredBlock {
    let (chain, _folder) = open();
    submit(&chain, reading(1, 5), 0, "A").unwrap();
    let block = author(&chain);
    chain.db().block(&block.hash).unwrap().unwrap()
}

#[test]
fn a_block_made_elsewhere_is_imported() {
    let (chain, _folder) = open();
    let block = foreign_block();
    let hash = block.header.hash();
    assert_eq!(chain.import(block, CommitMode::Durable).unwrap(), hash);
    assert_eq!(chain.best(), (1, hash));
}

#[test]
fn forged_blocks_are_refused_and_the_next_good_one_is_taken() {
    let (chain, _folder) = open();
    let refuse = |change: &dyn Fn(&mut StoredBlock)| {
        let mut block = foreign_block();
        change(&mut block);
        let error = chain.import(block, CommitMode::Durable).unwrap_err();
        assert_eq!(chain.best().0, 0);
        error
    };
    let error = refuse(&|block| block.header.number = 2);
    assert!(
        matches!(
            error,
            ChainError::NotNext {
                number: 2,
                best: 0,
                ..
            }
        ),
        "{error}"
    );
    let error = refuse(&|block| block.header.parent_hash = Hash::repeat_byte(1));
    assert!(matches!(error, ChainError::NotNext { .. }), "{error}");
    let error = refuse(&|block| {
        block.header.digest_mut().pop();
    });
    assert!(
        matches!(error, ChainError::Agreement(AgreementError::NoSeal(1))),
        "{error}"
    );
    let error = refuse(&|block| block.header.state_root = Hash::repeat_byte(1));
    assert!(
        matches!(error, ChainError::Agreement(AgreementError::BadSeal(1))),
        "{error}"
    );
    let error = refuse(&|block| block.justification = None);
    assert!(
        matches!(
            error,
            ChainError::Agreement(AgreementError::NoCertificate(1))
        ),
        "{error}"
    );

    // A forger with the validator's key still cannot change what execution gives.
    let reseal = |block: &mut StoredBlock| {
        block.header.digest_mut().pop();
        seal_anew(&chain, block);
    };
    let error = refuse(&|block| {
        block.header.state_root = Hash::repeat_byte(1);
        reseal(block);
    });
    assert!(
        error.to_string().contains("Storage root must match"),
        "{error}"
    );
    let error = refuse(&|block| {
        block.body.pop();
        reseal(block);
    });
    assert!(error.to_string().contains("invalid"), "{error}");
    let error = refuse(&|block| {
        block.body.push(vec![1, 2, 3]);
        reseal(block);
    });
    assert!(
        error
            .to_string()
            .contains("extrinsic 2 of the block does not decode"),
        "{error}"
    );
    let error = refuse(&|block| {
        // Another time than the step's end: a middle byte of the compact moment.
        let middle = block.body[0].len() - 3;
        block.body[0][middle] ^= 1;
        reseal(block);
    });
    assert!(error.to_string().contains("block time must be"), "{error}");

    chain.import(foreign_block(), CommitMode::Durable).unwrap();
    assert_eq!(chain.best().0, 1);
}

/// Puts another claim into a block's header and seals it anew, with X's keys.
fn reclaim(chain: &Chain, block: &mut StoredBlock, change: impl FnOnce(&mut StepDigest)) {
    let mut digest = StepDigest::find(block.header.digest()).unwrap();
    change(&mut digest);
    block.header.digest_mut().logs = digest.to_items();
    seal_anew(chain, block);
}

/// Seals block 1 and makes it final, with X's keys, whoever it says has made it.
fn seal_anew(chain: &Chain, block: &mut StoredBlock) {
    let seal = pair("X").sign(block.header.hash().as_bytes());
    let item = DigestItem::Seal(ENGINE_ID, seal.encode());
    block.header.digest_mut().push(item);
    let lineup = chain.next_lineup().unwrap();
    let genesis = chain.genesis_hash();
    let certificate = agreement_of(chain).certify(&genesis, 1, &block.header.hash(), &lineup);
    block.justification = Some(certificate.unwrap());
}

#[test]
fn a_forged_claim_is_refused_before_execution() {
    let (chain, _folder) = open();
    let refuse = |change: &dyn Fn(&mut StepDigest)| {
        let mut block = foreign_block();
        reclaim(&chain, &mut block, change);
        // Execution would fail on this first.
        block.body.push(vec![1, 2, 3]);
        match chain.import(block, CommitMode::Durable).unwrap_err() {
            ChainError::Agreement(error) => error,
            other => panic!("{other}"),
        }
    };
    let error = refuse(&|StepDigest::V1 { winner, .. }| *winner = account("Y"));
    let expected = AgreementError::WrongWinner {
        number: 1,
        actual: account("Y"),
        expected: account("X"),
    };
    assert_eq!(error, expected);
    let error = refuse(&|StepDigest::V1 { author, .. }| *author = account("Y"));
    assert_eq!(
        error,
        AgreementError::WrongRank {
            number: 1,
            author: account("Y"),
            rank: 0
        }
    );
    let error = refuse(&|StepDigest::V1 { author_rank, .. }| *author_rank = 1);
    assert_eq!(
        error,
        AgreementError::WrongRank {
            number: 1,
            author: account("X"),
            rank: 1
        }
    );
    let before = chain.next_lineup().unwrap().before;
    let error = refuse(&|StepDigest::V1 { beacon, .. }| {
        *beacon = prove(&beacon_pair("Y"), &before, 1);
    });
    assert_eq!(error, AgreementError::ForgedBeacon(1));
    let error = refuse(&|StepDigest::V1 { beacon, .. }| {
        *beacon = prove(&beacon_pair("X"), &before, 2);
    });
    assert_eq!(error, AgreementError::ForgedBeacon(1));

    // What was not changed is taken, sealed anew or not: the helper itself breaks nothing.
    let mut block = foreign_block();
    reclaim(&chain, &mut block, |_| {});
    chain.import(block, CommitMode::Durable).unwrap();
}

#[test]
fn the_runtime_refuses_a_forged_claim_by_itself() {
    let (chain, _folder) = open();
    let lineup = chain.next_lineup().unwrap();
    let state = chain.state(None).unwrap();
    let refuse = |change: &dyn Fn(&mut StepDigest)| {
        let StoredBlock { header, body, .. } = foreign_block();
        let mut unsealed = header;
        let mut digest = StepDigest::find(unsealed.digest()).unwrap();
        change(&mut digest);
        unsealed.digest_mut().logs = digest.to_items();
        let error = chain
            .executor()
            .execute_block(&state, &unsealed, &body)
            .err()
            .unwrap();
        error.to_string()
    };
    let text = refuse(&|StepDigest::V1 { author_rank, .. }| *author_rank = 1);
    assert!(text.contains("does not have this rank"), "{text}");
    let text = refuse(&|StepDigest::V1 { winner, .. }| *winner = account("Y"));
    assert!(text.contains("did not win the auction"), "{text}");
    let text = refuse(&|StepDigest::V1 { beacon, .. }| {
        *beacon = prove(&beacon_pair("Y"), &lineup.before, 1);
    });
    assert!(text.contains("beacon proof"), "{text}");
}

#[test]
fn a_node_makes_no_block_without_its_key_and_none_final_alone_among_several_validators() {
    let (chain, _folder) = open();
    let agreement = agreement_of(&chain);
    let lineup = chain.next_lineup().unwrap();
    let claim = |lineup: &Lineup| agreement.claim(Step(1), 0, Punctuality::OnTime, lineup);
    assert!(claim(&lineup).unwrap().is_some());

    let mut rotated = lineup.clone();
    rotated.validators[0].keys.beacon = beacon_pair("Y").public();
    let error = claim(&rotated).unwrap_err();
    assert!(error.to_string().contains("beacon key"), "{error}");

    let mut crowd = lineup;
    crowd.validators.push(crowd.validators[0].clone());
    let alone = agreement.certify(&chain.genesis_hash(), 1, &Hash::zero(), &crowd);
    assert_eq!(alone, Err(AgreementError::SeveralValidators(2)));
}

#[test]
fn a_bid_waits_for_the_block_that_takes_it() {
    let (chain, _folder) = open();
    for (height, nonce) in [(5, 0), (6, 1)] {
        let call = AuctionCall::bid {
            height: Step(height),
            amount: 10,
        };
        submit(&chain, call.into(), nonce, "X").unwrap();
    }
    let bids_for = |height| -> Vec<Bid<AccountId>> {
        let state = chain.state(None).unwrap();
        chain
            .executor()
            .call(&state, "AuctionApi_bids_for", Step(height))
            .unwrap()
    };
    // The timestamp and the bid whose gates are open.
    assert_eq!(author(&chain).extrinsics, 2);
    assert_eq!((bids_for(5).len(), bids_for(6).len()), (1, 0));
    assert_eq!(author(&chain).extrinsics, 2);
    assert_eq!((bids_for(5).len(), bids_for(6).len()), (1, 1));
}

#[test]
fn bids_are_built_before_readings() {
    let (chain, _folder) = open();
    submit(&chain, reading(1, 15_000), 0, "A").unwrap();
    submit(&chain, remark(&[1]), 0, "Y").unwrap();
    let call = AuctionCall::bid {
        height: Step(5),
        amount: 10,
    };
    let bid = submit(&chain, call.into(), 0, "X").unwrap();
    let block = chain.db().block(&author(&chain).hash).unwrap().unwrap();
    // The first is the timestamp.
    assert_eq!(commonwatt_txpool::hash_of(&block.body[1]), bid);
}

#[test]
fn a_database_of_another_chain_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open_in(&folder, DatabaseKind::Sled).unwrap());
    let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
    let mut other = genesis();
    other.retention = 300;
    let result = Chain::open(
        db,
        Executor::new(),
        other.build_storage().unwrap(),
        ChainConfig::default(),
    );
    let error = result.err().unwrap().to_string();
    assert!(error.contains("another chain"), "{error}");
}

#[test]
fn a_database_in_use_is_refused() {
    let (_chain, folder) = open();
    let error = open_in(&folder, DatabaseKind::Sled).err().unwrap();
    assert!(
        error.contains("in use") || error.contains("another process"),
        "{error}"
    );
}

#[test]
fn a_runtime_this_binary_does_not_know_stops_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
    let mut storage = genesis().build_storage().unwrap();
    storage
        .top
        .insert(b":code".to_vec(), b"native:commonwatt-99".to_vec());
    let error = Chain::open(db, Executor::new(), storage, ChainConfig::default())
        .err()
        .unwrap();
    assert!(
        matches!(error, ChainError::UnknownRuntime { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("native:commonwatt-99"),
        "{error}"
    );
}

#[test]
fn a_database_of_another_runtime_is_not_called_another_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut storage = genesis().build_storage().unwrap();
    storage
        .top
        .insert(b":code".to_vec(), b"native:commonwatt-99".to_vec());
    let newer = Executor::build_genesis(storage);
    let db = ChainDb::open(&path, DbConfig::default()).unwrap();
    db.initialize(newer.header, newer.nodes).unwrap();
    let storage = genesis().build_storage().unwrap();
    let error = Chain::open(db, Executor::new(), storage, ChainConfig::default())
        .err()
        .unwrap();
    assert!(
        matches!(&error, ChainError::UnknownRuntime { found, .. } if found == "native:commonwatt-99"),
        "{error}"
    );
}

#[test]
fn a_follower_takes_what_the_validator_made_and_makes_nothing() {
    let (maker, _folder) = open();
    let made = author(&maker).hash;
    let (mut chain, _other_folder) = open();
    chain.set_agreement(Arc::new(Validators::follower()));
    let limits = BuildLimits {
        bytes_max: usize::MAX,
        misfits_max: 0,
        is_over: &|| false,
    };
    let claimed = chain
        .author_next(&TIMING, Punctuality::OnTime, &limits, CommitMode::Durable)
        .unwrap();
    assert!(claimed.is_none());

    let block = maker.db().block(&made).unwrap().unwrap();
    let mut unproven = block.clone();
    unproven.justification = None;
    let error = chain.import(unproven, CommitMode::Durable).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(chain.import(block, CommitMode::Durable).unwrap(), made);
}

#[test]
fn a_validator_without_its_keys_is_told_which_one_is_missing() {
    let (chain, _folder) = open();
    let validator = chain.next_lineup().unwrap().validators.remove(0);
    let refusal = |vote: &str, beacon: &str| {
        let pairs = SessionPairs {
            vote: pair(vote),
            beacon: beacon_pair(beacon),
        };
        let error = Validators::new(&validator, pairs).err().unwrap();
        error.to_string()
    };
    let text = refusal("Y", "X");
    assert!(
        text.contains("vote key") && text.contains(&hex(&validator.keys.vote.0)),
        "{text}"
    );
    let text = refusal("X", "Y");
    assert!(
        text.contains("beacon key") && text.contains(&hex(&validator.keys.beacon.0)),
        "{text}"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn pruned_states_are_said_to_be_so() {
    let (chain, _folder) = open_pruned();
    let hashes: Vec<_> = (0..6).map(|_| author(&chain).hash).collect();
    assert!(chain.state(Some(hashes[5])).is_ok());
    let error = chain.state(Some(hashes[0])).err().unwrap().to_string();
    assert!(
        error.contains("discarded") || error.contains("pruned"),
        "{error}"
    );
    assert!(chain.state(Some(Hash::repeat_byte(3))).is_err());
    // The block itself is never discarded.
    assert!(chain.db().block(&hashes[0]).unwrap().is_some());
}

fn open_pruned() -> (Chain, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = DbConfig {
        pruning: commonwatt_storage::StatePruning::Keep(2),
        ..DbConfig::default()
    };
    let db = ChainDb::open(&folder.path().join("db"), config).unwrap();
    let storage = genesis().build_storage().unwrap();
    let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
    let agreement = agreement_of(&chain);
    chain.set_agreement(Arc::new(agreement));
    (chain, folder)
}

#[test]
fn many_transactions_are_taken_in_as_one() {
    let (chain, _folder) = open();
    let mut batch: Vec<_> = (0..40)
        .map(|nonce| signed(&chain, remark(&[1]), nonce, "X"))
        .collect();
    let mut forged = batch[7].clone();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    batch.push(forged);
    let results = chain.submit_many(EXTERNAL, batch);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 40);
    assert!(results[40].is_err());
    assert_eq!(author(&chain).extrinsics, 41);
    let nonce = chain.next_nonce(&account("X")).unwrap();
    assert_eq!(nonce, 40);
    let state = chain.state(None).unwrap();
    let encoded = chain
        .executor()
        .call_raw(
            &state,
            "AccountNonceApi_account_nonce",
            &account("X").encode(),
        )
        .unwrap();
    assert_eq!(encoded, 40u32.encode());
}

/// Looks into the pool, from another thread, while transactions are validated.
#[derive(Default)]
struct Looker {
    chain: OnceLock<Weak<Chain>>,
    has_seen: AtomicBool,
}

impl Observer for Looker {
    fn observe(&self, what: Observed<'_>) {
        let chain = self.chain.get().and_then(Weak::upgrade);
        if let (Observed::ValidationBegan(_), Some(chain)) = (what, chain) {
            let (sender, looked) = mpsc::channel();
            std::thread::spawn(move || sender.send(chain.pool_status()));
            let looked = looked.recv_timeout(Duration::from_secs(5));
            self.has_seen.store(looked.is_ok(), Ordering::Relaxed);
        }
    }
}

#[test]
fn the_pool_can_be_used_while_transactions_of_others_are_validated() {
    let (chain, _folder) = open();
    let chain = Arc::new(chain);
    let looker = Arc::new(Looker::default());
    looker.chain.set(Arc::downgrade(&chain)).unwrap();
    assert!(chain.set_observer(looker.clone()));
    let batch = vec![signed(&chain, remark(&[1]), 0, "X")];
    assert!(chain.submit_passed_on(batch)[0].is_ok());
    assert!(looker.has_seen.load(Ordering::Relaxed));
}

#[test]
fn a_wrong_signature_that_another_block_could_make_right_is_no_forgery() {
    let (chain, _folder) = open();
    for _ in 0..8 {
        author(&chain);
    }
    let (best, _) = chain.best();
    let forged_in = |era: Era| {
        let context = SigningContext {
            era,
            ..SigningContext::immortal(Hash::repeat_byte(9))
        };
        let transaction = sign_ed25519(remark(&[1]), 0, &context, &pair("X"));
        assert!(chain.submit_passed_on(vec![transaction.clone()])[0].is_err());
        chain.is_forged(&transaction)
    };
    assert!(forged_in(Era::Immortal));
    assert!(forged_in(Era::mortal(64, u64::from(best - 4))));
    // Who is a block ahead or behind sees another block at which the era began.
    assert!(!forged_in(Era::mortal(8, u64::from(best))));
    assert!(!forged_in(Era::mortal(8, u64::from(best + 1))));
    assert!(!chain.is_forged(b"garbage"));
}

#[test]
fn beyond_the_quota_a_member_without_coins_waits_and_disturbs_nobody() {
    assert_eq!(pallet_quota::TransactionRefusal::QuotaUsed as u8, 2);
    let (chain, _folder) = open();
    let quota = genesis().quotas.member;
    for nonce in 0..quota + 100 {
        submit(&chain, remark(&[1]), nonce, "Y").unwrap();
    }
    // Comes last, and is a call of the same lane.
    submit(&chain, remark(b"somebody else"), 0, "Dso").unwrap();
    let everybody = usize::try_from(quota).unwrap() + 2;
    assert_eq!(author(&chain).extrinsics, everybody);
    assert_eq!(author(&chain).extrinsics, 101);
}
