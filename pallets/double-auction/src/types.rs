//! What the market of a step is made of, stored and answered.

use alloc::vec::Vec;
use core::fmt;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_clearing::{
    Breakeven, CancelledUnits, Mechanism, ProofError, Quote, Side, Totals, Trade, verify_book,
};
use commonwatt_primitives::{BlockNumber, Bps, Coin, Hash, Month, Ppm, Price, Step, Wh};
use frame_support::{
    BoundedVec, CloneNoBound, DebugNoBound, DefaultNoBound, EqNoBound, PartialEqNoBound,
    traits::{ConstU32, Get},
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// How many steps ahead an order may be placed: a day of quarter-hours (PROTOCOL 9).
pub const STEPS_AHEAD_MAX: u32 = 96;
/// Trades stored in one value.
pub const TRADES_PER_CHUNK: u32 = 1_024;
/// The trading unit unless the chain spec says otherwise (PROTOCOL 9).
pub const TRADING_UNIT_DEFAULT: Wh = Wh(10);

/// Units as long as they fit, else as many as can be told.
pub(crate) fn units_in(energy: Wh, unit: Wh) -> u64 {
    energy.0.checked_div(unit.0).unwrap_or_default()
}

/// Returns the energy of so many units; they are at most 2^52 of what meters measure in a step.
pub(crate) fn energy_of(units: u64, unit: Wh) -> Wh {
    Wh(units.saturating_mul(unit.0))
}

/// What an order is known by: the step it is for and its number among the orders of that step; a standing
/// order has step 0 and its number among all standing orders.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct OrderId {
    /// The step, or 0.
    pub step: Step,
    /// The number.
    pub number: u32,
}

impl OrderId {
    /// Names a standing order.
    pub fn standing(number: u32) -> Self {
        Self {
            step: Step(0),
            number,
        }
    }

    /// Returns whether the order stands.
    pub fn is_standing(self) -> bool {
        self.step == Step(0)
    }

    /// Returns the id for the clearing: step and number, nothing that would have to be hashed.
    pub fn to_hash(self) -> Hash {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(
            self.step
                .0
                .to_be_bytes()
                .into_iter()
                .chain(self.number.to_be_bytes()),
        ) {
            *to = from;
        }
        Hash::from(bytes)
    }

    /// Returns the order that an id of the clearing names.
    pub fn from_hash(hash: Hash) -> Self {
        let number = |at: usize| {
            let bytes = hash.as_bytes().iter().skip(at).take(4);
            bytes.fold(0_u32, |number, byte| (number << 8) | u32::from(*byte))
        };
        Self {
            step: Step(number(0)),
            number: number(4),
        }
    }
}

/// As people write it: `1234-0` for the first order of step 1234, `standing-0` for a standing one.
impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_standing() {
            true => write!(f, "standing-{}", self.number),
            false => write!(f, "{}-{}", self.step.0, self.number),
        }
    }
}

/// For which steps an order is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum When {
    /// For one step.
    Once(Step),
    /// For every step from the next one on.
    Standing {
        /// The last step, if there is one.
        until: Option<Step>,
    },
}

/// What bounds an order beside its quantity.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Cap {
    /// Nothing.
    #[default]
    Quantity,
    /// What the buyer lacks: `max(0, C − VGM)`.
    Need,
}

/// An order as it is placed.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderTerms {
    /// Its side.
    pub side: Side,
    /// What a unit may cost a buyer at most, or earn a seller at least.
    #[codec(compact)]
    pub limit: Price,
    /// How many units at most.
    #[codec(compact)]
    pub units: u32,
    /// The trading unit that limit and quantity are meant in, which must be the chain's.
    #[codec(compact)]
    pub unit: Wh,
    /// For which steps.
    pub when: When,
    /// What else bounds it.
    pub cap: Cap,
}

