//! `payment_*`: what a transaction costs beyond the quota.

use codec::Encode;
use jsonrpsee::server::RegisterMethodError;
use pallet_transaction_payment::{FeeDetails, RuntimeDispatchInfo};

use crate::{
    arguments::Arguments,
    error::{Answer, Fault},
    methods::{Methods, Node},
    system::verify_extrinsic,
    types::{Bytes, FeeDetailsJson},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("payment_queryInfo", query_info)?;
    methods.work("payment_queryFeeDetails", query_fee_details)
}

fn query_info(node: &Node, arguments: Arguments) -> Answer<RuntimeDispatchInfo<u128>> {
    ask(node, arguments, "TransactionPaymentApi_query_info")
}

fn query_fee_details(node: &Node, arguments: Arguments) -> Answer<FeeDetailsJson> {
    let details: FeeDetails<u128> =
        ask(node, arguments, "TransactionPaymentApi_query_fee_details")?;
    Ok(details.into())
}

/// Asks the runtime about an extrinsic and its length.
fn ask<T: codec::Decode>(node: &Node, mut arguments: Arguments, function: &str) -> Answer<T> {
    let Bytes(mut question) = arguments.required("extrinsic")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    verify_extrinsic(&question)?;
    let length = u32::try_from(question.len())
        .map_err(|_| Fault::parameters("the extrinsic is longer than 4 GiB"))?;
    length.encode_to(&mut question);
    let answer = node
        .chain
        .executor()
        .call_raw(&state, function, &question)?;
    T::decode(&mut &answer[..]).map_err(|_| Fault::internal("the runtime's answer does not decode"))
}
