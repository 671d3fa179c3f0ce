//! What a run brought.

/// Figures of one run, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Heights decided.
    pub heights: u32,
    /// Virtual time.
    pub virtual_ms: u64,
    /// The number that stands for everything that happened.
    pub trace: u64,
    /// How much happened.
    pub events: u64,
    /// Heights by the round that decided them; the last counts all later ones.
    pub rounds: [u64; 6],
    /// Blocks marked late.
    pub late: u64,
    /// From the settling of a step to its decision by the first node, for blocks in time: sum and greatest.
    pub took_ms: (u64, u64),
    /// Messages on the lines.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Starts of nodes.
    pub boots: u64,
    /// Power losses of nodes.
    pub power_losses: u64,
    /// Processes killed.
    pub kills: u64,
    /// Logs lost.
    pub lost_logs: u64,
    /// Nodes replaced by old copies.
    pub old_copies: u64,
    /// Partitions, cut and slow lines.
    pub partitions: u64,
    /// Clocks set wrong, and nodes that stood still.
    pub clock_faults: u64,
    /// Approvals withheld.
    pub withheld: u64,
    /// Blocks found invalid.
    pub invalid: u64,
    /// Messages refused.
    pub refusals: u64,
    /// Nodes silenced.
    pub silenced: u64,
    /// Blocks asked for.
    pub requests: u64,
    /// Blocks fetched.
    pub fetched: u64,
    /// Proofs of contradictions brought into pools.
    pub evidence: u64,
    /// Validators with an offence on chain.
    pub offenders: usize,
    /// Blocks that liars made and all took.
    pub blocks_of_liars: u64,
    /// Transactions made.
    pub transactions: u64,
    /// By how many heights the slowest honest node was behind the clock when everything was healed.
    pub behind_at_healing: u32,
    /// How long the network took to come back.
    pub recovery_ms: u64,
}

impl Report {
    /// Notes a decided height.
    pub fn note_decided(&mut self, round: u32, is_late: bool, took_ms: u64) {
        let last = self.rounds.len() - 1;
        let place = usize::try_from(round).unwrap_or(last).min(last);
        self.rounds[place] += 1;
        if is_late {
            self.late += 1;
        } else {
            self.took_ms.0 = self.took_ms.0.saturating_add(took_ms);
            self.took_ms.1 = self.took_ms.1.max(took_ms);
        }
    }

    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.heights += other.heights;
        self.virtual_ms += other.virtual_ms;
        self.trace ^= other.trace;
        self.events += other.events;
        for (sum, one) in self.rounds.iter_mut().zip(other.rounds) {
            *sum += one;
        }
        self.late += other.late;
        self.took_ms.0 += other.took_ms.0;
        self.took_ms.1 = self.took_ms.1.max(other.took_ms.1);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.boots += other.boots;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.lost_logs += other.lost_logs;
        self.old_copies += other.old_copies;
        self.partitions += other.partitions;
        self.clock_faults += other.clock_faults;
        self.withheld += other.withheld;
        self.invalid += other.invalid;
        self.refusals += other.refusals;
        self.silenced += other.silenced;
        self.requests += other.requests;
        self.fetched += other.fetched;
        self.evidence += other.evidence;
        self.offenders += other.offenders;
        self.blocks_of_liars += other.blocks_of_liars;
        self.transactions += other.transactions;
        self.behind_at_healing = self.behind_at_healing.max(other.behind_at_healing);
        self.recovery_ms = self.recovery_ms.max(other.recovery_ms);
    }

    /// Returns the mean time from settling to decision of blocks in time.
    pub fn mean_ms(&self) -> u64 {
        let in_time = u64::from(self.heights).saturating_sub(self.late);
        self.took_ms.0.checked_div(in_time).unwrap_or_default()
    }
}
