//! `commonwatt dev`: one validator, a demo community of real households, energy in every block.

use std::{
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use commonwatt_chain::{Chain, ChainConfig, SingleValidator};
use commonwatt_community_data::Community;
use commonwatt_executor::Executor;
use commonwatt_primitives::{AccountId, Step, StepTiming, digest::Punctuality};
use commonwatt_rpc::{Cors, NodeInfo, NodeRole, RpcConfig};
use commonwatt_storage::{ChainDb, DatabaseKind, DbConfig, StatePruning};
use pallet_virtual_meter::{StepSummary, VgmEntry};

use crate::{
    community::{self, KeyKind, member_account},
    meters::{Meters, demo_row},
    paths::{ChainFolder, default_base_path, write_new},
    producer::{self, Produced, Stop, now_ms},
    report::{energy, grouped, short},
    spec::{ChainSpec, ChainType},
    threads,
};

/// Runs a development chain with the demo community.
#[derive(Debug, Args)]
pub struct DevCommand {
    /// Folder below which the chain is kept [default: ~/.local/share/commonwatt]
    #[arg(long, value_name = "FOLDER")]
    base_path: Option<PathBuf>,
    /// Keep nothing: use a temporary folder that is removed at the end
    #[arg(long, conflicts_with = "base_path")]
    tmp: bool,
    /// Length of a step in milliseconds, for a new chain [default: 6000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(250..=900_000))]
    step_ms: Option<u64>,
    /// How a new chain's community shares its energy
    #[arg(long, value_enum, value_name = "KEY")]
    key: Option<KeyKind>,
    /// Port of the JSON-RPC server, HTTP and WebSocket
    #[arg(long, default_value_t = 9944, value_name = "PORT")]
    rpc_port: u16,
    /// Allow unsafe JSON-RPC methods, which a development chain on this machine may need
    #[arg(long)]
    rpc_unsafe: bool,
    /// Web page that may call JSON-RPC, like https://example.org; several times for several, or `all`
    /// [default: pages of this machine and https://polkadot.js.org]
    #[arg(long, value_name = "ORIGIN")]
    rpc_cors: Vec<String>,
    /// Stop after this many blocks
    #[arg(long, value_name = "COUNT")]
    blocks: Option<u32>,
    #[command(flatten)]
    storage: StorageArgs,
}

/// How the chain is stored.
#[derive(Clone, Copy, Debug, Args)]
pub struct StorageArgs {
    /// Database back end, for a new chain
    #[arg(long, value_enum, default_value_t = Database::Sled)]
    pub database: Database,
    /// States to keep: `archive` for all, or a number of blocks
    #[arg(long, default_value = "256", value_name = "archive|N", value_parser = parse_pruning)]
    pub state_pruning: StatePruning,
    /// Memory for decoded parts of the state, in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub state_cache: u16,
}

/// Database back ends, as the command line knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Database {
    /// sled, the default.
    Sled,
    /// redb.
    Redb,
}

impl StorageArgs {
    /// Returns the database's configuration.
    pub fn config(&self) -> DbConfig {
        let kind = match self.database {
            Database::Sled => DatabaseKind::Sled,
            Database::Redb => DatabaseKind::Redb,
        };
        DbConfig {
            kind,
            pruning: self.state_pruning,
            trie_cache_bytes: usize::from(self.state_cache) * 1024 * 1024,
            ..DbConfig::default()
        }
    }
}

fn parse_pruning(text: &str) -> Result<StatePruning, String> {
    if text == "archive" {
        return Ok(StatePruning::Archive);
    }
    match text.parse::<u32>() {
        Ok(blocks) if blocks >= 1 => Ok(StatePruning::Keep(blocks)),
        _ => Err("give `archive`, or how many blocks' states to keep, at least 1".into()),
    }
}

