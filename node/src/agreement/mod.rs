//! The node among others: its network, and the agreement with them.
//!
//! ```text
//! network ─► pump ─► driver (engine) ─► network
//!              │        ▲  │
//!              ▼        │  ▼
//!             pool    thread that builds and executes blocks
//! ```
//!
//! The engine has a thread of its own, so has what takes long; everything else are tasks. While a chain has one validator
//! and this node is it, blocks are made without the engine (`producer.rs`); the network is there all the same, so that others
//! can follow. As soon as there are several, the engine takes over.

mod answering;
mod args;
mod assemblies;
mod doorkeeper;
mod driver;
mod early;
#[cfg(test)]
mod fixtures;
mod proposals;
mod pump;
mod voting;

pub use args::NetworkArgs;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc as threads,
};

use anyhow::{Context, Result};
use commonwatt_chain::{Chain, Pooled, SessionSigner};
use commonwatt_consensus::wal::FileLog;
use commonwatt_engine::{Engine, EngineConfig};
use commonwatt_metrics::AgreementFigures;
use commonwatt_network::{
    EventReceiver, Network, NetworkConfig, NetworkHandle, StartError, StaticPeer,
};
use commonwatt_primitives::StepTiming;
use commonwatt_rpc::PeerInfo;
use tokio::{
    runtime::Handle,
    sync::{
        broadcast::{self, error::RecvError},
        mpsc,
    },
};

use crate::{
    paths::ChainFolder,
    producer::{CatchUp, missed_steps_max},
    stop::{Stop, now_ms},
    supervisor::Supervisor,
};
use args::{NetworkSetup, listen_on};
use doorkeeper::Doorkeeper;
use driver::{Driver, run_jobs};
use proposals::RecentBlocks;
use pump::{EVENTS_MAX, Pump, Told, publish};
use voting::{Voting, begin_log, say_beginning, verify_votes_from};

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// How it is on the network.
    pub network: NetworkArgs,
    /// Whom the chain spec names to connect to, unless the operator names others.
    pub boot_nodes: Vec<StaticPeer>,
    /// The first height it votes at, if the operator says so.
    pub votes_from: Option<u32>,
}

/// A node's link to others.
pub struct Link {
    chain: Arc<Chain>,
    network: NetworkHandle,
    doorkeeper: Arc<Doorkeeper>,
    events: EventReceiver,
    member: Member,
}

/// What the engine of this node needs once it takes over.
pub struct Member {
    chain: Arc<Chain>,
    network: NetworkHandle,
    folder: ChainFolder,
    keys: Option<Arc<dyn SessionSigner>>,
    votes_from: Option<u32>,
    recent: Arc<RecentBlocks>,
    told: mpsc::Sender<Told>,
    waiting: mpsc::Receiver<Told>,
    is_engine_on: Arc<AtomicBool>,
    tokio: Handle,
}

impl Link {
    /// Starts the network. Nobody is answered yet.
    pub async fn start(
        chain: Arc<Chain>,
        folder: &ChainFolder,
        keys: Option<Arc<dyn SessionSigner>>,
        config: &LinkConfig,
    ) -> Result<Self> {
        let network = &config.network;
        let setup = network.setup(folder, chain.genesis_hash(), &config.boot_nodes)?;
        let named = &setup.config;
        let named = named.static_peers.iter().map(|peer| peer.id);
        let named = named.chain(setup.config.full_nodes.iter().copied());
        let doorkeeper = Doorkeeper::new(&chain, keys.clone(), named.collect())?;
        let doorkeeper = Arc::new(doorkeeper);
        let (network, events) = start_network(setup, &doorkeeper).await?;
        network.announce_status(chain.best().0);
        let (told, waiting) = mpsc::channel(EVENTS_MAX);
        let member = Member {
            chain: chain.clone(),
            network: network.clone(),
            folder: folder.clone(),
            keys,
            votes_from: config.votes_from,
            recent: Arc::default(),
            told,
            waiting,
            is_engine_on: Arc::default(),
            tokio: Handle::current(),
        };
        Ok(Self {
            chain,
            network,
            doorkeeper,
            events,
            member,
        })
    }

