//! Whether this validator votes: said when it changes, and shown as a figure; and from where on it votes when it starts.
//!
//! A validator that does not vote looks like any other node, since its chain goes on by the votes of the others. Only who is told
//! can mend what keeps it from voting.

use std::sync::Arc;

use anyhow::{Result, ensure};
use commonwatt_chain::{Chain, ChainError, SessionSigner};
use commonwatt_consensus::wal::{Log, NEVER, Recovered, WalEntry, WalError};
use commonwatt_engine::Notice;
use commonwatt_metrics::AgreementFigures;
use commonwatt_primitives::Step;

/// Steps beyond the one that is open by the clock from which on a validator may be told to vote: a day in production. No node has a
/// block of a step that is open, so what is further ahead is mistyped, and would keep it silent for as long.
const VOTES_FROM_AHEAD_MAX: u32 = 96;

// ---------------------------------------------------------------------------------- when it starts

/// Refuses a `--votes-from` that nobody means, while step `open` is open.
pub fn verify_votes_from(votes_from: u32, open: Step) -> Result<()> {
    let last = open.0.saturating_add(VOTES_FROM_AHEAD_MAX);
    ensure!(
        votes_from <= last,
        "--votes-from {votes_from} is far ahead: by this node's clock step {open} is open, and no node has its block. Ask the \
         other validators for their last block N and give N+3; if the clock is wrong, set it"
    );
    Ok(())
}

/// Which height a validator votes from on that has a log and is told one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The log's: it is told nothing, or nothing later. Without a log the engine says.
    Logged,
    /// The one that it is told, which the log remembers from now on.
    AsTold(u32),
}

/// Has the log of a validator, if it has one, begin where it is told to vote when that is later: it promises the more, and need not
/// be told again when it is restarted before. `next` is the height after its last block.
pub fn begin_log(
    log: &mut dyn Log,
    recovered: &mut Option<Recovered>,
    votes_from: Option<u32>,
    next: u32,
) -> Result<Beginning, WalError> {
    let (Some(logged), Some(votes_from)) = (recovered, votes_from) else {
        return Ok(Beginning::Logged);
    };
    if votes_from <= logged.height {
        return Ok(Beginning::Logged);
    }
    let height = votes_from.max(next);
    log.reset(height)?;
    *logged = Recovered {
        height,
        entries: Vec::new(),
    };
    Ok(Beginning::AsTold(height))
}

/// Tells the operator who gave `--votes-from` what comes of it; `logged` is where the log began that was found.
pub fn say_beginning(votes_from: u32, logged: Option<u32>, beginning: Beginning) {
    match (logged, beginning) {
        (None, _) => tracing::info!(
            votes_from,
            "this validator votes from there on, since it has no log of its votes; it begins one, so --votes-from can be left out \
             from now on"
        ),
        (Some(logged), Beginning::AsTold(votes_from)) => tracing::info!(
            votes_from,
            logged,
            "--votes-from counts, since it is later than the log of this validator's votes; the log begins there now, so \
             --votes-from can be left out from now on"
        ),
        (Some(logged), Beginning::Logged) => tracing::info!(
            votes_from,
            logged,
            "the log of this validator's votes counts, since it does not begin before --votes-from, which can be left out"
        ),
    }
}

// ---------------------------------------------------------------------------------- while it runs

/// Follows whether a validator votes.
pub struct Voting {
    chain: Arc<Chain>,
    keys: Arc<dyn SessionSigner>,
    figures: AgreementFigures,
    /// Below this height the log, or the operator, keeps it from voting.
    votes_from: u32,
    /// Where it found out in an earlier run that somebody else signs with its key.
    silenced: Option<u32>,
    told: Option<Standing>,
}

/// Whether a validator votes, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It does.
    Votes,
    /// Its log begins at this later height.
    LogAhead(u32),
    /// It hears from others how far they are, or fetches what they have decided.
    CatchesUp,
    /// It has a key that is registered, and none that acts yet.
    Registered,
    /// It has no key that the chain knows.
    NoKey,
    /// What its key signed came in, and its log does not know it.
    Silenced,
    /// Somebody else signs with its key, so its log is closed.
    Closed,
}

