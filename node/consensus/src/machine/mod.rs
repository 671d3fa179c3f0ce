//! The machine: inputs in, effects out.

mod desk;
mod height;
mod sync;

use std::{collections::BTreeSet, sync::Arc};

use commonwatt_primitives::Hash;

use crate::{
    block::{Block, ReadHeader},
    buffer::FutureMessages,
    certificate::Certificate,
    effect::{Effect, PeerId},
    error::{Fatal, Refusal},
    input::{Input, Pace},
    limits::FUTURE_HEIGHTS_MAX,
    messages::Message,
    signer::FindVoter,
    timing::{Timeout, TimeoutKind, Timing},
    validators::ValidatorSet,
    wal::{Recovered, WalEntry},
};
use desk::Desk;
use height::CurrentHeight;
use sync::Sync;

pub(crate) use height::verify_block;

/// What the machine needs to know once.
pub struct Config {
    /// The chain: part of everything that is signed.
    pub genesis: Hash,
    /// Finds whom this node votes for at a height and with which key; `None` for a node that only follows.
    pub voter: Option<Arc<dyn FindVoter>>,
    /// The first height this node votes at.
    ///
    /// A validator whose write-ahead log was lost cannot know what it signed. It must not vote at the height
    /// that the network is at, nor below; above, it has certainly signed nothing.
    pub votes_from: u32,
    /// How long timeouts last.
    pub timing: Timing,
    /// Reads a header.
    pub read_header: ReadHeader,
}

/// Agrees with the others on one block after the other.
///
/// ```text
/// StartHeight ──► (BuildBlock ─► BlockBuilt) ──► proposals, VerifyBlock ─► BlockVerified, votes ──► Decide
///      ▲                                                                                              │
///      └───────────────────────────── the caller stores the block ◄──────────────────────────────────┘
/// ```
///
/// Between `Decide` and `StartHeight` only messages for later heights are kept.
pub struct Machine {
    config: Config,
    /// The last height decided.
    decided: u32,
    current: Option<CurrentHeight>,
    future: FutureMessages,
    sync: Sync,
    recovered: Option<Recovered>,
    /// Below this height a validator waits before it votes.
    waits_below: u32,
    next_check: u64,
    effects: Vec<Effect>,
    is_stopped: bool,
}

impl Machine {
    /// Creates the machine of a node whose last block is `decided` and whose write-ahead log held `recovered`.
    pub fn new(config: Config, decided: u32, recovered: Option<Recovered>) -> Self {
        Self {
            config,
            decided,
            current: None,
            future: FutureMessages::default(),
            sync: Sync::default(),
            recovered,
            waits_below: 0,
            next_check: 0,
            effects: Vec::new(),
            is_stopped: false,
        }
    }

    /// Takes an input and returns what is to be done, in order.
    ///
    /// An error is final: the caller stops the process, and after a restart goes on from the write-ahead log.
    pub fn handle(&mut self, input: Input) -> Result<Vec<Effect>, Fatal> {
        if self.is_stopped {
            return Err(Fatal::Stopped);
        }
        let outcome = self.process(input).and_then(|()| self.settle());
        if let Err(fatal) = outcome {
            self.is_stopped = true;
            self.effects.clear();
            self.current = None;
            return Err(fatal);
        }
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(current) = &mut self.current {
            effects.append(&mut current.desk.effects);
        }
        Ok(effects)
    }

    /// Returns the last height decided.
    pub fn decided(&self) -> u32 {
        self.decided
    }

    /// Returns the height and round being agreed on; `None` between heights.
    pub fn position(&self) -> Option<(u32, u32)> {
        self.current
            .as_ref()
            .map(|current| (current.desk.height, current.round()))
    }

