//! Following a chain over the network.

use std::time::{Duration, Instant};

use commonwatt_chain::LightBlock;
use commonwatt_network::{
    BlockContent, BlocksRequest, Event, EventReceiver, NetworkHandle, PeerId, PeerNumber, Refusal,
    RequestError, Verdict,
};
use tokio::{
    sync::mpsc,
    task,
    time::{MissedTickBehavior, interval},
};

use crate::{
    Breach, Contradiction, Flaw, Ledger, LedgerError, Refused, Verified,
    limits::{AHEAD_OF_CLOCK_MAX, PEERS_MAX, TICK},
    plan::{Ask, Plan, Ready},
    verify::read_header,
    verify_next, verify_same,
};

/// What whoever follows is told.
#[derive(Debug)]
pub enum News<'a> {
    /// A peer was let in and lets this node in.
    PeerCame(PeerId),
    /// A peer is gone.
    PeerGone,
    /// Blocks were verified and stored. `best` is the last one that some peer says it has.
    Verified {
        /// The blocks.
        blocks: &'a [Verified],
        /// The last block that is known of.
        best: u32,
    },
    /// A peer gave a wrong answer.
    Flawed {
        /// Who, unless it is gone.
        peer: Option<PeerId>,
        /// The block that came next.
        number: u32,
        /// What was wrong.
        flaw: &'a Flaw,
    },
    /// None of the peers can show who validates after this block, the last of its epoch.
    Unproven(u32),
    /// Some time went by.
    Tick {
        /// The last verified block.
        tip: u32,
        /// The last block that is known of.
        best: u32,
        /// How many peers there are.
        peers: usize,
    },
}

/// Why the following ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// What is on disk cannot be used.
    #[error("what was verified cannot be kept: {0}")]
    Ledger(#[from] LedgerError),
    /// The validators contradicted themselves.
    #[error("{}", .0.breach)]
    Contradiction(Box<Contradiction>),
    /// The chain goes on with another runtime.
    #[error("{0}")]
    UnknownRuntime(String),
    /// There is no network any more.
    #[error("the network has ended")]
    NetworkEnded,
    /// A program error.
    #[error("verifying ended with a panic; report this to the developers")]
    Panicked,
}

/// Follows a chain: asks peers for what comes next, verifies it, keeps it, and tells.
pub struct Follower {
    network: NetworkHandle,
    events: EventReceiver,
    plan: Plan,
    began: Instant,
    /// The last block that is wanted, if not all are.
    until: Option<u32>,
    /// The last block that there can be.
    newest: Box<dyn Fn() -> u32 + Send + Sync>,
}

type Answer = (PeerNumber, Ask, Result<Vec<Vec<u8>>, RequestError>);

/// What became of blocks that were to be verified.
struct Outcome {
    ledger: Ledger,
    verified: Vec<Verified>,
    refused: Option<Failure>,
}

enum Failure {
    Refused(Refused),
    Contradiction(Box<Contradiction>),
}

impl Follower {
    /// Makes one that asks the peers of `network`, up to block `until` if only so far is wanted.
    pub fn new(network: NetworkHandle, events: EventReceiver, until: Option<u32>) -> Self {
        Self {
            network,
            events,
            plan: Plan::new(0),
            began: Instant::now(),
            until,
            newest: Box::new(|| u32::MAX),
        }
    }

    /// Has peers believed no more blocks than there can be by the clock, which `newest` tells.
    #[must_use]
    pub fn with_clock(mut self, newest: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        self.newest = Box::new(newest);
        self
    }

