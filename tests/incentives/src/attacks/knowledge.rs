//! Coalitions that know a draw while bids for it are open.
//!
//! `U` of height `h` needs the outputs of the authors of `h − L … h − 1`. When a coalition can make all of these
//! blocks, it knows before the gates of `h − L` close which bid of whom would win `h`: it bids what is needed and no
//! more, and nothing where it would lose.

use std::collections::VecDeque;

use super::{Conduct, FAIR_BID, RULES, Setting, coalition::Grinding, measure_conduct, name_of};
use crate::{
    chain::{Block, Chain, Members},
    estimate::{Dice, Effort, replicate},
    exact::EqualCoalition,
    report::Table,
};

/// How many times a fair bid one of the coalition is ready to put down, knowing that it comes back.
const BID_FACTOR_MAX: u64 = 20;
/// Validators, members and `L`. Coalitions of two up to `L`; those of four and more are just below a third.
const CASES: [(usize, usize, u32); 15] = [
    (4, 2, 2),
    (4, 2, 4),
    (4, 2, 8),
    (7, 2, 2),
    (7, 2, 4),
    (7, 2, 8),
    (10, 3, 2),
    (10, 3, 4),
    (10, 3, 8),
    (13, 4, 4),
    (13, 4, 8),
    (16, 5, 8),
    (19, 6, 8),
    (22, 7, 8),
    (25, 8, 8),
];
/// How many ways through the next heights are looked at.
const WAYS_MAX: usize = 256;

/// A way through the next `L` heights, and what to bid for the one after them.
#[derive(Clone, Debug)]
struct Way {
    ranks: VecDeque<usize>,
    /// Who bids how much; nobody when no bid wins.
    winning: Option<(usize, u64)>,
}

/// Bids by what it knows; chooses who publishes so that it comes to know.
pub struct Knowing {
    /// Who belongs together.
    pub members: Members,
    /// Ranks of the next heights, as far as they are settled.
    plan: VecDeque<usize>,
}

impl Knowing {
    /// Begins without a plan.
    pub fn new(members: Members) -> Self {
        Self {
            members,
            plan: VecDeque::new(),
        }
    }

    /// Returns the best way that keeps to the plan: one on which a bid wins, as low as possible.
    fn find_way(&self, chain: &Chain, bids: &[(usize, u64)]) -> Option<Way> {
        let others: Vec<_> = bids
            .iter()
            .copied()
            .filter(|(index, _)| !self.members.contains(*index))
            .collect();
        let mut ways = Vec::new();
        self.walk(chain, &others, &mut Vec::new(), &mut ways);
        ways.into_iter()
            .min_by_key(|way| way.winning.map_or(u64::MAX, |(_, amount)| amount))
    }

    fn walk(
        &self,
        chain: &Chain,
        others: &[(usize, u64)],
        taken: &mut Vec<usize>,
        ways: &mut Vec<Way>,
    ) {
        let lead = usize::try_from(chain.rules().bid_lead).expect("leads are short");
        if ways.len() >= WAYS_MAX {
            return;
        }
        if taken.len() == lead {
            ways.push(Way {
                ranks: taken.iter().copied().collect(),
                winning: self.find_bid(chain),
            });
            return;
        }
        let run = chain.leading_run(self.members);
        let settled = self.plan.get(taken.len()).copied();
        for rank in (0..run).filter(|rank| settled.is_none_or(|settled| settled == *rank)) {
            let mut published = chain.clone();
            let bids = if taken.is_empty() { others } else { &[] };
            published.make_block(&Block::by(rank, bids));
            taken.push(rank);
            self.walk(&published, others, taken, ways);
            taken.pop();
        }
    }

    /// Returns the lowest bid of one of the coalition that wins the next height, whose draw is known now.
    fn find_bid(&self, chain: &Chain) -> Option<(usize, u64)> {
        let others = chain.bids_ahead(0)?;
        let wins = |index: usize, amount: u64| {
            let mut bids = others.to_vec();
            bids[index] = amount;
            let (ranking, _) = chain.rank_with(&bids);
            ranking[0].account.index == index
        };
        let most = BID_FACTOR_MAX * FAIR_BID;
        let winners = self.members.indices().filter(|index| wins(*index, most));
        winners
            .map(|index| {
                // More wealth wins whatever less wealth wins.
                let (mut loses, mut enough) = (0, most);
                while enough - loses > 1 {
                    let middle = loses + (enough - loses) / 2;
                    if wins(index, middle) {
                        enough = middle;
                    } else {
                        loses = middle;
                    }
                }
                (index, enough)
            })
            .min_by_key(|(_, amount)| *amount)
    }
}

