//! The network's task: everything that happens, one after the other.
//!
//! `members.rs` lets peers in and sends them away, `gossip.rs` and `asking.rs` do what members may.

mod asking;
mod gossip;
mod members;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::p2p::{
    Multiaddr, PeerId, Swarm, Transport, TransportError,
    core::transport::ListenerId,
    identity::Keypair,
    multiaddr::Protocol as AddressPart,
    request_response::{InboundRequestId, OutboundRequestId},
    swarm::{
        self, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use commonwatt_primitives::Hash;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{
    admission::{Admission, Introduction},
    behaviour::{Behaviour, BehaviourEvent},
    config::{NetworkConfig, Timeouts},
    dialer::Dialer,
    doorstep::{Doorstep, Waiting},
    error::StartError,
    event::Inbox,
    handle::{Command, Shared},
    limits::{
        ADDRESSES_PER_PEER_MAX, CONNECTIONS_PER_PEER_MAX, CROWD_TOLD_EVERY, PEERS_MAX,
        RESOLVE_TIMEOUT,
    },
    numbers::Numbers,
    outbox::Outbox,
    peer_book::PeerBook,
    topic::MessageId,
    traffic::{Counters, count},
    transport,
};

use asking::{Asked, Kind, Served};
use gossip::Way;
use members::Peer;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long ending the network waits for connections to close in order.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection without streams may stay this long: peers that are let in stay until somebody leaves.
const IDLE_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Streams of one connection that are being negotiated.
const NEGOTIATING_STREAMS_MAX: usize = 32;

/// Events of the swarm handled in a row before commands get their turn.
const SWARM_EVENTS_IN_A_ROW: usize = 64;

/// Addresses of a peer, resolved.
type Resolved = (PeerId, Vec<Multiaddr>);

/// The network's task.
pub(crate) struct Task {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    commands: mpsc::Receiver<Command>,
    admission: Arc<dyn Admission>,
    introduction: Arc<dyn Introduction>,
    genesis: Hash,
    own: PeerId,
    listen: Vec<Multiaddr>,
    peers_max: usize,
    timeouts: Timeouts,
    /// Static peers and full nodes: named by the operator.
    configured: BTreeSet<PeerId>,
    full_nodes: BTreeSet<PeerId>,
    started: Instant,
    /// Everybody who is connected.
    peers: BTreeMap<PeerId, Peer>,
    book: PeerBook,
    numbers: Numbers,
    dialer: Dialer,
    resolving: FuturesUnordered<BoxFuture<'static, Resolved>>,
    /// Messages that await a verdict, and when each has waited long enough.
    unjudged: BTreeMap<MessageId, Way>,
    verdicts_due: VecDeque<(Duration, MessageId)>,
    /// When transactions are gossiped next.
    transactions_due: Option<Instant>,
    asked: BTreeMap<(Kind, OutboundRequestId), Asked>,
    serving: FuturesUnordered<BoxFuture<'static, Served>>,
    answers: BTreeMap<(Kind, InboundRequestId), usize>,
    answers_bytes: usize,
    /// When gossip's own scores were looked at last.
    scores_read: Duration,
    /// Connections of others that have not yet shown who they are.
    doorstep: Waiting,
    /// When was said last that some of them had to make room.
    crowd_told: Option<Duration>,
}

impl Task {
    /// Sets everything up; nothing happens yet.
    pub(crate) fn new(
        config: NetworkConfig,
        admission: Arc<dyn Admission>,
        introduction: Arc<dyn Introduction>,
        inbox: Arc<Inbox>,
        commands: mpsc::Receiver<Command>,
    ) -> Result<Self, StartError> {
        let keys =
            Keypair::ed25519_from_bytes(*config.node_key).map_err(|_| StartError::NodeKey)?;
        let own = keys.public().to_peer_id();
        config.verify(own)?;
        let counters = Arc::new(Counters::default());
        let transport = transport::build(&keys, counters.clone())?;
        let transport = Doorstep::new(transport, counters.clone());
        let doorstep = transport.waiting().clone();
        let mut behaviour = Behaviour::new(&config, &keys)?;
        let addresses = config.addresses();
        let full_nodes: BTreeSet<PeerId> = config.full_nodes.iter().copied().collect();
        for (peer, addresses) in &addresses {
            doorstep.expect(*peer, addresses);
        }
        let configured: BTreeSet<PeerId> = addresses.keys().chain(&full_nodes).copied().collect();
        for peer in &configured {
            // Crowds of strangers must not keep them out.
            behaviour.limits.bypass_peer_id(peer);
        }
        let swarm_config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS_MAX);
        let shared = Arc::new(Shared {
            own,
            outbox: Outbox::default(),
            counters,
            peers: parking_lot::Mutex::default(),
            listening: parking_lot::Mutex::default(),
            decided: AtomicU32::new(0),
        });
        Ok(Self {
            swarm: Swarm::new(transport.boxed(), behaviour, own, swarm_config),
            shared,
            inbox,
            commands,
            admission,
            introduction,
            genesis: config.genesis,
            own,
            listen: config.listen,
            timeouts: config.timeouts,
            peers_max: config.peers_max.min(PEERS_MAX),
            configured,
            full_nodes,
            started: Instant::now(),
            peers: BTreeMap::new(),
            book: PeerBook::default(),
            numbers: Numbers::default(),
            dialer: Dialer::new(own, addresses),
            resolving: FuturesUnordered::new(),
            unjudged: BTreeMap::new(),
            verdicts_due: VecDeque::new(),
            transactions_due: None,
            asked: BTreeMap::new(),
            serving: FuturesUnordered::new(),
            answers: BTreeMap::new(),
            answers_bytes: 0,
            scores_read: Duration::ZERO,
            doorstep,
            crowd_told: None,
        })
    }

    /// Returns what is shared with the handles.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Returns the time since the start, by which everything here is dated.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins to listen; returns when every listener has an address.
    pub(crate) async fn listen(&mut self) -> Result<(), StartError> {
        let mut waiting: HashMap<ListenerId, Multiaddr> = HashMap::new();
        for address in std::mem::take(&mut self.listen) {
            probe(&address)
                .map_err(|error| listen_error(address.clone(), &TransportError::Other(error)))?;
            let listener = self
                .swarm
                .listen_on(address.clone())
                .map_err(|error| listen_error(address.clone(), &error))?;
            waiting.insert(listener, address);
        }
        while !waiting.is_empty() {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } => {
                    waiting.remove(&listener_id);
                    self.note_listening(address);
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason: Err(error),
                    ..
                } => {
                    if let Some(address) = waiting.remove(&listener_id) {
                        let error = TransportError::Other(error);
                        return Err(listen_error(address, &error));
                    }
                }
                other => self.on_swarm_event(other),
            }
        }
        Ok(())
    }

    /// Runs until it is told to end, or until nobody is left to tell it.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        loop {
            let transactions_due = self.transactions_due;
            tokio::select! {
                command = self.commands.recv() => match command {
                    None | Some(Command::Shutdown) => break,
                    Some(command) => self.on_command(command),
                },
                () = shared.outbox.changed.notified() => self.flush_outbox(),
                event = self.swarm.select_next_some() => self.on_swarm_events(event),
                Some(served) = self.serving.next(), if !self.serving.is_empty() => {
                    self.send_answer(served);
                }
                Some(resolved) = self.resolving.next(), if !self.resolving.is_empty() => {
                    self.dial(resolved);
                }
                () = sleep_until(transactions_due), if transactions_due.is_some() => {
                    self.flush_transactions();
                }
                _ = tick.tick() => self.on_tick(),
            }
        }
        self.end().await;
    }

    /// Closes all connections and tells everybody who waits.
    async fn end(&mut self) {
        self.shared.outbox.close();
        self.commands.close();
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            // It may be gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let deadline = tokio::time::Instant::now() + SHUTDOWN_TIMEOUT;
        while !self.peers.is_empty() {
            let next = self.swarm.select_next_some();
            match tokio::time::timeout_at(deadline, next).await {
                Ok(event) => self.on_swarm_event(event),
                Err(_) => break,
            }
        }
        self.asked.clear();
        self.shared.peers.lock().clear();
        self.inbox.close();
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Report(id, verdict) => self.judge(&id, verdict),
            Command::AskBlocks(peer, request, answer) => self.ask_blocks(peer, request, answer),
            Command::AskTransactions(peer, request, answer) => {
                self.ask_transactions(peer, request, answer);
            }
            Command::SendStatus(peer, decided) => self.send_status(peer, decided),
            Command::AnnounceStatus => self.announce_status(),
            Command::Refuse(peer, refusal) => {
                if let Some(peer) = self.numbers.peer(peer) {
                    self.refuse(peer, refusal);
                }
            }
            Command::Recheck => self.recheck(),
            // Ends the loop before it gets here.
            Command::Shutdown => {}
        }
    }

    /// Handles an event and those that are ready behind it.
    fn on_swarm_events(&mut self, first: SwarmEvent<BehaviourEvent>) {
        self.on_swarm_event(first);
        for _ in 1..SWARM_EVENTS_IN_A_ROW {
            let next = futures::FutureExt::now_or_never(self.swarm.select_next_some());
            let Some(event) = next else {
                return;
            };
            self.on_swarm_event(event);
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                ..
            } => {
                count(&self.shared.counters.connections, 1);
                if num_established.get() > CONNECTIONS_PER_PEER_MAX {
                    // Configured peers are exempt from the swarm's limits, not from this one.
                    self.swarm.close_connection(connection_id);
                    return;
                }
                self.on_connected(peer_id, endpoint.get_remote_address());
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                tracing::debug!(peer = %peer_id, ?cause, "a peer is gone");
                self.on_gone(peer_id);
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => self.on_dial_failed(peer, &error),
            SwarmEvent::NewListenAddr { address, .. } => self.note_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.shared.listening.lock().retain(|one| *one != address);
            }
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                tracing::error!(?addresses, %error, "a listener has ended: peers cannot connect there any more");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a connection could not be taken");
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                tracing::debug!(from = %send_back_addr, %error, "a connection was not taken");
            }
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Hello(event) => self.on_hello_event(event),
            BehaviourEvent::Gate(event) => self.on_member_event(event),
            #[cfg(feature = "mdns")]
            BehaviourEvent::Mdns(event) => self.on_mdns_event(event),
            // These say nothing.
            BehaviourEvent::Limits(never) | BehaviourEvent::Memory(never) => match never {},
            BehaviourEvent::Blocked(never) => match never {},
        }
    }

    /// Dials those that were found on the local network.
    #[cfg(feature = "mdns")]
    fn on_mdns_event(&mut self, event: crate::p2p::mdns::Event) {
        let crate::p2p::mdns::Event::Discovered(found) = event else {
            return;
        };
        let now = self.now();
        for (peer, address) in found {
            let is_known = self.peers.contains_key(&peer) || peer == self.own;
            if !is_known && self.book.blocked_until(&peer, now).is_none() {
                self.dial((peer, vec![address]));
            }
        }
    }

    fn on_tick(&mut self) {
        let now = self.now();
        for peer in self.book.release(now) {
            self.swarm.behaviour_mut().blocked.unblock_peer(peer);
        }
        self.drop_late_verdicts(now);
        self.send_away_the_silent(now);
        self.renew_statuses();
        self.read_gossip_scores(now);
        self.tell_of_crowd(now);
        for (peer, addresses) in self.dialer.take_due(now) {
            if self.peers.contains_key(&peer) {
                self.dialer.note_connected(&peer);
            } else {
                self.resolving.push(Box::pin(resolve(peer, addresses)));
            }
        }
        self.publish_peers();
    }

    /// Says that connections come faster than they show who they are.
    fn tell_of_crowd(&mut self, now: Duration) {
        let is_due = self
            .crowd_told
            .is_none_or(|told| now >= told + CROWD_TOLD_EVERY);
        if !is_due {
            return;
        }
        if let Some(crowd) = self.doorstep.take_crowd() {
            self.crowd_told = Some(now);
            tracing::warn!(
                given_up = crowd.given_up,
                last_from = %crowd.last,
                "connections come faster than they show who they are; those that waited longest were given up. Should peers not \
                 be able to connect, keep that host away with a firewall"
            );
        }
    }

    fn note_listening(&mut self, address: Multiaddr) {
        tracing::info!(%address, peer_id = %self.own, "listening for peers");
        let mut listening = self.shared.listening.lock();
        if !listening.contains(&address) {
            listening.push(address);
        }
    }

    fn dial(&mut self, (peer, addresses): Resolved) {
        let now = self.now();
        if self.peers.contains_key(&peer) {
            return self.dialer.note_connected(&peer);
        }
        if addresses.is_empty() {
            tracing::debug!(%peer, "no address of a peer could be resolved");
            return self.dialer.note_gone(&peer, now, None);
        }
        if self.configured.contains(&peer) {
            self.doorstep.expect(peer, &addresses);
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        if let Err(error) = self.swarm.dial(options) {
            self.on_dial_failed(peer, &error);
        }
    }

    fn on_dial_failed(&mut self, peer: PeerId, error: &DialError) {
        if self.peers.contains_key(&peer) {
            // It came to us meanwhile.
            return self.dialer.note_connected(&peer);
        }
        if let DialError::WrongPeerId { obtained, address } = error {
            tracing::warn!(
                expected = %peer, %obtained, %address,
                "another peer answers at this address: correct the peer id in the list of peers"
            );
        } else {
            tracing::debug!(%peer, %error, "a peer could not be reached");
        }
        let now = self.now();
        let blocked_until = self.book.blocked_until(&peer, now);
        self.dialer.note_gone(&peer, now, blocked_until);
    }

    /// Returns this node's last decided block.
    fn decided(&self) -> u32 {
        self.shared.decided.load(Ordering::Relaxed)
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Finds out whether a port is free. libp2p lets several sockets of one user listen on one port, so a second node
/// would start and get some of the first one's peers.
fn probe(address: &Multiaddr) -> std::io::Result<()> {
    let parts: Vec<AddressPart<'_>> = address.iter().collect();
    let host = match parts.first() {
        Some(AddressPart::Ip4(host)) => IpAddr::from(*host),
        Some(AddressPart::Ip6(host)) => IpAddr::from(*host),
        _ => return Ok(()),
    };
    match parts.get(1) {
        Some(AddressPart::Tcp(port)) if *port != 0 => {
            std::net::TcpListener::bind((host, *port)).map(drop)
        }
        Some(AddressPart::Udp(port)) if *port != 0 => {
            std::net::UdpSocket::bind((host, *port)).map(drop)
        }
        _ => Ok(()),
    }
}

/// Says why an address cannot be listened on, and what to do.
fn listen_error(address: Multiaddr, error: &TransportError<std::io::Error>) -> StartError {
    let hint = match error {
        TransportError::MultiaddrNotSupported(_) => {
            "use an address like /ip4/0.0.0.0/tcp/30333 or /ip4/0.0.0.0/udp/30333/quic-v1"
        }
        TransportError::Other(error) => match innermost_kind(error) {
            std::io::ErrorKind::AddrInUse => {
                "another program uses this port: stop it, or choose another port with --port, or address with --listen-addr"
            }
            std::io::ErrorKind::AddrNotAvailable => {
                "this machine does not have that address: choose one it has, or 0.0.0.0 for all"
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 are reserved: choose a higher one"
            }
            _ => "choose another address with --listen-addr",
        },
    };
    StartError::Listen {
        address,
        cause: innermost_cause(error),
        hint,
    }
}

/// Returns the kind of the first error in the chain of causes that says what the system said.
fn innermost_kind(error: &std::io::Error) -> std::io::ErrorKind {
    let mut kind = error.kind();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error
        .get_ref()
        .map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.kind() != std::io::ErrorKind::Other
        {
            kind = io.kind();
        }
        cause = inner.source();
    }
    kind
}

fn innermost_cause(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => {
            "this node speaks neither of its protocols".to_owned()
        }
        TransportError::Other(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(error);
            while let Some(inner) = cause {
                text = inner.to_string();
                cause = inner.source();
            }
            text
        }
    }
}

