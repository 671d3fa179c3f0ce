//! An author that leaves out bids: how many must approve.
//!
//! A validator that saw the bid in time withholds its approval until its propose timeout. The block is decided in its
//! round when fewer than a blocking minority withhold; else the next rank proposes, and the bid is in.

use super::Dice;
use crate::{
    estimate::{Effort, replicate},
    exact::{blocking, censorship_odds, quorum},
    report::Table,
};

fn frequency(validators: u32, censors: u32, seen: f64, tries: u32, dice: &mut Dice) -> f64 {
    let decided = (0..tries).filter(|_| {
        let withheld = (censors..validators).filter(|_| dice.happens(seen)).count();
        let approvals = validators - u32::try_from(withheld).expect("few validators");
        approvals >= quorum(validators)
    });
    decided.count() as f64 / f64::from(tries)
}

/// Measures how often a block without a bid is decided.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    for validators in [4, 7, 10, 13, 20] {
        let tolerated = blocking(validators) - 1;
        let mut sizes = vec![1, tolerated, quorum(validators)];
        sizes.dedup();
        for censors in sizes {
            let mut row = vec![
                validators.to_string(),
                quorum(validators).to_string(),
                blocking(validators).to_string(),
                censors.to_string(),
            ];
            for seen in [0.5, 0.9, 0.99] {
                let name = format!("censorship {validators} {censors} {seen}");
                let [measured] = replicate(effort, &name, |dice| {
                    [frequency(validators, censors, seen, effort.heights, dice)]
                });
                let exact = censorship_odds(validators, censors, seen);
                row.push(format!("{:.3} ({:.3})", exact * 100.0, measured.percent()));
            }
            rows.push(row);
        }
    }
    vec![Table {
        title: "An author that leaves out a bid".into(),
        note: "How often its block is decided in its round, in percent, exact and (measured), when each of the others saw the bid in \
               time in 50, 90 and 99 % of cases. Censors approve what others withhold."
            .into(),
        columns: vec![
            "validators",
            "quorum",
            "blocking",
            "censors",
            "seen by 50 %",
            "seen by 90 %",
            "seen by 99 %",
        ],
        rows,
    }]
}
