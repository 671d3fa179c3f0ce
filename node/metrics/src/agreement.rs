//! The agreement with other nodes, as its driver tells it.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

use crate::register::{LateGauge, Registrar, shown};

/// Bounds of decision times, in seconds.
const DECISION_BUCKETS_S: [f64; 12] = [
    0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0,
];

/// What happened in the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgreementEvent {
    /// A block became final.
    Decided {
        /// The round that decided.
        round: u32,
        /// From the start of its height.
        took: Duration,
        /// Whether it was fetched from a peer.
        is_fetched: bool,
    },
    /// This node withheld its approval of a block for a while.
    Withheld,
    /// A proposed block was invalid.
    Invalid,
    /// Evidence of a contradiction was brought into the pool.
    Evidence,
    /// Something that is not counted.
    Other,
}

/// Figures of the agreement. Cheap to clone.
#[derive(Clone)]
pub struct AgreementFigures {
    peers: IntGauge,
    round: LateGauge,
    voting: LateGauge,
    decisions: IntCounterVec,
    extra_rounds: IntCounter,
    decision_time: Histogram,
    withheld: IntCounter,
    invalid: IntCounter,
    evidence: IntCounter,
}

impl AgreementFigures {
    pub(crate) fn register(registrar: &mut Registrar<'_>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            peers: registrar.gauge(
                "substrate_sub_libp2p_peers_count",
                "Nodes this one is connected to and has let in",
            )?,
            round: registrar.gauge_once_known(
                "commonwatt_agreement_round",
                "Round of the height that is being agreed on, 0 the first; missing between heights",
            )?,
            voting: registrar.gauge_once_known(
                "commonwatt_agreement_voting",
                "Whether this validator votes at the height that began last: 1, or 0; missing on nodes that do not validate",
            )?,
            decisions: registrar.counters_of(
                "commonwatt_agreement_decisions_total",
                "Blocks that became final, by how this node came by them: agreed on with the others, or fetched from one",
                "by",
                &["agreement", "fetching"],
            )?,
            extra_rounds: registrar.counter(
                "commonwatt_agreement_extra_rounds_total",
                "Rounds beyond the first that blocks took until they were final",
            )?,
            decision_time: registrar.histogram(
                "commonwatt_agreement_decision_seconds",
                "How long blocks that were agreed on took from the start of their height until they were stored, in seconds",
                &DECISION_BUCKETS_S,
            )?,
            withheld: registrar.counter(
                "commonwatt_agreement_withheld_total",
                "Blocks whose approval this node withheld for a while, since they came too early or too late, or left something out",
            )?,
            invalid: registrar.counter(
                "commonwatt_agreement_invalid_total",
                "Proposed blocks that were invalid",
            )?,
            evidence: registrar.counter(
                "commonwatt_agreement_evidence_total",
                "Proofs that a validator contradicted itself which this node brought into its pool",
            )?,
        })
    }

    /// Notes how many peers there are.
    pub fn note_peers(&self, peers: usize) {
        self.peers.set(shown(peers));
    }

    /// Returns how many peers there are.
    pub fn peers(&self) -> i64 {
        self.peers.get()
    }

    /// Notes height and round that are being agreed on, if any.
    pub fn note_position(&self, position: Option<(u32, u32)>) {
        match position {
            Some((_, round)) => self.round.set(round.into()),
            None => self.round.forget(),
        }
    }

    /// Notes whether this validator votes.
    pub fn note_voting(&self, is_voting: bool) {
        self.voting.set(is_voting.into());
    }

    /// Notes what happened.
    pub fn note(&self, event: &AgreementEvent) {
        match event {
            AgreementEvent::Decided {
                round,
                took,
                is_fetched,
            } => {
                let by = match is_fetched {
                    true => "fetching",
                    false => "agreement",
                };
                self.decisions.with_label_values(&[by]).inc();
                if !is_fetched {
                    self.extra_rounds.inc_by((*round).into());
                    self.decision_time.observe(took.as_secs_f64());
                }
            }
            AgreementEvent::Withheld => self.withheld.inc(),
            AgreementEvent::Invalid => self.invalid.inc(),
            AgreementEvent::Evidence => self.evidence.inc(),
            AgreementEvent::Other => {}
        }
    }
}
