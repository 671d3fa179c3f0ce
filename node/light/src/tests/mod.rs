//! Chains made of headers alone, by validators whose keys are known.

mod following;
mod ledger;
mod real;
mod rules;

use codec::Encode;
use commonwatt_chain::{LightBlock, SetProof, closes_epoch};
use commonwatt_consensus::{Certificate, ValidatorSignature, Vote, VoteKind};
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
use sp_runtime::{DigestItem, StateVersion, traits::BlakeTwo256, traits::Header as _};
use sp_state_machine::{Backend, InMemoryBackend, prove_read};

use crate::{Genesis, Tip, verify_next};

/// A validator with its secrets.
#[derive(Clone)]
struct Person {
    account: AccountId,
    vote: ed25519::Pair,
    beacon: sr25519::Pair,
}

fn person(seed: u8) -> Person {
    Person {
        account: AccountId::new([seed; 32]),
        vote: ed25519::Pair::from_seed(&[seed; 32]),
        beacon: sr25519::Pair::from_seed(&[seed; 32]),
    }
}

fn people(seeds: impl IntoIterator<Item = u8>) -> Vec<Person> {
    seeds.into_iter().map(person).collect()
}

fn validators(people: &[Person]) -> Vec<Validator<AccountId>> {
    let validator = |person: &Person| Validator {
        account: person.account.clone(),
        keys: SessionKeys {
            vote: person.vote.public(),
            beacon: person.beacon.public(),
        },
    };
    people.iter().map(validator).collect()
}

/// A state that says who validates in the epoch after a block; its root, and the proof.
fn state_with(number: u32, code: &[u8], next: &[Person]) -> (Hash, SetProof) {
    let epoch = (number + 1) / EPOCH_LENGTH;
    let keys = [CODE.to_vec(), Sets::<Runtime>::hashed_key_for(epoch)];
    let mut storage = Storage::default();
    storage.top.insert(keys[0].clone(), code.to_vec());
    storage
        .top
        .insert(keys[1].clone(), validators(next).encode());
    for filler in 0..200u8 {
        storage.top.insert(vec![filler; 40], vec![filler; 60]);
    }
    let backend = InMemoryBackend::<BlakeTwo256>::from((storage, StateVersion::V1));
    let root = backend.storage_root(std::iter::empty(), StateVersion::V1).0;
    let proof = prove_read(backend, keys).unwrap();
    (root, SetProof(proof.into_nodes().into_iter().collect()))
}

/// How a block is made. What a test does not name is as it should be.
struct Making<'a> {
    author: &'a Person,
    rank: u32,
    winner: &'a Person,
    state_root: Hash,
    parent: Hash,
    seed: Hash,
    punctuality: Punctuality,
}

/// A chain of headers while it grows.
#[derive(Clone)]
struct Village {
    genesis: Genesis,
    tip: Tip,
    /// Who validates the next block.
    people: Vec<Person>,
}

impl Village {
    fn of(people: Vec<Person>) -> Self {
        let header = Header::new(
            0,
            Hash::repeat_byte(1),
            Hash::repeat_byte(2),
            Hash::zero(),
            Default::default(),
        );
        let tip = Tip {
            number: 0,
            hash: header.hash(),
            seed: Hash::repeat_byte(3),
            validators: validators(&people),
        };
        Self {
            genesis: Genesis {
                header,
                tip: tip.clone(),
            },
            tip,
            people,
        }
    }

    fn four() -> Self {
        Self::of(people(1..=4))
    }

    fn next_number(&self) -> u32 {
        self.tip.number + 1
    }

    fn making(&self) -> Making<'_> {
        let author = &self.people[usize::try_from(self.tip.number).unwrap() % self.people.len()];
        Making {
            author,
            rank: 0,
            winner: author,
            state_root: Hash::repeat_byte(9),
            parent: self.tip.hash,
            seed: self.tip.seed,
            punctuality: Punctuality::OnTime,
        }
    }

    fn header(&self, making: &Making<'_>) -> Header {
        let number = self.next_number();
        let digest = StepDigest::V1 {
            author: making.author.account.clone(),
            author_rank: making.rank,
            winner: making.winner.account.clone(),
            beacon: prove(&making.author.beacon, &making.seed, number),
            punctuality: making.punctuality,
        };
        let mut header = Header::new(
            number,
            Hash::repeat_byte(8),
            making.state_root,
            making.parent,
            Default::default(),
        );
        for item in digest.to_items() {
            header.digest_mut().push(item);
        }
        let seal = making.author.vote.sign(header.hash().as_bytes());
        header
            .digest_mut()
            .push(DigestItem::Seal(ENGINE_ID, seal.encode()));
        header
    }

    /// Returns the certificate of a header by these people.
    fn certificate(&self, header: &Header, signers: &[Person]) -> Certificate {
        certificate_of(&self.genesis.hash(), header, signers)
    }

    /// Returns a header with the certificate of three of four, or as many as it takes.
    fn certified(&self, header: &Header) -> LightBlock {
        let quorum = self.people.len() * 2 / 3 + 1;
        LightBlock {
            header: header.encode(),
            certificate: self.certificate(header, &self.people[..quorum]),
            next_set: None,
        }
    }

    /// Makes the next block; after the last of an epoch `next` validate, if others than before.
    fn make(&mut self, next: Option<Vec<Person>>) -> LightBlock {
        let number = self.next_number();
        let mut making = self.making();
        let mut proof = None;
        let next = next.unwrap_or_else(|| self.people.clone());
        if closes_epoch(number) {
            let (root, shown) = state_with(number, &code_marker(), &next);
            making.state_root = root;
            proof = Some(shown);
        }
        let mut block = self.certified(&self.header(&making));
        block.next_set = proof;
        self.tip = verify_next(&self.tip, &self.genesis.hash(), &block)
            .expect("made by the rules")
            .0;
        if closes_epoch(number) {
            self.people = next;
        }
        block
    }

    /// Makes blocks up to a height.
    fn make_to(&mut self, number: u32) -> Vec<LightBlock> {
        (self.next_number()..=number)
            .map(|_| self.make(None))
            .collect()
    }
}

fn certificate_of(genesis: &Hash, header: &Header, signers: &[Person]) -> Certificate {
    let hash = header.hash();
    let mut signatures: Vec<_> = signers
        .iter()
        .map(|signer| {
            let vote = Vote {
                height: header.number,
                round: 0,
                kind: VoteKind::Precommit,
                block: Some(hash),
                validator: signer.account.clone(),
            };
            ValidatorSignature {
                validator: vote.validator.clone(),
                signature: signer.vote.sign(&vote.payload(genesis)),
            }
        })
        .collect();
    signatures.sort_by(|one, other| one.validator.cmp(&other.validator));
    Certificate {
        height: header.number,
        round: 0,
        block: hash,
        signatures,
    }
}
