//! Messages for heights that have not begun.

use std::collections::BTreeMap;

use codec::Encode;

use crate::{
    effect::PeerId,
    limits::{FUTURE_BYTES_MAX, FUTURE_BYTES_PER_PEER_MAX, FUTURE_MESSAGES_PER_PEER_MAX},
    messages::Message,
};

/// What has arrived early, by height and in the order of arrival; bounded for each peer and in all. When all is
/// taken, who has taken most gives way, so that a few peers cannot take the place of the others.
#[derive(Debug, Default)]
pub(crate) struct FutureMessages {
    by_height: BTreeMap<u32, Vec<(PeerId, usize, Message)>>,
    shares: BTreeMap<PeerId, Share>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Share {
    messages: usize,
    bytes: usize,
}

impl FutureMessages {
    /// Keeps a message; `false` when there is no room for it.
    pub(crate) fn insert(&mut self, peer: PeerId, message: Message) -> bool {
        let bytes = message.encoded_size();
        let (messages, used) = self
            .shares
            .get(&peer)
            .map_or((0, 0), |share| (share.messages, share.bytes));
        let share = used.saturating_add(bytes);
        if messages >= FUTURE_MESSAGES_PER_PEER_MAX
            || share > FUTURE_BYTES_PER_PEER_MAX
            || !self.make_room(bytes, share)
        {
            return false;
        }
        self.bytes += bytes;
        let share = self.shares.entry(peer).or_default();
        share.messages += 1;
        share.bytes += bytes;
        let queue = self.by_height.entry(message.height()).or_default();
        queue.push((peer, bytes, message));
        true
    }

    /// Takes what is for `height` and forgets what is for lower ones.
    pub(crate) fn take(&mut self, height: u32) -> Vec<(PeerId, Message)> {
        let mut due = Vec::new();
        while let Some(entry) = self.by_height.first_entry() {
            if *entry.key() > height {
                break;
            }
            let is_due = *entry.key() == height;
            for (peer, bytes, message) in entry.remove() {
                self.release(peer, bytes);
                if is_due {
                    due.push((peer, message));
                }
            }
        }
        due
    }

    /// Forgets what is for heights below `height`.
    pub(crate) fn forget_below(&mut self, height: u32) {
        while let Some(entry) = self.by_height.first_entry() {
            if *entry.key() >= height {
                break;
            }
            for (peer, bytes, _) in entry.remove() {
                self.release(peer, bytes);
            }
        }
    }

    /// Makes room for `bytes` of a peer whose share is then `share`, out of greater ones; tells whether there is.
    fn make_room(&mut self, bytes: usize, share: usize) -> bool {
        while self.bytes.saturating_add(bytes) > FUTURE_BYTES_MAX {
            let shares = self.shares.iter();
            let shares = shares.map(|(peer, share)| (share.bytes, *peer));
            let Some((taken, peer)) = shares.max() else {
                return false;
            };
            if taken <= share || !self.drop_last_of(peer) {
                return false;
            }
        }
        true
    }

    /// Drops the latest message of a peer for the last height it sent any for; `false` when there is none.
    fn drop_last_of(&mut self, peer: PeerId) -> bool {
        let dropped = self.by_height.values_mut().rev().find_map(|queue| {
            let place = queue.iter().rposition(|(from, _, _)| *from == peer)?;
            let (_, bytes, _) = queue.remove(place);
            Some(bytes)
        });
        if let Some(bytes) = dropped {
            self.release(peer, bytes);
        }
        dropped.is_some()
    }

    fn release(&mut self, peer: PeerId, bytes: usize) {
        self.bytes -= bytes;
        if let Some(share) = self.shares.get_mut(&peer) {
            share.messages -= 1;
            share.bytes -= bytes;
            if share.messages == 0 {
                self.shares.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use commonwatt_primitives::{AccountId, Hash};

    use super::*;
    use crate::{
        block::Block,
        messages::{
            Proposal, ProposedBlock, Signature, SignedProposal, SignedVote, Vote, VoteKind,
        },
    };

    fn vote(height: u32, round: u32) -> Message {
        Message::Vote(SignedVote {
            vote: Vote {
                height,
                round,
                kind: VoteKind::Prevote,
                block: None,
                validator: AccountId::new([1; 32]),
            },
            signature: Signature::default(),
        })
    }

    fn block_of(bytes: usize) -> Message {
        Message::Proposal(ProposedBlock {
            signed: SignedProposal {
                proposal: Proposal {
                    height: 5,
                    round: 0,
                    block: Hash::zero(),
                    pol_round: None,
                    validator: AccountId::new([1; 32]),
                },
                signature: Signature::default(),
            },
            block: Block {
                header: Vec::new(),
                body: Arc::new(vec![0; bytes]),
            },
        })
    }

    #[test]
    fn messages_come_out_by_height_in_order_of_arrival() {
        let mut buffer = FutureMessages::default();
        for (height, round) in [(6, 0), (5, 1), (4, 2), (5, 0)] {
            assert!(buffer.insert(PeerId(1), vote(height, round)));
        }
        let taken: Vec<_> = buffer
            .take(5)
            .into_iter()
            .map(|(_, message)| message)
            .collect();
        assert_eq!(taken, [vote(5, 1), vote(5, 0)]);
        assert_eq!(buffer.take(6).len(), 1);
        assert!(buffer.shares.is_empty() && buffer.bytes == 0);
    }

    #[test]
    fn one_peer_cannot_crowd_out_another() {
        let mut buffer = FutureMessages::default();
        let messages = u32::try_from(FUTURE_MESSAGES_PER_PEER_MAX).unwrap();
        for round in 0..messages {
            assert!(buffer.insert(PeerId(1), vote(5, round)));
        }
        assert!(!buffer.insert(PeerId(1), vote(5, messages)));
        assert!(buffer.insert(PeerId(2), vote(5, 0)));
    }

    #[test]
    fn bytes_are_bounded_for_a_peer_and_in_all() {
        let mut buffer = FutureMessages::default();
        let half = FUTURE_BYTES_PER_PEER_MAX / 2 - 1024;
        for peer in 0..2 {
            assert!(buffer.insert(PeerId(peer), block_of(half)));
            assert!(buffer.insert(PeerId(peer), block_of(half)));
            assert!(!buffer.insert(PeerId(peer), block_of(half)));
        }
        // Another gets its place from who has taken most, as long as that one keeps as much.
        assert!(buffer.insert(PeerId(9), block_of(half)));
        assert!(buffer.bytes <= FUTURE_BYTES_MAX);
        assert!(!buffer.insert(PeerId(9), block_of(half)));
        assert_eq!(buffer.take(5).len(), 4);
        assert!(buffer.insert(PeerId(9), block_of(half)));
    }
}
