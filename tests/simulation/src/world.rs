//! The world: virtual time, what is to happen in it, and the nodes it happens to.

use std::{collections::BTreeMap, sync::Arc};

use codec::Encode;
use commonwatt_consensus::{Message, PeerId, Refusal, Timing};
use commonwatt_engine::{
    Action, BlockAnswer, Delivery, EngineMessage, Event, Job, JobDone, Judgement, Notice,
    Recipient, certified_block, to_stored,
};
use commonwatt_executor::Executor;
use commonwatt_primitives::Step;
use commonwatt_runtime::Hash;
use commonwatt_storage::{CommitMode, StoredBlock};
use commonwatt_txpool::TransactionSource;

use crate::{
    bugs::Bug,
    byzantine::{Liar, Lie, Stage, contradiction, votes_at_once},
    community::{Community, GENESIS_MS, Member, hash_of, timing_of},
    disk::{Disk, Flaws},
    faults::Mend,
    network::{Network, Packet},
    node::{BootError, Node},
    oracle::Oracle,
    plan::{Plan, Trick},
    random::Random,
    report::Report,
    trace::{Trace, digest},
    violation::Violation,
    watch::{Standing, Watch},
    workload::{Workload, is_evidence, is_gift},
};

/// How long a job takes.
const JOB_MS: std::ops::RangeInclusive<u64> = 2..=25;
/// How often a job looks at the chain only when it ends, in percent.
const LATE_LOOK_PERCENT: u64 = 30;
/// How long the network's software needs to notice a connection or its end.
const NOTICE_MS: std::ops::RangeInclusive<u64> = 5..=400;
/// How many of a thousand messages a line damages that flips bits.
const DAMAGED_PERMILLE: u64 = 5;
/// Messages that a node remembers having passed on.
const PASSED_ON_MAX: usize = 8_192;
/// Steps after the healing in which nothing goes wrong but what liars do.
pub const CALM_STEPS: u32 = 6;

/// Rounds in which a healed network goes on.
const RECOVERY_ROUNDS: u64 = 40;
/// Rounds for each height it has to catch up with.
const ROUNDS_PER_HEIGHT: u64 = 6;
/// Steps by which nodes may be behind the clock once they have come back.
const LAG_STEPS: u32 = 2;

/// Something that is to happen.
pub enum Task {
    /// A node is woken.
    Wake {
        /// Which.
        node: usize,
        /// In which life.
        life: u64,
        /// Which of its wakes.
        wake: u64,
    },
    /// A packet arrives.
    Deliver {
        /// From whom.
        from: usize,
        /// Where.
        to: usize,
        /// In which of its lives.
        life: u64,
        /// What.
        packet: Packet,
    },
    /// A job ends that has looked at the chain when it began.
    JobDone(usize, u64, Box<JobDone>),
    /// A job ends that looks at the chain now.
    JobRuns(usize, u64, Box<Job>),
    /// Two nodes notice that they are, or are no longer, connected.
    Connection {
        /// One.
        node: usize,
        /// In which of its lives.
        life: u64,
        /// The other.
        peer: usize,
        /// Whether they are.
        is_there: bool,
    },
    /// A node is switched on.
    Boot(usize),
    /// A step begins: work for it is planned.
    StepBegins(Step),
    /// Somebody works.
    Work(crate::workload::Work),
    /// The next fault strikes.
    Fault,
    /// A fault is over.
    Mend(Mend),
    /// A liar says something out of turn.
    Mutter(usize),
    /// What is not lasting is looked at: whether the network has come back, whether the run is over.
    Look,
}

/// A network of nodes in virtual time.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) bug: Option<Bug>,
    pub(crate) community: Community,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) now_ms: u64,
    queue: BTreeMap<(u64, u64), Task>,
    sequence: u64,
    executor: Executor,
    pub(crate) oracle: Oracle,
    pub(crate) watch: Watch,
    pub(crate) work: Workload,
    pub(crate) report: Report,
    pub(crate) trace: Trace,
    /// Messages whose judgement the network waits for.
    deliveries: BTreeMap<u64, (usize, Arc<[u8]>)>,
    /// Blocks of liars that nobody agreed to, by height; only with a bug.
    forged: BTreeMap<u32, StoredBlock>,
    next_delivery: u64,
    pub(crate) healed_at_ms: Option<u64>,
    /// The step that was open at the healing: the last one of whose readings and bids a fault could keep some from some nodes.
    pub(crate) disturbed: Step,
    pub(crate) recovered_at_ms: Option<u64>,
    is_over: bool,
}

