//! Peers that break the rules, with a libp2p swarm of their own.

use std::io;

use crate::p2p::{
    StreamProtocol, Swarm, gossipsub,
    identity::Keypair,
    request_response::{self, Codec, ProtocolSupport},
    swarm::{self, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};
use codec::Encode;
use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, StreamExt};

use super::*;
use crate::{
    BlockContent, BlocksRequest, Protocol, Refusal, Request, RequestError,
    behaviour::{self, Members, MembersEvent, Requests, Wire},
    gate::Gate,
    hello::{HelloAnswer, PROTOCOL_VERSION, hello_payload},
    limits::{
        HELLO_BYTES_MAX, REQUESTS_SERVED_PER_PEER_MAX, SHORT_REQUEST_TIMEOUT,
        TRANSACTIONS_REQUEST_BYTES_MAX,
    },
    traffic::Counters,
    transport,
};

/// How far a rogue keeps to the rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// It says nothing and answers nothing.
    Mute,
    /// It says hello as the validator with this seed, and misbehaves later.
    Validator(u8),
}

/// Writes what it is given, as it is, and never reads.
#[derive(Clone)]
struct RawCodec;

impl Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        std::future::pending().await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, _: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        std::future::pending().await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.flush().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        _: &mut T,
        _: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        std::future::pending().await
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
struct RogueBehaviour {
    hello: Requests,
    raw: request_response::Behaviour<RawCodec>,
    gate: Gate<Members>,
}

/// Gossip of urgent messages that nobody has signed.
fn unsigned_gossip(own: PeerId) -> behaviour::Gossip {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix("/commonwatt/gossip/urgent")
        .validation_mode(gossipsub::ValidationMode::Permissive)
        .build()
        .unwrap();
    let topic = gossipsub::IdentTopic::new(Topic::Urgent.name());
    let filter = gossipsub::WhitelistSubscriptionFilter([topic.hash()].into());
    let author = gossipsub::MessageAuthenticity::Author(own);
    let mut gossip =
        behaviour::Gossip::new_with_subscription_filter(author, config, filter).unwrap();
    gossip.subscribe(&topic).unwrap();
    gossip
}

/// A peer that does what it likes.
pub(super) struct Rogue {
    swarm: Swarm<RogueBehaviour>,
    own: PeerId,
    target: PeerId,
    manners: Manners,
    /// Hellos it holds back.
    withheld: Vec<request_response::ResponseChannel<Wire>>,
    is_let_in: bool,
    is_closed: bool,
    /// Statuses it has told, with or without success.
    statuses_answered: u32,
}

impl Rogue {
    /// Connects to a node.
    pub(super) async fn dial(node: &Node, manners: Manners) -> Self {
        Self::dial_with_raw(node, manners, "/nothing/1").await
    }

    /// Connects to a node; `raw` is the protocol that its raw bytes go to.
    async fn dial_with_raw(node: &Node, manners: Manners, raw: &'static str) -> Self {
        let keys = Keypair::ed25519_from_bytes([0x66; 32]).unwrap();
        let own = keys.public().to_peer_id();
        let config = config(1, Over::Tcp);
        let raw = [(StreamProtocol::new(raw), ProtocolSupport::Outbound)];
        let mut members = Members::new(&config, &keys).unwrap();
        members.urgent = unsigned_gossip(own);
        let behaviour = RogueBehaviour {
            hello: behaviour::requests(
                Protocol::Hello,
                HELLO_BYTES_MAX,
                HELLO_BYTES_MAX,
                SHORT_REQUEST_TIMEOUT,
                64,
            ),
            raw: request_response::Behaviour::with_codec(
                RawCodec,
                raw,
                request_response::Config::default(),
            ),
            gate: Gate::new(members),
        };
        let transport = transport::build(&keys, Arc::new(Counters::default())).unwrap();
        let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(DEADLINE);
        let mut swarm = Swarm::new(transport, behaviour, own, config);
        let target = node.handle.local_peer_id();
        let address = DialOpts::peer_id(target)
            .addresses(vec![node.listening()])
            .build();
        swarm.dial(address).unwrap();
        let mut rogue = Self {
            swarm,
            own,
            target,
            manners,
            withheld: Vec::new(),
            is_let_in: false,
            is_closed: false,
            statuses_answered: 0,
        };
        if manners != Manners::Mute {
            rogue.drive(|rogue| rogue.is_let_in).await;
        }
        rogue
    }

