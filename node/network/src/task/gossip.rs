//! Gossip, in and out.

use std::time::{Duration, Instant};

use crate::p2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, PublishError},
    ping,
};
use codec::{Compact, Decode, DecodeAll};

use super::{Task, asking::Kind};
use crate::{
    behaviour::{MembersEvent, topic_hash},
    event::{Gossip, TransactionBatch},
    limits::{
        BATCH_TRANSACTIONS_MAX, BATCH_WAIT, OUTBOX_INTERVAL,
        OUTBOX_TRANSACTIONS_BYTES_PER_INTERVAL, TRANSACTION_BYTES_MAX, VERDICT_TIMEOUT,
        VERDICTS_PENDING_MAX,
    },
    outbox::{BatchState, Outgoing, unframe},
    peer_book::Refusal,
    topic::{MessageId, Topic, Verdict},
    traffic::count,
};

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From who made it.
    Made,
    /// From somebody who passes on what another made.
    PassedOn,
}

/// Entries of the queue of verdicts' deadlines, judged ones among them.
const VERDICTS_DUE_MAX: usize = 4 * VERDICTS_PENDING_MAX;

impl Task {
    pub(super) fn on_member_event(&mut self, event: MembersEvent) {
        match event {
            MembersEvent::Votes(event) => self.on_gossip_event(Topic::Votes, event),
            MembersEvent::Proposals(event) => self.on_gossip_event(Topic::Proposals, event),
            MembersEvent::Urgent(event) => self.on_gossip_event(Topic::Urgent, event),
            MembersEvent::Transactions(event) => self.on_gossip_event(Topic::Transactions, event),
            MembersEvent::Status(event) => self.on_request_event(Kind::Status, event),
            MembersEvent::Sync(event) => self.on_request_event(Kind::Blocks, event),
            MembersEvent::Fetch(event) => self.on_request_event(Kind::Transactions, event),
            MembersEvent::Ping(ping::Event { peer, result, .. }) => {
                self.on_ping(peer, result.is_ok());
            }
            MembersEvent::Identify(event) => {
                tracing::trace!(?event, "a peer has said what it is");
            }
        }
    }

    fn on_gossip_event(&mut self, topic: Topic, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                let way = match message.source {
                    Some(maker) if maker != propagation_source => Way::PassedOn,
                    _ => Way::Made,
                };
                self.on_message(topic, propagation_source, way, &message_id, message.data);
            }
            gossipsub::Event::GossipsubNotSupported { peer_id } => {
                // It is let in, so it is one of ours: its streams came to a door that was still shut, since of two
                // connections one had just been closed. A new connection mends that.
                if self.peers.contains_key(&peer_id) {
                    tracing::debug!(peer = %peer_id, ?topic, "a peer does not gossip: reconnecting");
                    self.disconnect(peer_id);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => match topic {
                // A line too slow for these is too slow to take part.
                Topic::Votes | Topic::Proposals => self.refuse(peer_id, Refusal::Slow),
                // It gets fewer of these, and fetches what it lacks.
                Topic::Urgent | Topic::Transactions => {}
            },
            gossipsub::Event::Subscribed { .. } | gossipsub::Event::Unsubscribed { .. } => {}
        }
    }

    // ------------------------------------------------------------ in

