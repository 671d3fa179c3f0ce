//! `commonwatt purge-chain`: removes a chain's database.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use commonwatt_storage::{DATABASE_MARKER, is_database_entry};

use crate::{args::ChainArgs, report::say};

/// Removes the blocks and states of a stopped node. Keys, node identity and chain spec stay.
#[derive(Debug, Args)]
pub struct PurgeChain {
    #[command(flatten)]
    chain: ChainArgs,
    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,
}

impl PurgeChain {
    /// Asks, and removes.
    pub fn run(self) -> Result<()> {
        let (folder, spec) = self.chain.existing()?;
        let _lock = folder.lock()?;
        let database = folder.database();
        if !database.exists() {
            say!(
                "There is no database in {}: nothing to remove.",
                database.display()
            )?;
            return Ok(());
        }
        verify_database(&database)?;
        if !self.yes && !ask(&spec.name, &database)? {
            say!("Nothing was removed.")?;
            return Ok(());
        }
        remove_content(&database)
            .with_context(|| format!("cannot remove all of {}; try again", database.display()))?;
        say!(
            "Removed the database in {}. Keys and chain spec are left. The next start begins with block 0: it fetches \
             the blocks from other nodes, and the only validator of a chain makes every block anew unless you import them first.",
            database.display()
        )?;
        Ok(())
    }
}

/// Refuses to remove what is no database of ours, except the rest of one that was removed in part.
fn verify_database(database: &Path) -> Result<()> {
    let failed = || format!("cannot look into {}", database.display());
    for entry in fs::read_dir(database).with_context(failed)? {
        let name = entry.with_context(failed)?.file_name();
        ensure!(
            is_database_entry(&name),
            "{} holds {name:?}, which is no part of a database: look at it, and remove the folder by hand if you want to",
            database.display()
        );
    }
    Ok(())
}

fn ask(name: &str, database: &Path) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!(
            "nobody can be asked, since this is no terminal: give -y to remove the database of {name:?}"
        );
    }
    print!(
        "Remove all blocks and states of {name:?} in {}? They can only come back from a copy, an export or other nodes. \
         [y/N] ",
        database.display()
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Removes what is in the folder: the folder itself may be a mount point. The marker goes first, so that what a crash
/// leaves is never taken for a database.
pub(super) fn remove_content(database: &Path) -> io::Result<()> {
    match fs::remove_file(database.join(DATABASE_MARKER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::File::open(database)?.sync_all()?,
    }
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        if fs::symlink_metadata(&path)?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    fs::File::open(database)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_database_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sled")).unwrap();
        for name in ["lock", DATABASE_MARKER, "sled/db"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        verify_database(folder.path()).unwrap();
        fs::write(folder.path().join("letters.txt"), "x").unwrap();
        let said = verify_database(folder.path()).unwrap_err().to_string();
        assert!(said.contains("letters.txt"), "{said}");
        fs::remove_file(folder.path().join("letters.txt")).unwrap();
        remove_content(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        // What is not there need not be removed.
        remove_content(folder.path()).unwrap();
    }
}
