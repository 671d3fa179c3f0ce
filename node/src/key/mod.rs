//! The `key` command: makes, shows, stores and exchanges keys, all of it offline.
//!
//! Secrets come from files, the standard input or a prompt. One on the command line works, since operators expect
//! it, but is warned about: other users see it in the list of processes, and it stays in the shell's history.

mod account;
mod exchange;
mod node_key;
mod password;
mod secret_input;
mod store;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use password::warn_if_exposed;
pub use password::{PasswordArgs, Prompt};

use crate::report::output;
pub use store::KeystoreArgs;

/// Makes, shows, stores and exchanges keys.
#[derive(Debug, Args)]
pub struct KeyCommand {
    #[command(subcommand)]
    task: KeyTask,
}

#[derive(Debug, Subcommand)]
enum KeyTask {
    /// Make an account: a new secret phrase and its address
    Generate(account::Generate),
    /// Show the address and public key of a secret, an account file or an address
    Inspect(account::Inspect),
    /// Put a validator key into the keystore
    Insert(store::Insert),
    /// List the validator keys in the keystore
    List(store::List),
    /// Make new validator keys beside the old ones, and print what the DSO registers. No node need be running
    Rotate(store::Rotate),
    /// Make the key by which peers know this node, and print its peer id
    GenerateNodeKey(node_key::GenerateNodeKey),
    /// Print the peer id of a node key
    InspectNodeKey(node_key::InspectNodeKey),
    /// Write a key as an account file for polkadot.js and other wallets
    Export(exchange::Export),
    /// Take a key from an account file of polkadot.js
    Import(exchange::Import),
}

/// What a command reads from and writes to.
pub(crate) struct Console<'a> {
    /// Answers, which other programs may read.
    pub(crate) out: &'a mut dyn Write,
    /// Warnings and what to do next, for people.
    pub(crate) notes: &'a mut dyn Write,
    /// Where `-` reads from.
    pub(crate) input: &'a mut dyn Read,
}

impl KeyCommand {
    /// Does what the command line asks.
    pub fn run(self) -> Result<()> {
        let console = &mut Console {
            out: &mut output(),
            notes: &mut io::stderr(),
            input: &mut io::stdin(),
        };
        self.run_with(console)
    }

    fn run_with(self, console: &mut Console<'_>) -> Result<()> {
        match self.task {
            KeyTask::Generate(task) => task.run(console),
            KeyTask::Inspect(task) => task.run(console),
            KeyTask::Insert(task) => task.run(console),
            KeyTask::List(task) => task.run(console),
            KeyTask::Rotate(task) => task.run(console),
            KeyTask::GenerateNodeKey(task) => task.run(console),
            KeyTask::InspectNodeKey(task) => task.run(console),
            KeyTask::Export(task) => task.run(console),
            KeyTask::Import(task) => task.run(console),
        }
    }
}
