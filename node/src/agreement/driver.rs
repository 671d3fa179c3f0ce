//! Drives the engine: gives it time and events, and does what it asks for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, mpsc as threads},
    time::{Duration, Instant},
};

use anyhow::Result;
use codec::Encode;
use commonwatt_chain::Chain;
use commonwatt_consensus::{CertifiedBlock, Message, PeerId};
use commonwatt_engine::{
    Action, BlockAnswer, Engine, EngineMessage, Event, Job, Judgement, Notice, Now, Recipient,
    Refusal as Fault,
};
use commonwatt_executor::extrinsic_hash;
use commonwatt_metrics::AgreementFigures;
use commonwatt_network::{
    BlockContent, BlocksRequest, MessageId, NetworkHandle, PeerNumber, Refusal, Topic, Verdict,
};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    proposals::{RecentBlocks, WireProposal},
    pump::{Told, decode_blocks, name, publish},
    voting::Voting,
};
use crate::stop::{Stop, now_ms};

/// Longest wait, so that a time of day that was set meanwhile is noticed.
const NAP: Duration = Duration::from_secs(1);

/// Blocks that are asked for at once when many are missing.
const FETCHED_AT_ONCE: u32 = 64;

/// Bytes of fetched blocks that wait for those before them.
const FETCHED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Drives the engine of a node.
pub struct Driver {
    /// The engine.
    pub engine: Engine,
    /// The chain.
    pub chain: Arc<Chain>,
    /// The network.
    pub network: NetworkHandle,
    /// What happens.
    pub events: mpsc::Receiver<Told>,
    /// Blocks that were proposed lately.
    pub recent: Arc<RecentBlocks>,
    /// What is counted.
    pub figures: AgreementFigures,
    /// Whether this node votes, if it validates.
    pub voting: Option<Voting>,
    /// Where tasks run.
    pub tokio: Handle,
    /// What takes long.
    pub jobs: threads::Sender<Job>,
}

/// What came with an answer beyond the block that was asked for.
#[derive(Default)]
struct Ahead {
    blocks: BTreeMap<u32, (PeerId, CertifiedBlock)>,
    bytes: usize,
    /// For the height that is going on: whom the engine asked, and whose block it was given.
    stand_in: Option<(PeerId, PeerId)>,
}

/// Runs jobs one after the other until nobody has any more.
pub fn run_jobs(jobs: threads::Receiver<Job>, told: &mpsc::Sender<Told>, stop: &Stop) {
    while let Ok(job) = jobs.recv() {
        if stop.is_asked() {
            return;
        }
        let done = job.run(&now_ms);
        let message = Told {
            event: Event::JobDone(done),
            message: None,
        };
        if told.blocking_send(message).is_err() {
            return;
        }
    }
}