    /// Returns the network.
    pub fn network(&self) -> NetworkHandle {
        self.network.clone()
    }

    /// Returns what JSON-RPC tells about the network.
    pub fn view(&self) -> Arc<dyn commonwatt_rpc::Network> {
        Arc::new(NetworkView {
            chain: self.chain.clone(),
            network: self.network.clone(),
            is_alone: self.is_alone(),
        })
    }

    /// Returns whether this node is the only validator, and so needs nobody.
    fn is_alone(&self) -> bool {
        let is_only = self.chain.next_lineup();
        let is_only = is_only.is_ok_and(|lineup| lineup.validators.len() == 1);
        is_only && self.member.keys.is_some()
    }

    /// Has what comes from others taken, and what comes from this node's clients passed on; returns the network, to be shut
    /// down at the end, and what the engine needs.
    pub fn serve(
        self,
        tasks: &mut Supervisor,
        figures: &AgreementFigures,
    ) -> (NetworkHandle, Member) {
        let Self {
            chain,
            network,
            doorkeeper,
            events,
            member,
        } = self;
        let pump = Pump {
            chain: chain.clone(),
            network: network.clone(),
            doorkeeper: doorkeeper.clone(),
            recent: member.recent.clone(),
            told: member.told.clone(),
            is_engine_on: member.is_engine_on.clone(),
            figures: figures.clone(),
        };
        tasks.spawn("the network", pump.run(events, tasks.stop().clone()));
        let accepted = chain.subscribe_accepted();
        tasks.spawn(
            "passing transactions on",
            pass_on(
                accepted,
                chain.clone(),
                network.clone(),
                tasks.stop().clone(),
            ),
        );
        let follow = follow_chain(chain, network.clone(), doorkeeper, tasks.stop().clone());
        tasks.spawn("knowing the validators", follow);
        (network, member)
    }
}

/// Starts the network, on another port where that will do and the usual one is taken.
async fn start_network(
    setup: NetworkSetup,
    doorkeeper: &Arc<Doorkeeper>,
) -> Result<(NetworkHandle, EventReceiver)> {
    let NetworkSetup {
        config,
        is_port_free,
    } = setup;
    let start = |config: NetworkConfig| {
        Network::start(config, doorkeeper.clone() as _, doorkeeper.clone() as _)
    };
    match start(config.clone()).await {
        Err(StartError::Listen { address, cause, .. }) if is_port_free => {
            tracing::warn!(%address, cause, "the usual port for other nodes is taken; another one is used, see --port");
            let config = NetworkConfig {
                listen: listen_on(0),
                ..config
            };
            Ok(start(config).await?)
        }
        started => Ok(started?),
    }
}

