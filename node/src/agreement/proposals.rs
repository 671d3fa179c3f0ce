//! Proposals on the wire: small blocks whole, large ones as the short ids of transactions that the others have.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use codec::{Decode, DecodeAll, Encode};
use commonwatt_chain::Chain;
use commonwatt_consensus::{Block, ProposedBlock, SignedProposal};
use commonwatt_engine::{to_block, to_stored};
use commonwatt_executor::extrinsics_root;
use commonwatt_network::{
    FetchedTransaction, NetworkHandle, PeerNumber, TransactionsRequest,
    compact::{CompactBlock, PoolIndex, Reassembly},
    limits::TRANSACTIONS_PER_REQUEST_MAX,
};
use commonwatt_runtime::{Hash, Header};
use parking_lot::Mutex;

/// Bodies up to this many bytes travel whole: fetching what a pool lacks would take longer than sending all.
const WHOLE_BYTES: usize = 32 * 1024;

/// Inherents at the beginning of a block, which no pool has.
const INHERENTS: usize = 1;

/// Proposed blocks whose transactions are given to those who lack some.
const RECENT_MAX: usize = 8;

/// Peers that are asked for what is missing, one after the other, besides the one that passed the block on.
const OTHERS_ASKED_MAX: usize = 3;

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
pub struct RecentBlocks(Mutex<VecDeque<(Hash, RecentBlock)>>);

#[derive(Clone)]
struct RecentBlock {
    block: Block,
    /// Decoded when somebody asks.
    body: Arc<OnceLock<Vec<Vec<u8>>>>,
}

impl RecentBlocks {
    /// Remembers a block.
    pub fn insert(&self, block: &Block) {
        let hash = block.hash();
        let mut recent = self.0.lock();
        if recent.iter().any(|(known, _)| *known == hash) {
            return;
        }
        if recent.len() >= RECENT_MAX {
            recent.pop_front();
        }
        let block = RecentBlock {
            block: block.clone(),
            body: Arc::default(),
        };
        recent.push_back((hash, block));
    }

    /// Returns transactions of a block, those that there are.
    pub fn find(&self, header: &Hash, positions: &[u32]) -> Vec<FetchedTransaction> {
        let found = {
            let recent = self.0.lock();
            let mut known = recent.iter();
            known
                .find(|(hash, _)| hash == header)
                .map(|(_, recent)| recent.clone())
        };
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

/// Puts a block together from the pool and from peers, first from the one that passed it on; `None` when that cannot be
/// done.
pub async fn reassemble(
    chain: &Arc<Chain>,
    network: &NetworkHandle,
    passed_on_by: PeerNumber,
    compact: CompactBlock,
) -> Option<Block> {
    let pool = chain.clone();
    let mut assembly = tokio::task::spawn_blocking(move || {
        let pooled = pool.pooled();
        let known = pooled.iter().map(|one| (one.hash, one));
        let index = PoolIndex::new(&compact.key(), known);
        Reassembly::new(compact, |id| {
            index.get(id).map(|one| one.extrinsic.to_vec())
        })
    })
    .await
    .ok()?
    .ok()?;
    loop {
        fetch_missing(network, passed_on_by, &mut assembly).await?;
        let (header, body) = assembly.clone().finish().ok()?;
        let whole = tokio::task::spawn_blocking(move || {
            let header = Header::decode_all(&mut &header[..]).ok()?;
            (extrinsics_root(&body) == header.extrinsics_root).then(|| to_block(&header, &body))
        });
        if let Some(block) = whole.await.ok()? {
            return Some(block);
        }
        // Another transaction of the pool has the same short id, which happens once in a lifetime.
        if !assembly.distrust_pool() {
            return None;
        }
    }
}

async fn fetch_missing(
    network: &NetworkHandle,
    passed_on_by: PeerNumber,
    assembly: &mut Reassembly,
) -> Option<()> {
    let others = network.peers().into_iter().map(|peer| peer.number);
    let others = others.filter(|number| *number != passed_on_by);
    let asked: Vec<_> = std::iter::once(passed_on_by)
        .chain(others.take(OTHERS_ASKED_MAX))
        .collect();
    for peer in asked {
        while !assembly.is_complete() {
            let mut positions = assembly.missing();
            positions.truncate(TRANSACTIONS_PER_REQUEST_MAX);
            let request = TransactionsRequest::OfBlock {
                header: assembly.header_hash(),
                positions,
            };
            let Ok(fetched) = network.request_transactions(peer, request).await else {
                break;
            };
            let before = assembly.missing().len();
            for FetchedTransaction { index, bytes } in fetched {
                if assembly.supply(index, bytes).is_err() {
                    break;
                }
            }
            if assembly.missing().len() == before {
                break;
            }
        }
    }
    assembly.is_complete().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonwatt_consensus::{Proposal, Signature};
    use commonwatt_primitives::AccountId;
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
        let blocks: Vec<_> = (1..=RECENT_MAX + 1)
            .map(|count| proposed(count).0.block)
            .collect();
        blocks.iter().for_each(|block| recent.insert(block));
        assert!(recent.find(&blocks[0].hash(), &[0]).is_empty());
        let (_, body) = proposed(RECENT_MAX + 1);
        let found = recent.find(&blocks[RECENT_MAX].hash(), &[1, 3, 99]);
        let found: Vec<_> = found
            .into_iter()
            .map(|one| (one.index, one.bytes))
            .collect();
        assert_eq!(found, [(1, body[1].clone()), (3, body[3].clone())]);
    }
}
