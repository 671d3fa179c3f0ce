//! Bids that come before the block they are made upon: kept until this node has it, since the pool would refuse them for good.
//!
//! A bid names the last block that its bidder knew, and a bidder may be a block ahead: the last vote or a large block came
//! to it first. Its bid is for the bidder's next block, so what a node behind it hears is neither wrong nor late.

use std::collections::VecDeque;

use anyhow::Result;
use commonwatt_chain::Chain;
use commonwatt_executor::decode_extrinsic;
use commonwatt_runtime::{RuntimeCall, apis::AuctionContract};
use pallet_miner_auction::Call;

/// Bids that are kept. Nobody has checked their signatures, so that the oldest make room for new ones.
const KEPT_MAX: usize = 512;

/// Blocks ahead of this node for which bids are kept: who is further behind fetches blocks, and bids with them.
const BLOCKS_AHEAD_MAX: u32 = 2;

/// Keeps bids until their block can be the next.
pub struct EarlyBids {
    /// Heights between a bid's block and the block it is about.
    lead: u32,
    /// Each with the block it is for, in the order they came.
    kept: VecDeque<(u32, Vec<u8>)>,
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
    pub fn keep(&mut self, extrinsic: &[u8], best: u32) -> bool {
        let Some(due) = self.block_of(extrinsic) else {
            return false;
        };
        let next = best.saturating_add(1);
        if due <= next || due > next.saturating_add(BLOCKS_AHEAD_MAX) {
            return false;
        }
        if self.kept.iter().any(|(_, known)| known == extrinsic) {
            return true;
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((due, extrinsic.to_vec()));
        true
    }

    /// Takes out the bids for the block that follows `best`; those for earlier ones are forgotten.
    pub fn take_due(&mut self, best: u32) -> Vec<Vec<u8>> {
        let next = best.saturating_add(1);
        let (due, later): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|(block, _)| *block <= next);
        self.kept = later;
        due.into_iter()
            .filter(|(block, _)| *block == next)
            .map(|(_, extrinsic)| extrinsic)
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
    use commonwatt_primitives::Step;
    use commonwatt_runtime::{
        Hash, example,
        transaction::{SigningContext, sign_ed25519},
    };

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

    #[test]
    fn a_bid_waits_until_its_block_is_the_next() {
        let mut early = EarlyBids::with_lead(4);
        assert!(early.keep(&bid(12, 0), 10));
        assert!(early.keep(&bid(12, 0), 10), "the same again");
        assert!(early.keep(&bid(13, 1), 10));
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
            assert!(!early.keep(&bid(block, 0), 10), "block {block}");
        }
        assert!(!early.keep(b"garbage", 10));
        let who = example::account("Y");
        let other = Call::pardon { who };
        assert!(!early.keep(&sign(other, 0), 10));
    }

    #[test]
    fn the_oldest_make_room() {
        let mut early = EarlyBids::with_lead(4);
        let count = u32::try_from(KEPT_MAX).unwrap();
        for nonce in 0..=count {
            assert!(early.keep(&bid(12, nonce), 10));
        }
        let due = early.take_due(11);
        assert_eq!(due.len(), KEPT_MAX);
        assert_eq!(due.first(), Some(&bid(12, 1)));
        assert_eq!(due.last(), Some(&bid(12, count)));
    }
}
