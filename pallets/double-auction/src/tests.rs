//! One rule per test.

mod expiry;
mod orders;
mod settlement;
mod standing;
mod terms;
mod whole;