impl Conduct for Knowing {
    fn change_bids(&mut self, chain: &Chain, bids: &mut Vec<(usize, u64)>) {
        let Some(way) = self.find_way(chain, bids) else {
            return;
        };
        bids.retain(|(index, _)| !self.members.contains(*index));
        bids.extend(way.winning);
        self.plan = way.ranks;
    }

    fn choose_rank(&mut self, chain: &Chain, _: &mut Dice) -> usize {
        self.plan.pop_front().unwrap_or_else(|| {
            let grinding = Grinding {
                members: self.members,
                horizon: 1,
            };
            grinding.choose(chain)
        })
    }
}

/// Returns how often the last `lead` blocks were all of `members`, who grind or not.
fn known_part(
    setting: &Setting,
    members: Members,
    grinds: bool,
    heights: u32,
    dice: &mut Dice,
) -> f64 {
    let mut chain = setting.begin(dice);
    let bids: Vec<_> = setting.bids.iter().copied().enumerate().collect();
    let grinding = Grinding {
        members,
        horizon: 1,
    };
    let (mut in_a_row, mut known) = (0, 0);
    for _ in 0..heights {
        let rank = if grinds { grinding.choose(&chain) } else { 0 };
        let settled = chain.make_block(&Block::by(rank, &bids));
        in_a_row = match members.contains(settled.author) {
            true => in_a_row + 1,
            false => 0,
        };
        known += u32::from(in_a_row >= setting.rules.bid_lead);
    }
    f64::from(known) / f64::from(heights)
}

/// Measures how often coalitions know, and what it is worth.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    for rule in RULES {
        for (validators, count, lead) in CASES {
            let members = Members::first(count);
            let mut setting = Setting::equal(validators, rule);
            setting.rules.bid_lead = lead;
            let name = format!("knowledge {} {validators} {count} {lead}", name_of(rule));
            let honest = measure_conduct(effort, &name, &setting, members, || super::Honest);
            let grinding = measure_conduct(effort, &name, &setting, members, || Grinding {
                members,
                horizon: 1,
            });
            let knowing =
                measure_conduct(effort, &name, &setting, members, || Knowing::new(members));
            let [known, ground] = replicate(effort, &name, |dice| {
                [false, true]
                    .map(|grinds| known_part(&setting, members, grinds, effort.heights, dice))
            });
            rows.push(vec![
                name_of(rule).into(),
                validators.to_string(),
                count.to_string(),
                lead.to_string(),
                known.percent().to_string(),
                ground.percent().to_string(),
                grinding.share.less(honest.share).percent().to_string(),
                knowing.share.less(honest.share).percent().to_string(),
                grinding.profit.less(honest.profit).times(100.0).to_string(),
                knowing.profit.less(honest.profit).times(100.0).to_string(),
            ]);
        }
    }
    let whole = Table {
        title: "Coalitions that know the draw while bids are open".into(),
        note: format!(
            "Heights in percent before which the last L blocks were all the coalition's; gains in points and in fair bids for 100 \
             heights of a coalition that only grinds, and of one that also bids by what it knows (at most {BID_FACTOR_MAX} fair \
             bids)."
        ),
        columns: vec![
            "rule",
            "validators",
            "members",
            "L",
            "known, publishing",
            "known, grinding",
            "gain, grinding",
            "gain, knowing",
            "tokens, grinding",
            "tokens, knowing",
        ],
        rows,
    };
    vec![whole, measure_exact(effort)]
}

fn measure_exact(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for (validators, count, lead) in CASES {
        let members = Members::first(count);
        let mut setting = Setting::equal(validators, RULES[0]).by_stake_alone();
        setting.rules.bid_lead = lead;
        let name = format!("knowledge by stake {validators} {count} {lead}");
        let [known, ground] = replicate(effort, &name, |dice| {
            [false, true].map(|grinds| known_part(&setting, members, grinds, effort.heights, dice))
        });
        let exact = EqualCoalition {
            validators,
            members: count,
        };
        rows.push(vec![
            validators.to_string(),
            count.to_string(),
            lead.to_string(),
            format!("{:.3}", exact.honest_knowledge(lead) * 100.0),
            format!("{:.3}", known.percent()),
            format!("{:.3}", exact.grinding_knowledge(lead) * 100.0),
            format!("{:.3}", ground.percent()),
        ]);
    }
    Table {
        title: "How often they know, with equal stakes alone, against the formula".into(),
        note: "Heights in percent, rule proportional.".into(),
        columns: vec![
            "validators",
            "members",
            "L",
            "publishing, exact",
            "measured",
            "grinding, exact",
            "measured",
        ],
        rows,
    }
}