impl DevCommand {
    /// Runs until Ctrl-C, or until the blocks asked for are made.
    pub fn run(self) -> Result<()> {
        let temporary = self
            .tmp
            .then(tempfile::tempdir)
            .transpose()
            .context("no temporary folder")?;
        let base = match (&temporary, &self.base_path) {
            (Some(folder), _) => folder.path().to_owned(),
            (None, Some(base)) => base.clone(),
            (None, None) => default_base_path()?,
        };
        let community = Community::demo()?;
        let folder = ChainFolder::create(&base, "dev")?;
        let (spec, is_new) = self.load_or_begin(&folder, &community)?;
        let timing = spec.genesis.timing;
        let chain = Arc::new(open_chain(&folder, &spec, self.storage.config())?);

        let runtime = threads::start_async()?;
        let stop = Stop::default();
        let rpc = runtime.block_on(commonwatt_rpc::start(
            chain.clone(),
            node_info(&spec),
            self.rpc_config(),
        ))?;
        let url = format!("ws://{}", rpc.local_addr());
        welcome(&spec, &folder, &url, is_new, &chain)?;

        let meters = runtime.block_on(Meters::connect(&url, &community))?;
        let meters = runtime.spawn(meters.run(timing, stop.clone()));
        runtime.spawn(ask_on_signal(stop.clone()));
        let producing = self.produce(chain.clone(), community, timing, stop.clone())?;
        let result = producing
            .join()
            .unwrap_or_else(|_| Err(anyhow!("making blocks ended with a panic")));

        stop.ask();
        runtime.block_on(async {
            let _ = meters.await;
            rpc.stop().await;
        });
        let safe = chain.db().durable_number();
        println!("Stopped. {safe} steps are on disk; start again to go on.");
        result
    }

    fn rpc_config(&self) -> RpcConfig {
        RpcConfig {
            listen: ([127, 0, 0, 1], self.rpc_port).into(),
            methods: if self.rpc_unsafe {
                commonwatt_rpc::Safety::Unsafe
            } else {
                commonwatt_rpc::Safety::Auto
            },
            cors: match self.rpc_cors.as_slice() {
                [] => RpcConfig::default().cors,
                [all] if all == "all" => Cors::Any,
                origins => Cors::Origins(origins.to_vec()),
            },
            ..RpcConfig::default()
        }
    }

    /// Returns the spec of the chain in `folder`; begins a new one there when there is none.
    fn load_or_begin(
        &self,
        folder: &ChainFolder,
        community: &Community,
    ) -> Result<(ChainSpec, bool)> {
        let path = folder.chain_spec();
        if path.exists() {
            let spec = ChainSpec::read(&path)?;
            self.verify_unchanged(&spec, folder)?;
            return Ok((spec, false));
        }
        let mut spec = community::dev_spec(community, self.key.unwrap_or_default());
        let timing = &mut spec.genesis.timing;
        if let Some(step_ms) = self.step_ms {
            scale(timing, step_ms);
        }
        // Step 1 begins now, on a whole second.
        timing.genesis_ms = now_ms() / 1_000 * 1_000;
        spec.verify()?;
        write_new(&path, &spec.to_json())?;
        // Whoever was first decides: another process may have begun this chain at the same moment.
        Ok((ChainSpec::read(&path)?, true))
    }

    fn verify_unchanged(&self, spec: &ChainSpec, folder: &ChainFolder) -> Result<()> {
        let step_ms = spec.genesis.timing.step_ms;
        if let Some(asked) = self.step_ms
            && asked != step_ms
        {
            bail!(
                "the chain in {} has steps of {step_ms} ms, not {asked}: leave out --step-ms, remove that \
                 folder to begin anew, or choose another with --base-path",
                folder.path().display()
            );
        }
        if let Some(asked) = self.key {
            let other = community::genesis(&Community::demo()?, asked, spec.genesis.timing);
            if other.agreement != spec.genesis.agreement {
                bail!(
                    "the chain in {} began with another key than {}: leave out --key, remove that folder to \
                     begin anew, or choose another with --base-path",
                    folder.path().display(),
                    asked.as_str()
                );
            }
        }
        Ok(())
    }

