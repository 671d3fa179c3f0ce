//! Bids that come before the block they are made upon: kept until this node has it, since the pool would refuse them for good.
//!
//! A bid names the last block that its bidder knew, and a bidder may be a block ahead: the last vote or a large block came
//! to it first. Its bid is for the bidder's next block, so what a node behind it hears is neither wrong nor late.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;
use commonwatt_chain::Chain;
use commonwatt_executor::decode_extrinsic;
use commonwatt_network::PeerNumber;
use commonwatt_runtime::{RuntimeCall, apis::AuctionContract};
use pallet_miner_auction::Call;

/// Bids that are kept. Nobody can check their signatures before the block is there that they name, so that the peer that
/// brought most makes room: the oldest of its bids goes.
const KEPT_MAX: usize = 512;

/// Blocks ahead of this node for which bids are kept: who is further behind fetches blocks, and bids with them.
const BLOCKS_AHEAD_MAX: u32 = 2;

/// Keeps bids until their block can be the next.
pub struct EarlyBids {
    /// Heights between a bid's block and the block it is about.
    lead: u32,
    /// In the order they came.
    kept: VecDeque<Kept>,
}

struct Kept {
    /// The block it is for.
    block: u32,
    brought_by: PeerNumber,
    bid: Vec<u8>,
}

impl EarlyBids {
    /// Creates the store of a node of this chain.
    ///
    /// # Errors
    /// The chain's rules cannot be read.
    pub fn new(chain: &Chain) -> Result<Self> {
        let state = chain.state(None)?;
        let contract: AuctionContract = chain.executor().call(&state, "AuctionApi_contract", ())?;
        Ok(Self::with_lead(contract.mining.bid_lead))
    }

    fn with_lead(lead: u32) -> Self {
        Self {
            lead,
            kept: VecDeque::new(),
        }
    }

    /// Keeps an extrinsic if it is a bid for a block soon after the one that follows `best`; returns whether it did.
    pub fn keep(&mut self, extrinsic: &[u8], brought_by: PeerNumber, best: u32) -> bool {
        let Some(due) = self.block_of(extrinsic) else {
            return false;
        };
        let next = best.saturating_add(1);
        if due <= next || due > next.saturating_add(BLOCKS_AHEAD_MAX) {
            return false;
        }
        if self.kept.iter().any(|known| known.bid == extrinsic) {
            return true;
        }
        self.kept.push_back(Kept {
            block: due,
            brought_by,
            bid: extrinsic.to_vec(),
        });
        if self.kept.len() > KEPT_MAX {
            self.make_room();
        }
        true
    }

    /// Forgets the oldest bid of the peer that brought most.
    fn make_room(&mut self) {
        let mut brought = BTreeMap::<PeerNumber, usize>::new();
        for kept in &self.kept {
            *brought.entry(kept.brought_by).or_default() += 1;
        }
        let most = brought.into_iter().max_by_key(|(_, bids)| *bids);
        let oldest = most.and_then(|(peer, _)| {
            let mut kept = self.kept.iter();
            kept.position(|kept| kept.brought_by == peer)
        });
        oldest.map(|index| self.kept.remove(index));
    }

