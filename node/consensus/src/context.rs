//! Our types as the engine wants them, and the ways there and back.
//!
//! The engine's own traits return references to its kinds of values; what is signed, sent and stored are the
//! types of [`crate::messages`]. Nothing of this module is public.

use codec::{DecodeAll, Encode};
use commonwatt_primitives::{AccountId, Hash};
use malachite_core as core;
use malachite_types::{
    self as types, Context, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme,
    VoteType,
};
use sp_core::ed25519;

use crate::{
    Signature,
    certificate::Certificate,
    messages::{
        PolkaCertificate, Proposal, RoundCertificate, RoundCertificateKind, RoundVote,
        SignedProposal, SignedVote, ValidatorSignature, Vote, VoteKind,
    },
    validators::{Validator, ValidatorSet},
};

/// The engine's context: it has no state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain;

/// A height, which is a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Height(pub u32);

/// A validator's address: its account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub AccountId);

/// What is agreed on: the hash of a block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(pub Hash);

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreValidator {
    pub address: Address,
    pub vote: ed25519::Public,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreProposal {
    height: Height,
    round: Round,
    value: Value,
    pol_round: Round,
    address: Address,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreVote {
    height: Height,
    round: Round,
    kind: VoteType,
    value: NilOrVal<Hash>,
    address: Address,
}

/// Blocks travel with their proposals, so there are no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoParts;

/// Votes carry no extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoExtension;

/// The signatures of `sp-core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl std::fmt::Display for Height {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl types::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, count: u64) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(count))
    }

    fn decrement_by(&self, count: u64) -> Option<Self> {
        self.0.checked_sub(u32::try_from(count).ok()?).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0.into()
    }
}

impl types::Address for Address {}

impl types::Value for Value {
    type Id = Hash;

    fn id(&self) -> Hash {
        self.0
    }
}

impl types::Validator<Chain> for CoreValidator {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &ed25519::Public {
        &self.vote
    }

    /// One vote each: wealth never buys votes.
    fn voting_power(&self) -> types::VotingPower {
        1
    }
}

impl From<Validator> for CoreValidator {
    fn from(validator: Validator) -> Self {
        Self {
            address: Address(validator.account),
            vote: validator.vote,
        }
    }
}

impl types::ValidatorSet<Chain> for ValidatorSet {
    fn count(&self) -> usize {
        self.count()
    }

    fn total_voting_power(&self) -> types::VotingPower {
        u64::try_from(self.count()).expect("at most VALIDATORS_MAX; qed")
    }

    fn get_by_address(&self, address: &Address) -> Option<&CoreValidator> {
        self.get(address)
    }

    fn get_by_index(&self, index: usize) -> Option<&CoreValidator> {
        self.at(index)
    }
}

impl types::Proposal<Chain> for CoreProposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }
}

impl types::Vote<Chain> for CoreVote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Hash> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Hash> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.address
    }

    fn extension(&self) -> Option<&SignedExtension<Chain>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Chain>> {
        None
    }

    fn extend(self, _: SignedExtension<Chain>) -> Self {
        self
    }
}

impl types::ProposalPart<Chain> for NoParts {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl types::Extension for NoExtension {
    fn size_bytes(&self) -> usize {
        0
    }
}

impl SigningScheme for Ed25519 {
    type DecodingError = codec::Error;
    type Signature = Signature;
    type PublicKey = ed25519::Public;
    /// The key stays in the keystore.
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, codec::Error> {
        Signature::decode_all(&mut &bytes[..])
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.encode()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<ed25519::Public, codec::Error> {
        ed25519::Public::decode_all(&mut &bytes[..])
    }

    fn encode_public_key(key: &ed25519::Public) -> Vec<u8> {
        key.encode()
    }
}

impl Context for Chain {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoParts;
    type Proposal = CoreProposal;
    type Validator = CoreValidator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = CoreVote;
    type Extension = NoExtension;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        set: &'a ValidatorSet,
        _: Height,
        round: Round,
    ) -> &'a CoreValidator {
        // The engine asks for started rounds only; before the first there is none, and rank 0 is next.
        set.core_proposer(round.as_u32().unwrap_or(0))
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        address: Address,
    ) -> CoreProposal {
        CoreProposal {
            height,
            round,
            value,
            pol_round,
            address,
        }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Hash>,
        address: Address,
    ) -> CoreVote {
        CoreVote {
            height,
            round,
            kind: VoteType::Prevote,
            value,
            address,
        }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Hash>,
        address: Address,
    ) -> CoreVote {
        CoreVote {
            height,
            round,
            kind: VoteType::Precommit,
            value,
            address,
        }
    }
}

/// Returns the number of a started round.
///
/// The engine votes, proposes and certifies in started rounds only.
pub(crate) fn number_of(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

fn to_value(block: Option<Hash>) -> NilOrVal<Hash> {
    block.map_or(NilOrVal::Nil, NilOrVal::Val)
}

fn to_block(value: &NilOrVal<Hash>) -> Option<Hash> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(hash) => Some(*hash),
    }
}

impl From<VoteKind> for VoteType {
    fn from(kind: VoteKind) -> Self {
        match kind {
            VoteKind::Prevote => Self::Prevote,
            VoteKind::Precommit => Self::Precommit,
        }
    }
}

impl From<VoteType> for VoteKind {
    fn from(kind: VoteType) -> Self {
        match kind {
            VoteType::Prevote => Self::Prevote,
            VoteType::Precommit => Self::Precommit,
        }
    }
}

