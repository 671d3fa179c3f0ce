//! The draw is exact, and has the probabilities it claims.

use commonwatt_primitives::{AccountId, Hash};
use proptest::prelude::*;
use sp_core::U512;
use sp_runtime::traits::{BlakeTwo256, Hash as _};

use crate::draw::*;

const DRAWS: u32 = 20_000;

fn criteria(stake: u64, age: u16, reputation: u16) -> Criteria {
    Criteria {
        stake,
        age,
        reputation,
    }
}

const WEIGHTS: Weights = Weights {
    alpha: 30,
    beta: 50,
    gamma: 20,
};

fn ranked(account: u64, wealth: u128, reputation: u16, draw: Hash) -> Ranked<u64> {
    Ranked {
        account,
        offered: 1,
        criteria: criteria(1, 1, reputation),
        wealth,
        draw,
    }
}

#[test]
fn wealth_is_relative_to_the_candidates() {
    // 30·E/4 + 50·A/10 + 20·R/5 over the denominator 4·10·5.
    let candidates = [criteria(1, 8, 5), criteria(3, 2, 0)];
    let wealth = compute_wealth(&candidates, WEIGHTS).unwrap();
    assert_eq!(
        wealth,
        [
            30 * 50 + 50 * 8 * 20 + 20 * 5 * 40,
            30 * 3 * 50 + 50 * 2 * 20
        ]
    );
    // All wealth together is α + β + γ.
    assert_eq!(wealth.iter().sum::<u128>(), 100 * 4 * 10 * 5);
}

#[test]
fn a_criterion_nobody_has_counts_the_same_for_each() {
    let candidates = [criteria(0, 0, 0), criteria(0, 0, 0), criteria(0, 0, 0)];
    let wealth = compute_wealth(&candidates, WEIGHTS).unwrap();
    assert_eq!(wealth, [900, 900, 900]);

    let candidates = [criteria(2, 1, 0), criteria(1, 2, 0)];
    let wealth = compute_wealth(&candidates, WEIGHTS).unwrap();
    // Over 3·3·2: the reputation gives 20·1·9 to each.
    assert_eq!(
        wealth,
        [30 * 2 * 6 + 50 * 6 + 180, 30 * 6 + 50 * 2 * 6 + 180]
    );
}

#[test]
fn the_greatest_numbers_fit_and_more_is_refused() {
    let heaviest = Weights {
        alpha: WEIGHT_MAX,
        beta: WEIGHT_MAX,
        gamma: WEIGHT_MAX,
    };
    let most = vec![criteria(u64::MAX, u16::MAX, u16::MAX); CANDIDATES_MAX as usize];
    let wealth = compute_wealth(&most, heaviest).unwrap();
    assert!(wealth.iter().all(|&one| one > 1 << 125 && one < 1 << 127));

    let too_many = vec![criteria(1, 1, 1); CANDIDATES_MAX as usize + 1];
    assert_eq!(compute_wealth(&too_many, WEIGHTS), None);
    let too_heavy = Weights {
        beta: WEIGHT_MAX + 1,
        ..WEIGHTS
    };
    assert_eq!(compute_wealth(&[criteria(1, 1, 1)], too_heavy), None);
}

#[test]
fn a_draw_is_the_hash_of_domain_seed_height_and_account() {
    // From Python: blake2b(b"commonwatt/draw/1" + b"\x07" * 32 + (5).to_bytes(4, "little") + b"\x01" * 32).
    let draw = compute_draw(&Hash::repeat_byte(7), 5, &AccountId::new([1; 32]));
    assert_eq!(
        format!("{draw:?}"),
        "0x3191720cc1e3e9a3859ad6f6b840c470668a9fb34139147d72b02bdda8839f2d"
    );
}