impl Voting {
    /// Follows a validator with these keys, whose log held `recovered`, and which the operator has vote from `votes_from` on.
    pub fn new(
        chain: Arc<Chain>,
        keys: Arc<dyn SessionSigner>,
        figures: AgreementFigures,
        recovered: Option<&Recovered>,
        votes_from: Option<u32>,
    ) -> Self {
        let logged = recovered.map(|recovered| recovered.height);
        let silenced = recovered.filter(|log| log.entries.contains(&WalEntry::Silenced));
        Self {
            chain,
            keys,
            figures,
            votes_from: logged.max(votes_from).unwrap_or_default(),
            silenced: silenced.map(|log| log.height),
            told: None,
        }
    }

    /// Takes note of what the engine tells, and says what has changed.
    pub fn note(&mut self, notice: &Notice) {
        match self.learn(notice) {
            Ok(Some((height, standing))) => say(height, standing),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "whether this validator has a vote is not known"),
        }
    }

    /// Takes note of what the engine tells; returns what is to be said of which height.
    fn learn(&mut self, notice: &Notice) -> Result<Option<(u32, Standing)>, ChainError> {
        match *notice {
            Notice::HeightStarted {
                height,
                is_voting,
                behind,
            } => {
                self.figures.note_voting(is_voting);
                let standing = match is_voting {
                    true => Standing::Votes,
                    false => self.find_cause(height, behind > 1)?,
                };
                let is_new = self.told.replace(standing) != Some(standing);
                Ok(is_new.then_some((height, standing)))
            }
            // These say themselves what is to be done.
            Notice::Silenced { .. } => {
                self.figures.note_voting(false);
                self.told = Some(Standing::Silenced);
                Ok(None)
            }
            Notice::Forgotten { votes_from, .. } => {
                self.figures.note_voting(false);
                self.votes_from = self.votes_from.max(votes_from);
                self.told = Some(Standing::LogAhead(self.votes_from));
                Ok(None)
            }
            Notice::Closed { .. } => {
                self.figures.note_voting(false);
                self.votes_from = NEVER;
                self.told = Some(Standing::Closed);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Returns why this node does not vote at a height. While many are missing nothing is said of its keys: who voted then says
    /// nothing about who votes now.
    fn find_cause(&self, height: u32, is_behind: bool) -> Result<Standing, ChainError> {
        if self.votes_from == NEVER {
            return Ok(Standing::Closed);
        }
        if height < self.votes_from {
            return Ok(Standing::LogAhead(self.votes_from));
        }
        if self.silenced == Some(height) {
            return Ok(Standing::Silenced);
        }
        if is_behind {
            return Ok(Standing::CatchesUp);
        }
        let lineup = self.chain.next_lineup()?;
        let mut acting = lineup.validators.iter();
        if acting.any(|validator| self.keys.holds(&validator.keys.vote)) {
            return Ok(Standing::CatchesUp);
        }
        let registered = self.chain.validators()?;
        let mut registered = registered.iter();
        Ok(
            match registered.any(|(_, keys)| self.keys.holds(&keys.vote)) {
                true => Standing::Registered,
                false => Standing::NoKey,
            },
        )
    }
}

fn say(height: u32, standing: Standing) {
    match standing {
        Standing::Votes => tracing::info!(height, "this validator votes from here on"),
        Standing::LogAhead(votes_from) => tracing::warn!(
            height,
            votes_from,
            "this validator does not vote yet, since the log of its votes, agreement.log, begins at a later height: it voted up to \
             there, or was told so by --votes-from. Should that have been mistyped, stop this node, remove the log, and start it \
             with --votes-from three above the last block of the other validators"
        ),
        Standing::CatchesUp => tracing::info!(
            height,
            "this validator does not vote yet: it hears from the others how far they are, and fetches the blocks they have"
        ),
        Standing::Registered => tracing::info!(
            height,
            "this validator does not vote yet: a vote key in its keystore is registered, and acts from the second epoch after \
             that; none acts now"
        ),
        Standing::NoKey => tracing::warn!(
            height,
            "this validator does not vote: no vote key in its keystore acts, and none is registered. Compare `commonwatt key list` \
             with what auction_validators answers; have the DSO register a key of these, or `commonwatt key insert` the registered \
             one. If its member has left the validators, leave out --validator"
        ),
        Standing::Silenced => tracing::warn!(
            height,
            "this validator does not vote at this height: its key signed something there that its log does not know"
        ),
        Standing::Closed => tracing::warn!(
            height,
            "this validator votes no more: another node signs with its vote key"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_chain::{ChainConfig, SessionPairs, Validators};
    use commonwatt_consensus::wal::FileLog;
    use commonwatt_executor::{BuildLimits, Executor};
    use commonwatt_metrics::{About, Metrics};
    use commonwatt_primitives::{digest::Punctuality, keys::SessionKeys};
    use commonwatt_runtime::{
        Hash, RuntimeCall, example,
        transaction::{SigningContext, sign_ed25519},
    };
    use commonwatt_storage::{ChainDb, CommitMode, DbConfig};
    use commonwatt_txpool::TransactionSource;
    use sp_core::Pair;
    use tempfile::TempDir;

    // ------------------------------------------------------------------------------ when it starts

    #[test]
    fn a_height_far_ahead_of_the_clock_is_refused() {
        for votes_from in [0, 1, 1_000, 1_096] {
            assert!(
                verify_votes_from(votes_from, Step(1_000)).is_ok(),
                "{votes_from}"
            );
        }
        for votes_from in [1_097, 10_002, u32::MAX] {
            let said = verify_votes_from(votes_from, Step(1_000))
                .unwrap_err()
                .to_string();
            for part in ["step 1000 is open", "N+3", "clock"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }

    #[test]
    fn of_log_and_votes_from_the_later_counts_and_is_remembered() {
        let genesis = Hash::repeat_byte(7);
        for (votes_from, next, beginning, height) in [
            (None, 5, Beginning::Logged, 5),
            (Some(3), 5, Beginning::Logged, 5),
            (Some(5), 5, Beginning::Logged, 5),
            (Some(9), 5, Beginning::AsTold(9), 9),
            // The chain has gone on meanwhile.
            (Some(9), 12, Beginning::AsTold(12), 12),
            // Blocks were lost, and the log knows better.
            (Some(4), 2, Beginning::Logged, 5),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("agreement.log");
            let (mut log, _) = FileLog::open(&path, genesis).unwrap();
            log.reset(5).unwrap();
            log.append(&WalEntry::Silenced).unwrap();
            log.sync().unwrap();
            let (mut log, mut recovered) = FileLog::open(&path, genesis).unwrap();
            let begun = begin_log(&mut log, &mut recovered, votes_from, next).unwrap();
            assert_eq!(begun, beginning, "{votes_from:?}");
            let recovered = recovered.unwrap();
            assert_eq!(recovered.height, height, "{votes_from:?}");
            // What was signed is forgotten only where it does not vote again.
            assert_eq!(recovered.entries.is_empty(), begun != Beginning::Logged);
            drop(log);
            let (_, reopened) = FileLog::open(&path, genesis).unwrap();
            assert_eq!(reopened, Some(recovered), "{votes_from:?}");
        }
    }

    #[test]
    fn without_a_log_none_is_begun_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agreement.log");
        let (mut log, mut recovered) = FileLog::open(&path, Hash::zero()).unwrap();
        let begun = begin_log(&mut log, &mut recovered, Some(9), 5).unwrap();
        assert_eq!((begun, recovered), (Beginning::Logged, None));
        assert!(!path.exists());
    }

    // ------------------------------------------------------------------------------ while it runs

    /// A chain that X makes alone, and its figures.
    struct Site {
        chain: Arc<Chain>,
        metrics: Metrics,
        _folder: TempDir,
    }

    fn keys(name: &str) -> Arc<dyn SessionSigner> {
        Arc::new(SessionPairs {
            vote: example::pair(name),
            beacon: example::beacon_pair(name),
        })
    }

    fn site() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let storage = example::genesis().build_storage().unwrap();
        let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
        chain.set_agreement(Arc::new(Validators::holding(keys("X"))));
        let about = About {
            name: "commonwatt".into(),
            version: "1.2.3".into(),
            chain_id: "test".into(),
            is_authority: true,
        };
        Site {
            chain: Arc::new(chain),
            metrics: Metrics::new(&about).unwrap(),
            _folder: folder,
        }
    }

    impl Site {
        fn voting(&self, name: &str, recovered: Option<&Recovered>) -> Voting {
            let figures = self.metrics.agreement().clone();
            Voting::new(self.chain.clone(), keys(name), figures, recovered, None)
        }

        /// Returns the line of the figure.
        fn shown(&self) -> Option<String> {
            let exported = self.metrics.encode().unwrap();
            let mut lines = exported.lines();
            let line = lines.find(|line| line.starts_with("commonwatt_agreement_voting{"));
            line.and_then(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
        }

        /// Has the DSO register Y, and makes the block that does it.
        fn register_y(&self) {
            let keys = SessionKeys {
                vote: example::pair("Y").public(),
                beacon: example::beacon_pair("Y").public(),
            };
            let who = example::account("Y");
            let call = pallet_registry::Call::register_validator { who, keys };
            let context = SigningContext::immortal(self.chain.genesis_hash());
            let signed = sign_ed25519(
                RuntimeCall::Registry(call),
                0,
                &context,
                &example::pair("Dso"),
            );
            self.chain
                .submit(TransactionSource::External, signed)
                .unwrap();
            let limits = BuildLimits {
                bytes_max: 1 << 20,
                misfits_max: 8,
                is_over: &|| false,
            };
            let timing = example::genesis().timing;
            self.chain
                .author_next(&timing, Punctuality::OnTime, &limits, CommitMode::Durable)
                .unwrap()
                .unwrap();
        }
    }

    fn started(height: u32, is_voting: bool, behind: u32) -> Notice {
        Notice::HeightStarted {
            height,
            is_voting,
            behind,
        }
    }

    /// Returns what each height has said.
    fn learn(voting: &mut Voting, notices: &[Notice]) -> Vec<Option<Standing>> {
        let notices = notices.iter();
        notices
            .map(|notice| voting.learn(notice).unwrap().map(|(_, standing)| standing))
            .collect()
    }

    #[test]
    fn it_is_said_once_that_a_validator_votes_and_shown_as_long_as_it_does() {
        let site = site();
        let mut voting = site.voting("X", None);
        assert_eq!(
            site.shown(),
            None,
            "nothing is known before a height begins"
        );
        let said = learn(
            &mut voting,
            &[
                started(1, false, 1),
                started(1, true, 1),
                started(2, true, 1),
                started(3, true, 1),
            ],
        );
        let expected = [Some(Standing::CatchesUp), Some(Standing::Votes), None, None];
        assert_eq!(said, expected);
        assert_eq!(site.shown().as_deref(), Some("1"));
        let silenced = Notice::Silenced {
            height: 3,
            round: 0,
        };
        assert_eq!(learn(&mut voting, &[silenced]), [None]);
        assert_eq!(site.shown().as_deref(), Some("0"));
        assert_eq!(
            learn(&mut voting, &[started(4, true, 1)]),
            [Some(Standing::Votes)]
        );
        assert_eq!(site.shown().as_deref(), Some("1"));
    }

    #[test]
    fn a_log_that_is_ahead_is_named_as_the_cause() {
        let site = site();
        let recovered = Recovered {
            height: 3,
            entries: vec![WalEntry::Silenced],
        };
        let mut voting = site.voting("X", Some(&recovered));
        let said = learn(
            &mut voting,
            &[
                started(1, false, 90),
                started(2, false, 1),
                started(3, false, 1),
                started(4, true, 1),
            ],
        );
        let expected = [
            Some(Standing::LogAhead(3)),
            None,
            Some(Standing::Silenced),
            Some(Standing::Votes),
        ];
        assert_eq!(said, expected);
        // A log that was found out to be old is said to be so by the engine itself.
        let forgotten = Notice::Forgotten {
            height: 4,
            votes_from: 8,
        };
        assert_eq!(
            learn(&mut voting, &[forgotten, started(5, false, 1)]),
            [None, None]
        );
        assert_eq!(site.shown().as_deref(), Some("0"));
        let closed = Notice::Closed { height: 5 };
        assert_eq!(
            learn(&mut voting, &[closed, started(9, false, 1)]),
            [None, None]
        );
        // What the operator says counts like a log, where there is none.
        let figures = site.metrics.agreement().clone();
        let mut told = Voting::new(site.chain.clone(), keys("X"), figures, None, Some(7));
        assert_eq!(
            learn(&mut told, &[started(1, false, 1)]),
            [Some(Standing::LogAhead(7))]
        );
    }

    #[test]
    fn a_key_that_the_chain_does_not_know_is_told_from_one_that_acts_later() {
        let site = site();
        let mut voting = site.voting("Y", None);
        // Who voted long ago says nothing about now.
        let said = learn(
            &mut voting,
            &[
                started(1, false, 50),
                started(1, false, 1),
                started(1, false, 1),
            ],
        );
        let expected = [Some(Standing::CatchesUp), Some(Standing::NoKey), None];
        assert_eq!(said, expected);
        site.register_y();
        assert_eq!(
            learn(&mut voting, &[started(2, false, 1)]),
            [Some(Standing::Registered)]
        );
        assert_eq!(site.shown().as_deref(), Some("0"));
    }
}
