//! `commonwatt replay`: a folder of community data through the whole node, as fast as it goes.
//!
//! Every reading is signed by its meter's device, validated by the runtime, pooled, built into the block of its
//! step and stored; what comes out is compared with the data that went in. With `--trade` the members trade, too.

mod market;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use commonwatt_chain::Chain;
use commonwatt_community_data::{Community, Readings, StepReadings};
use commonwatt_executor::BuildLimits;
use commonwatt_primitives::{AccountId, Step, StepTiming, digest::Punctuality};
use commonwatt_runtime::transaction::{SigningContext, sign_ed25519};
use commonwatt_storage::CommitMode;
use pallet_virtual_meter::{StepSummary, VgmEntry};
use rayon::prelude::*;
use serde::Serialize;
use sp_runtime::{traits::Header as _, transaction_validity::TransactionSource};
use sp_state_machine::{Backend, IterArgs};

use self::market::{MarketOutcome, TradeArgs};
use crate::{
    args::StorageArgs,
    community::{self, Device, KeyKind, Measures, devices, member_account},
    meters::interval_call,
    paths::ChainFolder,
    producer::BODY_BYTES_MAX,
    report::{grouped, say},
    service::{self, Role},
    spec::ChainSpec,
};

/// Steps signed ahead of the one being built: enough to keep a second core busy.
const STEPS_AHEAD: usize = 16;

/// Feeds a folder of community data through the chain.
#[derive(Debug, Args)]
pub struct ReplayCommand {
    /// Folder with community.csv, load_wh.csv.gz and pv_wh.csv.gz
    dir: PathBuf,
    /// How the community shares its energy
    #[arg(long, value_enum, default_value_t = KeyKind::Static)]
    key: KeyKind,
    /// Stop after this many steps [default: all]
    #[arg(long, value_name = "COUNT")]
    steps: Option<u32>,
    /// Report as one JSON object
    #[arg(long)]
    json: bool,
    /// Write every member's allocation in every step, read from the chain, to this CSV file
    #[arg(long, value_name = "FILE")]
    allocations: Option<PathBuf>,
    /// Keep the chain in this folder, which must not hold one yet [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    base_path: Option<PathBuf>,
    #[command(flatten)]
    trade: TradeArgs,
    #[command(flatten)]
    storage: StorageArgs,
}

/// What a replay did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    key: &'static str,
    database: String,
    steps: u32,
    readings: u64,
    members: usize,
    generated_wh: Totals,
    consumed_wh: Totals,
    shared_wh: u64,
    rest_wh: u64,
    best_block: String,
    state_root: String,
    seconds: f64,
    readings_per_second: u64,
    peak_memory_bytes: Option<u64>,
    disk_bytes: u64,
    /// What the state after the last block holds.
    state: Size,
    /// What is on disk, by column: payload only, without what the back end adds.
    columns: BTreeMap<String, Size>,
    /// What trading came to; `None` when nobody traded.
    #[serde(skip_serializing_if = "Option::is_none")]
    market: Option<MarketOutcome>,
    equal: bool,
}

/// How much there is of something.
#[derive(Debug, Default, Serialize)]
struct Size {
    entries: u64,
    bytes: u64,
}

/// The same sum from two sides.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    data: u64,
    chain: u64,
}

/// A step ready to be submitted.
struct SignedStep {
    step: Step,
    row: StepReadings,
    transactions: Vec<Vec<u8>>,
}

