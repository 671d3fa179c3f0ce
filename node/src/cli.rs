//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use commonwatt_runtime::genesis::Finding;

use crate::{
    community::{self, KeyKind},
    dev::DevCommand,
    logging::{self, LogFormat},
    replay::ReplayCommand,
    spec::ChainSpec,
    threads,
};

/// A blockchain node for energy communities: certified generation becomes traceable watt-hours, shared by
/// the community's agreement, one block for each market step.
#[derive(Debug, Parser)]
#[command(name = "commonwatt", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: LoggingArgs,
}

#[derive(Debug, Args)]
struct LoggingArgs {
    /// Log filter, a list of target=level [default: warn,commonwatt=info; or the variable RUST_LOG]
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
    /// Feed a folder of community data through the chain as fast as it goes, and report
    Replay(ReplayCommand),
    /// Print the chain spec of the development chain
    ExportChainSpec(ExportChainSpec),
    /// Check a chain spec and print its genesis hash
    CheckSpec(CheckSpec),
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
    /// Does what the command line asks.
    pub fn run(self) -> Result<()> {
        logging::start(self.logging.log.as_deref(), self.logging.log_format)?;
        threads::start_workers()?;
        match self.command {
            Command::Dev(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::ExportChainSpec(command) => command.run(),
            Command::CheckSpec(command) => command.run(),
        }
    }
}

impl ExportChainSpec {
    fn run(self) -> Result<()> {
        let community = commonwatt_community_data::Community::demo()?;
        print!("{}", community::dev_spec(&community, self.key).to_json());
        Ok(())
    }
}

impl CheckSpec {
    fn run(self) -> Result<()> {
        let spec = ChainSpec::read(&self.file)?;
        for finding in spec.genesis.check() {
            if let Finding::Note(note) = finding {
                println!("note: {note}");
            }
        }
        println!(
            "{} ({}) is sound; genesis {:?}",
            spec.name,
            spec.id,
            spec.genesis_hash()?
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
