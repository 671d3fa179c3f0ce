//! `system_*`: the node itself.

use commonwatt_executor::decode_extrinsic;
use jsonrpsee::server::RegisterMethodError;
use serde_json::{Map, Value};

use crate::{
    ChainType, NodeRole, PeerInfo,
    arguments::Arguments,
    clock::now_ms,
    error::{Answer, Fault},
    methods::{Methods, Node},
    types::{Account, Bytes, Health, SyncState},
};

pub(crate) fn register(methods: &mut Methods, node: &Node) -> Result<(), RegisterMethodError> {
    methods.tell("system_name", |node| node.info.name.clone())?;
    methods.tell("system_version", |node| node.info.version.clone())?;
    methods.tell("system_chain", |node| node.info.chain_name.clone())?;
    methods.tell("system_chainType", chain_type)?;
    methods.tell("system_properties", properties)?;
    methods.tell("system_nodeRoles", roles)?;
    methods.tell("system_health", health)?;
    methods.work("system_syncState", sync_state)?;
    methods.tell("system_peers", peers)?;
    if node.services.network.is_some() {
        methods.tell("system_localPeerId", local_peer_id)?;
        methods.tell("system_localListenAddresses", listen_addresses)?;
    } else {
        methods.refuse("system_localPeerId", no_network)?;
        methods.refuse("system_localListenAddresses", no_network)?;
    }
    methods.work("system_accountNextIndex", account_next_index)?;
    methods.alias("system_accountNextIndex", &["account_nextIndex"])?;
    if node.services.log_filter.is_some() {
        methods.guarded_work("system_addLogFilter", add_log_filter)?;
        methods.guarded_work("system_resetLogFilter", reset_log_filter)?;
    } else {
        methods.refuse("system_addLogFilter", no_log_filter)?;
        methods.refuse("system_resetLogFilter", no_log_filter)?;
    }
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

fn no_network() -> Fault {
    Fault::unavailable(
        "this node is on no network",
        "it runs by itself: there is nothing to connect to",
    )
}

fn no_log_filter() -> Fault {
    Fault::unavailable(
        "the log's filter cannot be changed while this node runs",
        "start it with --log and the filter you want",
    )
}

/// Adds directives to the log's filter.
fn add_log_filter(node: &Node, mut arguments: Arguments) -> Answer<()> {
    let directives: String = arguments.required("directives")?;
    let Some(filter) = &node.services.log_filter else {
        return Err(no_log_filter());
    };
    filter.add(&directives).map_err(Fault::parameters)
}

/// Goes back to the log's filter of the start.
fn reset_log_filter(node: &Node, _: Arguments) -> Answer<()> {
    let Some(filter) = &node.services.log_filter else {
        return Err(no_log_filter());
    };
    filter.reset().map_err(|reason| Fault::internal(&reason))
}

fn peers(node: &Node) -> Vec<PeerInfo> {
    let network = node.services.network.as_ref();
    network.map_or_else(Vec::new, |network| network.peers())
}

/// Registered only where there is a network.
fn local_peer_id(node: &Node) -> Option<String> {
    let network = node.services.network.as_ref();
    network.map(|network| network.local_peer_id())
}

/// Registered only where there is a network.
fn listen_addresses(node: &Node) -> Option<Vec<String>> {
    let network = node.services.network.as_ref();
    network.map(|network| network.listen_addresses())
}

/// A node on its own is never without the peers it should have.
fn health(node: &Node) -> Health {
    let network = node.services.network.as_ref();
    Health {
        peers: u32::try_from(peers(node).len()).unwrap_or(u32::MAX),
        is_syncing: node.chain.is_catching_up(),
        should_have_peers: network.is_some_and(|network| network.should_have_peers()),
    }
}

/// Says how far the node is. Height is step, so while it catches up the clock says how far it has to go.
fn sync_state(node: &Node, _: Arguments) -> Answer<SyncState> {
    let (best, _) = node.chain.best();
    let highest = if node.chain.is_catching_up() {
        let open = node.chain.timing()?.step_at(now_ms());
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
