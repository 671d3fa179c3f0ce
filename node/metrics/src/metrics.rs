//! All figures of a node.

use std::collections::HashMap;

use commonwatt_chain::{HealthCheck, NewHead, Observed, Observer};
use commonwatt_primitives::{Step, Wh};
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};

use crate::{
    agreement::AgreementFigures,
    chain::ChainFigures,
    counts::{Counts, ReadCounts},
    node::NodeFigures,
    pool::PoolFigures,
    register::{Described, Registrar},
    rpc::RpcFigures,
};

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The software's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The chain's name for programs, which every figure carries as the label `chain`.
    pub chain_id: String,
    /// Whether the node makes blocks.
    pub is_authority: bool,
}

/// A step as its block told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastStep {
    /// The step.
    pub step: Step,
    /// Reports of devices that were taken on time.
    pub readings: usize,
    /// Energy generated.
    pub generated: Wh,
    /// Energy consumed, as far as it is in clear.
    pub consumed: Wh,
    /// Whether the block came late.
    pub is_late: bool,
}

/// All figures of a node. It observes the chain, see [`commonwatt_chain::Chain::set_observer`], and is told of new
/// blocks by [`crate::follow`].
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    node: NodeFigures,
    chain: ChainFigures,
    pool: PoolFigures,
    rpc: RpcFigures,
    agreement: AgreementFigures,
    last_step: Mutex<Option<LastStep>>,
}

impl Metrics {
    /// Registers every figure.
    pub fn new(about: &About) -> Result<Self, prometheus::Error> {
        let labels = HashMap::from([("chain".to_owned(), about.chain_id.clone())]);
        let registry = Registry::new_custom(None, Some(labels))?;
        let mut registrar = Registrar::new(&registry);
        let node = NodeFigures::register(&mut registrar, about)?;
        let chain = ChainFigures::register(&mut registrar)?;
        let pool = PoolFigures::register(&mut registrar)?;
        let rpc = RpcFigures::register(&mut registrar)?;
        let agreement = AgreementFigures::register(&mut registrar)?;
        let described = registrar.described;
        Ok(Self {
            registry,
            described,
            node,
            chain,
            pool,
            rpc,
            agreement,
            last_step: Mutex::default(),
        })
    }

    /// Has what others count exported too.
    ///
    /// # Errors
    /// A name that is taken, or is no name.
    pub fn include(&self, read: ReadCounts) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(Counts::new(read)?))
    }

    /// Returns what is exported, but for what was included.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Returns the figures of JSON-RPC, for its server.
    pub fn rpc(&self) -> &RpcFigures {
        &self.rpc
    }

    /// Returns the figures of the agreement, for its driver.
    pub fn agreement(&self) -> &AgreementFigures {
        &self.agreement
    }

    /// Returns the last step whose block became final while this node ran.
    pub fn last_step(&self) -> Option<LastStep> {
        *self.last_step.lock()
    }

    /// Takes note of a block that became final at `now_ms`. Executes the runtime, so not for threads that serve
    /// connections.
    pub fn note_head(&self, check: &HealthCheck, head: &NewHead, now_ms: u64) {
        match self.chain.note(check, head, now_ms) {
            Ok(last_step) => *self.last_step.lock() = Some(last_step),
            Err(error) => {
                tracing::warn!(hash = ?head.hash, %error, "a step's energy is missing in the metrics");
            }
        }
    }

    /// Takes note that so many blocks came too fast to be looked at.
    pub fn note_missed(&self, heads: u64) {
        self.chain.missed(heads);
    }

    /// Asks chain and process what is true at `now_ms`. Reads the disk.
    pub fn refresh(&self, check: &HealthCheck, now_ms: u64) {
        self.node.refresh();
        self.chain.refresh(check, now_ms);
        self.pool.refresh(&check.chain().pool_status());
    }

    /// Returns every figure in Prometheus' text format.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Observer for Metrics {
    fn observe(&self, what: Observed<'_>) {
        match what {
            Observed::ValidationBegan(count) => self.pool.validation_began(count),
            Observed::ValidationDone(count) => self.pool.validation_done(count),
            Observed::Refused(error) => self.pool.refused(error),
            Observed::Pool(events) => self.pool.changed(events),
            Observed::Built { took, extrinsics } => self.chain.built(took, extrinsics),
            Observed::Executed { took } => self.chain.executed(took),
            Observed::Stored {
                took,
                extrinsics,
                bytes,
            } => self.chain.stored(took, extrinsics, bytes),
        }
    }
}