impl ReplayCommand {
    /// Replays and reports.
    pub fn run(self) -> Result<()> {
        let temporary = match &self.base_path {
            Some(_) => None,
            None => Some(
                tempfile::tempdir().context("no temporary folder; name one with --base-path")?,
            ),
        };
        let base = match (&self.base_path, &temporary) {
            (Some(base), _) => base.as_path(),
            (None, Some(folder)) => folder.path(),
            (None, None) => bail!("no folder to keep the chain in; name one with --base-path"),
        };
        let community = Community::open(&self.dir)?;
        let available = Readings::count_steps(&self.dir)?;
        let steps = self.steps.unwrap_or(available);
        ensure!(
            (1..=available).contains(&steps),
            "{} holds {available} steps; --steps must be between 1 and that",
            self.dir.display()
        );
        let readings = Readings::open(&self.dir, &community)?;
        let (spec, readings) = self.spec(&community, readings)?;
        let folder = ChainFolder::create(base, &spec.id)?;
        ensure!(
            !folder.database().exists(),
            "{} holds a chain already: remove it or name another folder with --base-path",
            folder.path().display()
        );
        fs::write(folder.chain_spec(), spec.to_json())
            .with_context(|| format!("cannot write {}", folder.chain_spec().display()))?;
        let _lock = folder.lock()?;
        let mut chain = service::open_chain(&folder, &spec, self.storage.config())?;
        service::agree(&mut chain, Role::developer())?;
        let chain = Arc::new(chain);

        let began = Instant::now();
        let mut outcome = self.feed(&chain, &community, spec.genesis.timing, readings, steps)?;
        let seconds = began.elapsed().as_secs_f64();
        outcome.seconds = (seconds * 1_000.0).round() / 1_000.0;
        outcome.readings_per_second = (outcome.readings as f64 / seconds) as u64;
        outcome.peak_memory_bytes = peak_memory_bytes();
        outcome.disk_bytes = chain.db().disk_usage()?;
        outcome.state = measure_state(&chain)?;
        for column in chain.db().statistics()? {
            let bytes = column.key_bytes.saturating_add(column.value_bytes);
            let size = Size {
                entries: column.records,
                bytes,
            };
            outcome.columns.insert(column.column.to_string(), size);
        }
        self.tell(&outcome)?;
        ensure!(outcome.equal, "the chain's totals differ from the data's");
        Ok(())
    }

    /// Returns the chain spec, whose clock starts with the data's, and the readings unread.
    fn spec(
        &self,
        community: &Community,
        readings: Readings,
    ) -> Result<(
        ChainSpec,
        impl Iterator<Item = Result<StepReadings>> + Send + use<>,
    )> {
        let mut readings = readings
            .map(|row| row.map_err(anyhow::Error::from))
            .peekable();
        let genesis_ms = match readings.peek() {
            Some(Ok(row)) => row.utc_start_ms,
            Some(Err(_)) | None => 0,
        };
        let timing = StepTiming {
            genesis_ms,
            ..StepTiming::PRODUCTION
        };
        let mut genesis = community::genesis(community, self.key, timing);
        genesis.market.mechanism = self.trade.mechanism()?;
        let spec = ChainSpec {
            name: "Commonwatt Replay".into(),
            id: "replay".into(),
            genesis,
            ..community::dev_spec(community, self.key)
        };
        spec.verify()?;
        Ok((spec, readings))
    }

    fn feed(
        &self,
        chain: &Arc<Chain>,
        community: &Community,
        timing: StepTiming,
        readings: impl Iterator<Item = Result<StepReadings>> + Send + 'static,
        steps: u32,
    ) -> Result<Outcome> {
        let mut export = self
            .allocations
            .as_deref()
            .map(|path| AllocationsFile::create(path, community))
            .transpose()?;
        let mut trading = self.trade.start(chain, community)?;
        let signed = sign_ahead(chain.clone(), devices(community), readings, steps);
        let mut progress = Progress::new(steps, !self.json);
        let mut outcome = Outcome {
            key: self.key.as_str(),
            database: format!("{:?}", self.storage.database).to_lowercase(),
            steps,
            readings: 0,
            members: community.participants.len(),
            generated_wh: Totals::default(),
            consumed_wh: Totals::default(),
            shared_wh: 0,
            rest_wh: 0,
            best_block: String::new(),
            state_root: String::new(),
            seconds: 0.0,
            readings_per_second: 0,
            peak_memory_bytes: None,
            disk_bytes: 0,
            state: Size::default(),
            columns: BTreeMap::new(),
            market: None,
            equal: true,
        };
        for batch in signed {
            let SignedStep {
                step,
                row,
                mut transactions,
            } = batch?;
            let (generated_wh, consumed_wh) = (row.generation_wh(), row.consumption_wh());
            outcome.readings += transactions.len() as u64;
            if let Some(trading) = &mut trading {
                transactions.extend(trading.transactions(step));
            }
            let header = close_step(chain, &timing, step, transactions)?;
            outcome.generated_wh.data += generated_wh;
            outcome.consumed_wh.data += consumed_wh;

            let state = chain.state(None)?;
            let summary: StepSummary = chain
                .executor()
                .call::<Option<_>>(&state, "EnergyApi_step_summary", step)?
                .ok_or_else(|| anyhow!("step {step} was not distributed"))?;
            outcome.generated_wh.chain += summary.generated.0;
            outcome.consumed_wh.chain += summary.consumption.0;
            outcome.shared_wh += summary.shared.0;
            outcome.rest_wh += summary.rest.0;
            outcome.equal &= summary.generated.0 == generated_wh
                && summary.consumption.0 == consumed_wh
                && summary.shared.0 + summary.rest.0 == generated_wh;
            if export.is_some() || trading.is_some() {
                let executor = chain.executor();
                let entries: Vec<(AccountId, VgmEntry)> =
                    executor.call(&state, "EnergyApi_allocations", step)?;
                if let Some(export) = &mut export {
                    export.write(step, &entries)?;
                }
                if let Some(trading) = &mut trading {
                    trading.settle(executor, &state, step, &row, &entries)?;
                }
            }
            outcome.best_block = format!("{:?}", header.hash());
            outcome.state_root = format!("{:?}", header.state_root());
            progress.show(step, outcome.readings);
        }
        progress.end();
        chain.db().flush()?;
        if let Some(export) = export {
            export.finish()?;
        }
        if let Some(trading) = trading {
            outcome.market = Some(trading.finish(chain, Step(steps))?);
        }
        let (best, _) = chain.best();
        ensure!(best == steps, "{best} blocks were made for {steps} steps");
        Ok(outcome)
    }

