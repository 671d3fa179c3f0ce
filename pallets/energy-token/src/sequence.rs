//! Which sequence numbers of a device have been used.
//!
//! Reports may overtake each other, so a number is not simply compared with the last one: an unseen
//! number within [`WINDOW`] below the highest is still good (PROTOCOL 3).

use codec::{Decode, Encode, MaxEncodedLen};
use frame_support::{BoundedVec, traits::ConstU32};
use scale_info::TypeInfo;

/// How far below the highest number an unseen one is still accepted.
pub const WINDOW: u16 = 1_024;

/// The window as a bitmap: bit `d − 1`, counted from the first word's lowest, speaks of `highest − d`.
type Bitmap = [u64; 16];

/// 64 numbers of the window, at least one of which is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct MissingWord {
    /// Place of the word in the window; the first one is next to the highest number.
    pub index: u8,
    /// Bit `i` is set when number `highest − 1 − 64 · index − i` has not been seen.
    pub bits: u64,
}

/// What the chain remembers of a device between reports.
///
/// It keeps the numbers *missing* from the window, not the ones seen, and only words that have any: a
/// device that numbers without gaps takes a few bytes, where a bitmap would write 128 with each report.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct DeviceState {
    /// The highest sequence number accepted.
    #[codec(compact)]
    pub highest: u64,
    /// What pulses left over that was no whole watt-hour, in parts of one: `pulse_carry /
    /// pulses_per_kwh` Wh. The next pulses take it up.
    #[codec(compact)]
    pub pulse_carry: u32,
    /// The unseen numbers of the window, by ascending index.
    pub missing: BoundedVec<MissingWord, ConstU32<16>>,
}

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// It was used before.
    Replayed,
    /// It lies further below the highest than the window reaches.
    TooOld,
    /// After the last number of all there would be none for the next report.
    Exhausted,
}

impl DeviceState {
    /// Returns the state of a device whose first accepted report has this number.
    ///
    /// The numbers before it may still arrive: they have been overtaken.
    pub fn first(sequence: u64) -> Result<Self, SequenceError> {
        if sequence == u64::MAX {
            return Err(SequenceError::Exhausted);
        }
        let missing = u16::try_from(sequence).unwrap_or(WINDOW).min(WINDOW);
        Ok(Self {
            highest: sequence,
            pulse_carry: 0,
            missing: to_missing(&with_lowest([0; 16], missing)),
        })
    }

    /// Marks a number as seen.
    ///
    /// Numbers may jump ahead without limit, since gaps are visible, but never to the last number of
    /// all: one corrupted report would silence the device for ever.
    pub fn accept(&mut self, sequence: u64) -> Result<(), SequenceError> {
        if sequence == u64::MAX {
            return Err(SequenceError::Exhausted);
        }
        if sequence > self.highest {
            self.advance(sequence);
            return Ok(());
        }
        let below = self.highest - sequence;
        if below > u64::from(WINDOW) {
            return Err(SequenceError::TooOld);
        }
        // Distance 0 is the highest number itself, which has been seen.
        let position = below.checked_sub(1).ok_or(SequenceError::Replayed)?;
        let mask = 1u64 << (position % 64);
        let mut missing = to_bitmap(&self.missing);
        let word = usize::try_from(position / 64)
            .ok()
            .and_then(|index| missing.get_mut(index))
            .ok_or(SequenceError::TooOld)?;
        if *word & mask == 0 {
            return Err(SequenceError::Replayed);
        }
        *word &= !mask;
        self.missing = to_missing(&missing);
        Ok(())
    }

    /// Moves the window up to a number above the highest; what it skips is missing.
    fn advance(&mut self, sequence: u64) {
        let distance = sequence - self.highest;
        self.highest = sequence;
        if distance == 1 && self.missing.is_empty() {
            return;
        }
        let skipped = u16::try_from(distance - 1).unwrap_or(WINDOW).min(WINDOW);
        let moved = shifted(to_bitmap(&self.missing), distance);
        self.missing = to_missing(&with_lowest(moved, skipped));
    }
}

