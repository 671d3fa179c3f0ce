//! `commonwatt revert`: takes the last blocks back.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::StoppedChain;
use crate::{args::ChainArgs, report::say};

/// Takes the last N blocks back, with the states after them. Blocks are final: this is for a disaster on which all
/// operators of the chain have agreed, since no node takes back what it has.
#[derive(Debug, Args)]
pub struct Revert {
    /// How many blocks
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    blocks: u32,
    #[command(flatten)]
    chain: ChainArgs,
    /// Do it: you know that final blocks, and what is in them, will be gone
    #[arg(long, short = 'y')]
    yes: bool,
}

impl Revert {
    /// Reverts, and tells where the chain ends now.
    pub fn run(self) -> Result<()> {
        let StoppedChain {
            db, folder, _lock, ..
        } = StoppedChain::open(&self.chain)?;
        let has_voted = folder.agreement_log().exists();
        let (best, _) = db.best();
        let Some(target) = best.checked_sub(self.blocks) else {
            bail!(
                "the chain has {best} blocks after block 0: it cannot go back {}",
                self.blocks
            );
        };
        if let Some(kept) = db.kept_states()
            && !kept.contains(&target)
        {
            let possible: Vec<_> = kept.iter().filter(|number| **number < best).collect();
            let (Some(first), Some(last)) = (possible.first(), possible.last()) else {
                bail!(
                    "no state before that of block {best} is kept, so the chain cannot go back; restore a copy of the \
                     database, or import exported blocks into an empty one"
                );
            };
            bail!(
                "the state after block {target} is not kept: {} are, after blocks {first} to {last}, so N can be {} to {}. \
                 To go back further, restore a copy of the database, or import exported blocks into an empty one",
                possible.len(),
                best.saturating_sub(**last),
                best.saturating_sub(**first)
            );
        }
        ensure!(
            self.yes,
            "blocks {} to {best} are final: others may have acted on them, and other nodes keep them. Export them first \
             (`commonwatt export-blocks`), make sure that all operators do the same, then give --yes",
            target.saturating_add(1)
        );
        while db.best().0 > target {
            db.revert_last()
                .with_context(|| format!("stopped after block {}", db.best().0))?;
        }
        let (number, hash) = db.best();
        say!(
            "Reverted {} final blocks. Block {number} ({hash:?}) is the last one now.",
            best.saturating_sub(number)
        )?;
        match has_voted {
            true => say!(
                "This node does not vote again at heights at which it voted: it fetches the blocks after this one from nodes that \
                 have them. If all operators have reverted, import the exported blocks, or the chain stands still."
            ),
            false => say!(
                "The only validator of a chain makes the blocks after it anew when it starts, unless you import them first."
            ),
        }?;
        Ok(())
    }
}
