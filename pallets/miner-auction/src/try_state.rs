//! The invariants of the pallet, checked after every block of the tests.

use alloc::collections::BTreeSet;
use commonwatt_primitives::{Step, VotingToken, traits::MarketClock};
use frame_support::{ensure, traits::fungible::Inspect};
use sp_runtime::TryRuntimeError;

use crate::{Auctions, Books, Config, LastBlocks, MiningRules, Pallet, Seeds, Sets, draw};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_try_state() -> Result<(), TryRuntimeError> {
        let now = T::Clock::current_step();
        Self::check_escrow(now)?;
        Self::check_sets(now)?;
        ensure!(Seeds::<T>::contains_key(now), "the beacon did not advance");
        ensure!(
            Seeds::<T>::iter_keys()
                .all(|height| height <= now && now.since(height) < Self::seeds_kept()),
            "a seed outlives whom it concerns"
        );
        let next = now.checked_add(1).ok_or("the steps are used up")?;
        ensure!(
            Auctions::<T>::contains_key(next),
            "the next height has no ranking"
        );
        let oldest = next.saturating_sub(MiningRules::<T>::get().retention);
        for (height, auction) in Auctions::<T>::iter() {
            ensure!(
                oldest <= height && height <= next,
                "an auction outlives its retention"
            );
            ensure!(
                auction.outcome.is_some() || height == next,
                "an auction of the past has no outcome"
            );
        }
        Self::check_ranking(next)
    }

    fn check_escrow(now: Step) -> Result<(), TryRuntimeError> {
        let lead = MiningRules::<T>::get().bid_lead;
        let mut open: VotingToken = 0;
        for (height, book) in Books::<T>::iter() {
            ensure!(
                now < height && height.since(now) <= lead,
                "a book is open outside its time"
            );
            ensure!(
                book.bids.is_sorted_by(|a, b| a.account < b.account),
                "bids are out of order"
            );
            ensure!(
                book.bids.iter().all(|bid| bid.amount > 0),
                "a bid of nothing"
            );
            ensure!(!book.is_void || book.bids.is_empty(), "bids in a void book");
            let sum: VotingToken = book
                .bids
                .iter()
                .map(|bid| VotingToken::from(bid.amount))
                .sum();
            open = open.checked_add(sum).ok_or("the bids do not fit")?;
        }
        ensure!(
            T::VotingTokens::total_balance(&Self::escrow_account()) == open,
            "the escrow differs from the open bids"
        );
        Ok(())
    }

    fn check_sets(now: Step) -> Result<(), TryRuntimeError> {
        let epoch = Self::epoch_of(now);
        // The hook of an epoch's last block has begun the next one.
        let next_begun = Self::epoch_of(now.checked_add(1).unwrap_or(now));
        for (of, set) in Sets::<T>::iter() {
            ensure!(!set.is_empty(), "an epoch without validators");
            ensure!(
                set.is_sorted_by(|a, b| a.account < b.account),
                "validators are out of order"
            );
            ensure!(
                of <= next_begun.saturating_add(1)
                    && next_begun - of.min(next_begun) < Self::epochs_kept(),
                "a set outlives the evidence it is kept for"
            );
        }
        for of in epoch..=next_begun.saturating_add(1) {
            ensure!(Sets::<T>::contains_key(of), "an epoch's set is missing");
        }
        let current = Sets::<T>::get(next_begun).unwrap_or_default();
        let accounts: BTreeSet<_> = current.into_iter().map(|one| one.account).collect();
        let aged: BTreeSet<_> = LastBlocks::<T>::iter_keys().collect();
        ensure!(accounts == aged, "ages are not those of the validators");
        Ok(())
    }

    fn check_ranking(height: Step) -> Result<(), TryRuntimeError> {
        let auction = Auctions::<T>::get(height).ok_or("the height has a ranking")?;
        let set: BTreeSet<_> = Self::validators(height)
            .into_iter()
            .flatten()
            .map(|one| one.account)
            .collect();
        let ranked: BTreeSet<_> = auction.ranking.iter().map(|one| &one.account).collect();
        let excluded: BTreeSet<_> = auction.excluded.iter().map(|one| &one.account).collect();
        ensure!(!ranked.is_empty(), "nobody may make the next block");
        ensure!(
            ranked.len() == auction.ranking.len(),
            "a validator is ranked twice"
        );
        ensure!(ranked.is_disjoint(&excluded), "ranked and excluded at once");
        ensure!(
            set.iter()
                .all(|who| ranked.contains(who) || excluded.contains(who)),
            "a validator is neither ranked nor excluded"
        );
        ensure!(
            ranked.iter().all(|who| set.contains(*who)),
            "somebody is ranked who is no validator"
        );
        // Anyone can make the ranking again from what is stored.
        let rules = MiningRules::<T>::get();
        for (part, weights) in [
            (auction.ranked_bidders(), rules.weights),
            (
                auction
                    .ranking
                    .get(auction.ranked_bidders().len()..)
                    .unwrap_or_default(),
                rules.weights.without_stake(),
            ),
        ] {
            let candidates = part
                .iter()
                .rev()
                .map(|one| draw::Candidate {
                    account: one.account.clone(),
                    offered: one.offered,
                    criteria: one.criteria,
                })
                .collect();
            let again = draw::rank(rules.rule, weights, &auction.before, height.0, candidates)
                .ok_or("wealth does not fit")?;
            ensure!(again == part, "the ranking is not what its record says");
        }
        Ok(())
    }
}
