//! `state_*`: what the chain knows, and its runtime's answers.

use std::{collections::BTreeSet, sync::Arc};

use commonwatt_chain::NewHead;
use commonwatt_runtime::Hash;
use commonwatt_storage::{State, StateError};
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use sp_core::OpaqueMetadata;
use sp_runtime::traits::{BlakeTwo256, Hash as _};
use sp_state_machine::{Backend, IterArgs};
use sp_version::RuntimeVersion;

use crate::{
    arguments::Arguments,
    error::{Answer, Fault, unreadable},
    limits::{
        BLOCKS_PER_QUERY_MAX, Budget, CALL_BYTES_MAX, KEYS_PER_PAGE_MAX, KEYS_PER_QUERY_MAX,
        PAIRS_MAX, READS_PER_QUERY_MAX,
    },
    methods::{Methods, Node, to_json},
    news::{self, Kind, Pending, Start},
    types::{Bytes, ReadProof, StorageChangeSet},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("state_getRuntimeVersion", runtime_version)?;
    methods.alias("state_getRuntimeVersion", &["chain_getRuntimeVersion"])?;
    methods.work("state_getMetadata", metadata)?;
    methods.work("state_call", call)?;
    methods.alias("state_call", &["state_callAt"])?;

    methods.work("state_getStorage", storage)?;
    methods.alias("state_getStorage", &["state_getStorageAt"])?;
    methods.work("state_getStorageHash", storage_hash)?;
    methods.alias("state_getStorageHash", &["state_getStorageHashAt"])?;
    methods.work("state_getStorageSize", storage_size)?;
    methods.alias("state_getStorageSize", &["state_getStorageSizeAt"])?;
    methods.work("state_queryStorageAt", query_storage_at)?;
    methods.guarded_work("state_queryStorage", query_storage)?;
    methods.work("state_getReadProof", read_proof)?;

    methods.work("state_getKeysPaged", keys_paged)?;
    methods.alias("state_getKeysPaged", &["state_getKeysPagedAt"])?;
    methods.guarded_work("state_getKeys", keys)?;
    methods.guarded_work("state_getPairs", pairs)?;

    let names = [
        "state_subscribeRuntimeVersion",
        "state_runtimeVersion",
        "state_unsubscribeRuntimeVersion",
    ];
    methods.subscription(names, follow_runtime_version)?;
    methods.alias(names[0], &["chain_subscribeRuntimeVersion"])?;
    methods.alias(names[2], &["chain_unsubscribeRuntimeVersion"])?;

    let names = [
        "state_subscribeStorage",
        "state_storage",
        "state_unsubscribeStorage",
    ];
    methods.subscription(names, follow_storage)
}

// ---------------------------------------------------------------------------------- the runtime

fn runtime_version(node: &Node, mut arguments: Arguments) -> Answer<RuntimeVersion> {
    let state = node.chain.state(arguments.optional("at")?)?;
    Ok(node.chain.executor().call(&state, "Core_version", ())?)
}

/// Returns the metadata in version 14, which every client reads; newer ones are had by `state_call`.
fn metadata(node: &Node, mut arguments: Arguments) -> Answer<Bytes> {
    let state = node.chain.state(arguments.optional("at")?)?;
    let metadata: OpaqueMetadata = node
        .chain
        .executor()
        .call(&state, "Metadata_metadata", ())?;
    // `OpaqueMetadata` is a length and the bytes; clients want the bytes.
    Ok(Bytes(Vec::from(&metadata[..])))
}

/// Returns whether calling a runtime function makes no sense outside of a block, and only takes time.
fn is_for_blocks_only(function: &str) -> bool {
    matches!(function, "Core_execute_block" | "Core_initialize_block")
        || function.starts_with("BlockBuilder_")
}

/// Checks that a runtime function may be called with these arguments.
pub(crate) fn verify_call(node: &Node, function: &str, arguments: &[u8]) -> Answer<()> {
    if is_for_blocks_only(function) {
        node.ensure_unsafe()?;
    }
    if arguments.len() > CALL_BYTES_MAX {
        return Err(Fault::parameters(format!(
            "the arguments of {function} have {} bytes, at most {CALL_BYTES_MAX} are taken",
            arguments.len()
        )));
    }
    Ok(())
}

fn call(node: &Node, mut arguments: Arguments) -> Answer<Bytes> {
    let function: String = arguments.required("method")?;
    let Bytes(encoded) = arguments
        .optional("data")?
        .unwrap_or_else(|| Bytes(Vec::new()));
    let at = arguments.optional("at")?;
    verify_call(node, &function, &encoded)?;
    let state = node.chain.state(at)?;
    Ok(Bytes(
        node.chain
            .executor()
            .call_raw(&state, &function, &encoded)?,
    ))
}

/// Sends the version at once. A new version is a new binary, so clients hear of it when they connect again.
async fn follow_runtime_version(
    _: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let first = |node: &Node| {
        let (number, hash) = node.chain.best();
        let state = node.chain.state(Some(hash))?;
        let version: RuntimeVersion = node.chain.executor().call(&state, "Core_version", ())?;
        Ok(Start {
            number,
            message: Some(to_json(&version)?),
        })
    };
    news::follow(pending, node, Kind::Nothing, first, |_| Ok(None)).await
}

