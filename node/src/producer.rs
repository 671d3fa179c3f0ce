//! Makes a block for every step, when its time has come.
//!
//! The clock alone says which steps have gone by, and every block is final. So a clock that is years ahead would fill
//! the chain with empty steps that nobody can take back: a node that seems to have stood still for very long asks first.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use commonwatt_chain::{Authored, Chain};
use commonwatt_executor::BuildLimits;
use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_storage::CommitMode;

use crate::{
    report::{grouped, utc},
    stop::{Stop, now_ms},
};

/// Longest body this node builds: the runtime's limit for ordinary calls, less room for inherents.
pub const BODY_BYTES_MAX: usize = 14 * 1024 * 1024;

/// Steps without a block that are no sign of being behind: the one that is open, and the one that just closed.
const STEPS_OPEN_MAX: u32 = 2;

/// Candidates that may fail to fit before building stops.
const MISFITS_MAX: u32 = 64;

/// An outage this long is told before it is made up for, milliseconds: an hour.
const OUTAGE_TOLD_MS: u64 = 3_600_000;

/// Days that a chain may have stood still and be caught up with unasked: 3 360 steps of 15 minutes. Longer outages are
/// rarer than clocks that are wrong.
const OUTAGE_DAYS_MAX: u64 = 35;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How many missed steps may be made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Those of a long outage.
    Bounded,
    /// All that the clock says there are.
    FromClock,
}

/// How far a node that makes blocks trusts its clock.
#[derive(Clone, Copy, Debug, Args)]
pub struct CatchUpArgs {
    /// Make up for all steps that have gone by, also when the chain has stood still for more than 35 days. Their blocks are
    /// final: look at the clock first
    #[arg(long)]
    catch_up_from_clock: bool,
}

impl CatchUpArgs {
    /// Returns how many missed steps may be made up for.
    pub fn catch_up(self) -> CatchUp {
        match self.catch_up_from_clock {
            true => CatchUp::FromClock,
            false => CatchUp::Bounded,
        }
    }
}

/// Returns how many missed steps are made up for unasked.
pub fn missed_steps_max(timing: &StepTiming) -> u32 {
    let steps = OUTAGE_DAYS_MAX * DAY_MS / timing.step_ms.max(1);
    u32::try_from(steps).unwrap_or(u32::MAX)
}

/// Checks that a node which makes block `step` next may trust a clock that shows `now`.
fn verify_clock(timing: &StepTiming, catch_up: CatchUp, step: Step, now: u64) -> Result<()> {
    let missed = timing.step_at(now).since(step);
    if catch_up == CatchUp::FromClock || missed <= missed_steps_max(timing) {
        return Ok(());
    }
    let since = match step {
        Step(0 | 1) => "since the chain's first one began (genesis.timing.genesisMs)".to_owned(),
        Step(next) => format!("since block {}", next.saturating_sub(1)),
    };
    bail!(
        "the clock shows {}: by that, {} steps have gone by without a block {since}, which is more than {OUTAGE_DAYS_MAX} days' \
         worth. Their blocks would be final, so they are not made unasked. If the clock is wrong, set it and start again; if \
         it is right, start with --catch-up-from-clock once",
        utc(now),
        grouped(missed.into())
    )
}

/// What happened to a step.
pub struct Produced {
    /// The step.
    pub step: Step,
    /// Its block.
    pub block: Authored,
    /// Whether it came late.
    pub punctuality: Punctuality,
    /// How long making it took.
    pub took: Duration,
}

/// Why no more blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked to stop.
    Asked,
    /// From the next block on so many validators decide.
    Several(usize),
}

