//! What the network tells, and the bounded queue it waits in.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::p2p::PeerId;
use codec::Encode;
use commonwatt_primitives::AccountId;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::{
    limits::{
        INBOX_BYTES_MAX, INBOX_MESSAGES_MAX, INBOX_PEER_EVENTS_MAX, INBOX_REQUESTS_MAX,
        INBOX_STATUSES_MAX,
    },
    numbers::PeerNumber,
    requests::{BlocksRequest, FetchedTransaction, TransactionsRequest, encode_answer},
    topic::{MessageId, Topic},
};

/// What has happened. Handed out most urgent first: comings and goings, votes, statuses, proposals, requests,
/// urgent messages, transactions; within each in the order they came.
#[derive(Debug)]
pub enum Event {
    /// A peer was let in. It can be asked at once; gossip reaches it when it has let this node in too, shortly
    /// before its first status comes.
    PeerJoined {
        /// Its number.
        peer: PeerNumber,
        /// Its id.
        id: PeerId,
        /// Its account, if it is a validator.
        account: Option<AccountId>,
    },
    /// A peer that was let in is gone.
    PeerGone {
        /// Its number.
        peer: PeerNumber,
    },
    /// A vote, a proposal, a bid or a proof was gossiped. Wants a verdict, see [`crate::NetworkHandle::report`].
    Gossip(Gossip),
    /// Transactions were gossiped. Wants a verdict for the batch.
    Transactions(TransactionBatch),
    /// A peer says how far it is. Of several since the last look, the newest.
    Status {
        /// Who.
        peer: PeerNumber,
        /// The last block it has decided.
        decided: u32,
    },
    /// A peer asks for something.
    Request(IncomingRequest),
}

/// A gossiped message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gossip {
    /// Its name, for the verdict; its topic and who passed it on too.
    pub id: MessageId,
    /// Which repetition it is.
    pub attempt: u32,
    /// The message.
    pub payload: Vec<u8>,
}

/// Gossiped transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionBatch {
    /// The batch's name, for the verdict. [`crate::Verdict::Accept`] when at least one is new and valid and none can
    /// only come from somebody dishonest; [`crate::Verdict::Reject`] when one cannot even be decoded.
    pub id: MessageId,
    /// The encoded transactions, none of them empty.
    pub transactions: Vec<Vec<u8>>,
}

/// A request of a peer.
#[derive(Debug)]
pub struct IncomingRequest {
    /// Who asks.
    pub peer: PeerNumber,
    /// What.
    pub request: Request,
}

/// What a peer asks for, with the way to answer. Dropping the responder tells the peer that there is no answer.
#[derive(Debug)]
pub enum Request {
    /// Decided blocks, each as an encoded `CertifiedBlock`, or as a `LightBlock`, as its content says; in
    /// ascending order from the first height asked for, without gaps. As many as there are, none when there is none.
    Blocks(BlocksRequest, Responder<Vec<u8>>),
    /// Transactions of a proposed block, or of the pool. Those that are there.
    Transactions(TransactionsRequest, Responder<FetchedTransaction>),
}

/// The way to answer one request, once.
#[derive(Debug)]
pub struct Responder<T> {
    sender: oneshot::Sender<Vec<u8>>,
    items_max: usize,
    item: core::marker::PhantomData<fn(T)>,
}

impl<T: Encode> Responder<T> {
    pub(crate) fn new(items_max: usize) -> (Self, oneshot::Receiver<Vec<u8>>) {
        let (sender, receiver) = oneshot::channel();
        let item = core::marker::PhantomData;
        let responder = Self {
            sender,
            items_max,
            item,
        };
        (responder, receiver)
    }

    /// Answers. Items beyond what was asked for, or beyond [`crate::limits::ANSWER_BYTES_MAX`], are left out from
    /// the end; the peer asks again for what it still needs.
    pub fn send(self, items: Vec<T>) {
        let answer = encode_answer(&items, self.items_max);
        // Nobody waits any more: the peer is gone or its time is over.
        let _ = self.sender.send(answer);
    }

    /// Returns whether the peer still waits for an answer.
    pub fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Hands out events to the one who drives the node.
#[derive(Debug)]
pub struct EventReceiver {
    inbox: Arc<Inbox>,
}

impl EventReceiver {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// Waits for the next event; `None` when the network has ended. Can be cancelled without loss.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let changed = self.inbox.changed.notified();
            {
                let mut state = self.inbox.state.lock();
                if let Some(event) = state.pop() {
                    return Some(event);
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Returns the next event if there is one.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.inbox.state.lock().pop()
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut state = self.inbox.state.lock();
        *state = InboxState {
            is_abandoned: true,
            is_closed: state.is_closed,
            ..InboxState::default()
        };
    }
}

/// Events the caller has not taken.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct InboxState {
    peers: VecDeque<Event>,
    /// Peers whose going is still to be told and has a place reserved.
    present: usize,
    topics: [Lane; 4],
    statuses: BTreeMap<PeerNumber, u32>,
    requests: VecDeque<IncomingRequest>,
    is_closed: bool,
    is_abandoned: bool,
}

#[derive(Debug, Default)]
struct Lane {
    messages: VecDeque<Message>,
    bytes: usize,
}

#[derive(Debug)]
enum Message {
    One(Gossip),
    Batch(TransactionBatch),
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Self::One(gossip) => gossip.payload.len(),
            Self::Batch(batch) => batch.transactions.iter().map(Vec::len).sum(),
        }
    }

    fn id(&self) -> &MessageId {
        match self {
            Self::One(gossip) => &gossip.id,
            Self::Batch(batch) => &batch.id,
        }
    }
}

