//! What waits to be gossiped, by priority.

use std::collections::VecDeque;

use codec::Encode;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    error::PublishError,
    limits::{
        BATCH_BYTES_FULL, BATCH_TRANSACTIONS_MAX, OUTBOX_PROPOSALS_MAX,
        OUTBOX_TRANSACTIONS_BYTES_MAX, OUTBOX_TRANSACTIONS_MAX, OUTBOX_URGENT_MAX,
        OUTBOX_VOTES_MAX, TRANSACTION_BYTES_MAX,
    },
    topic::Topic,
};

/// A message as gossip carries it: the attempt, then the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) topic: Topic,
    pub(crate) data: Vec<u8>,
}

/// Puts the attempt before the payload.
pub(crate) fn frame(attempt: u32, payload: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(size_of::<u32>() + payload.len());
    data.extend(attempt.to_le_bytes());
    data.extend(payload);
    data
}

/// Takes a message apart; `None` when it is none.
pub(crate) fn unframe(mut data: Vec<u8>) -> Option<(u32, Vec<u8>)> {
    let attempt = u32::from_le_bytes(data.get(..4)?.try_into().ok()?);
    data.drain(..4);
    (!data.is_empty()).then_some((attempt, data))
}

/// Messages that wait to be gossiped. Votes are never dropped; of transactions the oldest make room.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    votes: VecDeque<Vec<u8>>,
    proposals: VecDeque<Vec<u8>>,
    urgent: VecDeque<Vec<u8>>,
    /// Each with its attempt.
    transactions: VecDeque<(u32, Vec<u8>)>,
    transactions_bytes: usize,
    is_closed: bool,
}

impl Outbox {
    /// Queues a vote, a proposal or an urgent message.
    pub(crate) fn push(
        &self,
        topic: Topic,
        attempt: u32,
        payload: &[u8],
    ) -> Result<(), PublishError> {
        let max = topic.bytes_max();
        if payload.len() > max {
            let bytes = payload.len();
            return Err(PublishError::TooLarge { topic, bytes, max });
        }
        if payload.is_empty() {
            return Err(PublishError::Empty);
        }
        let data = frame(attempt, payload);
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(PublishError::Ended);
        }
        let (queue, max) = match topic {
            Topic::Votes => (&mut state.votes, OUTBOX_VOTES_MAX),
            Topic::Proposals => (&mut state.proposals, OUTBOX_PROPOSALS_MAX),
            Topic::Urgent => (&mut state.urgent, OUTBOX_URGENT_MAX),
            Topic::Transactions => return Err(PublishError::NotInBatch),
        };
        if queue.len() >= max {
            return Err(PublishError::Full(topic));
        }
        queue.push_back(data);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Queues a transaction. Returns how many older ones made room.
    pub(crate) fn push_transaction(
        &self,
        attempt: u32,
        transaction: Vec<u8>,
    ) -> Result<u64, PublishError> {
        let bytes = transaction.len();
        if bytes > TRANSACTION_BYTES_MAX {
            return Err(PublishError::TooLarge {
                topic: Topic::Transactions,
                bytes,
                max: TRANSACTION_BYTES_MAX,
            });
        }
        if transaction.is_empty() {
            return Err(PublishError::Empty);
        }
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(PublishError::Ended);
        }
        let mut dropped = 0;
        while state.transactions.len() >= OUTBOX_TRANSACTIONS_MAX
            || state.transactions_bytes + bytes > OUTBOX_TRANSACTIONS_BYTES_MAX
        {
            let Some((_, oldest)) = state.transactions.pop_front() else {
                break;
            };
            state.transactions_bytes -= oldest.len();
            dropped += 1;
        }
        state.transactions_bytes += bytes;
        state.transactions.push_back((attempt, transaction));
        drop(state);
        self.changed.notify_one();
        Ok(dropped)
    }

    /// Takes the most urgent message that is not a transaction.
    pub(crate) fn pop(&self) -> Option<Outgoing> {
        let mut state = self.state.lock();
        let (topic, data) = if let Some(data) = state.votes.pop_front() {
            (Topic::Votes, data)
        } else if let Some(data) = state.proposals.pop_front() {
            (Topic::Proposals, data)
        } else {
            (Topic::Urgent, state.urgent.pop_front()?)
        };
        Some(Outgoing { topic, data })
    }

    /// Returns whether transactions wait, and whether they fill a batch.
    pub(crate) fn batch_state(&self) -> BatchState {
        let state = self.state.lock();
        if state.transactions.is_empty() {
            BatchState::Empty
        } else if state.transactions.len() >= BATCH_TRANSACTIONS_MAX
            || state.transactions_bytes >= BATCH_BYTES_FULL
        {
            BatchState::Full
        } else {
            BatchState::Filling
        }
    }

    /// Takes one batch of the oldest transactions, as far as they are of one attempt.
    pub(crate) fn pop_batch(&self) -> Option<Outgoing> {
        let mut state = self.state.lock();
        let attempt = state.transactions.front()?.0;
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_TRANSACTIONS_MAX {
            let fits = |(of, next): &(u32, Vec<u8>)| {
                *of == attempt && (batch.is_empty() || bytes + next.len() <= BATCH_BYTES_FULL)
            };
            if !state.transactions.front().is_some_and(fits) {
                break;
            }
            let Some((_, next)) = state.transactions.pop_front() else {
                break;
            };
            bytes += next.len();
            state.transactions_bytes -= next.len();
            batch.push(next);
        }
        let topic = Topic::Transactions;
        let data = frame(attempt, &batch.encode());
        Some(Outgoing { topic, data })
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
    }
}

