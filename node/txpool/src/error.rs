//! Why a transaction is not taken, and what to do about it.

use sp_runtime::transaction_validity::{
    InvalidTransaction, TransactionPriority, TransactionValidityError, UnknownTransaction,
};
use thiserror::Error;

use crate::{Account, BlockNumber, Hash, Lane};

/// The runtime's own code for a sender whose quota of the step is used up and who cannot pay beyond it
/// (`pallet_quota::TransactionRefusal::QuotaUsed`).
const QUOTA_USED: u8 = 2;

/// What the validator answers when it does not accept an extrinsic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is invalid at the best block. `InvalidTransaction::Future` is kept as [`Refusal::NotYet`]
    /// of an unknown sender in the last lane, to be asked about again after the next block.
    #[error("{}", mend_invalid(.0))]
    Invalid(InvalidTransaction),
    /// It is invalid at the best block, and the validator knows more than the runtime's answer
    /// says: "nonce 3, expected 5", "account not registered: ask the DSO".
    #[error("{cause}")]
    Explained {
        /// The runtime's answer, by which the pool acts.
        invalid: InvalidTransaction,
        /// What was wrong and what to do.
        cause: String,
    },
    /// It will be valid later: kept, and validated again.
    #[error("not valid yet: it is kept and tried again after the next blocks")]
    NotYet {
        /// Who signed it.
        sender: Option<Account>,
        /// The lane of its call.
        lane: Lane,
        /// The best block at which asking again makes sense; the next one when not known.
        retry_at: Option<BlockNumber>,
    },
    /// The runtime cannot tell.
    #[error("{}", mend_unknown(.0))]
    Unknown(UnknownTransaction),
    /// It is not an encoded extrinsic of this chain.
    #[error(
        "the bytes are no extrinsic of this chain ({0}): \
         fetch the metadata again and encode with extrinsic version 4"
    )]
    Malformed(String),
    /// The runtime panicked over it.
    #[error("the runtime could not process it ({0}): report it to the developers with its bytes")]
    RuntimePanic(String),
}

impl From<TransactionValidityError> for Refusal {
    fn from(error: TransactionValidityError) -> Self {
        match error {
            TransactionValidityError::Invalid(invalid) => Self::Invalid(invalid),
            TransactionValidityError::Unknown(unknown) => Self::Unknown(unknown),
        }
    }
}

impl Refusal {
    /// Returns the runtime's answer, if it was that the transaction is invalid.
    pub fn invalid(&self) -> Option<InvalidTransaction> {
        match self {
            Self::Invalid(invalid) | Self::Explained { invalid, .. } => Some(*invalid),
            Self::NotYet { .. } | Self::Unknown(_) | Self::Malformed(_) | Self::RuntimePanic(_) => {
                None
            }
        }
    }

    /// Returns whether it speaks of one block alone: no room in it, or the sender's quota of its step used up.
    pub fn is_of_one_block(&self) -> bool {
        matches!(
            self.invalid(),
            Some(InvalidTransaction::ExhaustsResources | InvalidTransaction::Custom(QUOTA_USED))
        )
    }

    /// Returns whether no later block can make the same bytes valid.
    pub fn is_for_ever(&self) -> bool {
        match self {
            Self::Invalid(invalid) | Self::Explained { invalid, .. } => matches!(
                invalid,
                InvalidTransaction::Stale
                    | InvalidTransaction::BadProof
                    | InvalidTransaction::AncientBirthBlock
                    | InvalidTransaction::BadMandatory
                    | InvalidTransaction::MandatoryValidation
            ),
            Self::Malformed(_) | Self::RuntimePanic(_) => true,
            Self::NotYet { .. } | Self::Unknown(_) => false,
        }
    }
}

/// Returns what is wrong with an invalid transaction, and the mend.
fn mend_invalid(invalid: &InvalidTransaction) -> String {
    let text = match invalid {
        InvalidTransaction::Call => {
            "the call is not allowed on this chain: choose another call, or another origin for it"
        }
        InvalidTransaction::Payment => {
            "the account cannot pay the fee: stay within the quota of free calls per step, \
             or get energy coins first"
        }
        InvalidTransaction::Future => "not valid yet: send it again after the next block",
        InvalidTransaction::Stale => {
            "the nonce has been used: ask system_accountNextIndex for the next one and sign again"
        }
        InvalidTransaction::BadProof => {
            "the signature does not match: sign for this chain's genesis hash, spec version and \
             transaction version with the sender's own key"
        }
        InvalidTransaction::AncientBirthBlock => {
            "the mortal era is over: sign again with a recent block"
        }
        InvalidTransaction::ExhaustsResources => {
            "it takes more than a block has room for: split it into smaller calls"
        }
        InvalidTransaction::Custom(code) => {
            return format!(
                "the runtime refuses it with its own code {code}: \
                 look the code up in the runtime's list of refusals"
            );
        }
        InvalidTransaction::BadMandatory => {
            "a call that every block needs failed: not for the pool"
        }
        InvalidTransaction::MandatoryValidation => {
            "only the author of a block may make this call: it cannot be submitted"
        }
        InvalidTransaction::BadSigner => {
            "the signing account may not send this: check that it is registered with the DSO"
        }
        InvalidTransaction::IndeterminateImplicit => {
            "what the signature must cover cannot be computed: sign again with a recent block"
        }
        InvalidTransaction::UnknownOrigin => {
            "nobody stands behind the call: submit it as a signed extrinsic"
        }
    };
    text.to_owned()
}

