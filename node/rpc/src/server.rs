//! The server: one port for HTTP and WebSocket.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use commonwatt_chain::{Chain, HealthCheck};
use jsonrpsee::server::{
    BatchRequestConfig, HttpRequest, HttpResponse, PingConfig, RandomStringIdProvider,
    RegisterMethodError, Server, ServerConfig, ServerHandle, StopHandle, http,
    middleware::{
        http::{Authority, HostFilterLayer, ProxyGetRequestLayer},
        rpc::RpcServiceBuilder,
    },
    serve_with_graceful_shutdown, stop_channel,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::{Service, ServiceBuilder};

use crate::{
    Hosts, NodeInfo, RpcConfig, RpcError, Services, auction, author,
    calls::CountCalls,
    chain, chain_head, chain_spec,
    connection::{Connection, Counted, Ledger},
    energy,
    limits::Workers,
    market,
    methods::{Methods, Node, Registered},
    observe::Observation,
    origin::OriginLayer,
    payment,
    readiness::ReadinessLayer,
    state, system, transaction,
};

/// How long stopping waits for connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of a subscription's id.
const SUBSCRIPTION_ID_LENGTH: usize = 16;
/// How long a connection that is no WebSocket may wait with its next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long accepting pauses after a failure, such as no file handles being left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a connection that is one too many may wait for a place that is being freed, and then take to be told that
/// there is none.
const REFUSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that do so at one time; further ones are just closed.
const REFUSED_MAX: usize = 64;
/// What a connection that is one too many is told.
const REFUSAL: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 81\r\n\r\nall connections are taken: try again later, or raise --rpc-max-connections there\n";

/// Status of an answer after which the connection is a WebSocket.
const UPGRADED: u16 = 101;
/// Status of an answer to a request that could not be read.
const FAILED: u16 = 500;
/// Status of an answer to a request under a name, or from a web page, that is not allowed.
const FORBIDDEN: u16 = 403;
/// Longest part of such a name that is logged, in characters.
const NAME_LOGGED_MAX: usize = 128;
/// Whether the operator was told of one: anybody can send as many as he likes.
static REFUSAL_TOLD: AtomicBool = AtomicBool::new(false);

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

    /// Ends when the server no longer listens, whether it was stopped or failed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.handle.clone().stopped()
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

/// Starts to listen and to answer, with the chain alone.
pub async fn start(
    chain: Arc<Chain>,
    info: NodeInfo,
    config: RpcConfig,
) -> Result<RpcServer, RpcError> {
    start_with(chain, info, config, Services::default()).await
}

/// Starts to listen and to answer, with what else the node lends.
pub async fn start_with(
    chain: Arc<Chain>,
    info: NodeInfo,
    config: RpcConfig,
    services: Services,
) -> Result<RpcServer, RpcError> {
    let check = HealthCheck::new(chain.clone())?;
    let observer = services.observer.clone();
    let node = Arc::new(Node {
        started_at: chain.best().0,
        chain,
        info,
        services,
        workers: Workers::new(
            config.max_running,
            config.max_waiting,
            config.max_answer_time,
        ),
        submissions: Workers::new(
            config.max_running,
            config.max_waiting,
            config.max_answer_time,
        ),
        told: Arc::default(),
        skips: Arc::default(),
        subscriptions: Arc::new(Semaphore::new(usize_of(config.max_subscriptions))),
        is_unsafe_allowed: config.is_unsafe_allowed(),
        keep_alive: config.keep_alive,
    });
    let mut methods = Methods::new(node.clone());
    register_all(&mut methods, &node)?;
    drop(node);
    let Registered {
        module,
        subscriptions,
    } = methods.finish()?;

    let listen_error = |source| RpcError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(listen_error)?;
    let local_addr = listener.local_addr().map_err(listen_error)?;
    let (stop_handle, handle) = stop_channel();
    let observation = observer.map(|observer| {
        let bytes_max = usize_of(config.max_response_bytes);
        Observation::new(observer, module.method_names(), bytes_max)
    });
    let listening = Listening {
        readiness: ReadinessLayer::new(check),
        observation,
        methods: module.into(),
        subscriptions: Arc::new(subscriptions),
        origins: OriginLayer::new(config.cors.clone()),
        hosts: host_filter(&config)?,
        places: Arc::new(Semaphore::new(usize_of(config.max_connections))),
        refusals: Arc::new(Semaphore::new(REFUSED_MAX)),
        ledger: Ledger::new(config.max_waiting_bytes, usize_of(config.max_request_bytes)),
        config: server_config(&config),
        request_time: config.max_request_time,
        request_bytes_max: config.max_request_bytes,
        stop: stop_handle,
    };
    tokio::spawn(Arc::new(listening).accept(listener));
    tracing::info!(address = %local_addr, "JSON-RPC is listening");
    Ok(RpcServer { local_addr, handle })
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(Semaphore::MAX_PERMITS)
}

fn register_all(methods: &mut Methods, node: &Node) -> Result<(), RegisterMethodError> {
    system::register(methods, node)?;
    chain::register(methods)?;
    state::register(methods)?;
    author::register(methods, node)?;
    payment::register(methods)?;
    chain_head::register(methods)?;
    chain_spec::register(methods)?;
    transaction::register(methods)?;
    energy::register(methods)?;
    auction::register(methods)?;
    market::register(methods)
}

fn server_config(config: &RpcConfig) -> ServerConfig {
    let ping = PingConfig::new()
        .ping_interval(config.ping_interval)
        .inactive_limit(config.max_silence)
        .max_failures(1);
    ServerConfig::builder()
        // Connections are counted where they are accepted.
        .max_connections(u32::MAX)
        .max_request_body_size(config.max_request_bytes)
        .max_response_body_size(config.max_response_bytes)
        .max_subscriptions_per_connection(config.max_subscriptions_per_connection)
        .set_batch_request_config(BatchRequestConfig::Limit(config.max_batch))
        .set_message_buffer_capacity(config.max_unread_messages.max(1))
        .set_id_provider(RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH))
        .enable_ws_ping(ping)
        .build()
}

