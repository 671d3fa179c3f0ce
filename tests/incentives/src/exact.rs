//! What can be said with a formula: odds of a draw, of a leading coalition, of a vote.

use pallet_miner_auction::draw::Rule;

/// Returns the probability of each of several wealths to win a draw by this rule.
///
/// - `proportional`: `W_k/ΣW`.
/// - `ratio`: `P(W_k/U_k is the greatest) = ∫₀¹ Π_{j≠k} max(0, 1 − u·W_j/W_k) du`.
///
/// # Panics
/// The rule does not draw by wealth.
pub fn win_odds(rule: Rule, wealth: &[f64]) -> Vec<f64> {
    match rule {
        Rule::Proportional => {
            let sum: f64 = wealth.iter().sum();
            wealth.iter().map(|own| own / sum).collect()
        }
        Rule::Ratio => (0..wealth.len())
            .map(|own| ratio_odds(wealth, own))
            .collect(),
        Rule::HighestReputation => panic!("this rule does not draw by wealth"),
    }
}

/// The integrand is a polynomial up to where its first factor is zero. Its coefficients alternate, which costs digits
/// with many candidates: good for the twenty at most that are compared here.
fn ratio_odds(wealth: &[f64], own: usize) -> f64 {
    let others = wealth.iter().enumerate().filter(|(index, _)| *index != own);
    let slopes: Vec<_> = others.map(|(_, other)| other / wealth[own]).collect();
    let end = slopes
        .iter()
        .fold(1.0f64, |end, slope| end.min(1.0 / slope));
    let mut polynomial = vec![1.0];
    for slope in slopes {
        let mut product = polynomial.clone();
        product.push(0.0);
        for (power, factor) in polynomial.iter().enumerate() {
            product[power + 1] -= slope * factor;
        }
        polynomial = product;
    }
    let terms = (1i32..).zip(&polynomial);
    terms
        .map(|(power, factor)| factor * end.powi(power) / f64::from(power))
        .sum()
}

/// Returns the share of blocks of one of two candidates that withholds whenever it would not win the next draw,
/// when it wins a draw with probability `p`.
///
/// It leads a height with probability `a = p/(1 − p·(1 − p))` and publishes in the part `p` of those.
pub fn share_of_one_of_two_that_redraws(p: f64) -> f64 {
    p * p / (1.0 - p + p * p)
}

/// Coalitions among validators of equal wealth that draw by stake alone: each ranking is a random permutation
/// of all but the last author.
#[derive(Clone, Copy, Debug)]
pub struct EqualCoalition {
    /// All validators; at least four.
    pub validators: usize,
    /// Those of the coalition; fewer than `validators − 1`.
    pub members: usize,
}

impl EqualCoalition {
    /// Returns `P(at least run of the first ranks are the coalition's)`, `coalition` of `eligible` being its own.
    fn run_odds(coalition: usize, eligible: usize, run: usize) -> f64 {
        (0..run)
            .map(|taken| coalition.saturating_sub(taken) as f64 / (eligible - taken) as f64)
            .product()
    }

    /// Returns the matrix of a coalition that publishes the one of its leading blocks after which most of the next
    /// ranks are its own: from a leading run of `r` to one of `x`.
    fn grinding_matrix(self) -> Vec<Vec<f64>> {
        let Self {
            validators,
            members,
        } = self;
        // Who made the last block is not eligible: an outsider after a run of 0, else one of the coalition.
        let below = |run: usize, x: usize| {
            let coalition = if run == 0 { members } else { members - 1 };
            let below_once = 1.0 - Self::run_odds(coalition, validators - 1, x);
            below_once.powi(i32::try_from(run.max(1)).expect("runs are short"))
        };
        (0..=members)
            .map(|run| {
                (0..=members)
                    .map(|x| below(run, x + 1) - below(run, x))
                    .collect()
            })
            .collect()
    }

    /// Returns the distribution of the leading run in the long run.
    fn grinding_distribution(self) -> Vec<f64> {
        let matrix = self.grinding_matrix();
        let mut odds = vec![1.0 / matrix.len() as f64; matrix.len()];
        // The chain forgets its beginning at once: from each run every other can follow.
        for _ in 0..1_000 {
            odds = advance(&odds, &matrix);
        }
        odds
    }

    /// Returns the coalition's share of blocks when it publishes as it should.
    pub fn honest_share(self) -> f64 {
        self.members as f64 / self.validators as f64
    }

    /// Returns its share when it chooses among its leading blocks by the next ranking.
    pub fn grinding_share(self) -> f64 {
        1.0 - self.grinding_distribution()[0]
    }

    /// Returns how many of all heights follow `lead` blocks in a row of the coalition, so that it could know the draw
    /// while bids were open, when it publishes as it should.
    pub fn honest_knowledge(self, lead: u32) -> f64 {
        let again = (self.members - 1) as f64 / (self.validators - 1) as f64;
        let times = i32::try_from(lead).expect("leads are short") - 1;
        self.honest_share() * again.powi(times)
    }

