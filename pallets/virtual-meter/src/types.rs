//! What the pallet keeps and what it answers.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{MeterId, Ppm, Step, Wh};
use core::fmt::Debug;
use frame_support::{
    BoundedVec, CloneNoBound, DebugNoBound, EqNoBound, PartialEqNoBound, traits::Get,
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// An allocation key as it is proposed, in a call or in the chain spec.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KeyTerms<AccountId> {
    /// Fixed coefficients, which sum to a million.
    #[codec(index = 0)]
    Static {
        /// Whether nobody gets more than it consumed.
        capped: bool,
        /// Coefficient of each participant, in any order.
        shares: Vec<(AccountId, Ppm)>,
    },
    /// In proportion to consumption.
    #[codec(index = 1)]
    ProRata {
        /// Who takes part, in any order.
        participants: Vec<AccountId>,
    },
}

impl<AccountId> KeyTerms<AccountId> {
    /// Returns how many participants are named.
    pub fn participant_count(&self) -> u32 {
        let count = match self {
            Self::Static { shares, .. } => shares.len(),
            Self::ProRata { participants } => participants.len(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// An allocation key as it is kept: checked, with the participants in the order of their account ids.
#[derive(
    CloneNoBound, DebugNoBound, PartialEqNoBound, EqNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[codec(mel_bound(AccountId: MaxEncodedLen))]
#[scale_info(skip_type_params(Max))]
pub enum Key<AccountId: Clone + Debug + Eq, Max: Get<u32>> {
    /// Fixed coefficients, which sum to a million.
    #[codec(index = 0)]
    Static {
        /// Whether nobody gets more than it consumed.
        capped: bool,
        /// Coefficient of each participant.
        shares: BoundedVec<(AccountId, Ppm), Max>,
    },
    /// In proportion to consumption.
    #[codec(index = 1)]
    ProRata {
        /// Who takes part.
        participants: BoundedVec<AccountId, Max>,
    },
}

impl<AccountId: Clone + Debug + Eq, Max: Get<u32>> Key<AccountId, Max> {
    /// Returns who takes part, in the order of the account ids.
    pub fn participants(&self) -> Vec<&AccountId> {
        match self {
            Self::Static { shares, .. } => shares.iter().map(|(who, _)| who).collect(),
            Self::ProRata { participants } => participants.iter().collect(),
        }
    }
}

impl<AccountId: Clone + Debug + Eq, Max: Get<u32>> From<Key<AccountId, Max>>
    for KeyTerms<AccountId>
{
    fn from(key: Key<AccountId, Max>) -> Self {
        match key {
            Key::Static { capped, shares } => Self::Static {
                capped,
                shares: shares.into_inner(),
            },
            Key::ProRata { participants } => Self::ProRata {
                participants: participants.into_inner(),
            },
        }
    }
}

/// The community's contract: how each step's energy is shared, from a step on.
#[derive(
    CloneNoBound, DebugNoBound, PartialEqNoBound, EqNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[codec(mel_bound(AccountId: MaxEncodedLen))]
#[scale_info(skip_type_params(Max))]
pub struct Agreement<AccountId: Clone + Debug + Eq, Max: Get<u32>> {
    /// First step it governs.
    pub effective_from: Step,
    /// How the energy is shared.
    pub key: Key<AccountId, Max>,
    /// The community's own account, a possible beneficiary of what stays unshared.
    pub community_account: AccountId,
    /// Where losses between generator and community are credited.
    pub loss_account: AccountId,
}

/// Which agreement governs from which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Scheduled {
    /// First step it governs.
    pub effective_from: Step,
    /// Its number; never given twice.
    pub version: u32,
}

/// An agreement as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgreementInfo<AccountId> {
    /// Its number; never given twice.
    pub version: u32,
    /// First step it governs.
    pub effective_from: Step,
    /// How the energy is shared.
    pub key: KeyTerms<AccountId>,
    /// The community's own account.
    pub community_account: AccountId,
    /// Where losses are credited.
    pub loss_account: AccountId,
}

/// What an account's virtual generation meter holds of a step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct VgmEntry {
    /// Allocated by the key.
    #[codec(compact)]
    pub shared: Wh,
    /// Unshared part of the generation whose beneficiary the account is.
    #[codec(compact)]
    pub rest: Wh,
    /// Lost on the way; only the loss account has any, and nobody can use it.
    #[codec(compact)]
    pub lost: Wh,
    /// Bought from other members.
    #[codec(compact)]
    pub bought: Wh,
    /// Sold to other members.
    #[codec(compact)]
    pub sold: Wh,
    /// What the account consumed, if a meter or the DSO said so.
    pub consumption: Option<Wh>,
}

impl VgmEntry {
    /// Returns what the distribution gave, for which voting tokens are issued; `None` when it does not
    /// fit.
    pub fn allocated(&self) -> Option<Wh> {
        self.shared.checked_add(self.rest)
    }

