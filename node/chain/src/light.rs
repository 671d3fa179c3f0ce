//! What light nodes are given: headers, certificates, and who validates next.
//!
//! Who validates in an epoch stands in the state after the last block of the epoch before. A light node has no state, so
//! it is given the part of that state's trie which shows it, and checks that part against the root in a header that it
//! has verified. States go after a while; so every node keeps these parts, one an epoch, from when their blocks come.

use codec::{DecodeAll, Encode};
use commonwatt_consensus::{Certificate, limits::HEADER_BYTES_MAX};
use commonwatt_primitives::{AccountId, auction::Validator};
use commonwatt_runtime::{Hash, Header, Runtime, code_marker, configs::EPOCH_LENGTH};
use commonwatt_storage::{State, StorageError};
use pallet_miner_auction::Sets;
use sp_core::storage::well_known_keys::CODE;
use sp_runtime::traits::{BlakeTwo256, Header as _};
use sp_trie::StorageProof;

use crate::{Chain, ChainError};

/// Bytes of a proof of a set: 100 validators take 9 600, the ways to two keys in a large trie some thousand each.
pub const SET_PROOF_BYTES_MAX: usize = 64 * 1024;

/// Trie nodes of a proof of a set: two ways, each some ten nodes long in the largest of tries.
pub const SET_PROOF_NODES_MAX: usize = 64;

/// Signatures of a certificate that is decoded.
const SIGNATURES_MAX: usize = commonwatt_consensus::limits::VALIDATORS_MAX;

/// Returns whether a block is the last of its epoch, so that others may validate after it.
pub const fn closes_epoch(number: u32) -> bool {
    number % EPOCH_LENGTH == EPOCH_LENGTH - 1
}

/// Shows who validates in the epoch after a block, and by which runtime, to whoever knows the block's state root.
#[derive(Clone, Debug, PartialEq, Eq, codec::Encode, codec::Decode)]
pub struct SetProof(pub Vec<Vec<u8>>);

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetProofError {
    /// More than such a proof takes.
    #[error("it has {bytes} bytes in {nodes} trie nodes, above what a proof of a set takes")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// Its nodes.
        nodes: usize,
    },
    /// It is not part of the state with this root, or not all that is needed of it.
    #[error("it does not fit the state root {root:?} of the block: {cause}")]
    OtherState {
        /// The root.
        root: Hash,
        /// What did not fit.
        cause: String,
    },
    /// The state was made by a runtime this program does not know, so it cannot say where sets stand in it.
    #[error(
        "the chain runs {found:?} from here on, this program knows {known:?}: install the version of commonwatt that knows it"
    )]
    UnknownRuntime {
        /// The marker in the state.
        found: String,
        /// The marker of this program.
        known: String,
    },
    /// The state has no set where one must be.
    #[error("the state names no validators for epoch {0}")]
    NoSet(u32),
}

/// Returns what a proof after block `number` is about: the runtime's marker, and the set of the next epoch.
fn proven_keys(number: u32) -> (u32, [Vec<u8>; 2]) {
    let epoch = number.saturating_add(1) / EPOCH_LENGTH;
    (
        epoch,
        [CODE.to_vec(), Sets::<Runtime>::hashed_key_for(epoch)],
    )
}

impl SetProof {
    /// Makes the proof of who validates after block `number`, from the state after it.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn make(state: &State, number: u32) -> Result<Self, String> {
        let (_, keys) = proven_keys(number);
        let proof = state.prove(keys)?;
        Ok(Self(proof.into_nodes().into_iter().collect()))
    }

    /// Returns who validates in the epoch after block `number`, whose header has this state root.
    ///
    /// # Errors
    /// The proof does not show it.
    pub fn verify(
        &self,
        root: Hash,
        number: u32,
    ) -> Result<Vec<Validator<AccountId>>, SetProofError> {
        let (nodes, bytes) = (self.0.len(), self.0.iter().map(Vec::len).sum());
        if nodes > SET_PROOF_NODES_MAX || bytes > SET_PROOF_BYTES_MAX {
            return Err(SetProofError::TooLarge { bytes, nodes });
        }
        let other = |cause: String| SetProofError::OtherState { root, cause };
        let (epoch, keys) = proven_keys(number);
        let proof = StorageProof::new(self.0.iter().cloned());
        let mut found =
            sp_state_machine::read_proof_check::<BlakeTwo256, _>(root, proof, keys.iter())
                .map_err(|error| other(error.to_string()))?;
        let [code, set] = keys.map(|key| found.remove(&key).flatten());
        let (code, known) = (code.unwrap_or_default(), code_marker());
        if code != known {
            return Err(SetProofError::UnknownRuntime {
                found: String::from_utf8_lossy(&code).into_owned(),
                known: String::from_utf8_lossy(&known).into_owned(),
            });
        }
        let set = set.ok_or(SetProofError::NoSet(epoch))?;
        let set = Vec::<Validator<AccountId>>::decode_all(&mut &set[..])
            .map_err(|error| other(format!("the set of epoch {epoch} is unreadable: {error}")))?;
        if set.is_empty() {
            return Err(SetProofError::NoSet(epoch));
        }
        Ok(set)
    }
}

