//! The simulation against formulas, with fixed seeds.

use commonwatt_incentives::{
    attacks::{
        Honest, RULES, Setting,
        bidding::ByAge,
        coalition::Grinding,
        draw::win_frequency,
        knowledge::Knowing,
        measure_conduct,
        withholding::{Sometimes, Unless},
    },
    chain::Members,
    estimate::{Effort, Estimate, replicate},
    exact::{EqualCoalition, share_of_one_of_two_that_redraws, win_odds},
};

const EFFORT: Effort = Effort {
    seed: 4,
    replicas: 8,
    heights: 1_500,
};

/// Fixed seeds: three margins are not crossed by chance, but by a flaw.
fn assert_agrees(measured: Estimate, exact: f64) {
    assert!(
        measured.distance(exact) < 3.0,
        "{measured:.4}, but {exact:.4} is exact"
    );
}

fn one_of_two(times: u64, rule: pallet_miner_auction::draw::Rule) -> (Setting, f64) {
    let setting = Setting::equal(2, rule).with_rich(1, times).by_stake_alone();
    (setting, win_odds(rule, &[times as f64, 1.0])[0])
}

#[test]
fn of_two_candidates_each_wins_as_often_as_its_rule_says() {
    for rule in RULES {
        for stakes in [[1, 1], [2, 1], [10, 1]] {
            let [measured] = replicate(&EFFORT, "two", |dice| {
                [win_frequency(rule, &stakes, 1_500, dice)]
            });
            assert_agrees(
                measured,
                win_odds(rule, &stakes.map(|stake| stake as f64))[0],
            );
        }
    }
}

#[test]
fn the_odds_of_the_other_rule_do_not_fit() {
    let [ratio, proportional] = [1, 0].map(|index| {
        let [measured] = replicate(&EFFORT, "other", |dice| {
            [win_frequency(RULES[index], &[3, 1], 1_500, dice)]
        });
        measured
    });
    let odds = RULES.map(|rule| win_odds(rule, &[3.0, 1.0])[0]);
    assert!(ratio.distance(odds[0]) > 5.0 && proportional.distance(odds[1]) > 5.0);
}

#[test]
fn of_two_one_that_lets_half_its_turns_pass_makes_half_its_blocks() {
    for rule in RULES {
        let (setting, odds) = one_of_two(2, rule);
        let own = Members::first(1);
        let measured = measure_conduct(&EFFORT, "half", &setting, own, || Sometimes { part: 0.5 });
        assert_agrees(measured.led, odds);
        assert_agrees(measured.share, odds / 2.0);
    }
}

#[test]
fn of_two_one_that_draws_again_until_it_is_next_loses_blocks() {
    for rule in RULES {
        for times in [1, 2] {
            let (setting, odds) = one_of_two(times, rule);
            let own = Members::first(1);
            let measured = measure_conduct(&EFFORT, "again", &setting, own, || Unless::ONLY_SELF);
            assert_agrees(measured.share, share_of_one_of_two_that_redraws(odds));
            assert!(measured.share.mean + measured.share.margin < odds);
        }
    }
}

#[test]
fn of_two_a_bid_by_stake_alone_neither_wins_nor_loses_tokens_in_proportion() {
    let setting = Setting::equal(2, RULES[0]).by_stake_alone();
    for amount in [100, 4_000] {
        let measured = measure_conduct(&EFFORT, "fair", &setting, Members::first(1), || {
            ByAge::always(amount)
        });
        assert_agrees(measured.profit, 0.0);
    }
}

#[test]
fn a_coalition_that_grinds_gains_what_the_formula_says() {
    for rule in RULES {
        for (validators, count) in [(4, 2), (7, 3)] {
            let members = Members::first(count);
            let setting = Setting::equal(validators, rule).by_stake_alone();
            let measured = measure_conduct(&EFFORT, "grinding", &setting, members, || Grinding {
                members,
                horizon: 1,
            });
            let exact = EqualCoalition {
                validators,
                members: count,
            };
            assert_agrees(measured.share, exact.grinding_share());
        }
    }
}

#[test]
fn nobody_gains_by_publishing_what_all_publish() {
    let members = Members::first(3);
    let measured = measure_conduct(
        &EFFORT,
        "honest",
        &Setting::equal(10, RULES[0]),
        members,
        || Honest,
    );
    assert_agrees(measured.share, 0.3);
    assert_agrees(measured.profit, 0.0);
    assert_agrees(measured.reputation, 1.0);
    assert_eq!(measured.missed.mean, 0.0);
}

#[test]
fn one_alone_never_knows_a_draw_while_bids_are_open() {
    let setting = Setting::equal(4, RULES[0]);
    let own = Members::first(1);
    let [knowing, honest] = [
        measure_conduct(&EFFORT, "alone", &setting, own, || Knowing::new(own)),
        measure_conduct(&EFFORT, "alone", &setting, own, || Honest),
    ];
    assert_eq!(knowing.share, honest.share);
    assert_eq!(knowing.profit, honest.profit);
}
