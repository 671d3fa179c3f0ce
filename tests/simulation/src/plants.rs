//! For each invariant a bug, planted round the real code, that breaks it; and the search for a seed that shows it.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    Bug, PlanName,
    runner::{Choice, Failure, alone, run},
};

/// Seeds that a bug may stay hidden from.
const SEEDS_MAX: u64 = 40;
/// Steps of each run: what is looked for shows soon.
const STEPS: u32 = 14;
/// Validators of each run.
const VALIDATORS: usize = 4;

/// A bug, and as what it has to show.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    /// Its word on the command line.
    pub name: &'static str,
    /// The bug.
    pub bug: Bug,
    /// In which plan it is looked for.
    pub plan: PlanName,
    /// Names of the invariants that it breaks. What breaks another one does not count as found.
    pub kinds: &'static [&'static str],
}

const fn plant(
    name: &'static str,
    bug: Bug,
    plan: PlanName,
    kinds: &'static [&'static str],
) -> Plant {
    Plant {
        name,
        bug,
        plan,
        kinds,
    }
}

/// All of them.
pub const PLANTS: [Plant; 18] = [
    plant(
        "certificates-unchecked",
        Bug::CertificatesUnchecked,
        PlanName::Chaos,
        &["disagreement"],
    ),
    plant("numbers-lost", Bug::NumbersLost, PlanName::Calm, &["gap"]),
    plant(
        "database-unsynced",
        Bug::DatabaseUnsynced,
        PlanName::Crashes,
        &["forgotten"],
    ),
    plant(
        "log-unsynced",
        Bug::LogUnsynced,
        PlanName::Crashes,
        &["contradiction"],
    ),
    plant(
        "seals-unchecked",
        Bug::SealsUnchecked,
        PlanName::Byzantine,
        &["invalid block"],
    ),
    // What more than two thirds have voted for and nobody can execute is never decided, nor is anything else.
    plant(
        "votes-before-execution",
        Bug::VotesBeforeExecution,
        PlanName::Byzantine,
        &["contradiction", "stopped", "no liveness"],
    ),
    plant(
        "certificates-cut",
        Bug::CertificatesCut,
        PlanName::Calm,
        &["bad certificate"],
    ),
    plant(
        "no-answers",
        Bug::NoAnswers,
        PlanName::Crashes,
        &["no liveness"],
    ),
    plant(
        "token-forged",
        Bug::ForgedToken,
        PlanName::Calm,
        &["tokens not conserved"],
    ),
    plant(
        "pulses-twice",
        Bug::PulsesTwice,
        PlanName::Calm,
        &["energy not conserved"],
    ),
    plant(
        "nothing-held-against",
        Bug::Timeliness,
        PlanName::Byzantine,
        &["left out"],
    ),
    plant(
        "gifts-dropped",
        Bug::GiftsDropped,
        PlanName::Calm,
        &["starved"],
    ),
    plant(
        "evidence-dropped",
        Bug::EvidenceDropped,
        PlanName::Byzantine,
        &["evidence lost"],
    ),
    plant(
        "pardons",
        Bug::Pardons,
        PlanName::Byzantine,
        &["equivocator ranked"],
    ),
    plant(
        "key-stolen",
        Bug::KeyStolen,
        PlanName::Byzantine,
        &["honest accused"],
    ),
    plant(
        "database-lazy",
        Bug::DatabaseLazy,
        PlanName::Crashes,
        &["log ahead"],
    ),
    plant(
        "log-damaged",
        Bug::LogDamaged,
        PlanName::Crashes,
        &["stopped"],
    ),
    plant(
        "bits-flipped",
        Bug::BitsFlipped,
        PlanName::Calm,
        &["honest blamed"],
    ),
];

/// A seed that shows a bug, and shows nothing without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The seed; it is also how many were tried, as the first is 1.
    pub seed: u64,
    /// What it shows.
    pub failure: Failure,
    /// Earlier seeds at which the bug broke another invariant first, and which.
    pub others: Vec<(u64, &'static str)>,
}

/// Why a bug does not count as found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// No seed shows it.
    #[error("{max} seeds do not show it; what else they show: {0:?}", max = SEEDS_MAX)]
    Hidden(Vec<(u64, &'static str)>),
    /// The seed that shows it fails without it, too.
    #[error("seed {seed} fails without it, too: {failure}")]
    Unsound {
        /// The seed.
        seed: u64,
        /// What it shows without the bug.
        failure: Failure,
    },
}

impl Plant {
    /// Returns the plant of this name.
    ///
    /// # Errors
    /// There is none; which there are.
    pub fn of_name(name: &str) -> Result<Self, String> {
        let mut all = PLANTS.into_iter();
        all.find(|plant| plant.name == name).ok_or_else(|| {
            let names = PLANTS.map(|plant| plant.name);
            format!(
                "there is no planted bug {name:?}; there are: {}",
                names.join(", ")
            )
        })
    }

    /// Returns the flags that run a seed as this search does.
    pub fn flags(&self) -> String {
        format!(
            "--plan {} --validators {VALIDATORS} --heights {STEPS} --bug {}",
            self.plan, self.name
        )
    }

    /// Runs seeds until one shows the bug, and that one again without it.
    ///
    /// # Errors
    /// None shows it, or that one fails anyway.
    pub fn search(&self) -> Result<Find, Miss> {
        let planted = Choice {
            plan: Some(self.plan),
            validators: Some(VALIDATORS),
            steps: Some(STEPS),
            bug: Some(self.bug),
            ..Choice::default()
        };
        let sound = Choice {
            bug: None,
            ..planted
        };
        let mut others = Vec::new();
        for seed in 1..=SEEDS_MAX {
            let outcome = alone(|| run(seed, &planted, false));
            let Some(failure) = outcome.failure else {
                continue;
            };
            if !self.kinds.contains(&failure.kind()) {
                others.push((seed, failure.kind()));
                continue;
            }
            return match alone(|| run(seed, &sound, false)).failure {
                Some(failure) => Err(Miss::Unsound { seed, failure }),
                None => Ok(Find {
                    seed,
                    failure,
                    others,
                }),
            };
        }
        Err(Miss::Hidden(others))
    }
}

/// Searches for several on all cores, and hands out what came of each.
pub fn search_all(plants: &[Plant], tell: impl Fn(&Plant, Result<Find, Miss>) + Send + Sync) {
    let next = AtomicUsize::new(0);
    let told = Mutex::new(());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = plant.search();
                    let _one_at_a_time = told.lock();
                    tell(plant, outcome);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Violation;

    #[test]
    fn each_invariant_has_a_bug_that_breaks_it_and_nothing_else() {
        for kind in Violation::KINDS {
            assert!(PLANTS.iter().any(|plant| plant.kinds == [kind]), "{kind}");
        }
        for plant in PLANTS {
            assert!(
                plant
                    .kinds
                    .iter()
                    .all(|kind| Violation::KINDS.contains(kind))
            );
        }
    }

    #[test]
    fn a_plant_is_known_by_its_name() {
        for plant in PLANTS {
            assert_eq!(Plant::of_name(plant.name).unwrap().bug, plant.bug);
        }
        let why = Plant::of_name("weeds").unwrap_err();
        assert!(why.contains("log-unsynced"), "{why}");
    }
}
