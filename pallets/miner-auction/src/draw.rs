//! The draw: wealth, chance and the order they make, in integers on which every node agrees.
//!
//! Pure functions; anyone can recompute a ranking from what an auction's record holds.
//!
//! ## Numbers
//! - Wealth is `W_k = α·E_k/ΣE + β·A_k/ΣA + γ·R_k/ΣR`. All candidates of a draw share the denominator
//!   `ΣE·ΣA·ΣR`, so only numerators are kept and compared. With at most 2^7 candidates, E < 2^64,
//!   A and R < 2^16 and weights < 2^15, each of the three products is below
//!   `2^15 · 2^64 · 2^23 · 2^23 = 2^125`, or `2^15 · 2^16 · 2^71 · 2^23`, which is the same: their sum
//!   fits into 128 bits.
//! - Chance is `U_k = (draw + 1) / 2^256`, the draw's 32 bytes read as a big-endian number.
//! - `−log2(U)` has 64 fraction bits. It is at most 256, so it and its product with a wealth fit into
//!   256 bits.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::{BlockNumber, Hash};
use core::cmp::Ordering;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};
use sp_core::{U256, U512};
use sp_runtime::traits::{BlakeTwo256, Hash as _};

/// Most candidates of one draw; the bound under which numerators fit into 128 bits.
pub const CANDIDATES_MAX: u32 = 128;
/// Greatest weight of a criterion.
pub const WEIGHT_MAX: u16 = (1 << 15) - 1;
/// Prefix of what is hashed into a candidate's draw.
pub const DRAW_DOMAIN: &[u8] = b"commonwatt/draw/1";
/// Fraction bits of a logarithm.
const LOG_FRACTION_BITS: u32 = 64;

/// How candidates are ordered; a genesis value.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The papers': by `W/U`, highest first. Favours the wealthy more than in proportion.
    Ratio,
    /// By `−ln(U)/W`, lowest first: wins with probability exactly `W/ΣW`.
    Proportional,
    /// By reputation, highest first; equals by `U`, lowest first [L].
    HighestReputation,
}

/// What of a candidate's tokens counts as its stake; a genesis value.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// What it offers in this auction.
    Offered,
    /// All it owns, what it offers in any auction included, as in the sources' simulations.
    Owned,
}

/// How much each criterion counts; the community's contract.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Weights {
    /// Weight of the stake.
    pub alpha: u16,
    /// Weight of the age of the last block.
    pub beta: u16,
    /// Weight of the reputation.
    pub gamma: u16,
}

impl Weights {
    /// Returns the weights for those who offered nothing: age and reputation alone.
    pub fn without_stake(self) -> Self {
        Self { alpha: 0, ..self }
    }
}

/// The three criteria of a candidate.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Criteria {
    /// `E`: voting tokens offered or owned.
    pub stake: u64,
    /// `A`: steps since its last block.
    pub age: u16,
    /// `R`: its reputation.
    pub reputation: u16,
}

/// Someone who takes part in a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<AccountId> {
    /// Who it is.
    pub account: AccountId,
    /// What it bid; zero when it did not.
    pub offered: u64,
    /// What decides its wealth.
    pub criteria: Criteria,
}

/// A candidate in its place, with everything that put it there.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Ranked<AccountId> {
    /// Who it is.
    pub account: AccountId,
    /// What it bid; zero when it did not.
    pub offered: u64,
    /// What decided its wealth.
    pub criteria: Criteria,
    /// Numerator of `W`; comparable among those who were drawn together: bidders, or the others.
    pub wealth: u128,
    /// `U · 2^256 − 1`, a big-endian number.
    pub draw: Hash,
}

/// Returns the numerators of all candidates' wealth; `None` when there are more than
/// [`CANDIDATES_MAX`], or a weight exceeds [`WEIGHT_MAX`].
///
/// A criterion whose sum is zero counts `1/n` for each of the `n` candidates.
pub fn compute_wealth(candidates: &[Criteria], weights: Weights) -> Option<Vec<u128>> {
    let count = u32::try_from(candidates.len()).ok()?;
    let heaviest = weights.alpha.max(weights.beta).max(weights.gamma);
    if count > CANDIDATES_MAX || heaviest > WEIGHT_MAX {
        return None;
    }
    let shares = |of: fn(&Criteria) -> u128| -> (Vec<u128>, u128) {
        let values: Vec<u128> = candidates.iter().map(of).collect();
        match values.iter().sum() {
            0 => (alloc::vec![1; candidates.len()], u128::from(count)),
            sum => (values, sum),
        }
    };
    let (stakes, stake_sum) = shares(|criteria| criteria.stake.into());
    let (ages, age_sum) = shares(|criteria| criteria.age.into());
    let (reputations, reputation_sum) = shares(|criteria| criteria.reputation.into());
    debug_assert!(stake_sum < 1 << 71 && age_sum < 1 << 23 && reputation_sum < 1 << 23);

    let (alpha, beta, gamma) = (
        u128::from(weights.alpha),
        u128::from(weights.beta),
        u128::from(weights.gamma),
    );
    let numerators = stakes.iter().zip(&ages).zip(&reputations);
    numerators
        .map(|((stake, age), reputation)| {
            let by_stake = alpha * stake * age_sum * reputation_sum;
            let by_age = beta * age * stake_sum * reputation_sum;
            let by_reputation = gamma * reputation * stake_sum * age_sum;
            debug_assert!(by_stake.max(by_age).max(by_reputation) < 1 << 125);
            by_stake.checked_add(by_age)?.checked_add(by_reputation)
        })
        .collect()
}