impl Driver {
    /// Runs until asked to stop.
    ///
    /// # Errors
    /// What ends the engine.
    pub fn run(mut self, stop: &Stop) -> Result<()> {
        let began = Instant::now();
        let now = || Now {
            unix_ms: now_ms(),
            steady_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let (answers, mut answered) = mpsc::channel(1);
        let mut ahead = Ahead::default();
        let mut first = self.find_first_events();
        let mut next = first.pop_front();
        while !stop.is_asked() {
            if let Some(Told { event, message }) = next.take() {
                let mut event = Some(event);
                // A block that is at hand answers the question for it at once.
                while let Some(current) = event.take() {
                    let is_rejectable = message.is_some();
                    let actions = self.engine.handle(current, now())?;
                    for action in actions {
                        event = event.or(self.act(
                            action,
                            message.as_ref(),
                            is_rejectable,
                            &mut ahead,
                            &answers,
                        ));
                    }
                }
                self.figures.note_position(self.engine.position().at);
            }
            if !first.is_empty() {
                next = first.pop_front();
                continue;
            }
            let wait = Duration::from_millis(self.engine.wait_ms(now())).min(NAP);
            next = self.tokio.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.asked() => None,
                    fetched = answered.recv() => fetched.map(|(asked, height, blocks)| Told {
                        event: ahead.take_answer(asked, height, blocks),
                        message: None,
                    }),
                    told = self.events.recv() => told,
                    () = tokio::time::sleep(wait) => Some(Told { event: Event::Woken, message: None }),
                }
            });
        }
        Ok(self.chain.db().flush()?)
    }

    /// Returns what the engine hears at first: who is there already, and what they said before it could listen.
    fn find_first_events(&self) -> VecDeque<Told> {
        let mut events = VecDeque::from([Event::Woken]);
        for peer in self.network.peers() {
            let (number, account) = (name(peer.number), peer.account);
            events.push_back(Event::PeerCame {
                peer: number,
                account,
            });
            events.extend(peer.decided.map(|decided| Event::Message {
                peer: number,
                message: EngineMessage::Status { decided },
                delivery: None,
            }));
        }
        let events = events.into_iter().map(|event| Told {
            event,
            message: None,
        });
        events.collect()
    }

    /// Does what the engine asks for; returns what is to be told to it at once.
    fn act(
        &mut self,
        action: Action,
        message: Option<&MessageId>,
        is_gossip: bool,
        ahead: &mut Ahead,
        answers: &mpsc::Sender<(PeerId, u32, Vec<CertifiedBlock>)>,
    ) -> Option<Event> {
        match action {
            Action::Send { to, message } => self.send(to, message),
            Action::Judge { judgement, .. } => {
                if let Some(id) = message {
                    self.network.report(id, verdict(judgement));
                }
            }
            Action::RequestBlock { peer, height } => {
                if let Some(event) = ahead.find(peer, height) {
                    return Some(event);
                }
                self.request(peer, height, answers.clone());
            }
            Action::Run(job) => {
                // The thread of jobs ends with the node only.
                let _ = self.jobs.send(job);
            }
            Action::PassOn(transactions) => {
                let known = transactions
                    .iter()
                    .filter_map(|bytes| self.chain.find_pooled(&extrinsic_hash(bytes)));
                publish(&self.network, self.chain.best().0, known);
            }
            Action::Blame { peer, refusal } => {
                tracing::debug!(?peer, %refusal, "refused");
                let peer = ahead.culprit(peer);
                // What was gossiped counts by its verdict.
                if let Some(refusal) = fault(&refusal).filter(|_| !is_gossip) {
                    self.network.refuse(PeerNumber(peer.0), refusal);
                }
            }
            Action::Tell(notice) => {
                self.figures.note(&to_figure(&notice));
                log(&notice);
                if let Some(voting) = &mut self.voting {
                    voting.note(&notice);
                }
            }
        }
        None
    }

    fn send(&self, to: Recipient, message: EngineMessage) {
        match (message, to) {
            (EngineMessage::Status { decided }, Recipient::All) => {
                self.network.announce_status(decided);
            }
            (EngineMessage::Status { decided }, Recipient::Peer(peer)) => {
                self.network.send_status(PeerNumber(peer.0), decided);
            }
            (EngineMessage::Agreement { attempt, message }, _) => {
                let (topic, payload) = match &message {
                    Message::Proposal(proposed) => {
                        self.recent.insert(&proposed.block);
                        (Topic::Proposals, WireProposal::of(proposed).encode())
                    }
                    _ => (Topic::Votes, message.encode()),
                };
                if let Err(error) = self.network.publish(topic, attempt, &payload) {
                    tracing::warn!(%error, "a message of the agreement was not sent; it is repeated");
                }
            }
        }
    }

    fn request(
        &self,
        peer: PeerId,
        height: u32,
        answers: mpsc::Sender<(PeerId, u32, Vec<CertifiedBlock>)>,
    ) {
        let network = self.network.clone();
        self.tokio.spawn(async move {
            let request = BlocksRequest {
                from: height,
                count: FETCHED_AT_ONCE,
                content: BlockContent::Full,
            };
            let number = PeerNumber(peer.0);
            match network.request_blocks(number, request).await {
                Ok(answer) => {
                    // The end of the node is the only reason for nobody to listen.
                    let _ = answers.send((peer, height, decode_blocks(&answer))).await;
                }
                // The engine's own timeout turns to another peer.
                Err(error) => tracing::debug!(%error, %number, height, "a block was not given"),
            }
        });
    }
}

