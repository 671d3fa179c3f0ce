//! Whether tokens end with a few: the sources' simulation of four players that bid at random [P 5, Table 3, 4].

use pallet_miner_auction::draw::{Rule, Weights};

use super::{Dice, RULES, name_of};
use crate::{
    chain::{Block, Chain, Founder},
    estimate::{Effort, replicate},
    report::Table,
};

const PLAYERS: usize = 4;
/// What each has at the beginning [P 5.1].
const TOKENS: u128 = 100;
/// How many turns are played [P 5.1].
const TURNS: u32 = 1_000;
/// The player that bids one token, where one does.
const SELF: usize = 0;

/// A row of [P Table 3].
#[derive(Clone, Copy, Debug)]
struct Game {
    name: &'static str,
    weights: Weights,
    /// Whether the bounds for few candidates are enforced.
    is_bounded: bool,
    /// Whether the first player only ever bids one token.
    has_miser: bool,
}

fn games() -> [Game; 4] {
    let weights = pallet_miner_auction::Rules::default().weights;
    let whole = Game {
        name: "sc2: free bids",
        weights,
        is_bounded: false,
        has_miser: false,
    };
    [
        Game {
            name: "sc1: stake alone, free bids",
            weights: Weights {
                alpha: 1,
                beta: 0,
                gamma: 0,
            },
            ..whole
        },
        whole,
        Game {
            name: "sc4: risk-averse",
            is_bounded: true,
            ..whole
        },
        Game {
            name: "sc4, the first bids one token",
            is_bounded: true,
            has_miser: true,
            ..whole
        },
    ]
}

/// Plays a game; returns whether all still have tokens, the richest's part of them, the part of blocks of whoever made
/// most, the first's part of blocks and of tokens.
fn play(game: &Game, rule: Rule, dice: &mut Dice) -> [f64; 5] {
    let rules = pallet_miner_auction::Rules {
        rule,
        weights: game.weights,
        few_candidates: if game.is_bounded { 8 } else { 0 },
        // As in the source: no tokens are lost.
        no_bid_penalty: 0,
        ..Default::default()
    };
    let founders: [_; PLAYERS] = std::array::from_fn(|_| Founder {
        account: dice.hash().0,
        tokens: TOKENS,
        is_member: true,
    });
    let window = pallet_reputation::Rules::default().reputation_window;
    let mut chain = Chain::begin(rules, window, &founders, dice.hash());
    let mut made = [0u32; PLAYERS];
    for _ in 0..TURNS {
        let bids: Vec<_> = (0..PLAYERS)
            .filter_map(|index| {
                let free = u64::try_from(chain.free(index)).expect("few tokens");
                let wanted = match game.has_miser && index == SELF {
                    true => 1,
                    false => free * dice.below(101) / 100,
                };
                let amount = match game.is_bounded {
                    true => wanted.max(1).min(chain.bid_max(index)),
                    false => wanted.min(free),
                };
                (amount > 0).then_some((index, amount))
            })
            .collect();
        let settled = chain.make_block(&Block::by(0, &bids));
        made[settled.author] += 1;
    }
    let tokens: [_; PLAYERS] = std::array::from_fn(|index| chain.tokens(index));
    let all = tokens.iter().sum::<u128>() as f64;
    let richest = tokens.iter().max().copied().unwrap_or_default();
    let most = made.iter().max().copied().unwrap_or_default();
    [
        f64::from(u8::from(tokens.iter().all(|tokens| *tokens > 0))),
        richest as f64 / all,
        f64::from(most) / f64::from(TURNS),
        f64::from(made[SELF]) / f64::from(TURNS),
        tokens[SELF] as f64 / all,
    ]
}

/// Measures how many games end with everybody in them.
pub fn measure(effort: &Effort) -> Vec<Table> {
    let mut rows = Vec::new();
    // A game is a replica's measurement: as many of them as fit into its heights.
    let games_each = (effort.heights / TURNS).max(1);
    for rule in RULES {
        for game in games() {
            let name = format!("concentration {} {}", name_of(rule), game.name);
            let figures = replicate(effort, &name, |dice| {
                let mut sums = [0.0; 5];
                for _ in 0..games_each {
                    let figures = play(&game, rule, dice);
                    sums.iter_mut()
                        .zip(figures)
                        .for_each(|(sum, figure)| *sum += figure);
                }
                sums.map(|sum| sum / f64::from(games_each))
            });
            let mut row = vec![name_of(rule).to_owned(), game.name.to_owned()];
            row.extend(figures.map(|figure| format!("{:.1}", figure.percent())));
            rows.push(row);
        }
    }
    vec![Table {
        title: "Four players that bid at random".into(),
        note: format!(
            "{TURNS} turns from {TOKENS} tokens each, no new tokens [P 5]; percent of games, tokens and blocks at the end."
        ),
        columns: vec![
            "rule",
            "game",
            "all still have tokens",
            "richest's tokens",
            "most blocks of one",
            "first's blocks",
            "first's tokens",
        ],
        rows,
    }]
}
