//! What light nodes are given: headers, certificates, and proofs of who validates next.

use std::sync::LazyLock;

use codec::{DecodeAll, Encode};
use commonwatt_chain::{LightBlock, SetProof, closes_epoch};
use commonwatt_consensus::{Certificate, ValidatorSignature, Vote, VoteKind};
use commonwatt_light::{Tip, verify_next, verify_same};
use commonwatt_primitives::{
    AccountId,
    auction::Validator,
    beacon::prove,
    digest::{ENGINE_ID, Punctuality, StepDigest},
    keys::SessionKeys,
};
use commonwatt_runtime::{Hash, Header, Runtime, code_marker, configs::EPOCH_LENGTH};
use pallet_miner_auction::Sets;
use sp_core::{
    Pair, ed25519, sr25519,
    storage::{Storage, well_known_keys::CODE},
};
use sp_runtime::{
    DigestItem, StateVersion,
    traits::{BlakeTwo256, Hash as _, Header as _},
};
use sp_state_machine::{Backend, InMemoryBackend, prove_read};

/// What is done with a block before it is verified, by the bits of the input's first byte.
pub mod mend {
    /// Its height and parent are made the ones that come next.
    pub const PLACE: u8 = 1;
    /// It is sealed by its author and certified by the validators.
    pub const SIGNATURES: u8 = 2;
    /// Its state root is made that of the first node of its proof.
    pub const ROOT: u8 = 4;
    /// It comes as the last block of an epoch.
    pub const EPOCH: u8 = 8;
}

/// Names the chain.
const GENESIS: Hash = Hash::repeat_byte(1);
/// The last tip but one of the first epoch: what comes next closes it.
const EPOCH_TIP: u32 = EPOCH_LENGTH - 2;

/// The chain's only validator.
struct Author {
    vote: ed25519::Pair,
    beacon: sr25519::Pair,
}

fn author() -> &'static Author {
    static AUTHOR: LazyLock<Author> = LazyLock::new(|| Author {
        vote: ed25519::Pair::from_seed(&[1; 32]),
        beacon: sr25519::Pair::from_seed(&[1; 32]),
    });
    &AUTHOR
}

fn account() -> AccountId {
    AccountId::new([1; 32])
}

fn validators() -> Vec<Validator<AccountId>> {
    let keys = SessionKeys {
        vote: author().vote.public(),
        beacon: author().beacon.public(),
    };
    vec![Validator {
        account: account(),
        keys,
    }]
}

fn tip(flags: u8) -> Tip {
    Tip {
        number: if flags & mend::EPOCH == 0 {
            4
        } else {
            EPOCH_TIP
        },
        hash: Hash::repeat_byte(2),
        seed: Hash::repeat_byte(3),
        validators: validators(),
    }
}

fn certificate(number: u32, hash: Hash) -> Certificate {
    let vote = Vote {
        height: number,
        round: 0,
        kind: VoteKind::Precommit,
        block: Some(hash),
        validator: account(),
    };
    let signature = ValidatorSignature {
        validator: account(),
        signature: author().vote.sign(&vote.payload(&GENESIS)),
    };
    Certificate {
        height: number,
        round: 0,
        block: hash,
        signatures: vec![signature],
    }
}

/// Replaces a header's seal, or adds one.
fn seal(header: &mut Header) {
    let mut logs = header.digest_mut().logs.clone();
    if matches!(logs.last(), Some(DigestItem::Seal(..))) {
        logs.pop();
    }
    header.digest_mut().logs = logs;
    let seal = author().vote.sign(header.hash().as_bytes());
    header
        .digest_mut()
        .push(DigestItem::Seal(ENGINE_ID, seal.encode()));
}

/// Returns a block that follows the tip which these flags choose.
pub fn light_block(flags: u8) -> LightBlock {
    let tip = tip(flags);
    let number = tip.number + 1;
    let (state_root, next_set) = if closes_epoch(number) {
        let keys = [
            CODE.to_vec(),
            Sets::<Runtime>::hashed_key_for((number + 1) / EPOCH_LENGTH),
        ];
        let mut storage = Storage::default();
        storage.top.insert(keys[0].clone(), code_marker());
        storage.top.insert(keys[1].clone(), validators().encode());
        for filler in 0..50u8 {
            storage.top.insert(vec![filler; 40], vec![filler; 60]);
        }
        let backend = InMemoryBackend::<BlakeTwo256>::from((storage, StateVersion::V1));
        let root = backend.storage_root(std::iter::empty(), StateVersion::V1).0;
        let proof = prove_read(backend, keys).expect("a state in memory is readable");
        (
            root,
            Some(SetProof(proof.into_nodes().into_iter().collect())),
        )
    } else {
        (Hash::repeat_byte(9), None)
    };
    let digest = StepDigest::V1 {
        author: account(),
        author_rank: 0,
        winner: account(),
        beacon: prove(&author().beacon, &tip.seed, number),
        punctuality: Punctuality::OnTime,
    };
    let mut header = Header::new(
        number,
        Hash::repeat_byte(8),
        state_root,
        tip.hash,
        Default::default(),
    );
    for item in digest.to_items() {
        header.digest_mut().push(item);
    }
    seal(&mut header);
    LightBlock {
        certificate: certificate(number, header.hash()),
        header: header.encode(),
        next_set,
    }
}

/// A block as light nodes are given it; the input's first byte mends what would be refused at once, see [`mend`]. It has
/// one encoding, and what is verified follows the tip and leaves somebody to validate.
pub fn light(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else {
        return;
    };
    let Ok(mut block) = LightBlock::decode_bounded(bytes) else {
        return;
    };
    assert_eq!(block.encode(), bytes, "a light block has a second encoding");
    let tip = tip(*flags);
    let number = tip.number + 1;
    if let Ok(mut header) = Header::decode_all(&mut &block.header[..]) {
        if flags & mend::PLACE != 0 {
            header.set_number(number);
            header.set_parent_hash(tip.hash);
        }
        if flags & mend::ROOT != 0
            && let Some(node) = block.next_set.as_ref().and_then(|proof| proof.0.first())
        {
            header.set_state_root(BlakeTwo256::hash(node));
        }
        if flags & mend::SIGNATURES != 0 {
            seal(&mut header);
            block.certificate = certificate(header.number, header.hash());
        }
        block.header = header.encode();
    }
    match verify_next(&tip, &GENESIS, &block) {
        Ok((next, verified)) => {
            let header = Header::decode_all(&mut &block.header[..]).expect("it was verified");
            assert_eq!((next.number, next.hash), (number, header.hash()));
            assert_eq!((verified.number, verified.hash), (number, next.hash));
            assert_eq!(header.parent_hash, tip.hash, "it follows the tip");
            assert!(!next.validators.is_empty(), "nobody validates any more");
            assert_eq!(
                verify_same(number, &next.hash, &tip.validators, &GENESIS, &block),
                Ok(())
            );
        }
        Err(refused) => assert!(!refused.to_string().is_empty(), "refused without a word"),
    }
    // Somebody says that this is the block a tip was verified to be.
    let _ = verify_same(tip.number, &tip.hash, &tip.validators, &GENESIS, &block);
}
