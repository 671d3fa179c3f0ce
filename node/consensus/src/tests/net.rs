//! A network of machines in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use codec::{Decode, DecodeAll, Encode};
use commonwatt_primitives::{AccountId, Hash, digest::Punctuality};
use sp_core::{Pair, ed25519};

use crate::{
    Block, Certificate, CertifiedBlock, Config, Effect, EquivocationProof, Fatal, FindVoter,
    HeaderFacts, Input, Machine, Message, Pace, PeerId, Proposal, ProposedBlock, Purpose, Refusal,
    SignedProposal, SignedVote, Signer, SignerError, Timeout, Timing, Validator, ValidatorSet,
    Verdict, Vote, VoteKind, verify_certificate,
    wal::{self, Log, Recovered, WalEntry, WalError},
};

pub const GENESIS: Hash = Hash::repeat_byte(0x67);
/// Ranks by node.
pub const RANKING: [usize; 4] = [2, 0, 3, 1];
const DELAY_MS: u64 = 10;
const BLOCK_MS: u64 = 5;

pub fn pair(node: usize) -> ed25519::Pair {
    ed25519::Pair::from_seed(&[u8::try_from(node).unwrap() + 1; 32])
}

pub fn account(node: usize) -> AccountId {
    AccountId::new([u8::try_from(node).unwrap() + 0x41; 32])
}

pub fn validators(count: usize) -> Vec<Validator> {
    (0..count)
        .map(|node| Validator {
            account: account(node),
            vote: pair(node).public(),
        })
        .collect()
}

pub fn set() -> ValidatorSet {
    ValidatorSet::new(validators(4), &RANKING.map(account)).unwrap()
}

pub fn vote(
    node: usize,
    height: u32,
    round: u32,
    kind: VoteKind,
    block: Option<Hash>,
) -> SignedVote {
    let vote = Vote {
        height,
        round,
        kind,
        block,
        validator: account(node),
    };
    let signature = pair(node).sign(&vote.payload(&GENESIS));
    SignedVote { vote, signature }
}

pub fn certificate_by(nodes: &[usize], height: u32, round: u32, hash: Hash) -> Certificate {
    let signatures = nodes.iter().map(|node| crate::ValidatorSignature {
        validator: account(*node),
        signature: vote(*node, height, round, VoteKind::Precommit, Some(hash)).signature,
    });
    Certificate {
        height,
        round,
        block: hash,
        signatures: signatures.collect(),
    }
}

pub fn proposed(node: usize, round: u32, pol_round: Option<u32>, block: &Block) -> ProposedBlock {
    let proposal = Proposal {
        height: read_header(&block.header).unwrap().height,
        round,
        block: block.hash(),
        pol_round,
        validator: account(node),
    };
    let signature = pair(node).sign(&proposal.payload(&GENESIS));
    ProposedBlock {
        signed: SignedProposal {
            proposal,
            signature,
        },
        block: block.clone(),
    }
}

#[derive(Encode, Decode)]
struct ToyHeader {
    height: u32,
    author: AccountId,
    rank: u32,
    body: Hash,
}

pub fn read_header(header: &[u8]) -> Option<HeaderFacts> {
    let header = ToyHeader::decode_all(&mut &header[..]).ok()?;
    Some(HeaderFacts {
        height: header.height,
        author: header.author,
        author_rank: header.rank,
        punctuality: Punctuality::OnTime,
    })
}

/// Makes a block by `node` as `rank`; `tag` says how it is to be judged.
pub fn block(node: usize, height: u32, rank: u32, tag: &str) -> Block {
    let body = tag.as_bytes().to_vec();
    let header = ToyHeader {
        height,
        author: account(node),
        rank,
        body: body_hash(&body),
    };
    Block {
        header: header.encode(),
        body: Arc::new(body),
    }
}

fn body_hash(body: &[u8]) -> Hash {
    use sp_core::Hasher;
    sp_core::Blake2Hasher::hash(body)
}

