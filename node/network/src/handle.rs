//! What the caller holds.

use std::sync::{Arc, atomic::AtomicU32, atomic::Ordering};

use crate::p2p::{Multiaddr, PeerId};
use commonwatt_primitives::AccountId;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    admission::{Admission, Introduction},
    config::NetworkConfig,
    error::{PublishError, RequestError, StartError},
    event::{EventReceiver, Inbox},
    figures::{Figure, figures},
    limits::COMMANDS_MAX,
    numbers::PeerNumber,
    outbox::Outbox,
    peer_book::Refusal,
    requests::{BlocksRequest, FetchedTransaction, TransactionsRequest},
    task::Task,
    topic::{MessageId, Topic, Verdict},
    traffic::{Counters, Statistics, Traffic, count},
};

/// A peer that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its number.
    pub number: PeerNumber,
    /// Its id.
    pub id: PeerId,
    /// Its account, if it is a validator; otherwise it is a full node.
    pub account: Option<AccountId>,
    /// The last block it says it has decided.
    pub decided: Option<u32>,
    /// What counts against it: 0 is good, [`crate::limits::BAN_SCORE`] bans.
    pub score: u32,
    /// Where it is.
    pub address: Multiaddr,
}

/// What the caller tells the network's task.
#[derive(Debug)]
pub(crate) enum Command {
    Report(MessageId, Verdict),
    AskBlocks(PeerNumber, BlocksRequest, Answerer<Vec<u8>>),
    AskTransactions(
        PeerNumber,
        TransactionsRequest,
        Answerer<FetchedTransaction>,
    ),
    SendStatus(PeerNumber, u32),
    AnnounceStatus,
    Refuse(PeerNumber, Refusal),
    Recheck,
    Shutdown,
}

/// The way back to who asked.
pub(crate) type Answerer<T> = oneshot::Sender<Result<Vec<T>, RequestError>>;

/// What the handles and the task share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) own: PeerId,
    pub(crate) outbox: Outbox,
    pub(crate) counters: Arc<Counters>,
    pub(crate) peers: Mutex<Vec<PeerInfo>>,
    pub(crate) listening: Mutex<Vec<Multiaddr>>,
    /// This node's last decided block, as peers are told that ask.
    pub(crate) decided: AtomicU32,
}

/// The network.
#[derive(Debug)]
pub struct Network;

impl Network {
    /// Starts the network as a task of the current tokio runtime. Returns once it listens.
    ///
    /// It ends with [`NetworkHandle::shutdown`], or when all handles are dropped.
    pub async fn start(
        config: NetworkConfig,
        admission: Arc<dyn Admission>,
        introduction: Arc<dyn Introduction>,
    ) -> Result<(NetworkHandle, EventReceiver), StartError> {
        let inbox = Arc::new(Inbox::default());
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (ended_sender, ended) = watch::channel(false);
        let mut task = Task::new(
            config,
            admission,
            introduction,
            inbox.clone(),
            command_receiver,
        )?;
        task.listen().await?;
        let handle = NetworkHandle {
            shared: task.shared().clone(),
            commands,
            ended,
        };
        tokio::spawn(async move {
            task.run().await;
            // Whoever waits for the end sees it even if nobody waits any more.
            let _ = ended_sender.send(true);
        });
        Ok((handle, EventReceiver::new(inbox)))
    }
}

/// Speaks to the network. Cheap to clone; no call waits for peers but those that ask something.
#[derive(Clone, Debug)]
pub struct NetworkHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    ended: watch::Receiver<bool>,
}

impl NetworkHandle {
    /// Returns this node's peer id.
    pub fn local_peer_id(&self) -> PeerId {
        self.shared.own
    }

