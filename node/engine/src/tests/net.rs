//! A few engines on real chains that exchange their actions in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codec::Encode;
use commonwatt_chain::{Chain, ChainConfig, SessionPairs, SessionSigner, Validators};
use commonwatt_consensus::{PeerId, wal::FileLog};
use commonwatt_executor::Executor;
use commonwatt_primitives::{AccountId, Quality, Step, StepTiming, Wh};
use commonwatt_runtime::{
    Hash, RuntimeCall,
    example::{account, beacon_pair, pair},
    genesis::CommunityGenesis,
    story::{Plan, Story},
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{ChainDb, CommitMode, DbConfig};
use commonwatt_txpool::TransactionSource;
use pallet_energy_token::{Call as EnergyCall, Measurement, Report};
use pallet_miner_auction::Call as AuctionCall;
use tempfile::TempDir;

use crate::{
    Action, BlockAnswer, Engine, EngineConfig, EngineMessage, Event, Fatal, Judgement, Notice, Now,
    Recipient, StartError, certified_block,
};

pub const STEP_MS: u64 = 10_000;
const DELAY_MS: u64 = 20;
const JOB_MS: u64 = 30;

/// The validators: three members and the DSO.
pub const NAMES: [&str; 4] = ["V0", "V1", "V2", "Dso"];

/// Looks at what a node sends before it leaves, and may change it, or keep it back.
pub type Tamper =
    Box<dyn FnMut(usize, Recipient, EngineMessage) -> Vec<(Recipient, EngineMessage)>>;

pub struct Node {
    pub name: &'static str,
    pub chain: Arc<Chain>,
    pub engine: Option<Engine>,
    pub notices: Vec<Notice>,
    pub judgements: Vec<Judgement>,
    pub passed_on: Vec<Arc<[u8]>>,
    pub fatal: Option<Fatal>,
    /// Ahead of the others, in milliseconds.
    pub clock_ahead_ms: u64,
    wakes_at: u64,
    folder: TempDir,
}

pub struct Net {
    pub genesis: CommunityGenesis,
    pub nodes: Vec<Node>,
    pub now: u64,
    pub tamper: Option<Tamper>,
    /// Nodes that neither hear nor are heard.
    pub cut_off: BTreeSet<usize>,
    queue: BTreeMap<(u64, u64), (usize, Event)>,
    sequence: u64,
    nonces: BTreeMap<String, u32>,
}

fn genesis() -> CommunityGenesis {
    let plan = Plan {
        members: 3,
        ..Plan::default()
    };
    let mut genesis = Story::begin(plan).unwrap().genesis().clone();
    genesis.timing = StepTiming {
        step_ms: STEP_MS,
        gate_open_ms: 500,
        gate_close_ms: 1_000,
        settle_delay_ms: 1_000,
        ..genesis.timing
    };
    genesis
}

pub fn keys_of(name: &str) -> Arc<dyn SessionSigner> {
    Arc::new(SessionPairs {
        vote: pair(name),
        beacon: beacon_pair(name),
    })
}

impl Node {
    /// A node with an empty disk.
    fn new(genesis: &CommunityGenesis, name: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = ChainDb::open(&folder.path().join("db"), DbConfig::default()).unwrap();
        let storage = genesis.build_storage().unwrap();
        let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default()).unwrap();
        chain.set_agreement(Arc::new(Validators::holding(keys_of(name))));
        Self {
            name,
            chain: Arc::new(chain),
            engine: None,
            notices: Vec::new(),
            judgements: Vec::new(),
            passed_on: Vec::new(),
            fatal: None,
            clock_ahead_ms: 0,
            wakes_at: 0,
            folder,
        }
    }

    pub fn config(&self, timing: StepTiming) -> EngineConfig {
        EngineConfig::new(timing, Some(keys_of(self.name)))
    }

    pub fn start(&mut self, config: EngineConfig) -> Result<(), StartError> {
        let path = self.folder.path().join("wal");
        let (log, recovered) = FileLog::open(path, self.chain.genesis_hash()).unwrap();
        let engine = Engine::start(self.chain.clone(), Box::new(log), recovered, config)?;
        self.engine = Some(engine);
        self.wakes_at = 0;
        Ok(())
    }

    pub fn copy_log(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("wal")).unwrap()
    }

    pub fn remove_log(&self) {
        std::fs::remove_file(self.folder.path().join("wal")).unwrap();
    }

    pub fn best(&self) -> u32 {
        self.chain.best().0
    }

    pub fn hash_of(&self, number: u32) -> Hash {
        self.chain.db().hash_of(number).unwrap().unwrap()
    }

    pub fn was_told(&self, what: impl Fn(&Notice) -> bool) -> bool {
        self.notices.iter().any(what)
    }

    /// Returns author, author's rank and round of a block this node decided.
    pub fn decision(&self, number: u32) -> (AccountId, u32, u32) {
        let found = self.notices.iter().find_map(|notice| match notice {
            Notice::Decided {
                height,
                author,
                author_rank,
                round,
                ..
            } if *height == number => Some((author.clone(), *author_rank, *round)),
            _ => None,
        });
        found.unwrap()
    }
}

