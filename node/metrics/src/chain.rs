//! Blocks, steps and energy in figures.

use std::time::Duration;

use codec::DecodeAll;
use commonwatt_chain::{Chain, ChainError, HealthCheck, NewHead};
use commonwatt_primitives::{Step, Wh, digest::StepDigest};
use commonwatt_runtime::{Hash, Runtime, RuntimeEvent};
use frame_system::EventRecord;
use pallet_energy_token::{CorrectionCause, Event as EnergyEvent};
use pallet_virtual_meter::{Event as MeterEvent, StepSummary};
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
};
use sp_runtime::traits::Header as _;

use crate::{
    LastStep,
    register::{LateGauge, Registrar, counted, shown},
};

/// Upper bounds of buckets for work that takes milliseconds, in seconds.
const WORK_BUCKETS_S: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
/// Upper bounds of buckets from a step's closure to its final block, in seconds: fine round the settle delay of a
/// production chain, 3 s, and up to that step's length.
const CLOSURE_BUCKETS_S: [f64; 16] = [
    0.25, 0.5, 1.0, 2.0, 3.0, 3.25, 3.5, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0,
];

/// What the totals of energy are of.
const FIRST: &str = "as each step was first distributed; what corrections changed is in \
                     commonwatt_corrected_watthours_total";

const ON_TIME: &str = "on_time";
const LATE: &str = "late";

/// Figures of the chain.
pub(crate) struct ChainFigures {
    height: IntGaugeVec,
    number_leaves: IntGauge,
    blocks: IntCounter,
    blocks_late: IntCounter,
    steps_behind: IntGauge,
    steps_ahead: IntGauge,
    step_seconds: Gauge,
    closed_at: Gauge,
    closure_to_final: HistogramVec,
    heads_missed: IntCounter,
    block_extrinsics: LateGauge,
    block_bytes: LateGauge,
    extrinsics: IntCounter,
    extrinsics_failed: IntCounter,
    commit: Histogram,
    execution: Histogram,
    constructed: Histogram,
    transactions_constructed: LateGauge,
    database_bytes: IntGauge,
    state_cache_bytes: IntGauge,
    energy: EnergyFigures,
}

/// Figures of readings and energy.
struct EnergyFigures {
    readings: IntCounterVec,
    step_readings: LateGauge,
    corrections: IntCounterVec,
    corrected: IntCounterVec,
    steps_corrected: IntCounter,
    distributions_refused: IntCounter,
    meters_flagged: IntCounter,
    sequences_jumped: IntCounter,
    generated: IntCounter,
    consumed: IntCounter,
    allocated: IntCounterVec,
    lost: IntCounter,
    step_generated: LateGauge,
    step_consumed: LateGauge,
    step_allocated: IntGaugeVec,
    step_lost: LateGauge,
}

/// What the events of a block come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    generation: usize,
    consumption: usize,
    commitments: usize,
    late_reports: usize,
    dso_corrections: usize,
    raised_wh: u64,
    lowered_wh: u64,
    steps_corrected: usize,
    distributions_refused: usize,
    meters_flagged: usize,
    sequences_jumped: usize,
    extrinsics_failed: usize,
}

