//! Splits of whole numbers in which nothing is lost (PROTOCOL 4).

use alloc::{vec, vec::Vec};

/// Splits `total` in proportion to `weights` by largest remainder.
///
/// Every part is the exact quota rounded down or up; the units that rounding down leaves over go, one
/// each, to the largest remainders, ties to the earlier position. Callers order by account id, so that
/// every node agrees. The parts sum to `total` to the last unit.
///
/// Returns `None` when all weights are zero while `total` is not: there is nobody to give it to.
pub fn split_by_largest_remainder(total: u64, weights: &[u64]) -> Option<Vec<u64>> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if sum == 0 {
        return (total == 0).then(|| vec![0; weights.len()]);
    }
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    let mut left = total;
    for (position, &weight) in weights.iter().enumerate() {
        let product = u128::from(total) * u128::from(weight);
        let part = u64::try_from(product / sum).ok()?;
        left -= part;
        parts.push(part);
        remainders.push((product % sum, position));
    }
    // Fewer units are left than there are parts with a remainder, so each gets at most one.
    remainders.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for &(_, position) in remainders.iter().take(usize::try_from(left).ok()?) {
        parts[position] += 1;
    }
    Some(parts)
}

/// Says how much of each lot is in each part, given lots and parts of the same total.
///
/// Row `i` of the result belongs to part `i`, column `p` to lot `p`. Rows sum to the parts, columns to
/// the lots, exactly and without negative entries: lots are handed out in order, each in proportion to
/// what the parts still lack, by largest remainder. A quota never exceeds what a part lacks, so neither
/// does its rounding up; the last lot fills every part.
///
/// Returns `None` when the totals differ.
pub fn trace_lots(lots: &[u64], parts: &[u64]) -> Option<Vec<Vec<u64>>> {
    let mut rows = vec![vec![0; lots.len()]; parts.len()];
    hand_out(lots, parts, |column, shares| {
        for (row, &share) in shares.iter().enumerate() {
            rows[row][column] = share;
        }
    })?;
    Some(rows)
}

/// Returns row `position` of [`trace_lots`], without the others: as long as there are lots, in memory for as many
/// numbers as there are parts, not for a row of each.
///
/// Returns `None` when the totals differ, or there is no such part.
pub fn trace_lots_of(lots: &[u64], parts: &[u64], position: usize) -> Option<Vec<u64>> {
    let mut row = Vec::with_capacity(lots.len());
    parts.get(position)?;
    hand_out(lots, parts, |_, shares| row.extend(shares.get(position)))?;
    Some(row)
}

/// Hands lots out to parts in order, each in proportion to what the parts still lack, and tells `take` of each lot
/// which share every part has of it.
///
/// Returns `None` when the totals differ.
fn hand_out(lots: &[u64], parts: &[u64], mut take: impl FnMut(usize, &[u64])) -> Option<()> {
    let sum = |items: &[u64]| items.iter().map(|&item| u128::from(item)).sum::<u128>();
    if sum(lots) != sum(parts) {
        return None;
    }
    let mut lacking = parts.to_vec();
    for (column, &lot) in lots.iter().enumerate() {
        let shares = split_by_largest_remainder(lot, &lacking)?;
        for (lacking, &share) in lacking.iter_mut().zip(&shares) {
            *lacking -= share;
        }
        take(column, &shares);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_contract_of_the_papers_gives_8_and_17_of_25() {
        // [D] Table 1: 25 kWh, 8 to X and 17 to Y.
        assert_eq!(
            split_by_largest_remainder(25_000, &[8, 17]),
            Some(vec![8_000, 17_000])
        );
    }

    #[test]
    fn ties_go_to_the_earlier_position() {
        assert_eq!(
            split_by_largest_remainder(2, &[1, 1, 1]),
            Some(vec![1, 1, 0])
        );
        assert_eq!(
            split_by_largest_remainder(1, &[0, 5, 5]),
            Some(vec![0, 1, 0])
        );
    }

    #[test]
    fn nothing_can_be_given_to_nobody() {
        assert_eq!(split_by_largest_remainder(1, &[0, 0]), None);
        assert_eq!(split_by_largest_remainder(1, &[]), None);
        assert_eq!(split_by_largest_remainder(0, &[0, 0]), Some(vec![0, 0]));
    }

    #[test]
    fn the_widest_numbers_fit() {
        let parts = split_by_largest_remainder(u64::MAX, &[u64::MAX, u64::MAX, 1]);
        assert_eq!(parts, Some(vec![(1 << 63) - 1, (1 << 63) - 1, 1]));
    }

    #[test]
    fn lots_and_parts_of_different_totals_are_refused() {
        assert_eq!(trace_lots(&[1, 2], &[4]), None);
        assert_eq!(trace_lots_of(&[1, 2], &[4], 0), None);
    }

    #[test]
    fn a_part_that_is_not_there_has_no_row() {
        assert_eq!(trace_lots_of(&[4], &[4], 0), Some(vec![4]));
        assert_eq!(trace_lots_of(&[4], &[4], 1), None);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole_and_stay_within_one_of_their_quota(
            total in any::<u64>(),
            weights in prop::collection::vec(any::<u64>(), 1..40),
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let parts = split_by_largest_remainder(total, &weights).expect("a weight is positive");
            let sum: u128 = weights.iter().map(|&w| u128::from(w)).sum();
            prop_assert_eq!(parts.iter().map(|&p| u128::from(p)).sum::<u128>(), u128::from(total));
            for (&part, &weight) in parts.iter().zip(&weights) {
                let quota = u128::from(total) * u128::from(weight) / sum;
                prop_assert!(u128::from(part) == quota || u128::from(part) == quota + 1);
                prop_assert!(weight > 0 || part == 0);
            }
        }

        #[test]
        fn a_trace_has_the_parts_as_rows_and_the_lots_as_columns(
            lots in prop::collection::vec(0u64..100_000, 1..12),
            weights in prop::collection::vec(0u64..1_000, 1..12),
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let parts = split_by_largest_remainder(lots.iter().sum(), &weights)
                .expect("a weight is positive");
            let rows = trace_lots(&lots, &parts).expect("the totals are equal");
            for (row, &part) in rows.iter().zip(&parts) {
                prop_assert_eq!(row.iter().sum::<u64>(), part);
            }
            for (column, &lot) in lots.iter().enumerate() {
                prop_assert_eq!(rows.iter().map(|row| row[column]).sum::<u64>(), lot);
            }
        }

        #[test]
        fn one_row_of_a_trace_is_the_same_as_in_the_whole(
            lots in prop::collection::vec(0u64..100_000, 0..12),
            weights in prop::collection::vec(0u64..1_000, 1..12),
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let parts = split_by_largest_remainder(lots.iter().sum(), &weights)
                .expect("a weight is positive");
            let rows = trace_lots(&lots, &parts).expect("the totals are equal");
            for (position, row) in rows.into_iter().enumerate() {
                prop_assert_eq!(trace_lots_of(&lots, &parts, position), Some(row));
            }
        }
    }
}
