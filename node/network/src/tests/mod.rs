//! Whole networks in one process, over the loopback: real TCP and QUIC, ports chosen by the system. Tests wait for
//! events and conditions, with a deadline; none sleeps.

mod gossip;
mod hostile;
mod joining;
mod requests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use commonwatt_primitives::{AccountId, Hash};
use parking_lot::Mutex;
use sp_core::{Pair, ed25519};
use zeroize::Zeroizing;

use crate::{
    Admission, Admit, Claim, Event, EventReceiver, Gossip, Hello, Introduction, Multiaddr, Network,
    NetworkConfig, NetworkHandle, PeerId, PeerNumber, StaticPeer, Topic, TransactionBatch, Verdict,
};

/// Nothing here takes nearly as long; beyond it something is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long something is waited for that is repeated.
const PATIENCE: Duration = Duration::from_millis(500);

const GENESIS: [u8; 32] = [0xc0; 32];

/// The on-chain set, as all nodes of a test see it.
#[derive(Default)]
struct ChainSet {
    vote_keys: Mutex<BTreeMap<AccountId, ed25519::Public>>,
    are_full_nodes_welcome: bool,
}

impl ChainSet {
    fn of(seeds: impl IntoIterator<Item = u8>) -> Arc<Self> {
        let set = Self::default();
        for seed in seeds {
            set.add(seed);
        }
        Arc::new(set)
    }

    fn add(&self, seed: u8) {
        let key = vote_key(seed).public();
        self.vote_keys.lock().insert(account(seed), key);
    }

    fn remove(&self, seed: u8) {
        self.vote_keys.lock().remove(&account(seed));
    }
}

impl Admission for ChainSet {
    fn admit(&self, _: &PeerId, hello: &Hello, signed: &[u8]) -> Admit {
        let Claim::Validator { account, signature } = &hello.claim else {
            return if self.are_full_nodes_welcome {
                Admit::Full
            } else {
                Admit::Refused("not a configured full node".to_owned())
            };
        };
        let keys = self.vote_keys.lock();
        let Some(key) = keys.get(account) else {
            return Admit::Refused("not in the set of validators".to_owned());
        };
        let signature = ed25519::Signature::from_raw(*signature);
        if ed25519::Pair::verify(&signature, signed, key) {
            Admit::Validator(account.clone())
        } else {
            Admit::Forged
        }
    }
}

/// Says who a node is.
struct Identity {
    account: AccountId,
    vote_key: ed25519::Pair,
}

impl Introduction for Identity {
    fn claim(&self, payload: &[u8]) -> Claim {
        Claim::Validator {
            account: self.account.clone(),
            signature: self.vote_key.sign(payload).0,
        }
    }
}

struct FullNode;

impl Introduction for FullNode {
    fn claim(&self, _: &[u8]) -> Claim {
        Claim::Full
    }
}

fn account(seed: u8) -> AccountId {
    AccountId::new([seed; 32])
}

fn vote_key(seed: u8) -> ed25519::Pair {
    ed25519::Pair::from_seed(&[seed; 32])
}

fn validator(seed: u8) -> Arc<dyn Introduction> {
    Arc::new(Identity {
        account: account(seed),
        vote_key: vote_key(seed),
    })
}

/// A node key, other than the vote key.
fn node_key(seed: u8) -> [u8; 32] {
    let mut key = [seed; 32];
    key[0] = 0xee;
    key
}

fn node_id(seed: u8) -> PeerId {
    let keys = crate::p2p::identity::Keypair::ed25519_from_bytes(node_key(seed)).unwrap();
    keys.public().to_peer_id()
}

#[derive(Clone, Copy)]
enum Over {
    Tcp,
    Quic,
}

