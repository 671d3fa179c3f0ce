//! Which messages of the agreement are passed on.
//!
//! Whoever holds a vote key can sign without end: votes of rounds that nobody is near, or one vote under ever another count of
//! repetitions. None of that is wrong, but all that a node passes on counts at its neighbours as its own. So of a validator,
//! round and kind two values are passed on, which is what evidence takes, and the same again only when an honest one could
//! repeat it.

use std::{collections::BTreeMap, time::Duration};

use commonwatt_consensus::{Message, RoundCertificateKind, VoteKind};
use commonwatt_primitives::AccountId;
use commonwatt_runtime::Hash;

/// Rounds ahead of this node's whose votes and proposals are passed on. The core library takes none beyond it either; who is
/// further behind learns the round from certificates.
const ROUNDS_AHEAD_MAX: u32 = 10;

/// Values of one validator, round and kind that are passed on: two are evidence.
const VALUES_MAX: usize = 2;

/// Validators, rounds and kinds that are remembered of one height. Beyond it nothing new is passed on.
const REMEMBERED_MAX: usize = 65_536;

/// What there should be one value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Vote(AccountId, u32, VoteKind),
    Proposal(AccountId, u32),
    Polka(u32),
    Skip(u32),
    Precommits(u32),
}

/// What was passed on of the height that is going on.
#[derive(Default)]
pub(crate) struct Relays {
    height: u32,
    /// Values, and when each was passed on last.
    passed_on: BTreeMap<Slot, Vec<(Option<Hash>, u64)>>,
}

impl Relays {
    /// Returns whether a message, which was verified, is passed on by a node that is in `round`; the same again after
    /// `pause`. Notes that it was.
    pub(crate) fn admit(
        &mut self,
        message: &Message,
        round: u32,
        now_ms: u64,
        pause: Duration,
    ) -> bool {
        if message.height() != self.height {
            self.height = message.height();
            self.passed_on.clear();
        }
        let is_near = |of: u32| of <= round.saturating_add(ROUNDS_AHEAD_MAX);
        let (slot, value) = match message {
            Message::Vote(signed) if is_near(signed.vote.round) => {
                let vote = &signed.vote;
                let slot = Slot::Vote(vote.validator.clone(), vote.round, vote.kind);
                (slot, vote.block)
            }
            Message::Proposal(proposed) if is_near(proposed.signed.proposal.round) => {
                let proposal = &proposed.signed.proposal;
                let slot = Slot::Proposal(proposal.validator.clone(), proposal.round);
                (slot, Some(proposal.block))
            }
            Message::Vote(_) | Message::Proposal(_) => return false,
            // Many have signed these, so that nobody makes them alone.
            Message::Polka(polka) => (Slot::Polka(polka.round), Some(polka.block)),
            Message::Round(certificate) => match certificate.kind {
                RoundCertificateKind::Skip => (Slot::Skip(certificate.round), None),
                RoundCertificateKind::Precommit => (Slot::Precommits(certificate.round), None),
            },
        };
        if self.passed_on.len() >= REMEMBERED_MAX && !self.passed_on.contains_key(&slot) {
            return false;
        }
        let values = self.passed_on.entry(slot).or_default();
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let is_room = values.len() < VALUES_MAX;
        match values.iter_mut().find(|(known, _)| *known == value) {
            Some((_, at)) if now_ms.saturating_sub(*at) < pause_ms => false,
            Some((_, at)) => {
                *at = now_ms;
                true
            }
            None if is_room => {
                values.push((value, now_ms));
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::{PolkaCertificate, Signature, SignedVote, Vote};

    const PAUSE: Duration = Duration::from_millis(200);

    fn vote(height: u32, round: u32, block: Option<u8>) -> Message {
        Message::Vote(SignedVote {
            vote: Vote {
                height,
                round,
                kind: VoteKind::Prevote,
                block: block.map(Hash::repeat_byte),
                validator: AccountId::new([4; 32]),
            },
            signature: Signature::default(),
        })
    }

    #[test]
    fn the_same_is_passed_on_again_after_a_pause() {
        let mut relays = Relays::default();
        let vote = vote(5, 0, Some(1));
        let admitted = [1_000, 1_001, 1_199, 1_200, 1_201, 1_400];
        let admitted = admitted.map(|now| relays.admit(&vote, 0, now, PAUSE));
        assert_eq!(admitted, [true, false, false, true, false, true]);
    }

    #[test]
    fn two_values_are_evidence_and_more_are_noise() {
        let mut relays = Relays::default();
        let values = [Some(1), None, Some(2), Some(3), Some(1)];
        let admitted = values.map(|value| relays.admit(&vote(5, 0, value), 0, 1_000, PAUSE));
        assert_eq!(admitted, [true, true, false, false, false]);
        // Another height has values of its own.
        assert!(relays.admit(&vote(6, 0, Some(3)), 0, 1_000, PAUSE));
        assert_eq!(relays.passed_on.len(), 1);
    }

    #[test]
    fn votes_of_rounds_far_ahead_are_not_passed_on_but_certificates_are() {
        let mut relays = Relays::default();
        let passed_on = (0..1_000).filter(|round| {
            let vote = vote(5, *round, None);
            relays.admit(&vote, 3, 1_000, PAUSE)
        });
        assert_eq!(passed_on.last(), Some(3 + ROUNDS_AHEAD_MAX));
        let polka = Message::Polka(PolkaCertificate {
            height: 5,
            round: 500,
            block: Hash::zero(),
            signatures: Vec::new(),
        });
        assert!(relays.admit(&polka, 3, 1_000, PAUSE));
        assert!(!relays.admit(&polka, 3, 1_001, PAUSE));
    }
}