/// Which order a booked order comes from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum Origin {
    /// One for this step, with its number.
    Once(#[codec(compact)] u32),
    /// A standing one, with its number.
    Standing(#[codec(compact)] u32),
}

impl Origin {
    /// Returns the id of the order in the book of `step`.
    pub fn id(self, step: Step) -> OrderId {
        match self {
            Self::Once(number) => OrderId { step, number },
            Self::Standing(number) => OrderId::standing(number),
        }
    }
}

/// An order in the book of one step, and what became of it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct BookedOrder {
    /// Where it comes from.
    pub origin: Origin,
    /// Its side.
    pub side: Side,
    /// Its limit for a unit.
    #[codec(compact)]
    pub limit: Price,
    /// How many units at most.
    #[codec(compact)]
    pub units: u32,
    /// What else bounds it.
    pub cap: Cap,
    /// The block that took it.
    #[codec(compact)]
    pub arrival: BlockNumber,
    /// The block in which it was cancelled, where what it may have been matched with until then binds it
    /// still (`continuous`).
    pub withdrawn: Option<BlockNumber>,
    /// How many units took part in the clearing, after the caps.
    #[codec(compact)]
    pub offered: u32,
    /// How many were traded.
    #[codec(compact)]
    pub traded: u32,
    /// Coins paid or received for them.
    #[codec(compact)]
    pub coins: Coin,
}

impl BookedOrder {
    /// Returns the coins it holds: the most it can cost. Limits fit 64 bits, so it fits.
    pub fn escrow(&self) -> Coin {
        match self.side {
            Side::Buy => self.limit.saturating_mul(Coin::from(self.units)),
            Side::Sell => 0,
        }
    }

    /// Returns whether two orders would say the same to a market but for the quantity.
    pub fn is_duplicate_of(&self, other: &Self) -> bool {
        let is_standing = |order: &Self| matches!(order.origin, Origin::Standing(_));
        self.withdrawn.is_none()
            && other.withdrawn.is_none()
            && is_standing(self) == is_standing(other)
            && (self.side, self.limit, self.cap) == (other.side, other.limit, other.cap)
    }
}

/// A member's orders of a step: one value, so that a clearing reads each member once.
#[derive(
    CloneNoBound,
    DebugNoBound,
    DefaultNoBound,
    PartialEqNoBound,
    EqNoBound,
    Encode,
    Decode,
    MaxEncodedLen,
    TypeInfo,
)]
#[scale_info(skip_type_params(Max))]
pub struct MemberBook<Max: Get<u32>> {
    /// Coins held for these orders; none once the step is settled.
    #[codec(compact)]
    pub escrow: Coin,
    /// The loyalty with which the orders were cleared.
    #[codec(compact)]
    pub loyalty: Ppm,
    /// What the member had for sale when the step was cleared, in units.
    #[codec(compact)]
    pub for_sale: u64,
    /// The orders in the sequence they came in.
    pub orders: BoundedVec<BookedOrder, Max>,
}

/// A standing order.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct StandingOrder {
    /// Its number.
    #[codec(compact)]
    pub number: u32,
    /// Its side.
    pub side: Side,
    /// Its limit for a unit.
    #[codec(compact)]
    pub limit: Price,
    /// How many units in each step at most.
    #[codec(compact)]
    pub units: u32,
    /// What else bounds it.
    pub cap: Cap,
    /// The block that took it.
    #[codec(compact)]
    pub arrival: BlockNumber,
    /// The last step it is for.
    pub until: Option<Step>,
}

impl StandingOrder {
    /// Returns the order it puts into the book of a step.
    pub fn booked(&self) -> BookedOrder {
        BookedOrder {
            origin: Origin::Standing(self.number),
            side: self.side,
            limit: self.limit,
            units: self.units,
            cap: self.cap,
            arrival: self.arrival,
            withdrawn: None,
            offered: 0,
            traded: 0,
            coins: 0,
        }
    }

    /// Returns whether it is for `step`.
    pub fn covers(&self, step: Step) -> bool {
        self.until.is_none_or(|until| step <= until)
    }
}

