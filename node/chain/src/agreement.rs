//! Who may make a block and when one counts: the interface, and the case of a single validator.

use codec::{DecodeAll, Encode};
use commonwatt_primitives::{
    AccountId, Step,
    auction::Validator,
    beacon::{self, BeaconProof, Schnorrkel, VerifyBeacon},
    digest::{ENGINE_ID, Punctuality, StepDigest},
    keys::SessionKeys,
};
use commonwatt_runtime::{Hash, Header, apis::Lineup};
use sp_core::{Pair, ed25519, sr25519};
use sp_runtime::{DigestItem, traits::Header as _};

/// Who may make the block of a step, and what makes it final.
///
/// The chain asks before it builds and before it imports, and brings what the state of the parent says about
/// the height. An implementation never consults the clock.
pub trait Agreement: Send + Sync {
    /// Returns the digest of the block that this node may make for `step`; `None` when it may not.
    ///
    /// # Errors
    /// It should make the block but cannot, or the chain is not one of this agreement.
    fn claim(
        &self,
        step: Step,
        punctuality: Punctuality,
        lineup: &Lineup,
    ) -> Result<Option<StepDigest>, AgreementError>;

    /// Signs a header; the signature becomes the header's last digest item.
    ///
    /// # Errors
    /// This node has no key to sign with.
    fn seal(&self, header: &Header, lineup: &Lineup) -> Result<Vec<u8>, AgreementError>;

    /// Checks that a header was made by its rightful author. `header` is without the seal.
    ///
    /// # Errors
    /// What is wrong with it.
    fn verify_author(
        &self,
        header: &Header,
        seal: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError>;

    /// Returns the proof that a block this node agreed to is final.
    ///
    /// # Errors
    /// This node has no key to sign with.
    fn certify(&self, number: u32, hash: &Hash, lineup: &Lineup)
    -> Result<Vec<u8>, AgreementError>;

    /// Checks the proof that a block is final.
    ///
    /// # Errors
    /// It proves nothing.
    fn verify_certificate(
        &self,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError>;
}

/// Why a block does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    /// The header does not say who made it.
    #[error("block {0} has no readable step digest, so it has no author")]
    NoDigest(u32),
    /// The header has no seal.
    #[error("block {0} has no seal")]
    NoSeal(u32),
    /// The header names another winner than the auction's.
    #[error("block {number} names {actual} as the winner of its auction, but {expected} won it")]
    WrongWinner {
        /// The block.
        number: u32,
        /// Whom it names.
        actual: AccountId,
        /// Who won.
        expected: AccountId,
    },
    /// The author does not stand where the header says.
    #[error(
        "block {number} was made by {author}, who does not have rank {rank} in the ranking of this height"
    )]
    WrongRank {
        /// The block.
        number: u32,
        /// Who made it.
        author: AccountId,
        /// The rank it claims.
        rank: u32,
    },
    /// The author is ranked, but has no keys at this height.
    #[error("block {number} was made by {author}, who is no validator of this height")]
    NotAValidator {
        /// The block.
        number: u32,
        /// Who made it.
        author: AccountId,
    },
    /// The beacon proof is not the author's.
    #[error(
        "the beacon proof of block {0} is not that of its author's key for this height and seed"
    )]
    ForgedBeacon(u32),
    /// The seal is not the author's signature.
    #[error("the seal of block {0} is not its author's signature")]
    BadSeal(u32),
    /// The certificate does not prove finality.
    #[error("the certificate of block {0} is not signed by its validator")]
    BadCertificate(u32),
    /// A chain of several validators.
    #[error(
        "{0} validators may make the next block, and this version makes and checks blocks only for chains that have \
         one"
    )]
    SeveralValidators(usize),
    /// A key that the chain knows is not at hand.
    #[error(
        "the {purpose} key of {account} on chain is 0x{public}, and this node does not hold it: \
         use the key that was registered, or have the DSO register the new one, and start again"
    )]
    MissingKey {
        /// The validator.
        account: AccountId,
        /// What the key is for.
        purpose: &'static str,
        /// The key on chain, in hexadecimal digits.
        public: String,
    },
}

