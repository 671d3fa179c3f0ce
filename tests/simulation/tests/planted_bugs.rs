//! For each invariant a bug, planted round the real code, that breaks it, and that the simulator finds.

use commonwatt_simulation::{
    Bug, PlanName,
    runner::{Choice, alone, run},
};

/// Seeds that a bug may stay hidden from.
const SEEDS_MAX: u64 = 40;
/// Steps of each run: what is looked for shows soon.
const STEPS: u32 = 14;

/// Runs seeds until one finds the bug; what it finds must be one of `kinds`.
fn find(bug: Bug, plan: PlanName, kinds: &[&str]) {
    let choice = Choice {
        plan: Some(plan),
        validators: Some(4),
        steps: Some(STEPS),
        is_direct: false,
        bug: Some(bug),
    };
    for seed in 1..=SEEDS_MAX {
        let outcome = alone(|| run(seed, &choice, false));
        let Some(failure) = outcome.failure else {
            continue;
        };
        println!("{bug:?}: found by seed {seed}, number {seed} of plan {plan}: {failure}");
        assert!(
            kinds.contains(&failure.kind()),
            "seed {seed} found something else: {failure}"
        );
        // The same seed without the bug finds nothing.
        let sound = Choice {
            bug: None,
            ..choice
        };
        let outcome = alone(|| run(seed, &sound, false));
        assert_eq!(outcome.failure, None, "seed {seed} fails without the bug");
        return;
    }
    panic!("{SEEDS_MAX} seeds of plan {plan} did not find {bug:?}");
}

#[test]
fn planted_log_that_does_not_sync_is_found() {
    find(Bug::LogUnsynced, PlanName::Crashes, &["contradiction"]);
}

#[test]
fn planted_database_that_does_not_sync_is_found() {
    find(Bug::DatabaseUnsynced, PlanName::Crashes, &["forgotten"]);
}

#[test]
fn planted_loss_of_block_numbers_is_found() {
    find(Bug::NumbersLost, PlanName::Calm, &["gap"]);
}

#[test]
fn planted_cut_certificates_are_found() {
    find(Bug::CertificatesCut, PlanName::Calm, &["bad certificate"]);
}

#[test]
fn planted_trust_in_certificates_is_found() {
    find(
        Bug::CertificatesUnchecked,
        PlanName::Chaos,
        &["disagreement"],
    );
}

#[test]
fn planted_trust_in_seals_is_found() {
    find(Bug::SealsUnchecked, PlanName::Byzantine, &["invalid block"]);
}

#[test]
fn planted_votes_before_execution_are_found() {
    // What more than two thirds have voted for and nobody can execute is never decided, nor is anything else.
    let kinds = ["contradiction", "stopped", "no liveness"];
    find(Bug::VotesBeforeExecution, PlanName::Byzantine, &kinds);
}

#[test]
fn planted_silence_to_who_is_behind_is_found() {
    find(Bug::NoAnswers, PlanName::Crashes, &["no liveness"]);
}

#[test]
fn planted_token_from_nowhere_is_found() {
    find(Bug::ForgedToken, PlanName::Calm, &["tokens not conserved"]);
}

#[test]
fn planted_energy_from_nowhere_is_found() {
    find(Bug::PulsesTwice, PlanName::Calm, &["energy not conserved"]);
}

#[test]
fn planted_indifference_to_what_is_left_out_is_found() {
    find(Bug::Timeliness, PlanName::Byzantine, &["left out"]);
}

#[test]
fn planted_loss_of_evidence_is_found() {
    find(
        Bug::EvidenceDropped,
        PlanName::Byzantine,
        &["evidence lost"],
    );
}
