//! A validator that starts behind the others and cannot know what it signed before.
//!
//! Without a chain and without a log, either nobody has begun yet, and all have to vote from the first height on, or this node
//! was wiped, and must not sign again what it signed differently before. With both, either everybody was down, and all have to
//! vote from where they ended, or they are an old copy, brought back from a backup. Nothing of its own tells which. The others
//! do: how far each of them was when this node first heard of it.
//!
//! - For steps that were still open at the start no block can have been proposed before. From there on it votes.
//! - Below, it waits until it has heard of so many validators that they and itself could decide: with fewer nothing is lost
//!   by waiting. For those that are missing then it has patience for a while, so that nodes that are switched on one after
//!   the other begin together.
//! - What more than the faulty say is true of at least one honest node. So no liar alone keeps it away, whatever it says and
//!   however often. And it is enough while a wiped validator counts among the faulty: had this node decided
//!   block `h`, then of the quorum that committed to `h` so many others were honest, and all of them had block `h - 1`; so it
//!   voted at no height beyond the second above theirs.
//! - With a log that may be old, it leaves alone what such an honest node has decided: there its vote is not needed, and may be
//!   its second. Above, its log or a vote of its own in the certificates of those blocks tells.

use std::collections::BTreeMap;

use commonwatt_consensus::{PeerId, ValidatorSet};
use commonwatt_primitives::AccountId;

/// Peers of which it is remembered who they are and what they said first; the oldest make room.
const PEERS_MAX: usize = 1_024;

/// Heights above those of others at which a validator without a log may have voted, and the first at which it certainly did not.
const HEIGHTS_KEPT_FROM: u32 = 3;

/// The first height above those of others at which a vote of a validator with a log may be needed.
const HEIGHTS_DECIDED: u32 = 1;

/// What is known about the others by a validator that does not know enough of itself.
pub(crate) struct Newcomer {
    /// The step that was open when this node started.
    first_open: u32,
    /// How far above what others have it votes.
    distance: u32,
    peers: BTreeMap<PeerId, Acquaintance>,
    /// How far each was at first.
    words: BTreeMap<AccountId, u32>,
    /// Until when, by the steady clock, this node waits for more; `None` while those it has heard of are too few.
    patience_ends_ms: Option<u64>,
    /// When it says again how far it is, so that others hear of it.
    speaks_at_ms: u64,
    is_waiting: bool,
}

#[derive(Default)]
struct Acquaintance {
    account: Option<AccountId>,
    first_word: Option<u32>,
}

/// What a newcomer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// From which height on it votes, as far as others were when it came.
    pub votes_from: u32,
    /// What about the wait.
    pub wait: Wait,
}

/// What about the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It goes on.
    GoesOn,
    /// It goes on, and the others are told how far this node is.
    Speak {
        /// Other validators that this node has heard of.
        heard: usize,
        /// How many it must have heard of.
        needed: usize,
    },
    /// It is over now.
    Ends,
    /// It was over before.
    WasOver,
}

impl Newcomer {
    /// Returns a newcomer without a log that starts now.
    pub(crate) fn new(first_open: u32) -> Self {
        Self::at_distance(first_open, HEIGHTS_KEPT_FROM)
    }

    /// Returns one with a log that starts now.
    pub(crate) fn with_log(first_open: u32) -> Self {
        Self::at_distance(first_open, HEIGHTS_DECIDED)
    }

    fn at_distance(first_open: u32, distance: u32) -> Self {
        Self {
            first_open,
            distance,
            peers: BTreeMap::new(),
            words: BTreeMap::new(),
            patience_ends_ms: None,
            speaks_at_ms: 0,
            is_waiting: true,
        }
    }

    /// Learns who a peer is.
    pub(crate) fn meet(&mut self, peer: PeerId, account: Option<AccountId>) {
        let known = self.peer(peer);
        known.account = account.or(known.account.take());
        self.take_word(peer);
    }

    /// Hears how far a peer is, while `next` is the height after this node's last block.
    pub(crate) fn hear(&mut self, peer: PeerId, decided: u32, next: u32) {
        // Below what this node has voted for since, it says nothing about the time before.
        let word = match self.is_waiting || decided >= next {
            true => decided,
            false => 0,
        };
        self.peer(peer).first_word.get_or_insert(word);
        self.take_word(peer);
    }

