//! Tests of the pool: one rule each, then random sequences against the invariants.

mod admission;
mod blocks;
mod chain;
mod order;
mod random;
mod replacement;
mod tangle;
mod volume;
mod watching;
