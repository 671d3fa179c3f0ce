//! Auction, reputation, registry and voting tokens together, over many blocks.

use std::collections::{BTreeMap, VecDeque};

use commonwatt_primitives::{
    AccountId, Role, Step, VotingToken,
    auction::{BlockClaim, Reputation as _},
    beacon,
    digest::{Punctuality, StepDigest},
    traits::Registrar as _,
};
use pallet_miner_auction::{AuctionInfo, Call as AuctionCall, ClaimError, Outcome};
use pallet_reputation::Call as ReputationCall;
use sp_runtime::DispatchError;

use crate::{
    MinerAuction, Registry, Reputation, Runtime,
    configs::EPOCH_LENGTH,
    example::{account, beacon_pair},
    genesis::GENESIS_VOTING_TOKENS,
    story::{DSO, Plan, Story, Told},
};

fn outcome_of(story: &mut Story, height: Step) -> (AuctionInfo<AccountId>, Outcome<AccountId>) {
    let auction = story.ask(|| MinerAuction::auction(height)).unwrap();
    let outcome = auction.outcome.clone().unwrap();
    (auction, outcome)
}

fn next_height() -> Step {
    Step(crate::System::block_number() + 1)
}

/// What must come out of a height's auction, from its ranking and its author alone.
fn settle(auction: &AuctionInfo<AccountId>, rank: u32, is_late: bool) -> [VotingToken; 3] {
    let (mut pot, mut burned, mut returned) = (0, 0, 0);
    let author_bid = rank < auction.bidders;
    for (place, ranked) in (0u32..).zip(&auction.ranking) {
        let amount = VotingToken::from(ranked.offered);
        match () {
            () if author_bid => pot += amount,
            () if place < rank && !is_late => burned += amount,
            () => returned += amount,
        }
    }
    for excluded in &auction.excluded {
        returned += VotingToken::from(excluded.offered);
    }
    [pot, burned, returned]
}

