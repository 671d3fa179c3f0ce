//! What loyalty is made of.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Ppm, Step, Wh};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Greatest ceiling: 1000.0.
pub const CEILING_MAX: Ppm = Ppm(1_000_000_000);

/// The community's contract about loyalty; genesis values. Scores are in millionths.
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// What a score gains in a step whose orders were traded.
    pub boost: Ppm,
    /// What it gains when orders were priced well and found no counterpart.
    pub slight: Ppm,
    /// What it loses when orders were cut off by the clearing price.
    pub cut: Ppm,
    /// From which energy on a step counts in full.
    pub scale: Wh,
    /// By which part a score comes closer to 1.0 in each step.
    pub decay: Ppm,
    /// Smallest score.
    pub floor: Ppm,
    /// Greatest score.
    pub ceiling: Ppm,
}

impl Default for Rules {
    /// A member that trades a kilowatt-hour in each step rises by a twentieth; half of that is forgotten in a
    /// week of quarter-hours.
    fn default() -> Self {
        Self {
            boost: Ppm(50_000),
            slight: Ppm(10_000),
            cut: Ppm(30_000),
            scale: Wh(1_000),
            decay: Ppm(1_000),
            floor: Ppm(100_000),
            ceiling: Ppm(10_000_000),
        }
    }
}

/// What is wrong with [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Everyone starts at 1.0, and prices are weighed by scores that must not be zero.
    #[error(
        "floor and ceiling must enclose 1000000, with floor at least 1 and ceiling at most {CEILING_MAX}"
    )]
    Bounds,
    /// Being left without a counterpart would be worth as much as trading.
    #[error("slight must be smaller than boost")]
    SlightNotSlight,
    /// One step would decide everything.
    #[error("boost, cut and decay must be at most 1000000")]
    ChangeTooLarge,
    /// Tiny orders would count in full.
    #[error("scale must be at least 1 Wh")]
    NoScale,
}

impl Rules {
    /// Checks that the values fit together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self) -> Result<(), RulesError> {
        if self.floor.0 == 0
            || self.floor > Ppm::FULL
            || self.ceiling < Ppm::FULL
            || self.ceiling > CEILING_MAX
        {
            return Err(RulesError::Bounds);
        }
        if self.slight >= self.boost {
            return Err(RulesError::SlightNotSlight);
        }
        if [self.boost, self.cut, self.decay]
            .into_iter()
            .any(|part| part > Ppm::FULL)
        {
            return Err(RulesError::ChangeTooLarge);
        }
        if self.scale.is_zero() {
            return Err(RulesError::NoScale);
        }
        Ok(())
    }
}

/// A score and the step in which it changed last.
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
)]
pub struct Record {
    /// The score then.
    pub score: Ppm,
    /// The step.
    pub updated: Step,
}
