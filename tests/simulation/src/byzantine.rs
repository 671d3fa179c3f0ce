//! Nodes that lie. A liar runs the real engine, so that it keeps up, and changes what leaves its node: it has its keys, and
//! can make any block its chain can.

use std::{collections::VecDeque, sync::Arc};

use codec::{DecodeAll, Encode};
use commonwatt_chain::{Chain, ProposalDraft};
use commonwatt_consensus::{
    Block, Certificate, CertifiedBlock, Message, Proposal, ProposedBlock, SignedProposal,
    SignedVote, ValidatorSignature, Vote, VoteKind,
};
use commonwatt_engine::{BlockAnswer, EngineMessage, to_block, to_stored};
use commonwatt_executor::BuildLimits;
use commonwatt_primitives::{
    AccountId, Step, StepTiming,
    digest::{ENGINE_ID, Punctuality, StepDigest},
};
use commonwatt_runtime::{Hash, Header};
use sp_core::{Pair, ed25519};
use sp_runtime::DigestItem;

use crate::{community::Member, plan::Trick, random::Random};

/// Messages that a liar remembers, to send them again.
const HEARD_MAX: usize = 64;
/// How often a liar lies when it could, in percent.
const LIES_PERCENT: u64 = 60;

/// What makes a node lie.
pub struct Liar {
    tricks: Vec<Trick>,
    random: Random,
    heard: VecDeque<Arc<[u8]>>,
    hashes: VecDeque<Hash>,
}

/// Something a liar sends.
pub struct Lie {
    /// To whom.
    pub to: Vec<usize>,
    /// What.
    pub bytes: Arc<[u8]>,
    /// How much later than now.
    pub after_ms: u64,
}

/// What a liar stands on.
pub struct Stage<'a> {
    /// Who it is.
    pub member: &'a Member,
    /// Its chain.
    pub chain: &'a Chain,
    /// When steps close.
    pub timing: &'a StepTiming,
    /// All other nodes.
    pub others: &'a [usize],
    /// The validators' accounts.
    pub accounts: &'a [AccountId],
    /// How long a proposal is waited for.
    pub propose_ms: u64,
}

impl Stage<'_> {
    fn genesis(&self) -> Hash {
        self.chain.genesis_hash()
    }

    fn vote(&self, height: u32, round: u32, kind: VoteKind, block: Option<Hash>) -> SignedVote {
        let vote = Vote {
            height,
            round,
            kind,
            block,
            validator: self.member.account.clone(),
        };
        SignedVote {
            signature: self.member.vote.sign(&vote.payload(&self.genesis())),
            vote,
        }
    }

    fn proposed(&self, like: &Proposal, block: Block) -> ProposedBlock {
        let proposal = Proposal {
            block: block.hash(),
            ..like.clone()
        };
        let signature = self.member.vote.sign(&proposal.payload(&self.genesis()));
        ProposedBlock {
            signed: SignedProposal {
                proposal,
                signature,
            },
            block,
        }
    }

    /// Makes another block for the next height; `None` when it cannot.
    fn build(
        &self,
        height: u32,
        rank: u32,
        punctuality: Punctuality,
        is_empty: bool,
    ) -> Option<Block> {
        let candidates = match is_empty {
            true => Vec::new(),
            false => self.chain.ready(),
        };
        let draft = ProposalDraft {
            timing: self.timing,
            step: Step(height),
            rank,
            punctuality,
            candidates: &candidates,
        };
        let limits = BuildLimits {
            bytes_max: 1 << 20,
            misfits_max: 8,
            is_over: &|| false,
        };
        let proposed = self.chain.propose(&draft, &limits).ok()??;
        Some(to_block(&proposed.header, &proposed.body))
    }

    /// Makes a block that no certificate stands behind, as any rank it has.
    pub fn build_any(&self) -> Option<Block> {
        let height = self.chain.best().0.checked_add(1)?;
        let lineup = self.chain.next_lineup().ok()?;
        let mut ranked = lineup.ranking.iter();
        let rank = ranked.position(|who| *who == self.member.account)?;
        self.build(height, u32::try_from(rank).ok()?, Punctuality::Late, true)
    }

    /// Returns a certificate with no other signature than its own.
    pub fn certify_alone(&self, height: u32, block: Hash) -> Certificate {
        let vote = self.vote(height, 0, VoteKind::Precommit, Some(block));
        Certificate {
            height,
            round: 0,
            block,
            signatures: vec![ValidatorSignature {
                validator: vote.vote.validator,
                signature: vote.signature,
            }],
        }
    }

    fn reseal(&self, mut header: Header) -> Header {
        header.digest.logs.pop();
        let signature = self.member.vote.sign(header.hash().as_bytes());
        let seal = DigestItem::Seal(ENGINE_ID, signature.encode());
        header.digest.push(seal);
        header
    }
}

