//! The auction over heights: bids, draw, pot, burn, ages and reputation by blocks, as `pallet-miner-auction` and
//! `pallet-reputation` have them, without storage and signatures. A test compares it with the runtime, block by
//! block.

use std::{collections::VecDeque, sync::Arc};

use codec::Encode;
use commonwatt_primitives::{
    Hash,
    auction::VALIDATORS_TOLERANT,
    beacon::{BeaconOutput, compute_seed},
};
use pallet_miner_auction::{
    Rules, compute_risk_averse_bound,
    draw::{Basis, Candidate, Criteria, Ranked, rank},
};
use sp_runtime::traits::{BlakeTwo256, Hash as _};

/// Most validators of a chain: a set of them is kept in 64 bits.
pub const VALIDATORS_MAX: usize = 64;

/// Returns the BLAKE2b-256 hash of a message.
pub(crate) fn digest_of(message: &[u8]) -> [u8; 32] {
    BlakeTwo256::hash(message).0
}

/// A validator: its account, and its place in the chain's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode)]
pub struct Who {
    /// The account, which is what is hashed into its draw.
    pub account: [u8; 32],
    /// Its place.
    #[codec(skip)]
    pub index: usize,
}

/// A set of validators, by their places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members(u64);

impl Members {
    /// Returns the set of the first `count` validators.
    pub fn first(count: usize) -> Self {
        (0..count).collect()
    }

    /// Returns whether a validator is in the set.
    pub fn contains(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }

    /// Returns the places of those in the set.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..VALIDATORS_MAX).filter(move |index| self.contains(*index))
    }
}

impl FromIterator<usize> for Members {
    fn from_iter<I: IntoIterator<Item = usize>>(indices: I) -> Self {
        let bits = indices.into_iter().map(|index| {
            assert!(
                index < VALIDATORS_MAX,
                "at most {VALIDATORS_MAX} validators"
            );
            1 << index
        });
        Self(bits.fold(0, |set, bit: u64| set | bit))
    }
}

/// A validator at the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Founder {
    /// Its account.
    pub account: [u8; 32],
    /// Its tokens.
    pub tokens: u128,
    /// Whether it pays when nobody bids.
    pub is_member: bool,
}

/// What a block brings.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The author's place in the ranking.
    pub rank: usize,
    /// What the author adds to the beacon; `None` for what its key gives in this model.
    pub output: Option<BeaconOutput>,
    /// Whether it was made too late.
    pub is_late: bool,
    /// Bids for `L` heights later, at most one of a validator.
    pub bids: &'a [(usize, u64)],
    /// Tokens made.
    pub issued: &'a [(usize, u128)],
}

impl<'a> Block<'a> {
    /// Returns a punctual block with these bids.
    pub fn by(rank: usize, bids: &'a [(usize, u64)]) -> Self {
        Self {
            rank,
            output: None,
            is_late: false,
            bids,
            issued: &[],
        }
    }
}

/// What became of an auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Who made the block.
    pub author: usize,
    /// What it got, its own bid included.
    pub pot: u128,
    /// What was burned, penalties included.
    pub burned: u128,
    /// Whose turns passed.
    pub missed: Members,
}

/// The bids for a height.
#[derive(Clone, Debug)]
struct Book {
    is_void: bool,
    /// By validator; nothing of those who did not bid.
    bids: Vec<u64>,
}

/// Who made a block, and whose turns passed.
#[derive(Clone, Copy, Debug)]
struct Turn {
    author: usize,
    missed: Members,
}

/// A chain after some height.
#[derive(Clone, Debug)]
pub struct Chain {
    rules: Rules,
    window: usize,
    who: Arc<[Who]>,
    is_member: Members,
    keys: Arc<[[u8; 32]]>,
    height: u32,
    seed: Hash,
    free: Vec<u128>,
    last: Vec<u32>,
    author_before: Option<usize>,
    authored: Vec<u32>,
    missed: Vec<u32>,
    turns: VecDeque<Turn>,
    /// Of the next heights, the nearest first; always `L` of them.
    books: VecDeque<Book>,
    ranking: Vec<Ranked<Who>>,
    bidders: usize,
}

