//! Decoding what strangers sent.
//!
//! A call may hold another call, and decoding, dispatching and dropping one all follow it down. Without a bound
//! half a megabyte of nested calls overflows the thread's stack, which ends the process and cannot be caught.

use codec::{Compact, Decode, DecodeLimit, Encode};
use commonwatt_runtime::{Hash, Header, UncheckedExtrinsic};
use sp_runtime::transaction_validity::TransactionSource;

/// Levels to which calls and lists may be nested in an extrinsic. Part of a block's validity, so the same on every
/// node. A proxy's multisig of a batch takes four; a thread's 2 MiB of stack hold these many several times over.
pub const EXTRINSIC_DEPTH_MAX: u32 = 32;

/// Decodes one extrinsic and nothing besides.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode_extrinsic(bytes: &[u8]) -> Result<UncheckedExtrinsic, String> {
    let mut input = bytes;
    let extrinsic = take_extrinsic(&mut input)?;
    ensure_read(input)?;
    Ok(extrinsic)
}

/// Checks the arguments of runtime functions that take extrinsics, before the runtime decodes them.
///
/// # Errors
/// What is wrong with the arguments.
pub(crate) fn check_arguments(function: &str, arguments: &[u8]) -> Result<(), String> {
    let mut input = arguments;
    match function {
        "BlockBuilder_apply_extrinsic" => {
            take_extrinsic(&mut input)?;
            ensure_read(input)
        }
        "TransactionPaymentApi_query_info" | "TransactionPaymentApi_query_fee_details" => {
            take_extrinsic(&mut input)?;
            take::<u32>(&mut input)?;
            ensure_read(input)
        }
        "TaggedTransactionQueue_validate_transaction" => {
            take::<TransactionSource>(&mut input)?;
            take_extrinsic(&mut input)?;
            take::<Hash>(&mut input)?;
            ensure_read(input)
        }
        // Whatever follows the block holds no extrinsics.
        "Core_execute_block" | "BlockBuilder_check_inherents" => {
            let (_, body) = take::<(Header, Vec<Vec<u8>>)>(&mut input)?;
            for (index, extrinsic) in body.iter().enumerate() {
                decode_extrinsic(&extrinsic.encode())
                    .map_err(|reason| format!("extrinsic {index}: {reason}"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn take<T: Decode>(input: &mut &[u8]) -> Result<T, String> {
    T::decode_with_depth_limit(EXTRINSIC_DEPTH_MAX, input).map_err(|error| error.to_string())
}

fn take_extrinsic(input: &mut &[u8]) -> Result<UncheckedExtrinsic, String> {
    let mut rest = *input;
    let length = Compact::<u32>::decode(&mut rest).map_err(|error| error.to_string())?;
    let prefix = input.len().saturating_sub(rest.len());
    // The decoder sets aside as many bytes as the prefix says, whether they are there or not.
    let end = usize::try_from(length.0)
        .ok()
        .and_then(|length| length.checked_add(prefix))
        .filter(|end| *end <= input.len())
        .ok_or_else(|| {
            format!(
                "the length prefix says {} bytes, {} follow",
                length.0,
                rest.len()
            )
        })?;
    let (mut extrinsic, after) = input.split_at(end);
    let decoded =
        UncheckedExtrinsic::decode_all_with_depth_limit(EXTRINSIC_DEPTH_MAX, &mut extrinsic)
            .map_err(|error| error.to_string())?;
    *input = after;
    Ok(decoded)
}

fn ensure_read(input: &[u8]) -> Result<(), String> {
    match input.len() {
        0 => Ok(()),
        left => Err(format!("{left} bytes are left over at the end")),
    }
}