#[test]
fn bids_become_rankings_pots_and_reputation_and_no_token_is_lost() {
    const HEIGHTS: u32 = 2 * EPOCH_LENGTH + 20;
    let mut story = Story::begin(Plan::default()).unwrap();
    let window = story.ask(Reputation::rules).reputation_window;
    let mut free: BTreeMap<AccountId, VotingToken> = story
        .names()
        .iter()
        .map(|name| (account(name), GENESIS_VOTING_TOKENS))
        .collect();
    let mut open: VecDeque<VotingToken> = VecDeque::from([0; 4]);
    let mut reputation = BTreeMap::<AccountId, i64>::new();
    let (mut issued_in_all, mut fallbacks, mut late_blocks, mut silent) = (0, 0, 0, 0);
    assert!(HEIGHTS < window, "nothing leaves the window in this test");

    for _ in 0..HEIGHTS {
        let Told {
            height,
            digest,
            bids,
            issued,
            free: told_free,
            escrow,
            issuance,
            ..
        } = story.go_on();
        let StepDigest::V1 {
            author,
            author_rank,
            ref winner,
            punctuality,
            ..
        } = digest;
        let is_late = punctuality == Punctuality::Late;
        let (auction, outcome) = outcome_of(&mut story, height);

        // The ranking is that of everybody but the last author, and the bids are all in it.
        assert_eq!(&auction.ranking[0].account, winner);
        assert_eq!(auction.ranking.len() + auction.excluded.len(), 6);
        let expected = settle(&auction, author_rank, is_late);
        assert_eq!(
            [outcome.pot, outcome.burned, outcome.returned],
            expected,
            "height {height}: {auction:?}"
        );
        let all_bids: VotingToken = expected.iter().sum();
        assert_eq!(open.pop_front(), Some(all_bids));

        // Everybody's tokens, from the last ones and what the block says.
        let has_bid = author_rank < auction.bidders;
        for (place, ranked) in (0u32..).zip(&auction.ranking) {
            let own = free.get_mut(&ranked.account).unwrap();
            match () {
                () if has_bid => {}
                () if place < author_rank && !is_late => {}
                () => *own += VotingToken::from(ranked.offered),
            }
        }
        for excluded in &auction.excluded {
            *free.get_mut(&excluded.account).unwrap() += VotingToken::from(excluded.offered);
        }
        *free.get_mut(&author).unwrap() += outcome.pot;
        for (who, amount) in &issued {
            issued_in_all += amount;
            *free.get_mut(who).unwrap() += amount;
        }
        for bid in &bids {
            *free.get_mut(&bid.account).unwrap() -= VotingToken::from(bid.amount);
        }
        open.push_back(bids.iter().map(|bid| VotingToken::from(bid.amount)).sum());
        if bids.is_empty() && !is_late {
            silent += 1;
            for (who, own) in &mut free {
                let is_member = story.ask(|| Registry::is_member(who));
                *own -= if is_member { 1.min(*own) } else { 0 };
            }
        }
        assert_eq!(told_free, free, "height {height}");
        assert_eq!(escrow, open.iter().sum::<VotingToken>());

        // Nothing is made but by energy, nothing lost but by burning.
        let burned = story.ask(MinerAuction::burned);
        let began_with = 6 * GENESIS_VOTING_TOKENS;
        assert_eq!(issuance, began_with + issued_in_all - burned);
        assert_eq!(issuance, free.values().sum::<VotingToken>() + escrow);

        // Reputation: blocks made less turns missed; nobody misses one in a late block or a void auction.
        *reputation.entry(author).or_default() += 1;
        if !is_late && !auction.is_void {
            for missed in auction.ranking.iter().take(author_rank as usize) {
                *reputation.entry(missed.account.clone()).or_default() -= 1;
            }
        }
        for name in story.names().to_vec() {
            let who = account(&name);
            let expected = reputation.get(&who).copied().unwrap_or_default().max(0);
            let actual = story.ask(|| Reputation::reputation_of(&who));
            assert_eq!(i64::from(actual), expected, "{name} at height {height}");
        }
        fallbacks += u32::from(author_rank > 0 && author_rank >= auction.bidders);
        late_blocks += u32::from(is_late);
    }
    // The story has told what it was made for.
    assert!(fallbacks > 0 && late_blocks > 0 && issued_in_all > 0);
    assert_eq!(silent, 0, "with six bidders of 70 % nobody is ever silent");
}

#[test]
fn when_nobody_bids_member_validators_lose_a_token_and_the_dso_none() {
    let mut story = Story::begin(Plan {
        bidding_percent: 0,
        energy_max_wh: 0,
        late_percent: 0,
        ..Plan::default()
    })
    .unwrap();
    for _ in 0..120 {
        let told = story.go_on();
        let lost = VotingToken::from(told.height.0).min(GENESIS_VOTING_TOKENS);
        assert_eq!(told.free[&account("V0")], GENESIS_VOTING_TOKENS - lost);
        assert_eq!(told.free[&account(DSO)], GENESIS_VOTING_TOKENS);
    }
    assert_eq!(story.ask(MinerAuction::burned), 5 * GENESIS_VOTING_TOKENS);
}

