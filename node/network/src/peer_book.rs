//! How peers have behaved: scores that fade, and bans that grow. Time is passed in.

use std::{collections::BTreeMap, time::Duration};

use crate::p2p::PeerId;

use crate::limits::{
    BAN_FIRST, BAN_FORGOTTEN, BAN_LONGEST, BAN_SCORE, BAN_TRUSTED_FIRST, BAN_TRUSTED_LONGEST,
    PEERS_REMEMBERED_MAX, SCORE_HALF_LIFE, SCORE_MAX,
};

/// What a peer did that counts against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It sent more than its rate.
    Flood,
    /// It read too slowly, or let requests time out.
    Slow,
    /// It passed on a message that no honest node does.
    InvalidMessage,
    /// It answered a request with something else, or with what is not true.
    WrongAnswer,
    /// It sent bytes that mean nothing.
    Garbage,
    /// It sent more bytes than a message can have.
    Oversized,
    /// It claimed to be somebody else.
    ForgedHello,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Flood,
        Self::Slow,
        Self::InvalidMessage,
        Self::WrongAnswer,
        Self::Garbage,
        Self::Oversized,
        Self::ForgedHello,
    ];

    /// Returns its name, as it stands in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flood => "flood",
            Self::Slow => "slow",
            Self::InvalidMessage => "invalid_message",
            Self::WrongAnswer => "wrong_answer",
            Self::Garbage => "garbage",
            Self::Oversized => "oversized",
            Self::ForgedHello => "forged_hello",
        }
    }

    /// Returns how much it counts; [`BAN_SCORE`] bans. Slowness and floods can be a fault of the line, so they need
    /// many; what only malice or a broken program does needs few. None divides [`BAN_SCORE`], since scores fade.
    pub const fn weight(self) -> u32 {
        match self {
            Self::Flood => 1,
            Self::Slow => 11,
            Self::InvalidMessage => 22,
            Self::WrongAnswer | Self::Garbage => 30,
            Self::Oversized => 60,
            Self::ForgedHello => BAN_SCORE,
        }
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Flood => 0,
            Self::Slow => 1,
            Self::InvalidMessage => 2,
            Self::WrongAnswer => 3,
            Self::Garbage => 4,
            Self::Oversized => 5,
            Self::ForgedHello => 6,
        }
    }
}

/// How a peer stands after something was counted against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may stay.
    Tolerated,
    /// It is banned until this time.
    Banned {
        /// Since the book's beginning, like every time here.
        until: Duration,
    },
}

/// Scores hold this many fractional bits, so that what is small fades too.
const FRACTION_BITS: u32 = 16;

#[derive(Clone, Debug, Default)]
struct Record {
    /// In units of 2^-16.
    score: u64,
    /// When `score` was computed.
    updated: Duration,
    /// Bans so far, until they are forgotten.
    bans: u32,
    /// When the last ban ended or will end.
    last_ban_end: Duration,
    banned_until: Option<Duration>,
    shut_out_until: Option<Duration>,
}

impl Record {
    /// Brings the score to `now`: halved for every half-life, straight lines in between.
    fn fade(&mut self, now: Duration) {
        let elapsed_ms = now.saturating_sub(self.updated).as_millis();
        let half_life_ms = SCORE_HALF_LIFE.as_millis();
        let halvings = u32::try_from(elapsed_ms / half_life_ms).unwrap_or(u32::MAX);
        let rest_ms = elapsed_ms % half_life_ms;
        let halved = u128::from(self.score.checked_shr(halvings).unwrap_or(0));
        let faded = halved - halved * rest_ms / (2 * half_life_ms);
        self.score = u64::try_from(faded).expect("a part of a u64 is one; qed");
        self.updated = self.updated.max(now);
    }

    fn blocked_until(&self) -> Option<Duration> {
        self.banned_until.max(self.shut_out_until)
    }

    fn is_blank(&self) -> bool {
        self.score == 0 && self.bans == 0 && self.blocked_until().is_none()
    }
}

/// Remembers how peers have behaved. Bounded: of more than [`PEERS_REMEMBERED_MAX`] the least guilty is forgotten.
#[derive(Debug, Default)]
pub struct PeerBook {
    records: BTreeMap<PeerId, Record>,
}

