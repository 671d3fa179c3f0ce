//! A single author that withholds its block.
//!
//! The author of `h − 1` is the first to know `S_{h−1}`, and so who wins `h` if it publishes. It can publish, or leave
//! the turn to the next rank, whose output it does not know. From four validators up, who publishes cannot win the
//! next height: for itself the author has nothing to choose, it can only choose for others.

use super::{Conduct, Measured, RULES, Setting, measure_conduct, name_of};
use crate::{
    chain::{Block, Chain, Members},
    estimate::{Dice, Effort},
    report::Table,
};

/// The one that withholds.
const SELF: usize = 0;
/// The one it withholds against.
const RIVAL: usize = 1;

/// Lets a part of its turns pass.
pub struct Sometimes {
    /// The part.
    pub part: f64,
}

impl Conduct for Sometimes {
    fn choose_rank(&mut self, chain: &Chain, dice: &mut Dice) -> usize {
        let leads = chain.ranking()[0].account.index == SELF;
        usize::from(leads && dice.happens(self.part))
    }
}

/// Lets its turn pass when the next winner would be who it must not be.
pub struct Unless {
    /// Says whether this winner of the next height is welcome.
    pub welcome: fn(usize) -> bool,
}

impl Unless {
    /// Withholds when its rival would win.
    pub const NOT_THE_RIVAL: Self = Self {
        welcome: |winner| winner != RIVAL,
    };
    /// Withholds when it would not win itself: only with fewer than four validators it could.
    pub const ONLY_SELF: Self = Self {
        welcome: |winner| winner == SELF,
    };
}

impl Conduct for Unless {
    fn choose_rank(&mut self, chain: &Chain, _: &mut Dice) -> usize {
        if chain.ranking()[0].account.index != SELF {
            return 0;
        }
        let mut published = chain.clone();
        published.make_block(&Block::by(0, &[]));
        let winner = published.ranking()[0].account.index;
        usize::from(!(self.welcome)(winner))
    }
}

/// Measures an author that withholds sometimes, always, or against a rival.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    for rule in RULES {
        for (validators, rich) in [(4, 1), (10, 1), (10, 4), (20, 1)] {
            let setting = Setting::equal(validators, rule).with_rich(1, rich);
            let name = format!("withholding {} {validators} {rich}", name_of(rule));
            let own = Members::from_iter([SELF]);
            let rival = Members::from_iter([RIVAL]);
            let honest = measure_conduct(effort, &name, &setting, own, || super::Honest);
            let rival_honest = measure_conduct(effort, &name, &setting, rival, || super::Honest);
            let head = |conduct: &str| {
                vec![
                    name_of(rule).to_owned(),
                    validators.to_string(),
                    format!("{:.0}", setting.stake_share(own) * 100.0),
                    conduct.to_owned(),
                ]
            };
            let mut tell = |conduct: &str, measured: Measured, rivals: Option<Measured>| {
                let mut row = head(conduct);
                row.extend([
                    measured.share.percent().to_string(),
                    measured.share.less(honest.share).percent().to_string(),
                    measured.profit.less(honest.profit).times(100.0).to_string(),
                    format!("{:.2}", measured.reputation.mean),
                    rivals.map_or_else(String::new, |rivals| {
                        rivals.share.less(rival_honest.share).percent().to_string()
                    }),
                ]);
                rows.push(row);
            };
            tell("publishes", honest, None);
            for part in [0.1, 0.5] {
                let measured = measure_conduct(effort, &name, &setting, own, || Sometimes { part });
                tell(&format!("withholds {:.0} %", part * 100.0), measured, None);
            }
            let [measured, rivals] = [own, rival].map(|members| {
                measure_conduct(effort, &name, &setting, members, || Unless::NOT_THE_RIVAL)
            });
            tell("withholds when a rival is next", measured, Some(rivals));
        }
    }
    vec![Table {
        title: "A single author that withholds".into(),
        note: "Blocks in percent of all, gains in points against publishing; tokens for 100 heights against publishing, in fair \
               bids; reputation relative to the mean of all."
            .into(),
        columns: vec![
            "rule",
            "validators",
            "stake, %",
            "conduct",
            "blocks, %",
            "gain",
            "tokens",
            "reputation",
            "rival's gain",
        ],
        rows,
    }]
}