    /// Returns the virtual generation meter, `allocated + bought − sold`. A correction after a sale can
    /// make it negative.
    pub fn net_wh(&self) -> i128 {
        [self.shared, self.rest, self.bought]
            .into_iter()
            .map(|part| i128::from(part.0))
            .sum::<i128>()
            - i128::from(self.sold.0)
    }

    /// Returns what of the account's consumption its virtual generation meter can cover: what it sold covers
    /// nothing, what it bought does.
    pub fn coverage(&self) -> Wh {
        // Beyond 64 bits it covers any consumption.
        Wh(u64::try_from(self.net_wh().max(0)).unwrap_or(u64::MAX))
    }

    /// Returns the market face meter, `consumption − VGM` [D 2.3]: what the outer grid covers, or takes
    /// when it is negative. Consumption that nobody reported counts as none.
    pub fn market_face_wh(&self) -> i128 {
        i128::from(self.consumption.unwrap_or_default().0) - self.net_wh()
    }

    /// Returns whether it says nothing, so that it need not be kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// The derive counts a compact field as its plain type, one byte too few.
impl MaxEncodedLen for VgmEntry {
    fn max_encoded_len() -> usize {
        5 * COMPACT_MAX + Option::<Wh>::max_encoded_len()
    }
}

/// What an account had in a month, as far as it is known now. It outlives the detail of the steps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct MonthTotal {
    /// Allocated by the key.
    #[codec(compact)]
    pub shared: Wh,
    /// Unshared generation.
    #[codec(compact)]
    pub rest: Wh,
    /// Lost on the way.
    #[codec(compact)]
    pub lost: Wh,
    /// Bought from other members.
    #[codec(compact)]
    pub bought: Wh,
    /// Sold to other members.
    #[codec(compact)]
    pub sold: Wh,
    /// Consumed, as far as it was reported.
    #[codec(compact)]
    pub consumption: Wh,
}

impl MonthTotal {
    /// Returns the total with one entry of a step in the place of another; `None` when it does not fit.
    pub fn replace(&self, before: &VgmEntry, after: &VgmEntry) -> Option<Self> {
        let moved =
            |total: Wh, before: Wh, after: Wh| total.checked_sub(before)?.checked_add(after);
        Some(Self {
            shared: moved(self.shared, before.shared, after.shared)?,
            rest: moved(self.rest, before.rest, after.rest)?,
            lost: moved(self.lost, before.lost, after.lost)?,
            bought: moved(self.bought, before.bought, after.bought)?,
            sold: moved(self.sold, before.sold, after.sold)?,
            consumption: moved(
                self.consumption,
                before.consumption.unwrap_or_default(),
                after.consumption.unwrap_or_default(),
            )?,
        })
    }
}

impl MaxEncodedLen for MonthTotal {
    fn max_encoded_len() -> usize {
        6 * COMPACT_MAX
    }
}

/// A generator's energy in a step and where it went: `energy = shared + rest + loss`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Lot<AccountId> {
    /// The generator.
    pub meter: MeterId,
    /// Its lot, as far as it is energy of the community.
    #[codec(compact)]
    pub energy: Wh,
    /// Lost on the way to the community.
    #[codec(compact)]
    pub loss: Wh,
    /// Not shared by the key.
    #[codec(compact)]
    pub rest: Wh,
    /// Who got the rest.
    pub beneficiary: AccountId,
}

impl<AccountId> Lot<AccountId> {
    /// Returns what the key shared of it; `None` when the record contradicts itself.
    pub fn shared(&self) -> Option<Wh> {
        self.energy.checked_sub(self.loss)?.checked_sub(self.rest)
    }
}

impl<AccountId: MaxEncodedLen> MaxEncodedLen for Lot<AccountId> {
    fn max_encoded_len() -> usize {
        MeterId::max_encoded_len() + 3 * COMPACT_MAX + AccountId::max_encoded_len()
    }
}

