//! What the machine asks for, carried out or handed on.

use codec::Encode;
use commonwatt_consensus::{
    Block, Certificate, CheckId, Effect, EquivocationProof, HeaderFacts, Pace, PeerId, Purpose,
    Timeout, TimeoutKind,
    wal::{self, NEVER},
};
use commonwatt_primitives::digest::Punctuality;
use commonwatt_runtime::Hash;
use commonwatt_storage::{CommitMode, StoredBlock};
use commonwatt_txpool::TransactionSource;

use super::{Check, Engine, Upcoming};
use crate::{
    blocks::{read_header, to_stored},
    error::Fatal,
    event::{Action, Notice, Recipient},
    evidence::to_extrinsic,
    job::{Job, Judging, Seen, Task},
    wire::EngineMessage,
};

/// Part of a round's time for a proposal that an author may spend on adding transactions; in the rest the others execute.
const BUILD_PART: u64 = 3;

impl Engine {
    /// Carries out effects in their order.
    pub(super) fn perform_all(&mut self, effects: Vec<Effect>) -> Result<(), Fatal> {
        effects
            .into_iter()
            .try_for_each(|effect| self.perform(effect))
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Fatal> {
        if wal::apply(&mut *self.log, &effect)? {
            return Ok(());
        }
        match effect {
            Effect::ResetWal { .. } | Effect::AppendWal(_) | Effect::SyncWal => {}
            Effect::Broadcast { message, attempt } => {
                let message = EngineMessage::Agreement { attempt, message };
                self.send(Recipient::All, message);
            }
            Effect::AnnounceStatus { decided } => {
                self.send(Recipient::All, EngineMessage::Status { decided });
            }
            Effect::SendStatus { peer, decided } => self.send_status(peer, decided),
            Effect::ScheduleTimeout { timeout, duration } => self.schedule(timeout, duration),
            Effect::CancelTimeout(timeout) => self.cancel(timeout),
            Effect::BuildBlock {
                height,
                round,
                rank,
            } => self.have_built(height, round, rank),
            Effect::VerifyBlock {
                check,
                hash,
                block,
                facts,
                purpose,
            } => self.have_verified(check, hash, block, &facts, purpose),
            Effect::Decide {
                height,
                hash,
                block,
                certificate,
            } => self.store(height, hash, &block, &certificate)?,
            Effect::RequestBlock { peer, height } => {
                self.actions.push(Action::RequestBlock { peer, height });
            }
            Effect::Evidence(proof) => self.submit_evidence(&proof),
            Effect::Silenced { height, round } => match self.is_signed_elsewhere(height) {
                true => self.close_log(height)?,
                false => self.tell(Notice::Silenced { height, round }),
            },
            Effect::Forgotten { height } => match self.is_signed_elsewhere(height) {
                true => self.close_log(height)?,
                false => self.begin_after(height)?,
            },
            Effect::Refused { peer, refusal } => {
                self.actions.push(Action::Blame { peer, refusal });
            }
        }
        Ok(())
    }

    /// Returns whether what this node's key has signed at `height`, and this node does not know, was signed by another process:
    /// because the step was still open when this one began, and the next too, should the clock have been wrong.
    fn is_signed_elsewhere(&self, height: u32) -> bool {
        self.first_open.is_some_and(|open| height > open)
    }

    /// Votes never again, whoever starts this node: the same keys vote elsewhere, and two processes that do not know of each
    /// other contradict each other sooner or later.
    fn close_log(&mut self, height: u32) -> Result<(), Fatal> {
        if self.is_closed {
            return Ok(());
        }
        self.is_closed = true;
        self.log.reset(NEVER)?;
        self.machine.raise_votes_from(NEVER);
        self.was_voting = false;
        self.tell(Notice::Closed { height });
        Ok(())
    }

    /// Has this node, which does not know that it voted at `height`, vote only where nobody can have voted yet: from the step
    /// on that is still open. Its log remembers that.
    fn begin_after(&mut self, height: u32) -> Result<(), Fatal> {
        let open = self.config.timing.step_at(self.now.unix_ms).0;
        let votes_from = open.max(height.saturating_add(1));
        self.log.reset(votes_from)?;
        self.machine.raise_votes_from(votes_from);
        self.was_voting = false;
        self.tell(Notice::Forgotten { height, votes_from });
        Ok(())
    }

    pub(super) fn send(&mut self, to: Recipient, message: EngineMessage) {
        self.actions.push(Action::Send { to, message });
    }

    pub(super) fn send_status(&mut self, peer: PeerId, decided: u32) {
        self.send(Recipient::Peer(peer), EngineMessage::Status { decided });
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.actions.push(Action::Tell(notice));
    }

    /// Returns what is ready in the pool, and between which times each came.
    fn look_into_pool(&self) -> Vec<Seen> {
        let ready = self.chain.ready().into_iter();
        ready
            .map(|pooled| {
                let seen = self.arrivals.sighting(pooled.arrival, self.now.unix_ms);
                (pooled, seen)
            })
            .collect()
    }

    fn have_built(&mut self, height: u32, round: u32, rank: u32) {
        // A later round gives more time, also to authors.
        let propose = self.config.agreement.duration_of(&Timeout {
            height,
            round,
            kind: TimeoutKind::Propose,
        });
        let task = Task::Build {
            height,
            round,
            rank,
            timing: self.config.timing,
            tolerance: self.config.tolerance,
            candidates: self.look_into_pool(),
            budget_ms: u64::try_from(propose.as_millis()).unwrap_or(u64::MAX) / BUILD_PART,
        };
        self.run(task);
    }

    fn have_verified(
        &mut self,
        check: CheckId,
        hash: Hash,
        block: Block,
        facts: &HeaderFacts,
        purpose: Purpose,
    ) {
        let is_judged = matches!(purpose, Purpose::Fresh { .. })
            && self.pace == Pace::OnTime
            && self.machine.is_voting();
        let seen = self.proposals_seen.get(&(facts.height, hash)).copied();
        let arrived_ms = seen.unwrap_or(self.now.unix_ms);
        let judging = is_judged.then(|| Judging {
            timing: self.config.timing,
            tolerance: self.config.tolerance,
            pooled: self.look_into_pool(),
        });
        let question = Check {
            height: facts.height,
            hash,
            judged: is_judged.then_some((arrived_ms, facts.punctuality)),
            is_fetched: purpose == Purpose::Synced,
        };
        self.checks.insert(check, question);
        let task = Task::Verify {
            check,
            height: facts.height,
            block,
            judging,
        };
        self.run(task);
    }

    fn run(&mut self, task: Task) {
        let chain = self.chain.clone();
        self.actions.push(Action::Run(Job { chain, task }));
    }

    /// Stores a decided block, and looks up who makes the next.
    fn store(
        &mut self,
        height: u32,
        hash: Hash,
        block: &Block,
        certificate: &Certificate,
    ) -> Result<(), Fatal> {
        let unreadable = || Fatal::Unreadable { height, hash };
        let (header, body) = to_stored(block).ok_or_else(unreadable)?;
        let facts = read_header(&block.header).ok_or_else(unreadable)?;
        let extrinsics = body.len();
        let stored = StoredBlock {
            header,
            body,
            justification: Some(certificate.encode()),
        };
        self.chain.import(stored, CommitMode::Durable)?;
        let mut checks = self.checks.values();
        let is_fetched = checks.any(|check| check.hash == hash && check.is_fetched);
        if self.was_voting && !is_fetched {
            // From here on the log knows what this node signs.
            self.newcomer = None;
        }
        self.checks.clear();
        self.timers.clear();
        self.next = Upcoming::of(&self.chain)?;
        let next = self.next.height;
        self.proposals_seen.retain(|(height, _), _| *height >= next);
        self.tell(Notice::Decided {
            height,
            hash,
            round: certificate.round,
            author: facts.author,
            author_rank: facts.author_rank,
            is_late: facts.punctuality == Punctuality::Late,
            is_own: self.own.contains(&hash),
            is_fetched,
            extrinsics,
            took_ms: self.now.steady_ms.saturating_sub(self.began_ms),
        });
        Ok(())
    }

    /// Brings a proof into the pool, from where it goes into blocks and to others.
    fn submit_evidence(&mut self, proof: &EquivocationProof) {
        let offender = proof.offender().clone();
        let height = proof.height();
        let Some(key) = self.next.set.vote_key(&offender) else {
            return;
        };
        let extrinsic = to_extrinsic(proof, *key);
        let notice = match self.chain.submit(TransactionSource::Local, extrinsic) {
            Ok(_) => Notice::EvidenceSubmitted { offender, height },
            Err(error) => Notice::EvidenceRefused {
                offender,
                height,
                why: error.cause(),
            },
        };
        self.tell(notice);
    }
}
