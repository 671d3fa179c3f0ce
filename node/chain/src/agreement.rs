//! Who may make a block and when one counts: the interface, and the case of a single validator.

use codec::{DecodeAll, Encode};
use commonwatt_primitives::{
    AccountId, Step,
    digest::{ENGINE_ID, Punctuality, StepDigest},
    keys::SessionKeys,
};
use commonwatt_runtime::{Hash, Header};
use sp_core::{Pair, ed25519};
use sp_runtime::{DigestItem, traits::Header as _};

/// Who may make the block of a step, and what makes it final.
///
/// The chain asks before it builds and before it imports. An implementation may consult the state of the
/// parent, through what it was given when it was made, but never the clock.
pub trait Agreement: Send + Sync {
    /// Returns the digest of the block that this node may make for `step`; `None` when it may not.
    fn claim(&self, step: Step, punctuality: Punctuality) -> Option<StepDigest>;

    /// Signs a header; the signature becomes the header's last digest item.
    fn seal(&self, pre_seal_hash: &Hash) -> Vec<u8>;

    /// Checks that a header was made by its rightful author. `header` is without the seal.
    fn verify_author(&self, header: &Header, seal: &[u8]) -> Result<(), AgreementError>;

    /// Returns the proof that a block this node agreed to is final.
    fn certify(&self, number: u32, hash: &Hash) -> Vec<u8>;

    /// Checks the proof that a block is final.
    fn verify_certificate(
        &self,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
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
    /// Somebody else should have made it.
    #[error("block {number} was made by {actual}, but {expected} is its rightful author")]
    WrongAuthor {
        /// The block.
        number: u32,
        /// Who made it.
        actual: AccountId,
        /// Who should have.
        expected: AccountId,
    },
    /// The seal is not the author's signature.
    #[error("the seal of block {0} is not its author's signature")]
    BadSeal(u32),
    /// The certificate does not prove finality.
    #[error("the certificate of block {0} is not signed by its validator")]
    BadCertificate(u32),
    /// The key given is not the one the chain knows.
    #[error(
        "the vote key of {account} on chain is 0x{expected}, the keystore's is 0x{actual}: \
         use the key that was registered, or have the DSO register the new one"
    )]
    WrongKey {
        /// The validator.
        account: AccountId,
        /// The key on chain, in hexadecimal digits.
        expected: String,
        /// The key at hand.
        actual: String,
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

/// One validator makes every block, and its word is final.
pub struct SingleValidator {
    account: AccountId,
    vote: ed25519::Public,
    /// Holds the secret, on the validator's own node.
    signer: Option<VoteSigner>,
}

/// Signs with a vote key, wherever that lies.
pub type VoteSigner = Box<dyn Fn(&[u8]) -> ed25519::Signature + Send + Sync>;

/// What is signed to make a block final: domain, height and hash.
fn certificate_payload(number: u32, hash: &Hash) -> Vec<u8> {
    (b"commonwatt/certificate/1", number, hash).encode()
}

impl SingleValidator {
    /// Creates the agreement of a chain whose only validator is `account` with `keys` on chain.
    pub fn new(
        account: AccountId,
        keys: &SessionKeys,
        vote: ed25519::Pair,
    ) -> Result<Self, AgreementError> {
        let public = vote.public();
        let signer = Box::new(move |message: &[u8]| vote.sign(message));
        Self::with_signer(account, keys, public, signer)
    }

    /// The same with a key that is kept elsewhere; `vote` is its public half.
    pub fn with_signer(
        account: AccountId,
        keys: &SessionKeys,
        vote: ed25519::Public,
        signer: VoteSigner,
    ) -> Result<Self, AgreementError> {
        if vote != keys.vote {
            return Err(AgreementError::WrongKey {
                account,
                expected: hexadecimal(&keys.vote.0),
                actual: hexadecimal(&vote.0),
            });
        }
        Ok(Self {
            account,
            vote,
            signer: Some(signer),
        })
    }

    /// Creates the same agreement for a node that checks what the validator made, and makes nothing itself.
    pub fn follower(account: AccountId, keys: &SessionKeys) -> Self {
        Self {
            account,
            vote: keys.vote,
            signer: None,
        }
    }

    /// Signs; a follower, which never claims a block, has nothing to sign with.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer
            .as_ref()
            .map(|sign| sign(message).encode())
            .unwrap_or_default()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Agreement for SingleValidator {
    fn claim(&self, _: Step, punctuality: Punctuality) -> Option<StepDigest> {
        self.signer.as_ref()?;
        Some(StepDigest::V1 {
            author: self.account.clone(),
            author_rank: 0,
            winner: self.account.clone(),
            punctuality,
        })
    }

    fn seal(&self, pre_seal_hash: &Hash) -> Vec<u8> {
        self.sign(pre_seal_hash.as_bytes())
    }

    fn verify_author(&self, header: &Header, seal: &[u8]) -> Result<(), AgreementError> {
        let number = *header.number();
        let digest = StepDigest::find(header.digest()).ok_or(AgreementError::NoDigest(number))?;
        let StepDigest::V1 {
            author,
            author_rank,
            winner,
            ..
        } = &digest;
        if author != &self.account || winner != &self.account || *author_rank != 0 {
            return Err(AgreementError::WrongAuthor {
                number,
                actual: author.clone(),
                expected: self.account.clone(),
            });
        }
        let signature = ed25519::Signature::decode_all(&mut &seal[..])
            .map_err(|_| AgreementError::BadSeal(number))?;
        let is_good = ed25519::Pair::verify(&signature, header.hash(), &self.vote);
        is_good.then_some(()).ok_or(AgreementError::BadSeal(number))
    }

    fn certify(&self, number: u32, hash: &Hash) -> Vec<u8> {
        self.sign(&certificate_payload(number, hash))
    }

    fn verify_certificate(
        &self,
        number: u32,
        hash: &Hash,
        certificate: &[u8],
    ) -> Result<(), AgreementError> {
        let signature = ed25519::Signature::decode_all(&mut &certificate[..])
            .map_err(|_| AgreementError::BadCertificate(number))?;
        let payload = certificate_payload(number, hash);
        let is_good = ed25519::Pair::verify(&signature, payload, &self.vote);
        is_good
            .then_some(())
            .ok_or(AgreementError::BadCertificate(number))
    }
}
