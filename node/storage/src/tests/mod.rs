//! Tests that need more than one file: chains on real and on faulty back ends.

#![allow(clippy::unwrap_used)]

mod chain;
mod conformance;
mod corruption;
mod faults;
mod folder;
mod helpers;
mod memory_store;
mod pruning;
mod revert;
mod torn_sled;
mod torn_writes;
