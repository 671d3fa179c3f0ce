//! `commonwatt dev`: one validator, a demo community of real households, energy and a market in every block.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use commonwatt_chain::Chain;
use commonwatt_community_data::Community;
use commonwatt_keystore::{KeyPair, Scheme, SecretUri};
use commonwatt_primitives::{AccountId, Step, StepTiming, Wh, digest::Punctuality};
use pallet_double_auction::{ClearingInfo, StepOutcome, VoidReason};
use pallet_virtual_meter::{StepSummary, VgmEntry};

use crate::{
    args::{MetricsArgs, RpcArgs, StorageArgs},
    bidding::{BidPolicy, Bidder},
    community::{self, KeyKind, member_account},
    gateway::Tell,
    meters::{Meters, demo_row},
    paths::{ChainFolder, default_base_path, write_new},
    producer::{CatchUpArgs, Produced},
    report::{energy, grouped, short},
    service::{Role, Service, ServiceConfig},
    spec::ChainSpec,
    stop::{Stop, now_ms},
    traders::{self, Trading, policy::price_in_words},
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
    /// What the validator bids for each height: off, share=5% of its free voting tokens, or amount=N of them
    #[arg(long, value_name = "POLICY", default_value = "share=5%")]
    bid: BidPolicy,
    /// Let the members trade: each places an order for every step, by a simple policy (docs/trading.md)
    #[arg(long, value_enum, default_value_t, value_name = "on|off")]
    trade: Trading,
    /// Stop after this many blocks
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    blocks: Option<u32>,
    #[command(flatten)]
    catch_up: CatchUpArgs,
    #[command(flatten)]
    storage: StorageArgs,
    #[command(flatten)]
    rpc: RpcArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
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
        let mut service = Service::start(ServiceConfig {
            spec: spec.clone(),
            folder: folder.clone(),
            database: self.storage.config(),
            rpc: self.rpc.config(),
            metrics: self.metrics.address(),
            role: Role::developer(),
            link: None,
        })?;
        let url = service.rpc_url();
        let ending = match self.tmp {
            true => "stop with Ctrl-C; nothing is kept",
            false => "stop with Ctrl-C, start again to go on",
        };
        let welcome = welcome(&spec, &folder, is_new, &service, ending);
        say_or_stop(&welcome, service.stop());

        let meters = service.block_on(Meters::connect(&url, &community))?;
        let run = meters.run(spec.genesis.timing, service.stop().clone());
        service.tasks().spawn("reading meters", run);
        if self.trade == Trading::On {
            let tell: Tell = Arc::new(|node, text| tracing::warn!(node, "{text}"));
            for post in traders::spread(&[url], &community, &tell)? {
                let run = post.run(service.stop().clone());
                service.tasks().spawn("trading", run);
            }
        }
        if self.bid != BidPolicy::Off {
            let timing = spec.genesis.timing;
            let bidder = Bidder::new(service.chain().clone(), timing, alice()?, self.bid, 0)?;
            service.bid(bidder);
        }
        let shown = self.show_blocks(service.chain().clone(), community, service.stop().clone());
        service.produce(self.catch_up.catch_up(), shown)?;
        let stop = service.stop().clone();
        let safe = service.run()?;
        let end = match temporary {
            Some(_) => format!("Stopped after {safe} steps; nothing is kept."),
            None => format!("Stopped. {safe} steps are on disk; start again to go on."),
        };
        say_or_stop(&end, &stop);
        Ok(())
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

    /// Returns what shows each block, and stops after as many as were asked for.
    fn show_blocks(
        &self,
        chain: Arc<Chain>,
        community: Community,
        stop: Stop,
    ) -> impl FnMut(Produced) + Send + use<> {
        let names = community
            .participants
            .iter()
            .map(|participant| (member_account(participant), participant.id.clone()))
            .collect();
        let mut board = Board {
            chain,
            names,
            missed: 0,
            told: Instant::now(),
            stop: stop.clone(),
        };
        let mut left = self.blocks;
        move |produced| {
            board.show(&produced);
            if let Some(left) = &mut left {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    stop.ask();
                }
            }
        }
    }
}

/// Returns the key of the only validator's account, which everybody knows.
fn alice() -> Result<KeyPair> {
    Ok(SecretUri::parse("//Alice")?.to_pair(Scheme::Ed25519)?)
}

