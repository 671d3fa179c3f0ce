//! A bidder that splits its tokens over several validators.
//!
//! The stake term cares little; age and reputation are counted for each validator, so each more of them is another
//! part of those terms. What stops it is that a member runs one validator, and that the DSO knows its members.

use super::{RULES, Setting, draw::win_frequency, measure_conduct, name_of};
use crate::{
    chain::Members,
    estimate::{Effort, replicate},
    exact::win_odds,
    report::Table,
};

/// Measures one bidder as one, two and four validators.
pub fn measure(effort: &Effort) -> Vec<Table> {
    vec![measure_whole(effort), measure_stake(effort)]
}

fn measure_whole(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for rule in RULES {
        for others in [3, 9] {
            for (parts, times) in [(1, 1), (2, 1), (4, 1), (1, 4), (2, 4), (4, 4)] {
                let members = Members::first(parts);
                let mut setting = Setting::equal(others + parts, rule);
                let part = u64::try_from(parts).expect("few parts");
                setting
                    .bids
                    .iter_mut()
                    .take(parts)
                    .for_each(|bid| *bid = *bid * times / part);
                let name = format!("splitting {} {others} {parts} {times}", name_of(rule));
                let measured = measure_conduct(effort, &name, &setting, members, || super::Honest);
                rows.push(vec![
                    name_of(rule).into(),
                    others.to_string(),
                    times.to_string(),
                    parts.to_string(),
                    measured.share.percent().to_string(),
                    measured.profit.times(100.0).to_string(),
                ]);
            }
        }
    }
    Table {
        title: "Who splits its bid over several validators".into(),
        note: "The others bid 1 each. Blocks in percent; tokens won for 100 heights, in fair bids."
            .into(),
        columns: vec![
            "rule",
            "others",
            "its bids together",
            "validators",
            "blocks, %",
            "tokens",
        ],
        rows,
    }
}

fn measure_stake(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for rule in RULES {
        for parts in [1, 2, 4] {
            // Stakes of 4, split, against three of 4.
            let part = 4 / u64::try_from(parts).expect("few parts");
            let stakes: Vec<_> = std::iter::repeat_n(part, parts).chain([4, 4, 4]).collect();
            let wealth: Vec<_> = stakes.iter().map(|stake| *stake as f64).collect();
            let exact = win_odds(rule, &wealth)[0] * parts as f64;
            let name = format!("splitting by stake {} {parts}", name_of(rule));
            let [measured] = replicate(effort, &name, |dice| {
                let first = win_frequency(rule, &stakes, effort.heights, dice);
                [first * parts as f64]
            });
            rows.push(vec![
                name_of(rule).into(),
                parts.to_string(),
                format!("{:.2}", exact * 100.0),
                measured.percent().to_string(),
            ]);
        }
    }
    Table {
        title: "A quarter of all stakes, split, in one draw by stake alone".into(),
        note: "How often one of the parts wins, in percent.".into(),
        columns: vec!["rule", "validators", "exact", "measured"],
        rows,
    }
}
