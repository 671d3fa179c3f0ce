//! What was verified, on disk.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_chain::{LightBlock, SetProof};
use commonwatt_consensus::Certificate;
use commonwatt_primitives::{AccountId, auction::Validator};
use commonwatt_runtime::{Hash, configs::EPOCH_LENGTH};
use commonwatt_storage::{Batch, Column, Store, StoreError};

use crate::{Genesis, Tip, verify::read_header};

/// The record that says up to where the ledger goes.
const TIP: &[u8] = b"light/tip";
/// The record that says which chain it is of.
const GENESIS: &[u8] = b"light/genesis";
/// The record that says how it is written.
const FORMAT: &[u8] = b"light/format";
/// How it is written.
const FORMAT_VERSION: u32 = 1;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds another chain.
    #[error(
        "it holds the headers of another chain: its genesis is {found:?}, the chain spec's is {expected:?}"
    )]
    OtherChain {
        /// The chain spec's.
        expected: Hash,
        /// The ledger's.
        found: Hash,
    },
    /// Another version wrote it.
    #[error("it is written in format {0}, which this version of commonwatt does not know")]
    UnknownFormat(u32),
    /// What is in it does not fit together.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The headers and certificates that were verified, without gaps from block 0 on.
pub struct Ledger {
    store: Box<dyn Store>,
    genesis: Genesis,
    tip: Tip,
}

impl Ledger {
    /// Opens the ledger of the chain that begins with `genesis`; an empty store becomes one.
    ///
    /// # Errors
    /// It is another chain's, or damaged.
    pub fn open(store: Box<dyn Store>, genesis: Genesis) -> Result<Self, LedgerError> {
        let mut ledger = Self {
            tip: genesis.tip.clone(),
            store,
            genesis,
        };
        let Some(format) = ledger.find::<u32>(Column::Meta, FORMAT)? else {
            ledger.begin()?;
            return Ok(ledger);
        };
        if format != FORMAT_VERSION {
            return Err(LedgerError::UnknownFormat(format));
        }
        let found = ledger.get::<Hash>(Column::Meta, GENESIS)?;
        let expected = ledger.genesis.hash();
        if found != expected {
            return Err(LedgerError::OtherChain { expected, found });
        }
        ledger.tip = ledger.get(Column::Meta, TIP)?;
        ledger.verify_tip()?;
        Ok(ledger)
    }

    fn begin(&self) -> Result<(), LedgerError> {
        let mut batch = Batch::new();
        let (header, hash) = (&self.genesis.header, self.genesis.hash());
        batch.put(Column::Headers, hash.as_bytes().to_vec(), header.encode());
        batch.put(Column::Numbers, key(0), hash.encode());
        batch.put(Column::Meta, TIP, self.tip.encode());
        batch.put(Column::Meta, GENESIS, hash.encode());
        batch.put(Column::Meta, FORMAT, FORMAT_VERSION.encode());
        Ok(self.store.commit(&batch)?)
    }

    /// Checks that the last block is there and is what the tip says.
    fn verify_tip(&self) -> Result<(), LedgerError> {
        let number = self.tip.number;
        let stored = self.hash_of(number)?;
        let header = self.header_bytes(&self.tip.hash)?;
        let read = header.and_then(|header| read_header(&header).ok());
        let is_right = stored == Some(self.tip.hash)
            && read.is_some_and(|(header, hash)| hash == self.tip.hash && header.number == number);
        let above = self.hash_of(number.saturating_add(1))?;
        if is_right && above.is_none() {
            Ok(())
        } else {
            Err(LedgerError::Damaged(format!(
                "it does not end with block {number} {:?}, as it says",
                self.tip.hash
            )))
        }
    }

    /// Returns the chain's beginning.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Returns the last block that was verified.
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Adds blocks that were verified one after the other on the tip, the last of which makes the new tip. On disk when
    /// this returns.
    ///
    /// # Errors
    /// The database refused; then nothing was added.
    pub(crate) fn append(
        &mut self,
        blocks: &[(Hash, LightBlock)],
        tip: Tip,
    ) -> Result<(), LedgerError> {
        let mut batch = Batch::new();
        let numbers = self.tip.number.saturating_add(1)..;
        for (number, (hash, block)) in numbers.zip(blocks) {
            batch.put(Column::Headers, hash.as_bytes().to_vec(), &block.header);
            batch.put(Column::Numbers, key(number), hash.encode());
            batch.put(
                Column::Justifications,
                key(number),
                block.certificate.encode(),
            );
            if let Some(proof) = &block.next_set {
                batch.put(Column::SetProofs, key(number), proof.encode());
            }
        }
        batch.put(Column::Meta, TIP, tip.encode());
        self.store.commit(&batch)?;
        self.tip = tip;
        Ok(())
    }

    /// Returns the hash of a block.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn hash_of(&self, number: u32) -> Result<Option<Hash>, LedgerError> {
        self.find(Column::Numbers, &key(number))
    }

    /// Returns an encoded header.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn header_bytes(&self, hash: &Hash) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.store.get(Column::Headers, hash.as_bytes())?)
    }

    /// Returns a block as it was given; `None` for block 0, which needs no proof, and above the tip.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn block(&self, number: u32) -> Result<Option<LightBlock>, LedgerError> {
        let Some(certificate) = self.find::<Certificate>(Column::Justifications, &key(number))?
        else {
            return Ok(None);
        };
        let hash = self.hash_of(number)?;
        let header = match hash {
            Some(hash) => self.header_bytes(&hash)?,
            None => None,
        };
        let header =
            header.ok_or_else(|| LedgerError::Damaged(format!("block {number} has no header")))?;
        Ok(Some(LightBlock {
            header,
            certificate,
            next_set: self.find(Column::SetProofs, &key(number))?,
        }))
    }

    /// Returns who validated block `number`, up to the child of the tip: proven again, from what is stored.
    ///
    /// # Errors
    /// The database cannot be read, or is damaged.
    pub fn validators_of(&self, number: u32) -> Result<Vec<Validator<AccountId>>, LedgerError> {
        let first = number - number % EPOCH_LENGTH;
        let Some(before) = first.checked_sub(1) else {
            return Ok(self.genesis.tip.validators.clone());
        };
        let damaged = |what: &str| LedgerError::Damaged(format!("block {before}: {what}"));
        let block = self
            .block(before)?
            .ok_or_else(|| damaged("it is missing"))?;
        let (header, _) = read_header(&block.header).map_err(|flaw| damaged(&flaw.to_string()))?;
        let proof: SetProof = block
            .next_set
            .ok_or_else(|| damaged("nothing shows who validated after it"))?;
        proof
            .verify(header.state_root, before)
            .map_err(|error| damaged(&error.to_string()))
    }

    fn find<T: Decode>(&self, column: Column, key: &[u8]) -> Result<Option<T>, LedgerError> {
        let Some(bytes) = self.store.get(column, key)? else {
            return Ok(None);
        };
        let decoded = T::decode_all(&mut &bytes[..]);
        decoded.map(Some).map_err(|error| {
            LedgerError::Damaged(format!("a record of {column} is unreadable: {error}"))
        })
    }

    fn get<T: Decode>(&self, column: Column, key: &[u8]) -> Result<T, LedgerError> {
        let name = || String::from_utf8_lossy(key).into_owned();
        self.find(column, key)?
            .ok_or_else(|| LedgerError::Damaged(format!("its record {:?} is missing", name())))
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("tip", &self.tip).finish()
    }
}

fn key(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
