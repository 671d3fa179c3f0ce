//! What the registry stores beside a meter's own record.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Bps, MeterClass, MeterId, MeterKind, Step, metering::MeterInfo};
use scale_info::TypeInfo;

/// A device speaking for a meter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Binding {
    /// The meter.
    pub meter: MeterId,
    /// The first step the device speaks for.
    pub from: Step,
}

/// A device that spoke for a meter before.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct PastBinding<AccountId> {
    /// The device.
    pub device: AccountId,
    /// The first step it spoke for.
    pub from: Step,
    /// The last step it spoke for.
    pub last: Step,
}

/// What may be changed about a meter in service; `None` leaves as is.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct MeterChange<AccountId> {
    /// Who gets what of its generation stays unshared.
    pub beneficiary: Option<AccountId>,
    /// Accuracy class.
    pub class: Option<MeterClass>,
    /// Pulses for each kilowatt-hour.
    pub pulses_per_kwh: Option<u32>,
    /// Greatest mean power, in watts.
    pub capacity_w: Option<u32>,
    /// Part lost before it reaches the community.
    pub loss: Option<Bps>,
    /// Part of a storage's charge that can be discharged again.
    pub efficiency: Option<Bps>,
}

impl<AccountId> MeterChange<AccountId> {
    /// Writes the change into a meter's record.
    pub fn apply_to(self, info: &mut MeterInfo<AccountId>) {
        fn set<Value>(place: &mut Value, value: Option<Value>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut info.beneficiary, self.beneficiary);
        set(&mut info.class, self.class);
        set(&mut info.pulses_per_kwh, self.pulses_per_kwh);
        set(&mut info.capacity_w, self.capacity_w);
        set(&mut info.loss, self.loss);
        set(&mut info.efficiency, self.efficiency);
    }
}

/// Returns whether two kinds of meters are the two directions of a storage.
pub fn is_storage_pair(one: MeterKind, other: MeterKind) -> bool {
    matches!(
        (one, other),
        (MeterKind::StorageCharge, MeterKind::StorageDischarge)
            | (MeterKind::StorageDischarge, MeterKind::StorageCharge)
    )
}
