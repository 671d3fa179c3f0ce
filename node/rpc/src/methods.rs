//! How methods are registered: where they run, who may call them, and which names they have.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use commonwatt_chain::Chain;
use jsonrpsee::{
    Extensions, RpcModule,
    server::{
        PendingSubscriptionSink, RegisterMethodError, ResponsePayload, SubscriptionCloseResponse,
    },
    types::Params,
};
use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::{Semaphore, oneshot};

use crate::{
    NodeInfo, Services,
    arguments::Arguments,
    connection::Connection,
    error::{Answer, Fault},
    limits::Workers,
    market_news::LastSkips,
    news::{Pending, Told},
};

/// What the methods work with.
pub(crate) struct Node {
    /// The chain.
    pub(crate) chain: Arc<Chain>,
    /// What to say about the node.
    pub(crate) info: NodeInfo,
    /// What the rest of the node lends.
    pub(crate) services: Services,
    /// Where blocking work is done.
    pub(crate) workers: Workers,
    /// Where transactions are checked and taken in: apart, so that no query keeps a reading waiting.
    pub(crate) submissions: Workers,
    /// What was told of the last block.
    pub(crate) told: Arc<Told>,
    /// Which standing orders the last block left out.
    pub(crate) skips: Arc<LastSkips>,
    /// Subscriptions that may still be opened, over all connections.
    pub(crate) subscriptions: Arc<Semaphore>,
    /// Whether unsafe methods may be called.
    pub(crate) is_unsafe_allowed: bool,
    /// Silence after which a subscription sends a message that means nothing.
    pub(crate) keep_alive: Duration,
    /// The best block when the server started.
    pub(crate) started_at: u32,
}

impl Node {
    /// Refuses when unsafe methods may not be called.
    pub(crate) fn ensure_unsafe(&self) -> Answer<()> {
        self.is_unsafe_allowed
            .then_some(())
            .ok_or_else(Fault::unsafe_method)
    }

    /// Does work on the chain for a connection, on a worker thread.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        connection: &Connection,
        task: impl FnOnce(&Self) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let node = self.clone();
        let run = move || task(&node);
        self.workers.run(&connection.queries, run).await
    }

    /// Takes a transaction in for a connection, on a worker thread for transactions alone.
    pub(crate) async fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        connection: &Connection,
        task: impl FnOnce(&Self) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let node = self.clone();
        let run = move || task(&node);
        self.submissions.run(&connection.submissions, run).await
    }
}

/// Answers a call.
pub(crate) type Handler<T> = fn(&Node, Arguments) -> Answer<T>;

/// Answers a call of a connection.
pub(crate) type HandlerFor<T> = fn(&Node, &Arc<Connection>, Arguments) -> Answer<T>;

/// Answers a call of a connection, and may begin work that goes on.
pub(crate) type Starter<T> = fn(&Arc<Node>, &Arc<Connection>, Arguments) -> Answer<T>;

/// The answer to a call that begins something, and what lets it start once the answer has been sent.
pub(crate) struct Begun {
    pub(crate) answer: Value,
    pub(crate) start: Option<oneshot::Sender<()>>,
}

/// Turns an answer into JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Answer<Box<RawValue>> {
    to_raw_value(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Fault::internal("the answer could not be written as JSON")
    })
}

/// Returns the connection that a call came over.
fn connection_of(extensions: &Extensions) -> Answer<Arc<Connection>> {
    extensions
        .get::<Arc<Connection>>()
        .cloned()
        .ok_or_else(|| Fault::internal("the connection of a call is unknown"))
}

/// The methods of the server while they are registered.
pub(crate) struct Methods {
    module: RpcModule<Node>,
    is_unsafe_allowed: bool,
    /// Names of methods that may not be called.
    refused: Vec<&'static str>,
    /// Names that need a WebSocket.
    subscriptions: BTreeSet<&'static str>,
}

/// All methods, and the names of those that need a WebSocket.
pub(crate) struct Registered {
    pub(crate) module: RpcModule<Node>,
    pub(crate) subscriptions: BTreeSet<&'static str>,
}

