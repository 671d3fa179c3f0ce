//! Who may bid, how much, and the ranking of a height.

use alloc::{collections::BTreeSet, vec::Vec};
use commonwatt_primitives::{
    Step, VotingToken,
    auction::{Reputation, VALIDATORS_TOLERANT},
    traits::MarketClock,
};
use frame_support::{
    BoundedVec,
    traits::{
        fungible::Inspect,
        tokens::{Fortitude, Preservation},
    },
};

use crate::{
    Auction, Auctions, Bid, Books, Config, Event, Excluded, Exclusion, LastBlocks, MiningRules,
    Offences, Pallet, RISK_AVERSE_BID_PERCENT, RISK_AVERSE_FLOOR_PERCENT, Seeds,
    draw::{Basis, Candidate, Criteria, rank},
};

/// What a validator has, and has offered.
pub(crate) struct Tokens {
    pub free: VotingToken,
    pub in_escrow: VotingToken,
}

impl Tokens {
    pub fn all(&self) -> VotingToken {
        self.free.saturating_add(self.in_escrow)
    }
}

impl<T: Config> Pallet<T> {
    /// Returns the validators of a height that may bid for it and be ranked, by account.
    pub(crate) fn candidates(height: Step) -> BTreeSet<T::AccountId> {
        Self::validators(height)
            .into_iter()
            .flatten()
            .map(|validator| validator.account)
            .filter(|who| !Self::is_equivocator(who))
            .collect()
    }

    pub(crate) fn is_equivocator(who: &T::AccountId) -> bool {
        Offences::<T>::get(who).is_some_and(|offence| offence.pardoned.is_none())
    }

    /// Returns the tokens that can be offered now.
    pub(crate) fn free_tokens(who: &T::AccountId) -> VotingToken {
        T::VotingTokens::reducible_balance(who, Preservation::Expendable, Fortitude::Polite)
    }

    /// Returns every open bid with its height, by height.
    pub(crate) fn open_bids() -> Vec<(Step, Bid<T::AccountId>)> {
        let now = T::Clock::current_step();
        (0..Self::open_heights_max())
            .filter_map(|ahead| now.checked_add(ahead))
            .flat_map(|height| {
                let bids = Books::<T>::get(height).map(|book| book.bids);
                bids.into_iter().flatten().map(move |bid| (height, bid))
            })
            .collect()
    }

    pub(crate) fn tokens_of(who: &T::AccountId, open: &[(Step, Bid<T::AccountId>)]) -> Tokens {
        let in_escrow = open
            .iter()
            .filter(|(_, bid)| bid.account == *who)
            .map(|(_, bid)| VotingToken::from(bid.amount))
            .sum();
        Tokens {
            free: Self::free_tokens(who),
            in_escrow,
        }
    }

    /// Returns the greatest bid a candidate may make under the risk-averse rules; `None` when there are
    /// enough candidates, so that any bid is free [P Table 3].
    pub(crate) fn compute_bound(
        who: &T::AccountId,
        candidates: &BTreeSet<T::AccountId>,
    ) -> Option<u64> {
        let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        if count >= MiningRules::<T>::get().few_candidates {
            return None;
        }
        let open = Self::open_bids();
        let all: VotingToken = candidates
            .iter()
            .map(|candidate| Self::tokens_of(candidate, &open).all())
            .fold(0, VotingToken::saturating_add);
        Some(compute_risk_averse_bound(
            Self::free_tokens(who),
            all,
            count,
        ))
    }

