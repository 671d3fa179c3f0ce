//! What the community does: devices report, validators bid, members give each other coins.

use commonwatt_primitives::{AccountId, Step, Wh};
use commonwatt_runtime::{Hash, RuntimeCall, apis::BidderView};
use pallet_energy_token::Measurement;
use pallet_miner_auction::Call as AuctionCall;

use crate::{
    bugs::Bug,
    community::{
        Community, GENESIS_MS, bid, decode_call, gift, hash_of, interval, pardon, reading,
    },
    violation::Violation,
    watch::Kind,
    world::{Task, World},
};

/// Energy a device measures in a step at most.
const ENERGY_WH_MAX: u64 = 5_000;
/// How often something happens in a step, in percent.
const BIDS_PERCENT: u64 = 75;
const GIFTS_PERCENT: u64 = 20;
const LATE_PERCENT: u64 = 8;
/// Part of the free tokens that a validator offers, in percent.
const OFFER_PERCENT: u128 = 20;

/// Something somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A device reports a step.
    Report {
        /// Which.
        device: usize,
        /// The step.
        step: Step,
    },
    /// A validator bids.
    Bid {
        /// Which.
        node: usize,
    },
    /// The giver gives.
    Gift,
}

/// What a device has said that is in no block yet.
struct Unheard {
    extrinsic: Vec<u8>,
    step: Step,
}

/// Devices and people.
pub struct Workload {
    /// For each node all others.
    pub others: Vec<Vec<usize>>,
    /// The validators' accounts.
    pub accounts: Vec<AccountId>,
    nonces: Vec<u32>,
    last: Vec<Option<Hash>>,
    unheard: Vec<Vec<Unheard>>,
}

impl Workload {
    /// Begins the work of a community.
    pub fn new(community: &Community) -> Self {
        let nodes = community.members.len();
        let devices = community.devices.len();
        Self {
            others: (0..nodes)
                .map(|node| (0..nodes).filter(|other| *other != node).collect())
                .collect(),
            accounts: community
                .members
                .iter()
                .map(|member| member.account.clone())
                .collect(),
            nonces: vec![0; devices],
            last: vec![None; devices],
            unheard: (0..devices).map(|_| Vec::new()).collect(),
        }
    }
}

/// Returns whether an extrinsic brings evidence.
pub fn is_evidence(extrinsic: &[u8]) -> bool {
    matches!(
        decode_call(extrinsic),
        Some(RuntimeCall::MinerAuction(
            AuctionCall::report_equivocation { .. }
        ))
    )
}

/// Returns whether an extrinsic gives somebody coins.
pub fn is_gift(extrinsic: &[u8]) -> bool {
    matches!(decode_call(extrinsic), Some(RuntimeCall::Balances(_)))
}

impl World {
    /// Plans what is done in a step, and the next step.
    pub(crate) fn begin_step(&mut self, step: Step) -> Result<(), Violation> {
        let timing = self.community.timing;
        self.push(
            timing.step_ms,
            Task::StepBegins(Step(step.0.saturating_add(1))),
        );
        if !self.plan.has_work {
            return Ok(());
        }
        self.say_again(step)?;
        if self.bug == Some(Bug::Pardons) {
            self.pardon_all()?;
        }
        for device in 0..self.community.devices.len() {
            let latest = match self.random.percent(LATE_PERCENT) {
                true => timing.step_ms + 2 * timing.settle_delay_ms,
                false => timing.step_ms,
            };
            let after = self.random.within(0..=latest);
            self.push(after, Task::Work(Work::Report { device, step }));
        }
        let (opens, closes) = (timing.gate_open_ms, timing.step_ms - timing.gate_close_ms);
        for node in 0..self.nodes.len() {
            if self.random.percent(BIDS_PERCENT) {
                let latest = match self.random.percent(LATE_PERCENT) {
                    true => timing.step_ms,
                    false => closes,
                };
                let after = self.random.within(opens..=latest);
                self.push(after, Task::Work(Work::Bid { node }));
            }
        }
        if self.random.percent(GIFTS_PERCENT) {
            let after = self.random.below(timing.step_ms);
            self.push(after, Task::Work(Work::Gift));
        }
        Ok(())
    }

    /// Does one thing.
    pub(crate) fn do_work(&mut self, work: Work) -> Result<(), Violation> {
        match work {
            Work::Report { device, step } => self.report_step(device, step),
            Work::Bid { node } => self.bid(node),
            Work::Gift => self.give(),
        }
    }

    /// Returns whether a node is up and does not stand still.
    fn is_working(&self, node: usize) -> bool {
        let it = &self.nodes[node];
        it.process.is_some() && it.paused_until_ms <= self.now_ms
    }

    /// Returns any node that is up.
    fn any_node(&mut self) -> Option<usize> {
        let up: Vec<_> = (0..self.nodes.len())
            .filter(|node| self.is_working(*node))
            .collect();
        self.random.pick(&up).copied()
    }

