//! What goes wrong in a run: drawn from its seed, within the bounds of a named plan.

use std::{fmt, str::FromStr};

use pallet_miner_auction::draw::Rule;

use crate::{network::Delay, random::Random};

/// How the miner of a height can be chosen.
pub const RULES: [Rule; 3] = [Rule::Proportional, Rule::Ratio, Rule::HighestReputation];

/// Returns the word of a rule in the chain spec.
pub const fn rule_word(rule: Rule) -> &'static str {
    match rule {
        Rule::Proportional => "proportional",
        Rule::Ratio => "ratio",
        Rule::HighestReputation => "highest-reputation",
    }
}

/// Returns the rule of a word.
///
/// # Errors
/// There is none; which there are.
pub fn parse_rule(word: &str) -> Result<Rule, String> {
    let mut all = RULES.into_iter();
    all.find(|rule| rule_word(*rule) == word).ok_or_else(|| {
        let words = RULES.map(rule_word);
        format!("there is no rule {word:?}; there are: {}", words.join(", "))
    })
}

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanName {
    /// Nothing goes wrong.
    Calm,
    /// Messages are lost, doubled, slow and overtake each other.
    Lossy,
    /// Nodes are killed and lose power at any operation of their disks, and come back.
    Crashes,
    /// The network falls apart in any way, and heals.
    Partitions,
    /// All nodes lose power at once, and now and then one its log for good.
    Blackouts,
    /// Clocks are set wrong, nodes stand still for a while.
    Clocks,
    /// Fewer than a third of the validators lie.
    Byzantine,
    /// Everything together.
    Chaos,
    /// Chaos on steps of a quarter of an hour.
    Production,
    /// Nodes are first switched on some steps after genesis, and liars say that they are further.
    Late,
}

impl PlanName {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Calm,
        Self::Lossy,
        Self::Crashes,
        Self::Partitions,
        Self::Blackouts,
        Self::Clocks,
        Self::Byzantine,
        Self::Chaos,
        Self::Production,
        Self::Late,
    ];

    /// Returns its word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Lossy => "lossy",
            Self::Crashes => "crashes",
            Self::Partitions => "partitions",
            Self::Blackouts => "blackouts",
            Self::Clocks => "clocks",
            Self::Byzantine => "byzantine",
            Self::Chaos => "chaos",
            Self::Production => "production",
            Self::Late => "late",
        }
    }

    /// Returns the plan of a seed among many: chaos more often than the others.
    pub fn of_seed(seed: u64) -> Self {
        let places = u64::try_from(Self::ALL.len()).unwrap_or(1) + 3;
        let place = usize::try_from(seed % places).unwrap_or_default();
        Self::ALL.get(place).copied().unwrap_or(Self::Chaos)
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for PlanName {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|name| name.word() == word).ok_or_else(|| {
            let words: Vec<_> = Self::ALL.iter().map(|name| name.word()).collect();
            format!("there is no plan {word:?}; there are: {}", words.join(", "))
        })
    }
}

