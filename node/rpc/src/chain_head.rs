//! `chainHead_v1_*`: the head of the chain as newer clients follow it, and what they ask about its blocks.
//!
//! A block is final as soon as it is stored and there are no forks, so each new block is told by `newBlock`,
//! `bestBlockChanged` and `finalized`, one after the other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use codec::Encode;
use commonwatt_chain::NewHead;
use commonwatt_runtime::{Hash, Header};
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use serde_json::{Map, Value, json};
use sp_version::RuntimeVersion;
use tokio::sync::{
    Semaphore,
    broadcast::{self, error::RecvError},
    mpsc,
};

use crate::{
    arguments::Arguments,
    connection::{Connection, lock},
    error::{Answer, Fault},
    methods::{Methods, Node, to_json},
    news::{End, Pending, Subscriber},
    operations::{self, Operations},
    types::{Bytes, OneOrMany},
};

/// Subscriptions to the head of one connection; clients may count on two.
pub const FOLLOWS_PER_CONNECTION_MAX: usize = 4;
/// Blocks that one subscription keeps pinned; the next one stops it. As many as a node keeps states by default.
pub const PINNED_BLOCKS_MAX: usize = 256;
/// What one subscription has under work at one time: items of storage, bodies and calls; clients may count on 16.
pub const OPERATIONS_MAX: usize = 64;
/// Blocks that a subscription begins with: what was included in the last hours is still found.
const FIRST_BLOCKS_MAX: u32 = 8;
/// Events of operations that wait for the subscription to send them.
const EVENTS_MAX: usize = 4;

/// Codes of the JSON-RPC interface specification.
const TOO_MANY_FOLLOWS: i32 = -32800;
const NOT_PINNED: i32 = -32801;
const TWICE: i32 = -32804;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    let names = [
        "chainHead_v1_follow",
        "chainHead_v1_followEvent",
        "chainHead_v1_unfollow",
    ];
    methods.subscription(names, follow)?;
    methods.work_for("chainHead_v1_header", header)?;
    methods.tell_to("chainHead_v1_unpin", unpin)?;
    operations::register(methods)
}

/// One subscription to the head.
pub(crate) struct Follow {
    pub(crate) with_runtime: bool,
    pinned: Mutex<BTreeSet<Hash>>,
    pub(crate) operations: Operations,
}

impl Follow {
    /// Fails when a block is not pinned.
    pub(crate) fn ensure_pinned(&self, hash: &Hash) -> Answer<()> {
        if lock(&self.pinned).contains(hash) {
            return Ok(());
        }
        Err(not_pinned(hash))
    }
}

fn not_pinned(hash: &Hash) -> Fault {
    Fault::new(NOT_PINNED, format!("block {hash:?} is not pinned")).with_data(
        "ask about blocks that this subscription has reported and that were not unpinned since",
    )
}

/// Finds a connection's subscription; `None` when it has ended or never was.
pub(crate) fn find(connection: &Connection, id: &str) -> Option<Arc<Follow>> {
    lock(&connection.follows).get(id).cloned()
}

/// Forgets a subscription when its task ends.
struct Registered {
    connection: Arc<Connection>,
    id: String,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let follow = lock(&self.connection.follows).remove(&self.id);
        if let Some(follow) = follow {
            follow.operations.stop_all();
        }
    }
}

/// What a subscription begins with.
struct First {
    number: u32,
    hashes: Vec<Hash>,
    messages: Vec<Box<serde_json::value::RawValue>>,
}

