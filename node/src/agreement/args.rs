//! How a node is reached by others, and whom it reaches.

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result};
use clap::Args;
use commonwatt_keystore::NodeKey;
use commonwatt_network::{Multiaddr, NetworkConfig, PeerId, StaticPeer};
use commonwatt_runtime::Hash;
use zeroize::Zeroizing;

use crate::paths::{ChainFolder, create_folders};

/// The port that nodes listen on unless told otherwise.
const PORT: u16 = 30_333;

/// How a node is on the network.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The network")]
pub struct NetworkArgs {
    /// TCP port for other nodes, on all addresses of this machine, and the same UDP port for QUIC; 0 lets the system choose
    /// [default: 30333, or another one if that is taken]
    #[arg(long, value_name = "PORT", conflicts_with = "listen_addr")]
    port: Option<u16>,
    /// Address to listen on for other nodes, like /ip4/192.0.2.7/tcp/30333 or /ip4/192.0.2.7/udp/30333/quic-v1; can be
    /// repeated
    #[arg(long, value_name = "ADDRESS")]
    listen_addr: Vec<Multiaddr>,
    /// Nodes to connect to and to stay connected to, like /dns/node.example/tcp/30333/p2p/12D3KooW… [default: the chain
    /// spec's bootNodes]
    #[arg(long, value_name = "ADDRESS", num_args = 1..)]
    bootnodes: Vec<StaticPeer>,
    /// Full nodes that are let in though they are no validators, as peer ids, or as addresses if they are to be connected to
    #[arg(long, value_name = "PEER|ADDRESS", num_args = 1..)]
    reserved_nodes: Vec<ReservedNode>,
    /// File with the node key, by which others know this node [default: in the chain's folder, made when it is missing]
    #[arg(long, value_name = "FILE")]
    node_key_file: Option<PathBuf>,
    /// Look for nodes on the local network, if this program was built for that
    #[arg(long, conflicts_with = "no_mdns")]
    mdns: bool,
    /// Do not look for nodes on the local network, which is the default
    #[arg(long)]
    no_mdns: bool,
}

/// A node that is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReservedNode {
    Peer(PeerId),
    At(StaticPeer),
}

impl FromStr for ReservedNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            let peer = text.parse::<StaticPeer>();
            return peer.map(Self::At).map_err(|error| error.to_string());
        }
        text.parse().map(Self::Peer).map_err(|_| {
            format!(
                "{text:?} is neither a peer id (12D3KooW…, shown by `commonwatt key inspect-node-key` on that node) nor an \
                 address that ends with /p2p/ and one"
            )
        })
    }
}

/// What the network is started with.
pub struct NetworkSetup {
    /// Everything but whom it lets in.
    pub config: NetworkConfig,
    /// Whether another port will do.
    pub is_port_free: bool,
}

impl NetworkArgs {
    /// Returns those of a node that only asks others.
    pub fn asking(bootnodes: Vec<StaticPeer>, node_key_file: Option<PathBuf>) -> Self {
        Self {
            port: None,
            listen_addr: Vec::new(),
            bootnodes,
            reserved_nodes: Vec::new(),
            node_key_file,
            mdns: false,
            no_mdns: true,
        }
    }

    /// Returns the configuration for a chain. `boot_nodes` are those that its spec names: this node may be among them, and
    /// they do not count when the operator names others.
    pub fn setup(
        &self,
        folder: &ChainFolder,
        genesis: Hash,
        boot_nodes: &[StaticPeer],
    ) -> Result<NetworkSetup> {
        let node_key = self.node_key(folder)?;
        let own = NodeKey::from_seed(&node_key).peer_id();
        let mut config = NetworkConfig::new(node_key, genesis);
        config.agent = format!("commonwatt/{}", env!("CARGO_PKG_VERSION"));
        config.mdns = self.mdns;
        config.static_peers = match self.bootnodes.is_empty() {
            true => {
                let others = boot_nodes.iter();
                let others = others.filter(|peer| peer.id.to_string() != own);
                others.cloned().collect()
            }
            false => self.bootnodes.clone(),
        };
        for reserved in &self.reserved_nodes {
            match reserved {
                ReservedNode::Peer(id) => config.full_nodes.push(*id),
                ReservedNode::At(peer) => {
                    config.full_nodes.push(peer.id);
                    config.static_peers.push(peer.clone());
                }
            }
        }
        config.listen = match self.listen_addr.is_empty() {
            true => listen_on(self.port.unwrap_or(PORT)),
            false => self.listen_addr.clone(),
        };
        Ok(NetworkSetup {
            config,
            is_port_free: self.port.is_none() && self.listen_addr.is_empty(),
        })
    }

