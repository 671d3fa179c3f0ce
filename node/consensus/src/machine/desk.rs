//! What the engine asks for while it takes an input: signatures, checks, the log, timers, messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use codec::Encode;
use commonwatt_primitives::{AccountId, Hash};
use malachite_core::{
    ConsensusMsg, Input as CoreInput, LivenessMsg, Resumable, Resume, SignedConsensusMsg,
};
use malachite_types::{self as types, BoxError, Round};
use sp_core::{Blake2Hasher, Hasher};

use crate::{
    block::Block,
    certificate::{Certificate, CertificateError, verify_certificate, verify_polka, verify_round},
    context::{Address, Chain, CoreProposal, CoreVote, number_of, proposed_value},
    effect::{CheckId, Effect, PeerId},
    error::{Fatal, Refusal},
    evidence::EquivocationProof,
    messages::{
        Message, PolkaCertificate, Proposal, ProposedBlock, RoundCertificate, SignedProposal,
        SignedVote, Vote, VoteKind,
    },
    signer::Signer,
    timing::{Timeout, TimeoutKind, Timing},
    validators::ValidatorSet,
    wal::{Judgement, LoggedTimeout, WalEntry},
};

type CoreEffect = malachite_core::Effect<Chain>;
type CoreResume = Resume<Chain>;

/// A block of this height, as far as it is known.
pub(super) struct KnownBlock {
    /// The proposal that brought it.
    pub proposal: Proposal,
    /// Its bytes; `None` when it is invalid or was let go.
    pub block: Option<Block>,
    /// What is known about it.
    pub standing: Standing,
    /// It was proposed again. Timeliness no longer counts once the proof of lock is known.
    pub is_reproposed: bool,
    /// Copies with other bodies that came while it is executed, of one peer each.
    pub spares: Vec<(PeerId, Block)>,
}

/// What is known about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being executed.
    Checking(CheckId),
    /// Valid, but not in time: approval waits.
    Withheld,
    /// The engine knows it as valid.
    Valid,
    /// The engine knows it as invalid.
    Invalid,
}

/// The engine's counterpart for one height.
pub(super) struct Desk {
    pub height: u32,
    pub set: ValidatorSet,
    /// Who this node is, if it is a validator at this height and its log does not say that it has met a vote of its own here.
    pub own: Option<(AccountId, Arc<dyn Signer>)>,
    /// The same, when it votes at this height.
    pub voter: Option<(AccountId, Arc<dyn Signer>)>,
    pub effects: Vec<Effect>,
    pub blocks: BTreeMap<Hash, KnownBlock>,
    pub timers: BTreeSet<Timeout>,
    /// Counts rebroadcasts.
    pub attempt: u32,
    /// The round for which the engine wants a block, while the log is replayed.
    pub wanted: Option<u32>,
    /// The engine has decided.
    pub decided: Option<Certificate>,
    /// Something that ends the process.
    pub fatal: Option<Fatal>,
    /// What was wrong with the message at hand.
    pub refusal: Option<Refusal>,
    genesis: Hash,
    timing: Timing,
    signed_votes: BTreeMap<(u32, VoteKind), SignedVote>,
    signed_proposals: BTreeMap<u32, SignedProposal>,
    /// While the log is replayed, the hashes of its entries.
    replayed: Option<BTreeSet<Hash>>,
    is_unsynced: bool,
    /// Hashes of the proofs handed out.
    reported: BTreeSet<Hash>,
}

impl Desk {
    pub(super) fn new(
        height: u32,
        set: ValidatorSet,
        genesis: Hash,
        timing: Timing,
        own: Option<(AccountId, Arc<dyn Signer>)>,
        votes: bool,
    ) -> Self {
        Self {
            height,
            set,
            voter: own.clone().filter(|_| votes),
            own,
            effects: Vec::new(),
            blocks: BTreeMap::new(),
            timers: BTreeSet::new(),
            attempt: 0,
            wanted: None,
            decided: None,
            fatal: None,
            refusal: None,
            genesis,
            timing,
            signed_votes: BTreeMap::new(),
            signed_proposals: BTreeMap::new(),
            replayed: None,
            is_unsynced: false,
            reported: BTreeSet::new(),
        }
    }

    pub(super) fn genesis(&self) -> &Hash {
        &self.genesis
    }

