//! What comes from other nodes: handed to the engine, taken into the pool, or answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use codec::{Decode, Encode};
use commonwatt_chain::Chain;
use commonwatt_consensus::{
    CertifiedBlock, Message, PeerId, ProposedBlock, Timeout, TimeoutKind, Timing,
    limits::MESSAGE_BYTES_MAX,
};
use commonwatt_engine::{EngineConfig, Event as EngineEvent, certified_block};
use commonwatt_metrics::AgreementFigures;
use commonwatt_network::{
    BlockContent, BlocksRequest, Event, EventReceiver, FetchedTransaction, Gossip, IncomingRequest,
    MessageId, NetworkHandle, PeerNumber, Request, Topic, TransactionBatch, TransactionsRequest,
    Verdict, limits::ANSWER_BYTES_MAX,
};
use commonwatt_runtime::Hash;
use commonwatt_txpool::{PoolError, Refusal};
use sp_runtime::transaction_validity::InvalidTransaction;
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::Instant,
};

use super::{
    answering::Answering,
    assemblies::{Arrived, Assemblies, Bringer, EarlyProposals, Turns, is_rightful},
    doorkeeper::Doorkeeper,
    early::EarlyBids,
    proposals::{RecentBlocks, Unfinished, WireProposal, is_compact_of, reassemble},
};
use crate::stop::Stop;

/// Events that wait for the engine. The network holds what does not fit, votes first.
pub const EVENTS_MAX: usize = 256;

/// Batches of transactions that wait for the pool; beyond that they are not taken, and others pass them on.
const BATCHES_MAX: usize = 64;

/// Bids and evidence that wait for the pool: those of as many validators as there can be, twice.
const URGENT_MAX: usize = 512;

/// What a round waits for.
const ROUND: [TimeoutKind; 3] = [
    TimeoutKind::Propose,
    TimeoutKind::Prevote,
    TimeoutKind::Precommit,
];

/// Transactions of the pool that are passed on to a peer that comes, so that one that was away has what it missed.
const PASSED_ON_MAX: usize = 4_096;

/// Transactions with wrong signatures that a peer may bring between two blocks, when they could be right on a block that this
/// node does not have yet: each costs the time of verifying it. A block later it may bring as many again.
const WRONG_SIGNATURES_MAX: usize = 8_192;

/// Peers that are remembered to have brought such transactions.
const FORGERS_MAX: usize = 1_024;

/// Something for the engine, with the message that the network waits to hear about.
pub struct Told {
    /// What happened.
    pub event: EngineEvent,
    /// The gossiped message it came by.
    pub message: Option<MessageId>,
}

/// Everything the pump needs. Cheap to clone.
#[derive(Clone)]
pub struct Pump {
    /// The chain.
    pub chain: Arc<Chain>,
    /// The network.
    pub network: NetworkHandle,
    /// Who is let in.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Blocks that were proposed lately.
    pub recent: Arc<RecentBlocks>,
    /// To the engine.
    pub told: mpsc::Sender<Told>,
    /// Whether there is an engine that listens.
    pub is_engine_on: Arc<AtomicBool>,
    /// What is counted.
    pub figures: AgreementFigures,
}

impl Pump {
    /// Runs until asked to stop.
    pub async fn run(self, mut events: EventReceiver, stop: Stop) -> Result<()> {
        let (urgent, waiting_urgent) = mpsc::channel(URGENT_MAX);
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        let early = EarlyBids::new(&self.chain)?;
        let intake = Intake {
            chain: self.chain.clone(),
            network: self.network.clone(),
            urgent: waiting_urgent,
            batches: waiting,
            early,
            forgers: Forgers::default(),
        };
        let intake = tokio::spawn(intake.run());
        let mut heads = self.chain.subscribe_heads();
        let mut pump = PumpTask {
            turns: Turns::new(self.chain.clone()),
            timing: EngineConfig::new(self.chain.timing()?, None).agreement,
            assemblies: Arc::default(),
            early: EarlyProposals::default(),
            answering: Answering::default(),
            urgent,
            batches,
            pump: self,
        };
        loop {
            let event = tokio::select! {
                () = stop.asked() => break,
                head = heads.recv() => {
                    anyhow::ensure!(!matches!(head, Err(RecvError::Closed)), "the chain has ended");
                    pump.take_early();
                    continue;
                }
                event = events.recv() => event,
            };
            let Some(event) = event else {
                anyhow::ensure!(stop.is_asked(), "the network has ended");
                break;
            };
            // A full engine holds up the network's queue, but not the end.
            tokio::select! {
                () = stop.asked() => break,
                () = pump.take(event) => {}
            }
        }
        intake.abort();
        Ok(())
    }