impl ChainFigures {
    pub(crate) fn register(registrar: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        let number_leaves = registrar.gauge(
            "substrate_number_leaves",
            "Ends of the chain: always 1, since a block is final when it is stored and the chain has no forks",
        )?;
        number_leaves.set(1);
        let closure_to_final = registrar.histograms(
            "commonwatt_step_closure_to_final_seconds",
            "From a step's closure until its block was final, in seconds; by whether the block came in time",
            &CLOSURE_BUCKETS_S,
            &["punctuality"],
        )?;
        for punctuality in [ON_TIME, LATE] {
            closure_to_final.get_metric_with_label_values(&[punctuality])?;
        }
        Ok(Self {
            height: registrar.gauges(
                "substrate_block_height",
                "Height, which is the step: of the best block, of the finalized block, and of the last step that \
                 has settled, towards which the node works (sync_target)",
                &["status"],
            )?,
            number_leaves,
            blocks: registrar.counter("commonwatt_blocks_total", "Blocks that became final")?,
            blocks_late: registrar.counter(
                "commonwatt_blocks_late_total",
                "Blocks that were made after the next step had closed: their steps were missed",
            )?,
            steps_behind: registrar.gauge(
                "commonwatt_steps_behind",
                "Steps that have settled and have no block yet; 1 for a moment in each step, more when steps are \
                 missed",
            )?,
            steps_ahead: registrar.gauge(
                "commonwatt_steps_ahead",
                "Steps that the best block is ahead of the last one that has settled by this machine's clock: more than 1 when \
                 the clock is behind, or was ahead when blocks were made",
            )?,
            step_seconds: registrar
                .gauge_of_reals("commonwatt_step_seconds", "Length of a step, in seconds")?,
            closed_at: registrar.gauge_of_reals(
                "commonwatt_step_closed_timestamp_seconds",
                "When the step of the best block closed, in seconds since the Unix epoch",
            )?,
            closure_to_final,
            heads_missed: registrar.counter(
                "commonwatt_metrics_blocks_missed_total",
                "Blocks that came so fast that they are missing in the figures on readings, energy, lateness and failed \
                 extrinsics",
            )?,
            block_extrinsics: registrar.gauge_once_known(
                "commonwatt_block_extrinsics",
                "Extrinsics in the last block, the inherent included",
            )?,
            block_bytes: registrar.gauge_once_known(
                "commonwatt_block_bytes",
                "Bytes of the extrinsics in the last block",
            )?,
            extrinsics: registrar.counter(
                "commonwatt_extrinsics_total",
                "Extrinsics in final blocks, the inherents included",
            )?,
            extrinsics_failed: registrar.counter(
                "commonwatt_extrinsics_failed_total",
                "Extrinsics in final blocks whose call failed",
            )?,
            commit: registrar.histogram(
                "commonwatt_database_commit_seconds",
                "How long the database took to store a block and its state, in seconds",
                &WORK_BUCKETS_S,
            )?,
            execution: registrar.histogram(
                "commonwatt_block_execution_seconds",
                "How long checking a block took that another node made, in seconds",
                &WORK_BUCKETS_S,
            )?,
            constructed: registrar.histogram(
                "substrate_proposer_block_constructed",
                "How long making a block took, in seconds",
                &WORK_BUCKETS_S,
            )?,
            transactions_constructed: registrar.gauge_once_known(
                "substrate_proposer_number_of_transactions",
                "Extrinsics in the last block that this node made, the inherent included",
            )?,
            database_bytes: registrar.gauge(
                "commonwatt_database_disk_bytes",
                "Disk space that the database takes, in bytes",
            )?,
            state_cache_bytes: registrar.gauge(
                "substrate_state_cache_bytes",
                "Memory that decoded parts of the state take, in bytes",
            )?,
            energy: EnergyFigures::register(registrar)?,
        })
    }

    /// Asks the chain what is true now.
    pub(crate) fn refresh(&self, check: &HealthCheck, now_ms: u64) {
        let timing = check.timing();
        let (best, _) = check.chain().best();
        let target = check.settled(now_ms).0.max(best);
        // A stored block is final.
        for (status, height) in [("best", best), ("finalized", best), ("sync_target", target)] {
            self.height.with_label_values(&[status]).set(height.into());
        }
        self.number_leaves.set(1);
        self.steps_behind.set(check.steps_behind(now_ms).into());
        self.steps_ahead.set(check.steps_ahead(now_ms).into());
        self.step_seconds.set(seconds(timing.step_ms));
        self.closed_at.set(seconds(timing.closes_at_ms(Step(best))));
        let db = check.chain().db();
        self.state_cache_bytes.set(shown(db.state_cache_bytes()));
        match db.disk_usage() {
            Ok(bytes) => self.database_bytes.set(shown(bytes)),
            Err(error) => tracing::debug!(%error, "the database's size is not known"),
        }
    }

    pub(crate) fn built(&self, took: Duration, extrinsics: usize) {
        self.constructed.observe(took.as_secs_f64());
        self.transactions_constructed.set(shown(extrinsics));
    }

    pub(crate) fn executed(&self, took: Duration) {
        self.execution.observe(took.as_secs_f64());
    }

    pub(crate) fn stored(&self, took: Duration, extrinsics: usize, bytes: usize) {
        self.commit.observe(took.as_secs_f64());
        self.block_extrinsics.set(shown(extrinsics));
        self.block_bytes.set(shown(bytes));
        self.blocks.inc();
        self.extrinsics.inc_by(counted(extrinsics));
    }

    pub(crate) fn missed(&self, heads: u64) {
        self.heads_missed.inc_by(heads);
    }

