//! The runtime on a real database.

use std::cell::Cell;

use codec::{Decode, Encode};
use commonwatt_primitives::{
    Step, beacon,
    digest::{Punctuality, StepDigest},
};
use commonwatt_runtime::{
    Hash, Header, RuntimeCall, UncheckedExtrinsic,
    example::{account, beacon_pair, genesis, pair},
    signature::{Fingerprint, fingerprint},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{ChainDb, DbConfig, State};
use sp_runtime::{generic::Era, generic::Preamble};
use tempfile::TempDir;

use crate::{
    BlockDraft, BuildLimits, Built, CallError, EXTRINSIC_DEPTH_MAX, ExecutionError, Executor,
    Outcome, decode_extrinsic,
};

/// The example community's chain at its genesis.
struct World {
    executor: Executor,
    db: ChainDb,
    genesis: Header,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let block = Executor::build_genesis(genesis().build_storage().unwrap());
        let genesis = block.header.clone();
        db.initialize(block.header, block.nodes).unwrap();
        Self {
            executor: Executor::new(),
            db,
            genesis,
            _folder: folder,
        }
    }

    fn state(&self) -> State {
        self.db.working_state_at(&self.genesis.hash()).unwrap()
    }

    fn remark(&self, nonce: u32, by: &str) -> Vec<u8> {
        let context = SigningContext::immortal(self.genesis.hash());
        sign_ed25519(nested(0), nonce, &context, &pair(by))
    }

    fn build_until(&self, candidates: &[Vec<u8>], is_over: &dyn Fn() -> bool) -> Built {
        let draft = BlockDraft {
            parent: self.genesis.clone(),
            digest: StepDigest::V1 {
                author: account("X"),
                author_rank: 0,
                winner: account("X"),
                beacon: self.beacon_proof(),
                punctuality: Punctuality::OnTime,
            },
            closes_at_ms: genesis().timing.closes_at_ms(Step(1)),
        };
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over,
        };
        self.executor
            .build_block(&self.state(), &draft, candidates, &limits)
            .unwrap()
    }

    /// Returns X's proof for block 1.
    fn beacon_proof(&self) -> beacon::BeaconProof {
        let before: Option<Hash> = self
            .executor
            .call(&self.state(), "AuctionApi_beacon", Step(0))
            .unwrap();
        beacon::prove(&beacon_pair("X"), &before.unwrap(), 1)
    }

    fn bid(&self, nonce: u32, by: &str) -> Vec<u8> {
        let context = SigningContext::immortal(self.genesis.hash());
        let height = Step(5);
        let bid = pallet_miner_auction::Call::bid { height, amount: 1 };
        sign_ed25519(bid.into(), nonce, &context, &pair(by))
    }

    /// Builds a block and returns which candidates it leaves out without need, if bodies have so many bytes more at most.
    fn find_left_out(
        &self,
        body: &[Vec<u8>],
        candidates: &[&Vec<u8>],
        bytes_left: usize,
    ) -> Vec<bool> {
        let Built { header, body, .. } = self.build(body);
        let bytes: usize = body.iter().map(Vec::len).sum();
        let bytes_max = bytes + bytes_left;
        self.executor
            .find_left_out(&self.state(), &header, &body, candidates, bytes_max)
            .unwrap()
    }

    fn build(&self, candidates: &[Vec<u8>]) -> Built {
        self.build_until(candidates, &|| false)
    }
}

/// Returns the bytes of `utility.as_derivative` of itself, so many times, round an empty remark.
fn nested_bytes(levels: usize) -> Vec<u8> {
    let mut call = [42, 1, 0, 0].repeat(levels);
    call.extend([0, 0, 0]);
    call
}

fn nested(levels: usize) -> RuntimeCall {
    RuntimeCall::decode(&mut &nested_bytes(levels)[..]).unwrap()
}

/// Returns an extrinsic over which the runtime panics: a block's time is set once, by its author.
fn panicking(number: u8) -> Vec<u8> {
    // Unsigned `timestamp.set` with a one-byte moment.
    vec![0x04, 1, 0, number << 2].encode()
}

fn fingerprint_of(extrinsic: &[u8], message: &[u8]) -> Fingerprint {
    let Preamble::Signed(commonwatt_runtime::Address::Id(signer), signature, _) =
        decode_extrinsic(extrinsic).unwrap().preamble
    else {
        panic!("it is signed");
    };
    fingerprint(&signature.0, message, &signer)
}

