//! A chain of nothing but auctions: tests say who makes each block and who bids.

use std::{cell::RefCell, collections::BTreeMap};

use codec::{Decode, DecodeWithMemTracking, Encode};
use commonwatt_primitives::{
    BlockNumber, Hash, Month, Role, Step, VotingToken,
    auction::{
        BlockClaim, ClaimSource, Equivocation, EvidenceFlaw, OnBlockAuthored, Reputation,
        Validator, ValidatorRegistry, possession_message,
    },
    beacon::{BeaconProof, Schnorrkel, prove},
    keys::SessionKeys,
    traits::{MarketClock, Registrar},
};
use frame_support::{PalletId, derive_impl, parameter_types, traits::Hooks};
use frame_system::EnsureRoot;
use scale_info::TypeInfo;
use sp_core::{Pair as _, ed25519, sr25519};
use sp_runtime::{BuildStorage, DispatchError, DispatchResult, traits::Verify};

use crate as pallet_miner_auction;
use crate::{Auctions, Event, Rules};

pub type AccountId = u64;

pub const EPOCH: u32 = 8;
pub const WINDOW: u32 = 16;
/// Seeds that are kept beyond the retention.
pub const EARLIER_SEEDS: u32 = 5;
pub const VALIDATORS_MAX: u32 = 9;
/// A validator that is no member.
pub const DSO: AccountId = 90;
pub const GENESIS_HASH: Hash = Hash::repeat_byte(9);
pub const GENESIS_TOKENS: VotingToken = 100;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        VotingTokens: pallet_balances,
        Auction: pallet_miner_auction,
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
    pub const AuctionPallet: PalletId = PalletId(*b"cw/miner");
    pub const MaxValidators: u32 = VALIDATORS_MAX;
    pub const EpochLength: u32 = EPOCH;
    pub const EvidenceWindow: u32 = WINDOW;
    pub const EarlierSeeds: u32 = EARLIER_SEEDS;
}

impl pallet_miner_auction::Config for Test {
    type Clock = Community;
    type Registry = Community;
    type Validators = Community;
    type VotingTokens = VotingTokens;
    type Reputation = Community;
    type OnBlockAuthored = Community;
    type Claims = Community;
    type Beacon = Schnorrkel;
    type Evidence = TwoVotes;
    type PardonOrigin = EnsureRoot<AccountId>;
    type PalletId = AuctionPallet;
    type MaxValidators = MaxValidators;
    type EpochLength = EpochLength;
    type EvidenceWindow = EvidenceWindow;
    type EarlierSeeds = EarlierSeeds;
    type WeightInfo = ();
}

#[derive(Default)]
struct World {
    registered: BTreeMap<AccountId, SessionKeys>,
    reputations: BTreeMap<AccountId, u16>,
    authored: Vec<(Step, AccountId, Vec<AccountId>)>,
    claim: Option<BlockClaim<AccountId>>,
    is_late: bool,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Clock, registry, reputation and header in one.
pub struct Community;

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

    fn month_of(_: Step) -> Month {
        Month(0)
    }
}

impl Registrar<AccountId> for Community {
    fn role_of(who: &AccountId) -> Option<Role> {
        Some(if *who == DSO { Role::Dso } else { Role::Member })
    }
}

impl ValidatorRegistry<AccountId> for Community {
    fn validators() -> Vec<Validator<AccountId>> {
        WORLD.with_borrow(|world| {
            let registered = world.registered.iter();
            registered
                .map(|(&account, keys)| Validator {
                    account,
                    keys: keys.clone(),
                })
                .collect()
        })
    }

    fn is_validator(who: &AccountId) -> bool {
        WORLD.with_borrow(|world| world.registered.contains_key(who))
    }

    fn replace_keys(who: &AccountId, keys: &SessionKeys) -> DispatchResult {
        WORLD.with_borrow_mut(|world| {
            let is_taken = world
                .registered
                .iter()
                .any(|(holder, held)| holder != who && held.vote == keys.vote);
            if is_taken {
                return Err(DispatchError::Other("the key is another's"));
            }
            world.registered.insert(*who, keys.clone());
            Ok(())
        })
    }
}

