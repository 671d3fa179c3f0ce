//! Whether a fresh block is what this node, by its own clock and pool, would expect (PROTOCOL 7).
//!
//! A subjective judgement, so never a reason to call a block invalid: approval is withheld for a while, that is all. Where
//! this node cannot tell, the doubt is for the author.

use commonwatt_primitives::{Step, StepTiming, digest::Punctuality};
use commonwatt_runtime::Hash;
pub use commonwatt_runtime::items::ItemKind;

/// Part of the shorter of a step's two closing delays that messages and clocks may take.
const DELAY_PART: u64 = 2;
/// Bounds of [`Tolerance::delay_ms`].
const DELAY_MS: std::ops::RangeInclusive<u64> = 50..=1_500;

/// How far nodes may differ in what they see when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// `d`: how long an item may take from one node to all others, differences of clocks included.
    pub delay_ms: u64,
    /// How far the clock of an author may be ahead.
    pub skew_ms: u64,
}

impl Tolerance {
    /// Returns the tolerance that a chain's timing leaves room for: half of what lies between a closure and the block.
    pub fn of(timing: &StepTiming) -> Self {
        let room_ms = timing.settle_delay_ms.min(timing.gate_close_ms);
        let delay_ms = (room_ms / DELAY_PART).clamp(*DELAY_MS.start(), *DELAY_MS.end());
        Self {
            delay_ms,
            skew_ms: delay_ms,
        }
    }

    /// Returns how late a driver may wake the engine at a closure, so that what came before it is not taken for late.
    pub fn grace_ms(&self) -> u64 {
        self.delay_ms / GRACE_PART
    }
}

/// Part of the delay that is the grace for drivers.
const GRACE_PART: u64 = 4;

/// Between which times an item was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Certainly not before.
    pub earliest_ms: u64,
    /// Certainly not after.
    pub latest_ms: u64,
}

/// An item and when it was first seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its hash.
    pub hash: Hash,
    /// What it is.
    pub kind: ItemKind,
    /// When it was first seen.
    pub seen: Sighting,
}

impl Item {
    /// Returns whether it was certainly there so early that every author must have had it.
    pub fn is_expected(&self, timing: &StepTiming, tolerance: &Tolerance, step: Step) -> bool {
        let closes_at_ms = self.kind.closes_at_ms(timing, step);
        self.seen.latest_ms.saturating_add(tolerance.delay_ms) < closes_at_ms
    }

    /// Returns whether it certainly came so late that no author can have had it in time.
    pub fn is_too_late(&self, timing: &StepTiming, tolerance: &Tolerance, step: Step) -> bool {
        let closes_at_ms = self.kind.closes_at_ms(timing, step);
        let allowed_ms = tolerance.delay_ms.saturating_add(tolerance.grace_ms());
        self.seen.earliest_ms > closes_at_ms.saturating_add(allowed_ms)
    }

    /// Returns whether an author of the step takes it: what it may have seen only after closure it leaves to the next.
    pub fn is_taken(&self, timing: &StepTiming, tolerance: &Tolerance, step: Step) -> bool {
        let closes_at_ms = self.kind.closes_at_ms(timing, step);
        self.seen.latest_ms <= closes_at_ms.saturating_add(tolerance.grace_ms())
    }
}

/// What this node saw of a fresh block.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The step it closes.
    pub step: Step,
    /// When it came, by this node's clock.
    pub arrived_ms: u64,
    /// Its `late` mark.
    pub punctuality: Punctuality,
    /// Items of the pool that it leaves out though there was room.
    pub left_out: &'a [Item],
    /// Items it holds.
    pub included: &'a [Item],
}

/// Why approval of a block is withheld.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untimeliness {
    /// It came before its time.
    #[error("it came {0} ms before its step had settled")]
    TooEarly(u64),
    /// It is marked late, but its successor's step has not closed.
    #[error("it is marked late, but came in time")]
    MarkedLate,
    /// It is not marked late, though its successor's step has closed.
    #[error("it is not marked late, but came after the next step had closed")]
    NotMarkedLate,
    /// It leaves out what was there in time.
    #[error("it leaves out {} items that were there in time", .0.len())]
    LeavesOut(Vec<Hash>),
    /// It holds what came after closure.
    #[error("it holds {} items that came after closure", .0.len())]
    HoldsLate(Vec<Hash>),
}