    /// Ranks the validators of `height`, given the author of the block before.
    pub(crate) fn make_ranking(height: Step, author_before: Option<&T::AccountId>) {
        // Check, compute.
        let rules = MiningRules::<T>::get();
        let book = Books::<T>::get(height);
        let is_void = book.as_ref().is_none_or(|book| book.is_void);
        let bids = book.map(|book| book.bids).unwrap_or_default();
        let before = Seeds::<T>::get(height.saturating_sub(1)).unwrap_or_default();
        let set: BTreeSet<_> = Self::validators(height)
            .into_iter()
            .flatten()
            .map(|validator| validator.account)
            .collect();

        let mut eligible = Self::candidates(height);
        if eligible.is_empty() {
            // All have equivocated: better their blocks than none.
            eligible = set.clone();
        }
        let excluded_author = author_before.filter(|author| {
            set.len() >= VALIDATORS_TOLERANT && eligible.len() > 1 && eligible.contains(*author)
        });
        if let Some(author) = excluded_author {
            eligible.remove(author);
        }

        let offered = |who: &T::AccountId| {
            let place = bids.binary_search_by(|bid| bid.account.cmp(who));
            place
                .ok()
                .and_then(|place| bids.get(place))
                .map_or(0, |bid| bid.amount)
        };
        let open = Self::open_bids();
        let (bidders, others): (Vec<_>, Vec<_>) = eligible
            .iter()
            .map(|who| Candidate {
                account: who.clone(),
                offered: offered(who),
                criteria: Self::criteria_of(who, offered(who), height, rules.basis, &open),
            })
            .partition(|candidate| candidate.offered > 0);
        let count = u32::try_from(bidders.len()).unwrap_or(u32::MAX);
        let draw = |weights, candidates| {
            rank(rules.rule, weights, &before, height.0, candidates)
                .expect("integrity_test and genesis: few enough candidates, small enough weights")
        };
        let mut ranking = draw(rules.weights, bidders);
        ranking.extend(draw(rules.weights.without_stake(), others));

        let bidding = bids.iter().map(|bid| &bid.account);
        let excluded: BTreeSet<_> = set
            .iter()
            .chain(bidding)
            .filter(|who| !eligible.contains(*who))
            .collect();
        let excluded = excluded
            .into_iter()
            .map(|who| Excluded {
                account: who.clone(),
                offered: offered(who),
                reason: match () {
                    () if excluded_author == Some(who) => Exclusion::AuthoredBefore,
                    () if set.contains(who) => Exclusion::Equivocated,
                    () => Exclusion::LeftTheSet,
                },
            })
            .collect();

        // Write. A set only loses equivocators, whose bids are gone: ranked and excluded together are no
        // more than the set, so that nothing is cut off.
        let auction = Auction {
            before,
            is_void,
            bidders: count,
            ranking: BoundedVec::truncate_from(ranking),
            excluded: BoundedVec::truncate_from(excluded),
            outcome: None,
        };
        Auctions::<T>::insert(height, &auction);

        // Tell.
        Self::deposit_event(Event::RankingMade {
            height,
            before,
            is_void,
            bidders: count,
            ranking: auction.ranking.into_inner(),
            excluded: auction.excluded.into_inner(),
        });
    }

    /// Returns the age of a validator's last block at `height`.
    pub(crate) fn age_at(who: &T::AccountId, height: Step) -> Option<u32> {
        LastBlocks::<T>::get(who).map(|last| height.since(last))
    }

    fn criteria_of(
        who: &T::AccountId,
        offered: u64,
        height: Step,
        basis: Basis,
        open: &[(Step, Bid<T::AccountId>)],
    ) -> Criteria {
        let stake = match basis {
            // Who offered nothing is drawn without its stake.
            _ if offered == 0 => 0,
            Basis::Offered => offered,
            Basis::Owned => u64::try_from(Self::tokens_of(who, open).all()).unwrap_or(u64::MAX),
        };
        let age = Self::age_at(who, height).unwrap_or_default();
        Criteria {
            stake,
            age: u16::try_from(age).unwrap_or(u16::MAX),
            reputation: T::Reputation::reputation_of(who),
        }
    }
}

/// Returns the greatest bid under the risk-averse rules [P Table 3, sc4]: one token below the floor, else
/// 40 % of the free tokens, rounded down, though never less than one.
pub fn compute_risk_averse_bound(
    free: VotingToken,
    of_all_candidates: VotingToken,
    candidates: u32,
) -> u64 {
    // free < 20 % · all / candidates.
    let own = free.saturating_mul(100).saturating_mul(candidates.into());
    let is_below_floor = own < of_all_candidates.saturating_mul(RISK_AVERSE_FLOOR_PERCENT);
    if is_below_floor {
        return 1;
    }
    let part = free.saturating_mul(RISK_AVERSE_BID_PERCENT) / 100;
    u64::try_from(part.max(1)).unwrap_or(u64::MAX)
}
