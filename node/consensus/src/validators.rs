//! The validators of a height and the order in which they propose.

use std::{collections::BTreeSet, sync::Arc};

use codec::{Decode, Encode};
use commonwatt_primitives::AccountId;
use sp_core::ed25519;

use crate::{
    context::{Address, CoreValidator},
    limits::VALIDATORS_MAX,
};

/// A validator: one vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Validator {
    /// The member it votes for.
    pub account: AccountId,
    /// The key its votes are signed with.
    pub vote: ed25519::Public,
}

/// The validators of one height, and its ranking.
///
/// Cheap to clone: the engine does so for every certificate it checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    /// By ascending account.
    validators: Vec<CoreValidator>,
    /// Places in `validators`, the auction's winner first.
    ranking: Vec<usize>,
    /// Places of those without a rank.
    unranked: Vec<usize>,
}

/// Why there is no such validator set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Nobody could vote or propose.
    #[error(
        "a height needs at least one validator and one rank; the state of the parent gives none"
    )]
    Empty,
    /// More validators than this software is made for.
    #[error("{0} validators are more than the {VALIDATORS_MAX} that are possible")]
    TooMany(usize),
    /// An account would have two votes.
    #[error("{0} is listed twice as a validator")]
    DoubleAccount(AccountId),
    /// Two accounts would vote with one key.
    #[error("the vote key of {0} is another validator's too; one of them must register a new key")]
    DoubleKey(AccountId),
    /// An account would have two ranks.
    #[error("{0} is ranked twice")]
    DoubleRank(AccountId),
    /// Somebody without a vote would propose.
    #[error("{0} is ranked but is no validator of this height")]
    RankedStranger(AccountId),
}

