//! What reputation is made of.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use commonwatt_primitives::Wh;
use frame_support::{
    BoundedVec, CloneNoBound, DebugNoBound, EqNoBound, PartialEqNoBound, traits::Get,
};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Longest window in which turns count, so that a count fits into 16 bits.
pub const WINDOW_MAX: u32 = u16::MAX as u32;

/// Which measure feeds the auction; a genesis value.
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
pub enum Measure {
    /// Blocks made in the window, less turns missed in it [P, D].
    BlocksCreated,
    /// How well declarations were kept [L].
    Delivery,
}

/// The community's contract about reputation; genesis values.
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
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rules {
    /// Which measure feeds the auction.
    pub measure: Measure,
    /// For how many steps a block made, or a turn missed, counts.
    pub reputation_window: u32,
    /// `T_C`: steps of a period of declarations.
    pub period: u32,
    /// `τ`: what the delivery score may exceed the age of the last block by.
    pub tau: u16,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            measure: Measure::BlocksCreated,
            reputation_window: 672,
            period: 96,
            tau: 10,
        }
    }
}

/// What is wrong with [`Rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Counts would not fit, or nothing would count.
    #[error("reputationWindow must lie between 1 and {WINDOW_MAX} steps")]
    Window,
    /// A declaration would be too long, or empty.
    #[error("period must lie between 1 and {0} steps")]
    Period(u32),
}

impl Rules {
    /// Checks that the values fit together, for declarations of at most `period_max` steps.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self, period_max: u32) -> Result<(), RulesError> {
        if !(1..=WINDOW_MAX).contains(&self.reputation_window) {
            return Err(RulesError::Window);
        }
        if !(1..=period_max).contains(&self.period) {
            return Err(RulesError::Period(period_max));
        }
        Ok(())
    }
}

/// What a member says it will use and offer in a step.
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
pub struct Declared {
    /// A consumer's consumption, a prosumer's own use.
    #[codec(compact)]
    pub used: Wh,
    /// What it offers to others.
    #[codec(compact)]
    pub offered: Wh,
}

/// Who made a block, and who should have.
#[derive(
    CloneNoBound, DebugNoBound, PartialEqNoBound, EqNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[scale_info(skip_type_params(Max))]
pub struct Turn<AccountId: Clone + core::fmt::Debug + PartialEq + Eq, Max: Get<u32>> {
    /// Who made it.
    pub author: AccountId,
    /// Who let its turn pass.
    pub missed: BoundedVec<AccountId, Max>,
}

/// What an account did in the window.
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
pub struct Tally {
    /// Blocks it made.
    pub authored: u32,
    /// Turns it let pass.
    pub missed: u32,
}

impl Tally {
    /// Returns the reputation: blocks less missed turns, at least nothing.
    pub fn score(self) -> u16 {
        let score = self.authored.saturating_sub(self.missed);
        u16::try_from(score).unwrap_or(u16::MAX)
    }

    /// Returns whether nothing happened.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// A delivery score in millionths: `R` of [L], at least 0.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Score(pub u64);

impl Score {
    /// A score of one.
    pub const ONE: Self = Self(1_000_000);

    /// Returns the score of a whole number.
    pub fn whole(number: u64) -> Self {
        Self(number.saturating_mul(Self::ONE.0))
    }

    /// Returns what the auction is told: hundredths, at most 655.35.
    pub fn in_hundredths(self) -> u16 {
        u16::try_from(self.0 / (Self::ONE.0 / 100)).unwrap_or(u16::MAX)
    }
}

/// What an account's reputation is, by both measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct ReputationInfo {
    /// What it did in the window.
    pub tally: Tally,
    /// Its delivery score.
    pub delivery: Score,
    /// What feeds the auction.
    pub reputation: u16,
}
