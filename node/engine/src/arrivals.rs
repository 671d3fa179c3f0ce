//! When transactions came in, without a clock in the pool.
//!
//! The pool numbers arrivals. Whenever the engine is told the time it notes how far the pool has counted; between two such
//! notes lies the moment a transaction was first seen. The driver wakes the engine at the instants that matter, so the
//! bounds are close there; where it came too late they are wide, and a judgement in doubt is for the author.

use std::collections::VecDeque;

use crate::timeliness::Sighting;

/// Notes that are kept: the ones of a few steps, at a few wake-ups and a few hundred messages each.
const NOTES_MAX: usize = 8_192;

/// How far the pool had counted, and during what time.
#[derive(Clone, Copy, Debug)]
struct Note {
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

/// Notes of how far the pool had counted.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(VecDeque<Note>);

impl Arrivals {
    /// Notes that at `unix_ms` the pool's next number was `count`.
    pub(crate) fn note(&mut self, count: u64, unix_ms: u64) {
        if let Some(last) = self.0.back_mut()
            && last.count == count
        {
            last.last_ms = last.last_ms.max(unix_ms);
            return;
        }
        if self.0.len() >= NOTES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Note {
            count,
            first_ms: unix_ms,
            last_ms: unix_ms,
        });
    }

    /// Returns between which times the transaction that arrived under a number was first seen, at the latest now.
    pub(crate) fn sighting(&self, arrival: u64, now_ms: u64) -> Sighting {
        // Those before have counted up to it or less, so it came after them.
        let after = self.0.partition_point(|note| note.count <= arrival);
        let before = after.checked_sub(1).and_then(|place| self.0.get(place));
        Sighting {
            earliest_ms: before.map_or(0, |note| note.last_ms),
            latest_ms: self.0.get(after).map_or(now_ms, |note| note.first_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(earliest_ms: u64, latest_ms: u64) -> Sighting {
        Sighting {
            earliest_ms,
            latest_ms,
        }
    }

    #[test]
    fn a_transaction_came_between_two_notes() {
        let mut arrivals = Arrivals::default();
        for (count, at) in [(0, 10), (0, 20), (3, 30), (3, 50), (4, 60)] {
            arrivals.note(count, at);
        }
        assert_eq!(arrivals.sighting(0, 99), seen(20, 30));
        assert_eq!(arrivals.sighting(2, 99), seen(20, 30));
        assert_eq!(arrivals.sighting(3, 99), seen(50, 60));
        assert_eq!(arrivals.sighting(4, 99), seen(60, 99));
    }

    #[test]
    fn what_came_before_the_first_note_may_have_come_any_time() {
        let mut arrivals = Arrivals::default();
        arrivals.note(5, 100);
        assert_eq!(arrivals.sighting(2, 200), seen(0, 100));
    }

    #[test]
    fn notes_are_bounded() {
        let mut arrivals = Arrivals::default();
        for count in 0..20_000 {
            arrivals.note(count, count);
        }
        assert_eq!(arrivals.0.len(), NOTES_MAX);
        assert_eq!(arrivals.sighting(15_000, 20_000), seen(15_000, 15_001));
    }
}