    /// Returns the seed of the node key; makes one where there is none and none was named.
    fn node_key(&self, folder: &ChainFolder) -> Result<Zeroizing<[u8; 32]>> {
        if let Some(file) = &self.node_key_file {
            let key = NodeKey::read(file)?.with_context(|| {
                format!(
                    "there is no node key in {0}: make one with `commonwatt key generate-node-key --file {0}`, or leave out \
                     --node-key-file to have one made in the chain's folder",
                    file.display()
                )
            })?;
            return Ok(key.to_seed());
        }
        let folder = folder.network();
        create_folders(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join(NodeKey::FILE_NAME);
        let key = match NodeKey::read(&file)? {
            Some(key) => key,
            None => {
                let key = NodeKey::generate()?;
                key.write(&file)?;
                key
            }
        };
        Ok(key.to_seed())
    }
}

/// Returns the addresses to listen on at a port of this machine.
pub(super) fn listen_on(port: u16) -> Vec<Multiaddr> {
    [
        format!("/ip4/0.0.0.0/tcp/{port}"),
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
    ]
    .iter()
    .map(|address| {
        address
            .parse()
            .expect("it is written as addresses are; qed")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    const ID: &str = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
    }

    fn setup(words: &[&str]) -> NetworkSetup {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "a").unwrap();
        let line = ["node"].iter().chain(words);
        let line = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        line.network.setup(&folder, Hash::zero(), &[]).unwrap()
    }

    #[test]
    fn operators_find_the_flags_they_know() {
        let plain = setup(&[]);
        assert!(plain.is_port_free);
        assert_eq!(plain.config.listen, listen_on(30_333));
        let address = format!("/ip4/192.0.2.7/tcp/30333/p2p/{ID}");
        let named = setup(&["--port", "4000", "--bootnodes", &address, "--no-mdns"]);
        assert!(!named.is_port_free && !named.config.mdns);
        assert_eq!(named.config.listen, listen_on(4_000));
        assert_eq!(named.config.static_peers, [address.parse().unwrap()]);
        let reserved = setup(&["--reserved-nodes", ID, &address]);
        assert_eq!(reserved.config.full_nodes, [ID.parse().unwrap(); 2]);
        assert_eq!(reserved.config.static_peers.len(), 1);
        let listening = setup(&["--listen-addr", "/ip4/127.0.0.1/tcp/0"]);
        assert_eq!(listening.config.listen.len(), 1);
    }

    #[test]
    fn the_boot_nodes_of_the_spec_count_unless_the_operator_names_others() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "a").unwrap();
        let peers = |words: &[&str], of_spec: &[StaticPeer]| {
            let line = ["node"].iter().chain(words);
            let line = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
            let setup = line.network.setup(&folder, Hash::zero(), of_spec).unwrap();
            setup.config.static_peers
        };
        let address = |id: &str| format!("/ip4/192.0.2.7/tcp/30333/p2p/{id}");
        let other: StaticPeer = address(ID).parse().unwrap();
        let only = vec![other.clone()];
        assert_eq!(peers(&[], &only), only);
        // A node that its own spec names does not dial itself.
        let seed = Line::try_parse_from(["node"])
            .unwrap()
            .network
            .node_key(&folder)
            .unwrap();
        let own: StaticPeer = address(&NodeKey::from_seed(&seed).peer_id())
            .parse()
            .unwrap();
        assert_eq!(peers(&[], &[own.clone(), other.clone()]), only);
        let named = address("12D3KooWJarK9B2vrRa9A3BKsb45ND9TA1hWCpRbMekU81pNq9g9");
        assert_eq!(
            peers(&["--bootnodes", &named], &[own, other]),
            [named.parse().unwrap()]
        );
    }

    #[test]
    fn the_node_key_is_made_once() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "a").unwrap();
        let line = Line::try_parse_from(["node"]).unwrap();
        let first = line.network.node_key(&folder).unwrap();
        assert_eq!(line.network.node_key(&folder).unwrap(), first);
        let other = folder.network().join("other");
        let words = ["node", "--node-key-file", &other.to_string_lossy()];
        let line = Line::try_parse_from(words).unwrap();
        let said = line.network.node_key(&folder).unwrap_err().to_string();
        assert!(said.contains("generate-node-key"), "{said}");
    }

    #[test]
    fn what_is_no_reserved_node_is_refused_with_the_mend() {
        let said = "192.0.2.7:30333".parse::<ReservedNode>().unwrap_err();
        assert!(said.contains("inspect-node-key"), "{said}");
        let said = "/ip4/192.0.2.7/tcp/1".parse::<ReservedNode>().unwrap_err();
        assert!(said.contains("/p2p/"), "{said}");
    }
}
