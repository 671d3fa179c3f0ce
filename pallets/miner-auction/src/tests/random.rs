//! Thousands of random blocks: tokens are conserved, authors change, rankings are complete.

use commonwatt_primitives::Step;
use proptest::prelude::*;

use crate::{
    Rules,
    draw::{Basis, Rule},
    mock::*,
};

const ACCOUNTS: u64 = 8;
const BLOCKS: usize = 120;

/// What happens in a block.
#[derive(Clone, Debug)]
struct Story {
    rank: u32,
    is_late: bool,
    bids: Vec<(AccountId, u128)>,
    event: u8,
    who: AccountId,
    back: u32,
}

fn story() -> impl Strategy<Value = Story> {
    (
        prop_oneof![4 => Just(0u32), 2 => 1u32..9],
        prop::bool::weighted(0.1),
        prop::collection::vec((1..=ACCOUNTS + 1, 0u128..60), 0..7),
        0u8..40,
        1..=ACCOUNTS,
        0u32..WINDOW + 3,
    )
        .prop_map(|(rank, is_late, bids, event, who, back)| Story {
            rank,
            is_late,
            bids,
            event,
            who,
            back,
        })
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (
        prop::sample::select(vec![
            Rule::Ratio,
            Rule::Proportional,
            Rule::HighestReputation,
        ]),
        prop::sample::select(vec![Basis::Offered, Basis::Owned]),
        2u32..=EPOCH,
        0u128..5,
        prop::sample::select(vec![0u32, 5, 9]),
    )
        .prop_map(
            |(rule, basis, bid_lead, no_bid_penalty, few_candidates)| Rules {
                rule,
                basis,
                bid_lead,
                no_bid_penalty,
                few_candidates,
                ..rules()
            },
        )
}

fn play(story: &Story) {
    let origin = RuntimeOrigin::signed;
    let now = System::block_number();
    for &(who, amount) in &story.bids {
        // Most are valid; the others must change nothing.
        let before = (VotingTokens::total_issuance(), balance(who));
        if bid(who, amount).is_err() {
            assert_eq!(before, (VotingTokens::total_issuance(), balance(who)));
        }
    }
    match story.event {
        0 => register(story.who),
        1 => deregister(story.who),
        2 => {
            let height = now.saturating_sub(story.back);
            let evidence = TwoVotes::by(&pairs(story.who, 0).0, height, [1, 2]);
            let _ = Auction::report_equivocation(origin(77), Box::new(evidence));
        }
        3 => {
            let _ = Auction::pardon(RuntimeOrigin::root(), story.who);
        }
        4 => {
            let version = if now.is_multiple_of(2) { 0 } else { 1 };
            let (keys, vote, beacon) = possession(story.who, story.who, version);
            let _ = Auction::set_keys(origin(story.who), keys, vote, beacon);
        }
        5..10 => set_reputation(story.who, u16::try_from(story.back * 7).unwrap()),
        _ => (),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn tokens_are_conserved_and_authors_change(
        rules in any_rules(),
        validators in 1..=6u64,
        stories in prop::collection::vec(story(), BLOCKS),
    ) {
        let validators: Vec<_> = (1..=validators).collect();
        test_with(rules, &validators, || {
            let issued = VotingTokens::total_issuance();
            let mut last_author = None;
            for story in &stories {
                let next = Step(System::block_number() + 1);
                let ranking = Auction::ranking(next).expect("the next height is ranked");
                let set = Auction::validators(next).expect("the set is fixed").len();
                let equivocators = (1..=ACCOUNTS)
                    .filter(|who| Auction::offence_of(who).is_some_and(|it| it.pardoned.is_none()))
                    .count();
                let rank = story.rank % u32::try_from(ranking.len()).unwrap();
                // The hooks run `try_state`: escrow, sets, and the ranking made again.
                let author = if story.is_late {
                    late_block_by_rank(rank, || play(story))
                } else {
                    block_by_rank(rank, || play(story))
                };
                if set >= 4 && equivocators == 0 {
                    assert_ne!(Some(author), last_author, "twice in a row");
                    assert!(ranking.len() >= set - 1, "the ranking is incomplete");
                }
                last_author = Some(author);
                assert_eq!(
                    VotingTokens::total_issuance() + Auction::burned(),
                    issued,
                    "tokens came or went"
                );
                let auction = Auction::auction(next).expect("it is kept");
                let outcome = auction.outcome.expect("the block is made");
                assert!(!outcome.is_late || outcome.burned == 0);
            }
        });
    }
}
