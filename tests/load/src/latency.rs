//! How long things took.

use std::time::Duration;

use serde::Serialize;

/// Times, until they are summed up.
#[derive(Debug, Default)]
pub struct Latencies {
    micros: Vec<u64>,
}

/// What is said of many times: how many, and in microseconds the median, the 99th percentile and the longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How many there were.
    pub count: usize,
    /// Half of them were at most this long.
    pub p50_us: u64,
    /// 99 of 100 were at most this long.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.micros
            .push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    pub fn append(&mut self, mut other: Self) {
        self.micros.append(&mut other.micros);
    }

    /// Sums them up.
    pub fn summarize(mut self) -> Summary {
        self.micros.sort_unstable();
        let count = self.micros.len();
        // The smallest time that `percent` of all do not exceed: the nearest rank.
        let percentile = |percent: usize| {
            let rank = count.saturating_mul(percent).div_ceil(100);
            self.micros
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Summary {
            count,
            p50_us: percentile(50),
            p99_us: percentile(99),
            max_us: self.micros.last().copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(micros: impl Iterator<Item = u64>) -> Summary {
        let mut latencies = Latencies::default();
        micros.for_each(|time| latencies.add(Duration::from_micros(time)));
        latencies.summarize()
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let expected = Summary {
            count: 200,
            p50_us: 100,
            p99_us: 198,
            max_us: 200,
        };
        assert_eq!(summary((1..=200).rev()), expected);
        assert_eq!(summary([7].into_iter()).p99_us, 7);
    }

    #[test]
    fn of_nothing_all_is_zero() {
        assert_eq!(Latencies::default().summarize(), Summary::default());
    }
}