    async fn tell(&self, event: EngineEvent, message: Option<MessageId>) {
        if !self.is_engine_on.load(Ordering::Relaxed) {
            self.ignore(message.as_ref());
            return;
        }
        // An engine that is gone is the end of the node.
        let _ = self.told.send(Told { event, message }).await;
    }

    fn ignore(&self, message: Option<&MessageId>) {
        if let Some(id) = message {
            self.network.report(id, Verdict::Ignore);
        }
    }
}

struct PumpTask {
    pump: Pump,
    turns: Turns,
    /// How long proposals are waited for.
    timing: Timing,
    assemblies: Arc<Assemblies>,
    early: EarlyProposals,
    answering: Answering,
    urgent: mpsc::Sender<TransactionBatch>,
    batches: mpsc::Sender<TransactionBatch>,
}

impl PumpTask {
    async fn take(&mut self, event: Event) {
        let pump = &self.pump;
        match event {
            Event::PeerJoined { peer, id, account } => {
                let shown = account.as_ref().map(|who| who.to_string());
                tracing::info!(%peer, %id, account = shown, "connected");
                pump.figures.note_peers(pump.network.peers().len());
                let peer = name(peer);
                pump.tell(EngineEvent::PeerCame { peer, account }, None)
                    .await;
                let pooled = pump.chain.pooled().into_iter().take(PASSED_ON_MAX);
                publish(&pump.network, pump.chain.best().0, pooled);
            }
            Event::PeerGone { peer } => {
                tracing::info!(%peer, "disconnected");
                pump.figures.note_peers(pump.network.peers().len());
                pump.tell(EngineEvent::PeerGone(name(peer)), None).await;
            }
            Event::Status { peer, decided } => {
                let message = commonwatt_engine::EngineMessage::Status { decided };
                let event = EngineEvent::Message {
                    peer: name(peer),
                    message,
                    delivery: None,
                };
                pump.tell(event, None).await;
            }
            Event::Gossip(gossip) => self.take_gossip(gossip).await,
            Event::Transactions(batch) => {
                if let Err(refused) = self.batches.try_send(batch) {
                    pump.ignore(Some(&refused.into_inner().id));
                }
            }
            Event::Request(incoming) => self.answer(incoming),
        }
    }

    async fn take_gossip(&mut self, gossip: Gossip) {
        let Gossip {
            id,
            attempt,
            payload,
        } = gossip;
        match id.topic {
            Topic::Votes => match Message::decode_bounded(&payload) {
                Ok(message) if !matches!(message, Message::Proposal(_)) => {
                    self.pump.pass(id, attempt, message).await;
                }
                _ => self.pump.network.report(&id, Verdict::Reject),
            },
            Topic::Proposals => match WireProposal::decode(&payload) {
                Some(WireProposal::Whole(proposed)) => {
                    self.pump
                        .pass(id, attempt, Message::Proposal(proposed))
                        .await;
                }
                Some(WireProposal::Compact { signed, block }) => {
                    self.take_compact(Arrived {
                        id,
                        attempt,
                        signed,
                        block,
                    });
                }
                None => self.pump.network.report(&id, Verdict::Reject),
            },
            Topic::Urgent | Topic::Transactions => {
                let queue = match id.topic {
                    Topic::Urgent => &self.urgent,
                    _ => &self.batches,
                };
                let batch = TransactionBatch {
                    id,
                    transactions: vec![payload],
                };
                if let Err(refused) = queue.try_send(batch) {
                    self.pump.ignore(Some(&refused.into_inner().id));
                }
            }
        }
    }