impl From<Vote> for CoreVote {
    fn from(vote: Vote) -> Self {
        Self {
            height: Height(vote.height),
            round: Round::new(vote.round),
            kind: vote.kind.into(),
            value: to_value(vote.block),
            address: Address(vote.validator),
        }
    }
}

impl From<CoreVote> for Vote {
    fn from(vote: CoreVote) -> Self {
        Self {
            height: vote.height.0,
            round: number_of(vote.round),
            kind: vote.kind.into(),
            block: to_block(&vote.value),
            validator: vote.address.0,
        }
    }
}

impl From<SignedVote> for types::SignedVote<Chain> {
    fn from(signed: SignedVote) -> Self {
        Self::new(signed.vote.into(), signed.signature)
    }
}

impl From<types::SignedVote<Chain>> for SignedVote {
    fn from(signed: types::SignedVote<Chain>) -> Self {
        Self {
            vote: signed.message.into(),
            signature: signed.signature,
        }
    }
}

impl From<Proposal> for CoreProposal {
    fn from(proposal: Proposal) -> Self {
        Self {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            value: Value(proposal.block),
            pol_round: Round::from(proposal.pol_round),
            address: Address(proposal.validator),
        }
    }
}

impl From<CoreProposal> for Proposal {
    fn from(proposal: CoreProposal) -> Self {
        Self {
            height: proposal.height.0,
            round: number_of(proposal.round),
            block: proposal.value.0,
            pol_round: proposal.pol_round.as_u32(),
            validator: proposal.address.0,
        }
    }
}

impl From<SignedProposal> for types::SignedProposal<Chain> {
    fn from(signed: SignedProposal) -> Self {
        Self::new(signed.proposal.into(), signed.signature)
    }
}

impl From<types::SignedProposal<Chain>> for SignedProposal {
    fn from(signed: types::SignedProposal<Chain>) -> Self {
        Self {
            proposal: signed.message.into(),
            signature: signed.signature,
        }
    }
}

impl From<types::CommitCertificate<Chain>> for Certificate {
    /// Signatures stand in ascending order of accounts, so that one set of them has one encoding.
    fn from(certificate: types::CommitCertificate<Chain>) -> Self {
        let mut signatures: Vec<_> = certificate
            .commit_signatures
            .into_iter()
            .map(|signature| ValidatorSignature {
                validator: signature.address.0,
                signature: signature.signature,
            })
            .collect();
        signatures.sort_by(|a, b| a.validator.cmp(&b.validator));
        Self {
            height: certificate.height.0,
            round: number_of(certificate.round),
            block: certificate.value_id,
            signatures,
        }
    }
}

impl From<PolkaCertificate> for types::PolkaCertificate<Chain> {
    fn from(certificate: PolkaCertificate) -> Self {
        Self {
            height: Height(certificate.height),
            round: Round::new(certificate.round),
            value_id: certificate.block,
            polka_signatures: certificate
                .signatures
                .into_iter()
                .map(|signature| {
                    types::PolkaSignature::new(Address(signature.validator), signature.signature)
                })
                .collect(),
        }
    }
}

impl From<types::PolkaCertificate<Chain>> for PolkaCertificate {
    fn from(certificate: types::PolkaCertificate<Chain>) -> Self {
        Self {
            height: certificate.height.0,
            round: number_of(certificate.round),
            block: certificate.value_id,
            signatures: certificate
                .polka_signatures
                .into_iter()
                .map(|signature| ValidatorSignature {
                    validator: signature.address.0,
                    signature: signature.signature,
                })
                .collect(),
        }
    }
}

impl From<RoundCertificate> for types::RoundCertificate<Chain> {
    fn from(certificate: RoundCertificate) -> Self {
        Self {
            height: Height(certificate.height),
            round: Round::new(certificate.round),
            cert_type: match certificate.kind {
                RoundCertificateKind::Skip => types::RoundCertificateType::Skip,
                RoundCertificateKind::Precommit => types::RoundCertificateType::Precommit,
            },
            round_signatures: certificate
                .votes
                .into_iter()
                .map(|vote| {
                    types::RoundSignature::new(
                        vote.kind.into(),
                        to_value(vote.block),
                        Address(vote.validator),
                        vote.signature,
                    )
                })
                .collect(),
        }
    }
}

impl From<types::RoundCertificate<Chain>> for RoundCertificate {
    fn from(certificate: types::RoundCertificate<Chain>) -> Self {
        Self {
            height: certificate.height.0,
            round: number_of(certificate.round),
            kind: match certificate.cert_type {
                types::RoundCertificateType::Skip => RoundCertificateKind::Skip,
                types::RoundCertificateType::Precommit => RoundCertificateKind::Precommit,
            },
            votes: certificate
                .round_signatures
                .into_iter()
                .map(|signature| RoundVote {
                    kind: signature.vote_type.into(),
                    block: to_block(&signature.value_id),
                    validator: signature.address.0,
                    signature: signature.signature,
                })
                .collect(),
        }
    }
}

/// Returns `proposed` as the engine's input.
pub(crate) fn proposed_value(proposal: &Proposal, validity: types::Validity) -> core::Input<Chain> {
    core::Input::ProposedValue(
        core::ProposedValue {
            height: Height(proposal.height),
            round: Round::new(proposal.round),
            valid_round: Round::from(proposal.pol_round),
            proposer: Address(proposal.validator.clone()),
            value: Value(proposal.block),
            validity,
        },
        types::ValueOrigin::Consensus,
    )
}
