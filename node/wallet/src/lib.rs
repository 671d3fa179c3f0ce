//! # Wallet
//!
//! What a member needs to trade, and nothing of a node: accounts in encrypted files, orders and coins over JSON-RPC.
//!
//! ## Terms
//! - wallet folder: one encrypted account file of polkadot.js for each account.
//! - trading unit: the least energy that is traded; the chain's limits are for one of it.
//! - balance (of a forecast): what a member was allocated in a step less what it consumed.
//!
//! ## Invariants
//! - Amounts are read exactly or refused: nothing that a person wrote is rounded.
//! - Nothing is signed for a chain whose genesis, spec version or transaction version is not the one that was meant.
//! - Keys lie encrypted in files that only their owner can read, and are wiped from memory when dropped.
//! - Every request has a deadline, every answer a bound, and what a node says cannot move a terminal's cursor.
//! - A forecast and a quote follow from their arguments alone: no clock, no randomness, no floating point.
//!
//! ## Not here
//! How a market is cleared (`commonwatt-clearing`), what a call checks (the pallets), what a node answers
//! (`commonwatt-rpc`). The wallet knows no node from within: it talks JSON-RPC, like anyone's.

pub mod accounts;
pub mod answers;
pub mod client;
mod commands;
mod error;
pub mod outcome;
pub mod password;
pub mod progress;
pub mod signing;
pub mod strategy;
pub mod table;
pub mod units;

pub use commands::{Console, WalletCommand};
pub use error::WalletError;
