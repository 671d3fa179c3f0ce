//! The randomness beacon: a chain of verifiable random outputs, one for each block (PROTOCOL 6).
//!
//! `S_h = BLAKE2b-256("commonwatt/beacon/1" ‖ S_{h-1} ‖ vrf_h)`, where `vrf_h` is what the author of block
//! `h` gets from its beacon key for `(S_{h-1}, h)`. The author has no choice: there is exactly one output
//! for a key and an input, and the proof in the header shows that it is this one.
//!
//! The function is that of BABE, `schnorrkel`'s, through `sp-core`.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_core::{
    crypto::VrfPublic,
    sr25519::{
        Public,
        vrf::{VrfPreOutput, VrfProof, VrfSignData, VrfSignature, VrfTranscript},
    },
};
use sp_runtime::traits::{BlakeTwo256, Hash as _};

use crate::{BlockNumber, Hash, time::Step};

/// Prefix of what is hashed into the next seed.
pub const SEED_DOMAIN: &[u8] = b"commonwatt/beacon/1";
/// Label of the transcript of which the function is evaluated.
const VRF_LABEL: &[u8] = b"commonwatt/vrf/1";
/// Context in which the output's bytes are made.
const OUTPUT_CONTEXT: &[u8] = b"commonwatt/vrf-output/1";

/// What an author puts into the header of its block to advance the beacon.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct BeaconProof {
    /// The point from which the output's bytes are made; unique for key and input.
    pub pre_output: [u8; 32],
    /// Proof that the point belongs to the key and the input.
    pub proof: [u8; 64],
}

/// Output of the function: `vrf_h`.
pub type BeaconOutput = [u8; 32];

/// Checks beacon proofs.
pub trait VerifyBeacon {
    /// Returns `vrf_h` of block `height`, or `None` when the proof is not that of `key` for the seed
    /// `before` and this height.
    fn verify(
        key: &Public,
        before: &Hash,
        height: BlockNumber,
        proof: &BeaconProof,
    ) -> Option<BeaconOutput>;
}

/// The verification every real chain uses.
pub struct Schnorrkel;

impl VerifyBeacon for Schnorrkel {
    fn verify(
        key: &Public,
        before: &Hash,
        height: BlockNumber,
        proof: &BeaconProof,
    ) -> Option<BeaconOutput> {
        let signature = VrfSignature {
            pre_output: VrfPreOutput::decode(&mut proof.pre_output.as_slice()).ok()?,
            proof: VrfProof::decode(&mut proof.proof.as_slice()).ok()?,
        };
        let input = compute_input(before, height);
        let data = VrfSignData::new(input.clone());
        if !key.vrf_verify(&data, &signature) {
            return None;
        }
        key.make_bytes(OUTPUT_CONTEXT, &input, &signature.pre_output)
            .ok()
    }
}

/// Returns the next seed: `S_h` from `S_{h-1}` and `vrf_h`.
pub fn compute_seed(before: &Hash, output: &BeaconOutput) -> Hash {
    BlakeTwo256::hash(&[SEED_DOMAIN, before.as_bytes(), output].concat())
}

/// Evaluates the function for block `height` with an author's beacon key.
///
/// As `sp-core` does, but that the proof's nonce follows from key and input alone, as in ed25519: the same
/// blocks made again are the same to the last byte, since headers hold proofs.
#[cfg(feature = "std")]
pub fn prove(pair: &sp_core::sr25519::Pair, before: &Hash, height: BlockNumber) -> BeaconProof {
    use schnorrkel::{Keypair, context::attach_rng};

    let keypair: &Keypair = pair.as_ref();
    let evaluated = keypair.vrf_create_hash(compute_input(before, height).0);
    // What `sp-core` takes for the proof when nothing is signed beside the input.
    let proven = attach_rng(VrfTranscript::new(b"VRF", &[]).0, NoRandomness);
    let (proof, _) = keypair.dleq_proove(proven, &evaluated, true);
    BeaconProof {
        pre_output: evaluated.to_preout().to_bytes(),
        proof: proof.to_bytes(),
    }
}

/// Adds nothing to a nonce that the secret key and the input determine already.
#[cfg(feature = "std")]
struct NoRandomness;