    fn hello(&self) -> Hello {
        let Manners::Validator(seed) = self.manners else {
            panic!("a mute rogue says no hello");
        };
        let genesis = Hash::from(GENESIS);
        let payload = hello_payload(&genesis, &self.own, &self.target);
        Hello {
            version: PROTOCOL_VERSION,
            genesis,
            claim: validator(seed).claim(&payload),
        }
    }

    /// Lets its swarm run until a condition holds or its connection is closed.
    async fn drive(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !holds(self) && !self.is_closed {
            let next = tokio::time::timeout_at(deadline, self.swarm.select_next_some());
            let event = next.await.expect("what the rogue waits for comes");
            self.on_event(event);
        }
    }

    /// Handles what is there already.
    fn drive_now(&mut self) {
        while let Some(event) = self.swarm.select_next_some().now_or_never() {
            self.on_event(event);
        }
    }

    /// Runs until it is disconnected.
    pub(super) async fn closed(&mut self) {
        self.drive(|rogue| rogue.is_closed).await;
    }

    fn on_event(&mut self, event: SwarmEvent<RogueBehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } if self.manners != Manners::Mute => {
                let hello = Wire::Bytes(self.hello().encode());
                let target = self.target;
                self.swarm
                    .behaviour_mut()
                    .hello
                    .send_request(&target, hello);
            }
            SwarmEvent::ConnectionClosed { cause, .. } => {
                eprintln!("the rogue is disconnected: {cause:?}");
                self.is_closed = true;
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                eprintln!("the rogue cannot connect: {error}");
                self.is_closed = true;
            }
            SwarmEvent::Behaviour(RogueBehaviourEvent::Hello(
                request_response::Event::Message { message, .. },
            )) => match message {
                request_response::Message::Request { channel, .. } => {
                    if self.manners == Manners::Mute {
                        self.withheld.push(channel);
                        return;
                    }
                    let target = self.target;
                    self.swarm.behaviour_mut().gate.let_in(&target);
                    let answer = Wire::Bytes(HelloAnswer::Welcome(self.hello()).encode());
                    let hello = &mut self.swarm.behaviour_mut().hello;
                    hello.send_response(channel, answer).unwrap();
                }
                request_response::Message::Response { .. } => {
                    let target = self.target;
                    self.swarm.behaviour_mut().gate.let_in(&target);
                    self.swarm.behaviour_mut().gate.open(&target);
                    self.is_let_in = true;
                }
            },
            SwarmEvent::Behaviour(RogueBehaviourEvent::Gate(MembersEvent::Sync(
                request_response::Event::Message {
                    message: request_response::Message::Request { channel, .. },
                    ..
                },
            ))) => {
                let garbage = Wire::Bytes(vec![9; 100]);
                let sync = &mut self.swarm.behaviour_mut().gate.inner_mut().sync;
                sync.send_response(channel, garbage).unwrap();
            }
            SwarmEvent::Behaviour(RogueBehaviourEvent::Gate(MembersEvent::Status(
                request_response::Event::Message {
                    message: request_response::Message::Request { channel, .. },
                    ..
                },
            ))) => {
                let status = Wire::Bytes(0u32.encode());
                // An error says that it is disconnected.
                let _ = self.members().status.send_response(channel, status);
            }
            SwarmEvent::Behaviour(RogueBehaviourEvent::Gate(MembersEvent::Status(
                request_response::Event::OutboundFailure { .. }
                | request_response::Event::Message {
                    message: request_response::Message::Response { .. },
                    ..
                },
            ))) => self.statuses_answered += 1,
            _ => {}
        }
    }

    fn members(&mut self) -> &mut Members {
        self.swarm.behaviour_mut().gate.inner_mut()
    }
}

/// Starts a node, an honest peer of it, and a rogue that the node has let in as a validator.
async fn besieged(raw: &'static str) -> (Node, Node, Rogue) {
    let set = ChainSet::of([1, 2, 3]);
    let mut node = Node::validator(1, &set, Over::Tcp, &[]).await;
    let honest = Node::validator(2, &set, Over::Tcp, &[&node]).await;
    node.joined().await;
    let mut rogue = Rogue::dial_with_raw(&node, Manners::Validator(3), raw).await;
    until("both have said how far they are", || {
        rogue.drive_now();
        let peers = node.handle.peers();
        peers.len() == 2 && peers.iter().all(|peer| peer.decided.is_some())
    })
    .await;
    (node, honest, rogue)
}