impl Net {
    /// Four validators of which none is started.
    pub fn new() -> Self {
        let genesis = genesis();
        let nodes = NAMES.map(|name| Node::new(&genesis, name));
        Self {
            now: genesis.timing.genesis_ms,
            genesis,
            nodes: nodes.into(),
            tamper: None,
            cut_off: BTreeSet::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            nonces: BTreeMap::new(),
        }
    }

    /// Four validators that run.
    pub fn running() -> Self {
        let mut net = Self::new();
        for node in 0..NAMES.len() {
            net.start(node);
        }
        net
    }

    pub fn timing(&self) -> StepTiming {
        self.genesis.timing
    }

    /// Starts a node and connects it with those that run.
    pub fn start(&mut self, node: usize) {
        let config = self.nodes[node].config(self.timing());
        self.start_with(node, config).unwrap();
    }

    pub fn start_with(&mut self, node: usize, config: EngineConfig) -> Result<(), StartError> {
        self.nodes[node].start(config)?;
        self.nodes[node].wakes_at = self.now;
        for other in 0..NAMES.len() {
            if other != node && self.nodes[other].engine.is_some() {
                self.connect(node, other);
            }
        }
        Ok(())
    }

    /// Ends a node without further ado.
    pub fn crash(&mut self, node: usize) {
        self.nodes[node].engine = None;
        self.queue.retain(|_, (to, _)| *to != node);
        for other in 0..NAMES.len() {
            self.push(self.now, other, Event::PeerGone(peer(node)));
        }
    }

    /// Ends a node and gives it an empty disk.
    pub fn wipe(&mut self, node: usize) {
        self.crash(node);
        self.nodes[node] = Node::new(&self.genesis, NAMES[node]);
    }

    /// Ends a node and gives it a disk with a copy of its log, and the chain as it was at a block.
    pub fn bring_back(&mut self, node: usize, log: &[u8], best: u32) {
        self.wipe(node);
        let other = usize::from(node == 0);
        let db = self.nodes[other].chain.db();
        for number in 1..=best {
            let hash = db.hash_of(number).unwrap().unwrap();
            let block = db.block(&hash).unwrap().unwrap();
            let chain = &self.nodes[node].chain;
            chain.import(block, CommitMode::Durable).unwrap();
        }
        std::fs::write(self.nodes[node].folder.path().join("wal"), log).unwrap();
    }

    /// Cuts a node off, or connects it again.
    pub fn cut_off(&mut self, node: usize) {
        self.cut_off.insert(node);
        for other in 0..NAMES.len() {
            self.push(self.now, other, Event::PeerGone(peer(node)));
            self.push(self.now, node, Event::PeerGone(peer(other)));
        }
    }

    pub fn heal(&mut self, node: usize) {
        self.cut_off.remove(&node);
        for other in 0..NAMES.len() {
            if other != node {
                self.connect(node, other);
            }
        }
    }

    fn connect(&mut self, one: usize, other: usize) {
        for (node, came) in [(one, other), (other, one)] {
            let event = Event::PeerCame {
                peer: peer(came),
                account: Some(account(NAMES[came])),
            };
            self.push(self.now, node, event);
        }
    }