    /// Returns whether this node votes at the height being agreed on.
    ///
    /// A validator does not while its key is not the one on chain, below `votes_from`, while it waits, as long as its chain
    /// ends below the height of its write-ahead log, or once it met a vote of its own that it does not know.
    pub fn is_voting(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.desk.voter.is_some())
    }

    /// Returns whether this node would vote at the height being agreed on, but waits.
    pub fn is_waiting(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.is_waiting)
    }

    /// Lets this node vote from `height` on only, if that is above what it was told before. The height that is being
    /// agreed on is not touched.
    pub fn raise_votes_from(&mut self, height: u32) {
        self.config.votes_from = self.config.votes_from.max(height);
    }

    /// Has this node, if it is a validator, wait at heights below `height`, from the next one to begin on, until
    /// [`Input::WaitIsOver`].
    ///
    /// While it waits it signs nothing and fetches blocks that others have decided. Messages for the height are kept and
    /// taken when the wait is over, so that it then votes as if it had come in time.
    pub fn wait_below(&mut self, height: u32) {
        self.waits_below = height;
    }

    fn process(&mut self, input: Input) -> Result<(), Fatal> {
        match input {
            Input::WaitIsOver => self.stop_waiting(),
            Input::StartHeight {
                height,
                validators,
                pace,
            } => self.start_height(height, validators, pace),
            Input::Message { peer, message } => self.take_message(peer, message),
            Input::BlockBuilt {
                height,
                round,
                block,
            } => match &mut self.current {
                Some(current) if current.desk.height == height => {
                    current.take_own_block(round, block, self.config.read_header)
                }
                _ => Ok(()),
            },
            Input::BlockVerified { check, verdict } => {
                if self.take_sync_verdict(check, verdict)? {
                    return Ok(());
                }
                match &mut self.current {
                    Some(current) => current.take_verdict(
                        check,
                        verdict,
                        self.config.read_header,
                        &mut self.next_check,
                    ),
                    None => Ok(()),
                }
            }
            Input::TimeoutElapsed(timeout) => self.take_timeout(timeout),
            Input::Status { peer, decided } => {
                self.sync.note_status(peer, decided);
                if decided < self.decided {
                    let decided = self.decided;
                    self.emit(Effect::SendStatus { peer, decided });
                }
                self.consider_sync();
                Ok(())
            }
            Input::BlockResponse {
                peer,
                height,
                block,
            } => self.take_block_response(peer, height, block),
            Input::PeerGone(peer) => {
                self.forget_peer(peer);
                Ok(())
            }
        }
    }

    fn start_height(&mut self, height: u32, set: ValidatorSet, pace: Pace) -> Result<(), Fatal> {
        let expected = self.decided.saturating_add(1);
        if self.current.is_some() || height != expected {
            return Err(Fatal::WrongHeight {
                expected,
                given: height,
            });
        }
        self.sync.restart();
        self.begin(height, set, pace, BTreeSet::new())
    }

    /// Begins the height of a node that waited there again. Nothing was signed, and what came in was kept.
    fn stop_waiting(&mut self) -> Result<(), Fatal> {
        self.waits_below = 0;
        let Some(waited) = self.current.take_if(|current| current.is_waiting) else {
            return Ok(());
        };
        let CurrentHeight { mut desk, pace, .. } = waited;
        self.effects.append(&mut desk.effects);
        // Whoever was asked for the block may still answer.
        let (kept, over): (BTreeSet<_>, BTreeSet<_>) =
            desk.timers.into_iter().partition(Timeout::is_of_sync);
        for timeout in over {
            self.effects.push(Effect::CancelTimeout(timeout));
        }
        self.begin(desk.height, desk.set, pace, kept)
    }

    /// Begins a height; `timers` of synchronising run already.
    fn begin(
        &mut self,
        height: u32,
        set: ValidatorSet,
        pace: Pace,
        timers: BTreeSet<Timeout>,
    ) -> Result<(), Fatal> {
        let is_log_ahead = self
            .recovered
            .as_ref()
            .is_some_and(|recovered| recovered.height > height);
        let is_silenced = self.recovered.as_ref().is_some_and(|recovered| {
            recovered.height == height && recovered.entries.contains(&WalEntry::Silenced)
        });
        let found = self.config.voter.as_ref();
        let found = found.and_then(|voter| voter.find(&set));
        let own = found.filter(|(account, signer)| {
            !is_log_ahead && !is_silenced && set.vote_key(account) == Some(&signer.public())
        });
        let may_vote = own.is_some() && height >= self.config.votes_from;
        let is_waiting = may_vote && height < self.waits_below;
        let votes = may_vote && !is_waiting;
        let mut entries = Vec::new();
        if !is_log_ahead && !is_waiting {
            let recovered = self.recovered.take();
            let own = recovered.filter(|recovered| recovered.height == height);
            match own {
                Some(recovered) if votes => entries = recovered.entries,
                _ if votes => self.effects.push(Effect::ResetWal { height }),
                _ => {}
            }
        }
        let (genesis, timing) = (self.config.genesis, self.config.timing);
        let mut desk = Desk::new(height, set, genesis, timing, own, votes);
        desk.timers = timers;
        self.effects.push(Effect::AnnounceStatus {
            decided: self.decided,
        });
        let mut current = CurrentHeight::start(desk, pace, entries, self.config.read_header)?;
        current.is_waiting = is_waiting;
        let is_decided = current.desk.decided.is_some();
        self.current = Some(current);
        if is_decided {
            return Ok(());
        }
        if is_waiting {
            self.future.forget_below(height);
        } else {
            for (peer, message) in self.future.take(height) {
                self.take_message(peer, message)?;
            }
        }
        self.consider_sync();
        Ok(())
    }

    fn take_message(&mut self, peer: PeerId, message: Message) -> Result<(), Fatal> {
        let height = message.height();
        let current = match &mut self.current {
            Some(current) if current.desk.height == height && !current.is_waiting => current,
            _ => {
                self.keep_for_later(peer, message);
                return Ok(());
            }
        };
        if current.desk.decided.is_some() {
            return Ok(());
        }
        let refusal =
            current.take_message(peer, message, self.config.read_header, &mut self.next_check)?;
        if let Some(refusal) = refusal {
            self.refuse(peer, refusal);
        }
        Ok(())
    }

    /// Keeps a message for one of the next heights, or for the one this node waits at; older and later ones are dropped.
    fn keep_for_later(&mut self, peer: PeerId, message: Message) {
        let next = self.decided.saturating_add(1);
        let last = next.saturating_add(FUTURE_HEIGHTS_MAX);
        if !(next..=last).contains(&message.height()) {
            return;
        }
        // Nobody can know how long this node waits, so that it may become too much through no fault of a peer's.
        let is_for_wait = self
            .position()
            .is_some_and(|(at, _)| at == message.height());
        if !self.future.insert(peer, message) && !is_for_wait {
            self.refuse(peer, Refusal::BufferFull);
        }
    }

    fn take_timeout(&mut self, timeout: Timeout) -> Result<(), Fatal> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        // Timeouts that were cancelled while on their way come back all the same.
        if !current.desk.timers.remove(&timeout) {
            return Ok(());
        }
        match timeout.kind {
            TimeoutKind::SyncDelay | TimeoutKind::SyncAnswer => {
                self.take_sync_timeout(timeout.kind);
                Ok(())
            }
            TimeoutKind::Rebroadcast => {
                let decided = self.decided;
                current
                    .desk
                    .effects
                    .push(Effect::AnnounceStatus { decided });
                current.take_timeout(timeout)
            }
            TimeoutKind::Propose | TimeoutKind::Prevote | TimeoutKind::Precommit => {
                current.take_timeout(timeout)
            }
        }
    }

    /// Ends the height once it is decided and its block is at hand; one that was let go is fetched.
    fn settle(&mut self) -> Result<(), Fatal> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let Some(certificate) = &current.desk.decided else {
            return Ok(());
        };
        let known = current.desk.blocks.get(&certificate.block);
        match known.and_then(|known| known.block.clone()) {
            Some(block) => {
                let certificate = certificate.clone();
                self.finish(block, certificate);
            }
            None => self.consider_sync(),
        }
        Ok(())
    }

    fn finish(&mut self, block: Block, certificate: Certificate) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        self.effects.append(&mut current.desk.effects);
        for timeout in current.desk.timers {
            self.effects.push(Effect::CancelTimeout(timeout));
        }
        self.decided = current.desk.height;
        self.effects.push(Effect::Decide {
            height: certificate.height,
            hash: certificate.block,
            block,
            certificate,
        });
        let decided = self.decided;
        self.effects.push(Effect::AnnounceStatus { decided });
    }

    /// Adds an effect after those of the height that is going on.
    fn emit(&mut self, effect: Effect) {
        match &mut self.current {
            Some(current) => current.desk.effects.push(effect),
            None => self.effects.push(effect),
        }
    }

    fn refuse(&mut self, peer: PeerId, refusal: Refusal) {
        self.emit(Effect::Refused { peer, refusal });
    }
}
