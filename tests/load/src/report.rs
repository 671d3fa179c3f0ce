//! The figures, as a table and as JSON.

use std::fmt;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{delivery::Delivery, latency::Summary, node::Idle, readings::Readings, reads::Reads};

/// What was measured at one time.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loaded {
    /// Reads of values.
    pub reads: Reads,
    /// Subscriptions to heads.
    pub delivery: Delivery,
    /// Readings.
    pub readings: Readings,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Length of a step.
    pub step_ms: u64,
    /// For how many steps each part was measured.
    pub steps: u32,
    /// With nobody asking.
    pub idle: Idle,
    /// Each part by itself.
    pub alone: Loaded,
    /// All at one time.
    pub together: Loaded,
    /// Processor time with all at one time, in percent of one core.
    pub cpu_under_load: f64,
    /// The most memory that the node ever used.
    pub memory_peak_kib: u64,
    /// Readings that were found in blocks.
    pub readings_found: u64,
    /// What the chain credited for them, one Wh each.
    pub pulses_credited: u64,
}

impl Report {
    /// Returns the figures as JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Fails when the chain counted something else than the blocks hold.
    pub fn verify(&self) -> Result<()> {
        ensure!(
            self.readings_found == self.pulses_credited,
            "{} readings are in blocks, but the chain credits {} Wh for them",
            self.readings_found,
            self.pulses_credited
        );
        Ok(())
    }
}

/// Microseconds as milliseconds.
fn ms(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, alone: String, together: String) -> fmt::Result {
    writeln!(f, "| {name} | {alone} | {together} |")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alone, together) = (&self.alone, &self.together);
        let times = |summary: &Summary| {
            format!(
                "{} / {} / {}",
                ms(summary.p50_us),
                ms(summary.p99_us),
                ms(summary.max_us)
            )
        };
        let rate = |rate: f64| format!("{rate:.0} /s");
        writeln!(
            f,
            "Steps of {} ms, each part for {} of them; {} connections read, {} submit, {} follow the heads. Times are p50 / p99 \
             / longest.\n",
            self.step_ms,
            self.steps,
            alone.reads.connections,
            alone.readings.connections,
            alone.delivery.subscribers
        )?;
        writeln!(f, "| | alone | all together |\n|---|---|---|")?;
        row(
            f,
            "`state_getStorage`",
            times(&alone.reads.latency),
            times(&together.reads.latency),
        )?;
        row(
            f,
            "values read",
            rate(alone.reads.per_second),
            rate(together.reads.per_second),
        )?;
        row(
            f,
            "`author_submitExtrinsic`",
            times(&alone.readings.submission),
            times(&together.readings.submission),
        )?;
        row(
            f,
            "readings signed, submitted, in a block",
            rate(alone.readings.per_second),
            rate(together.readings.per_second),
        )?;
        row(
            f,
            "most readings in one block",
            alone.readings.most_in_a_block.to_string(),
            together.readings.most_in_a_block.to_string(),
        )?;
        row(
            f,
            "answers that asked to try again",
            alone.readings.busy.to_string(),
            together.readings.busy.to_string(),
        )?;
        row(
            f,
            "head: first sign of the block to message",
            times(&alone.delivery.after_block),
            times(&together.delivery.after_block),
        )?;
        row(
            f,
            "head: the block's due time to message",
            times(&alone.delivery.after_due),
            times(&together.delivery.after_due),
        )?;
        writeln!(
            f,
            "\nIdle: {} MiB, {:.1} % of one core. Under all load: {:.0} % of one core; peak memory {} MiB. {} readings were found in \
             blocks, and the chain credited {} Wh for them, one for each.",
            self.idle.memory_kib / 1024,
            self.idle.cpu_percent,
            self.cpu_under_load,
            self.memory_peak_kib / 1024,
            self.readings_found,
            self.pulses_credited
        )
    }
}
