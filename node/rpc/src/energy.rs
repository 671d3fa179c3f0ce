//! `energy_*`: steps, readings, and where the energy went. Energies are in Wh, accounts in SS58. Each method takes
//! the hash of the block to ask at as its last parameter; the best one when it is left out.

use std::sync::Arc;

use codec::{Decode, Encode};
use commonwatt_chain::NewHead;
use commonwatt_primitives::{AccountId, MeterId, Month, Step, StepTiming, digest::StepDigest};
use commonwatt_runtime::{
    Hash, Header, Runtime,
    apis::{AccountView, MeterView},
};
use frame_support::storage::storage_prefix;
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use pallet_energy_token::Reading;
use pallet_virtual_meter::{
    AgreementInfo, Lots, MonthTotal, StepSummaries, StepSummary, Trace, Vgm, VgmBuckets, VgmEntry,
    bucket_of,
};
use sp_state_machine::Backend as _;

use crate::{
    arguments::Arguments,
    corrections,
    error::{Answer, Fault, unreadable},
    methods::{Methods, Node, to_json},
    news::{self, Kind, Pending, Start},
    types::{
        Account, AllocationJson, Bytes, CorrectedStep, EntryJson, MemberJson, MeterJson, MonthJson,
        Proof, StepJson, TraceJson, TracedAt,
    },
};

/// Steps that `energy_member` and `energy_meter` look at in one call: a week of quarter-hours.
pub const STEPS_PER_PAGE_MAX: u32 = 672;
/// Steps they look at when they are not told how many: a day of quarter-hours.
const STEPS_PER_PAGE: u32 = 96;
/// Months that `energy_member` sums up.
const MONTHS: u32 = 24;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("energy_timing", timing)?;
    methods.work("energy_stepSummary", step_summary)?;
    methods.work("energy_allocations", allocations)?;
    methods.work("energy_trace", trace)?;
    methods.work("energy_reading", reading)?;
    methods.work("energy_agreement", agreement)?;
    methods.alias("energy_agreement", &["energy_agreementAt"])?;
    methods.work("energy_member", member)?;
    methods.work("energy_meter", meter)?;
    methods.work("energy_lateCorrections", corrections::late_corrections)?;
    let names = [
        "energy_subscribeSteps",
        "energy_step",
        "energy_unsubscribeSteps",
    ];
    methods.subscription(names, follow_steps)
}

/// Asks the runtime about the state after a block.
pub(crate) fn ask<T: Decode>(
    node: &Node,
    function: &str,
    question: impl Encode,
    at: Option<Hash>,
) -> Answer<T> {
    let state = node.chain.state(at)?;
    Ok(node.chain.executor().call(&state, function, question)?)
}

fn timing(node: &Node, mut arguments: Arguments) -> Answer<StepTiming> {
    ask(node, "EnergyApi_timing", (), arguments.optional("at")?)
}

fn step_summary(node: &Node, mut arguments: Arguments) -> Answer<Option<StepSummary>> {
    let step: Step = arguments.required("step")?;
    ask(
        node,
        "EnergyApi_step_summary",
        step,
        arguments.optional("at")?,
    )
}

fn allocations(node: &Node, mut arguments: Arguments) -> Answer<Vec<AllocationJson>> {
    let step: Step = arguments.required("step")?;
    let entries: Vec<(AccountId, VgmEntry)> = ask(
        node,
        "EnergyApi_allocations",
        step,
        arguments.optional("at")?,
    )?;
    Ok(entries.into_iter().map(Into::into).collect())
}

fn reading(node: &Node, mut arguments: Arguments) -> Answer<Option<Reading>> {
    let meter: MeterId = arguments.required("meter")?;
    let step: Step = arguments.required("step")?;
    ask(
        node,
        "EnergyApi_reading",
        (meter, step),
        arguments.optional("at")?,
    )
}

