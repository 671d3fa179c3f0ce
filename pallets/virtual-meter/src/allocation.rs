//! The allocation keys: who gets how much of what the community generated (PROTOCOL 4).
//!
//! Pure integer functions over slices. Position `i` of every slice is the same participant, and
//! participants stand in the order of their account ids: ties of the largest remainder then go to the
//! smaller account id, on every node. A new key is a new function here that returns an [`Allocation`].

use alloc::vec::Vec;
use commonwatt_primitives::{Bps, Ppm, Wh, split::split_by_largest_remainder};

/// What a key makes of the pool: `parts` and `rest` sum to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// What each participant gets.
    pub parts: Vec<Wh>,
    /// What nobody gets by the key; it goes to the generators' beneficiaries.
    pub rest: Wh,
}

/// Whether a participant may get more than it consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// It gets its share whatever it consumed, as in the papers' own contract [D Table 1].
    None,
    /// It gets its share up to what it consumed.
    Consumption,
}

/// Returns what is lost of a lot before it reaches the community, rounded down.
///
/// A loss factor above one loses the whole lot: energy is never negative.
pub fn compute_loss(lot: Wh, loss: Bps) -> Wh {
    loss.of_energy(lot).map_or(lot, |lost| lost.min(lot))
}

/// Shares the pool by fixed coefficients: `A_i = k_i·P`, or `min(k_i·P, C_i)` when capped.
///
/// Returns `None` when the slices differ in length, or all coefficients are zero.
pub fn allocate_static(
    pool: Wh,
    shares: &[Ppm],
    consumption: &[Wh],
    cap: Cap,
) -> Option<Allocation> {
    if shares.len() != consumption.len() {
        return None;
    }
    let weights: Vec<u64> = shares.iter().map(|share| u64::from(share.0)).collect();
    let quotas = split_by_largest_remainder(pool.0, &weights)?;
    let parts = quotas.into_iter().map(Wh).zip(consumption);
    let parts = match cap {
        Cap::None => parts.map(|(quota, _)| quota).collect(),
        Cap::Consumption => parts
            .map(|(quota, &consumed)| quota.min(consumed))
            .collect(),
    };
    with_rest(pool, parts)
}

/// Shares the pool in proportion to consumption: `A_i = min(P, C)·C_i/C`.
///
/// Nobody gets more than it consumed: a quota is at most `C_i`, which is whole, so neither does its
/// rounding up exceed it. Returns `None` never, as long as the arithmetic of the split holds.
pub fn allocate_pro_rata(pool: Wh, consumption: &[Wh]) -> Option<Allocation> {
    let weights: Vec<u64> = consumption.iter().map(|consumed| consumed.0).collect();
    let demand: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    // A demand that does not fit in 64 bits is larger than any pool.
    let shared = u64::try_from(demand).map_or(pool.0, |demand| demand.min(pool.0));
    let parts = split_by_largest_remainder(shared, &weights)?;
    with_rest(pool, parts.into_iter().map(Wh).collect())
}

/// Says how much of each generator's injection is the rest, in proportion to the injections.
///
/// No generator is left with more than it injected: the rest is at most the pool, so a quota is at
/// most the injection. Returns `None` when there is a rest but no injection, which is a contradiction.
pub fn split_rest(rest: Wh, injections: &[Wh]) -> Option<Vec<Wh>> {
    let weights: Vec<u64> = injections.iter().map(|injection| injection.0).collect();
    Some(
        split_by_largest_remainder(rest.0, &weights)?
            .into_iter()
            .map(Wh)
            .collect(),
    )
}

