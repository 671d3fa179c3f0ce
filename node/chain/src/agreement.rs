//! Who may make a block and when one counts: the interface, and the validators that the chain itself names.

use std::sync::Arc;

use codec::{DecodeAll, Encode};
use commonwatt_consensus::{
    Certificate, CertificateError, Validator as Voter, ValidatorSet, ValidatorSetError,
    ValidatorSignature, Vote, VoteKind, verify_certificate,
};
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
    /// Returns the digest of the block that this node may make for `step` as the author of `rank`; `None` when that is
    /// somebody else.
    ///
    /// # Errors
    /// It should make the block but cannot.
    fn claim(
        &self,
        step: Step,
        rank: u32,
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

    /// Returns the proof that a block is final which the only validator made.
    ///
    /// # Errors
    /// This node has no key to sign with, or others have a vote too.
    fn certify(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        lineup: &Lineup,
    ) -> Result<Vec<u8>, AgreementError>;

    /// Checks the proof that a block is final.
    ///
    /// # Errors
    /// It proves nothing.
    fn verify_certificate(
        &self,
        genesis: &Hash,
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
    /// There is no certificate, or its bytes are none.
    #[error("block {0} has no readable certificate, so nothing proves that it is final")]
    NoCertificate(u32),
    /// The certificate does not prove finality.
    #[error("block {number} is not proven final: {cause}")]
    BadCertificate {
        /// The block.
        number: u32,
        /// What is wrong with it.
        cause: CertificateError,
    },
    /// The state names validators that cannot agree.
    #[error("the validators of block {number} are not usable: {cause}")]
    BadValidators {
        /// The block.
        number: u32,
        /// What is wrong with them.
        cause: ValidatorSetError,
    },
    /// One cannot decide alone.
    #[error("{0} validators decide about the next block, so none of them makes it final alone")]
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

/// Returns who votes and proposes at a height, as the consensus crate needs it.
///
/// # Errors
/// The state names validators that cannot agree.
pub fn validator_set(number: u32, lineup: &Lineup) -> Result<ValidatorSet, AgreementError> {
    let validators = lineup.validators.iter();
    let validators = validators.map(|Validator { account, keys }| Voter {
        account: account.clone(),
        vote: keys.vote,
    });
    ValidatorSet::new(validators.collect(), &lineup.ranking)
        .map_err(|cause| AgreementError::BadValidators { number, cause })
}

/// A validator's secrets, wherever they lie.
pub trait SessionSigner: Send + Sync {
    /// Signs with a vote key; `None` when it is not held.
    fn sign(&self, key: &ed25519::Public, message: &[u8]) -> Option<ed25519::Signature>;

    /// Evaluates the beacon with a key; `None` when it is not held.
    fn prove(&self, key: &sr25519::Public, before: &Hash, height: u32) -> Option<BeaconProof>;

    /// Returns whether a vote key is held.
    fn holds(&self, key: &ed25519::Public) -> bool {
        // What is signed here is neither vote nor seal, and leaves nowhere.
        self.sign(key, &[]).is_some()
    }
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

/// The validators that the chain names for each height, one or many: more than two thirds of them make a block final.
/// Which of their keys this node holds, if any, is looked at anew for each height.
pub struct Validators {
    signer: Option<Arc<dyn SessionSigner>>,
}

impl Validators {
    /// Creates the agreement on the node of a chain's only validator. `validator` is what the chain knows of it now; a
    /// later height may need other keys that `signer` holds.
    ///
    /// # Errors
    /// The secret of one of its keys is not held.
    pub fn new(
        validator: &Validator<AccountId>,
        signer: impl SessionSigner + 'static,
    ) -> Result<Self, AgreementError> {
        let agreement = Self::holding(Arc::new(signer));
        agreement.verify_keys(validator)?;
        Ok(agreement)
    }

    /// Creates the agreement on a node that holds keys of validators.
    pub fn holding(signer: Arc<dyn SessionSigner>) -> Self {
        Self {
            signer: Some(signer),
        }
    }

    /// Creates the same agreement for a node that checks what validators made, and makes nothing itself.
    pub fn follower() -> Self {
        Self { signer: None }
    }

    /// Checks that the secrets of both of a validator's keys are held.
    ///
    /// # Errors
    /// Which one is not.
    pub fn verify_keys(&self, validator: &Validator<AccountId>) -> Result<(), AgreementError> {
        let Validator { account, keys } = validator;
        let signer = self.signer.as_ref();
        if !signer.is_some_and(|signer| signer.holds(&keys.vote)) {
            return Err(missing_vote(account, keys));
        }
        signer
            .and_then(|signer| signer.prove(&keys.beacon, &Hash::zero(), 0))
            .map(drop)
            .ok_or_else(|| missing_beacon(account, keys))
    }

    /// Signs; who claimed nothing has nothing to sign with.
    fn sign(
        &self,
        validator: &Validator<AccountId>,
        message: &[u8],
    ) -> Result<ed25519::Signature, AgreementError> {
        self.signer
            .as_ref()
            .and_then(|signer| signer.sign(&validator.keys.vote, message))
            .ok_or_else(|| missing_vote(&validator.account, &validator.keys))
    }
}

/// Returns what is known of a validator of a height.
fn find<'a>(lineup: &'a Lineup, account: &AccountId) -> Option<&'a Validator<AccountId>> {
    let mut validators = lineup.validators.iter();
    validators.find(|validator| validator.account == *account)
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

impl Agreement for Validators {
    fn claim(
        &self,
        step: Step,
        rank: u32,
        punctuality: Punctuality,
        lineup: &Lineup,
    ) -> Result<Option<StepDigest>, AgreementError> {
        let ranked = usize::try_from(rank).ok();
        let author = ranked.and_then(|rank| lineup.ranking.get(rank));
        let (Some(signer), Some(author), Some(winner)) =
            (&self.signer, author, lineup.ranking.first())
        else {
            return Ok(None);
        };
        let Validator { account, keys } =
            find(lineup, author).ok_or_else(|| AgreementError::NotAValidator {
                number: step.0,
                author: author.clone(),
            })?;
        if lineup.validators.len() > 1 && !signer.holds(&keys.vote) {
            return Ok(None);
        }
        let beacon = signer
            .prove(&keys.beacon, &lineup.before, step.0)
            .ok_or_else(|| missing_beacon(account, keys))?;
        Ok(Some(StepDigest::V1 {
            author: account.clone(),
            author_rank: rank,
            winner: winner.clone(),
            beacon,
            punctuality,
        }))
    }

    fn seal(&self, header: &Header, lineup: &Lineup) -> Result<Vec<u8>, AgreementError> {
        let number = *header.number();
        let digest = StepDigest::find(header.digest()).ok_or(AgreementError::NoDigest(number))?;
        let author = digest.author();
        let validator = find(lineup, author).ok_or_else(|| AgreementError::NotAValidator {
            number,
            author: author.clone(),
        })?;
        Ok(self.sign(validator, header.hash().as_bytes())?.encode())
    }

    fn verify_author(
        &self,
        header: &Header,
        seal: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        let number = *header.number();
        let digest = StepDigest::find(header.digest()).ok_or(AgreementError::NoDigest(number))?;
        let keys = verify_claim(number, &digest, lineup)?;
        is_signed(&keys.vote, header.hash().as_bytes(), seal)
            .then_some(())
            .ok_or(AgreementError::BadSeal(number))
    }

    fn certify(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        lineup: &Lineup,
    ) -> Result<Vec<u8>, AgreementError> {
        let [validator] = lineup.validators.as_slice() else {
            return Err(AgreementError::SeveralValidators(lineup.validators.len()));
        };
        let vote = Vote {
            height: number,
            round: 0,
            kind: VoteKind::Precommit,
            block: Some(*hash),
            validator: validator.account.clone(),
        };
        let signature = self.sign(validator, &vote.payload(genesis))?;
        let certificate = Certificate {
            height: number,
            round: vote.round,
            block: *hash,
            signatures: vec![ValidatorSignature {
                validator: vote.validator,
                signature,
            }],
        };
        Ok(certificate.encode())
    }

    fn verify_certificate(
        &self,
        genesis: &Hash,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
        lineup: &Lineup,
    ) -> Result<(), AgreementError> {
        let certificate = Certificate::decode_all(&mut &certificate[..])
            .map_err(|_| AgreementError::NoCertificate(number))?;
        let set = validator_set(number, lineup)?;
        verify_certificate(&set, genesis, number, hash, &certificate)
            .map_err(|cause| AgreementError::BadCertificate { number, cause })
    }
}
