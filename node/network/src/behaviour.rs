//! What the swarm is made of: who may connect, the hello, and behind the gate everything members do.

use std::{collections::HashSet, io, time::Duration};

use crate::p2p::{
    PeerId, StreamProtocol, allow_block_list, connection_limits,
    gossipsub::{
        self, IdentTopic, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds,
        TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
    },
    identify,
    identity::Keypair,
    memory_connection_limits, ping, request_response,
    request_response::ProtocolSupport,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use blake2::{Blake2b, Digest, digest::consts::U32};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    config::NetworkConfig,
    error::StartError,
    gate::Gate,
    limits::{
        ANSWER_BYTES_MAX, BLOCKS_REQUEST_BYTES_MAX, CONNECTIONS_MAX, CONNECTIONS_PENDING_IN_MAX,
        CONNECTIONS_PENDING_MAX, CONNECTIONS_PER_PEER_MAX, GOSSIP_OVERHEAD_BYTES, HELLO_BYTES_MAX,
        HISTORY_HEARTBEATS, MESH_PEERS, MESH_PEERS_HIGH, MESH_PEERS_LOW, PEER_QUEUE_MESSAGES_MAX,
        PING_INTERVAL, PING_TIMEOUT, REQUEST_TIMEOUT, REQUESTS_ASKED_PER_PEER_MAX,
        SHORT_REQUEST_TIMEOUT, STATUS_BYTES_MAX, TRANSACTIONS_REQUEST_BYTES_MAX,
    },
    topic::Topic,
    traffic::Protocol,
};

/// Hellos of one connection at once, in both directions: strangers get little room.
const HELLO_STREAMS_MAX: usize = 4;

/// Statuses of one connection at once, in both directions: one is under way each way.
const STATUS_STREAMS_MAX: usize = 4;

/// Requests of another kind and connection at once, in both directions: as many as may be asked, each way.
const MEMBER_STREAMS_MAX: usize = 2 * REQUESTS_ASKED_PER_PEER_MAX;

/// Gossip of one topic.
pub(crate) type Gossip =
    gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;
/// Requests of one kind.
pub(crate) type Requests = request_response::Behaviour<WireCodec>;

/// Everything.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub(crate) struct Behaviour {
    pub(crate) limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(crate) hello: Requests,
    #[cfg(feature = "mdns")]
    mdns: Toggle<crate::p2p::mdns::tokio::Behaviour>,
    /// Last, so that a connection that another part denies makes no door.
    pub(crate) gate: Gate<Members>,
}

/// What only peers that were let in may use.
#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub(crate) struct Members {
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(crate) votes: Gossip,
    pub(crate) proposals: Gossip,
    pub(crate) urgent: Gossip,
    pub(crate) transactions: Gossip,
    pub(crate) status: Requests,
    pub(crate) sync: Requests,
    pub(crate) fetch: Requests,
}

impl Members {
    /// Returns the gossip of a topic.
    pub(crate) fn gossip(&mut self, topic: Topic) -> &mut Gossip {
        match topic {
            Topic::Votes => &mut self.votes,
            Topic::Proposals => &mut self.proposals,
            Topic::Urgent => &mut self.urgent,
            Topic::Transactions => &mut self.transactions,
        }
    }

    /// Returns the lowest of gossip's own scores of a peer, which tell of messages with wrong signatures: those
    /// never get as far as the caller.
    pub(crate) fn gossip_score(&self, peer: &PeerId) -> f64 {
        [
            &self.votes,
            &self.proposals,
            &self.urgent,
            &self.transactions,
        ]
        .into_iter()
        .filter_map(|gossip| gossip.peer_score(peer))
        .fold(0.0, f64::min)
    }
}

