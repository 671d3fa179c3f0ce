//! What lets people watch the node: its figures, the informant, and who is told what.
//!
//! Nothing here may harm the node: when the metrics' port is taken, or a part fails, the log says so and blocks are made
//! as before.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use commonwatt_chain::{Chain, HealthCheck};
use commonwatt_metrics::{
    About, AgreementFigures, Count, Follower, Metrics, MetricsServer, Protocol, RpcFigures,
};
use commonwatt_network::{Figure, NetworkHandle};
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

    /// Shows what happens on the network too.
    pub fn show(&self, network: NetworkHandle) -> Result<()> {
        let read = move || network.figures().into_iter().map(to_count).collect();
        self.metrics
            .include(Box::new(read))
            .context("the network's figures cannot be registered")
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

fn to_count(figure: Figure) -> Count {
    let Figure {
        name,
        help,
        labels,
        value,
    } = figure;
    Count {
        name,
        help,
        labels,
        value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use commonwatt_network::figures_at_start;

    use super::*;

    #[test]
    fn the_documentation_lists_every_figure_of_the_network() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: BTreeSet<_> = rows
            .filter_map(|row| row.split_once('`'))
            .map(|(figure, _)| figure.to_owned())
            .filter(|figure| figure.starts_with("commonwatt_network_"))
            .collect();
        let mut exported = BTreeSet::new();
        for figure in figures_at_start() {
            let labels: Vec<_> = figure.labels.iter().map(|(label, _)| *label).collect();
            exported.insert(match labels.is_empty() {
                true => figure.name.to_owned(),
                false => format!("{}{{{}}}", figure.name, labels.join(", ")),
            });
        }
        assert_eq!(documented, exported);
    }

    #[test]
    fn the_networks_figures_can_be_shown() {
        let about = About {
            name: "commonwatt".into(),
            version: "1.2.3".into(),
            chain_id: "test".into(),
            is_authority: true,
        };
        let metrics = Metrics::new(&about).unwrap();
        let read = || figures_at_start().into_iter().map(to_count).collect();
        metrics.include(Box::new(read)).unwrap();
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("commonwatt_network_bans_total{chain=\"test\"} 0"),
            "{text}"
        );
    }
}
