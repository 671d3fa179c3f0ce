//! What an operator does to a node that is stopped.

mod chain_info;
mod check_block;
mod export_blocks;
mod import_blocks;
mod init;
mod purge_chain;
mod revert;

pub use chain_info::ChainInfo;
pub use check_block::CheckBlock;
pub use export_blocks::ExportBlocks;
pub use import_blocks::ImportBlocks;
pub use init::Init;
pub use purge_chain::PurgeChain;
pub use revert::Revert;

use anyhow::{Context, Result};
use commonwatt_storage::ChainDb;

use crate::{
    args::ChainArgs,
    paths::{ChainFolder, FolderLock},
    spec::ChainSpec,
};

/// A chain that nobody else uses meanwhile, with the blocks it has.
struct StoppedChain {
    spec: ChainSpec,
    folder: ChainFolder,
    db: ChainDb,
    _lock: FolderLock,
}

impl StoppedChain {
    /// Opens a chain with the back end and pruning it was made with. Nothing is made, and no state is discarded.
    fn open(chain: &ChainArgs) -> Result<Self> {
        let (folder, spec) = chain.existing()?;
        let lock = folder.lock()?;
        let db = ChainDb::open_as_it_is(&folder.database()).with_context(|| {
            format!(
                "the chain {:?} cannot be opened; if it never ran here, start the node or use import-blocks first",
                spec.id
            )
        })?;
        db.verify_genesis(&spec.genesis_hash()?)?;
        Ok(Self {
            spec,
            folder,
            db,
            _lock: lock,
        })
    }
}
