//! What clients ask about pinned blocks: bodies, calls and storage, answered by events of the subscription.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use commonwatt_runtime::Hash;
use commonwatt_storage::State;
use jsonrpsee::server::RegisterMethodError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sp_state_machine::Backend;
use sp_trie::MerkleValue;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
};

use crate::{
    arguments::Arguments,
    chain_head::{Follow, Running, find},
    connection::{Connection, lock},
    error::{Answer, Fault, unreadable},
    limits::{ITEMS_PER_PAGE_MAX, KEYS_PER_QUERY_MAX, PAGE_BYTES_MAX},
    methods::{Begun, Methods, Node, to_json},
    state,
    types::Bytes,
};

/// Codes of the JSON-RPC interface specification.
const WITHOUT_RUNTIME: i32 = -32802;
const NOT_WAITING: i32 = -32803;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.begin("chainHead_v1_body", body)?;
    methods.begin("chainHead_v1_call", call)?;
    methods.begin("chainHead_v1_storage", storage)?;
    methods.tell_to("chainHead_v1_continue", go_on)?;
    methods.tell_to("chainHead_v1_stopOperation", stop)
}

/// What one subscription has under work.
pub(crate) struct Operations {
    room: Arc<Semaphore>,
    events: mpsc::Sender<Box<RawValue>>,
    running: Running<Operation>,
    last_id: AtomicU64,
}

/// One piece of work.
struct Operation {
    task: AbortHandle,
    pause: Arc<Pause>,
}

/// Where an operation waits for its client to want more.
#[derive(Default)]
struct Pause {
    is_waiting: AtomicBool,
    go_on: Notify,
}

impl Operations {
    /// Begins with no work. `room` bounds it, `events` takes what comes of it.
    pub(crate) fn new(room: Arc<Semaphore>, events: mpsc::Sender<Box<RawValue>>) -> Self {
        Self {
            room,
            events,
            running: Running::default(),
            last_id: AtomicU64::new(0),
        }
    }

    /// Ends all work.
    pub(crate) fn stop_all(&self) {
        lock(&self.running)
            .drain()
            .for_each(|(_, operation)| operation.task.abort());
    }
}

/// The answer when there is no room, or no such subscription.
fn limit_reached() -> Begun {
    Begun {
        answer: json!({ "result": "limitReached" }),
        start: None,
    }
}

/// An operation that tells its client what comes of it.
struct Teller {
    id: String,
    events: mpsc::Sender<Box<RawValue>>,
    pause: Arc<Pause>,
}

impl Teller {
    /// Sends an event; `None` when nobody listens any more.
    async fn tell(&self, event: Box<RawValue>) -> Option<()> {
        self.events.send(event).await.ok()
    }

    /// Sends the last event of an operation.
    async fn end(&self, done: Answer<Box<RawValue>>) -> Option<()> {
        let event = done.or_else(|fault| to_json(&self.failure(&fault)));
        self.tell(event.ok()?).await
    }

    fn failure(&self, fault: &Fault) -> Value {
        if fault.is_passing() {
            return json!({ "event": "operationInaccessible", "operationId": self.id });
        }
        json!({ "event": "operationError", "operationId": self.id, "error": fault.to_string() })
    }
}

/// Begins an operation: it is answered with its id, and runs once the answer has left.
fn begin<Run>(
    follow: &Arc<Follow>,
    permit: OwnedSemaphorePermit,
    run: impl FnOnce(Teller) -> Run,
) -> (String, oneshot::Sender<()>)
where
    Run: Future<Output = Option<()>> + Send + 'static,
{
    let operations = &follow.operations;
    let id = operations
        .last_id
        .fetch_add(1, Ordering::Relaxed)
        .to_string();
    let pause = Arc::<Pause>::default();
    let run = run(Teller {
        id: id.clone(),
        events: operations.events.clone(),
        pause: pause.clone(),
    });
    let (start, started) = oneshot::channel();
    // Held while the task begins, so that it is entered before it can be taken out.
    let mut running = lock(&operations.running);
    let task = tokio::spawn({
        let (follow, id) = (Arc::downgrade(follow), id.clone());
        async move {
            // An answer that cannot be sent drops the sender: nobody listens then, and the first event says so.
            let _ = started.await;
            // Nobody listening is no fault.
            let _ = run.await;
            drop(permit);
            if let Some(follow) = follow.upgrade() {
                lock(&follow.operations.running).remove(&id);
            }
        }
    });
    let operation = Operation {
        task: task.abort_handle(),
        pause,
    };
    running.insert(id.clone(), operation);
    (id, start)
}

