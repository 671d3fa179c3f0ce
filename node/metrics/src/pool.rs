//! The transaction pool in figures.

use commonwatt_txpool::{
    InvalidTransaction, LaneCounts, PoolError, PoolEvent, PoolStatus, Refusal, TransactionStatus,
};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::register::{Registrar, counted, shown};

/// Figures of the pool.
pub(crate) struct PoolFigures {
    ready: IntGauge,
    transactions: IntGaugeVec,
    bytes: IntGauge,
    banned: IntGauge,
    refused: IntCounterVec,
    left: IntCounterVec,
    validations_scheduled: IntCounter,
    validations_finished: IntCounter,
    validations_invalid: IntCounter,
}

/// Every reason for which [`reason_of`] says a transaction was not taken.
const REASONS: [&str; 15] = [
    "account_full",
    "already_included",
    "already_pooled",
    "bad_signature",
    "banned",
    "cannot_pay",
    "low_priority",
    "malformed",
    "not_allowed",
    "outdated",
    "pool_full",
    "quota_or_registry",
    "runtime_panic",
    "too_large",
    "unknown_validity",
];

const LEFT: [&str; 3] = ["dropped", "invalid", "usurped"];

impl PoolFigures {
    pub(crate) fn register(registrar: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            ready: registrar.gauge(
                "substrate_ready_transactions_number",
                "Transactions that can be in the next block",
            )?,
            transactions: registrar.gauges(
                "commonwatt_pool_transactions",
                "Transactions in the pool by lane (evidence, reading, other) and state: ready for a block, future \
                 when another must come first, waiting for a later step",
                &["lane", "state"],
            )?,
            bytes: registrar.gauge(
                "commonwatt_pool_bytes",
                "Bytes of the transactions in the pool",
            )?,
            banned: registrar.gauge(
                "commonwatt_pool_banned",
                "Transactions that are refused without another look",
            )?,
            refused: registrar.counters_of(
                "commonwatt_transactions_refused_total",
                "Transactions that were submitted and not taken, by reason",
                "reason",
                &REASONS,
            )?,
            left: registrar.counters_of(
                "commonwatt_pool_left_total",
                "Transactions that left the pool without a block: dropped for room or time, found invalid, or \
                 replaced by another with the same nonce (usurped)",
                "reason",
                &LEFT,
            )?,
            validations_scheduled: registrar.counter(
                "substrate_sub_txpool_validations_scheduled",
                "Transactions about which the runtime was asked",
            )?,
            validations_finished: registrar.counter(
                "substrate_sub_txpool_validations_finished",
                "Transactions about which the runtime answered",
            )?,
            validations_invalid: registrar.counter(
                "substrate_sub_txpool_validations_invalid",
                "Transactions that left the pool because they had become invalid",
            )?,
        })
    }

    pub(crate) fn refresh(&self, status: &PoolStatus) {
        self.ready.set(shown(status.ready.total()));
        self.bytes.set(shown(status.bytes));
        self.banned.set(shown(status.banned));
        for (state, counts) in [
            ("ready", status.ready),
            ("future", status.future),
            ("waiting", status.waiting),
        ] {
            let LaneCounts {
                evidence,
                readings,
                other,
            } = counts;
            for (lane, count) in [
                ("evidence", evidence),
                ("reading", readings),
                ("other", other),
            ] {
                self.transactions
                    .with_label_values(&[lane, state])
                    .set(shown(count));
            }
        }
    }

    pub(crate) fn validation_began(&self, count: usize) {
        self.validations_scheduled.inc_by(counted(count));
    }

    pub(crate) fn validation_done(&self, count: usize) {
        self.validations_finished.inc_by(counted(count));
    }

    pub(crate) fn refused(&self, error: &PoolError) {
        self.refused.with_label_values(&[reason_of(error)]).inc();
    }

    pub(crate) fn changed(&self, events: &[PoolEvent]) {
        for event in events {
            let how = match &event.status {
                TransactionStatus::Dropped => "dropped",
                TransactionStatus::Usurped(_) => "usurped",
                TransactionStatus::Invalid(_) => {
                    self.validations_invalid.inc();
                    "invalid"
                }
                TransactionStatus::Future
                | TransactionStatus::Ready
                | TransactionStatus::InBlock(_)
                | TransactionStatus::Finalized(_) => continue,
            };
            self.left.with_label_values(&[how]).inc();
        }
    }
}

/// Returns in one word why a transaction was not taken; one of [`REASONS`].
fn reason_of(error: &PoolError) -> &'static str {
    match error {
        PoolError::Invalid(refusal) | PoolError::Unknown(refusal) => reason_of_refusal(refusal),
        PoolError::TooLarge { .. } => "too_large",
        PoolError::NoTags => "not_allowed",
        PoolError::VerdictTooOld { .. } => "unknown_validity",
        PoolError::TemporarilyBanned { .. } => "banned",
        PoolError::AlreadyImported(_) => "already_pooled",
        PoolError::AlreadyIncluded { .. } => "already_included",
        PoolError::TooLowPriority { .. } => "low_priority",
        PoolError::AccountFull { .. } => "account_full",
        PoolError::TooManyWatched { .. } | PoolError::ImmediatelyDropped => "pool_full",
    }
}

fn reason_of_refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Invalid(invalid) | Refusal::Explained { invalid, .. } => match invalid {
            InvalidTransaction::Payment => "cannot_pay",
            InvalidTransaction::Stale | InvalidTransaction::AncientBirthBlock => "outdated",
            InvalidTransaction::BadProof | InvalidTransaction::BadSigner => "bad_signature",
            InvalidTransaction::ExhaustsResources => "too_large",
            InvalidTransaction::Custom(_) => "quota_or_registry",
            InvalidTransaction::Future | InvalidTransaction::IndeterminateImplicit => {
                "unknown_validity"
            }
            InvalidTransaction::Call
            | InvalidTransaction::BadMandatory
            | InvalidTransaction::MandatoryValidation
            | InvalidTransaction::UnknownOrigin => "not_allowed",
        },
        Refusal::NotYet { .. } | Refusal::Unknown(_) => "unknown_validity",
        Refusal::Malformed(_) => "malformed",
        Refusal::RuntimePanic(_) => "runtime_panic",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_one_that_is_shown_from_the_start() {
        let hash = commonwatt_txpool::hash_of(b"any");
        let errors = [
            PoolError::Invalid(Refusal::Malformed(String::new())),
            PoolError::Invalid(Refusal::RuntimePanic(String::new())),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::Stale)),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::Payment)),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::BadProof)),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::Call)),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::ExhaustsResources)),
            PoolError::Invalid(Refusal::Explained {
                invalid: InvalidTransaction::Custom(1),
                cause: String::new(),
            }),
            PoolError::Invalid(Refusal::Invalid(InvalidTransaction::Future)),
            PoolError::TooLarge {
                bytes: 2,
                bytes_max: 1,
            },
            PoolError::NoTags,
            PoolError::TemporarilyBanned {
                until: 1,
                cause: String::new(),
            },
            PoolError::AlreadyImported(hash),
            PoolError::AlreadyIncluded { hash, number: 1 },
            PoolError::TooLowPriority { old: 1, new: 1 },
            PoolError::AccountFull { limit: 1 },
            PoolError::ImmediatelyDropped,
        ];
        let mut met: Vec<_> = errors.iter().map(reason_of).collect();
        met.sort_unstable();
        met.dedup();
        assert_eq!(met, REASONS);
    }
}