/// Returns why the runtime cannot tell, and the mend.
fn mend_unknown(unknown: &UnknownTransaction) -> String {
    let text = match unknown {
        UnknownTransaction::CannotLookup => {
            "the runtime cannot look up what it needs to validate it: check the sender's address"
        }
        UnknownTransaction::NoUnsignedValidator => {
            "the call is not accepted without a signature: sign it"
        }
        UnknownTransaction::Custom(code) => {
            return format!("the runtime cannot tell, with its own code {code}: try again later");
        }
    };
    text.to_owned()
}

/// Why the pool does not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The runtime refuses it.
    #[error("invalid transaction: {0}")]
    Invalid(Refusal),
    /// The runtime cannot tell.
    #[error("validity unknown: {0}")]
    Unknown(Refusal),
    /// It is longer than the pool takes.
    #[error("the extrinsic has {bytes} bytes, at most {bytes_max} are taken: split it")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It provides no tag, so that nothing would keep it from being included twice.
    #[error("the transaction provides no tag, so it could be replayed: the call cannot be pooled")]
    NoTags,
    /// The verdict was obtained at a block that the pool remembers too little about.
    #[error(
        "validated at block {at_block}, verdicts from block {judged_from} on can be judged: \
         validate it again at the best block"
    )]
    VerdictTooOld {
        /// Where it was validated.
        at_block: BlockNumber,
        /// The earliest block that would do.
        judged_from: BlockNumber,
    },
    /// It was found invalid shortly ago.
    #[error("refused until block {until} without another look, because: {cause}")]
    TemporarilyBanned {
        /// The block with which the ban ends.
        until: BlockNumber,
        /// What was wrong with it.
        cause: String,
    },
    /// It is in the pool.
    #[error("the transaction {0:?} is in the pool already: wait for its block")]
    AlreadyImported(Hash),
    /// It is in a block.
    #[error("the transaction {hash:?} is in block {number} already: nothing is left to do")]
    AlreadyIncluded {
        /// The transaction.
        hash: Hash,
        /// Its block.
        number: BlockNumber,
    },
    /// Another transaction provides the same tag, at the same priority or a higher one.
    #[error(
        "priority {new} does not replace the pool's transaction of the same nonce with priority \
         {old}: offer a higher tip, or use the next nonce"
    )]
    TooLowPriority {
        /// Priority of the one in the pool.
        old: TransactionPriority,
        /// Priority of the newcomer.
        new: TransactionPriority,
    },
    /// Its sender has as many as one account may have.
    #[error(
        "the account has {limit} transactions in the pool, as many as one may have: \
         wait for the next block, or put several calls into one batch"
    )]
    AccountFull {
        /// The limit.
        limit: usize,
    },
    /// As many transactions are watched as may be.
    #[error(
        "{limit} transactions are watched, as many as may be: submit it without watching, \
         and look for it in the next blocks"
    )]
    TooManyWatched {
        /// The limit.
        limit: usize,
    },
    /// The pool is full of better ones.
    #[error(
        "the pool is full of transactions that go before this one: \
         try again after the next block, or offer a higher tip"
    )]
    ImmediatelyDropped,
}

impl PoolError {
    /// Returns the JSON-RPC error code that Substrate's clients know.
    pub fn rpc_code(&self) -> i32 {
        match self {
            Self::Invalid(_) | Self::TooLarge { .. } | Self::NoTags => 1010,
            Self::Unknown(_) | Self::VerdictTooOld { .. } => 1011,
            Self::TemporarilyBanned { .. } => 1012,
            Self::AlreadyImported(_) | Self::AlreadyIncluded { .. } => 1013,
            Self::TooLowPriority { .. } => 1014,
            Self::AccountFull { .. } | Self::TooManyWatched { .. } | Self::ImmediatelyDropped => {
                1016
            }
        }
    }

    /// Returns the JSON-RPC error message under which clients know the code.
    pub fn rpc_message(&self) -> &'static str {
        match self.rpc_code() {
            1010 => "Invalid Transaction",
            1011 => "Unknown Transaction Validity",
            1012 => "Transaction is temporarily banned",
            1013 => "Transaction Already Imported",
            1014 => "Priority is too low",
            _ => "Immediately Dropped",
        }
    }

    /// Returns the cause and the mend, for the JSON-RPC error's `data`.
    pub fn cause(&self) -> String {
        match self {
            Self::Invalid(refusal) | Self::Unknown(refusal) => refusal.to_string(),
            other => other.to_string(),
        }
    }
}
