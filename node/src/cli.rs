//! The command line.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind, parser::ValueSource,
};
use clap_complete::Shell;
use commonwatt_wallet::{Console, WalletCommand};

use crate::{
    commands::{
        ChainInfo, CheckBlock, Clear, ExportBlocks, ImportBlocks, Init, PurgeChain, Revert,
        Validators,
    },
    community::{self, KeyKind},
    dev::DevCommand,
    flags_file,
    gateway::MetersCommand,
    key::KeyCommand,
    light::LightCommand,
    localnet::LocalnetCommand,
    logging::{self, LogFormat},
    replay::ReplayCommand,
    report::{self, output, say},
    run::RunCommand,
    spec::ChainSpec,
    threads,
};

/// A blockchain node for energy communities: certified generation becomes traceable watt-hours, shared by
/// the community's agreement, one block for each market step.
///
/// Without a command it runs a node of the chain that `init` has set up. `commonwatt dev` runs a demonstration, `commonwatt
/// localnet` one with several nodes. `@FILE` stands for the lines of a file, one argument each.
#[derive(Debug, Parser)]
#[command(name = "commonwatt", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunCommand,
    #[command(flatten)]
    logging: LoggingArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
struct LoggingArgs {
    /// Log filter, a list of target=level [default: warn,commonwatt=info,libp2p_gossipsub=error; or the variable RUST_LOG]
    #[arg(short = 'l', long = "log", global = true, value_name = "FILTER")]
    log: Option<String>,
    /// Log format
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a development chain: one validator and a demo community of real households
    Dev(DevCommand),
    /// Run a network of several validators on this machine, each a process of its own, with the demo community
    Localnet(LocalnetCommand),
    /// Follow a chain by headers and certificates alone, on a small machine
    Light(LightCommand),
    /// Pass the demo community's readings on to the nodes of a demonstration chain
    Meters(MetersCommand),
    /// Feed a folder of community data through the chain as fast as it goes, and report
    Replay(ReplayCommand),
    /// Set a node up: its folder, its identity on the network, a validator's keys, the chain spec
    Init(Init),
    /// Make, show, store and exchange keys, offline
    Key(KeyCommand),
    /// Keep accounts, trade, and watch the market, over JSON-RPC
    Wallet(WalletCommand),
    /// Print the chain spec of the development chain
    ExportChainSpec(ExportChainSpec),
    /// Check a chain spec and print its genesis hash
    CheckSpec(CheckSpec),
    /// Tell what a stopped node has: its chain, last block, states and size
    ChainInfo(ChainInfo),
    /// Execute a stored block again and compare
    CheckBlock(CheckBlock),
    /// Write blocks to a file
    ExportBlocks(ExportBlocks),
    /// Take blocks from a file, each of them checked
    ImportBlocks(ImportBlocks),
    /// Take the last blocks back, after a disaster
    Revert(Revert),
    /// Remove a chain's blocks and states; keys and chain spec stay
    PurgeChain(PurgeChain),
    /// Show validators' bids, turns and reputation, as a running node tells them
    Validators(Validators),
    /// Clear order books from a file by any market mechanism, offline
    Clear(Clear),
    /// Print what makes a shell complete this program's commands
    Completions(Completions),
}

#[derive(Debug, Args)]
struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Args)]
struct ExportChainSpec {
    /// How the demo community shares its energy
    #[arg(long, value_enum, default_value_t = KeyKind::Static)]
    key: KeyKind,
}

#[derive(Debug, Args)]
struct CheckSpec {
    /// The chain spec
    file: PathBuf,
}

impl Cli {
    /// Reads the command line of this process; ends it with an explanation when that makes no sense.
    pub fn of_process() -> Self {
        let words = flags_file::expand(std::env::args_os()).unwrap_or_else(|error| {
            let mut command = Self::command();
            let message = report::describe_error(&error);
            command.error(ErrorKind::Io, message).exit()
        });
        Self::of_words(words).unwrap_or_else(|error| error.exit())
    }

    fn of_words<Word: Into<std::ffi::OsString> + Clone>(
        words: impl IntoIterator<Item = Word>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let Some(name) = matches.subcommand_name() else {
            return Self::from_arg_matches(&matches);
        };
        let misplaced = command.get_arguments().find(|argument| {
            let id = argument.get_id().as_str();
            !argument.is_global_set() && matches.value_source(id) == Some(ValueSource::CommandLine)
        });
        let Some(flag) = misplaced.and_then(|argument| argument.get_long()) else {
            return Self::from_arg_matches(&matches);
        };
        let message = format!(
            "--{flag} stands before '{name}', where it would be a node's: write it after '{name}' if that takes it (see \
             `commonwatt {name} --help`)"
        );
        Err(command.error(ErrorKind::ArgumentConflict, message))
    }

    /// Does what the command line asks.
    pub fn run(self) -> Result<()> {
        logging::start(self.logging.log.as_deref(), self.logging.log_format)?;
        threads::start_workers()?;
        let Some(command) = self.command else {
            return self.run.run();
        };
        match command {
            Command::Dev(command) => command.run(),
            Command::Localnet(command) => command.run(),
            Command::Light(command) => command.run(),
            Command::Meters(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Init(command) => command.run(),
            Command::Key(command) => command.run(),
            Command::Wallet(command) => run_wallet(command),
            Command::ExportChainSpec(command) => command.run(),
            Command::CheckSpec(command) => command.run(),
            Command::ChainInfo(command) => command.run(),
            Command::CheckBlock(command) => command.run(),
            Command::ExportBlocks(command) => command.run(),
            Command::ImportBlocks(command) => command.run(),
            Command::Revert(command) => command.run(),
            Command::PurgeChain(command) => command.run(),
            Command::Clear(command) => command.run(),
            Command::Validators(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}

fn run_wallet(command: WalletCommand) -> Result<()> {
    let console = &mut Console {
        out: &mut output(),
        notes: &mut io::stderr(),
        input: &mut io::stdin(),
    };
    Ok(command.run(console)?)
}

impl Completions {
    fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "commonwatt", &mut script);
        output()
            .write_all(&script)
            .context("cannot print the completions")
    }
}

impl ExportChainSpec {
    fn run(self) -> Result<()> {
        let community = commonwatt_community_data::Community::demo()?;
        let spec = community::dev_spec(&community, self.key).to_json();
        output()
            .write_all(spec.as_bytes())
            .context("cannot print the chain spec")
    }
}

impl CheckSpec {
    fn run(self) -> Result<()> {
        let spec = ChainSpec::read(&self.file)?;
        for note in spec.notes() {
            say!("note: {note}")?;
        }
        say!(
            "{} ({}) is sound; genesis {:?}",
            spec.name,
            spec.id,
            spec.genesis_hash()?
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_a_node_runs() {
        let cli = Cli::of_words(["commonwatt", "--validator", "--chain", "village"]).unwrap();
        assert!(cli.command.is_none());
    }

    #[test]
    fn a_nodes_flag_before_a_command_is_not_lost_in_silence() {
        let said = Cli::of_words(["commonwatt", "--base-path", "/x", "chain-info"])
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("--base-path") && said.contains("after 'chain-info'"),
            "{said}"
        );
        Cli::of_words(["commonwatt", "-l", "debug", "chain-info"]).unwrap();
        Cli::of_words(["commonwatt", "chain-info", "--base-path", "/x"]).unwrap();
    }

    #[test]
    fn every_shell_gets_completions() {
        for shell in [
            Shell::Bash,
            Shell::Elvish,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Zsh,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "commonwatt", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("import-blocks"), "{shell}");
        }
    }
}
