//! A peer that breaks the rules, against a node that really runs.
//!
//! ```text
//! rogue ATTACK --at /ip4/10.0.0.1/tcp/30333/p2p/12D3KooW… --genesis 0x… [--validator //Dave] [--seconds 10]
//! ```
//!
//! Connects under a node key of its own, says hello as the validator whose vote key derives from the development phrase, or as
//! a stranger, and attacks for some seconds, or until it is thrown out. What happens to it stands in lines of JSON.
//! `tests/faults/hostile.py` runs it. What the network takes from peers and what it counts against them is tested in the
//! crate itself; this shows that the node round it goes on.

#![allow(
    clippy::unwrap_used,
    reason = "a tool of the tests: what goes wrong ends it"
)]

// The door that keeps a swarm's own streams back until the other side has let it in.
#[allow(dead_code, reason = "part of it serves the network alone")]
#[path = "../src/gate.rs"]
mod gate;
#[allow(unused_imports, reason = "part of it serves the network alone")]
#[path = "../src/p2p.rs"]
mod p2p;

use std::{collections::VecDeque, env, io, time::Duration};

use codec::{Compact, Decode, Encode};
use commonwatt_network::{
    BlockContent, BlocksRequest, Claim, Hello, StaticPeer, Topic, hello_payload,
};
use commonwatt_primitives::{AccountId, Hash};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use sp_core::{Pair, ed25519};

use gate::Gate;
use p2p::{
    PeerId, StreamProtocol, Swarm, Transport,
    core::{muxing::StreamMuxerBox, upgrade},
    gossipsub,
    identity::Keypair,
    noise, ping,
    request_response::{self, Codec, ProtocolSupport, ResponseChannel},
    swarm::{self, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};

/// The version of the protocol that it says it speaks.
const VERSION: u32 = 1;

/// How often it attacks, and how many messages it sends at once.
const INTERVAL: Duration = Duration::from_millis(10);
const BURST: u32 = 50;

/// Bytes that it reads of one answer.
const READ_MAX: u64 = 32 * 1024 * 1024;

/// Messages of others that it remembers, to repeat them.
const HEARD_MAX: usize = 2_000;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// It is nobody's peer.
    Stranger,
    /// It is of another chain.
    WrongChain,
    /// Its signature is somebody else's.
    ForgedHello,
    /// It connects and says nothing.
    Mute,
    /// Its requests are no requests.
    GarbageRequests,
    /// Its gossip says nothing.
    GarbageGossip,
    /// Its messages are longer than any.
    Oversized,
    /// It says how far it is, all the time.
    Flood,
    /// It says again what others said, and says it anew each time.
    Replay,
    /// It says long afterwards what others said.
    Stale,
    /// It promises blocks, and gives others with their certificates.
    WrongCertificates,
    /// It asks for all blocks, and reads no answer.
    SlowReader,
    /// It floods with transactions that nobody signed.
    Transactions,
    /// Its transactions, below its rate, have wrong signatures.
    ForgedTransactions,
}

impl Attack {
    const ALL: [(&'static str, Self); 14] = [
        ("stranger", Self::Stranger),
        ("wrong-chain", Self::WrongChain),
        ("forged-hello", Self::ForgedHello),
        ("mute", Self::Mute),
        ("garbage-requests", Self::GarbageRequests),
        ("garbage-gossip", Self::GarbageGossip),
        ("oversized", Self::Oversized),
        ("flood", Self::Flood),
        ("replay", Self::Replay),
        ("stale", Self::Stale),
        ("wrong-certificates", Self::WrongCertificates),
        ("slow-reader", Self::SlowReader),
        ("transactions", Self::Transactions),
        ("forged-transactions", Self::ForgedTransactions),
    ];

    fn parse(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| panic!("{name:?} is no attack: {:?}", Self::ALL.map(|one| one.0)))
            .1
    }
}

/// Writes and reads what it is given, as it is.
#[derive(Clone)]
struct Raw {
    /// It never reads an answer.
    is_deaf: bool,
}