impl Ahead {
    /// Takes what a peer gave; returns the answer for the engine.
    fn take_answer(&mut self, asked: PeerId, height: u32, blocks: Vec<CertifiedBlock>) -> Event {
        self.blocks.retain(|at, _| *at > height);
        self.bytes = self.blocks.values().map(|(_, block)| bytes_of(block)).sum();
        let mut blocks = blocks.into_iter();
        let first = blocks.next();
        let mut at = height;
        for block in blocks {
            at = at.saturating_add(1);
            let bytes = bytes_of(&block);
            if self.bytes.saturating_add(bytes) > FETCHED_BYTES_MAX || self.blocks.contains_key(&at)
            {
                break;
            }
            self.bytes = self.bytes.saturating_add(bytes);
            self.blocks.insert(at, (asked, block));
        }
        self.stand_in = None;
        answer(asked, height, first)
    }

    /// Returns a block that came with an earlier answer, as if the peer that is asked had given it.
    fn find(&mut self, asked: PeerId, height: u32) -> Option<Event> {
        self.stand_in = None;
        let (from, block) = self.blocks.remove(&height)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&block));
        self.stand_in = Some((asked, from));
        Some(answer(asked, height, Some(block)))
    }

    /// Returns who really gave what a peer is blamed for; forgets all that one gave.
    fn culprit(&mut self, blamed: PeerId) -> PeerId {
        match self.stand_in {
            Some((asked, from)) if asked == blamed => {
                self.blocks.clear();
                self.bytes = 0;
                from
            }
            _ => blamed,
        }
    }
}

fn answer(peer: PeerId, height: u32, block: Option<CertifiedBlock>) -> Event {
    let answer = BlockAnswer { height, block };
    Event::BlockAnswer { peer, answer }
}

fn bytes_of(certified: &CertifiedBlock) -> usize {
    let block = &certified.block;
    block.header.len().saturating_add(block.body.len())
}

fn verdict(judgement: Judgement) -> Verdict {
    match judgement {
        Judgement::Accept => Verdict::Accept,
        Judgement::Ignore => Verdict::Ignore,
        Judgement::Reject => Verdict::Reject,
    }
}

/// Returns what counts against a peer; `None` for what an honest one may do when others are not.
fn fault(refusal: &Fault) -> Option<Refusal> {
    match refusal {
        // The network itself counts requests that nobody answers.
        Fault::TooManyProposals(_) | Fault::BufferFull | Fault::NoAnswer(_) => None,
        Fault::Unasked(_) | Fault::WrongBody(_) | Fault::Certificate(_) => {
            Some(Refusal::WrongAnswer)
        }
        _ => Some(Refusal::InvalidMessage),
    }
}