    /// Takes note of a block that became final at `now_ms`.
    pub(crate) fn note(
        &self,
        check: &HealthCheck,
        head: &NewHead,
        now_ms: u64,
    ) -> Result<LastStep, ChainError> {
        let step = Step(*head.header.number());
        let is_late = StepDigest::find(head.header.digest()).is_some_and(|digest| digest.is_late());
        let punctuality = if is_late { LATE } else { ON_TIME };
        let since_closure_ms = now_ms.saturating_sub(check.timing().closes_at_ms(step));
        self.closure_to_final
            .with_label_values(&[punctuality])
            .observe(seconds(since_closure_ms));
        if is_late {
            self.blocks_late.inc();
        }
        let tally = Tally::of(&events_of(head));
        self.extrinsics_failed
            .inc_by(counted(tally.extrinsics_failed));
        self.energy.count(&tally);
        let summary = summary_of(check.chain(), head, step)?;
        match &summary {
            Some(summary) => self.energy.show(summary),
            None => self.energy.forget_step(),
        }
        Ok(LastStep {
            step,
            readings: tally.readings(),
            generated: summary.map_or(Wh::ZERO, |summary| summary.generated),
            consumed: summary.map_or(Wh::ZERO, |summary| summary.consumption),
            is_late,
        })
    }
}

impl EnergyFigures {
    fn register(registrar: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        let step_allocated = registrar.gauges(
            "commonwatt_step_allocated_watthours",
            "Energy allocated in the last step, in watt-hours: shared by the agreement's key, or the rest, which goes \
             to the generators' beneficiaries",
            &["part"],
        )?;
        Ok(Self {
            readings: registrar.counters_of(
                "commonwatt_readings_total",
                "Reports of devices that were taken on time, by what they report",
                "kind",
                &["generation", "consumption", "commitment"],
            )?,
            step_readings: registrar.gauge_once_known(
                "commonwatt_step_readings",
                "Reports of devices that were taken on time in the last step",
            )?,
            corrections: registrar.counters_of(
                "commonwatt_corrections_total",
                "Readings that were made or replaced after their step, by cause: a late report, or the DSO",
                "cause",
                &["late_report", "dso"],
            )?,
            corrected: registrar.counters_of(
                "commonwatt_corrected_watthours_total",
                "Energy by which corrections raised or lowered readings, in watt-hours",
                "direction",
                &["raised", "lowered"],
            )?,
            steps_corrected: registrar.counter(
                "commonwatt_steps_corrected_total",
                "Times that a past step was distributed again",
            )?,
            distributions_refused: registrar.counter(
                "commonwatt_distributions_refused_total",
                "Steps that were not distributed because that would have broken a rule",
            )?,
            meters_flagged: registrar.counter(
                "commonwatt_meters_flagged_total",
                "Times that register and credited energy of a meter differed by more than is permissible",
            )?,
            sequences_jumped: registrar.counter(
                "commonwatt_sequences_jumped_total",
                "Times that a device skipped so many numbers that the reports between can no longer come",
            )?,
            generated: registrar.counter(
                "commonwatt_generated_watthours_total",
                &format!("Energy generated, in watt-hours, {FIRST}"),
            )?,
            consumed: registrar.counter(
                "commonwatt_consumed_watthours_total",
                &format!("Energy consumed as far as it is in clear, in watt-hours, {FIRST}"),
            )?,
            allocated: registrar.counters_of(
                "commonwatt_allocated_watthours_total",
                &format!(
                    "Energy allocated, in watt-hours: shared by the agreement's key, or the rest, which goes to the \
                     generators' beneficiaries; {FIRST}"
                ),
                "part",
                &["shared", "rest"],
            )?,
            lost: registrar.counter(
                "commonwatt_lost_watthours_total",
                &format!("Energy lost between generators and community, in watt-hours, {FIRST}"),
            )?,
            step_generated: registrar.gauge_once_known(
                "commonwatt_step_generated_watthours",
                "Energy generated in the last step, in watt-hours",
            )?,
            step_consumed: registrar.gauge_once_known(
                "commonwatt_step_consumed_watthours",
                "Energy consumed in the last step as far as it is in clear, in watt-hours",
            )?,
            step_allocated,
            step_lost: registrar.gauge_once_known(
                "commonwatt_step_lost_watthours",
                "Energy lost between generators and community in the last step, in watt-hours",
            )?,
        })
    }