    /// Follows until `stop`, or until the last block that is wanted was verified.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn run(
        mut self,
        mut ledger: Ledger,
        stop: impl Future<Output = ()>,
        mut tell: impl FnMut(News<'_>),
    ) -> Result<Ledger, FollowError> {
        tokio::pin!(stop);
        self.plan = Plan::new(ledger.tip().number);
        // One question a peer is under way.
        let (answered, mut answers) = mpsc::channel::<Answer>(PEERS_MAX);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        loop {
            if self.until.is_some_and(|until| ledger.tip().number >= until) {
                return Ok(ledger);
            }
            while let Some(question) = self.next_question() {
                self.ask(question, answered.clone());
            }
            if let Some(Ready { peer, blocks }) = self.plan.take_ready() {
                ledger = self.verify(ledger, peer, blocks, &mut tell).await?;
                continue;
            }
            tokio::select! {
                () = &mut stop => return Ok(ledger),
                event = self.events.recv() => {
                    let event = event.ok_or(FollowError::NetworkEnded)?;
                    self.note(event, ledger.tip().number, &mut tell);
                }
                answer = answers.recv() => {
                    // This function holds a sender, so there is always one.
                    if let Some((peer, ask, answer)) = answer {
                        ledger = self.take(ledger, peer, ask, answer, &mut tell).await?;
                    }
                }
                _ = ticks.tick() => self.tick(ledger.tip().number, &mut tell),
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn next_question(&mut self) -> Option<(PeerNumber, Ask)> {
        let now = self.now();
        self.plan.next_question(now)
    }

    fn ask(&self, (peer, ask): (PeerNumber, Ask), answered: mpsc::Sender<Answer>) {
        let (from, count) = match ask {
            Ask::Range { from, count } => (from, count),
            Ask::Compare { number } => (number, 1),
        };
        let request = BlocksRequest {
            from,
            count,
            content: BlockContent::HeaderAndCertificate,
        };
        let network = self.network.clone();
        tokio::spawn(async move {
            let answer = network.request_blocks(peer, request).await;
            // Nobody follows any more.
            let _ = answered.send((peer, ask, answer)).await;
        });
    }

    fn note(&mut self, event: Event, tip: u32, tell: &mut impl FnMut(News<'_>)) {
        match event {
            Event::PeerJoined { peer, id, .. } => {
                self.plan.note_came(peer);
                tell(News::PeerCame(id));
            }
            Event::PeerGone { peer } => {
                self.plan.note_gone(peer);
                tell(News::PeerGone);
            }
            Event::Status { peer, decided } => {
                // A clock that is slow must not end the following.
                let newest = (self.newest)().max(tip.saturating_add(AHEAD_OF_CLOCK_MAX));
                self.plan.note_decided(peer, decided.min(newest));
            }
            // This node takes no part in gossip, and has nothing that others ask for.
            Event::Gossip(gossip) => self.network.report(&gossip.id, Verdict::Ignore),
            Event::Transactions(batch) => self.network.report(&batch.id, Verdict::Ignore),
            Event::Request(_) => {}
        }
    }

    fn tick(&mut self, tip: u32, tell: &mut impl FnMut(News<'_>)) {
        let peers: Vec<_> = self.plan.peers().collect();
        for peer in &peers {
            // It says how far it is in its answer; this node has no blocks to give.
            self.network.send_status(*peer, 0);
        }
        if let Some(number) = self.plan.unproven() {
            tell(News::Unproven(number));
            self.plan.forgive_unproven();
        }
        tell(News::Tick {
            tip,
            best: self.plan.best(),
            peers: peers.len(),
        });
    }

    /// Takes the answer of a peer.
    async fn take(
        &mut self,
        ledger: Ledger,
        peer: PeerNumber,
        ask: Ask,
        answer: Result<Vec<Vec<u8>>, RequestError>,
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Ledger, FollowError> {
        let now = self.now();
        let items = match answer {
            Ok(items) => items,
            Err(error) => {
                tracing::debug!(%peer, %error, "a peer had no blocks to give");
                self.plan.note_failed(peer, now);
                return Ok(ledger);
            }
        };
        let blocks: Result<Vec<_>, _> = items
            .iter()
            .map(|bytes| LightBlock::decode_bounded(bytes))
            .collect();
        drop(items);
        match (ask, blocks) {
            (_, Err(what)) => {
                let flaw = Flaw::Unreadable(what);
                self.note_flaw(peer, ledger.tip().number, &flaw, tell);
            }
            (Ask::Range { from, .. }, Ok(blocks)) => {
                self.plan.note_blocks(peer, from, blocks, now);
            }
            (Ask::Compare { number }, Ok(blocks)) => {
                let Some(block) = blocks.into_iter().next() else {
                    self.plan.note_failed(peer, now);
                    return Ok(ledger);
                };
                let compared = task::spawn_blocking(move || compare(ledger, number, block));
                let outcome = compared.await.map_err(|_| FollowError::Panicked)??;
                if outcome.refused.is_none() {
                    self.plan.note_same(peer, number);
                }
                return self.conclude(outcome, peer, tell);
            }
        }
        Ok(ledger)
    }

    async fn verify(
        &mut self,
        ledger: Ledger,
        peer: PeerNumber,
        blocks: Vec<LightBlock>,
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Ledger, FollowError> {
        let until = self.until.unwrap_or(u32::MAX);
        let verified = task::spawn_blocking(move || verify(ledger, blocks, until));
        let outcome = verified.await.map_err(|_| FollowError::Panicked)??;
        self.plan.advance(peer, outcome.ledger.tip().number);
        if !outcome.verified.is_empty() {
            tell(News::Verified {
                blocks: &outcome.verified,
                best: self.plan.best(),
            });
        }
        self.conclude(outcome, peer, tell)
    }

    /// Draws the consequences of what was not verified.
    fn conclude(
        &mut self,
        outcome: Outcome,
        peer: PeerNumber,
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Ledger, FollowError> {
        let ledger = outcome.ledger;
        match outcome.refused {
            None => {}
            Some(Failure::Contradiction(contradiction)) => {
                return Err(FollowError::Contradiction(contradiction));
            }
            Some(Failure::Refused(Refused::UnknownRuntime(error))) => {
                return Err(FollowError::UnknownRuntime(error.to_string()));
            }
            Some(Failure::Refused(Refused::NoSetProof(number))) => {
                tracing::debug!(%peer, number, "a peer does not show who validates next");
                self.plan.note_unproven(peer, number);
            }
            Some(Failure::Refused(Refused::Flaw(flaw))) => {
                self.note_flaw(peer, ledger.tip().number, &flaw, tell);
            }
            // Made a contradiction where it was found.
            Some(Failure::Refused(Refused::Breach(_))) => {}
        }
        Ok(ledger)
    }

    fn note_flaw(
        &mut self,
        peer: PeerNumber,
        tip: u32,
        flaw: &Flaw,
        tell: &mut impl FnMut(News<'_>),
    ) {
        let known = self.network.peers().into_iter();
        let id = known
            .filter(|known| known.number == peer)
            .map(|known| known.id)
            .next();
        self.network.refuse(peer, Refusal::WrongAnswer);
        let now = self.now();
        self.plan.note_flaw(peer, now);
        tell(News::Flawed {
            peer: id,
            number: tip.saturating_add(1),
            flaw,
        });
    }
}

/// Verifies blocks one after the other, and keeps those before the first that is refused.
fn verify(mut ledger: Ledger, blocks: Vec<LightBlock>, until: u32) -> Result<Outcome, LedgerError> {
    let genesis = ledger.genesis().hash();
    let mut tip = ledger.tip().clone();
    let (mut verified, mut kept) = (Vec::new(), Vec::new());
    let mut refused = None;
    for block in blocks {
        if tip.number >= until {
            break;
        }
        match verify_next(&tip, &genesis, &block) {
            Ok((next, one)) => {
                kept.push((one.hash, block));
                verified.push(one);
                tip = next;
            }
            Err(Refused::Breach(breach)) => {
                let before = match kept.last() {
                    Some((_, before)) => Some(before.clone()),
                    None => ledger.block(tip.number)?,
                };
                refused = Some(contradiction(breach, genesis, before, block));
                break;
            }
            Err(error) => {
                refused = Some(Failure::Refused(error));
                break;
            }
        }
    }
    if !kept.is_empty() {
        ledger.append(&kept, tip)?;
    }
    Ok(Outcome {
        ledger,
        verified,
        refused,
    })
}

/// Compares a verified block with what a peer says it is.
fn compare(ledger: Ledger, number: u32, block: LightBlock) -> Result<Outcome, LedgerError> {
    let genesis = ledger.genesis().hash();
    let known = ledger
        .hash_of(number)?
        .ok_or_else(|| LedgerError::Damaged(format!("block {number} is missing")))?;
    if read_header(&block.header).is_ok_and(|(_, hash)| hash == known) {
        return Ok(Outcome {
            ledger,
            verified: Vec::new(),
            refused: None,
        });
    }
    let validators = ledger.validators_of(number)?;
    let refused = match verify_same(number, &known, &validators, &genesis, &block) {
        Ok(()) => None,
        Err(Refused::Breach(breach)) => {
            let before = ledger.block(number)?;
            Some(contradiction(breach, genesis, before, block))
        }
        Err(error) => Some(Failure::Refused(error)),
    };
    Ok(Outcome {
        ledger,
        verified: Vec::new(),
        refused,
    })
}

fn contradiction(
    breach: Breach,
    genesis: commonwatt_runtime::Hash,
    before: Option<LightBlock>,
    against: LightBlock,
) -> Failure {
    Failure::Contradiction(Box::new(Contradiction {
        breach,
        genesis,
        before,
        against,
    }))
}