impl Chain {
    /// Begins a chain before its first block.
    ///
    /// # Panics
    /// There are too many validators.
    pub fn begin(rules: Rules, window: u32, founders: &[Founder], seed: Hash) -> Self {
        assert!(
            founders.len() <= VALIDATORS_MAX,
            "at most {VALIDATORS_MAX} validators"
        );
        let who: Arc<[Who]> = founders
            .iter()
            .enumerate()
            .map(|(index, founder)| Who {
                account: founder.account,
                index,
            })
            .collect();
        let members = founders.iter().enumerate();
        let void = Book {
            is_void: true,
            bids: vec![0; who.len()],
        };
        let lead = usize::try_from(rules.bid_lead).expect("32 bits fit");
        let mut chain = Self {
            rules,
            window: usize::try_from(window).expect("32 bits fit"),
            is_member: members
                .filter(|(_, founder)| founder.is_member)
                .map(|(index, _)| index)
                .collect(),
            keys: who
                .iter()
                .map(|who| digest_of(&(b"key", seed, who).encode()))
                .collect(),
            height: 0,
            seed,
            free: founders.iter().map(|founder| founder.tokens).collect(),
            last: vec![0; who.len()],
            author_before: None,
            authored: vec![0; who.len()],
            missed: vec![0; who.len()],
            turns: VecDeque::new(),
            books: vec![void; lead].into(),
            ranking: Vec::new(),
            bidders: 0,
            who,
        };
        chain.rank_next(None);
        chain
    }

    /// Returns the last height.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the seed after the last block.
    pub fn seed(&self) -> Hash {
        self.seed
    }

    /// Returns how many validators there are.
    pub fn validators(&self) -> usize {
        self.who.len()
    }

    /// Returns the contract.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns who is to make the next block; the bidders come first.
    pub fn ranking(&self) -> &[Ranked<Who>] {
        &self.ranking
    }

    /// Returns how many of the ranked bid.
    pub fn bidders(&self) -> usize {
        self.bidders
    }

    /// Returns a validator's free tokens.
    pub fn free(&self, index: usize) -> u128 {
        self.free[index]
    }

    /// Returns a validator's tokens, those in escrow included.
    pub fn tokens(&self, index: usize) -> u128 {
        let open = self.books.iter().map(|book| u128::from(book.bids[index]));
        self.free[index] + open.sum::<u128>()
    }

    /// Returns all tokens in escrow.
    pub fn escrow(&self) -> u128 {
        let open = self.books.iter().flat_map(|book| &book.bids);
        open.map(|bid| u128::from(*bid)).sum()
    }

    /// Returns a validator's reputation by blocks created.
    pub fn reputation(&self, index: usize) -> u16 {
        let score = self.authored[index].saturating_sub(self.missed[index]);
        u16::try_from(score).unwrap_or(u16::MAX)
    }

    /// Returns a validator's age at the next height.
    pub fn age(&self, index: usize) -> u16 {
        let age = self.height + 1 - self.last[index];
        u16::try_from(age).unwrap_or(u16::MAX)
    }

    /// Returns the bids for the height `ahead` of the next one.
    pub fn bids_ahead(&self, ahead: usize) -> Option<&[u64]> {
        self.books.get(ahead).map(|book| book.bids.as_slice())
    }

    /// Returns how many of the first ranks of the next height belong to `members`.
    pub fn leading_run(&self, members: Members) -> usize {
        self.ranking
            .iter()
            .take_while(|ranked| members.contains(ranked.account.index))
            .count()
    }

    /// Returns the greatest bid a validator may make in the next block.
    pub fn bid_max(&self, index: usize) -> u64 {
        let free = self.free[index];
        let count = u32::try_from(self.who.len()).expect("validators are few");
        let bound = match count < self.rules.few_candidates {
            true => {
                let all = (0..self.who.len()).map(|index| self.tokens(index)).sum();
                compute_risk_averse_bound(free, all, count)
            }
            false => u64::MAX,
        };
        bound.min(u64::try_from(free).unwrap_or(u64::MAX))
    }

