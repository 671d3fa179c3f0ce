//! Who is being answered.

use std::{collections::BTreeMap, sync::Arc};

use commonwatt_network::PeerNumber;
use parking_lot::Mutex;

/// Requests that are answered at the same time.
const ANSWERS_MAX: usize = 6;

/// Of those, requests of one peer: who asks for all blocks leaves room for who lacks one.
const ANSWERS_PER_PEER_MAX: usize = 2;

/// The requests that are being answered.
#[derive(Clone, Default)]
pub struct Answering(Arc<Mutex<BTreeMap<PeerNumber, usize>>>);

/// A request that is being answered, until it is dropped.
pub struct Answer {
    answering: Answering,
    peer: PeerNumber,
}

impl Answering {
    /// Begins to answer a peer; `None` when it is being answered enough, or all are.
    pub fn begin(&self, peer: PeerNumber) -> Option<Answer> {
        let mut answered = self.0.lock();
        let of_peer = answered.get(&peer).copied().unwrap_or_default();
        if of_peer >= ANSWERS_PER_PEER_MAX || answered.values().sum::<usize>() >= ANSWERS_MAX {
            return None;
        }
        answered.insert(peer, of_peer + 1);
        let answering = self.clone();
        Some(Answer { answering, peer })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut answered = self.answering.0.lock();
        if let Some(of_peer) = answered.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                answered.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_leaves_room_for_others() {
        let answering = Answering::default();
        let (greedy, joiner) = (PeerNumber(1), PeerNumber(2));
        let mut answers: Vec<_> = (0..4).filter_map(|_| answering.begin(greedy)).collect();
        assert_eq!(answers.len(), ANSWERS_PER_PEER_MAX);
        assert!(answering.begin(joiner).is_some());
        answers.pop();
        assert!(answering.begin(greedy).is_some());
        answers.clear();
        assert!(answering.0.lock().is_empty());
    }

    #[test]
    fn no_more_are_answered_than_there_is_room_for() {
        let answering = Answering::default();
        let answers: Vec<_> = (0..20)
            .filter_map(|peer| answering.begin(PeerNumber(peer)))
            .collect();
        assert_eq!(answers.len(), ANSWERS_MAX);
        drop(answers);
        assert!(answering.begin(PeerNumber(7)).is_some());
    }
}