    /// Returns where this node listens, with the ports the system chose.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.shared.listening.lock().clone()
    }

    /// Gossips a vote, a proposal or an urgent message to all peers. A repetition needs another `attempt`, or
    /// those who remember the first do not take it.
    ///
    /// Nobody being there is no error: whoever sends something that matters repeats it.
    pub fn publish(&self, topic: Topic, attempt: u32, payload: &[u8]) -> Result<(), PublishError> {
        self.shared.outbox.push(topic, attempt, payload)
    }

    /// Gossips transactions, in batches. When too many wait, the oldest are dropped. A repetition needs another `attempt`,
    /// as with [`Self::publish`].
    pub fn publish_transactions(
        &self,
        attempt: u32,
        transactions: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<(), PublishError> {
        for transaction in transactions {
            let dropped = self.shared.outbox.push_transaction(attempt, transaction)?;
            count(&self.shared.counters.outbox_dropped, dropped);
        }
        Ok(())
    }

    /// Says what is to be done with a gossiped message. A verdict that comes after
    /// [`crate::limits::VERDICT_TIMEOUT`] changes nothing; nor does one for which the network has no room.
    pub fn report(&self, id: &MessageId, verdict: Verdict) {
        self.tell(Command::Report(id.clone(), verdict));
    }

    /// Asks a peer for decided blocks. The answer holds at most as many as were asked for; what is in them is for
    /// the caller to check. Empty when the peer has none of them.
    pub async fn request_blocks(
        &self,
        peer: PeerNumber,
        request: BlocksRequest,
    ) -> Result<Vec<Vec<u8>>, RequestError> {
        request.verify().map_err(RequestError::OutOfBounds)?;
        let (sender, answer) = oneshot::channel();
        self.ask(Command::AskBlocks(peer, request, sender), answer)
            .await
    }

    /// Asks a peer for transactions. The answer holds those the peer has, as far as they fit, in the order asked.
    pub async fn request_transactions(
        &self,
        peer: PeerNumber,
        request: TransactionsRequest,
    ) -> Result<Vec<FetchedTransaction>, RequestError> {
        request.verify().map_err(RequestError::OutOfBounds)?;
        let (sender, answer) = oneshot::channel();
        self.ask(Command::AskTransactions(peer, request, sender), answer)
            .await
    }

    /// Tells one peer how far this node is; the peer's own status comes as an event.
    pub fn send_status(&self, peer: PeerNumber, decided: u32) {
        self.tell(Command::SendStatus(peer, decided));
    }

    /// Tells all peers how far this node is, and each that comes later. Their own statuses come as events.
    pub fn announce_status(&self, decided: u32) {
        self.shared.decided.store(decided, Ordering::Relaxed);
        self.tell(Command::AnnounceStatus);
    }

    /// Counts against a peer what the caller found out about it.
    pub fn refuse(&self, peer: PeerNumber, refusal: Refusal) {
        self.tell(Command::Refuse(peer, refusal));
    }

    /// Judges all peers again, lets those try again that were not let in, and says hello again if this node's claim
    /// has changed. To be called when the set of validators or this node's keys change.
    pub fn recheck(&self) {
        self.tell(Command::Recheck);
    }

    /// Returns the peers that are let in, by number.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.peers.lock().clone()
    }

    /// Returns the bytes sent and received.
    pub fn traffic(&self) -> Traffic {
        self.shared.counters.traffic()
    }

    /// Returns what has happened.
    pub fn statistics(&self) -> Statistics {
        self.shared.counters.statistics()
    }

    /// Returns all of that under the names it has in metrics, always the same figures in the same order.
    pub fn figures(&self) -> Vec<Figure> {
        figures(&self.statistics(), &self.traffic())
    }

    /// Ends the network: closes all connections and returns when its task is over.
    pub async fn shutdown(&self) {
        // An overloaded task still takes this: it waits for room.
        let _ = self.commands.send(Command::Shutdown).await;
        self.ended().await;
    }

    /// Waits for the end of the network's task, for whatever reason.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error says that the task is gone, which is an end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Hands over a command. When the task is over, or has no room, there is nobody to carry it out: verdicts and
    /// statuses are repeated or time out by themselves.
    fn tell(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "a command to the network was dropped");
        }
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<Vec<T>, RequestError>>,
    ) -> Result<Vec<T>, RequestError> {
        self.commands
            .try_send(command)
            .map_err(|_| RequestError::Ended)?;
        answer.await.unwrap_or(Err(RequestError::Ended))
    }
}
