//! # Primitives
//!
//! What every other crate agrees on: units, steps, keys, header digests, wire types, and the small
//! traits through which pallets ask each other. No I/O, no clock, no randomness.
//!
//! ## Invariants
//! - Nothing here uses floats, `usize` on the wire, or the order of a hash map.
//! - Arithmetic on energy and money is checked; only counters saturate.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod address;
pub mod auction;
pub mod beacon;
pub mod digest;
pub mod evidence;
pub mod keys;
pub mod metering;
pub mod split;
pub mod time;
pub mod traits;
pub mod units;

pub use metering::{MeterClass, MeterId, MeterKind, Quality, Role};
pub use time::{Month, Step, StepTiming};
pub use units::{Bps, Coin, Ppm, Price, VotingToken, Wh};

use sp_runtime::{
    MultiSignature,
    traits::{IdentifyAccount, Verify},
};

/// Number of a block. Height is step: block `s` closes market step `s` (PROTOCOL 1).
pub type BlockNumber = u32;
/// Hash of blocks, headers and extrinsics: BLAKE2b-256.
pub type Hash = sp_core::H256;
/// An account: the public key of a person, a device or a keyless community account.
pub type AccountId = <<MultiSignature as Verify>::Signer as IdentifyAccount>::AccountId;
/// How many transactions an account has sent.
pub type Nonce = u32;

/// Marker stored under `:code`, which chooses the native runtime: a node stops when it does not know it.
pub const CODE_MARKER_PREFIX: &str = "native:commonwatt-";
