//! One height: the engine, its desk, and the rules round it.

use std::collections::BTreeMap;

use commonwatt_primitives::Hash;
use malachite_core::{
    Error as CoreError, Input as CoreInput, LocallyProposedValue, MAX_FUTURE_ROUND_LOOKAHEAD,
    Params, State, ThresholdParams, process,
};
use malachite_types::{
    self as types, Round, Threshold, Validity, ValuePayload, VoteExtensionPolicy, VoteType,
};

use super::desk::{Desk, KnownBlock, Standing, nobody, to_input};
use crate::{
    block::{Block, HeaderFacts, Purpose, ReadHeader, Verdict, verify_rightful_author},
    context::{Address, Chain, Height, Value, number_of, proposed_value},
    effect::{CheckId, Effect, PeerId},
    error::{Fatal, Refusal},
    input::Pace,
    limits::{BLOCKS_HELD_MAX, SPARE_COPIES_MAX},
    messages::{Message, Proposal, ProposedBlock},
    timing::{Timeout, TimeoutKind},
    verify::verify_turn,
    wal::{Judgement, LoggedTimeout, WalEntry},
};

/// The height that is being agreed on.
pub(super) struct CurrentHeight {
    pub desk: Desk,
    state: State<Chain>,
    pub pace: Pace,
    /// This node would vote, but waits: messages do not come here.
    pub is_waiting: bool,
}

impl CurrentHeight {
    /// Starts the height of `desk`, replaying `entries` of its log.
    pub(super) fn start(
        desk: Desk,
        pace: Pace,
        entries: Vec<WalEntry>,
        read_header: ReadHeader,
    ) -> Result<Self, Fatal> {
        let voter = desk.voter.as_ref();
        let params = Params {
            address: voter.map_or_else(nobody, |(account, _)| Address(account.clone())),
            threshold_params: ThresholdParams::default(),
            // Values count only once they were executed: with `ProposalOnly` all would count as valid.
            value_payload: ValuePayload::ProposalAndParts,
            enabled: desk.voter.is_some(),
        };
        let height = Height(desk.height);
        // Messages for later heights are kept by the machine, bounded for each peer, not by the engine.
        let state = State::new(Chain, height, desk.set.clone(), params, 0, 0);
        let set = desk.set.clone();
        let mut current = Self {
            desk,
            state,
            pace,
            is_waiting: false,
        };
        if !entries.is_empty() {
            current.desk.begin_replay(&entries);
        }
        // Without a target time the engine decides at once and never looks at the clock.
        let start = CoreInput::StartHeight(height, set, false, None, VoteExtensionPolicy::Disabled);
        current.step(start)?;
        if !entries.is_empty() {
            current.replay(entries, read_header)?;
        }
        current.after_step()?;
        Ok(current)
    }

    /// Feeds the log of this height again, so that the engine comes to where it was.
    fn replay(&mut self, entries: Vec<WalEntry>, read_header: ReadHeader) -> Result<(), Fatal> {
        let inputs: Vec<_> = entries.iter().filter_map(to_input).collect();
        self.state
            .record_recovered_own_precommit_extensions(&inputs);
        self.state.index_wal_entries(&inputs);
        let mut blocks = BTreeMap::new();
        for entry in entries {
            if self.desk.decided.is_some() {
                break;
            }
            self.restore(&entry, &mut blocks, read_header)?;
            if let Some(input) = to_input(&entry) {
                self.step(input)?;
            }
        }
        self.state.reset_entries_index();
        self.desk.end_replay();
        let round = self.round();
        if self.desk.wanted.take() == Some(round) && self.is_waiting_for_own_block(round) {
            self.desk.want_block(round);
        }
        Ok(())
    }

