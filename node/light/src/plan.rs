//! Which peer is asked for what: a plain data structure. Time is passed in.

use std::{collections::BTreeMap, time::Duration};

use commonwatt_chain::LightBlock;
use commonwatt_network::PeerNumber;

use crate::limits::{
    PAUSE, PAUSE_AFTER_FLAW, PAUSE_DOUBLINGS_MAX, PEERS_MAX, RANGE_BLOCKS, RANGES_MAX,
};

/// A question to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Blocks that come next.
    Range {
        /// The first.
        from: u32,
        /// How many.
        count: u32,
    },
    /// The tip once more, to see that this peer has the same.
    Compare {
        /// Its number.
        number: u32,
    },
}

/// Blocks that a peer gave, to be verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Who.
    pub(crate) peer: PeerNumber,
    /// The blocks, of which it says that they follow each other.
    pub(crate) blocks: Vec<LightBlock>,
}

/// A part of what comes next.
#[derive(Debug)]
enum Span {
    Asked { peer: PeerNumber, count: u32 },
    Ready(Ready),
}

impl Span {
    fn count(&self) -> u32 {
        match self {
            Self::Asked { count, .. } => *count,
            Self::Ready(ready) => u32::try_from(ready.blocks.len()).unwrap_or(u32::MAX),
        }
    }

    fn peer(&self) -> PeerNumber {
        match self {
            Self::Asked { peer, .. } | Self::Ready(Ready { peer, .. }) => *peer,
        }
    }
}

/// What is known of a peer.
#[derive(Debug, Default)]
struct Source {
    /// The last block it says it has.
    decided: u32,
    /// What it is asked. One question at a time.
    asked: Option<Ask>,
    /// The turn in which it was asked last.
    turn: u64,
    /// It is left in peace until then.
    paused_until: Duration,
    /// How often in a row it had no answer.
    failures: u32,
    /// The last block that it was seen to have as it was verified.
    compared: u32,
    /// The end of an epoch after which it cannot show who validates.
    unproven: Option<u32>,
}

/// What is verified, what is asked for, and whom to ask.
#[derive(Debug)]
pub(crate) struct Plan {
    tip: u32,
    sources: BTreeMap<PeerNumber, Source>,
    /// By first block; they do not overlap, and begin above the tip.
    spans: BTreeMap<u32, Span>,
    turn: u64,
}

impl Plan {
    /// Makes a plan that begins above a verified block.
    pub(crate) fn new(tip: u32) -> Self {
        Self {
            tip,
            sources: BTreeMap::new(),
            spans: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Notes a peer that was let in.
    pub(crate) fn note_came(&mut self, peer: PeerNumber) {
        if self.sources.len() < PEERS_MAX {
            self.sources.entry(peer).or_default();
        }
    }

    /// Forgets a peer; what it gave already stays.
    pub(crate) fn note_gone(&mut self, peer: PeerNumber) {
        self.sources.remove(&peer);
        self.spans
            .retain(|_, span| !matches!(span, Span::Asked { peer: asked, .. } if *asked == peer));
    }

    /// Notes how far a peer is.
    pub(crate) fn note_decided(&mut self, peer: PeerNumber, decided: u32) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.decided = decided;
        }
    }

    /// Returns the last block that some peer says it has.
    pub(crate) fn best(&self) -> u32 {
        let decided = self.sources.values().map(|source| source.decided);
        decided.max().unwrap_or(0)
    }