#[cfg(feature = "std")]
impl rand_core::RngCore for NoRandomness {
    fn next_u32(&mut self) -> u32 {
        0
    }

    fn next_u64(&mut self) -> u64 {
        0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

/// Only where the caller's secret makes the nonce unpredictable.
#[cfg(feature = "std")]
impl rand_core::CryptoRng for NoRandomness {}

fn compute_input(before: &Hash, height: BlockNumber) -> VrfTranscript {
    VrfTranscript::new(
        VRF_LABEL,
        &[
            (b"seed", before.as_bytes()),
            (b"height", &height.to_le_bytes()),
        ],
    )
}

/// The seeds of past blocks. Answered by `pallet-miner-auction`.
pub trait Beacon {
    /// Returns `S_h` of block `height`; `None` when it is not yet made, or no longer kept.
    ///
    /// While block `h` is executed, `S_h` is there already. What must not depend on the author of `h`
    /// asks for `S_{h-1}`.
    fn seed_of(height: Step) -> Option<Hash>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::{Pair as _, sr25519::Pair};

    fn pair(seed: u8) -> Pair {
        Pair::from_seed(&[seed; 32])
    }

    #[test]
    fn a_proof_made_again_is_the_same() {
        let before = Hash::repeat_byte(7);
        let one = prove(&pair(1), &before, 5);
        assert_eq!(one, prove(&pair(1), &before, 5));
        assert_ne!(one.proof, prove(&pair(1), &before, 6).proof);
        assert_ne!(one.proof, prove(&pair(2), &before, 5).proof);
    }

    #[test]
    fn an_output_is_unique_though_proofs_are_not() {
        use sp_core::crypto::VrfSecret;
        let before = Hash::repeat_byte(7);
        // With randomness in its nonce.
        let signature = pair(1).vrf_sign(&VrfSignData::new(compute_input(&before, 5)));
        let other = BeaconProof {
            pre_output: signature.pre_output.0.to_bytes(),
            proof: signature.proof.0.to_bytes(),
        };
        let one = prove(&pair(1), &before, 5);
        assert_ne!(one.proof, other.proof);
        let key = pair(1).public();
        let output = Schnorrkel::verify(&key, &before, 5, &one);
        assert!(output.is_some());
        assert_eq!(output, Schnorrkel::verify(&key, &before, 5, &other));
        assert_eq!(one.pre_output, other.pre_output);
    }

    #[test]
    fn a_proof_of_another_key_seed_or_height_is_forged() {
        let before = Hash::repeat_byte(7);
        let proof = prove(&pair(1), &before, 5);
        let key = pair(1).public();
        assert_eq!(
            Schnorrkel::verify(&pair(2).public(), &before, 5, &proof),
            None
        );
        assert_eq!(
            Schnorrkel::verify(&key, &Hash::repeat_byte(8), 5, &proof),
            None
        );
        assert_eq!(Schnorrkel::verify(&key, &before, 6, &proof), None);
        let changed = BeaconProof {
            pre_output: prove(&pair(1), &before, 6).pre_output,
            ..proof
        };
        assert_eq!(Schnorrkel::verify(&key, &before, 5, &changed), None);
        let rubbish = BeaconProof {
            pre_output: [255; 32],
            proof: [255; 64],
        };
        assert_eq!(Schnorrkel::verify(&key, &before, 5, &rubbish), None);
    }

    #[test]
    fn a_seed_is_the_hash_of_domain_former_seed_and_output() {
        // From Python: blake2b(b"commonwatt/beacon/1" + b"\x01" * 32 + b"\x02" * 32, digest_size=32).
        assert_eq!(
            compute_seed(&Hash::repeat_byte(1), &[2; 32]),
            Hash::from([
                0x98, 0x1d, 0x70, 0x6d, 0x45, 0xfc, 0x22, 0x2c, 0x8d, 0x7e, 0x02, 0xdf, 0x78, 0x8c,
                0xd0, 0x53, 0xd2, 0x81, 0x28, 0x2e, 0x49, 0x86, 0x91, 0xf2, 0xcc, 0xd8, 0x54, 0xd9,
                0xb8, 0x10, 0xdf, 0xc7,
            ])
        );
    }
}
