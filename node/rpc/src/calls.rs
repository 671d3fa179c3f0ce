//! Counts what calls ask and what they are answered, for their connection.

use std::{collections::BTreeSet, sync::Arc};

use jsonrpsee::{
    core::middleware::{Batch, BatchEntry, BatchEntryErr, Notification},
    server::{
        MethodResponse,
        middleware::rpc::{Request, RpcServiceT},
    },
    types::{ErrorObjectOwned, Id},
};
use tower::Layer;

use crate::{connection::Connection, error::Fault};

/// Bytes that a request takes besides its parameters until its response has left: the task that waits to send it,
/// measured with 250 000 requests that nobody read the answers of.
const REQUEST_BYTES: usize = 8 * 1024;
/// Bytes of one entry of a batch besides its parameters, roughly.
const ENTRY_BYTES: usize = 256;

/// Counts the calls of one connection.
#[derive(Clone)]
pub(crate) struct CountCalls {
    connection: Arc<Connection>,
    subscriptions: Arc<BTreeSet<&'static str>>,
}

impl CountCalls {
    /// Counts for a connection. `subscriptions` are the methods that need a WebSocket.
    pub(crate) fn new(
        connection: Arc<Connection>,
        subscriptions: Arc<BTreeSet<&'static str>>,
    ) -> Self {
        Self {
            connection,
            subscriptions,
        }
    }
}

impl<Inner> Layer<Inner> for CountCalls {
    type Service = CountedCalls<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        CountedCalls {
            inner,
            counts: self.clone(),
        }
    }
}

/// See [`CountCalls`].
#[derive(Clone)]
pub(crate) struct CountedCalls<Inner> {
    inner: Inner,
    counts: CountCalls,
}

/// Tells who sent a request without an id, or with one that is none. The server below cannot tell the two apart; no
/// method does anything for those who want no answer, so nobody is answered who did not want to be.
fn no_id() -> ErrorObjectOwned {
    Fault::no_id().into()
}

fn params_bytes(request: &Request<'_>) -> usize {
    let params = request.params.as_ref();
    params.map_or(0, |params| params.get().len())
}

/// Returns how long what is sent is; `None` when nothing is.
fn sent_bytes(response: &MethodResponse) -> Option<usize> {
    let is_sent = response.is_method_call() || response.is_subscription() || response.is_batch();
    is_sent.then(|| response.as_json().get().len())
}

impl<Inner> RpcServiceT for CountedCalls<Inner>
where
    Inner: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type BatchResponse = MethodResponse;
    type NotificationResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let call = self
            .counts
            .connection
            .begin(params_bytes(&request).saturating_add(REQUEST_BYTES));
        let needs_websocket = !self.counts.connection.is_websocket()
            && self.counts.subscriptions.contains(request.method.as_ref());
        let answer = if needs_websocket {
            let fault = Fault::websocket_only();
            Err(MethodResponse::error(
                request.id,
                ErrorObjectOwned::from(fault),
            ))
        } else {
            Ok(self.inner.call(request))
        };
        async move {
            let response = match answer {
                Ok(answer) => answer.await,
                Err(response) => response,
            };
            call.answer(sent_bytes(&response));
            response
        }
    }

    fn batch<'a>(
        &self,
        mut requests: Batch<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        for entry in requests.iter_mut() {
            if matches!(entry, Ok(BatchEntry::Notification(_))) {
                *entry = Err(BatchEntryErr::new(Id::Null, no_id()));
            }
        }
        let bytes = requests
            .iter()
            .map(|entry| match entry {
                Ok(BatchEntry::Call(request)) => params_bytes(request).saturating_add(ENTRY_BYTES),
                _ => ENTRY_BYTES,
            })
            .fold(REQUEST_BYTES, usize::saturating_add);
        let call = self.counts.connection.begin(bytes);
        let answer = self.inner.batch(requests);
        async move {
            let response = answer.await;
            call.answer(sent_bytes(&response));
            response
        }
    }

    fn notification<'a>(
        &self,
        _: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        let call = self.counts.connection.begin(REQUEST_BYTES);
        async move {
            let response = MethodResponse::error(Id::Null, no_id());
            call.answer(sent_bytes(&response));
            response
        }
    }
}
