//! The transaction extension that applies the quota.

use codec::{Decode, DecodeWithMemTracking, Encode};
use commonwatt_primitives::{Role, traits::Registrar};
use frame_support::{
    dispatch::{DispatchInfo, PostDispatchInfo, RawOrigin},
    traits::OriginTrait,
    weights::{Weight, constants::WEIGHT_REF_TIME_PER_MILLIS},
};
use pallet_transaction_payment::{ChargeTransactionPayment, OnChargeTransaction, Pre, Val};
use scale_info::{StaticTypeInfo, TypeInfo};
use sp_runtime::{
    DispatchResult,
    traits::{
        DispatchInfoOf, DispatchOriginOf, Dispatchable, Implication, PostDispatchInfoOf,
        TransactionExtension, ValidateResult, Zero,
    },
    transaction_validity::{
        InvalidTransaction, TransactionSource, TransactionValidityError, ValidTransaction,
    },
};

use crate::{CallGate, Config, Pallet, Used};

type BalanceOf<T> =
    <<T as pallet_transaction_payment::Config>::OnChargeTransaction as OnChargeTransaction<T>>::Balance;

/// Why this extension refuses a transaction, as the code of `InvalidTransaction::Custom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TransactionRefusal {
    /// The signer is not registered on this chain.
    Unregistered = 1,
    /// The signer has used up its quota of this step and cannot pay the fee.
    QuotaUsed = 2,
}

impl TransactionRefusal {
    /// Returns the refusal behind a custom code, if it is one of ours.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Unregistered, Self::QuotaUsed]
            .into_iter()
            .find(|refusal| *refusal as u8 == code)
    }

    /// Says what was wrong and what to do.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Unregistered => "account not registered: ask the DSO to register it",
            Self::QuotaUsed => {
                "quota used up: it waits for the next step, or add coins for the fee"
            }
        }
    }
}

impl From<TransactionRefusal> for TransactionValidityError {
    fn from(refusal: TransactionRefusal) -> Self {
        InvalidTransaction::Custom(refusal as u8).into()
    }
}

/// Charges the ordinary fee only beyond the quota.
///
/// Wraps `ChargeTransactionPayment` without adding a byte to a transaction: same encoding, name and
/// metadata. A tip is always charged, since it buys priority.
#[derive(Clone, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking)]
pub struct ChargeBeyondQuota<T>(pub ChargeTransactionPayment<T>)
where
    T: pallet_transaction_payment::Config;

impl<T: pallet_transaction_payment::Config> ChargeBeyondQuota<T>
where
    T::RuntimeCall: Dispatchable<Info = DispatchInfo, PostInfo = PostDispatchInfo>,
    BalanceOf<T>: Send + Sync,
{
    /// Creates the extension with a tip.
    pub fn from(tip: BalanceOf<T>) -> Self {
        Self(ChargeTransactionPayment::from(tip))
    }
}