    fn tell(&self, outcome: &Outcome) -> Result<()> {
        if self.json {
            say!("{}", serde_json::to_string_pretty(outcome)?)?;
            return Ok(());
        }
        let line = |name: &str, value: String| say!("  {name:<22} {value}");
        say!(
            "Replay of {} with the {} key on {}",
            self.dir.display(),
            outcome.key,
            outcome.database
        )?;
        line("steps", grouped(outcome.steps.into()))?;
        line("readings", grouped(outcome.readings.into()))?;
        let pair = |totals: &Totals| {
            format!(
                "{} Wh in the data, {} Wh on the chain",
                grouped(totals.data.into()),
                grouped(totals.chain.into())
            )
        };
        line("generated", pair(&outcome.generated_wh))?;
        line("consumed", pair(&outcome.consumed_wh))?;
        line(
            "shared by the key",
            format!("{} Wh", grouped(outcome.shared_wh.into())),
        )?;
        line(
            "left to generators",
            format!("{} Wh", grouped(outcome.rest_wh.into())),
        )?;
        if let Some(market) = &outcome.market {
            market.tell()?;
        }
        line("best block", outcome.best_block.clone())?;
        line("state root", outcome.state_root.clone())?;
        line("time", format!("{:.1} s", outcome.seconds))?;
        line(
            "rate",
            format!("{} readings/s", grouped(outcome.readings_per_second.into())),
        )?;
        if let Some(bytes) = outcome.peak_memory_bytes {
            line("peak memory", format!("{} MiB", bytes / (1024 * 1024)))?;
        }
        line(
            "on disk",
            format!("{} MiB", outcome.disk_bytes / (1024 * 1024)),
        )?;
        line(
            "state",
            format!(
                "{} entries, {} MiB",
                grouped(outcome.state.entries.into()),
                outcome.state.bytes / (1024 * 1024)
            ),
        )?;
        say!(
            "{}",
            if outcome.equal {
                "Every total is equal."
            } else {
                "TOTALS DIFFER."
            }
        )?;
        Ok(())
    }
}