async fn read_framed<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let length = u64::from(u32::from_le_bytes(length)).min(READ_MAX);
    let mut bytes = Vec::new();
    io.take(length).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_framed(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        if self.is_deaf {
            std::future::pending::<()>().await;
        }
        read_framed(io).await
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
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

type Requests = request_response::Behaviour<Raw>;
type Gossip =
    gossipsub::Behaviour<gossipsub::IdentityTransform, gossipsub::WhitelistSubscriptionFilter>;

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
struct Behaviour {
    hello: Requests,
    gate: Gate<Members>,
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
struct Members {
    ping: ping::Behaviour,
    votes: Gossip,
    proposals: Gossip,
    urgent: Gossip,
    transactions: Gossip,
    status: Requests,
    sync: Requests,
    fetch: Requests,
}

fn requests(name: &'static str, is_deaf: bool) -> Requests {
    let config = request_response::Config::default()
        .with_request_timeout(Duration::from_secs(60))
        .with_max_concurrent_streams(1_000);
    let protocol = (StreamProtocol::new(name), ProtocolSupport::Full);
    Requests::with_codec(Raw { is_deaf }, [protocol], config)
}

fn gossip(topic: Topic, keys: &Keypair) -> Gossip {
    let config = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!("/commonwatt/gossip/{}", topic.name()))
        .max_transmit_size(64 * 1024 * 1024)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .connection_handler_queue_len(10_000)
        .build()
        .unwrap();
    let ident = gossipsub::IdentTopic::new(topic.name());
    let filter = gossipsub::WhitelistSubscriptionFilter([ident.hash()].into());
    let keys = gossipsub::MessageAuthenticity::Signed(keys.clone());
    let mut gossip = Gossip::new_with_subscription_filter(keys, config, filter).unwrap();
    gossip.subscribe(&ident).unwrap();
    gossip
}

/// Puts the length before a message.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&length.to_le_bytes()[..], message].concat()
}

/// Returns a remark that somebody is said to have signed, for all time: `0x84`, address, signature, era, nonce, tip, call.
fn forged(number: u32) -> Vec<u8> {
    let signer = [&[0], &[7; 32][..]].concat();
    let signature = [&[0], &[9; 64][..]].concat();
    let rest = (0_u8, Compact(number), Compact(0_u128));
    let remark = [[0, 0].to_vec(), number.to_le_bytes().to_vec().encode()].concat();
    [vec![0x84], signer, signature, rest.encode(), remark]
        .concat()
        .encode()
}

/// Puts the attempt before a gossiped payload.
fn attempted(attempt: u32, payload: &[u8]) -> Vec<u8> {
    [&attempt.to_le_bytes()[..], payload].concat()
}

struct Rogue {
    attack: Attack,
    swarm: Swarm<Behaviour>,
    own: PeerId,
    target: PeerId,
    genesis: Hash,
    validator: Option<ed25519::Pair>,
    is_let_in: bool,
    is_closed: bool,
    sent: u64,
    sent_bytes: u64,
    refused_gossip: u64,
    answers: u64,
    asked_of_us: u64,
    best: u32,
    /// Hellos that it leaves without an answer.
    withheld: Vec<ResponseChannel<Vec<u8>>>,
    /// What it has heard, by topic and without attempts.
    heard: VecDeque<(Topic, Vec<u8>)>,
    /// An encoded answer with a block of the chain, and its certificate.
    block: Option<Vec<u8>>,
}

fn tell(event: &str, more: &str) {
    println!("{{\"event\": \"{event}\"{more}}}");
}

