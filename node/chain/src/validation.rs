//! What the runtime says about a transaction, for the pool.

use std::sync::Arc;

use commonwatt_executor::{CallError, decode_extrinsic, is_state_failure};
use commonwatt_primitives::{AccountId, Nonce, Role, Step};
use commonwatt_runtime::{
    Address, Hash, Runtime, RuntimeCall, UncheckedExtrinsic,
    items::{Contents, Urgency},
    orders::OrderRefusal,
};
use commonwatt_storage::{State, StateError};
use commonwatt_txpool::{Account, Checked, Lane, Refusal, TransactionValidator, Verdict};
use pallet_double_auction::Call as MarketCall;
use pallet_energy_token::Call as EnergyCall;
use pallet_quota::TransactionRefusal;
use rayon::prelude::*;
use sp_runtime::{
    generic::Preamble,
    transaction_validity::{
        InvalidTransaction, TransactionSource, TransactionValidityError, UnknownTransaction,
    },
};

use crate::{Observed, chain::Chain};

/// Transactions that one thread validates on one view of the state.
const CHUNK: usize = 256;

/// The runtime at one block.
pub(crate) struct AtBlock<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) hash: Hash,
}

/// A state to judge on, and the block it is of.
struct View {
    hash: Hash,
    state: State,
}

/// Why a registered account's transaction cannot be paid: without a tip it would wait for the next step's quota.
const NO_COINS_FOR_TIP: &str =
    "the account has not enough coins for the tip: lower it, or leave it out";

/// Why there is no verdict, when it is not the transaction's fault.
const NO_STATE: Refusal = Refusal::Unknown(UnknownTransaction::CannotLookup);

impl AtBlock<'_> {
    /// Opens the state of the block, or of the best one when the block's was discarded meanwhile.
    fn view(&self) -> Result<View, Refusal> {
        let of = |hash| -> Result<View, StateError> {
            let state = self.chain.db().state_at(&hash)?;
            Ok(View { hash, state })
        };
        let (_, best_hash) = self.chain.best();
        of(self.hash)
            .or_else(|error| match error {
                StateError::StateDiscarded { .. } if best_hash != self.hash => of(best_hash),
                error => Err(error),
            })
            .map_err(|error| {
                tracing::error!(%error, "transactions cannot be validated");
                NO_STATE
            })
    }

    /// Judges on `view`, and once more on a new one if the state was discarded while it was read.
    fn validate_on(&self, view: &View, source: TransactionSource, bytes: &[u8]) -> Verdict {
        match self.judge(view, source, bytes) {
            Err(NO_STATE) if self.chain.best().1 != view.hash => {
                self.judge(&self.view()?, source, bytes)
            }
            verdict => verdict,
        }
    }

    fn judge(&self, view: &View, source: TransactionSource, bytes: &[u8]) -> Verdict {
        let View { hash, state } = view;
        let extrinsic = decode_extrinsic(bytes).map_err(Refusal::Malformed)?;
        let sender = sender_of(&extrinsic).map(|who| Account::from(who.clone()));
        let nonce = nonce_of(&extrinsic);
        let lane = lane_of(&extrinsic.function);
        let reported = reported_step(&extrinsic.function);
        let order = order_of(&extrinsic);
        let validity = self
            .chain
            .executor()
            .validate_transaction(state, *hash, source, extrinsic)
            .map_err(|reason| {
                if is_state_failure(&reason) {
                    NO_STATE
                } else {
                    Refusal::RuntimePanic(reason)
                }
            })?;
        match validity {
            Ok(validity) => {
                if let Some(order) = order {
                    self.verify_order(state, order)?;
                }
                Ok(Checked {
                    validity,
                    sender,
                    lane,
                })
            }
            Err(TransactionValidityError::Invalid(InvalidTransaction::Future)) => {
                // A reading of step `s` can be in block `s`, so it is tried again when `s − 1` is best.
                let retry_at = reported.map(|step| step.0.saturating_sub(1));
                Err(Refusal::NotYet {
                    sender,
                    lane,
                    retry_at,
                })
            }
            Err(error) => Err(self.explain(state, error, sender, nonce)),
        }
    }

    /// Refuses an order that would fail in the next block, with the reason.
    ///
    /// Here, and not in the runtime's own validation: a block that refused failing orders would make its author try
    /// them for nothing, while one that carries them counts them among their sender's free transactions.
    fn verify_order(&self, state: &State, order: SignedOrder) -> Result<(), Refusal> {
        let executor = self.chain.executor();
        match executor.call::<Option<OrderRefusal>>(state, "MarketApi_refusal_of", order) {
            Ok(None) => Ok(()),
            Ok(Some(refusal)) => Err(Refusal::Explained {
                invalid: InvalidTransaction::Call,
                cause: refusal.explanation,
            }),
            Err(CallError::Panicked { reason, .. }) if is_state_failure(&reason) => Err(NO_STATE),
            Err(error) => Err(Refusal::RuntimePanic(error.to_string())),
        }
    }

    /// Adds what the runtime's answer leaves out: which nonce was expected, and who to ask.
    fn explain(
        &self,
        state: &State,
        error: TransactionValidityError,
        sender: Option<Account>,
        nonce: Option<Nonce>,
    ) -> Refusal {
        let TransactionValidityError::Invalid(invalid) = error else {
            return error.into();
        };
        let executor = self.chain.executor();
        let sender = sender.map(AccountId::from);
        let cause = match (invalid, sender, nonce) {
            (InvalidTransaction::Stale, Some(who), Some(nonce)) => executor
                .account_nonce(state, &who)
                .ok()
                .map(|expected| format!("nonce {nonce}, expected {expected}")),
            // The nonce check comes first and calls an account unpaid for that it does not know.
            (InvalidTransaction::Payment, Some(who), _) => {
                let role = executor.call::<Option<Role>>(state, "RegistryApi_role_of", who);
                role.ok().map(|role| match role {
                    None => TransactionRefusal::Unregistered.explanation().to_owned(),
                    Some(_) => NO_COINS_FOR_TIP.to_owned(),
                })
            }
            (InvalidTransaction::Custom(code), ..) => {
                TransactionRefusal::from_code(code).map(|refusal| refusal.explanation().to_owned())
            }
            _ => None,
        };
        match cause {
            Some(cause) => Refusal::Explained { invalid, cause },
            None => Refusal::Invalid(invalid),
        }
    }
}