#[test]
fn an_equivocator_loses_its_tokens_and_its_vote_and_may_be_pardoned() {
    let mut story = Story::begin(Plan {
        absent_percent: 0,
        late_percent: 0,
        ..Plan::default()
    })
    .unwrap();
    for _ in 0..5 {
        story.go_on();
    }
    let report = story.equivocation_of("V2");
    let calls = vec![("V0".to_owned(), report.clone()), ("V1".to_owned(), report)];
    let (told, results) = story.make_block(0, Punctuality::OnTime, calls);
    assert_eq!(results[0], Ok(()));
    let outdone: DispatchError = pallet_miner_auction::Error::<Runtime>::EvidenceOutdone.into();
    assert_eq!(results[1], Err(outdone));
    // What it is issued by the energy of the same block it keeps.
    let kept = told.issued.get(&account("V2")).copied().unwrap_or_default();
    assert_eq!(told.free[&account("V2")], kept);

    let is_validator = |story: &mut Story, height| {
        story.ask(|| MinerAuction::is_validator_at(&account("V2"), Step(height)))
    };
    while story.go_on().height.0 < EPOCH_LENGTH {
        let next = story.ask(|| MinerAuction::ranking(next_height()));
        assert!(!next.unwrap().contains(&account("V2")));
    }
    assert!(is_validator(&mut story, EPOCH_LENGTH - 1));
    assert!(!is_validator(&mut story, EPOCH_LENGTH));
    assert!(!is_validator(&mut story, 2 * EPOCH_LENGTH));

    let pardon = AuctionCall::pardon { who: account("V2") };
    let motion = pallet_collective::Call::<Runtime, crate::configs::CouncilInstance>::propose {
        threshold: 1,
        proposal: Box::new(pardon.into()),
        length_bound: 1_000,
    };
    let calls = vec![("V0".to_owned(), motion.into())];
    let (_, results) = story.make_block(0, Punctuality::OnTime, calls);
    assert_eq!(results, [Ok(())]);
    while story.go_on().height.0 < 2 * EPOCH_LENGTH {}
    assert!(is_validator(&mut story, 3 * EPOCH_LENGTH));
}

#[test]
fn a_declaration_of_a_member_is_evaluated_when_its_period_is_over() {
    let mut story = Story::begin(Plan::default()).unwrap();
    let period = story.ask(Reputation::rules).period;
    story.go_on();
    // It declares to use nothing and to offer nothing, which is what the meters say of it.
    let steps = vec![Default::default(); period as usize]
        .try_into()
        .unwrap();
    let call = ReputationCall::declare { period: 1, steps };
    let calls = vec![("V1".to_owned(), call.into())];
    let (_, results) = story.make_block(0, Punctuality::OnTime, calls);
    assert_eq!(results, [Ok(())]);
    let declared = |story: &mut Story| story.ask(|| Reputation::declaration(1, &account("V1")));
    assert!(declared(&mut story).is_some());
    while story.go_on().height.0 < 2 * period {}
    assert!(declared(&mut story).is_none());
    // A promise of nothing gains nothing.
    let info = story.ask(|| Reputation::reputation_info(&account("V1")));
    assert_eq!(info.delivery, pallet_reputation::Score(0));
}

#[test]
fn claims_that_are_not_the_authors_are_told_apart() {
    let mut story = Story::begin(Plan::default()).unwrap();
    for _ in 0..10 {
        story.go_on();
    }
    story.ask(|| {
        let height = Step(11);
        let ranking = MinerAuction::ranking(height).unwrap();
        let before = MinerAuction::beacon(Step(10)).unwrap();
        let names = ["V0", "V1", "V2", "V3", "V4", DSO];
        let of = |who: &AccountId| {
            names
                .into_iter()
                .find(|name| account(name) == *who)
                .unwrap()
        };
        let claim = |rank: u32, by: &str| BlockClaim {
            author: ranking[rank as usize].clone(),
            author_rank: rank,
            winner: ranking[0].clone(),
            beacon: beacon::prove(&beacon_pair(by), &before, height.0),
        };
        let verify = |claim: &BlockClaim<AccountId>| MinerAuction::verify_claim(height, claim);
        for rank in [0, 1] {
            let by = of(&ranking[rank as usize]);
            assert!(verify(&claim(rank, by)).is_ok());
        }
        let forged = claim(0, of(&ranking[1]));
        assert_eq!(verify(&forged), Err(ClaimError::ForgedBeacon));
        let mut wrong = claim(0, of(&ranking[0]));
        wrong.winner = ranking[1].clone();
        assert_eq!(verify(&wrong), Err(ClaimError::WrongWinner));
        let mut wrong = claim(0, of(&ranking[0]));
        wrong.author_rank = 1;
        assert_eq!(verify(&wrong), Err(ClaimError::WrongRank));
        assert_eq!(
            MinerAuction::verify_claim(Step(12), &claim(0, of(&ranking[0]))),
            Err(ClaimError::NoRanking)
        );
        assert_eq!(Registry::role_of(&account(DSO)), Some(Role::Dso));
    });
}