impl PeerBook {
    /// Counts a refusal. `is_trusted` says that the peer is a validator or configured: it is banned too, but shorter.
    pub fn record(
        &mut self,
        peer: PeerId,
        refusal: Refusal,
        now: Duration,
        is_trusted: bool,
    ) -> Standing {
        let record = self.entry(peer, now);
        record.fade(now);
        let weight = u64::from(refusal.weight()) << FRACTION_BITS;
        let most = u64::from(SCORE_MAX) << FRACTION_BITS;
        record.score = (record.score + weight).min(most);
        if record.score < u64::from(BAN_SCORE) << FRACTION_BITS {
            return Standing::Tolerated;
        }
        let (first, longest) = if is_trusted {
            (BAN_TRUSTED_FIRST, BAN_TRUSTED_LONGEST)
        } else {
            (BAN_FIRST, BAN_LONGEST)
        };
        let times_longer = 4u32.saturating_pow(record.bans);
        let until = now.saturating_add(first.saturating_mul(times_longer).min(longest));
        let until = record
            .banned_until
            .map_or(until, |before| before.max(until));
        record.bans = record.bans.saturating_add(1);
        record.banned_until = Some(until);
        record.last_ban_end = until;
        // It begins anew when it comes back.
        record.score = 0;
        Standing::Banned { until }
    }

    /// Keeps a peer out that was not let in. Not a ban: nothing counts against it.
    pub fn shut_out(&mut self, peer: PeerId, until: Duration, now: Duration) {
        let record = self.entry(peer, now);
        record.shut_out_until = record.shut_out_until.max(Some(until));
    }

    /// Lets those try again that were shut out: whom the caller lets in has changed. Returns who is free now.
    pub fn forget_shut_outs(&mut self) -> Vec<PeerId> {
        let mut free = Vec::new();
        for (peer, record) in &mut self.records {
            if record.shut_out_until.take().is_some() && record.banned_until.is_none() {
                free.push(*peer);
            }
        }
        self.drop_blank();
        free
    }

    /// Returns until when a peer is banned or shut out.
    pub fn blocked_until(&self, peer: &PeerId, now: Duration) -> Option<Duration> {
        let until = self.records.get(peer)?.blocked_until()?;
        (until > now).then_some(until)
    }

    /// Returns a peer's score: 0 is good, [`BAN_SCORE`] bans.
    pub fn score(&self, peer: &PeerId, now: Duration) -> u32 {
        let Some(record) = self.records.get(peer) else {
            return 0;
        };
        let mut record = record.clone();
        record.fade(now);
        u32::try_from(record.score >> FRACTION_BITS).unwrap_or(u32::MAX)
    }

    /// Returns those whose ban or shutting out has ended since the last call, and forgets what has faded.
    pub fn release(&mut self, now: Duration) -> Vec<PeerId> {
        let mut free = Vec::new();
        for (peer, record) in &mut self.records {
            record.fade(now);
            if record.blocked_until().is_some_and(|until| until <= now) {
                free.push(*peer);
            }
            let is_over = |until: &Duration| *until <= now;
            if record.shut_out_until.is_some_and(|until| is_over(&until)) {
                record.shut_out_until = None;
            }
            if record.banned_until.is_some_and(|until| is_over(&until)) {
                record.banned_until = None;
            }
            if now.saturating_sub(record.last_ban_end) >= BAN_FORGOTTEN {
                record.bans = 0;
            }
        }
        self.drop_blank();
        free
    }

    /// Returns how many peers are remembered.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns whether anything is remembered of a peer.
    pub(crate) fn is_remembered(&self, peer: &PeerId) -> bool {
        self.records.contains_key(peer)
    }

    fn drop_blank(&mut self) {
        self.records.retain(|_, record| !record.is_blank());
    }

