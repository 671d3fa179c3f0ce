//! Proposals on the wire: small blocks whole, large ones as the short ids of transactions that the others have.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use codec::{Decode, DecodeAll, Encode};
use commonwatt_chain::Chain;
use commonwatt_consensus::{Block, Proposal, ProposedBlock, SignedProposal};
use commonwatt_engine::{to_block, to_stored};
use commonwatt_executor::extrinsics_root;
use commonwatt_network::{
    FetchedTransaction, NetworkHandle, PeerNumber, TransactionsRequest,
    compact::{CompactBlock, PoolIndex, Reassembly},
    limits::TRANSACTIONS_PER_REQUEST_MAX,
};
use commonwatt_primitives::AccountId;
use commonwatt_runtime::{Hash, Header};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Bodies up to this many bytes travel whole: fetching what a pool lacks would take longer than sending all.
const WHOLE_BYTES: usize = 32 * 1024;

/// Inherents at the beginning of a block, which no pool has.
const INHERENTS: usize = 1;

/// Proposed blocks of others whose transactions are given to those who lack some, one a validator.
const RECENT_MAX: usize = 8;

/// Proposed blocks of this node whose transactions are given.
const RECENT_OWN_MAX: usize = 4;

/// Peers that are asked for what is missing, one after the other, besides the one that passed the block on.
const OTHERS_ASKED_MAX: usize = 3;

/// How often one peer is asked: an honest one gives all at once, unless it has no room for so much.
const QUESTIONS_PER_PEER_MAX: usize = 2;

/// A proposal as it travels.
#[derive(Encode, Decode)]
pub enum WireProposal {
    /// With all of its block.
    #[codec(index = 1)]
    Whole(ProposedBlock),
    /// With what others need to put its block together.
    #[codec(index = 2)]
    Compact {
        /// The proposal.
        signed: SignedProposal,
        /// The block.
        block: CompactBlock,
    },
}

impl WireProposal {
    /// Returns how a proposal travels.
    pub fn of(proposed: &ProposedBlock) -> Self {
        let ProposedBlock { signed, block } = proposed;
        let whole = || Self::Whole(proposed.clone());
        if block.body.len() <= WHOLE_BYTES {
            return whole();
        }
        let Some((_, body)) = to_stored(block) else {
            return whole();
        };
        match CompactBlock::new(block.header.clone(), &body, INHERENTS) {
            Ok(block) => Self::Compact {
                signed: signed.clone(),
                block,
            },
            Err(_) => whole(),
        }
    }

    /// Decodes one; the network has seen to its length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_all(&mut &bytes[..]).ok()
    }
}

/// The transactions of blocks that were proposed lately, by the hash of their header.
#[derive(Default)]
pub struct RecentBlocks(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// What this node proposed.
    own: VecDeque<(Hash, RecentBlock)>,
    /// What others proposed, and who when.
    others: Vec<(Proposal, RecentBlock)>,
}

impl Recent {
    fn find(&self, hash: &Hash) -> Option<&RecentBlock> {
        let mut own = self.own.iter();
        let own = own.find(|(known, _)| known == hash).map(|(_, own)| own);
        let mut others = self.others.iter();
        own.or_else(|| {
            others
                .find(|(known, _)| known.block == *hash)
                .map(|(_, other)| other)
        })
    }
}

#[derive(Clone)]
struct RecentBlock {
    block: Block,
    /// Decoded when somebody asks.
    body: Arc<OnceLock<Vec<Vec<u8>>>>,
}

impl RecentBlock {
    fn new(block: &Block) -> Self {
        Self {
            block: block.clone(),
            body: Arc::default(),
        }
    }
}

impl RecentBlocks {
    /// Remembers a block that this node proposes.
    pub fn insert(&self, block: &Block) {
        let hash = block.hash();
        let mut recent = self.0.lock();
        if recent.find(&hash).is_some() {
            return;
        }
        if recent.own.len() >= RECENT_OWN_MAX {
            recent.own.pop_front();
        }
        recent.own.push_back((hash, RecentBlock::new(block)));
    }

    /// Remembers a block that its rightful proposer proposed: one a validator, so that none pushes out what others proposed.
    /// Of too many the older heights go first, then the later rounds.
    pub fn insert_of(&self, proposal: &Proposal, block: &Block) {
        let mut recent = self.0.lock();
        if recent.find(&proposal.block).is_some() {
            return;
        }
        let others = &mut recent.others;
        others.retain(|(known, _)| known.validator != proposal.validator);
        others.push((proposal.clone(), RecentBlock::new(block)));
        if others.len() > RECENT_MAX {
            let rank = |(known, _): &(Proposal, _)| (Reverse(known.height), known.round);
            let last = (0..others.len()).max_by_key(|index| rank(&others[*index]));
            last.map(|index| others.swap_remove(index));
        }
    }