    /// Puts a large block together, if the proposer of a round of the next height signed it. That of a height after that waits
    /// until it is the next.
    fn take_compact(&mut self, arrived: Arrived) {
        let pump = &self.pump;
        let proposal = &arrived.signed.proposal;
        let genesis = pump.chain.genesis_hash();
        let (next, set) = match self.turns.next() {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "it is not known who proposes the next block");
                return pump.ignore(Some(&arrived.id));
            }
        };
        let is_engine_on = pump.is_engine_on.load(Ordering::Relaxed);
        if is_engine_on && proposal.height == next {
            if !is_rightful(&set, &genesis, &arrived.signed, &arrived.block.header) {
                tracing::debug!(?proposal, "a proposal that nobody was to make");
                return pump.network.report(&arrived.id, Verdict::Reject);
            }
            return self.assemble(arrived);
        }
        let is_signed = || {
            let signed = &arrived.signed;
            let is_signed_by = |key: &_| signed.is_signed_by(key, &genesis);
            pump.doorkeeper.is_signed(&proposal.validator, is_signed_by)
        };
        let is_kept =
            is_engine_on && EarlyProposals::are_kept(proposal.height, next) && is_signed();
        let unused = match is_kept {
            true => self.early.keep(arrived),
            // Of a step that is over or far away, or of nobody this node knows yet.
            false => Some(arrived),
        };
        pump.ignore(unused.map(|unused| unused.id).as_ref());
    }

    /// Takes the proposals of the block that is the next one now.
    fn take_early(&mut self) {
        let next = self.pump.chain.best().0.saturating_add(1);
        for arrived in self.early.take_due(next) {
            self.take_compact(arrived);
        }
    }

    /// Puts the block of a rightful proposal together.
    fn assemble(&self, arrived: Arrived) {
        let Arrived {
            id,
            attempt,
            signed,
            block,
        } = arrived;
        let pump = self.pump.clone();
        let proposal = &signed.proposal;
        if let Some(known) = pump.recent.block(&proposal.block) {
            tokio::spawn(async move {
                let whole = known.clone();
                let compared =
                    tokio::task::spawn_blocking(move || is_compact_of(&block, &whole)).await;
                match compared {
                    Ok(true) => {
                        let block = known;
                        let proposal = Message::Proposal(ProposedBlock { signed, block });
                        pump.pass(id, attempt, proposal).await;
                    }
                    // What others could not put together goes no further.
                    _ => pump.ignore(Some(&id)),
                }
            });
            return;
        }
        let proposer = proposal.validator.clone();
        let is_proposer = pump.network.peers().into_iter().any(|peer| {
            peer.number == id.peer && peer.account.as_ref() == Some(&proposal.validator)
        });
        let peer = id.peer;
        let Some(mut place) = self
            .assemblies
            .begin(proposal, Bringer { peer, is_proposer })
        else {
            return pump.ignore(Some(&id));
        };
        // Until its round is over; afterwards nobody waits for it any more.
        let (height, round) = (proposal.height, proposal.round);
        let time = ROUND.map(|kind| {
            self.timing.duration_of(&Timeout {
                height,
                round,
                kind,
            })
        });
        let deadline = Instant::now() + time.iter().sum::<Duration>();
        tokio::spawn(async move {
            let whole = reassemble(&pump.chain, &pump.network, peer, &proposer, block, deadline);
            let whole = tokio::select! {
                whole = tokio::time::timeout_at(deadline, whole) => {
                    whole.unwrap_or(Err(Unfinished::Lacking))
                }
                _ = &mut place.ended => Err(Unfinished::Lacking),
            };
            drop(place);
            match whole {
                Ok(block) => {
                    pump.recent.insert_of(&signed.proposal, &block);
                    let proposal = Message::Proposal(ProposedBlock { signed, block });
                    pump.pass(id, attempt, proposal).await;
                }
                Err(why) => {
                    tracing::debug!(block = ?signed.proposal.block, ?why, "a proposed block could not be put together");
                    match why {
                        Unfinished::Lacking => pump.ignore(Some(&id)),
                        Unfinished::Garbage => pump.network.report(&id, Verdict::Reject),
                    }
                }
            }
        });
    }

    fn answer(&self, IncomingRequest { peer, request }: IncomingRequest) {
        // Whoever asks beyond that hears at once that there is no answer, and asks another.
        let Some(answer) = self.answering.begin(peer) else {
            return;
        };
        let (chain, recent) = (self.pump.chain.clone(), self.pump.recent.clone());
        tokio::task::spawn_blocking(move || {
            let _answer = answer;
            match request {
                Request::Blocks(asked, responder) => {
                    responder.send(find_blocks(&chain, &asked));
                }
                Request::Transactions(
                    TransactionsRequest::OfBlock { header, positions },
                    responder,
                ) => responder.send(recent.find(&header, &positions)),
                Request::Transactions(TransactionsRequest::ByHash(hashes), responder) => {
                    responder.send(find_transactions(&chain, &hashes));
                }
            }
        });
    }
}

