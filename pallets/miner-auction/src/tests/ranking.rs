//! The ranking is complete, recomputable and never repeats an author.

use commonwatt_primitives::Step;
use frame_support::assert_ok;

use crate::{
    Event, Exclusion, Rules,
    draw::{Basis, Rule, compute_draw},
    mock::*,
};

#[test]
fn bidders_come_first_and_all_others_follow() {
    test(|| {
        block(|| {
            assert_ok!(bid(2, 5));
            assert_ok!(bid(4, 5));
        });
        run_to(4);
        let last_author = authored().last().unwrap().1;
        let auction = Auction::auction(Step(5)).unwrap();
        let bidding: Vec<_> = [2, 4]
            .into_iter()
            .filter(|who| *who != last_author)
            .collect();
        let mut first: Vec<_> = auction.ranking[..bidding.len()]
            .iter()
            .map(|ranked| ranked.account)
            .collect();
        first.sort_unstable();
        assert_eq!(first, bidding);
        let mut all = Auction::ranking(Step(5)).unwrap();
        all.push(last_author);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5]);
        assert_eq!(auction.excluded.len(), 1);
        assert_eq!(auction.excluded[0].reason, Exclusion::AuthoredBefore);
    });
}

#[test]
fn the_event_says_everything_the_record_says() {
    test(|| {
        block(|| ());
        let auction = Auction::auction(Step(2)).unwrap();
        let told = events().into_iter().any(|event| {
            matches!(event, Event::RankingMade { height: Step(2), before, is_void: true, bidders: 0, ranking, excluded }
                if before == auction.before && ranking == auction.ranking && excluded == auction.excluded)
        });
        assert!(told);
        for ranked in &auction.ranking {
            assert_eq!(
                ranked.draw,
                compute_draw(&auction.before, 2, &ranked.account)
            );
        }
    });
}

#[test]
fn an_age_is_the_steps_since_the_last_block() {
    test(|| {
        let author = block(|| ());
        block(|| ());
        block(|| ());
        let auction = Auction::auction(Step(4)).unwrap();
        for ranked in &auction.ranking {
            let last = authored()
                .iter()
                .rev()
                .find(|(_, who, _)| *who == ranked.account)
                .map_or(0, |(height, _, _)| height.0);
            assert_eq!(u32::from(ranked.criteria.age), 4 - last);
        }
        use commonwatt_primitives::auction::MinerAge;
        let age = Auction::age_of(&author);
        let last = authored()
            .iter()
            .rev()
            .find(|(_, who, _)| *who == author)
            .unwrap()
            .0;
        assert_eq!(age, Some(3 - last.0));
        assert_eq!(Auction::age_of(&77), None);
    });
}

#[test]
fn the_stake_is_what_is_offered_or_what_is_owned() {
    let stakes = |basis| {
        let mut stakes = Vec::new();
        let by = Rules { basis, ..rules() };
        test_with(by, &[1, 2, 3], || {
            block(|| {
                assert_ok!(bid(1, 5));
                assert_ok!(bid(2, 20));
            });
            // Escrow for another height is owned still.
            block(|| {
                assert_ok!(bid(1, 10));
            });
            block(|| {
                assert_ok!(bid(3, 1));
            });
            block(|| {
                assert_ok!(bid(3, 1));
            });
            let auction = Auction::auction(Step(5)).unwrap();
            stakes = auction
                .ranking
                .iter()
                .map(|ranked| (ranked.account, ranked.criteria.stake))
                .collect();
            stakes.sort_unstable();
        });
        stakes
    };
    assert_eq!(stakes(Basis::Offered), [(1, 5), (2, 20), (3, 0)]);
    assert_eq!(stakes(Basis::Owned), [(1, 100), (2, 100), (3, 0)]);
}

#[test]
fn the_highest_reputation_wins_by_that_rule() {
    let by_reputation = Rules {
        rule: Rule::HighestReputation,
        ..rules()
    };
    test_with(by_reputation, &[1, 2, 3], || {
        for (who, reputation) in [(1, 4), (2, 9), (3, 7)] {
            set_reputation(who, reputation);
        }
        block(|| ());
        assert_eq!(Auction::ranking(Step(2)), Some(vec![2, 3, 1]));
        block(|| ());
        block(|| {
            // Whoever bids comes first all the same.
            assert_ok!(bid(1, 1));
            assert_ok!(bid(3, 1));
        });
        run_to(6);
        assert_eq!(Auction::ranking(Step(7)), Some(vec![3, 1, 2]));
    });
}

#[test]
fn with_three_validators_an_author_may_repeat() {
    test_with(rules(), &[1, 2, 3], || {
        let author = block(|| ());
        let ranking = Auction::ranking(Step(2)).unwrap();
        assert_eq!(ranking.len(), 3);
        assert!(ranking.contains(&author));
    });
}

#[test]
fn with_four_nobody_makes_two_blocks_in_a_row() {
    test_with(rules(), &[1, 2, 3, 4], || {
        for height in 1..40 {
            block_by_rank(height % 3, || ());
        }
        let authors: Vec<_> = authored().iter().map(|(_, who, _)| *who).collect();
        assert!(authors.windows(2).all(|pair| pair[0] != pair[1]));
    });
}

#[test]
fn a_single_validator_makes_every_block() {
    test_with(rules(), &[1], || {
        run_to(20);
        assert_eq!(authored().len(), 20);
    });
}

#[test]
fn auctions_are_kept_for_the_retention_and_seeds_for_some_more_steps() {
    test(|| {
        run_to(30);
        assert_eq!(Auction::auction(Step(18)), None);
        assert!(Auction::auction(Step(19)).is_some());
        assert_eq!(Auction::beacon(Step(18 - EARLIER_SEEDS)), None);
        assert!(Auction::beacon(Step(19 - EARLIER_SEEDS)).is_some());
    });
}