#[test]
fn a_block_built_here_executes_to_the_same_root_elsewhere() {
    let world = World::new();
    let built = world.build(&[world.remark(0, "X"), world.remark(1, "X")]);
    assert_eq!(built.outcomes, [Outcome::Included, Outcome::Included]);
    let elsewhere = World::new();
    let changes = elsewhere
        .executor
        .execute_block(&elsewhere.state(), &built.header, &built.body)
        .unwrap();
    assert_eq!(changes.state_root, built.changes.state_root);
    assert_eq!(changes.state_root, built.header.state_root);

    let mut forged = built.header.clone();
    forged.state_root = Hash::repeat_byte(1);
    let refused = elsewhere
        .executor
        .execute_block(&elsewhere.state(), &forged, &built.body);
    assert!(refused.is_err());
}

#[test]
fn a_panic_of_the_runtime_is_an_error_and_the_next_call_works() {
    let world = World::new();
    let refused = world
        .executor
        .call_raw(&world.state(), "EnergyApi_trace", &[1]);
    assert!(
        matches!(refused, Err(CallError::Panicked { .. })),
        "{refused:?}"
    );
    let nonce = world.executor.account_nonce(&world.state(), &account("X"));
    assert_eq!(nonce, Ok(0));
}

#[test]
fn an_unknown_function_is_named() {
    let world = World::new();
    let refused = world
        .executor
        .call_raw(&world.state(), "Energy_forEverybody", &[]);
    let expected = CallError::UnknownFunction("Energy_forEverybody".into());
    assert_eq!(refused, Err(expected));
}

#[test]
fn candidates_that_panic_are_told_and_the_others_included() {
    let world = World::new();
    let candidates = [
        world.remark(0, "X"),
        panicking(1),
        panicking(2),
        world.remark(1, "X"),
    ];
    let outcomes = world.build(&candidates).outcomes;
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[0], Outcome::Included);
    assert!(matches!(&outcomes[1], Outcome::Panicked(_)), "{outcomes:?}");
    assert!(matches!(&outcomes[2], Outcome::Panicked(_)), "{outcomes:?}");
    assert_eq!(outcomes[3], Outcome::Included);
}

#[test]
fn the_end_of_the_time_hides_no_panic() {
    let world = World::new();
    let asked = Cell::new(0);
    // Time for the first attempt up to the panic, and for nothing after it.
    let is_over = || asked.replace(asked.get() + 1) >= 2;
    let candidates = [world.remark(0, "X"), panicking(1)];
    let built = world.build_until(&candidates, &is_over);
    assert_eq!(built.body.len(), 1);
    assert_eq!(built.outcomes[0], Outcome::Postponed);
    assert!(matches!(built.outcomes[1], Outcome::Panicked(_)));
}

#[test]
fn a_pool_full_of_panics_costs_a_bounded_number_of_attempts() {
    let world = World::new();
    let mut candidates = vec![world.remark(0, "X")];
    candidates.extend((0..30).map(panicking));
    candidates.push(world.remark(1, "X"));
    let attempts = Cell::new(0);
    let is_over = || {
        attempts.set(attempts.get() + 1);
        false
    };
    let built = world.build_until(&candidates, &is_over);
    assert_eq!(built.body.len(), 2);
    assert_eq!(built.outcomes[0], Outcome::Included);
    // Eight are known now and leave the pool; the next block gets on to the others.
    assert_eq!(built.outcomes.len(), 9);
    assert!(
        built.outcomes[1..]
            .iter()
            .all(|told| matches!(told, Outcome::Panicked(_)))
    );
    assert!(attempts.get() < 60, "{}", attempts.get());
}

#[test]
fn what_less_urgent_calls_crowd_out_is_left_out_without_need() {
    let world = World::new();
    let remarks = [world.remark(0, "X"), world.remark(1, "X")];
    let (bid, remark) = (world.bid(0, "Y"), world.remark(0, "Y"));
    // The block is full, but a bid goes before remarks.
    assert_eq!(world.find_left_out(&remarks, &[&bid], 0), [true]);
    assert_eq!(world.find_left_out(&remarks, &[&remark], 0), [false]);
    let room = remark.len();
    assert_eq!(world.find_left_out(&remarks, &[&remark], room), [true]);
    // One that is full of bids has no room for another.
    let bids = [world.bid(0, "X"), world.bid(1, "X")];
    assert_eq!(world.find_left_out(&bids, &[&bid], 0), [false]);
    assert_eq!(world.find_left_out(&bids, &[&bid], bid.len()), [true]);
}

