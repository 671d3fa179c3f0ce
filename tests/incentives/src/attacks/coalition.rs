//! Coalitions that lead a ranking with several members and choose which of them publishes.
//!
//! Each of the leading members would give another seed, and the coalition knows them all. Who publishes bid, so the
//! pot stays in the coalition; what it pays is the reputation of those who let their turn pass. Leaving all leading
//! turns to an outsider costs a block that was certain, for a seed that nobody knows: that never pays.

use super::{Conduct, RULES, Setting, measure_conduct, name_of};
use crate::{
    chain::{Block, Chain, Members},
    estimate::{Dice, Effort},
    exact::EqualCoalition,
    report::Table,
};

/// Publishes the block after which most heights are the coalition's.
pub struct Grinding {
    /// Who belongs together.
    pub members: Members,
    /// How many heights it looks ahead.
    pub horizon: u32,
}

impl Grinding {
    /// Returns how many of the next heights are the coalition's for sure, and how many first ranks it has at
    /// the last one looked at; and the rank that publishes.
    fn look_ahead(&self, chain: &Chain, horizon: u32) -> ((u32, usize), usize) {
        let run = chain.leading_run(self.members);
        if run == 0 {
            return ((0, 0), 0);
        }
        if horizon == 0 {
            return ((1, run), 0);
        }
        let mut best = ((0, 0), 0);
        for rank in 0..run {
            let mut published = chain.clone();
            published.make_block(&Block::by(rank, &[]));
            let ((blocks, last_run), _) = self.look_ahead(&published, horizon - 1);
            // Of equals the first, which lets the fewest turns pass.
            if (blocks + 1, last_run) > best.0 {
                best = ((blocks + 1, last_run), rank);
            }
        }
        best
    }

    /// Returns the rank that publishes.
    pub fn choose(&self, chain: &Chain) -> usize {
        match chain.leading_run(self.members) {
            // Nothing to choose.
            0 | 1 => 0,
            _ => self.look_ahead(chain, self.horizon).1,
        }
    }
}

impl Conduct for Grinding {
    fn choose_rank(&mut self, chain: &Chain, _: &mut Dice) -> usize {
        self.choose(chain)
    }
}

/// Sizes: validators, members, and how many times as much each member bids.
const SIZES: [(usize, usize, u64); 7] = [
    (4, 2, 1),
    (7, 2, 1),
    (10, 2, 1),
    (10, 3, 1),
    (10, 3, 4),
    (10, 4, 1),
    (20, 6, 1),
];

/// Measures coalitions with the whole rule, and against the formula where only equal stakes count.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    for rule in RULES {
        for (validators, count, rich) in SIZES {
            let members = Members::first(count);
            let setting = Setting::equal(validators, rule).with_rich(count, rich);
            let name = format!("coalition {} {validators} {count} {rich}", name_of(rule));
            let honest = measure_conduct(effort, &name, &setting, members, || super::Honest);
            let [near, far] = [1, 3].map(|horizon| {
                measure_conduct(effort, &name, &setting, members, || Grinding {
                    members,
                    horizon,
                })
            });
            let best = if near.share.mean > far.share.mean {
                near
            } else {
                far
            };
            rows.push(vec![
                name_of(rule).into(),
                validators.to_string(),
                count.to_string(),
                format!("{:.0}", setting.stake_share(members) * 100.0),
                honest.share.percent().to_string(),
                near.share.less(honest.share).percent().to_string(),
                far.share.less(honest.share).percent().to_string(),
                best.profit.less(honest.profit).times(100.0).to_string(),
                format!("{:.2}", best.missed.mean * 100.0),
                format!(
                    "{:.2} → {:.2}",
                    honest.reputation.mean, best.reputation.mean
                ),
            ]);
        }
    }
    let whole = Table {
        title: "Coalitions that choose who publishes".into(),
        note: "Blocks in percent of all, gains in points, looking one and three heights ahead; tokens and missed turns for 100 \
               heights of the better of both; reputation relative to the mean of all."
            .into(),
        columns: vec![
            "rule",
            "validators",
            "members",
            "stake, %",
            "blocks, %",
            "gain, 1 ahead",
            "gain, 3 ahead",
            "tokens",
            "missed",
            "reputation",
        ],
        rows,
    };
    vec![whole, measure_exact(effort)]
}

fn measure_exact(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for rule in RULES {
        for (validators, count, _) in SIZES.into_iter().filter(|(_, _, rich)| *rich == 1) {
            let members = Members::first(count);
            let setting = Setting::equal(validators, rule).by_stake_alone();
            let name = format!("coalition by stake {} {validators} {count}", name_of(rule));
            let measured = measure_conduct(effort, &name, &setting, members, || Grinding {
                members,
                horizon: 1,
            });
            let exact = EqualCoalition {
                validators,
                members: count,
            };
            rows.push(vec![
                name_of(rule).into(),
                validators.to_string(),
                count.to_string(),
                format!("{:.2}", exact.honest_share() * 100.0),
                format!("{:.2}", exact.grinding_share() * 100.0),
                measured.share.percent().to_string(),
                format!(
                    "{:+.2}",
                    (exact.grinding_share() - exact.honest_share()) * 100.0
                ),
            ]);
        }
    }
    Table {
        title: "The same with equal stakes alone, against the formula".into(),
        note: "Blocks in percent; the coalition looks one height ahead.".into(),
        columns: vec![
            "rule",
            "validators",
            "members",
            "publishing",
            "exact",
            "measured",
            "exact gain",
        ],
        rows,
    }
}