impl Pump {
    async fn pass(&self, id: MessageId, attempt: u32, message: Message) {
        let event = EngineEvent::Message {
            peer: name(id.peer),
            message: commonwatt_engine::EngineMessage::Agreement { attempt, message },
            delivery: Some(commonwatt_engine::Delivery(0)),
        };
        self.tell(event, Some(id)).await;
    }
}

/// Returns a peer's name in the agreement.
pub fn name(peer: PeerNumber) -> PeerId {
    PeerId(peer.0)
}

/// Passes transactions on to all peers, each the way of its lane. `attempt` lets repetitions pass: 0 for the first time.
pub fn publish(
    network: &NetworkHandle,
    attempt: u32,
    transactions: impl IntoIterator<Item = commonwatt_chain::Pooled>,
) {
    for pooled in transactions {
        let bytes = pooled.extrinsic.to_vec();
        let published = match pooled.lane {
            commonwatt_txpool::Lane::Evidence => network.publish(Topic::Urgent, attempt, &bytes),
            _ => network.publish_transactions(attempt, [bytes]),
        };
        if let Err(error) = published {
            tracing::debug!(%error, hash = ?pooled.hash, "a transaction was not passed on");
        }
    }
}

/// Takes transactions of others into the pool, batch after batch, those that are urgent first, and bids that came early after
/// their block's parent.
struct Intake {
    chain: Arc<Chain>,
    network: NetworkHandle,
    urgent: mpsc::Receiver<TransactionBatch>,
    batches: mpsc::Receiver<TransactionBatch>,
    early: EarlyBids,
    forgers: Forgers,
}

