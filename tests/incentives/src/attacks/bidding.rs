//! A bidder that bids otherwise than the others: one token, seldom, or what pays most.

use pallet_miner_auction::draw::Basis;

use super::{Conduct, FAIR_BID, RULES, Setting, measure_conduct, name_of, run};
use crate::{
    chain::{Chain, Members},
    estimate::{Dice, Effort, replicate},
    exact::equilibrium_pot,
    report::Table,
};

/// The one that bids otherwise.
const SELF: usize = 0;

/// Bids as its age says.
#[derive(Clone, Copy, Debug)]
pub struct ByAge {
    /// From which age on it bids `old`.
    pub from: u16,
    /// Its bid before.
    pub young: u64,
    /// Its bid since.
    pub old: u64,
}

impl ByAge {
    /// Returns the conduct of one that always bids the same.
    pub fn always(amount: u64) -> Self {
        Self {
            from: 0,
            young: amount,
            old: amount,
        }
    }
}

impl Conduct for ByAge {
    fn choose_rank(&mut self, _: &Chain, _: &mut Dice) -> usize {
        0
    }

    fn change_bids(&mut self, chain: &Chain, bids: &mut Vec<(usize, u64)>) {
        let amount = if chain.age(SELF) >= self.from {
            self.old
        } else {
            self.young
        };
        bids.retain(|(index, _)| *index != SELF);
        bids.extend((amount > 0).then_some((SELF, amount)));
    }
}

/// Measures bids of one token, seldom bids, and the bid that pays most when a block is worth something.
pub fn measure(effort: &Effort) -> Vec<Table> {
    vec![
        measure_amounts(effort),
        measure_waiting(effort),
        measure_value(effort),
    ]
}

fn measure_amounts(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for rule in RULES {
        for basis in [Basis::Offered, Basis::Owned] {
            for validators in [4, 10] {
                let own = Members::from_iter([SELF]);
                let mut setting = Setting::equal(validators, rule);
                setting.rules.basis = basis;
                for amount in [1, FAIR_BID, 4 * FAIR_BID] {
                    let name = format!("bidding {} {basis:?} {validators}", name_of(rule));
                    let measured =
                        measure_conduct(effort, &name, &setting, own, || ByAge::always(amount));
                    rows.push(vec![
                        name_of(rule).into(),
                        format!("{basis:?}").to_lowercase(),
                        validators.to_string(),
                        format!("{}", amount as f64 / FAIR_BID as f64),
                        measured.share.percent().to_string(),
                        measured.profit.times(100.0).to_string(),
                    ]);
                }
            }
        }
    }
    Table {
        title: "Who bids more or less than the others".into(),
        note: "The others bid 1 each time. Blocks in percent; tokens won for 100 heights, in fair bids. All own the same.".into(),
        columns: vec!["rule", "basis", "validators", "its bid", "blocks, %", "tokens"],
        rows,
    }
}

fn measure_waiting(effort: &Effort) -> Table {
    let mut rows = Vec::new();
    for rule in RULES {
        for validators in [4u16, 10] {
            let own = Members::from_iter([SELF]);
            let setting = Setting::equal(validators.into(), rule);
            for (factor, young) in [(0, 0), (1, 0), (2, 0), (4, 0), (16, 0), (1, 1), (2, 1)] {
                let conduct = ByAge {
                    from: factor * validators,
                    young,
                    old: FAIR_BID,
                };
                let name = format!("waiting {} {validators}", name_of(rule));
                let measured = measure_conduct(effort, &name, &setting, own, || conduct);
                let says = match (factor, young) {
                    (0, _) => "always".to_owned(),
                    (_, 0) => format!("from age {}, before not at all", conduct.from),
                    _ => format!("from age {}, before one token", conduct.from),
                };
                rows.push(vec![
                    name_of(rule).into(),
                    validators.to_string(),
                    says,
                    measured.share.percent().to_string(),
                    measured.profit.times(100.0).to_string(),
                ]);
            }
        }
    }
    Table {
        title: "Who bids seldom, to grow old".into(),
        note: "Blocks in percent; tokens won for 100 heights, in fair bids.".into(),
        columns: vec!["rule", "validators", "bids", "blocks, %", "tokens"],
        rows,
    }
}

fn measure_value(effort: &Effort) -> Table {
    let validators = 10;
    let own = Members::from_iter([SELF]);
    let mut rows = Vec::new();
    for rule in RULES {
        let setting = Setting::equal(validators, rule);
        let weights = setting.rules.weights;
        let sum = f64::from(weights.alpha) + f64::from(weights.beta) + f64::from(weights.gamma);
        let alpha = f64::from(weights.alpha) / sum;
        // The value for which fair bids are in equilibrium, in fair bids.
        let value = validators as f64 / equilibrium_pot(alpha, 1.0);
        for (amount, says) in [
            (1, "0.001"),
            (500, "0.5"),
            (1_000, "1"),
            (2_000, "2"),
            (4_000, "4"),
        ] {
            let name = format!("value {}", name_of(rule));
            let [payoff] = replicate(effort, &name, |dice| {
                let mut conduct = ByAge::always(amount);
                let gains = run(&setting, own, effort.heights, dice, &mut conduct);
                [gains.share * value + gains.profit]
            });
            rows.push(vec![
                name_of(rule).into(),
                format!("{value:.1}"),
                says.into(),
                format!("{:.1}", payoff.times(100.0)),
            ]);
        }
    }
    Table {
        title: "What pays most when a block is worth something".into(),
        note: "10 validators, the others bid 1, which is what pays most by P = α·v/(1 − α) if ages were equal. Payoff for 100 \
               heights, in fair bids."
            .into(),
        columns: vec!["rule", "value of a block", "its bid", "payoff"],
        rows,
    }
}
