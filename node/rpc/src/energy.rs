//! `energy_*`: steps, readings, and where the energy went. Energies are in Wh, accounts in SS58. Each method takes
//! the hash of the block to ask at as its last parameter; the best one when it is left out.

use codec::{Decode, Encode};
use commonwatt_primitives::{AccountId, MeterId, Step, StepTiming};
use commonwatt_runtime::Hash;
use jsonrpsee::server::RegisterMethodError;
use pallet_energy_token::Reading;
use pallet_virtual_meter::{AgreementInfo, StepSummary, Trace, VgmEntry};

use crate::{
    arguments::Arguments,
    error::Answer,
    methods::{Methods, Node},
    types::{Account, AllocationJson, TraceJson},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("energy_timing", timing)?;
    methods.work("energy_stepSummary", step_summary)?;
    methods.work("energy_allocations", allocations)?;
    methods.work("energy_trace", trace)?;
    methods.work("energy_reading", reading)?;
    methods.work("energy_agreementAt", agreement_at)
}

fn ask<T: Decode>(
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

fn trace(node: &Node, mut arguments: Arguments) -> Answer<Option<TraceJson>> {
    let step: Step = arguments.required("step")?;
    let Account(member) = arguments.required("account")?;
    let trace: Option<Trace<AccountId>> = ask(
        node,
        "EnergyApi_trace",
        (step, member),
        arguments.optional("at")?,
    )?;
    Ok(trace.map(Into::into))
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

fn agreement_at(node: &Node, mut arguments: Arguments) -> Answer<Option<AgreementInfo<AccountId>>> {
    let step: Step = arguments.required("step")?;
    ask(
        node,
        "EnergyApi_agreement_at",
        step,
        arguments.optional("at")?,
    )
}
