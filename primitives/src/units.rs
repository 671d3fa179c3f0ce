//! Units: a number that crosses a boundary says what it counts.

use codec::{Compact, CompactAs, Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Amount of the energy coin in its smallest unit, the chain's native balance.
pub type Coin = u128;
/// Amount of voting tokens.
pub type VotingToken = u128;
/// Price of one trading unit of energy, in the smallest unit of the energy coin.
pub type Price = u128;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        /// Lets `#[codec(compact)]` fields of this unit take only the bytes their value needs.
        impl CompactAs for $name {
            type As = $inner;

            fn encode_as(&self) -> &Self::As {
                &self.0
            }

            fn decode_from(value: Self::As) -> Result<Self, codec::Error> {
                Ok(Self(value))
            }
        }

        impl From<Compact<$name>> for $name {
            fn from(compact: Compact<$name>) -> Self {
                compact.0
            }
        }
    };
}

unit! {
    /// Energy in integer watt-hours; never negative.
    Wh(u64)
}

unit! {
    /// A part in ten thousand.
    Bps(u16)
}

unit! {
    /// A part in a million: the coefficients of an allocation key.
    Ppm(u32)
}

impl Wh {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// Returns the sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Returns the difference, or `None` when `other` is larger.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Returns the sum of all items, or `None` when it does not fit.
    pub fn checked_sum(items: impl IntoIterator<Item = Self>) -> Option<Self> {
        items.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// Returns whether there is none.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns `self − other` as a signed number of watt-hours, which always fits.
    pub fn signed_difference(self, other: Self) -> i128 {
        i128::from(self.0) - i128::from(other.0)
    }
}

impl Bps {
    /// The whole.
    pub const FULL: Self = Self(10_000);

    /// Returns whether this is a fraction of at most one.
    pub fn is_fraction(self) -> bool {
        self <= Self::FULL
    }

    /// Returns this part of `whole`, rounded down. What is lost to rounding stays with the caller.
    pub fn of(self, whole: u64) -> u128 {
        u128::from(whole) * u128::from(self.0) / u128::from(Self::FULL.0)
    }

    /// Returns this part of `energy`, rounded down; `None` when a part above one does not fit.
    pub fn of_energy(self, energy: Wh) -> Option<Wh> {
        u64::try_from(self.of(energy.0)).ok().map(Wh)
    }
}

impl Ppm {
    /// The whole.
    pub const FULL: Self = Self(1_000_000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_never_wraps() {
        assert_eq!(Wh(u64::MAX).checked_add(Wh(1)), None);
        assert_eq!(Wh(1).checked_sub(Wh(2)), None);
        assert_eq!(Wh::checked_sum([Wh(u64::MAX), Wh(1)]), None);
        assert_eq!(Wh::checked_sum([Wh(2), Wh(3)]), Some(Wh(5)));
    }

    #[test]
    fn a_signed_difference_spans_the_whole_range() {
        assert_eq!(Wh(0).signed_difference(Wh(u64::MAX)), -i128::from(u64::MAX));
    }

    #[test]
    fn a_part_rounds_down() {
        assert_eq!(Bps(3_333).of(10), 3);
        assert_eq!(Bps::FULL.of(u64::MAX), u128::from(u64::MAX));
    }
}