fn with_rest(pool: Wh, parts: Vec<Wh>) -> Option<Allocation> {
    let rest = pool.checked_sub(Wh::checked_sum(parts.iter().copied())?)?;
    Some(Allocation { parts, rest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn wh(items: &[u64]) -> Vec<Wh> {
        items.iter().copied().map(Wh).collect()
    }

    fn ppm(items: &[u32]) -> Vec<Ppm> {
        items.iter().copied().map(Ppm).collect()
    }

    #[test]
    fn a_static_key_ignores_consumption() {
        let shared = allocate_static(
            Wh(25_000),
            &ppm(&[320_000, 680_000]),
            &wh(&[0, 1]),
            Cap::None,
        );
        assert_eq!(
            shared,
            Some(Allocation {
                parts: wh(&[8_000, 17_000]),
                rest: Wh(0)
            })
        );
    }

    #[test]
    fn a_capped_static_key_leaves_what_is_not_needed() {
        let shared = allocate_static(
            Wh(25_000),
            &ppm(&[320_000, 680_000]),
            &wh(&[5_000, 20_000]),
            Cap::Consumption,
        );
        assert_eq!(
            shared,
            Some(Allocation {
                parts: wh(&[5_000, 17_000]),
                rest: Wh(3_000)
            })
        );
    }

    #[test]
    fn pro_rata_follows_consumption_and_covers_all_of_it_when_there_is_enough() {
        assert_eq!(
            allocate_pro_rata(Wh(100), &wh(&[100, 300])),
            Some(Allocation {
                parts: wh(&[25, 75]),
                rest: Wh(0)
            })
        );
        assert_eq!(
            allocate_pro_rata(Wh(500), &wh(&[100, 300])),
            Some(Allocation {
                parts: wh(&[100, 300]),
                rest: Wh(100)
            })
        );
        assert_eq!(
            allocate_pro_rata(Wh(500), &wh(&[0, 0])),
            Some(Allocation {
                parts: wh(&[0, 0]),
                rest: Wh(500)
            })
        );
    }

    #[test]
    fn ties_go_to_the_smaller_account() {
        let thirds = ppm(&[333_333, 333_333, 333_334]);
        let shared = allocate_static(Wh(2), &thirds, &wh(&[0; 3]), Cap::None);
        assert_eq!(shared.map(|shared| shared.parts), Some(wh(&[1, 0, 1])));
        let shared = allocate_pro_rata(Wh(1), &wh(&[7, 7]));
        assert_eq!(shared.map(|shared| shared.parts), Some(wh(&[1, 0])));
    }

    #[test]
    fn a_demand_beyond_64_bits_is_shared() {
        let shared = allocate_pro_rata(Wh(4), &wh(&[u64::MAX, u64::MAX])).expect("it fits");
        assert_eq!(shared.parts, wh(&[2, 2]));
    }

    #[test]
    fn slices_of_different_length_are_refused() {
        assert_eq!(
            allocate_static(Wh(1), &ppm(&[1_000_000]), &[], Cap::None),
            None
        );
    }

    #[test]
    fn a_loss_rounds_down_and_never_exceeds_the_lot() {
        assert_eq!(compute_loss(Wh(199), Bps(500)), Wh(9));
        assert_eq!(compute_loss(Wh(199), Bps(u16::MAX)), Wh(199));
        assert_eq!(compute_loss(Wh(u64::MAX), Bps(u16::MAX)), Wh(u64::MAX));
    }

    #[test]
    fn a_rest_is_split_over_the_injections() {
        assert_eq!(split_rest(Wh(3), &wh(&[1, 0, 4])), Some(wh(&[1, 0, 2])));
        assert_eq!(split_rest(Wh(0), &[]), Some(vec![]));
        assert_eq!(split_rest(Wh(1), &[]), None);
    }

    proptest! {
        #[test]
        fn every_key_hands_out_the_whole_pool_and_caps_hold(
            pool in 0u64..1_000_000,
            participants in prop::collection::vec((1u32..1_000, 0u64..100_000), 1..40),
        ) {
            let (shares, consumption): (Vec<_>, Vec<_>) =
                participants.into_iter().map(|(share, consumed)| (Ppm(share), Wh(consumed))).unzip();
            for (allocation, is_capped) in [
                (allocate_static(Wh(pool), &shares, &consumption, Cap::None), false),
                (allocate_static(Wh(pool), &shares, &consumption, Cap::Consumption), true),
                (allocate_pro_rata(Wh(pool), &consumption), true),
            ] {
                let Allocation { parts, rest } = allocation.expect("shares are positive");
                let shared = Wh::checked_sum(parts.iter().copied()).expect("it fits");
                prop_assert_eq!(shared.checked_add(rest), Some(Wh(pool)));
                let within = parts.iter().zip(&consumption).all(|(part, cap)| part <= cap);
                prop_assert!(within || !is_capped);
            }
        }

        #[test]
        fn no_generator_is_left_with_more_than_it_injected(
            injections in prop::collection::vec(0u64..10_000, 1..20),
            part in 0u64..=100,
        ) {
            let rest = injections.iter().sum::<u64>() * part / 100;
            let rests = split_rest(Wh(rest), &wh(&injections)).expect("a rest has a source");
            prop_assert_eq!(rests.iter().map(|r| r.0).sum::<u64>(), rest);
            prop_assert!(rests.iter().zip(&injections).all(|(rest, &injected)| rest.0 <= injected));
        }
    }
}