impl Rogue {
    fn new(attack: Attack, peer: &StaticPeer, genesis: Hash, validator: Option<&str>) -> Self {
        let keys = Keypair::generate_ed25519();
        let own = keys.public().to_peer_id();
        let is_deaf = attack == Attack::SlowReader;
        let behaviour = Behaviour {
            hello: requests("/commonwatt/hello/1", false),
            gate: Gate::new(Members {
                ping: ping::Behaviour::default(),
                votes: gossip(Topic::Votes, &keys),
                proposals: gossip(Topic::Proposals, &keys),
                urgent: gossip(Topic::Urgent, &keys),
                transactions: gossip(Topic::Transactions, &keys),
                status: requests("/commonwatt/status/1", is_deaf),
                sync: requests("/commonwatt/sync/1", is_deaf),
                fetch: requests("/commonwatt/transactions/1", is_deaf),
            }),
        };
        let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(upgrade::Version::V1Lazy)
            .authenticate(noise::Config::new(&keys).unwrap())
            .multiplex(yamux::Config::default())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
        let config = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(Duration::from_secs(3_600));
        let mut swarm = Swarm::new(transport, behaviour, own, config);
        let address = DialOpts::peer_id(peer.id)
            .addresses(vec![peer.address.clone()])
            .build();
        swarm.dial(address).unwrap();
        Self {
            attack,
            swarm,
            own,
            target: peer.id,
            genesis,
            validator: validator.map(|path| ed25519::Pair::from_string(path, None).unwrap()),
            is_let_in: false,
            is_closed: false,
            sent: 0,
            sent_bytes: 0,
            refused_gossip: 0,
            answers: 0,
            asked_of_us: 0,
            best: 0,
            withheld: Vec::new(),
            heard: VecDeque::new(),
            block: None,
        }
    }

    fn members(&mut self) -> &mut Members {
        self.swarm.behaviour_mut().gate.inner_mut()
    }

    fn hello(&self) -> Hello {
        let genesis = match self.attack {
            Attack::WrongChain => Hash::repeat_byte(0x66),
            _ => self.genesis,
        };
        let claim = match &self.validator {
            None => Claim::Full,
            Some(pair) => {
                let mut signature = pair
                    .sign(&hello_payload(&genesis, &self.own, &self.target))
                    .0;
                if self.attack == Attack::ForgedHello {
                    signature[0] ^= 1;
                }
                let account = AccountId::new(pair.public().0);
                Claim::Validator { account, signature }
            }
        };
        Hello {
            version: VERSION,
            genesis,
            claim,
        }
    }

    fn gossip(&mut self, topic: Topic, data: Vec<u8>) {
        let bytes = u64::try_from(data.len()).unwrap();
        let members = self.members();
        let gossip = match topic {
            Topic::Votes => &mut members.votes,
            Topic::Proposals => &mut members.proposals,
            Topic::Urgent => &mut members.urgent,
            Topic::Transactions => &mut members.transactions,
        };
        match gossip.publish(gossipsub::IdentTopic::new(topic.name()), data) {
            Ok(_) => self.note(bytes),
            // Nobody has subscribed yet, or its own queue is full.
            Err(_) => self.refused_gossip += 1,
        }
    }

    fn note(&mut self, bytes: u64) {
        self.sent += 1;
        self.sent_bytes += bytes;
    }

    fn request(&mut self, kind: u32, bytes: Vec<u8>) {
        let target = self.target;
        self.note(u64::try_from(bytes.len()).unwrap());
        let members = self.members();
        let requests = match kind % 3 {
            0 => &mut members.status,
            1 => &mut members.sync,
            _ => &mut members.fetch,
        };
        requests.send_request(&target, bytes);
    }

