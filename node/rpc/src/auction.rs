//! `auction_*`: who makes the blocks, and why. Tokens and wealth are decimal digits in a string, accounts in SS58.
//! Each method takes the hash of the block to ask at as its last parameter; the best one when it is left out.

use commonwatt_primitives::{AccountId, Hash, Step, auction::Validator, keys::SessionKeys};
use commonwatt_runtime::apis::{AuctionContract, BidderView};
use jsonrpsee::server::RegisterMethodError;
use pallet_miner_auction::{
    AuctionInfo, Bid, BidTerms, Excluded, Exclusion, Offence, Outcome,
    draw::{Basis, Ranked, Rule, Weights},
};
use pallet_reputation::ReputationInfo;
use serde::Serialize;

use crate::{
    arguments::Arguments,
    energy::{ask, header_of},
    error::Answer,
    methods::{Methods, Node},
    types::Account,
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("auction_ranking", ranking)?;
    methods.work("auction_auction", auction)?;
    methods.work("auction_bids", bids)?;
    methods.work("auction_bidsFor", bids_for)?;
    methods.work("auction_validators", validators)?;
    methods.work("auction_beacon", beacon)?;
    methods.work("auction_rules", rules)?;
    methods.work("auction_reputation", reputation)
}

/// A height, and the block to ask at. Without a height: the next one after that block.
fn height_and_block(node: &Node, arguments: &mut Arguments) -> Answer<(Step, Hash)> {
    let height: Option<Step> = arguments.optional("height")?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    let height = match height {
        Some(height) => height,
        None => Step(header_of(node, at)?.number.saturating_add(1)),
    };
    Ok((height, at))
}

fn ranking(node: &Node, mut arguments: Arguments) -> Answer<Option<Vec<AccountId>>> {
    let (height, at) = height_and_block(node, &mut arguments)?;
    ask(node, "AuctionApi_ranking", height, Some(at))
}

fn auction(node: &Node, mut arguments: Arguments) -> Answer<Option<AuctionJson>> {
    let (height, at) = height_and_block(node, &mut arguments)?;
    let auction: Option<AuctionInfo<AccountId>> =
        ask(node, "AuctionApi_auction", height, Some(at))?;
    Ok(auction.map(Into::into))
}

fn bids(node: &Node, mut arguments: Arguments) -> Answer<BidderJson> {
    let Account(account) = arguments.required("account")?;
    let view: BidderView = ask(
        node,
        "AuctionApi_bidder",
        &account,
        arguments.optional("at")?,
    )?;
    Ok(BidderJson {
        account,
        bids: view
            .bids
            .into_iter()
            .map(|(height, amount)| OpenBidJson {
                height,
                amount: amount.to_string(),
            })
            .collect(),
        terms: view.terms.map(Into::into),
        offence: view.offence.map(Into::into),
    })
}

fn bids_for(node: &Node, mut arguments: Arguments) -> Answer<Vec<BidJson>> {
    let height: Step = arguments.required("height")?;
    let bids: Vec<Bid<AccountId>> = ask(
        node,
        "AuctionApi_bids_for",
        height,
        arguments.optional("at")?,
    )?;
    Ok(bids.into_iter().map(Into::into).collect())
}

fn validators(node: &Node, mut arguments: Arguments) -> Answer<Option<Vec<ValidatorJson>>> {
    let (height, at) = height_and_block(node, &mut arguments)?;
    let validators: Option<Vec<Validator<AccountId>>> =
        ask(node, "AuctionApi_validators", height, Some(at))?;
    let json = |Validator { account, keys }| ValidatorJson { account, keys };
    Ok(validators.map(|validators| validators.into_iter().map(json).collect()))
}

fn beacon(node: &Node, mut arguments: Arguments) -> Answer<Option<Hash>> {
    let height: Step = arguments.required("height")?;
    ask(node, "AuctionApi_beacon", height, arguments.optional("at")?)
}

fn rules(node: &Node, mut arguments: Arguments) -> Answer<RulesJson> {
    let contract: AuctionContract =
        ask(node, "AuctionApi_contract", (), arguments.optional("at")?)?;
    Ok(contract.into())
}

fn reputation(node: &Node, mut arguments: Arguments) -> Answer<ReputationJson> {
    let Account(account) = arguments.required("account")?;
    let info: ReputationInfo = ask(
        node,
        "AuctionApi_reputation",
        &account,
        arguments.optional("at")?,
    )?;
    Ok(ReputationJson {
        account,
        authored: info.tally.authored,
        missed: info.tally.missed,
        delivery_millionths: info.delivery.0.to_string(),
        reputation: info.reputation,
    })
}

// ---------------------------------------------------------------------------------- shapes

