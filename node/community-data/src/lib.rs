//! # Community data
//!
//! Reads a community from a folder of CSV files: who takes part, with what plant, and what their meters
//! read in every step. Also carries the demo community that ships with the node.
//!
//! | file | content |
//! |---|---|
//! | `community.csv` | one row per participant: static attributes |
//! | `load_wh.csv` or `.csv.gz` | one row per step: `step,utc_start`, then the load of every participant in Wh |
//! | `pv_wh.csv` or `.csv.gz` | the same for the participants with PV: generation before own use, in Wh |
//!
//! ## Terms
//! - step: one 15-minute interval of the data, numbered as in its files. Where a chain plays it is the
//!   caller's business.
//! - participant: a household or business; its index is its row in `community.csv`, counted from 0.
//! ## Invariants
//! - No floats: decimals such as `6.8` kW become whole watts, exactly or not at all.
//! - Readings come in the order of their steps, without gap, from both files for the same instant.
//! - A reading never exceeds the capacity that `community.csv` alone gives its meter.
//! - Memory does not grow with the number of steps.
//! ## Not here
//! Accounts, meters and transactions: the node makes them from this.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod community;
mod demo;
mod error;
mod numbers;
mod readings;

pub use community::{Community, PARTICIPANTS_MAX, Participant, ParticipantKind, Storage};
pub use demo::{DEMO_START_STEP, DEMO_STEPS, demo_readings};
pub use error::DataError;
pub use readings::{Readings, STEP_MS, StepReadings};

/// The participants of a community.
pub const COMMUNITY_FILE: &str = "community.csv";
/// The loads of every step; `.gz` may follow.
pub const LOAD_FILE: &str = "load_wh.csv";
/// The generation of every step; `.gz` may follow.
pub const PV_FILE: &str = "pv_wh.csv";
