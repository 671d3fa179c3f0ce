//! What comes from other nodes: handed to the engine, taken into the pool, or answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::Result;
use codec::{Decode, Encode};
use commonwatt_chain::Chain;
use commonwatt_consensus::{
    CertifiedBlock, Message, PeerId, ProposedBlock, limits::MESSAGE_BYTES_MAX,
};
use commonwatt_engine::{Event as EngineEvent, certified_block};
use commonwatt_metrics::AgreementFigures;
use commonwatt_network::{
    BlockContent, BlocksRequest, Event, EventReceiver, FetchedTransaction, Gossip, MessageId,
    NetworkHandle, PeerNumber, Request, Topic, TransactionBatch, TransactionsRequest, Verdict,
    limits::ANSWER_BYTES_MAX,
};
use commonwatt_runtime::Hash;
use commonwatt_txpool::{PoolError, Refusal};
use tokio::sync::{Semaphore, broadcast::error::RecvError, mpsc};

use super::{
    doorkeeper::Doorkeeper,
    early::EarlyBids,
    proposals::{RecentBlocks, WireProposal, reassemble},
};
use crate::stop::Stop;

/// Events that wait for the engine. The network holds what does not fit, votes first.
pub const EVENTS_MAX: usize = 256;

/// Batches of transactions that wait for the pool; beyond that they are not taken, and others pass them on.
const BATCHES_MAX: usize = 64;

/// Large blocks that are put together at the same time.
const REASSEMBLIES_MAX: usize = 4;

/// Requests that are answered at the same time.
const ANSWERS_MAX: usize = 4;

/// Transactions of the pool that are passed on to a peer that comes, so that one that was away has what it missed.
const PASSED_ON_MAX: usize = 4_096;

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
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        let early = EarlyBids::new(&self.chain)?;
        let intake = take_in(self.chain.clone(), self.network.clone(), waiting, early);
        let intake = tokio::spawn(intake);
        let pump = PumpTask {
            reassemblies: Arc::new(Semaphore::new(REASSEMBLIES_MAX)),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
            batches,
            pump: self,
        };
        loop {
            let event = tokio::select! {
                () = stop.asked() => break,
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
    reassemblies: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    batches: mpsc::Sender<TransactionBatch>,
}

impl PumpTask {
    async fn take(&self, event: Event) {
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
            Event::Request(incoming) => self.answer(incoming.request),
        }
    }

    async fn take_gossip(&self, gossip: Gossip) {
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
                    self.take_compact(id, attempt, signed, block);
                }
                None => self.pump.network.report(&id, Verdict::Reject),
            },
            Topic::Urgent | Topic::Transactions => {
                let batch = TransactionBatch {
                    id,
                    transactions: vec![payload],
                };
                if let Err(refused) = self.batches.try_send(batch) {
                    self.pump.ignore(Some(&refused.into_inner().id));
                }
            }
        }
    }

    /// Puts a large block together, if a validator signed its proposal.
    fn take_compact(
        &self,
        id: MessageId,
        attempt: u32,
        signed: commonwatt_consensus::SignedProposal,
        block: commonwatt_network::compact::CompactBlock,
    ) {
        let pump = self.pump.clone();
        let genesis = pump.chain.genesis_hash();
        let is_signed = pump
            .doorkeeper
            .is_signed(&signed.proposal.validator, |key| {
                signed.is_signed_by(key, &genesis)
            });
        let Ok(permit) = self.reassemblies.clone().try_acquire_owned() else {
            pump.ignore(Some(&id));
            return;
        };
        if !is_signed || block.header_hash() != signed.proposal.block {
            // Of a validator that this node does not know yet, or forged.
            pump.ignore(Some(&id));
            return;
        }
        tokio::spawn(async move {
            let whole = reassemble(&pump.chain, &pump.network, id.peer, block).await;
            drop(permit);
            match whole {
                Some(block) => {
                    pump.recent.insert(&block);
                    let proposal = Message::Proposal(ProposedBlock { signed, block });
                    pump.pass(id, attempt, proposal).await;
                }
                None => {
                    tracing::debug!(block = ?signed.proposal.block, "a proposed block could not be put together");
                    pump.ignore(Some(&id));
                }
            }
        });
    }

    fn answer(&self, request: Request) {
        // Whoever asks beyond that hears at once that there is no answer, and asks another.
        let Ok(permit) = self.answers.clone().try_acquire_owned() else {
            return;
        };
        let (chain, recent) = (self.pump.chain.clone(), self.pump.recent.clone());
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
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

/// Takes transactions of others into the pool, batch after batch, and bids that came early after their block's parent.
async fn take_in(
    chain: Arc<Chain>,
    network: NetworkHandle,
    mut batches: mpsc::Receiver<TransactionBatch>,
    mut early: EarlyBids,
) {
    let mut heads = chain.subscribe_heads();
    // The pool is told of a block before the block is announced.
    let mut best = chain.best().0;
    loop {
        tokio::select! {
            batch = batches.recv() => {
                let Some(TransactionBatch { id, mut transactions }) = batch else {
                    return;
                };
                if id.topic == Topic::Urgent {
                    transactions.retain(|bid| !early.keep(bid, best));
                }
                // What is kept is passed on when the pool has taken it.
                let results = submit(&chain, transactions).await;
                network.report(&id, verdict_of(&results));
            }
            head = heads.recv() => {
                best = match head {
                    Ok(head) => head.header.number,
                    Err(RecvError::Lagged(_)) => best,
                    Err(RecvError::Closed) => return,
                };
                let due = early.take_due(best);
                if due.is_empty() {
                    continue;
                }
                tracing::debug!(bids = due.len(), best, "bids that came early are due");
                let taken = submit(&chain, due).await.into_iter().flatten();
                let pooled: Vec<_> = taken.filter_map(|hash| chain.find_pooled(&hash)).collect();
                publish(&network, best, pooled);
            }
        }
    }
}

/// Hands what others passed on to the pool; nothing comes back when nothing was handed over.
async fn submit(chain: &Arc<Chain>, transactions: Vec<Vec<u8>>) -> Vec<Result<Hash, PoolError>> {
    if transactions.is_empty() {
        return Vec::new();
    }
    let pool = chain.clone();
    let taken = tokio::task::spawn_blocking(move || pool.submit_passed_on(transactions));
    // A panic there is logged, and says nothing about who passed them on.
    taken.await.unwrap_or_default()
}

/// A batch is passed on when one of it is new here and none can only come from somebody dishonest. That one is refused says
/// nothing about who sent it: states differ from node to node.
fn verdict_of(results: &[Result<Hash, PoolError>]) -> Verdict {
    let is_garbage = |result: &Result<Hash, PoolError>| {
        matches!(
            result,
            Err(PoolError::Invalid(Refusal::Malformed(_)) | PoolError::TooLarge { .. })
        )
    };
    if results.iter().any(is_garbage) {
        Verdict::Reject
    } else if results.iter().any(Result::is_ok) {
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
    use super::*;

    #[test]
    fn only_what_nobody_honest_sends_is_rejected() {
        let good = Ok(Hash::zero());
        let known = Err(PoolError::AlreadyImported(Hash::zero()));
        let garbage = Err(PoolError::Invalid(Refusal::Malformed("x".into())));
        let full = Err(PoolError::ImmediatelyDropped);
        assert_eq!(verdict_of(&[good.clone(), known.clone()]), Verdict::Accept);
        assert_eq!(verdict_of(&[known, full]), Verdict::Ignore);
        assert_eq!(verdict_of(&[good, garbage]), Verdict::Reject);
        assert_eq!(verdict_of(&[]), Verdict::Ignore);
    }
}
