//! The engine: events in, actions out.

mod effects;
mod results;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use commonwatt_chain::{Chain, ChainError, validator_set};
use commonwatt_consensus::{
    CheckId, Config, FindVoter, Input, Machine, Message, Pace, PeerId, Timeout, ValidatorSet,
    verify_message,
    wal::{Log, NEVER, Recovered},
};
use commonwatt_primitives::{Step, digest::Punctuality};
use commonwatt_runtime::Hash;

use crate::{
    arrivals::Arrivals,
    blocks::read_header,
    config::{EngineConfig, Now},
    error::{Fatal, StartError},
    event::{Action, Delivery, Event, Judgement, Notice, Recipient},
    keys::KeyHolder,
    newcomer::{Newcomer, Wait},
    relays::Relays,
    wire::EngineMessage,
};

/// Proposed blocks whose time of coming is remembered. A height has as many as rounds, and few have more than one.
const PROPOSALS_SEEN_MAX: usize = 64;

/// Drives the agreement on one chain.
pub struct Engine {
    chain: Arc<Chain>,
    machine: Machine,
    log: Box<dyn Log + Send>,
    config: EngineConfig,
    /// What the state after the best block says about the next one.
    next: Upcoming,
    /// When the height that is going on began, by the steady clock.
    began_ms: u64,
    /// Whether timeliness counts there.
    pace: Pace,
    /// Whether this node votes, or voted, at the height that began last.
    was_voting: bool,
    now: Now,
    arrivals: Arrivals,
    /// Timeouts that were asked for, by when they are over.
    timers: BTreeSet<(u64, Timeout)>,
    /// When proposed blocks came, by height and hash.
    proposals_seen: BTreeMap<(u32, Hash), u64>,
    /// What was passed on.
    relays: Relays,
    /// Questions about blocks that are being answered.
    checks: BTreeMap<CheckId, Check>,
    /// The block this node made for the height that is going on.
    own: BTreeSet<Hash>,
    /// Nothing is known about what this node signed before it started, so it keeps away from heights others were at then.
    newcomer: Option<Newcomer>,
    /// What is known of what this node signed before, if it is to vote; until the first event.
    past: Option<Past>,
    /// The step that was open at the first event.
    first_open: Option<u32>,
    /// This node votes never again, because its keys are elsewhere too.
    is_closed: bool,
    actions: Vec<Action>,
    is_stopped: bool,
}

/// The height after the best block.
struct Upcoming {
    height: u32,
    set: ValidatorSet,
}

/// What a validator knows when it starts of what it signed before.
#[derive(Clone, Copy)]
enum Past {
    /// What its log holds, unless that is an old copy.
    Logged,
    /// Nothing: there is neither log nor chain.
    Unknown,
    /// That it has signed nothing from this height on, as its operator says; there is no log.
    AsTold(u32),
}

/// A question about a block.
struct Check {
    height: u32,
    hash: Hash,
    /// When it came and how it is marked, where timeliness counts.
    judged: Option<(u64, Punctuality)>,
    is_fetched: bool,
}

/// Where an engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last block, which is stored.
    pub best: u32,
    /// The height and round that is going on; `None` while the next height's time has not come.
    pub at: Option<(u32, u32)>,
    /// Whether this node votes there.
    pub is_voting: bool,
}

impl Engine {
    /// Creates the engine of a chain whose write-ahead log held `recovered`. Nothing happens before the first event.
    ///
    /// # Errors
    /// The log of a validator is missing, or the chain does not say who votes.
    pub fn start(
        chain: Arc<Chain>,
        log: Box<dyn Log + Send>,
        recovered: Option<Recovered>,
        config: EngineConfig,
    ) -> Result<Self, StartError> {
        let best = chain.best().0;
        let past = match config.votes_from {
            _ if config.keys.is_none() => None,
            _ if recovered.as_ref().is_some_and(|log| log.height == NEVER) => {
                return Err(StartError::LogClosed);
            }
            _ if recovered.is_some() => Some(Past::Logged),
            Some(height) => Some(Past::AsTold(height)),
            None if best > 0 => return Err(StartError::LogMissing { best }),
            None => Some(Past::Unknown),
        };
        let next = Upcoming::of(&chain)?;
        let voter = config.keys.clone();
        let machine = Machine::new(
            Config {
                genesis: chain.genesis_hash(),
                voter: voter.map(|keys| Arc::new(KeyHolder::new(keys)) as Arc<dyn FindVoter>),
                votes_from: config.votes_from.unwrap_or_default(),
                timing: config.agreement,
                read_header,
            },
            best,
            recovered,
        );
        Ok(Self {
            chain,
            machine,
            log,
            config,
            next,
            began_ms: 0,
            pace: Pace::CatchUp,
            was_voting: false,
            now: Now::same(0),
            arrivals: Arrivals::default(),
            timers: BTreeSet::new(),
            proposals_seen: BTreeMap::new(),
            relays: Relays::default(),
            checks: BTreeMap::new(),
            own: BTreeSet::new(),
            newcomer: None,
            past,
            first_open: None,
            is_closed: false,
            actions: Vec::new(),
            is_stopped: false,
        })
    }

