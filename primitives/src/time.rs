//! The market step and when it opens, closes and settles (PROTOCOL 1).

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A market interval, which is also the height of the block that closes it.
///
/// Step `s` covers `(T_{s-1}, T_s]` with `T_s = genesis_ms + s · step_ms`; step 0 is genesis.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Step(pub u32);

impl Step {
    /// Returns the step `count` later, or `None` past the end of the number range.
    pub fn checked_add(self, count: u32) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// Returns the step `count` earlier, stopping at genesis.
    pub fn saturating_sub(self, count: u32) -> Self {
        Self(self.0.saturating_sub(count))
    }

    /// Returns how many steps lie between `earlier` and this one; zero when it is not earlier.
    pub fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

impl core::fmt::Display for Step {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// A calendar month in UTC, counted from January 1970.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Month(pub u32);

impl Month {
    /// Returns the month of an instant in milliseconds since the Unix epoch.
    ///
    /// Civil-from-days by Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        // Days since 0000-03-01; the era arithmetic then needs no negative numbers.
        let days = unix_ms / 86_400_000 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let months = (era * 400 + year_of_era) * 12 + month_from_march + 2;
        // `months` counts from January of year 0; 1970 begins at month 23 640.
        Self(u32::try_from(months - 23_640).unwrap_or(u32::MAX))
    }

    /// Returns the year and the month of the year, January being 1.
    pub fn year_and_month(self) -> (u32, u32) {
        (1970 + self.0 / 12, self.0 % 12 + 1)
    }
}

/// The genesis values that say when steps close, all in milliseconds.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepTiming {
    /// `T_0`: when step 1 begins, milliseconds since the Unix epoch.
    pub genesis_ms: u64,
    /// Length of a step on the chain's clock.
    pub step_ms: u64,
    /// How much metered time a step stands for. Equal to `step_ms` but on demonstration chains,
    /// which play 15-minute readings in faster steps; capacities are checked against this.
    pub metered_ms: u64,
    /// Time after a step's beginning before nodes bid by themselves, so that all have the block before.
    pub gate_open_ms: u64,
    /// Time before a step's end from which bids and orders are no longer taken.
    pub gate_close_ms: u64,
    /// Time after `T_s` before block `s` is proposed, so that the last readings arrive.
    pub settle_delay_ms: u64,
}

/// What is wrong with a [`StepTiming`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimingError {
    /// A step must be at least [`StepTiming::STEP_MS_MIN`] and at most [`StepTiming::STEP_MS_MAX`].
    StepLength,
    /// The metered time must be at least a second and at most a day.
    MeteredTime,
    /// Gate opening + gate closure + settle delay must be shorter than the step.
    GatesExceedStep,
}

impl core::fmt::Display for TimingError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::StepLength => "stepMs must lie between 100 and 86400000",
            Self::MeteredTime => "meteredMs must lie between 1000 and 86400000",
            Self::GatesExceedStep => {
                "gateOpenMs + gateCloseMs + settleDelayMs must be less than stepMs"
            }
        })
    }
}

impl StepTiming {
    /// Shortest step: below it a block cannot settle.
    pub const STEP_MS_MIN: u64 = 100;
    /// Longest step: a day.
    pub const STEP_MS_MAX: u64 = 86_400_000;
    /// The production values of PROTOCOL 1, with `genesis_ms` to be set.
    pub const PRODUCTION: Self = Self {
        genesis_ms: 0,
        step_ms: 900_000,
        metered_ms: 900_000,
        gate_open_ms: 60_000,
        gate_close_ms: 60_000,
        settle_delay_ms: 3_000,
    };

    /// Checks that the values fit together.
    pub fn verify(&self) -> Result<(), TimingError> {
        if !(Self::STEP_MS_MIN..=Self::STEP_MS_MAX).contains(&self.step_ms) {
            return Err(TimingError::StepLength);
        }
        if !(1_000..=Self::STEP_MS_MAX).contains(&self.metered_ms) {
            return Err(TimingError::MeteredTime);
        }
        let taken = self
            .gate_open_ms
            .checked_add(self.gate_close_ms)
            .and_then(|gates| gates.checked_add(self.settle_delay_ms));
        match taken {
            Some(taken) if taken < self.step_ms => Ok(()),
            _ => Err(TimingError::GatesExceedStep),
        }
    }

    /// Returns `T_s`, when `step` closes, in milliseconds since the Unix epoch.
    pub fn closes_at_ms(&self, step: Step) -> u64 {
        self.genesis_ms
            .saturating_add(u64::from(step.0).saturating_mul(self.step_ms))
    }

    /// Returns when block `step` may be proposed: `T_s + settle_delay`.
    pub fn settles_at_ms(&self, step: Step) -> u64 {
        self.closes_at_ms(step).saturating_add(self.settle_delay_ms)
    }

    /// Returns the step that covers an instant: the smallest `s` with `T_s ≥ unix_ms`.
    pub fn step_at(&self, unix_ms: u64) -> Step {
        let elapsed_ms = unix_ms.saturating_sub(self.genesis_ms);
        Step(u32::try_from(elapsed_ms.div_ceil(self.step_ms.max(1))).unwrap_or(u32::MAX))
    }

    /// Returns whether a block for `step` made at `unix_ms` is late: made after `T_{s+1}`.
    pub fn is_late(&self, step: Step, unix_ms: u64) -> bool {
        unix_ms > self.closes_at_ms(Step(step.0.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing() -> StepTiming {
        StepTiming {
            genesis_ms: 1_000_000,
            ..StepTiming::PRODUCTION
        }
    }

    #[test]
    fn a_step_covers_its_end_and_not_its_beginning() {
        let t = timing();
        assert_eq!(t.step_at(t.closes_at_ms(Step(4))), Step(4));
        assert_eq!(t.step_at(t.closes_at_ms(Step(4)) + 1), Step(5));
        assert_eq!(t.step_at(0), Step(0));
    }

    #[test]
    fn a_block_is_late_only_after_the_next_step_has_closed() {
        let t = timing();
        assert!(!t.is_late(Step(3), t.closes_at_ms(Step(4))));
        assert!(t.is_late(Step(3), t.closes_at_ms(Step(4)) + 1));
    }

    #[test]
    fn gates_that_fill_the_step_are_refused() {
        let t = StepTiming {
            settle_delay_ms: 780_000,
            ..timing()
        };
        assert_eq!(t.verify(), Err(TimingError::GatesExceedStep));
        assert_eq!(timing().verify(), Ok(()));
        let t = StepTiming {
            gate_open_ms: u64::MAX,
            ..timing()
        };
        assert_eq!(t.verify(), Err(TimingError::GatesExceedStep));
    }

    #[test]
    fn months_follow_the_calendar() {
        let month = |ms| Month::from_unix_ms(ms).year_and_month();
        assert_eq!(month(0), (1970, 1));
        // 2015-12-31T23:59:59.999Z, one millisecond later, and the leap day of 2016.
        assert_eq!(month(1_451_606_399_999), (2015, 12));
        assert_eq!(month(1_451_606_400_000), (2016, 1));
        assert_eq!(month(1_456_704_000_000), (2016, 2));
        assert_eq!(month(1_456_790_400_000), (2016, 3));
    }
}