/// Splits the seal off a header.
pub fn take_seal(header: &mut Header) -> Result<Vec<u8>, AgreementError> {
    let number = *header.number();
    match header.digest_mut().pop() {
        Some(DigestItem::Seal(ENGINE_ID, seal)) => Ok(seal),
        _ => Err(AgreementError::NoSeal(number)),
    }
}

/// Checks what a header claims about its author against the ranking of its height; returns the author's keys.
///
/// # Errors
/// What is wrong with the claim.
pub fn verify_claim<'a>(
    number: u32,
    digest: &StepDigest,
    lineup: &'a Lineup,
) -> Result<&'a SessionKeys, AgreementError> {
    let StepDigest::V1 {
        author,
        author_rank,
        winner,
        beacon,
        ..
    } = digest;
    let expected = lineup
        .ranking
        .first()
        .expect("the ranking of the next height is never empty");
    if winner != expected {
        return Err(AgreementError::WrongWinner {
            number,
            actual: winner.clone(),
            expected: expected.clone(),
        });
    }
    let ranked = usize::try_from(*author_rank)
        .ok()
        .and_then(|rank| lineup.ranking.get(rank));
    if ranked != Some(author) {
        return Err(AgreementError::WrongRank {
            number,
            author: author.clone(),
            rank: *author_rank,
        });
    }
    let keys = lineup
        .validators
        .iter()
        .find(|validator| validator.account == *author)
        .map(|validator| &validator.keys)
        .ok_or_else(|| AgreementError::NotAValidator {
            number,
            author: author.clone(),
        })?;
    Schnorrkel::verify(&keys.beacon, &lineup.before, number, beacon)
        .map(|_| keys)
        .ok_or(AgreementError::ForgedBeacon(number))
}

/// A validator's secrets, wherever they lie.
pub trait SessionSigner: Send + Sync {
    /// Signs with a vote key; `None` when it is not held.
    fn sign(&self, key: &ed25519::Public, message: &[u8]) -> Option<ed25519::Signature>;

    /// Evaluates the beacon with a key; `None` when it is not held.
    fn prove(&self, key: &sr25519::Public, before: &Hash, height: u32) -> Option<BeaconProof>;
}

/// The two secrets of one validator, in memory.
pub struct SessionPairs {
    /// The vote key.
    pub vote: ed25519::Pair,
    /// The beacon key.
    pub beacon: sr25519::Pair,
}

impl SessionSigner for SessionPairs {
    fn sign(&self, key: &ed25519::Public, message: &[u8]) -> Option<ed25519::Signature> {
        (self.vote.public() == *key).then(|| self.vote.sign(message))
    }

    fn prove(&self, key: &sr25519::Public, before: &Hash, height: u32) -> Option<BeaconProof> {
        (self.beacon.public() == *key).then(|| beacon::prove(&self.beacon, before, height))
    }
}

/// One validator makes every block, and its word is final. Who it is and which keys act, the chain says for each height.
pub struct SingleValidator {
    /// Holds the secrets, on the validator's own node.
    signer: Option<Box<dyn SessionSigner>>,
}

/// What is signed to make a block final: domain, height and hash.
fn certificate_payload(number: u32, hash: &Hash) -> Vec<u8> {
    (b"commonwatt/certificate/1", number, hash).encode()
}

