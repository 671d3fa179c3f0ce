//! The pallet's draw against its exact odds.

use pallet_miner_auction::draw::{Candidate, Criteria, Rule, Weights, rank};

use super::{RULES, name_of};
use crate::{
    estimate::{Dice, Effort, replicate},
    exact::win_odds,
    report::Table,
};

/// Stakes of which the odds are known by hand.
const STAKES: [&[u64]; 4] = [&[2, 1], &[10, 1], &[4, 3, 2, 1], &[7, 1, 1, 1]];

/// Returns how often the first of these wins, drawing by stake alone.
pub fn win_frequency(rule: Rule, stakes: &[u64], draws: u32, dice: &mut Dice) -> f64 {
    let weights = Weights {
        alpha: 1,
        beta: 0,
        gamma: 0,
    };
    let accounts: Vec<_> = stakes.iter().map(|_| dice.hash().0).collect();
    let wins = (1..=draws).filter(|height| {
        let candidates = stakes
            .iter()
            .zip(&accounts)
            .map(|(stake, account)| Candidate {
                account: *account,
                offered: *stake,
                criteria: Criteria {
                    stake: *stake,
                    age: 0,
                    reputation: 0,
                },
            })
            .collect();
        let ranking = rank(rule, weights, &dice.hash(), *height, candidates)
            .expect("few candidates, small weights");
        ranking[0].account == accounts[0]
    });
    wins.count() as f64 / f64::from(draws)
}

/// Measures the odds of the first candidate.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    for rule in RULES {
        for stakes in STAKES {
            let name = format!("draw {} {stakes:?}", name_of(rule));
            let [measured] = replicate(effort, &name, |dice| {
                [win_frequency(rule, stakes, effort.heights, dice)]
            });
            let wealth: Vec<_> = stakes.iter().map(|stake| *stake as f64).collect();
            let exact = win_odds(rule, &wealth)[0];
            rows.push(vec![
                name_of(rule).into(),
                format!("{stakes:?}"),
                format!("{:.2}", exact * 100.0),
                measured.percent().to_string(),
            ]);
        }
    }
    vec![Table {
        title: "The draw".into(),
        note: "How often the first candidate wins, in percent, drawn by stake alone.".into(),
        columns: vec!["rule", "stakes", "exact", "measured"],
        rows,
    }]
}
