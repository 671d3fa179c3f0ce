//! A member that declares so that its delivery score grows [L].
//!
//! The score compares what is declared with what is measured, relative to what was declared. What a member declares is
//! its own word, so it can declare what it is sure to deliver. The score's ceiling is `τ` and the age of its last
//! block.

use commonwatt_primitives::{Wh, auction::Delivery};
use pallet_miner_auction::draw::Rule;
use pallet_reputation::{
    Declared, Rules, Score,
    math::{Deviation, compute_next},
};

use super::Dice;
use crate::{
    estimate::{Effort, Estimate, replicate},
    report::Table,
};

/// What a household uses in a step on average.
const USE_WH: u64 = 125;
/// Validators that draw.
const VALIDATORS: u32 = 10;

/// How a member declares.
#[derive(Clone, Copy, Debug)]
struct Declaring {
    name: &'static str,
    /// By how much what it uses differs from what it expected, at most and either way, as a part of that.
    error: f64,
    /// What it declares for each Wh it expects.
    exaggeration: f64,
    /// Wh that it declares to offer, and sells for sure, for each Wh it uses.
    dilution: f64,
    /// Whether it delivers what it declares to offer.
    sells: bool,
}

const HONEST: Declaring = Declaring {
    name: "its forecast, right within 30 %",
    error: 0.3,
    exaggeration: 1.0,
    dilution: 0.0,
    sells: true,
};

const DECLARING: [Declaring; 9] = [
    Declaring {
        name: "what it controls: never wrong",
        error: 0.0,
        ..HONEST
    },
    HONEST,
    Declaring {
        name: "its forecast, right within 100 %",
        error: 1.0,
        ..HONEST
    },
    Declaring {
        name: "half as much again",
        exaggeration: 1.5,
        ..HONEST
    },
    Declaring {
        name: "ten times as much",
        exaggeration: 10.0,
        ..HONEST
    },
    Declaring {
        name: "a tenth",
        exaggeration: 0.1,
        ..HONEST
    },
    Declaring {
        name: "and to offer as much, sold for sure",
        dilution: 1.0,
        ..HONEST
    },
    Declaring {
        name: "and to offer four times as much, sold for sure",
        dilution: 4.0,
        ..HONEST
    },
    Declaring {
        name: "and to offer four times as much, not sold",
        dilution: 4.0,
        sells: false,
        ..HONEST
    },
];

/// Returns the deviation of a period.
fn live_a_period(declaring: &Declaring, steps: u32, dice: &mut Dice) -> Score {
    let mut sums = Deviation::default();
    for _ in 0..steps {
        // What the member expects changes with the hour.
        let expected = 1.0 + dice.below(2 * USE_WH) as f64;
        let used = expected * (1.0 + declaring.error * (2.0 * dice.unit() - 1.0));
        let offered = whole(expected * declaring.dilution);
        let declared = Declared {
            used: whole(expected * declaring.exaggeration),
            offered,
        };
        let delivery = Delivery {
            used: whole(used),
            offered: if declaring.sells { offered } else { Wh(0) },
        };
        sums.add(declared, delivery);
    }
    sums.relative()
}

/// A Wh more or less does not matter here.
fn whole(wh: f64) -> Wh {
    Wh(wh.round().max(0.0) as u64)
}

/// Returns the gain of a period, and the score after `periods` of them, at a steady age of one turn of all.
fn grow(declaring: &Declaring, periods: u32, dice: &mut Dice) -> [f64; 2] {
    let rules = Rules::default();
    let mut score = Score(0);
    let mut gained = 0.0;
    for _ in 0..periods {
        let deviation = live_a_period(declaring, rules.period, dice);
        gained += 1.0 - deviation.0 as f64 / Score::ONE.0 as f64;
        score = compute_next(score, deviation, rules.tau, VALIDATORS);
    }
    [
        gained / f64::from(periods),
        score.0 as f64 / Score::ONE.0 as f64,
    ]
}

/// Measures how declaring pays.
pub fn measure(effort: &Effort) -> Vec<Table> {
    // A month of days.
    const PERIODS: u32 = 30;
    let mut rows = Vec::new();
    for declaring in &DECLARING {
        let name = format!("delivery {}", declaring.name);
        let [gain, score] = replicate(effort, &name, |dice| grow(declaring, PERIODS, dice));
        rows.push(vec![
            declaring.name.to_owned(),
            format!("{gain:.3}"),
            format!("{score:.2}"),
            points_of(score),
        ]);
    }
    vec![
        Table {
            title: "What declaring pays".into(),
            note: format!(
                "Periods of 96 steps, 30 of them; τ = 10, age {VALIDATORS}. The last column: points of winning probability against \
                 {} others at the ceiling, one draw by `proportional` with equal stakes and ages.",
                VALIDATORS - 1
            ),
            columns: vec![
                "declares",
                "gain of a period",
                "score after a month",
                "points",
            ],
            rows,
        },
        measure_keeping(),
    ]
}

/// Returns `P(win) − 1/n` by the term of reputation alone, when the others are at the ceiling.
fn points_of(score: Estimate) -> String {
    let ceiling = f64::from(u32::from(Rules::default().tau) + VALIDATORS);
    let points = gain_in_points(score.mean, ceiling);
    format!("{points:+.2}")
}

/// `proportional` wins with `W/ΣW`, in which only the reputation differs.
fn gain_in_points(own: f64, others: f64) -> f64 {
    let rules = pallet_miner_auction::Rules::default();
    debug_assert_eq!(rules.rule, Rule::Proportional);
    let weights = rules.weights;
    let sum = f64::from(weights.alpha) + f64::from(weights.beta) + f64::from(weights.gamma);
    let count = f64::from(VALIDATORS);
    let part = own / (own + (count - 1.0) * others);
    f64::from(weights.gamma) / sum * (part - 1.0 / count) * 100.0
}

/// A score that grew while its owner made no blocks, and that is never compared again, because its owner declares no
/// more: exact.
fn measure_keeping() -> Table {
    let tau = f64::from(Rules::default().tau);
    let age = f64::from(VALIDATORS);
    let rows = [30.0f64, 100.0, 655.0]
        .into_iter()
        .map(|periods| {
            // It grows by one a period, and the ceiling by a period's 96 steps.
            let kept = periods;
            let bounded = kept.min(tau + age);
            vec![
                format!("{periods:.0}"),
                format!("{kept:.0}"),
                format!("{:+.2}", gain_in_points(kept, tau + age)),
                format!("{bounded:.0}"),
                format!("{:+.2}", gain_in_points(bounded, tau + age)),
            ]
        })
        .collect();
    Table {
        title: "A score kept by declaring no more".into(),
        note: "Grown without mining, then kept while mining. With the ceiling only when a declaration is evaluated, and with it also when \
               the auction asks; points as above."
            .into(),
        columns: vec![
            "periods grown",
            "score, ceiling at evaluation",
            "points",
            "score, ceiling when asked",
            "points",
        ],
        rows,
    }
}
