//! # Network
//!
//! The node's peers: who is let in, what they gossip, what they ask each other, how they are judged. Bytes in,
//! bytes out: what a vote, a block or a transaction is, the caller knows. libp2p over TCP and QUIC, Noise and
//! Yamux; decisions in `docs/adr/0017-network.md`.
//!
//! Open first: [`Network::start`], then [`NetworkHandle`] and [`Event`].
//!
//! ## Terms
//! - hello: what peers say first. Nothing else of a peer is read before its hello was accepted, and nothing else
//!   is sent to it before it accepted ours.
//! - topic: one kind of gossip. Each has a stream, a queue and bounds of its own, so votes overtake transactions.
//! - attempt: counts repetitions of a message, so that those who remember the first let the second pass.
//! - verdict: what the caller says about a gossiped message. Only what was accepted is passed on.
//! - peer number: a peer's small number in this process, as the consensus crate names peers. Never used for
//!   another peer again.
//!
//! ## Invariants
//! - Only peers that [`Admission`] lets in, and configured full nodes, get or give anything.
//! - A message is passed on only after [`Verdict::Accept`]; silence is [`Verdict::Ignore`].
//! - Every queue, table, message and answer has a named bound (`limits.rs`); [`compact`] too.
//! - What the caller does not take does not stop the network: gossip is dropped, oldest transactions first, and
//!   counted; nothing waits for a slow peer.
//!
//! ## Not here
//! The set of validators, vote keys, blocks, the pool: the caller's. Which peer to ask for which block: the
//! consensus crate.

mod admission;
mod behaviour;
mod bucket;
pub mod compact;
mod config;
mod dialer;
mod doorstep;
mod error;
mod event;
mod figures;
mod gate;
mod handle;
mod hello;
pub mod limits;
mod numbers;
mod outbox;
mod p2p;
mod peer_book;
mod requests;
mod task;
mod topic;
mod traffic;
mod transport;

pub use admission::{Admission, Admit, Introduction};
pub use config::{NetworkConfig, StaticPeer, Timeouts};
pub use error::{AddressError, PublishError, RequestError, StartError};
pub use event::{
    Event, EventReceiver, Gossip, IncomingRequest, Request, Responder, TransactionBatch,
};
pub use figures::{Figure, figures_at_start};
pub use handle::{Network, NetworkHandle, PeerInfo};
pub use hello::{Claim, Hello, hello_payload};
pub use numbers::PeerNumber;
pub use p2p::{Multiaddr, PeerId};
pub use peer_book::{PeerBook, Refusal, Standing};
pub use requests::{BlockContent, BlocksRequest, FetchedTransaction, TransactionsRequest};
pub use topic::{MessageId, Topic, Verdict};
pub use traffic::{Protocol, ProtocolTraffic, Statistics, Traffic};

#[cfg(test)]
mod tests;
