//! What an operator does to a stopped node, what it asks of a running one, and offline tools.

mod chain_info;
mod check_block;
mod clear;
mod export_blocks;
mod import_blocks;
mod init;
mod purge_chain;
mod revert;
mod validators;

pub use chain_info::ChainInfo;
pub use check_block::CheckBlock;
pub use clear::Clear;
pub use export_blocks::ExportBlocks;
pub use import_blocks::ImportBlocks;
pub use init::Init;
pub use purge_chain::PurgeChain;
pub use revert::Revert;
pub use validators::Validators;

use anyhow::{Result, anyhow};
use commonwatt_storage::{ChainDb, OpenError};

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
        let db = ChainDb::open_as_it_is(&folder.database()).map_err(|error| match error {
            OpenError::NoDatabase { .. } => anyhow!(
                "the chain {:?} has no database in {}: it has not run here, or was purged; start the node, or use import-blocks first",
                spec.id,
                folder.database().display()
            ),
            other => anyhow!(other).context(format!("the chain {:?} cannot be opened", spec.id)),
        })?;
        if db.is_initialized() {
            // Another version may describe the same chain by another genesis.
            commonwatt_chain::verify_runtime(&db)?;
        }
        db.verify_genesis(&spec.genesis_hash()?)?;
        Ok(Self {
            spec,
            folder,
            db,
            _lock: lock,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::community::{self, KeyKind};
    use commonwatt_executor::Executor;
    use commonwatt_storage::DbConfig;
    use sp_core::storage::well_known_keys::CODE;

    #[test]
    fn a_chain_of_another_runtime_is_named_as_that() {
        let base = tempfile::tempdir().unwrap();
        let folder = ChainFolder::create(base.path(), "dev").unwrap();
        let community = commonwatt_community_data::Community::demo().unwrap();
        let mut spec = community::dev_spec(&community, KeyKind::Static);
        spec.genesis.timing.genesis_ms = 1_800_000_000_000;
        crate::paths::write_new(&folder.chain_spec(), &spec.to_json()).unwrap();
        let mut storage = spec.genesis.build_storage().unwrap();
        storage
            .top
            .insert(CODE.to_vec(), b"another runtime".to_vec());
        let block = Executor::build_genesis(storage);
        let db = ChainDb::open(&folder.database(), DbConfig::default()).unwrap();
        db.initialize(block.header, block.nodes).unwrap();
        drop(db);
        let chain = ChainArgs {
            chain: None,
            base_path: Some(base.path().to_owned()),
        };
        let said = StoppedChain::open(&chain).err().unwrap().to_string();
        assert!(
            said.contains("another runtime") && said.contains("install the version"),
            "{said}"
        );
    }
}