fn to_figure(notice: &Notice) -> commonwatt_metrics::AgreementEvent {
    use commonwatt_metrics::AgreementEvent;
    match notice {
        Notice::Decided {
            round,
            took_ms,
            is_fetched,
            ..
        } => AgreementEvent::Decided {
            round: *round,
            took: Duration::from_millis(*took_ms),
            is_fetched: *is_fetched,
        },
        Notice::Withheld { .. } => AgreementEvent::Withheld,
        Notice::Invalid { .. } => AgreementEvent::Invalid,
        Notice::EvidenceSubmitted { .. } => AgreementEvent::Evidence,
        Notice::HeightStarted { .. }
        | Notice::Waiting { .. }
        | Notice::Silenced { .. }
        | Notice::Forgotten { .. }
        | Notice::Closed { .. }
        | Notice::EvidenceRefused { .. }
        | Notice::NotBuilt { .. } => AgreementEvent::Other,
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::HeightStarted {
            height,
            is_voting,
            behind,
        } => tracing::debug!(height, is_voting, behind, "a height begins"),
        Notice::Waiting { heard, needed } => tracing::info!(
            heard,
            needed,
            "this node starts behind: before it votes for steps that are over, it waits to hear from other validators how far they are, \
             lest it sign again what it signed before"
        ),
        Notice::Decided {
            height,
            hash,
            round,
            author,
            author_rank,
            is_late,
            is_own,
            is_fetched,
            extrinsics,
            took_ms,
        } => tracing::info!(
            block = height,
            ?hash,
            transactions = extrinsics,
            %author,
            rank = author_rank,
            round,
            late = is_late,
            own = is_own,
            fetched = is_fetched,
            ms = took_ms,
            "decided"
        ),
        Notice::Withheld { height, hash, why } => {
            tracing::warn!(
                height,
                ?hash,
                "approval of a block is withheld for a while: {why}"
            );
        }
        Notice::Invalid { height, hash, why } => {
            tracing::error!(height, ?hash, "a proposed block is invalid: {why}");
        }
        Notice::Silenced { height, round } => tracing::error!(
            height,
            round,
            "a vote of this validator came in that its write-ahead log does not know, from before this process began: the log was \
             lost, or is an old copy. This node does not vote at this height. Make sure that the keys are on one node only"
        ),
        Notice::Forgotten { height, votes_from } => tracing::error!(
            height,
            votes_from,
            "this validator's vote key signed the certificate of a block of which its write-ahead log does not know: the log is an \
             old copy, or the keys are on another node too. This node only follows up to where nobody can have voted yet. Make \
             sure that the keys are on one node only"
        ),
        Notice::Closed { height } => tracing::error!(
            height,
            "another node signs with this validator's vote key: this node has closed its write-ahead log and votes no more, \
             since two that do so contradict each other, which costs all tokens. Leave the keys on one node only; the operator \
             guide says how to go on"
        ),
        Notice::EvidenceSubmitted { offender, height } => tracing::warn!(
            %offender,
            height,
            "a validator contradicted itself; the evidence is on its way into a block"
        ),
        Notice::EvidenceRefused {
            offender,
            height,
            why,
        } => tracing::debug!(%offender, height, why, "evidence was not taken"),
        Notice::NotBuilt { height, round, why } => {
            tracing::error!(
                height,
                round,
                "it is this node's turn, but it makes no block: {why}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::{Block, Certificate};
    use commonwatt_runtime::Hash;

    fn block(height: u32, bytes: usize) -> CertifiedBlock {
        CertifiedBlock {
            block: Block {
                header: vec![1; 100],
                body: Arc::new(vec![0; bytes]),
            },
            certificate: Certificate {
                height,
                round: 0,
                block: Hash::zero(),
                signatures: Vec::new(),
            },
        }
    }

    fn height_of(event: Option<Event>) -> Option<(PeerId, u32)> {
        match event {
            Some(Event::BlockAnswer { peer, answer }) => {
                let block = answer.block.expect("a block");
                assert_eq!(block.certificate.height, answer.height);
                Some((peer, answer.height))
            }
            _ => None,
        }
    }

    #[test]
    fn what_came_ahead_answers_the_next_questions_whoever_is_asked() {
        let (one, other) = (PeerId(1), PeerId(2));
        let mut ahead = Ahead::default();
        let blocks = (5..9).map(|height| block(height, 10)).collect();
        let first = ahead.take_answer(one, 5, blocks);
        assert_eq!(height_of(Some(first)), Some((one, 5)));
        assert_eq!(height_of(ahead.find(other, 6)), Some((other, 6)));
        // What was wrong with it was the fault of who gave it, and what else that one gave is not used.
        assert_eq!(ahead.culprit(other), one);
        assert_eq!(height_of(ahead.find(other, 7)), None);
        assert_eq!(ahead.culprit(other), other);
    }

    #[test]
    fn blocks_that_came_ahead_are_bounded() {
        let mut ahead = Ahead::default();
        let blocks = (1..6)
            .map(|height| block(height, FETCHED_BYTES_MAX / 3))
            .collect();
        ahead.take_answer(PeerId(1), 1, blocks);
        assert_eq!(ahead.blocks.len(), 2);
        // An answer without a block is no block.
        let Event::BlockAnswer { answer, .. } = ahead.take_answer(PeerId(1), 3, Vec::new()) else {
            panic!("an answer is an answer");
        };
        assert_eq!(answer.block, None);
        assert!(ahead.blocks.is_empty() && ahead.bytes == 0);
    }

    #[test]
    fn an_honest_peer_is_not_blamed_for_others() {
        use commonwatt_primitives::AccountId;
        let who = AccountId::new([1; 32]);
        for refusal in [
            Fault::TooManyProposals(who.clone()),
            Fault::BufferFull,
            Fault::NoAnswer(7),
        ] {
            assert_eq!(fault(&refusal), None, "{refusal}");
        }
        assert_eq!(fault(&Fault::Unasked(7)), Some(Refusal::WrongAnswer));
        assert_eq!(
            fault(&Fault::BadSignature(who)),
            Some(Refusal::InvalidMessage)
        );
    }
}