    fn produce(
        &self,
        chain: Arc<Chain>,
        community: Community,
        timing: StepTiming,
        stop: Stop,
    ) -> Result<thread::JoinHandle<Result<()>>> {
        let blocks_max = self.blocks;
        threads::spawn("producer", move || {
            let names: Vec<_> = community
                .participants
                .iter()
                .map(|participant| (member_account(participant), participant.id.clone()))
                .collect();
            let mut board = Board {
                chain: &chain,
                names,
                missed: 0,
                told: Instant::now(),
            };
            let mut made = 0u32;
            let result = producer::run(&chain, &timing, &stop, |produced| {
                board.show(&produced);
                made = made.saturating_add(1);
                if blocks_max.is_some_and(|max| made >= max) {
                    stop.ask();
                }
            });
            stop.ask();
            result.map_err(Into::into)
        })
    }
}

/// Asks everybody to stop at Ctrl-C, or when a supervisor ends the process.
async fn ask_on_signal(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::error!("cannot listen for signals; end this node with Ctrl-C twice");
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    stop.ask();
}

/// Shortens or lengthens the gates along with the step.
fn scale(timing: &mut StepTiming, step_ms: u64) {
    let scaled = |ms: u64| ms.saturating_mul(step_ms) / timing.step_ms.max(1);
    let (open, close, settle) = (
        scaled(timing.gate_open_ms),
        scaled(timing.gate_close_ms),
        scaled(timing.settle_delay_ms),
    );
    *timing = StepTiming {
        step_ms,
        gate_open_ms: open,
        gate_close_ms: close,
        settle_delay_ms: settle.max(150),
        ..*timing
    };
}

/// Opens the chain of `spec`, with the development key of its only validator.
pub fn open_chain(folder: &ChainFolder, spec: &ChainSpec, config: DbConfig) -> Result<Chain> {
    let db = ChainDb::open(&folder.database(), config)?;
    let genesis = spec
        .genesis
        .build_storage()
        .map_err(|error| anyhow!("{error}"))?;
    let mut chain = Chain::open(db, Executor::new(), genesis, ChainConfig::default())?;
    let validators = chain.validators()?;
    let [(account, keys)] = validators.as_slice() else {
        bail!(
            "this chain has {} validators; a development node runs one alone",
            validators.len()
        );
    };
    let agreement = SingleValidator::new(account.clone(), keys, community::ed25519_key("//Alice"))?;
    chain.set_agreement(Arc::new(agreement));
    Ok(chain)
}

fn node_info(spec: &ChainSpec) -> NodeInfo {
    NodeInfo {
        name: "commonwatt".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        chain_name: spec.name.clone(),
        chain_id: Some(spec.id.clone()),
        chain_type: match spec.chain_type {
            ChainType::Development => commonwatt_rpc::ChainType::Development,
            ChainType::Local => commonwatt_rpc::ChainType::Local,
            ChainType::Live => commonwatt_rpc::ChainType::Live,
        },
        properties: spec.properties.clone(),
        roles: vec![NodeRole::Authority],
    }
}

fn welcome(
    spec: &ChainSpec,
    folder: &ChainFolder,
    url: &str,
    is_new: bool,
    chain: &Chain,
) -> Result<()> {
    let step_s = spec.genesis.timing.step_ms as f64 / 1_000.0;
    let (best, _) = chain.best();
    let begins = if is_new {
        "a new chain begins".to_owned()
    } else {
        format!("the chain goes on after step {best}")
    };
    println!("{}: {begins} in {}", spec.name, folder.path().display());
    println!("  genesis   {:?}", chain.genesis_hash());
    println!(
        "  community {} members, {} meters; steps of {step_s} s, each a quarter of an hour of one real summer week",
        spec.genesis.members.len(),
        spec.genesis.meters.len()
    );
    println!("  JSON-RPC  {url} (any Substrate client, for example polkadot.js Apps)");
    println!("  look at a step:   energy_stepSummary [STEP], energy_allocations [STEP]");
    println!("  trace a kWh:      energy_trace [STEP, MEMBER'S ADDRESS]");
    println!("  stop with Ctrl-C, start again to go on\n");
    Ok(())
}