impl Intake {
    async fn run(mut self) {
        let mut heads = self.chain.subscribe_heads();
        // The pool is told of a block before the block is announced.
        let mut best = self.chain.best().0;
        loop {
            tokio::select! {
                biased;
                head = heads.recv() => {
                    best = match head {
                        Ok(head) => head.header.number,
                        Err(RecvError::Lagged(_)) => self.chain.best().0,
                        Err(RecvError::Closed) => return,
                    };
                    self.take_due(best).await;
                }
                urgent = self.urgent.recv() => match urgent {
                    Some(urgent) => self.take(urgent, best).await,
                    None => return,
                },
                batch = self.batches.recv() => match batch {
                    Some(batch) => self.take(batch, best).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, batch: TransactionBatch, best: u32) {
        let TransactionBatch {
            id,
            mut transactions,
        } = batch;
        if self.forgers.is_tiring(id.peer) {
            return self.network.report(&id, Verdict::Ignore);
        }
        if id.topic == Topic::Urgent {
            let early = &mut self.early;
            transactions.retain(|bid| !early.keep(bid, id.peer, best));
        }
        // What is kept is passed on when the pool has taken it.
        let results = submit(&self.chain, transactions).await;
        self.forgers.note(id.peer, &results);
        self.network.report(&id, verdict_of(&results));
    }

    async fn take_due(&mut self, best: u32) {
        self.forgers.forgive();
        let due = self.early.take_due(best);
        if due.is_empty() {
            return;
        }
        tracing::debug!(bids = due.len(), best, "bids that came early are due");
        let taken = submit(&self.chain, due).await.into_iter();
        let taken = taken.filter_map(|taken| taken.outcome.ok());
        let pooled: Vec<_> = taken
            .filter_map(|hash| self.chain.find_pooled(&hash))
            .collect();
        publish(&self.network, best, pooled);
    }
}

/// What became of a transaction that was passed on.
struct Taken {
    outcome: Result<Hash, PoolError>,
    /// No block near this node's makes its signature right.
    is_forged: bool,
}

/// Who brings transactions with wrong signatures that cannot be held against it.
#[derive(Default)]
struct Forgers(BTreeMap<PeerNumber, usize>);

impl Forgers {
    fn note(&mut self, peer: PeerNumber, results: &[Taken]) {
        let wrong = results.iter().filter(|taken| is_bad_proof(&taken.outcome));
        let wrong = wrong.count();
        if wrong > 0 && (self.0.len() < FORGERS_MAX || self.0.contains_key(&peer)) {
            let brought = self.0.entry(peer).or_default();
            *brought = brought.saturating_add(wrong);
        }
    }

    fn is_tiring(&self, peer: PeerNumber) -> bool {
        self.0
            .get(&peer)
            .is_some_and(|brought| *brought >= WRONG_SIGNATURES_MAX)
    }

    fn forgive(&mut self) {
        self.0.clear();
    }
}

fn is_bad_proof(outcome: &Result<Hash, PoolError>) -> bool {
    let Err(PoolError::Invalid(refusal)) = outcome else {
        return false;
    };
    refusal.invalid() == Some(InvalidTransaction::BadProof)
}

/// Hands what others passed on to the pool; nothing comes back when nothing was handed over.
async fn submit(chain: &Arc<Chain>, transactions: Vec<Vec<u8>>) -> Vec<Taken> {
    if transactions.is_empty() {
        return Vec::new();
    }
    let chain = chain.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let outcomes = chain.submit_passed_on(transactions.clone());
        let taken = outcomes.into_iter().zip(transactions);
        taken
            .map(|(outcome, bytes)| Taken {
                is_forged: is_bad_proof(&outcome) && chain.is_forged(&bytes),
                outcome,
            })
            .collect()
    });
    // A panic there is logged, and says nothing about who passed them on.
    taken.await.unwrap_or_default()
}

/// A batch is passed on when one of it is new here and none can only come from somebody dishonest. That one is refused says
/// nothing about who sent it: states differ from node to node.
fn verdict_of(results: &[Taken]) -> Verdict {
    let is_garbage = |taken: &Taken| {
        taken.is_forged
            || matches!(
                taken.outcome,
                Err(PoolError::Invalid(Refusal::Malformed(_)) | PoolError::TooLarge { .. })
            )
    };
    if results.iter().any(is_garbage) {
        Verdict::Reject
    } else if results.iter().any(|taken| taken.outcome.is_ok()) {
        Verdict::Accept
    } else {
        Verdict::Ignore
    }
}

/// Returns final blocks with their proofs, as many as there are and fit into an answer.
fn find_blocks(chain: &Chain, asked: &BlocksRequest) -> Vec<Vec<u8>> {
    let last = asked.from.saturating_add(asked.count).saturating_sub(1);
    let mut bytes = 0_usize;
    let mut found = Vec::new();
    for height in asked.from..=last.min(chain.best().0) {
        let encoded = match asked.content {
            BlockContent::Full => {
                certified_block(chain, height).map(|block| block.map(|block| block.encode()))
            }
            BlockContent::HeaderAndCertificate => chain
                .light_block(height)
                .map(|block| block.map(|block| block.encode())),
        };
        let encoded = match encoded {
            Ok(Some(encoded)) => encoded,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, height, "a block that a peer asks for cannot be read");
                break;
            }
        };
        bytes = bytes.saturating_add(encoded.len());
        let is_over = bytes > ANSWER_BYTES_MAX.min(MESSAGE_BYTES_MAX) && !found.is_empty();
        if is_over {
            break;
        }
        found.push(encoded);
    }
    found
}