    fn on_message(
        &mut self,
        topic: Topic,
        source: PeerId,
        way: Way,
        gossip_id: &gossipsub::MessageId,
        data: Vec<u8>,
    ) {
        let now = self.now();
        let number = self
            .peers
            .get(&source)
            .and_then(|peer| Some(peer.member()?.number));
        let hash = <[u8; 32]>::try_from(&gossip_id.0[..]);
        let (Some(peer), Ok(hash)) = (number, hash) else {
            return self.pass_verdict(topic, gossip_id, &source, Verdict::Ignore);
        };
        let id = MessageId { topic, peer, hash };
        let is_within_rate = self.peers.get_mut(&source).is_some_and(|peer| {
            peer.gossip[topic.index()].take(now)
                && (topic != Topic::Proposals || peer.proposal_bytes.take_many(data.len(), now))
        });
        if !is_within_rate {
            self.pass_verdict(topic, gossip_id, &source, Verdict::Ignore);
            return self.refuse(source, Refusal::Flood);
        }
        count(&self.shared.counters.received_messages[topic.index()], 1);
        let Some((attempt, payload)) = unframe(data) else {
            self.pass_verdict(topic, gossip_id, &source, Verdict::Reject);
            return self.refuse(source, Refusal::Garbage);
        };
        if self.unjudged.len() >= VERDICTS_PENDING_MAX {
            count(&self.shared.counters.inbox_dropped[topic.index()], 1);
            return self.pass_verdict(topic, gossip_id, &source, Verdict::Ignore);
        }
        let dropped = match topic {
            Topic::Votes | Topic::Proposals | Topic::Urgent => {
                let id = id.clone();
                self.inbox.push_gossip(Gossip {
                    id,
                    attempt,
                    payload,
                })
            }
            Topic::Transactions => {
                let Some(transactions) = decode_batch(&payload) else {
                    self.pass_verdict(topic, gossip_id, &source, Verdict::Reject);
                    return self.refuse(source, Refusal::Garbage);
                };
                let id = id.clone();
                self.inbox.push_batch(TransactionBatch { id, transactions })
            }
        };
        if self.verdicts_due.len() >= VERDICTS_DUE_MAX {
            // Most are judged and wait behind one that is not.
            let unjudged = &self.unjudged;
            self.verdicts_due
                .retain(|(_, id)| unjudged.contains_key(id));
        }
        self.unjudged.insert(id.clone(), way);
        let due = now + self.timeouts.verdict.min(VERDICT_TIMEOUT);
        self.verdicts_due.push_back((due, id));
        for id in dropped {
            count(&self.shared.counters.inbox_dropped[topic.index()], 1);
            self.finish_verdict(&id, Verdict::Ignore);
        }
    }

    /// Carries out what the caller says about a message.
    pub(super) fn judge(&mut self, id: &MessageId, verdict: Verdict) {
        let Some(way) = self.finish_verdict(id, verdict) else {
            // Too late, or said before.
            return;
        };
        let counters = &self.shared.counters;
        match verdict {
            Verdict::Accept => {
                count(&counters.accepted, 1);
                if way == Way::PassedOn {
                    self.give_back(id);
                }
            }
            Verdict::Ignore => count(&counters.ignored, 1),
            Verdict::Reject => {
                count(&counters.rejected, 1);
                if let Some(peer) = self.numbers.peer(id.peer) {
                    self.refuse(peer, Refusal::InvalidMessage);
                }
            }
        }
    }

