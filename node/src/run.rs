//! `commonwatt` without a subcommand: a node.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use commonwatt_keystore::{Keystore, Purpose};
use commonwatt_primitives::digest::Punctuality;

use crate::{
    agreement::{LinkConfig, NetworkArgs},
    args::{ChainArgs, MetricsArgs, RpcArgs, StorageArgs},
    bidding::BidArgs,
    key::{PasswordArgs, Prompt},
    paths::ChainFolder,
    producer::{CatchUpArgs, Produced},
    service::{self, Role, Service, ServiceConfig},
    spec::ChainSpec,
    stop::now_ms,
};

/// Longest name of a node, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Runs a node.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The node")]
pub struct RunCommand {
    #[command(flatten)]
    chain: ChainArgs,
    /// Make blocks and vote. The keystore must hold the vote key and the beacon key that the chain knows this validator by
    #[arg(long)]
    validator: bool,
    #[command(flatten)]
    catch_up: CatchUpArgs,
    /// Name of this node in its log
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    bid: BidArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// Vote from this height on only: for a validator whose write-ahead log is lost, or whose keys have moved. Give at least
    /// three more than the last block of any node
    #[arg(long, value_name = "HEIGHT", requires = "validator")]
    votes_from: Option<u32>,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_fit = !text.trim().is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    if is_fit {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a name has at most {NAME_CHARS_MAX} characters, all of them printable"
        ))
    }
}

impl RunCommand {
    /// Runs until a signal comes.
    pub fn run(self) -> Result<()> {
        if let Some(file) = self.chain.spec_file() {
            // Before a copy is put into the chain's folder.
            service::verify_beginning(&ChainSpec::read(file)?)?;
        }
        let (folder, spec) = self.chain.open_or_create()?;
        let role = self.role(&folder)?;
        let mut service = Service::start(ServiceConfig {
            spec: spec.clone(),
            folder: folder.clone(),
            database: self.storage.config(),
            rpc: self.rpc.config(),
            metrics: self.metrics.address(),
            role,
            link: Some(LinkConfig {
                network: self.network.clone(),
                boot_nodes: spec.boot_peers()?,
                votes_from: self.votes_from,
            }),
        })?;
        let (best, _) = service.chain().best();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            node = self.name,
            chain = spec.id,
            genesis = ?service.chain().genesis_hash(),
            best,
            validator = self.validator,
            folder = %folder.path().display(),
            "the node runs"
        );
        let begins_in = spec.genesis.timing.genesis_ms.saturating_sub(now_ms());
        if begins_in > 0 && best == 0 {
            let seconds = Duration::from_millis(begins_in).as_secs();
            tracing::info!(
                seconds,
                "the chain's first step has not begun; waiting for it"
            );
        }
        if let Some(bidder) = self.bid.bidder(service.chain(), spec.genesis.timing)? {
            service.bid(bidder);
        }
        if !self.validator {
            self.warn_of_idle_keys(&service, &folder);
        }
        service.inform();
        service.produce(self.catch_up.catch_up(), log_block)?;
        let durable = service.run()?;
        tracing::info!(best = durable, "stopped; everything is on disk");
        Ok(())
    }

    /// Says so when the keys of a validator lie here, and nobody asked to use them.
    fn warn_of_idle_keys(&self, service: &Service, folder: &ChainFolder) {
        let (Ok(validators), true) = (service.chain().validators(), folder.keystore().is_dir())
        else {
            return;
        };
        let kept = Keystore::open(folder.keystore(), None).and_then(|keystore| keystore.list());
        let is_kept = |public: &[u8; 32]| {
            kept.iter()
                .flatten()
                .any(|key| key.purpose == Purpose::Vote && key.public == *public)
        };
        if let Some((account, _)) = validators.iter().find(|(_, keys)| is_kept(&keys.vote.0)) {
            tracing::warn!(
                %account,
                "the vote key of this validator lies here, but without --validator this node makes no blocks and does not vote: start \
                 it with --validator, unless another node does so with the same key"
            );
        }
    }

    fn role(&self, folder: &ChainFolder) -> Result<Role> {
        if !self.validator {
            if self.password.is_given() {
                tracing::warn!(
                    "the password of the keystore is not used: without --validator this node makes no blocks and needs no keys"
                );
            }
            return Ok(Role::Full);
        }
        let keystore = Keystore::open(folder.keystore(), self.password.read(Prompt::Known)?)?;
        Ok(Role::validator(keystore))
    }
}

/// Logs a block this node made.
fn log_block(produced: Produced) {
    let Produced {
        step,
        block,
        punctuality,
        took,
    } = produced;
    let late = punctuality == Punctuality::Late;
    tracing::info!(
        block = step.0,
        hash = ?block.hash,
        transactions = block.extrinsics,
        late,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "made"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        assert_eq!(parse_name("Dorfplatz 1"), Ok("Dorfplatz 1".into()));
        for name in ["", "  ", "two\nlines", &"n".repeat(65)] {
            assert!(parse_name(name).is_err(), "{name:?}");
        }
    }
}
