//! Subscriptions: what happened, to those who asked, as fast as they read.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use commonwatt_chain::NewHead;
use commonwatt_runtime::Hash;
use jsonrpsee::{
    core::SubscriptionError,
    server::{
        PendingSubscriptionSink, SubscriptionCloseResponse, SubscriptionMessage, SubscriptionSink,
    },
    types::SubscriptionId,
};
use serde_json::value::RawValue;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{self, error::RecvError},
    },
    time::{Instant, sleep_until},
};

use crate::{
    connection::{Connection, lock},
    error::{Answer, Fault},
    methods::Node,
};

/// How long a message waits for a reader whose buffer is full.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a subscription to blocks begins.
pub(crate) struct Start {
    /// The block the first message is about.
    pub(crate) number: u32,
    /// The first message, if there is anything to tell yet.
    pub(crate) message: Option<Box<RawValue>>,
}

/// What a subscription tells of each block. Those of the same kind are told the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The header.
    Header,
    /// The step it closes.
    Step,
    /// How the market of that step ended.
    Clearing,
    /// What it wrote under the keys with this hash, or all it wrote.
    Storage(Option<Hash>),
    /// Nothing.
    Nothing,
}

/// Kinds of news of one block that are kept.
const KINDS_MAX: usize = 64;

/// What was told of the last block: written as JSON once, however many are told.
#[derive(Default)]
pub(crate) struct Told(Mutex<LastBlock>);

#[derive(Default)]
struct LastBlock {
    number: u32,
    news: BTreeMap<Kind, Option<Arc<RawValue>>>,
}

impl Told {
    /// Returns what to tell of a block; `tell` says it for the first who asks.
    fn say(
        &self,
        kind: Kind,
        head: &NewHead,
        tell: impl FnOnce(&NewHead) -> Answer<Option<Box<RawValue>>>,
    ) -> Answer<Option<Arc<RawValue>>> {
        let mut last = lock(&self.0);
        if head.header.number > last.number {
            last.number = head.header.number;
            last.news.clear();
        }
        let is_kept = head.header.number == last.number;
        if is_kept && let Some(known) = last.news.get(&kind) {
            return Ok(known.clone());
        }
        if !is_kept || last.news.len() >= KINDS_MAX {
            drop(last);
            return Ok(tell(head)?.map(Arc::from));
        }
        // Others of the kind wait meanwhile: it is quicker than to do the same each.
        let said = tell(head)?.map(Arc::from);
        last.news.insert(kind, said.clone());
        Ok(said)
    }
}

/// Somebody who wants to subscribe.
pub(crate) struct Pending {
    sink: PendingSubscriptionSink,
    connection: Arc<Connection>,
    permit: OwnedSemaphorePermit,
}

impl Pending {
    /// Takes in who wants to subscribe, with its place among all subscriptions.
    pub(crate) fn new(
        sink: PendingSubscriptionSink,
        connection: Arc<Connection>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            sink,
            connection,
            permit,
        }
    }

    /// Returns the connection that asks.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns the id that the subscription will have.
    pub(crate) fn id(&self) -> String {
        match self.sink.subscription_id() {
            SubscriptionId::Str(id) => id.into_owned(),
            SubscriptionId::Num(id) => id.to_string(),
        }
    }

    /// Answers with an error.
    pub(crate) async fn reject(self, fault: Fault) -> SubscriptionCloseResponse {
        self.sink.reject(fault).await;
        SubscriptionCloseResponse::None
    }

    /// Answers with the id; `None` when the connection has ended.
    pub(crate) async fn accept(self, keep_alive: Duration) -> Option<Subscriber> {
        Some(Subscriber {
            sink: self.sink.accept().await.ok()?,
            connection: self.connection,
            keep_alive,
            silent_until: Instant::now() + keep_alive,
            _permit: self.permit,
        })
    }
}

/// Bytes that a notification has besides its result, at least. What is counted in must come out again.
const NOTIFICATION_BYTES: usize = 64;