/// Judges by the tag: `invalid` is invalid, `untimely 0 1` is untimely for nodes 0 and 1.
fn judge(node: usize, block: &Block) -> Verdict {
    let header = ToyHeader::decode_all(&mut &block.header[..]).unwrap();
    if header.body != body_hash(&block.body) {
        return Verdict::WrongBody;
    }
    let tag = String::from_utf8(block.body.to_vec()).unwrap();
    let mut words = tag.split(' ');
    match words.next() {
        Some("invalid") => Verdict::Invalid,
        Some("untimely") if words.any(|word| word == node.to_string()) => Verdict::Untimely,
        _ => Verdict::Valid,
    }
}

pub struct Key(pub ed25519::Pair);

impl Signer for Key {
    fn public(&self) -> ed25519::Public {
        self.0.public()
    }

    fn sign(&self, payload: &[u8]) -> Result<crate::Signature, SignerError> {
        Ok(self.0.sign(payload))
    }
}

pub fn voter(node: usize, signer: impl Signer + 'static) -> Arc<dyn FindVoter> {
    let signer: Arc<dyn Signer> = Arc::new(signer);
    Arc::new((account(node), signer))
}

pub fn timing() -> Timing {
    Timing::for_step(2_000)
}

pub fn config(node: usize) -> Config {
    Config {
        genesis: GENESIS,
        voter: Some(voter(node, Key(pair(node)))),
        votes_from: 0,
        timing: timing(),
        read_header,
    }
}

/// The disk of a log: what is synced survives a crash, with a torn piece of what was being written.
#[derive(Default)]
pub struct Disk {
    pub bytes: Vec<u8>,
    height: u32,
    entries: u32,
    pending: Vec<WalEntry>,
    /// Operations so far.
    pub operations: usize,
    /// Fail at this operation.
    pub fail_at: Option<(usize, Failure)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of it happens.
    Before,
    /// A sync writes half of its bytes.
    Torn,
    /// All of it happens, but nobody learns of it.
    After,
}

impl Disk {
    fn operate(
        &mut self,
        operation: impl FnOnce(&mut Self, bool) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let failure = self
            .fail_at
            .filter(|(at, _)| *at == self.operations)
            .map(|(_, failure)| failure);
        self.operations += 1;
        match failure {
            None => operation(self, false),
            Some(Failure::Before) => Err(WalError::Stopped),
            Some(Failure::Torn) => operation(self, true).and(Err(WalError::Stopped)),
            Some(Failure::After) => operation(self, false).and(Err(WalError::Stopped)),
        }
    }
}

impl Log for Disk {
    fn reset(&mut self, height: u32) -> Result<(), WalError> {
        self.operate(|disk, _| {
            disk.bytes = wal::encode_header(&GENESIS, height);
            (disk.height, disk.entries) = (height, 0);
            disk.pending.clear();
            Ok(())
        })
    }

    fn append(&mut self, entry: &WalEntry) -> Result<(), WalError> {
        self.operate(|disk, _| {
            disk.pending.push(entry.clone());
            Ok(())
        })
    }

    fn sync(&mut self) -> Result<(), WalError> {
        self.operate(|disk, is_torn| {
            let pending = std::mem::take(&mut disk.pending);
            let mut batch = wal::encode_batch(&GENESIS, disk.height, disk.entries, &pending)?;
            disk.entries += u32::try_from(pending.len()).unwrap();
            if is_torn {
                batch.truncate(batch.len() / 2);
            }
            disk.bytes.extend(batch);
            Ok(())
        })
    }
}

impl Disk {
    /// Reads what survived, as a node that starts does.
    pub fn recover(&mut self) -> Option<Recovered> {
        self.pending.clear();
        self.fail_at = None;
        if self.bytes.is_empty() {
            return None;
        }
        let contents = wal::decode(&self.bytes, &GENESIS).unwrap();
        self.bytes.truncate(contents.sound_bytes);
        self.height = contents.height;
        self.entries = u32::try_from(contents.entries.len()).unwrap();
        Some(Recovered {
            height: contents.height,
            entries: contents.entries,
        })
    }
}

pub struct Node {
    pub machine: Option<Machine>,
    pub disk: Disk,
    pub chain: Vec<CertifiedBlock>,
    /// Counts starts: what was scheduled before a crash does not arrive.
    life: u32,
    cancelled: BTreeSet<Timeout>,
    has_unsynced: bool,
    pub fatal: Option<Fatal>,
}

