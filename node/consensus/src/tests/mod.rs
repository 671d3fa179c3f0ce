//! Whole machines under a seeded clock and network, without threads: every run of a test is the same.

mod agreement;
mod bad_input;
mod chaos;
mod net;
mod proofs;
mod restart;
mod sync;
mod waiting;
