//! What an auction is made of, stored and answered.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Hash, Step, VotingToken};
use frame_support::{
    BoundedVec, CloneNoBound, DebugNoBound, DefaultNoBound, EqNoBound, PartialEqNoBound,
    traits::Get,
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::draw::{Basis, Ranked, Rule, WEIGHT_MAX, Weights};

/// Fewest steps between the bids of a height and the height.
pub const BID_LEAD_MIN: u32 = 2;
/// 35 days of quarter-hours.
pub const RETENTION_DEFAULT: u32 = 3_360;
/// Part of its tokens that a candidate may bid at most when candidates are few, in percent [P Table 3].
pub const RISK_AVERSE_BID_PERCENT: u128 = 40;
/// Part of an equal share below which a candidate bids exactly one token then, in percent [P Table 3].
pub const RISK_AVERSE_FLOOR_PERCENT: u128 = 20;

/// The community's contract about mining; genesis values.
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// `L`: bids in block `s` are for height `s + L`.
    pub bid_lead: u32,
    /// How candidates are ordered.
    pub rule: Rule,
    /// What of a candidate's tokens counts.
    pub basis: Basis,
    /// How much each criterion counts.
    pub weights: Weights,
    /// What every member validator loses at most when nobody bids.
    pub no_bid_penalty: VotingToken,
    /// With fewer possible candidates than this, bids are bounded.
    pub few_candidates: u32,
    /// How many steps auctions are kept; seeds are kept for some more.
    pub retention: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            bid_lead: 4,
            rule: Rule::Proportional,
            basis: Basis::Offered,
            weights: Weights {
                alpha: 30,
                beta: 50,
                gamma: 20,
            },
            no_bid_penalty: 1,
            few_candidates: 8,
            retention: RETENTION_DEFAULT,
        }
    }
}

/// What is wrong with [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The weights contradict the recommendation that keeps miners changing [D].
    #[error("weights must be gamma < alpha < beta, so that age counts most and reputation least")]
    WeightsOutOfOrder,
    /// The numerators of wealth would not fit.
    #[error("weights must be at most {WEIGHT_MAX}")]
    WeightTooLarge,
    /// Bids would be known too late, or for a set of validators that is not fixed.
    #[error(
        "bidLead must be at least {BID_LEAD_MIN} and at most the {0} steps of an epoch, after which the validators are not known"
    )]
    BidLead(u32),
    /// Penalties are taken from balances of 64 bits.
    #[error("noBidPenalty must be below 2^64")]
    PenaltyTooLarge,
    /// The last auction would be forgotten before its block.
    #[error("retention must be at least one step")]
    NoRetention,
}

impl Rules {
    /// Checks that the values fit together, for epochs of this length.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self, epoch_length: u32) -> Result<(), RulesError> {
        let Weights { alpha, beta, gamma } = self.weights;
        if !(gamma < alpha && alpha < beta) {
            return Err(RulesError::WeightsOutOfOrder);
        }
        if beta > WEIGHT_MAX {
            return Err(RulesError::WeightTooLarge);
        }
        if !(BID_LEAD_MIN..=epoch_length).contains(&self.bid_lead) {
            return Err(RulesError::BidLead(epoch_length));
        }
        if self.no_bid_penalty > u64::MAX.into() {
            return Err(RulesError::PenaltyTooLarge);
        }
        if self.retention == 0 {
            return Err(RulesError::NoRetention);
        }
        Ok(())
    }
}

/// An offer in escrow.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Bid<AccountId> {
    /// Who offers.
    pub account: AccountId,
    /// How many voting tokens.
    pub amount: u64,
}

/// The bids for a height, from the block that takes them to the block of the height.
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
pub struct BidBook<AccountId: Clone + core::fmt::Debug + PartialEq + Eq, Max: Get<u32>> {
    /// Whether the block that should have taken the bids was late, so that it took none.
    pub is_void: bool,
    /// Whether anybody bid, also if the bid was burned since: then nobody owes the penalty.
    pub had_bids: bool,
    /// The bids, by account.
    pub bids: BoundedVec<Bid<AccountId>, Max>,
}

/// Why a validator is not in a ranking.
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
pub enum Exclusion {
    /// It made the block before: nobody makes two in a row.
    AuthoredBefore,
    /// It equivocated.
    Equivocated,
    /// It bid, but is no longer a validator.
    LeftTheSet,
}

/// Somebody who is not in a ranking.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Excluded<AccountId> {
    /// Who.
    pub account: AccountId,
    /// What it bid and gets back; zero when it did not.
    pub offered: u64,
    /// Why.
    pub reason: Exclusion,
}

