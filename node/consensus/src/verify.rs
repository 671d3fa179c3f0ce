//! Whether a message is worth passing on.

use commonwatt_primitives::Hash;

use crate::{
    block::{ReadHeader, verify_rightful_author},
    certificate::{verify_polka, verify_round},
    error::Refusal,
    machine::verify_block,
    messages::{Message, Proposal, ProposedBlock},
    validators::ValidatorSet,
};

/// Checks everything about a message that needs neither the machine's memory nor execution: who signed it, and
/// for a proposal also that it is its proposer's turn and its author's block.
///
/// What [`crate::Machine`] drops as old or known passes here too. A network that passes on only what passed here
/// spreads nothing that no validator of the height stands behind.
///
/// # Errors
/// What no honest node sends or passes on.
pub fn verify_message(
    set: &ValidatorSet,
    genesis: &Hash,
    message: &Message,
    read_header: ReadHeader,
) -> Result<(), Refusal> {
    match message {
        Message::Vote(signed) => {
            let validator = &signed.vote.validator;
            let key = set
                .vote_key(validator)
                .ok_or_else(|| Refusal::NotAValidator(validator.clone()))?;
            signed
                .is_signed_by(key, genesis)
                .then_some(())
                .ok_or_else(|| Refusal::BadSignature(validator.clone()))
        }
        Message::Polka(certificate) => Ok(verify_polka(set, genesis, certificate)?),
        Message::Round(certificate) => Ok(verify_round(set, genesis, certificate)?),
        Message::Proposal(ProposedBlock { signed, block }) => {
            let proposal = &signed.proposal;
            verify_turn(set, proposal)?;
            let facts = verify_block(block, &proposal.block, read_header)?;
            let proposer = set.core_proposer(proposal.round);
            if !signed.is_signed_by(&proposer.vote, genesis) {
                return Err(Refusal::BadSignature(proposal.validator.clone()));
            }
            verify_rightful_author(set, proposal, &facts)
        }
    }
}

/// Checks that a proposal is by the proposer of its round, and its proof of lock of an earlier one.
pub(crate) fn verify_turn(set: &ValidatorSet, proposal: &Proposal) -> Result<(), Refusal> {
    if let Some(pol_round) = proposal.pol_round
        && pol_round >= proposal.round
    {
        return Err(Refusal::BadProofOfLock {
            round: proposal.round,
            pol_round,
        });
    }
    let expected = set.proposer(proposal.round);
    if *expected == proposal.validator {
        return Ok(());
    }
    Err(Refusal::WrongProposer {
        round: proposal.round,
        expected: expected.clone(),
        actual: proposal.validator.clone(),
    })
}