    /// Takes an event that happened now and returns what is to be done, in order.
    ///
    /// # Errors
    /// What ends this engine; the driver stops the process.
    pub fn handle(&mut self, event: Event, now: Now) -> Result<Vec<Action>, Fatal> {
        if self.is_stopped {
            return Err(Fatal::Stopped);
        }
        self.now = now;
        let open = self.config.timing.step_at(now.unix_ms);
        self.first_open.get_or_insert(open.0);
        let begun = match self.past.take() {
            Some(past) => self.begin(past, open.0),
            None => Ok(()),
        };
        self.arrivals.note(self.chain.pool_arrivals(), now.unix_ms);
        let outcome = begun
            .and_then(|()| self.process(event))
            .and_then(|()| self.end_timeouts())
            .and_then(|()| self.consider_newcomer())
            .and_then(|()| self.start_due_heights());
        if let Err(fatal) = outcome {
            self.is_stopped = true;
            self.actions.clear();
            return Err(fatal);
        }
        // The one that is open and the one that just closed are no sign of being behind.
        let behind = open.since(Step(self.next.height));
        self.chain.set_catching_up(behind > 1);
        Ok(std::mem::take(&mut self.actions))
    }

    /// Returns where the engine is.
    pub fn position(&self) -> Position {
        Position {
            best: self.machine.decided(),
            at: self.machine.position(),
            is_voting: self.machine.is_voting(),
        }
    }

    fn process(&mut self, event: Event) -> Result<(), Fatal> {
        match event {
            Event::Woken => Ok(()),
            Event::Message {
                peer,
                message: EngineMessage::Status { decided },
                delivery,
            } => {
                self.judge(delivery, Judgement::Ignore);
                self.take_status(peer, decided)
            }
            Event::Message {
                peer,
                message: EngineMessage::Agreement { message, .. },
                delivery,
            } => self.take_message(peer, message, delivery),
            Event::BlockAnswer { peer, answer } => self.feed(Input::BlockResponse {
                peer,
                height: answer.height,
                block: answer.block,
            }),
            Event::PeerCame { peer, account } => {
                if let Some(newcomer) = &mut self.newcomer {
                    newcomer.meet(peer, account);
                }
                let decided = self.machine.decided();
                self.send_status(peer, decided);
                Ok(())
            }
            Event::PeerGone(peer) => self.feed(Input::PeerGone(peer)),
            Event::JobDone(done) => self.take_result(done),
        }
    }

