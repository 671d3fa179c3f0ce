//! `system_*`: the node itself.

use std::time::{SystemTime, UNIX_EPOCH};

use commonwatt_executor::decode_extrinsic;
use jsonrpsee::server::RegisterMethodError;
use serde_json::{Map, Value};

use crate::{
    ChainType, NodeRole,
    arguments::Arguments,
    error::{Answer, Fault},
    methods::{Methods, Node},
    types::{Account, Bytes, Health, SyncState},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.tell("system_name", |node| node.info.name.clone())?;
    methods.tell("system_version", |node| node.info.version.clone())?;
    methods.tell("system_chain", |node| node.info.chain_name.clone())?;
    methods.tell("system_chainType", chain_type)?;
    methods.tell("system_properties", properties)?;
    methods.tell("system_nodeRoles", roles)?;
    methods.tell("system_health", health)?;
    methods.work("system_syncState", sync_state)?;
    methods.tell("system_peers", |_| Vec::<Value>::new())?;
    // Without a network the node has no identity on it.
    methods.tell("system_localPeerId", |_| String::new())?;
    methods.tell("system_localListenAddresses", |_| Vec::<String>::new())?;
    methods.work("system_accountNextIndex", account_next_index)?;
    methods.alias("system_accountNextIndex", &["account_nextIndex"])?;
    methods.guarded_work("system_dryRun", dry_run)?;
    methods.alias("system_dryRun", &["system_dryRunAt"])
}

fn chain_type(node: &Node) -> ChainType {
    node.info.chain_type.clone()
}

fn properties(node: &Node) -> Map<String, Value> {
    node.info.properties.clone()
}

fn roles(node: &Node) -> Vec<NodeRole> {
    node.info.roles.clone()
}

/// Says what is true of a node on its own: it is never without the peers it should have.
fn health(node: &Node) -> Health {
    Health {
        peers: 0,
        is_syncing: node.chain.is_catching_up(),
        should_have_peers: false,
    }
}

/// Says how far the node is. Height is step, so while it catches up the clock says how far it has to go.
fn sync_state(node: &Node, _: Arguments) -> Answer<SyncState> {
    let (best, _) = node.chain.best();
    let highest = if node.chain.is_catching_up() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |since| since.as_millis());
        let open = node
            .chain
            .timing()?
            .step_at(u64::try_from(now_ms).unwrap_or(u64::MAX));
        open.0.saturating_sub(1).max(best)
    } else {
        best
    };
    Ok(SyncState {
        starting_block: node.started_at,
        current_block: best,
        highest_block: highest,
    })
}

fn account_next_index(node: &Node, mut arguments: Arguments) -> Answer<u32> {
    let Account(account) = arguments.required("account")?;
    Ok(node.chain.next_nonce(&account)?)
}

/// Applies a transaction on a state that is then thrown away.
fn dry_run(node: &Node, mut arguments: Arguments) -> Answer<Bytes> {
    let Bytes(extrinsic) = arguments.required("extrinsic")?;
    let state = node.chain.state(arguments.optional("at")?)?;
    verify_extrinsic(&extrinsic)?;
    let result =
        node.chain
            .executor()
            .call_raw(&state, "BlockBuilder_apply_extrinsic", &extrinsic)?;
    Ok(Bytes(result))
}

/// Checks that bytes are an extrinsic and nothing besides.
pub(crate) fn verify_extrinsic(bytes: &[u8]) -> Answer<()> {
    decode_extrinsic(bytes).map(|_| ()).map_err(|error| {
        Fault::parameters(format!(
            "the bytes are no extrinsic of this chain ({error}): fetch the metadata again and encode with \
             extrinsic version 4"
        ))
    })
}
