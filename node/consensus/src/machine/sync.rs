//! Catching up: decided blocks are fetched one after the other from peers who say they have them.
//!
//! A certificate that this crate has verified decides by itself once the block was executed. The engine's own
//! way of synchronising is not used: it changes rounds by certificates that its log does not hold, so that a
//! replay could lead to other votes than those that were sent.

use std::collections::{BTreeMap, BTreeSet};

use commonwatt_primitives::AccountId;

use super::{
    Machine,
    desk::Standing,
    height::{take_check, verify_block},
};
use crate::{
    block::{Block, Purpose, Verdict},
    certificate::{Certificate, CertifiedBlock, verify_certificate},
    effect::{CheckId, Effect, PeerId},
    error::{Fatal, Refusal},
    limits::PEERS_MAX,
    messages::{Vote, VoteKind},
    timing::{Timeout, TimeoutKind},
    wal::{Recovered, WalEntry},
};

/// How far peers are, and what this height is being asked for.
#[derive(Default)]
pub(super) struct Sync {
    /// The last block each peer says it has.
    peers: BTreeMap<PeerId, u32>,
    stage: Stage,
    last_asked: Option<PeerId>,
    /// Who was asked for this height: over a slow line an answer comes after its time.
    asked: BTreeSet<PeerId>,
}

#[derive(Default)]
enum Stage {
    /// Nobody has this height's block, as far as is known.
    #[default]
    Idle,
    /// Somebody has it, but we may be about to decide.
    Delayed,
    /// A peer was asked.
    Asked(PeerId),
    /// What it gave is being executed.
    Checking {
        check: CheckId,
        peer: PeerId,
        block: Block,
        certificate: Certificate,
    },
}

impl Sync {
    /// Remembers how far a peer is; a stranger beyond the bound is not remembered.
    pub(super) fn note_status(&mut self, peer: PeerId, decided: u32) {
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(&peer) {
            self.peers.insert(peer, decided);
        }
    }

    /// Begins a new height.
    pub(super) fn restart(&mut self) {
        self.stage = Stage::Idle;
        self.asked.clear();
    }

    /// Returns the next peer in turn that has block `height`.
    fn next_peer(&self, height: u32) -> Option<PeerId> {
        let having = |(_, decided): &(&PeerId, &u32)| **decided >= height;
        let after = self.peers.iter().filter(having).map(|(peer, _)| *peer);
        let mut later = after.clone().filter(|peer| Some(*peer) > self.last_asked);
        later.next().or_else(|| after.into_iter().next())
    }

    fn is_anyone_above(&self, height: u32) -> bool {
        self.peers.values().any(|decided| *decided > height)
    }
}

impl Machine {
    /// Asks for this height's block: at once when a peer is further, after a while when it is just ahead.
    pub(super) fn consider_sync(&mut self) {
        let Some(current) = &mut self.current else {
            return;
        };
        let height = current.desk.height;
        let Some(peer) = self.sync.next_peer(height) else {
            return;
        };
        let is_behind = self.sync.is_anyone_above(height) || current.desk.decided.is_some();
        match self.sync.stage {
            Stage::Idle | Stage::Delayed if is_behind => {
                current
                    .desk
                    .cancel(sync_timeout(height, TimeoutKind::SyncDelay));
                self.ask(peer);
            }
            Stage::Idle => {
                current
                    .desk
                    .schedule(sync_timeout(height, TimeoutKind::SyncDelay));
                self.sync.stage = Stage::Delayed;
            }
            Stage::Delayed | Stage::Asked(_) | Stage::Checking { .. } => {}
        }
    }

    fn ask(&mut self, peer: PeerId) {
        let Some(current) = &mut self.current else {
            return;
        };
        let height = current.desk.height;
        current
            .desk
            .effects
            .push(Effect::RequestBlock { peer, height });
        current
            .desk
            .schedule(sync_timeout(height, TimeoutKind::SyncAnswer));
        self.sync.last_asked = Some(peer);
        self.sync.asked.insert(peer);
        self.sync.stage = Stage::Asked(peer);
    }

