//! Subscriptions: what happened, to those who asked, as fast as they read.

use std::{sync::Arc, time::Duration};

use commonwatt_chain::NewHead;
use jsonrpsee::{
    core::SubscriptionError,
    server::{
        PendingSubscriptionSink, SubscriptionCloseResponse, SubscriptionMessage, SubscriptionSink,
    },
    types::SubscriptionId,
};
use serde_json::value::RawValue;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::{error::Answer, methods::Node};

/// How long a message waits for a reader whose buffer is full.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a subscription to blocks begins.
pub(crate) struct Start {
    /// The block the first message is about.
    pub(crate) number: u32,
    /// The first message.
    pub(crate) message: Box<RawValue>,
}

/// One subscriber, and when it heard the last.
pub(crate) struct Subscriber {
    sink: SubscriptionSink,
    keep_alive: Duration,
    silent_until: Instant,
}

/// Why a subscription ends: `None` when the subscriber went away.
pub(crate) type End = Option<String>;

impl Subscriber {
    pub(crate) fn new(sink: SubscriptionSink, keep_alive: Duration) -> Self {
        Self { sink, keep_alive, silent_until: Instant::now() + keep_alive }
    }

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
    pub(crate) async fn send(&mut self, message: impl Into<SubscriptionMessage>) -> Result<(), End> {
        let sent = self.sink.send_timeout(message, SEND_TIMEOUT).await;
        self.silent_until = Instant::now() + self.keep_alive;
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
            Ok(message) => self.send(message).await,
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

/// Follows the chain: sends what `first` says of the best block, and then what `tell` says of each later one.
pub(crate) async fn follow(
    pending: PendingSubscriptionSink,
    node: Arc<Node>,
    first: impl FnOnce(&Node) -> Answer<Start> + Send + 'static,
    tell: impl Fn(&NewHead) -> Answer<Option<Box<RawValue>>>,
) -> SubscriptionCloseResponse {
    // Listening begins before the best block is looked at, so that none is missed in between.
    let mut heads = node.chain.subscribe_heads();
    let start = match node.work(first).await {
        Ok(start) => start,
        Err(fault) => {
            pending.reject(fault).await;
            return SubscriptionCloseResponse::None;
        }
    };
    let Ok(sink) = pending.accept().await else {
        return SubscriptionCloseResponse::None;
    };
    let mut subscriber = Subscriber::new(sink, node.keep_alive);
    drop(node);
    let told = async {
        subscriber.send(start.message).await?;
        loop {
            let head = match subscriber.wait_for(heads.recv()).await? {
                Ok(head) if head.header.number <= start.number => continue,
                Ok(head) => head,
                Err(RecvError::Closed) => return Err(Some("the node stops".to_owned())),
                Err(RecvError::Lagged(missed)) => {
                    return Err(Some(format!(
                        "{missed} blocks were missed because messages were read too slowly: subscribe again, \
                         and fetch them with chain_getBlock"
                    )));
                }
            };
            match tell(&head) {
                Ok(None) => {}
                Ok(Some(message)) => subscriber.send(message).await?,
                Err(_) => return Err(Some("a block could not be told of".to_owned())),
            }
        }
    };
    let Err::<std::convert::Infallible, _>(end) = told.await;
    close(end)
}
