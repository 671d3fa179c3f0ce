//! Engines on real chains, in virtual time.

mod agreement;
mod faults;
mod net;
mod starting;