    /// Misbehaves once more.
    fn strike(&mut self, tick: u32) {
        match self.attack {
            Attack::Stranger | Attack::WrongChain | Attack::ForgedHello | Attack::Mute => {}
            Attack::GarbageRequests => self.request(tick, framed(&[0xff; 50])),
            Attack::GarbageGossip => {
                for topic in Topic::ALL {
                    let garbage = [&[0xff; 40][..], &tick.to_le_bytes()].concat();
                    self.gossip(topic, attempted(tick, &garbage));
                }
            }
            Attack::Oversized => {
                // A length of 2 GiB, and more than any request has.
                let announced = [&0x8000_0000_u32.to_le_bytes()[..], &[7; 2_000_000]].concat();
                self.request(2, announced);
                self.gossip(Topic::Votes, attempted(tick, &vec![1; 80_000]));
            }
            Attack::Flood => {
                for _ in 0..BURST {
                    self.request(0, framed(&tick.encode()));
                }
            }
            Attack::Replay | Attack::Stale => {
                // What is stale is of heights that were decided long ago.
                let is_old = self.attack == Attack::Stale;
                let known: Vec<_> = match is_old {
                    true => self
                        .heard
                        .iter()
                        .take(self.heard.len() / 4)
                        .cloned()
                        .collect(),
                    false => self.heard.iter().rev().take(20).cloned().collect(),
                };
                for (number, (topic, payload)) in (0u32..).zip(known).take(20) {
                    let attempt = 1_000_000 + tick * 100 + number;
                    self.gossip(topic, attempted(attempt, &payload));
                }
            }
            Attack::WrongCertificates => {
                if self.block.is_none() && tick.is_multiple_of(50) {
                    let request = BlocksRequest {
                        from: 1,
                        count: 1,
                        content: BlockContent::Full,
                    };
                    self.request(1, framed(&request.encode()));
                } else if tick.is_multiple_of(20) {
                    // Far enough ahead to be asked.
                    let ahead = self.best.saturating_add(50);
                    self.request(0, framed(&ahead.encode()));
                }
            }
            Attack::SlowReader => {
                if tick.is_multiple_of(10) {
                    let request = BlocksRequest {
                        from: 0,
                        count: 256,
                        content: BlockContent::Full,
                    };
                    self.request(1, framed(&request.encode()));
                }
            }
            Attack::Transactions => {
                for number in 0..4u32 {
                    // Well-formed batches of what decodes as nothing.
                    let transaction = [&[0x84][..], &[tick.to_le_bytes()[0]; 400]].concat();
                    let batch: Vec<_> = (0..100u32)
                        .map(|at| [&transaction[..], &(number * 100 + at).to_le_bytes()].concat())
                        .collect();
                    self.gossip(Topic::Transactions, attempted(tick, &batch.encode()));
                }
            }
            Attack::ForgedTransactions => {
                let batch: Vec<_> = (0..100).map(|at| forged(tick * 100 + at)).collect();
                self.gossip(Topic::Transactions, attempted(tick, &batch.encode()));
            }
        }
    }

    /// Answers a request for blocks with a block that was not asked for.
    fn give_wrong_block(&mut self, channel: ResponseChannel<Vec<u8>>) {
        self.asked_of_us += 1;
        // An answer with items: 1, and a list of one block, the first of the chain, whatever was asked for.
        let answer = match &self.block {
            Some(block) => block.clone(),
            None => [&[1][..], &vec![vec![0xee_u8; 200]].encode()].concat(),
        };
        let _ = self.members().sync.send_response(channel, framed(&answer));
    }

    fn on_hello(&mut self, event: request_response::Event<Vec<u8>, Vec<u8>>) {
        let target = self.target;
        match event {
            request_response::Event::Message { message, .. } => match message {
                request_response::Message::Request { channel, .. }
                    if self.attack == Attack::Mute =>
                {
                    self.withheld.push(channel);
                }
                request_response::Message::Request { channel, .. } => {
                    self.swarm.behaviour_mut().gate.let_in(&target);
                    let welcome = [vec![1], self.hello().encode()].concat();
                    let hello = &mut self.swarm.behaviour_mut().hello;
                    let _ = hello.send_response(channel, framed(&welcome));
                }
                request_response::Message::Response { response, .. } => {
                    match response.split_first() {
                        Some((1, _)) => {
                            self.swarm.behaviour_mut().gate.let_in(&target);
                            self.swarm.behaviour_mut().gate.open(&target);
                            self.is_let_in = true;
                            tell("letIn", "");
                        }
                        Some((2, reason)) => {
                            let reason = Vec::<u8>::decode(&mut &*reason).unwrap_or_default();
                            let reason = String::from_utf8_lossy(&reason).replace(['"', '\\'], "'");
                            tell("refused", &format!(", \"reason\": \"{reason}\""));
                        }
                        _ => tell("refused", ", \"reason\": \"\""),
                    }
                }
            },
            request_response::Event::OutboundFailure { error, .. } => {
                let error = error.to_string().replace(['"', '\\'], "'");
                tell("helloFailed", &format!(", \"error\": \"{error}\""));
            }
            _ => {}
        }
    }