    fn count(&self, tally: &Tally) {
        self.step_readings.set(shown(tally.readings()));
        for (counters, label, count) in [
            (&self.readings, "generation", tally.generation),
            (&self.readings, "consumption", tally.consumption),
            (&self.readings, "commitment", tally.commitments),
            (&self.corrections, "late_report", tally.late_reports),
            (&self.corrections, "dso", tally.dso_corrections),
        ] {
            counters.with_label_values(&[label]).inc_by(counted(count));
        }
        let corrected = |direction, wh| self.corrected.with_label_values(&[direction]).inc_by(wh);
        corrected("raised", tally.raised_wh);
        corrected("lowered", tally.lowered_wh);
        self.steps_corrected.inc_by(counted(tally.steps_corrected));
        self.distributions_refused
            .inc_by(counted(tally.distributions_refused));
        self.meters_flagged.inc_by(counted(tally.meters_flagged));
        self.sequences_jumped
            .inc_by(counted(tally.sequences_jumped));
    }

    /// Takes back what was said of the last step, when nothing is known of it.
    fn forget_step(&self) {
        for gauge in [&self.step_generated, &self.step_consumed, &self.step_lost] {
            gauge.forget();
        }
        self.step_allocated.reset();
    }

    fn show(&self, summary: &StepSummary) {
        self.generated.inc_by(summary.generated.0);
        self.consumed.inc_by(summary.consumption.0);
        self.lost.inc_by(summary.losses.0);
        self.step_generated.set(shown(summary.generated.0));
        self.step_consumed.set(shown(summary.consumption.0));
        self.step_lost.set(shown(summary.losses.0));
        for (part, energy) in [("shared", summary.shared), ("rest", summary.rest)] {
            self.allocated.with_label_values(&[part]).inc_by(energy.0);
            self.step_allocated
                .with_label_values(&[part])
                .set(shown(energy.0));
        }
    }
}

impl Tally {
    /// Counts what the figures need.
    pub(crate) fn of(events: &[EventRecord<RuntimeEvent, Hash>]) -> Self {
        let mut tally = Self::default();
        for record in events {
            match &record.event {
                RuntimeEvent::EnergyToken(event) => tally.count_energy(event),
                RuntimeEvent::VirtualMeter(MeterEvent::StepCorrected { .. }) => {
                    tally.steps_corrected += 1;
                }
                RuntimeEvent::VirtualMeter(MeterEvent::DistributionRefused { .. }) => {
                    tally.distributions_refused += 1;
                }
                RuntimeEvent::System(frame_system::Event::ExtrinsicFailed { .. }) => {
                    tally.extrinsics_failed += 1;
                }
                _ => {}
            }
        }
        tally
    }

    fn count_energy(&mut self, event: &EnergyEvent<Runtime>) {
        match event {
            EnergyEvent::GenerationReported { .. } => self.generation += 1,
            EnergyEvent::ConsumptionReported { .. } => self.consumption += 1,
            EnergyEvent::ConsumptionCommitted { .. } => self.commitments += 1,
            EnergyEvent::ReadingCorrected {
                from, to, cause, ..
            } => {
                let from = from.unwrap_or_default();
                self.raised_wh = self.raised_wh.saturating_add(to.0.saturating_sub(from.0));
                self.lowered_wh = self.lowered_wh.saturating_add(from.0.saturating_sub(to.0));
                match cause {
                    CorrectionCause::LateReport { .. } => self.late_reports += 1,
                    CorrectionCause::Dso { .. } => self.dso_corrections += 1,
                }
            }
            EnergyEvent::MeterFlagged { .. } => self.meters_flagged += 1,
            EnergyEvent::SequenceJumped { .. } => self.sequences_jumped += 1,
            _ => {}
        }
    }

    fn readings(&self) -> usize {
        self.generation
            .saturating_add(self.consumption)
            .saturating_add(self.commitments)
    }
}

/// Returns the events of a block, which are among what it wrote.
fn events_of(head: &NewHead) -> Vec<EventRecord<RuntimeEvent, Hash>> {
    let key = frame_support::storage::storage_prefix(b"System", b"Events");
    let found = head
        .storage
        .binary_search_by(|(written, _)| written.as_slice().cmp(&key[..]))
        .ok()
        .and_then(|position| head.storage.get(position));
    let Some((_, Some(encoded))) = found else {
        return Vec::new();
    };
    DecodeAll::decode_all(&mut &encoded[..]).unwrap_or_else(|error| {
        tracing::error!(hash = ?head.hash, %error, "the events of a block cannot be read");
        Vec::new()
    })
}

fn summary_of(
    chain: &Chain,
    head: &NewHead,
    step: Step,
) -> Result<Option<StepSummary>, ChainError> {
    let state = chain.state(Some(head.hash))?;
    Ok(chain
        .executor()
        .call(&state, "EnergyApi_step_summary", step)?)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