/// The honest peer goes on as if nothing had happened, and nothing counts against it.
async fn assert_unharmed(node: &mut Node, honest: &Node) {
    let gossip = honest
        .publish_heard(Topic::Votes, b"still here", node)
        .await;
    assert_eq!(gossip.payload, b"still here");
    let peers = node.handle.peers();
    let of_honest = peers
        .iter()
        .find(|peer| peer.id == honest.handle.local_peer_id());
    assert_eq!(of_honest.map(|peer| peer.score), Some(0));
}

fn count_of(node: &Node, refusal: Refusal) -> u64 {
    node.handle.statistics().refusals[&refusal]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_stranger_is_heard_before_its_hello() {
    let set = ChainSet::of([1, 2]);
    let mut node = Node::validator(1, &set, Over::Tcp, &[]).await;
    let honest = Node::validator(2, &set, Over::Tcp, &[&node]).await;
    let mut mute =
        Rogue::dial_with_raw(&node, Manners::Mute, "/commonwatt/gossip/votes/1.1.0").await;
    let target = node.handle.local_peer_id();
    // Its own door stands open: it tries everything at once.
    mute.drive(|rogue| rogue.swarm.is_connected(&target)).await;
    mute.swarm.behaviour_mut().gate.let_in(&target);
    mute.swarm.behaviour_mut().gate.open(&target);
    mute.members()
        .status
        .send_request(&target, Wire::Bytes(1u32.encode()));
    mute.swarm
        .behaviour_mut()
        .raw
        .send_request(&target, vec![1; 1000]);
    let denied = |event: &SwarmEvent<RogueBehaviourEvent>| {
        matches!(
            event,
            SwarmEvent::Behaviour(RogueBehaviourEvent::Gate(MembersEvent::Status(
                request_response::Event::OutboundFailure {
                    error: request_response::OutboundFailure::UnsupportedProtocols,
                    ..
                }
            )))
        )
    };
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let next = tokio::time::timeout_at(deadline, mute.swarm.select_next_some());
        if denied(&next.await.expect("the request is denied")) {
            break;
        }
    }
    assert_unharmed(&mut node, &honest).await;
    let peers = node.handle.peers();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].id, honest.handle.local_peer_id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_requests_is_a_ban() {
    for kind in 0..3 {
        let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
        let target = rogue.target;
        for _ in 0..4 {
            let garbage = Wire::Bytes(vec![0xff; 50]);
            let members = rogue.members();
            let requests = [&mut members.status, &mut members.sync, &mut members.fetch];
            let [status, sync, fetch] = requests;
            [status, sync, fetch][kind].send_request(&target, garbage);
        }
        rogue.closed().await;
        assert_eq!(count_of(&node, Refusal::Garbage), 4);
        assert_eq!(node.handle.statistics().bans, 1);
        assert_unharmed(&mut node, &honest).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_requests_are_a_ban_and_are_not_read() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let target = rogue.target;
    for _ in 0..2 {
        let huge = Wire::Bytes(vec![0; 2 * TRANSACTIONS_REQUEST_BYTES_MAX]);
        rogue.members().fetch.send_request(&target, huge);
    }
    rogue.closed().await;
    assert_eq!(count_of(&node, Refusal::Oversized), 2);
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_gossip_end_its_stream_only() {
    for garbage in [
        vec![0xff; 10_000],
        // A length of 2 GiB, and no more.
        vec![0xff, 0xff, 0xff, 0xff, 0x07, 1, 2, 3],
    ] {
        let (mut node, honest, mut rogue) = besieged("/commonwatt/gossip/votes/1.1.0").await;
        let target = rogue.target;
        for _ in 0..10 {
            let raw = &mut rogue.swarm.behaviour_mut().raw;
            raw.send_request(&target, garbage.clone());
        }
        rogue.drive_now();
        let before = node.handle.traffic().of(Protocol::Gossip(Topic::Votes));
        assert_unharmed(&mut node, &honest).await;
        let received = node
            .handle
            .traffic()
            .of(Protocol::Gossip(Topic::Votes))
            .received;
        assert!(received >= before.received);
        assert_eq!(node.handle.statistics().received[1..], [0, 0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_well_formed_gossip_is_a_ban() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let topic = behaviour::topic_hash(Topic::Transactions);
    let mut number = 0u32;
    while !rogue.is_closed {
        number += 1;
        let garbage = [vec![0xff; 20], number.encode()].concat();
        // Until the node has subscribed, nobody is there.
        let _ = rogue.members().transactions.publish(topic.clone(), garbage);
        let next = rogue.swarm.select_next_some();
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(5), next).await {
            rogue.on_event(event);
        }
        assert!(number < 10_000, "it is not banned");
    }
    assert!(count_of(&node, Refusal::Garbage) >= 4);
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_gossip_is_a_ban_and_is_not_passed_on() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let topic = behaviour::topic_hash(Topic::Proposals);
    let mut number = 0u32;
    while !rogue.is_closed {
        number += 1;
        let proposal = crate::outbox::frame(number, b"proposal");
        let _ = rogue.members().proposals.publish(topic.clone(), proposal);
        let next = rogue.swarm.select_next_some();
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(2), next).await {
            rogue.on_event(event);
        }
        assert!(number < 20_000, "it is not banned");
    }
    assert!(count_of(&node, Refusal::Flood) >= 100);
    let received = node.handle.statistics().received[Topic::Proposals.index()];
    assert!(received < 1_000, "{received} were handed on");
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_is_a_ban() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let target = rogue.target;
    let mut asked = 0;
    while !rogue.is_closed {
        let status = Wire::Bytes(7u32.encode());
        rogue.members().status.send_request(&target, status);
        asked += 1;
        rogue.drive(|rogue| rogue.statuses_answered >= asked).await;
        assert!(asked < 10_000, "it is not banned");
    }
    assert!(count_of(&node, Refusal::Flood) >= 100);
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_without_signatures_is_a_ban() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let topic = behaviour::topic_hash(Topic::Urgent);
    let mut number = 0u32;
    while !rogue.is_closed {
        number += 1;
        let bid = crate::outbox::frame(number, b"bid");
        let _ = rogue.members().urgent.publish(topic.clone(), bid);
        let next = rogue.swarm.select_next_some();
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), next).await {
            rogue.on_event(event);
        }
        assert!(number < 10_000, "it is not banned");
    }
    assert_eq!(node.handle.statistics().received[Topic::Urgent.index()], 0);
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_gets_no_more_than_its_share() {
    let (mut node, honest, mut rogue) = besieged("/commonwatt/sync/1").await;
    let target = rogue.target;
    let request = BlocksRequest {
        from: 1,
        count: 1,
        content: BlockContent::Full,
    };
    let encoded = request.encode();
    let framed = [u32::try_from(encoded.len()).unwrap().encode(), encoded].concat();
    const ASKED: u64 = 10;
    for _ in 0..ASKED {
        let raw = &mut rogue.swarm.behaviour_mut().raw;
        raw.send_request(&target, framed.clone());
    }
    let driving = tokio::spawn(async move { rogue.closed().await });
    let share = u64::try_from(REQUESTS_SERVED_PER_PEER_MAX).unwrap();
    until("all have come", || {
        let statistics = node.handle.statistics();
        statistics.requests_taken + statistics.requests_busy == ASKED
    })
    .await;
    for _ in 0..share {
        let Request::Blocks(_, responder) = node.request().await.request else {
            panic!("blocks were asked for");
        };
        responder.send(vec![vec![1; 4_000_000]]);
    }
    assert_eq!(node.handle.statistics().requests_taken, share);
    assert_eq!(node.handle.statistics().requests_busy, ASKED - share);
    assert_unharmed(&mut node, &honest).await;
    let sent = node.handle.traffic().of(Protocol::Sync).sent;
    assert!(
        sent < 4_000_000,
        "{sent} bytes went to one who does not read"
    );
    driving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_answer_is_an_error_and_counts() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let own = rogue.own;
    let number = node
        .handle
        .peers()
        .into_iter()
        .find(|peer| peer.id == own)
        .unwrap()
        .number;
    let driving = tokio::spawn(async move {
        rogue.closed().await;
    });
    let request = BlocksRequest {
        from: 1,
        count: 1,
        content: BlockContent::Full,
    };
    for _ in 0..4 {
        let answer = node.handle.request_blocks(number, request).await;
        assert!(
            matches!(answer, Err(RequestError::Malformed(_))),
            "{answer:?}"
        );
    }
    tokio::time::timeout(DEADLINE, driving)
        .await
        .expect("it is banned")
        .unwrap();
    assert_eq!(count_of(&node, Refusal::WrongAnswer), 4);
    assert_unharmed(&mut node, &honest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_caller_finds_out_counts_too() {
    let (mut node, honest, mut rogue) = besieged("/nothing/1").await;
    let own = rogue.own;
    let peers = node.handle.peers();
    let of_rogue = peers.iter().find(|peer| peer.id == own).unwrap();
    for _ in 0..5 {
        node.handle.refuse(of_rogue.number, Refusal::InvalidMessage);
    }
    rogue.closed().await;
    assert_eq!(node.handle.statistics().bans, 1);
    assert_unharmed(&mut node, &honest).await;
}