    /// What others made and this node passes on too is no flood of who brought it: whoever makes much could have honest
    /// nodes ban each other for it.
    fn give_back(&mut self, id: &MessageId) {
        let peer = self.numbers.peer(id.peer);
        if let Some(peer) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            peer.gossip[id.topic.index()].give_back();
        }
    }

    /// Passes a verdict on to gossip; `None` when the message does not await one.
    fn finish_verdict(&mut self, id: &MessageId, verdict: Verdict) -> Option<Way> {
        let way = self.unjudged.remove(id)?;
        if let Some(source) = self.numbers.peer(id.peer) {
            let gossip_id = gossipsub::MessageId::new(&id.hash);
            self.pass_verdict(id.topic, &gossip_id, &source, verdict);
        }
        Some(way)
    }

    fn pass_verdict(
        &mut self,
        topic: Topic,
        id: &gossipsub::MessageId,
        source: &PeerId,
        verdict: Verdict,
    ) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let members = self.swarm.behaviour_mut().gate.inner_mut();
        members
            .gossip(topic)
            .report_message_validation_result(id, source, acceptance);
    }

    /// Ignores what has waited too long for its verdict.
    pub(super) fn drop_late_verdicts(&mut self, now: Duration) {
        while let Some((due, id)) = self.verdicts_due.front() {
            // What was judged leaves the queue as soon as it comes to its front.
            if *due > now && self.unjudged.contains_key(id) {
                return;
            }
            let id = id.clone();
            self.verdicts_due.pop_front();
            if self.finish_verdict(&id, Verdict::Ignore).is_some() {
                tracing::debug!(?id, "no verdict came in time");
                count(&self.shared.counters.unjudged, 1);
            }
        }
    }

    // ------------------------------------------------------------ out

    /// Sends what is urgent, and plans when transactions are sent.
    pub(super) fn flush_outbox(&mut self) {
        while let Some(outgoing) = self.shared.outbox.pop() {
            self.publish(outgoing);
        }
        self.plan_transactions(Instant::now(), BATCH_WAIT);
    }

    /// Sends a bounded number of bytes of transactions, so that no queue to a peer overflows.
    pub(super) fn flush_transactions(&mut self) {
        let mut bytes = 0;
        while bytes < OUTBOX_TRANSACTIONS_BYTES_PER_INTERVAL {
            let Some(batch) = self.shared.outbox.pop_batch() else {
                break;
            };
            bytes += batch.data.len();
            self.publish(batch);
        }
        self.transactions_due = None;
        let now = Instant::now();
        if self.shared.outbox.batch_state() != BatchState::Empty {
            self.transactions_due = Some(now + OUTBOX_INTERVAL);
        }
    }

    fn plan_transactions(&mut self, now: Instant, wait: Duration) {
        match self.shared.outbox.batch_state() {
            BatchState::Empty => {}
            // Another interval is running, or this one begins.
            BatchState::Filling => {
                self.transactions_due.get_or_insert(now + wait);
            }
            BatchState::Full => {
                let soon = now + OUTBOX_INTERVAL;
                let due = self.transactions_due.map_or(soon, |due| due.min(soon));
                self.transactions_due = Some(due);
            }
        }
    }

    fn publish(&mut self, outgoing: Outgoing) {
        let Outgoing { topic, data } = outgoing;
        count(&self.shared.counters.published[topic.index()], 1);
        let members = self.swarm.behaviour_mut().gate.inner_mut();
        match members.gossip(topic).publish(topic_hash(topic), data) {
            Ok(_) => {}
            // Whoever sends something that matters sends it again.
            Err(PublishError::NoPeersSubscribedToTopic) => {
                tracing::debug!(?topic, "nobody is there to gossip to");
            }
            Err(PublishError::Duplicate) => {
                tracing::trace!(?topic, "gossiped before");
            }
            Err(PublishError::AllQueuesFull(peers)) => {
                tracing::warn!(
                    ?topic,
                    peers,
                    "no peer takes more gossip: the line is too slow"
                );
            }
            Err(error) => tracing::error!(?topic, %error, "a message cannot be gossiped"),
        }
    }
}

/// Decodes a batch of transactions, within its bounds.
fn decode_batch(payload: &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = Compact::<u32>::decode(&mut &*payload).ok()?.0;
    let count = usize::try_from(count).ok()?;
    if count == 0 || count > BATCH_TRANSACTIONS_MAX {
        return None;
    }
    let transactions = Vec::<Vec<u8>>::decode_all(&mut &*payload).ok()?;
    let is_within = |transaction: &Vec<u8>| {
        !transaction.is_empty() && transaction.len() <= TRANSACTION_BYTES_MAX
    };
    transactions.iter().all(is_within).then_some(transactions)
}

#[cfg(test)]
mod tests {
    use codec::Encode;

    use super::*;

    #[test]
    fn only_batches_within_their_bounds_are_taken() {
        let batch = |transactions: Vec<Vec<u8>>| decode_batch(&transactions.encode());
        assert_eq!(batch(vec![vec![1], vec![2]]), Some(vec![vec![1], vec![2]]));
        assert_eq!(batch(vec![]), None);
        assert_eq!(batch(vec![vec![]]), None);
        assert_eq!(batch(vec![vec![1]; BATCH_TRANSACTIONS_MAX + 1]), None);
        assert_eq!(batch(vec![vec![1; TRANSACTION_BYTES_MAX + 1]]), None);
        assert_eq!(decode_batch(&Compact(u32::MAX).encode()), None);
        let mut trailing = vec![vec![1u8]].encode();
        trailing.push(0);
        assert_eq!(decode_batch(&trailing), None);
    }
}