    /// Answers one effect of the engine. What cannot be answered is noted as fatal, and the input fails.
    pub(super) fn perform(&mut self, effect: CoreEffect) -> CoreResume {
        match effect {
            CoreEffect::CancelAllTimeouts(r) => {
                let timers: Vec<_> = self.timers.iter().copied().collect();
                for timeout in timers {
                    if !timeout.is_of_sync() {
                        self.cancel(timeout);
                    }
                }
                r.resume_with(())
            }
            CoreEffect::CancelTimeout(timeout, r) => {
                if let Some(timeout) = self.own_timeout(timeout) {
                    self.cancel(timeout);
                }
                r.resume_with(())
            }
            CoreEffect::ScheduleTimeout(timeout, r) => {
                if let Some(timeout) = self.own_timeout(timeout) {
                    self.schedule(timeout);
                }
                r.resume_with(())
            }
            CoreEffect::StartRound(_, _, _, _, r) => r.resume_with(()),
            CoreEffect::PublishConsensusMsg(message, r) => {
                match message {
                    SignedConsensusMsg::Vote(signed) => {
                        self.broadcast(Message::Vote(signed.into()));
                    }
                    SignedConsensusMsg::Proposal(signed) => self.broadcast_proposal(signed.into()),
                }
                r.resume_with(())
            }
            CoreEffect::PublishLivenessMsg(message, r) => {
                self.broadcast(match message {
                    LivenessMsg::Vote(signed) => Message::Vote(signed.into()),
                    LivenessMsg::PolkaCertificate(polka) => Message::Polka(polka.into()),
                    LivenessMsg::SkipRoundCertificate(round) => Message::Round(round.into()),
                });
                r.resume_with(())
            }
            CoreEffect::RepublishVote(signed, r) => {
                self.broadcast(Message::Vote(signed.into()));
                r.resume_with(())
            }
            CoreEffect::RepublishRoundCertificate(certificate, r) => {
                self.broadcast(Message::Round(certificate.into()));
                r.resume_with(())
            }
            CoreEffect::GetValue(_, round, _, r) => {
                self.want_block(number_of(round));
                r.resume_with(())
            }
            // A block always travels with its proposal, which the engine publishes next.
            CoreEffect::RestreamProposal(_, _, _, _, _, r) => r.resume_with(()),
            CoreEffect::Decide(certificate, _, r) => {
                self.decided = Some(certificate.into());
                r.resume_with(())
            }
            CoreEffect::Finalize(_, _, evidence, r) => {
                for (_, pairs) in evidence.votes.iter() {
                    pairs.iter().for_each(|(a, b)| self.report_votes(a, b));
                }
                for (_, pairs) in evidence.proposals.iter() {
                    pairs.iter().for_each(|(a, b)| self.report_proposals(a, b));
                }
                r.resume_with(())
            }
            CoreEffect::SignVote(vote, r) => match self.sign_vote(vote) {
                Ok(signed) => r.resume_with(signed),
                Err(fatal) => self.give_up(fatal),
            },
            CoreEffect::SignProposal(proposal, r) => match self.sign_proposal(proposal) {
                Ok(signed) => r.resume_with(signed),
                Err(fatal) => self.give_up(fatal),
            },
            CoreEffect::VerifySignature(message, key, r) => {
                let (validator, is_good) = match message.message {
                    ConsensusMsg::Vote(vote) => {
                        let signed = SignedVote {
                            vote: vote.into(),
                            signature: message.signature,
                        };
                        let is_good = signed.is_signed_by(&key, &self.genesis);
                        (signed.vote.validator, is_good)
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        let signed = SignedProposal {
                            proposal: proposal.into(),
                            signature: message.signature,
                        };
                        let is_good = signed.is_signed_by(&key, &self.genesis);
                        (signed.proposal.validator, is_good)
                    }
                };
                if !is_good {
                    self.refusal = Some(Refusal::BadSignature(validator));
                }
                r.resume_with(is_good)
            }
            CoreEffect::VerifyCommitCertificate(certificate, _, _, r) => {
                let certificate = Certificate::from(certificate);
                let verdict = verify_certificate(
                    &self.set,
                    &self.genesis,
                    self.height,
                    &certificate.block,
                    &certificate,
                );
                r.resume_with(verdict.map_err(to_core_error))
            }
            CoreEffect::VerifyPolkaCertificate(certificate, _, _, r) => {
                let certificate = PolkaCertificate::from(certificate);
                let verdict = verify_polka(&self.set, &self.genesis, &certificate);
                self.note_refusal(&verdict);
                r.resume_with(verdict.map_err(to_core_error))
            }
            CoreEffect::VerifyRoundCertificate(certificate, _, _, r) => {
                let certificate = RoundCertificate::from(certificate);
                let verdict = verify_round(&self.set, &self.genesis, &certificate);
                self.note_refusal(&verdict);
                r.resume_with(verdict.map_err(to_core_error))
            }
            CoreEffect::WalAppend(_, input, r) => match to_entry(input) {
                Some(entry) => {
                    self.append(entry);
                    r.resume_with(())
                }
                None => self.give_up_on("it wants an input in the log that has no place there"),
            },
            // Values of the sync protocol are decided without the engine, and votes have no extensions.
            CoreEffect::CertVerifiedSyncValue(..)
            | CoreEffect::CertRejectedSyncValue(..)
            | CoreEffect::VerifyExtendedCommitCertificate(..)
            | CoreEffect::ExtendVote(..)
            | CoreEffect::VerifyVoteExtension(..) => {
                self.give_up_on("it asks about vote extensions or synchronised values")
            }
        }
    }