impl InboxState {
    fn pop(&mut self) -> Option<Event> {
        if let Some(event) = self.peers.pop_front() {
            return Some(event);
        }
        if let Some(event) = self.pop_topic(Topic::Votes) {
            return Some(event);
        }
        if let Some((peer, decided)) = self.statuses.pop_first() {
            return Some(Event::Status { peer, decided });
        }
        if let Some(event) = self.pop_topic(Topic::Proposals) {
            return Some(event);
        }
        if let Some(request) = self.requests.pop_front() {
            return Some(Event::Request(request));
        }
        self.pop_topic(Topic::Urgent)
            .or_else(|| self.pop_topic(Topic::Transactions))
    }

    fn pop_topic(&mut self, topic: Topic) -> Option<Event> {
        let lane = &mut self.topics[topic.index()];
        let message = lane.messages.pop_front()?;
        lane.bytes -= message.bytes();
        Some(match message {
            Message::One(gossip) => Event::Gossip(gossip),
            Message::Batch(batch) => Event::Transactions(batch),
        })
    }
}

impl Inbox {
    /// Tells that a peer was let in; `false` when too much is untold, so that it cannot be let in.
    pub(crate) fn push_joined(&self, event: Event) -> bool {
        let mut state = self.state.lock();
        // Two places: this one, and that of its going.
        let is_full = state.peers.len() + state.present + 2 > INBOX_PEER_EVENTS_MAX;
        if is_full || state.is_abandoned {
            return false;
        }
        state.present += 1;
        state.peers.push_back(event);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Tells that a peer whose coming was told is gone.
    pub(crate) fn push_gone(&self, peer: PeerNumber) {
        let mut state = self.state.lock();
        state.present = state.present.saturating_sub(1);
        state.statuses.remove(&peer);
        if state.is_abandoned {
            return;
        }
        state.peers.push_back(Event::PeerGone { peer });
        drop(state);
        self.changed.notify_one();
    }

    /// Queues a message. Returns the names of those that found no place: this one, or for transactions the oldest.
    pub(crate) fn push_gossip(&self, gossip: Gossip) -> Vec<MessageId> {
        self.push_message(Message::One(gossip))
    }

    /// Queues a batch, as [`Self::push_gossip`] does.
    pub(crate) fn push_batch(&self, batch: TransactionBatch) -> Vec<MessageId> {
        self.push_message(Message::Batch(batch))
    }

    fn push_message(&self, message: Message) -> Vec<MessageId> {
        let topic = message.id().topic;
        let mut state = self.state.lock();
        if state.is_abandoned {
            return vec![message.id().clone()];
        }
        let lane = &mut state.topics[topic.index()];
        let bytes = message.bytes();
        let is_full = |lane: &Lane| {
            lane.messages.len() >= INBOX_MESSAGES_MAX[topic.index()]
                || lane.bytes + bytes > INBOX_BYTES_MAX[topic.index()]
        };
        let mut dropped = Vec::new();
        while is_full(lane) {
            let oldest = match topic {
                Topic::Transactions => lane.messages.pop_front(),
                Topic::Votes | Topic::Proposals | Topic::Urgent => None,
            };
            let Some(oldest) = oldest else {
                dropped.push(message.id().clone());
                return dropped;
            };
            lane.bytes -= oldest.bytes();
            dropped.push(oldest.id().clone());
        }
        lane.bytes += bytes;
        lane.messages.push_back(message);
        drop(state);
        self.changed.notify_one();
        dropped
    }

    /// Notes how far a peer is.
    pub(crate) fn push_status(&self, peer: PeerNumber, decided: u32) {
        let mut state = self.state.lock();
        let has_room =
            state.statuses.len() < INBOX_STATUSES_MAX || state.statuses.contains_key(&peer);
        if has_room && !state.is_abandoned {
            state.statuses.insert(peer, decided);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Queues a request; `false` when there is no place.
    pub(crate) fn push_request(&self, request: IncomingRequest) -> bool {
        let mut state = self.state.lock();
        if state.requests.len() >= INBOX_REQUESTS_MAX || state.is_abandoned {
            return false;
        }
        state.requests.push_back(request);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Ends the queue: what is in it is still handed out.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gossip(topic: Topic, name: u16, bytes: usize) -> Gossip {
        let mut hash = [0; 32];
        hash[..2].copy_from_slice(&name.to_le_bytes());
        Gossip {
            id: MessageId {
                topic,
                peer: PeerNumber(1),
                hash,
            },
            attempt: 0,
            payload: vec![0; bytes],
        }
    }

    fn batch(name: u16, bytes: usize) -> TransactionBatch {
        TransactionBatch {
            id: gossip(Topic::Transactions, name, 0).id,
            transactions: vec![vec![1; bytes]],
        }
    }

    fn receiver() -> (Arc<Inbox>, EventReceiver) {
        let inbox = Arc::new(Inbox::default());
        (inbox.clone(), EventReceiver::new(inbox))
    }

    #[test]
    fn votes_are_handed_out_before_what_came_earlier() {
        let (inbox, mut events) = receiver();
        assert!(inbox.push_batch(batch(1, 10)).is_empty());
        assert!(inbox.push_gossip(gossip(Topic::Urgent, 2, 1)).is_empty());
        assert!(inbox.push_gossip(gossip(Topic::Proposals, 3, 1)).is_empty());
        assert!(inbox.push_gossip(gossip(Topic::Votes, 4, 1)).is_empty());
        let mut topics = Vec::new();
        while let Some(event) = events.try_recv() {
            topics.push(match event {
                Event::Gossip(gossip) => gossip.id.topic,
                Event::Transactions(batch) => batch.id.topic,
                other => panic!("{other:?} was not sent"),
            });
        }
        assert_eq!(topics, Topic::ALL);
    }

    #[test]
    fn the_oldest_transactions_make_room_and_votes_never_do() {
        let (inbox, mut events) = receiver();
        let max = INBOX_BYTES_MAX[Topic::Transactions.index()];
        for name in 0..4 {
            assert!(inbox.push_batch(batch(name, max / 4)).is_empty());
        }
        let dropped = inbox.push_batch(batch(9, max / 2));
        assert_eq!(dropped, vec![batch(0, 0).id, batch(1, 0).id]);
        let first_vote = gossip(Topic::Votes, 1, 1);
        assert!(inbox.push_gossip(first_vote.clone()).is_empty());
        for name in 1..INBOX_MESSAGES_MAX[0] {
            let name = u16::try_from(name + 1).unwrap();
            assert!(inbox.push_gossip(gossip(Topic::Votes, name, 1)).is_empty());
        }
        let late = gossip(Topic::Votes, u16::MAX, 1);
        assert_eq!(inbox.push_gossip(late.clone()), vec![late.id]);
        let Some(Event::Gossip(first)) = events.try_recv() else {
            panic!("a vote is waiting");
        };
        assert_eq!(first, first_vote);
    }

    #[test]
    fn every_coming_has_room_for_its_going() {
        let (inbox, mut events) = receiver();
        let joined = |number: u64| Event::PeerJoined {
            peer: PeerNumber(number),
            id: PeerId::random(),
            account: None,
        };
        let mut let_in = 0;
        while inbox.push_joined(joined(let_in)) {
            let_in += 1;
        }
        assert_eq!(let_in, INBOX_PEER_EVENTS_MAX as u64 / 2);
        for number in 0..let_in {
            inbox.push_gone(PeerNumber(number));
        }
        assert_eq!(
            inbox.state.lock().peers.len() as u64,
            2 * let_in,
            "all are told"
        );
        assert!(!inbox.push_joined(joined(let_in)));
        while events.try_recv().is_some() {}
        assert!(inbox.push_joined(joined(let_in)));
    }

    #[test]
    fn only_the_newest_status_of_a_peer_is_told_and_none_of_one_that_is_gone() {
        let (inbox, mut events) = receiver();
        inbox.push_status(PeerNumber(1), 4);
        inbox.push_status(PeerNumber(2), 5);
        inbox.push_status(PeerNumber(1), 6);
        inbox.push_gone(PeerNumber(2));
        assert!(matches!(events.try_recv(), Some(Event::PeerGone { .. })));
        assert!(matches!(
            events.try_recv(),
            Some(Event::Status {
                peer: PeerNumber(1),
                decided: 6
            })
        ));
        assert!(events.try_recv().is_none());
    }

    #[test]
    fn an_abandoned_inbox_holds_nothing() {
        let (inbox, events) = receiver();
        assert!(inbox.push_batch(batch(1, 10)).is_empty());
        drop(events);
        assert_eq!(inbox.push_batch(batch(2, 10)), vec![batch(2, 0).id]);
        assert_eq!(inbox.state.lock().topics[3].bytes, 0);
    }

    #[tokio::test]
    async fn a_closed_inbox_ends_after_its_last_event() {
        let (inbox, mut events) = receiver();
        inbox.push_status(PeerNumber(1), 4);
        inbox.close();
        assert!(events.recv().await.is_some());
        assert!(events.recv().await.is_none());
    }
}
