//! Every bound of this crate.

/// Validators of one height. Certificates, messages and the engine's tables grow with it.
pub const VALIDATORS_MAX: usize = 256;

/// Bytes of an encoded header: digests and seal leave it far below.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of an encoded body. The runtime's block length (16 MiB) is below; execution decides about that one.
pub const BODY_BYTES_MAX: usize = 17 * 1024 * 1024;

/// Bytes of an encoded message: the largest is a proposal with its block.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES_MAX + BODY_BYTES_MAX + 64 * 1024;

/// Heights above the current one whose messages are kept.
/// Two cover one slow block; beyond that, synchronising is cheaper.
pub const FUTURE_HEIGHTS_MAX: u32 = 2;

/// Messages for later heights that are kept for one peer. A peer passes on the votes of all.
pub const FUTURE_MESSAGES_PER_PEER_MAX: usize = 1024;

/// Bytes of messages for later heights that are kept for one peer: two blocks and their votes.
pub const FUTURE_BYTES_PER_PEER_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// Bytes of messages for later heights that are kept in all.
pub const FUTURE_BYTES_MAX: usize = 4 * MESSAGE_BYTES_MAX;

/// Peers whose status is remembered.
pub const PEERS_MAX: usize = 1024;

/// Blocks of one height whose bytes are held. The oldest are let go; should one of them be decided after all,
/// it is fetched like any block that was missed.
pub const BLOCKS_HELD_MAX: usize = 8;

/// Copies of one block with other bodies that wait while a first one is executed, of one peer each.
pub const SPARE_COPIES_MAX: usize = 3;

/// Bytes of one entry of the write-ahead log: the largest holds a block.
pub const WAL_ENTRY_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Bytes of the write-ahead log of one height: more than two hundred rounds with full blocks.
pub const WAL_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