impl ValidatorSet {
    /// Returns the set of `validators` who propose in the order of `ranking`.
    ///
    /// The ranking need not name all: the author of the previous height is left out (PROTOCOL 6).
    pub fn new(
        validators: Vec<Validator>,
        ranking: &[AccountId],
    ) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() || ranking.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if validators.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::TooMany(validators.len()));
        }
        let mut validators: Vec<CoreValidator> =
            validators.into_iter().map(CoreValidator::from).collect();
        validators.sort_by(|a, b| a.address.cmp(&b.address));
        for pair in validators.windows(2) {
            if pair[0].address == pair[1].address {
                return Err(ValidatorSetError::DoubleAccount(pair[0].address.0.clone()));
            }
        }
        let mut keys = BTreeSet::new();
        for validator in &validators {
            if !keys.insert(validator.vote) {
                return Err(ValidatorSetError::DoubleKey(validator.address.0.clone()));
            }
        }
        let mut places = Vec::with_capacity(ranking.len());
        for account in ranking {
            let address = Address(account.clone());
            let place = validators
                .binary_search_by(|validator| validator.address.cmp(&address))
                .map_err(|_| ValidatorSetError::RankedStranger(account.clone()))?;
            if places.contains(&place) {
                return Err(ValidatorSetError::DoubleRank(account.clone()));
            }
            places.push(place);
        }
        let unranked = (0..validators.len()).filter(|place| !places.contains(place));
        Ok(Self(Arc::new(Inner {
            unranked: unranked.collect(),
            validators,
            ranking: places,
        })))
    }

    /// Returns how many validators there are.
    pub fn count(&self) -> usize {
        self.0.validators.len()
    }

    /// Returns the smallest number of votes that is more than two thirds.
    pub fn quorum(&self) -> usize {
        self.count() * 2 / 3 + 1
    }

    /// Returns how many may be faulty while less than a third are.
    pub fn faulty(&self) -> usize {
        self.count().saturating_sub(1) / 3
    }

    /// Returns how many votes are more than a third: at least one of them is honest while less than a third are not.
    pub fn honest(&self) -> usize {
        self.count() / 3 + 1
    }

    /// Returns the accounts in ascending order.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountId> {
        self.0
            .validators
            .iter()
            .map(|validator| &validator.address.0)
    }

    /// Returns the vote key of `account`; `None` when it is no validator.
    pub fn vote_key(&self, account: &AccountId) -> Option<&ed25519::Public> {
        self.get(&Address(account.clone()))
            .map(|validator| &validator.vote)
    }

    /// Returns how many ranks there are.
    pub fn ranks(&self) -> u32 {
        u32::try_from(self.0.ranking.len()).expect("at most VALIDATORS_MAX ranks; qed")
    }

    /// Returns the rank whose turn round `round` is; `None` when it is the turn of somebody without a rank.
    ///
    /// Once every rank had its turn, those without one have theirs. They make no blocks, but if one of them is locked on
    /// a block, nobody else may know it, and with a faulty validator beside it nothing else could be decided: it has to
    /// be able to propose that block again.
    pub fn rank_of_round(&self, round: u32) -> Option<u32> {
        let turn = self.turn_of_round(round);
        u32::try_from(turn).ok().filter(|turn| *turn < self.ranks())
    }

    fn turn_of_round(&self, round: u32) -> usize {
        usize::try_from(round).unwrap_or(usize::MAX) % self.count()
    }

    /// Returns who holds `rank`; `None` past the last.
    pub fn account_of_rank(&self, rank: u32) -> Option<&AccountId> {
        let place = self.0.ranking.get(usize::try_from(rank).ok()?)?;
        self.0
            .validators
            .get(*place)
            .map(|validator| &validator.address.0)
    }

    /// Returns who proposes in `round`.
    pub fn proposer(&self, round: u32) -> &AccountId {
        &self.core_proposer(round).address.0
    }

    pub(crate) fn core_proposer(&self, round: u32) -> &CoreValidator {
        let turns = self.0.ranking.iter().chain(&self.0.unranked);
        let place = turns.copied().nth(self.turn_of_round(round));
        &self.0.validators[place.expect("every validator has one turn; qed")]
    }

    pub(crate) fn get(&self, address: &Address) -> Option<&CoreValidator> {
        let place = self
            .0
            .validators
            .binary_search_by(|validator| validator.address.cmp(address))
            .ok()?;
        self.0.validators.get(place)
    }

    pub(crate) fn at(&self, index: usize) -> Option<&CoreValidator> {
        self.0.validators.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(seed: u8) -> Validator {
        Validator {
            account: AccountId::new([seed; 32]),
            vote: ed25519::Public::from_raw([seed; 32]),
        }
    }

    #[test]
    fn the_proposer_follows_the_ranking_then_those_without_a_rank_and_wraps_round() {
        let ranking = [AccountId::new([3; 32]), AccountId::new([1; 32])];
        let set = ValidatorSet::new(vec![validator(1), validator(2), validator(3)], &ranking)
            .expect("sound");
        assert_eq!(set.proposer(0), &ranking[0]);
        assert_eq!(set.proposer(1), &ranking[1]);
        assert_eq!(set.proposer(2), &AccountId::new([2; 32]));
        assert_eq!(set.proposer(3), &ranking[0]);
        assert_eq!(set.account_of_rank(2), None);
        let ranks = [0, 1, 2, 3, u32::MAX].map(|round| set.rank_of_round(round));
        assert_eq!(ranks, [Some(0), Some(1), None, Some(0), Some(0)]);
    }

    #[test]
    fn a_quorum_is_more_than_two_thirds() {
        let cases = [
            (1u8, 1, 1),
            (3, 3, 2),
            (4, 3, 2),
            (6, 5, 3),
            (7, 5, 3),
            (100, 67, 34),
        ];
        for (count, quorum, honest) in cases {
            let validators: Vec<_> = (1..=count).map(validator).collect();
            let ranking = [validators[0].account.clone()];
            let set = ValidatorSet::new(validators, &ranking).expect("sound");
            assert_eq!((set.quorum(), set.honest()), (quorum, honest));
            // Without those that may be faulty, the others are enough.
            assert_eq!(set.faulty(), usize::from(count) - quorum);
        }
    }

    #[test]
    fn unsound_sets_are_refused() {
        let (one, two) = (validator(1), validator(2));
        let first = [one.account.clone()];
        let refused = |validators: &[&Validator], ranking: &[AccountId]| {
            let validators = validators.iter().map(|validator| (*validator).clone());
            ValidatorSet::new(validators.collect(), ranking).expect_err("unsound")
        };
        assert_eq!(refused(&[], &first), ValidatorSetError::Empty);
        assert_eq!(refused(&[&one], &[]), ValidatorSetError::Empty);
        assert_eq!(
            refused(&[&one, &one], &first),
            ValidatorSetError::DoubleAccount(one.account.clone())
        );
        let same_key = Validator {
            vote: one.vote,
            ..two.clone()
        };
        assert_eq!(
            refused(&[&one, &same_key], &first),
            ValidatorSetError::DoubleKey(two.account.clone())
        );
        assert_eq!(
            refused(&[&one], &[one.account.clone(), one.account.clone()]),
            ValidatorSetError::DoubleRank(one.account.clone())
        );
        assert_eq!(
            refused(&[&one], std::slice::from_ref(&two.account)),
            ValidatorSetError::RankedStranger(two.account.clone())
        );
        let crowd: Vec<_> = (0..=VALIDATORS_MAX)
            .map(|index| {
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
                Validator {
                    account: AccountId::new(bytes),
                    vote: ed25519::Public::from_raw(bytes),
                }
            })
            .collect();
        assert_eq!(
            ValidatorSet::new(crowd, &first),
            Err(ValidatorSetError::TooMany(VALIDATORS_MAX + 1))
        );
    }
}