impl Reputation<AccountId> for Community {
    fn reputation_of(who: &AccountId) -> u16 {
        WORLD.with_borrow(|world| world.reputations.get(who).copied().unwrap_or_default())
    }
}

impl OnBlockAuthored<AccountId> for Community {
    fn on_block_authored(height: Step, author: &AccountId, missed: &[AccountId]) {
        WORLD.with_borrow_mut(|world| world.authored.push((height, *author, missed.to_vec())));
    }
}

impl ClaimSource<AccountId> for Community {
    fn claim() -> Option<BlockClaim<AccountId>> {
        WORLD.with_borrow(|world| world.claim.clone())
    }
}

/// Two votes for different values.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, TypeInfo)]
pub struct TwoVotes {
    pub height: u32,
    pub signer: ed25519::Public,
    pub values: [u8; 2],
    pub signatures: [ed25519::Signature; 2],
}

impl TwoVotes {
    pub fn by(pair: &ed25519::Pair, height: u32, values: [u8; 2]) -> Self {
        Self {
            height,
            signer: pair.public(),
            values,
            signatures: values.map(|value| pair.sign(&Self::message(&GENESIS_HASH, height, value))),
        }
    }

    fn message(genesis: &Hash, height: u32, value: u8) -> Vec<u8> {
        (genesis, height, value).encode()
    }
}

impl Equivocation for TwoVotes {
    fn height(&self) -> BlockNumber {
        self.height
    }

    fn signer(&self) -> ed25519::Public {
        self.signer
    }

    fn verify(&self, genesis: &Hash) -> Result<(), EvidenceFlaw> {
        if self.values[0] == self.values[1] {
            return Err(EvidenceFlaw::NoConflict);
        }
        for (value, signature) in self.values.iter().zip(&self.signatures) {
            let message = Self::message(genesis, self.height, *value);
            if !signature.verify(message.as_slice(), &self.signer) {
                return Err(EvidenceFlaw::BadSignature);
            }
        }
        Ok(())
    }
}

/// Key pairs of a validator; each version is another pair.
pub fn pairs(who: AccountId, version: u8) -> (ed25519::Pair, sr25519::Pair) {
    let mut seed = [version; 32];
    seed[..8].copy_from_slice(&who.to_le_bytes());
    (
        ed25519::Pair::from_seed(&seed),
        sr25519::Pair::from_seed(&seed),
    )
}

pub fn keys(who: AccountId, version: u8) -> SessionKeys {
    let (vote, beacon) = pairs(who, version);
    SessionKeys {
        vote: vote.public(),
        beacon: beacon.public(),
    }
}

/// Proofs that the holder of keys of `version` registers them for `who`.
pub fn possession(
    who: AccountId,
    holder: AccountId,
    version: u8,
) -> (SessionKeys, ed25519::Signature, sr25519::Signature) {
    let keys = keys(holder, version);
    let message = possession_message(&GENESIS_HASH, &who, &keys);
    let (vote, beacon) = pairs(holder, version);
    let proofs = (vote.sign(&message), beacon.sign(&message));
    (keys, proofs.0, proofs.1)
}

pub fn register(who: AccountId) {
    WORLD.with_borrow_mut(|world| world.registered.insert(who, keys(who, 0)));
}

pub fn deregister(who: AccountId) {
    WORLD.with_borrow_mut(|world| world.registered.remove(&who));
}

pub fn set_reputation(who: AccountId, reputation: u16) {
    WORLD.with_borrow_mut(|world| world.reputations.insert(who, reputation));
}

pub fn authored() -> Vec<(Step, AccountId, Vec<AccountId>)> {
    WORLD.with_borrow(|world| world.authored.clone())
}

/// Rules under which bids are free and stakes decide.
pub fn rules() -> Rules {
    Rules {
        few_candidates: 0,
        retention: 12,
        no_bid_penalty: 3,
        ..Rules::default()
    }
}

