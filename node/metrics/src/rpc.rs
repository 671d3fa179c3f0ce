//! JSON-RPC in figures.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounter, IntCounterVec};

use crate::register::Registrar;

/// Upper bounds of the buckets of a call's time, in microseconds: Substrate's.
const CALL_BUCKETS_US: [f64; 11] = [
    5.0,
    25.0,
    100.0,
    500.0,
    1_000.0,
    2_500.0,
    10_000.0,
    25_000.0,
    100_000.0,
    1_000_000.0,
    10_000_000.0,
];

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By an HTTP request of its own.
    Http,
    /// Over a WebSocket.
    WebSocket,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "ws",
        }
    }
}

/// Figures of JSON-RPC. Cheap to clone.
#[derive(Clone)]
pub struct RpcFigures {
    started: IntCounterVec,
    finished: IntCounterVec,
    time: HistogramVec,
    sessions_opened: IntCounter,
    sessions_closed: IntCounter,
}

impl RpcFigures {
    pub(crate) fn register(registrar: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            started: registrar.counters(
                "substrate_rpc_calls_started",
                "Calls that came, by method",
                &["protocol", "method"],
            )?,
            finished: registrar.counters(
                "substrate_rpc_calls_finished",
                "Calls that were answered, by method and by whether the answer was an error",
                &["protocol", "method", "is_error"],
            )?,
            time: registrar.histograms(
                "substrate_rpc_calls_time",
                "How long calls took, in microseconds",
                &CALL_BUCKETS_US,
                &["protocol", "method"],
            )?,
            sessions_opened: registrar.counter(
                "substrate_rpc_sessions_opened",
                "WebSocket connections that were opened",
            )?,
            sessions_closed: registrar.counter(
                "substrate_rpc_sessions_closed",
                "WebSocket connections that were closed",
            )?,
        })
    }

    /// Notes that a call came. `method` must be one of the server's, so that strangers cannot make up labels.
    pub fn call_started(&self, protocol: Protocol, method: &str) {
        self.started
            .with_label_values(&[protocol.as_str(), method])
            .inc();
    }

    /// Notes that a call was answered.
    pub fn call_finished(&self, protocol: Protocol, method: &str, is_error: bool, took: Duration) {
        let is_error = if is_error { "true" } else { "false" };
        let protocol = protocol.as_str();
        self.finished
            .with_label_values(&[protocol, method, is_error])
            .inc();
        self.time
            .with_label_values(&[protocol, method])
            .observe(took.as_secs_f64() * 1_000_000.0);
    }

    /// Notes that a WebSocket connection was opened.
    pub fn session_opened(&self) {
        self.sessions_opened.inc();
    }

    /// Notes that a WebSocket connection was closed.
    pub fn session_closed(&self) {
        self.sessions_closed.inc();
    }
}