/// Returns the bitmap with its bits moved up by `distance`; those beyond the window fall out.
fn shifted(bitmap: Bitmap, distance: u64) -> Bitmap {
    let mut moved = [0; 16];
    if distance > u64::from(WINDOW) {
        return moved;
    }
    let words = usize::try_from(distance / 64).unwrap_or(moved.len());
    let bits = distance % 64;
    for (target, word) in moved.iter_mut().skip(words).zip(bitmap) {
        *target = word << bits;
    }
    if bits > 0 {
        for (target, word) in moved.iter_mut().skip(words + 1).zip(bitmap) {
            *target |= word >> (64 - bits);
        }
    }
    moved
}

/// Returns the bitmap with its lowest `count` bits set.
fn with_lowest(mut bitmap: Bitmap, count: u16) -> Bitmap {
    let mut left = count;
    for word in &mut bitmap {
        *word |= match left {
            0 => 0,
            1..64 => (1u64 << left) - 1,
            64.. => u64::MAX,
        };
        left = left.saturating_sub(64);
    }
    bitmap
}

fn to_bitmap(missing: &[MissingWord]) -> Bitmap {
    let mut bitmap = [0; 16];
    for word in missing {
        if let Some(target) = bitmap.get_mut(usize::from(word.index)) {
            *target = word.bits;
        }
    }
    bitmap
}

fn to_missing(bitmap: &Bitmap) -> BoundedVec<MissingWord, ConstU32<16>> {
    // A bitmap has as many words as the list holds, so nothing is truncated.
    BoundedVec::truncate_from(
        (0u8..)
            .zip(bitmap)
            .filter(|(_, bits)| **bits != 0)
            .map(|(index, &bits)| MissingWord { index, bits })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_device_that_numbers_without_gaps_takes_few_bytes() {
        let mut state = DeviceState::first(0).expect("0 is a sequence number");
        for sequence in 1..40_000 {
            state.accept(sequence).expect("the next number is good");
        }
        assert_eq!(state.encode().len(), 6);
    }

    #[test]
    fn a_number_used_before_is_a_replay() {
        let mut state = DeviceState::first(5).expect("5 is a sequence number");
        assert_eq!(state.accept(5), Err(SequenceError::Replayed));
        assert_eq!(state.accept(3), Ok(()));
        assert_eq!(state.accept(3), Err(SequenceError::Replayed));
        assert_eq!(state.accept(0), Ok(()));
    }

    #[test]
    fn the_window_ends_1024_below_the_highest() {
        let mut state = DeviceState::first(5_000).expect("5000 is a sequence number");
        assert_eq!(state.accept(5_000 - 1_025), Err(SequenceError::TooOld));
        assert_eq!(state.accept(5_000 - 1_024), Ok(()));
    }

    #[test]
    fn the_last_number_of_all_is_never_used_up() {
        assert_eq!(DeviceState::first(u64::MAX), Err(SequenceError::Exhausted));
        let mut state = DeviceState::first(1).expect("1 is a sequence number");
        assert_eq!(state.accept(u64::MAX), Err(SequenceError::Exhausted));
        assert_eq!(state.accept(2), Ok(()));
    }

    proptest! {
        /// The window against a plain set of all numbers seen.
        #[test]
        fn the_window_accepts_what_a_set_of_all_numbers_would(
            numbers in prop::collection::vec(
                prop_oneof![
                    4 => 0u64..3_000,
                    1 => (u64::MAX - 2_000)..u64::MAX,
                    2 => (0u64..40).prop_map(|position| position * 64),
                ],
                1..200,
            ),
            base in 0u64..2,
        ) {
            let mut seen = BTreeSet::new();
            let mut state: Option<DeviceState> = None;
            for number in numbers {
                let number = number.saturating_add(base).min(u64::MAX - 1);
                let highest = seen.last().copied().unwrap_or(0);
                let expected = if seen.contains(&number) && highest - number <= 1_024 {
                    Err(SequenceError::Replayed)
                } else if highest.saturating_sub(number) > 1_024 {
                    Err(SequenceError::TooOld)
                } else {
                    Ok(())
                };
                let got = match &mut state {
                    Some(state) => state.accept(number),
                    None => DeviceState::first(number).map(|first| state = Some(first)),
                };
                prop_assert_eq!(got, expected);
                if got.is_ok() {
                    seen.insert(number);
                }
                let state = state.as_ref().expect("the first number was accepted");
                prop_assert_eq!(Some(&state.highest), seen.last());
            }
        }
    }
}