    /// Returns the peers.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerNumber> {
        self.sources.keys().copied()
    }

    /// Returns the end of an epoch at which all who have it fail to show who validates next.
    pub(crate) fn unproven(&self) -> Option<u32> {
        let next = self.tip.checked_add(1)?;
        let mut having = self
            .sources
            .values()
            .filter(|source| source.decided >= next)
            .peekable();
        having.peek()?;
        having
            .all(|source| source.unproven == Some(next))
            .then_some(next)
    }

    /// Returns what to ask next, and whom; noted as asked.
    pub(crate) fn next_question(&mut self, now: Duration) -> Option<(PeerNumber, Ask)> {
        let question = self.next_range(now).or_else(|| self.next_compare(now))?;
        let (peer, ask) = question;
        self.turn += 1;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.asked = Some(ask);
            source.turn = self.turn;
        }
        if let Ask::Range { from, count } = ask {
            self.spans.insert(from, Span::Asked { peer, count });
        }
        Some(question)
    }

    fn next_range(&self, now: Duration) -> Option<(PeerNumber, Ask)> {
        let next = self.tip.checked_add(1)?;
        let (from, room) = self.first_gap(next)?;
        // What comes first is always asked for, so that nothing waits for ever.
        if self.spans.len() >= RANGES_MAX && from != next {
            return None;
        }
        let (peer, source) = self
            .idle(now)
            .filter(|(_, source)| source.decided >= from && source.unproven != Some(from))
            .min_by_key(|(_, source)| source.turn)?;
        let has = (source.decided - from).saturating_add(1);
        let count = room.min(has).min(RANGE_BLOCKS);
        Some((peer, Ask::Range { from, count }))
    }

    /// Returns the first block that nobody is asked for, and how many follow of which that is true.
    fn first_gap(&self, next: u32) -> Option<(u32, u32)> {
        let mut from = next;
        for (begin, span) in &self.spans {
            if *begin > from {
                return Some((from, begin - from));
            }
            from = begin.checked_add(span.count())?;
        }
        Some((from, u32::MAX - from))
    }

    /// Who has nothing else to answer is asked for the tip, too: whoever has another one shows that the chain has split.
    fn next_compare(&self, now: Duration) -> Option<(PeerNumber, Ask)> {
        if self.tip == 0 {
            return None;
        }
        let (peer, _) = self
            .idle(now)
            .find(|(_, source)| source.decided >= self.tip && source.compared < self.tip)?;
        Some((peer, Ask::Compare { number: self.tip }))
    }

    fn idle(&self, now: Duration) -> impl Iterator<Item = (PeerNumber, &Source)> {
        self.sources
            .iter()
            .filter(move |(_, source)| source.asked.is_none() && source.paused_until <= now)
            .map(|(peer, source)| (*peer, source))
    }

    /// Notes the blocks that a peer gave for a range. None is no answer; those beyond what was asked for are not taken.
    pub(crate) fn note_blocks(
        &mut self,
        peer: PeerNumber,
        from: u32,
        mut blocks: Vec<LightBlock>,
        now: Duration,
    ) {
        let Some(Span::Asked { peer: asked, count }) = self.spans.get(&from) else {
            return self.note_idle(peer);
        };
        if *asked != peer {
            return self.note_idle(peer);
        }
        blocks.truncate(usize::try_from(*count).unwrap_or(usize::MAX));
        if blocks.is_empty() {
            return self.note_failed(peer, now);
        }
        self.spans.insert(from, Span::Ready(Ready { peer, blocks }));
        self.note_idle(peer);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.failures = 0;
        }
    }

    /// Notes that a peer has the block that was verified.
    pub(crate) fn note_same(&mut self, peer: PeerNumber, number: u32) {
        self.note_idle(peer);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.compared = source.compared.max(number);
        }
    }

    /// Notes that a peer had no answer.
    pub(crate) fn note_failed(&mut self, peer: PeerNumber, now: Duration) {
        self.forget_question(peer);
        let Some(source) = self.sources.get_mut(&peer) else {
            return;
        };
        let pause = PAUSE.saturating_mul(1 << source.failures.min(PAUSE_DOUBLINGS_MAX));
        source.failures = source.failures.saturating_add(1);
        self.pause(peer, now.saturating_add(pause));
    }

    /// Notes that a peer's answer was wrong. What else it gave is not looked at.
    pub(crate) fn note_flaw(&mut self, peer: PeerNumber, now: Duration) {
        self.forget_question(peer);
        self.spans.retain(|_, span| span.peer() != peer);
        self.pause(peer, now.saturating_add(PAUSE_AFTER_FLAW));
    }

    /// Notes that a peer cannot show who validates after the end of an epoch.
    pub(crate) fn note_unproven(&mut self, peer: PeerNumber, number: u32) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.unproven = Some(number);
        }
    }

    /// Lets peers try again that could not show who validates.
    pub(crate) fn forgive_unproven(&mut self) {
        for source in self.sources.values_mut() {
            source.unproven = None;
        }
    }

    fn pause(&mut self, peer: PeerNumber, until: Duration) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.paused_until = source.paused_until.max(until);
        }
    }

    fn note_idle(&mut self, peer: PeerNumber) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.asked = None;
        }
    }

    fn forget_question(&mut self, peer: PeerNumber) {
        self.note_idle(peer);
        self.spans
            .retain(|_, span| !matches!(span, Span::Asked { peer: asked, .. } if *asked == peer));
    }

    /// Takes the blocks that come next, if they are there.
    pub(crate) fn take_ready(&mut self) -> Option<Ready> {
        let entry = self.spans.first_entry()?;
        let is_next = Some(*entry.key()) == self.tip.checked_add(1);
        if !is_next || !matches!(entry.get(), Span::Ready(_)) {
            return None;
        }
        match entry.remove() {
            Span::Ready(ready) => Some(ready),
            Span::Asked { .. } => None,
        }
    }

    /// Notes what was verified of what a peer gave.
    pub(crate) fn advance(&mut self, peer: PeerNumber, tip: u32) {
        self.tip = tip;
        if let Some(source) = self.sources.get_mut(&peer) {
            source.compared = source.compared.max(tip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::Certificate;
    use commonwatt_runtime::Hash;

    const NOW: Duration = Duration::from_secs(100);
    const A: PeerNumber = PeerNumber(1);
    const B: PeerNumber = PeerNumber(2);

    fn blocks(count: u32) -> Vec<LightBlock> {
        let block = LightBlock {
            header: vec![1],
            certificate: Certificate {
                height: 1,
                round: 0,
                block: Hash::zero(),
                signatures: Vec::new(),
            },
            next_set: None,
        };
        vec![block; usize::try_from(count).unwrap()]
    }

    fn plan(tip: u32, decided: u32) -> Plan {
        let mut plan = Plan::new(tip);
        for peer in [A, B] {
            plan.note_came(peer);
            plan.note_decided(peer, decided);
        }
        plan
    }

    fn range(from: u32, count: u32) -> Ask {
        Ask::Range { from, count }
    }

    #[test]
    fn ranges_are_shared_out_and_verified_in_order() {
        let mut plan = plan(0, 300);
        assert_eq!(plan.next_question(NOW), Some((A, range(1, RANGE_BLOCKS))));
        assert_eq!(
            plan.next_question(NOW),
            Some((B, range(1 + RANGE_BLOCKS, 300 - RANGE_BLOCKS)))
        );
        // One question at a time.
        assert_eq!(plan.next_question(NOW), None);
        plan.note_blocks(B, 1 + RANGE_BLOCKS, blocks(300 - RANGE_BLOCKS), NOW);
        assert!(plan.take_ready().is_none());
        // A short answer leaves a gap, which is asked for.
        plan.note_blocks(A, 1, blocks(100), NOW);
        assert_eq!(plan.take_ready().unwrap().blocks.len(), 100);
        plan.advance(A, 100);
        let (peer, rest) = plan.next_question(NOW).unwrap();
        assert_eq!(rest, range(101, RANGE_BLOCKS - 100));
        plan.note_blocks(peer, 101, blocks(RANGE_BLOCKS), NOW);
        let ready = plan.take_ready().unwrap();
        assert_eq!(
            ready.blocks.len(),
            156,
            "what was not asked for is not taken"
        );
        plan.advance(peer, RANGE_BLOCKS);
        assert_eq!(plan.take_ready().unwrap().peer, B);
        plan.advance(B, 300);
        assert_eq!(
            plan.next_question(NOW),
            Some((A, Ask::Compare { number: 300 }))
        );
    }

    #[test]
    fn no_more_than_some_ranges_are_held() {
        let mut plan = plan(0, 100_000);
        let (first, _) = plan.next_question(NOW).unwrap();
        for _ in 0..20 {
            let Some((peer, Ask::Range { from, count })) = plan.next_question(NOW) else {
                break;
            };
            plan.note_blocks(peer, from, blocks(count), NOW);
        }
        assert_eq!(plan.spans.len(), RANGES_MAX);
        // The first is lost, and asked for again though all places are taken.
        plan.note_failed(first, NOW);
        assert_eq!(plan.next_question(NOW), Some((B, range(1, RANGE_BLOCKS))));
    }

    #[test]
    fn another_peer_is_asked_for_what_one_has_not() {
        let mut plan = plan(0, 10);
        assert_eq!(plan.next_question(NOW), Some((A, range(1, 10))));
        plan.note_blocks(A, 1, Vec::new(), NOW);
        assert_eq!(plan.next_question(NOW), Some((B, range(1, 10))));
        plan.note_gone(B);
        assert_eq!(plan.next_question(NOW), None);
        assert_eq!(plan.next_question(NOW + PAUSE), Some((A, range(1, 10))));
    }

    #[test]
    fn nothing_else_of_a_liar_is_looked_at() {
        let mut plan = plan(0, 1_000);
        assert_eq!(plan.next_question(NOW), Some((A, range(1, RANGE_BLOCKS))));
        plan.note_blocks(A, 1, blocks(RANGE_BLOCKS), NOW);
        let taken = plan.take_ready().unwrap();
        assert_eq!(taken.peer, A);
        plan.note_flaw(A, NOW);
        assert_eq!(plan.next_question(NOW), Some((B, range(1, RANGE_BLOCKS))));
        assert_eq!(plan.next_question(NOW + PAUSE), None);
        assert!(plan.next_question(NOW + PAUSE_AFTER_FLAW).is_some());
        // What was not asked for, or of somebody else, changes nothing.
        plan.note_blocks(A, 1, blocks(3), NOW);
        assert!(plan.take_ready().is_none());
    }

    #[test]
    fn who_cannot_show_the_next_validators_is_not_asked_for_that_block_again() {
        let mut plan = plan(94, 200);
        for peer in [A, B] {
            assert_eq!(plan.next_question(NOW), Some((peer, range(95, 106))));
            plan.note_blocks(peer, 95, blocks(106), NOW);
            plan.take_ready().unwrap();
            plan.note_unproven(peer, 95);
        }
        assert_eq!(plan.unproven(), Some(95));
        // What was verified can be compared meanwhile.
        for peer in [A, B] {
            let compare = Ask::Compare { number: 94 };
            assert_eq!(plan.next_question(NOW), Some((peer, compare)));
            plan.note_same(peer, 94);
        }
        assert_eq!(plan.next_question(NOW), None);
        plan.forgive_unproven();
        assert_eq!(plan.unproven(), None);
        assert!(plan.next_question(NOW).is_some());
    }

    #[test]
    fn who_claims_blocks_and_gives_none_holds_up_few() {
        let mut plan = plan(7, 7);
        plan.note_same(A, 7);
        plan.note_same(B, 7);
        plan.note_decided(A, u32::MAX);
        let mut asked = 0;
        for second in 0..600 {
            let now = NOW + Duration::from_secs(second);
            if plan.next_question(now).is_some() {
                asked += 1;
                plan.note_failed(A, now);
            }
        }
        assert_eq!(asked, 7);
        // The others are compared all the same.
        plan.advance(A, 8);
        plan.note_decided(B, 8);
        let now = NOW + Duration::from_secs(600);
        assert_eq!(
            plan.next_question(now),
            Some((B, Ask::Compare { number: 8 }))
        );
    }

    #[test]
    fn every_peer_is_compared_once_a_block() {
        let mut plan = plan(7, 7);
        assert_eq!(
            plan.next_question(NOW),
            Some((A, Ask::Compare { number: 7 }))
        );
        assert_eq!(
            plan.next_question(NOW),
            Some((B, Ask::Compare { number: 7 }))
        );
        plan.note_same(A, 7);
        plan.note_same(B, 7);
        assert_eq!(plan.next_question(NOW), None);
        plan.note_decided(A, 8);
        assert_eq!(plan.next_question(NOW), Some((A, range(8, 1))));
    }
}
