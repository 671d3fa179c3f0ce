//! `commonwatt export-blocks`: blocks into a file.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, BufWriter, IsTerminal, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commonwatt_keystore::files::Draft;
use commonwatt_storage::ChainDb;

use super::StoppedChain;
use crate::{
    args::ChainArgs,
    block_stream::{self, BlockWriter, StreamHead},
    report::{grouped, size},
    signals::ask_on_signal,
    stop::Stop,
    threads,
};

/// What the name of a file ends with that is not whole yet.
const PART: &str = ".part";
/// Bytes of a file that are looked at to see whether it holds blocks.
const BEGINNING_BYTES: u64 = 8;

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
            write_blocks(&db, head, io::stdout().lock(), &Stop::default())?
        } else {
            // A signal ends the export in order, so that no part of a file is left.
            let (stop, runtime) = (Stop::default(), threads::start_async()?);
            runtime.spawn(ask_on_signal(stop.clone()));
            self.write_file(&db, head, &stop)?
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
    fn write_file(&self, db: &ChainDb, head: StreamHead, stop: &Stop) -> Result<u64> {
        let failed = || {
            format!(
                "cannot write {}; is there room, and may you write there?",
                self.out.display()
            )
        };
        let mut part = begin_part(&self.out)?;
        let bytes = write_blocks(db, head, part.file(), stop)?;
        part.keep_new().with_context(failed)?;
        Ok(bytes)
    }
}

/// Begins a file under its name and `.part`. One that a killed export left is written anew, and no other.
fn begin_part(path: &Path) -> Result<Draft> {
    let mut name = OsString::from(path);
    name.push(PART);
    let name = PathBuf::from(name);
    let failed = || {
        format!(
            "cannot write {}; is there room, and may you write there?",
            name.display()
        )
    };
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&name)
        .with_context(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(
            "another export writes {}: wait for its end, or name another file",
            path.display()
        ),
        Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
    }
    // Whoever held the lock may have given the file its own name.
    let open = file.metadata().with_context(failed)?;
    let is_named = fs::metadata(&name)
        .is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino()));
    ensure!(
        is_named,
        "another export wrote {} a moment ago: look at it",
        path.display()
    );
    let mut beginning = Vec::new();
    (&file)
        .take(BEGINNING_BYTES)
        .read_to_end(&mut beginning)
        .with_context(failed)?;
    ensure!(
        block_stream::may_be_blocks(&beginning),
        "{} is there, and no export left it: move it away, or name another file",
        name.display()
    );
    file.set_len(0).with_context(failed)?;
    file.rewind().with_context(failed)?;
    Draft::with(file, &name, path).with_context(failed)
}

/// Writes the blocks that `head` promises; returns their bytes.
fn write_blocks(db: &ChainDb, head: StreamHead, output: impl Write, stop: &Stop) -> Result<u64> {
    let counted = Counted {
        output: BufWriter::new(output),
        bytes: 0,
    };
    let mut writer = BlockWriter::begin(counted, head)?;
    for number in head.first..=head.last {
        ensure!(
            !stop.is_asked(),
            "stopped by a signal before block {number}: nothing of the file is kept, export again"
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_an_export() {
        use crate::{
            community::{self, KeyKind},
            service,
        };
        let folder = tempfile::tempdir().unwrap();
        let community = commonwatt_community_data::Community::demo().unwrap();
        let spec = community::dev_spec(&community, KeyKind::Static);
        let db = ChainDb::open(&folder.path().join("db"), Default::default()).unwrap();
        let chain = service::chain_on(db, &spec).unwrap();
        let (head, stop) = (
            StreamHead {
                genesis: chain.genesis_hash(),
                first: 1,
                last: 1,
            },
            Stop::default(),
        );
        stop.ask();
        let said = write_blocks(chain.db(), head, Vec::new(), &stop)
            .unwrap_err()
            .to_string();
        assert!(said.contains("stopped by a signal"), "{said}");
    }

    #[test]
    fn what_a_killed_export_left_is_written_anew_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (out, part) = (
            folder.path().join("blocks"),
            folder.path().join("blocks.part"),
        );
        let names = || fs::read_dir(folder.path()).unwrap().count();
        // Dropped before its end, nothing is left.
        drop(begin_part(&out).unwrap());
        assert_eq!(names(), 0);
        for left in [&b""[..], b"CWB", b"CWBLOCKS and a part of the rest"] {
            fs::write(&part, left).unwrap();
            let mut draft = begin_part(&out).unwrap();
            let said = begin_part(&out).unwrap_err().to_string();
            assert!(said.contains("another export writes"), "{said}");
            draft.file().write_all(b"new").unwrap();
            draft.keep_new().unwrap();
            assert_eq!(fs::read(&out).unwrap(), b"new");
            assert_eq!(names(), 1);
            fs::remove_file(&out).unwrap();
        }
        fs::write(&part, "somebody's letter").unwrap();
        let said = begin_part(&out).unwrap_err().to_string();
        assert!(said.contains("no export left it"), "{said}");
        assert_eq!(fs::read(&part).unwrap(), b"somebody's letter");
    }
}
