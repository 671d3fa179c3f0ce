//! `energy_lateCorrections`: what changed about a step after its block, when, and why.
//!
//! The state says which steps were distributed again. What a correction changed and why stands in the events of the
//! block that carried it, which this node has for as long as it keeps that block's state.

use codec::Decode;
use commonwatt_primitives::Step;
use commonwatt_runtime::{Hash, Runtime, RuntimeEvent, apis::STEPS_PER_QUESTION_MAX};
use commonwatt_storage::StateError;
use frame_system::EventRecord;
use pallet_energy_token::{CorrectionCause, Event as EnergyEvent};
use pallet_virtual_meter::Event as MeterEvent;
use sp_state_machine::Backend;

use crate::{
    arguments::Arguments,
    energy::{ask, count_between, header_of},
    error::{Answer, Fault, unreadable},
    methods::Node,
    types::{BlockRange, CauseJson, CorrectionsJson, ReadingChange, StepRun, StepVersion},
};

/// Blocks whose events one call reads.
const BLOCKS_PER_PAGE_MAX: u32 = 256;
/// Bytes of events one call reads; beyond them the next call goes on.
const EVENT_BYTES_PER_PAGE_MAX: usize = 16 * 1024 * 1024;

pub(crate) fn late_corrections(node: &Node, mut arguments: Arguments) -> Answer<CorrectionsJson> {
    let first: Step = arguments.required("fromStep")?;
    let last: Step = arguments.required("toStep")?;
    let cursor: Option<u32> = arguments.optional("fromBlock")?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    let count = count_between(first, last)?;
    if count > STEPS_PER_QUESTION_MAX {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        return Err(Fault::too_many(
            "steps",
            size(count),
            size(STEPS_PER_QUESTION_MAX),
        ));
    }
    let best = header_of(node, at)?.number;
    let (oldest, _): (Step, Step) = ask(node, "EnergyApi_kept_steps", (), Some(at))?;
    let corrected: Vec<(Step, u32)> =
        ask(node, "EnergyApi_corrected_steps", (last, count), Some(at))?;

    // A step is corrected at most until its detail expires.
    let retention = best.saturating_sub(oldest.0).saturating_add(1);
    let end = best.min(last.0.saturating_add(retention));
    let begin = cursor.unwrap_or(0).max(first.0.saturating_add(1));
    let mut page = CorrectionsJson {
        steps: corrected
            .iter()
            .rev()
            .map(|&(step, version)| StepVersion { step, version })
            .collect(),
        readings: Vec::new(),
        runs: Vec::new(),
        discarded: None,
        next: None,
    };
    // What the state still knows it knows whole: then nothing was corrected.
    if corrected.is_empty() && first >= oldest {
        return Ok(page);
    }
    let (mut blocks, mut bytes) = (0_u32, 0_usize);
    for number in begin..=end {
        if blocks >= BLOCKS_PER_PAGE_MAX || bytes >= EVENT_BYTES_PER_PAGE_MAX {
            page.next = Some(number);
            break;
        }
        let Some(hash) = node.chain.db().hash_of(number)? else {
            break;
        };
        match events_of(node, hash)? {
            None => {
                let discarded = page.discarded.get_or_insert(BlockRange {
                    from: number,
                    to: number,
                });
                discarded.to = number;
            }
            Some(events) => {
                blocks = blocks.saturating_add(1);
                bytes = bytes.saturating_add(events.len());
                collect(&mut page, &events, (number, hash), first..=last)?;
            }
        }
    }
    Ok(page)
}

/// Returns the encoded events of a block; `None` when its state was discarded.
fn events_of(node: &Node, hash: Hash) -> Answer<Option<Vec<u8>>> {
    let state = match node.chain.state(Some(hash)) {
        Ok(state) => state,
        Err(StateError::StateDiscarded { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let key = frame_support::storage::storage_prefix(b"System", b"Events");
    let events = state.storage(&key).map_err(unreadable)?;
    Ok(Some(events.unwrap_or_default()))
}

/// Takes the corrections of some steps out of a block's events.
fn collect(
    page: &mut CorrectionsJson,
    mut events: &[u8],
    (block, block_hash): (u32, Hash),
    wanted: std::ops::RangeInclusive<Step>,
) -> Answer<()> {
    if events.is_empty() {
        return Ok(());
    }
    let events = Vec::<EventRecord<RuntimeEvent, Hash>>::decode(&mut events)
        .map_err(|_| Fault::internal("the events of a block do not decode"))?;
    for record in events {
        match record.event {
            RuntimeEvent::EnergyToken(EnergyEvent::ReadingCorrected {
                meter,
                step,
                from,
                to,
                cause,
            }) if wanted.contains(&step) => page.readings.push(ReadingChange {
                step,
                block,
                block_hash,
                meter,
                from,
                to,
                cause: words_of(cause),
            }),
            RuntimeEvent::VirtualMeter(MeterEvent::StepCorrected {
                step,
                version,
                generated,
                shared,
                rest,
            }) if wanted.contains(&step) => page.runs.push(StepRun {
                step,
                block,
                block_hash,
                version,
                generated,
                shared,
                rest,
            }),
            _ => {}
        }
    }
    Ok(())
}

fn words_of(cause: CorrectionCause<Runtime>) -> CauseJson {
    match cause {
        CorrectionCause::LateReport { device, sequence } => {
            CauseJson::LateReport { device, sequence }
        }
        CorrectionCause::Dso { reason } => CauseJson::Dso {
            reason: String::from_utf8_lossy(&reason).into_owned(),
        },
    }
}