impl World {
    /// Makes a world, and switches its nodes on.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new(seed: u64, plan: Plan, bug: Option<Bug>, has_words: bool) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let timing = timing_of(plan.step_ms);
        let mut community = Community::new(plan.validators, timing, plan.rule)?;
        if bug == Some(Bug::ForgedToken) {
            community.forge_token();
        }
        let executor = Executor::new();
        let honest: Vec<_> = (0..plan.validators)
            .map(|node| !plan.liars.contains(&node))
            .collect();
        let oracle = Oracle::new(&community, executor.clone(), honest.clone())?;
        let flaws = bug.map_or_else(Flaws::default, Bug::flaws);
        let nodes: Vec<_> = community
            .members
            .iter()
            .zip(&honest)
            .map(|(member, is_honest)| {
                let disk = Disk::new(Random::new(random.any()), flaws);
                let tricks = || Liar::new(plan.tricks.clone(), Random::new(random.any()));
                let liar = (!is_honest).then(tricks);
                Node::new(member.clone(), disk, liar)
            })
            .collect();
        let mut world = Self {
            network: Network::new(plan.validators, plan.delay),
            watch: Watch::new(community.timing, honest),
            work: Workload::new(&community),
            report: Report::default(),
            trace: Trace::new(has_words),
            now_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            deliveries: BTreeMap::new(),
            forged: BTreeMap::new(),
            next_delivery: 0,
            healed_at_ms: None,
            disturbed: Step(0),
            recovered_at_ms: None,
            is_over: false,
            plan,
            bug,
            community,
            random,
            nodes,
            executor,
            oracle,
        };
        world.network.loss_permille = world.plan.loss_permille;
        world.network.twice_permille = world.plan.twice_permille;
        world.set_clocks();
        let missed_ms = u64::from(world.plan.steps_missed).saturating_mul(world.plan.step_ms);
        for node in 0..world.nodes.len() {
            let after = missed_ms.saturating_add(world.random.within(0..=200));
            world.push(after, Task::Boot(node));
        }
        world.push(0, Task::StepBegins(Step(1)));
        if !world.plan.faults.is_empty() {
            world.plan_fault();
        }
        for liar in world.plan.liars.clone() {
            let after = world.beat_ms();
            world.push(after, Task::Mutter(liar));
        }
        world.push(0, Task::Look);
        Ok(world)
    }

    /// Lets everything happen until the run is over.
    ///
    /// # Errors
    /// An invariant is broken.
    pub fn run(&mut self) -> Result<(), Violation> {
        while !self.is_over {
            let Some(((at_ms, _), task)) = self.queue.pop_first() else {
                break;
            };
            self.now_ms = at_ms;
            self.perform(task)?;
        }
        Ok(())
    }

    /// Returns what happened.
    pub fn report(&self) -> Report {
        let mut report = self.report.clone();
        report.heights = self.oracle.best();
        report.virtual_ms = self.now_ms;
        report.trace = self.trace.hash();
        report.events = self.trace.events();
        report.offenders = self.oracle.offenders().len();
        report
    }

    /// Returns the record in words.
    pub fn words(&self) -> Vec<String> {
        self.trace.lines()
    }

    /// Returns what a node holds at a height.
    pub fn block_of(&self, node: usize, height: u32) -> Option<Hash> {
        let process = self.nodes[node].process.as_ref()?;
        process.chain.db().hash_of(height).ok().flatten()
    }

    /// Has something happen later.
    pub(crate) fn push(&mut self, after_ms: u64, task: Task) {
        self.sequence = self.sequence.saturating_add(1);
        let at_ms = self.now_ms.saturating_add(after_ms);
        self.queue.insert((at_ms, self.sequence), task);
    }

    /// Returns how long a round without trouble takes at most.
    pub(crate) fn beat_ms(&self) -> u64 {
        let timing = self.timing();
        let beat = timing.propose + timing.vote * 2;
        u64::try_from(beat.as_millis()).unwrap_or(u64::MAX)
    }

    fn timing(&self) -> Timing {
        Timing::for_step(self.community.timing.step_ms)
    }

    /// Returns the last step that has settled.
    pub(crate) fn settled_step(&self) -> u32 {
        let timing = &self.community.timing;
        let unix_ms = GENESIS_MS.saturating_add(self.now_ms);
        let step = timing.step_at(unix_ms.saturating_sub(timing.settle_delay_ms));
        step.0.saturating_sub(1)
    }

    fn perform(&mut self, task: Task) -> Result<(), Violation> {
        if let Some(node) = self.node_of(&task)
            && self.nodes[node].paused_until_ms > self.now_ms
        {
            // It stands still: later, in the same order.
            let after = self.nodes[node].paused_until_ms - self.now_ms;
            self.push(after, task);
            return Ok(());
        }
        match task {
            Task::Wake { node, life, wake } => {
                let is_due = |node: &Node| {
                    node.lives == life && node.process.as_ref().is_some_and(|it| it.wake == wake)
                };
                if is_due(&self.nodes[node]) {
                    self.feed(node, Event::Woken)?;
                }
            }
            Task::Deliver {
                from,
                to,
                life,
                packet,
            } => {
                if self.nodes[to].lives == life && self.nodes[to].process.is_some() {
                    self.receive(from, to, packet)?;
                }
            }
            Task::JobDone(node, life, done) => {
                if self.nodes[node].lives == life {
                    self.feed(node, Event::JobDone(*done))?;
                }
            }
            Task::JobRuns(node, life, job) => {
                if self.nodes[node].lives == life && self.nodes[node].process.is_some() {
                    let done = self.run_job(node, *job);
                    self.feed(node, Event::JobDone(done))?;
                }
            }
            Task::Connection {
                node,
                life,
                peer,
                is_there,
            } => {
                if self.nodes[node].lives == life {
                    let id = peer_id(peer);
                    let event = match is_there {
                        true => Event::PeerCame {
                            peer: id,
                            account: Some(self.nodes[peer].member.account.clone()),
                        },
                        false => Event::PeerGone(id),
                    };
                    self.feed(node, event)?;
                }
            }
            Task::Boot(node) => self.boot(node)?,
            Task::StepBegins(step) => self.begin_step(step)?,
            Task::Work(work) => self.do_work(work)?,
            Task::Fault => {
                if self.healed_at_ms.is_none() {
                    self.strike()?;
                    self.plan_fault();
                }
            }
            Task::Mend(mend) => self.mend(mend)?,
            Task::Mutter(liar) => self.mutter(liar),
            Task::Look => self.look()?,
        }
        Ok(())
    }

    fn node_of(&self, task: &Task) -> Option<usize> {
        match task {
            Task::Wake { node, .. }
            | Task::Deliver { to: node, .. }
            | Task::JobDone(node, ..)
            | Task::JobRuns(node, ..)
            | Task::Connection { node, .. } => Some(*node),
            _ => None,
        }
    }

    // ------------------------------------------------------------------------------------ nodes

    /// Tells a node's engine something, and carries out what it asks for.
    pub(crate) fn feed(&mut self, node: usize, event: Event) -> Result<(), Violation> {
        let it = &mut self.nodes[node];
        let now = it.now(self.now_ms);
        let Some(process) = it.process.as_mut() else {
            return Ok(());
        };
        it.disk.idle();
        let at_ms = self.now_ms;
        self.trace.note(&[1, at_ms, node as u64], || {
            format!("{at_ms:>9} node {node} hears {event:?}")
        });
        match process.engine.handle(event, now) {
            Ok(actions) => {
                self.observe_chain(node)?;
                self.carry_out(node, actions)?;
            }
            Err(_) if it.disk.has_no_power() => self.power_is_off(node),
            Err(fatal) if it.liar.is_some() => {
                let words = fatal.to_string();
                self.trace.note(&[2, node as u64], || {
                    format!("{at_ms:>9} liar {node} stops: {words}")
                });
                self.go_down(node, true);
            }
            Err(fatal) => {
                return Err(Violation::Stopped {
                    node,
                    why: fatal.to_string(),
                });
            }
        }
        self.plan_wake(node);
        Ok(())
    }

    fn plan_wake(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let it = &mut self.nodes[node];
        let now = it.now(now_ms);
        let life = it.lives;
        let Some(process) = it.process.as_mut() else {
            return;
        };
        let after_ms = process.engine.wait_ms(now).max(1);
        let at_ms = now_ms.saturating_add(after_ms);
        if process.wake_at_ms == at_ms {
            return;
        }
        process.wake_at_ms = at_ms;
        process.wake = process.wake.saturating_add(1);
        let wake = process.wake;
        self.push(after_ms, Task::Wake { node, life, wake });
    }

    fn boot(&mut self, node: usize) -> Result<(), Violation> {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        if let Some(height) = self.nodes[node].waits_for {
            let mut others = self.nodes.iter().enumerate();
            if others.any(|(other, it)| other != node && it.acknowledged < height) {
                self.push(500, Task::Boot(node));
                return Ok(());
            }
            self.nodes[node].waits_for = None;
        }
        let outcome = self.nodes[node].boot(&self.community, &self.executor, self.bug);
        let log = match outcome {
            Ok(log) => log,
            Err(BootError::Disk) => {
                self.push(1_000, Task::Boot(node));
                return Ok(());
            }
            Err(BootError::LogMissing) => {
                // The operator asks another node for its last block.
                let best = self.nodes.iter().map(|it| it.acknowledged).max();
                let from = best
                    .unwrap_or_default()
                    .max(self.oracle.best())
                    .saturating_add(3);
                self.nodes[node].votes_from = Some(from);
                self.push(500, Task::Boot(node));
                return Ok(());
            }
            Err(BootError::LogClosed) if !self.nodes[node].is_honest() => {
                self.nodes[node].disk.lose_log();
                self.push(500, Task::Boot(node));
                return Ok(());
            }
            Err(BootError::LogClosed) => {
                let why = "its log was closed, though nobody else has its keys".to_owned();
                return Err(Violation::Stopped { node, why });
            }
            Err(BootError::Other(why)) => return Err(Violation::Stopped { node, why }),
        };
        let (at_ms, life) = (self.now_ms, self.nodes[node].lives);
        self.trace.note(&[3, at_ms, node as u64], || {
            format!("{at_ms:>9} node {node} starts its life {life}, log of {log:?}")
        });
        self.report.boots += 1;
        self.verify_disk(node, log)?;
        if self.bug == Some(Bug::CertificatesUnchecked) && self.nodes[node].is_honest() {
            self.take_anything(node);
            self.observe_chain(node)?;
        }
        for peer in 0..self.nodes.len() {
            if peer != node && self.nodes[peer].process.is_some() {
                self.connect(node, peer, true);
            }
        }
        self.feed(node, Event::Woken)
    }

    /// Checks what a node finds on its disk.
    fn verify_disk(&self, node: usize, log: Option<u32>) -> Result<(), Violation> {
        let it = &self.nodes[node];
        let Some(process) = it.process.as_ref().filter(|_| it.is_honest()) else {
            return Ok(());
        };
        let best = process.chain.best().0;
        if best < it.acknowledged {
            return Err(Violation::Forgotten {
                node,
                had: it.acknowledged,
                has: best,
            });
        }
        // Unless its operator told it, or its own vote in a certificate, from where on it has signed nothing.
        let most = best
            .saturating_add(1)
            .max(it.votes_from.unwrap_or_default());
        match log.filter(|log| *log > most) {
            Some(log) => Err(Violation::LogAhead { node, best, log }),
            None => Ok(()),
        }
    }

    /// Takes a block from a liar without looking at its certificate: planted.
    fn take_anything(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let height = process.chain.best().0.saturating_add(1);
        let is_decided = self.oracle.hash_at(height).is_some();
        if let Some(stored) = self.forged.get(&height).filter(|_| is_decided) {
            // One that does not follow is refused, and the next start is another chance.
            let _ = process.chain.import(stored.clone(), CommitMode::Durable);
        }
    }

    /// Has a liar make a block that nobody else agrees to, for whoever takes it.
    fn forge(&mut self, liar: usize) {
        let Some(stage) = self.stage(liar) else {
            return;
        };
        let height = stage.chain.best().0.saturating_add(1);
        if self.forged.contains_key(&height) {
            return;
        }
        let Some(block) = stage.build_any() else {
            return;
        };
        let certificate = stage.certify_alone(height, block.hash());
        if let Some((header, body)) = to_stored(&block) {
            let stored = StoredBlock {
                header,
                body,
                justification: Some(certificate.encode()),
            };
            self.forged.insert(height, stored);
        }
    }

    /// Has two nodes notice that they are, or are no longer, connected.
    pub(crate) fn connect(&mut self, one: usize, other: usize, is_there: bool) {
        for (node, peer) in [(one, other), (other, one)] {
            if self.nodes[node].process.is_some() {
                let life = self.nodes[node].lives;
                let after = self.random.within(NOTICE_MS);
                let task = Task::Connection {
                    node,
                    life,
                    peer,
                    is_there,
                };
                self.push(after, task);
            }
        }
    }

    /// Ends a node's process; it is switched on again later.
    pub(crate) fn go_down(&mut self, node: usize, is_restarted: bool) {
        let at_ms = self.now_ms;
        self.trace.note(&[4, at_ms, node as u64], || {
            format!("{at_ms:>9} node {node} goes down")
        });
        self.nodes[node].process = None;
        self.nodes[node].disk.stop();
        self.nodes[node].killed_after = None;
        self.watch.note_down(node);
        for peer in 0..self.nodes.len() {
            if peer != node && self.nodes[peer].process.is_some() {
                self.connect(node, peer, false);
            }
        }
        if is_restarted {
            let longest = match self.random.percent(70) {
                true => self.community.timing.step_ms,
                false => 4 * self.community.timing.step_ms,
            };
            let after = match self.healed_at_ms {
                Some(_) => 200,
                None => self.random.within(100..=longest),
            };
            self.push(after, Task::Boot(node));
        }
    }

    /// A node's disk has lost its power while it worked.
    pub(crate) fn power_is_off(&mut self, node: usize) {
        self.report.power_losses += 1;
        self.nodes[node].disk.lose_power();
        self.go_down(node, true);
    }

    /// Looks at the blocks a node has stored since the last time.
    fn observe_chain(&mut self, node: usize) -> Result<(), Violation> {
        let it = &self.nodes[node];
        let Some(process) = it.process.as_ref() else {
            return Ok(());
        };
        let best = process.chain.best().0;
        let chain = process.chain.clone();
        while self.nodes[node].acknowledged < best {
            let height = self.nodes[node].acknowledged.saturating_add(1);
            self.nodes[node].acknowledged = height;
            if !self.nodes[node].is_honest() {
                continue;
            }
            let gap = Violation::Gap { node, height };
            let hash = chain
                .db()
                .hash_of(height)
                .ok()
                .flatten()
                .ok_or(gap.clone())?;
            let block = chain.db().block(&hash).ok().flatten().ok_or(gap)?;
            let at_ms = self.now_ms;
            self.trace.note(
                &[5, at_ms, node as u64, height.into(), hash.to_low_u64_be()],
                || format!("{at_ms:>9} node {node} has block {height} {hash:?}"),
            );
            match self.oracle.hash_at(height) {
                Some(other) if other != hash => {
                    return Err(Violation::Disagreement {
                        node,
                        height,
                        hash,
                        other,
                    });
                }
                Some(_) => {
                    let certificate = block.justification.as_deref();
                    self.oracle
                        .verify_stored(node, height, &hash, certificate)?;
                }
                None => {
                    let taken = self.oracle.take(node, block)?;
                    self.note_decided(&taken)?;
                }
            }
        }
        Ok(())
    }

    fn note_decided(&mut self, taken: &crate::oracle::Taken) -> Result<(), Violation> {
        let settled_ms = self.community.timing.settles_at_ms(Step(taken.height));
        let took_ms = GENESIS_MS
            .saturating_add(self.now_ms)
            .saturating_sub(settled_ms);
        self.report
            .note_decided(taken.round, taken.is_late, took_ms);
        let author = self.community.node_of(&taken.author);
        if author.is_some_and(|author| !self.nodes[author].is_honest()) {
            self.report.blocks_of_liars += 1;
        }
        let honest_up = self.nodes.iter().all(|it| {
            !it.is_honest() || (it.process.is_some() && it.paused_until_ms <= self.now_ms)
        });
        let standing = Standing {
            now_ms: self.now_ms,
            all_up: honest_up,
            skew_ms: self.plan.skew_ms,
        };
        let ranks = self
            .oracle
            .set_of(taken.height)
            .map_or(0, |set| set.ranks());
        self.watch.note_decided(taken, ranks, &standing)
    }

    // ------------------------------------------------------------------------------------ actions

    fn carry_out(&mut self, node: usize, actions: Vec<Action>) -> Result<(), Violation> {
        for action in actions {
            if let Some(left) = &mut self.nodes[node].killed_after {
                match left.checked_sub(1) {
                    Some(rest) => *left = rest,
                    None => {
                        self.report.kills += 1;
                        self.go_down(node, true);
                        return Ok(());
                    }
                }
            }
            self.act(node, action)?;
        }
        Ok(())
    }

    fn act(&mut self, node: usize, action: Action) -> Result<(), Violation> {
        match action {
            Action::Send { to, message } => self.send(node, to, message)?,
            Action::Judge {
                delivery,
                judgement,
            } => {
                let waiting = self.deliveries.remove(&delivery.0);
                if let Some((from, bytes)) = waiting.filter(|_| judgement == Judgement::Accept) {
                    let peers = self.peers_of(node);
                    let peers: Vec<_> = peers.into_iter().filter(|peer| *peer != from).collect();
                    self.transmit(node, &peers, Packet::Engine(bytes), 0);
                }
            }
            Action::RequestBlock { peer, height } => {
                self.report.requests += 1;
                let peer = index_of(peer);
                self.transmit(node, &[peer], Packet::Request(height), 0);
            }
            Action::Run(job) => {
                let after = self.random.within(JOB_MS);
                let life = self.nodes[node].lives;
                let task = match self.random.percent(LATE_LOOK_PERCENT) {
                    true => Task::JobRuns(node, life, Box::new(job)),
                    false => Task::JobDone(node, life, Box::new(self.run_job(node, job))),
                };
                self.push(after, task);
            }
            Action::PassOn(transactions) => {
                let peers = self.peers_of(node);
                for bytes in transactions {
                    self.transmit(node, &peers, Packet::Transaction(bytes), 0);
                }
            }
            Action::Blame { peer, refusal } => self.blame(node, index_of(peer), &refusal)?,
            Action::Tell(notice) => self.note_notice(node, notice)?,
        }
        Ok(())
    }

    fn run_job(&self, node: usize, job: Job) -> JobDone {
        let unix_ms = self.nodes[node].now(self.now_ms).unix_ms;
        job.run(&|| unix_ms)
    }

    fn peers_of(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len()).filter(|peer| *peer != node).collect()
    }

    fn send(
        &mut self,
        node: usize,
        to: Recipient,
        message: EngineMessage,
    ) -> Result<(), Violation> {
        let to = match to {
            Recipient::All => self.peers_of(node),
            Recipient::Peer(peer) => vec![index_of(peer)],
        };
        if self.nodes[node].liar.is_some() {
            if to.len() > 1 {
                self.lie(node, message);
            } else {
                self.transmit(node, &to, Packet::Engine(message.encode().into()), 0);
            }
            return Ok(());
        }
        if let EngineMessage::Agreement { message, .. } = &message {
            let own = self.nodes[node].member.account.clone();
            let at_ms = self.now_ms;
            self.trace.note(&[6, at_ms], || {
                format!("{at_ms:>9} node {node} sends {message:?}")
            });
            self.watch.note_sent(node, &own, message)?;
        }
        self.transmit(node, &to, Packet::Engine(message.encode().into()), 0);
        Ok(())
    }

    /// Sends a packet to some nodes.
    pub(crate) fn transmit(
        &mut self,
        from: usize,
        to: &[usize],
        mut packet: Packet,
        after_ms: u64,
    ) {
        if self.bug == Some(Bug::BitsFlipped) {
            self.damage(&mut packet);
        }
        let bytes = packet.bytes();
        if let Packet::Engine(bytes) = &packet {
            self.trace.note(&[7, digest(bytes)], String::new);
        }
        for peer in to {
            self.report.messages += 1;
            self.report.bytes += bytes as u64;
            for delay in self.network.route(&mut self.random, from, *peer, bytes) {
                let task = Task::Deliver {
                    from,
                    to: *peer,
                    life: self.nodes[*peer].lives,
                    packet: packet.clone(),
                };
                self.push(delay.saturating_add(after_ms), task);
            }
        }
    }

    /// Flips a bit of what is sent, now and then: planted.
    fn damage(&mut self, packet: &mut Packet) {
        if let Packet::Engine(bytes) = packet
            && self.random.permille(DAMAGED_PERMILLE)
        {
            let place = self.random.index(bytes.len());
            let mut damaged = bytes.to_vec();
            if let Some(byte) = damaged.get_mut(place) {
                *byte ^= 1 << self.random.below(8);
            }
            *bytes = damaged.into();
        }
    }

    fn blame(&mut self, node: usize, peer: usize, refusal: &Refusal) -> Result<(), Violation> {
        self.report.refusals += 1;
        // Who passes on what others made answers for them, and a slow line is nobody's fault.
        let is_possible = self.plan.is_relayed
            || matches!(
                refusal,
                Refusal::NoAnswer(_) | Refusal::Unasked(_) | Refusal::BufferFull
            );
        let are_honest = self.nodes[node].is_honest() && self.nodes[peer].is_honest();
        if is_possible || !are_honest {
            return Ok(());
        }
        Err(Violation::HonestBlamed {
            node,
            peer,
            why: refusal.to_string(),
        })
    }

    fn note_notice(&mut self, node: usize, notice: Notice) -> Result<(), Violation> {
        let at_ms = self.now_ms;
        self.trace.note(&[8, at_ms], || {
            format!("{at_ms:>9} node {node} tells {notice:?}")
        });
        match notice {
            Notice::Withheld { .. } => self.report.withheld += 1,
            Notice::Invalid { .. } => self.report.invalid += 1,
            Notice::Silenced { .. } => self.report.silenced += 1,
            Notice::Forgotten { votes_from, .. } => {
                self.report.silenced += 1;
                self.nodes[node].votes_from = Some(votes_from);
            }
            Notice::Closed { height } if self.nodes[node].is_honest() => {
                let why = format!("it takes its own vote at {height} for that of another node");
                return Err(Violation::Stopped { node, why });
            }
            Notice::Closed { .. } => self.report.silenced += 1,
            Notice::Decided { is_fetched, .. } => self.report.fetched += u64::from(is_fetched),
            Notice::EvidenceSubmitted { offender, height } => {
                self.report.evidence += 1;
                let life = self.nodes[node].lives;
                self.watch
                    .note_accusation(node, life, offender, height, at_ms);
                self.pass_on_evidence(node);
            }
            Notice::HeightStarted { is_voting, .. } => self.nodes[node].has_voted |= is_voting,
            Notice::Waiting { .. } | Notice::EvidenceRefused { .. } | Notice::NotBuilt { .. } => {}
        }
        Ok(())
    }

    /// Passes on what the engine has brought into the pool.
    fn pass_on_evidence(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let ready = process.chain.ready();
        let evidence: Vec<_> = ready
            .into_iter()
            .filter(|pooled| is_evidence(&pooled.extrinsic))
            .collect();
        if self.bug == Some(Bug::EvidenceDropped) {
            for pooled in evidence {
                process.chain.remove_transaction(&pooled.hash);
            }
            return;
        }
        let peers = self.peers_of(node);
        for pooled in evidence {
            self.transmit(node, &peers, Packet::Transaction(pooled.extrinsic), 0);
        }
    }

    // ------------------------------------------------------------------------------------ receiving

    fn receive(&mut self, from: usize, to: usize, packet: Packet) -> Result<(), Violation> {
        match packet {
            Packet::Engine(bytes) => self.receive_message(from, to, bytes),
            Packet::Transaction(bytes) => self.submit(to, Some(from), &bytes),
            Packet::Request(height) => {
                self.answer(from, to, height);
                Ok(())
            }
            Packet::Answer(bytes) => match BlockAnswer::decode_bounded(&bytes) {
                Ok(answer) => {
                    let peer = peer_id(from);
                    self.feed(to, Event::BlockAnswer { peer, answer })
                }
                Err(_) => Ok(()),
            },
        }
    }

    fn receive_message(
        &mut self,
        from: usize,
        to: usize,
        bytes: Arc<[u8]>,
    ) -> Result<(), Violation> {
        if let Some(liar) = &mut self.nodes[to].liar {
            liar.hear(&bytes);
        }
        let message = match EngineMessage::decode_bounded(&bytes) {
            Ok(message) => message,
            Err(error) if self.nodes[from].is_honest() => {
                return Err(Violation::HonestBlamed {
                    node: to,
                    peer: from,
                    why: error.to_string(),
                });
            }
            Err(_) => return Ok(()),
        };
        if self.bug == Some(Bug::VotesBeforeExecution) && self.nodes[to].is_honest() {
            self.vote_at_once(to, &bytes)?;
        }
        let is_passed_on = self.plan.is_relayed
            && matches!(message, EngineMessage::Agreement { .. })
            && self.nodes[to].is_honest();
        let delivery = match is_passed_on {
            true => {
                let Some(process) = self.nodes[to].process.as_mut() else {
                    return Ok(());
                };
                if process.passed_on.len() >= PASSED_ON_MAX {
                    process.passed_on.clear();
                }
                if !process.passed_on.insert(digest(&bytes)) {
                    return Ok(());
                }
                self.next_delivery = self.next_delivery.saturating_add(1);
                self.deliveries.insert(self.next_delivery, (from, bytes));
                Some(Delivery(self.next_delivery))
            }
            false => None,
        };
        // A liar does not let its engine find out what is sent in its name.
        if !self.nodes[to].is_honest() && is_signed_by(&message, &self.nodes[to].member) {
            return Ok(());
        }
        let event = Event::Message {
            peer: peer_id(from),
            message,
            delivery,
        };
        self.feed(to, event)
    }

    fn vote_at_once(&mut self, node: usize, bytes: &[u8]) -> Result<(), Violation> {
        let genesis = self.oracle.genesis_hash();
        for message in votes_at_once(&self.nodes[node].member, &genesis, bytes) {
            self.send(node, Recipient::All, message)?;
        }
        Ok(())
    }

    /// Brings a transaction into a node's pool; what is new to it is passed on.
    pub(crate) fn submit(
        &mut self,
        node: usize,
        from: Option<usize>,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let Some(process) = &self.nodes[node].process else {
            return Ok(());
        };
        let source = TransactionSource::External;
        let outcome = process.chain.submit(source, bytes.to_vec());
        let at_ms = self.now_ms;
        let refused = outcome.as_ref().err().map(|error| error.to_string());
        self.trace
            .note(&[9, at_ms, u64::from(outcome.is_ok())], || {
                format!(
                    "{at_ms:>9} node {node} gets a transaction {:?}: {refused:?}",
                    hash_of(bytes)
                )
            });
        if outcome.is_err() {
            return Ok(());
        }
        let is_dropped = self.bug == Some(Bug::EvidenceDropped) && is_evidence(bytes);
        let hash = hash_of(bytes);
        if is_dropped {
            process.chain.remove_transaction(&hash);
            return Ok(());
        }
        self.watch.note_seen(&hash, node, self.now_ms);
        if self.bug == Some(Bug::GiftsDropped) && is_gift(bytes) && !self.drop_gift(node, bytes) {
            return Ok(());
        }
        let peers = self.peers_of(node);
        let peers: Vec<_> = peers
            .into_iter()
            .filter(|peer| Some(*peer) != from)
            .collect();
        self.transmit(node, &peers, Packet::Transaction(bytes.into()), 0);
        self.feed(node, Event::Woken)
    }

    /// Loses a gift that a node has accepted: planted. Returns whether it is to be passed on: only once, as it comes in
    /// again and again.
    fn drop_gift(&mut self, node: usize, bytes: &[u8]) -> bool {
        let Some(process) = self.nodes[node].process.as_mut() else {
            return false;
        };
        process.chain.remove_transaction(&hash_of(bytes));
        process.passed_on.insert(digest(bytes))
    }

    fn answer(&mut self, from: usize, node: usize, height: u32) {
        if self.bug == Some(Bug::NoAnswers) {
            return;
        }
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let block = certified_block(&process.chain, height).ok().flatten();
        let mut answer = Some(BlockAnswer { height, block });
        if self.nodes[node].liar.is_some()
            && let Some(mut liar) = self.nodes[node].liar.take()
        {
            if let (Some(stage), Some(true_answer)) = (self.stage(node), answer.take()) {
                answer = liar.answer(&stage, true_answer);
            }
            self.nodes[node].liar = Some(liar);
        }
        if let Some(answer) = answer {
            self.transmit(node, &[from], Packet::Answer(answer.encode().into()), 0);
        }
    }

    // ------------------------------------------------------------------------------------ liars

    fn stage(&self, node: usize) -> Option<Stage<'_>> {
        let it = &self.nodes[node];
        let process = it.process.as_ref()?;
        let propose_ms = self.timing().propose.as_millis();
        Some(Stage {
            member: &it.member,
            chain: &process.chain,
            timing: &self.community.timing,
            others: &self.work.others[node],
            accounts: &self.work.accounts,
            propose_ms: u64::try_from(propose_ms).unwrap_or(u64::MAX),
        })
    }

    fn lie(&mut self, node: usize, message: EngineMessage) {
        let Some(mut liar) = self.nodes[node].liar.take() else {
            return;
        };
        let lies = self
            .stage(node)
            .map(|stage| liar.speak(&stage, message))
            .unwrap_or_default();
        self.nodes[node].liar = Some(liar);
        self.tell_lies(node, lies);
    }

    fn mutter(&mut self, node: usize) {
        let height = self.oracle.best().saturating_add(1);
        if self.bug == Some(Bug::CertificatesUnchecked) {
            self.forge(node);
        }
        if self.bug == Some(Bug::KeyStolen) {
            self.impersonate(node, height);
        }
        if let Some(mut liar) = self.nodes[node].liar.take() {
            let lies = self
                .stage(node)
                .map(|stage| liar.mutter(&stage, height))
                .unwrap_or_default();
            self.nodes[node].liar = Some(liar);
            self.tell_lies(node, lies);
        }
        let longest = 2 * self.beat_ms();
        let after = match self.community.timing.step_ms > 60_000 && self.random.percent(70) {
            // Most of such a step nothing happens.
            true => self
                .until_settled_ms()
                .saturating_add(self.random.below(longest)),
            false => self.random.within(10..=longest),
        };
        self.push(after, Task::Mutter(node));
    }

    /// Has a liar contradict itself in the name of an honest validator, whose key it has: planted.
    fn impersonate(&mut self, liar: usize, height: u32) {
        let Some(victim) = self.nodes.iter().position(Node::is_honest) else {
            return;
        };
        let genesis = self.oracle.genesis_hash();
        let votes = contradiction(&self.nodes[victim].member, &genesis, height);
        let mut others = self.peers_of(liar);
        others.retain(|peer| *peer != victim);
        for vote in votes {
            self.transmit(liar, &others, Packet::Engine(vote.encode().into()), 0);
        }
    }

    fn tell_lies(&mut self, node: usize, lies: Vec<Lie>) {
        for Lie {
            to,
            bytes,
            after_ms,
        } in lies
        {
            self.transmit(node, &to, Packet::Engine(bytes), after_ms);
        }
    }

    /// Returns in how many milliseconds the next step settles.
    pub(crate) fn until_settled_ms(&self) -> u64 {
        let next = Step(self.settled_step().saturating_add(1));
        self.true_settling_ms(next).saturating_sub(self.now_ms)
    }

    /// Returns when a step settles.
    fn true_settling_ms(&self, step: Step) -> u64 {
        let settles_ms = self.community.timing.settles_at_ms(step);
        settles_ms.saturating_sub(GENESIS_MS)
    }

    /// Sets all clocks as right as they are in this plan.
    pub(crate) fn set_clocks(&mut self) {
        let skew_ms = self.plan.skew_ms;
        let ahead_ms = self.community.timing.settle_delay_ms;
        for node in 0..self.nodes.len() {
            let skew = self.random.within(0..=2 * skew_ms);
            let clock_ms = i64::try_from(skew).unwrap_or_default()
                - i64::try_from(skew_ms).unwrap_or_default();
            let hurries = self.nodes[node]
                .liar
                .as_ref()
                .is_some_and(|liar| liar.has(Trick::Hurry));
            self.nodes[node].clock_ms = match hurries {
                true => i64::try_from(ahead_ms).unwrap_or_default(),
                false => clock_ms,
            };
        }
    }

    // ------------------------------------------------------------------------------------ the end

    fn look(&mut self) -> Result<(), Violation> {
        let step_ms = self.community.timing.step_ms;
        match self.healed_at_ms {
            None if self.now_ms >= u64::from(self.plan.steps).saturating_mul(step_ms) => {
                self.heal()?
            }
            None => {}
            Some(healed_ms) => self.look_at_recovery(healed_ms)?,
        }
        let after = self.beat_ms().min(step_ms) / 2;
        self.push(after.max(1), Task::Look);
        Ok(())
    }

    fn look_at_recovery(&mut self, healed_ms: u64) -> Result<(), Violation> {
        // The last settled step may still be agreed on.
        let clock = self.settled_step().saturating_sub(1);
        let slowest = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, it)| it.is_honest())
            .min_by_key(|(_, it)| it.acknowledged);
        let Some((node, best)) = slowest.map(|(node, it)| (node, it.acknowledged)) else {
            return Ok(());
        };
        // Nodes that saw different things before the healing may need every rank's turn for their last height of that time.
        let disturbed_ms = self.true_settling_ms(self.disturbed);
        let since_ms = match disturbed_ms <= self.now_ms {
            true => healed_ms.max(disturbed_ms),
            false => healed_ms,
        };
        let is_behind = best.saturating_add(LAG_STEPS) < clock;
        if is_behind && best < self.disturbed.0 {
            self.recovered_at_ms = None;
        }
        let waited_ms = self.now_ms.saturating_sub(since_ms);
        if best >= clock && self.recovered_at_ms.is_none() {
            self.recovered_at_ms = Some(self.now_ms);
            self.report.recovery_ms = self.now_ms.saturating_sub(healed_ms);
        }
        let step_ms = self.community.timing.step_ms;
        let calm_ms = u64::from(CALM_STEPS).saturating_mul(step_ms);
        let is_late = match self.recovered_at_ms {
            None => waited_ms > self.recovery_max_ms(),
            Some(_) => is_behind,
        };
        if is_late {
            return Err(Violation::NoLiveness {
                node,
                best,
                clock,
                waited_ms,
            });
        }
        match self.recovered_at_ms {
            Some(recovered_ms) if self.now_ms >= recovered_ms.saturating_add(calm_ms) => self.end(),
            _ => Ok(()),
        }
    }

    /// Returns how long after the healing the network may take to come back: some rounds, and some for each height that
    /// is missing.
    pub(crate) fn recovery_max_ms(&self) -> u64 {
        let behind = u64::from(self.report.behind_at_healing);
        let rounds = RECOVERY_ROUNDS.saturating_add(behind.saturating_mul(ROUNDS_PER_HEIGHT));
        rounds.saturating_mul(self.beat_ms())
    }

    fn end(&mut self) -> Result<(), Violation> {
        let lives: Vec<_> = self
            .nodes
            .iter()
            .map(|it| (it.process.is_some() && it.is_honest()).then_some(it.lives))
            .collect();
        let step_ms = self.community.timing.step_ms;
        let before_ms = self.now_ms.saturating_sub(3 * step_ms);
        let offenders = self.oracle.offenders();
        self.watch
            .verify_accusations(offenders, &lives, before_ms)?;
        self.is_over = true;
        Ok(())
    }
}

/// Returns whether a message is a vote or proposal of this member.
fn is_signed_by(message: &EngineMessage, member: &Member) -> bool {
    match message {
        EngineMessage::Agreement { message, .. } => match message {
            Message::Vote(signed) => signed.vote.validator == member.account,
            Message::Proposal(proposed) => proposed.signed.proposal.validator == member.account,
            Message::Polka(_) | Message::Round(_) => false,
        },
        EngineMessage::Status { .. } => false,
    }
}

fn peer_id(node: usize) -> PeerId {
    PeerId(u64::try_from(node).unwrap_or(u64::MAX))
}

fn index_of(peer: PeerId) -> usize {
    usize::try_from(peer.0).unwrap_or(usize::MAX)
}