    /// Returns a block that was proposed lately.
    pub fn block(&self, hash: &Hash) -> Option<Block> {
        let recent = self.0.lock();
        recent.find(hash).map(|recent| recent.block.clone())
    }

    /// Returns transactions of a block, those that there are.
    pub fn find(&self, header: &Hash, positions: &[u32]) -> Vec<FetchedTransaction> {
        let found = self.0.lock().find(header).cloned();
        let Some(recent) = found else {
            return Vec::new();
        };
        let body = recent.body.get_or_init(|| {
            let stored = to_stored(&recent.block);
            stored.map(|(_, body)| body).unwrap_or_default()
        });
        let at = |position: &u32| {
            let place = usize::try_from(*position).ok()?;
            Some(FetchedTransaction {
                index: *position,
                bytes: body.get(place)?.clone(),
            })
        };
        positions.iter().filter_map(at).collect()
    }
}

/// Returns whether a compact block is what its proposer made of a block, or the same under other names.
pub fn is_compact_of(compact: &CompactBlock, block: &Block) -> bool {
    let body = to_stored(block).map(|(_, body)| body);
    let whole =
        body.and_then(|body| CompactBlock::new(block.header.clone(), &body, INHERENTS).ok());
    whole.as_ref() == Some(compact)
}

/// Why a block was not put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// Nobody gave what is missing, or not in time.
    Lacking,
    /// What was brought is no compact block, or not that of its header. Whoever put it together before would not pass it on.
    Garbage,
}

/// Puts a block together from the pool and from peers, first from the one that brought it, before `deadline`.
///
/// # Errors
/// Why not.
pub async fn reassemble(
    chain: &Arc<Chain>,
    network: &impl Peers,
    brought_by: PeerNumber,
    proposer: &AccountId,
    compact: CompactBlock,
    deadline: Instant,
) -> Result<Block, Unfinished> {
    let pool = chain.clone();
    let begun = tokio::task::spawn_blocking(move || {
        let pooled = pool.pooled();
        let known = pooled.iter().map(|one| (one.hash, one));
        let index = PoolIndex::new(&compact.key(), known);
        Reassembly::new(compact, |id| {
            index.get(id).map(|one| one.extrinsic.to_vec())
        })
    });
    // A panic there is logged, and says nothing about who brought it.
    let begun = begun.await.map_err(|_| Unfinished::Lacking)?;
    let mut assembly = begun.map_err(|_| Unfinished::Garbage)?;
    loop {
        fetch_missing(network, brought_by, proposer, &mut assembly, deadline).await?;
        let finished = assembly.clone().finish();
        let (header, body) = finished.map_err(|_| Unfinished::Lacking)?;
        let whole = tokio::task::spawn_blocking(move || {
            let header = Header::decode_all(&mut &header[..]).ok()?;
            (extrinsics_root(&body) == header.extrinsics_root).then(|| to_block(&header, &body))
        });
        if let Some(block) = whole.await.map_err(|_| Unfinished::Lacking)? {
            return Ok(block);
        }
        // Another transaction of the pool has the same short id, which happens once in a lifetime.
        if !assembly.distrust_pool() {
            return Err(Unfinished::Garbage);
        }
    }
}

/// The peers, as far as a block is put together with their help.
pub trait Peers {
    /// Returns who is there, each with its account if it is a validator.
    fn present(&self) -> Vec<(PeerNumber, Option<AccountId>)>;

    /// Asks for transactions of a proposed block; `None` when there is no answer.
    fn ask(
        &self,
        peer: PeerNumber,
        request: TransactionsRequest,
    ) -> impl Future<Output = Option<Vec<FetchedTransaction>>> + Send;

    /// Counts against a peer that it gave what it itself did not name.
    fn blame(&self, peer: PeerNumber);
}

impl Peers for NetworkHandle {
    fn present(&self) -> Vec<(PeerNumber, Option<AccountId>)> {
        let peers = self.peers().into_iter();
        peers.map(|peer| (peer.number, peer.account)).collect()
    }

    async fn ask(
        &self,
        peer: PeerNumber,
        request: TransactionsRequest,
    ) -> Option<Vec<FetchedTransaction>> {
        self.request_transactions(peer, request).await.ok()
    }

    fn blame(&self, peer: PeerNumber) {
        self.refuse(peer, commonwatt_network::Refusal::WrongAnswer);
    }
}

