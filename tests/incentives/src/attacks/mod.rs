//! The experiments, one module for each lever.

pub mod bidding;
pub mod censorship;
pub mod coalition;
pub mod concentration;
pub mod delivery;
pub mod draw;
pub mod knowledge;
pub mod splitting;
pub mod withholding;

use pallet_miner_auction::{
    Rules,
    draw::{Rule, Weights},
};

use crate::{
    chain::{Block, Chain, Founder, Members},
    estimate::{Dice, Effort, Estimate, replicate},
    report::Table,
};

/// An experiment: its name on the command line, and what it does.
pub type Experiment = (&'static str, fn(&Effort) -> Vec<Table>);

/// All experiments, in the order of the report.
pub const EXPERIMENTS: &[Experiment] = &[
    ("draw", draw::measure),
    ("withholding", withholding::measure),
    ("coalition", coalition::measure),
    ("knowledge", knowledge::measure),
    ("bidding", bidding::measure),
    ("splitting", splitting::measure),
    ("delivery", delivery::measure),
    ("censorship", censorship::measure),
    ("concentration", concentration::measure),
];

/// The two rules that draw by wealth.
pub const RULES: [Rule; 2] = [Rule::Proportional, Rule::Ratio];

/// What everybody bids who does as it should.
pub const FAIR_BID: u64 = 1_000;
/// Tokens of each at the beginning: so many that nobody runs out of them, and nothing bounds a bid.
const AMPLE: u128 = 1 << 50;
/// Heights before the measured ones: longer than the window of reputation.
const SETTLING: u32 = 800;

/// Returns a rule's name in the chain spec.
pub fn name_of(rule: Rule) -> &'static str {
    match rule {
        Rule::Ratio => "ratio",
        Rule::Proportional => "proportional",
        Rule::HighestReputation => "highest-reputation",
    }
}

/// Who bids what by which contract.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The contract about mining.
    pub rules: Rules,
    /// What each bids for every height.
    pub bids: Vec<u64>,
}

impl Setting {
    /// Returns so many validators that all bid the same.
    pub fn equal(validators: usize, rule: Rule) -> Self {
        Self {
            rules: Rules {
                rule,
                ..Rules::default()
            },
            bids: vec![FAIR_BID; validators],
        }
    }

    /// Returns the same where only the stake counts, which can be computed.
    pub fn by_stake_alone(mut self) -> Self {
        self.rules.weights = Weights {
            alpha: 1,
            beta: 0,
            gamma: 0,
        };
        self
    }

    /// Returns the same where each of the first few bids so many times as much.
    pub fn with_rich(mut self, count: usize, times: u64) -> Self {
        self.bids
            .iter_mut()
            .take(count)
            .for_each(|bid| *bid *= times);
        self
    }

    /// Begins a chain of these validators.
    pub fn begin(&self, dice: &mut Dice) -> Chain {
        let founders: Vec<_> = self
            .bids
            .iter()
            .map(|_| Founder {
                account: dice.hash().0,
                tokens: AMPLE,
                is_member: true,
            })
            .collect();
        let window = pallet_reputation::Rules::default().reputation_window;
        Chain::begin(self.rules, window, &founders, dice.hash())
    }

    /// Returns what part of all that is bid a set of validators bids.
    pub fn stake_share(&self, members: Members) -> f64 {
        let own: u64 = members.indices().map(|index| self.bids[index]).sum();
        own as f64 / self.bids.iter().sum::<u64>() as f64
    }
}

/// What those who deviate do in each block; all others publish and bid the same every time.
pub trait Conduct {
    /// Returns the rank whose validator makes the next block. Ranks before it belong to those who deviate.
    fn choose_rank(&mut self, chain: &Chain, dice: &mut Dice) -> usize;

    /// Changes the bids that the next block takes.
    fn change_bids(&mut self, _chain: &Chain, _bids: &mut Vec<(usize, u64)>) {}
}

/// Everybody publishes.
pub struct Honest;