/// Returns transactions of the pool, by the places of their hashes.
fn find_transactions(chain: &Chain, hashes: &[Hash]) -> Vec<FetchedTransaction> {
    let found = (0_u32..).zip(hashes).filter_map(|(index, hash)| {
        let bytes = chain.find_pooled(hash)?.extrinsic.to_vec();
        Some(FetchedTransaction { index, bytes })
    });
    found.collect()
}

/// Decodes blocks that a peer gave; those behind the first that cannot be read are dropped.
pub fn decode_blocks(answer: &[Vec<u8>]) -> Vec<CertifiedBlock> {
    let blocks = answer.iter();
    blocks
        .map_while(|bytes| {
            let block = CertifiedBlock::decode(&mut &bytes[..]).ok()?;
            block.verify_bounds().ok()?;
            Some(block)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agreement::fixtures::chain;
    use commonwatt_consensus::{Proposal, SignedProposal};
    use commonwatt_executor::BuildLimits;
    use commonwatt_metrics::{About, Metrics};
    use commonwatt_network::{
        Network, NetworkConfig,
        compact::{CompactBlock, ShortId},
    };
    use commonwatt_primitives::digest::Punctuality;
    use commonwatt_runtime::{Header, example};
    use commonwatt_storage::CommitMode;
    use sp_core::Pair;

    /// A pump of a node whose engine runs, and its network.
    async fn pump(chain: Chain) -> (PumpTask, EventReceiver, mpsc::Receiver<Told>) {
        let chain = Arc::new(chain);
        let mut config = NetworkConfig::new([7; 32].into(), chain.genesis_hash());
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let doorkeeper = Doorkeeper::new(&chain, None, BTreeSet::new()).unwrap();
        let doorkeeper = Arc::new(doorkeeper);
        let (admission, introduction) = (doorkeeper.clone() as _, doorkeeper.clone() as _);
        let started = Network::start(config, admission, introduction).await;
        let (network, events) = started.unwrap();
        let (told, waiting) = mpsc::channel(EVENTS_MAX);
        let about = About {
            name: "commonwatt".into(),
            version: "1.2.3".into(),
            chain_id: "test".into(),
            is_authority: false,
        };
        let metrics = Metrics::new(&about).unwrap();
        let task = PumpTask {
            turns: Turns::new(chain.clone()),
            timing: Timing::for_step(2_000),
            assemblies: Arc::default(),
            early: EarlyProposals::default(),
            answering: Answering::default(),
            urgent: mpsc::channel(1).0,
            batches: mpsc::channel(1).0,
            pump: Pump {
                chain,
                network,
                doorkeeper,
                recent: Arc::default(),
                told,
                is_engine_on: Arc::new(AtomicBool::new(true)),
                figures: metrics.agreement().clone(),
            },
        };
        (task, events, waiting)
    }

    /// A proposal of X's block, as `name` signs it.
    fn arrived(chain: &Chain, header: &Header, height: u32, name: &str) -> Arrived {
        let block = CompactBlock {
            header: header.encode(),
            whole: Vec::new(),
            short_ids: vec![ShortId([7; 8])],
        };
        let proposal = Proposal {
            height,
            round: 0,
            block: block.header_hash(),
            pol_round: None,
            validator: example::account(name),
        };
        let payload = proposal.payload(&chain.genesis_hash());
        let signature = example::pair(name).sign(&payload);
        Arrived {
            id: MessageId {
                topic: Topic::Proposals,
                peer: PeerNumber(1),
                hash: [0; 32],
            },
            attempt: 0,
            signed: SignedProposal {
                proposal,
                signature,
            },
            block,
        }
    }

    #[tokio::test]
    async fn only_the_proposer_of_the_next_block_has_it_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let [maker, node] = ["maker", "node"].map(|name| chain(&folder.path().join(name)));
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        let timing = example::genesis().timing;
        let made = maker.author_next(&timing, Punctuality::OnTime, &limits, CommitMode::Durable);
        let hash = made.unwrap().unwrap().hash;
        let block = maker.db().block(&hash).unwrap().unwrap();
        let header = block.header.clone();
        let (mut task, _events, _told) = pump(node).await;
        let chain = task.pump.chain.clone();
        let found = |task: &PumpTask| (task.assemblies.count(), task.early.count());
        // Signed by a validator, but of a height that is nowhere near.
        task.take_compact(arrived(&chain, &header, 1_000_000_000, "X"));
        assert_eq!(found(&task), (0, 0));
        task.take_compact(arrived(&chain, &header, 1, "Y"));
        assert_eq!(found(&task), (0, 0), "it is not Y's turn");
        let mut forged = arrived(&chain, &header, 1, "X");
        forged.signed.proposal.round = 1;
        task.take_compact(forged);
        assert_eq!(found(&task), (0, 0), "X has not signed that");
        task.take_compact(arrived(&chain, &header, 2, "X"));
        assert_eq!(found(&task), (0, 1), "its parent may be on its way");
        task.take_compact(arrived(&chain, &header, 1, "X"));
        assert_eq!(found(&task), (1, 1));
        chain.import(block, CommitMode::Durable).unwrap();
        // Now it is of the next block, and its header is of another.
        task.take_early();
        assert_eq!(found(&task), (1, 0));
        task.pump.network.shutdown().await;
    }

    fn taken(outcome: Result<Hash, PoolError>) -> Taken {
        let is_forged = false;
        Taken { outcome, is_forged }
    }

    fn bad_proof() -> Result<Hash, PoolError> {
        let refusal = Refusal::Invalid(InvalidTransaction::BadProof);
        Err(PoolError::Invalid(refusal))
    }

    #[test]
    fn only_what_nobody_honest_sends_is_rejected() {
        let good = || taken(Ok(Hash::zero()));
        let known = || taken(Err(PoolError::AlreadyImported(Hash::zero())));
        let garbage = taken(Err(PoolError::Invalid(Refusal::Malformed("x".into()))));
        let full = taken(Err(PoolError::ImmediatelyDropped));
        assert_eq!(verdict_of(&[good(), known()]), Verdict::Accept);
        assert_eq!(verdict_of(&[known(), full]), Verdict::Ignore);
        assert_eq!(verdict_of(&[good(), garbage]), Verdict::Reject);
        assert_eq!(verdict_of(&[]), Verdict::Ignore);
        assert_eq!(verdict_of(&[taken(bad_proof())]), Verdict::Ignore);
        let forged = Taken {
            outcome: bad_proof(),
            is_forged: true,
        };
        assert_eq!(verdict_of(&[good(), forged]), Verdict::Reject);
    }

    #[test]
    fn wrong_signatures_that_prove_nothing_are_not_verified_without_end() {
        let (forger, honest) = (PeerNumber(1), PeerNumber(2));
        let mut forgers = Forgers::default();
        let batch: Vec<_> = (0..512).map(|_| taken(bad_proof())).collect();
        let batches = (0..100).take_while(|_| {
            forgers.note(forger, &batch);
            !forgers.is_tiring(forger)
        });
        assert_eq!(batches.count(), WRONG_SIGNATURES_MAX / 512 - 1);
        assert!(!forgers.is_tiring(honest));
        forgers.forgive();
        assert!(!forgers.is_tiring(forger));
        for peer in 0..5_000 {
            forgers.note(PeerNumber(peer), &batch);
        }
        assert_eq!(forgers.0.len(), FORGERS_MAX);
    }
}