/// What a step did to a storage, which its discharge meter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct StorageMove {
    /// The discharge meter.
    pub storage: MeterId,
    /// Lots that came out.
    pub credited: Wh,
    /// Lots that went in.
    pub stored: Wh,
    /// What was charged, from lots or not: a trade changes how much of it lots covered.
    pub charged: Wh,
}

/// A step in figures: `generated = losses + shared + rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepSummary {
    /// How often the step was distributed: 1 at first, one more with each correction.
    #[codec(compact)]
    pub version: u32,
    /// Sum of the lots.
    #[codec(compact)]
    pub generated: Wh,
    /// Part lost on the way.
    #[codec(compact)]
    pub losses: Wh,
    /// Part shared by the key.
    #[codec(compact)]
    pub shared: Wh,
    /// Part that went to the generators' beneficiaries.
    #[codec(compact)]
    pub rest: Wh,
    /// What was consumed, as far as it was reported.
    #[codec(compact)]
    pub consumption: Wh,
    /// Version of the agreement that was applied, if there was one.
    pub agreement: Option<u32>,
}

impl MaxEncodedLen for StepSummary {
    fn max_encoded_len() -> usize {
        5 + 5 * COMPACT_MAX + Option::<u32>::max_encoded_len()
    }
}

/// How large a distribution was, from which the next one's weight is reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct RunSize {
    /// Meters that had a reading.
    pub meters: u32,
    /// Accounts that had an entry.
    pub accounts: u32,
}

impl RunSize {
    /// Returns this size, or `before` less a 96th, whichever is greater, for each figure.
    pub(crate) fn or_fallen_from(self, before: Self) -> Self {
        fn fallen(before: u32) -> u32 {
            before.saturating_sub(before.div_ceil(96))
        }
        Self {
            meters: self.meters.max(fallen(before.meters)),
            accounts: self.accounts.max(fallen(before.accounts)),
        }
    }
}

/// Where an account's energy of a step came from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace<AccountId> {
    /// The step.
    pub step: Step,
    /// How often the step was distributed.
    pub version: u32,
    /// Whose energy it is.
    pub member: AccountId,
    /// What the distribution gave; for the loss account what was lost.
    pub allocated: Wh,
    /// How much of it each generator made, by ascending meter; sums to `allocated`.
    pub from: Vec<(MeterId, Wh)>,
    /// Bought from other members.
    pub bought: Wh,
    /// How much of what was bought each generator made, by ascending meter, as far as a market says who sold
    /// it.
    pub bought_from: Vec<(MeterId, Wh)>,
    /// Part of what was bought that its seller did not have after all, because a correction withdrew it: covered
    /// by the outer grid.
    pub bought_from_outer_grid: Wh,
    /// Sold to other members.
    pub sold: Wh,
    /// The virtual generation meter; negative when a correction came after a sale.
    pub net_wh: i128,
}

/// Why a step was not distributed. Each of them is a fault of the software or of a limit, not of a
/// member; the step can be distributed again once its readings change.
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
pub enum Refusal {
    /// A sum of energy does not fit in 64 bits.
    Overflow,
    /// The outputs do not sum to the inputs.
    OutputsDifferFromInputs,
    /// More generators have readings than the limit allows.
    TooManyMeters,
    /// The detail of the step is no longer kept.
    Expired,
}

/// Longest compact encoding of 64 bits.
const COMPACT_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_few_bytes_and_never_more_than_its_bound() {
        let household = VgmEntry {
            shared: Wh(63),
            rest: Wh(1_200),
            consumption: Some(Wh(250)),
            ..Default::default()
        };
        assert_eq!(household.encoded_size(), 15);
        let most = Wh(u64::MAX);
        let largest = VgmEntry {
            shared: most,
            rest: most,
            lost: most,
            bought: most,
            sold: most,
            consumption: Some(most),
        };
        assert_eq!(largest.encoded_size(), VgmEntry::max_encoded_len());
        assert_eq!(VgmEntry::decode(&mut &largest.encode()[..]), Ok(largest));
    }

    #[test]
    fn a_total_that_would_become_negative_is_refused() {
        let before = VgmEntry {
            shared: Wh(2),
            ..Default::default()
        };
        assert_eq!(
            MonthTotal::default().replace(&before, &VgmEntry::default()),
            None
        );
    }
}