/// How large the book of a step is, and between which limits.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct BookSize {
    /// The number of the next order.
    pub next: u32,
    /// Orders in the book.
    pub orders: u32,
    /// Members with orders in it.
    pub members: u32,
    /// The highest limit that an order to buy came with, whether or not it is still there.
    pub highest_bid: Option<Price>,
    /// The lowest limit that an order to sell came with, whether or not it is still there.
    pub lowest_ask: Option<Price>,
}

impl BookSize {
    /// Remembers the limit of an order that comes into the book.
    pub(crate) fn note(&mut self, order: &BookedOrder) {
        let limit = order.limit;
        match order.side {
            Side::Buy => self.highest_bid = self.highest_bid.max(Some(limit)),
            Side::Sell => {
                self.lowest_ask = Some(self.lowest_ask.map_or(limit, |ask| ask.min(limit)));
            }
        }
    }

    /// Returns whether any order that ever came into the book would have met this one. If none would, taking it out
    /// leaves no trace, though orders match as they arrive.
    pub(crate) fn may_have_matched(&self, order: &BookedOrder) -> bool {
        match order.side {
            Side::Buy => self.lowest_ask.is_some_and(|ask| ask <= order.limit),
            Side::Sell => self.highest_bid.is_some_and(|bid| bid >= order.limit),
        }
    }
}

/// The market's agreement: how prices are found, from a step on.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct MarketTerms {
    /// First step they govern.
    pub effective_from: Step,
    /// How prices are found.
    pub mechanism: Mechanism,
}

/// What is wrong with a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kappa must lie between 0 and {full}, which is one", full = Bps::FULL)]
pub struct KappaError;

/// Checks a mechanism's parameters.
///
/// # Errors
/// `κ` is above one.
pub fn verify_mechanism(mechanism: Mechanism) -> Result<(), KappaError> {
    match mechanism {
        Mechanism::Uniform { kappa } if !kappa.is_fraction() => Err(KappaError),
        _ => Ok(()),
    }
}

/// Why a step was not cleared.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum VoidReason {
    /// Its block was late, after an outage.
    Late,
    /// Energy or coins would not move, or the orders not clear. A fault of the software, for which nobody pays.
    Fault,
}

/// A clearing as it is stored, but for its trades.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct ClearingRecord {
    /// How prices were found.
    pub mechanism: Mechanism,
    /// Where demand and supply meet, with the counts that prove it.
    pub breakeven: Breakeven,
    /// The prices.
    pub quote: Quote,
    /// The sums.
    pub totals: Totals,
    /// Orders that took part.
    pub orders: u32,
    /// Members whose orders took part.
    pub members: u32,
    /// How many trades are stored.
    pub trades: u32,
    /// How many matches were cancelled in part or whole (`continuous`).
    pub cancelled: u32,
}

/// How the market of a step ended.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum StepOutcome {
    /// It was cleared.
    Cleared(ClearingRecord),
    /// It was not: orders expired, escrow went back.
    Void(VoidReason),
}

/// A part of a step's trades.
pub type TradeChunk = BoundedVec<Trade, ConstU32<TRADES_PER_CHUNK>>;
/// A part of a step's cancelled matches.
pub type CancelledChunk = BoundedVec<CancelledUnits, ConstU32<TRADES_PER_CHUNK>>;

/// What a member paid and received in a month, of steps whose detail has left the state.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct MonthTrade {
    /// Units bought.
    #[codec(compact)]
    pub bought: u64,
    /// Units sold.
    #[codec(compact)]
    pub sold: u64,
    /// Coins paid.
    #[codec(compact)]
    pub paid: Coin,
    /// Coins received.
    #[codec(compact)]
    pub received: Coin,
}

