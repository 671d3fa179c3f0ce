//! `commonwatt export-blocks`: blocks into a file.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commonwatt_storage::ChainDb;
use tempfile::NamedTempFile;

use super::StoppedChain;
use crate::{
    args::ChainArgs,
    block_stream::{BlockWriter, StreamHead},
    report::{grouped, size},
};

/// Writes blocks to a file, from which `import-blocks` checks and takes them anywhere.
#[derive(Debug, Args)]
pub struct ExportBlocks {
    #[command(flatten)]
    chain: ChainArgs,
    /// First block
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,
    /// Last block [default: the last there is]
    #[arg(long, value_name = "NUMBER")]
    to: Option<u32>,
    /// The file, which must not exist yet; `-` for the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
}

impl ExportBlocks {
    /// Exports, and tells how much.
    pub fn run(self) -> Result<()> {
        let to_stdout = self.out == Path::new("-");
        ensure!(
            !(to_stdout && io::stdout().is_terminal()),
            "the blocks would go to your terminal: name a file with --out FILE, or send them on with `| COMMAND`"
        );
        ensure!(
            to_stdout || !self.out.exists(),
            "{} exists already: name another file, or remove it first",
            self.out.display()
        );
        let StoppedChain { db, _lock, .. } = StoppedChain::open(&self.chain)?;
        let (best, _) = db.best();
        ensure!(
            best > 0,
            "the chain has no block after block 0 yet: there is nothing to export"
        );
        let last = self.to.unwrap_or(best);
        ensure!(
            self.from <= last && last <= best,
            "there are blocks 1 to {best}, not {} to {last}: choose --from and --to among them",
            self.from
        );
        let head = StreamHead {
            genesis: db.genesis_hash(),
            first: self.from,
            last,
        };
        let bytes = if to_stdout {
            write_blocks(&db, head, io::stdout().lock())?
        } else {
            self.write_file(&db, head)?
        };
        let count = last.saturating_sub(self.from).saturating_add(1);
        eprintln!(
            "Exported {} blocks, {} to {last}, {}.",
            grouped(count.into()),
            self.from,
            size(bytes)
        );
        Ok(())
    }

    /// Writes a file that is there whole or not at all.
    fn write_file(&self, db: &ChainDb, head: StreamHead) -> Result<u64> {
        let failed = || {
            format!(
                "cannot write {}; is there room, and may you write there?",
                self.out.display()
            )
        };
        let folder = match self.out.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut draft = NamedTempFile::new_in(folder).with_context(failed)?;
        let bytes = write_blocks(db, head, draft.as_file_mut())?;
        draft.as_file().sync_all().with_context(failed)?;
        draft.persist_noclobber(&self.out).with_context(failed)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(failed)?;
        Ok(bytes)
    }
}

/// Writes the blocks that `head` promises; returns their bytes.
fn write_blocks(db: &ChainDb, head: StreamHead, output: impl Write) -> Result<u64> {
    let counted = Counted {
        output: BufWriter::new(output),
        bytes: 0,
    };
    let mut writer = BlockWriter::begin(counted, head)?;
    for number in head.first..=head.last {
        let block = match db.hash_of(number)? {
            Some(hash) => db.block(&hash)?,
            None => None,
        };
        let Some(block) = block else {
            bail!(
                "block {number} is missing in the database: check the disk, then restore the database from a copy"
            );
        };
        writer.write(&block)?;
    }
    Ok(writer.finish()?.bytes)
}

/// Counts what is written.
struct Counted<Output> {
    output: Output,
    bytes: u64,
}

impl<Output: Write> Write for Counted<Output> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
