//! How the network is set up.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::p2p::{Multiaddr, PeerId, multiaddr::Protocol};
use commonwatt_primitives::Hash;
use zeroize::Zeroizing;

use crate::{
    error::{AddressError, StartError},
    limits::{
        ADDRESSES_PER_PEER_MAX, HELLO_TIMEOUT, LISTEN_ADDRESSES_MAX, PEERS_CONFIGURED_MAX,
        PEERS_MAX, VERDICT_TIMEOUT,
    },
};

/// A peer whose address is known: `multiaddr/p2p/PeerId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeer {
    /// Who.
    pub id: PeerId,
    /// Where, without the peer id. Names (`/dns/…`) are resolved each time it is dialled.
    pub address: Multiaddr,
}

impl FromStr for StaticPeer {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut address: Multiaddr =
            text.parse()
                .map_err(
                    |cause: crate::p2p::multiaddr::Error| AddressError::Malformed {
                        text: text.to_owned(),
                        cause: cause.to_string(),
                    },
                )?;
        let Some(Protocol::P2p(id)) = address.pop() else {
            return Err(AddressError::WithoutPeer(text.to_owned()));
        };
        if !is_transport_known(&address) {
            return Err(AddressError::UnknownTransport(text.to_owned()));
        }
        Ok(Self { id, address })
    }
}

impl fmt::Display for StaticPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/p2p/{}", self.address, self.id)
    }
}

/// Returns whether an address is a host with a TCP or QUIC port.
pub(crate) fn is_transport_known(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let is_host = |part: &Protocol<'_>| {
        matches!(
            part,
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    };
    match parts.as_slice() {
        [host, Protocol::Tcp(_)] | [host, Protocol::Udp(_), Protocol::QuicV1] => is_host(host),
        _ => false,
    }
}

/// Everything the network is told at its start.
#[derive(Clone)]
pub struct NetworkConfig {
    /// Seed of the ed25519 node key, by which peers know this node.
    pub node_key: Zeroizing<[u8; 32]>,
    /// The chain.
    pub genesis: Hash,
    /// Where to listen; port 0 lets the system choose.
    pub listen: Vec<Multiaddr>,
    /// Peers to dial, and to dial again whenever they are gone. Several addresses of one peer are tried together.
    pub static_peers: Vec<StaticPeer>,
    /// Full nodes that are let in without an account.
    pub full_nodes: Vec<PeerId>,
    /// Whether this node takes part in gossip. One that only asks does not: nothing is passed on to it, and nobody counts on
    /// it to pass anything on.
    pub gossip: bool,
    /// Whether peers are also sought on the local network. They still have to be let in.
    pub mdns: bool,
    /// Peers let in at once, at most [`PEERS_MAX`].
    pub peers_max: usize,
    /// No connections are taken while the process uses more memory than this.
    pub memory_bytes_max: Option<usize>,
    /// What the node calls itself, like `commonwatt/0.1.0`.
    pub agent: String,
    /// How long is waited.
    pub timeouts: Timeouts,
}

/// How long is waited for peers and for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From connecting until both sides have let each other in.
    pub hello: Duration,
    /// For the caller's verdict about a message; at most [`VERDICT_TIMEOUT`], after which gossip forgets it.
    pub verdict: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            hello: HELLO_TIMEOUT,
            verdict: VERDICT_TIMEOUT,
        }
    }
}

impl NetworkConfig {
    /// Returns a configuration that listens nowhere and knows nobody.
    pub fn new(node_key: Zeroizing<[u8; 32]>, genesis: Hash) -> Self {
        Self {
            node_key,
            genesis,
            listen: Vec::new(),
            static_peers: Vec::new(),
            full_nodes: Vec::new(),
            gossip: true,
            mdns: false,
            peers_max: PEERS_MAX,
            memory_bytes_max: None,
            agent: "commonwatt".to_owned(),
            timeouts: Timeouts::default(),
        }
    }

