//! One rule per test.

mod agreement;
mod corrections;
mod distribution;
mod entries;
mod retention;
mod storage;
mod tokens;
mod trace;
mod transfer;