    /// Takes from an entry of the log what the engine does not keep. A block counts once its verdict comes: of a
    /// batch that was torn between the two, the engine knows nothing.
    fn restore(
        &mut self,
        entry: &WalEntry,
        blocks: &mut BTreeMap<Hash, Block>,
        read_header: ReadHeader,
    ) -> Result<(), Fatal> {
        let height = self.desk.height;
        let bad = |what: &str| {
            Err(Fatal::BadLog {
                height,
                what: what.into(),
            })
        };
        match entry {
            WalEntry::Block(block) => {
                let Some(facts) = read_header(&block.header) else {
                    return bad("a block whose header cannot be read");
                };
                if facts.height != height {
                    return bad("a block of another height");
                }
                blocks.insert(block.hash(), block.clone());
            }
            WalEntry::Judged {
                proposal,
                judgement,
            } => {
                if proposal.height != height {
                    return bad("a verdict of another height");
                }
                let (block, standing) = match judgement {
                    Judgement::Invalid => (None, Standing::Invalid),
                    Judgement::Valid => match blocks.get(&proposal.block) {
                        Some(block) => (Some(block.clone()), Standing::Valid),
                        None => return bad("a valid block that is missing"),
                    },
                };
                let known = KnownBlock {
                    proposal: proposal.clone(),
                    block,
                    standing,
                    is_reproposed: false,
                    spares: Vec::new(),
                };
                self.desk.blocks.insert(proposal.block, known);
            }
            WalEntry::Vote(signed) if signed.vote.height != height => {
                return bad("a vote of another height");
            }
            WalEntry::Proposal(signed) if signed.proposal.height != height => {
                return bad("a proposal of another height");
            }
            WalEntry::Polka(certificate) if certificate.height != height => {
                return bad("a proof of lock of another height");
            }
            WalEntry::Timeout { round, kind } => {
                self.desk.timers.remove(&Timeout {
                    height,
                    round: *round,
                    kind: match kind {
                        LoggedTimeout::Propose => TimeoutKind::Propose,
                        LoggedTimeout::Prevote => TimeoutKind::Prevote,
                        LoggedTimeout::Precommit => TimeoutKind::Precommit,
                    },
                });
            }
            WalEntry::Vote(_) | WalEntry::Proposal(_) | WalEntry::Polka(_) | WalEntry::Silenced => {
            }
        }
        Ok(())
    }

    /// Returns the round that is going on.
    pub(super) fn round(&self) -> u32 {
        number_of(self.state.round())
    }

    /// Gives the engine one input. Its handler's errors are only logged by `process!`, so the desk notes them.
    fn step(&mut self, input: CoreInput<Chain>) -> Result<(), Fatal> {
        let height = self.desk.height;
        let Self { desk, state, .. } = self;
        let outcome: Result<(), CoreError<Chain>> = process!(
            input: input,
            state: &mut *state,
            metrics: &(),
            with: effect => Ok::<_, CoreError<Chain>>(desk.perform(effect))
        );
        if let Some(fatal) = self.desk.fatal.take() {
            return Err(fatal);
        }
        outcome.map_err(|error| match error {
            CoreError::ReplayDivergence(kind, _, round) => Fatal::ReplayDiverged {
                height,
                what: format!("the {kind} of round {round}"),
            },
            error => Fatal::Engine {
                height,
                what: error.to_string(),
            },
        })
    }

    /// Gives the engine one input and then what has become due by it.
    fn feed(&mut self, input: CoreInput<Chain>) -> Result<(), Fatal> {
        self.step(input)?;
        self.after_step()
    }

    fn after_step(&mut self) -> Result<(), Fatal> {
        loop {
            self.collect_evidence();
            if self.desk.decided.is_some() {
                return Ok(());
            }
            match self.find_due_block() {
                Some(hash) => self.approve(hash)?,
                None => return Ok(()),
            }
        }
    }

    fn collect_evidence(&mut self) {
        for (_, pairs) in self.state.driver.votes().evidence().iter() {
            pairs.iter().for_each(|(a, b)| self.desk.report_votes(a, b));
        }
        for (_, pairs) in self.state.driver.proposals().evidence().iter() {
            pairs
                .iter()
                .for_each(|(a, b)| self.desk.report_proposals(a, b));
        }
    }

    /// Returns a block whose approval need no longer be withheld.
    fn find_due_block(&self) -> Option<Hash> {
        let mut withheld = self
            .desk
            .blocks
            .iter()
            .filter(|(_, known)| known.standing == Standing::Withheld);
        withheld
            .find(|(hash, known)| self.is_due(hash, known))
            .map(|(hash, _)| *hash)
    }

    /// A withheld block is due when this node's propose timeout of its round is over, or when timeliness no
    /// longer counts: it was proposed again with a proof of lock, two thirds have committed to it, nobody's
    /// approval is asked, or every rank has had its turn in vain. Without the last, validators that saw different
    /// things in time would never agree while all of their votes are needed.
    fn is_due(&self, hash: &Hash, known: &KnownBlock) -> bool {
        let round = self.round();
        let is_round_over = known.proposal.round < round
            || (known.proposal.round == round && !self.state.driver.step_is_propose());
        let votes = self.state.driver.votes();
        let is_committed = || {
            votes.all_rounds().keys().any(|round| {
                votes.is_threshold_met(round, VoteType::Precommit, Threshold::Value(*hash))
            })
        };
        is_round_over
            || (known.is_reproposed && self.has_polka(hash))
            || round >= self.desk.set.ranks()
            || self.pace == Pace::CatchUp
            || self.desk.voter.is_none()
            || is_committed()
    }