impl<T> core::fmt::Debug for ChargeBeyondQuota<T>
where
    T: pallet_transaction_payment::Config,
{
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// To a client it is what it wraps.
impl<T> TypeInfo for ChargeBeyondQuota<T>
where
    T: pallet_transaction_payment::Config,
    ChargeTransactionPayment<T>: StaticTypeInfo,
{
    type Identity = ChargeTransactionPayment<T>;

    fn type_info() -> scale_info::Type {
        ChargeTransactionPayment::<T>::type_info()
    }
}

/// Execution that one transaction of the quota includes: 20 ms.
const UNIT_TIME: u64 = 20 * WEIGHT_REF_TIME_PER_MILLIS;
/// Bytes that one transaction of the quota includes.
const UNIT_LENGTH: usize = 64 * 1024;

/// Returns for how many transactions one counts: itself, and one more for each full 20 ms of execution
/// and each full 64 KiB.
pub(crate) fn quota_units(info: &DispatchInfo, len: usize) -> u32 {
    let time = info.total_weight().ref_time() / UNIT_TIME;
    let length = u64::try_from(len / UNIT_LENGTH).unwrap_or(u64::MAX);
    let units = time.saturating_add(length).saturating_add(1);
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Returns who signed; `None` for inherents and the like.
fn signer_of<T: frame_system::Config>(origin: &T::RuntimeOrigin) -> Option<&T::AccountId> {
    match origin.as_system_ref() {
        Some(RawOrigin::Signed(who)) => Some(who),
        _ => None,
    }
}

impl<T> TransactionExtension<T::RuntimeCall> for ChargeBeyondQuota<T>
where
    T: Config + pallet_transaction_payment::Config,
    T::RuntimeCall: Dispatchable<Info = DispatchInfo, PostInfo = PostDispatchInfo>,
    BalanceOf<T>: Send + Sync,
    ChargeTransactionPayment<T>: StaticTypeInfo,
{
    const IDENTIFIER: &'static str =
        <ChargeTransactionPayment<T> as TransactionExtension<T::RuntimeCall>>::IDENTIFIER;
    type Implicit = ();
    type Val = Val<T>;
    type Pre = Pre<T>;

    fn weight(&self, call: &T::RuntimeCall) -> Weight {
        self.0.weight(call)
    }

    fn validate(
        &self,
        origin: DispatchOriginOf<T::RuntimeCall>,
        call: &T::RuntimeCall,
        info: &DispatchInfoOf<T::RuntimeCall>,
        len: usize,
        self_implicit: Self::Implicit,
        inherited_implication: &impl Implication,
        source: TransactionSource,
    ) -> ValidateResult<Self::Val, T::RuntimeCall> {
        let Some(who) = signer_of::<T>(&origin) else {
            return Ok((ValidTransaction::default(), Val::NoCharge, origin));
        };
        let role = T::Registry::role_of(who).ok_or(TransactionRefusal::Unregistered)?;
        if T::Gate::is_premature(call) {
            return Err(InvalidTransaction::Future.into());
        }
        let is_covered = role != Role::Cryptometer || T::Gate::is_metering(call);
        let is_free = is_covered
            && self.0.tip().is_zero()
            && Pallet::<T>::left_for(who, role) >= quota_units(info, len);
        if is_free {
            let priority =
                ChargeTransactionPayment::<T>::get_priority(info, len, Zero::zero(), Zero::zero());
            let validity = ValidTransaction {
                priority,
                ..Default::default()
            };
            return Ok((validity, Val::NoCharge, origin));
        }
        self.0
            .validate(
                origin,
                call,
                info,
                len,
                self_implicit,
                inherited_implication,
                source,
            )
            .map_err(|error| match error {
                // Without coins it waits for the next step's quota instead of being thrown away. A tip is paid in any step.
                TransactionValidityError::Invalid(InvalidTransaction::Payment)
                    if self.0.tip().is_zero() =>
                {
                    TransactionRefusal::QuotaUsed.into()
                }
                other => other,
            })
    }

    fn prepare(
        self,
        val: Self::Val,
        origin: &DispatchOriginOf<T::RuntimeCall>,
        call: &T::RuntimeCall,
        info: &DispatchInfoOf<T::RuntimeCall>,
        len: usize,
    ) -> Result<Self::Pre, TransactionValidityError> {
        if let Some(who) = signer_of::<T>(origin) {
            let units = quota_units(info, len);
            Used::<T>::mutate(who, |used| *used = used.saturating_add(units));
        }
        match val {
            Val::NoCharge => Ok(Pre::NoCharge {
                refund: Weight::zero(),
            }),
            charge => self.0.prepare(charge, origin, call, info, len),
        }
    }

    fn post_dispatch_details(
        pre: Self::Pre,
        info: &DispatchInfoOf<T::RuntimeCall>,
        post_info: &PostDispatchInfoOf<T::RuntimeCall>,
        len: usize,
        result: &DispatchResult,
    ) -> Result<Weight, TransactionValidityError> {
        ChargeTransactionPayment::<T>::post_dispatch_details(pre, info, post_info, len, result)
    }
}