impl Liar {
    /// Returns a liar with some tricks.
    pub fn new(tricks: Vec<Trick>, random: Random) -> Self {
        Self {
            tricks,
            random,
            heard: VecDeque::new(),
            hashes: VecDeque::new(),
        }
    }

    /// Returns whether it has a trick.
    pub fn has(&self, trick: Trick) -> bool {
        self.tricks.contains(&trick)
    }

    /// Remembers what came in.
    pub fn hear(&mut self, bytes: &Arc<[u8]>) {
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(bytes.clone());
    }

    fn pick(&mut self, among: &[Trick]) -> Option<Trick> {
        let tricks: Vec<_> = self
            .tricks
            .iter()
            .filter(|trick| among.contains(trick))
            .copied()
            .collect();
        if !self.random.percent(LIES_PERCENT) {
            return None;
        }
        self.random.pick(&tricks).copied()
    }

    /// Divides the others into two groups, one of which may be empty.
    fn divide(&mut self, others: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut others = others.to_vec();
        self.random.shuffle(&mut others);
        let second = others.split_off(self.random.index(others.len().saturating_add(1)));
        (others, second)
    }

    /// Changes what its engine sends to everybody.
    pub fn speak(&mut self, stage: &Stage<'_>, message: EngineMessage) -> Vec<Lie> {
        match message {
            EngineMessage::Agreement {
                attempt,
                message: Message::Proposal(proposed),
            } if is_fresh(&proposed, stage) => self.propose(stage, attempt, proposed),
            EngineMessage::Agreement {
                attempt,
                message: Message::Vote(signed),
            } if signed.vote.validator == stage.member.account => self.vote(stage, attempt, signed),
            EngineMessage::Status { decided } if self.has(Trick::FalseStatus) => {
                let decided = match self.random.below(3) {
                    0 => decided
                        .saturating_add(u32::try_from(self.random.below(50)).unwrap_or_default()),
                    1 => u32::MAX,
                    _ => decided.saturating_sub(3),
                };
                vec![lie(stage.others, &EngineMessage::Status { decided })]
            }
            message => vec![lie(stage.others, &message)],
        }
    }

    fn propose(&mut self, stage: &Stage<'_>, attempt: u32, proposed: ProposedBlock) -> Vec<Lie> {
        use Trick::{
            Dawdle, FalseLate, LeaveOut, TwoBlocks, Withhold, WrongBeacon, WrongBody, WrongRank,
            WrongRoot, WrongSeal, WrongWinner,
        };
        let trick = self.pick(&[
            TwoBlocks,
            WrongRoot,
            WrongBeacon,
            WrongRank,
            WrongWinner,
            WrongSeal,
            WrongBody,
            Withhold,
            LeaveOut,
            FalseLate,
            Dawdle,
        ]);
        self.hashes.push_back(proposed.signed.proposal.block);
        if self.hashes.len() > HEARD_MAX {
            self.hashes.pop_front();
        }
        let agreement = |proposed| EngineMessage::Agreement {
            attempt,
            message: Message::Proposal(proposed),
        };
        let Some(trick) = trick else {
            return vec![lie(stage.others, &agreement(proposed))];
        };
        match trick {
            Withhold => return Vec::new(),
            Dawdle => {
                let mut late = lie(stage.others, &agreement(proposed));
                late.after_ms = stage.propose_ms / 2 + self.random.below(stage.propose_ms);
                return vec![late];
            }
            _ => {}
        }
        let like = proposed.signed.proposal.clone();
        let Some(other) = self.forge(stage, &proposed, trick) else {
            return vec![lie(stage.others, &agreement(proposed))];
        };
        let forged = agreement(stage.proposed(&like, other));
        if trick != TwoBlocks {
            return vec![lie(stage.others, &forged)];
        }
        let honest = agreement(proposed);
        if self.random.percent(30) {
            return vec![lie(stage.others, &honest), lie(stage.others, &forged)];
        }
        let (first, second) = self.divide(stage.others);
        vec![lie(&first, &honest), lie(&second, &forged)]
    }

