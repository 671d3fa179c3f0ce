//! A running node: its chain, the tasks round it, and their end.
//!
//! ## Order
//! Start: the folder's lock, the database, the agreement, the network, JSON-RPC, the maker of blocks. Each needs the one
//! before.
//!
//! End: the tasks (a block that is being made is stored first), the network, JSON-RPC, the database, the lock. A signal, a task's
//! request or a task's failure leads to the same end; only what is returned differs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use commonwatt_chain::{Chain, ChainConfig, SessionPairs, SessionSigner, Validators};
use commonwatt_executor::Executor;
use commonwatt_keystore::Keystore;
use commonwatt_metrics::About;
use commonwatt_network::NetworkHandle;
use commonwatt_primitives::{AccountId, StepTiming, auction::Validator};
use commonwatt_rpc::{NodeInfo, NodeRole, RpcConfig, RpcServer, Safety, Services};
use commonwatt_storage::{ChainDb, DbConfig};
use tokio::runtime::Runtime;

use crate::{
    agreement::{Link, LinkConfig, Member},
    bidding::Bidder,
    community,
    keystore_signer::KeystoreSigner,
    paths::{ChainFolder, FolderLock},
    producer::{self, CatchUp, Ended, Produced},
    session_keystore::LentKeystore,
    signals::ask_on_signal,
    spec::{ChainSpec, ChainType},
    stop::Stop,
    supervisor::Supervisor,
    threads, validators,
    watch::Watch,
};

/// How long requests that are still being answered may take at the end.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// How a node runs.
pub struct ServiceConfig {
    /// The chain.
    pub spec: ChainSpec,
    /// Where it is kept.
    pub folder: ChainFolder,
    /// How it is kept.
    pub database: DbConfig,
    /// How JSON-RPC is served.
    pub rpc: RpcConfig,
    /// Where metrics are served, if they are.
    pub metrics: Option<SocketAddr>,
    /// Whether the node makes blocks.
    pub role: Role,
    /// How it meets others, if it does.
    pub link: Option<LinkConfig>,
}

/// Finds the secrets of a validator's keys, given who validates now.
pub type FindKeys = Box<dyn FnOnce(&[Validator<AccountId>]) -> Result<Arc<dyn SessionSigner>>>;

/// What a node does on its chain.
pub enum Role {
    /// Makes blocks and makes them final.
    Validator {
        /// Finds the keys to do so with.
        find: FindKeys,
        /// Where the validator's keys lie, to be lent to JSON-RPC; `None` when they lie nowhere.
        keystore: Option<Arc<Keystore>>,
    },
    /// Checks and serves what others made.
    Full,
}

impl Role {
    /// Returns the role of the only validator of a development chain, whose keys everybody knows.
    pub fn developer() -> Self {
        Self::Validator {
            find: Box::new(|_| {
                Ok(Arc::new(SessionPairs {
                    vote: community::ed25519_key("//Alice"),
                    beacon: community::sr25519_key("//Alice"),
                }))
            }),
            keystore: None,
        }
    }

    /// Returns the role of a validator whose keys lie in `keystore`.
    pub fn validator(keystore: Keystore) -> Self {
        let keystore = Arc::new(keystore);
        let opened = keystore.clone();
        Self::Validator {
            find: Box::new(move |validators| {
                if let [validator] = validators {
                    // Says where a missing key belongs.
                    opened.session_pair(&validator.keys)?;
                }
                // All of them: keys that were registered later act at a later height.
                Ok(Arc::new(KeystoreSigner::new(opened)?))
            }),
            keystore: Some(keystore),
        }
    }

    fn keystore(&self) -> Option<Arc<Keystore>> {
        match self {
            Self::Validator { keystore, .. } => keystore.clone(),
            Self::Full => None,
        }
    }

    fn name(&self) -> NodeRole {
        match self {
            Self::Validator { .. } => NodeRole::Authority,
            Self::Full => NodeRole::Full,
        }
    }
}

/// Opens the chain of `spec` in a folder that the caller has locked; begins it there when there is none.
pub fn open_chain(folder: &ChainFolder, spec: &ChainSpec, config: DbConfig) -> Result<Chain> {
    let db = ChainDb::open(&folder.database(), config)?;
    chain_on(db, spec)
}