fn agreement(node: &Node, mut arguments: Arguments) -> Answer<Option<AgreementInfo<AccountId>>> {
    let step: Step = arguments.required("step")?;
    ask(
        node,
        "EnergyApi_agreement_at",
        step,
        arguments.optional("at")?,
    )
}

/// Returns the header of a block that is asked about.
pub(crate) fn header_of(node: &Node, at: Hash) -> Answer<Header> {
    let header: Option<Header> = node.chain.db().header(&at)?;
    header.ok_or_else(|| commonwatt_storage::StateError::UnknownBlock { hash: at }.into())
}

// ---------------------------------------------------------------------------------- trace

/// Returns from which generators an account's energy came, and the proof that the state holds what this is
/// computed from: the step's summary, the account's own entry and the generators' lots.
fn trace(node: &Node, mut arguments: Arguments) -> Answer<Option<TracedAt>> {
    let step: Step = arguments.required("step")?;
    let Account(member) = arguments.required("account")?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    let header = header_of(node, at)?;
    let state = node.chain.state(Some(at))?;
    let trace: Option<Trace<AccountId>> =
        node.chain
            .executor()
            .call(&state, "EnergyApi_trace", (step, &member))?;
    let Some(trace) = trace else {
        return Ok(None);
    };
    let buckets = VgmBuckets::<Runtime>::hashed_key_for(step);
    let count = state.storage(&buckets).map_err(unreadable)?;
    let count = count.and_then(|bytes| u32::decode(&mut &bytes[..]).ok());
    let bucket = bucket_of(&member, count.unwrap_or_default());
    let keys = [
        StepSummaries::<Runtime>::hashed_key_for(step),
        buckets,
        Vgm::<Runtime>::hashed_key_for(step, bucket),
        Lots::<Runtime>::hashed_key_for(step),
    ];
    let nodes = state.prove(keys.iter()).map_err(unreadable)?;
    let [summary, buckets, entry, lots] = keys.map(Bytes);
    Ok(Some(TracedAt {
        trace: TraceJson::from(trace),
        proof: Proof {
            block: at,
            number: header.number,
            state_root: header.state_root,
            summary,
            buckets,
            entry,
            lots,
            nodes: nodes.into_iter_nodes().map(Bytes).collect(),
        },
    }))
}

// ---------------------------------------------------------------------------------- views

/// Checks how many steps are asked for.
fn count_of(asked: Option<u32>) -> Answer<u32> {
    let count = asked.unwrap_or(STEPS_PER_PAGE);
    if count > STEPS_PER_PAGE_MAX {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        return Err(Fault::too_many(
            "steps",
            size(count),
            size(STEPS_PER_PAGE_MAX),
        ));
    }
    Ok(count)
}

fn member(node: &Node, mut arguments: Arguments) -> Answer<MemberJson> {
    let Account(account) = arguments.required("account")?;
    let before: Option<Step> = arguments.optional("beforeStep")?;
    let count = count_of(arguments.optional("count")?)?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    let state = node.chain.state(Some(at))?;
    let executor = node.chain.executor();
    let (oldest, current): (Step, Step) = executor.call(&state, "EnergyApi_kept_steps", ())?;
    let newest = before.map_or(current, |before| before.saturating_sub(1).min(current));
    let view: AccountView = executor.call(&state, "EnergyApi_account", &account)?;
    let months: Vec<(Month, MonthTotal)> =
        executor.call(&state, "EnergyApi_months_of", (&account, MONTHS))?;
    let entries: Vec<(Step, VgmEntry)> =
        executor.call(&state, "EnergyApi_entries_of", (&account, newest, count))?;
    let first = Step(newest.0.saturating_add(1).saturating_sub(count));
    Ok(MemberJson {
        account,
        role: view.role,
        is_validator: view.is_validator,
        meters: view.meters,
        coins: view.coins.to_string(),
        voting_tokens: view.voting_tokens.to_string(),
        voting_debt: view.voting_debt.to_string(),
        months: months.into_iter().map(MonthJson::from).collect(),
        entries: entries.into_iter().map(EntryJson::from).collect(),
        next: (first > oldest).then_some(first),
    })
}

