//! What becomes of the tokens: pot, burn, refund, penalties.

use alloc::vec::Vec;
use commonwatt_primitives::{
    Step, VotingToken,
    auction::BlockClaim,
    traits::{MarketClock, Registrar},
};
use frame_support::traits::{
    fungible::{Inspect, Mutate},
    tokens::{Fortitude, Precision, Preservation},
};

use crate::{
    Auction, Auctions, Bid, BidBook, Books, Burned, Config, Event, LOG_TARGET, Offence, Offences,
    Outcome, Pallet,
};

/// Where a bid goes when its height's block is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Into the pot of the author.
    Pot,
    /// It is burned: its bidder was absent.
    Burn,
    /// Back to the bidder.
    Return,
}

impl<T: Config> Pallet<T> {
    /// Pays, burns and returns the bids of the block's own height.
    pub(crate) fn settle(now: Step, claim: &BlockClaim<T::AccountId>) {
        let Some(mut auction) = Auctions::<T>::get(now) else {
            return;
        };
        // Compute.
        let bids = Books::<T>::take(now).unwrap_or_default().bids.into_inner();
        let is_late = T::Clock::is_late();
        let is_paid =
            Self::has_bid(&auction, &claim.author) && !Self::is_equivocator(&claim.author);
        let mut outcome = Outcome {
            author: claim.author.clone(),
            author_rank: claim.author_rank,
            is_late,
            pot: 0,
            burned: 0,
            returned: 0,
        };
        let fates: Vec<_> = bids
            .into_iter()
            .map(|bid| {
                let fate = Self::compute_fate(&auction, claim, &bid, is_paid, is_late);
                (bid, fate)
            })
            .collect();

        // Write, tell.
        for (bid, fate) in fates {
            let amount = VotingToken::from(bid.amount);
            match fate {
                Fate::Pot => outcome.pot = outcome.pot.saturating_add(amount),
                Fate::Burn => {
                    outcome.burned = outcome.burned.saturating_add(amount);
                    Self::burn_bid(now, bid);
                }
                Fate::Return => {
                    outcome.returned = outcome.returned.saturating_add(amount);
                    Self::return_bid(now, bid);
                }
            }
        }
        Self::pay_from_escrow(&claim.author, outcome.pot);
        let missed = Self::compute_missed(&auction, claim);
        auction.outcome = Some(outcome.clone());
        Auctions::<T>::insert(now, auction);
        Self::deposit_event(Event::AuctionSettled {
            height: now,
            outcome,
            missed,
        });
    }

    fn has_bid(auction: &Auction<T::AccountId, T::MaxValidators>, who: &T::AccountId) -> bool {
        auction
            .ranked_bidders()
            .iter()
            .any(|ranked| ranked.account == *who)
    }

    /// Returns where a bid goes: all ranked bids to an author that bid; else those above the author are
    /// burned, and the rest goes back.
    fn compute_fate(
        auction: &Auction<T::AccountId, T::MaxValidators>,
        claim: &BlockClaim<T::AccountId>,
        bid: &Bid<T::AccountId>,
        is_paid: bool,
        is_late: bool,
    ) -> Fate {
        let rank = auction
            .ranked_bidders()
            .iter()
            .position(|ranked| ranked.account == bid.account)
            .and_then(|rank| u32::try_from(rank).ok());
        match rank {
            // Excluded from this height.
            None => Fate::Return,
            Some(_) if is_paid => Fate::Pot,
            Some(rank) if rank < claim.author_rank && !is_late => Fate::Burn,
            Some(_) => Fate::Return,
        }
    }

    /// Takes the penalty from every member validator when nobody bid for `height` though it could.
    pub(crate) fn close_bids(height: Step, penalty: VotingToken) {
        let Some(BidBook {
            is_void, had_bids, ..
        }) = Books::<T>::get(height)
        else {
            return;
        };
        if is_void || had_bids {
            return;
        }
        let mut total: VotingToken = 0;
        for who in Self::candidates(height) {
            if !T::Registry::is_member(&who) {
                continue;
            }
            let amount = Self::burn_free(&who, penalty);
            if amount > 0 {
                total = total.saturating_add(amount);
                Self::deposit_event(Event::PenaltyBurned {
                    height,
                    who,
                    amount,
                });
            }
        }
        Self::deposit_event(Event::NobodyBid {
            height,
            burned: total,
        });
    }

    /// Burns all an equivocator's tokens, open bids included, and keeps it from auctions.
    pub(crate) fn punish(who: T::AccountId, height: Step) {
        let now = T::Clock::current_step();
        let mut burned: VotingToken = 0;
        for (of, bid) in Self::open_bids() {
            if bid.account != who {
                continue;
            }
            Books::<T>::mutate(of, |book| {
                if let Some(book) = book {
                    book.bids.retain(|bid| bid.account != who);
                }
            });
            burned = burned.saturating_add(bid.amount.into());
            Self::burn_bid(of, bid);
        }
        burned = burned.saturating_add(Self::burn_free(&who, VotingToken::MAX));
        Offences::<T>::insert(
            &who,
            Offence {
                height,
                reported: now,
                pardoned: None,
            },
        );
        Self::deposit_event(Event::EquivocationPunished {
            who,
            height,
            burned,
        });
    }

    /// Burns at most `amount` of an account's free tokens; returns how many.
    fn burn_free(who: &T::AccountId, amount: VotingToken) -> VotingToken {
        let amount = amount.min(T::VotingTokens::reducible_balance(
            who,
            Preservation::Expendable,
            Fortitude::Force,
        ));
        if amount == 0 {
            return 0;
        }
        let burned = T::VotingTokens::burn_from(
            who,
            amount,
            Preservation::Expendable,
            Precision::BestEffort,
            Fortitude::Force,
        )
        .unwrap_or_else(|error| {
            tracing::error!(target: LOG_TARGET, ?who, amount, ?error, "tokens not burned");
            0
        });
        Self::count_burned(burned);
        burned
    }

    fn burn_bid(height: Step, bid: Bid<T::AccountId>) {
        let Bid { account, amount } = bid;
        let burned = T::VotingTokens::burn_from(
            &Self::escrow_account(),
            amount.into(),
            Preservation::Expendable,
            Precision::Exact,
            Fortitude::Force,
        );
        match burned {
            Ok(burned) => Self::count_burned(burned),
            Err(error) => {
                tracing::error!(target: LOG_TARGET, ?account, amount, ?error, "bid not burned");
            }
        }
        Self::deposit_event(Event::BidBurned {
            height,
            who: account,
            amount,
        });
    }

    fn return_bid(height: Step, bid: Bid<T::AccountId>) {
        let Bid { account, amount } = bid;
        Self::pay_from_escrow(&account, amount.into());
        Self::deposit_event(Event::BidReturned {
            height,
            who: account,
            amount,
        });
    }

    /// Pays what the escrow holds for sure: the sum of all open bids.
    fn pay_from_escrow(to: &T::AccountId, amount: VotingToken) {
        if amount == 0 {
            return;
        }
        let paid = T::VotingTokens::transfer(
            &Self::escrow_account(),
            to,
            amount,
            Preservation::Expendable,
        );
        if let Err(error) = paid {
            tracing::error!(target: LOG_TARGET, ?to, amount, ?error, "escrow not paid out");
        }
    }

    fn count_burned(amount: VotingToken) {
        Burned::<T>::mutate(|burned| *burned = burned.saturating_add(amount));
    }
}