    fn peer(&mut self, peer: PeerId) -> &mut Acquaintance {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            self.peers.pop_first();
        }
        self.peers.entry(peer).or_default()
    }

    /// Keeps a validator's first word; what it says later it may have decided while this node voted too.
    fn take_word(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else {
            return;
        };
        if let (Some(account), Some(word)) = (&known.account, known.first_word) {
            self.words.entry(account.clone()).or_insert(word);
        }
    }

    /// Returns whether there can be any reason not to vote at a height.
    pub(crate) fn keeps_from(&self, height: u32) -> bool {
        height < self.first_open
    }

    /// Returns what to do now; `patience_ms` is how long it waits for those that are not needed.
    pub(crate) fn consider(
        &mut self,
        set: &ValidatorSet,
        steady_ms: u64,
        patience_ms: u64,
    ) -> Advice {
        let validators = self.words.iter();
        let mut words: Vec<u32> = validators
            .filter(|(account, _)| set.vote_key(account).is_some())
            .map(|(_, word)| *word)
            .collect();
        words.sort_unstable_by(|one, other| other.cmp(one));
        // As far as at least one honest node was: so many may say what they like.
        let begun = words.get(set.faulty()).copied().unwrap_or_default();
        let votes_from = match begun {
            0 => 0,
            begun => begun.saturating_add(self.distance).min(self.first_open),
        };
        let wait = self.consider_wait(set, words.len(), steady_ms, patience_ms);
        Advice { votes_from, wait }
    }

    fn consider_wait(
        &mut self,
        set: &ValidatorSet,
        heard: usize,
        steady_ms: u64,
        patience_ms: u64,
    ) -> Wait {
        if !self.is_waiting {
            return Wait::WasOver;
        }
        let needed = set.quorum().saturating_sub(1);
        let later_ms = steady_ms.saturating_add(patience_ms);
        if heard >= needed {
            let ends_ms = *self.patience_ends_ms.get_or_insert(later_ms);
            let has_heard_all = heard >= set.count().saturating_sub(1);
            if has_heard_all || steady_ms >= ends_ms {
                self.is_waiting = false;
                return Wait::Ends;
            }
        }
        if steady_ms < self.speaks_at_ms {
            return Wait::GoesOn;
        }
        self.speaks_at_ms = later_ms;
        Wait::Speak { heard, needed }
    }

    /// Returns when, by the steady clock, it has to be asked again.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let patience = self.patience_ends_ms.unwrap_or(u64::MAX);
        self.is_waiting.then(|| patience.min(self.speaks_at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::Validator;
    use sp_core::ed25519;

    const FIRST_OPEN: u32 = 50;
    const PATIENCE_MS: u64 = 3_000;

    fn account(number: u8) -> AccountId {
        AccountId::new([number; 32])
    }

    /// Number 0 is this node.
    fn set(count: u8) -> ValidatorSet {
        let validators = (0..count).map(|number| Validator {
            account: account(number),
            vote: ed25519::Public::from_raw([number; 32]),
        });
        ValidatorSet::new(validators.collect(), &[account(0)]).unwrap()
    }

    fn say(newcomer: &mut Newcomer, number: u8, decided: u32) {
        let peer = PeerId(number.into());
        newcomer.meet(peer, Some(account(number)));
        newcomer.hear(peer, decided, 1);
    }

    fn ask(newcomer: &mut Newcomer, count: u8, steady_ms: u64) -> (u32, Wait) {
        let Advice { votes_from, wait } = newcomer.consider(&set(count), steady_ms, PATIENCE_MS);
        (votes_from, wait)
    }

    #[test]
    fn no_liar_alone_keeps_a_newcomer_away() {
        for first_word in [1, 7, u32::MAX] {
            let mut newcomer = Newcomer::new(FIRST_OPEN);
            say(&mut newcomer, 1, first_word);
            say(&mut newcomer, 2, 0);
            say(&mut newcomer, 3, 0);
            assert_eq!(ask(&mut newcomer, 4, 0), (0, Wait::Ends));
            // Nor does it by saying something else, or by coming again.
            for peer in [1, 9] {
                newcomer.meet(PeerId(peer), Some(account(1)));
                newcomer.hear(PeerId(peer), 20, 1);
            }
            assert_eq!(ask(&mut newcomer, 4, 1), (0, Wait::WasOver));
        }
    }

    #[test]
    fn what_more_than_the_faulty_say_keeps_it_from_where_it_may_have_voted() {
        let mut newcomer = Newcomer::new(FIRST_OPEN);
        for (number, decided) in [(1, 9), (2, 0), (3, 8)] {
            say(&mut newcomer, number, decided);
        }
        // The one that says 9 may lie; one that has 8 is honest, and who was a block ahead of it voted at 10.
        assert_eq!(ask(&mut newcomer, 4, 0), (11, Wait::Ends));
        // For steps that were open when it started nobody can have proposed anything.
        let mut newcomer = Newcomer::new(10);
        say(&mut newcomer, 1, 9);
        say(&mut newcomer, 2, 9);
        say(&mut newcomer, 3, 9);
        assert_eq!(ask(&mut newcomer, 4, 0), (10, Wait::Ends));
        // Of seven two may lie.
        let mut newcomer = Newcomer::new(FIRST_OPEN);
        for number in 1..=6 {
            say(&mut newcomer, number, if number <= 2 { 30 } else { 4 });
        }
        assert_eq!(ask(&mut newcomer, 7, 0), (7, Wait::Ends));
    }

    #[test]
    fn who_has_a_log_leaves_alone_what_others_have_decided() {
        let mut newcomer = Newcomer::with_log(FIRST_OPEN);
        for (number, decided) in [(1, 45), (2, 44), (3, 20)] {
            say(&mut newcomer, number, decided);
        }
        assert_eq!(ask(&mut newcomer, 4, 0), (45, Wait::Ends));
        // Where all were down at once, its vote is needed.
        let mut newcomer = Newcomer::with_log(FIRST_OPEN);
        for number in 1..=3 {
            say(&mut newcomer, number, 19);
        }
        assert_eq!(ask(&mut newcomer, 4, 0), (20, Wait::Ends));
    }

    #[test]
    fn it_waits_for_a_quorum_and_then_a_while_for_the_others() {
        let mut newcomer = Newcomer::new(FIRST_OPEN);
        let speak = |heard| Wait::Speak { heard, needed: 2 };
        assert_eq!(ask(&mut newcomer, 4, 100), (0, speak(0)));
        assert_eq!(newcomer.due_ms(), Some(3_100));
        say(&mut newcomer, 1, 0);
        assert_eq!(ask(&mut newcomer, 4, 200), (0, Wait::GoesOn));
        assert_eq!(ask(&mut newcomer, 4, 3_100), (0, speak(1)));
        say(&mut newcomer, 2, 0);
        assert_eq!(ask(&mut newcomer, 4, 4_000), (0, Wait::GoesOn));
        assert_eq!(ask(&mut newcomer, 4, 6_999), (0, speak(2)));
        assert_eq!(newcomer.due_ms(), Some(7_000));
        assert_eq!(ask(&mut newcomer, 4, 7_000), (0, Wait::Ends));
        assert_eq!(newcomer.due_ms(), None);
    }

    #[test]
    fn strangers_and_words_before_the_introduction_count_as_they_should() {
        let mut newcomer = Newcomer::new(FIRST_OPEN);
        for number in 10..14 {
            say(&mut newcomer, number, 40);
        }
        newcomer.meet(PeerId(20), None);
        newcomer.hear(PeerId(20), 40, 1);
        let (votes_from, wait) = ask(&mut newcomer, 4, 0);
        assert_eq!(votes_from, 0);
        assert_eq!(
            wait,
            Wait::Speak {
                heard: 0,
                needed: 2
            }
        );
        // A status may overtake the news of the connection.
        for number in 1..=3 {
            let peer = PeerId(number.into());
            newcomer.hear(peer, 5, 1);
            newcomer.meet(peer, Some(account(number)));
        }
        assert_eq!(ask(&mut newcomer, 4, 1), (8, Wait::Ends));
    }

    #[test]
    fn who_votes_already_is_not_kept_away_by_those_who_came_along() {
        let mut newcomer = Newcomer::new(FIRST_OPEN);
        say(&mut newcomer, 1, 0);
        say(&mut newcomer, 2, 0);
        ask(&mut newcomer, 5, 0);
        say(&mut newcomer, 3, 0);
        ask(&mut newcomer, 5, 0);
        assert_eq!(ask(&mut newcomer, 5, PATIENCE_MS), (0, Wait::Ends));
        for number in [4, 1] {
            let peer = PeerId(number.into());
            newcomer.meet(peer, Some(account(number)));
            newcomer.hear(peer, 3, 4);
        }
        assert_eq!(ask(&mut newcomer, 5, PATIENCE_MS), (0, Wait::WasOver));
    }
}