#[test]
fn rankings_are_those_of_an_independent_computation() {
    // From Python: exact fractions, and logarithms with 120 decimal digits.
    let candidates: Vec<_> = (0u8..10)
        .map(|i| {
            let n = u16::from(i);
            Candidate {
                account: AccountId::new([i; 32]),
                offered: 1,
                criteria: criteria(u64::from(n * n * 37 + 1), n * 53 % 97 + 1, n * 29 % 13),
            }
        })
        .collect();
    for (rule, expected) in [
        (Rule::Ratio, [7, 4, 5, 8, 9, 3, 1, 2, 6, 0]),
        (Rule::Proportional, [6, 9, 3, 1, 8, 7, 5, 2, 4, 0]),
        (Rule::HighestReputation, [4, 8, 3, 7, 2, 6, 1, 5, 9, 0]),
    ] {
        let before = Hash::repeat_byte(0x0b);
        let ranking = rank(rule, WEIGHTS, &before, 1_234, candidates.clone()).unwrap();
        let order: Vec<u8> = ranking
            .iter()
            .map(|ranked| AsRef::<[u8; 32]>::as_ref(&ranked.account)[0])
            .collect();
        assert_eq!(order, expected, "by {rule:?}");
    }
}

#[test]
fn a_chance_lies_above_nothing_and_reaches_one() {
    assert_eq!(compute_chance(&Hash::zero()), U512::one());
    assert_eq!(compute_chance(&Hash::repeat_byte(255)), U512::one() << 256);
    // Big-endian: the last byte counts least.
    let mut draw = Hash::zero();
    draw.0[31] = 1;
    assert_eq!(compute_chance(&draw), U512::from(2));
}

#[test]
fn logarithms_are_those_of_an_independent_computation() {
    // 256·2^64 − ⌊log2(u)·2^64⌋ with 150 decimal digits, for u = blake2b(byte i) + 1.
    const HASHED: [u128; 8] = [
        117549913484439929320,
        1930943809665902272,
        8331294970317407968,
        2557200302771409019,
        24981090705995224838,
        499515679838644247,
        7704240537155762134,
        16981805961827643873,
    ];
    for (i, &expected) in (0u8..).zip(&HASHED) {
        let chance = compute_chance(&BlakeTwo256::hash(&[i]));
        assert_eq!(compute_minus_log2(&chance), expected, "of byte {i}");
    }
    let one = U512::one();
    let special = [
        (one << 256, 0),
        (one << 255, 1 << 64),
        (one, 256 << 64),
        (U512::from(3), 4693129085252415354977),
        (U512::from(5), 4679534469545702052871),
        ((one << 256) - one, 1),
        ((one << 255) + one, 1 << 64),
        ((one << 256) / 3, 29237397617229858720),
        ((one << 128) + one, 128 << 64),
    ];
    for (chance, expected) in special {
        assert_eq!(compute_minus_log2(&chance), expected, "of {chance}");
    }
}

proptest! {
    #[test]
    fn logarithms_fall_as_chances_rise(a: [u8; 32], b: [u8; 32]) {
        let (a, b) = (compute_chance(&Hash::from(a)), compute_chance(&Hash::from(b)));
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        prop_assert!(compute_minus_log2(&low) >= compute_minus_log2(&high));
    }

    #[test]
    fn the_logarithm_of_half_a_chance_is_one_more(draw: [u8; 32]) {
        let chance = compute_chance(&Hash::from(draw)) & !U512::one();
        prop_assume!(chance > U512::one());
        prop_assert_eq!(
            compute_minus_log2(&(chance >> 1)),
            compute_minus_log2(&chance) + (1 << 64)
        );
    }

    #[test]
    fn wealth_always_fits_and_sums_to_the_weights(
        candidates in prop::collection::vec(
            (any::<u64>(), any::<u16>(), any::<u16>()),
            1..=CANDIDATES_MAX as usize,
        ),
        alpha in 1..=WEIGHT_MAX,
        beta in 1..=WEIGHT_MAX,
        gamma in 0..=WEIGHT_MAX,
    ) {
        let candidates: Vec<_> = candidates
            .into_iter()
            .map(|(stake, age, reputation)| criteria(stake, age, reputation))
            .collect();
        let weights = Weights { alpha, beta, gamma };
        let wealth = compute_wealth(&candidates, weights).expect("within the bounds");
        let sum = |of: fn(&Criteria) -> u128| match candidates.iter().map(of).sum::<u128>() {
            0 => candidates.len() as u128,
            sum => sum,
        };
        let denominator = U512::from(sum(|c| c.stake.into()))
            * U512::from(sum(|c| c.age.into()))
            * U512::from(sum(|c| c.reputation.into()));
        let total = wealth.iter().fold(U512::zero(), |total, &one| total + U512::from(one));
        let weights = U512::from(alpha) + U512::from(beta) + U512::from(gamma);
        prop_assert_eq!(total, weights * denominator);
    }

    #[test]
    fn the_order_does_not_depend_on_the_order_before(
        entries in prop::collection::vec((1u128..1_000, 0u16..4, 0u8..4), 1..20),
        rotate in 0usize..20,
        rule in prop::sample::select(vec![Rule::Ratio, Rule::Proportional, Rule::HighestReputation]),
    ) {
        // Few different draws, so that ties happen.
        let mut one: Vec<_> = (0u64..)
            .zip(&entries)
            .map(|(account, &(wealth, reputation, draw))| {
                ranked(account, wealth, reputation, Hash::repeat_byte(draw))
            })
            .collect();
        let mut other = one.clone();
        let places = other.len();
        other.rotate_left(rotate % places);
        other.reverse();
        sort(rule, &mut one);
        sort(rule, &mut other);
        prop_assert_eq!(one, other);
    }
}

