//! # Simulation
//!
//! A network of real nodes - chain, runtime, engine, agreement, write-ahead log, pool - in virtual time, on disks and lines
//! that fail. Everything follows from a seed: what goes wrong, when, and what comes of it.
//!
//! Open first: [`World::run`].
//!
//! ## Terms
//! - plan: what can go wrong in a run ([`PlanName`]); a seed draws the rest.
//! - liar: a validator that does not keep to the rules; always fewer than a third.
//! - healing: when a plan's steps are over, all lines, clocks and nodes are mended, and the network has to come back.
//! - oracle: one more chain that executes each decided block again, and on whose state sums are checked.
//!
//! ## Invariants
//! What is checked is [`Violation`]. For each there is a planted bug that breaks it ([`plants`]); none is a switch inside
//! the code that is tested.
//!
//! ## Not here
//! Peer-to-peer connections: `node/network` has its own tests. Real processes, disks and clocks: `tests/scenarios`.

mod bugs;
mod byzantine;
mod community;
mod disk;
mod faults;
pub mod grow;
mod ledger;
mod network;
mod node;
mod oracle;
pub mod plan;
pub mod plants;
mod random;
mod report;
pub mod runner;
mod trace;
mod violation;
mod watch;
mod workload;
mod world;

pub use bugs::Bug;
pub use network::Delay;
pub use plan::{Fault, Plan, PlanName, Trick};
pub use plants::Plant;
pub use random::Random;
pub use report::Report;
pub use violation::Violation;
pub use world::World;
