//! What other nodes send: over real connections to a whole node, and what it decodes of it.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use clap::Parser;
use codec::{DecodeAll, Encode};
use commonwatt::{
    agreement::{Link, LinkConfig, NetworkArgs},
    paths::ChainFolder,
    producer::CatchUp,
    stop::Stop,
    supervisor::Supervisor,
};
use commonwatt_chain::Validators;
use commonwatt_consensus::Block;
use commonwatt_engine::{BlockAnswer, BlockRequest, EngineMessage, to_block, to_stored};
use commonwatt_metrics::{About, Metrics};
use commonwatt_network::{
    BlockContent, BlocksRequest, Claim, Hello, Multiaddr, NetworkHandle, PeerId, StaticPeer, Topic,
    TransactionsRequest,
    compact::{CompactBlock, PoolIndex, Reassembly},
    hello_payload,
    limits::ANSWER_BYTES_MAX,
};
use commonwatt_runtime::{Hash, example};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p_core::{
    Endpoint, Transport,
    muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
    transport::{DialOpts, PortUse},
    upgrade,
};
use libp2p_identity::Keypair;
use multistream_select::{Negotiated, Version, dialer_select_proto, listener_select_proto};
use parking_lot::Mutex;
use sp_core::Pair;
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::fixtures::{grow, new_chain, scratch, timing};

/// What a frame of [`network`] is, by its first byte.
pub mod frame {
    /// A gossiped message of the topic at this place, rightly wrapped and signed; up to three above it for the others.
    pub const GOSSIP: u8 = 0;
    /// What gossip of that topic sends, whatever it is.
    pub const GOSSIP_RAW: u8 = 4;
    /// A hello.
    pub const HELLO: u8 = 8;
    /// A status.
    pub const STATUS: u8 = 9;
    /// A request for blocks.
    pub const BLOCKS: u8 = 10;
    /// A request for transactions.
    pub const TRANSACTIONS: u8 = 11;
    /// Bytes on a stream for requests, the first of them says which; their length is theirs.
    pub const REQUEST_RAW: u8 = 12;
    /// The answer to a question of the node for blocks.
    pub const ANSWER_BLOCKS: u8 = 13;
    /// The answer to a question of the node for transactions.
    pub const ANSWER_TRANSACTIONS: u8 = 14;
    /// The first words on a connection of its own; after an odd byte what answers the node's.
    pub const FIRST_WORDS: u8 = 15;
    /// How many there are.
    pub const KINDS: u8 = 16;
}

/// Frames of one input.
const FRAMES_MAX: usize = 24;
/// Inputs that one connection takes, so that what is counted against it ends with it.
const INPUTS_PER_CONNECTION: u32 = 16;
/// Streams of gossip that one connection opens of each topic: the node takes no more than five.
const GOSSIP_STREAMS_MAX: u32 = 4;
/// How long the node may take for anything.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a question of the node may wait for an answer that does not come.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);
/// Version of everything between peers.
const PROTOCOL_VERSION: u32 = 1;
/// What an answer to a hello begins with that lets a peer in.
const WELCOME: u8 = 1;
/// Bytes of a ping.
const PING_BYTES: usize = 32;

const HELLO: &str = "/commonwatt/hello/1";
const STATUS: &str = "/commonwatt/status/1";
const SYNC: &str = "/commonwatt/sync/1";
const TRANSACTIONS: &str = "/commonwatt/transactions/1";
const REQUESTS: [&str; 4] = [HELLO, STATUS, SYNC, TRANSACTIONS];
const PING: &str = "/ipfs/ping/1.0.0";
const GOSSIP: [&str; 4] = [
    "/commonwatt/gossip/votes/1.1.0",
    "/commonwatt/gossip/proposals/1.1.0",
    "/commonwatt/gossip/urgent/1.1.0",
    "/commonwatt/gossip/transactions/1.1.0",
];
/// What gossip puts before what it signs.
const GOSSIP_DOMAIN: &[u8] = b"libp2p-pubsub:";

// ---------------------------------------------------------------------------------- the node

/// A node that follows the chain of the example community, with its network, its agreement and its pool.
struct Node {
    id: PeerId,
    address: Multiaddr,
    genesis: Hash,
    handle: NetworkHandle,
    stop: Stop,
    runtime: Runtime,
    // Its tasks run as long as it lives.
    _tasks: Supervisor,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    network: NetworkArgs,
}