    fn give_up(&mut self, fatal: Fatal) -> CoreResume {
        self.fatal.get_or_insert(fatal);
        Resume::Continue
    }

    fn give_up_on(&mut self, what: &str) -> CoreResume {
        self.give_up(Fatal::Engine {
            height: self.height,
            what: what.into(),
        })
    }

    fn note_refusal(&mut self, verdict: &Result<(), CertificateError>) {
        if let Err(error) = verdict {
            self.refusal = Some(error.clone().into());
        }
    }

    fn own_timeout(&self, timeout: types::Timeout) -> Option<Timeout> {
        let kind = match timeout.kind {
            types::TimeoutKind::Propose => TimeoutKind::Propose,
            types::TimeoutKind::Prevote => TimeoutKind::Prevote,
            types::TimeoutKind::Precommit => TimeoutKind::Precommit,
            types::TimeoutKind::Rebroadcast => TimeoutKind::Rebroadcast,
            // Heights have no target time, so this one is never asked for.
            types::TimeoutKind::FinalizeHeight(_) => return None,
        };
        Some(Timeout {
            height: self.height,
            round: number_of(timeout.round),
            kind,
        })
    }

    /// Asks for a timeout, unless it is running.
    pub(super) fn schedule(&mut self, timeout: Timeout) {
        if self.timers.insert(timeout) && self.replayed.is_none() {
            let duration = self.timing.duration_of(&timeout);
            self.effects
                .push(Effect::ScheduleTimeout { timeout, duration });
        }
    }

    /// Takes a timeout back, if it is running.
    pub(super) fn cancel(&mut self, timeout: Timeout) {
        if self.timers.remove(&timeout) && self.replayed.is_none() {
            self.effects.push(Effect::CancelTimeout(timeout));
        }
    }

    /// Appends to the log. While it is replayed, what is there already is not appended again.
    pub(super) fn append(&mut self, entry: WalEntry) {
        if self.voter.is_none() {
            return;
        }
        if let Some(replayed) = &self.replayed
            && replayed.contains(&Blake2Hasher::hash(&entry.encode()))
        {
            return;
        }
        self.is_unsynced = true;
        self.effects.push(Effect::AppendWal(entry));
    }

    /// Brings to disk what was appended to the log.
    pub(super) fn sync(&mut self) {
        if self.is_unsynced {
            self.is_unsynced = false;
            self.effects.push(Effect::SyncWal);
        }
    }

    /// Sends a message, after everything it depends on is on disk.
    fn broadcast(&mut self, message: Message) {
        self.sync();
        self.effects.push(Effect::Broadcast {
            message,
            attempt: self.attempt,
        });
    }

    /// Sends a proposal with its block. A block that was let go cannot be sent; others have it then.
    fn broadcast_proposal(&mut self, signed: SignedProposal) {
        let known = self.blocks.get(&signed.proposal.block);
        if let Some(block) = known.and_then(|known| known.block.clone()) {
            self.broadcast(Message::Proposal(ProposedBlock { signed, block }));
        }
    }