    /// Returns whether two thirds have prevoted a block in some round, as far as is known. What a proposal says
    /// about its proof of lock is no proof.
    fn has_polka(&self, hash: &Hash) -> bool {
        let driver = &self.state.driver;
        let votes = driver.votes();
        let mut certificates = driver.polka_certificates().iter();
        certificates.any(|certificate| certificate.value_id == *hash)
            || votes.all_rounds().keys().any(|round| {
                votes.is_threshold_met(round, VoteType::Prevote, Threshold::Value(*hash))
            })
    }

    /// Tells the engine that a block is valid, with the block in the log before the verdict.
    fn approve(&mut self, hash: Hash) -> Result<(), Fatal> {
        let Some(known) = self.desk.blocks.get_mut(&hash) else {
            return Ok(());
        };
        known.standing = Standing::Valid;
        let proposal = known.proposal.clone();
        if let Some(block) = known.block.clone() {
            self.desk.append(WalEntry::Block(block));
        }
        self.step(proposed_value(&proposal, Validity::Valid))
    }

    /// Takes a message for this height; says what is wrong with it.
    pub(super) fn take_message(
        &mut self,
        peer: PeerId,
        message: Message,
        read_header: ReadHeader,
        next_check: &mut u64,
    ) -> Result<Option<Refusal>, Fatal> {
        self.desk.refusal = None;
        if self.desk.is_own_but_unknown(&message) {
            self.fall_silent(&message);
        }
        match message {
            Message::Proposal(proposed) => {
                return self.take_proposal(peer, proposed, read_header, next_check);
            }
            Message::Vote(signed) => {
                let validator = &signed.vote.validator;
                if self.desk.set.vote_key(validator).is_none() {
                    return Ok(Some(Refusal::NotAValidator(validator.clone())));
                }
                self.feed(CoreInput::Vote(signed.into()))?;
            }
            Message::Polka(certificate) => {
                self.feed(CoreInput::PolkaCertificate(certificate.into()))?;
            }
            Message::Round(certificate) => {
                self.feed(CoreInput::RoundCertificate(certificate.into()))?;
            }
        }
        Ok(self.desk.refusal.take())
    }

    /// Stops voting at this height, or does not begin: a vote of our own that we do not know must not be contradicted, not after
    /// a restart either.
    fn fall_silent(&mut self, message: &Message) {
        self.desk.append(WalEntry::Silenced);
        self.desk.sync();
        self.stop_voting();
        self.desk.effects.push(Effect::Silenced {
            height: self.desk.height,
            round: message.round(),
        });
    }

    /// Signs nothing more at this height, and looks no further for what it signed.
    pub(super) fn stop_voting(&mut self) {
        self.desk.own = None;
        self.desk.voter = None;
        self.state.params.enabled = false;
    }

    fn take_proposal(
        &mut self,
        peer: PeerId,
        proposed: ProposedBlock,
        read_header: ReadHeader,
        next_check: &mut u64,
    ) -> Result<Option<Refusal>, Fatal> {
        if self.is_out_of_reach(&proposed.signed.proposal) {
            return Ok(None);
        }
        let facts = match self.verify_proposal(&proposed, read_header) {
            Ok(facts) => facts,
            Err(refusal) => return Ok(Some(refusal)),
        };
        let ProposedBlock { signed, block } = proposed;
        let proposal = signed.proposal.clone();
        let hash = proposal.block;
        if self.state.exceeds_per_round_cap(
            Height(self.desk.height),
            Round::new(proposal.round),
            &hash,
        ) {
            return Ok(Some(Refusal::TooManyProposals(proposal.validator)));
        }
        if let Some(known) = self.desk.blocks.get_mut(&hash) {
            known.is_reproposed |= proposal.pol_round.is_some();
            let is_open = matches!(known.standing, Standing::Checking(_) | Standing::Withheld);
            if is_open && proposal.round < known.proposal.round {
                // It came ahead of its turn before; approval is withheld until its turn is over, no longer.
                known.proposal = proposal.clone();
            }
            keep_spare(known, peer, &block);
        } else if !self.make_room() && proposal.round != self.round() {
            // Many blocks are held that cannot be let go, so those of other rounds are not taken.
            return Ok(None);
        }
        self.feed(CoreInput::Proposal(signed.into()))?;
        if self.desk.decided.is_none() && !self.desk.blocks.contains_key(&hash) {
            let check = self.have_executed(&proposal, block.clone(), facts, next_check);
            let known = KnownBlock {
                is_reproposed: proposal.pol_round.is_some(),
                proposal,
                block: Some(block),
                standing: Standing::Checking(check),
                spares: Vec::new(),
            };
            self.desk.blocks.insert(hash, known);
        }
        Ok(self.desk.refusal.take())
    }