    /// Takes out the bids for the block that follows `best`; those for earlier ones are forgotten.
    pub fn take_due(&mut self, best: u32) -> Vec<Vec<u8>> {
        let next = best.saturating_add(1);
        let (due, later): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|kept| kept.block <= next);
        self.kept = later;
        due.into_iter()
            .filter(|kept| kept.block == next)
            .map(|kept| kept.bid)
            .collect()
    }

    /// Returns the block that a bid is for; `None` for anything else.
    fn block_of(&self, extrinsic: &[u8]) -> Option<u32> {
        let extrinsic = decode_extrinsic(extrinsic).ok()?;
        let RuntimeCall::MinerAuction(Call::bid { height, .. }) = extrinsic.function else {
            return None;
        };
        height.0.checked_sub(self.lead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::fixtures::chain;
    use commonwatt_executor::BuildLimits;
    use commonwatt_primitives::{Step, digest::Punctuality};
    use commonwatt_runtime::{
        AccountId, Hash, example,
        transaction::{SigningContext, sign_ed25519},
    };
    use commonwatt_storage::CommitMode;
    use pallet_miner_auction::Bid;
    use sp_runtime::generic::Era;

    const PEER: PeerNumber = PeerNumber(1);

    fn sign(call: Call<commonwatt_runtime::Runtime>, nonce: u32) -> Vec<u8> {
        let context = SigningContext::immortal(Hash::zero());
        sign_ed25519(
            RuntimeCall::MinerAuction(call),
            nonce,
            &context,
            &example::pair("X"),
        )
    }

    /// A bid for block `block`, four before the height it is about.
    fn bid(block: u32, nonce: u32) -> Vec<u8> {
        let height = Step(block + 4);
        sign(
            Call::bid {
                height,
                amount: 1u32.into(),
            },
            nonce,
        )
    }

    fn make_block(chain: &Chain) {
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        let timing = example::genesis().timing;
        chain
            .author_next(&timing, Punctuality::OnTime, &limits, CommitMode::Durable)
            .unwrap()
            .unwrap();
    }

    #[test]
    fn a_node_that_is_behind_uses_a_bid_once_it_has_the_block_before() {
        let folder = tempfile::tempdir().unwrap();
        let [ahead, behind, hasty] =
            ["ahead", "behind", "hasty"].map(|name| chain(&folder.path().join(name)));
        make_block(&ahead);
        let (best, era_hash) = ahead.best();
        let mut early = EarlyBids::new(&behind).unwrap();
        let height = Step(best + 1 + early.lead);
        let call = Call::bid {
            height,
            amount: 7u32.into(),
        };
        let context = SigningContext {
            genesis_hash: ahead.genesis_hash(),
            era: Era::mortal(8, best.into()),
            era_hash,
        };
        let pair = example::pair("X");
        let bid = sign_ed25519(RuntimeCall::MinerAuction(call), 0, &context, &pair);
        // Whoever is at genesis cannot check it yet, and would not take it again.
        assert!(hasty.submit_passed_on(vec![bid.clone()])[0].is_err());
        assert!(early.keep(&bid, PEER, behind.best().0));

        let block = ahead.db().block(&era_hash).unwrap().unwrap();
        for chain in [&behind, &hasty] {
            chain.import(block.clone(), CommitMode::Durable).unwrap();
        }
        let due = early.take_due(behind.best().0);
        assert_eq!(due, std::slice::from_ref(&bid));
        assert!(hasty.submit_passed_on(due.clone())[0].is_err());
        assert!(behind.submit_passed_on(due)[0].is_ok());
        make_block(&behind);
        let state = behind.state(None).unwrap();
        let bids: Vec<Bid<AccountId>> = behind
            .executor()
            .call(&state, "AuctionApi_bids_for", height)
            .unwrap();
        let account = example::account("X");
        assert_eq!(bids, [Bid { account, amount: 7 }]);
    }

    #[test]
    fn a_bid_waits_until_its_block_is_the_next() {
        let mut early = EarlyBids::with_lead(4);
        assert!(early.keep(&bid(12, 0), PEER, 10));
        assert!(early.keep(&bid(12, 0), PEER, 10), "the same again");
        assert!(early.keep(&bid(13, 1), PEER, 10));
        assert_eq!(early.take_due(10), Vec::<Vec<u8>>::new());
        assert_eq!(early.take_due(11), [bid(12, 0)]);
        assert_eq!(early.take_due(11), Vec::<Vec<u8>>::new());
        // Blocks may come by several at once.
        assert_eq!(early.take_due(20), Vec::<Vec<u8>>::new());
        assert!(early.kept.is_empty());
    }

    #[test]
    fn what_is_due_now_or_far_ahead_or_no_bid_is_not_kept() {
        let mut early = EarlyBids::with_lead(4);
        for block in [9, 10, 11, 14, 1_000] {
            assert!(!early.keep(&bid(block, 0), PEER, 10), "block {block}");
        }
        assert!(!early.keep(b"garbage", PEER, 10));
        let who = example::account("Y");
        let other = Call::pardon { who };
        assert!(!early.keep(&sign(other, 0), PEER, 10));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut early = EarlyBids::with_lead(4);
        let count = u32::try_from(KEPT_MAX).unwrap();
        for nonce in 0..=count {
            assert!(early.keep(&bid(12, nonce), PEER, 10));
        }
        let due = early.take_due(11);
        assert_eq!(due.len(), KEPT_MAX);
        assert_eq!(due.first(), Some(&bid(12, 1)));
        assert_eq!(due.last(), Some(&bid(12, count)));
    }

    #[test]
    fn forged_bids_of_one_peer_push_out_none_of_others() {
        let mut early = EarlyBids::with_lead(4);
        let honest = bid(12, 1_000_000);
        assert!(early.keep(&honest, PeerNumber(2), 10));
        for nonce in 0..u32::try_from(2 * KEPT_MAX).unwrap() {
            let mut forged = bid(12, nonce);
            // Where the signature stands.
            forged[40] ^= 1;
            early.keep(&forged, PEER, 10);
        }
        let due = early.take_due(11);
        assert_eq!(due.len(), KEPT_MAX);
        assert_eq!(due[0], honest);
    }
}
