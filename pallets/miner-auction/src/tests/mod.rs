//! One rule per test.

mod bids;
mod claims;
mod draw;
mod evidence;
mod genesis;
mod random;
mod ranking;
mod settlement;
mod validators;