impl TransactionValidator for AtBlock<'_> {
    fn validate(&self, source: TransactionSource, extrinsic: &[u8]) -> Verdict {
        self.chain.observe(Observed::ValidationBegan(1));
        let verdict = self
            .view()
            .and_then(|view| self.validate_on(&view, source, extrinsic));
        self.chain.observe(Observed::ValidationDone(1));
        verdict
    }

    fn validate_batch(&self, batch: &[(TransactionSource, Arc<[u8]>)]) -> Vec<Verdict> {
        let bytes: Vec<_> = batch
            .iter()
            .map(|(_, extrinsic)| extrinsic.clone())
            .collect();
        self.chain.observe(Observed::ValidationBegan(batch.len()));
        self.chain.preverify(&bytes);
        let verdicts: Vec<Verdict> = batch
            .par_chunks(CHUNK)
            .flat_map_iter(|chunk| {
                let view = self.view();
                let judge = |(source, extrinsic): &(TransactionSource, Arc<[u8]>)| match &view {
                    Ok(view) => self.validate_on(view, *source, extrinsic),
                    Err(refusal) => Err(refusal.clone()),
                };
                chunk.iter().map(judge).collect::<Vec<_>>()
            })
            .collect();
        self.chain.observe(Observed::ValidationDone(batch.len()));
        verdicts
    }
}

/// Returns who signed an extrinsic.
fn sender_of(extrinsic: &UncheckedExtrinsic) -> Option<&AccountId> {
    match &extrinsic.preamble {
        Preamble::Signed(Address::Id(who), ..) => Some(who),
        _ => None,
    }
}

/// Blocks by which nodes that pass transactions on to each other may be apart.
const BLOCKS_APART_MAX: u64 = 3;

/// Returns whether all nodes whose best block is near `best` verify a transaction's signature against the same block. A mortal
/// one names its block by the number in its era alone, so that whoever has another era open takes another block's hash.
pub(crate) fn is_bound_alike(extrinsic: &UncheckedExtrinsic, best: u32) -> bool {
    let Preamble::Signed(_, _, extension) = &extrinsic.preamble else {
        return false;
    };
    let era = extension.4.0;
    let best = u64::from(best);
    let birth_near = |number: u64| era.birth(number);
    era.is_immortal()
        || birth_near(best.saturating_sub(BLOCKS_APART_MAX))
            == birth_near(best.saturating_add(BLOCKS_APART_MAX))
}

fn nonce_of(extrinsic: &UncheckedExtrinsic) -> Option<Nonce> {
    match &extrinsic.preamble {
        Preamble::Signed(_, _, extension) => Some(extension.5.0),
        _ => None,
    }
}

/// A call about an order, who signed it, and with which nonce.
type SignedOrder = (AccountId, Nonce, MarketCall<Runtime>);

/// Returns the order that an extrinsic places, changes or takes back by itself. What a batch or a proxy carries is
/// judged in its block.
fn order_of(extrinsic: &UncheckedExtrinsic) -> Option<SignedOrder> {
    let RuntimeCall::DoubleAuction(call) = &extrinsic.function else {
        return None;
    };
    Some((
        sender_of(extrinsic)?.clone(),
        nonce_of(extrinsic)?,
        call.clone(),
    ))
}

fn lane_of(call: &RuntimeCall) -> Lane {
    match Contents::of(call).urgency {
        Urgency::EvidenceAndBids => Lane::Evidence,
        Urgency::Readings => Lane::Reading,
        Urgency::Rest => Lane::Other,
    }
}

/// Returns the latest step a call reports.
fn reported_step(call: &RuntimeCall) -> Option<Step> {
    match call {
        RuntimeCall::EnergyToken(EnergyCall::report { report, .. }) => Some(report.step),
        RuntimeCall::EnergyToken(EnergyCall::relay { report, .. }) => Some(report.step),
        RuntimeCall::EnergyToken(EnergyCall::report_batch { reports }) => {
            reports.iter().map(|(_, report)| report.step).max()
        }
        _ => None,
    }
}
