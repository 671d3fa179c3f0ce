//! `commonwatt check-block`: executes a stored block again.

use std::{str::FromStr, time::Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use commonwatt_chain::{Agreement, Chain, Validators, lineup_of, take_seal};
use commonwatt_runtime::{Hash, apis::Lineup};
use commonwatt_storage::{State, StateError, StoredBlock};
use sp_runtime::traits::Header as _;

use super::StoppedChain;
use crate::{
    args::ChainArgs,
    report::{grouped, say},
    service,
};

/// Executes a stored block again on the state before it: the roots must come out the same, and author, seal and
/// certificate must be right. Nothing is changed.
#[derive(Debug, Args)]
pub struct CheckBlock {
    /// The block: its number, or its hash with 0x
    #[arg(value_name = "NUMBER|HASH")]
    block: BlockId,
    #[command(flatten)]
    chain: ChainArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlockId {
    Number(u32),
    Hash(Hash),
}

impl FromStr for BlockId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_block =
            || "give a block's number, or its hash: 0x and 64 hexadecimal digits".to_owned();
        match text.strip_prefix("0x") {
            Some(digits) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| not_a_block())?;
                Ok(Self::Hash(bytes.into()))
            }
            None => text.parse().map(Self::Number).map_err(|_| not_a_block()),
        }
    }
}

impl CheckBlock {
    /// Checks, and tells what came out.
    pub fn run(self) -> Result<()> {
        let StoppedChain {
            spec, db, _lock, ..
        } = StoppedChain::open(&self.chain)?;
        let (best, _) = db.best();
        let hash = match self.block {
            BlockId::Hash(hash) => hash,
            BlockId::Number(number) => db
                .hash_of(number)?
                .ok_or_else(|| anyhow!("there is no block {number} yet: the last one is {best}"))?,
        };
        let block = db.block(&hash)?.ok_or_else(|| {
            anyhow!("block {hash:?} is not in this database: is it of another chain, or newer than block {best}?")
        })?;
        // Also checks that this binary knows the runtime that made the chain, and block 0 against the spec.
        let chain = service::chain_on(db, &spec)?;
        let number = *block.header.number();
        if number == 0 {
            say!("block 0 ({hash:?}) is what the chain spec says")?;
            return Ok(());
        }
        let parent = *block.header.parent_hash();
        let state = chain.state(Some(parent)).map_err(|error| match error {
            StateError::StateDiscarded { kept, .. } => anyhow!(
                "block {number} cannot be executed again, because the state before it was discarded: this node keeps \
                 {kept}. Check a newer block, or check this one on an archive node"
            ),
            other => other.into(),
        })?;
        let lineup = lineup_of(chain.executor(), &state, number)?;
        let began = Instant::now();
        let extrinsics = block.body.len();
        let header = block.header.clone();
        verify(&chain, &state, &lineup, block).with_context(|| {
            format!(
                "block {number} ({hash:?}) is not right: check the disk, restore the database from a copy, and tell the \
                 developers if it happens again"
            )
        })?;
        say!("block {number} ({hash:?}) is right")?;
        say!("  state root       {:?}", header.state_root())?;
        say!("  extrinsics root  {:?}", header.extrinsics_root())?;
        say!(
            "  extrinsics       {}, executed again in {} ms; author, seal and certificate are those of its height",
            grouped(extrinsics as u128),
            began.elapsed().as_millis()
        )?;
        Ok(())
    }
}

/// Checks author, seal and certificate, and executes.
fn verify(chain: &Chain, state: &State, lineup: &Lineup, block: StoredBlock) -> Result<()> {
    let StoredBlock {
        header,
        body,
        justification,
    } = block;
    let agreement = Validators::follower();
    let (number, hash) = (*header.number(), header.hash());
    let mut unsealed = header;
    let seal = take_seal(&mut unsealed)?;
    agreement.verify_author(&unsealed, &seal, lineup)?;
    agreement.verify_certificate(
        &chain.genesis_hash(),
        number,
        &hash,
        justification.as_deref().unwrap_or_default(),
        lineup,
    )?;
    chain.executor().execute_block(state, &unsealed, &body)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_number_or_hash() {
        assert_eq!("12".parse(), Ok(BlockId::Number(12)));
        let hash = format!("0x{}", "ab".repeat(32));
        assert_eq!(hash.parse(), Ok(BlockId::Hash(Hash::repeat_byte(0xab))));
        for text in ["", "-1", "0x12", "latest", &"ab".repeat(32), "4294967296"] {
            let said = text.parse::<BlockId>().unwrap_err();
            assert!(said.contains("64 hexadecimal digits"), "{text}: {said}");
        }
    }
}