impl Behaviour {
    /// Makes the behaviour of a node.
    pub(crate) fn new(config: &NetworkConfig, keys: &Keypair) -> Result<Self, StartError> {
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(CONNECTIONS_PENDING_IN_MAX))
            .with_max_pending_outgoing(Some(CONNECTIONS_PENDING_MAX))
            .with_max_established(Some(CONNECTIONS_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let memory = config
            .memory_bytes_max
            .map(memory_connection_limits::Behaviour::with_max_bytes);
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            memory: Toggle::from(memory),
            blocked: allow_block_list::Behaviour::default(),
            hello: requests(
                Protocol::Hello,
                HELLO_BYTES_MAX,
                HELLO_BYTES_MAX,
                SHORT_REQUEST_TIMEOUT,
                HELLO_STREAMS_MAX,
            ),
            #[cfg(feature = "mdns")]
            mdns: Toggle::from(
                config
                    .mdns
                    .then(|| {
                        crate::p2p::mdns::tokio::Behaviour::new(
                            crate::p2p::mdns::Config::default(),
                            keys.public().to_peer_id(),
                        )
                    })
                    .transpose()
                    .map_err(|error| StartError::Setup(format!("mDNS: {error}")))?,
            ),
            gate: Gate::new(Members::new(config, keys)?),
        })
    }
}

impl Members {
    pub(crate) fn new(config: &NetworkConfig, keys: &Keypair) -> Result<Self, StartError> {
        let identify = identify::Config::new("/commonwatt/1".to_owned(), keys.public())
            .with_agent_version(config.agent.clone())
            .with_interval(Duration::from_secs(3600))
            .with_cache_size(0);
        Ok(Self {
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(PING_INTERVAL)
                    .with_timeout(PING_TIMEOUT),
            ),
            identify: identify::Behaviour::new(identify),
            votes: gossip(Topic::Votes, config, keys)?,
            proposals: gossip(Topic::Proposals, config, keys)?,
            urgent: gossip(Topic::Urgent, config, keys)?,
            transactions: gossip(Topic::Transactions, config, keys)?,
            status: requests(
                Protocol::Status,
                STATUS_BYTES_MAX,
                STATUS_BYTES_MAX,
                SHORT_REQUEST_TIMEOUT,
                STATUS_STREAMS_MAX,
            ),
            sync: requests(
                Protocol::Sync,
                BLOCKS_REQUEST_BYTES_MAX,
                ANSWER_BYTES_MAX,
                REQUEST_TIMEOUT,
                MEMBER_STREAMS_MAX,
            ),
            fetch: requests(
                Protocol::Transactions,
                TRANSACTIONS_REQUEST_BYTES_MAX,
                ANSWER_BYTES_MAX,
                REQUEST_TIMEOUT,
                MEMBER_STREAMS_MAX,
            ),
        })
    }
}

/// The name of a topic on the wire.
pub(crate) fn topic_hash(topic: Topic) -> gossipsub::TopicHash {
    IdentTopic::new(topic.name()).hash()
}

/// Names a message by its content: BLAKE2b-256 of topic, attempt and payload. So what several nodes publish goes
/// round once, and what is repeated goes round again.
pub(crate) fn content_id(topic: Topic, data: &[u8]) -> [u8; 32] {
    let mut hasher = Blake2b::<U32>::new();
    hasher.update(topic.name());
    hasher.update(data);
    hasher.finalize().into()
}