/// Makes blocks as the only validator until asked to stop, or until others decide with it; tells each to `after`.
///
/// Missed steps are made one after the other, marked late, before the next one in time.
///
/// # Errors
/// Besides failures: too many missed steps.
pub fn run(
    chain: &Chain,
    timing: &StepTiming,
    catch_up: CatchUp,
    stop: &Stop,
    mut after: impl FnMut(Produced),
) -> Result<Ended> {
    loop {
        let validators = chain.next_lineup()?.validators.len();
        if validators != 1 {
            return Ok(Ended::Several(validators));
        }
        let step = Step(chain.best().0.saturating_add(1));
        if stop.wait_until(timing.settles_at_ms(step)) {
            chain.db().flush()?;
            return Ok(Ended::Asked);
        }
        let now = now_ms();
        verify_clock(timing, catch_up, step, now)?;
        let is_late = timing.is_late(step, now);
        let punctuality = if is_late {
            Punctuality::Late
        } else {
            Punctuality::OnTime
        };
        let behind = timing.step_at(now).since(step);
        let missed_ms = u64::from(behind).saturating_mul(timing.step_ms);
        if missed_ms >= OUTAGE_TOLD_MS && !chain.is_catching_up() {
            tracing::warn!(
                clock = %utc(now),
                steps = behind,
                best = step.0.saturating_sub(1),
                "steps have gone by without a block and are closed now, late and for good: if the clock is wrong, stop and set it"
            );
        }
        chain.set_catching_up(behind > 1);
        let began = Instant::now();
        // Half a step for building leaves the other half for execution elsewhere and the gates.
        let deadline = began + Duration::from_millis(timing.step_ms / 2);
        let is_over = || Instant::now() >= deadline;
        let limits = BuildLimits {
            bytes_max: BODY_BYTES_MAX,
            misfits_max: MISFITS_MAX,
            is_over: &is_over,
        };
        // Also when catching up: what is announced as final must be on disk.
        match chain.author_next(timing, punctuality, &limits, CommitMode::Durable)? {
            Some(block) => {
                after(Produced {
                    step,
                    block,
                    punctuality,
                    took: began.elapsed(),
                });
            }
            // Somebody else is the validator, so look again when the next step has settled.
            None => {
                if stop.wait_until(timing.settles_at_ms(Step(step.0.saturating_add(1)))) {
                    return Ok(Ended::Asked);
                }
            }
        }
    }
}

