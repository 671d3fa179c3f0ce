//! The model against the runtime, block by block: the same bids, authors and outputs must give the same seeds, rankings,
//! pots, reputations and tokens.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

use commonwatt_incentives::chain::{Block, Chain, Founder};
use commonwatt_primitives::{
    Step,
    digest::{Punctuality, StepDigest},
    traits::Registrar,
};
use commonwatt_runtime::{
    MinerAuction, Registry, Reputation,
    genesis::GENESIS_VOTING_TOKENS,
    story::{Plan, Story},
};
use pallet_miner_auction::{
    Rules,
    draw::{Basis, Rule},
};

const HEIGHTS: u32 = 120;

fn follow(plan: Plan) {
    let mut story = Story::begin(plan).unwrap();
    let (rules, window, founders, seed) = story.ask(|| {
        let founders: Vec<_> = MinerAuction::validators(Step(1))
            .unwrap()
            .into_iter()
            .map(|validator| Founder {
                is_member: Registry::is_member(&validator.account),
                account: validator.account.into(),
                tokens: GENESIS_VOTING_TOKENS,
            })
            .collect();
        let rules: Rules = MinerAuction::rules();
        let seed = MinerAuction::beacon(Step(0)).unwrap();
        (rules, Reputation::rules().reputation_window, founders, seed)
    });
    let place = |account: &[u8; 32]| {
        founders
            .iter()
            .position(|founder| founder.account == *account)
            .unwrap()
    };
    let mut chain = Chain::begin(rules, window, &founders, seed);
    for height in 1..=HEIGHTS {
        let told = story.go_on();
        let StepDigest::V1 {
            author_rank,
            punctuality,
            ..
        } = told.digest;
        let (auction, reputations) = story.ask(|| {
            let auction = MinerAuction::auction(Step(height)).unwrap();
            let reputations: Vec<_> = founders
                .iter()
                .map(|founder| Reputation::reputation_info(&founder.account.into()).reputation)
                .collect();
            (auction, reputations)
        });
        let expected: Vec<_> = auction
            .ranking
            .iter()
            .map(|one| {
                (
                    *one.account.as_ref(),
                    one.offered,
                    one.criteria,
                    one.wealth,
                    one.draw,
                )
            })
            .collect();
        let ranking: Vec<_> = chain
            .ranking()
            .iter()
            .map(|one| {
                (
                    one.account.account,
                    one.offered,
                    one.criteria,
                    one.wealth,
                    one.draw,
                )
            })
            .collect();
        assert_eq!(ranking, expected, "height {height}");
        assert_eq!(u32::try_from(chain.bidders()), Ok(auction.bidders));

        let bids: Vec<_> = told
            .bids
            .iter()
            .map(|bid| (place(bid.account.as_ref()), bid.amount))
            .collect();
        for (index, amount) in &bids {
            assert!(
                *amount <= chain.bid_max(*index),
                "the runtime takes no greater bids"
            );
        }
        let issued: Vec<_> = told
            .issued
            .iter()
            .map(|(who, amount)| (place(who.as_ref()), *amount))
            .collect();
        let settled = chain.make_block(&Block {
            rank: usize::try_from(author_rank).unwrap(),
            output: Some(told.output),
            is_late: punctuality == Punctuality::Late,
            bids: &bids,
            issued: &issued,
        });
        let outcome = auction.outcome.unwrap();
        assert_eq!(settled.author, place(outcome.author.as_ref()));
        assert_eq!(settled.pot, outcome.pot, "height {height}");
        assert_eq!(chain.seed(), told.seed);
        assert_eq!(chain.escrow(), told.escrow);
        for (who, free) in &told.free {
            assert_eq!(chain.free(place(who.as_ref())), *free, "height {height}");
        }
        for (index, reputation) in reputations.into_iter().enumerate() {
            assert_eq!(chain.reputation(index), reputation, "height {height}");
        }
    }
}

#[test]
fn the_model_is_the_runtimes_auction() {
    follow(Plan::default());
}

#[test]
fn also_by_the_other_rule_and_basis_with_free_bids() {
    let mut plan = Plan {
        seed: 2,
        bidding_percent: 30,
        absent_percent: 40,
        ..Plan::default()
    };
    plan.rules.rule = Rule::Ratio;
    plan.rules.basis = Basis::Owned;
    plan.rules.few_candidates = 0;
    follow(plan);
}
