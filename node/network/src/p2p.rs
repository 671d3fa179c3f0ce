//! The parts of libp2p that are used, under the names its own facade gives them.

pub(crate) use libp2p_allow_block_list as allow_block_list;
pub(crate) use libp2p_connection_limits as connection_limits;
pub(crate) use libp2p_core::{self as core, Transport, multiaddr, transport::TransportError};
pub(crate) use libp2p_gossipsub as gossipsub;
pub(crate) use libp2p_identify as identify;
pub(crate) use libp2p_identity as identity;
#[cfg(feature = "mdns")]
pub(crate) use libp2p_mdns as mdns;
pub(crate) use libp2p_memory_connection_limits as memory_connection_limits;
pub(crate) use libp2p_noise as noise;
pub(crate) use libp2p_ping as ping;
pub(crate) use libp2p_quic as quic;
pub(crate) use libp2p_request_response as request_response;
pub(crate) use libp2p_swarm::{self as swarm, StreamProtocol, Swarm};
pub(crate) use libp2p_tcp as tcp;
pub(crate) use libp2p_yamux as yamux;

pub use libp2p_core::Multiaddr;
pub use libp2p_identity::PeerId;