fn node() -> &'static Node {
    static NODE: LazyLock<Node> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        let (mut chain, _) = new_chain();
        grow(&chain);
        chain.set_agreement(Arc::new(Validators::follower()));
        let chain = Arc::new(chain);
        let line = Line::try_parse_from(["node", "--listen-addr", "/ip4/127.0.0.1/tcp/0"]);
        let config = LinkConfig {
            network: line.expect("it is a flag").network,
            boot_nodes: Vec::new(),
            votes_from: None,
        };
        let folder = ChainFolder::create(&scratch().join("node"), "example");
        let folder = folder.expect("the temporary folder can be written to");
        let metrics = Metrics::new(&About {
            name: "Commonwatt".into(),
            version: "0".into(),
            chain_id: "example".into(),
            is_authority: false,
        })
        .expect("each figure is registered once");
        let link = runtime
            .block_on(Link::start(chain.clone(), &folder, None, &config))
            .expect("a free port");
        let mut tasks = Supervisor::new(runtime.handle().clone());
        let (handle, member) = {
            let _within = runtime.enter();
            link.serve(&mut tasks, metrics.agreement())
        };
        let (stop, figures) = (tasks.stop().clone(), metrics.agreement().clone());
        let agreed = stop.clone();
        tasks
            .spawn_thread("the agreement", move || {
                member.take_part(timing(), CatchUp::FromClock, false, figures, &agreed)
            })
            .expect("threads can be started");
        Node {
            id: handle.local_peer_id(),
            address: handle.listen_addresses()[0].clone(),
            genesis: chain.genesis_hash(),
            handle,
            stop,
            runtime,
            _tasks: tasks,
        }
    });
    &NODE
}

// ---------------------------------------------------------------------------------- who talks to it

type Stream = Negotiated<SubstreamBox>;

/// What the node is answered.
struct Answers {
    hello: Vec<u8>,
    /// To questions for blocks and transactions.
    given: Mutex<Vec<u8>>,
}

/// A peer with a connection, which sends what it likes. The node takes it for the validator X, whose key signs its hello.
struct Rogue {
    keys: Keypair,
    wanted: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    answers: Arc<Answers>,
    gossip: [Option<Stream>; 4],
    gossip_opened: [u32; 4],
}

/// Returns X's hello to the node, by the peer with `keys`.
fn honest_hello(keys: &Keypair) -> Hello {
    let node = node();
    let own = keys.public().to_peer_id();
    let signature = example::pair("X").sign(&hello_payload(&node.genesis, &own, &node.id));
    Hello {
        version: PROTOCOL_VERSION,
        genesis: node.genesis,
        claim: Claim::Validator {
            account: example::account("X"),
            signature: signature.0,
        },
    }
}

impl Rogue {
    /// Connects with a key of its own, and says hello; `None` when it is not let in.
    async fn connect(first_words: Option<&[u8]>) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let mut seed = [0x66; 32];
        seed[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let keys = Keypair::ed25519_from_bytes(seed).expect("any 32 bytes are a seed");
        let noise = libp2p_noise::Config::new(&keys).expect("an ed25519 key");
        let tcp = libp2p_tcp::Config::default().nodelay(true);
        let mut transport = libp2p_tcp::tokio::Transport::new(tcp)
            .upgrade(upgrade::Version::V1Lazy)
            .authenticate(noise)
            .multiplex(libp2p_yamux::Config::default())
            .boxed();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dial = transport.dial(node().address.clone(), options);
        let dial = timeout(PATIENCE, dial.expect("an address of TCP"));
        let (_, connection) = dial.await.expect("the node takes connections").ok()?;

        let hello = honest_hello(&keys);
        let (mut said, mut answered) = (hello.encode(), (WELCOME, hello).encode());
        if let Some((kind, words)) = first_words.and_then(<[u8]>::split_first) {
            match kind % 2 {
                0 => said = words.to_vec(),
                _ => answered = words.to_vec(),
            }
        }
        let answers = Arc::new(Answers {
            hello: answered,
            given: Mutex::default(),
        });
        let (wanted, waiting) = mpsc::channel(1);
        tokio::spawn(drive(connection, waiting, answers.clone()));
        let rogue = Self {
            keys,
            wanted,
            answers,
            gossip: [const { None }; 4],
            gossip_opened: [0; 4],
        };
        let answer = rogue.request(HELLO, &framed(&said)).await?;
        (answer.first() == Some(&WELCOME)).then_some(rogue)
    }

    async fn open(&self, protocol: &'static str) -> Option<Stream> {
        let (sender, opened) = oneshot::channel();
        self.wanted.send(sender).await.ok()?;
        let stream = opened.await.ok()?;
        let named = dialer_select_proto(stream, [protocol], Version::V1).await;
        named.ok().map(|(_, stream)| stream)
    }