async fn follow(
    params: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let parsed =
        Arguments::parse(&params).and_then(|mut given| given.required::<bool>("withRuntime"));
    let with_runtime = match parsed {
        Ok(with_runtime) => with_runtime,
        Err(fault) => return pending.reject(fault).await,
    };
    // Listening begins before the best block is looked at, so that none is missed in between.
    let mut heads = node.chain.subscribe_heads();
    let first = node.work(pending.connection(), move |node| first(node, with_runtime));
    let first = match first.await {
        Ok(first) => first,
        Err(fault) => return pending.reject(fault).await,
    };
    let (events, mut queue) = mpsc::channel(EVENTS_MAX);
    let follow = Arc::new(Follow {
        with_runtime,
        pinned: Mutex::new(first.hashes.iter().copied().collect()),
        operations: Operations::new(Arc::new(Semaphore::new(OPERATIONS_MAX)), events),
    });
    // Known before it is accepted: the client may ask as soon as it has the id.
    let registered = match enter(pending.connection(), pending.id(), follow.clone()) {
        Ok(registered) => registered,
        Err(fault) => return pending.reject(fault).await,
    };
    let Some(mut subscriber) = pending.accept(node.keep_alive).await else {
        return SubscriptionCloseResponse::None;
    };
    drop(node);
    let told = tell(&mut subscriber, first, &mut heads, &mut queue, &follow).await;
    drop(registered);
    if told.is_err_and(|end| end.is_some())
        && let Ok(stop) = to_json(&json!({ "event": "stop" }))
    {
        // Whoever reads too slowly to be told this is told nothing more.
        let _ = subscriber.send(stop).await;
    }
    SubscriptionCloseResponse::None
}

fn enter(connection: &Arc<Connection>, id: String, follow: Arc<Follow>) -> Answer<Registered> {
    let mut follows = lock(&connection.follows);
    if follows.len() >= FOLLOWS_PER_CONNECTION_MAX {
        return Err(Fault::new(
            TOO_MANY_FOLLOWS,
            format!("this connection follows the chain {FOLLOWS_PER_CONNECTION_MAX} times already"),
        )
        .with_data("use one of these subscriptions, or end one with chainHead_v1_unfollow"));
    }
    follows.insert(id.clone(), follow);
    Ok(Registered {
        connection: connection.clone(),
        id,
    })
}

fn first(node: &Node, with_runtime: bool) -> Answer<First> {
    let (number, hash) = node.chain.best();
    let mut hashes = vec![hash];
    let mut earlier = number;
    // Blocks whose state was discarded could not be asked about.
    while earlier > 0 && hashes.len() < usize::try_from(FIRST_BLOCKS_MAX).unwrap_or(usize::MAX) {
        earlier -= 1;
        match node.chain.db().hash_of(earlier)? {
            Some(hash) if node.chain.state(Some(hash)).is_ok() => hashes.push(hash),
            _ => break,
        }
    }
    hashes.reverse();
    let mut initialized = Map::new();
    initialized.insert("event".to_owned(), json!("initialized"));
    initialized.insert("finalizedBlockHashes".to_owned(), json!(hashes));
    if with_runtime {
        let state = node.chain.state(Some(hash))?;
        let version = node.chain.executor().call(&state, "Core_version", ())?;
        initialized.insert("finalizedBlockRuntime".to_owned(), runtime(&version));
    }
    let best = json!({ "event": "bestBlockChanged", "bestBlockHash": hash });
    Ok(First {
        number,
        hashes,
        messages: vec![to_json(&initialized)?, to_json(&best)?],
    })
}

/// Returns a runtime's version in the form that this interface gives it.
fn runtime(version: &RuntimeVersion) -> Value {
    let apis: Map<String, Value> = version
        .apis
        .iter()
        .map(|(id, version)| (format!("0x{}", hex::encode(id)), json!(version)))
        .collect();
    json!({
        "type": "valid",
        "spec": {
            "specName": version.spec_name,
            "implName": version.impl_name,
            "specVersion": version.spec_version,
            "implVersion": version.impl_version,
            "transactionVersion": version.transaction_version,
            "apis": apis,
        },
    })
}

/// Something to tell.
enum News {
    Head(Result<Arc<NewHead>, RecvError>),
    Event(Option<Box<serde_json::value::RawValue>>),
}