/// Signs steps on a thread of its own, a bounded number ahead, with their signatures verified on the way.
fn sign_ahead(
    chain: Arc<Chain>,
    devices: Vec<Device>,
    readings: impl Iterator<Item = Result<StepReadings>> + Send + 'static,
    steps: u32,
) -> mpsc::Receiver<Result<SignedStep>> {
    let (sender, receiver) = mpsc::sync_channel(STEPS_AHEAD);
    thread::spawn(move || {
        let context = SigningContext::immortal(chain.genesis_hash());
        for (row, number) in readings.zip(1..=steps) {
            let signed = row.map(|row| {
                let step = Step(number);
                // Each device sends one transaction a step, so the nonce counts steps from zero.
                let transactions: Vec<_> = devices
                    .par_iter()
                    .map(|device| {
                        let call = interval_call(device, step, &row);
                        sign_ed25519(call, number - 1, &context, &device.pair)
                    })
                    .collect();
                chain.preverify(&transactions);
                SignedStep {
                    step,
                    row,
                    transactions,
                }
            });
            let is_last = signed.is_err();
            // The receiver goes away when the replay fails elsewhere.
            if sender.send(signed).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// Pools a step's transactions and makes its block, which must take every one of them.
fn close_step(
    chain: &Chain,
    timing: &StepTiming,
    step: Step,
    transactions: Vec<Vec<u8>>,
) -> Result<commonwatt_runtime::Header> {
    let count = transactions.len();
    for result in chain.submit_many(TransactionSource::External, transactions) {
        result.with_context(|| format!("a reading or an order of step {step} was refused"))?;
    }
    let limits = BuildLimits {
        bytes_max: BODY_BYTES_MAX,
        misfits_max: 0,
        is_over: &|| false,
    };
    let block = chain
        .author_next(timing, Punctuality::OnTime, &limits, CommitMode::bulk())?
        .ok_or_else(|| anyhow!("this node may not make blocks"))?;
    // One more: the timestamp.
    ensure!(
        block.extrinsics == count + 1,
        "block {step} holds {} of {count} readings and orders",
        block.extrinsics.saturating_sub(1)
    );
    Ok(block.header)
}

/// Every member's allocation in every step, as `tests/verify_replay.py` reads it.
struct AllocationsFile {
    writer: BufWriter<File>,
    path: PathBuf,
    members: Vec<AccountId>,
}

impl AllocationsFile {
    fn create(path: &Path, community: &Community) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer = BufWriter::new(file);
        write_order(&mut writer, community)?;
        let members: Vec<_> = community.participants.iter().map(member_account).collect();
        let ids: Vec<_> = community
            .participants
            .iter()
            .map(|participant| participant.id.as_str())
            .collect();
        writeln!(writer, "step,{}", ids.join(","))?;
        Ok(Self {
            writer,
            path: path.to_owned(),
            members,
        })
    }

    fn write(&mut self, step: Step, allocations: &[(AccountId, VgmEntry)]) -> Result<()> {
        write!(self.writer, "{}", step.0 - 1)?;
        for member in &self.members {
            let entry = allocations
                .binary_search_by(|(who, _)| who.cmp(member))
                .ok()
                .and_then(|index| allocations[index].1.allocated());
            write!(self.writer, ",{}", entry.unwrap_or_default())?;
        }
        writeln!(self.writer)?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.writer
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Writes what ties of a split go by: the members by account, and the owners of the plants by meter.
fn write_order(writer: &mut impl Write, community: &Community) -> Result<()> {
    let members: Vec<_> = community.participants.iter().map(member_account).collect();
    let id = |index: usize| community.participants[index].id.as_str();
    let mut by_account: Vec<_> = (0..members.len()).collect();
    by_account.sort_by_key(|&index| &members[index]);
    let order: Vec<_> = by_account.into_iter().map(id).collect();
    let meters: Vec<_> = devices(community)
        .iter()
        .filter(|device| device.measures == Measures::Generation)
        .map(|device| id(device.participant))
        .collect();
    writeln!(writer, "# order: {}", order.join(","))?;
    writeln!(writer, "# meters: {}", meters.join(","))?;
    Ok(())
}

/// A line that tells how far it is, on a terminal only.
struct Progress {
    steps: u32,
    shown: bool,
    began: Instant,
    last: Option<Instant>,
}

impl Progress {
    fn new(steps: u32, wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        Self {
            steps,
            shown,
            began: Instant::now(),
            last: None,
        }
    }

    fn show(&mut self, step: Step, readings: u64) {
        let is_due = self
            .last
            .is_none_or(|last| last.elapsed().as_millis() >= 200);
        if !self.shown || !is_due {
            return;
        }
        self.last = Some(Instant::now());
        let rate = readings as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        eprint!(
            "\r  step {} of {}, {rate:.0} readings/s   ",
            step.0, self.steps
        );
    }

    fn end(&self) {
        if self.shown {
            eprint!("\r{:60}\r", "");
        }
    }
}

/// Counts the keys and values of the state after the best block.
fn measure_state(chain: &Chain) -> Result<Size> {
    let state = chain.state(None)?;
    let pairs = state
        .pairs(IterArgs::default())
        .map_err(|error| anyhow!("{error}"))?;
    let mut size = Size::default();
    for pair in pairs {
        let (key, value) = pair.map_err(|error| anyhow!("{error}"))?;
        size.entries += 1;
        size.bytes += (key.len() + value.len()) as u64;
    }
    Ok(size)
}

/// Returns the most memory this process has used, where the system tells (Linux).
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