    /// Sends a request as it is; returns the answer, `None` when the node gives none. It must do either.
    async fn request(&self, protocol: &'static str, bytes: &[u8]) -> Option<Vec<u8>> {
        let asked = async {
            let mut stream = self.open(protocol).await?;
            stream.write_all(bytes).await.ok()?;
            stream.close().await.ok()?;
            read_frame(&mut stream).await.ok()
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_| panic!("neither an answer nor a refusal to {protocol}"))
    }

    /// Sends what gossip sends: its length, as gossip writes it, and the bytes.
    async fn gossip(&mut self, topic: usize, rpc: &[u8]) {
        if self.gossip[topic].is_none() && self.gossip_opened[topic] < GOSSIP_STREAMS_MAX {
            self.gossip_opened[topic] += 1;
            self.gossip[topic] = timeout(PATIENCE, self.open(GOSSIP[topic]))
                .await
                .expect("a stream is taken or refused");
        }
        let Some(stream) = &mut self.gossip[topic] else {
            return;
        };
        let mut bytes = Vec::new();
        put_varint(&mut bytes, rpc.len());
        bytes.extend(rpc);
        let sent = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        let sent = timeout(PATIENCE, sent).await.expect("the node reads on");
        if sent.is_err() {
            self.gossip[topic] = None;
        }
    }

    /// Wraps a message as gossip does, signed by this peer.
    fn sign_gossip(&self, topic: usize, payload: &[u8]) -> Vec<u8> {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A message that was there before is not looked at: each is a repetition of its own.
        let attempt = u32::try_from(count % u64::from(u32::MAX)).expect("below 2^32");
        let data = [&attempt.to_le_bytes()[..], payload].concat();
        let mut message = Vec::new();
        put_field(&mut message, 1, &self.keys.public().to_peer_id().to_bytes());
        put_field(&mut message, 2, &data);
        put_field(&mut message, 3, &count.to_be_bytes());
        put_field(&mut message, 4, Topic::ALL[topic].name().as_bytes());
        let signed = [GOSSIP_DOMAIN, &message].concat();
        let signature = self.keys.sign(&signed).expect("ed25519 signs anything");
        put_field(&mut message, 5, &signature);
        let mut rpc = Vec::new();
        put_field(&mut rpc, 2, &message);
        rpc
    }

    /// Has the node ask, and gives it `bytes` as the answer. What it makes of it is not the question.
    async fn be_asked(&self, for_blocks: bool, bytes: &[u8]) {
        *self.answers.given.lock() = bytes.to_vec();
        let own = self.keys.public().to_peer_id();
        let peers = node().handle.peers();
        let Some(number) = peers.iter().find(|peer| peer.id == own) else {
            return;
        };
        let (handle, number) = (&node().handle, number.number);
        if for_blocks {
            let request = BlocksRequest {
                from: 1,
                count: 8,
                content: BlockContent::Full,
            };
            let _ = timeout(QUESTION_PATIENCE, handle.request_blocks(number, request)).await;
        } else {
            let request = TransactionsRequest::OfBlock {
                header: Hash::zero(),
                positions: (0..8).collect(),
            };
            let asked = handle.request_transactions(number, request);
            let _ = timeout(QUESTION_PATIENCE, asked).await;
        }
    }

    async fn send(&mut self, kind: u8, bytes: &[u8]) {
        let place = usize::from(kind % 4);
        match kind {
            frame::GOSSIP..frame::GOSSIP_RAW => {
                let rpc = self.sign_gossip(place, bytes);
                self.gossip(place, &rpc).await;
            }
            frame::GOSSIP_RAW..frame::HELLO => self.gossip(place, bytes).await,
            frame::HELLO..frame::REQUEST_RAW => {
                self.request(REQUESTS[place], &framed(bytes)).await;
            }
            frame::REQUEST_RAW => {
                if let Some((which, bytes)) = bytes.split_first() {
                    self.request(REQUESTS[usize::from(which % 4)], bytes).await;
                }
            }
            frame::ANSWER_BLOCKS => self.be_asked(true, bytes).await,
            frame::ANSWER_TRANSACTIONS => self.be_asked(false, bytes).await,
            _ => drop(Self::connect(Some(bytes)).await),
        }
    }
}