    fn forge(
        &mut self,
        stage: &Stage<'_>,
        proposed: &ProposedBlock,
        trick: Trick,
    ) -> Option<Block> {
        let (mut header, mut body) = to_stored(&proposed.block)?;
        let StepDigest::V1 {
            mut author_rank,
            author,
            mut winner,
            mut beacon,
            punctuality,
        } = StepDigest::find(&header.digest)?;
        let height = header.number;
        match trick {
            Trick::TwoBlocks => {
                let other = stage.build(height, author_rank, Punctuality::OnTime, true)?;
                if other.hash() != proposed.block.hash() {
                    return Some(other);
                }
                return stage.build(height, author_rank, Punctuality::Late, true);
            }
            Trick::LeaveOut => return stage.build(height, author_rank, punctuality, true),
            Trick::FalseLate => return stage.build(height, author_rank, Punctuality::Late, false),
            Trick::WrongBody => {
                body.push(vec![0; 3]);
                return Some(to_block(&header, &body));
            }
            Trick::WrongSeal => {
                header.digest.logs.pop();
                let seal = ed25519::Signature::from_raw([7; 64]).encode();
                header.digest.push(DigestItem::Seal(ENGINE_ID, seal));
                return Some(to_block(&header, &body));
            }
            Trick::WrongRoot => header.state_root = Hash::repeat_byte(9),
            Trick::WrongBeacon => beacon.proof[5] ^= 1,
            Trick::WrongRank => author_rank = author_rank.wrapping_add(1),
            Trick::WrongWinner => {
                let mut others = stage.accounts.iter();
                winner = others.find(|account| **account != winner)?.clone();
            }
            _ => return None,
        }
        let digest = StepDigest::V1 {
            author,
            author_rank,
            winner,
            beacon,
            punctuality,
        };
        for (item, new) in header.digest.logs.iter_mut().zip(digest.to_items()) {
            *item = new;
        }
        Some(to_block(&stage.reseal(header), &body))
    }

    fn vote(&mut self, stage: &Stage<'_>, attempt: u32, signed: SignedVote) -> Vec<Lie> {
        let agreement = |signed| EngineMessage::Agreement {
            attempt,
            message: Message::Vote(signed),
        };
        let trick = self.pick(&[Trick::TwoVotes]);
        let vote = &signed.vote;
        if trick.is_none() {
            return vec![lie(stage.others, &agreement(signed))];
        }
        let other = match vote.block {
            Some(_) => None,
            None => Some(Hash::repeat_byte(self.random.any().to_le_bytes()[0])),
        };
        let second = agreement(stage.vote(vote.height, vote.round, vote.kind, other));
        let first = agreement(signed);
        if self.random.percent(30) {
            return vec![lie(stage.others, &first), lie(stage.others, &second)];
        }
        let (some, rest) = self.divide(stage.others);
        vec![lie(&some, &first), lie(&rest, &second)]
    }

