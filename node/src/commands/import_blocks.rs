//! `commonwatt import-blocks`: blocks from a file, each checked as if a stranger had sent it.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commonwatt_chain::Chain;
use commonwatt_storage::{CommitMode, StatePruning, StoredBlock};

use crate::{
    args::{ChainArgs, StorageArgs},
    block_stream::BlockReader,
    report::{grouped, say},
    service::{self, Role},
};

/// How often a long import says how far it is.
const NEWS: Duration = Duration::from_secs(5);

/// Takes blocks from a file that `export-blocks` wrote. Each is checked and executed; those that are there already are
/// compared and passed over, so an import that was stopped goes on where it was.
#[derive(Debug, Args)]
pub struct ImportBlocks {
    /// The file; `-` for the standard input
    file: PathBuf,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// How far an import came.
#[derive(Default)]
struct Progress {
    imported: u32,
    known: u32,
}

impl ImportBlocks {
    /// Imports, and tells how much.
    pub fn run(self) -> Result<()> {
        if self.file == Path::new("-") {
            ensure!(
                !io::stdin().is_terminal(),
                "the standard input is your terminal: name the file, or send it with `< FILE`"
            );
            return self.import(io::stdin().lock());
        }
        let file = File::open(&self.file)
            .with_context(|| format!("cannot open {}", self.file.display()))?;
        self.import(file)
    }

    fn import(&self, input: impl Read) -> Result<()> {
        let named = || format!("cannot import {}", self.file.display());
        let mut reader = BlockReader::open(BufReader::new(input)).with_context(named)?;
        let head = reader.head();
        let (folder, spec) = self.chain.open_or_create()?;
        let genesis = spec.genesis_hash()?;
        ensure!(
            head.genesis == genesis,
            "{} holds blocks of another chain: its genesis is {:?}, that of {:?} is {genesis:?}; choose the chain with \
             --chain, or another file",
            self.file.display(),
            head.genesis,
            spec.id
        );
        let _lock = folder.lock()?;
        let mut chain = service::open_chain(&folder, &spec, self.storage.config())?;
        service::agree(&mut chain, Role::Full)?;
        let (best, _) = chain.best();
        ensure!(
            head.first <= best.saturating_add(1),
            "{} begins with block {}, and this chain ends with block {best}: import blocks from {} on first",
            self.file.display(),
            head.first,
            best.saturating_add(1)
        );
        let mut progress = Progress::default();
        let mut told = Instant::now();
        let result = loop {
            let block = match reader.next_block() {
                Ok(Some(block)) => block,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            let number = block.header.number;
            if let Err(error) = self.take(&chain, block, head.last, &mut progress) {
                break Err(error);
            }
            if told.elapsed() >= NEWS {
                told = Instant::now();
                eprintln!("block {number} of {}", head.last);
            }
        };
        // Whatever ended the import: what was taken is kept.
        chain.db().flush()?;
        let (best, hash) = chain.best();
        let told = say!(
            "Imported {} blocks, {} were there already; the best block is {best} ({hash:?}).",
            grouped(progress.imported.into()),
            grouped(progress.known.into())
        );
        // What became of the import counts more than whether somebody reads it.
        result.with_context(named)?;
        Ok(told?)
    }

    fn take(
        &self,
        chain: &Chain,
        block: StoredBlock,
        last: u32,
        progress: &mut Progress,
    ) -> Result<()> {
        let number = block.header.number;
        if number <= chain.best().0 {
            let (ours, theirs) = (chain.db().hash_of(number)?, block.header.hash());
            if ours != Some(theirs) {
                bail!(
                    "block {number} in the file is {theirs:?}, here it is {:?}: one of the two was made after a revert, and \
                     they cannot be joined. Find out which one the other nodes have",
                    ours.unwrap_or_default()
                );
            }
            progress.known = progress.known.saturating_add(1);
            return Ok(());
        }
        chain
            .import(block, self.mode(number, last))
            .with_context(|| format!("block {number} is refused"))?;
        progress.imported = progress.imported.saturating_add(1);
        Ok(())
    }

    /// Says how a block is stored. In groups as long as its state will not be kept anyway; the last ones singly, so that
    /// their states can be read and gone back to as if the node had been running.
    fn mode(&self, number: u32, last: u32) -> CommitMode {
        match self.storage.state_pruning {
            StatePruning::Keep(window) if number.saturating_add(window) >= last => {
                CommitMode::Durable
            }
            StatePruning::Keep(_) | StatePruning::Archive => CommitMode::bulk(),
        }
    }
}