/// Shortens or lengthens the gates along with the step.
pub fn scale(timing: &mut StepTiming, step_ms: u64) {
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

/// Prints a text. When nobody reads any more, as after `| head`, the node ends as if it had been asked to.
fn say_or_stop(text: &str, stop: &Stop) {
    if writeln!(io::stdout(), "{text}").is_err() {
        stop.ask();
    }
}

fn welcome(
    spec: &ChainSpec,
    folder: &ChainFolder,
    is_new: bool,
    service: &Service,
    ending: &str,
) -> String {
    let (chain, url) = (service.chain(), service.rpc_url());
    let step_s = spec.genesis.timing.step_ms as f64 / 1_000.0;
    let (best, _) = chain.best();
    let begins = if is_new {
        "a new chain begins".to_owned()
    } else {
        format!("the chain goes on after step {best}")
    };
    let mut lines = vec![
        format!("{}: {begins} in {}", spec.name, folder.path().display()),
        format!("  genesis   {:?}", chain.genesis_hash()),
        format!(
            "  community {} members, {} meters; steps of {step_s} s, each a quarter of an hour of one real summer week",
            spec.genesis.members.len(),
            spec.genesis.meters.len()
        ),
        format!("  JSON-RPC  {url} (any Substrate client, for example polkadot.js Apps)"),
    ];
    if let Some(address) = service.metrics_address() {
        lines.push(format!(
            "  metrics   http://{address}/metrics (Prometheus; docs/metrics.md)"
        ));
    }
    lines.extend([
        "  look at a step:   energy_stepSummary [STEP], energy_allocations [STEP]".to_owned(),
        "  trace a kWh:      energy_trace [STEP, MEMBER'S ADDRESS]".to_owned(),
        "  look at a market: market_clearing [STEP], market_orderBook [STEP] (docs/trading.md)"
            .to_owned(),
        format!("  {ending}\n"),
    ]);
    lines.join("\n")
}

/// Prints what each step brought.
struct Board {
    chain: Arc<Chain>,
    names: Vec<(AccountId, String)>,
    missed: u32,
    /// When something was printed last.
    told: Instant,
    stop: Stop,
}

/// How often a node that is catching up says how far it is.
const CATCH_UP_NEWS: Duration = Duration::from_secs(5);

/// Members named on a step's line; all of them are an RPC call away.
const MEMBERS_SHOWN: usize = 4;

/// The same on its market's line, of each side.
const TRADERS_SHOWN: usize = 2;

/// What a step's further lines begin with.
const INDENT: &str = "            ";

impl Board {
    fn show(&mut self, produced: &Produced) {
        if produced.punctuality == Punctuality::Late {
            self.missed = self.missed.saturating_add(1);
            if self.told.elapsed() >= CATCH_UP_NEWS {
                self.say(&format!(
                    "catching up: {} missed steps closed late so far",
                    self.missed
                ));
                self.told = Instant::now();
            }
            return;
        }
        if self.missed > 0 {
            self.say(&format!(
                "caught up: {} missed {} closed late",
                self.missed,
                if self.missed == 1 { "step" } else { "steps" }
            ));
            self.missed = 0;
        }
        self.told = Instant::now();
        match self.describe(produced) {
            Ok(text) => self.say(&text),
            Err(error) => {
                tracing::error!(step = %produced.step, %error, "cannot describe the step")
            }
        }
    }

    fn say(&self, text: &str) {
        say_or_stop(text, &self.stop);
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
        let clearing: Option<ClearingInfo<AccountId>> =
            executor.call(&state, "MarketApi_clearing", *step)?;
        let market = clearing.map_or_else(String::new, |clearing| {
            format!("{INDENT}{}\n", self.describe_market(&clearing))
        });
        Ok(format!(
            "step {:>5}  {}  generated {:>9}  consumed {:>9}  -> {to_whom}\n{market}{INDENT}block {:?}, {} transactions, {} ms",
            step.0,
            clock(*step),
            energy(summary.generated),
            energy(summary.consumption),
            block.hash,
            grouped(block.extrinsics as u128),
            took.as_millis(),
        ))
    }

    /// Says what was traded in a step, and who traded most.
    fn describe_market(&self, market: &ClearingInfo<AccountId>) -> String {
        let record = match market.outcome {
            StepOutcome::Cleared(record) => record,
            StepOutcome::Void(VoidReason::Late) => {
                return "no market: the block was late".to_owned();
            }
            StepOutcome::Void(VoidReason::Fault) => {
                return "no market: it could not be settled (see the log)".to_owned();
            }
        };
        let in_wh = |units: u64| energy(Wh(units.saturating_mul(market.unit.0)));
        let Some(clearing) = market
            .clearing
            .as_ref()
            .filter(|_| record.totals.volume > 0)
        else {
            return format!(
                "nothing traded: {} asked for, {} on offer",
                in_wh(market.unmatched_demand),
                in_wh(market.unmatched_supply)
            );
        };
        let mut shares = BTreeMap::<(&str, &AccountId), u64>::new();
        for trade in &clearing.trades {
            for (did, position) in [("sold", trade.sell), ("bought", trade.buy)] {
                let order = usize::try_from(position)
                    .ok()
                    .and_then(|at| market.orders.get(at));
                if let Some(order) = order {
                    let units = shares.entry((did, &order.account)).or_default();
                    *units = units.saturating_add(trade.units.into());
                }
            }
        }
        let mut named = Vec::new();
        for side in ["sold", "bought"] {
            let mut most: Vec<_> = shares.iter().filter(|((did, _), _)| *did == side).collect();
            most.sort_by(|(one, a), (other, b)| b.cmp(a).then(one.cmp(other)));
            for ((did, who), units) in most.into_iter().take(TRADERS_SHOWN) {
                named.push(format!("{} {did} {}", self.name(who), in_wh(*units)));
            }
        }
        let others = shares.len().saturating_sub(named.len());
        format!(
            "traded {} at {} for {}, in {} trades: {}, {others} more",
            in_wh(record.totals.volume),
            price_in_words(&record),
            energy(market.unit),
            grouped(record.trades.into()),
            named.join(", ")
        )
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