/// A fault of nodes or lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node loses power at one of its next operations on disk.
    PowerAtOperation,
    /// A node loses power now.
    Power,
    /// A node's process is killed now.
    Kill,
    /// A node's process is killed when it has carried out some of what its engine asked for.
    KillBetweenActions,
    /// All nodes lose power now.
    Blackout,
    /// A node loses power, and its write-ahead log with it.
    LostLog,
    /// A node is replaced by an old copy of itself, write-ahead log and all, and comes back after all others have gone on.
    OldCopy,
    /// The network falls into two halves, or one node against all others, in both directions.
    Partition,
    /// Some lines are cut in one direction.
    OneWay,
    /// A node's line is slow.
    SlowLine,
    /// A node's clock is set wrong.
    ClockSet,
    /// A node stands still.
    Pause,
}

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// Proposes two blocks.
    TwoBlocks,
    /// Votes twice.
    TwoVotes,
    /// Proposes a block with a state root that is not its state's.
    WrongRoot,
    /// Proposes a block with another's or no beacon proof.
    WrongBeacon,
    /// Proposes a block that claims another rank.
    WrongRank,
    /// Proposes a block that names another winner.
    WrongWinner,
    /// Proposes a block with a seal that is not its signature.
    WrongSeal,
    /// Sends another body with its header.
    WrongBody,
    /// Makes a block and keeps it.
    Withhold,
    /// Leaves out what is in its pool.
    LeaveOut,
    /// Marks a block late that is not.
    FalseLate,
    /// Sends its block when its time is over.
    Dawdle,
    /// Its clock is ahead, so its blocks come early.
    Hurry,
    /// Sends bytes that mean nothing, and messages with a bit flipped.
    Garbage,
    /// Sends again what others sent before.
    Replay,
    /// Says it is further, or less far, than it is.
    FalseStatus,
    /// Answers with blocks and certificates that prove nothing.
    FalseAnswer,
    /// Votes for what it likes, in any round.
    AnyVote,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::TwoBlocks,
        Self::TwoVotes,
        Self::WrongRoot,
        Self::WrongBeacon,
        Self::WrongRank,
        Self::WrongWinner,
        Self::WrongSeal,
        Self::WrongBody,
        Self::Withhold,
        Self::LeaveOut,
        Self::FalseLate,
        Self::Dawdle,
        Self::Hurry,
        Self::Garbage,
        Self::Replay,
        Self::FalseStatus,
        Self::FalseAnswer,
        Self::AnyVote,
    ];
}

/// All that is decided before a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its kind.
    pub name: PlanName,
    /// How the miner is chosen.
    pub rule: Rule,
    /// How many validators there are.
    pub validators: usize,
    /// Which of them lie; always fewer than a third.
    pub liars: Vec<usize>,
    /// What the liars do.
    pub tricks: Vec<Trick>,
    /// How long a step is.
    pub step_ms: u64,
    /// Steps until everything heals.
    pub steps: u32,
    /// How long messages take.
    pub delay: Delay,
    /// How many of a thousand messages are lost.
    pub loss_permille: u64,
    /// How many of a thousand messages come twice.
    pub twice_permille: u64,
    /// Whether nodes pass on what they accept, as a gossiping network does.
    pub is_relayed: bool,
    /// Steps that are over when the nodes are switched on for the first time.
    pub steps_missed: u32,
    /// How far clocks are off, either way.
    pub skew_ms: u64,
    /// What else happens.
    pub faults: Vec<Fault>,
    /// How many steps go by from one fault to the next, in percent of a step.
    pub fault_gap_percent: u64,
    /// Whether devices, bidders and members are at work.
    pub has_work: bool,
}

/// Steps after which a network is first switched on.
const MISSED_STEPS: std::ops::RangeInclusive<u64> = 2..=12;

/// Validators of most runs, and of some.
const FEW: usize = 4;
const MORE: usize = 7;