enum Event {
    Input(Input),
    Timeout(Timeout),
    /// Deliver from a node, if it passes the filter when sent.
    Start,
}

type Delay = Box<dyn FnMut() -> u64>;
type Filter = Box<dyn Fn(usize, usize, &Message) -> bool>;
type Tag = Box<dyn Fn(usize, u32, u32) -> String>;

pub struct Net {
    pub nodes: Vec<Node>,
    pub now: u64,
    queue: BTreeMap<(u64, u64), (usize, u32, Event)>,
    sequence: u64,
    /// Whether a message arrives.
    pub passes: Filter,
    /// How long a message travels.
    pub delay_ms: Delay,
    /// What a node writes into its block.
    pub tag: Tag,
    pub pace: Pace,
    /// No height above is started.
    pub last_height: u32,
    /// Everything that was signed and sent, to find contradictions.
    votes: BTreeMap<(AccountId, u32, u32, VoteKind), Option<Hash>>,
    proposals: BTreeMap<(AccountId, u32, u32), Proposal>,
    pub evidence: Vec<(usize, EquivocationProof)>,
    pub refusals: Vec<(usize, usize, Refusal)>,
    pub silenced: Vec<(usize, u32)>,
    pub checks: Vec<(usize, Hash, Purpose)>,
    pub trace: Vec<String>,
    pub answers: Answer,
}

/// What a node answers when asked for a block: itself, or a lie.
pub type Answer = Box<dyn Fn(usize, Option<CertifiedBlock>) -> Option<Option<CertifiedBlock>>>;

impl Net {
    pub fn new(last_height: u32) -> Self {
        let nodes = (0..4).map(|_| Node {
            machine: None,
            disk: Disk::default(),
            chain: Vec::new(),
            life: 0,
            cancelled: BTreeSet::new(),
            has_unsynced: false,
            fatal: None,
        });
        Self {
            nodes: nodes.collect(),
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            passes: Box::new(|_, _, _| true),
            delay_ms: Box::new(|| DELAY_MS),
            tag: Box::new(|node, height, round| format!("good {node} {height} {round}")),
            pace: Pace::OnTime,
            last_height,
            votes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            evidence: Vec::new(),
            refusals: Vec::new(),
            silenced: Vec::new(),
            checks: Vec::new(),
            trace: Vec::new(),
            answers: Box::new(|_, answer| Some(answer)),
        }
    }

    pub fn start(mut self, nodes: &[usize]) -> Self {
        nodes.iter().for_each(|node| self.boot(*node));
        self
    }

    pub fn boot(&mut self, node: usize) {
        self.boot_as(node, config(node));
    }

    pub fn boot_as(&mut self, node: usize, config: Config) {
        let it = &mut self.nodes[node];
        let recovered = it.disk.recover();
        let decided = u32::try_from(it.chain.len()).unwrap();
        it.machine = Some(Machine::new(config, decided, recovered));
        it.life += 1;
        it.has_unsynced = false;
        self.schedule(0, node, Event::Start);
    }

    pub fn crash(&mut self, node: usize) {
        self.nodes[node].machine = None;
        self.nodes[node].cancelled.clear();
        for peer in 0..4 {
            let gone = Input::PeerGone(PeerId(u64::try_from(node).unwrap()));
            self.schedule(DELAY_MS, peer, Event::Input(gone));
        }
    }

    fn schedule(&mut self, delay_ms: u64, node: usize, event: Event) {
        self.sequence += 1;
        let life = self.nodes[node].life;
        self.queue
            .insert((self.now + delay_ms, self.sequence), (node, life, event));
    }

    /// Has `message` reach `node` from `peer`.
    pub fn send(&mut self, peer: usize, node: usize, message: Message) {
        let peer = PeerId(u64::try_from(peer).unwrap());
        let delay = (self.delay_ms)();
        self.schedule(delay, node, Event::Input(Input::Message { peer, message }));
    }

