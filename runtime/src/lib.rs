//! # Runtime
//!
//! The pallets wired together and executed natively. Wiring only: rules live in the pallets.
//!
//! ## Invariants
//! - Order of work inside block `s`: corrections and readings (extrinsics), then distribution
//!   (`virtual-meter` at the block's end), the market with loyalty (`double-auction`), reputation, and last the auction.
//!   What the outer grid covers follows from what the market left, whenever somebody asks. At a block's beginning the
//!   clock comes first, then the auction, which checks who made the block.
//! - Calls that would need wasm, or would write the state behind the pallets' backs, are filtered.
//! ## Not here
//! Storage, network, clocks, keys: the node's.

// FRAME's macros generate public items without documentation.
#![allow(missing_docs)]

pub mod apis;
mod calls;
pub mod configs;
pub mod example;
pub mod genesis;
pub mod items;
pub mod orders;
pub mod signature;
pub mod story;
pub mod transaction;
pub mod weights;

use std::borrow::Cow;

use commonwatt_primitives::{
    MeterId, Month, Ppm, Role, Step, StepTiming,
    auction::{Validator, ValidatorRegistry},
    keys::SessionKeys,
    metering::MeterInfo,
    traits::{Loyalty as _, MarketClock, Meters, Registrar},
};
use orders::OrderRefusal;
use pallet_double_auction::{
    ClearingInfo, HistoryEntry, MarketContract, MemberOrders, MonthEntry, OrderBook,
};
use pallet_energy_token::Reading;
use pallet_miner_auction::{AuctionInfo, Bid};
use pallet_outer_grid::Statement;
use pallet_reputation::ReputationInfo;
use pallet_virtual_meter::{AgreementInfo, MonthTotal, StepSummary, Trace, VgmEntry};
use sp_api::impl_runtime_apis;
use sp_core::OpaqueMetadata;
use sp_runtime::{
    ApplyExtrinsicResult, ExtrinsicInclusionMode, generic,
    traits::{BlakeTwo256, Block as BlockT},
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_version::RuntimeVersion;

pub use commonwatt_primitives::{AccountId, BlockNumber, Coin, Hash, Nonce};
pub use signature::Signature;

/// Header with a 32-bit number, hashed with BLAKE2b-256.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// An account, the way Substrate clients address it.
pub type Address = sp_runtime::MultiAddress<AccountId, ()>;
/// Checked and charged with every transaction; the order is part of the wire format.
pub type TxExtension = (
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_quota::ChargeBeyondQuota<Runtime>,
);
/// A transaction or inherent.
pub type UncheckedExtrinsic =
    generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;
/// A block of them.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// Executes blocks.
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// The version this binary executes.
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("commonwatt"),
    impl_name: Cow::Borrowed("commonwatt"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 1,
    apis: RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

/// Returns what `:code` holds for this runtime: a marker, since there is no wasm.
pub fn code_marker() -> Vec<u8> {
    format!(
        "{}{}",
        commonwatt_primitives::CODE_MARKER_PREFIX,
        VERSION.spec_version
    )
    .into_bytes()
}

frame_support::construct_runtime!(
    pub enum Runtime {
        System: frame_system = 0,
        Timestamp: pallet_timestamp = 1,
        MarketStep: pallet_market_step = 2,

        Balances: pallet_balances = 10,
        VotingTokens: pallet_balances::<Instance2> = 11,
        TransactionPayment: pallet_transaction_payment = 12,
        Quota: pallet_quota = 13,
        EnergyCoin: pallet_energy_coin = 14,

        Registry: pallet_registry = 20,
        EnergyToken: pallet_energy_token = 21,
        VirtualMeter: pallet_virtual_meter = 22,

        DoubleAuction: pallet_double_auction = 23,
        Loyalty: pallet_loyalty = 24,
        OuterGrid: pallet_outer_grid = 25,

        Reputation: pallet_reputation = 30,
        MinerAuction: pallet_miner_auction = 31,

        Council: pallet_collective::<Instance1> = 40,
        CouncilMembership: pallet_membership::<Instance1> = 41,
        Utility: pallet_utility = 42,
        Multisig: pallet_multisig = 43,
        Proxy: pallet_proxy = 44,
    }
);

impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block)
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(
            data: sp_inherents::InherentData,
        ) -> Vec<<Block as BlockT>::Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(
            block: <Block as BlockT>::LazyBlock,
            data: sp_inherents::InherentData,
        ) -> sp_inherents::CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            transaction: <Block as BlockT>::Extrinsic,
            block_hash: <Block as BlockT>::Hash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, transaction, block_hash)
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl apis::EnergyApi<Block> for Runtime {
        fn timing() -> StepTiming {
            MarketStep::timing()
        }

        fn step_summary(step: Step) -> Option<StepSummary> {
            VirtualMeter::step_summary(step)
        }

        fn allocations(step: Step) -> Vec<(AccountId, VgmEntry)> {
            VirtualMeter::allocations(step)
        }

        fn trace(step: Step, member: AccountId) -> Option<Trace<AccountId>> {
            VirtualMeter::trace(step, &member)
        }

        fn reading(meter: MeterId, step: Step) -> Option<Reading> {
            EnergyToken::reading(meter, step)
        }

        fn agreement_at(step: Step) -> Option<AgreementInfo<AccountId>> {
            VirtualMeter::agreement_at(step)
        }

        fn kept_steps() -> (Step, Step) {
            VirtualMeter::kept_steps()
        }

        fn account(who: AccountId) -> apis::AccountView {
            apis::AccountView {
                role: Registry::role_of(&who),
                is_validator: Registry::is_validator(&who),
                meters: Registry::meters_of(&who),
                coins: Balances::free_balance(&who),
                voting_tokens: VotingTokens::free_balance(&who),
                voting_debt: VirtualMeter::voting_debt(&who),
            }
        }

        fn entries_of(who: AccountId, newest: Step, count: u32) -> Vec<(Step, VgmEntry)> {
            VirtualMeter::entries_of(&who, newest, count.min(apis::STEPS_PER_QUESTION_MAX))
        }

        fn months_of(who: AccountId, count: u32) -> Vec<(Month, MonthTotal)> {
            let (_, newest) = VirtualMeter::kept_steps();
            let end = MarketStep::month_of(newest).0.saturating_add(1);
            let count = count.min(apis::MONTHS_PER_QUESTION_MAX);
            (end.saturating_sub(count)..end)
                .rev()
                .map(Month)
                .map(|month| (month, VirtualMeter::month_total(month, &who)))
                .filter(|(_, total)| *total != MonthTotal::default())
                .collect()
        }

        fn corrected_steps(newest: Step, count: u32) -> Vec<(Step, u32)> {
            VirtualMeter::corrected_steps(newest, count.min(apis::STEPS_PER_QUESTION_MAX))
        }

        fn meter_view(meter: MeterId) -> Option<apis::MeterView> {
            Some(apis::MeterView {
                info: Registry::meter(meter)?,
                device: Registry::device_of(meter),
                register: EnergyToken::register_of(meter),
                flag: EnergyToken::flag_of(meter),
            })
        }

        fn readings_of(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Reading)> {
            let count = count.min(apis::STEPS_PER_QUESTION_MAX);
            EnergyToken::readings_of_meter(meter, first, count)
        }

        fn commitments_of(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Hash)> {
            let count = count.min(apis::STEPS_PER_QUESTION_MAX);
            EnergyToken::commitments_of_meter(meter, first, count)
        }
    }

    impl apis::AuctionApi<Block> for Runtime {
        fn lineup(height: Step) -> Option<apis::Lineup> {
            Some(apis::Lineup {
                ranking: MinerAuction::ranking(height)?,
                validators: MinerAuction::validators(height)?,
                before: MinerAuction::beacon(Step(height.0.checked_sub(1)?))?,
            })
        }

        fn ranking(height: Step) -> Option<Vec<AccountId>> {
            MinerAuction::ranking(height)
        }

        fn auction(height: Step) -> Option<AuctionInfo<AccountId>> {
            MinerAuction::auction(height)
        }

        fn bids_for(height: Step) -> Vec<Bid<AccountId>> {
            MinerAuction::bids_for(height)
        }

        fn bidder(who: AccountId) -> apis::BidderView {
            apis::BidderView {
                bids: MinerAuction::bids_of(&who),
                terms: MinerAuction::bid_terms(&who),
                offence: MinerAuction::offence_of(&who),
            }
        }

        fn validators(height: Step) -> Option<Vec<Validator<AccountId>>> {
            MinerAuction::validators(height)
        }

        fn beacon(height: Step) -> Option<Hash> {
            MinerAuction::beacon(height)
        }

        fn contract() -> apis::AuctionContract {
            apis::AuctionContract {
                mining: MinerAuction::rules(),
                reputation: Reputation::rules(),
                epoch_length: configs::EPOCH_LENGTH,
                evidence_window: configs::EVIDENCE_WINDOW,
                burned: MinerAuction::burned(),
            }
        }

        fn reputation(who: AccountId) -> ReputationInfo {
            Reputation::reputation_info(&who)
        }
    }

    impl apis::MarketApi<Block> for Runtime {
        fn market() -> MarketContract {
            DoubleAuction::contract()
        }

        fn order_book(step: Step, start: u32, count: u32) -> OrderBook<AccountId> {
            DoubleAuction::order_book(step, start, count)
        }

        fn matched(step: Step) -> apis::Matched {
            let (orders, withdrawn, trades) = DoubleAuction::matched(step);
            apis::Matched {
                orders,
                withdrawn,
                trades,
            }
        }

        fn clearing(step: Step) -> Option<ClearingInfo<AccountId>> {
            DoubleAuction::clearing(step)
        }

        fn orders(who: AccountId, past: u32) -> MemberOrders<AccountId> {
            DoubleAuction::orders_of(&who, past)
        }

        fn history(newest: Step, count: u32) -> Vec<HistoryEntry> {
            DoubleAuction::history(newest, count)
        }

        fn trade_months(who: AccountId, count: u32) -> Vec<MonthEntry> {
            let newest = MarketStep::month_of(MarketStep::current_step());
            DoubleAuction::months_of(&who, newest, count.min(apis::MONTHS_PER_QUESTION_MAX))
        }

        fn loyalty(who: AccountId) -> Ppm {
            Loyalty::loyalty_of(&who, MarketStep::current_step())
        }

        fn statement(who: AccountId, from: Step, to: Step) -> Statement {
            OuterGrid::statement(&who, from, to)
        }

        fn rates() -> apis::MarketRates {
            apis::MarketRates {
                unit: OuterGrid::unit(),
                tariffs: OuterGrid::tariffs(),
                coins: OuterGrid::rates(),
                loyalty: Loyalty::rules(),
            }
        }

        fn refusal_of(
            who: AccountId,
            nonce: Nonce,
            call: pallet_double_auction::Call<Runtime>,
        ) -> Option<OrderRefusal> {
            orders::refusal_of(who, nonce, call)
        }
    }

    impl apis::RegistryApi<Block> for Runtime {
        fn role_of(who: AccountId) -> Option<Role> {
            Registry::role_of(&who)
        }

        fn meter_of_device(device: AccountId) -> Option<MeterId> {
            Registry::meter_of_device(&device)
        }

        fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>> {
            Registry::meter(meter)
        }

        fn validators() -> Vec<(AccountId, SessionKeys)> {
            let mut validators: Vec<_> =
                pallet_registry::Validators::<Runtime>::iter().collect();
            validators.sort_by(|one, other| one.0.cmp(&other.0));
            validators
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentApi<Block, Coin> for Runtime {
        fn query_info(
            transaction: <Block as BlockT>::Extrinsic,
            len: u32,
        ) -> pallet_transaction_payment::RuntimeDispatchInfo<Coin> {
            TransactionPayment::query_info(transaction, len)
        }

        fn query_fee_details(
            transaction: <Block as BlockT>::Extrinsic,
            len: u32,
        ) -> pallet_transaction_payment::FeeDetails<Coin> {
            TransactionPayment::query_fee_details(transaction, len)
        }

        fn query_weight_to_fee(weight: frame_support::weights::Weight) -> Coin {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Coin {
            TransactionPayment::length_to_fee(length)
        }
    }
}

#[cfg(test)]
mod tests;