#[test]
fn equals_stand_in_the_order_of_their_accounts() {
    for rule in [Rule::Ratio, Rule::Proportional, Rule::HighestReputation] {
        let same = |account| ranked(account, 7, 3, Hash::repeat_byte(5));
        let mut all = vec![same(3), same(1), same(2)];
        sort(rule, &mut all);
        assert_eq!(all, [same(1), same(2), same(3)]);
    }
}

#[test]
fn by_reputation_the_highest_comes_first_and_chance_parts_equals() {
    let mut all = vec![
        ranked(1, 9, 4, Hash::repeat_byte(0)),
        ranked(2, 1, 5, Hash::repeat_byte(9)),
        ranked(3, 1, 5, Hash::repeat_byte(8)),
    ];
    sort(Rule::HighestReputation, &mut all);
    let accounts: Vec<_> = all.iter().map(|one| one.account).collect();
    assert_eq!(accounts, [3, 2, 1]);
}

#[test]
fn nobody_without_wealth_comes_before_anybody_with_some() {
    for rule in [Rule::Ratio, Rule::Proportional] {
        // The poor one has the best chance of all: by ratio a small U, by arrival U = 1.
        for draw in [0, 255] {
            let mut all = vec![
                ranked(1, 0, 0, Hash::repeat_byte(draw)),
                ranked(2, 1, 0, Hash::repeat_byte(100)),
            ];
            sort(rule, &mut all);
            assert_eq!(all[0].account, 2);
        }
    }
}

/// `P_k = W_k ∫₀^{1/Wmax} ∏_{j≠k}(1 − W_j x) dx`, the probability that `k` has the greatest `W/U`.
fn ratio_probabilities(wealth: &[f64]) -> Vec<f64> {
    let end = 1.0 / wealth.iter().copied().fold(0.0, f64::max);
    (0..wealth.len())
        .map(|k| {
            let mut product = vec![1.0];
            for (j, other) in wealth.iter().enumerate() {
                if j == k {
                    continue;
                }
                let mut next = vec![0.0; product.len() + 1];
                for (power, factor) in product.iter().enumerate() {
                    next[power] += factor;
                    next[power + 1] -= factor * other;
                }
                product = next;
            }
            let integral: f64 = (1i32..)
                .zip(&product)
                .map(|(power, factor)| factor * end.powi(power) / f64::from(power))
                .sum();
            wealth[k] * integral
        })
        .collect()
}

fn proportional_probabilities(wealth: &[f64]) -> Vec<f64> {
    let sum: f64 = wealth.iter().sum();
    wealth.iter().map(|one| one / sum).collect()
}

#[test]
fn the_probabilities_of_the_ratio_rule_are_the_known_ones() {
    let known: [(&[f64], &[f64]); 5] = [
        (&[2.0, 1.0], &[0.75, 0.25]),
        (&[10.0, 1.0], &[0.95, 0.05]),
        (&[3.0, 2.0, 1.0], &[31.0 / 54.0, 8.0 / 27.0, 7.0 / 54.0]),
        (&[4.0, 3.0, 2.0, 1.0], &[0.456, 0.289, 0.174, 0.081]),
        (&[7.0, 1.0, 1.0, 1.0], &[0.805, 0.065, 0.065, 0.065]),
    ];
    for (wealth, expected) in known {
        for (one, other) in ratio_probabilities(wealth).iter().zip(expected) {
            assert!(
                (one - other).abs() < 5e-4,
                "{wealth:?}: {one} is not {other}"
            );
        }
    }
}

