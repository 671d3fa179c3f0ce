//! Small numbers for peers, as the consensus crate names them.

use std::collections::BTreeMap;

use crate::p2p::PeerId;

use crate::limits::PEERS_REMEMBERED_MAX;

/// A peer's number in this process: the same whenever it comes back, unless it was long forgotten, and never that
/// of another peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerNumber(pub u64);

impl core::fmt::Display for PeerNumber {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which peer has which number.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    by_peer: BTreeMap<PeerId, PeerNumber>,
    by_number: BTreeMap<PeerNumber, PeerId>,
    next: u64,
}

impl Numbers {
    /// Returns the peer's number, a new one if it has none. To make room, the oldest number of a peer for which
    /// `is_present` is false is forgotten.
    pub(crate) fn assign(
        &mut self,
        peer: PeerId,
        is_present: impl Fn(&PeerId) -> bool,
    ) -> PeerNumber {
        if let Some(number) = self.by_peer.get(&peer) {
            return *number;
        }
        if self.by_number.len() >= PEERS_REMEMBERED_MAX {
            let absent = self.by_number.iter().find(|(_, id)| !is_present(id));
            if let Some((number, id)) = absent.map(|(number, id)| (*number, *id)) {
                self.by_number.remove(&number);
                self.by_peer.remove(&id);
            }
        }
        let number = PeerNumber(self.next);
        self.next += 1;
        self.by_peer.insert(peer, number);
        self.by_number.insert(number, peer);
        number
    }

    /// Returns who has a number.
    pub(crate) fn peer(&self, number: PeerNumber) -> Option<PeerId> {
        self.by_number.get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_comes_back_has_its_number_and_nobody_elses() {
        let mut numbers = Numbers::default();
        let (first, second) = (PeerId::random(), PeerId::random());
        let number = numbers.assign(first, |_| false);
        assert_ne!(numbers.assign(second, |_| false), number);
        assert_eq!(numbers.assign(first, |_| false), number);
        assert_eq!(numbers.peer(number), Some(first));
    }

    #[test]
    fn numbers_are_bounded_and_present_peers_keep_theirs() {
        let mut numbers = Numbers::default();
        let present = PeerId::random();
        let kept = numbers.assign(present, |_| false);
        for _ in 0..2 * PEERS_REMEMBERED_MAX {
            numbers.assign(PeerId::random(), |id| *id == present);
        }
        assert_eq!(numbers.by_peer.len(), PEERS_REMEMBERED_MAX);
        assert_eq!(numbers.by_number.len(), PEERS_REMEMBERED_MAX);
        assert_eq!(numbers.peer(kept), Some(present));
        // The numbers of those that were forgotten are not given again.
        assert!(numbers.assign(PeerId::random(), |_| false).0 > 2 * PEERS_REMEMBERED_MAX as u64);
    }
}
