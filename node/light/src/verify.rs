//! The rules: what makes a header the next one.

use codec::{DecodeAll, Encode};
use commonwatt_chain::{LightBlock, SetProofError, closes_epoch, take_seal};
use commonwatt_consensus::{
    CertificateError, Validator as Voter, ValidatorSet, ValidatorSetError, verify_certificate,
};
use commonwatt_primitives::{
    AccountId,
    auction::Validator,
    beacon::{Schnorrkel, VerifyBeacon, compute_seed},
    digest::{Punctuality, StepDigest},
};
use commonwatt_runtime::{Hash, Header};
use sp_core::{Pair, ed25519};
use sp_runtime::traits::Header as _;

use crate::Tip;

/// What is known of a block that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its number, which is its step.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
    /// Who made it.
    pub author: AccountId,
    /// The author's rank; zero is the winner of the auction.
    pub rank: u32,
    /// Whether it came in time.
    pub punctuality: Punctuality,
    /// How many signed its certificate.
    pub signed: usize,
    /// How many validators there were.
    pub validators: usize,
}

/// What is wrong with an answer: the fault of whoever gave it. Nothing of the block can be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The bytes are no block as light nodes are given it.
    #[error("it is not readable: {0}")]
    Unreadable(String),
    /// No header, or not in its one encoding.
    #[error("its header is not one")]
    NoHeader,
    /// Another block than was asked for: a gap, or nothing new.
    #[error("it is block {actual}, where {expected} comes next")]
    WrongNumber {
        /// What comes next.
        expected: u32,
        /// What came.
        actual: u32,
    },
    /// Not final, as far as this shows: forged, of another chain, or signed by too few.
    #[error("it is not proven final: {0}")]
    NotFinal(CertificateError),
    /// The proof of the next validators shows nothing.
    #[error("the proof of who validates next shows nothing: {0}")]
    BadSetProof(SetProofError),
    /// More blocks than were asked for, or proofs nobody asked for.
    #[error(
        "it brings a proof of who validates next, though block {0} is not the last of its epoch"
    )]
    NeedlessSetProof(u32),
}

/// What more than two thirds of the validators signed and must not have. No single peer can bring this about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Two blocks of one height are final.
    #[error("two different blocks {number} are proven final: {first:?} and {second:?}")]
    TwoBlocks {
        /// The height.
        number: u32,
        /// The one that was verified first.
        first: Hash,
        /// The other.
        second: Hash,
    },
    /// A final block does not follow the final block before it.
    #[error(
        "final block {number} follows {parent:?}, but {expected:?} is the final block before it"
    )]
    OtherParent {
        /// The height.
        number: u32,
        /// The parent it names.
        parent: Hash,
        /// The one that was verified.
        expected: Hash,
    },
    /// A final block does not say how it was made, or its maker cannot have made it.
    #[error("block {number} is proven final, but {what}")]
    BrokenRule {
        /// The height.
        number: u32,
        /// What is wrong with it.
        what: String,
    },
    /// The validators that a final state names cannot agree on anything.
    #[error("the validators after block {number} are not usable: {cause}")]
    UnusableSet {
        /// The height.
        number: u32,
        /// What is wrong with them.
        cause: ValidatorSetError,
    },
}

/// Why a block was not verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The answer is wrong.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// The validators broke the rules.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// The block may be right, but who validates after it was not shown: another peer may be able to.
    #[error("nothing shows who validates after block {0}, the last of its epoch")]
    NoSetProof(u32),
    /// The chain goes on with a runtime that this program does not know.
    #[error("{0}")]
    UnknownRuntime(SetProofError),
}

/// Returns the set that decides about block `number`.
pub(crate) fn voters(
    number: u32,
    validators: &[Validator<AccountId>],
) -> Result<ValidatorSet, Breach> {
    let voters = validators.iter().map(|Validator { account, keys }| Voter {
        account: account.clone(),
        vote: keys.vote,
    });
    // Who proposes in which order is of no matter here: certificates are not about it.
    let order: Vec<_> = validators
        .iter()
        .map(|validator| validator.account.clone())
        .collect();
    ValidatorSet::new(voters.collect(), &order).map_err(|cause| Breach::UnusableSet {
        number: number.saturating_sub(1),
        cause,
    })
}

/// Reads the header of block `number` and hashes it.
fn read_numbered(bytes: &[u8], number: u32) -> Result<(Header, Hash), Refused> {
    let (header, hash) = read_header(bytes)?;
    if header.number != number {
        return Err(Flaw::WrongNumber {
            expected: number,
            actual: header.number,
        }
        .into());
    }
    Ok((header, hash))
}