/// Returns the draw of an account for a height, from the seed of the block before.
pub fn compute_draw<AccountId: Encode>(
    before: &Hash,
    height: BlockNumber,
    account: &AccountId,
) -> Hash {
    let mut message = DRAW_DOMAIN.to_vec();
    (before, height, account).encode_to(&mut message);
    BlakeTwo256::hash(&message)
}

/// Returns `U · 2^256`, which lies in `[1, 2^256]`.
pub fn compute_chance(draw: &Hash) -> U512 {
    U512::from(U256::from_big_endian(draw.as_bytes())) + U512::one()
}

/// Returns `−log2(chance / 2^256)` with 64 fraction bits, for a chance in `[1, 2^256]`.
///
/// The mantissa is cut to 127 fraction bits and squared 64 times, each time giving one bit. Errors
/// of the cuts halve in weight with each bit, so the sum is off by less than a unit in the last place.
pub fn compute_minus_log2(chance: &U512) -> u128 {
    let whole_bits = chance.bits().saturating_sub(1);
    // Q1.127: the highest bit is set.
    let mut mantissa = match whole_bits {
        127.. => *chance >> (whole_bits - 127),
        _ => *chance << (127 - whole_bits),
    }
    .low_u128();
    let mut fraction: u128 = 0;
    for _ in 0..LOG_FRACTION_BITS {
        // Q2.254.
        let square = U256::from(mantissa) * U256::from(mantissa);
        let is_two_or_more = square.bit(255);
        fraction = (fraction << 1) | u128::from(is_two_or_more);
        mantissa = (square >> (127 + usize::from(is_two_or_more))).low_u128();
    }
    // At most 256, so the sum stays below 2^73.
    let whole = u128::try_from(whole_bits).unwrap_or(256);
    (256 << LOG_FRACTION_BITS) - ((whole << LOG_FRACTION_BITS) | fraction)
}

/// Puts candidates in the order of a rule; equals by account id.
///
/// Returns `None` when there are more than [`CANDIDATES_MAX`], or a weight exceeds [`WEIGHT_MAX`].
pub fn rank<AccountId: Clone + Ord + Encode>(
    rule: Rule,
    weights: Weights,
    before: &Hash,
    height: BlockNumber,
    candidates: Vec<Candidate<AccountId>>,
) -> Option<Vec<Ranked<AccountId>>> {
    let criteria: Vec<_> = candidates
        .iter()
        .map(|candidate| candidate.criteria)
        .collect();
    let wealth = compute_wealth(&criteria, weights)?;
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .zip(wealth)
        .map(|(candidate, wealth)| Ranked {
            draw: compute_draw(before, height, &candidate.account),
            account: candidate.account,
            offered: candidate.offered,
            criteria: candidate.criteria,
            wealth,
        })
        .collect();
    sort(rule, &mut ranked);
    Some(ranked)
}

/// Sorts by a rule; equals by account id.
pub fn sort<AccountId: Clone + Ord>(rule: Rule, ranked: &mut [Ranked<AccountId>]) {
    match rule {
        Rule::Ratio => ranked.sort_by_cached_key(|one| ByRatio {
            wealth: one.wealth,
            chance: compute_chance(&one.draw),
            account: one.account.clone(),
        }),
        Rule::Proportional => ranked.sort_by_cached_key(|one| ByArrival {
            wealth: one.wealth,
            minus_log2: compute_minus_log2(&compute_chance(&one.draw)),
            account: one.account.clone(),
        }),
        Rule::HighestReputation => ranked.sort_by_cached_key(|one| {
            let worst = u16::MAX - one.criteria.reputation;
            (worst, one.draw, one.account.clone())
        }),
    }
}

/// Orders by `W/U`, highest first: `W_i·U_j > W_j·U_i` in 512 bits.
struct ByRatio<AccountId> {
    wealth: u128,
    chance: U512,
    account: AccountId,
}

impl<AccountId: Ord> Ord for ByRatio<AccountId> {
    fn cmp(&self, other: &Self) -> Ordering {
        // 2^128 · 2^256 at most.
        let own = U512::from(self.wealth) * other.chance;
        let others = U512::from(other.wealth) * self.chance;
        others
            .cmp(&own)
            .then_with(|| self.account.cmp(&other.account))
    }
}

/// Orders by `−ln(U)/W`, lowest first: `L_i·W_j < L_j·W_i`; the base of the logarithm cancels. Nobody
/// without wealth comes before anybody with some.
struct ByArrival<AccountId> {
    wealth: u128,
    minus_log2: u128,
    account: AccountId,
}

impl<AccountId: Ord> Ord for ByArrival<AccountId> {
    fn cmp(&self, other: &Self) -> Ordering {
        // 2^73 · 2^128 at most.
        let own = U256::from(self.minus_log2) * U256::from(other.wealth);
        let others = U256::from(other.minus_log2) * U256::from(self.wealth);
        (self.wealth == 0)
            .cmp(&(other.wealth == 0))
            .then(own.cmp(&others))
            .then_with(|| self.account.cmp(&other.account))
    }
}

macro_rules! ordered_by_cmp {
    ($($name:ident),*) => {$(
        impl<AccountId: Ord> PartialOrd for $name<AccountId> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl<AccountId: Ord> PartialEq for $name<AccountId> {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl<AccountId: Ord> Eq for $name<AccountId> {}
    )*};
}

ordered_by_cmp!(ByRatio, ByArrival);