/// Finds the subscription and the pinned block that an operation is about; `None` when there is no such
/// subscription.
fn subject(
    connection: &Connection,
    arguments: &mut Arguments,
) -> Answer<(Option<Arc<Follow>>, Hash)> {
    let id: String = arguments.required("followSubscription")?;
    let hash: Hash = arguments.required("hash")?;
    let follow = find(connection, &id);
    if let Some(follow) = &follow {
        follow.ensure_pinned(&hash)?;
    }
    Ok((follow, hash))
}

fn started(id: &str, start: oneshot::Sender<()>) -> Begun {
    Begun {
        answer: json!({ "result": "started", "operationId": id }),
        start: Some(start),
    }
}

// ---------------------------------------------------------------------------------- body and call

fn body(node: &Arc<Node>, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<Begun> {
    let (follow, hash) = subject(connection, &mut arguments)?;
    let Some(follow) = follow else {
        return Ok(limit_reached());
    };
    let Ok(permit) = follow.operations.room().try_acquire_owned() else {
        return Ok(limit_reached());
    };
    let (node, connection) = (node.clone(), connection.clone());
    let (id, start) = begin(&follow, permit, |teller| async move {
        let id = teller.id.clone();
        let read = move |node: &Node| {
            let body = node.chain.db().body(&hash)?;
            let body = body.ok_or_else(|| Fault::internal("a pinned block has no body"))?;
            let value: Vec<_> = body.into_iter().map(Bytes).collect();
            to_json(&json!({ "event": "operationBodyDone", "operationId": id, "value": value }))
        };
        let done = node.work(&connection, read).await;
        teller.end(done).await
    });
    Ok(started(&id, start))
}

fn call(node: &Arc<Node>, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<Begun> {
    let (follow, hash) = subject(connection, &mut arguments)?;
    let function: String = arguments.required("function")?;
    let Bytes(parameters) = arguments.required("callParameters")?;
    state::verify_call(node, &function, &parameters)?;
    let Some(follow) = follow else {
        return Ok(limit_reached());
    };
    if !follow.with_runtime {
        return Err(Fault::new(
            WITHOUT_RUNTIME,
            "this subscription does not follow the runtime",
        )
        .with_data("subscribe with withRuntime true to call it"));
    }
    let Ok(permit) = follow.operations.room().try_acquire_owned() else {
        return Ok(limit_reached());
    };
    let (node, connection) = (node.clone(), connection.clone());
    let (id, start) = begin(&follow, permit, |teller| async move {
        let id = teller.id.clone();
        let run = move |node: &Node| {
            let state = node.chain.state(Some(hash))?;
            let executor = node.chain.executor();
            let output = Bytes(executor.call_raw(&state, &function, &parameters)?);
            to_json(&json!({ "event": "operationCallDone", "operationId": id, "output": output }))
        };
        let done = node.work(&connection, run).await;
        teller.end(done).await
    });
    Ok(started(&id, start))
}

// ---------------------------------------------------------------------------------- storage

/// What is wanted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Value,
    Hash,
    ClosestDescendantMerkleValue,
    DescendantsValues,
    DescendantsHashes,
}

impl Kind {
    fn is_of_descendants(self) -> bool {
        matches!(self, Self::DescendantsValues | Self::DescendantsHashes)
    }
}

/// A question about a key.
#[derive(Clone, Debug, Deserialize)]
struct Item {
    key: Bytes,
    #[serde(rename = "type")]
    kind: Kind,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closest_descendant_merkle_value: Option<Bytes>,
}

impl Found {
    fn key(key: Vec<u8>) -> Self {
        Self {
            key: Bytes(key),
            value: None,
            hash: None,
            closest_descendant_merkle_value: None,
        }
    }

    fn bytes(&self) -> usize {
        let value = |value: &Option<Bytes>| value.as_ref().map_or(0, |value| value.len());
        self.key.len() + value(&self.value) + value(&self.closest_descendant_merkle_value)
    }
}

/// Questions about a state, answered page by page.
struct Query {
    hash: Hash,
    items: VecDeque<Item>,
    /// The last key found under the first item.
    last: Option<Vec<u8>>,
}

/// A part of the answers.
struct Page {
    found: Vec<Found>,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.found.len() >= ITEMS_PER_PAGE_MAX || self.bytes >= PAGE_BYTES_MAX
    }

    fn push(&mut self, found: Found) {
        self.bytes = self.bytes.saturating_add(found.bytes());
        self.found.push(found);
    }
}

