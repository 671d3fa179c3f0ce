//! How a delivery score changes over a period [L]: pure integer functions.

use commonwatt_primitives::{Wh, auction::Delivery};

use crate::types::{Declared, Score};

/// Sums over the steps of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviation {
    /// What was declared.
    pub declared: u128,
    /// By how much it was missed.
    pub missed: u128,
}

impl Deviation {
    /// Adds a step. What is not known was not delivered.
    ///
    /// At most 2^32 steps of four 64-bit numbers: the sums stay far below 128 bits.
    pub fn add(&mut self, declared: Declared, delivered: Delivery) {
        let distance = |one: Wh, other: Wh| u128::from(one.0.abs_diff(other.0));
        let of_step = u128::from(declared.used.0).saturating_add(declared.offered.0.into());
        let missed = distance(declared.used, delivered.used)
            .saturating_add(distance(declared.offered, delivered.offered));
        self.declared = self.declared.saturating_add(of_step);
        self.missed = self.missed.saturating_add(missed);
    }

    /// Returns `(1/T_C)·Σ|y − y#|` relative to the mean declared in a step, which is
    /// `Σ|y − y#| / Σy#`, rounded up to millionths.
    ///
    /// The mean of what was declared is the scale, and not a number the member names, nor the greatest
    /// step: a member that could inflate its scale would shrink every deviation. One that declares
    /// nothing deviates by one, so its score stays as it is: a promise of nothing is free to keep.
    pub fn relative(&self) -> Score {
        match (self.declared, self.missed) {
            (0, _) => Score::ONE,
            (_, 0) => Score(0),
            (declared, missed) => {
                // missed < 2^98, a million < 2^20.
                let millionths = missed
                    .saturating_mul(Score::ONE.0.into())
                    .div_ceil(declared);
                Score(u64::try_from(millionths).unwrap_or(u64::MAX))
            }
        }
    }
}

/// Returns a score after a sale of which a part was not there: less by that part of what was promised, at
/// least 0, rounded against the seller. So a sale counts like a declaration that was missed.
pub fn compute_after_shortfall(score: Score, promised: Wh, missing: Wh) -> Score {
    let part = Deviation {
        declared: promised.0.into(),
        missed: missing.0.into(),
    };
    match part.declared {
        0 => score,
        _ => Score(score.0.saturating_sub(part.relative().0)),
    }
}

/// Returns `R_{v+1} = min(R_v + 1 − deviation, τ + A_v)`, at least 0.
pub fn compute_next(score: Score, deviation: Score, tau: u16, age: u32) -> Score {
    let next = score
        .0
        .saturating_add(Score::ONE.0)
        .saturating_sub(deviation.0);
    Score(next).min(compute_ceiling(tau, age))
}

/// Returns `τ + A_v`, which no score exceeds.
pub fn compute_ceiling(tau: u16, age: u32) -> Score {
    Score::whole(u64::from(tau).saturating_add(age.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn declared(used: u64, offered: u64) -> Declared {
        Declared {
            used: Wh(used),
            offered: Wh(offered),
        }
    }

    fn delivered(used: u64, offered: u64) -> Delivery {
        Delivery {
            used: Wh(used),
            offered: Wh(offered),
        }
    }

    fn deviation(steps: &[(Declared, Delivery)]) -> Score {
        let mut sum = Deviation::default();
        for &(declared, delivered) in steps {
            sum.add(declared, delivered);
        }
        sum.relative()
    }

    #[test]
    fn who_keeps_its_word_gains_one_in_a_period() {
        let kept = deviation(&[(declared(500, 20), delivered(500, 20)); 3]);
        assert_eq!(kept, Score(0));
        assert_eq!(compute_next(Score(500), kept, 10, 0), Score(1_000_500));
    }

    #[test]
    fn deviations_are_relative_to_what_was_declared() {
        // 30 of 200 missed, in use and in offer, above and below.
        let steps = [
            (declared(100, 0), delivered(90, 0)),
            (declared(60, 40), delivered(70, 30)),
        ];
        assert_eq!(deviation(&steps), Score(150_000));
        assert_eq!(
            compute_next(Score(0), deviation(&steps), 10, 0),
            Score(850_000)
        );
        // Rounded up, against the member: a third.
        assert_eq!(
            deviation(&[(declared(3, 0), delivered(2, 0))]),
            Score(333_334)
        );
    }

    #[test]
    fn a_score_is_at_least_nothing_and_at_most_tau_and_the_age() {
        assert_eq!(compute_next(Score(5), Score::whole(9), 10, 0), Score(0));
        assert_eq!(
            compute_next(Score::whole(10), Score(0), 3, 4),
            Score::whole(7)
        );
        assert_eq!(
            compute_next(Score(u64::MAX), Score(0), u16::MAX, u32::MAX),
            Score::whole(u64::from(u16::MAX) + u64::from(u32::MAX))
        );
    }

    #[test]
    fn a_promise_of_nothing_gains_nothing() {
        assert_eq!(deviation(&[(declared(0, 0), delivered(9, 0))]), Score::ONE);
        assert_eq!(deviation(&[(declared(0, 0), delivered(0, 0))]), Score::ONE);
        assert_eq!(compute_next(Score(500), Score::ONE, 10, 0), Score(500));
    }

    #[test]
    fn a_shortfall_costs_the_part_that_was_missing() {
        let after = |score, promised, missing| {
            compute_after_shortfall(Score(score), Wh(promised), Wh(missing))
        };
        assert_eq!(after(2_000_000, 400, 100), Score(1_750_000));
        assert_eq!(after(2_000_000, 3, 1), Score(1_666_666));
        assert_eq!(after(500_000, 400, 400), Score(0));
        assert_eq!(after(500_000, 0, 0), Score(500_000));
    }

    #[test]
    fn the_auction_is_told_hundredths() {
        assert_eq!(Score(1_239_999).in_hundredths(), 123);
        assert_eq!(Score::whole(655).in_hundredths(), 65_500);
        assert_eq!(Score::whole(656).in_hundredths(), u16::MAX);
    }

    proptest! {
        #[test]
        fn wh_and_kwh_compare(
            steps in prop::collection::vec((0u64..1 << 40, 0u64..1 << 40, 0u64..1 << 40, 0u64..1 << 40), 1..20),
        ) {
            let scaled = |factor: u64| {
                let steps: Vec<_> = steps
                    .iter()
                    .map(|&(a, b, c, d)| {
                        (declared(a * factor, b * factor), delivered(c * factor, d * factor))
                    })
                    .collect();
                deviation(&steps)
            };
            prop_assert_eq!(scaled(1), scaled(1_000));
        }

        #[test]
        fn declaring_more_than_one_delivers_never_pays(
            true_use in 1u64..1 << 40,
            factor in 1u64..1_000,
        ) {
            let honest = deviation(&[(declared(true_use, 0), delivered(true_use, 0))]);
            let inflated = deviation(&[(declared(true_use * factor, 0), delivered(true_use, 0))]);
            prop_assert!(inflated >= honest);
        }
    }
}
