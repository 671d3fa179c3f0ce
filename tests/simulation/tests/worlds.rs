//! What a simulated network does when nothing is planted.

use commonwatt_simulation::{
    PlanName,
    runner::{Choice, alone, run},
};

fn choice(plan: PlanName, steps: u32) -> Choice {
    Choice {
        plan: Some(plan),
        validators: Some(4),
        steps: Some(steps),
        ..Choice::default()
    }
}

#[test]
fn the_same_seed_brings_the_same_to_the_last_event() {
    let trace = |seed| {
        let outcome = alone(|| run(seed, &choice(PlanName::Chaos, 8), false));
        assert_eq!(outcome.failure, None);
        (outcome.report.trace, outcome.report.events, outcome.report)
    };
    let (first, again, other) = (trace(3), trace(3), trace(4));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

#[test]
fn a_calm_network_decides_each_step_at_once() {
    let outcome = alone(|| run(1, &choice(PlanName::Calm, 8), false));
    assert_eq!(outcome.failure, None);
    let report = outcome.report;
    assert!(report.heights >= 12, "{report:?}");
    assert_eq!(report.rounds[0], u64::from(report.heights));
    assert_eq!((report.late, report.withheld, report.invalid), (0, 0, 0));
    assert_eq!((report.refusals, report.evidence), (0, 0));
}

#[test]
fn every_plan_keeps_every_invariant() {
    for plan in PlanName::ALL {
        let outcome = alone(|| run(7, &choice(plan, 6), false));
        assert_eq!(outcome.failure, None, "{plan}");
    }
}

/// Each seed has a liar whose first word to all others can be that it is further than the clock allows.
#[test]
fn a_liar_does_not_keep_a_network_that_starts_late_from_its_first_blocks() {
    for seed in 1..=12 {
        let outcome = alone(|| run(seed, &choice(PlanName::Late, 16), false));
        assert_eq!(outcome.failure, None, "seed {seed}");
    }
}
