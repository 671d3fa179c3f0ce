//! How each pallet is configured.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{
    Step,
    auction::{BlockClaim, ClaimSource, Deliveries, Delivery},
    beacon::Schnorrkel,
    digest::StepDigest,
    evidence::Evidence,
};
use frame_support::{
    PalletId, derive_impl, parameter_types,
    traits::{ConstU8, ConstU16, ConstU32, ConstU128, EitherOfDiverse, Get, InstanceFilter},
    weights::{Weight, WeightToFee},
};
use pallet_collective::{EnsureProportionAtLeast, EnsureProportionMoreThan};
use pallet_registry::EnsureDso;
use scale_info::TypeInfo;
use sp_runtime::{
    MultiSignature, Perbill,
    traits::{AccountIdConversion, AccountIdLookup, BlakeTwo256},
};
use sp_version::RuntimeVersion;

use crate::{
    AccountId, Balances, Block, BlockNumber, Coin, Council, DoubleAuction, EnergyToken, Hash,
    Loyalty, MarketStep, MinerAuction, Nonce, OriginCaller, OuterGrid, PalletInfo, Registry,
    Reputation, Runtime, RuntimeCall, RuntimeEvent, RuntimeFreezeReason, RuntimeHoldReason,
    RuntimeOrigin, RuntimeTask, System, VERSION, VirtualMeter, VotingTokens, calls, weights,
};

/// Address format of this chain's accounts: Substrate's generic one.
pub const SS58_PREFIX: u16 = 42;

/// Most members at one time.
pub const MEMBERS_MAX: u32 = 20_000;
/// Most meters ever registered.
pub const METERS_MAX: u32 = 60_000;
/// Most validators at one time.
pub const VALIDATORS_MAX: u32 = 100;
/// Heights with one validator set: a day of 15-minute steps.
pub const EPOCH_LENGTH: u32 = 96;
/// Steps for which evidence of an equivocation counts (PROTOCOL 7).
pub const EVIDENCE_WINDOW: u32 = 192;
/// Seeds of the beacon that are kept beyond the retention: the ties of a kept step are broken by those of the blocks that
/// its orders came with, the earliest so many steps before. One more, for a step whose removal takes a second block.
pub const EARLIER_SEEDS: u32 = pallet_double_auction::STEPS_AHEAD_MAX + 1;
/// Longest period of declarations: a day of 15-minute steps.
pub const DECLARATION_PERIOD_MAX: u32 = 96;
/// Orders that a member may have in one step, beside standing ones.
pub const ORDERS_PER_MEMBER_MAX: u32 = 16;
/// Orders of a member and step that are kept beside those when all of them are open: cancelled ones that may have
/// matched, where orders match as they arrive.
pub const CANCELLED_ORDERS_MAX: u32 = 16;
/// Standing orders that a member may have.
pub const STANDING_ORDERS_MAX: u32 = 16;
/// Orders that a step may have: ten for each of [`MEMBERS_MAX`].
pub const ORDERS_PER_STEP_MAX: u32 = 10 * MEMBERS_MAX;
/// Declarations a block evaluates: [`MEMBERS_MAX`] of them take 79 blocks.
pub const EVALUATIONS_PER_BLOCK: u32 = 256;

parameter_types! {
    /// Blocks a mortal transaction can live: 25 days of 15-minute steps.
    pub const BlockHashCount: BlockNumber = 2_400;
    pub const Version: RuntimeVersion = VERSION;
    /// A motion of the council is open for two weeks of 15-minute steps.
    pub const MotionDuration: BlockNumber = 14 * 96;
    pub MaxProposalWeight: Weight = Perbill::from_percent(50)
        * <weights::Weights as Get<frame_system::limits::BlockWeights>>::get().max_block;
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type BaseCallFilter = calls::CallFilter;
    type BlockWeights = weights::Weights;
    type BlockLength = weights::Length;
    type DbWeight = weights::NativeDbWeight;
    type ExtensionsWeightInfo = weights::Extensions;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type Block = Block;
    type AccountId = AccountId;
    type Nonce = Nonce;
    type Hash = Hash;
    type Hashing = BlakeTwo256;
    type Lookup = AccountIdLookup<AccountId, ()>;
    type AccountData = pallet_balances::AccountData<Coin>;
    type Version = Version;
    type BlockHashCount = BlockHashCount;
    type SS58Prefix = ConstU16<SS58_PREFIX>;
    type MaxConsumers = ConstU32<16>;
}

