//! A block as the agreement sees it: opaque bytes, and what its header says about its making.

use std::sync::Arc;

use codec::{Decode, Encode};
use commonwatt_primitives::{AccountId, Hash, digest::Punctuality};
use sp_core::{Blake2Hasher, Hasher};

use crate::{
    error::Refusal,
    limits::{BODY_BYTES_MAX, HEADER_BYTES_MAX},
    messages::Proposal,
    validators::ValidatorSet,
};

/// A sealed block. What the bytes mean is the executor's matter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// The encoded header, seal included.
    pub header: Vec<u8>,
    /// The encoded extrinsics; shared, since a block is kept, logged and sent at once.
    pub body: Arc<Vec<u8>>,
}

impl Block {
    /// Returns the hash that validators vote for: BLAKE2b-256 of the header.
    pub fn hash(&self) -> Hash {
        Blake2Hasher::hash(&self.header)
    }

    /// Returns whether header and body are within their bounds.
    pub fn is_within_bounds(&self) -> bool {
        self.header.len() <= HEADER_BYTES_MAX && self.body.len() <= BODY_BYTES_MAX
    }
}

/// What a header says about the making of its block: the number and the `StepDigest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFacts {
    /// The block's number.
    pub height: u32,
    /// Who made it.
    pub author: AccountId,
    /// The author's rank.
    pub author_rank: u32,
    /// Whether it was made in time.
    pub punctuality: Punctuality,
}

/// Reads the facts out of an encoded header; `None` when there is no such header. A pure function, which the
/// caller supplies since it knows the header's type.
pub type ReadHeader = fn(&[u8]) -> Option<HeaderFacts>;

/// Why a block is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its author proposes it, or somebody whose proof of lock is not known here: timeliness counts.
    Fresh {
        /// The round it is proposed in.
        round: u32,
    },
    /// Two thirds have prevoted it, as this node knows: timeliness does not count.
    Reproposed {
        /// The round it is proposed in.
        round: u32,
        /// The round of its proof of lock.
        pol_round: u32,
    },
    /// It is decided, and this node catches up: timeliness does not count.
    Synced,
}

/// What execution and the look at the own clock and pool found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Parent, step, ranking, author, beacon proof, seal, every extrinsic and the state root are right.
    Valid,
    /// No block with this header can ever be valid. Never for a subjective reason, and never for a wrong body.
    Invalid,
    /// Valid, but something was left out that was there in time, or came too late, or too early, or the `late`
    /// mark is wrong, as this node saw it. Approval is withheld until the propose timeout.
    Untimely,
    /// The body is not the one the header promises, so nothing is known about the block: whoever passed it on
    /// can have changed it.
    WrongBody,
}

/// Checks that `facts` are those of a block that `proposal` may propose (PROTOCOL 7): a fresh block is made by
/// the rank whose round it is, a re-proposed one by a rank whose turn was not after its proof of lock.
pub(crate) fn verify_rightful_author(
    set: &ValidatorSet,
    proposal: &Proposal,
    facts: &HeaderFacts,
) -> Result<(), Refusal> {
    if facts.height != proposal.height {
        return Err(Refusal::HeaderOfOtherHeight {
            expected: proposal.height,
            actual: facts.height,
        });
    }
    let is_rank_possible = match proposal.pol_round {
        None => Some(facts.author_rank) == set.rank_of_round(proposal.round),
        Some(pol_round) => facts.author_rank <= pol_round,
    };
    let is_author = set.account_of_rank(facts.author_rank) == Some(&facts.author);
    if is_rank_possible && is_author {
        Ok(())
    } else {
        Err(Refusal::WrongAuthor {
            author: facts.author.clone(),
            rank: facts.author_rank,
            round: proposal.round,
            pol_round: proposal.pol_round,
        })
    }
}