// ---------------------------------------------------------------------------------- values

fn storage(node: &Node, mut arguments: Arguments) -> Answer<Option<Bytes>> {
    let Bytes(key) = arguments.required("key")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    value_of(&state, &key)
}

fn value_of(state: &State, key: &[u8]) -> Answer<Option<Bytes>> {
    Ok(state.storage(key).map_err(unreadable)?.map(Bytes))
}

fn storage_hash(node: &Node, mut arguments: Arguments) -> Answer<Option<Hash>> {
    let Bytes(key) = arguments.required("key")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    state.storage_hash(&key).map_err(unreadable)
}

/// Returns the bytes of a value, or of all values under a prefix; `None` when there are none.
fn storage_size(node: &Node, mut arguments: Arguments) -> Answer<Option<u64>> {
    let Bytes(key) = arguments.required("key")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    let length = |value: &[u8]| u64::try_from(value.len()).unwrap_or(u64::MAX);
    if let Some(value) = state.storage(&key).map_err(unreadable)? {
        return Ok(Some(length(&value)));
    }
    let mut sum = 0_u64;
    for (count, pair) in state.pairs(under(&key)).map_err(unreadable)?.enumerate() {
        if count >= PAIRS_MAX {
            return Err(Fault::more_than(
                PAIRS_MAX,
                "values",
                "ask with a longer prefix",
            ));
        }
        sum = sum.saturating_add(length(&pair.map_err(unreadable)?.1));
    }
    Ok((sum > 0).then_some(sum))
}

fn query_storage_at(node: &Node, mut arguments: Arguments) -> Answer<Vec<StorageChangeSet>> {
    let keys: Vec<Bytes> = arguments.required("keys")?;
    let block = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    verify_query(&keys)?;
    Ok(vec![values_at(node, keys, block)?])
}

/// Returns the values at a block, and each change of one up to another block.
fn query_storage(node: &Node, mut arguments: Arguments) -> Answer<Vec<StorageChangeSet>> {
    let keys: Vec<Bytes> = arguments.required("keys")?;
    let from: Hash = arguments.required("fromBlock")?;
    let to = arguments
        .optional("toBlock")?
        .unwrap_or_else(|| node.chain.best().1);
    verify_query(&keys)?;
    let number_of = |hash: Hash| -> Answer<u32> {
        let number = node.chain.db().number_of(&hash)?;
        Ok(number.ok_or(StateError::UnknownBlock { hash })?)
    };
    let (first, last) = (number_of(from)?, number_of(to)?);
    let blocks = usize::try_from(last.checked_sub(first).ok_or_else(|| {
        Fault::parameters(format!(
            "fromBlock is block {first}, after toBlock, which is block {last}: exchange them"
        ))
    })?)
    .unwrap_or(usize::MAX)
    .saturating_add(1);
    let reads = blocks.saturating_mul(keys.len());
    if blocks > BLOCKS_PER_QUERY_MAX || reads > READS_PER_QUERY_MAX {
        return Err(Fault::too_many(
            "values of keys at blocks",
            reads,
            READS_PER_QUERY_MAX,
        ));
    }
    let mut budget = Budget::new();
    let mut known: Vec<Option<Option<Bytes>>> = vec![None; keys.len()];
    let mut sets = Vec::new();
    for number in first..=last {
        let Some(block) = node.chain.db().hash_of(number)? else {
            break;
        };
        let state = node.chain.state(Some(block))?;
        let mut changes = Vec::new();
        for (key, known) in keys.iter().zip(&mut known) {
            let value = value_of(&state, key)?;
            if known.as_ref() != Some(&value) {
                budget.take(value.as_ref().map_or(0, |value| value.len()))?;
                changes.push((key.clone(), value.clone()));
                *known = Some(value);
            }
        }
        if !changes.is_empty() {
            sets.push(StorageChangeSet { block, changes });
        }
    }
    Ok(sets)
}

fn verify_query(keys: &[Bytes]) -> Answer<()> {
    if keys.len() > KEYS_PER_QUERY_MAX {
        return Err(Fault::too_many("keys", keys.len(), KEYS_PER_QUERY_MAX));
    }
    Ok(())
}

fn values_at(
    node: &Node,
    keys: impl IntoIterator<Item = Bytes>,
    block: Hash,
) -> Answer<StorageChangeSet> {
    let state = node.chain.state(Some(block))?;
    let mut budget = Budget::new();
    let changes = keys
        .into_iter()
        .map(|key| {
            let value = value_of(&state, &key.0)?;
            budget.take(value.as_ref().map_or(0, |value| value.len()))?;
            Ok((key, value))
        })
        .collect::<Answer<_>>()?;
    Ok(StorageChangeSet { block, changes })
}