    fn entry(&mut self, peer: PeerId, now: Duration) -> &mut Record {
        if !self.records.contains_key(&peer) && self.records.len() >= PEERS_REMEMBERED_MAX {
            let guilt = |record: &Record| (record.blocked_until(), record.bans, record.score);
            let least = self
                .records
                .iter()
                .min_by_key(|(_, record)| guilt(record))
                .map(|(peer, _)| *peer);
            if let Some(least) = least {
                self.records.remove(&least);
            }
        }
        self.records.entry(peer).or_insert_with(|| Record {
            updated: now,
            ..Record::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn ban(book: &mut PeerBook, peer: PeerId, now: Duration, is_trusted: bool) -> Duration {
        let Standing::Banned { until } = book.record(peer, Refusal::ForgedHello, now, is_trusted)
        else {
            panic!("a forged hello bans");
        };
        until
    }

    #[test]
    fn refusals_add_up_to_a_ban_that_ends() {
        let mut book = PeerBook::default();
        let peer = PeerId::random();
        for _ in 0..3 {
            let standing = book.record(peer, Refusal::Garbage, START, false);
            assert_eq!(standing, Standing::Tolerated);
        }
        assert_eq!(book.score(&peer, START), 90);
        let until = START + BAN_FIRST;
        let standing = book.record(peer, Refusal::Garbage, START, false);
        assert_eq!(standing, Standing::Banned { until });
        assert_eq!(book.blocked_until(&peer, START), Some(until));
        let before = until - Duration::from_millis(1);
        assert_eq!(book.release(before), []);
        assert_eq!(book.blocked_until(&peer, before), Some(until));
        assert_eq!(book.release(until), [peer]);
        assert_eq!(book.release(until), []);
        assert_eq!(book.blocked_until(&peer, until), None);
    }

    #[test]
    fn a_score_halves_in_its_half_life_and_is_forgotten() {
        let mut book = PeerBook::default();
        let peer = PeerId::random();
        for _ in 0..4 {
            book.record(peer, Refusal::InvalidMessage, START, false);
        }
        assert_eq!(book.score(&peer, START), 88);
        assert_eq!(book.score(&peer, START + SCORE_HALF_LIFE / 2), 66);
        assert_eq!(book.score(&peer, START + SCORE_HALF_LIFE), 44);
        assert_eq!(book.score(&peer, START + 3 * SCORE_HALF_LIFE), 11);
        book.release(START + 64 * SCORE_HALF_LIFE);
        assert!(book.is_empty());
    }

    #[test]
    fn bans_grow_up_to_a_longest_and_are_forgotten() {
        let mut book = PeerBook::default();
        let peer = PeerId::random();
        let mut now = START;
        let mut lengths = Vec::new();
        for _ in 0..8 {
            let until = ban(&mut book, peer, now, false);
            lengths.push((until - now).as_secs());
            now = until;
            book.release(now);
        }
        assert_eq!(
            lengths,
            [60, 240, 960, 3840, 15_360, 61_440, 86_400, 86_400]
        );
        now += BAN_FORGOTTEN;
        book.release(now);
        assert!(book.is_empty());
        assert_eq!(ban(&mut book, peer, now, false) - now, BAN_FIRST);
    }

    #[test]
    fn validators_are_banned_too_but_shorter() {
        let mut book = PeerBook::default();
        let peer = PeerId::random();
        assert_eq!(ban(&mut book, peer, START, true) - START, BAN_TRUSTED_FIRST);
        for _ in 0..5 {
            ban(&mut book, peer, START, true);
        }
        let until = ban(&mut book, peer, START, true);
        assert_eq!(until - START, BAN_TRUSTED_LONGEST);
    }

    #[test]
    fn a_change_of_the_set_frees_who_was_shut_out_but_not_who_is_banned() {
        let mut book = PeerBook::default();
        let (stranger, banned) = (PeerId::random(), PeerId::random());
        let until = START + Duration::from_secs(60);
        book.shut_out(stranger, until, START);
        book.shut_out(banned, until, START);
        let banned_until = ban(&mut book, banned, START, false);
        assert_eq!(book.blocked_until(&stranger, START), Some(until));
        assert_eq!(book.forget_shut_outs(), [stranger]);
        assert_eq!(book.blocked_until(&stranger, START), None);
        assert_eq!(book.blocked_until(&banned, START), Some(banned_until));
    }

    #[test]
    fn the_book_is_bounded_and_forgets_the_least_guilty() {
        let mut book = PeerBook::default();
        let banned = PeerId::random();
        ban(&mut book, banned, START, false);
        for _ in 0..2 * PEERS_REMEMBERED_MAX {
            book.record(PeerId::random(), Refusal::Flood, START, false);
        }
        assert_eq!(book.len(), PEERS_REMEMBERED_MAX);
        assert!(book.blocked_until(&banned, START).is_some());
    }

    #[test]
    fn time_that_stands_still_or_goes_back_does_no_harm() {
        let mut book = PeerBook::default();
        let peer = PeerId::random();
        book.record(peer, Refusal::Garbage, START, false);
        book.record(peer, Refusal::Garbage, Duration::ZERO, false);
        assert_eq!(book.score(&peer, Duration::ZERO), 60);
    }
}