fn config(seed: u8, over: Over) -> NetworkConfig {
    let listen = match over {
        Over::Tcp => "/ip4/127.0.0.1/tcp/0",
        Over::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    let mut config = NetworkConfig::new(Zeroizing::new(node_key(seed)), Hash::from(GENESIS));
    config.listen = vec![listen.parse().unwrap()];
    config
}

/// A running node.
struct Node {
    handle: NetworkHandle,
    events: EventReceiver,
    /// Events that came while something else was waited for.
    early: Vec<Event>,
}

impl Node {
    async fn start(
        config: NetworkConfig,
        set: &Arc<ChainSet>,
        identity: Arc<dyn Introduction>,
    ) -> Self {
        let (handle, events) = Network::start(config, set.clone(), identity).await.unwrap();
        Self {
            handle,
            events,
            early: Vec::new(),
        }
    }

    /// Starts a validator that dials `others`.
    async fn validator(seed: u8, set: &Arc<ChainSet>, over: Over, others: &[&Self]) -> Self {
        let mut config = config(seed, over);
        config.static_peers = others.iter().map(|other| other.address()).collect();
        Self::start(config, set, validator(seed)).await
    }

    /// Where others find it.
    fn address(&self) -> StaticPeer {
        StaticPeer {
            id: self.handle.local_peer_id(),
            address: self.listening(),
        }
    }

    fn listening(&self) -> Multiaddr {
        self.handle.listen_addresses()[0].clone()
    }

    /// Waits for the first event that `take` wants; the others stay for later.
    async fn wait<T>(&mut self, mut take: impl FnMut(Event) -> Result<T, Event>) -> T {
        let mut passed = Vec::new();
        let early = std::mem::take(&mut self.early);
        let mut early = early.into_iter();
        while let Some(event) = early.next() {
            match take(event) {
                Ok(taken) => {
                    passed.extend(early);
                    self.early = passed;
                    return taken;
                }
                Err(event) => passed.push(event),
            }
        }
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            let next = tokio::time::timeout_at(deadline, self.events.recv()).await;
            let event = next
                .unwrap_or_else(|_| panic!("nothing of what is waited for came; but {passed:?}"))
                .expect("the network runs");
            match take(event) {
                Ok(taken) => {
                    self.early = passed;
                    return taken;
                }
                Err(event) => passed.push(event),
            }
        }
    }

    async fn joined(&mut self) -> (PeerNumber, PeerId, Option<AccountId>) {
        self.wait(|event| match event {
            Event::PeerJoined { peer, id, account } => Ok((peer, id, account)),
            other => Err(other),
        })
        .await
    }

    async fn gone(&mut self) -> PeerNumber {
        self.wait(|event| match event {
            Event::PeerGone { peer } => Ok(peer),
            other => Err(other),
        })
        .await
    }

    async fn gossip(&mut self) -> Gossip {
        self.wait(|event| match event {
            Event::Gossip(gossip) => Ok(gossip),
            other => Err(other),
        })
        .await
    }

    async fn batch(&mut self) -> TransactionBatch {
        self.wait(|event| match event {
            Event::Transactions(batch) => Ok(batch),
            other => Err(other),
        })
        .await
    }

    async fn status(&mut self) -> (PeerNumber, u32) {
        self.wait(|event| match event {
            Event::Status { peer, decided } => Ok((peer, decided)),
            other => Err(other),
        })
        .await
    }

    async fn gossip_of(&mut self, payload: &[u8]) -> Gossip {
        self.wait(|event| match event {
            Event::Gossip(gossip) if gossip.payload == payload => Ok(gossip),
            other => Err(other),
        })
        .await
    }

    /// Publishes until a peer hears it: streams open shortly after a peer has joined.
    async fn publish_heard(&self, topic: Topic, payload: &[u8], by: &mut Self) -> Gossip {
        for attempt in 0.. {
            self.handle.publish(topic, attempt, payload).unwrap();
            let heard = tokio::time::timeout(PATIENCE, by.gossip_of(payload)).await;
            if let Ok(gossip) = heard {
                return gossip;
            }
            assert!(attempt < 300, "nothing published is heard");
        }
        unreachable!("the loop ends by itself")
    }

    /// Publishes transactions until a peer hears one.
    async fn publish_transactions_heard(&self, by: &mut Self) {
        for attempt in 0u32..300 {
            let transaction = [b"begin".to_vec(), attempt.to_le_bytes().to_vec()].concat();
            self.handle
                .publish_transactions(attempt, [transaction])
                .unwrap();
            if let Ok(batch) = tokio::time::timeout(PATIENCE, by.batch()).await {
                by.handle.report(&batch.id, Verdict::Accept);
                return;
            }
        }
        panic!("no transaction is heard");
    }
}

/// Waits until a condition holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "in vain: {what}");
        tick.tick().await;
    }
}

/// Starts validators with seeds from 1, each of which dials all before it, and waits until all know all.
async fn start_all(count: u8, over: Over) -> Vec<Node> {
    let set = ChainSet::of(1..=count);
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=count {
        let others: Vec<&Node> = nodes.iter().collect();
        let node = Node::validator(seed, &set, over, &others).await;
        nodes.push(node);
    }
    let others = usize::from(count) - 1;
    until("all know all", || {
        nodes.iter().all(|node| node.handle.peers().len() == others)
    })
    .await;
    nodes
}

/// Starts two validators that know each other.
async fn start_two(over: Over) -> (Node, Node) {
    let mut nodes = start_all(2, over).await;
    let second = nodes.pop().unwrap();
    (nodes.pop().unwrap(), second)
}

fn accept(node: &Node, gossip: &Gossip) {
    node.handle.report(&gossip.id, Verdict::Accept);
}

#[test]
fn the_bound_of_connections_is_as_described() {
    use crate::limits::{CONNECTIONS_MAX, PEERS_MAX, STRANGERS_MAX};
    let described = 2 * PEERS_MAX + STRANGERS_MAX;
    assert_eq!(usize::try_from(CONNECTIONS_MAX).unwrap(), described);
}