/// Makes a chain of an open database.
pub fn chain_on(db: ChainDb, spec: &ChainSpec) -> Result<Chain> {
    let genesis = spec
        .genesis
        .build_storage()
        .map_err(|error| anyhow!("{error}"))?;
    Ok(Chain::open(
        db,
        Executor::new(),
        genesis,
        ChainConfig::default(),
    )?)
}

/// Tells the chain how its blocks are made and checked; returns the node's keys, if it validates.
///
/// # Errors
/// The node is to make blocks alone, and lacks a key for that.
pub fn agree(chain: &mut Chain, role: Role) -> Result<Option<Arc<dyn SessionSigner>>> {
    let validators = chain.next_lineup()?.validators;
    let Role::Validator { find, .. } = role else {
        chain.set_agreement(Arc::new(Validators::follower()));
        return Ok(None);
    };
    let keys = find(&validators)?;
    let agreement = Validators::holding(keys.clone());
    if let [validator] = validators.as_slice() {
        agreement.verify_keys(validator)?;
    } else if !validators
        .iter()
        .any(|validator| keys.holds(&validator.keys.vote))
    {
        tracing::warn!(
            validators = validators.len(),
            "none of the vote keys in the keystore acts at the next height: until one does, this node only follows"
        );
    }
    chain.set_agreement(Arc::new(agreement));
    Ok(Some(keys))
}

/// A node that runs.
pub struct Service {
    chain: Arc<Chain>,
    timing: StepTiming,
    is_validator: bool,
    rpc: RpcServer,
    watch: Watch,
    tasks: Supervisor,
    network: Option<NetworkHandle>,
    /// Until the engine takes over.
    member: Option<Member>,
    // Those below are dropped in this order, after all that use them.
    runtime: Runtime,
    _lock: FolderLock,
}

impl Service {
    /// Opens the chain and serves it. No blocks are made yet.
    pub fn start(config: ServiceConfig) -> Result<Self> {
        let ServiceConfig {
            spec,
            folder,
            database,
            rpc,
            metrics,
            role,
            link,
        } = config;
        verify_beginning(&spec)?;
        if rpc.methods == Safety::Unsafe && !rpc.listen.ip().is_loopback() {
            tracing::warn!(
                listen = %rpc.listen,
                "whoever reaches this port may call every method: rotate the validator's keys, empty the pool, add peers; leave \
                 --rpc-methods unsafe out, or have a firewall let nobody else in"
            );
        }
        let lock = folder.lock()?;
        let mut chain = open_chain(&folder, &spec, database)?;
        let (role_name, keystore) = (role.name(), role.keystore());
        let keys = agree(&mut chain, role)?;
        let chain = Arc::new(chain);

        let runtime = threads::start_async()?;
        let mut tasks = Supervisor::new(runtime.handle().clone());
        tasks.spawn("waiting for signals", ask_on_signal(tasks.stop().clone()));
        let info = node_info(&spec, role_name);
        let about = About {
            name: info.name.clone(),
            version: info.version.clone(),
            chain_id: spec.id.clone(),
            is_authority: role_name == NodeRole::Authority,
        };
        let watch = runtime.block_on(Watch::start(chain.clone(), &about, metrics))?;
        let link = match &link {
            Some(config) => {
                Some(runtime.block_on(Link::start(chain.clone(), &folder, keys, config))?)
            }
            None => None,
        };
        if let Some(link) = &link {
            watch.show(link.network())?;
        }
        let lent = keystore.map(|keystore| Arc::new(LentKeystore::new(keystore)) as _);
        let services = watch.lend(Services {
            keystore: lent,
            network: link.as_ref().map(Link::view),
            ..Services::default()
        });
        let rpc = runtime.block_on(commonwatt_rpc::start_with(
            chain.clone(),
            info,
            rpc,
            services,
        ))?;
        let (closed, stop) = (rpc.closed(), tasks.stop().clone());
        tasks.spawn("JSON-RPC", async move {
            tokio::select! {
                () = closed => {}
                () = stop.asked() => {}
            }
            Ok(())
        });
        let linked = link.map(|link| link.serve(&mut tasks, watch.agreement()));
        let (network, member) = linked.unzip();
        Ok(Self {
            chain,
            network,
            member,
            timing: spec.genesis.timing,
            is_validator: role_name == NodeRole::Authority,
            rpc,
            watch,
            tasks,
            runtime,
            _lock: lock,
        })
    }