pub fn new_test(rules: Rules, validators: &[AccountId]) -> sp_io::TestExternalities {
    WORLD.with_borrow_mut(|world| *world = World::default());
    for who in validators {
        register(*who);
    }
    let storage = RuntimeGenesisConfig {
        voting_tokens: pallet_balances::GenesisConfig {
            balances: validators
                .iter()
                .map(|who| (*who, GENESIS_TOKENS))
                .collect(),
            ..Default::default()
        },
        auction: pallet_miner_auction::GenesisConfig {
            rules,
            seed: Hash::repeat_byte(1),
            ..Default::default()
        },
        ..Default::default()
    }
    .build_storage()
    .expect("the genesis is valid");
    storage.into()
}

/// Validators 1 to 5 under free bids.
pub fn test(story: impl FnOnce()) {
    test_with(rules(), &[1, 2, 3, 4, 5], story);
}

pub fn test_with(rules: Rules, validators: &[AccountId], story: impl FnOnce()) {
    new_test(rules, validators).execute_with(story);
}

/// A true claim of the account at a rank of the next height.
pub fn claim_of_rank(rank: u32) -> BlockClaim<AccountId> {
    let height = Step(System::block_number() + 1);
    let auction = Auctions::<Test>::get(height).expect("the next height is ranked");
    let author = *auction.at_rank(rank).expect("there are that many");
    BlockClaim {
        author,
        author_rank: rank,
        winner: *auction.winner().expect("somebody is ranked"),
        beacon: beacon_proof(author, height, &auction.before),
    }
}

pub fn beacon_proof(who: AccountId, height: Step, before: &Hash) -> BeaconProof {
    let key = Auction::keys_at(&who, height).expect("a validator").beacon;
    let pair = (0..4)
        .map(|version| pairs(who, version).1)
        .find(|pair| pair.public() == key)
        .expect("one of the tests' keys");
    prove(&pair, before, height.0)
}

/// Begins the next block with a claim.
pub fn begin_block(claim: Option<BlockClaim<AccountId>>, is_late: bool) {
    WORLD.with_borrow_mut(|world| {
        world.claim = claim;
        world.is_late = is_late;
    });
    let number = System::block_number() + 1;
    let parent = if number == 1 {
        GENESIS_HASH
    } else {
        Hash::default()
    };
    System::reset_events();
    System::initialize(&number, &parent, &Default::default());
    Auction::on_initialize(number);
}

pub fn end_block() {
    Auction::on_finalize(System::block_number());
    Auction::do_try_state().expect("the invariants hold");
}

/// Makes the next block by the account at a rank, with transactions; returns the author.
pub fn block_by_rank(rank: u32, transactions: impl FnOnce()) -> AccountId {
    let claim = claim_of_rank(rank);
    let author = claim.author;
    begin_block(Some(claim), false);
    transactions();
    end_block();
    author
}

/// Makes the next block in time by its winner.
pub fn block(transactions: impl FnOnce()) -> AccountId {
    block_by_rank(0, transactions)
}

/// Makes the next block late by the account at a rank.
pub fn late_block_by_rank(rank: u32, transactions: impl FnOnce()) -> AccountId {
    let claim = claim_of_rank(rank);
    let author = claim.author;
    begin_block(Some(claim), true);
    transactions();
    end_block();
    author
}

/// Makes blocks of winners without transactions until block `number` is the last.
pub fn run_to(number: u32) {
    while System::block_number() < number {
        block(|| ());
    }
}

/// Places a bid for the height that is due in the current block.
pub fn bid(who: AccountId, amount: VotingToken) -> DispatchResult {
    let height = Step(System::block_number() + Auction::rules().bid_lead);
    Auction::bid(RuntimeOrigin::signed(who), height, amount)
}

pub fn balance(who: AccountId) -> VotingToken {
    VotingTokens::free_balance(who)
}

pub fn events() -> Vec<Event<Test>> {
    System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::Auction(event) => Some(event),
            _ => None,
        })
        .collect()
}