    pub fn input(&mut self, node: usize, input: Input) {
        let Some(machine) = &mut self.nodes[node].machine else {
            return;
        };
        match machine.handle(input) {
            Ok(effects) => self.carry_out(node, effects),
            Err(fatal) => {
                self.nodes[node].fatal = Some(fatal);
                self.crash(node);
            }
        }
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.trace.push(format!("{} {node} {effect:?}", self.now));
            if matches!(effect, Effect::AppendWal(_)) {
                self.nodes[node].has_unsynced = true;
            }
            match wal::apply(&mut self.nodes[node].disk, &effect) {
                Err(_) => return self.crash(node),
                Ok(true) => {
                    if !matches!(effect, Effect::AppendWal(_)) {
                        self.nodes[node].has_unsynced = false;
                    }
                    continue;
                }
                Ok(false) => {}
            }
            self.carry_out_one(node, effect);
        }
    }

    fn carry_out_one(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::ResetWal { .. } | Effect::AppendWal(_) | Effect::SyncWal => {}
            Effect::Broadcast { message, .. } => {
                assert!(
                    !self.nodes[node].has_unsynced,
                    "sent before synced: {message:?}"
                );
                self.note_signed(&message);
                for peer in 0..4 {
                    if peer != node && (self.passes)(node, peer, &message) {
                        self.send(node, peer, message.clone());
                    }
                }
            }
            Effect::AnnounceStatus { decided } => {
                for peer in 0..4 {
                    if peer != node {
                        let status = Input::Status {
                            peer: PeerId(u64::try_from(node).unwrap()),
                            decided,
                        };
                        self.schedule(DELAY_MS, peer, Event::Input(status));
                    }
                }
            }
            Effect::SendStatus { peer, decided } => {
                let status = Input::Status {
                    peer: PeerId(u64::try_from(node).unwrap()),
                    decided,
                };
                let peer = usize::try_from(peer.0).unwrap();
                self.schedule(DELAY_MS, peer, Event::Input(status));
            }
            Effect::ScheduleTimeout { timeout, duration } => {
                self.nodes[node].cancelled.remove(&timeout);
                let delay = u64::try_from(duration.as_millis()).unwrap();
                self.schedule(delay, node, Event::Timeout(timeout));
            }
            Effect::CancelTimeout(timeout) => {
                self.nodes[node].cancelled.insert(timeout);
            }
            Effect::BuildBlock {
                height,
                round,
                rank,
            } => {
                let tag = (self.tag)(node, height, round);
                let block = block(node, height, rank, &tag);
                let built = Input::BlockBuilt {
                    height,
                    round,
                    block,
                };
                self.schedule(BLOCK_MS, node, Event::Input(built));
            }
            Effect::VerifyBlock {
                check,
                hash,
                block,
                purpose,
                ..
            } => {
                self.checks.push((node, hash, purpose));
                let verdict = judge(node, &block);
                let verified = Input::BlockVerified { check, verdict };
                self.schedule(BLOCK_MS, node, Event::Input(verified));
            }
            Effect::Decide {
                height,
                hash,
                block,
                certificate,
            } => self.store(node, height, hash, block, certificate),
            Effect::RequestBlock { peer, height } => {
                let index = usize::try_from(peer.0).unwrap();
                if self.nodes[index].machine.is_some() {
                    let place = usize::try_from(height).unwrap() - 1;
                    let stored = self.nodes[index].chain.get(place).cloned();
                    if let Some(block) = (self.answers)(index, stored) {
                        let response = Input::BlockResponse {
                            peer,
                            height,
                            block,
                        };
                        self.schedule(2 * DELAY_MS, node, Event::Input(response));
                    }
                }
            }
            Effect::Silenced { height, .. } | Effect::Forgotten { height } => {
                self.silenced.push((node, height));
            }
            Effect::Evidence(proof) => self.evidence.push((node, proof)),
            Effect::Refused { peer, refusal } => {
                let peer = usize::try_from(peer.0).unwrap();
                self.refusals.push((node, peer, refusal));
            }
        }
    }

    fn note_signed(&mut self, message: &Message) {
        match message {
            Message::Vote(signed) => {
                let vote = &signed.vote;
                let key = (vote.validator.clone(), vote.height, vote.round, vote.kind);
                let earlier = self.votes.entry(key).or_insert(vote.block);
                assert_eq!(*earlier, vote.block, "two votes: {vote:?}");
            }
            Message::Proposal(proposed) => {
                let proposal = &proposed.signed.proposal;
                let key = (proposal.validator.clone(), proposal.height, proposal.round);
                let earlier = self.proposals.entry(key).or_insert(proposal.clone());
                assert_eq!(earlier, proposal, "two proposals");
            }
            Message::Polka(_) | Message::Round(_) => {}
        }
    }

    fn store(
        &mut self,
        node: usize,
        height: u32,
        hash: Hash,
        block: Block,
        certificate: Certificate,
    ) {
        assert_eq!(
            usize::try_from(height).unwrap(),
            self.nodes[node].chain.len() + 1
        );
        assert_eq!(block.hash(), hash);
        verify_certificate(&set(), &GENESIS, height, &hash, &certificate).unwrap();
        assert_ne!(judge(node, &block), Verdict::Invalid);
        for other in &self.nodes {
            if let Some(certified) = other.chain.get(usize::try_from(height).unwrap() - 1) {
                assert_eq!(certified.block.hash(), hash, "disagreement at {height}");
            }
        }
        self.nodes[node]
            .chain
            .push(CertifiedBlock { block, certificate });
        self.schedule(BLOCK_MS, node, Event::Start);
    }

    /// Lets one thing happen; `false` when nothing is left.
    pub fn tick(&mut self) -> bool {
        let Some(((time, _), (node, life, event))) = self.queue.pop_first() else {
            return false;
        };
        self.now = time;
        if self.nodes[node].life != life || self.nodes[node].machine.is_none() {
            return true;
        }
        match event {
            Event::Input(input) => self.input(node, input),
            Event::Timeout(timeout) => {
                if !self.nodes[node].cancelled.remove(&timeout) {
                    self.input(node, Input::TimeoutElapsed(timeout));
                }
            }
            Event::Start => {
                let height = u32::try_from(self.nodes[node].chain.len()).unwrap() + 1;
                if height <= self.last_height {
                    let start = Input::StartHeight {
                        height,
                        validators: set(),
                        pace: self.pace,
                    };
                    self.input(node, start);
                }
            }
        }
        true
    }

    /// Runs until all of `nodes` have `height`; fails after `ms` of virtual time.
    pub fn run_to(&mut self, nodes: &[usize], height: u32, ms: u64) {
        let height = usize::try_from(height).unwrap();
        let end = self.now + ms;
        while !nodes
            .iter()
            .all(|node| self.nodes[*node].chain.len() >= height)
        {
            let is_going = self.tick() && self.now <= end;
            if !is_going {
                let fatal: Vec<_> = self.nodes.iter().map(|node| &node.fatal).collect();
                let last = &self.trace[self.trace.len().saturating_sub(12)..];
                panic!("no decision; fatal: {fatal:?}; last: {last:#?}");
            }
        }
    }

    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(((time, _), _)) = self.queue.first_key_value() {
            if *time > end {
                break;
            }
            self.tick();
        }
        self.now = end;
    }

    /// What `node` voted.
    pub fn voted(
        &self,
        node: usize,
        height: u32,
        round: u32,
        kind: VoteKind,
    ) -> Option<Option<Hash>> {
        let key = (account(node), height, round, kind);
        self.votes.get(&key).copied()
    }

    /// The author of the block at `height` and the round it was decided in, as `node` has it.
    pub fn decision(&self, node: usize, height: u32) -> (AccountId, u32) {
        let certified = &self.nodes[node].chain[usize::try_from(height).unwrap() - 1];
        let facts = read_header(&certified.block.header).unwrap();
        (facts.author, certified.certificate.round)
    }
}

/// A signer that fails after some signatures.
pub struct Failing(pub ed25519::Pair, pub Mutex<u32>);

impl Signer for Failing {
    fn public(&self) -> ed25519::Public {
        self.0.public()
    }

    fn sign(&self, payload: &[u8]) -> Result<crate::Signature, SignerError> {
        let mut left = self.1.lock().unwrap();
        match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Ok(self.0.sign(payload))
            }
            None => Err(SignerError("the keystore is locked".into())),
        }
    }
}
