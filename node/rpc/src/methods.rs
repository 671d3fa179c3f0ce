//! How methods are registered: where they run, who may call them, and which names they have.

use std::{sync::Arc, time::Duration};

use commonwatt_chain::Chain;
use jsonrpsee::{
    RpcModule,
    server::{PendingSubscriptionSink, RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use serde::Serialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

use crate::{
    NodeInfo,
    arguments::Arguments,
    error::{Answer, Fault},
    limits::Workers,
};

/// What the methods work with.
pub(crate) struct Node {
    /// The chain.
    pub(crate) chain: Arc<Chain>,
    /// What to say about the node.
    pub(crate) info: NodeInfo,
    /// Where blocking work is done.
    pub(crate) workers: Workers,
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

    /// Does work on the chain on a worker thread.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Self) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let node = self.clone();
        self.workers.run(move || task(&node)).await
    }
}

/// Answers a call.
pub(crate) type Handler<T> = fn(&Node, Arguments) -> Answer<T>;

/// Turns an answer into JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Answer<Box<RawValue>> {
    to_raw_value(value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Fault::internal("the answer could not be written as JSON")
    })
}

/// The methods of the server while they are registered.
pub(crate) struct Methods {
    module: RpcModule<Node>,
    is_unsafe_allowed: bool,
    /// Names of methods that may not be called.
    refused: Vec<&'static str>,
}

impl Methods {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let is_unsafe_allowed = node.is_unsafe_allowed;
        Self {
            module: RpcModule::from_arc(node),
            is_unsafe_allowed,
            refused: Vec::new(),
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

    /// Registers a method that works on the chain.
    pub(crate) fn work<T: Serialize + 'static>(
        &mut self,
        name: &'static str,
        handler: Handler<T>,
    ) -> Result<(), RegisterMethodError> {
        self.module
            .register_async_method(name, move |params, node, _| async move {
                let task = move |node: &Node| {
                    // Parsing and writing JSON may take longer than the answer itself.
                    to_json(&handler(node, Arguments::parse(&params)?)?)
                };
                node.work(task).await
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
        self.refused.push(name);
        self.module
            .register_method(name, |_, _, _| Err::<(), _>(Fault::unsafe_method()))?;
        Ok(())
    }

    /// Registers a subscription: the names of subscribing, of its notifications and of its end.
    pub(crate) fn subscription<Run>(
        &mut self,
        [subscribe, notification, unsubscribe]: [&'static str; 3],
        run: fn(Params<'static>, PendingSubscriptionSink, Arc<Node>) -> Run,
    ) -> Result<(), RegisterMethodError>
    where
        Run: Future<Output = SubscriptionCloseResponse> + Send + 'static,
    {
        self.module.register_subscription(
            subscribe,
            notification,
            unsubscribe,
            move |params, sink, node, _| run(params, sink, node),
        )?;
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
        }
        Ok(())
    }

    /// Registers `rpc_methods`, which lists what can be called, and returns them all.
    pub(crate) fn finish(self) -> Result<RpcModule<Node>, RegisterMethodError> {
        let Self {
            mut module,
            refused,
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
        Ok(module)
    }
}