/// How an auction ended.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Outcome<AccountId> {
    /// Who made the block.
    pub author: AccountId,
    /// Its place in the ranking.
    pub author_rank: u32,
    /// Whether the block was late; then nobody has missed a turn, and nothing is burned.
    pub is_late: bool,
    /// What the author got; its own bid is part of it.
    pub pot: VotingToken,
    /// What was burned of the absent bidders' tokens.
    pub burned: VotingToken,
    /// What went back to bidders.
    pub returned: VotingToken,
}

/// The auction of a height, with everything needed to recompute its ranking.
#[derive(
    CloneNoBound, DebugNoBound, PartialEqNoBound, EqNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[scale_info(skip_type_params(Max))]
pub struct Auction<AccountId: Clone + core::fmt::Debug + PartialEq + Eq, Max: Get<u32>> {
    /// `S_{h-1}`, the seed of the draw.
    pub before: Hash,
    /// Whether nobody could bid: one of the first `L` heights, or a late block of bids.
    pub is_void: bool,
    /// How many of the ranked bid; they come first.
    pub bidders: u32,
    /// Who is to make the block, if those before it don't.
    pub ranking: BoundedVec<Ranked<AccountId>, Max>,
    /// Who is not in the ranking, and why.
    pub excluded: BoundedVec<Excluded<AccountId>, Max>,
    /// How it ended; nothing until the block of the height is made.
    pub outcome: Option<Outcome<AccountId>>,
}

impl<AccountId: Clone + core::fmt::Debug + PartialEq + Eq, Max: Get<u32>> Auction<AccountId, Max> {
    /// Returns the ranked accounts that bid, the winner first.
    pub fn ranked_bidders(&self) -> &[Ranked<AccountId>] {
        let bidders = usize::try_from(self.bidders).unwrap_or(usize::MAX);
        self.ranking
            .get(..bidders)
            .unwrap_or(self.ranking.as_slice())
    }

    /// Returns the first of the ranking.
    pub fn winner(&self) -> Option<&AccountId> {
        self.ranking.first().map(|first| &first.account)
    }

    /// Returns the account at a rank.
    pub fn at_rank(&self, rank: u32) -> Option<&AccountId> {
        let ranked = self.ranking.get(usize::try_from(rank).ok()?)?;
        Some(&ranked.account)
    }

    /// Returns who stands before a rank.
    pub fn before_rank(&self, rank: u32) -> Vec<AccountId> {
        let rank = usize::try_from(rank).unwrap_or(usize::MAX);
        self.ranking
            .iter()
            .take(rank)
            .map(|ranked| ranked.account.clone())
            .collect()
    }
}

/// An auction as wallets see it: who won and why.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct AuctionInfo<AccountId> {
    /// The height.
    pub height: Step,
    /// `S_{h-1}`.
    pub before: Hash,
    /// How candidates were ordered.
    pub rule: Rule,
    /// What counted as stake.
    pub basis: Basis,
    /// How much each criterion counted.
    pub weights: Weights,
    /// Whether nobody could bid.
    pub is_void: bool,
    /// How many of the ranked bid.
    pub bidders: u32,
    /// Sum of the wealth of those who bid, of which each wealth is a part; saturates.
    pub bidders_wealth: u128,
    /// Sum of the wealth of the others; saturates.
    pub others_wealth: u128,
    /// The ranking, the winner first.
    pub ranking: Vec<Ranked<AccountId>>,
    /// Who is not in it, and why.
    pub excluded: Vec<Excluded<AccountId>>,
    /// How it ended, once the block was made.
    pub outcome: Option<Outcome<AccountId>>,
}

/// What a candidate may bid in the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct BidTerms {
    /// The height the bid would be for.
    pub height: Step,
    /// Tokens that are not in escrow.
    pub free: VotingToken,
    /// Tokens in escrow for other heights.
    pub in_escrow: VotingToken,
    /// Least bid.
    pub min: u64,
    /// Greatest bid.
    pub max: u64,
}

/// That a validator contradicted itself.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Offence {
    /// At which height.
    pub height: Step,
    /// In which block it was reported.
    pub reported: Step,
    /// In which block it was pardoned, if it was; evidence of heights up to it counts no more.
    pub pardoned: Option<Step>,
}

/// Why a header's claim about the author is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The header says nothing, or too much, about its author.
    #[error("the header must hold exactly one claim of winner, author, rank and beacon proof")]
    Missing,
    /// The block does not follow the last one.
    #[error("no ranking is fixed for this height; the block must follow the last one")]
    NoRanking,
    /// The header names another winner.
    #[error("the header names a winner who did not win the auction of this height")]
    WrongWinner,
    /// The author does not stand where the header says.
    #[error("the author does not have this rank in the ranking of this height")]
    WrongRank,
    /// The author has no beacon key at this height.
    #[error("the author is not a validator at this height")]
    NotAValidator,
    /// The beacon proof is not the author's for this height and seed.
    #[error("the beacon proof is not that of the author's key for this height and seed")]
    ForgedBeacon,
}
