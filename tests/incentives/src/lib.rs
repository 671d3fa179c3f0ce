//! # Incentives
//!
//! What a validator gains that does not follow the auction as it was meant: withholds blocks to draw again, knows
//! draws while bids are open, splits its tokens, bids one token, waits, censors (ADR 0019).
//!
//! ```text
//! cargo run --release -p commonwatt-incentives
//! ```
//!
//! reproduces every table; the same seed gives the same figures on any number of threads.
//!
//! ## Terms
//! - share: of all blocks, those that an account or coalition made.
//! - points: hundredths of all blocks.
//! - replica: one of the independent chains over which a figure is averaged.
//!
//! ## Modules
//! - [`chain`]: the auction over heights: the pallets' rules without their storage, with the pallet's own draw.
//! - [`exact`]: what can be said with a formula.
//! - [`estimate`]: replicas, means and their 95 % confidence intervals.
//! - [`attacks`]: one experiment each, giving one table each.
//!
//! ## Not here
//! Whether the agreement holds under faults: the tests of the consensus crate.

pub mod attacks;
pub mod chain;
pub mod estimate;
pub mod exact;
pub mod report;