impl SingleValidator {
    /// Creates the agreement on the validator's own node. `validator` is what the chain knows of it now; a later
    /// height may need other keys that `signer` holds.
    ///
    /// # Errors
    /// The secret of one of its keys is not held.
    pub fn new(
        validator: &Validator<AccountId>,
        signer: impl SessionSigner + 'static,
    ) -> Result<Self, AgreementError> {
        let Validator { account, keys } = validator;
        // What is signed here is neither vote nor certificate, and leaves nowhere.
        signer
            .sign(&keys.vote, &[])
            .ok_or_else(|| missing_vote(account, keys))?;
        signer
            .prove(&keys.beacon, &Hash::zero(), 0)
            .ok_or_else(|| missing_beacon(account, keys))?;
        Ok(Self {
            signer: Some(Box::new(signer)),
        })
    }

    /// Creates the same agreement for a node that checks what the validator made, and makes nothing itself.
    pub fn follower() -> Self {
        Self { signer: None }
    }

    /// Signs; a follower, which never claims a block, has nothing to sign with.
    fn sign(
        &self,
        validator: &Validator<AccountId>,
        message: &[u8],
    ) -> Result<Vec<u8>, AgreementError> {
        self.signer
            .as_ref()
            .and_then(|signer| signer.sign(&validator.keys.vote, message))
            .map(|signature| signature.encode())
            .ok_or_else(|| missing_vote(&validator.account, &validator.keys))
    }
}

/// Returns the only validator of a height.
fn only(lineup: &Lineup) -> Result<&Validator<AccountId>, AgreementError> {
    match lineup.validators.as_slice() {
        [validator] => Ok(validator),
        several => Err(AgreementError::SeveralValidators(several.len())),
    }
}

fn missing_vote(account: &AccountId, keys: &SessionKeys) -> AgreementError {
    AgreementError::MissingKey {
        account: account.clone(),
        purpose: "vote",
        public: hexadecimal(&keys.vote.0),
    }
}

fn missing_beacon(account: &AccountId, keys: &SessionKeys) -> AgreementError {
    AgreementError::MissingKey {
        account: account.clone(),
        purpose: "beacon",
        public: hexadecimal(&keys.beacon.0),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_signed(key: &ed25519::Public, message: &[u8], signature: &[u8]) -> bool {
    ed25519::Signature::decode_all(&mut &signature[..])
        .is_ok_and(|signature| ed25519::Pair::verify(&signature, message, key))
}

impl Agreement for SingleValidator {
    fn claim(
        &self,
        step: Step,
        punctuality: Punctuality,
        lineup: &Lineup,
    ) -> Result<Option<StepDigest>, AgreementError> {
        let Some(signer) = &self.signer else {
            return Ok(None);
        };
        let Validator { account, keys } = only(lineup)?;
        let beacon = signer
            .prove(&keys.beacon, &lineup.before, step.0)
            .ok_or_else(|| missing_beacon(account, keys))?;
        Ok(Some(StepDigest::V1 {
            author: account.clone(),
            author_rank: 0,
            winner: account.clone(),
            beacon,
            punctuality,
        }))
    }

    fn seal(&self, header: &Header, lineup: &Lineup) -> Result<Vec<u8>, AgreementError> {
        self.sign(only(lineup)?, header.hash().as_bytes())
    }

    fn verify_author(
        &self,
        header: &Header,
        seal: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        let number = *header.number();
        only(lineup)?;
        let digest = StepDigest::find(header.digest()).ok_or(AgreementError::NoDigest(number))?;
        let keys = verify_claim(number, &digest, lineup)?;
        is_signed(&keys.vote, header.hash().as_bytes(), seal)
            .then_some(())
            .ok_or(AgreementError::BadSeal(number))
    }

    fn certify(
        &self,
        number: u32,
        hash: &Hash,
        lineup: &Lineup,
    ) -> Result<Vec<u8>, AgreementError> {
        self.sign(only(lineup)?, &certificate_payload(number, hash))
    }

    fn verify_certificate(
        &self,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        let keys = &only(lineup)?.keys;
        is_signed(&keys.vote, &certificate_payload(number, hash), certificate)
            .then_some(())
            .ok_or(AgreementError::BadCertificate(number))
    }
}
