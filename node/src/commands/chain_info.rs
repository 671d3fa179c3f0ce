//! `commonwatt chain-info`: what a stopped node has.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use commonwatt_primitives::Step;
use commonwatt_storage::StatePruning;
use serde::Serialize;

use super::StoppedChain;
use crate::{
    args::ChainArgs,
    report::{grouped, say, size, utc},
};

/// Tells what a stopped node has: its chain, its last block, its states, and what that takes on disk.
#[derive(Debug, Args)]
pub struct ChainInfo {
    #[command(flatten)]
    chain: ChainArgs,
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Count every record on disk as well, which reads the whole database
    #[arg(long)]
    columns: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    name: String,
    id: String,
    genesis: String,
    begins: String,
    step_ms: u64,
    best: Best,
    states: States,
    database: Database,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Best {
    number: u32,
    hash: String,
    state_root: String,
    closes: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct States {
    /// `archive`, or `window`.
    pruning: &'static str,
    count: u64,
    first: u32,
    last: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Database {
    kind: String,
    folder: String,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<BTreeMap<String, Column>>,
}

#[derive(Debug, Serialize)]
struct Column {
    records: u64,
    bytes: u64,
}

impl ChainInfo {
    /// Tells.
    pub fn run(self) -> Result<()> {
        let info = self.collect()?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&info)?)?;
        } else {
            info.tell()?;
        }
        Ok(())
    }

    fn collect(&self) -> Result<Info> {
        let StoppedChain {
            spec,
            folder,
            db,
            _lock,
        } = StoppedChain::open(&self.chain)?;
        let timing = spec.genesis.timing;
        let (number, hash) = db.best();
        let header = db.header(&hash)?;
        let kept = db.kept_states();
        let columns = self
            .columns
            .then(|| db.statistics())
            .transpose()?
            .map(|columns| {
                let count = |column: commonwatt_storage::Statistics| {
                    let bytes = column.key_bytes.saturating_add(column.value_bytes);
                    let records = column.records;
                    (column.column.to_string(), Column { records, bytes })
                };
                columns.into_iter().map(count).collect()
            });
        Ok(Info {
            name: spec.name,
            id: spec.id,
            genesis: format!("{:?}", db.genesis_hash()),
            begins: utc(timing.genesis_ms),
            step_ms: timing.step_ms,
            best: Best {
                number,
                hash: format!("{hash:?}"),
                state_root: header
                    .map(|header| format!("{:?}", header.state_root))
                    .unwrap_or_default(),
                closes: utc(timing.closes_at_ms(Step(number))),
            },
            states: States {
                pruning: match db.pruning() {
                    StatePruning::Archive => "archive",
                    StatePruning::Keep(_) => "window",
                },
                count: kept.as_ref().map_or(u64::from(number) + 1, |kept| {
                    u64::try_from(kept.len()).unwrap_or(u64::MAX)
                }),
                first: kept
                    .and_then(|kept| kept.first().copied())
                    .unwrap_or_default(),
                last: number,
            },
            database: Database {
                kind: db.kind().map(|kind| kind.to_string()).unwrap_or_default(),
                folder: folder.database().display().to_string(),
                bytes: db.disk_usage()?,
                columns,
            },
        })
    }
}

impl Info {
    fn tell(&self) -> Result<()> {
        let line = |name: &str, value: String| say!("  {name:<11} {value}");
        say!("{} ({})", self.name, self.id)?;
        line("genesis", self.genesis.clone())?;
        let step = match self.step_ms % 1_000 {
            0 => format!("{} s", self.step_ms / 1_000),
            _ => format!("{} ms", self.step_ms),
        };
        line("begins", format!("{}, steps of {step}", self.begins))?;
        line(
            "best block",
            format!("{} {}", self.best.number, self.best.hash),
        )?;
        line(
            "closes",
            format!("step {} at {}", self.best.number, self.best.closes),
        )?;
        line("state root", self.best.state_root.clone())?;
        let States {
            pruning,
            count,
            first,
            last,
        } = self.states;
        let which = match pruning {
            "archive" => "all (an archive)",
            _ => "a window of the newest",
        };
        line(
            "states",
            format!("{count}, after blocks {first} to {last}, {which}"),
        )?;
        let Database {
            kind,
            folder,
            bytes,
            columns,
        } = &self.database;
        line("database", format!("{kind}, {} in {folder}", size(*bytes)))?;
        for (name, column) in columns.iter().flatten() {
            line(
                &format!("  {name}"),
                format!(
                    "{} records, {}",
                    grouped(column.records.into()),
                    size(column.bytes)
                ),
            )?;
        }
        Ok(())
    }
}
