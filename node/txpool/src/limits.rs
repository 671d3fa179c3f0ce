//! How much the pool holds.

use crate::BlockNumber;

/// Everything that bounds the pool. All limits are enforced on every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Transactions in all. Two full blocks of 100 000, so that one can gather while one is built;
    /// twenty steps of a community of 10 000 meters.
    pub transactions: usize,
    /// Bytes of encoded extrinsics in all. A signed reading takes about 200 bytes, so this is room
    /// for more than the count allows of them. The indices add some 600 bytes a transaction.
    pub bytes: usize,
    /// Bytes of one encoded extrinsic: a batch of several thousand readings.
    pub extrinsic_bytes: usize,
    /// Transactions of one account: a day's backlog of a device that reports each pulse, and less
    /// than a tenth of the pool.
    pub account_transactions: usize,
    /// Transactions that require what nobody provides. They may never become ready, so they get
    /// less room than those that are.
    pub future_transactions: usize,
    /// Transactions that the runtime does not accept yet: in catch-up after an outage, readings of
    /// the steps still to be closed.
    pub waiting_transactions: usize,
    /// Blocks for which a waiting transaction is kept: 35 days of steps, the default retention,
    /// beyond which no reading is accepted anyway.
    pub waiting_blocks: BlockNumber,
    /// Hashes that are refused without being validated again.
    pub banned: usize,
    /// Blocks for which a transaction that can never become valid is refused unseen. One whose
    /// cause can be mended is refused only until the next block, before which the verdict cannot
    /// change.
    pub ban_blocks: BlockNumber,
    /// Transactions validated again after a block because their sender appeared in it. A
    /// validation takes under 0.1 ms, so the three limits together take about 2.5 s of one core.
    pub revalidated_of_senders: usize,
    /// Waiting transactions validated again after a block, earliest due first.
    pub revalidated_waiting: usize,
    /// Other transactions validated again after a block, in turn: the whole pool within 50 blocks.
    pub revalidated_in_turn: usize,
    /// Hashes and tags of recent blocks, by which a verdict obtained at an older block is judged.
    /// The latest block is kept whatever its size.
    pub recent_entries: usize,
    /// Events not yet taken; the oldest are lost beyond that.
    pub events: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            transactions: 200_000,
            bytes: 64 * 1024 * 1024,
            extrinsic_bytes: 512 * 1024,
            account_transactions: 16_384,
            future_transactions: 32_768,
            waiting_transactions: 65_536,
            waiting_blocks: 35 * 96,
            banned: 16_384,
            ban_blocks: 8,
            revalidated_of_senders: 8_192,
            revalidated_waiting: 12_288,
            revalidated_in_turn: 4_096,
            recent_entries: 131_072,
            events: 1_000_000,
        }
    }
}