/// Fetches what is missing: from who brought it, from nodes of who proposes it, from others. Each has half of the time that is
/// left, so that one that is silent leaves some for the next.
async fn fetch_missing(
    network: &impl Peers,
    brought_by: PeerNumber,
    proposer: &AccountId,
    assembly: &mut Reassembly,
    deadline: Instant,
) -> Result<(), Unfinished> {
    let mut others = network.present();
    others.retain(|(number, _)| *number != brought_by);
    others.sort_by_key(|(_, account)| account.as_ref() != Some(proposer));
    let others = others.into_iter().map(|(number, _)| number);
    let asked = std::iter::once(brought_by).chain(others.take(OTHERS_ASKED_MAX));
    for peer in asked {
        for _ in 0..QUESTIONS_PER_PEER_MAX {
            if assembly.is_complete() {
                return Ok(());
            }
            let mut positions = assembly.missing();
            positions.truncate(TRANSACTIONS_PER_REQUEST_MAX);
            let request = TransactionsRequest::OfBlock {
                header: assembly.header_hash(),
                positions,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = tokio::time::timeout(left / 2, network.ask(peer, request)).await;
            let Ok(Some(fetched)) = answer else {
                break;
            };
            let mut supplied = fetched
                .into_iter()
                .map(|FetchedTransaction { index, bytes }| assembly.supply(index, bytes));
            if supplied.any(|supplied| supplied.is_err()) {
                // The names are not signed, so that another that gives something else may be the one that is right.
                if peer == brought_by {
                    network.blame(peer);
                }
                break;
            }
        }
    }
    match assembly.is_complete() {
        true => Ok(()),
        false => Err(Unfinished::Lacking),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::Signature;
    use sp_runtime::traits::Header as _;

    fn proposed(transactions: usize) -> (ProposedBlock, Vec<Vec<u8>>) {
        let body: Vec<_> = (0..=transactions)
            .map(|number| [vec![7; 100], number.to_le_bytes().to_vec()].concat())
            .collect();
        let root = extrinsics_root(&body);
        let empty = Hash::zero();
        let header = Header::new(1, root, empty, empty, Default::default());
        let block = to_block(&header, &body);
        let signed = SignedProposal {
            proposal: Proposal {
                height: 1,
                round: 0,
                block: block.hash(),
                pol_round: None,
                validator: AccountId::new([1; 32]),
            },
            signature: Signature::default(),
        };
        (ProposedBlock { signed, block }, body)
    }

    #[test]
    fn a_small_block_travels_whole_and_a_large_one_compact() {
        let (small, _) = proposed(20);
        let bytes = WireProposal::of(&small).encode();
        assert!(matches!(
            WireProposal::decode(&bytes),
            Some(WireProposal::Whole(whole)) if whole == small
        ));
        let (large, _) = proposed(2_000);
        let bytes = WireProposal::of(&large).encode();
        assert!(bytes.len() < large.block.body.len() / 5);
        let Some(WireProposal::Compact { signed, block }) = WireProposal::decode(&bytes) else {
            panic!("a large block travels compact");
        };
        assert_eq!(signed, large.signed);
        assert_eq!(block.header_hash(), large.block.hash());
        assert!(WireProposal::decode(&bytes[..bytes.len() - 1]).is_none());
    }

    #[test]
    fn transactions_of_the_last_few_blocks_are_given() {
        let recent = RecentBlocks::default();
        let blocks: Vec<_> = (1..=RECENT_OWN_MAX + 1)
            .map(|count| proposed(count).0.block)
            .collect();
        blocks.iter().for_each(|block| recent.insert(block));
        assert!(recent.find(&blocks[0].hash(), &[0]).is_empty());
        let (_, body) = proposed(RECENT_OWN_MAX + 1);
        let found = recent.find(&blocks[RECENT_OWN_MAX].hash(), &[1, 3, 99]);
        let found: Vec<_> = found
            .into_iter()
            .map(|one| (one.index, one.bytes))
            .collect();
        assert_eq!(found, [(1, body[1].clone()), (3, body[3].clone())]);
    }
    fn proposal_of(block: &Block, validator: u8, height: u32, round: u32) -> Proposal {
        Proposal {
            height,
            round,
            block: block.hash(),
            pol_round: None,
            validator: AccountId::new([validator; 32]),
        }
    }

    #[test]
    fn one_validator_pushes_out_nothing_that_others_proposed() {
        let recent = RecentBlocks::default();
        let block = |count| proposed(count).0.block;
        let (own, author) = (block(1), block(2));
        recent.insert(&own);
        recent.insert_of(&proposal_of(&author, 1, 9, 0), &author);
        let noise: Vec<_> = (3..30).map(block).collect();
        for (round, block) in (0..).zip(&noise) {
            recent.insert_of(&proposal_of(block, 4, 9, 4 * round + 3), block);
        }
        // Nor do many validators, whose turn comes later.
        for (validator, block) in (10..).zip(&noise[..20]) {
            recent.insert_of(&proposal_of(block, validator, 9, validator.into()), block);
        }
        assert_eq!(recent.block(&author.hash()), Some(author));
        assert_eq!(recent.block(&own.hash()), Some(own));
        // What is over makes room first.
        let next = block(40);
        recent.insert_of(&proposal_of(&next, 30, 10, 7), &next);
        assert_eq!(recent.block(&next.hash()), Some(next));
    }

    #[test]
    fn a_copy_that_names_other_transactions_is_not_what_was_proposed() {
        let (large, body) = proposed(2_000);
        let compact = CompactBlock::new(large.block.header.clone(), &body, INHERENTS).unwrap();
        assert!(is_compact_of(&compact, &large.block));
        let mut changed = compact.clone();
        changed.short_ids.swap(0, 1);
        assert!(!is_compact_of(&changed, &large.block));
    }

    /// What a peer does when it is asked.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Manner {
        GivesAll,
        GivesOne,
        GivesOthers,
        IsSilent,
    }

    struct Fakes {
        peers: Vec<(u64, u8, Manner)>,
        body: Vec<Vec<u8>>,
        asked: Mutex<Vec<u64>>,
        blamed: Mutex<Vec<u64>>,
    }

    impl Peers for Fakes {
        fn present(&self) -> Vec<(PeerNumber, Option<AccountId>)> {
            let peers = self.peers.iter();
            let account = |seed: u8| Some(AccountId::new([seed; 32]));
            peers
                .map(|(number, seed, _)| (PeerNumber(*number), account(*seed)))
                .collect()
        }

        async fn ask(
            &self,
            peer: PeerNumber,
            request: TransactionsRequest,
        ) -> Option<Vec<FetchedTransaction>> {
            self.asked.lock().push(peer.0);
            let (_, _, manner) = self.peers.iter().find(|(number, ..)| *number == peer.0)?;
            let TransactionsRequest::OfBlock { positions, .. } = request else {
                panic!("a block was asked for");
            };
            let give = |index: u32, bytes: Vec<u8>| FetchedTransaction { index, bytes };
            let of =
                |index: &u32| give(*index, self.body[usize::try_from(*index).unwrap()].clone());
            match manner {
                Manner::GivesAll => Some(positions.iter().map(of).collect()),
                Manner::GivesOne => Some(positions.iter().take(1).map(of).collect()),
                Manner::GivesOthers => Some(vec![give(positions[0], b"another".to_vec())]),
                Manner::IsSilent => std::future::pending().await,
            }
        }

        fn blame(&self, peer: PeerNumber) {
            self.blamed.lock().push(peer.0);
        }
    }

    /// Puts a block together that peer 1 brings and validator 9 proposes, nothing of which is known; returns whether that was
    /// done, whom was asked, and who was blamed.
    async fn fetched(peers: &[(u64, u8, Manner)]) -> (bool, Vec<u64>, Vec<u64>) {
        let (large, body) = proposed(1_000);
        let compact = CompactBlock::new(large.block.header.clone(), &body, INHERENTS).unwrap();
        let mut assembly = Reassembly::new(compact, |_| None).unwrap();
        let fakes = Fakes {
            peers: peers.to_vec(),
            body,
            asked: Mutex::default(),
            blamed: Mutex::default(),
        };
        let deadline = Instant::now() + std::time::Duration::from_millis(400);
        let proposer = AccountId::new([9; 32]);
        let fetched = fetch_missing(&fakes, PeerNumber(1), &proposer, &mut assembly, deadline);
        let is_done = fetched.await.is_ok();
        (is_done, fakes.asked.into_inner(), fakes.blamed.into_inner())
    }

    #[tokio::test]
    async fn a_silent_peer_leaves_time_for_the_proposer() {
        let peers = [
            (1, 1, Manner::IsSilent),
            (2, 2, Manner::GivesAll),
            (3, 9, Manner::GivesAll),
        ];
        assert_eq!(fetched(&peers).await, (true, vec![1, 3], vec![]));
    }

    #[tokio::test]
    async fn who_gives_little_by_little_is_not_asked_for_ever() {
        let peers = [(1, 9, Manner::GivesOne)];
        assert_eq!(fetched(&peers).await, (false, vec![1, 1], vec![]));
    }

    #[tokio::test]
    async fn what_somebody_gives_for_names_that_it_brought_itself_is_held_against_it() {
        let peers = [(1, 1, Manner::GivesOthers), (3, 9, Manner::GivesAll)];
        assert_eq!(fetched(&peers).await, (true, vec![1, 3], vec![1]));
        // Who brought the names may have changed them.
        let peers = [(1, 1, Manner::GivesOne), (3, 9, Manner::GivesOthers)];
        assert_eq!(fetched(&peers).await, (false, vec![1, 1, 3], vec![]));
    }
}
