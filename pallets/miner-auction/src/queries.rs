//! What wallets, nodes and other pallets ask.

use alloc::vec::Vec;
use commonwatt_primitives::{
    Hash, Step, VotingToken, auction::MinerAge, beacon::Beacon, traits::MarketClock,
};

use crate::{
    AuctionInfo, Auctions, Bid, BidTerms, Call, Config, MiningRules, Offence, Offences, Pallet,
    Rules, Seeds, draw::Ranked,
};

impl<T: Config> Pallet<T> {
    /// Returns the contract about mining.
    pub fn rules() -> Rules {
        MiningRules::<T>::get()
    }

    /// Returns who is to make the block of a height, rank 0 first; `None` when it is not yet decided, or
    /// no longer kept.
    pub fn ranking(height: Step) -> Option<Vec<T::AccountId>> {
        let auction = Auctions::<T>::get(height)?;
        let ranking = auction.ranking.into_iter();
        Some(ranking.map(|ranked| ranked.account).collect())
    }

    /// Returns the auction of a height: who won and why.
    pub fn auction(height: Step) -> Option<AuctionInfo<T::AccountId>> {
        let auction = Auctions::<T>::get(height)?;
        let rules = MiningRules::<T>::get();
        let sum = |ranked: &[Ranked<T::AccountId>]| {
            ranked
                .iter()
                .map(|one| one.wealth)
                .fold(0, u128::saturating_add)
        };
        let bidders_wealth = sum(auction.ranked_bidders());
        let others = auction.ranking.get(auction.ranked_bidders().len()..);
        Some(AuctionInfo {
            height,
            before: auction.before,
            rule: rules.rule,
            basis: rules.basis,
            weights: rules.weights,
            is_void: auction.is_void,
            bidders: auction.bidders,
            bidders_wealth,
            others_wealth: sum(others.unwrap_or_default()),
            ranking: auction.ranking.into_inner(),
            excluded: auction.excluded.into_inner(),
            outcome: auction.outcome,
        })
    }

    /// Returns the open bids of an account with their heights, on the state after a block.
    pub fn bids_of(who: &T::AccountId) -> Vec<(Step, u64)> {
        Self::open_bids()
            .into_iter()
            .filter(|(_, bid)| bid.account == *who)
            .map(|(height, bid)| (height, bid.amount))
            .collect()
    }

    /// Returns the open bids for a height.
    pub fn bids_for(height: Step) -> Vec<Bid<T::AccountId>> {
        let book = crate::Books::<T>::get(height);
        book.map(|book| book.bids.into_inner()).unwrap_or_default()
    }

    /// Returns what an account may bid in the next block, on the state after a block; `None` when it may
    /// not bid.
    pub fn bid_terms(who: &T::AccountId) -> Option<BidTerms> {
        let next = T::Clock::current_step().checked_add(1)?;
        let height = next.checked_add(MiningRules::<T>::get().bid_lead)?;
        let candidates = Self::candidates(height);
        if !candidates.contains(who) {
            return None;
        }
        let tokens = Self::tokens_of(who, &Self::open_bids());
        let free = u64::try_from(tokens.free).unwrap_or(u64::MAX);
        if free == 0 {
            return None;
        }
        let bound = Self::compute_bound(who, &candidates).unwrap_or(u64::MAX);
        Some(BidTerms {
            height,
            free: tokens.free,
            in_escrow: tokens.in_escrow,
            min: 1,
            max: bound.min(free),
        })
    }

    /// Returns `S_h`; `None` when it is not yet made, or no longer kept.
    pub fn beacon(height: Step) -> Option<Hash> {
        Seeds::<T>::get(height)
    }

    /// Returns all voting tokens that were ever burned here.
    pub fn burned() -> VotingToken {
        crate::Burned::<T>::get()
    }

    /// Returns whether and when an account contradicted itself.
    pub fn offence_of(who: &T::AccountId) -> Option<Offence> {
        Offences::<T>::get(who)
    }

    /// Returns whether a bid must wait in the pool because the gates of its height are not open yet.
    pub fn is_premature(call: &Call<T>) -> bool {
        match call {
            Call::bid { height, .. } => {
                let lead = MiningRules::<T>::get().bid_lead;
                T::Clock::current_step()
                    .checked_add(lead)
                    .is_some_and(|due| *height > due)
            }
            _ => false,
        }
    }
}

impl<T: Config> Beacon for Pallet<T> {
    fn seed_of(height: Step) -> Option<Hash> {
        Seeds::<T>::get(height)
    }
}

impl<T: Config> MinerAge<T::AccountId> for Pallet<T> {
    fn age_of(who: &T::AccountId) -> Option<u32> {
        Self::age_at(who, T::Clock::current_step())
    }
}
