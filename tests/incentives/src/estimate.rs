//! Replicas, means and their confidence intervals.

use std::fmt;

use commonwatt_primitives::Hash;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use rayon::prelude::*;

use crate::chain::digest_of;

/// How much is simulated for a figure, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// From which everything follows.
    pub seed: u64,
    /// Independent chains for a figure.
    pub replicas: u32,
    /// Measured heights of each.
    pub heights: u32,
}

/// Chance, of which every replica of every experiment has its own.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Returns the dice of a replica. The name keeps experiments apart that share a seed.
    pub fn of(seed: u64, name: &str, replica: u32) -> Self {
        let key = [b"commonwatt/incentives/1", name.as_bytes()].concat();
        let mut message = key;
        message.extend(seed.to_le_bytes());
        message.extend(replica.to_le_bytes());
        Self(ChaCha8Rng::from_seed(digest_of(&message)))
    }

    /// Returns 32 random bytes.
    pub fn hash(&mut self) -> Hash {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        Hash::from(bytes)
    }

    /// Returns a number in `[0, 1[`.
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a double holds.
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * SCALE
    }

    /// Returns a number below `bound`, by which the bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the high half of a product")
    }

    /// Returns whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}

/// A mean with the half-width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean of the replicas.
    pub mean: f64,
    /// Half of the interval's width.
    pub margin: f64,
}

impl Estimate {
    /// Returns the mean of independent values, with an interval by Student's distribution.
    ///
    /// # Panics
    /// There are fewer than two values.
    pub fn of(values: &[f64]) -> Self {
        assert!(values.len() > 1, "an interval needs two replicas");
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        Self {
            mean,
            margin: student(values.len() - 1) * error,
        }
    }

    /// Returns the same in hundredths.
    pub fn percent(self) -> Self {
        self.times(100.0)
    }

    /// Returns the same in another unit.
    pub fn times(self, factor: f64) -> Self {
        Self {
            mean: self.mean * factor,
            margin: self.margin * factor.abs(),
        }
    }

    /// Returns the difference of two independent estimates.
    pub fn less(self, other: Self) -> Self {
        Self {
            mean: self.mean - other.mean,
            margin: self.margin.hypot(other.margin),
        }
    }

    /// Returns by how many margins the mean misses an exact value; one that is not missed at all gives 0.
    pub fn distance(self, exact: f64) -> f64 {
        let missed = (self.mean - exact).abs();
        match missed < 1e-12 {
            true => 0.0,
            false => missed / self.margin,
        }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(2);
        write!(
            formatter,
            "{:.digits$} ± {:.digits$}",
            self.mean, self.margin
        )
    }
}

/// Returns the 97.5 % quantile of Student's distribution: Cornish and Fisher's expansion, which is right to two
/// digits from four degrees of freedom up.
fn student(freedom: usize) -> f64 {
    const Z: f64 = 1.959_964;
    let v = freedom as f64;
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    let third = (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0;
    Z + first / v + second / v.powi(2) + third / v.powi(3)
}

/// Runs the replicas of an experiment and estimates each of the figures that a replica gives.
pub fn replicate<const FIGURES: usize>(
    effort: &Effort,
    name: &str,
    run: impl Fn(&mut Dice) -> [f64; FIGURES] + Sync,
) -> [Estimate; FIGURES] {
    let results: Vec<_> = (0..effort.replicas)
        .into_par_iter()
        .map(|replica| run(&mut Dice::of(effort.seed, name, replica)))
        .collect();
    std::array::from_fn(|figure| {
        let values: Vec<_> = results.iter().map(|result| result[figure]).collect();
        Estimate::of(&values)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        for (freedom, quantile) in [
            (4, 2.776),
            (9, 2.262),
            (19, 2.093),
            (31, 2.040),
            (1_000, 1.962),
        ] {
            assert!((student(freedom) - quantile).abs() < 0.01, "{freedom}");
        }
    }

    #[test]
    fn an_interval_is_that_of_the_textbook() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(estimate.mean, 3.0);
        // 2.776 · √(2.5 / 5).
        assert!((estimate.margin - 1.963).abs() < 0.01);
    }

    #[test]
    fn figures_do_not_depend_on_the_order_of_the_replicas() {
        let effort = Effort {
            seed: 7,
            replicas: 8,
            heights: 1,
        };
        let one = replicate(&effort, "order", |dice| [dice.unit()]);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let other = pool.install(|| replicate(&effort, "order", |dice| [dice.unit()]));
        assert_eq!(one, other);
    }

    #[test]
    fn another_name_is_another_chance() {
        assert_ne!(Dice::of(1, "a", 0).hash(), Dice::of(1, "b", 0).hash());
        assert_ne!(Dice::of(1, "a", 0).hash(), Dice::of(1, "a", 1).hash());
    }
}