/// Half a step: clients take twice this as the expected time between blocks.
pub struct HalfStep;

impl Get<u64> for HalfStep {
    fn get() -> u64 {
        MarketStep::timing().step_ms / 2
    }
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = MarketStep;
    type MinimumPeriod = HalfStep;
    type WeightInfo = ();
}

impl pallet_market_step::Config for Runtime {
    type Retention = pallet_virtual_meter::RetentionOf<Runtime>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxFreezes = ConstU32<8>;
    type MaxLocks = ConstU32<8>;
    type MaxReserves = ConstU32<8>;
    type Balance = Coin;
    type ExistentialDeposit = ConstU128<1>;
    type AccountStore = System;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
}

/// The instance of FRAME's balances that keeps voting tokens.
pub type VotingTokensInstance = pallet_balances::Instance2;

impl pallet_balances::Config<VotingTokensInstance> for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
    type Balance = Coin;
    type DustRemoval = ();
    type ExistentialDeposit = ConstU128<1>;
    type AccountStore = frame_support::traits::StorageMapShim<
        pallet_balances::Account<Runtime, VotingTokensInstance>,
        AccountId,
        pallet_balances::AccountData<Coin>,
    >;
    type ReserveIdentifier = [u8; 8];
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxLocks = ConstU32<8>;
    type MaxReserves = ConstU32<8>;
    type MaxFreezes = ConstU32<8>;
    type DoneSlashHandler = ();
}

/// One smallest coin for each microsecond of execution.
pub struct MicrosecondFee;

impl WeightToFee for MicrosecondFee {
    type Balance = Coin;

    fn weight_to_fee(weight: &Weight) -> Coin {
        Coin::from(weight.ref_time() / 1_000_000)
    }
}

/// One smallest coin for each byte.
pub struct ByteFee;

impl WeightToFee for ByteFee {
    type Balance = Coin;

    fn weight_to_fee(length: &Weight) -> Coin {
        Coin::from(length.ref_time())
    }
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    /// Fees are burned: they are there to bound use, not to enrich a miner.
    type OnChargeTransaction = pallet_transaction_payment::FungibleAdapter<Balances, ()>;
    type OperationalFeeMultiplier = ConstU8<5>;
    type WeightToFee = MicrosecondFee;
    type LengthToFee = ByteFee;
    type FeeMultiplierUpdate = ();
    type WeightInfo = weights::Extensions;
}

impl pallet_quota::Config for Runtime {
    type Registry = Registry;
    type Gate = calls::StepGate;
}

/// The instance of the collective that is the community's council.
pub type CouncilInstance = pallet_collective::Instance1;
/// Two thirds of the council: changes the rules.
pub type Governance = EnsureProportionAtLeast<AccountId, CouncilInstance, 2, 3>;
/// More than half of the council: runs the treasury.
pub type Majority = EnsureProportionMoreThan<AccountId, CouncilInstance, 1, 2>;
/// The DSO, or two thirds of the council where there is none to ask.
pub type DsoOrGovernance = EitherOfDiverse<EnsureDso<Runtime>, Governance>;

impl pallet_energy_coin::Config for Runtime {
    type Currency = Balances;
    type Registry = Registry;
    type TreasuryOrigin = Majority;
    type WeightInfo = pallet_energy_coin::weights::NativeWeight<Runtime>;
}

impl pallet_registry::Config for Runtime {
    type DsoOrigin = DsoOrGovernance;
    type Clock = MarketStep;
    type MaxMeters = ConstU32<METERS_MAX>;
    type MaxMembers = ConstU32<MEMBERS_MAX>;
    type MaxValidators = ConstU32<VALIDATORS_MAX>;
    type MaxPastBindings = ConstU32<16>;
    type WeightInfo = pallet_registry::weights::NativeWeight<Runtime>;
}

impl pallet_collective::Config<CouncilInstance> for Runtime {
    type RuntimeOrigin = RuntimeOrigin;
    type Proposal = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type MotionDuration = MotionDuration;
    type MaxProposals = ConstU32<100>;
    type MaxMembers = ConstU32<100>;
    type DefaultVote = pallet_collective::PrimeDefaultVote;
    type WeightInfo = pallet_collective::weights::SubstrateWeight<Runtime>;
    type SetMembersOrigin = Governance;
    type MaxProposalWeight = MaxProposalWeight;
    type DisapproveOrigin = Governance;
    type KillOrigin = Governance;
    type Consideration = ();
}