/// What every connection is served with.
struct Listening {
    methods: jsonrpsee::Methods,
    readiness: ReadinessLayer,
    observation: Option<Observation>,
    subscriptions: Arc<BTreeSet<&'static str>>,
    origins: OriginLayer,
    hosts: HostFilterLayer,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    ledger: Arc<Ledger>,
    config: ServerConfig,
    request_time: Duration,
    request_bytes_max: u32,
    stop: StopHandle,
}

impl Listening {
    /// Accepts connections until the server stops.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut stopped = std::pin::pin!(self.stop.clone().shutdown());
        let mut id = 0_u32;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stopped => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    id = id.wrapping_add(1);
                    self.take(stream, id);
                }
                Err(error) => {
                    tracing::debug!(%error, "a JSON-RPC connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection if there is a place for it, or one that is kept for nothing.
    fn take(self: &Arc<Self>, stream: TcpStream, id: u32) {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.serve(stream, id, place);
            return;
        }
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        let is_freed = self.ledger.cut_stalled();
        let listening = self.clone();
        tokio::spawn(async move {
            if is_freed {
                let place = listening.places.clone().acquire_owned();
                if let Ok(Ok(place)) = tokio::time::timeout(REFUSE_TIMEOUT, place).await {
                    listening.serve(stream, id, place);
                    return;
                }
            }
            // Whoever does not listen is closed without being told.
            let _ = tokio::time::timeout(REFUSE_TIMEOUT, refuse(stream)).await;
            drop(permit);
        });
    }

    fn serve(&self, stream: TcpStream, id: u32, place: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a JSON-RPC connection was lost at once");
            return;
        }
        let connection = self.ledger.connect(id);
        let service = Tagged {
            service: Server::builder()
                .set_config(self.config.clone())
                .set_http_middleware(
                    ServiceBuilder::new()
                        .layer(self.origins.clone())
                        .layer(self.hosts.clone())
                        .layer(self.readiness.clone())
                        .layer(health_check()),
                )
                .set_rpc_middleware(
                    RpcServiceBuilder::new()
                        .layer(CountCalls::new(
                            connection.clone(),
                            self.subscriptions.clone(),
                        ))
                        .option_layer(
                            self.observation
                                .as_ref()
                                .map(|observation| observation.of(connection.clone())),
                        ),
                )
                .to_service_builder()
                .connection_id(id)
                .build(self.methods.clone(), self.stop.clone()),
            connection: connection.clone(),
            observation: self.observation.clone(),
            request_bytes_max: self.request_bytes_max,
        };
        let observation = self.observation.clone();
        let stopped = self.stop.clone().shutdown();
        let request_time = self.request_time;
        tokio::spawn(async move {
            let counted = Counted::new(stream, connection.clone());
            let served = serve_with_graceful_shutdown(counted, service, stopped);
            let mut served = std::pin::pin!(served);
            let result = tokio::select! {
                result = &mut served => result,
                () = connection.idle_for(request_time, IDLE_TIMEOUT) => {
                    connection.cut();
                    served.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a JSON-RPC connection ended early");
            }
            // A WebSocket lives on by itself.
            connection.end().await;
            if let Some(observation) = observation
                && connection.is_websocket()
            {
                observation.session_closed();
            }
            drop(place);
        });
    }
}