    fn report_step(&mut self, device: usize, step: Step) -> Result<(), Violation> {
        let energy_wh = self.random.below(ENERGY_WH_MAX);
        if self.bug == Some(Bug::PulsesTwice) {
            let half = Measurement::EnergyAdded(Wh(energy_wh));
            self.say(device, step, half.clone(), energy_wh)?;
            return self.say(device, step, half, 0);
        }
        self.say(device, step, interval(Wh(energy_wh)), energy_wh)
    }

    /// A device says what it measured; `true_wh` is what it really measured beyond what it said before.
    fn say(
        &mut self,
        device: usize,
        step: Step,
        measured: Measurement,
        true_wh: u64,
    ) -> Result<(), Violation> {
        let nonce = self.work.nonces[device];
        self.work.nonces[device] = nonce.saturating_add(1);
        let pair = &self.community.devices[device];
        let extrinsic = reading(pair, self.oracle.genesis_hash(), nonce, step, measured);
        let hash = hash_of(&extrinsic);
        self.oracle.note_reading(&extrinsic, step, true_wh);
        let before = self.work.last[device].replace(hash);
        self.watch.follow(hash, Kind::Reading, step.0, before);
        self.report.transactions += 1;
        if let Some(node) = self.any_node() {
            self.submit(node, None, &extrinsic)?;
        }
        self.work.unheard[device].push(Unheard { extrinsic, step });
        Ok(())
    }

    /// Devices repeat what is in no block yet.
    fn say_again(&mut self, step: Step) -> Result<(), Violation> {
        for device in 0..self.work.unheard.len() {
            let mut unheard = std::mem::take(&mut self.work.unheard[device]);
            unheard.retain(|one| self.oracle.awaits(&hash_of(&one.extrinsic)));
            for one in unheard
                .iter()
                .filter(|one| one.step.0.saturating_add(1) < step.0)
            {
                if let Some(node) = self.any_node() {
                    self.submit(node, None, &one.extrinsic)?;
                }
            }
            self.work.unheard[device].append(&mut unheard);
        }
        Ok(())
    }

    fn bid(&mut self, node: usize) -> Result<(), Violation> {
        let Some(process) = self.nodes[node]
            .process
            .as_ref()
            .filter(|_| self.is_working(node))
        else {
            return Ok(());
        };
        let chain = &process.chain;
        let account = self.nodes[node].member.account.clone();
        let (best, _) = chain.best();
        let Ok(state) = chain.state(None) else {
            return Ok(());
        };
        let view: Result<BidderView, _> =
            chain.executor().call(&state, "AuctionApi_bidder", &account);
        let Some(terms) = view.ok().and_then(|view| view.terms) else {
            return Ok(());
        };
        let (Ok(nonce), Ok(on_chain)) = (
            chain.next_nonce(&account),
            chain.executor().account_nonce(&state, &account),
        ) else {
            return Ok(());
        };
        let wanted = u64::try_from(terms.free * OFFER_PERCENT / 100).unwrap_or(u64::MAX);
        let amount = wanted.clamp(terms.min, terms.max);
        let member = &self.nodes[node].member;
        let extrinsic = bid(member, chain.genesis_hash(), nonce, terms.height, amount);
        self.report.transactions += 1;
        let unix_ms = GENESIS_MS.saturating_add(self.now_ms);
        let due = best.saturating_add(1);
        let is_current = self.community.timing.step_at(unix_ms) == Step(due);
        if nonce == on_chain && best == self.oracle.best() && is_current {
            self.watch.follow(hash_of(&extrinsic), Kind::Bid, due, None);
        }
        self.submit(node, None, &extrinsic)
    }

    fn give(&mut self) -> Result<(), Violation> {
        let Some(node) = self.any_node() else {
            return Ok(());
        };
        let Some(process) = &self.nodes[node].process else {
            return Ok(());
        };
        let giver = &self.community.giver;
        let chain = &process.chain;
        let best = chain.best().0;
        let on_chain = chain
            .state(None)
            .ok()
            .and_then(|state| chain.executor().account_nonce(&state, &giver.account).ok());
        let Some(nonce) = on_chain.filter(|_| best == self.oracle.best()) else {
            return Ok(());
        };
        // The same gift again, as long as it is in no block.
        let to = &self.community.members[0];
        let extrinsic = gift(giver, to, self.oracle.genesis_hash(), nonce);
        self.report.transactions += 1;
        let due = best.saturating_add(1);
        self.watch
            .follow(hash_of(&extrinsic), Kind::Other, due, None);
        self.submit(node, None, &extrinsic)
    }

    /// Pardons everybody whose offence is on chain: planted, as only the council may.
    fn pardon_all(&mut self) -> Result<(), Violation> {
        let councillor = 0;
        for who in self.oracle.offenders().clone() {
            let Some(process) = &self.nodes[councillor].process else {
                return Ok(());
            };
            let member = &self.nodes[councillor].member;
            let Ok(nonce) = process.chain.next_nonce(&member.account) else {
                return Ok(());
            };
            let extrinsic = pardon(member, self.oracle.genesis_hash(), nonce, who);
            self.submit(councillor, None, &extrinsic)?;
        }
        Ok(())
    }
}
