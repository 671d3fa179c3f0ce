//! How a score changes and fades: pure integer functions.

use commonwatt_primitives::{Ppm, Step, traits::MarketConduct};

use crate::types::{Record, Rules};

/// The score of somebody who never traded [T 5.4, `startLoyalty`].
pub const START: Ppm = Ppm::FULL;

/// Fixed point of the decay's factor: products of two stay below 2^128.
const ONE: u128 = 1_000_000_000_000_000_000;

/// Returns a score after `steps` in which nothing happened: its distance from 1.0 shrinks by `decay` in
/// each, rounded towards 1.0.
pub fn compute_faded(score: Ppm, steps: u32, decay: Ppm) -> Ppm {
    let factor = compute_power(u128::from(Ppm::FULL.0.saturating_sub(decay.0)), steps);
    let distance = u128::from(score.0.abs_diff(START.0));
    // A distance is below 2^32 and the factor at most 2^60; what is left is no more than the distance.
    let left = u32::try_from(distance.saturating_mul(factor) / ONE).unwrap_or(u32::MAX);
    Ppm(if score >= START {
        START.0.saturating_add(left)
    } else {
        START.0.saturating_sub(left)
    })
}

/// Returns `(kept / 1 000 000)^exponent` in units of [`ONE`], by squaring, rounded down in every product.
fn compute_power(kept: u128, exponent: u32) -> u128 {
    let mut base = kept.saturating_mul(ONE / u128::from(Ppm::FULL.0));
    let mut power = ONE;
    let mut exponent = exponent;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.saturating_mul(base) / ONE;
        }
        base = base.saturating_mul(base) / ONE;
        exponent >>= 1;
    }
    power
}

/// Returns a score after a step's market: each Wh counts by what became of it, and all of them together
/// change it by at most what `rules` say, which takes at least `scale` Wh. Rounded towards no change.
///
/// So an order split into many tiny ones counts like the one, and a tiny one hardly at all.
pub fn compute_updated(score: Ppm, conduct: MarketConduct, rules: &Rules) -> Ppm {
    let wide = |wh: u64| i128::from(wh);
    let (traded, unserved, cut_off) = (
        wide(conduct.traded.0),
        wide(conduct.unserved.0),
        wide(conduct.cut_off.0),
    );
    // Three products of 64 by 32 bits: far below 127 bits.
    let change = traded * i128::from(rules.boost.0) + unserved * i128::from(rules.slight.0)
        - cut_off * i128::from(rules.cut.0);
    let whole = (traded + unserved + cut_off)
        .max(wide(rules.scale.0))
        .max(1);
    let updated = (i128::from(score.0) + change / whole)
        .clamp(i128::from(rules.floor.0), i128::from(rules.ceiling.0));
    Ppm(u32::try_from(updated).unwrap_or(rules.ceiling.0))
}

/// Returns what a record is worth in `step`.
pub fn score_in(record: Option<Record>, step: Step, rules: &Rules) -> Ppm {
    record.map_or(START, |record| {
        compute_faded(record.score, step.since(record.updated), rules.decay)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_primitives::Wh;
    use proptest::prelude::*;

    fn conduct(traded: u64, unserved: u64, cut_off: u64) -> MarketConduct {
        MarketConduct {
            traded: Wh(traded),
            unserved: Wh(unserved),
            cut_off: Wh(cut_off),
        }
    }

    #[test]
    fn half_of_the_distance_is_left_after_a_step_that_halves_it() {
        let half = Ppm(500_000);
        assert_eq!(compute_faded(Ppm(3_000_000), 1, half), Ppm(2_000_000));
        assert_eq!(compute_faded(Ppm(3_000_000), 3, half), Ppm(1_250_000));
        assert_eq!(compute_faded(Ppm(200_000), 1, half), Ppm(600_000));
        assert_eq!(compute_faded(Ppm(200_000), u32::MAX, half), START);
        assert_eq!(compute_faded(Ppm(3_000_000), 0, half), Ppm(3_000_000));
        assert_eq!(compute_faded(Ppm(3_000_000), 9, Ppm(0)), Ppm(3_000_000));
        assert_eq!(compute_faded(Ppm(3_000_000), 1, Ppm::FULL), START);
    }

    #[test]
    fn traded_energy_boosts_unserved_raises_slightly_and_cut_off_lowers() {
        // [T 4.4]: "participated buyers and sellers get boost for loyalty parameter. Those, who does not
        // get a supplier or buyer, but had appropriate price, get slight loyalty parameter increase.
        // Those, who was cut from the auction by clearing price get decrease in loyalty parameter."
        let rules = Rules::default();
        let change = |conduct| i64::from(compute_updated(START, conduct, &rules).0) - 1_000_000;
        let scale = rules.scale.0;
        assert_eq!(change(conduct(scale, 0, 0)), i64::from(rules.boost.0));
        assert_eq!(change(conduct(0, scale, 0)), i64::from(rules.slight.0));
        assert_eq!(change(conduct(0, 0, scale)), -i64::from(rules.cut.0));
        assert_eq!(change(conduct(0, 0, 0)), 0);
        assert!(rules.slight < rules.boost);
    }

    #[test]
    fn an_update_counts_by_the_energy_and_has_a_bound() {
        let rules = Rules::default();
        let scale = rules.scale.0;
        assert_eq!(
            compute_updated(START, conduct(scale / 10, 0, 0), &rules),
            Ppm(1_000_000 + rules.boost.0 / 10)
        );
        assert_eq!(
            compute_updated(START, conduct(scale * 50, 0, 0), &rules),
            Ppm(1_000_000 + rules.boost.0)
        );
        assert_eq!(
            compute_updated(rules.ceiling, conduct(scale, 0, 0), &rules),
            rules.ceiling
        );
        assert_eq!(
            compute_updated(rules.floor, conduct(0, 0, scale), &rules),
            rules.floor
        );
    }

    proptest! {
        #[test]
        fn a_score_stays_within_its_bounds_whatever_happens(
            score in 0u32..=u32::MAX,
            traded: u64, unserved: u64, cut_off: u64,
            steps: u32, decay in 0u32..=1_000_000,
        ) {
            let rules = Rules { decay: Ppm(decay), ..Rules::default() };
            let score = Ppm(score.clamp(rules.floor.0, rules.ceiling.0));
            let updated = compute_updated(score, conduct(traded, unserved, cut_off), &rules);
            prop_assert!(rules.floor <= updated && updated <= rules.ceiling);
            let faded = compute_faded(updated, steps, rules.decay);
            prop_assert!(faded.0.abs_diff(START.0) <= updated.0.abs_diff(START.0));
            prop_assert!((faded >= START) == (updated >= START) || faded == START);
        }

        #[test]
        fn tiny_trades_in_many_steps_gain_no_more_than_one_of_their_sum(
            parts in prop::collection::vec(1u64..200, 1..50),
        ) {
            let rules = Rules { decay: Ppm(0), scale: Wh(10_000), ..Rules::default() };
            let at_once = compute_updated(START, conduct(parts.iter().sum(), 0, 0), &rules);
            let in_parts = parts.iter().fold(START, |score, &part| {
                compute_updated(score, conduct(part, 0, 0), &rules)
            });
            prop_assert!(in_parts <= at_once);
        }
    }
}
