//! Runtime APIs beyond Substrate's own: what a member, an auditor and a wallet ask about energy, its market and
//! who makes the next block.

use codec::{Decode, Encode};
use commonwatt_primitives::{
    AccountId, BlockNumber, Coin, Hash, MeterId, Month, Nonce, Ppm, Role, Step, StepTiming,
    VotingToken, Wh, auction::Validator, keys::SessionKeys, metering::MeterInfo,
};
use pallet_double_auction::{
    ClearingInfo, HistoryEntry, MarketContract, MemberOrders, MonthEntry, OrderBook,
};
use pallet_energy_token::{Flag, Reading, RegisterReading};
use pallet_miner_auction::{AuctionInfo, Bid, BidTerms, Offence};
use pallet_outer_grid::{PostedRates, Statement, Tariff};
use pallet_reputation::ReputationInfo;
use pallet_virtual_meter::{AgreementInfo, MonthTotal, StepSummary, Trace, VgmEntry};
use scale_info::TypeInfo;

use crate::orders::OrderRefusal;

/// Steps that one question looks at.
pub const STEPS_PER_QUESTION_MAX: u32 = 3_360;
/// Months that one question looks at.
pub const MONTHS_PER_QUESTION_MAX: u32 = 120;

/// What the chain knows about an account, but for its energy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct AccountView {
    /// What it may do; `None` when it is not registered.
    pub role: Option<Role>,
    /// Whether it runs a validator.
    pub is_validator: bool,
    /// The meters it owns or owned, ascending.
    pub meters: Vec<MeterId>,
    /// Energy coins it can spend.
    pub coins: Coin,
    /// Voting tokens it can offer.
    pub voting_tokens: VotingToken,
    /// Voting tokens that are deducted from later issues.
    pub voting_debt: VotingToken,
}

/// What the chain knows about a meter, but for its readings.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct MeterView {
    /// Its record.
    pub info: MeterInfo<AccountId>,
    /// The device that speaks for it.
    pub device: Option<AccountId>,
    /// What the DSO last read off its register.
    pub register: Option<RegisterReading>,
    /// Why it is flagged, if it is.
    pub flag: Option<Flag>,
}

/// Who makes the block of a height, asked on the state after the block before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Lineup {
    /// Who is to make it, the winner of the auction first.
    pub ranking: Vec<AccountId>,
    /// The validators of the height with the keys that act, by account.
    pub validators: Vec<Validator<AccountId>>,
    /// `S_{h-1}`, which the author's beacon proof continues.
    pub before: Hash,
}

/// What the chain knows about somebody who bids.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct BidderView {
    /// Its open bids with their heights.
    pub bids: Vec<(Step, u64)>,
    /// What it may bid in the next block; `None` when it may not.
    pub terms: Option<BidTerms>,
    /// Whether and when it contradicted itself.
    pub offence: Option<Offence>,
}

/// What the community agreed on about mining, and what it has burned by it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct AuctionContract {
    /// How auctions are held.
    pub mining: pallet_miner_auction::Rules,
    /// What reputation is.
    pub reputation: pallet_reputation::Rules,
    /// Heights with one validator set.
    pub epoch_length: u32,
    /// Steps for which evidence of an equivocation counts.
    pub evidence_window: u32,
    /// Voting tokens that auctions have burned.
    pub burned: VotingToken,
}

/// What orders of a step to come have matched so far, where they match as they arrive.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Matched {
    /// The orders in the sequence they arrived in.
    pub orders: Vec<commonwatt_clearing::Order<AccountId>>,
    /// The blocks in which they were cancelled, by position.
    pub withdrawn: Vec<Option<BlockNumber>>,
    /// The matches, by the positions of the orders.
    pub trades: Vec<commonwatt_clearing::Trade>,
}

/// What energy and coins cost outside the market, and what loyalty follows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct MarketRates {
    /// The energy that prices are for.
    pub unit: Wh,
    /// The outer grid's tariffs, ascending.
    pub tariffs: Vec<Tariff>,
    /// The treasury's rates for coins, if it posted any.
    pub coins: Option<PostedRates>,
    /// The contract about loyalty.
    pub loyalty: pallet_loyalty::Rules,
}

