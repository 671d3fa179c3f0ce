//! When static peers are dialled. Pure: time is passed in, and how long is waited follows from the peer id.

use std::{collections::BTreeMap, time::Duration};

use crate::p2p::{Multiaddr, PeerId};

use crate::limits::{REDIAL_FIRST, REDIAL_LONGEST};

/// Returns how long to wait after `failures` dials in a row: doubling from [`REDIAL_FIRST`] to
/// [`REDIAL_LONGEST`], and up to a quarter longer, by peer id and failure, so that nodes that went down together
/// don't come back in step.
pub(crate) fn compute_backoff(own: &PeerId, peer: &PeerId, failures: u32) -> Duration {
    let doubled = REDIAL_FIRST.saturating_mul(2u32.saturating_pow(failures));
    let wait = doubled.min(REDIAL_LONGEST);
    // The last bytes of an ed25519 peer id are those of its public key, which nobody chooses.
    let spread = |id: &PeerId| id.to_bytes().last().copied().unwrap_or_default();
    let share = spread(own)
        .wrapping_mul(31)
        .wrapping_add(spread(peer))
        .wrapping_add(
            u8::try_from(failures % 251)
                .unwrap_or_default()
                .wrapping_mul(97),
        );
    wait + wait / 4 * u32::from(share) / 255
}

#[derive(Debug)]
struct Target {
    addresses: Vec<Multiaddr>,
    failures: u32,
    state: TargetState,
}

#[derive(Debug, PartialEq, Eq)]
enum TargetState {
    /// To be dialled then.
    Due(Duration),
    Dialling,
    Connected,
}

/// The static peers, and when each is dialled next.
#[derive(Debug)]
pub(crate) struct Dialer {
    own: PeerId,
    targets: BTreeMap<PeerId, Target>,
}

impl Dialer {
    /// Begins: all are due at once.
    pub(crate) fn new(own: PeerId, addresses: BTreeMap<PeerId, Vec<Multiaddr>>) -> Self {
        let targets = addresses.into_iter().map(|(peer, addresses)| {
            let target = Target {
                addresses,
                failures: 0,
                state: TargetState::Due(Duration::ZERO),
            };
            (peer, target)
        });
        Self {
            own,
            targets: targets.collect(),
        }
    }

    /// Returns whom to dial now, and counts them as being dialled.
    pub(crate) fn take_due(&mut self, now: Duration) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let mut due = Vec::new();
        for (peer, target) in &mut self.targets {
            if matches!(target.state, TargetState::Due(at) if at <= now) {
                target.state = TargetState::Dialling;
                due.push((*peer, target.addresses.clone()));
            }
        }
        due
    }

    /// Returns when the next one is due.
    #[cfg(test)]
    fn next_due(&self) -> Option<Duration> {
        let due = |target: &Target| match target.state {
            TargetState::Due(at) => Some(at),
            TargetState::Dialling | TargetState::Connected => None,
        };
        self.targets.values().filter_map(due).min()
    }

    /// Notes that a peer is connected. It counts as reached only when it has let us in.
    pub(crate) fn note_connected(&mut self, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.state = TargetState::Connected;
        }
    }

    /// Notes that a peer and this node have let each other in.
    pub(crate) fn note_reached(&mut self, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.failures = 0;
        }
    }

    /// Notes that a peer could not be dialled or is gone: it is dialled again, the later the more often that was,
    /// and not before `blocked_until`.
    pub(crate) fn note_gone(
        &mut self,
        peer: &PeerId,
        now: Duration,
        blocked_until: Option<Duration>,
    ) {
        if let Some(target) = self.targets.get_mut(peer) {
            let at = now + compute_backoff(&self.own, peer, target.failures);
            target.failures = target.failures.saturating_add(1);
            target.state = TargetState::Due(at.max(blocked_until.unwrap_or_default()));
        }
    }

    /// Makes a peer due at once that waits to be dialled.
    pub(crate) fn hurry(&mut self, peer: &PeerId) {
        if let Some(target) = self.targets.get_mut(peer)
            && let TargetState::Due(at) = &mut target.state
        {
            *at = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer() -> (Dialer, PeerId) {
        let peer = PeerId::random();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let addresses = BTreeMap::from([(peer, vec![address])]);
        (Dialer::new(PeerId::random(), addresses), peer)
    }

    #[test]
    fn waits_double_to_a_longest_and_are_the_same_each_time() {
        let (own, peer) = (PeerId::random(), PeerId::random());
        for failures in 0..100 {
            let wait = compute_backoff(&own, &peer, failures);
            let base = REDIAL_FIRST * 2u32.saturating_pow(failures.min(10));
            let base = base.min(REDIAL_LONGEST);
            assert!(
                wait >= base && wait <= base + base / 4,
                "{failures}: {wait:?}"
            );
            assert_eq!(wait, compute_backoff(&own, &peer, failures));
        }
    }

    #[test]
    fn different_peers_wait_differently() {
        let own = PeerId::random();
        let waits: std::collections::BTreeSet<Duration> = (0..64)
            .map(|_| compute_backoff(&own, &PeerId::random(), 3))
            .collect();
        assert!(waits.len() > 20, "{} of 64", waits.len());
    }

    #[test]
    fn a_peer_that_is_gone_is_dialled_again_after_its_wait() {
        let (mut dialer, peer) = dialer();
        let now = Duration::from_secs(5);
        assert_eq!(dialer.take_due(now).len(), 1);
        assert_eq!(dialer.take_due(now).len(), 0, "it is being dialled");
        dialer.note_connected(&peer);
        assert_eq!(dialer.next_due(), None);
        dialer.note_gone(&peer, now, None);
        let due = dialer.next_due().unwrap();
        assert!(due >= now + REDIAL_FIRST && due <= now + 2 * REDIAL_FIRST);
        assert_eq!(dialer.take_due(due - Duration::from_millis(1)).len(), 0);
        assert_eq!(dialer.take_due(due).len(), 1);
    }

    #[test]
    fn being_connected_but_not_let_in_does_not_shorten_the_wait() {
        let (mut dialer, peer) = dialer();
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..4 {
            dialer.take_due(now);
            dialer.note_connected(&peer);
            dialer.note_gone(&peer, now, None);
            waits.push(dialer.next_due().unwrap() - now);
            now = dialer.next_due().unwrap();
        }
        assert!(waits.is_sorted_by(|a, b| a < b), "{waits:?}");
        dialer.take_due(now);
        dialer.note_reached(&peer);
        dialer.note_gone(&peer, now, None);
        assert!(dialer.next_due().unwrap() - now < waits[1]);
    }

    #[test]
    fn a_blocked_peer_is_not_dialled_before_its_time_unless_hurried() {
        let (mut dialer, peer) = dialer();
        dialer.take_due(Duration::ZERO);
        let until = Duration::from_secs(600);
        dialer.note_gone(&peer, Duration::ZERO, Some(until));
        assert_eq!(dialer.next_due(), Some(until));
        dialer.hurry(&peer);
        assert_eq!(dialer.next_due(), Some(Duration::ZERO));
    }
}