#[test]
fn what_follows_a_less_urgent_call_of_its_sender_waits_for_it() {
    let world = World::new();
    let held = [world.remark(0, "X")];
    let next = world.bid(1, "X");
    assert_eq!(world.find_left_out(&held, &[&next], 0), [false]);
    assert_eq!(world.find_left_out(&held, &[&next], next.len()), [true]);
    // Held or missing, a bid after a remark makes no room for others before it.
    let held = [world.remark(0, "X"), world.bid(1, "X")];
    let (remark, bid) = (world.remark(0, "Y"), world.bid(1, "Y"));
    let others = [&remark, &bid];
    let room = remark.len();
    assert_eq!(world.find_left_out(&held, &others, room), [true, false]);
    let room = room + bid.len();
    assert_eq!(world.find_left_out(&held, &others, room), [true, true]);
}

#[test]
fn what_has_the_nonce_of_another_transaction_in_the_block_is_not_missing() {
    let world = World::new();
    let held = [world.remark(0, "X")];
    let rival = world.bid(0, "X");
    assert_eq!(world.find_left_out(&held, &[&rival], 1 << 16), [false]);
}

#[test]
fn extrinsics_nested_beyond_the_bound_do_not_decode() {
    let unsigned = |levels| [vec![0x04], nested_bytes(levels)].concat().encode();
    let deepest = usize::try_from(EXTRINSIC_DEPTH_MAX).unwrap();
    assert!(decode_extrinsic(&unsigned(deepest)).is_ok());
    for levels in [deepest + 1, 100_000] {
        let refused = decode_extrinsic(&unsigned(levels)).unwrap_err();
        assert!(refused.contains("recursion depth"), "{refused}");
    }
    let world = World::new();
    let header = world.build(&[]).header;
    let body = [unsigned(100_000)];
    let refused = world.executor.execute_block(&world.state(), &header, &body);
    assert!(
        matches!(
            refused,
            Err(ExecutionError::UndecodableExtrinsic { index: 0, .. })
        ),
        "it is refused"
    );
    let outcomes = world.build(&body).outcomes;
    assert!(
        matches!(&outcomes[0], Outcome::Undecodable(_)),
        "{outcomes:?}"
    );
}

#[test]
fn a_length_prefix_that_lies_is_refused_before_memory_is_set_aside() {
    let good = World::new().remark(0, "X");
    assert!(decode_extrinsic(&good).is_ok());
    let huge = [&[0xfe, 0xff, 0xff, 0xff][..], &good[2..]].concat();
    let long = [&good[..], &[0]].concat();
    for bytes in [&huge[..], &long, &good[..good.len() - 1], &[], &[0]] {
        assert!(decode_extrinsic(bytes).is_err());
    }
}

#[test]
fn good_signatures_are_remembered_and_bad_ones_are_not() {
    let world = World::new();
    let context = SigningContext::immortal(world.genesis.hash());
    let good = world.remark(0, "X");
    let mut bad = world.remark(1, "X");
    let last = bad.len() - 4;
    // The nonce under the signature.
    bad[last] ^= 4;
    let none = |_| None;
    let extrinsics = [&good, &bad];
    world
        .executor
        .preverify(&extrinsics, world.genesis.hash(), 1, none);
    let remembers = |extrinsic: &[u8]| {
        let message = message_of(extrinsic, &context);
        let print = fingerprint_of(extrinsic, &message);
        world.executor.signatures.contains(&print)
    };
    assert!(remembers(&good));
    assert!(!remembers(&bad));
}

#[test]
fn a_mortal_transaction_is_verified_ahead_too() {
    let world = World::new();
    let context = SigningContext {
        genesis_hash: world.genesis.hash(),
        era: Era::mortal(16, 0),
        era_hash: world.genesis.hash(),
    };
    let mortal = sign_ed25519(nested(0), 0, &context, &pair("X"));
    let hash_of = |number| (number == 0).then(|| world.genesis.hash());
    world
        .executor
        .preverify(&[&mortal], world.genesis.hash(), 1, hash_of);
    let message = message_of(&mortal, &context);
    let print = fingerprint_of(&mortal, &message);
    assert!(world.executor.signatures.contains(&print));
    assert_eq!(world.build(&[mortal]).outcomes, [Outcome::Included]);
}

/// Returns what the signer of an extrinsic signed.
fn message_of(extrinsic: &[u8], context: &SigningContext) -> Vec<u8> {
    let UncheckedExtrinsic {
        preamble, function, ..
    } = decode_extrinsic(extrinsic).unwrap();
    let Preamble::Signed(_, _, extension) = preamble else {
        panic!("it is signed");
    };
    let implicit =
        commonwatt_runtime::transaction::implicit(context.genesis_hash, context.era_hash);
    (function, extension, implicit).encode()
}