    fn on_member(&mut self, event: MembersEvent) {
        match event {
            MembersEvent::Status(request_response::Event::Message { message, .. }) => match message
            {
                request_response::Message::Request {
                    request, channel, ..
                } => {
                    self.best = u32::decode(&mut &request[..]).unwrap_or(self.best);
                    let ahead = match self.attack {
                        Attack::WrongCertificates => self.best.saturating_add(50),
                        _ => self.best,
                    };
                    let answer = framed(&ahead.encode());
                    let _ = self.members().status.send_response(channel, answer);
                }
                request_response::Message::Response { response, .. } => {
                    self.best = u32::decode(&mut &response[..]).unwrap_or(self.best);
                    self.answers += 1;
                }
            },
            MembersEvent::Sync(request_response::Event::Message { message, .. }) => match message {
                request_response::Message::Request { channel, .. } => {
                    self.give_wrong_block(channel);
                }
                request_response::Message::Response { response, .. } => {
                    self.answers += 1;
                    let is_block = response.len() > 2 && response[0] == 1;
                    if is_block && Compact::<u32>::decode(&mut &response[1..]).is_ok() {
                        self.block = Some(response);
                    }
                }
            },
            MembersEvent::Votes(event) => self.hear(Topic::Votes, event),
            MembersEvent::Proposals(event) => self.hear(Topic::Proposals, event),
            MembersEvent::Urgent(event) => self.hear(Topic::Urgent, event),
            MembersEvent::Transactions(event) => self.hear(Topic::Transactions, event),
            _ => {}
        }
    }

    fn hear(&mut self, topic: Topic, event: gossipsub::Event) {
        let gossipsub::Event::Message { message, .. } = event else {
            return;
        };
        if let Some((_, payload)) = message.data.split_at_checked(4) {
            if self.heard.len() >= HEARD_MAX {
                self.heard.pop_back();
            }
            self.heard.push_back((topic, payload.to_vec()));
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { .. } => {
                tell("connected", "");
                if self.attack != Attack::Mute {
                    let (hello, target) = (framed(&self.hello().encode()), self.target);
                    self.swarm
                        .behaviour_mut()
                        .hello
                        .send_request(&target, hello);
                }
            }
            SwarmEvent::ConnectionClosed {
                num_established, ..
            } => {
                self.is_closed = num_established == 0;
            }
            SwarmEvent::OutgoingConnectionError { .. } => self.is_closed = true,
            SwarmEvent::Behaviour(BehaviourEvent::Hello(event)) => self.on_hello(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gate(event)) => self.on_member(event),
            _ => {}
        }
    }
}

fn option(name: &str) -> Option<String> {
    let mut words = env::args().skip_while(|word| word != name);
    words.nth(1)
}

#[tokio::main]
async fn main() {
    let attack = Attack::parse(&env::args().nth(1).unwrap_or_default());
    let peer: StaticPeer = option("--at").expect("--at").parse().unwrap();
    let genesis = option("--genesis").expect("--genesis");
    let genesis = sp_core::bytes::from_hex(&genesis).unwrap();
    let seconds: u64 = option("--seconds").map_or(10, |text| text.parse().unwrap());
    let validator = option("--validator");
    let genesis = Hash::from_slice(&genesis);
    let mut rogue = Rogue::new(attack, &peer, genesis, validator.as_deref());

    let began = tokio::time::Instant::now();
    let until = began + Duration::from_secs(seconds);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut tick = 0;
    while !rogue.is_closed {
        tokio::select! {
            () = tokio::time::sleep_until(until) => break,
            event = rogue.swarm.select_next_some() => rogue.on_event(event),
            _ = ticks.tick() => if rogue.is_let_in {
                tick += 1;
                rogue.strike(tick);
            }
        }
    }
    tell(
        "done",
        &format!(
            ", \"thrownOut\": {}, \"afterMs\": {}, \"sent\": {}, \"sentBytes\": {}, \"notSent\": {}, \"answers\": {}, \"askedOfUs\": {}, \"heard\": {}",
            rogue.is_closed,
            began.elapsed().as_millis(),
            rogue.sent,
            rogue.sent_bytes,
            rogue.refused_gossip,
            rogue.answers,
            rogue.asked_of_us,
            rogue.heard.len()
        ),
    );
}