/// Tells a connection that it is one too many, without reading what it wants.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await
}

/// Tells those who answer a request which connection it came over, and the connection what became of it.
#[derive(Clone)]
struct Tagged<Inner> {
    service: Inner,
    connection: Arc<Connection>,
    observation: Option<Observation>,
    request_bytes_max: u32,
}

impl<Inner, Body> Service<HttpRequest<Body>> for Tagged<Inner>
where
    Inner: Service<HttpRequest<Body>, Response = HttpResponse>,
    Inner::Error: Send,
    Inner::Future: Send + 'static,
{
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Inner::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: HttpRequest<Body>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        let named = |name| {
            let value = request.headers().get(name)?.to_str().ok()?;
            Some(value.chars().take(NAME_LOGGED_MAX).collect::<String>())
        };
        let (host, origin) = (named("host"), named("origin"));
        let answer = self.service.call(request);
        let (connection, observation) = (self.connection.clone(), self.observation.clone());
        let bytes_max = self.request_bytes_max;
        Box::pin(async move {
            let mut response = answer.await?;
            match response.status().as_u16() {
                FORBIDDEN if !REFUSAL_TOLD.swap(true, Ordering::Relaxed) => tracing::warn!(
                    host = host.as_deref().unwrap_or("none"),
                    origin = origin.as_deref().unwrap_or("none"),
                    "a request was refused for its Host or Origin; if it is meant to come in, allow it with --rpc-hosts or \
                     --rpc-cors (further ones are not logged)"
                ),
                UPGRADED => {
                    if let Some(observation) = observation
                        && !connection.is_websocket()
                    {
                        observation.session_opened();
                    }
                    connection.set_websocket();
                }
                // The library knows that a body is too long only when its length is said before.
                FAILED if connection.has_sent_too_much() => {
                    response = http::response::too_large(bytes_max);
                }
                // It takes a body that cannot be read to its end for its own failure, and fails at nothing else.
                FAILED => response = http::response::malformed(),
                _ => {}
            }
            connection.answered();
            Ok(response)
        })
    }
}

fn host_filter(config: &RpcConfig) -> Result<HostFilterLayer, RpcError> {
    // Whoever sits at this machine may always use its own names: tools of operators do.
    let mut hosts = ["localhost:*", "127.0.0.1:*", "[::1]:*"]
        .map(str::to_owned)
        .to_vec();
    match &config.hosts {
        Hosts::Auto if config.listen.ip().is_loopback() => {}
        Hosts::Auto | Hosts::Any => return Ok(HostFilterLayer::disable()),
        Hosts::Only(more) => hosts.extend_from_slice(more),
    };
    for host in &hosts {
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
