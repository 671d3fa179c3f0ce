//! # Engine
//!
//! Makes the agreement of `node/consensus` drive a real chain: it starts heights when their time has come, has
//! blocks built and executed, judges timeliness (PROTOCOL 7), stores what is decided, and brings evidence on chain.
//!
//! Synchronous, and without clock, network, disk of its own or threads: the driver brings [`Event`]s with the time they
//! happened at, carries out [`Action`]s, and calls again when [`Engine::wait_ms`] is over. A node does so with tokio, the
//! simulator with a seeded scheduler; both drive the same code.
//!
//! Open first: [`Engine::handle`].
//!
//! ## Use
//! ```text
//! let (log, recovered) = FileLog::open(path, chain.genesis_hash())?;
//! let mut engine = Engine::start(chain, Box::new(log), recovered, config)?;
//! loop {
//!     for action in engine.handle(event, now)? { … }      // first event: Event::Woken
//!     wait at most engine.wait_ms(now), then Event::Woken
//! }
//! ```
//!
//! ## Invariants
//! - The same events on the same chain give the same actions.
//! - The log's effects are carried out here, in order, before anything later is handed out; a failure is [`Fatal`].
//! - A decided block is stored before the next height begins.
//! - An error is final: the driver stops the process, and after a restart goes on from the log.
//! ## Not here
//! Votes and rounds: `node/consensus`. What makes a block valid: `node/chain`. Peers: `node/network`.

mod arrivals;
mod blocks;
mod config;
mod engine;
mod error;
mod event;
mod evidence;
mod job;
mod keys;
mod newcomer;
mod relays;
mod timeliness;
mod wire;

pub use blocks::{BODY_EXTRINSICS_MAX, certified_block, read_header, to_block, to_stored};
pub use config::{BODY_BYTES_MAX, EngineConfig, Now};
pub use engine::{Engine, Position};
pub use error::{Fatal, StartError};
pub use event::{Action, Delivery, Event, Judgement, Notice, Recipient};
pub use evidence::to_extrinsic;
pub use job::{Job, JobDone};
pub use keys::KeyHolder;
pub use timeliness::{Item, ItemKind, Observation, Sighting, Tolerance, Untimeliness, judge};
pub use wire::{BlockAnswer, BlockRequest, Channel, EngineMessage, WireError};

pub use commonwatt_consensus::{PeerId, Refusal};

#[cfg(test)]
mod tests;