/// Judges a fresh block; `None` when there is nothing to hold against it.
pub fn judge(
    timing: &StepTiming,
    tolerance: &Tolerance,
    seen: &Observation<'_>,
) -> Option<Untimeliness> {
    let step = seen.step;
    let settled_ms = timing.settles_at_ms(step);
    let early_ms = settled_ms
        .saturating_sub(tolerance.skew_ms)
        .saturating_sub(seen.arrived_ms);
    if early_ms > 0 {
        return Some(Untimeliness::TooEarly(early_ms));
    }
    let next_closes_ms = timing.closes_at_ms(Step(step.0.saturating_add(1)));
    match seen.punctuality {
        Punctuality::Late
            if seen.arrived_ms.saturating_add(tolerance.skew_ms) <= next_closes_ms =>
        {
            return Some(Untimeliness::MarkedLate);
        }
        // It was on its way for a while, too.
        Punctuality::OnTime
            if seen.arrived_ms
                > next_closes_ms
                    .saturating_add(tolerance.skew_ms)
                    .saturating_add(tolerance.delay_ms) =>
        {
            return Some(Untimeliness::NotMarkedLate);
        }
        // Its author takes whatever has waited so long, and its market and auction do not take place.
        Punctuality::Late => return None,
        Punctuality::OnTime => {}
    }
    let expected = seen.left_out.iter();
    let left_out: Vec<_> = expected
        .filter(|item| item.is_expected(timing, tolerance, step))
        .map(|item| item.hash)
        .collect();
    if !left_out.is_empty() {
        return Some(Untimeliness::LeavesOut(left_out));
    }
    let included = seen.included.iter();
    let late: Vec<_> = included
        .filter(|item| item.is_too_late(timing, tolerance, step))
        .map(|item| item.hash)
        .collect();
    (!late.is_empty()).then_some(Untimeliness::HoldsLate(late))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: StepTiming = StepTiming {
        genesis_ms: 1_000_000,
        step_ms: 10_000,
        metered_ms: 900_000,
        gate_open_ms: 1_000,
        gate_close_ms: 1_000,
        settle_delay_ms: 1_000,
    };
    const STEP: Step = Step(5);
    const CLOSES: u64 = 1_050_000;
    const SETTLES: u64 = CLOSES + 1_000;
    const GATE: u64 = CLOSES - 1_000;
    const D: u64 = 500;
    const GRACE: u64 = 125;

    fn item(kind: ItemKind, earliest_ms: u64, latest_ms: u64) -> Item {
        Item {
            hash: Hash::repeat_byte(1),
            kind,
            seen: Sighting {
                earliest_ms,
                latest_ms,
            },
        }
    }

    fn judged(
        arrived_ms: u64,
        punctuality: Punctuality,
        left_out: &[Item],
        included: &[Item],
    ) -> Option<Untimeliness> {
        let tolerance = Tolerance::of(&TIMING);
        assert_eq!((tolerance.delay_ms, tolerance.skew_ms), (D, D));
        assert_eq!(tolerance.grace_ms(), GRACE);
        let seen = Observation {
            step: STEP,
            arrived_ms,
            punctuality,
            left_out,
            included,
        };
        judge(&TIMING, &tolerance, &seen)
    }

    fn on_time(left_out: &[Item], included: &[Item]) -> Option<Untimeliness> {
        judged(SETTLES + 100, Punctuality::OnTime, left_out, included)
    }

    #[test]
    fn tolerances_follow_from_the_timing() {
        let of = |timing| Tolerance::of(&timing).delay_ms;
        assert_eq!(of(StepTiming::PRODUCTION), 1_500);
        let dev = StepTiming {
            gate_close_ms: 200,
            settle_delay_ms: 300,
            ..TIMING
        };
        assert_eq!(of(dev), 100);
        let shortest = StepTiming {
            gate_close_ms: 0,
            settle_delay_ms: 0,
            ..TIMING
        };
        assert_eq!(of(shortest), 50);
    }

    #[test]
    fn a_block_before_its_time_is_untimely_but_for_the_skew_of_clocks() {
        let at = |arrived| judged(arrived, Punctuality::OnTime, &[], &[]);
        assert_eq!(at(SETTLES - D), None);
        assert_eq!(at(SETTLES - D - 1), Some(Untimeliness::TooEarly(1)));
        assert_eq!(at(SETTLES), None);
    }

    #[test]
    fn a_wrong_late_mark_is_untimely_but_for_the_skew_of_clocks() {
        let next = CLOSES + TIMING.step_ms;
        let late = |arrived| judged(arrived, Punctuality::Late, &[], &[]);
        assert_eq!(late(next - D), Some(Untimeliness::MarkedLate));
        assert_eq!(late(next - D + 1), None);
        let in_time = |arrived| judged(arrived, Punctuality::OnTime, &[], &[]);
        assert_eq!(in_time(next + 2 * D), None);
        assert_eq!(in_time(next + 2 * D + 1), Some(Untimeliness::NotMarkedLate));
    }

    #[test]
    fn what_a_late_block_holds_or_leaves_out_is_not_held_against_it() {
        let next = CLOSES + TIMING.step_ms;
        let early = item(ItemKind::Bid, 0, GATE - 2 * D);
        let late = item(ItemKind::Bid, next, next);
        assert_eq!(judged(next + 1, Punctuality::Late, &[early], &[late]), None);
        assert_eq!(
            judged(next - D, Punctuality::Late, &[], &[late]),
            Some(Untimeliness::MarkedLate)
        );
    }

    #[test]
    fn what_was_there_in_time_must_not_be_left_out() {
        use ItemKind::{Bid, Evidence, Order, Reading};
        for (kind, closes) in [
            (Bid, GATE),
            (Order, GATE),
            (Reading, SETTLES),
            (Evidence, SETTLES),
        ] {
            let seen = |latest| on_time(&[item(kind, 0, latest)], &[]);
            assert!(
                matches!(seen(closes - D - 1), Some(Untimeliness::LeavesOut(_))),
                "{kind:?}"
            );
            // Others may have seen it only after closure.
            assert_eq!(seen(closes - D), None, "{kind:?}");
        }
    }

    #[test]
    fn what_came_after_closure_must_not_be_slipped_in() {
        use ItemKind::{Bid, Evidence, Order, Reading};
        for (kind, closes) in [
            (Bid, GATE),
            (Order, GATE),
            (Reading, SETTLES),
            (Evidence, SETTLES),
        ] {
            let seen = |earliest| on_time(&[], &[item(kind, earliest, earliest + 9_000)]);
            assert!(
                matches!(
                    seen(closes + D + GRACE + 1),
                    Some(Untimeliness::HoldsLate(_))
                ),
                "{kind:?}"
            );
            assert_eq!(seen(closes + D + GRACE), None, "{kind:?}");
        }
    }

    #[test]
    fn a_bid_before_the_gate_opens_is_taken_like_any_other() {
        let opens = CLOSES - TIMING.step_ms + TIMING.gate_open_ms;
        let tolerance = Tolerance::of(&TIMING);
        for moment in [opens - TIMING.gate_open_ms, opens - 1, opens] {
            let early = item(ItemKind::Bid, moment, moment);
            assert!(early.is_taken(&TIMING, &tolerance, STEP), "{moment}");
            assert_eq!(on_time(&[], &[early]), None, "{moment}");
            let missing = on_time(&[early], &[]);
            assert!(
                matches!(missing, Some(Untimeliness::LeavesOut(_))),
                "{moment}"
            );
        }
    }

    #[test]
    fn an_author_takes_what_it_certainly_saw_before_closure() {
        let tolerance = Tolerance::of(&TIMING);
        let bid = |latest| item(ItemKind::Bid, 0, latest).is_taken(&TIMING, &tolerance, STEP);
        assert!(bid(GATE + GRACE));
        assert!(!bid(GATE + GRACE + 1));
    }

    #[test]
    fn what_an_author_takes_nobody_calls_late_and_what_it_leaves_nobody_misses() {
        // Whatever the author's moment, others see the item within d of it.
        let tolerance = Tolerance::of(&TIMING);
        for kind in [ItemKind::Bid, ItemKind::Reading] {
            let closes = kind.closes_at_ms(&TIMING, STEP);
            for moment in closes - 2 * D..closes + 2 * D {
                let is_taken = item(kind, moment, moment).is_taken(&TIMING, &tolerance, STEP);
                for elsewhere in [moment - D, moment, moment + D] {
                    let there = item(kind, elsewhere, elsewhere);
                    let is_held_against = match is_taken {
                        true => there.is_too_late(&TIMING, &tolerance, STEP),
                        false => there.is_expected(&TIMING, &tolerance, STEP),
                    };
                    assert!(!is_held_against, "{kind:?} {moment} {elsewhere}");
                }
            }
        }
    }
}