/// Makes the gossip of one topic: with a stream, a queue and bounds of its own.
fn gossip(topic: Topic, node: &NetworkConfig, keys: &Keypair) -> Result<Gossip, StartError> {
    let setup = |error: String| StartError::Setup(format!("gossip of {}: {error}", topic.name()));
    let name = Protocol::Gossip(topic)
        .wire_name()
        .map(|name| name.trim_end_matches('/'))
        .unwrap_or_default();
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(name)
        .validate_messages()
        .validation_mode(ValidationMode::Strict)
        .message_id_fn(move |message| gossipsub::MessageId::new(&content_id(topic, &message.data)))
        .max_transmit_size(topic.bytes_max() + GOSSIP_OVERHEAD_BYTES)
        // Everybody else's votes and blocks are waited for; transactions have time to go round.
        .flood_publish(!matches!(topic, Topic::Transactions))
        .mesh_n(MESH_PEERS)
        .mesh_n_low(MESH_PEERS_LOW)
        .mesh_n_high(MESH_PEERS_HIGH)
        .mesh_outbound_min(2)
        .history_length(HISTORY_HEARTBEATS)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .connection_handler_queue_len(PEER_QUEUE_MESSAGES_MAX[topic.index()])
        .build()
        .map_err(|error| setup(error.to_string()))?;
    let only_this = WhitelistSubscriptionFilter(HashSet::from([topic_hash(topic)]));
    let authenticity = MessageAuthenticity::Signed(keys.clone());
    let mut gossip = Gossip::new_with_subscription_filter(authenticity, config, only_this)
        .map_err(|error| setup(error.to_owned()))?;
    let (params, thresholds) = score_params(topic);
    gossip
        .with_peer_score(params, thresholds)
        .map_err(|error| setup(error.to_string()))?;
    if node.gossip {
        gossip
            .subscribe(&IdentTopic::new(topic.name()))
            .map_err(|error| setup(error.to_string()))?;
    }
    Ok(gossip)
}

/// Gossip's own scores: only messages with wrong signatures count. Everything else is judged by the peer book.
fn score_params(topic: Topic) -> (PeerScoreParams, PeerScoreThresholds) {
    let of_topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    let params = PeerScoreParams {
        topics: [(topic_hash(topic), of_topic)].into(),
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: 0.0,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: -50.0,
        publish_threshold: -50.0,
        graylist_threshold: -100.0,
        ..PeerScoreThresholds::default()
    };
    (params, thresholds)
}

/// Makes the requests of one kind.
pub(crate) fn requests(
    protocol: Protocol,
    request_bytes_max: usize,
    answer_bytes_max: usize,
    timeout: Duration,
    streams_max: usize,
) -> Requests {
    let name = StreamProtocol::new(protocol.wire_name().unwrap_or_default());
    let codec = WireCodec {
        request_bytes_max,
        answer_bytes_max,
    };
    let config = request_response::Config::default()
        .with_request_timeout(timeout)
        .with_max_concurrent_streams(streams_max);
    Requests::with_codec(codec, [(name, ProtocolSupport::Full)], config)
}

/// What came in on a stream. What is wrong is handed on too, so that it can be counted against the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A message.
    Bytes(Vec<u8>),
    /// It announced more bytes than are possible.
    TooLong(u32),
    /// It ended before what it announced.
    CutOff,
}

/// Reads and writes one message: its length (u32 LE), then its bytes.
#[derive(Clone, Debug)]
pub(crate) struct WireCodec {
    request_bytes_max: usize,
    answer_bytes_max: usize,
}

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T, bytes_max: usize) -> io::Result<Wire> {
    let mut length = [0; 4];
    match io.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Wire::CutOff),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if usize::try_from(length).map_or(true, |length| length > bytes_max) {
        return Ok(Wire::TooLong(length));
    }
    // Grows with what comes, not with what was announced.
    let mut bytes = Vec::new();
    let read = io.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if u32::try_from(read) == Ok(length) {
        Ok(Wire::Bytes(bytes))
    } else {
        Ok(Wire::CutOff)
    }
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, message: Wire) -> io::Result<()> {
    let Wire::Bytes(bytes) = message else {
        return Err(io::Error::other("only messages are sent"));
    };
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(&bytes).await
}

impl request_response::Codec for WireCodec {
    type Protocol = StreamProtocol;
    type Request = Wire;
    type Response = Wire;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Wire>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.request_bytes_max).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Wire>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.answer_bytes_max).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Wire,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, request).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: Wire,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, answer).await
    }
}