impl Conduct for Honest {
    fn choose_rank(&mut self, _: &Chain, _: &mut Dice) -> usize {
        0
    }
}

/// What a set of validators had of a chain.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gains {
    /// Part of all blocks.
    pub share: f64,
    /// Part of all heights at which one of them had rank 0.
    pub led: f64,
    /// Tokens won less tokens lost for each height, in fair bids.
    pub profit: f64,
    /// Turns let pass for each height.
    pub missed: f64,
    /// Mean reputation of one of them, relative to the mean of all.
    pub reputation: f64,
    /// Tokens burned for each height, whosever, in fair bids.
    pub burned: f64,
}

impl Gains {
    const FIGURES: usize = 6;

    fn figures(self) -> [f64; Self::FIGURES] {
        [
            self.share,
            self.led,
            self.profit,
            self.missed,
            self.reputation,
            self.burned,
        ]
    }
}

/// The same, estimated.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Part of all blocks.
    pub share: Estimate,
    /// Part of all heights at which one of them had rank 0.
    pub led: Estimate,
    /// Tokens won less tokens lost for each height, in fair bids.
    pub profit: Estimate,
    /// Turns let pass for each height.
    pub missed: Estimate,
    /// Mean reputation relative to that of all.
    pub reputation: Estimate,
    /// Tokens burned for each height, in fair bids.
    pub burned: Estimate,
}

/// Runs a chain; returns what `members` had of it.
pub fn run(
    setting: &Setting,
    members: Members,
    heights: u32,
    dice: &mut Dice,
    conduct: &mut impl Conduct,
) -> Gains {
    let mut chain = setting.begin(dice);
    let fair: Vec<_> = setting.bids.iter().copied().enumerate().collect();
    let mut bids = Vec::new();
    let mut gains = Gains::default();
    let mut before = 0;
    for count in 0..SETTLING + heights {
        if count == SETTLING {
            before = tokens_of(&chain, members);
            gains = Gains::default();
        }
        let all: u32 = (0..chain.validators())
            .map(|index| u32::from(chain.reputation(index)))
            .sum();
        let own: u32 = members
            .indices()
            .map(|index| u32::from(chain.reputation(index)))
            .sum();
        let size = members.indices().count() as f64 / chain.validators() as f64;
        gains.reputation += f64::from(own) / f64::from(all.max(1)) / size;
        gains.led += f64::from(u8::from(chain.leading_run(members) > 0));

        bids.clone_from(&fair);
        conduct.change_bids(&chain, &mut bids);
        let rank = conduct.choose_rank(&chain, dice);
        let settled = chain.make_block(&Block::by(rank, &bids));
        let missed = settled
            .missed
            .indices()
            .filter(|index| members.contains(*index));
        gains.share += f64::from(u8::from(members.contains(settled.author)));
        gains.missed += missed.count() as f64;
        gains.burned += settled.burned as f64 / FAIR_BID as f64;
    }
    let profit = tokens_of(&chain, members) as f64 - before as f64;
    gains.profit = profit / FAIR_BID as f64;
    let each = f64::from(heights);
    Gains {
        share: gains.share / each,
        led: gains.led / each,
        profit: gains.profit / each,
        missed: gains.missed / each,
        reputation: gains.reputation / each,
        burned: gains.burned / each,
    }
}

fn tokens_of(chain: &Chain, members: Members) -> u128 {
    members.indices().map(|index| chain.tokens(index)).sum()
}

/// Measures what `members` have of a chain on which they conduct themselves like this.
pub fn measure_conduct<C: Conduct>(
    effort: &Effort,
    name: &str,
    setting: &Setting,
    members: Members,
    conduct: impl Fn() -> C + Sync,
) -> Measured {
    let figures = replicate(effort, name, |dice| {
        run(setting, members, effort.heights, dice, &mut conduct()).figures()
    });
    let [share, led, profit, missed, reputation, burned] = figures;
    Measured {
        share,
        led,
        profit,
        missed,
        reputation,
        burned,
    }
}