    fn push(&mut self, at: u64, node: usize, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), (node, event));
    }

    /// Runs until the clock shows a time.
    pub fn run_to_time(&mut self, until: u64) {
        while self.tick(until) {}
        self.now = self.now.max(until);
    }

    /// Runs until all nodes that run have a block, within a number of steps.
    pub fn run_to_block(&mut self, number: u32, steps_max: u64) {
        let until = self.now + steps_max * STEP_MS;
        while self.up().any(|node| node.best() < number) {
            let bests: Vec<_> = self.nodes.iter().map(Node::best).collect();
            assert!(self.tick(until), "block {number} did not come: {bests:?}");
        }
    }

    pub fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.engine.is_some())
    }

    /// Does the next thing there is; `false` when there is none until a time.
    fn tick(&mut self, until: u64) -> bool {
        let running = self.nodes.iter().enumerate();
        let wake = running
            .filter(|(_, node)| node.engine.is_some())
            .map(|(place, node)| (node.wakes_at, place))
            .min();
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        match (event, wake) {
            (Some(at), wake) if wake.is_none_or(|(wakes_at, _)| at <= wakes_at) => {
                if at > until {
                    return false;
                }
                self.now = self.now.max(at);
                let (_, (node, event)) = self.queue.pop_first().unwrap();
                self.deliver(node, event);
                true
            }
            (_, Some((wakes_at, node))) if wakes_at <= until => {
                self.now = self.now.max(wakes_at);
                self.deliver(node, Event::Woken);
                true
            }
            _ => false,
        }
    }

    fn deliver(&mut self, node: usize, event: Event) {
        let now = Now {
            unix_ms: self.now + self.nodes[node].clock_ahead_ms,
            steady_ms: self.now,
        };
        let Some(engine) = &mut self.nodes[node].engine else {
            return;
        };
        match engine.handle(event, now) {
            Ok(actions) => {
                self.nodes[node].wakes_at = self.now + engine.wait_ms(now).max(1);
                actions
                    .into_iter()
                    .for_each(|action| self.act(node, action));
            }
            Err(fatal) => {
                self.nodes[node].fatal = Some(fatal);
                self.crash(node);
            }
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send { to, message } => {
                let sent = match &mut self.tamper {
                    Some(tamper) => tamper(node, to, message),
                    None => vec![(to, message)],
                };
                for (to, message) in sent {
                    self.send(node, to, &message);
                }
            }
            Action::RequestBlock { peer, height } => {
                let PeerId(from) = peer;
                let from = usize::try_from(from).unwrap();
                if self.is_linked(node, from) {
                    let block = certified_block(&self.nodes[from].chain, height).unwrap();
                    let answer = BlockAnswer { height, block };
                    let answer = BlockAnswer::decode_bounded(&answer.encode()).unwrap();
                    let event = Event::BlockAnswer { peer, answer };
                    self.push(self.now + 2 * DELAY_MS, node, event);
                }
            }
            Action::Run(job) => {
                let now = self.now + self.nodes[node].clock_ahead_ms;
                let done = job.run(&|| now);
                self.push(self.now + JOB_MS, node, Event::JobDone(done));
            }
            Action::PassOn(transactions) => {
                for other in 0..NAMES.len() {
                    for extrinsic in &transactions {
                        // Who has it already says so.
                        let _ = self.nodes[other]
                            .chain
                            .submit(TransactionSource::External, extrinsic.to_vec());
                    }
                }
                self.nodes[node].passed_on.extend(transactions);
            }
            Action::Judge { judgement, .. } => self.nodes[node].judgements.push(judgement),
            Action::Blame { peer, refusal } => panic!("{node} blames {peer:?}: {refusal}"),
            Action::Tell(notice) => self.nodes[node].notices.push(notice),
        }
    }

    fn is_linked(&self, one: usize, other: usize) -> bool {
        !self.cut_off.contains(&one)
            && !self.cut_off.contains(&other)
            && self.nodes[other].engine.is_some()
    }

    pub fn send(&mut self, from: usize, to: Recipient, message: &EngineMessage) {
        for other in 0..NAMES.len() {
            let is_meant = match to {
                Recipient::All => other != from,
                Recipient::Peer(to) => peer(other) == to,
            };
            if is_meant && self.is_linked(from, other) {
                let event = Event::Message {
                    peer: peer(from),
                    message: EngineMessage::decode_bounded(&message.encode()).unwrap(),
                    delivery: Some(crate::Delivery(0)),
                };
                self.push(self.now + DELAY_MS, other, event);
            }
        }
    }

    /// Signs the next transaction of somebody.
    pub fn sign(&mut self, by: &str, call: RuntimeCall) -> Vec<u8> {
        let nonce = self.nonces.entry(by.to_owned()).or_default();
        let context = SigningContext::immortal(self.nodes[0].chain.genesis_hash());
        let signed = sign_ed25519(call, *nonce, &context, &pair(by));
        *nonce += 1;
        signed
    }

    /// Gives a transaction to some nodes.
    pub fn submit_to(&self, nodes: &[usize], extrinsic: &[u8]) {
        for node in nodes {
            self.nodes[*node]
                .chain
                .submit(TransactionSource::External, extrinsic.to_vec())
                .unwrap();
        }
    }

    /// Has the reading of a step in all pools.
    pub fn submit_reading(&mut self, step: u32) {
        let extrinsic = self.sign("A", reading(step));
        self.submit_to(&[0, 1, 2, 3], &extrinsic);
    }

    /// Checks that all nodes have the same chain, each block final.
    pub fn assert_same_chain(&self) {
        let longest = self.nodes.iter().max_by_key(|node| node.best()).unwrap();
        for node in &self.nodes {
            for number in 1..=node.best() {
                assert_eq!(node.hash_of(number), longest.hash_of(number), "{number}");
                assert!(certified_block(&node.chain, number).unwrap().is_some());
            }
        }
    }

    /// Returns the node whose turn the next block is at a rank.
    pub fn node_of_rank(&self, rank: usize) -> usize {
        let best = self.nodes.iter().max_by_key(|node| node.best()).unwrap();
        let lineup = best.chain.next_lineup().unwrap();
        let author = &lineup.ranking[rank];
        NAMES
            .iter()
            .position(|name| account(name) == *author)
            .unwrap()
    }
}

pub fn peer(node: usize) -> PeerId {
    PeerId(u64::try_from(node).unwrap())
}

pub fn reading(step: u32) -> RuntimeCall {
    EnergyCall::report {
        sequence: step.into(),
        report: Report {
            step: Step(step),
            reading: Measurement::Interval {
                energy: Wh(1_000),
                version: 1,
                quality: Quality::Measured,
            },
        },
    }
    .into()
}

pub fn bid(height: u32, amount: u128) -> RuntimeCall {
    AuctionCall::bid {
        height: Step(height),
        amount,
    }
    .into()
}