/// Replaces names by the addresses they stand for now. What cannot be resolved is left out.
async fn resolve(peer: PeerId, addresses: Vec<Multiaddr>) -> Resolved {
    let mut resolved = Vec::new();
    for address in addresses {
        let mut parts = address.iter();
        let (name, wants): (String, fn(&IpAddr) -> bool) = match parts.next() {
            Some(AddressPart::Dns(name)) => (name.into_owned(), |_| true),
            Some(AddressPart::Dns4(name)) => (name.into_owned(), IpAddr::is_ipv4),
            Some(AddressPart::Dns6(name)) => (name.into_owned(), IpAddr::is_ipv6),
            _ => {
                resolved.push(address);
                continue;
            }
        };
        let rest: Multiaddr = parts.collect();
        let look_up = tokio::net::lookup_host((name.as_str(), 0));
        match tokio::time::timeout(RESOLVE_TIMEOUT, look_up).await {
            Ok(Ok(found)) => {
                let hosts: BTreeSet<IpAddr> = found.map(|socket: SocketAddr| socket.ip()).collect();
                let of_host = |host: IpAddr| {
                    let start = Multiaddr::from(host);
                    rest.iter().fold(start, |address, part| address.with(part))
                };
                resolved.extend(hosts.into_iter().filter(wants).map(of_host));
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %name, %error, "a name cannot be resolved");
            }
            Err(_) => tracing::debug!(%peer, %name, "resolving a name takes too long"),
        }
    }
    resolved.truncate(ADDRESSES_PER_PEER_MAX);
    (peer, resolved)
}
