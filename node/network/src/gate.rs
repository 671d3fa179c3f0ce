//! Keeps everything but the hello shut until both sides have let each other in.
//!
//! Wraps what only members may use. Until a peer was let in, streams it opens are refused before a byte of them is
//! read; until it has let this node in, no stream is opened to it. Streams opened too early would be refused by it,
//! which gossip takes as "does not speak gossip", for good. So the order is: let in, then answer the hello; be
//! welcomed, then open.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::p2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse, upgrade::DeniedUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        derive_prelude::Either,
        handler::{
            ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound, ListenUpgradeError,
            SendWrapper,
        },
    },
};
use futures::future;
use parking_lot::Mutex;

/// What is open between this node and one peer.
#[derive(Debug, Default)]
struct Door {
    /// The peer may open streams.
    is_let_in: AtomicBool,
    /// This node may open streams.
    is_open: AtomicBool,
    /// Connections that wait for the door to open; at most one waker each.
    waiting: Mutex<Vec<Waker>>,
}

impl Door {
    fn is_let_in(&self) -> bool {
        self.is_let_in.load(Ordering::Acquire)
    }

    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    fn wait(&self, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    fn wake(&self) {
        for waker in self.waiting.lock().drain(..) {
            waker.wake();
        }
    }
}

/// Behaviours behind doors, one for each connected peer.
pub(crate) struct Gate<B> {
    inner: B,
    doors: BTreeMap<PeerId, Arc<Door>>,
}

impl<B> Gate<B> {
    /// Puts `inner` behind shut doors.
    pub(crate) fn new(inner: B) -> Self {
        Self {
            inner,
            doors: BTreeMap::new(),
        }
    }

    /// Returns what is behind the doors.
    pub(crate) fn inner(&self) -> &B {
        &self.inner
    }

    /// Returns what is behind the doors.
    pub(crate) fn inner_mut(&mut self) -> &mut B {
        &mut self.inner
    }

    /// Lets a connected peer open streams. In force when this returns.
    pub(crate) fn let_in(&mut self, peer: &PeerId) {
        if let Some(door) = self.doors.get(peer) {
            door.is_let_in.store(true, Ordering::Release);
            door.wake();
        }
    }

    /// Opens streams to a connected peer that was let in and has let this node in.
    pub(crate) fn open(&mut self, peer: &PeerId) {
        if let Some(door) = self.doors.get(peer) {
            door.is_open.store(true, Ordering::Release);
            door.wake();
        }
    }

    fn door(&mut self, peer: PeerId) -> Arc<Door> {
        self.doors.entry(peer).or_default().clone()
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gate<B> {
    type ConnectionHandler = GateHandler<THandler<B>>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self
            .inner
            .handle_established_inbound_connection(connection, peer, local, remote)?;
        let door = self.door(peer);
        let held = VecDeque::new();
        Ok(GateHandler { inner, door, held })
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner
            .handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let inner = self
            .inner
            .handle_established_outbound_connection(connection, peer, address, role, port_use)?;
        let door = self.door(peer);
        let held = VecDeque::new();
        Ok(GateHandler { inner, door, held })
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(closed) = &event
            && closed.remaining_established == 0
        {
            self.doors.remove(&closed.peer_id);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner
            .on_connection_handler_event(peer, connection, event);
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx)
    }
}

/// One connection behind its peer's door.
pub(crate) struct GateHandler<H: ConnectionHandler> {
    inner: H,
    door: Arc<Door>,
    /// Streams that `inner` wants and that wait for the door to open: one each of gossip, ping and identify, and
    /// requests, whose number is bounded where they are asked.
    held: VecDeque<SubstreamProtocol<H::OutboundProtocol, H::OutboundOpenInfo>>,
}

impl<H: ConnectionHandler> ConnectionHandler for GateHandler<H> {
    type FromBehaviour = H::FromBehaviour;
    type ToBehaviour = H::ToBehaviour;
    type InboundProtocol = Either<SendWrapper<H::InboundProtocol>, SendWrapper<DeniedUpgrade>>;
    type OutboundProtocol = H::OutboundProtocol;
    /// `None` when the stream came to a shut door.
    type InboundOpenInfo = Option<H::InboundOpenInfo>;
    type OutboundOpenInfo = H::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        if self.door.is_let_in() {
            self.inner
                .listen_protocol()
                .map_upgrade(|upgrade| Either::Left(SendWrapper(upgrade)))
                .map_info(Some)
        } else {
            let denied = Either::Right(SendWrapper(DeniedUpgrade));
            SubstreamProtocol::new(denied, None)
        }
    }

    fn connection_keep_alive(&self) -> bool {
        self.door.is_let_in() && self.inner.connection_keep_alive()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        if !self.door.is_open() {
            // Registered before looking again, so that opening in between is not missed.
            self.door.wait(cx);
        }
        if !self.door.is_let_in() {
            return Poll::Pending;
        }
        let is_open = self.door.is_open();
        if is_open && let Some(protocol) = self.held.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        loop {
            match self.inner.poll(cx) {
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
                    if !is_open =>
                {
                    self.held.push_back(protocol);
                }
                other => return other,
            }
        }
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        self.inner.on_behaviour_event(event);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, info }) => {
                match (protocol, info) {
                    (future::Either::Left(protocol), Some(info)) => {
                        ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                            protocol,
                            info,
                        })
                    }
                    // A shut door negotiates nothing.
                    _ => return,
                }
            }
            ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error }) => {
                match (error, info) {
                    (Either::Left(error), Some(info)) => {
                        ConnectionEvent::ListenUpgradeError(ListenUpgradeError { info, error })
                    }
                    _ => return,
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => {
                ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info })
            }
            ConnectionEvent::DialUpgradeError(error) => ConnectionEvent::DialUpgradeError(error),
            ConnectionEvent::AddressChange(change) => ConnectionEvent::AddressChange(change),
            ConnectionEvent::LocalProtocolsChange(change) => {
                ConnectionEvent::LocalProtocolsChange(change)
            }
            ConnectionEvent::RemoteProtocolsChange(change) => {
                ConnectionEvent::RemoteProtocolsChange(change)
            }
            // Kinds of events that a later version of libp2p adds.
            _ => return,
        };
        self.inner.on_connection_event(event);
    }
}
