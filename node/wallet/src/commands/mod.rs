//! `commonwatt wallet`: its commands.

mod account;
mod args;
mod auto;
mod balance;
mod history;
mod orders;
mod session;
mod tariff;
mod trades;
mod transfer;
mod watch;

use std::io::{Read, Write};

use clap::{Args, Subcommand};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::error::WalletError;

/// Keeps accounts and trades over JSON-RPC, like anyone's wallet.
#[derive(Debug, Args)]
pub struct WalletCommand {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make an account: a new secret phrase, kept encrypted
    Create(account::Create),
    /// Take an account from an account file of polkadot.js, or from a secret phrase or seed
    Import(account::Import),
    /// Write an account as an encrypted account file of polkadot.js
    Export(account::Export),
    /// List the accounts of the wallet
    List(account::List),
    /// Show coins, voting tokens, the virtual generation meter, loyalty, and what is owed to the outer grid
    Balance(balance::Balance),
    /// Order to buy energy of a step
    Bid(orders::Bid),
    /// Order to sell energy of a step
    Ask(orders::Ask),
    /// Order to buy or sell in every step
    Standing(orders::Standing),
    /// Trade by itself: forecast each step from the account's own history, and price by a strategy
    Auto(auto::Auto),
    /// Take an order back
    Cancel(orders::Cancel),
    /// Put another limit and quantity in the place of an order's
    Replace(orders::Replace),
    /// Send coins
    Transfer(transfer::Transfer),
    /// Show an account's orders
    Orders(orders::Orders),
    /// Tell of each step's market, and of the account's own orders, as they happen
    Watch(watch::Watch),
    /// Show how the markets of past steps ended, or what an account traded in them
    History(history::History),
    /// Submit a transaction that was signed offline
    Submit(transfer::Submit),
    /// Show what signing offline needs to know of the chain
    Chain(transfer::ChainInfo),
}

/// What a command reads from and writes to.
pub struct Console<'a> {
    /// Answers, which other programs may read.
    pub out: &'a mut dyn Write,
    /// Warnings and what to do next, for people.
    pub notes: &'a mut dyn Write,
    /// Where `-` reads from.
    pub input: &'a mut dyn Read,
}

impl Console<'_> {
    /// Writes a JSON object on lines of its own.
    fn json(&mut self, value: &Value) -> Result<(), WalletError> {
        writeln!(self.out, "{value:#}")?;
        Ok(())
    }

    /// Writes a JSON object on one line, to be read while more are to come.
    fn json_line(&mut self, value: &Value) -> Result<(), WalletError> {
        writeln!(self.out, "{value}")?;
        self.out.flush()?;
        Ok(())
    }
}

impl WalletCommand {
    /// Does what the command line asks.
    ///
    /// # Errors
    /// What went wrong, and what to do about it.
    pub fn run(self, console: &mut Console<'_>) -> Result<(), WalletError> {
        match self.task {
            Task::Create(task) => task.run(console),
            Task::Import(task) => task.run(console),
            Task::Export(task) => task.run(console),
            Task::List(task) => task.run(console),
            Task::Balance(task) => start()?.block_on(task.run(console)),
            Task::Bid(task) => start()?.block_on(task.run(console)),
            Task::Ask(task) => start()?.block_on(task.run(console)),
            Task::Standing(task) => start()?.block_on(task.run(console)),
            Task::Auto(task) => start()?.block_on(task.run(console)),
            Task::Cancel(task) => start()?.block_on(task.run(console)),
            Task::Replace(task) => start()?.block_on(task.run(console)),
            Task::Transfer(task) => start()?.block_on(task.run(console)),
            Task::Orders(task) => start()?.block_on(task.run(console)),
            Task::Watch(task) => start()?.block_on(task.run(console)),
            Task::History(task) => start()?.block_on(task.run(console)),
            Task::Submit(task) => start()?.block_on(task.run(console)),
            Task::Chain(task) => start()?.block_on(task.run(console)),
        }
    }
}

/// Starts what talks to the node: one thread is enough.
fn start() -> Result<Runtime, WalletError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(WalletError::System)
}
