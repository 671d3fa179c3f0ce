//! What would become of an order in the next block: asked before it enters the pool.
//!
//! The call itself is carried out on a state that is thrown away, so that there is one set of rules, and the words are
//! those of the pallet's errors. A block does not ask: there an order that fails counts among its owner's transactions
//! like any other, so that nobody makes an author work for nothing.

use codec::{Decode, Encode};
use commonwatt_primitives::traits::MarketClock;
use frame_support::traits::{
    PalletInfoAccess, UnfilteredDispatchable,
    fungible::Inspect,
    tokens::{Fortitude, Preservation},
};
use pallet_double_auction::{Call, Error, STEPS_AHEAD_MAX};
use scale_info::{TypeDef, TypeInfo};
use sp_runtime::{DispatchError, ModuleError};

use crate::{
    AccountId, Balances, DoubleAuction, MarketStep, Nonce, Runtime, RuntimeOrigin, System,
};

/// Why an order would fail in the next block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct OrderRefusal {
    /// The error it would end with.
    pub error: DispatchError,
    /// Its name, what is wrong, and what to do.
    pub explanation: String,
}

/// Returns why a call would fail in the next block, if it would; changes the state, which the caller throws away.
pub(crate) fn refusal_of(
    who: AccountId,
    nonce: Nonce,
    call: Call<Runtime>,
) -> Option<OrderRefusal> {
    match call {
        Call::place { .. } | Call::cancel { .. } | Call::replace { .. } => {}
        _ => return None,
    }
    let is_first = nonce <= System::account_nonce(&who);
    let next = System::block_number().checked_add(1)?;
    System::initialize(&next, &System::parent_hash(), &Default::default());
    // Nobody knows whether the next block will be late; whether the last one was says nothing.
    pallet_market_step::Late::<Runtime>::kill();
    let origin = RuntimeOrigin::signed(who.clone());
    let error = call.dispatch_bypass_filter(origin).err()?.error;
    let own = own_error(error);
    if !is_first && own.as_ref().is_some_and(is_mendable) {
        return None;
    }
    let explanation = match own {
        Some(own) => explain(&own, &who),
        None => <&'static str>::from(error).to_owned(),
    };
    Some(OrderRefusal { error, explanation })
}

/// Returns the market's own error.
fn own_error(error: DispatchError) -> Option<Error<Runtime>> {
    match error {
        DispatchError::Module(ModuleError { index, error, .. })
            if usize::from(index) == DoubleAuction::index() =>
        {
            Error::decode(&mut &error[..]).ok()
        }
        _ => None,
    }
}

/// Returns whether another transaction of the account, before this one, may remove the cause.
fn is_mendable(error: &Error<Runtime>) -> bool {
    matches!(
        error,
        Error::NotEnoughCoins
            | Error::DuplicateOrder
            | Error::TooManyOrders
            | Error::TooManyChanges
            | Error::TooManyStandingOrders
            | Error::BookFull
            | Error::UnknownOrder
    )
}

/// Says what is wrong and what to do, in the words of the metadata, with the figures that are missing there.
fn explain(error: &Error<Runtime>, who: &AccountId) -> String {
    let name = error.as_str();
    let words = match Error::<Runtime>::type_info().type_def {
        TypeDef::Variant(errors) => {
            let mut variants = errors.variants.into_iter();
            let variant = variants.find(|variant| variant.name == name);
            variant.map_or_else(String::new, |variant| variant.docs.join(" "))
        }
        _ => String::new(),
    };
    let figures = match error {
        Error::GateClosed | Error::TooFarAhead | Error::AlreadyExpired => {
            let now = MarketStep::current_step().0;
            let (first, last) = (now.saturating_add(1), now.saturating_add(STEPS_AHEAD_MAX));
            format!(" The next block takes orders for steps {first} to {last}.")
        }
        Error::WrongUnit => format!(" The unit is {} Wh.", DoubleAuction::unit().0),
        Error::NotEnoughCoins => {
            let free = Balances::reducible_balance(who, Preservation::Protect, Fortitude::Polite);
            format!(" {free} are free.")
        }
        Error::UnknownOrder | Error::NotYourOrder => {
            " Look up which orders the account has, and name one of them.".to_owned()
        }
        _ => String::new(),
    };
    format!("DoubleAuction.{name}: {}{figures}", words.trim())
}