impl Methods {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let is_unsafe_allowed = node.is_unsafe_allowed;
        Self {
            module: RpcModule::from_arc(node),
            is_unsafe_allowed,
            refused: Vec::new(),
            subscriptions: BTreeSet::new(),
        }
    }

    /// Registers a method that is answered from memory, at once.
    pub(crate) fn tell<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: fn(&Node) -> T,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_method(name, move |_, node, _| to_json(&handler(node)))?;
        Ok(())
    }

    /// Registers a method about what a connection has begun, which is answered from memory.
    pub(crate) fn tell_to<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: HandlerFor<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_method(name, move |params, node, extensions| {
                let connection = connection_of(extensions)?;
                to_json(&handler(node, &connection, Arguments::parse(&params)?)?)
            })?;
        Ok(())
    }

    /// Registers a method that begins something for a connection and is answered from memory.
    pub(crate) fn start<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: Starter<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, extensions| async move {
                let connection = connection_of(&extensions)?;
                to_json(&handler(&node, &connection, Arguments::parse(&params)?)?)
            })?;
        Ok(())
    }

    /// Registers a method that begins something whose results follow its answer.
    pub(crate) fn begin(
        &mut self,
        name: &'static str,
        handler: Starter<Begun>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, extensions| async move {
                let begun = connection_of(&extensions)
                    .and_then(|connection| handler(&node, &connection, Arguments::parse(&params)?));
                match begun {
                    Ok(Begun { answer, start }) => {
                        let (payload, sent) =
                            ResponsePayload::success(answer).notify_on_completion();
                        if let Some(start) = start {
                            tokio::spawn(async move {
                                // In a batch nobody says when the answer has left; then it starts at once.
                                let _ = sent.await;
                                // An operation that was stopped does not listen.
                                let _ = start.send(());
                            });
                        }
                        payload
                    }
                    Err(fault) => ResponsePayload::error(fault),
                }
            })?;
        Ok(())
    }

    /// Registers a method that works on the chain.
    pub(crate) fn work<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: Handler<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, extensions| async move {
                let connection = connection_of(&extensions)?;
                let task = move |node: &Node| {
                    // Parsing and writing JSON may take longer than the answer itself.
                    to_json(&handler(node, Arguments::parse(&params)?)?)
                };
                node.work(&connection, task).await
            })?;
        Ok(())
    }

    /// Registers a method that takes a transaction in.
    pub(crate) fn submission<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: Handler<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, extensions| async move {
                let connection = connection_of(&extensions)?;
                let task = move |node: &Node| to_json(&handler(node, Arguments::parse(&params)?)?);
                node.submit(&connection, task).await
            })?;
        Ok(())
    }

    /// Registers a method that works on the chain for what a connection has begun.
    pub(crate) fn work_for<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: HandlerFor<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, extensions| async move {
                let connection = connection_of(&extensions)?;
                let own = connection.clone();
                let task =
                    move |node: &Node| to_json(&handler(node, &own, Arguments::parse(&params)?)?);
                node.work(&connection, task).await
            })?;
        Ok(())
    }

    /// Registers a method that is not for everybody.
    pub(crate) fn guarded_work<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: Handler<T>,
    ) -> Result<(), RegisterMethodError> {
        if self.is_unsafe_allowed {
            return self.work(name, handler);
        }
        self.refuse(name, Fault::unsafe_method)
    }

    /// Registers a method that cannot be called: it is not listed, and says why.
    pub(crate) fn refuse(
        &mut self,
        name: &'static str,
        reason: fn() -> Fault,
    ) -> Result<(), RegisterMethodError> {
        self.refused.push(name);
        self.module
            .register_method(name, move |_, _, _| Err::<(), _>(reason()))?;
        Ok(())
    }

    /// Registers a subscription: the names of subscribing, of its notifications and of its end.
    pub(crate) fn subscription<Run>(
        &mut self,
        [subscribe, notification, unsubscribe]: [&'static str; 3],
        run: fn(Params<'static>, Pending, Arc<Node>) -> Run,
    ) -> Result<(), RegisterMethodError>
    where
        Run: Future<Output = SubscriptionCloseResponse> + Send + 'static,
    {
        self.module.register_subscription(
            subscribe,
            notification,
            unsubscribe,
            move |params, sink: PendingSubscriptionSink, node, extensions| async move {
                let permit = node.subscriptions.clone().try_acquire_owned();
                let permit = permit.map_err(|_| Fault::too_many_subscriptions());
                match permit.and_then(|permit| Ok((permit, connection_of(&extensions)?))) {
                    Ok((permit, connection)) => {
                        run(params, Pending::new(sink, connection, permit), node).await
                    }
                    Err(fault) => {
                        sink.reject(fault).await;
                        SubscriptionCloseResponse::None
                    }
                }
            },
        )?;
        self.subscriptions.extend([subscribe, unsubscribe]);
        Ok(())
    }

    /// Gives a method more names.
    pub(crate) fn alias(
        &mut self,
        name: &'static str,
        aliases: &[&'static str],
    ) -> Result<(), RegisterMethodError> {
        for alias in aliases {
            self.module.register_alias(alias, name)?;
            if self.refused.contains(&name) {
                self.refused.push(alias);
            }
            if self.subscriptions.contains(&name) {
                self.subscriptions.insert(alias);
            }
        }
        Ok(())
    }

    /// Registers `rpc_methods`, which lists what can be called, and returns them all.
    pub(crate) fn finish(self) -> Result<Registered, RegisterMethodError> {
        let Self {
            mut module,
            refused,
            subscriptions,
            ..
        } = self;
        let mut names: Vec<_> = module
            .method_names()
            .filter(|name| !refused.contains(name))
            .chain(["rpc_methods"])
            .collect();
        names.sort_unstable();
        let listed = json!({ "methods": names });
        module.register_method("rpc_methods", move |_, _, _| listed.clone())?;
        Ok(Registered {
            module,
            subscriptions,
        })
    }
}