/// Tells of blocks and operations until the subscription ends.
async fn tell(
    subscriber: &mut Subscriber,
    first: First,
    heads: &mut broadcast::Receiver<Arc<NewHead>>,
    queue: &mut mpsc::Receiver<Box<serde_json::value::RawValue>>,
    follow: &Follow,
) -> Result<(), End> {
    for message in first.messages {
        subscriber.send(message).await?;
    }
    loop {
        let next = async {
            tokio::select! {
                head = heads.recv() => News::Head(head),
                event = queue.recv() => News::Event(event),
            }
        };
        match subscriber.wait_for(next).await? {
            News::Head(Ok(head)) if head.header.number <= first.number => {}
            News::Head(Ok(head)) => tell_block(subscriber, &head, follow).await?,
            News::Head(Err(RecvError::Closed)) => return Err(stop("the node stops")),
            News::Head(Err(RecvError::Lagged(_))) => return Err(stop("blocks were missed")),
            News::Event(Some(event)) => subscriber.send(event).await?,
            News::Event(None) => return Ok(()),
        }
    }
}

/// Ends the subscription with a `stop` event, which has no place for a reason.
fn stop(reason: &str) -> End {
    Some(reason.to_owned())
}

async fn tell_block(
    subscriber: &mut Subscriber,
    head: &NewHead,
    follow: &Follow,
) -> Result<(), End> {
    {
        let mut pinned = lock(&follow.pinned);
        if pinned.len() >= PINNED_BLOCKS_MAX {
            return Err(stop("too many blocks are pinned"));
        }
        pinned.insert(head.hash);
    }
    let mut new_block = Map::new();
    new_block.insert("event".to_owned(), json!("newBlock"));
    new_block.insert("blockHash".to_owned(), json!(head.hash));
    let parent = json!(head.header.parent_hash);
    new_block.insert("parentBlockHash".to_owned(), parent);
    if follow.with_runtime {
        // Another runtime is another binary: it never changes while this one runs.
        new_block.insert("newRuntime".to_owned(), Value::Null);
    }
    let events = [
        Value::Object(new_block),
        json!({ "event": "bestBlockChanged", "bestBlockHash": head.hash }),
        json!({ "event": "finalized", "finalizedBlockHashes": [head.hash], "prunedBlockHashes": [] }),
    ];
    for event in events {
        let event = to_json(&event).map_err(|_| stop("a block could not be told of"))?;
        subscriber.send(event).await?;
    }
    Ok(())
}

fn header(
    node: &Node,
    connection: &Arc<Connection>,
    mut arguments: Arguments,
) -> Answer<Option<Bytes>> {
    let id: String = arguments.required("followSubscription")?;
    let hash: Hash = arguments.required("hash")?;
    let Some(follow) = find(connection, &id) else {
        return Ok(None);
    };
    follow.ensure_pinned(&hash)?;
    let header: Option<Header> = node.chain.db().header(&hash)?;
    let header = header.ok_or_else(|| Fault::internal("a pinned block has no header"))?;
    Ok(Some(Bytes(header.encode())))
}

fn unpin(_: &Node, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<()> {
    let id: String = arguments.required("followSubscription")?;
    let hashes = match arguments.required("hashOrHashes")? {
        OneOrMany::One(hash) => vec![hash],
        OneOrMany::Many(hashes) => hashes,
    };
    let Some(follow) = find(connection, &id) else {
        return Ok(());
    };
    let wanted: BTreeSet<Hash> = hashes.iter().copied().collect();
    if wanted.len() < hashes.len() {
        return Err(Fault::new(TWICE, "a block is named twice")
            .with_data("name each block once; nothing was unpinned"));
    }
    let mut pinned = lock(&follow.pinned);
    if let Some(unknown) = wanted.iter().find(|hash| !pinned.contains(hash)) {
        return Err(not_pinned(unknown));
    }
    pinned.retain(|hash| !wanted.contains(hash));
    Ok(())
}

/// Returns an empty table of what runs.
pub(crate) type Running<T> = Mutex<HashMap<String, T>>;
