//! The HTTP server that Prometheus asks.
//!
//! It answers `/metrics`, and `/health` and `/health/readiness` as the JSON-RPC port does. Each connection is for
//! one request and has some seconds for it, so that nobody holds the few places for long.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, panic::AssertUnwindSafe, pin::Pin,
    sync::Arc, time::Duration,
};

use commonwatt_chain::HealthCheck;
use futures::FutureExt;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{Metrics, now_ms};

/// Connections at one time. Prometheus opens one for each time it asks; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take.
pub(crate) const PATIENCE: Patience = Patience {
    header: Duration::from_secs(5),
    whole: Duration::from_secs(15),
};
/// Longest header of a request.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Pause after the system refused a connection, as it does when too many files are open.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why the metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot serve metrics on {address}: {source}; another node may be using the port: choose another with \
         --prometheus-port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A server that listens. It stops when it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    local_addr: SocketAddr,
    task: JoinHandle<()>,
}

impl MetricsServer {
    /// Returns where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to serve `metrics`. Called within a tokio runtime.
///
/// Nothing that happens to the server reaches the rest of the node: a panic is reported, and serving goes on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    check: HealthCheck,
) -> Result<MetricsServer, ServeError> {
    serve_with(address, metrics, check, PATIENCE).await
}

pub(crate) async fn serve_with(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    check: HealthCheck,
    patience: Patience,
) -> Result<MetricsServer, ServeError> {
    let listen_error = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;
    let desk = Arc::new(Desk {
        metrics,
        check,
        patience,
    });
    let task = tokio::spawn(async move {
        loop {
            let serving = AssertUnwindSafe(accept(&listener, &desk)).catch_unwind();
            if serving.await.is_err() {
                tracing::error!("serving metrics panicked and begins anew; the node goes on");
            }
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
    });
    tracing::info!(address = %local_addr, "metrics are served");
    Ok(MetricsServer { local_addr, task })
}

/// How long a connection may take.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Until the header of its request is there.
    pub(crate) header: Duration,
    /// Until it is answered.
    pub(crate) whole: Duration,
}

/// What requests are answered from.
struct Desk {
    metrics: Arc<Metrics>,
    check: HealthCheck,
    patience: Patience,
}

type Answer = Response<Full<Bytes>>;

/// Accepts connections, so many at one time.
async fn accept(listener: &TcpListener, desk: &Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    attend(stream, desk).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was refused");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// Answers the one request of a connection.
async fn attend(stream: TcpStream, desk: Arc<Desk>) {
    let patience = desk.patience;
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request.method(), request.uri().path()).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(patience.whole, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for metrics failed"),
        Err(_) => tracing::debug!("a request for metrics took too long"),
    }
}

impl Desk {
    /// Answers a request, whatever it is.
    fn answer<'a>(
        self: &'a Arc<Self>,
        method: &'a Method,
        path: &'a str,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            if method != Method::GET && method != Method::HEAD {
                let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
                refusal
                    .headers_mut()
                    .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
                return refusal;
            }
            match path {
                "/metrics" => self.figures().await,
                "/health" => respond(StatusCode::OK, JSON, self.check.health_json()),
                "/health/readiness" => match self.check.verify_ready(now_ms()) {
                    Ok(()) => text(StatusCode::OK, "ready\n"),
                    Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
                },
                _ => text(
                    StatusCode::NOT_FOUND,
                    "here are /metrics, /health and /health/readiness\n",
                ),
            }
        })
    }

    async fn figures(self: &Arc<Self>) -> Answer {
        let desk = self.clone();
        // Asking the pool waits for its lock, and the database's size is on the disk.
        let encoded = spawn_blocking(move || {
            desk.metrics.refresh(&desk.check, now_ms());
            desk.metrics.encode()
        });
        match encoded.await {
            Ok(Ok(figures)) => respond(StatusCode::OK, METRICS, figures),
            Ok(Err(error)) => {
                tracing::error!(%error, "the metrics cannot be written");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics cannot be written: see the log\n",
                )
            }
            Err(error) => {
                tracing::error!(%error, "collecting the metrics panicked; the node goes on");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "collecting the metrics failed: see the log\n",
                )
            }
        }
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    respond(status, TEXT, text)
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    headers.insert(
        CACHE_CONTROL,
        hyper::header::HeaderValue::from_static("no-store"),
    );
    response
}
