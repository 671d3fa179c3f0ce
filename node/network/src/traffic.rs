//! What the network has sent, received and done, as figures.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{peer_book::Refusal, topic::Topic};

/// What bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Gossip of one topic, control messages of gossip included.
    Gossip(Topic),
    /// Hellos.
    Hello,
    /// Statuses.
    Status,
    /// Blocks on request.
    Sync,
    /// Transactions on request.
    Transactions,
    /// Identify, ping, and what was never agreed on.
    Other,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Gossip(Topic::Votes),
        Self::Gossip(Topic::Proposals),
        Self::Gossip(Topic::Urgent),
        Self::Gossip(Topic::Transactions),
        Self::Hello,
        Self::Status,
        Self::Sync,
        Self::Transactions,
        Self::Other,
    ];

    /// Returns its name, as it stands in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gossip(topic) => match topic {
                Topic::Votes => "gossip_votes",
                Topic::Proposals => "gossip_proposals",
                Topic::Urgent => "gossip_urgent",
                Topic::Transactions => "gossip_transactions",
            },
            Self::Hello => "hello",
            Self::Status => "status",
            Self::Sync => "sync",
            Self::Transactions => "transactions",
            Self::Other => "other",
        }
    }

    /// Returns its name on the wire; for gossip the beginning of it.
    pub(crate) const fn wire_name(self) -> Option<&'static str> {
        match self {
            Self::Gossip(topic) => Some(match topic {
                Topic::Votes => "/commonwatt/gossip/votes/",
                Topic::Proposals => "/commonwatt/gossip/proposals/",
                Topic::Urgent => "/commonwatt/gossip/urgent/",
                Topic::Transactions => "/commonwatt/gossip/transactions/",
            }),
            Self::Hello => Some("/commonwatt/hello/1"),
            Self::Status => Some("/commonwatt/status/1"),
            Self::Sync => Some("/commonwatt/sync/1"),
            Self::Transactions => Some("/commonwatt/transactions/1"),
            Self::Other => None,
        }
    }

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Gossip(topic) => topic.index(),
            Self::Hello => 4,
            Self::Status => 5,
            Self::Sync => 6,
            Self::Transactions => 7,
            Self::Other => 8,
        }
    }
}

/// Bytes of one protocol since the start, on all streams, repetitions and overhead of the protocol included, that
/// of Noise, Yamux, TCP and QUIC not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolTraffic {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// Bytes by protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    protocols: [ProtocolTraffic; Protocol::ALL.len()],
}

impl Traffic {
    /// Returns the bytes of one protocol.
    pub fn of(&self, protocol: Protocol) -> ProtocolTraffic {
        self.protocols[protocol.index()]
    }

    /// Returns the bytes of all protocols.
    pub fn total(&self) -> ProtocolTraffic {
        let add = |sum: ProtocolTraffic, one: &ProtocolTraffic| ProtocolTraffic {
            sent: sum.sent.saturating_add(one.sent),
            received: sum.received.saturating_add(one.received),
        };
        self.protocols.iter().fold(ProtocolTraffic::default(), add)
    }
}

/// What has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Peers let in at present.
    pub peers: u64,
    /// Connections established.
    pub connections: u64,
    /// Connections that were given up before they had shown who they are, since others came.
    pub crowded_out: u64,
    /// Hellos that were refused.
    pub hellos_refused: u64,
    /// Peers banned.
    pub bans: u64,
    /// Messages published, by topic in the order of [`Topic::ALL`].
    pub published: [u64; 4],
    /// New messages received, by topic.
    pub received: [u64; 4],
    /// Messages accepted by the caller.
    pub accepted: u64,
    /// Messages ignored by the caller.
    pub ignored: u64,
    /// Messages rejected by the caller.
    pub rejected: u64,
    /// Messages whose verdict did not come in time.
    pub unjudged: u64,
    /// Messages the caller did not take, by topic.
    pub inbox_dropped: [u64; 4],
    /// Transactions that made room for newer ones before they were sent.
    pub outbox_dropped: u64,
    /// Requests of peers that were handed to the caller.
    pub requests_taken: u64,
    /// Requests of peers that were answered with "busy".
    pub requests_busy: u64,
    /// What was counted against peers, by kind.
    pub refusals: BTreeMap<Refusal, u64>,
}

/// The figures as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: [AtomicU64; Protocol::ALL.len()],
    received: [AtomicU64; Protocol::ALL.len()],
    pub(crate) peers: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) crowded_out: AtomicU64,
    pub(crate) hellos_refused: AtomicU64,
    pub(crate) bans: AtomicU64,
    pub(crate) published: [AtomicU64; 4],
    pub(crate) received_messages: [AtomicU64; 4],
    pub(crate) accepted: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) unjudged: AtomicU64,
    pub(crate) inbox_dropped: [AtomicU64; 4],
    pub(crate) outbox_dropped: AtomicU64,
    pub(crate) requests_taken: AtomicU64,
    pub(crate) requests_busy: AtomicU64,
    refusals: [AtomicU64; Refusal::ALL.len()],
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(crate) fn add_sent(&self, protocol: Protocol, bytes: usize) {
        count(&self.sent[protocol.index()], bytes as u64);
    }

    pub(crate) fn add_received(&self, protocol: Protocol, bytes: usize) {
        count(&self.received[protocol.index()], bytes as u64);
    }

    pub(crate) fn add_refusal(&self, refusal: Refusal) {
        count(&self.refusals[refusal.index()], 1);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for protocol in Protocol::ALL {
            let index = protocol.index();
            traffic.protocols[index] = ProtocolTraffic {
                sent: read(&self.sent[index]),
                received: read(&self.received[index]),
            };
        }
        traffic
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let read_all = |counters: &[AtomicU64; 4]| [0, 1, 2, 3].map(|index| read(&counters[index]));
        Statistics {
            peers: read(&self.peers),
            connections: read(&self.connections),
            crowded_out: read(&self.crowded_out),
            hellos_refused: read(&self.hellos_refused),
            bans: read(&self.bans),
            published: read_all(&self.published),
            received: read_all(&self.received_messages),
            accepted: read(&self.accepted),
            ignored: read(&self.ignored),
            rejected: read(&self.rejected),
            unjudged: read(&self.unjudged),
            inbox_dropped: read_all(&self.inbox_dropped),
            outbox_dropped: read(&self.outbox_dropped),
            requests_taken: read(&self.requests_taken),
            requests_busy: read(&self.requests_busy),
            refusals: Refusal::ALL
                .into_iter()
                .map(|refusal| (refusal, read(&self.refusals[refusal.index()])))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_its_place() {
        for (index, protocol) in Protocol::ALL.into_iter().enumerate() {
            assert_eq!(protocol.index(), index);
        }
        for (index, topic) in Topic::ALL.into_iter().enumerate() {
            assert_eq!(topic.index(), index);
        }
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), index);
        }
    }
}