impl Member {
    /// Has the engine drive the chain until asked to stop. A node that has made all blocks alone so far says so: it cannot
    /// have voted on those to come.
    ///
    /// # Errors
    /// What ends the engine, or keeps it from starting.
    pub fn take_part(
        self,
        timing: StepTiming,
        catch_up: CatchUp,
        was_alone: bool,
        figures: AgreementFigures,
        stop: &Stop,
    ) -> Result<()> {
        let chain = self.chain;
        if let Some(votes_from) = self.votes_from {
            verify_votes_from(votes_from, timing.step_at(now_ms()))?;
        }
        let next = chain.best().0.saturating_add(1);
        let votes_from = match was_alone {
            true => self.votes_from.max(Some(next)),
            false => self.votes_from,
        };
        let path = self.folder.agreement_log();
        let of_log = || format!("the log {}", path.display());
        let (mut log, mut recovered) =
            FileLog::open(&path, chain.genesis_hash()).with_context(of_log)?;
        let logged = recovered.as_ref().map(|recovered| recovered.height);
        let beginning =
            begin_log(&mut log, &mut recovered, votes_from, next).with_context(of_log)?;
        let voting = self.keys.clone().map(|keys| {
            let (chain, figures) = (chain.clone(), figures.clone());
            Voting::new(chain, keys, figures, recovered.as_ref(), votes_from)
        });
        let mut config = EngineConfig::new(timing, self.keys);
        config.votes_from = votes_from;
        config.missed_steps_max = match catch_up {
            CatchUp::Bounded => Some(missed_steps_max(&timing)),
            CatchUp::FromClock => None,
        };
        let engine = Engine::start(chain.clone(), Box::new(log), recovered, config)?;
        if let Some(votes_from) = self.votes_from {
            say_beginning(votes_from, logged, beginning);
        }
        let (jobs, waiting_jobs) = threads::channel();
        let (told, worker_stop) = (self.told.clone(), stop.clone());
        let worker = crate::threads::spawn("executing blocks", move || {
            run_jobs(waiting_jobs, &told, &worker_stop);
        })?;
        self.is_engine_on.store(true, Ordering::Relaxed);
        let driver = Driver {
            engine,
            chain,
            network: self.network,
            events: self.waiting,
            recent: self.recent,
            figures,
            voting,
            tokio: self.tokio,
            jobs,
        };
        let result = driver.run(stop);
        // Its sender is gone, so the worker ends with the job it has.
        let ended = worker.join();
        result?;
        ended.map_err(|_| anyhow::anyhow!("executing a block ended with a panic"))
    }
}

/// Passes on what this node's own clients bring. What one brings again, since others have lost it, is a message of its own
/// after each block.
async fn pass_on(
    mut accepted: broadcast::Receiver<Pooled>,
    chain: Arc<Chain>,
    network: NetworkHandle,
    stop: Stop,
) -> Result<()> {
    loop {
        let pooled = tokio::select! {
            () = stop.asked() => return Ok(()),
            pooled = accepted.recv() => pooled,
        };
        match pooled {
            Ok(pooled) => publish(&network, chain.best().0, [pooled]),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "transactions came faster than they are passed on");
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

/// Keeps track of who the validators are, and tells others of blocks that are made without the engine.
async fn follow_chain(
    chain: Arc<Chain>,
    network: NetworkHandle,
    doorkeeper: Arc<Doorkeeper>,
    stop: Stop,
) -> Result<()> {
    let mut heads = chain.subscribe_heads();
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            head = heads.recv() => if matches!(head, Err(RecvError::Closed)) {
                return Ok(());
            }
        }
        network.announce_status(chain.best().0);
        let (asked, keeper) = (chain.clone(), doorkeeper.clone());
        let refreshed = tokio::task::spawn_blocking(move || keeper.refresh(&asked)).await?;
        match refreshed {
            Ok(true) => network.recheck(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the validators are not known anew"),
        }
    }
}

/// What JSON-RPC tells about the network.
struct NetworkView {
    chain: Arc<Chain>,
    network: NetworkHandle,
    is_alone: bool,
}

impl commonwatt_rpc::Network for NetworkView {
    fn local_peer_id(&self) -> String {
        self.network.local_peer_id().to_string()
    }

    fn listen_addresses(&self) -> Vec<String> {
        let id = self.network.local_peer_id();
        let addresses = self.network.listen_addresses().into_iter();
        addresses
            .map(|address| format!("{address}/p2p/{id}"))
            .collect()
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let peers = self.network.peers().into_iter();
        peers
            .map(|peer| {
                let best_number = peer.decided.unwrap_or_default();
                let known = self.chain.db().hash_of(best_number).ok().flatten();
                PeerInfo {
                    peer_id: peer.id.to_string(),
                    roles: match peer.account {
                        Some(_) => "AUTHORITY".into(),
                        None => "FULL".into(),
                    },
                    // Blocks are final, so the block of that number is the same on all nodes.
                    best_hash: known.unwrap_or_default(),
                    best_number,
                }
            })
            .collect()
    }

    fn should_have_peers(&self) -> bool {
        !self.is_alone
    }
}