    /// Checks what can be checked without doing anything. `own` is the peer id of the node key.
    pub(crate) fn verify(&self, own: PeerId) -> Result<(), StartError> {
        let configured = self.static_peers.len() + self.full_nodes.len();
        if configured > PEERS_CONFIGURED_MAX {
            return Err(StartError::TooManyPeers(configured));
        }
        if self.listen.len() > LISTEN_ADDRESSES_MAX {
            return Err(StartError::TooManyListenAddresses(self.listen.len()));
        }
        if self.listen.is_empty() && self.static_peers.is_empty() && !self.mdns {
            return Err(StartError::Alone);
        }
        if self.mdns && !cfg!(feature = "mdns") {
            return Err(StartError::WithoutMdns);
        }
        for (peer, addresses) in self.addresses() {
            if peer == own {
                return Err(StartError::OwnAddress(own));
            }
            if addresses.len() > ADDRESSES_PER_PEER_MAX {
                let count = addresses.len();
                return Err(StartError::TooManyAddresses { peer, count });
            }
        }
        Ok(())
    }

    /// Returns the static peers' addresses by peer.
    pub(crate) fn addresses(&self) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        let mut addresses: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for peer in &self.static_peers {
            let of_peer = addresses.entry(peer.id).or_default();
            if !of_peer.contains(&peer.address) {
                of_peer.push(peer.address.clone());
            }
        }
        addresses
    }
}

impl fmt::Debug for NetworkConfig {
    /// Without the node key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkConfig")
            .field("genesis", &self.genesis)
            .field("listen", &self.listen)
            .field("static_peers", &self.static_peers)
            .field("full_nodes", &self.full_nodes)
            .field("gossip", &self.gossip)
            .field("mdns", &self.mdns)
            .field("peers_max", &self.peers_max)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .field("agent", &self.agent)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";

    fn config() -> NetworkConfig {
        NetworkConfig::new(Zeroizing::new([1; 32]), Hash::zero())
    }

    #[test]
    fn an_address_of_a_peer_is_read_and_written() {
        for start in [
            "/ip4/127.0.0.1/tcp/30333",
            "/ip6/::1/udp/30333/quic-v1",
            "/dns/validator-2/tcp/30333",
        ] {
            let text = format!("{start}/p2p/{ID}");
            let peer: StaticPeer = text.parse().unwrap();
            assert_eq!(peer.id.to_string(), ID);
            assert_eq!(peer.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_mend() {
        let error = |text: &str| text.parse::<StaticPeer>().unwrap_err();
        assert!(matches!(
            error("192.0.2.7:30333"),
            AddressError::Malformed { .. }
        ));
        let without = error("/ip4/192.0.2.7/tcp/30333");
        assert!(matches!(without, AddressError::WithoutPeer(_)));
        assert!(without.to_string().contains("append"));
        assert!(matches!(
            error(&format!("/ip4/192.0.2.7/udp/30333/p2p/{ID}")),
            AddressError::UnknownTransport(_)
        ));
    }

    #[test]
    fn the_configuration_is_checked_before_anything_starts() {
        let own = PeerId::random();
        assert!(matches!(config().verify(own), Err(StartError::Alone)));
        let peer = |id: PeerId, port: u16| StaticPeer {
            id,
            address: format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
        };
        let mut to_itself = config();
        to_itself.static_peers.push(peer(own, 1));
        assert!(matches!(
            to_itself.verify(own),
            Err(StartError::OwnAddress(_))
        ));
        let mut many = config();
        let other = PeerId::random();
        many.static_peers = (0..9).map(|port| peer(other, port)).collect();
        assert!(matches!(
            many.verify(own),
            Err(StartError::TooManyAddresses { count: 9, .. })
        ));
        many.static_peers.truncate(1);
        assert!(many.verify(own).is_ok());
        many.full_nodes = vec![other; PEERS_CONFIGURED_MAX];
        assert!(matches!(many.verify(own), Err(StartError::TooManyPeers(_))));
    }

    #[test]
    fn the_node_key_is_never_printed() {
        let mut config = config();
        config.node_key = Zeroizing::new([0xab; 32]);
        let shown = format!("{config:?}");
        assert!(!shown.contains("node_key") && !shown.contains("171"));
    }
}