impl pallet_membership::Config<CouncilInstance> for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type AddOrigin = Governance;
    type RemoveOrigin = Governance;
    type SwapOrigin = Governance;
    type ResetOrigin = Governance;
    type PrimeOrigin = Governance;
    type MembershipInitialized = Council;
    type MembershipChanged = Council;
    type MaxMembers = ConstU32<100>;
    type WeightInfo = pallet_membership::weights::SubstrateWeight<Runtime>;
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = OriginCaller;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

impl pallet_multisig::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type DepositBase = ConstU128<1_000>;
    type DepositFactor = ConstU128<100>;
    type MaxSignatories = ConstU32<32>;
    type WeightInfo = pallet_multisig::weights::SubstrateWeight<Runtime>;
    type BlockNumberProvider = System;
}

/// What a proxy may do in another account's name.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum ProxyType {
    /// Anything.
    #[default]
    Any,
    /// Anything that moves no coins.
    NonTransfer,
    /// Votes and motions of the council.
    Governance,
    /// What the DSO does about meters and readings.
    Metering,
    /// Orders on the market of a step.
    Trading,
}

impl InstanceFilter<RuntimeCall> for ProxyType {
    fn filter(&self, call: &RuntimeCall) -> bool {
        match self {
            Self::Any => true,
            Self::NonTransfer => !matches!(
                call,
                RuntimeCall::Balances(_)
                    | RuntimeCall::EnergyCoin(_)
                    | RuntimeCall::DoubleAuction(_)
            ),
            Self::Governance => matches!(
                call,
                RuntimeCall::Council(_)
                    | RuntimeCall::CouncilMembership(_)
                    | RuntimeCall::Utility(_)
            ),
            Self::Metering => matches!(
                call,
                RuntimeCall::Registry(_) | RuntimeCall::EnergyToken(_) | RuntimeCall::Utility(_)
            ),
            Self::Trading => matches!(
                call,
                RuntimeCall::DoubleAuction(_) | RuntimeCall::Utility(_)
            ),
        }
    }

    fn is_superset(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Any, _)) || self == other
    }
}

impl pallet_proxy::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type ProxyType = ProxyType;
    type ProxyDepositBase = ConstU128<1_000>;
    type ProxyDepositFactor = ConstU128<100>;
    type MaxProxies = ConstU32<32>;
    type MaxPending = ConstU32<32>;
    type WeightInfo = pallet_proxy::weights::SubstrateWeight<Runtime>;
    type CallHasher = BlakeTwo256;
    type AnnouncementDepositBase = ConstU128<1_000>;
    type AnnouncementDepositFactor = ConstU128<100>;
    type BlockNumberProvider = System;
}

impl pallet_energy_token::Config for Runtime {
    type Registry = Registry;
    type Clock = MarketStep;
    type DsoOrigin = DsoOrGovernance;
    type DeviceSignature = MultiSignature;
    type MaxMeters = ConstU32<METERS_MAX>;
    type MaxBatch = ConstU32<1_024>;
    type MaxReasonLength = ConstU32<256>;
    type MaxChangedSteps = ConstU32<4_096>;
    type RegisterIntervalMax = ConstU32<3_360>;
    type WeightInfo = pallet_energy_token::weights::NativeWeight<Runtime>;
}

impl pallet_virtual_meter::Config for Runtime {
    type Registry = Registry;
    type Clock = MarketStep;
    type Readings = EnergyToken;
    type VotingTokens = VotingTokens;
    type Sales = DoubleAuction;
    type OnHoldingExpired = OuterGrid;
    type AgreementOrigin = Governance;
    type MaxParticipants = ConstU32<MEMBERS_MAX>;
    type MaxMeters = ConstU32<METERS_MAX>;
    type MaxAgreements = ConstU32<64>;
    type ChangedStepsPerBlock = ConstU32<16>;
    type WeightInfo = pallet_virtual_meter::weights::SubstrateWeight<Runtime>;
}

/// What the header of the block under construction says about its author.
pub struct HeaderClaim;

