//! What can go wrong, and what to do about it.

use crate::p2p::{Multiaddr, PeerId};

use crate::{
    limits::{ADDRESSES_PER_PEER_MAX, LISTEN_ADDRESSES_MAX, PEERS_CONFIGURED_MAX},
    topic::Topic,
};

/// Why a text is no address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No multiaddress.
    #[error(
        "`{text}` is no address ({cause}): write it like /ip4/192.0.2.7/tcp/30333/p2p/12D3KooW… or \
         /dns/node.example/udp/30333/quic-v1/p2p/12D3KooW…"
    )]
    Malformed {
        /// The text.
        text: String,
        /// What was wrong.
        cause: String,
    },
    /// No peer id at its end.
    #[error(
        "`{0}` does not end with /p2p/ and a peer id: append the one that `commonwatt key inspect-node-key` shows on \
         that node, so that nobody else can answer in its place"
    )]
    WithoutPeer(String),
    /// Neither TCP nor QUIC.
    #[error("`{0}` names no transport this node speaks: use /tcp/PORT, or /udp/PORT/quic-v1")]
    UnknownTransport(String),
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node key is none.
    #[error(
        "the node key is not usable: make another with `commonwatt key generate-node-key`; the node gets another \
         peer id then"
    )]
    NodeKey,
    /// Nothing to listen on and nobody to dial.
    #[error(
        "the network has neither an address to listen on nor a peer to dial: give --listen-addr or --peer"
    )]
    Alone,
    /// A listen address cannot be used.
    #[error("cannot listen on {address}: {cause}; {hint}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system said.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// Too many addresses to listen on.
    #[error("{0} addresses to listen on are above the {LISTEN_ADDRESSES_MAX} that are possible")]
    TooManyListenAddresses(usize),
    /// Too many peers.
    #[error("{0} configured peers are above the {PEERS_CONFIGURED_MAX} that are possible")]
    TooManyPeers(usize),
    /// Too many addresses of one peer.
    #[error(
        "{count} addresses of peer {peer} are above the {ADDRESSES_PER_PEER_MAX} that are possible: give the ones \
         that work"
    )]
    TooManyAddresses {
        /// Whose.
        peer: PeerId,
        /// How many.
        count: usize,
    },
    /// The node names itself as its peer.
    #[error("{0} is this node's own peer id: remove it from the list of peers")]
    OwnAddress(PeerId),
    /// mDNS is not built in.
    #[error(
        "this node was built without mDNS: name the peers with --peer, or build it with the feature `mdns`"
    )]
    WithoutMdns,
    /// A part of the network could not be set up.
    #[error("the network cannot be set up: {0}")]
    Setup(String),
}

/// Why a message was not taken for publishing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Too many bytes.
    #[error("{bytes} bytes are too many for {topic:?}, which takes {max}")]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// The message's bytes.
        bytes: usize,
        /// How many are possible.
        max: usize,
    },
    /// Empty.
    #[error("an empty message says nothing")]
    Empty,
    /// Transactions go in batches.
    #[error("transactions are published with `publish_transactions`, in batches")]
    NotInBatch,
    /// More messages wait than the queue holds.
    #[error("{0:?} waiting to be sent fill their queue: the network does not keep up")]
    Full(Topic),
    /// The network has ended.
    #[error("the network has ended")]
    Ended,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The peer is not there.
    #[error("the peer is not connected")]
    NotConnected,
    /// Too many requests to this peer.
    #[error("too many requests to this peer have not been answered yet")]
    TooManyAsked,
    /// The request itself is outside the bounds.
    #[error("the request is outside its bounds: {0}")]
    OutOfBounds(&'static str),
    /// The peer has too much to do, or this node asked too often.
    #[error("the peer is busy: ask another, or later")]
    Busy,
    /// No answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer broke off.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The answer is none. It counted against the peer.
    #[error("the peer's answer is not one: {0}")]
    Malformed(String),
    /// The network has ended, or takes no more commands.
    #[error("the network has ended or is overloaded")]
    Ended,
}