    /// Asks for a block of this node's own. Who has no rank makes none, and lets its turn pass.
    pub fn want_block(&mut self, round: u32) {
        if self.replayed.is_some() {
            self.wanted = Some(round);
        } else if let Some(rank) = self.set.rank_of_round(round) {
            self.effects.push(Effect::BuildBlock {
                height: self.height,
                round,
                rank,
            });
        }
    }

    /// Signs a vote. The engine votes once a round and phase; should it ever ask for a second, different vote,
    /// nothing is signed and the process ends.
    fn sign_vote(&mut self, vote: CoreVote) -> Result<types::SignedVote<Chain>, Fatal> {
        let vote = Vote::from(vote);
        let key = (vote.round, vote.kind);
        if let Some(signed) = self.signed_votes.get(&key) {
            if signed.vote == vote {
                return Ok(signed.clone().into());
            }
            return Err(self.contradiction("vote", vote.round));
        }
        let signature = self.sign(&vote.payload(&self.genesis))?;
        let signed = SignedVote { vote, signature };
        self.signed_votes.insert(key, signed.clone());
        Ok(signed.into())
    }

    fn sign_proposal(
        &mut self,
        proposal: CoreProposal,
    ) -> Result<types::SignedProposal<Chain>, Fatal> {
        let proposal = Proposal::from(proposal);
        if let Some(signed) = self.signed_proposals.get(&proposal.round) {
            if signed.proposal == proposal {
                return Ok(signed.clone().into());
            }
            return Err(self.contradiction("proposal", proposal.round));
        }
        let signature = self.sign(&proposal.payload(&self.genesis))?;
        let signed = SignedProposal {
            proposal,
            signature,
        };
        self.signed_proposals
            .insert(signed.proposal.round, signed.clone());
        Ok(signed.into())
    }

    fn sign(&self, payload: &[u8]) -> Result<crate::Signature, Fatal> {
        let Some((_, signer)) = &self.voter else {
            return Err(Fatal::Engine {
                height: self.height,
                what: "it votes for a node without a vote".into(),
            });
        };
        signer.sign(payload).map_err(|source| Fatal::Signer {
            height: self.height,
            source,
        })
    }

    fn contradiction(&self, what: &'static str, round: u32) -> Fatal {
        Fatal::Contradiction {
            what,
            height: self.height,
            round,
        }
    }

    /// Returns whether `message` holds what this node's vote key has signed but this node does not know.
    pub(super) fn is_own_but_unknown(&self, message: &Message) -> bool {
        let Some((account, signer)) = &self.own else {
            return false;
        };
        let is_unknown = |signed: SignedVote| {
            let key = (signed.vote.round, signed.vote.kind);
            let known = self.signed_votes.get(&key).map(|known| &known.vote);
            known != Some(&signed.vote) && signed.is_signed_by(&signer.public(), &self.genesis)
        };
        match message {
            Message::Proposal(ProposedBlock { signed, .. }) => {
                let known = self.signed_proposals.get(&signed.proposal.round);
                signed.proposal.validator == *account
                    && known.map(|known| &known.proposal) != Some(&signed.proposal)
                    && signed.is_signed_by(&signer.public(), &self.genesis)
            }
            Message::Vote(signed) => {
                signed.vote.validator == *account && is_unknown(signed.clone())
            }
            Message::Polka(certificate) => {
                let mut votes = certificate.votes();
                votes.any(|signed| signed.vote.validator == *account && is_unknown(signed))
            }
            Message::Round(certificate) => {
                let mut votes = certificate.votes();
                votes.any(|signed| signed.vote.validator == *account && is_unknown(signed))
            }
        }
    }

    /// Returns whether this node knows that it signed `vote`.
    pub(super) fn has_signed(&self, vote: &Vote) -> bool {
        let known = self.signed_votes.get(&(vote.round, vote.kind));
        known.is_some_and(|known| known.vote == *vote)
    }

    /// Returns whether this node has proposed in `round`.
    pub(super) fn has_proposed(&self, round: u32) -> bool {
        self.signed_proposals.contains_key(&round)
    }