    /// Has the block of `proposal` executed; returns the question.
    ///
    /// Anyone whose turn comes can name a proof of lock: until it is known here, timeliness counts.
    fn have_executed(
        &mut self,
        proposal: &Proposal,
        block: Block,
        facts: HeaderFacts,
        next_check: &mut u64,
    ) -> CheckId {
        let check = take_check(next_check);
        let round = proposal.round;
        let purpose = match proposal.pol_round {
            Some(pol_round) if self.has_polka(&proposal.block) => {
                Purpose::Reproposed { round, pol_round }
            }
            _ => Purpose::Fresh { round },
        };
        self.desk.effects.push(Effect::VerifyBlock {
            check,
            hash: proposal.block,
            block,
            facts,
            purpose,
        });
        check
    }

    /// Returns whether a proposal is for a round too far ahead for the engine.
    fn is_out_of_reach(&self, proposal: &Proposal) -> bool {
        proposal.round > self.round().saturating_add(MAX_FUTURE_ROUND_LOOKAHEAD)
    }

    fn held_blocks(&self) -> usize {
        let blocks = self.desk.blocks.values();
        blocks.filter(|known| known.block.is_some()).count()
    }

    /// Lets the oldest valid block go that two thirds have not prevoted as far as is known, if many are held; tells
    /// whether there is room for one more.
    fn make_room(&mut self) -> bool {
        if self.held_blocks() < BLOCKS_HELD_MAX {
            return true;
        }
        let round_state = self.state.driver.round_state();
        let locked = [&round_state.locked, &round_state.valid];
        let locked = locked.into_iter().flatten().map(|kept| kept.value.0);
        let hashes = self.desk.blocks.keys();
        let prevoted = hashes.filter(|hash| self.has_polka(hash)).copied();
        let kept: Vec<Hash> = locked.chain(prevoted).collect();
        let oldest = self
            .desk
            .blocks
            .iter_mut()
            .filter(|(hash, known)| {
                known.standing == Standing::Valid && known.block.is_some() && !kept.contains(hash)
            })
            .min_by_key(|(_, known)| known.proposal.round);
        match oldest {
            Some((_, known)) => {
                known.block = None;
                true
            }
            None => false,
        }
    }

    /// Checks everything about a proposal that needs no execution.
    fn verify_proposal(
        &self,
        proposed: &ProposedBlock,
        read_header: ReadHeader,
    ) -> Result<HeaderFacts, Refusal> {
        let ProposedBlock { signed, block } = proposed;
        let proposal = &signed.proposal;
        let set = &self.desk.set;
        verify_turn(set, proposal)?;
        let proposer = set.core_proposer(proposal.round);
        let facts = verify_block(block, &proposal.block, read_header)?;
        if !signed.is_signed_by(&proposer.vote, self.desk.genesis()) {
            return Err(Refusal::BadSignature(proposal.validator.clone()));
        }
        verify_rightful_author(set, proposal, &facts)?;
        Ok(facts)
    }

    /// Takes the verdict about a proposed block. A body that is not the header's says nothing about the block:
    /// the next copy is executed, or the block is forgotten, so that a true copy can still come.
    pub(super) fn take_verdict(
        &mut self,
        check: CheckId,
        verdict: Verdict,
        read_header: ReadHeader,
        next_check: &mut u64,
    ) -> Result<(), Fatal> {
        let asked = self
            .desk
            .blocks
            .iter_mut()
            .find(|(_, known)| known.standing == Standing::Checking(check));
        let Some((hash, known)) = asked else {
            return Ok(());
        };
        let hash = *hash;
        if verdict != Verdict::WrongBody {
            known.spares.clear();
        }
        match verdict {
            Verdict::Valid => {
                self.approve(hash)?;
                self.after_step()
            }
            Verdict::Untimely => {
                known.standing = Standing::Withheld;
                self.after_step()
            }
            Verdict::Invalid => {
                known.standing = Standing::Invalid;
                known.block = None;
                let proposal = known.proposal.clone();
                self.feed(proposed_value(&proposal, Validity::Invalid))
            }
            Verdict::WrongBody => {
                let Some(mut known) = self.desk.blocks.remove(&hash) else {
                    return Ok(());
                };
                if known.spares.is_empty() {
                    return Ok(());
                }
                let (_, block) = known.spares.remove(0);
                let Some(facts) = read_header(&block.header) else {
                    return Ok(());
                };
                let check = self.have_executed(&known.proposal, block.clone(), facts, next_check);
                known.block = Some(block);
                known.standing = Standing::Checking(check);
                self.desk.blocks.insert(hash, known);
                Ok(())
            }
        }
    }

