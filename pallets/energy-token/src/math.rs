//! Pure integer functions of this pallet.

use commonwatt_primitives::{Bps, Wh};

const MS_PER_HOUR: u128 = 3_600_000;

/// Returns the greatest plausible energy of one step, rounded down: capacity × metered time × tolerance.
pub fn compute_energy_max(capacity_w: u32, metered_ms: u64, tolerance: Bps) -> Wh {
    // Less than 2^32 · 2^64 · 2^16, so it fits.
    let product = u128::from(capacity_w) * u128::from(metered_ms) * u128::from(tolerance.0);
    let energy_wh = product / (MS_PER_HOUR * u128::from(Bps::FULL.0));
    // More than `Wh` can hold is no limit at all.
    Wh(u64::try_from(energy_wh).unwrap_or(u64::MAX))
}

/// Returns what pulses are worth in whole watt-hours, and what is left over as the next carry.
///
/// A carry counts parts of `1 / pulses_per_kwh` Wh and is always less than a watt-hour; one that was
/// kept under a greater pulse constant is cut to that. `None` when the pulse constant is zero.
pub fn compute_pulse_energy(pulses: u32, carry: u32, pulses_per_kwh: u32) -> Option<(Wh, u32)> {
    let carry = carry.min(pulses_per_kwh.checked_sub(1)?);
    // Less than 2^32 · 1000 + 2^32, so it fits.
    let parts = u64::from(pulses) * 1_000 + u64::from(carry);
    let rest = u32::try_from(parts % u64::from(pulses_per_kwh)).ok()?;
    Some((Wh(parts / u64::from(pulses_per_kwh)), rest))
}

/// Returns by how much credited and metered energy may differ: the permissible error of what the
/// register counted, rounded down, but at least one pulse, which the meter may hold back.
pub fn compute_permissible_error(metered: Wh, error: Bps, pulses_per_kwh: u32) -> Wh {
    let pulse_wh = 1_000u32.div_ceil(pulses_per_kwh.max(1));
    let error_wh = u64::try_from(error.of(metered.0)).unwrap_or(u64::MAX);
    Wh(error_wh.max(u64::from(pulse_wh)))
}

/// Returns what a register counted that went from `last` past its `modulus` to `register`, once.
///
/// `None` when it did not roll over (`register` is not below `last`) or cannot show `last`.
pub fn compute_rolled_over(last: Wh, register: Wh, modulus: Wh) -> Option<Wh> {
    if register >= last || last >= modulus {
        return None;
    }
    modulus.checked_sub(last)?.checked_add(register)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quarter_of_an_hour_at_ten_kilowatts_is_2750_wh_with_tolerance() {
        assert_eq!(compute_energy_max(10_000, 900_000, Bps(11_000)), Wh(2_750));
    }

    #[test]
    fn an_energy_limit_beyond_the_number_range_is_no_limit() {
        assert_eq!(
            compute_energy_max(u32::MAX, u64::MAX, Bps(u16::MAX)),
            Wh(u64::MAX)
        );
    }

    #[test]
    fn a_zero_pulse_constant_is_worth_nothing() {
        assert_eq!(compute_pulse_energy(1, 0, 0), None);
    }

    #[test]
    fn at_least_one_pulse_is_permissible() {
        assert_eq!(compute_permissible_error(Wh(10), Bps(70), 1_000), Wh(1));
        assert_eq!(compute_permissible_error(Wh(10), Bps(70), 300), Wh(4));
        assert_eq!(
            compute_permissible_error(Wh(100_000), Bps(350), 1_000),
            Wh(3_500)
        );
    }

    #[test]
    fn a_register_rolls_over_forwards_only() {
        assert_eq!(
            compute_rolled_over(Wh(999_990), Wh(15), Wh(1_000_000)),
            Some(Wh(25))
        );
        assert_eq!(compute_rolled_over(Wh(10), Wh(15), Wh(1_000_000)), None);
        assert_eq!(
            compute_rolled_over(Wh(1_000_000), Wh(15), Wh(1_000_000)),
            None
        );
    }

    proptest! {
        #[test]
        fn pulses_are_worth_the_same_one_by_one_or_together(
            batches in prop::collection::vec(0u32..5_000, 1..50),
            pulses_per_kwh in 1u32..20_000,
        ) {
            let total: u32 = batches.iter().sum();
            let together = compute_pulse_energy(total, 0, pulses_per_kwh);
            let mut energy_wh = 0;
            let mut carry = 0;
            for pulses in batches {
                let (added, rest) = compute_pulse_energy(pulses, carry, pulses_per_kwh)
                    .expect("the constant is positive");
                prop_assert!(rest < pulses_per_kwh);
                energy_wh += added.0;
                carry = rest;
            }
            prop_assert_eq!(together, Some((Wh(energy_wh), carry)));
        }
    }
}
