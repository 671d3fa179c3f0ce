//! What the next block is checked against.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_executor::Executor;
use commonwatt_primitives::{AccountId, Step, auction::Validator};
use commonwatt_runtime::{Hash, Header, Runtime};
use pallet_miner_auction::{Seeds, Sets};
use sp_core::storage::Storage;

/// A verified block, with all that its child is checked against.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tip {
    /// Its number.
    pub number: u32,
    /// Its hash.
    pub hash: Hash,
    /// `S` of its height: what its child's author evaluates the beacon on.
    pub seed: Hash,
    /// Who validates its child.
    pub validators: Vec<Validator<AccountId>>,
}

/// Where everything begins: block 0, from the chain spec alone.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// Its header.
    pub header: Header,
    /// The first tip.
    pub tip: Tip,
}

/// Why a chain spec says no beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Nobody could make a block.
    #[error("the chain spec's genesis names no validators: nobody could make a block")]
    NoValidators,
    /// The beacon has no beginning.
    #[error("the chain spec's genesis has no seed of the beacon")]
    NoSeed,
}

impl Genesis {
    /// Reads the beginning of a chain from the state that its spec describes.
    ///
    /// # Errors
    /// The state lacks what every block is checked against.
    pub fn of(storage: Storage) -> Result<Self, GenesisError> {
        let get = |key: &[u8]| storage.top.get(key).map(Vec::as_slice);
        let validators = get(&Sets::<Runtime>::hashed_key_for(0))
            .and_then(|mut set| Vec::<Validator<AccountId>>::decode_all(&mut set).ok())
            .filter(|set| !set.is_empty())
            .ok_or(GenesisError::NoValidators)?;
        let seed = get(&Seeds::<Runtime>::hashed_key_for(Step(0)))
            .and_then(|mut seed| Hash::decode_all(&mut seed).ok())
            .ok_or(GenesisError::NoSeed)?;
        let header = Executor::build_genesis(storage).header;
        let tip = Tip {
            number: 0,
            hash: header.hash(),
            seed,
            validators,
        };
        Ok(Self { header, tip })
    }

    /// Returns the hash of block 0, which names the chain.
    pub fn hash(&self) -> Hash {
        self.tip.hash
    }
}
