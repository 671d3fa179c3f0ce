//! What devices report, what the chain keeps of it, and the table of permissible errors.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Bps, Hash, MeterClass, MeterId, Quality, Step, Wh};
use frame_support::{
    BoundedVec, CloneNoBound, DebugNoBound, DefaultNoBound, EqNoBound, PartialEqNoBound,
    traits::{ConstU32, Get},
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// What a device says about one step of its meter.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Report {
    /// The step in which it was measured, whatever block carries it.
    pub step: Step,
    /// What was measured.
    pub reading: Measurement,
}

/// What was measured.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Measurement {
    /// Increment: pulses since the last report, worth what the meter's pulse constant says.
    Pulses(u32),
    /// Increment: energy since the last report.
    EnergyAdded(Wh),
    /// The step's whole; replaces the step's total.
    Interval {
        /// The step's energy.
        energy: Wh,
        /// Counted by the device from 1 for each step, so that a newer value is known from an older.
        version: u32,
        /// How good the value is.
        quality: Quality,
    },
    /// The step's whole as a salted commitment, for consumption only; see
    /// [`compute_commitment`](crate::compute_commitment).
    Commitment(Hash),
}

/// Where a reading came from.
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
pub enum ReadingSource {
    /// A sum of increments, open to more.
    Increments,
    /// An interval reported, or revealed, as a whole.
    Interval,
    /// A correction by the DSO.
    Correction,
}

/// What the chain knows about a meter's energy in a step.
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
pub struct Reading {
    /// The step's energy so far.
    pub energy: Wh,
    /// How good it is.
    pub quality: Quality,
    /// The device's version of an interval; 0 for increments, for what was revealed, and for a correction
    /// where there was nothing; one more than before for a correction of something.
    pub version: u32,
    /// Where it came from.
    pub source: ReadingSource,
}

/// Meters whose readings of a step share an entry of the state: those with neighbouring numbers.
pub const METERS_PER_BUCKET: u32 = 32;

/// Returns the number of the bucket that holds a meter's readings.
pub fn bucket_of(meter: MeterId) -> u32 {
    meter.0 / METERS_PER_BUCKET
}

/// Readings of a step, by ascending meter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct ReadingBucket(pub BoundedVec<(MeterId, Reading), ConstU32<METERS_PER_BUCKET>>);

impl ReadingBucket {
    /// Returns what is known of a meter.
    pub fn get(&self, meter: MeterId) -> Option<&Reading> {
        let place = self.0.binary_search_by_key(&meter, |(meter, _)| *meter);
        self.0.get(place.ok()?).map(|(_, reading)| reading)
    }

    /// Puts a reading in its place.
    ///
    /// # Errors
    /// The reading, when the bucket is full of other meters, which cannot be if all belong there.
    pub fn put(&mut self, meter: MeterId, reading: Reading) -> Result<(), Reading> {
        match self.0.binary_search_by_key(&meter, |(meter, _)| *meter) {
            Ok(place) => {
                let known = self.0.get_mut(place).ok_or(reading)?;
                *known = (meter, reading);
                Ok(())
            }
            Err(place) => self
                .0
                .try_insert(place, (meter, reading))
                .map_err(|(_, reading)| reading),
        }
    }
}

/// Which readings a step has.
#[derive(
    CloneNoBound,
    DebugNoBound,
    DefaultNoBound,
    PartialEqNoBound,
    EqNoBound,
    Encode,
    Decode,
    MaxEncodedLen,
    TypeInfo,
)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxMeters))]
pub struct ReadingIndex<MaxMeters: Get<u32>> {
    /// How many there are.
    pub readings: u32,
    /// The buckets that hold them, in the order of their first one.
    pub buckets: BoundedVec<u32, MaxMeters>,
}

/// A meter's own register as the DSO read it.
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
pub struct RegisterReading {
    /// The step at whose end it was read.
    pub step: Step,
    /// What the register showed.
    pub register: Wh,
}

/// Why a meter is flagged: what was credited differs from its register by more than is permissible.
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
pub struct Flag {
    /// The last step compared.
    pub step: Step,
    /// Energy credited on the chain since the register reading before.
    pub credited: Wh,
    /// Energy the register counted since then.
    pub metered: Wh,
}