impl MonthTrade {
    /// Returns the total with an order's trades; figures that do not fit stay at their greatest.
    pub(crate) fn with(self, order: &BookedOrder) -> Self {
        let units = u64::from(order.traded);
        match order.side {
            Side::Buy => Self {
                bought: self.bought.saturating_add(units),
                paid: self.paid.saturating_add(order.coins),
                ..self
            },
            Side::Sell => Self {
                sold: self.sold.saturating_add(units),
                received: self.received.saturating_add(order.coins),
                ..self
            },
        }
    }
}

/// Why a standing order left a step out.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum SkipReason {
    /// The member has too few coins for it.
    NotEnoughCoins,
    /// The book of the step is full.
    BookFull,
    /// It asks to be capped by the need, which nobody knows when orders match as they arrive.
    NeedUnknown,
    /// Its owner is no longer a member.
    NotAMember,
}

/// Where an order is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum OrderStatus {
    /// It waits for its step.
    Open,
    /// It was cancelled; what it was matched with until then counts, and holds its coins until its step.
    Withdrawn,
    /// Its step was cleared.
    Cleared,
    /// Its step was not cleared: it expired and its coins are free.
    Expired,
}

/// An order as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct OrderInfo<AccountId> {
    /// What it is known by.
    pub id: OrderId,
    /// The step of the book it stands in.
    pub step: Step,
    /// Whose it is.
    pub owner: AccountId,
    /// Its side.
    pub side: Side,
    /// Its limit for a unit.
    pub limit: Price,
    /// How many units at most.
    pub units: u32,
    /// What else bounds it.
    pub cap: Cap,
    /// The block that took it.
    pub arrival: BlockNumber,
    /// Where it is.
    pub status: OrderStatus,
    /// The block in which it was cancelled, if it was and is still there.
    pub withdrawn: Option<BlockNumber>,
    /// How many units took part in the clearing.
    pub offered: u32,
    /// How many were traded.
    pub traded: u32,
    /// Coins paid or received for them.
    pub coins: Coin,
}

impl<AccountId: Clone> OrderInfo<AccountId> {
    /// Tells of an order in the book of a step, and how the step ended, if it did.
    pub fn new(
        step: Step,
        outcome: Option<StepOutcome>,
        owner: &AccountId,
        order: &BookedOrder,
    ) -> Self {
        let status = match (order.withdrawn, outcome) {
            (Some(_), _) => OrderStatus::Withdrawn,
            (None, Some(StepOutcome::Void(_))) => OrderStatus::Expired,
            (None, Some(StepOutcome::Cleared(_))) => OrderStatus::Cleared,
            (None, None) => OrderStatus::Open,
        };
        Self {
            id: order.origin.id(step),
            step,
            owner: owner.clone(),
            side: order.side,
            limit: order.limit,
            units: order.units,
            cap: order.cap,
            arrival: order.arrival,
            status,
            withdrawn: order.withdrawn,
            offered: order.offered,
            traded: order.traded,
            coins: order.coins,
        }
    }
}

/// The book of a step.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct OrderBook<AccountId> {
    /// The step.
    pub step: Step,
    /// The trading unit.
    pub unit: Wh,
    /// How prices are found in this step.
    pub mechanism: Mechanism,
    /// Those of its orders that were asked for, by owner and then in the sequence they came in.
    pub orders: Vec<OrderInfo<AccountId>>,
    /// How many it has, those left out counted.
    pub total: u32,
}

/// A level of a curve: so many units at this price or a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct CurveLevel {
    /// The price.
    pub price: Price,
    /// The units.
    pub units: u64,
}

/// A clearing with all that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct ClearingInfo<AccountId> {
    /// The step.
    pub step: Step,
    /// The trading unit.
    pub unit: Wh,
    /// How it ended.
    pub outcome: StepOutcome,
    /// The orders that were cleared, at the positions that trades name.
    pub orders: Vec<commonwatt_clearing::Order<AccountId>>,
    /// The blocks in which they were cancelled, by position (`continuous`).
    pub withdrawn: Vec<Option<BlockNumber>>,
    /// What those who offered energy had for sale, in units, by account.
    pub for_sale: Vec<(AccountId, u64)>,
    /// The clearing, which all this proves; `None` when the step is void.
    pub clearing: Option<commonwatt_clearing::Clearing>,
    /// What would have been bought, by falling price.
    pub demand: Vec<CurveLevel>,
    /// What would have been sold, by rising price.
    pub supply: Vec<CurveLevel>,
    /// Units that took part in orders to buy and were not bought.
    pub unmatched_demand: u64,
    /// Units that took part in orders to sell and were not sold.
    pub unmatched_supply: u64,
}