/// Whether transactions wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchState {
    Empty,
    Filling,
    Full,
}

#[cfg(test)]
mod tests {
    use codec::Decode;

    use super::*;

    #[test]
    fn votes_overtake_what_was_queued_before() {
        let outbox = Outbox::default();
        outbox.push_transaction(0, vec![1; 100]).unwrap();
        outbox.push(Topic::Urgent, 0, b"bid").unwrap();
        outbox.push(Topic::Proposals, 0, b"block").unwrap();
        outbox.push(Topic::Votes, 7, b"vote").unwrap();
        let topics: Vec<Topic> = std::iter::from_fn(|| outbox.pop())
            .map(|outgoing| outgoing.topic)
            .collect();
        assert_eq!(topics, [Topic::Votes, Topic::Proposals, Topic::Urgent]);
        assert_eq!(outbox.pop_batch().unwrap().topic, Topic::Transactions);
        assert_eq!(outbox.pop_batch(), None);
    }

    #[test]
    fn the_oldest_transactions_make_room_and_a_full_vote_queue_says_so() {
        let outbox = Outbox::default();
        let bytes = OUTBOX_TRANSACTIONS_BYTES_MAX / 32;
        for number in 0..32u8 {
            assert_eq!(outbox.push_transaction(0, vec![number; bytes]), Ok(0));
        }
        assert_eq!(outbox.push_transaction(0, vec![99; bytes]), Ok(1));
        let batch = outbox.pop_batch().unwrap();
        let (_, payload) = unframe(batch.data).unwrap();
        let transactions = Vec::<Vec<u8>>::decode(&mut &payload[..]).unwrap();
        assert_eq!(transactions, [vec![1; bytes]], "number 0 made room");
        for _ in 0..OUTBOX_VOTES_MAX {
            outbox.push(Topic::Votes, 0, b"vote").unwrap();
        }
        assert_eq!(
            outbox.push(Topic::Votes, 0, b"vote"),
            Err(PublishError::Full(Topic::Votes))
        );
        assert_eq!(outbox.state.lock().votes.len(), OUTBOX_VOTES_MAX);
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes() {
        let outbox = Outbox::default();
        for _ in 0..BATCH_TRANSACTIONS_MAX + 1 {
            outbox.push_transaction(0, vec![1]).unwrap();
        }
        assert_eq!(outbox.batch_state(), BatchState::Full);
        let payload = |outgoing: Outgoing| unframe(outgoing.data).unwrap().1;
        let decode = |payload: Vec<u8>| Vec::<Vec<u8>>::decode(&mut &payload[..]).unwrap();
        let first = decode(payload(outbox.pop_batch().unwrap()));
        assert_eq!(first.len(), BATCH_TRANSACTIONS_MAX);
        assert_eq!(outbox.batch_state(), BatchState::Filling);
        outbox
            .push_transaction(0, vec![2; TRANSACTION_BYTES_MAX])
            .unwrap();
        assert_eq!(decode(payload(outbox.pop_batch().unwrap())).len(), 1);
        let largest = outbox.pop_batch().unwrap();
        assert!(largest.data.len() <= Topic::Transactions.bytes_max());
        assert_eq!(outbox.batch_state(), BatchState::Empty);
    }

    #[test]
    fn a_repetition_travels_under_an_attempt_of_its_own() {
        let outbox = Outbox::default();
        for (attempt, transaction) in [(0, 1), (0, 2), (7, 1), (0, 3)] {
            outbox.push_transaction(attempt, vec![transaction]).unwrap();
        }
        let batches: Vec<_> = std::iter::from_fn(|| outbox.pop_batch())
            .map(|batch| {
                let (attempt, payload) = unframe(batch.data).unwrap();
                (attempt, Vec::<Vec<u8>>::decode(&mut &payload[..]).unwrap())
            })
            .collect();
        assert_eq!(
            batches,
            [
                (0, vec![vec![1], vec![2]]),
                (7, vec![vec![1]]),
                (0, vec![vec![3]])
            ]
        );
        assert_eq!(outbox.batch_state(), BatchState::Empty);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_at_once() {
        let outbox = Outbox::default();
        let too_large = vec![0; Topic::Votes.bytes_max() + 1];
        assert!(matches!(
            outbox.push(Topic::Votes, 0, &too_large),
            Err(PublishError::TooLarge { .. })
        ));
        assert_eq!(outbox.push(Topic::Votes, 0, b""), Err(PublishError::Empty));
        assert_eq!(
            outbox.push(Topic::Transactions, 0, b"x"),
            Err(PublishError::NotInBatch)
        );
        outbox.close();
        assert_eq!(
            outbox.push(Topic::Votes, 0, b"vote"),
            Err(PublishError::Ended)
        );
        assert_eq!(
            outbox.push_transaction(0, vec![1]),
            Err(PublishError::Ended)
        );
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        assert_eq!(unframe(frame(9, b"vote")), Some((9, b"vote".to_vec())));
        assert_eq!(unframe(vec![1, 2, 3]), None);
        assert_eq!(unframe(vec![0; 4]), None);
    }
}