    /// Returns the same when it grinds.
    pub fn grinding_knowledge(self, lead: u32) -> f64 {
        let matrix = self.grinding_matrix();
        let mut odds = self.grinding_distribution();
        odds[0] = 0.0;
        for _ in 1..lead {
            odds = advance(&odds, &matrix);
            odds[0] = 0.0;
        }
        odds.iter().sum()
    }
}

fn advance(odds: &[f64], matrix: &[Vec<f64>]) -> Vec<f64> {
    (0..odds.len())
        .map(|to| {
            odds.iter()
                .zip(matrix)
                .map(|(odds, row)| odds * row[to])
                .sum()
        })
        .collect()
}

/// Returns how many votes decide: more than two thirds.
pub fn quorum(validators: u32) -> u32 {
    validators * 2 / 3 + 1
}

/// Returns how many must withhold their approval, so that a block is not decided in its round.
pub fn blocking(validators: u32) -> u32 {
    validators - quorum(validators) + 1
}

/// Returns the probability that a block which leaves out a bid is decided in its round, when `censors` approve it
/// anyway and each other validator saw the bid in time with probability `seen`.
pub fn censorship_odds(validators: u32, censors: u32, seen: f64) -> f64 {
    let honest = validators - censors;
    let few = (blocking(validators) - 1).min(honest);
    (0..=few).map(|count| binomial(honest, count, seen)).sum()
}

fn binomial(trials: u32, hits: u32, odds: f64) -> f64 {
    let ways: f64 = (0..hits)
        .map(|taken| f64::from(trials - taken) / f64::from(taken + 1))
        .product();
    let power =
        |base: f64, exponent: u32| base.powi(i32::try_from(exponent).expect("few validators"));
    ways * power(odds, hits) * power(1.0 - odds, trials - hits)
}

/// Returns what all candidates together offer when each bids what pays it most: a block is worth `value` tokens,
/// the stake's weight is the part `alpha` of all weights, and all are of equal age and reputation.
///
/// From `d/db [(α·b/P + (1 − α)/n)·(P + v) − b] = 0` at `b = P/n`: `P = α·v/(1 − α)`.
pub fn equilibrium_pot(alpha: f64, value: f64) -> f64 {
    alpha * value / (1.0 - alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_near(left: &[f64], right: &[f64]) {
        assert_eq!(left.len(), right.len());
        for (one, other) in left.iter().zip(right) {
            assert!((one - other).abs() < 5e-4, "{left:?} {right:?}");
        }
    }

    #[test]
    fn odds_are_those_known_by_hand() {
        let ratio = |wealth: &[f64]| win_odds(Rule::Ratio, wealth);
        assert_near(&ratio(&[2.0, 1.0]), &[0.75, 0.25]);
        assert_near(&ratio(&[10.0, 1.0]), &[0.95, 0.05]);
        assert_near(
            &ratio(&[3.0, 2.0, 1.0]),
            &[31.0 / 54.0, 8.0 / 27.0, 7.0 / 54.0],
        );
        assert_near(&ratio(&[4.0, 3.0, 2.0, 1.0]), &[0.456, 0.289, 0.174, 0.081]);
        assert_near(&ratio(&[7.0, 1.0, 1.0, 1.0]), &[0.805, 0.065, 0.065, 0.065]);
        assert_near(&win_odds(Rule::Proportional, &[3.0, 1.0]), &[0.75, 0.25]);
    }

    #[test]
    fn a_coalition_of_one_has_nothing_to_choose() {
        let alone = EqualCoalition {
            validators: 7,
            members: 1,
        };
        assert_near(&[alone.grinding_share()], &[alone.honest_share()]);
        assert_near(&[alone.grinding_knowledge(2)], &[0.0]);
    }

    #[test]
    fn a_coalition_of_two_of_four_is_solved_by_hand() {
        // Runs 0, 1, 2 follow 0 with 1/3, 1/3, 1/3 (2 of 3 eligible); 1 with 2/3, 1/3, 0 (1 of 3);
        // 2 with 4/9, 5/9, 0. What stays as it is: x2 = x0/3, x1 = 7·x0/9.
        let pair = EqualCoalition {
            validators: 4,
            members: 2,
        };
        assert_near(
            &pair.grinding_distribution(),
            &[9.0 / 19.0, 7.0 / 19.0, 3.0 / 19.0],
        );
        assert_near(&[pair.grinding_share()], &[10.0 / 19.0]);
    }

    #[test]
    fn votes_are_counted_as_the_agreement_does() {
        let counted: Vec<_> = [4, 7, 10, 13, 20, 100]
            .map(|n| (quorum(n), blocking(n)))
            .into();
        assert_eq!(counted, [(3, 2), (5, 3), (7, 4), (9, 5), (14, 7), (67, 34)]);
        // Three of four saw the bid for sure: nobody decides without it.
        assert_near(&[censorship_odds(4, 1, 1.0)], &[0.0]);
        // At most one of three: 0.5³ + 3·0.5³.
        assert_near(&[censorship_odds(4, 1, 0.5)], &[0.5]);
    }
}