impl ClaimSource<AccountId> for HeaderClaim {
    fn claim() -> Option<BlockClaim<AccountId>> {
        StepDigest::find(&System::digest()).map(StepDigest::into_claim)
    }
}

parameter_types! {
    pub const MarketPalletId: PalletId = PalletId(*b"cw/markt");
    /// The treasury's keyless account, which takes what clearings leave over. The treasury's origin burns what is there,
    /// and mints as much elsewhere, when it wants to spend it.
    pub Treasury: AccountId = PalletId(*b"cw/trsry").into_account_truncating();
}

impl pallet_double_auction::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Clock = MarketStep;
    type Registry = Registry;
    type Energy = VirtualMeter;
    type Loyalty = Loyalty;
    type Shortfalls = Reputation;
    type Beacon = MinerAuction;
    type TermsOrigin = Governance;
    type Treasury = Treasury;
    type Retention = pallet_virtual_meter::RetentionOf<Runtime>;
    type EpochLength = ConstU32<EPOCH_LENGTH>;
    type MaxOrders = ConstU32<ORDERS_PER_MEMBER_MAX>;
    type MaxStanding = ConstU32<STANDING_ORDERS_MAX>;
    type MaxBooked =
        ConstU32<{ ORDERS_PER_MEMBER_MAX + CANCELLED_ORDERS_MAX + STANDING_ORDERS_MAX }>;
    type MaxOrdersPerStep = ConstU32<ORDERS_PER_STEP_MAX>;
    type MaxTerms = ConstU32<16>;
    type ExpiredBooksPerBlock = ConstU32<MEMBERS_MAX>;
    type PalletId = MarketPalletId;
    type WeightInfo = pallet_double_auction::weights::NativeWeight<Runtime>;
}

impl pallet_loyalty::Config for Runtime {
    type WeightInfo = pallet_loyalty::weights::NativeWeight<Runtime>;
}

impl pallet_outer_grid::Config for Runtime {
    type Clock = MarketStep;
    type Meters = VirtualMeter;
    type TariffOrigin = DsoOrGovernance;
    type TreasuryOrigin = Majority;
    type MaxTariffs = ConstU32<64>;
    type WeightInfo = pallet_outer_grid::weights::NativeWeight<Runtime>;
}

/// What members used and offered, from their virtual generation meters and the market.
pub struct MeteredDeliveries;

impl Deliveries<AccountId> for MeteredDeliveries {
    fn delivery_of(who: &AccountId, step: Step) -> Option<Delivery> {
        let entry = VirtualMeter::vgm(step, who)?;
        // A member that meant to sell and found no buyer kept its word.
        let offered = DoubleAuction::offered(step, who).max(entry.sold);
        let is_known = entry.consumption.is_some() || !offered.is_zero();
        is_known.then(|| Delivery {
            used: entry.consumption.unwrap_or_default(),
            offered,
        })
    }
}

impl pallet_reputation::Config for Runtime {
    type Clock = MarketStep;
    type Registry = Registry;
    type Deliveries = MeteredDeliveries;
    type Ages = MinerAuction;
    type MaxValidators = ConstU32<VALIDATORS_MAX>;
    type MaxPeriod = ConstU32<DECLARATION_PERIOD_MAX>;
    type EvaluationsPerBlock = ConstU32<EVALUATIONS_PER_BLOCK>;
    type WeightInfo = pallet_reputation::weights::NativeWeight<Runtime>;
}

parameter_types! {
    pub const MinerPalletId: PalletId = PalletId(*b"cw/miner");
}

impl pallet_miner_auction::Config for Runtime {
    type Clock = MarketStep;
    type Registry = Registry;
    type Validators = Registry;
    type VotingTokens = VotingTokens;
    type Reputation = Reputation;
    type OnBlockAuthored = Reputation;
    type Claims = HeaderClaim;
    type Beacon = Schnorrkel;
    type Evidence = Evidence;
    type PardonOrigin = Governance;
    type PalletId = MinerPalletId;
    type MaxValidators = ConstU32<VALIDATORS_MAX>;
    type EpochLength = ConstU32<EPOCH_LENGTH>;
    type EvidenceWindow = ConstU32<EVIDENCE_WINDOW>;
    type EarlierSeeds = ConstU32<EARLIER_SEEDS>;
    type WeightInfo = pallet_miner_auction::weights::NativeWeight<Runtime>;
}
