//! What happened, as one number and, on demand, in words.

use std::collections::VecDeque;

use frame_support::{StorageHasher, Twox128};

/// Lines that are kept.
const LINES_MAX: usize = 20_000;
/// Where a trace begins, and by what it is multiplied (FNV).
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Returns a number that stands for bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Twox128::hash(bytes);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// A record of a run.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// Begins a record, in words too if asked.
    pub fn new(has_words: bool) -> Self {
        Self {
            hash: OFFSET,
            events: 0,
            lines: has_words.then(VecDeque::new),
        }
    }

    /// Notes something.
    pub fn note(&mut self, numbers: &[u64], words: impl FnOnce() -> String) {
        self.events = self.events.saturating_add(1);
        for number in numbers {
            self.hash = (self.hash ^ number).wrapping_mul(PRIME).rotate_left(23);
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() >= LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(words());
        }
    }

    /// Returns the number that stands for everything that happened.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns how much happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns the last lines.
    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