/// One subscriber, and when it heard the last.
pub(crate) struct Subscriber {
    sink: SubscriptionSink,
    connection: Arc<Connection>,
    keep_alive: Duration,
    silent_until: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Why a subscription ends: `None` when the subscriber went away.
pub(crate) type End = Option<String>;

impl Subscriber {
    /// Waits for `news` while the subscriber is there, and keeps it from thinking that the node is not.
    pub(crate) async fn wait_for<T>(&mut self, news: impl Future<Output = T>) -> Result<T, End> {
        let mut news = std::pin::pin!(news);
        loop {
            tokio::select! {
                () = self.sink.closed() => return Err(None),
                item = &mut news => return Ok(item),
                () = sleep_until(self.silent_until) => self.keep_alive().await?,
            }
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: Box<RawValue>) -> Result<(), End> {
        let bytes = message.get().len().saturating_add(NOTIFICATION_BYTES);
        self.send_counted(message.into(), bytes).await
    }

    /// Sends a message that others are sent too.
    async fn send_shared(&mut self, message: &RawValue) -> Result<(), End> {
        let bytes = message.get().len().saturating_add(NOTIFICATION_BYTES);
        let (method, id) = (self.sink.method_name(), self.sink.subscription_id());
        match SubscriptionMessage::new(method, id, &message) {
            Ok(message) => self.send_counted(message, bytes).await,
            Err(error) => Err(Some(error.to_string())),
        }
    }

    async fn send_counted(
        &mut self,
        message: SubscriptionMessage,
        bytes: usize,
    ) -> Result<(), End> {
        self.connection.told(bytes);
        let sent = self.sink.send_timeout(message, SEND_TIMEOUT).await;
        self.silent_until = Instant::now() + self.keep_alive;
        if sent.is_err() {
            self.connection.not_told(bytes);
        }
        match sent {
            Ok(()) => Ok(()),
            Err(_) if self.sink.is_closed() => Err(None),
            Err(_) => Err(Some(format!(
                "nothing was read for {} s: subscribe again, and read faster",
                SEND_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Sends a notification of a subscription that nobody has: clients ignore it, but hear something.
    async fn keep_alive(&mut self) -> Result<(), End> {
        let nobody = SubscriptionId::Str("keep-alive".into());
        match SubscriptionMessage::new("rpc_keepAlive", nobody, &()) {
            Ok(message) => self.send_counted(message, NOTIFICATION_BYTES).await,
            Err(error) => Err(Some(error.to_string())),
        }
    }
}

/// Turns the end of a subscription into its last message.
pub(crate) fn close(end: End) -> SubscriptionCloseResponse {
    match end {
        None => SubscriptionCloseResponse::None,
        Some(reason) => SubscriptionCloseResponse::NotifErr(SubscriptionError::from(reason)),
    }
}

/// Follows the chain: sends what `first` says of the best block, and then what `tell` says of each later one, which
/// must be the same for all of a kind.
pub(crate) async fn follow(
    pending: Pending,
    node: Arc<Node>,
    kind: Kind,
    first: impl FnOnce(&Node) -> Answer<Start> + Send + 'static,
    tell: impl Fn(&NewHead) -> Answer<Option<Box<RawValue>>>,
) -> SubscriptionCloseResponse {
    // Listening begins before the best block is looked at, so that none is missed in between.
    let mut heads = node.chain.subscribe_heads();
    let start = match node.work(pending.connection(), first).await {
        Ok(start) => start,
        Err(fault) => return pending.reject(fault).await,
    };
    let Some(mut subscriber) = pending.accept(node.keep_alive).await else {
        return SubscriptionCloseResponse::None;
    };
    let told = node.told.clone();
    drop(node);
    let say = |head: &NewHead| told.say(kind, head, &tell);
    let Err(end) = tell_heads(&mut subscriber, start, &mut heads, say).await;
    close(end)
}

/// Tells of blocks until the subscription ends; never `Ok`.
async fn tell_heads(
    subscriber: &mut Subscriber,
    start: Start,
    heads: &mut broadcast::Receiver<Arc<NewHead>>,
    say: impl Fn(&NewHead) -> Answer<Option<Arc<RawValue>>>,
) -> Result<Infallible, End> {
    if let Some(message) = start.message {
        subscriber.send(message).await?;
    }
    loop {
        let head = next_head(subscriber, heads, start.number).await?;
        match say(&head) {
            Ok(None) => {}
            Ok(Some(message)) => subscriber.send_shared(&message).await?,
            Err(_) => return Err(Some("a block could not be told of".to_owned())),
        }
    }
}

/// Waits for the next block after the one of number `start`.
pub(crate) async fn next_head(
    subscriber: &mut Subscriber,
    heads: &mut broadcast::Receiver<Arc<NewHead>>,
    start: u32,
) -> Result<Arc<NewHead>, End> {
    loop {
        match subscriber.wait_for(heads.recv()).await? {
            Ok(head) if head.header.number <= start => {}
            Ok(head) => return Ok(head),
            Err(RecvError::Closed) => return Err(Some("the node stops".to_owned())),
            Err(RecvError::Lagged(missed)) => {
                return Err(Some(format!(
                    "{missed} blocks were missed because messages were read too slowly: subscribe again, and \
                     fetch them with chain_getBlock"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{connection::Ledger, methods::to_json};
    use commonwatt_runtime::Header;
    use jsonrpsee::RpcModule;
    use sp_runtime::traits::Header as _;
    use tokio::sync::Semaphore;

    fn head(number: u32) -> Arc<NewHead> {
        let zero = Hash::zero();
        let header = Header::new(number, zero, zero, zero, Default::default());
        Arc::new(NewHead {
            hash: header.hash(),
            header,
            storage: Vec::new(),
            extrinsics: Vec::new(),
        })
    }

    /// A module whose `heads` tells the numbers of what is sent to `sender`, from 10 on.
    fn module(sender: broadcast::Sender<Arc<NewHead>>) -> RpcModule<()> {
        let mut module = RpcModule::new(());
        let run = move |_, pending: PendingSubscriptionSink, _, _| {
            let mut heads = sender.subscribe();
            let connection = Ledger::new(usize::MAX, 0).connect(0);
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned();
            let pending = Pending::new(pending, connection, permit.expect("one is free"));
            async move {
                let Some(mut subscriber) = pending.accept(Duration::from_secs(3_600)).await else {
                    return SubscriptionCloseResponse::None;
                };
                let message = to_json(&10).expect("a number is JSON");
                let start = Start {
                    number: 10,
                    message: Some(message),
                };
                let say = |head: &NewHead| {
                    to_json(&head.header.number).map(|number| Some(Arc::from(number)))
                };
                let Err(end) = tell_heads(&mut subscriber, start, &mut heads, say).await;
                close(end)
            }
        };
        module
            .register_subscription("heads", "head", "unheads", run)
            .expect("names differ");
        module
    }

    #[test]
    fn news_of_a_block_are_written_once_for_all_of_a_kind() {
        let told = Told::default();
        let writings = std::cell::Cell::new(0);
        let say = |kind, number| {
            let said = told.say(kind, &head(number), |head| {
                writings.set(writings.get() + 1);
                to_json(&head.header.number).map(Some)
            });
            let said = said.expect("it is JSON").expect("there is news");
            (said.get().to_owned(), writings.get())
        };
        assert_eq!(say(Kind::Header, 7), ("7".into(), 1));
        assert_eq!(say(Kind::Header, 7), ("7".into(), 1));
        assert_eq!(say(Kind::Step, 7), ("7".into(), 2));
        assert_eq!(say(Kind::Header, 8), ("8".into(), 3));
        // Who is behind is told of its own block, and takes nothing from the others.
        assert_eq!(say(Kind::Header, 7), ("7".into(), 4));
        assert_eq!(say(Kind::Header, 8), ("8".into(), 4));
        for number in 0..200 {
            let keys = Kind::Storage(Some(Hash::repeat_byte(number)));
            say(keys, 8);
        }
        assert_eq!(lock(&told.0).news.len(), KINDS_MAX);
    }

    #[tokio::test]
    async fn blocks_at_or_before_the_first_are_not_told_again() {
        let (sender, _) = broadcast::channel(16);
        let mut heads = module(sender.clone())
            .subscribe("heads", [(); 0], 16)
            .await
            .expect("accepted");
        (9..=12).for_each(|number| assert!(sender.send(head(number)).is_ok()));
        for expected in [10, 11, 12] {
            assert_eq!(
                heads
                    .next::<u32>()
                    .await
                    .expect("open")
                    .expect("a number")
                    .0,
                expected
            );
        }
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_so_at_last() {
        const CHANNEL: usize = 4;
        const BUFFER: usize = 2;
        let (sender, _) = broadcast::channel(CHANNEL);
        let request = r#"{"jsonrpc":"2.0","id":1,"method":"heads","params":[]}"#;
        let (_, mut messages) = module(sender.clone())
            .raw_json_request(request, BUFFER)
            .await
            .expect("accepted");
        for number in 11..60 {
            assert!(sender.send(head(number)).is_ok());
            tokio::task::yield_now().await;
        }
        let mut last = String::new();
        let mut count = 0;
        while !last.contains("error") {
            last = messages
                .recv()
                .await
                .expect("the last message is an error")
                .get()
                .to_owned();
            count += 1;
        }
        assert!(last.contains("blocks were missed"), "{last}");
        assert!(count <= CHANNEL + BUFFER + 2, "{count} messages were kept");
    }
}
