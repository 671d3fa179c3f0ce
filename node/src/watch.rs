//! What lets people watch the node: its figures, the informant, and who is told what.
//!
//! Nothing here may harm the node: when the metrics' port is taken, or a part fails, the log says so and blocks are made
//! as before.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use commonwatt_chain::{Chain, HealthCheck};
use commonwatt_metrics::{
    About, AgreementFigures, Follower, Metrics, MetricsServer, Protocol, RpcFigures,
};
use commonwatt_rpc::{CallObserver, CallProtocol, Services};
use tokio::task::JoinHandle;

use crate::{informant, logging};

/// Watches a node until it is dropped.
pub struct Watch {
    metrics: Arc<Metrics>,
    check: HealthCheck,
    server: Option<MetricsServer>,
    informant: Option<JoinHandle<()>>,
    is_authority: bool,
    _follower: Follower,
}

impl Watch {
    /// Begins to watch, and serves metrics at `address`, if there is one. Called within a tokio runtime.
    pub async fn start(
        chain: Arc<Chain>,
        about: &About,
        address: Option<SocketAddr>,
    ) -> Result<Self> {
        let metrics = Metrics::new(about).context("the metrics cannot be registered")?;
        let metrics = Arc::new(metrics);
        let check = HealthCheck::new(chain.clone())?;
        chain.set_observer(metrics.clone());
        let follower = commonwatt_metrics::follow(metrics.clone(), check.clone());
        let server = match address {
            None => None,
            Some(address) => {
                let served = commonwatt_metrics::serve(address, metrics.clone(), check.clone());
                served
                    .await
                    .inspect_err(|error| tracing::error!(%error, "the node runs without metrics"))
                    .ok()
            }
        };
        Ok(Self {
            metrics,
            check,
            server,
            informant: None,
            is_authority: about.is_authority,
            _follower: follower,
        })
    }

    /// Returns where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(MetricsServer::local_addr)
    }

    /// Returns the figures of the agreement.
    pub fn agreement(&self) -> &AgreementFigures {
        self.metrics.agreement()
    }

    /// Lends the log's filter and the figures to JSON-RPC.
    pub fn lend(&self, services: Services) -> Services {
        Services {
            log_filter: logging::filter().map(|filter| filter as _),
            observer: Some(Arc::new(Calls(self.metrics.rpc().clone()))),
            ..services
        }
    }

    /// Has the informant's line logged every few seconds. Called within a tokio runtime.
    pub fn inform(&mut self) {
        let run = informant::run(self.check.clone(), self.metrics.clone(), self.is_authority);
        self.informant.get_or_insert_with(|| tokio::spawn(run));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(informant) = &self.informant {
            informant.abort();
        }
    }
}

/// Counts calls.
struct Calls(RpcFigures);

fn protocol(protocol: CallProtocol) -> Protocol {
    match protocol {
        CallProtocol::Http => Protocol::Http,
        CallProtocol::WebSocket => Protocol::WebSocket,
    }
}

impl CallObserver for Calls {
    fn call_started(&self, came: CallProtocol, method: &'static str) {
        self.0.call_started(protocol(came), method);
    }

    fn call_finished(
        &self,
        came: CallProtocol,
        method: &'static str,
        is_error: bool,
        took: Duration,
    ) {
        self.0.call_finished(protocol(came), method, is_error, took);
    }

    fn session_opened(&self) {
        self.0.session_opened();
    }

    fn session_closed(&self) {
        self.0.session_closed();
    }
}