    /// Makes the next block.
    ///
    /// # Panics
    /// The rank does not exist, or a bid is not covered.
    pub fn make_block(&mut self, block: &Block) -> Settled {
        // What on_initialize does.
        self.height += 1;
        let ranking = std::mem::take(&mut self.ranking);
        let author = ranking[block.rank].account.index;
        let output = block
            .output
            .unwrap_or_else(|| digest_of(&(self.keys[author], self.seed, self.height).encode()));
        self.seed = compute_seed(&self.seed, &output);
        self.last[author] = self.height;
        let book = self.books.pop_front().expect("there is one of each height");
        let missed: Members = match book.is_void || block.is_late {
            true => Members::default(),
            false => ranking[..block.rank]
                .iter()
                .map(|ranked| ranked.account.index)
                .collect(),
        };
        self.count_turn(Turn { author, missed });

        // The bids. Issued tokens come after them.
        let mut next = Book {
            is_void: block.is_late,
            bids: vec![0; self.who.len()],
        };
        if !block.is_late {
            for &(index, amount) in block.bids {
                self.free[index] = self.free[index]
                    .checked_sub(amount.into())
                    .expect("a bid is covered");
                next.bids[index] = amount;
            }
        }
        let is_silent = !next.is_void && next.bids.iter().all(|bid| *bid == 0);
        for &(index, amount) in block.issued {
            self.free[index] += amount;
        }

        // What on_finalize does.
        let (pot, mut burned) = self.settle(&ranking, block, &book);
        if is_silent {
            burned += self.take_penalties();
        }
        self.books.push_back(next);
        self.rank_next(Some(author));
        Settled {
            author,
            pot,
            burned,
            missed,
        }
    }

    fn count_turn(&mut self, turn: Turn) {
        if self.turns.len() == self.window
            && let Some(expired) = self.turns.pop_front()
        {
            self.authored[expired.author] -= 1;
            expired
                .missed
                .indices()
                .for_each(|index| self.missed[index] -= 1);
        }
        self.authored[turn.author] += 1;
        turn.missed
            .indices()
            .for_each(|index| self.missed[index] += 1);
        self.turns.push_back(turn);
    }

    /// Returns pot and burned.
    fn settle(&mut self, ranking: &[Ranked<Who>], block: &Block, book: &Book) -> (u128, u128) {
        let (mut pot, mut burned) = (0, 0);
        let is_paid = block.rank < self.bidders;
        let mut is_ranked = Members::default();
        for (place, ranked) in ranking.iter().enumerate() {
            let amount = u128::from(ranked.offered);
            is_ranked.0 |= 1 << ranked.account.index;
            if is_paid {
                pot += amount;
            } else if place < block.rank && !block.is_late {
                burned += amount;
            } else {
                self.free[ranked.account.index] += amount;
            }
        }
        // Who was excluded gets its bid back.
        for (index, amount) in book.bids.iter().enumerate() {
            if !is_ranked.contains(index) {
                self.free[index] += u128::from(*amount);
            }
        }
        self.free[ranking[block.rank].account.index] += pot;
        (pot, burned)
    }

    fn take_penalties(&mut self) -> u128 {
        let penalty = self.rules.no_bid_penalty;
        let mut burned = 0;
        for index in self.is_member.indices() {
            let lost = self.free[index].min(penalty);
            self.free[index] -= lost;
            burned += lost;
        }
        burned
    }

    fn rank_next(&mut self, author_before: Option<usize>) {
        self.author_before = author_before;
        let book = self.books.front().expect("there is one of each height");
        (self.ranking, self.bidders) = self.rank_with(&book.bids);
    }

    /// Returns what the ranking of the next height would be with these bids, and how many of it bid.
    ///
    /// # Panics
    /// The weights are too great.
    pub fn rank_with(&self, bids: &[u64]) -> (Vec<Ranked<Who>>, usize) {
        let excluded = self
            .author_before
            .filter(|_| self.who.len() >= VALIDATORS_TOLERANT);
        let (bidders, others): (Vec<_>, Vec<_>) = self
            .who
            .iter()
            .filter(|who| excluded != Some(who.index))
            .map(|who| {
                let offered = bids[who.index];
                let stake = match self.rules.basis {
                    _ if offered == 0 => 0,
                    Basis::Offered => offered,
                    Basis::Owned => u64::try_from(self.tokens(who.index)).unwrap_or(u64::MAX),
                };
                Candidate {
                    account: *who,
                    offered,
                    criteria: Criteria {
                        stake,
                        age: self.age(who.index),
                        reputation: self.reputation(who.index),
                    },
                }
            })
            .partition(|candidate| candidate.offered > 0);
        let count = bidders.len();
        let draw = |weights, candidates| {
            rank(
                self.rules.rule,
                weights,
                &self.seed,
                self.height + 1,
                candidates,
            )
            .expect("few candidates, small weights")
        };
        let mut ranking = draw(self.rules.weights, bidders);
        ranking.extend(draw(self.rules.weights.without_stake(), others));
        (ranking, count)
    }
}