    /// Returns the chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Returns where JSON-RPC is served.
    pub fn rpc_url(&self) -> String {
        format!("ws://{}", self.rpc.local_addr())
    }

    /// Returns where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.watch.metrics_address()
    }

    /// Has a line logged every few seconds that says where the node is.
    pub fn inform(&mut self) {
        let _entered = self.runtime.enter();
        self.watch.inform();
    }

    /// Returns what asks the node to stop.
    pub fn stop(&self) -> &Stop {
        self.tasks.stop()
    }

    /// Returns the node's tasks, to add to them.
    pub fn tasks(&mut self) -> &mut Supervisor {
        &mut self.tasks
    }

    /// Waits for something asynchronous.
    pub fn block_on<Output>(&self, future: impl Future<Output = Output>) -> Output {
        self.runtime.block_on(future)
    }

    /// Has a validator's bids made.
    pub fn bid(&mut self, bidder: Bidder) {
        let run = bidder.run(self.stop().clone());
        self.tasks.spawn("bidding", run);
    }

    /// Begins to make blocks or to agree on them with others. Those that this node makes as the only validator are told to
    /// `after`; the others the agreement's own log lines tell.
    pub fn produce(
        &mut self,
        catch_up: CatchUp,
        after: impl FnMut(Produced) + Send + 'static,
    ) -> Result<()> {
        let (chain, timing, stop) = (self.chain.clone(), self.timing, self.stop().clone());
        let figures = self.watch.agreement().clone();
        let is_alone = self.is_validator && chain.next_lineup()?.validators.len() == 1;
        match self.member.take() {
            member if is_alone => self.tasks.spawn_thread("making blocks", move || {
                match (
                    producer::run(&chain, &timing, catch_up, &stop, after)?,
                    member,
                ) {
                    (Ended::Asked, _) => Ok(()),
                    (Ended::Several(count), Some(member)) => {
                        tracing::info!(validators = count, "from here on blocks are agreed on");
                        member.take_part(timing, catch_up, true, figures, &stop)
                    }
                    (Ended::Several(count), None) => {
                        bail!(validators::explain_number(&chain, count))
                    }
                }
            }),
            Some(member) => self.tasks.spawn_thread("the agreement", move || {
                member.take_part(timing, catch_up, false, figures, &stop)
            }),
            None => self.tasks.spawn_thread("watching the clock", move || {
                producer::watch_clock(&chain, &timing, &stop);
                Ok(())
            }),
        }
    }

    /// Runs until somebody asks to stop, ends everything in order, and returns the number of the last block on disk.
    ///
    /// # Errors
    /// What went wrong first, if that is why it ended.
    pub fn run(self) -> Result<u32> {
        let Self {
            chain,
            rpc,
            watch,
            tasks,
            network,
            runtime,
            _lock,
            ..
        } = self;
        tasks.wait();
        tracing::info!("stopping");
        let result = tasks.end();
        if let Some(network) = network {
            runtime.block_on(network.shutdown());
        }
        runtime.block_on(rpc.stop());
        drop(watch);
        let flushed = chain.db().flush();
        let durable = chain.db().durable_number();
        drop(chain);
        // Requests that are still being answered hold the chain; it closes with the last of them.
        runtime.shutdown_timeout(ENDING_MAX);
        result?;
        flushed.context("the last blocks could not be written")?;
        Ok(durable)
    }
}

/// Refuses to run a chain whose first step was never decided: it would make a block for every step since 1970.
pub fn verify_beginning(spec: &ChainSpec) -> Result<()> {
    if spec.genesis.timing.genesis_ms == 0 {
        bail!(
            "the chain spec does not say when step 1 begins: set genesis.timing.genesisMs to milliseconds since \
             1970-01-01 UTC (`date +%s000` prints the present), the same on every node, and take the spec over with \
             `commonwatt init --chain FILE`"
        );
    }
    Ok(())
}

fn node_info(spec: &ChainSpec, role: NodeRole) -> NodeInfo {
    NodeInfo {
        name: "commonwatt".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        chain_name: spec.name.clone(),
        chain_id: Some(spec.id.clone()),
        chain_type: match spec.chain_type {
            ChainType::Development => commonwatt_rpc::ChainType::Development,
            ChainType::Local => commonwatt_rpc::ChainType::Local,
            ChainType::Live => commonwatt_rpc::ChainType::Live,
        },
        properties: spec.properties.clone(),
        roles: vec![role],
    }
}
