//! The lines between nodes: how long a message takes, whether it arrives, how often.

use std::{collections::BTreeSet, sync::Arc};

use crate::random::Random;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// An encoded message of the engines.
    Engine(Arc<[u8]>),
    /// A transaction.
    Transaction(Arc<[u8]>),
    /// Asks for the decided block of a height.
    Request(u32),
    /// An encoded answer to that.
    Answer(Arc<[u8]>),
}

impl Packet {
    /// Returns its bytes on the line.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Engine(bytes) | Self::Transaction(bytes) | Self::Answer(bytes) => bytes.len(),
            Self::Request(_) => size_of::<u32>(),
        }
    }
}

/// How long a message is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// At least.
    pub least_ms: u64,
    /// As a rule no more than this beyond the least.
    pub spread_ms: u64,
    /// How many of a thousand take longer.
    pub slow_permille: u64,
    /// Beyond the least, at most.
    pub slow_ms: u64,
    /// Bytes a line carries in a millisecond.
    pub bytes_per_ms: u64,
}

impl Delay {
    /// A village: some milliseconds.
    pub const NEAR: Self = Self {
        least_ms: 2,
        spread_ms: 18,
        slow_permille: 0,
        slow_ms: 0,
        bytes_per_ms: 1_250,
    };

    /// Returns how long a message of these bytes takes.
    pub fn draw(&self, random: &mut Random, bytes: usize) -> u64 {
        let most = match random.permille(self.slow_permille) {
            true => self.slow_ms,
            false => self.spread_ms,
        };
        let carried = u64::try_from(bytes).unwrap_or(u64::MAX) / self.bytes_per_ms.max(1);
        self.least_ms
            .saturating_add(random.within(0..=most))
            .saturating_add(carried)
    }
}

/// The lines.
#[derive(Clone, Debug)]
pub struct Network {
    /// How long messages take.
    pub delay: Delay,
    /// How many of a thousand are lost.
    pub loss_permille: u64,
    /// How many of a thousand arrive twice.
    pub twice_permille: u64,
    /// Lines that are cut, from one node to another.
    cut: BTreeSet<(usize, usize)>,
    /// Nodes behind a slow line: everything takes so many times longer.
    pub slow: Vec<u64>,
}

impl Network {
    /// Returns sound lines between so many nodes.
    pub fn new(nodes: usize, delay: Delay) -> Self {
        Self {
            delay,
            loss_permille: 0,
            twice_permille: 0,
            cut: BTreeSet::new(),
            slow: vec![1; nodes],
        }
    }

    /// Cuts the line from one node to another.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Mends all lines.
    pub fn mend(&mut self) {
        self.cut.clear();
        self.slow.fill(1);
    }

    /// Returns whether what one node sends reaches another.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Returns after how many milliseconds a packet arrives, once for each time it does.
    pub fn route(&self, random: &mut Random, from: usize, to: usize, bytes: usize) -> Vec<u64> {
        if !self.is_open(from, to) || random.permille(self.loss_permille) {
            return Vec::new();
        }
        let times = 1 + usize::from(random.permille(self.twice_permille));
        let slowness = self.slow[from].max(self.slow[to]);
        (0..times)
            .map(|_| self.delay.draw(random, bytes).saturating_mul(slowness))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_in_one_direction_until_it_is_mended() {
        let mut network = Network::new(3, Delay::NEAR);
        let mut random = Random::new(1);
        network.cut(0, 1);
        assert!(network.route(&mut random, 0, 1, 100).is_empty());
        assert_eq!(network.route(&mut random, 1, 0, 100).len(), 1);
        network.mend();
        assert_eq!(network.route(&mut random, 0, 1, 100).len(), 1);
    }

    #[test]
    fn delays_keep_to_their_bounds_and_grow_with_the_bytes() {
        let mut random = Random::new(1);
        for _ in 0..1_000 {
            let delay = Delay::NEAR.draw(&mut random, 12_500);
            assert!((12..=30).contains(&delay), "{delay}");
        }
    }

    #[test]
    fn as_much_is_lost_and_doubled_as_planned() {
        let mut network = Network::new(2, Delay::NEAR);
        network.loss_permille = 200;
        network.twice_permille = 100;
        let mut random = Random::new(1);
        let arrived: Vec<_> = (0..10_000)
            .map(|_| network.route(&mut random, 0, 1, 0).len())
            .collect();
        let count = |times| arrived.iter().filter(|one| **one == times).count();
        assert!((1_800..2_200).contains(&count(0)), "{}", count(0));
        assert!((700..900).contains(&count(2)), "{}", count(2));
    }
}
