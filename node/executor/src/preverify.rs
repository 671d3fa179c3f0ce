//! Verifying a block's signatures ahead, on all cores.
//!
//! The bytes that were signed are taken from the encoded extrinsic without decoding the call. Whatever does
//! not look like an ordinary signed transaction is left to the runtime, which verifies every signature it
//! does not find remembered; so this can be wrong only in speed.

use codec::{Compact, Decode, Encode};
use commonwatt_runtime::{
    AccountId, Address, Hash,
    signature::{Fingerprint, Signature, fingerprint},
    transaction,
};
use ed25519_zebra::{VerificationKeyBytes, batch};
use rayon::prelude::*;
use sp_runtime::{
    MultiSignature,
    generic::Era,
    traits::{BlakeTwo256, Hash as _, Verify},
};

use crate::Executor;

/// Signatures verified as one batch: half the work for each, against verifying them alone.
const BATCH: usize = 64;

/// Version byte of a signed extrinsic of format 4.
const SIGNED_V4: u8 = 0x84;

/// Payloads longer than this are signed by their hash (Substrate's rule).
const PAYLOAD_MAX: usize = 256;

struct Signed {
    signer: AccountId,
    signature: MultiSignature,
    message: Vec<u8>,
    fingerprint: Fingerprint,
}

impl Executor {
    /// Verifies the signatures of `extrinsics` on all cores and remembers the good ones.
    ///
    /// `era_hash` returns the hash of the block at which a mortal transaction's era began.
    pub fn preverify<Bytes: AsRef<[u8]> + Sync>(
        &self,
        extrinsics: &[Bytes],
        genesis_hash: Hash,
        next_number: u32,
        era_hash: impl Fn(u32) -> Option<Hash> + Sync,
    ) {
        extrinsics.par_chunks(BATCH).for_each(|chunk| {
            let unknown: Vec<_> = chunk
                .iter()
                .filter_map(|bytes| {
                    read_signed(bytes.as_ref(), genesis_hash, next_number, &era_hash)
                })
                .filter(|signed| !self.signatures.contains(&signed.fingerprint))
                .collect();
            for fingerprint in verify_all(&unknown) {
                self.signatures.insert(fingerprint);
            }
        });
    }
}

/// Takes apart an ordinary signed transaction.
fn read_signed(
    extrinsic: &[u8],
    genesis_hash: Hash,
    next_number: u32,
    era_hash: &impl Fn(u32) -> Option<Hash>,
) -> Option<Signed> {
    let mut input = extrinsic;
    let length = Compact::<u32>::decode(&mut input).ok()?;
    if usize::try_from(length.0).ok()? != input.len() || u8::decode(&mut input).ok()? != SIGNED_V4 {
        return None;
    }
    let Address::Id(signer) = Address::decode(&mut input).ok()? else {
        return None;
    };
    let Signature(signature) = Signature::decode(&mut input).ok()?;
    let extension_start = input;
    let era = Era::decode(&mut input).ok()?;
    let _nonce = Compact::<u32>::decode(&mut input).ok()?;
    let _tip = Compact::<u128>::decode(&mut input).ok()?;
    let extension = &extension_start[..extension_start.len() - input.len()];

    let birth_hash = match era {
        Era::Immortal => genesis_hash,
        era => era_hash(u32::try_from(era.birth(u64::from(next_number.checked_sub(1)?))).ok()?)?,
    };
    let implicit = transaction::implicit(genesis_hash, birth_hash);
    let mut message = [input, extension, &implicit.encode()].concat();
    if message.len() > PAYLOAD_MAX {
        message = BlakeTwo256::hash(&message).as_bytes().to_vec();
    }
    let fingerprint = fingerprint(&signature, &message, &signer);
    Some(Signed {
        signer,
        signature,
        message,
        fingerprint,
    })
}

/// Returns the fingerprints of the good signatures.
fn verify_all(signed: &[Signed]) -> Vec<Fingerprint> {
    let mut good = Vec::with_capacity(signed.len());
    let mut batch = batch::Verifier::new();
    let mut batched = Vec::with_capacity(signed.len());
    for item in signed {
        match &item.signature {
            MultiSignature::Ed25519(signature) => {
                let key: [u8; 32] = *item.signer.as_ref();
                let signature = ed25519_zebra::Signature::from(signature.0);
                batch.queue((VerificationKeyBytes::from(key), signature, &item.message));
                batched.push(item);
            }
            _ => good.extend(verify_one(item)),
        }
    }
    // ZIP 215 makes a batch agree with its single signatures, so a good batch is good one by one; the
    // randomness decides only how fast a bad one is noticed.
    if batch.verify(ed25519_rng()).is_ok() {
        good.extend(batched.into_iter().map(|item| item.fingerprint));
    } else {
        good.extend(batched.into_iter().filter_map(verify_one));
    }
    good
}

fn verify_one(item: &Signed) -> Option<Fingerprint> {
    item.signature
        .verify(&item.message[..], &item.signer)
        .then_some(item.fingerprint)
}

fn ed25519_rng() -> impl rand_core::RngCore + rand_core::CryptoRng {
    rand_core::OsRng
}