impl Query {
    /// Answers as much as one page holds.
    fn next_page(&mut self, node: &Node) -> Answer<Vec<Found>> {
        let state = node.chain.state(Some(self.hash))?;
        let mut page = Page {
            found: Vec::new(),
            bytes: 0,
        };
        while let Some(item) = self.items.front()
            && !page.is_full()
        {
            if item.kind.is_of_descendants() {
                if !descend(&state, item, &mut self.last, &mut page)? {
                    break;
                }
            } else {
                let key = item.key.to_vec();
                if let Some(found) = look_up(&state, key, item.kind)? {
                    page.push(found);
                }
            }
            self.items.pop_front();
            self.last = None;
        }
        Ok(page.found)
    }
}

fn look_up(state: &State, key: Vec<u8>, kind: Kind) -> Answer<Option<Found>> {
    let mut found = Found::key(key);
    match kind {
        Kind::Value | Kind::DescendantsValues => {
            found.value = state.storage(&found.key).map_err(unreadable)?.map(Bytes);
        }
        Kind::Hash | Kind::DescendantsHashes => {
            found.hash = state.storage_hash(&found.key).map_err(unreadable)?;
        }
        Kind::ClosestDescendantMerkleValue => {
            let merkle_value = state.closest_merkle_value(&found.key).map_err(unreadable)?;
            found.closest_descendant_merkle_value = merkle_value.map(|value| match value {
                MerkleValue::Node(bytes) => Bytes(bytes),
                MerkleValue::Hash(hash) => Bytes(hash.as_bytes().to_vec()),
            });
        }
    }
    let is_there = found.value.is_some()
        || found.hash.is_some()
        || found.closest_descendant_merkle_value.is_some();
    Ok(is_there.then_some(found))
}

/// Adds what lies under a key, after the last one found; returns whether that is all.
fn descend(
    state: &State,
    item: &Item,
    last: &mut Option<Vec<u8>>,
    page: &mut Page,
) -> Answer<bool> {
    let mut range = state::under(&item.key);
    range.start_at = last.as_deref();
    range.start_at_exclusive = true;
    let mut keys = state.keys(range).map_err(unreadable)?;
    loop {
        if page.is_full() {
            *last = page.found.last().map(|found| found.key.to_vec());
            return Ok(false);
        }
        match keys.next() {
            None => return Ok(true),
            Some(key) => {
                if let Some(found) = look_up(state, key.map_err(unreadable)?, item.kind)? {
                    page.push(found);
                }
            }
        }
    }
}