    pub(super) fn take_sync_timeout(&mut self, kind: TimeoutKind) {
        let height = self.decided.saturating_add(1);
        match self.sync.stage {
            Stage::Delayed if kind == TimeoutKind::SyncDelay => {
                self.sync.stage = Stage::Idle;
                if let Some(peer) = self.sync.next_peer(height) {
                    self.ask(peer);
                }
            }
            Stage::Asked(peer) if kind == TimeoutKind::SyncAnswer => {
                self.give_up_on(peer, Some(Refusal::NoAnswer(height)));
            }
            _ => {}
        }
    }

    /// Stops asking `peer` until it says again how far it is, and turns to the next.
    fn give_up_on(&mut self, peer: PeerId, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            self.refuse(peer, refusal);
        }
        self.sync.peers.remove(&peer);
        self.sync.stage = Stage::Idle;
        self.consider_sync();
    }

    pub(super) fn forget_peer(&mut self, peer: PeerId) {
        self.sync.peers.remove(&peer);
        self.sync.asked.remove(&peer);
        if matches!(self.sync.stage, Stage::Asked(asked) if asked == peer) {
            self.cancel_answer();
            self.sync.stage = Stage::Idle;
            self.consider_sync();
        }
    }

    /// Stops the clock of the question that is open.
    fn cancel_answer(&mut self) {
        if let Some(current) = &mut self.current {
            for kind in [TimeoutKind::SyncDelay, TimeoutKind::SyncAnswer] {
                current.desk.cancel(sync_timeout(current.desk.height, kind));
            }
        }
    }

    pub(super) fn take_block_response(
        &mut self,
        peer: PeerId,
        height: u32,
        block: Option<CertifiedBlock>,
    ) -> Result<(), Fatal> {
        // Answers for heights that were decided meanwhile come late, and that is nobody's fault.
        if self.current.is_none() || height != self.decided.saturating_add(1) {
            return Ok(());
        }
        if !self.sync.asked.contains(&peer) {
            self.refuse(peer, Refusal::Unasked(height));
            return Ok(());
        }
        if !matches!(self.sync.stage, Stage::Asked(asked) if asked == peer) {
            return self.take_late_answer(peer, height, block);
        }
        self.cancel_answer();
        let Some(certified) = block else {
            self.give_up_on(peer, None);
            return Ok(());
        };
        match self.verify_certified(peer, height, certified) {
            Ok(()) => self.conclude_if_known(),
            Err(refusal) => {
                self.give_up_on(peer, Some(refusal));
                Ok(())
            }
        }
    }

    /// Takes an answer that came after its time, when others may have been asked. Were it thrown away, a block
    /// that takes longer than that over this node's line could never be fetched.
    fn take_late_answer(
        &mut self,
        peer: PeerId,
        height: u32,
        block: Option<CertifiedBlock>,
    ) -> Result<(), Fatal> {
        let Some(certified) = block else {
            return Ok(());
        };
        if matches!(self.sync.stage, Stage::Checking { .. }) {
            return Ok(());
        }
        match self.verify_certified(peer, height, certified) {
            Ok(()) => {
                self.cancel_answer();
                self.conclude_if_known()
            }
            Err(refusal) => {
                self.refuse(peer, refusal);
                Ok(())
            }
        }
    }

    /// Checks what a peer gave, and has it executed.
    fn verify_certified(
        &mut self,
        peer: PeerId,
        height: u32,
        certified: CertifiedBlock,
    ) -> Result<(), Refusal> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let CertifiedBlock { block, certificate } = certified;
        let set = &current.desk.set;
        let hash = certificate.block;
        let facts = verify_block(&block, &hash, self.config.read_header)?;
        verify_certificate(set, &self.config.genesis, height, &hash, &certificate)?;
        if facts.height != height {
            return Err(Refusal::HeaderOfOtherHeight {
                expected: height,
                actual: facts.height,
            });
        }
        if set.account_of_rank(facts.author_rank) != Some(&facts.author)
            || facts.author_rank > certificate.round
        {
            return Err(Refusal::WrongAuthor {
                author: facts.author,
                rank: facts.author_rank,
                round: certificate.round,
                pol_round: None,
            });
        }
        self.look_for_own(&certificate);
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let check = take_check(&mut self.next_check);
        let standing = current.desk.blocks.get(&hash).map(|known| known.standing);
        let is_judged = matches!(
            standing,
            Some(Standing::Valid | Standing::Withheld | Standing::Invalid)
        );
        if !is_judged {
            current.desk.effects.push(Effect::VerifyBlock {
                check,
                hash,
                block: block.clone(),
                facts,
                purpose: Purpose::Synced,
            });
        }
        self.sync.stage = Stage::Checking {
            check,
            peer,
            block,
            certificate,
        };
        Ok(())
    }

    /// Looks into a certificate that is right for a vote of this node's that it does not know. From then on this node does not
    /// vote at this height.
    fn look_for_own(&mut self, certificate: &Certificate) {
        let height = certificate.height;
        if height < self.config.votes_from {
            return;
        }
        let Some(current) = &mut self.current else {
            return;
        };
        let desk = &mut current.desk;
        let own = desk.own.as_ref().map(|(account, _)| account.clone());
        let is_own = |account: &AccountId| {
            let mut signatures = certificate.signatures.iter();
            signatures.any(|one| one.validator == *account)
        };
        let Some(account) = own.filter(is_own) else {
            return;
        };
        let vote = Vote {
            height,
            round: certificate.round,
            kind: VoteKind::Precommit,
            block: Some(certificate.block),
            validator: account,
        };
        // The log is still there while this node waits.
        let is_logged = |log: &Recovered| {
            let own = |entry: &WalEntry| matches!(entry, WalEntry::Vote(one) if one.vote == vote);
            log.height == height && log.entries.iter().any(own)
        };
        if desk.has_signed(&vote) || self.recovered.as_ref().is_some_and(is_logged) {
            return;
        }
        current.stop_voting();
        current.desk.effects.push(Effect::Forgotten { height });
    }

    /// Decides at once when the block was executed before.
    fn conclude_if_known(&mut self) -> Result<(), Fatal> {
        let Stage::Checking {
            check, certificate, ..
        } = &self.sync.stage
        else {
            return Ok(());
        };
        let check = *check;
        let known = self
            .current
            .as_ref()
            .and_then(|current| current.desk.blocks.get(&certificate.block));
        let verdict = match known.map(|known| known.standing) {
            Some(Standing::Valid | Standing::Withheld) => Verdict::Valid,
            Some(Standing::Invalid) => Verdict::Invalid,
            Some(Standing::Checking(_)) | None => return Ok(()),
        };
        self.take_sync_verdict(check, verdict).map(drop)
    }

    /// Takes the verdict about a block that was fetched; tells whether `check` was about one.
    pub(super) fn take_sync_verdict(
        &mut self,
        check: CheckId,
        verdict: Verdict,
    ) -> Result<bool, Fatal> {
        if !matches!(&self.sync.stage, Stage::Checking { check: asked, .. } if *asked == check) {
            return Ok(false);
        }
        let Stage::Checking {
            peer,
            block,
            certificate,
            ..
        } = std::mem::take(&mut self.sync.stage)
        else {
            return Ok(false);
        };
        if self.current.is_none() {
            return Ok(true);
        }
        match verdict {
            // Timeliness never counts for what is decided.
            Verdict::Valid | Verdict::Untimely => self.finish(block, certificate),
            Verdict::Invalid => {
                return Err(Fatal::CommittedInvalid {
                    height: certificate.height,
                    hash: certificate.block,
                });
            }
            Verdict::WrongBody => {
                self.give_up_on(peer, Some(Refusal::WrongBody(certificate.block)));
            }
        }
        Ok(true)
    }
}

fn sync_timeout(height: u32, kind: TimeoutKind) -> Timeout {
    Timeout {
        height,
        round: 0,
        kind,
    }
}
