//! Signatures that are verified once.
//!
//! A transaction's signature is looked at when it enters the pool, when a block is built and when a block
//! is executed. The bytes do not change in between, so neither does the answer: a node remembers which
//! signatures it found good, and may verify those of a whole block ahead, on all cores. What is remembered is
//! the hash of signer, signature and message together; a signature that is not remembered is verified here
//! and now, so the answer never depends on the memory.

use std::{cell::RefCell, sync::Arc};

use blake2::{Blake2b, Digest, digest::consts::U32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use hashbrown::HashSet;
use parking_lot::RwLock;
use scale_info::TypeInfo;
use sp_runtime::{
    MultiSignature, MultiSigner,
    traits::{Lazy, Verify},
};

use crate::AccountId;

/// A [`MultiSignature`], in encoding and to every client, that is verified once on each node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen)]
pub struct Signature(pub MultiSignature);

impl TypeInfo for Signature {
    type Identity = <MultiSignature as TypeInfo>::Identity;

    fn type_info() -> scale_info::Type {
        MultiSignature::type_info()
    }
}

impl From<MultiSignature> for Signature {
    fn from(signature: MultiSignature) -> Self {
        Self(signature)
    }
}

impl Verify for Signature {
    type Signer = MultiSigner;

    fn verify<L: Lazy<[u8]>>(&self, mut message: L, signer: &AccountId) -> bool {
        let memory = REMEMBERED.with_borrow(Clone::clone);
        let Some(memory) = memory else {
            return self.0.verify(message, signer);
        };
        let fingerprint = fingerprint(&self.0, message.get(), signer);
        if memory.contains(&fingerprint) {
            return true;
        }
        let is_good = self.0.verify(message.get(), signer);
        if is_good {
            memory.insert(fingerprint);
        }
        is_good
    }
}

thread_local! {
    static REMEMBERED: RefCell<Option<Arc<VerifiedSignatures>>> = const { RefCell::new(None) };
}

/// Identifies a signature by a signer under a message.
pub type Fingerprint = [u8; 32];

/// Returns the fingerprint of a signature; only equal triples share one.
pub fn fingerprint(signature: &MultiSignature, message: &[u8], signer: &AccountId) -> Fingerprint {
    let mut hasher = Blake2b::<U32>::new();
    hasher.update(AsRef::<[u8]>::as_ref(signer));
    // Self-delimiting, so what follows is the message and nothing else.
    signature.using_encoded(|bytes| hasher.update(bytes));
    hasher.update(message);
    hasher.finalize().into()
}

/// Signatures that were found good, the most recent ones.
pub struct VerifiedSignatures {
    generations: RwLock<Generations>,
    generation_max: usize,
}

#[derive(Default)]
struct Generations {
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl VerifiedSignatures {
    /// Creates a memory of at most `2 · generation_max` signatures.
    pub fn new(generation_max: usize) -> Self {
        Self {
            generations: RwLock::default(),
            generation_max,
        }
    }

    /// Returns whether a signature was found good before.
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        let generations = self.generations.read();
        generations.young.contains(fingerprint) || generations.old.contains(fingerprint)
    }

    /// Remembers a signature that was found good, and forgets the older half when there are too many.
    pub fn insert(&self, fingerprint: Fingerprint) {
        let mut generations = self.generations.write();
        if generations.young.len() >= self.generation_max {
            generations.old = core::mem::take(&mut generations.young);
        }
        generations.young.insert(fingerprint);
    }

    /// Runs `task` on this thread with signatures looked up and remembered here.
    pub fn scope<Output>(self: &Arc<Self>, task: impl FnOnce() -> Output) -> Output {
        struct Restore(Option<Arc<VerifiedSignatures>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                REMEMBERED.set(self.0.take());
            }
        }
        let _restore = Restore(REMEMBERED.replace(Some(self.clone())));
        task()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::{Pair, ed25519};

    fn signed(message: &[u8]) -> (Signature, AccountId) {
        let pair = ed25519::Pair::from_seed(&[7; 32]);
        (
            Signature(pair.sign(message).into()),
            AccountId::new(pair.public().0),
        )
    }

    #[test]
    fn clients_see_a_multi_signature() {
        let (signature, _) = signed(b"message");
        assert_eq!(signature.encode(), signature.0.encode());
        assert_eq!(
            scale_info::MetaType::new::<Signature>(),
            scale_info::MetaType::new::<MultiSignature>()
        );
    }

    #[test]
    fn a_good_signature_is_remembered_for_its_message_and_signer_only() {
        let memory = Arc::new(VerifiedSignatures::new(10));
        let (signature, signer) = signed(b"message");
        assert!(memory.scope(|| signature.verify(&b"message"[..], &signer)));
        assert!(memory.contains(&fingerprint(&signature.0, b"message", &signer)));
        assert!(!memory.scope(|| signature.verify(&b"massage"[..], &signer)));
        assert!(!memory.scope(|| signature.verify(&b"message"[..], &AccountId::new([1; 32]))));
    }

    #[test]
    fn a_bad_signature_is_never_remembered() {
        let memory = Arc::new(VerifiedSignatures::new(10));
        let (signature, signer) = signed(b"other");
        assert!(!memory.scope(|| signature.verify(&b"message"[..], &signer)));
        assert!(!memory.contains(&fingerprint(&signature.0, b"message", &signer)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = VerifiedSignatures::new(4);
        for number in 0..100u8 {
            memory.insert([number; 32]);
        }
        let kept = (0..100u8)
            .filter(|&number| memory.contains(&[number; 32]))
            .count();
        assert!((4..=8).contains(&kept), "{kept}");
        assert!(memory.contains(&[99; 32]));
    }
}