fn meter(node: &Node, mut arguments: Arguments) -> Answer<Option<MeterJson>> {
    let meter: MeterId = arguments.required("meter")?;
    let from: Option<Step> = arguments.optional("fromStep")?;
    let to: Option<Step> = arguments.optional("toStep")?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    let state = node.chain.state(Some(at))?;
    let executor = node.chain.executor();
    let (_, current): (Step, Step) = executor.call(&state, "EnergyApi_kept_steps", ())?;
    let last = to.unwrap_or(match from {
        Some(from) => Step(from.0.saturating_add(STEPS_PER_PAGE - 1)),
        None => current,
    });
    let first = from.unwrap_or(Step(last.0.saturating_sub(STEPS_PER_PAGE - 1)));
    let count = count_between(first, last)?;
    let view: Option<MeterView> = executor.call(&state, "EnergyApi_meter_view", meter)?;
    let Some(view) = view else {
        return Ok(None);
    };
    let question = (meter, first, count_of(Some(count))?);
    let readings = executor.call(&state, "EnergyApi_readings_of", question)?;
    let commitments = executor.call(&state, "EnergyApi_commitments_of", question)?;
    Ok(Some(MeterJson::new(meter, view, readings, commitments)))
}

/// Returns how many steps a range has.
pub(crate) fn count_between(first: Step, last: Step) -> Answer<u32> {
    let length = last.0.checked_sub(first.0).ok_or_else(|| {
        Fault::parameters(format!(
            "fromStep {first} lies after toStep {last}: exchange them"
        ))
    })?;
    Ok(length.saturating_add(1))
}

// ---------------------------------------------------------------------------------- steps as they close

/// Tells of the last step that closed at once, and of each further one when it closes.
async fn follow_steps(
    _: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let first = |node: &Node| {
        let (number, hash) = node.chain.best();
        let header = header_of(node, hash)?;
        let summary = ask(node, "EnergyApi_step_summary", Step(number), Some(hash))?;
        Ok(Start {
            number,
            message: Some(to_json(&step_of(&header, hash, summary, Vec::new()))?),
        })
    };
    news::follow(pending, node, Kind::Step, first, |head| {
        let (summary, corrected) = summaries_in(head);
        to_json(&step_of(&head.header, head.hash, summary, corrected)).map(Some)
    })
    .await
}

fn step_of(
    header: &Header,
    block: Hash,
    summary: Option<StepSummary>,
    corrected: Vec<CorrectedStep>,
) -> StepJson {
    let digest = StepDigest::find(&header.digest);
    StepJson {
        step: Step(header.number),
        block,
        late: digest.as_ref().is_some_and(StepDigest::is_late),
        author: digest.map(|digest| digest.author().clone()),
        summary,
        corrected,
    }
}

/// Returns what a block wrote about its own step, and about earlier ones.
fn summaries_in(head: &NewHead) -> (Option<StepSummary>, Vec<CorrectedStep>) {
    let prefix = storage_prefix(b"VirtualMeter", b"StepSummaries");
    let mut own = None;
    let mut corrected = Vec::new();
    for (key, value) in &head.storage {
        let Some(hashed_step) = key.strip_prefix(&prefix[..]) else {
            continue;
        };
        // The step itself follows the eight bytes of its hash.
        let step = hashed_step
            .get(8..)
            .and_then(|mut step| Step::decode(&mut step).ok());
        let summary = value
            .as_ref()
            .and_then(|value| StepSummary::decode(&mut &value[..]).ok());
        match (step, summary) {
            (Some(Step(number)), Some(summary)) if number == head.header.number => {
                own = Some(summary);
            }
            (Some(step), Some(summary)) => corrected.push(CorrectedStep { step, summary }),
            // A step whose detail expired.
            _ => {}
        }
    }
    corrected.sort_unstable_by_key(|corrected| corrected.step);
    (own, corrected)
}