    fn take_status(&mut self, peer: PeerId, decided: u32) -> Result<(), Fatal> {
        // Nobody can be further than the clock, whatever it says.
        let open = self.config.timing.step_at(self.now.unix_ms);
        let decided = decided.min(open.0);
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.hear(peer, decided, self.next.height);
        }
        self.feed(Input::Status { peer, decided })
    }

    /// Begins as a validator, while step `open` is open.
    ///
    /// Without a log it writes down at once from where on it has signed nothing, if it knows: when it comes back before it voted
    /// it is not told again, nor a newcomer again that the others have got ahead of. Nothing can have been proposed of a step that
    /// is still open, so one that is in time for its next height has signed nothing there.
    fn begin(&mut self, past: Past, open: u32) -> Result<(), Fatal> {
        let next = self.next.height;
        let newcomer = match past {
            Past::Logged => Newcomer::with_log(open),
            Past::Unknown => Newcomer::new(open),
            Past::AsTold(votes_from) => return Ok(self.log.reset(votes_from.max(next))?),
        };
        if matches!(past, Past::Unknown) && !newcomer.keeps_from(next) {
            self.log.reset(next)?;
        }
        self.newcomer = Some(newcomer);
        self.machine.wait_below(open);
        Ok(())
    }

    /// Has a newcomer vote once it has heard enough of the others, and from where that allows.
    fn consider_newcomer(&mut self) -> Result<(), Fatal> {
        let height = self.next.height;
        let Some(newcomer) = self.newcomer.as_mut().filter(|it| it.keeps_from(height)) else {
            self.newcomer = None;
            return Ok(());
        };
        let patience_ms = self.config.agreement.sync_answer.as_millis();
        let patience_ms = u64::try_from(patience_ms).unwrap_or(u64::MAX);
        let advice = newcomer.consider(&self.next.set, self.now.steady_ms, patience_ms);
        self.machine.raise_votes_from(advice.votes_from);
        match advice.wait {
            Wait::GoesOn | Wait::WasOver => {}
            Wait::Speak { heard, needed } if self.machine.is_waiting() => {
                let decided = self.machine.decided();
                self.send(Recipient::All, EngineMessage::Status { decided });
                self.tell(Notice::Waiting { heard, needed });
            }
            Wait::Speak { .. } => {}
            Wait::Ends => {
                let was_waiting = self.machine.is_waiting();
                let effects = self.machine.handle(Input::WaitIsOver)?;
                if was_waiting {
                    self.note_start(height);
                }
                self.perform_all(effects)?;
            }
        }
        Ok(())
    }

    /// Takes a message of the agreement. What its signer did not sign goes no further.
    fn take_message(
        &mut self,
        peer: PeerId,
        message: Message,
        delivery: Option<Delivery>,
    ) -> Result<(), Fatal> {
        let proposed = match &message {
            Message::Proposal(proposed) => Some((message.height(), proposed.signed.proposal.block)),
            _ => None,
        };
        if message.height() != self.next.height {
            // Who votes at other heights is not known here. The machine keeps what it may still need.
            self.note_proposal(proposed);
            self.judge(delivery, Judgement::Ignore);
            return self.feed(Input::Message { peer, message });
        }
        let genesis = self.chain.genesis_hash();
        match verify_message(&self.next.set, &genesis, &message, read_header) {
            Ok(()) => {
                self.note_proposal(proposed);
                let round = self.machine.position().map_or(0, |(_, round)| round);
                let (now_ms, pause) = (self.now.steady_ms, self.config.agreement.rebroadcast / 2);
                let is_passed_on = self.relays.admit(&message, round, now_ms, pause);
                self.judge(
                    delivery,
                    match is_passed_on {
                        true => Judgement::Accept,
                        false => Judgement::Ignore,
                    },
                );
                self.feed(Input::Message { peer, message })
            }
            Err(refusal) => {
                self.judge(delivery, Judgement::Reject);
                self.actions.push(Action::Blame { peer, refusal });
                Ok(())
            }
        }
    }

    /// Notes when a proposal came. What nobody may have signed, because it is for a later height, makes room first.
    fn note_proposal(&mut self, key: Option<(u32, Hash)>) {
        let Some(key) = key.filter(|(height, _)| *height >= self.next.height) else {
            return;
        };
        if self.proposals_seen.contains_key(&key) {
            return;
        }
        if self.proposals_seen.len() >= PROPOSALS_SEEN_MAX {
            self.proposals_seen.pop_last();
        }
        self.proposals_seen.insert(key, self.now.unix_ms);
    }

    fn judge(&mut self, delivery: Option<Delivery>, judgement: Judgement) {
        self.actions.extend(delivery.map(|delivery| Action::Judge {
            delivery,
            judgement,
        }));
    }

    /// Starts the next height when its time has come, and the one after it if that is decided at once.
    fn start_due_heights(&mut self) -> Result<(), Fatal> {
        while self.machine.position().is_none() {
            let timing = self.config.timing;
            let (height, unix_ms) = (self.next.height, self.now.unix_ms);
            let step = Step(height);
            if unix_ms < timing.settles_at_ms(step) {
                return Ok(());
            }
            let behind = timing.step_at(unix_ms).since(step);
            if let Some(max) = self.config.missed_steps_max
                && behind > max
            {
                return Err(Fatal::ClockAhead {
                    best: height.saturating_sub(1),
                    missed: behind,
                    max,
                });
            }
            self.pace = match timing.is_late(step, unix_ms) {
                true => Pace::CatchUp,
                false => Pace::OnTime,
            };
            self.began_ms = self.now.steady_ms;
            self.own.clear();
            let validators = self.next.set.clone();
            let effects = self.machine.handle(Input::StartHeight {
                height,
                validators,
                pace: self.pace,
            })?;
            self.note_start(height);
            self.perform_all(effects)?;
        }
        Ok(())
    }

    /// Notes that a height begins, or begins again after a wait.
    fn note_start(&mut self, height: u32) {
        self.was_voting = self.machine.is_voting();
        let open = self.config.timing.step_at(self.now.unix_ms);
        self.tell(Notice::HeightStarted {
            height,
            is_voting: self.was_voting,
            behind: open.since(Step(height)),
        });
    }

    fn feed(&mut self, input: Input) -> Result<(), Fatal> {
        let effects = self.machine.handle(input)?;
        self.perform_all(effects)
    }
}

impl Upcoming {
    fn of(chain: &Chain) -> Result<Self, ChainError> {
        let height = chain.best().0.saturating_add(1);
        let set = validator_set(height, &chain.next_lineup()?)?;
        Ok(Self { height, set })
    }
}