    /// Takes the block this node was asked to build.
    pub(super) fn take_own_block(
        &mut self,
        round: u32,
        block: Block,
        read_header: ReadHeader,
    ) -> Result<(), Fatal> {
        if !self.is_waiting_for_own_block(round) {
            return Ok(());
        }
        let Some((account, _)) = self.desk.voter.clone() else {
            return Ok(());
        };
        let hash = block.hash();
        let proposal = Proposal {
            height: self.desk.height,
            round,
            block: hash,
            pol_round: None,
            validator: account,
        };
        verify_block(&block, &hash, read_header)
            .and_then(|facts| verify_rightful_author(&self.desk.set, &proposal, &facts))
            .map_err(|refusal| Fatal::WrongOwnBlock {
                height: self.desk.height,
                round,
                why: refusal.to_string(),
            })?;
        self.make_room();
        self.desk.append(WalEntry::Block(block.clone()));
        let known = KnownBlock {
            proposal,
            block: Some(block),
            standing: Standing::Valid,
            is_reproposed: false,
            spares: Vec::new(),
        };
        self.desk.blocks.insert(hash, known);
        self.feed(CoreInput::Propose(LocallyProposedValue::new(
            Height(self.desk.height),
            Round::new(round),
            Value(hash),
        )))
    }

    fn is_waiting_for_own_block(&self, round: u32) -> bool {
        let is_proposer = self
            .desk
            .voter
            .as_ref()
            .is_some_and(|(account, _)| account == self.desk.set.proposer(round));
        is_proposer
            && round == self.round()
            && self.state.driver.step_is_propose()
            && !self.desk.has_proposed(round)
    }

    /// Takes a timeout of the agreement that has elapsed.
    pub(super) fn take_timeout(&mut self, timeout: Timeout) -> Result<(), Fatal> {
        let kind = match timeout.kind {
            TimeoutKind::Propose => types::TimeoutKind::Propose,
            TimeoutKind::Prevote => types::TimeoutKind::Prevote,
            TimeoutKind::Precommit => types::TimeoutKind::Precommit,
            TimeoutKind::Rebroadcast => {
                self.desk.attempt = self.desk.attempt.saturating_add(1);
                types::TimeoutKind::Rebroadcast
            }
            TimeoutKind::SyncDelay | TimeoutKind::SyncAnswer => return Ok(()),
        };
        let timeout = types::Timeout::new(Round::new(timeout.round), kind);
        self.feed(CoreInput::TimeoutElapsed(timeout))
    }
}

/// Keeps a copy whose body differs from the one that is being executed: whoever passed either on can have
/// changed it, and none comes twice.
fn keep_spare(known: &mut KnownBlock, peer: PeerId, block: &Block) {
    let is_other = |held: &Block| held.body != block.body;
    let is_wanted = matches!(known.standing, Standing::Checking(_))
        && known.spares.len() < SPARE_COPIES_MAX
        && known.block.as_ref().is_some_and(is_other);
    let mut spares = known.spares.iter();
    if is_wanted && spares.all(|(from, held)| *from != peer && is_other(held)) {
        known.spares.push((peer, block.clone()));
    }
}

/// Checks that `block` is the one of `hash`, within bounds, with a header that can be read.
pub(crate) fn verify_block(
    block: &Block,
    hash: &Hash,
    read_header: ReadHeader,
) -> Result<HeaderFacts, Refusal> {
    if !block.is_within_bounds() {
        return Err(Refusal::BlockTooLarge {
            header: block.header.len(),
            body: block.body.len(),
        });
    }
    let actual = block.hash();
    if actual != *hash {
        return Err(Refusal::WrongBlock {
            expected: *hash,
            actual,
        });
    }
    read_header(&block.header).ok_or(Refusal::UnreadableHeader(actual))
}

pub(super) fn take_check(next_check: &mut u64) -> CheckId {
    let check = CheckId(*next_check);
    *next_check = next_check.wrapping_add(1);
    check
}