fn storage(
    node: &Arc<Node>,
    connection: &Arc<Connection>,
    mut arguments: Arguments,
) -> Answer<Begun> {
    let (follow, hash) = subject(connection, &mut arguments)?;
    let mut items: Vec<Item> = arguments.required("items")?;
    let child_trie: Option<Bytes> = arguments.optional("childTrie")?;
    if items.len() > KEYS_PER_QUERY_MAX {
        return Err(Fault::too_many("items", items.len(), KEYS_PER_QUERY_MAX));
    }
    let Some(follow) = follow else {
        return Ok(limit_reached());
    };
    let room = follow.operations.room();
    let taken = room.available_permits().min(items.len());
    // Even a question about nothing takes a place, or it could be asked without end.
    let places = u32::try_from(taken.max(1)).unwrap_or(u32::MAX);
    let (Ok(permit), true) = (
        room.try_acquire_many_owned(places),
        taken > 0 || items.is_empty(),
    ) else {
        return Ok(limit_reached());
    };
    let discarded = items.len() - taken;
    items.truncate(taken);
    if child_trie.is_some() {
        // This chain keeps everything in one trie, so nothing is found in another.
        items.clear();
    }
    let query = Query {
        hash,
        items: items.into(),
        last: None,
    };
    let (node, connection) = (node.clone(), connection.clone());
    let (id, start) = begin(&follow, permit, |teller| {
        answer(node, connection, teller, query)
    });
    let answer = json!({ "result": "started", "operationId": id, "discardedItems": discarded });
    Ok(Begun {
        answer,
        start: Some(start),
    })
}

/// Answers page by page. Between two pages of what lies under a key the client says that it wants more.
async fn answer(
    node: Arc<Node>,
    connection: Arc<Connection>,
    teller: Teller,
    mut query: Query,
) -> Option<()> {
    loop {
        let id = teller.id.clone();
        let read = node.work(&connection, move |node| {
            let found = query.next_page(node)?;
            let event = (!found.is_empty()).then(
                || json!({ "event": "operationStorageItems", "operationId": id, "items": found }),
            );
            Ok((query, event.map(|event| to_json(&event)).transpose()?))
        });
        let (rest, event) = match read.await {
            Ok(page) => page,
            Err(fault) => return teller.end(Err(fault)).await,
        };
        query = rest;
        if let Some(event) = event {
            teller.tell(event).await?;
        }
        match query.items.front() {
            None => {
                let id = &teller.id;
                let done = json!({ "event": "operationStorageDone", "operationId": id });
                return teller.end(to_json(&done)).await;
            }
            Some(next) if next.kind.is_of_descendants() => {
                let id = &teller.id;
                let waiting = json!({ "event": "operationWaitingForContinue", "operationId": id });
                teller.pause.is_waiting.store(true, Ordering::Release);
                teller.tell(to_json(&waiting).ok()?).await?;
                teller.pause.go_on.notified().await;
            }
            Some(_) => {}
        }
    }
}

// ---------------------------------------------------------------------------------- control

fn go_on(_: &Node, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<()> {
    let (follow, id) = named(connection, &mut arguments)?;
    let Some(follow) = follow else {
        return Ok(());
    };
    let running = lock(&follow.operations.running);
    let Some(operation) = running.get(&id) else {
        return Ok(());
    };
    if !operation.pause.is_waiting.swap(false, Ordering::AcqRel) {
        return Err(Fault::new(NOT_WAITING, "the operation does not wait")
            .with_data("continue once for each operationWaitingForContinue event"));
    }
    operation.pause.go_on.notify_one();
    Ok(())
}

fn stop(_: &Node, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<()> {
    let (follow, id) = named(connection, &mut arguments)?;
    let operation = follow.and_then(|follow| lock(&follow.operations.running).remove(&id));
    if let Some(operation) = operation {
        operation.task.abort();
    }
    Ok(())
}

fn named(
    connection: &Connection,
    arguments: &mut Arguments,
) -> Answer<(Option<Arc<Follow>>, String)> {
    let follow: String = arguments.required("followSubscription")?;
    let operation: String = arguments.required("operationId")?;
    Ok((find(connection, &follow), operation))
}

impl Operations {
    fn room(&self) -> Arc<Semaphore> {
        self.room.clone()
    }
}
