//! Words of metering that more than one pallet uses (PROTOCOL 2, 3).

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

use crate::{time::Step, units::Bps};

/// A meter's number on this chain, given by the registry. It outlives devices and owners.
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
pub struct MeterId(pub u32);

impl core::fmt::Display for MeterId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "meter {}", self.0)
    }
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
            Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
    };
}

word! {
    /// What an account may do.
    Role {
        /// Neutral metering party: registers, reports registers, corrects readings.
        Dso,
        /// Consumer or prosumer: owns a virtual generation meter.
        Member,
        /// A device at a certified meter that signs what it measured.
        Cryptometer,
    }
}

word! {
    /// What a meter measures.
    MeterKind {
        /// Injection of a generator.
        Generation,
        /// Offtake of a member.
        Consumption,
        /// Energy going into a storage; counts as its owner's consumption.
        StorageCharge,
        /// Energy coming out of a storage; generation only up to the lots stored in it.
        StorageDischarge,
    }
}

impl MeterKind {
    /// Returns whether its readings become lots.
    pub fn is_generation(self) -> bool {
        matches!(self, Self::Generation | Self::StorageDischarge)
    }

    /// Returns whether its readings count as its owner's consumption.
    pub fn is_consumption(self) -> bool {
        matches!(self, Self::Consumption | Self::StorageCharge)
    }
}

word! {
    /// Accuracy class of the Measuring Instruments Directive 2014/32/EU, Annex V.
    MeterClass {
        /// Least accurate.
        A,
        /// In between.
        B,
        /// Most accurate.
        C,
    }
}

word! {
    /// How good a reading is, best first, so that `Measured < Estimated` reads as "better than".
    Quality {
        /// Measured by the meter (Austrian EDA: L1).
        Measured,
        /// Reliable substitute (L2).
        Substitute,
        /// Unreliable estimate (L3).
        Estimated,
    }
}

impl Quality {
    /// Returns whether this reading may replace one of quality `other`: worse never replaces better.
    pub fn may_replace(self, other: Self) -> bool {
        self <= other
    }
}

/// What the registry knows about a meter and other pallets need.
#[derive(
    Clone,
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
pub struct MeterInfo<AccountId> {
    /// What it measures.
    pub kind: MeterKind,
    /// The member who owns it; its consumption is this member's.
    pub owner: AccountId,
    /// Who gets what of its generation stays unshared: a member or the community account.
    pub beneficiary: AccountId,
    /// Accuracy class.
    pub class: MeterClass,
    /// Pulses for each kilowatt-hour; never zero.
    pub pulses_per_kwh: u32,
    /// Greatest mean power it can plausibly measure, in watts.
    pub capacity_w: u32,
    /// Part of its generation lost before it reaches the community, credited to the loss account.
    pub loss: Bps,
    /// For storage meters: what part of the energy charged can be discharged again.
    pub efficiency: Bps,
    /// For storage meters: the meter in the other direction, so that both speak of one storage.
    pub storage_pair: Option<MeterId>,
    /// First step it measures.
    pub commissioned: Step,
    /// Last step it measured, once retired.
    pub retired: Option<Step>,
}

impl<AccountId> MeterInfo<AccountId> {
    /// Returns whether the meter was in service in `step`.
    pub fn is_active_in(&self, step: Step) -> bool {
        self.commissioned <= step && self.retired.is_none_or(|last| step <= last)
    }
}