sp_api::decl_runtime_apis! {
    /// Steps, readings and where the energy went.
    pub trait EnergyApi {
        /// Returns when steps close.
        fn timing() -> StepTiming;

        /// Returns a step in figures; `None` when its detail is not kept.
        fn step_summary(step: Step) -> Option<StepSummary>;

        /// Returns every virtual generation meter of a step, by account.
        fn allocations(step: Step) -> Vec<(AccountId, VgmEntry)>;

        /// Returns from which generators a member's energy of a step came.
        fn trace(step: Step, member: AccountId) -> Option<Trace<AccountId>>;

        /// Returns the reading of a meter in a step.
        fn reading(meter: MeterId, step: Step) -> Option<Reading>;

        /// Returns the agreement in force in a step.
        fn agreement_at(step: Step) -> Option<AgreementInfo<AccountId>>;

        /// Returns the oldest and the newest step whose detail is kept.
        fn kept_steps() -> (Step, Step);

        /// Returns what is known about an account.
        fn account(who: AccountId) -> AccountView;

        /// Returns an account's virtual generation meter in the `count` steps up to `newest`, newest first.
        fn entries_of(who: AccountId, newest: Step, count: u32) -> Vec<(Step, VgmEntry)>;

        /// Returns what an account had in each of the `count` months up to that of the newest step, newest
        /// first.
        fn months_of(who: AccountId, count: u32) -> Vec<(Month, MonthTotal)>;

        /// Returns which of the `count` steps up to `newest` were distributed more than once, and how often.
        fn corrected_steps(newest: Step, count: u32) -> Vec<(Step, u32)>;

        /// Returns what is known about a meter.
        fn meter_view(meter: MeterId) -> Option<MeterView>;

        /// Returns a meter's readings of the `count` steps from `first` on.
        fn readings_of(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Reading)>;

        /// Returns a meter's commitments of the `count` steps from `first` on.
        fn commitments_of(meter: MeterId, first: Step, count: u32) -> Vec<(Step, Hash)>;
    }

    /// Who makes the blocks, and why.
    pub trait AuctionApi {
        /// Returns who makes the block of a height; `None` when it is not yet decided, or no longer kept.
        fn lineup(height: Step) -> Option<Lineup>;

        /// Returns who is to make the block of a height, the winner first.
        fn ranking(height: Step) -> Option<Vec<AccountId>>;

        /// Returns the auction of a height: who won and why, and what became of the tokens.
        fn auction(height: Step) -> Option<AuctionInfo<AccountId>>;

        /// Returns the open bids for a height.
        fn bids_for(height: Step) -> Vec<Bid<AccountId>>;

        /// Returns what is known about somebody who bids.
        fn bidder(who: AccountId) -> BidderView;

        /// Returns the validators of a height with the keys that act.
        fn validators(height: Step) -> Option<Vec<Validator<AccountId>>>;

        /// Returns `S_h` of a height.
        fn beacon(height: Step) -> Option<Hash>;

        /// Returns the community's contract about mining.
        fn contract() -> AuctionContract;

        /// Returns how far an account is trusted.
        fn reputation(who: AccountId) -> ReputationInfo;
    }

    /// The market of each step, and what it leaves over.
    pub trait MarketApi {
        /// Returns what the market is.
        fn market() -> MarketContract;

        /// Returns the book of a step to come or of a kept one: at most `count` orders from the `start`-th on.
        fn order_book(step: Step, start: u32, count: u32) -> OrderBook<AccountId>;

        /// Returns what orders of a step to come have matched so far, where they match as they arrive.
        fn matched(step: Step) -> Matched;

        /// Returns how the market of a step ended and all that proves it; `None` when it had no orders, or is not kept.
        fn clearing(step: Step) -> Option<ClearingInfo<AccountId>>;

        /// Returns a member's open and standing orders, and those of the last `past` steps.
        fn orders(who: AccountId, past: u32) -> MemberOrders<AccountId>;

        /// Returns how the markets of the `count` steps up to `newest` ended, newest first.
        fn history(newest: Step, count: u32) -> Vec<HistoryEntry>;

        /// Returns what a member paid and received in each of the last `count` months, of steps no longer kept, newest
        /// first.
        fn trade_months(who: AccountId, count: u32) -> Vec<MonthEntry>;

        /// Returns a member's loyalty, 1.0 being a million.
        fn loyalty(who: AccountId) -> Ppm;

        /// Returns what an account owes for the outer grid in the steps from `from` to `to`.
        fn statement(who: AccountId, from: Step, to: Step) -> Statement;

        /// Returns what energy and coins cost outside the market.
        fn rates() -> MarketRates;

        /// Returns why an account's order, cancellation or replacement would fail in the next block, if it would.
        /// `nonce` is that of the transaction: what an earlier one of the account may mend first is no reason.
        fn refusal_of(
            who: AccountId,
            nonce: Nonce,
            call: pallet_double_auction::Call<crate::Runtime>,
        ) -> Option<OrderRefusal>;
    }

    /// Who is who.
    pub trait RegistryApi {
        /// Returns what an account may do; `None` when it is not registered.
        fn role_of(who: AccountId) -> Option<Role>;

        /// Returns the meter a device speaks for.
        fn meter_of_device(device: AccountId) -> Option<MeterId>;

        /// Returns what is known about a meter.
        fn meter(meter: MeterId) -> Option<MeterInfo<AccountId>>;

        /// Returns the validators with their keys, by account.
        fn validators() -> Vec<(AccountId, SessionKeys)>;
    }
}