impl<AccountId: Clone + Ord> ClearingInfo<AccountId> {
    /// Checks that the clearing is the one that follows from what stands beside it; a void step has none to check.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verify(&self) -> Result<(), ProofError> {
        let Some(clearing) = &self.clearing else {
            return Ok(());
        };
        verify_book(
            &self.orders,
            clearing,
            |position| self.withdrawn_at(position),
            |who| self.for_sale(who),
        )
    }

    /// Returns the block in which the order at a position was cancelled, if it was.
    pub fn withdrawn_at(&self, position: u32) -> Option<BlockNumber> {
        let at = usize::try_from(position).ok()?;
        self.withdrawn.get(at).copied().flatten()
    }

    /// Returns how many units somebody had for sale; none who offered nothing.
    pub fn for_sale(&self, who: &AccountId) -> u64 {
        let place = self
            .for_sale
            .binary_search_by(|(seller, _)| seller.cmp(who));
        let entry = place.ok().and_then(|place| self.for_sale.get(place));
        entry.map_or(0, |(_, units)| *units)
    }
}

/// A member's orders.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct MemberOrders<AccountId> {
    /// Those in the books of steps to come, ascending.
    pub open: Vec<OrderInfo<AccountId>>,
    /// The standing ones.
    pub standing: Vec<StandingOrder>,
    /// Coins held for them.
    pub held: Coin,
    /// How the orders of recent steps ended, newest step first.
    pub past: Vec<OrderInfo<AccountId>>,
}

/// The market of a step in figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct HistoryEntry {
    /// The step.
    pub step: Step,
    /// How it ended.
    pub outcome: StepOutcome,
}

/// What the market is, and what a member had of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct MarketContract {
    /// The trading unit.
    pub unit: Wh,
    /// The mechanisms by the steps they govern from, ascending; the first governs now, those that ended are left out.
    pub terms: Vec<MarketTerms>,
    /// How many steps ahead orders may be placed.
    pub steps_ahead: u32,
    /// Orders that a member may have in one step, beside standing ones.
    pub orders_max: u32,
    /// Standing orders that a member may have.
    pub standing_max: u32,
}

/// A month of a member in the market.
pub type MonthEntry = (Month, MonthTrade);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_for_the_clearing_tells_step_and_number_apart() {
        let id = |step, number| {
            OrderId {
                step: Step(step),
                number,
            }
            .to_hash()
        };
        assert_ne!(id(1, 2), id(2, 1));
        assert_ne!(id(0, 1), id(1, 0));
        assert_eq!(id(1, 2).as_bytes()[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
        let large = OrderId {
            step: Step(0x0102_0304),
            number: u32::MAX,
        };
        for order in [large, OrderId::standing(7)] {
            assert_eq!(OrderId::from_hash(order.to_hash()), order);
        }
        assert_eq!(large.to_string(), "16909060-4294967295");
        assert_eq!(OrderId::standing(7).to_string(), "standing-7");
    }

    #[test]
    fn the_largest_escrow_fits() {
        let order = StandingOrder {
            number: 1,
            side: Side::Buy,
            limit: commonwatt_clearing::LIMIT_MAX,
            units: u32::MAX,
            cap: Cap::Quantity,
            arrival: 1,
            until: None,
        };
        let escrow = order.booked().escrow();
        assert_eq!(escrow, u128::from(u64::MAX) * u128::from(u32::MAX));
    }
}