    /// Says something out of turn, about the height that is going on.
    pub fn mutter(&mut self, stage: &Stage<'_>, height: u32) -> Vec<Lie> {
        let trick = self.pick(&[
            Trick::Garbage,
            Trick::Replay,
            Trick::FalseStatus,
            Trick::AnyVote,
        ]);
        let (to, _) = self.divide(stage.others);
        let send = |bytes: Vec<u8>| Lie {
            to: to.clone(),
            bytes: bytes.into(),
            after_ms: 0,
        };
        match trick {
            Some(Trick::Garbage) => {
                let mut bytes = match self.random.pick(self.heard.make_contiguous()) {
                    Some(heard) if self.random.percent(70) => heard.to_vec(),
                    _ => vec![0; self.random.index(300)],
                };
                if self.heard.is_empty() || self.random.percent(20) {
                    self.random.fill(&mut bytes);
                }
                let place = self.random.index(bytes.len());
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << self.random.below(8);
                }
                vec![send(bytes)]
            }
            Some(Trick::Replay) => {
                let heard = self.random.pick(self.heard.make_contiguous());
                heard
                    .map(|heard| send(heard.to_vec()))
                    .into_iter()
                    .collect()
            }
            Some(Trick::FalseStatus) => {
                let decided =
                    height.saturating_add(u32::try_from(self.random.below(9)).unwrap_or_default());
                vec![send(EngineMessage::Status { decided }.encode())]
            }
            Some(Trick::AnyVote) => {
                let round = u32::try_from(self.random.below(4)).unwrap_or_default();
                let kind = match self.random.percent(50) {
                    true => VoteKind::Prevote,
                    false => VoteKind::Precommit,
                };
                let block = self.random.pick(self.hashes.make_contiguous()).copied();
                let vote = stage.vote(
                    height,
                    round,
                    kind,
                    block.filter(|_| self.random.percent(70)),
                );
                let message = EngineMessage::Agreement {
                    attempt: u32::try_from(self.random.below(9)).unwrap_or_default(),
                    message: Message::Vote(vote),
                };
                vec![send(message.encode())]
            }
            _ => Vec::new(),
        }
    }

    /// Answers who asks for a block; `None` for not at all.
    pub fn answer(&mut self, stage: &Stage<'_>, answer: BlockAnswer) -> Option<BlockAnswer> {
        if !self.has(Trick::FalseAnswer) {
            return Some(answer);
        }
        let height = answer.height;
        let known = answer.block.clone();
        let block = match self.random.below(7) {
            0 => return None,
            1 => None,
            2 => stage.build_any().map(|block| CertifiedBlock {
                certificate: stage.certify_alone(height, block.hash()),
                block,
            }),
            3 => known.map(|mut certified| {
                certified.certificate.signatures.truncate(1);
                certified
            }),
            4 => known.map(|mut certified| {
                let signatures = &mut certified.certificate.signatures;
                if let Some(first) = signatures.first().cloned() {
                    signatures.fill(first);
                }
                certified
            }),
            5 => known.map(|mut certified| {
                certified.certificate = stage.certify_alone(height, certified.certificate.block);
                certified
            }),
            _ => known,
        };
        Some(BlockAnswer { height, block })
    }
}

fn is_fresh(proposed: &ProposedBlock, stage: &Stage<'_>) -> bool {
    let proposal = &proposed.signed.proposal;
    proposal.pol_round.is_none() && proposal.validator == stage.member.account
}

fn lie(to: &[usize], message: &EngineMessage) -> Lie {
    Lie {
        to: to.to_vec(),
        bytes: message.encode().into(),
        after_ms: 0,
    }
}

/// Returns the votes for a proposed block of one who does not look at it: planted, for the simulator to find.
pub fn votes_at_once(member: &Member, genesis: &Hash, bytes: &[u8]) -> Vec<EngineMessage> {
    let Ok(EngineMessage::Agreement {
        message: Message::Proposal(proposed),
        ..
    }) = EngineMessage::decode_all(&mut &bytes[..])
    else {
        return Vec::new();
    };
    let proposal = &proposed.signed.proposal;
    let vote = |kind| {
        let vote = Vote {
            height: proposal.height,
            round: proposal.round,
            kind,
            block: Some(proposal.block),
            validator: member.account.clone(),
        };
        let signature = member.vote.sign(&vote.payload(genesis));
        EngineMessage::Agreement {
            attempt: 0,
            message: Message::Vote(SignedVote { vote, signature }),
        }
    };
    vec![vote(VoteKind::Prevote), vote(VoteKind::Precommit)]
}

/// Returns two votes that contradict each other, by whoever has a member's vote key: planted, for the simulator to find.
pub fn contradiction(member: &Member, genesis: &Hash, height: u32) -> [EngineMessage; 2] {
    [None, Some(Hash::repeat_byte(1))].map(|block| {
        let vote = Vote {
            height,
            round: 0,
            kind: VoteKind::Prevote,
            block,
            validator: member.account.clone(),
        };
        let signature = member.vote.sign(&vote.payload(genesis));
        EngineMessage::Agreement {
            attempt: 0,
            message: Message::Vote(SignedVote { vote, signature }),
        }
    })
}
