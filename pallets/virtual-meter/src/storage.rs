//! Storage accounting: how much of what a battery gives is energy of the community (PROTOCOL 3).
//!
//! A storage is named by its discharge meter. Charging is its owner's consumption; of what was charged
//! only the part that lots covered is community energy, so
//! `stored = charge × min(1, VGM / consumption) × efficiency`, rounded down: energy that was sold is not
//! stored as well, energy that was bought is. A trade of the step therefore changes what it stored. Discharging is
//! generation only up to what is stored; the rest of it is grid energy on its way back and makes no lot.
//!
//! Decision: **a correction never takes back a credit, and never gives more than the storage holds.**
//! A rerun of an old step cannot know what later steps discharged without replaying them all. So a rerun
//! keeps what the step was credited (unless its own reading fell), and raises it only out of what is in
//! the storage now, the step's own charge left out. When a correction lowers what was charged from lots after it has
//! been discharged, the balance goes below zero, and later charges fill it before anything is credited
//! again: over time, lots out never exceed lots in.

use commonwatt_primitives::{Bps, Wh};

/// What a step did to a storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Lots that came out.
    pub credited: Wh,
    /// Lots that went in.
    pub stored: Wh,
}

/// Returns what part of a discharge becomes a lot, given the balance now, in which `before` (what an
/// earlier run of the same step did) is contained.
pub fn compute_credit(discharge: Wh, balance_wh: i128, before: Effect) -> Wh {
    let spare_wh = balance_wh
        .saturating_sub(i128::from(before.stored.0))
        .max(0);
    // Beyond 64 bits the limit binds no discharge.
    let spare = Wh(u64::try_from(spare_wh).unwrap_or(u64::MAX));
    discharge.min(before.credited.checked_add(spare).unwrap_or(Wh(u64::MAX)))
}

/// Returns how much of a charge is stored as lots, rounded down; `None` when the numbers do not fit.
pub fn compute_stored(charge: Wh, coverage: Wh, consumption: Wh, efficiency: Bps) -> Option<Wh> {
    if consumption.is_zero() {
        return Some(Wh::ZERO);
    }
    let covered = coverage.min(consumption);
    let efficiency = efficiency.min(Bps::FULL);
    let stored = u128::from(charge.0)
        .checked_mul(u128::from(covered.0))?
        .checked_mul(u128::from(efficiency.0))?
        / (u128::from(consumption.0) * u128::from(Bps::FULL.0));
    u64::try_from(stored).ok().map(Wh)
}

/// Returns the balance with one effect of a step in the place of another.
pub fn replace_effect(balance_wh: i128, before: Effect, after: Effect) -> Option<i128> {
    balance_wh
        .checked_sub(before.stored.signed_difference(before.credited))?
        .checked_add(after.stored.signed_difference(after.credited))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Effect = Effect {
        credited: Wh(0),
        stored: Wh(0),
    };

    #[test]
    fn a_discharge_is_credited_up_to_what_is_stored() {
        assert_eq!(compute_credit(Wh(50), 80, NOTHING), Wh(50));
        assert_eq!(compute_credit(Wh(50), 30, NOTHING), Wh(30));
        assert_eq!(compute_credit(Wh(50), -30, NOTHING), Wh(0));
    }

    #[test]
    fn a_rerun_keeps_its_credit_although_the_storage_has_been_emptied_since() {
        let before = Effect {
            credited: Wh(60),
            stored: Wh(100),
        };
        assert_eq!(compute_credit(Wh(60), 0, before), Wh(60));
        assert_eq!(compute_credit(Wh(90), 0, before), Wh(60));
        assert_eq!(compute_credit(Wh(90), 110, before), Wh(70));
        assert_eq!(compute_credit(Wh(20), 0, before), Wh(20));
    }

    #[test]
    fn only_what_lots_covered_is_stored_less_the_losses() {
        assert_eq!(
            compute_stored(Wh(100), Wh(50), Wh(200), Bps(9_000)),
            Some(Wh(22))
        );
        assert_eq!(
            compute_stored(Wh(100), Wh(500), Wh(200), Bps(9_000)),
            Some(Wh(90))
        );
        assert_eq!(
            compute_stored(Wh(100), Wh(500), Wh(0), Bps(9_000)),
            Some(Wh(0))
        );
        assert_eq!(
            compute_stored(Wh(u64::MAX), Wh(u64::MAX), Wh(u64::MAX), Bps(9_000)),
            None
        );
    }

    #[test]
    fn an_effect_takes_the_place_of_another() {
        let before = Effect {
            credited: Wh(10),
            stored: Wh(40),
        };
        let after = Effect {
            credited: Wh(10),
            stored: Wh(5),
        };
        assert_eq!(replace_effect(30, NOTHING, before), Some(60));
        assert_eq!(replace_effect(0, before, after), Some(-35));
    }
}