/// The genesis values of this pallet, kept as one so that a report reads them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Rules {
    /// For how many on-time steps after its own a device may still report a step.
    pub correction_window: u32,
    /// For how many steps readings are kept.
    pub retention: u32,
    /// What part of a meter's capacity a step may reach.
    pub tolerance: Bps,
}

impl Default for Rules {
    /// A day, 35 days, and 1.1 times the capacity, at steps of 15 minutes.
    fn default() -> Self {
        Self {
            correction_window: 96,
            retention: 3_360,
            tolerance: Bps(11_000),
        }
    }
}

/// What is wrong with [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Nothing could ever be late.
    #[error("correctionWindow must be at least 1")]
    WindowEmpty,
    /// A step would be forgotten while it can still be corrected.
    #[error("retention must be more than correctionWindow")]
    RetentionTooShort,
    /// A meter at its rated capacity would be refused.
    #[error("plausibilityTolerance must be at least 10000, which is the capacity itself")]
    ToleranceBelowCapacity,
}

impl Rules {
    /// Checks that the values fit together.
    pub fn verify(&self) -> Result<(), RulesError> {
        if self.correction_window == 0 {
            return Err(RulesError::WindowEmpty);
        }
        if self.retention <= self.correction_window {
            return Err(RulesError::RetentionTooShort);
        }
        if self.tolerance < Bps::FULL {
            return Err(RulesError::ToleranceBelowCapacity);
        }
        Ok(())
    }
}

/// Temperature at which a meter worked, in the bands of MID Annex V. A band includes both the colder
/// and the warmer range of equal error.
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
pub enum TemperatureBand {
    /// 5 to 30 °C.
    Normal,
    /// −10 to 5 °C or 30 to 40 °C.
    Wide,
    /// −25 to −10 °C or 40 to 55 °C.
    Severe,
    /// −40 to −25 °C or 55 to 70 °C.
    Extreme,
}

/// Current at which a meter worked, in the ranges of MID Annex V.
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
pub enum Load {
    /// `I_tr` to `I_max`, balanced.
    Balanced,
    /// `I_min` to `I_tr`.
    LowCurrent,
}

/// Under which conditions a register counted; together with the class they give the permissible error.
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
pub struct Conditions {
    /// The temperature.
    pub temperature: TemperatureBand,
    /// The current.
    pub load: Load,
}

/// Permissible errors of one class, by temperature from normal to extreme.
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
pub struct ClassErrors {
    /// At a balanced load.
    pub balanced: [Bps; 4],
    /// At low current.
    pub low_current: [Bps; 4],
}

/// Maximum permissible errors (MPE) of meters. A table and no constant: the directive is being amended.
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
pub struct MpeTable {
    /// Class A.
    pub a: ClassErrors,
    /// Class B.
    pub b: ClassErrors,
    /// Class C.
    pub c: ClassErrors,
}

impl Default for MpeTable {
    /// MID 2014/32/EU, Annex V (MI-003), table 2.
    fn default() -> Self {
        let errors = |balanced: [u16; 4], low_current: [u16; 4]| ClassErrors {
            balanced: balanced.map(Bps),
            low_current: low_current.map(Bps),
        };
        Self {
            a: errors([350, 450, 700, 900], [350, 500, 700, 900]),
            b: errors([200, 250, 350, 400], [200, 250, 350, 400]),
            c: errors([70, 100, 130, 150], [100, 130, 170, 200]),
        }
    }
}

impl MpeTable {
    /// Returns the permissible error of a class under the given conditions.
    pub fn error_of(&self, class: MeterClass, conditions: Conditions) -> Bps {
        let errors = match class {
            MeterClass::A => &self.a,
            MeterClass::B => &self.b,
            MeterClass::C => &self.c,
        };
        let [normal, wide, severe, extreme] = match conditions.load {
            Load::Balanced => errors.balanced,
            Load::LowCurrent => errors.low_current,
        };
        match conditions.temperature {
            TemperatureBand::Normal => normal,
            TemperatureBand::Wide => wide,
            TemperatureBand::Severe => severe,
            TemperatureBand::Extreme => extreme,
        }
    }

    /// Returns whether every error is a fraction of at most one.
    pub fn is_plausible(&self) -> bool {
        [&self.a, &self.b, &self.c]
            .into_iter()
            .flat_map(|errors| errors.balanced.iter().chain(&errors.low_current))
            .all(|error| error.is_fraction())
    }
}
