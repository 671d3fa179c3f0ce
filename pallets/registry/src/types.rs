//! What the registry stores beside a meter's own record.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{Bps, MeterClass, MeterId, MeterKind, Step, metering::MeterInfo};
use frame_support::{BoundedVec, traits::Get};
use scale_info::TypeInfo;

/// How many former terms of a meter are remembered.
pub const PAST_TERMS_MAX: u32 = 8;

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

/// What a meter's record said about the sharing of its energy, until it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct PastTerms<AccountId> {
    /// The last step these terms held in.
    pub last: Step,
    /// Who got what of its generation stayed unshared.
    pub beneficiary: AccountId,
    /// Part lost before it reached the community.
    pub loss: Bps,
    /// Part of a storage's charge that could be discharged again.
    pub efficiency: Bps,
}

impl<AccountId: PartialEq> PastTerms<AccountId> {
    /// Takes the terms out of a record that ends with `last`.
    pub fn of(info: MeterInfo<AccountId>, last: Step) -> Self {
        Self {
            last,
            beneficiary: info.beneficiary,
            loss: info.loss,
            efficiency: info.efficiency,
        }
    }

    /// Returns whether a record says the same.
    pub fn is_of(&self, info: &MeterInfo<AccountId>) -> bool {
        self.beneficiary == info.beneficiary
            && self.loss == info.loss
            && self.efficiency == info.efficiency
    }

    /// Writes the terms into a meter's record.
    pub fn apply_to(self, info: &mut MeterInfo<AccountId>) {
        info.beneficiary = self.beneficiary;
        info.loss = self.loss;
        info.efficiency = self.efficiency;
    }
}

/// Appends an item; when there is no room the first one goes.
pub(crate) fn push_forgetting_oldest<Item, Max: Get<u32>>(
    items: &mut BoundedVec<Item, Max>,
    item: Item,
) {
    if items.is_full() && !items.is_empty() {
        items.remove(0);
    }
    // There is room now, but for a bound of zero, which remembers nothing.
    let _ = items.try_push(item);
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
