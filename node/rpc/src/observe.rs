//! Tells an observer of calls and connections, for figures alone.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use jsonrpsee::{
    BatchResponseBuilder,
    core::middleware::{Batch, BatchEntry, Notification},
    server::{
        MethodResponse,
        middleware::rpc::{Request, RpcServiceT},
    },
};
use tower::Layer;

use crate::{CallObserver, CallProtocol, connection::Connection};

/// As which method those count that do not exist, so that nobody can make up names without end.
const UNKNOWN: &str = "unknown";

/// What every connection's calls are observed with.
#[derive(Clone)]
pub(crate) struct Observation {
    observer: Arc<dyn CallObserver>,
    /// The methods there are.
    names: Arc<BTreeSet<&'static str>>,
    /// Longest answer to a batch.
    response_bytes_max: usize,
}

impl Observation {
    /// Observes calls of the methods `names`.
    pub(crate) fn new(
        observer: Arc<dyn CallObserver>,
        names: impl Iterator<Item = &'static str>,
        response_bytes_max: usize,
    ) -> Self {
        Self {
            observer,
            names: Arc::new(names.collect()),
            response_bytes_max,
        }
    }

    /// Returns what observes the calls of one connection.
    pub(crate) fn of(&self, connection: Arc<Connection>) -> ObserveCalls {
        ObserveCalls {
            observation: self.clone(),
            connection,
        }
    }

    /// Notes that a connection became a WebSocket.
    pub(crate) fn session_opened(&self) {
        self.observer.session_opened();
    }

    /// Notes that a WebSocket ended.
    pub(crate) fn session_closed(&self) {
        self.observer.session_closed();
    }
}

/// Observes the calls of one connection.
#[derive(Clone)]
pub(crate) struct ObserveCalls {
    observation: Observation,
    connection: Arc<Connection>,
}

impl<Inner> Layer<Inner> for ObserveCalls {
    type Service = ObservedCalls<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        ObservedCalls {
            inner,
            calls: self.clone(),
        }
    }
}

/// See [`ObserveCalls`].
#[derive(Clone)]
pub(crate) struct ObservedCalls<Inner> {
    inner: Inner,
    calls: ObserveCalls,
}

impl<Inner> RpcServiceT for ObservedCalls<Inner>
where
    Inner: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type BatchResponse = MethodResponse;
    type NotificationResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let ObserveCalls {
            observation,
            connection,
        } = &self.calls;
        let protocol = if connection.is_websocket() {
            CallProtocol::WebSocket
        } else {
            CallProtocol::Http
        };
        let names = &observation.names;
        let name = names.get(request.method.as_ref()).copied();
        let name = name.unwrap_or(UNKNOWN);
        let observer = observation.observer.clone();
        let began = Instant::now();
        observer.call_started(protocol, name);
        let answer = self.inner.call(request);
        async move {
            let response = answer.await;
            observer.call_finished(protocol, name, response.is_error(), began.elapsed());
            response
        }
    }

    /// The server below would answer a batch without coming back here for its calls, so it is answered here as
    /// there: one call after the other, until the answer is too long.
    fn batch<'a>(&self, requests: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let bytes_max = service.calls.observation.response_bytes_max;
            let mut answers = BatchResponseBuilder::new_with_limit(bytes_max);
            let mut has_notification = false;
            for entry in requests {
                let answer = match entry {
                    Ok(BatchEntry::Call(request)) => service.call(request).await,
                    Ok(BatchEntry::Notification(notification)) => {
                        has_notification = true;
                        service.notification(notification).await;
                        continue;
                    }
                    Err(fault) => {
                        let (error, id) = fault.into_parts();
                        MethodResponse::error(id, error)
                    }
                };
                if let Err(too_long) = answers.append(answer) {
                    return too_long;
                }
            }
            if answers.is_empty() && has_notification {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(answers.finish())
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.inner.notification(notification)
    }
}