/// Reads a header, of which there is one encoding only, and its hash.
pub(crate) fn read_header(bytes: &[u8]) -> Result<(Header, Hash), Flaw> {
    let header = Header::decode_all(&mut &bytes[..]).map_err(|_| Flaw::NoHeader)?;
    if header.encode() != bytes {
        return Err(Flaw::NoHeader);
    }
    let hash = header.hash();
    Ok((header, hash))
}

/// Checks that `block` is the final child of `tip` on the chain of `genesis`; returns the tip it becomes, and what is
/// known of it.
///
/// First comes what any peer could have made up. Behind the certificate stands only what more than two thirds of the
/// validators have signed.
///
/// # Errors
/// Why it is not, and whose fault that is.
pub fn verify_next(
    tip: &Tip,
    genesis: &Hash,
    block: &LightBlock,
) -> Result<(Tip, Verified), Refused> {
    let number = tip.number.saturating_add(1);
    let (header, hash) = read_numbered(&block.header, number)?;
    if block.next_set.is_some() && !closes_epoch(number) {
        return Err(Flaw::NeedlessSetProof(number).into());
    }
    let set = voters(number, &tip.validators)?;
    verify_certificate(&set, genesis, number, &hash, &block.certificate).map_err(Flaw::NotFinal)?;

    if header.parent_hash != tip.hash {
        return Err(Breach::OtherParent {
            number,
            parent: header.parent_hash,
            expected: tip.hash,
        }
        .into());
    }
    let (digest, seed) = verify_making(tip, &header)?;
    let validators = if closes_epoch(number) {
        let proof = block.next_set.as_ref();
        let proof = proof.ok_or(Refused::NoSetProof(number))?;
        let next = proof
            .verify(header.state_root, number)
            .map_err(|error| match error {
                SetProofError::UnknownRuntime { .. } => Refused::UnknownRuntime(error),
                _ => Flaw::BadSetProof(error).into(),
            })?;
        voters(number.saturating_add(1), &next)?;
        next
    } else {
        tip.validators.clone()
    };
    let StepDigest::V1 {
        author,
        author_rank,
        punctuality,
        ..
    } = digest;
    let verified = Verified {
        number,
        hash,
        author,
        rank: author_rank,
        punctuality,
        signed: block.certificate.signatures.len(),
        validators: set.count(),
    };
    let tip = Tip {
        number,
        hash,
        seed,
        validators,
    };
    Ok((tip, verified))
}

/// Checks what a header says about its making: author, seal and beacon; returns that, and the beacon's next seed.
fn verify_making(tip: &Tip, header: &Header) -> Result<(StepDigest, Hash), Breach> {
    let number = header.number;
    let broken = |what: String| Breach::BrokenRule { number, what };
    let mut unsealed = header.clone();
    let seal = take_seal(&mut unsealed).map_err(|error| broken(error.to_string()))?;
    let digest = StepDigest::find(unsealed.digest())
        .ok_or_else(|| broken("it does not say who made it".into()))?;
    let StepDigest::V1 {
        author,
        author_rank,
        winner,
        beacon,
        ..
    } = &digest;
    let is_ranked = usize::try_from(*author_rank).is_ok_and(|rank| rank < tip.validators.len());
    if !is_ranked || (*author_rank == 0) != (author == winner) {
        return Err(broken(format!(
            "its author {author} cannot have rank {author_rank} where {winner} won"
        )));
    }
    let keys = tip
        .validators
        .iter()
        .find(|validator| validator.account == *author)
        .map(|validator| &validator.keys)
        .ok_or_else(|| broken(format!("its author {author} is no validator of its height")))?;
    let is_sealed = ed25519::Signature::decode_all(&mut &seal[..])
        .is_ok_and(|seal| ed25519::Pair::verify(&seal, unsealed.hash().as_bytes(), &keys.vote));
    if !is_sealed {
        return Err(broken(format!(
            "its seal is not the signature of its author {author}"
        )));
    }
    let output = Schnorrkel::verify(&keys.beacon, &tip.seed, number, beacon).ok_or_else(|| {
        broken(format!(
            "its beacon proof is not that of its author {author}"
        ))
    })?;
    let seed = compute_seed(&tip.seed, &output);
    Ok((digest, seed))
}

/// Checks what somebody says block `number` is, which `known` was verified to be; `validators` are those of that height.
///
/// # Errors
/// It is not, and whose fault that is.
pub fn verify_same(
    number: u32,
    known: &Hash,
    validators: &[Validator<AccountId>],
    genesis: &Hash,
    block: &LightBlock,
) -> Result<(), Refused> {
    let (_, hash) = read_numbered(&block.header, number)?;
    if hash == *known {
        return Ok(());
    }
    let set = voters(number, validators)?;
    verify_certificate(&set, genesis, number, &hash, &block.certificate).map_err(Flaw::NotFinal)?;
    Err(Breach::TwoBlocks {
        number,
        first: *known,
        second: hash,
    }
    .into())
}
