//! Voting tokens, issued along with the energy (PROTOCOL 5).
//!
//! A correction issues or withdraws the difference. What cannot be burned because the member has spent
//! it becomes a debt, which later issues pay first; so `balance changes − debt` of a member always
//! equals the tokens of what it was allocated.

use commonwatt_primitives::{Bps, VotingToken, Wh, traits::Registrar};
use frame_support::traits::{
    fungible::Mutate,
    tokens::{Fortitude, Precision, Preservation},
};

use crate::{Config, Event, Pallet, VotingDebt};

impl<T: Config> Pallet<T> {
    /// Moves a member's voting tokens from those of one allocation to those of another.
    ///
    /// Accounts that are not members (the community's, the loss account) have none.
    pub(crate) fn adjust_voting_tokens(who: &T::AccountId, before: Wh, after: Wh, rate: Bps) {
        let (before, after) = (rate.of(before.0), rate.of(after.0));
        if before == after || !T::Registry::is_member(who) {
            return;
        }
        match after.checked_sub(before) {
            Some(amount) => Self::issue_voting_tokens(who, amount),
            None => Self::withdraw_voting_tokens(who, before - after),
        }
    }

    fn issue_voting_tokens(who: &T::AccountId, amount: VotingToken) {
        let debt = VotingDebt::<T>::get(who);
        let paid = debt.min(amount);
        Self::put_debt(who, debt, debt - paid);
        let issued = amount - paid;
        if issued == 0 {
            return;
        }
        if let Err(error) = T::VotingTokens::mint_into(who, issued) {
            tracing::error!(target: crate::LOG_TARGET, ?who, issued, ?error, "voting tokens not issued");
            Self::deposit_event(Event::VotingTokensNotIssued {
                who: who.clone(),
                amount: issued,
            });
        }
    }

    fn withdraw_voting_tokens(who: &T::AccountId, amount: VotingToken) {
        let burned = T::VotingTokens::burn_from(
            who,
            amount,
            Preservation::Expendable,
            Precision::BestEffort,
            Fortitude::Force,
        )
        .unwrap_or_default();
        let owed = amount.saturating_sub(burned);
        let debt = VotingDebt::<T>::get(who);
        // The tokens of all energy ever measured are far below 128 bits.
        Self::put_debt(who, debt, debt.saturating_add(owed));
        Self::deposit_event(Event::VotingTokensWithdrawn {
            who: who.clone(),
            burned,
            owed,
        });
    }

    fn put_debt(who: &T::AccountId, before: VotingToken, after: VotingToken) {
        match after {
            unchanged if unchanged == before => (),
            0 => VotingDebt::<T>::remove(who),
            debt => VotingDebt::<T>::insert(who, debt),
        }
    }
}