/// A final block as a light node sees it.
#[derive(Clone, Debug, PartialEq, Eq, codec::Encode, codec::Decode)]
pub struct LightBlock {
    /// The encoded header, seal included.
    pub header: Vec<u8>,
    /// The proof that it is final.
    pub certificate: Certificate,
    /// Who validates after it, if it is the last of its epoch and whoever gives it can still show that.
    pub next_set: Option<SetProof>,
}

impl LightBlock {
    /// Decodes what a peer gave, within bounds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, String> {
        // A signature takes 96 bytes, a trie node some for its length.
        const BYTES_MAX: usize = HEADER_BYTES_MAX + 128 * SIGNATURES_MAX + 2 * SET_PROOF_BYTES_MAX;
        if bytes.len() > BYTES_MAX {
            return Err(format!("{} bytes are too many for it", bytes.len()));
        }
        let block = Self::decode_all(&mut &bytes[..]).map_err(|error| error.to_string())?;
        if block.header.len() > HEADER_BYTES_MAX {
            return Err(format!("its header has {} bytes", block.header.len()));
        }
        let signatures = block.certificate.signatures.len();
        if signatures > SIGNATURES_MAX {
            return Err(format!("its certificate has {signatures} signatures"));
        }
        Ok(block)
    }
}

impl Chain {
    /// Returns a final block as light nodes are given it; `None` when it is not there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn light_block(&self, number: u32) -> Result<Option<LightBlock>, StorageError> {
        let Some(hash) = self.db().hash_of(number)? else {
            return Ok(None);
        };
        let Some(header) = self.db().header(&hash)? else {
            return Ok(None);
        };
        let certificate = self.db().justification(&hash)?;
        let certificate =
            certificate.and_then(|bytes| Certificate::decode_all(&mut &bytes[..]).ok());
        let Some(certificate) = certificate else {
            // Block 0 has none.
            return Ok(None);
        };
        let next_set = match closes_epoch(number) {
            true => self.set_proof_after(number, &hash)?,
            false => None,
        };
        Ok(Some(LightBlock {
            header: header.encode(),
            certificate,
            next_set,
        }))
    }

    /// Returns the proof of who validates after the last block of an epoch: the one that was kept, or one from its state
    /// if that is still there.
    fn set_proof_after(&self, number: u32, hash: &Hash) -> Result<Option<SetProof>, StorageError> {
        let kept = self.db().set_proof(hash)?;
        let kept = kept.and_then(|bytes| SetProof::decode_all(&mut &bytes[..]).ok());
        Ok(kept.or_else(|| {
            let state = self.db().state_at(hash).ok()?;
            SetProof::make(&state, number).ok()
        }))
    }

    /// Keeps the proof of who validates after the block, if it is the last of its epoch: later its state may be gone.
    pub(crate) fn keep_set_proof(&self, header: &Header, hash: &Hash) {
        let number = *header.number();
        if !closes_epoch(number) {
            return;
        }
        if let Err(error) = self.try_keep_set_proof(number, hash) {
            // The block itself is stored, and counts without it.
            tracing::warn!(
                number,
                %error,
                "the proof of who validates in the next epoch was not kept: light nodes need another node for it"
            );
        }
    }

    fn try_keep_set_proof(&self, number: u32, hash: &Hash) -> Result<(), ChainError> {
        if self.db().set_proof(hash)?.is_some() {
            return Ok(());
        }
        let state = self.db().state_at(hash)?;
        let proof =
            SetProof::make(&state, number).map_err(|what| StorageError::Damaged { what })?;
        Ok(self.db().keep_set_proof(hash, proof.encode())?)
    }
}