fn read_proof(node: &Node, mut arguments: Arguments) -> Answer<ReadProof> {
    let keys: Vec<Bytes> = arguments.required("keys")?;
    let at = arguments
        .optional("at")?
        .unwrap_or_else(|| node.chain.best().1);
    verify_query(&keys)?;
    let state = node.chain.state(Some(at))?;
    let keys = keys.iter().map(|key| &key.0[..]);
    let proof = state.prove(keys).map_err(unreadable)?;
    Ok(ReadProof {
        at,
        proof: proof.into_iter_nodes().map(Bytes).collect(),
    })
}

/// Sends the values of the keys at once, and each change. Without keys every change of the chain, which is much.
async fn follow_storage(
    params: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let wanted = node.work(pending.connection(), move |node| wanted_keys(&params, node));
    let keys = match wanted.await {
        Ok(keys) => keys,
        Err(fault) => return pending.reject(fault).await,
    };
    let first = {
        let keys: Vec<_> = keys.iter().flatten().cloned().map(Bytes).collect();
        move |node: &Node| {
            let (number, hash) = node.chain.best();
            Ok(Start {
                number,
                message: Some(to_json(&values_at(node, keys, hash)?)?),
            })
        }
    };
    let kind = Kind::Storage(keys.as_ref().map(BlakeTwo256::hash_of));
    news::follow(pending, node, kind, first, move |head| {
        changes_in(head, keys.as_ref())
    })
    .await
}

fn wanted_keys(params: &Params<'_>, node: &Node) -> Answer<Option<BTreeSet<Vec<u8>>>> {
    let Some(keys) = Arguments::parse(params)?.optional::<Vec<Bytes>>("keys")? else {
        node.ensure_unsafe()?;
        return Ok(None);
    };
    verify_query(&keys)?;
    Ok(Some(keys.into_iter().map(|Bytes(key)| key).collect()))
}

/// Returns what a block wrote under the keys, if anything.
fn changes_in(
    head: &NewHead,
    keys: Option<&BTreeSet<Vec<u8>>>,
) -> Answer<Option<Box<serde_json::value::RawValue>>> {
    let changes: Vec<_> = head
        .storage
        .iter()
        .filter(|(key, _)| keys.is_none_or(|keys| keys.contains(key)))
        .map(|(key, value)| (Bytes(key.clone()), value.clone().map(Bytes)))
        .collect();
    if changes.is_empty() {
        return Ok(None);
    }
    to_json(&StorageChangeSet {
        block: head.hash,
        changes,
    })
    .map(Some)
}

// ---------------------------------------------------------------------------------- keys

/// Returns the range of keys that begin with `prefix`.
pub(crate) fn under(prefix: &[u8]) -> IterArgs<'_> {
    // The type is marked as open to more fields, so it cannot be written as one expression.
    let mut range = IterArgs::default();
    range.prefix = Some(prefix);
    range
}

fn keys_paged(node: &Node, mut arguments: Arguments) -> Answer<Vec<Bytes>> {
    let prefix = arguments
        .optional("prefix")?
        .unwrap_or_else(|| Bytes(Vec::new()));
    let count: u32 = arguments.required("count")?;
    let start_key: Option<Bytes> = arguments.optional("startKey")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > KEYS_PER_PAGE_MAX {
        return Err(Fault::too_many("keys", count, KEYS_PER_PAGE_MAX));
    }
    let mut page = under(&prefix.0);
    page.start_at = start_key.as_ref().map(|key| &key.0[..]);
    page.start_at_exclusive = true;
    let keys = state.keys(page).map_err(unreadable)?;
    keys.take(count)
        .map(|key| key.map(Bytes).map_err(unreadable))
        .collect()
}

fn keys(node: &Node, mut arguments: Arguments) -> Answer<Vec<Bytes>> {
    let Bytes(prefix) = arguments.required("prefix")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    let keys = state.keys(under(&prefix)).map_err(unreadable)?;
    let keys = keys
        .take(KEYS_PER_PAGE_MAX.saturating_add(1))
        .map(|key| key.map(Bytes).map_err(unreadable))
        .collect::<Answer<Vec<_>>>()?;
    if keys.len() > KEYS_PER_PAGE_MAX {
        let mend = "ask for pages of them with state_getKeysPaged";
        return Err(Fault::more_than(KEYS_PER_PAGE_MAX, "keys", mend));
    }
    Ok(keys)
}

fn pairs(node: &Node, mut arguments: Arguments) -> Answer<Vec<(Bytes, Bytes)>> {
    let Bytes(prefix) = arguments.required("prefix")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    let pairs = state.pairs(under(&prefix)).map_err(unreadable)?;
    let mut budget = Budget::new();
    let pairs = pairs
        .take(PAIRS_MAX.saturating_add(1))
        .map(|pair| {
            let (key, value) = pair.map_err(unreadable)?;
            budget.take(key.len().saturating_add(value.len()))?;
            Ok((Bytes(key), Bytes(value)))
        })
        .collect::<Answer<Vec<_>>>()?;
    if pairs.len() > PAIRS_MAX {
        let mend = "ask with a longer prefix, or page by page with state_getKeysPaged";
        return Err(Fault::more_than(PAIRS_MAX, "pairs", mend));
    }
    Ok(pairs)
}
