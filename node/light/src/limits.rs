//! Every bound of this crate.

use core::time::Duration;

/// Blocks that are asked for at once.
pub const RANGE_BLOCKS: u32 = commonwatt_network::limits::BLOCKS_PER_ANSWER_MAX;

/// Ranges that are asked for or wait to be verified: some are on their way while one is verified.
pub const RANGES_MAX: usize = 4;

/// Blocks after the last verified one that a peer is believed to have, whatever the clock says.
pub const AHEAD_OF_CLOCK_MAX: u32 = RANGE_BLOCKS;

/// Peers that are remembered.
pub const PEERS_MAX: usize = commonwatt_network::limits::PEERS_MAX;

/// How long a peer that had no answer is left in peace. Doubled each time in a row, so that one that only claims to have
/// blocks holds up few of them.
pub const PAUSE: Duration = Duration::from_secs(5);

/// How often that time is doubled at most.
pub const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// How long a peer that gave a false answer is not asked.
pub const PAUSE_AFTER_FLAW: Duration = Duration::from_secs(60);

/// How often peers are asked how far they are, should they not say so by themselves, and the following looks at itself.
pub const TICK: Duration = Duration::from_secs(5);