/// Notes, until asked to stop, whether a chain that this node makes no blocks for is behind the clock.
pub fn watch_clock(chain: &Chain, timing: &StepTiming, stop: &Stop) {
    loop {
        let open = timing.step_at(now_ms());
        chain.set_catching_up(open.since(Step(chain.best().0)) > STEPS_OPEN_MAX);
        if stop.wait_until(timing.settles_at_ms(open)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        community::{self, KeyKind},
        paths::ChainFolder,
        service::{self, Role},
        spec::ChainSpec,
    };
    use commonwatt_community_data::Community;
    use commonwatt_keystore::{Keystore, Purpose, SecretUri};
    use commonwatt_primitives::{AccountId, keys::SessionKeys};
    use commonwatt_runtime::{RuntimeCall, transaction::SigningContext, transaction::sign_ed25519};
    use commonwatt_storage::{ChainDb, DbConfig};
    use commonwatt_txpool::TransactionSource;
    use sp_core::Pair;
    use tempfile::TempDir;

    /// A development chain that missed a few steps.
    struct Site {
        spec: ChainSpec,
        folder: ChainFolder,
        _base: TempDir,
    }

    fn site(missed_ms: u64) -> Site {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "dev").unwrap();
        let mut spec = community::dev_spec(&Community::demo().unwrap(), KeyKind::Static);
        spec.genesis.timing.genesis_ms = now_ms() - missed_ms;
        Site {
            spec,
            folder,
            _base: base,
        }
    }

    impl Site {
        fn open(&self) -> Chain {
            service::open_chain(&self.folder, &self.spec, DbConfig::default()).unwrap()
        }

        /// Makes blocks until so many are made.
        fn run(&self, chain: &Chain, blocks: u32) -> Result<Ended> {
            let (stop, until) = (Stop::default(), chain.best().0 + blocks);
            let timing = &self.spec.genesis.timing;
            run(chain, timing, CatchUp::Bounded, &stop.clone(), |made| {
                if made.step.0 >= until {
                    stop.ask();
                }
            })
        }
    }

    /// Has the DSO register a validator in the next block.
    fn register(chain: &Chain, who: AccountId, keys: SessionKeys) {
        let call = pallet_registry::Call::register_validator { who, keys };
        let call = RuntimeCall::Registry(call);
        let context = SigningContext::immortal(chain.genesis_hash());
        let dso = community::ed25519_key("//Dso");
        let signed = sign_ed25519(call, 0, &context, &dso);
        chain.submit(TransactionSource::External, signed).unwrap();
    }

    fn keys_of(path: &str) -> SessionKeys {
        SessionKeys {
            vote: community::ed25519_key(path).public(),
            beacon: community::sr25519_key(path).public(),
        }
    }

    #[test]
    fn a_clock_that_is_far_ahead_is_not_believed_unasked() {
        for step_ms in [900_000, 6_000, 250] {
            let timing = StepTiming {
                step_ms,
                genesis_ms: 1_800_000_000_000,
                ..community::DEV_TIMING
            };
            let after = |days: u64| timing.genesis_ms + days * DAY_MS;
            let check = |catch_up, step, now| verify_clock(&timing, catch_up, step, now);
            assert!(check(CatchUp::Bounded, Step(1), 0).is_ok());
            assert!(check(CatchUp::Bounded, Step(1), after(35)).is_ok());
            let said = check(CatchUp::Bounded, Step(1), after(36))
                .unwrap_err()
                .to_string();
            for part in ["UTC", "genesisMs", "--catch-up-from-clock"] {
                assert!(said.contains(part), "{said}");
            }
            assert!(check(CatchUp::FromClock, Step(1), after(3_650)).is_ok());
            // What counts is the last block, not how old the chain is.
            let day_ago = timing.step_at(after(364));
            assert!(check(CatchUp::Bounded, day_ago, after(365)).is_ok());
            let said = check(CatchUp::Bounded, day_ago, after(3_650))
                .unwrap_err()
                .to_string();
            assert!(said.contains("since block"), "{said}");
        }
    }

    #[test]
    fn no_block_is_made_for_a_clock_that_is_far_ahead() {
        let site = site(40 * DAY_MS);
        let mut chain = site.open();
        service::agree(&mut chain, Role::developer()).unwrap();
        assert!(site.run(&chain, 1).is_err());
        assert_eq!(chain.best().0, 0);
    }

    /// Enough missed steps for three epochs.
    const EPOCHS_MS: u64 = 3 * 96 * community::DEV_TIMING.step_ms;

    #[test]
    fn a_validator_without_its_new_key_stops_when_it_acts_and_goes_on_with_it() {
        let site = site(EPOCHS_MS);
        let mut chain = site.open();
        service::agree(&mut chain, Role::developer()).unwrap();
        let account = chain.validators().unwrap().remove(0).0;
        let keys = keys_of("//Alice//new");
        let public = hex::encode(keys.beacon.0);
        register(&chain, account.clone(), keys);
        let said = format!("{:#}", site.run(&chain, 280).unwrap_err());
        assert!(
            said.contains(&public) && said.contains("start again"),
            "{said}"
        );
        let reached = chain.best().0;
        assert!(reached >= 96, "{reached}");
        drop(chain);

        let mut chain = site.open();
        assert!(service::agree(&mut chain, Role::developer()).is_err());
        let keystore = Keystore::open(site.folder.keystore(), None).unwrap();
        let secret = SecretUri::parse("//Alice//new").unwrap();
        for purpose in Purpose::ALL {
            keystore.insert(purpose, &secret).unwrap();
        }
        service::agree(&mut chain, Role::validator(keystore)).unwrap();
        site.run(&chain, 2).unwrap();
        assert_eq!(chain.best().0, reached + 2);
    }

    #[test]
    fn a_second_validator_ends_the_making_of_blocks_alone_when_it_acts() {
        let site = site(EPOCHS_MS);
        let mut chain = site.open();
        service::agree(&mut chain, Role::developer()).unwrap();
        site.run(&chain, 2).unwrap();
        let validator = chain.validators().unwrap().remove(0).0;
        let mut members = site.spec.genesis.members.iter();
        let member = members
            .find(|member| **member != validator)
            .unwrap()
            .clone();
        register(&chain, member, keys_of("//Bob"));
        let reached = loop {
            match site.run(&chain, 280).unwrap() {
                Ended::Several(2) => break chain.best().0,
                other => assert_eq!(other, Ended::Asked),
            }
            assert!(chain.best().0 < 300);
        };
        // Neither does it make any when it is started again.
        assert_eq!(site.run(&chain, 1).unwrap(), Ended::Several(2));
        assert_eq!(chain.best().0, reached);
        let said = crate::validators::explain_number(&chain, 2);
        for part in ["2 validators", "an epoch began", "N at least 1"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        drop(chain);
        let db = ChainDb::open(&site.folder.database(), DbConfig::default()).unwrap();
        db.revert_last().unwrap();
        let mut chain = service::chain_on(db, &site.spec).unwrap();
        service::agree(&mut chain, Role::developer()).unwrap();
    }
}
