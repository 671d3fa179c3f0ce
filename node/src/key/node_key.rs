//! `key generate-node-key` and `key inspect-node-key`: by what key the node's peers know it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use commonwatt_keystore::{FileError, NodeKey, NodeKeyError, files};

use super::Console;
use crate::{args::ChainArgs, paths::ChainFolder};

/// Returns the file of a chain's node key.
fn file_of(folder: &ChainFolder) -> PathBuf {
    folder.network().join(NodeKey::FILE_NAME)
}

#[derive(Debug, Args)]
pub(super) struct GenerateNodeKey {
    /// New file for the key [default: that of the chain, if --chain or --base-path is given; the standard output
    /// otherwise]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chain", "base_path"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    chain: ChainArgs,
}

impl GenerateNodeKey {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let key = NodeKey::generate()?;
        let names_chain = self.chain.chain.is_some() || self.chain.base_path.is_some();
        let file = match self.file {
            Some(file) => Some(file),
            None if names_chain => Some(file_of(&self.chain.open_or_create()?.0)),
            None => None,
        };
        let Some(file) = file else {
            // As other nodes do it: the key can be redirected into a file, and the peer id is seen.
            writeln!(console.notes, "{}", key.peer_id())?;
            writeln!(console.out, "{}", *key.to_hex())?;
            return Ok(());
        };
        match key.write(&file) {
            Err(NodeKeyError::File(FileError::Exists(file))) => bail!(
                "{0} exists already and was left as it is, since another key would give the node another peer id: \
                 show it with `commonwatt key inspect-node-key --file '{0}'`, or move it away first",
                file.display()
            ),
            result => result?,
        }
        writeln!(
            console.notes,
            "The key is in {}. Its peer id:",
            file.display()
        )?;
        writeln!(console.out, "{}", key.peer_id())?;
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct InspectNodeKey {
    /// File with the key, or - for the standard input [default: that of the chain]
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["chain", "base_path"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    chain: ChainArgs,
}

impl InspectNodeKey {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<()> {
        let file = match self.file {
            Some(file) => file,
            None => file_of(&self.chain.key_folder()?),
        };
        let key = if file == Path::new("-") {
            let bytes = files::read_stream(&mut *console.input)?;
            NodeKey::parse(&bytes).context("the standard input holds no node key")?
        } else {
            NodeKey::read(&file)?.with_context(|| {
                format!(
                    "there is no node key in {}: make one with `commonwatt key generate-node-key`",
                    file.display()
                )
            })?
        };
        writeln!(console.out, "{}", key.peer_id())?;
        Ok(())
    }
}