/// Prints what each step brought.
struct Board<'a> {
    chain: &'a Chain,
    names: Vec<(AccountId, String)>,
    missed: u32,
    /// When something was printed last.
    told: Instant,
}

/// How often a node that is catching up says how far it is.
const CATCH_UP_NEWS: Duration = Duration::from_secs(5);

/// Members named on a step's line; all of them are an RPC call away.
const MEMBERS_SHOWN: usize = 4;

impl Board<'_> {
    fn show(&mut self, produced: &Produced) {
        if produced.punctuality == Punctuality::Late {
            self.missed = self.missed.saturating_add(1);
            if self.told.elapsed() >= CATCH_UP_NEWS {
                println!(
                    "catching up: {} missed steps closed late so far",
                    self.missed
                );
                self.told = Instant::now();
            }
            return;
        }
        if self.missed > 0 {
            println!("caught up: {} missed steps closed late", self.missed);
            self.missed = 0;
        }
        self.told = Instant::now();
        match self.describe(produced) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                tracing::error!(step = %produced.step, %error, "cannot describe the step")
            }
        }
    }

    fn describe(&self, produced: &Produced) -> Result<String> {
        let Produced {
            step, block, took, ..
        } = produced;
        let state = self.chain.state(Some(block.hash))?;
        let executor = self.chain.executor();
        let summary: Option<StepSummary> =
            executor.call(&state, "EnergyApi_step_summary", *step)?;
        let allocations: Vec<(AccountId, VgmEntry)> =
            executor.call(&state, "EnergyApi_allocations", *step)?;
        let summary = summary.ok_or_else(|| anyhow!("the step was not distributed"))?;

        let mut shares: Vec<_> = allocations
            .iter()
            .filter_map(|(who, entry)| Some((entry.allocated()?, who)))
            .filter(|(allocated, _)| !allocated.is_zero())
            .collect();
        shares.sort_by(|one, other| other.cmp(one));
        let named: Vec<_> = shares
            .iter()
            .take(MEMBERS_SHOWN)
            .map(|(allocated, who)| format!("{} {}", self.name(who), energy(*allocated)))
            .collect();
        let others = shares.len().saturating_sub(MEMBERS_SHOWN);
        let to_whom = if shares.is_empty() {
            "nothing to share".to_owned()
        } else {
            format!("{}, {others} more", named.join(", "))
        };
        Ok(format!(
            "step {:>5}  {}  generated {:>9}  consumed {:>9}  -> {to_whom}\n            block {:?}, {} transactions, {} ms",
            step.0,
            clock(*step),
            energy(summary.generated),
            energy(summary.consumption),
            block.hash,
            grouped(block.extrinsics as u128),
            took.as_millis(),
        ))
    }

    fn name(&self, who: &AccountId) -> String {
        self.names
            .iter()
            .find(|(account, _)| account == who)
            .map_or_else(|| short(who), |(_, name)| name.clone())
    }
}

/// Returns weekday and time of the demo data that a step plays.
fn clock(step: Step) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let row = demo_row(step);
    let day = DAYS[(row / 96) as usize % DAYS.len()];
    let minutes = row % 96 * 15;
    format!("{day} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_is_archive_or_a_positive_number() {
        assert_eq!(parse_pruning("archive"), Ok(StatePruning::Archive));
        assert_eq!(parse_pruning("16"), Ok(StatePruning::Keep(16)));
        assert!(parse_pruning("0").is_err());
        assert!(parse_pruning("all").is_err());
    }

    #[test]
    fn faster_steps_have_shorter_gates() {
        let mut timing = community::DEV_TIMING;
        scale(&mut timing, 2_000);
        assert_eq!(
            (timing.step_ms, timing.gate_open_ms, timing.settle_delay_ms),
            (2_000, 166, 333)
        );
        assert_eq!(timing.verify(), Ok(()));
    }

    #[test]
    fn the_demo_week_begins_on_monday() {
        assert_eq!(clock(Step(1)), "Mon 08:00");
    }
}