/// The auction of a height, as `auction_auction` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuctionJson {
    height: Step,
    before: Hash,
    rule: Rule,
    basis: Basis,
    weights: Weights,
    is_void: bool,
    bidders: u32,
    bidders_wealth: String,
    others_wealth: String,
    ranking: Vec<RankedJson>,
    excluded: Vec<ExcludedJson>,
    outcome: Option<OutcomeJson>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RankedJson {
    account: AccountId,
    offered: String,
    stake: String,
    age: u16,
    reputation: u16,
    wealth: String,
    draw: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExcludedJson {
    account: AccountId,
    offered: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutcomeJson {
    author: AccountId,
    author_rank: u32,
    is_late: bool,
    pot: String,
    burned: String,
    returned: String,
}

impl From<AuctionInfo<AccountId>> for AuctionJson {
    fn from(info: AuctionInfo<AccountId>) -> Self {
        Self {
            height: info.height,
            before: info.before,
            rule: info.rule,
            basis: info.basis,
            weights: info.weights,
            is_void: info.is_void,
            bidders: info.bidders,
            bidders_wealth: info.bidders_wealth.to_string(),
            others_wealth: info.others_wealth.to_string(),
            ranking: info.ranking.into_iter().map(Into::into).collect(),
            excluded: info.excluded.into_iter().map(Into::into).collect(),
            outcome: info.outcome.map(Into::into),
        }
    }
}

impl From<Ranked<AccountId>> for RankedJson {
    fn from(ranked: Ranked<AccountId>) -> Self {
        Self {
            account: ranked.account,
            offered: ranked.offered.to_string(),
            stake: ranked.criteria.stake.to_string(),
            age: ranked.criteria.age,
            reputation: ranked.criteria.reputation,
            wealth: ranked.wealth.to_string(),
            draw: ranked.draw,
        }
    }
}

impl From<Excluded<AccountId>> for ExcludedJson {
    fn from(excluded: Excluded<AccountId>) -> Self {
        Self {
            account: excluded.account,
            offered: excluded.offered.to_string(),
            reason: match excluded.reason {
                Exclusion::AuthoredBefore => "authoredBefore",
                Exclusion::Equivocated => "equivocated",
                Exclusion::LeftTheSet => "leftTheSet",
            },
        }
    }
}

impl From<Outcome<AccountId>> for OutcomeJson {
    fn from(outcome: Outcome<AccountId>) -> Self {
        Self {
            author: outcome.author,
            author_rank: outcome.author_rank,
            is_late: outcome.is_late,
            pot: outcome.pot.to_string(),
            burned: outcome.burned.to_string(),
            returned: outcome.returned.to_string(),
        }
    }
}

/// A bid, as `auction_bidsFor` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BidJson {
    account: AccountId,
    amount: String,
}

impl From<Bid<AccountId>> for BidJson {
    fn from(bid: Bid<AccountId>) -> Self {
        Self {
            account: bid.account,
            amount: bid.amount.to_string(),
        }
    }
}

/// The community's contract, as `auction_rules` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesJson {
    mining: pallet_miner_auction::Rules,
    reputation: pallet_reputation::Rules,
    epoch_length: u32,
    evidence_window: u32,
    burned: String,
}

impl From<AuctionContract> for RulesJson {
    fn from(contract: AuctionContract) -> Self {
        Self {
            mining: contract.mining,
            reputation: contract.reputation,
            epoch_length: contract.epoch_length,
            evidence_window: contract.evidence_window,
            burned: contract.burned.to_string(),
        }
    }
}

#[derive(Serialize)]
struct ValidatorJson {
    account: AccountId,
    keys: SessionKeys,
}

#[derive(Serialize)]
struct OpenBidJson {
    height: Step,
    amount: String,
}

#[derive(Serialize)]
struct BidderJson {
    account: AccountId,
    bids: Vec<OpenBidJson>,
    terms: Option<TermsJson>,
    offence: Option<OffenceJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TermsJson {
    height: Step,
    free: String,
    in_escrow: String,
    min: String,
    max: String,
}

impl From<BidTerms> for TermsJson {
    fn from(terms: BidTerms) -> Self {
        Self {
            height: terms.height,
            free: terms.free.to_string(),
            in_escrow: terms.in_escrow.to_string(),
            min: terms.min.to_string(),
            max: terms.max.to_string(),
        }
    }
}

#[derive(Serialize)]
struct OffenceJson {
    height: Step,
    reported: Step,
    pardoned: Option<Step>,
}

impl From<Offence> for OffenceJson {
    fn from(offence: Offence) -> Self {
        Self {
            height: offence.height,
            reported: offence.reported,
            pardoned: offence.pardoned,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReputationJson {
    account: AccountId,
    authored: u32,
    missed: u32,
    delivery_millionths: String,
    reputation: u16,
}
