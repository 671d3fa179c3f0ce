//! The server: one port for HTTP and WebSocket.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use commonwatt_chain::Chain;
use jsonrpsee::server::{
    BatchRequestConfig, PingConfig, RandomStringIdProvider, RegisterMethodError, Server,
    ServerConfig, ServerHandle,
    middleware::http::{Authority, HostFilterLayer, ProxyGetRequestLayer},
};
use tower::ServiceBuilder;

use crate::{
    Hosts, NodeInfo, RpcConfig, RpcError, author, chain, energy,
    limits::Workers,
    methods::{Methods, Node},
    origin::OriginLayer,
    payment, state, system,
};

/// Pings that may go unanswered before a connection is closed.
const PINGS_MISSED_MAX: usize = 3;
/// How long stopping waits for connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a subscription's id.
const SUBSCRIPTION_ID_LENGTH: usize = 16;

/// A server that listens. It stops when it is dropped.
#[derive(Debug)]
pub struct RpcServer {
    local_addr: SocketAddr,
    handle: ServerHandle,
}

impl RpcServer {
    /// Returns where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets the requests that are being answered come to their end for some seconds,
    /// and closes.
    pub async fn stop(self) {
        // It can only have been stopped before.
        let _ = self.handle.stop();
        if tokio::time::timeout(STOP_TIMEOUT, self.handle.stopped())
            .await
            .is_err()
        {
            tracing::warn!(
                "some JSON-RPC clients did not let go of their connections; they are left behind"
            );
        }
    }
}

/// Starts to listen and to answer.
pub async fn start(
    chain: Arc<Chain>,
    info: NodeInfo,
    config: RpcConfig,
) -> Result<RpcServer, RpcError> {
    let node = Arc::new(Node {
        started_at: chain.best().0,
        chain,
        info,
        workers: Workers::new(config.max_running, config.max_waiting),
        is_unsafe_allowed: config.is_unsafe_allowed(),
        keep_alive: config.keep_alive,
    });
    let mut methods = Methods::new(node);
    register_all(&mut methods)?;
    let methods = methods.finish()?;

    let http = ServiceBuilder::new()
        .layer(OriginLayer::new(config.cors.clone()))
        .layer(host_filter(&config)?)
        .layer(health_check());
    let listen_error = |source| RpcError::Listen {
        address: config.listen,
        source,
    };
    let server = Server::builder()
        .set_config(server_config(&config))
        .set_http_middleware(http)
        .build(config.listen)
        .await
        .map_err(listen_error)?;
    let local_addr = server.local_addr().map_err(listen_error)?;
    let handle = server.start(methods);
    tracing::info!(address = %local_addr, "JSON-RPC is listening");
    Ok(RpcServer { local_addr, handle })
}

fn register_all(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    system::register(methods)?;
    chain::register(methods)?;
    state::register(methods)?;
    author::register(methods)?;
    payment::register(methods)?;
    energy::register(methods)
}

fn server_config(config: &RpcConfig) -> ServerConfig {
    let ping = PingConfig::new()
        .ping_interval(config.ping_interval)
        .inactive_limit(config.ping_interval.saturating_mul(2))
        .max_failures(PINGS_MISSED_MAX);
    ServerConfig::builder()
        .max_connections(config.max_connections)
        .max_request_body_size(config.max_request_bytes)
        .max_response_body_size(config.max_response_bytes)
        .max_subscriptions_per_connection(config.max_subscriptions_per_connection)
        .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
        .set_message_buffer_capacity(config.max_unread_messages.max(1))
        .set_id_provider(RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH))
        .enable_ws_ping(ping)
        .build()
}

fn host_filter(config: &RpcConfig) -> Result<HostFilterLayer, RpcError> {
    let own = ["localhost:*", "127.0.0.1:*", "[::1]:*"].map(str::to_owned);
    let hosts = match &config.hosts {
        Hosts::Auto if config.listen.ip().is_loopback() => &own[..],
        Hosts::Auto | Hosts::Any => return Ok(HostFilterLayer::disable()),
        Hosts::Only(hosts) => hosts,
    };
    for host in hosts {
        Authority::try_from(host.as_str()).map_err(|source| RpcError::Host {
            host: host.clone(),
            source,
        })?;
    }
    HostFilterLayer::new(hosts.iter().map(String::as_str)).map_err(|source| RpcError::Host {
        host: hosts.join(", "),
        source,
    })
}

/// `GET /health`, for those who watch over services.
fn health_check() -> ProxyGetRequestLayer {
    ProxyGetRequestLayer::new([("/health", "system_health")])
        .expect("one path, which begins with a slash")
}