/// How often each candidate wins.
fn count_wins(rule: Rule, wealth: &[f64]) -> Vec<u32> {
    let mut wins = vec![0; wealth.len()];
    for height in 0..DRAWS {
        let before = BlakeTwo256::hash(&height.to_le_bytes());
        let mut all: Vec<_> = (0u64..)
            .zip(wealth)
            .map(|(account, &wealth)| {
                let draw = compute_draw(&before, height, &account);
                ranked(account, wealth as u128 * 1_000_003, 0, draw)
            })
            .collect();
        sort(rule, &mut all);
        wins[all[0].account as usize] += 1;
    }
    wins
}

fn chi_square(counts: &[u32], probabilities: &[f64]) -> f64 {
    counts
        .iter()
        .zip(probabilities)
        .map(|(&count, probability)| {
            let expected = probability * f64::from(DRAWS);
            (f64::from(count) - expected).powi(2) / expected
        })
        .sum()
}

/// Chi-square beyond which a hypothesis is rejected at p < 0.01, by degrees of freedom.
const CRITICAL: [f64; 5] = [6.635, 9.210, 11.345, 13.277, 15.086];

#[test]
fn each_rule_has_its_probabilities_and_not_those_of_the_other() {
    let cases: [&[f64]; 5] = [
        &[2.0, 1.0],
        &[10.0, 1.0],
        &[3.0, 2.0, 1.0],
        &[4.0, 3.0, 2.0, 1.0],
        &[7.0, 1.0, 1.0, 1.0],
    ];
    for wealth in cases {
        let critical = CRITICAL[wealth.len() - 2];
        let by_ratio = ratio_probabilities(wealth);
        let by_wealth = proportional_probabilities(wealth);
        for (rule, own, others) in [
            (Rule::Ratio, &by_ratio, &by_wealth),
            (Rule::Proportional, &by_wealth, &by_ratio),
        ] {
            let wins = count_wins(rule, wealth);
            let (fits, misfits) = (chi_square(&wins, own), chi_square(&wins, others));
            assert!(fits < critical, "{rule:?} {wealth:?} {wins:?}: {fits}");
            assert!(
                misfits > critical,
                "{rule:?} {wealth:?} {wins:?}: {misfits}"
            );
        }
    }
}

#[test]
fn the_proportional_order_is_sampling_without_replacement() {
    let wealth = [3u128, 2, 1];
    let mut counts = [0; 6];
    let mut probabilities = [0.0; 6];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for (order, probability) in orders.iter().zip(&mut probabilities) {
        let [first, second, _] = order.map(|k: usize| wealth[k] as f64);
        *probability = first / 6.0 * second / (6.0 - first);
    }
    for height in 0..DRAWS {
        let before = BlakeTwo256::hash(&height.to_le_bytes());
        let mut all: Vec<_> = (0u64..)
            .zip(wealth)
            .map(|(account, wealth)| {
                ranked(account, wealth, 0, compute_draw(&before, height, &account))
            })
            .collect();
        sort(Rule::Proportional, &mut all);
        let order: Vec<_> = all.iter().map(|one| one.account as usize).collect();
        let place = orders.iter().position(|one| order == one).unwrap();
        counts[place] += 1;
    }
    let fits = chi_square(&counts, &probabilities);
    assert!(fits < CRITICAL[4], "{counts:?}: {fits}");
}

#[test]
fn splitting_a_stake_gains_nothing_by_the_proportional_rule() {
    // One candidate of 2 against one of 2, or the first split into 1 and 1.
    let whole = count_wins(Rule::Proportional, &[2.0, 2.0]);
    let split = count_wins(Rule::Proportional, &[1.0, 1.0, 2.0]);
    let parts = [split[0] + split[1], split[2]];
    for wins in [[whole[0], whole[1]], parts] {
        let fits = chi_square(&wins, &[0.5, 0.5]);
        assert!(fits < CRITICAL[0], "{wins:?}: {fits}");
    }
}