impl Plan {
    /// Draws a plan, of the rule `proportional`.
    pub fn draw(
        name: PlanName,
        validators: Option<usize>,
        steps: u32,
        random: &mut Random,
    ) -> Self {
        use Fault::{
            Blackout, ClockSet, Kill, KillBetweenActions, LostLog, OldCopy, OneWay, Partition,
            Pause, Power, PowerAtOperation, SlowLine,
        };
        let validators = validators.unwrap_or(match random.percent(15) {
            true => MORE,
            false => FEW,
        });
        let mut plan = Self {
            name,
            rule: Rule::Proportional,
            validators,
            liars: Vec::new(),
            tricks: Vec::new(),
            step_ms: *random.pick(&[2_000, 2_000, 10_000]).unwrap_or(&2_000),
            steps,
            delay: Delay::NEAR,
            loss_permille: 0,
            twice_permille: 0,
            is_relayed: random.percent(30),
            steps_missed: match random.percent(20) {
                true => u32::try_from(random.within(1..=12)).unwrap_or_default(),
                false => 0,
            },
            skew_ms: 20,
            faults: Vec::new(),
            fault_gap_percent: random.within(40..=300),
            has_work: true,
        };
        let crashes = [
            PowerAtOperation,
            PowerAtOperation,
            Power,
            Kill,
            KillBetweenActions,
        ];
        match name {
            PlanName::Calm => {}
            PlanName::Lossy => plan.disturb_lines(random),
            PlanName::Crashes => plan.faults.extend(crashes),
            PlanName::Partitions => plan.faults.extend([Partition, OneWay, SlowLine]),
            PlanName::Blackouts => plan.faults.extend([
                Blackout,
                Blackout,
                LostLog,
                OldCopy,
                OldCopy,
                PowerAtOperation,
            ]),
            PlanName::Clocks => plan.faults.extend([ClockSet, Pause]),
            PlanName::Byzantine => plan.add_liars(random),
            PlanName::Chaos | PlanName::Production => {
                if random.percent(60) {
                    plan.disturb_lines(random);
                }
                if random.percent(60) {
                    plan.add_liars(random);
                }
                plan.faults.extend(crashes);
                plan.faults.extend([
                    Partition, OneWay, SlowLine, Blackout, LostLog, ClockSet, Pause,
                ]);
            }
            PlanName::Late => {
                plan.add_liars(random);
                plan.tricks = vec![Trick::FalseStatus];
                if random.percent(50) {
                    plan.tricks.push(Trick::FalseAnswer);
                }
                let missed = random.within(MISSED_STEPS);
                plan.steps_missed = u32::try_from(missed).unwrap_or_default();
            }
        }
        if name == PlanName::Production {
            plan.step_ms = 900_000;
        }
        plan
    }

    fn disturb_lines(&mut self, random: &mut Random) {
        self.loss_permille = random.within(0..=150);
        self.twice_permille = random.within(0..=100);
        self.delay = Delay {
            spread_ms: random.within(10..=60),
            slow_permille: random.within(0..=100),
            slow_ms: random.within(50..=800),
            ..Delay::NEAR
        };
    }

    fn add_liars(&mut self, random: &mut Random) {
        let most = self.validators.saturating_sub(1) / 3;
        let mut nodes: Vec<_> = (0..self.validators).collect();
        random.shuffle(&mut nodes);
        nodes.truncate(most.max(1));
        self.liars = nodes;
        // The agreement goes on only where what one honest node has comes to all: who lies to some of them could
        // otherwise keep them apart for ever.
        self.is_relayed = true;
        // A few tricks, so that each is seen without the others, and tricks that cost the liar its turns do not hide
        // the rest.
        let mut tricks = Trick::ALL.to_vec();
        random.shuffle(&mut tricks);
        tricks.truncate(1 + random.index(5));
        self.tricks = tricks;
        if self.liars.len() > 1 {
            self.step_ms = self.step_ms.max(10_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liars_are_always_fewer_than_a_third() {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let name = PlanName::of_seed(seed);
            let plan = Plan::draw(name, None, 10, &mut random);
            assert!(plan.liars.len() * 3 < plan.validators, "{plan:?}");
        }
    }

    #[test]
    fn a_plan_is_known_by_its_word() {
        for name in PlanName::ALL {
            assert_eq!(name.word().parse(), Ok(name));
        }
        assert!("storm".parse::<PlanName>().unwrap_err().contains("chaos"));
    }

    #[test]
    fn a_rule_is_known_by_its_word() {
        for rule in RULES {
            assert_eq!(parse_rule(rule_word(rule)), Ok(rule));
        }
        assert!(parse_rule("lottery").unwrap_err().contains("ratio"));
    }

    #[test]
    fn every_plan_has_its_seeds() {
        for name in PlanName::ALL {
            assert!((0..24).any(|seed| PlanName::of_seed(seed) == name));
        }
    }
}