    /// Begins to replay `entries`: what this node signed is remembered, and nothing is logged twice.
    pub(super) fn begin_replay(&mut self, entries: &[WalEntry]) {
        let Some((account, _)) = &self.voter else {
            return;
        };
        for entry in entries {
            match entry {
                WalEntry::Vote(signed) if signed.vote.validator == *account => {
                    let key = (signed.vote.round, signed.vote.kind);
                    self.signed_votes.entry(key).or_insert(signed.clone());
                }
                WalEntry::Proposal(signed) if signed.proposal.validator == *account => {
                    let round = signed.proposal.round;
                    self.signed_proposals.entry(round).or_insert(signed.clone());
                }
                _ => {}
            }
        }
        let hashes = entries
            .iter()
            .map(|entry| Blake2Hasher::hash(&entry.encode()));
        self.replayed = Some(hashes.collect());
    }

    /// Ends the replay: the timers that are left start anew.
    pub(super) fn end_replay(&mut self) {
        self.replayed = None;
        for timeout in std::mem::take(&mut self.timers) {
            self.schedule(timeout);
        }
    }

    pub(super) fn report_votes(
        &mut self,
        one: &types::SignedVote<Chain>,
        other: &types::SignedVote<Chain>,
    ) {
        self.report(EquivocationProof::of_votes(
            one.clone().into(),
            other.clone().into(),
        ));
    }

    pub(super) fn report_proposals(
        &mut self,
        one: &types::SignedProposal<Chain>,
        other: &types::SignedProposal<Chain>,
    ) {
        self.report(EquivocationProof::of_proposals(
            one.clone().into(),
            other.clone().into(),
        ));
    }

    fn report(&mut self, proof: EquivocationProof) {
        if self.reported.insert(Blake2Hasher::hash(&proof.encode())) {
            self.effects.push(Effect::Evidence(proof));
        }
    }
}

fn to_core_error(error: CertificateError) -> types::CertificateError<Chain> {
    types::CertificateError::VerificationError(Some(BoxError::new(Box::new(error))))
}

/// Returns the log's entry for an input of the engine; `None` for inputs that are never logged.
fn to_entry(input: CoreInput<Chain>) -> Option<WalEntry> {
    Some(match input {
        CoreInput::Vote(signed) => WalEntry::Vote(signed.into()),
        CoreInput::Proposal(signed) => WalEntry::Proposal(signed.into()),
        CoreInput::PolkaCertificate(certificate) => WalEntry::Polka(certificate.into()),
        CoreInput::TimeoutElapsed(timeout) => WalEntry::Timeout {
            round: number_of(timeout.round),
            kind: match timeout.kind {
                types::TimeoutKind::Propose => LoggedTimeout::Propose,
                types::TimeoutKind::Prevote => LoggedTimeout::Prevote,
                types::TimeoutKind::Precommit => LoggedTimeout::Precommit,
                _ => return None,
            },
        },
        CoreInput::ProposedValue(value, _) => WalEntry::Judged {
            proposal: Proposal {
                height: value.height.0,
                round: number_of(value.round),
                block: value.value.0,
                pol_round: value.valid_round.as_u32(),
                validator: value.proposer.0,
            },
            judgement: match value.validity {
                types::Validity::Valid => Judgement::Valid,
                types::Validity::Invalid => Judgement::Invalid,
            },
        },
        _ => return None,
    })
}

/// Returns the engine's input for an entry of the log; `None` for what the engine does not see.
pub(super) fn to_input(entry: &WalEntry) -> Option<CoreInput<Chain>> {
    Some(match entry {
        WalEntry::Block(_) | WalEntry::Silenced => return None,
        WalEntry::Proposal(signed) => CoreInput::Proposal(signed.clone().into()),
        WalEntry::Vote(signed) => CoreInput::Vote(signed.clone().into()),
        WalEntry::Polka(certificate) => CoreInput::PolkaCertificate(certificate.clone().into()),
        WalEntry::Judged {
            proposal,
            judgement,
        } => proposed_value(
            proposal,
            match judgement {
                Judgement::Valid => types::Validity::Valid,
                Judgement::Invalid => types::Validity::Invalid,
            },
        ),
        WalEntry::Timeout { round, kind } => CoreInput::TimeoutElapsed(types::Timeout::new(
            Round::new(*round),
            match kind {
                LoggedTimeout::Propose => types::TimeoutKind::Propose,
                LoggedTimeout::Prevote => types::TimeoutKind::Prevote,
                LoggedTimeout::Precommit => types::TimeoutKind::Precommit,
            },
        )),
    })
}

/// Nobody's address, for a node that does not vote.
pub(super) fn nobody() -> Address {
    Address(AccountId::new([0; 32]))
}