/// Keeps a connection going: opens the streams that are wanted, and answers on those that the node opens.
async fn drive(
    mut connection: StreamMuxerBox,
    mut wanted: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    answers: Arc<Answers>,
) {
    let mut waiting = None;
    poll_fn(|cx| {
        loop {
            if waiting.is_none() {
                match wanted.poll_recv(cx) {
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Ready(sender) => waiting = sender,
                    Poll::Pending => {}
                }
            }
            if waiting.is_some() {
                match connection.poll_outbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => {
                        // An error says that it is not wanted any more.
                        let _ = waiting.take().map(|sender| sender.send(stream));
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            match connection.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    tokio::spawn(answer(stream, answers.clone()));
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match connection.poll_unpin(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Answers what the node asks on a stream that it opened.
async fn answer(stream: SubstreamBox, answers: Arc<Answers>) -> io::Result<()> {
    let known = REQUESTS.into_iter().chain(GOSSIP).chain([PING]);
    let known: Vec<_> = known.collect();
    let (name, mut stream) = listener_select_proto(stream, known)
        .await
        .map_err(io::Error::other)?;
    let answer = match name {
        HELLO => answers.hello.clone(),
        STATUS => 0u32.encode(),
        SYNC | TRANSACTIONS => answers.given.lock().clone(),
        PING => {
            let mut ping = [0; PING_BYTES];
            loop {
                stream.read_exact(&mut ping).await?;
                stream.write_all(&ping).await?;
                stream.flush().await?;
            }
        }
        _ => {
            let mut passed = [0; 1024];
            while stream.read(&mut passed).await? > 0 {}
            return Ok(());
        }
    };
    read_frame(&mut stream).await?;
    stream.write_all(&framed(&answer)).await?;
    stream.close().await
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("an input is short");
    [&length.to_le_bytes()[..], bytes].concat()
}

async fn read_frame(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = usize::try_from(u32::from_le_bytes(length)).expect("32 bits fit");
    assert!(length <= ANSWER_BYTES_MAX, "the node sends {length} bytes");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn put_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number % 0x80).expect("below 128") | 0x80);
        number /= 0x80;
    }
    bytes.push(u8::try_from(number).expect("below 128"));
}

/// Appends a field of bytes as protobuf writes it.
fn put_field(bytes: &mut Vec<u8>, number: u8, content: &[u8]) {
    const OF_BYTES: u8 = 2;
    bytes.push(number << 3 | OF_BYTES);
    put_varint(bytes, content.len());
    bytes.extend(content);
}

/// Frames of a peer, each with its kind, its length in two bytes and its bytes. The node answers each or refuses it, goes on,
/// and lets the next peer in.
pub fn network(data: &[u8]) {
    static KEPT: Mutex<Option<(Rogue, u32)>> = Mutex::new(None);
    let node = node();
    let mut kept = KEPT.lock();
    node.runtime.block_on(async {
        let (mut rogue, count) = match kept.take() {
            Some(kept) => kept,
            None => (come_in().await, 0),
        };
        let mut rest = data;
        for _ in 0..FRAMES_MAX {
            let Some((&[kind, low, high], after)) = rest.split_first_chunk() else {
                break;
            };
            let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
            let (bytes, after) = after.split_at(length);
            rest = after;
            rogue.send(kind % frame::KINDS, bytes).await;
        }
        // Whatever came before on this connection was looked at, or it is closed.
        let status = rogue.request(STATUS, &framed(&0u32.encode())).await;
        if status.is_some() && count < INPUTS_PER_CONNECTION {
            *kept = Some((rogue, count + 1));
        }
    });
    assert!(!node.stop.is_asked(), "the node has stopped");
}

/// Comes in as a new peer. Those before may not be gone yet, so it may take several attempts.
async fn come_in() -> Rogue {
    let attempts = async {
        loop {
            if let Some(rogue) = Rogue::connect(None).await {
                return rogue;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, attempts)
        .await
        .expect("the node lets an honest peer in")
}

// ---------------------------------------------------------------------------------- what is decoded

/// What `wire` reads, by its first byte.
pub mod part {
    /// A hello.
    pub const HELLO: u8 = 0;
    /// A request for blocks.
    pub const BLOCKS: u8 = 1;
    /// A request for transactions.
    pub const TRANSACTIONS: u8 = 2;
    /// A compact block.
    pub const COMPACT: u8 = 3;
    /// A header and extrinsics, to be made compact.
    pub const WHOLE: u8 = 4;
    /// A message between engines.
    pub const ENGINE: u8 = 5;
    /// A request for one block, and the answer to one.
    pub const ENGINE_BLOCK: u8 = 6;
    /// A block as the agreement carries it: header and body.
    pub const BLOCK: u8 = 7;
    /// Where a peer is.
    pub const ADDRESS: u8 = 8;
    /// How many there are.
    pub const KINDS: u8 = 9;
}

/// What peers' messages hold, as the first byte says: what is accepted has one encoding, a compact block becomes the block it
/// was made of, and nothing that is not asked for gets into one.
pub fn wire(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % part::KINDS {
        part::HELLO => verify_encoding::<Hello>(bytes),
        part::BLOCKS => verify_encoding::<BlocksRequest>(bytes),
        part::TRANSACTIONS => verify_encoding::<TransactionsRequest>(bytes),
        part::COMPACT => match CompactBlock::decode_bounded(bytes) {
            Ok(compact) => {
                assert_eq!(compact.encode(), bytes);
                fill(compact);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        part::WHOLE => {
            if let Ok((header, body)) = <(Vec<u8>, Vec<Vec<u8>>)>::decode_all(&mut &bytes[..]) {
                relay(header, body);
            }
        }
        part::ENGINE => match EngineMessage::decode_bounded(bytes) {
            Ok(message) => {
                assert_eq!(message.encode(), bytes);
                let _ = message.channel();
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        },
        part::ENGINE_BLOCK => {
            if let Ok(request) = BlockRequest::decode_bounded(bytes) {
                assert_eq!(request.encode(), bytes);
            }
            if let Ok(answer) = BlockAnswer::decode_bounded(bytes) {
                assert_eq!(answer.encode(), bytes);
            }
        }
        part::BLOCK => {
            let Ok((header, body)) = <(Vec<u8>, Vec<u8>)>::decode_all(&mut &bytes[..]) else {
                return;
            };
            let facts = commonwatt_engine::read_header(&header);
            let block = Block {
                header,
                body: Arc::new(body),
            };
            if let Some((header, body)) = to_stored(&block) {
                let again = to_block(&header, &body);
                assert_eq!(again, block, "a block has a second encoding");
                assert!(facts.is_none_or(|facts| facts.height == header.number));
            }
        }
        _ => {
            let Ok(text) = str::from_utf8(bytes) else {
                return;
            };
            match text.parse::<StaticPeer>() {
                Ok(peer) => assert_eq!(peer.to_string().parse().ok(), Some(peer)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

fn verify_encoding<T: DecodeAll + Encode>(bytes: &[u8]) {
    if let Ok(decoded) = T::decode_all(&mut &bytes[..]) {
        assert_eq!(decoded.encode(), bytes, "a message has a second encoding");
    }
}

/// Fills a compact block with what does not belong there: it stays open.
fn fill(compact: CompactBlock) {
    const STRANGE: &[u8] = b"something else";
    let count = compact.count();
    // A fuzzer that watches comparisons finds its short id.
    if compact
        .short_ids
        .contains(&compact.key().short_id_of_bytes(STRANGE))
    {
        return;
    }
    let mut assembly = Reassembly::new(compact, |_| None).expect("it was decoded");
    let missing = assembly.missing();
    assert!(missing.is_sorted_by(|earlier, later| earlier < later));
    for position in 0..=u32::try_from(count).expect("few extrinsics") {
        let supplied = assembly.supply(position, STRANGE.to_vec());
        assert!(supplied.is_err(), "what a block does not name was taken");
    }
    assert!(!assembly.distrust_pool(), "nothing came from the pool");
    assert_eq!(assembly.missing(), missing);
    match assembly.finish() {
        Ok((_, body)) => assert!(missing.is_empty() && body.len() == count),
        Err(_) => assert!(!missing.is_empty()),
    }
}

/// Sends a block to somebody whose pool has every second transaction, and who fetches the others.
fn relay(header: Vec<u8>, body: Vec<Vec<u8>>) {
    let Ok(compact) = CompactBlock::new(header.clone(), &body, 1) else {
        return;
    };
    let encoded = compact.encode();
    let received = CompactBlock::decode_bounded(&encoded).expect("what was made is in bounds");
    let pool: BTreeMap<Hash, &Vec<u8>> = body
        .iter()
        .step_by(2)
        .map(|bytes| (BlakeTwo256::hash(bytes), bytes))
        .collect();
    let index = PoolIndex::new(&received.key(), pool);
    let lookup = |id: &_| index.get(id).map(|bytes| bytes.to_vec());
    let mut assembly = Reassembly::new(received, lookup).expect("what was made is in bounds");
    for position in assembly.missing() {
        let place = usize::try_from(position).expect("32 bits fit");
        assembly
            .supply(position, body[place].clone())
            .expect("it is the block's own");
    }
    let whole = assembly.finish().expect("nothing is missing");
    assert_eq!(whole, (header, body), "another block was put together");
}
