//! Gateways: each passes the readings of some of the demo community's meters on to one node, and loses none when that
//! node is gone for a while. `commonwatt meters` runs them, and the members' traders beside them.
//!
//! Every meter belongs to one gateway and so to one node: its transactions have one order. A gateway whose node is gone
//! keeps measuring, and once the node is back and knows the chain again, reports what the chain does not have; a
//! reading that comes after its block makes a correction of its step.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use commonwatt_community_data::{Community, StepReadings};
use commonwatt_primitives::{Step, StepTiming};

use crate::{
    community::{Device, devices},
    meters::{Meters, Refused, demo_week, wait_for_end},
    report::say,
    signals::ask_on_signal,
    stop::{Stop, now_ms},
    supervisor::Supervisor,
    threads,
    traders::{self, Trading},
};

/// Steps back from the present whose readings are looked for in the chain after a connection was lost: what the node had
/// taken but not passed on is gone.
const STEPS_UNSURE: u32 = 8;

/// Steps whose readings are reported late at most: older ones can no longer be corrected by their meters.
const STEPS_LATE_MAX: u32 = 90;

/// Settled steps without a block up to which a node counts as up to date.
const STEPS_BEHIND_MAX: u32 = 2;

/// Pause before a node is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Nodes that readings can be spread over.
const NODES_MAX: usize = 256;

/// Takes down what a gateway has to say: which node, and what.
pub type Tell = Arc<dyn Fn(&str, String) + Send + Sync>;

/// Passes some meters' readings on to a node.
pub struct Gateway {
    url: String,
    devices: Arc<[Device]>,
    week: Arc<[StepReadings]>,
    /// The first step that may have to be reported.
    unsure: Option<Step>,
    tell: Tell,
}

/// Checks that there are nodes for something, and not too many.
pub fn verify_count(urls: &[String], what: &str) -> Result<()> {
    if urls.is_empty() || urls.len() > NODES_MAX {
        bail!("{what} go to 1 to {NODES_MAX} nodes, not to {}", urls.len());
    }
    Ok(())
}

/// Spreads the demo community's meters over nodes, each meter to one of them.
pub fn spread(urls: &[String], community: &Community, tell: &Tell) -> Result<Vec<Gateway>> {
    verify_count(urls, "readings")?;
    let week = demo_week(community)?;
    let mut shares: Vec<Vec<Device>> = urls.iter().map(|_| Vec::new()).collect();
    for (number, device) in devices(community).into_iter().enumerate() {
        shares[number % urls.len()].push(device);
    }
    let gateway = |(url, share): (&String, Vec<Device>)| Gateway {
        url: url.clone(),
        devices: share.into(),
        week: week.clone(),
        unsure: None,
        tell: tell.clone(),
    };
    Ok(urls.iter().zip(shares).map(gateway).collect())
}

impl Gateway {
    /// Returns how many meters it has.
    pub fn meters(&self) -> usize {
        self.devices.len()
    }

    /// Reports every step at its end until asked to stop.
    pub async fn run(mut self, stop: Stop) -> Result<()> {
        let mut is_told = true;
        loop {
            let served = tokio::select! {
                served = self.serve(&stop, &mut is_told) => served,
                // Even while a node that stands still is waited for.
                () = stop.asked() => return Ok(()),
            };
            match served {
                Ok(()) => return Ok(()),
                Err(error) if !is_told => {
                    is_told = true;
                    let text = format!("no readings go to this node now: {error:#}");
                    (self.tell)(&self.url, text);
                }
                Err(_) => {}
            }
            if pause(&stop).await {
                return Ok(());
            }
        }
    }

    /// Reports until asked to stop, or until the node is gone.
    async fn serve(&mut self, stop: &Stop, is_told: &mut bool) -> Result<()> {
        let (devices, week) = (self.devices.clone(), self.week.clone());
        let mut meters = Meters::connect_some(&self.url, devices, week).await?;
        let timing = meters.timing().await?;
        let first = self
            .unsure
            .unwrap_or_else(|| timing.step_at(now_ms()).max(Step(1)));
        self.unsure = Some(first);
        // A node that does not know the chain's state yet would tell nonces that were used long ago.
        while !is_current(&meters, timing).await? {
            if pause(stop).await {
                return Ok(());
            }
        }
        *is_told = false;
        self.report(&mut meters, first, timing, stop).await
    }

    async fn report(
        &mut self,
        meters: &mut Meters,
        first: Step,
        timing: StepTiming,
        stop: &Stop,
    ) -> Result<()> {
        let present = timing.step_at(now_ms());
        let mut step = first.max(present.saturating_sub(STEPS_LATE_MAX));
        loop {
            if wait_for_end(step, timing, stop).await? {
                return Ok(());
            }
            let refused = match step < present {
                true => meters.report_missing(step).await?,
                false => meters.report(step).await?,
            };
            self.tell_refused(&refused);
            step = Step(step.0.saturating_add(1));
            self.unsure = Some(step.saturating_sub(STEPS_UNSURE).max(first));
        }
    }

    /// Tells of the first refused reading, and how many there were.
    fn tell_refused(&self, refused: &[Refused]) {
        if let Some(Refused {
            meter,
            step,
            reason,
        }) = refused.first()
        {
            let count = refused.len();
            let text = format!(
                "{count} reading(s) of step {step} refused, that of meter {} with: {reason}",
                meter.0
            );
            (self.tell)(&self.url, text);
        }
    }
}

/// Returns whether a node has about all blocks there can be.
async fn is_current(meters: &Meters, timing: StepTiming) -> Result<bool> {
    // The step that is under way has no block, and the one before it may not have settled.
    let closed = timing.step_at(now_ms()).saturating_sub(1);
    Ok(closed.since(meters.best().await?) <= STEPS_BEHIND_MAX)
}

/// Waits a moment; returns early, and true, when asked to stop.
pub async fn pause(stop: &Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => stop.is_asked(),
        () = stop.asked() => true,
    }
}

/// Signs the demo community's readings and submits them to nodes of a demonstration chain, each meter to one of them; its
/// members trade there, too.
#[derive(Debug, Args)]
pub struct MetersCommand {
    /// JSON-RPC of a node, like ws://127.0.0.1:9944; several times or with commas for several
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    rpc: Vec<String>,
    /// Let the members trade: each places an order for every step, by a simple policy (docs/trading.md)
    #[arg(long, value_enum, default_value_t, value_name = "on|off")]
    trade: Trading,
}

impl MetersCommand {
    /// Runs until a signal comes.
    pub fn run(self) -> Result<()> {
        let tell: Tell = Arc::new(|url, text| tracing::warn!(node = url, "{text}"));
        let community = Community::demo()?;
        let gateways = spread(&self.rpc, &community, &tell)?;
        let posts = match self.trade {
            Trading::On => traders::spread(&self.rpc, &community, &tell)?,
            Trading::Off => Vec::new(),
        };
        let runtime = threads::start_async()?;
        let mut tasks = Supervisor::new(runtime.handle().clone());
        tasks.spawn("waiting for signals", ask_on_signal(tasks.stop().clone()));
        for gateway in gateways {
            say!("{} meters report to {}", gateway.meters(), gateway.url)?;
            let stop = tasks.stop().clone();
            tasks.spawn("passing readings on", gateway.run(stop));
        }
        for post in posts {
            say!("{} members trade at {}", post.members(), post.url())?;
            let stop = tasks.stop().clone();
            tasks.spawn("trading", post.run(stop));
        }
        tasks.wait();
        tasks.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn urls(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("ws://{number}")).collect()
    }

    #[test]
    fn every_meter_has_one_gateway_and_no_gateway_has_many_more_than_another() {
        let community = Community::demo().unwrap();
        let tell: Tell = Arc::new(|_, _| {});
        let gateways = spread(&urls(5), &community, &tell).unwrap();
        let counts: Vec<_> = gateways.iter().map(Gateway::meters).collect();
        assert_eq!(counts, [12, 12, 11, 11, 11]);
        let meters: BTreeSet<_> = gateways
            .iter()
            .flat_map(|gateway| gateway.devices.iter().map(|device| device.meter))
            .collect();
        assert_eq!(meters.len(), 57);
    }

    #[test]
    fn readings_need_a_node_and_not_too_many() {
        let community = Community::demo().unwrap();
        let tell: Tell = Arc::new(|_, _| {});
        for count in [0, NODES_MAX + 1] {
            assert!(spread(&urls(count), &community, &tell).is_err());
        }
    }

    #[test]
    fn a_gateway_without_its_node_ends_when_asked() {
        let community = Community::demo().unwrap();
        let tell: Tell = Arc::new(|_, _| {});
        // Nobody listens at port 1.
        let nobody = ["ws://127.0.0.1:1".to_owned()];
        let gateway = spread(&nobody, &community, &tell).unwrap().remove(0);
        let runtime = threads::start_async().unwrap();
        let stop = Stop::default();
        let running = runtime.spawn(gateway.run(stop.clone()));
        stop.ask();
        let ended = runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), running).await });
        ended.unwrap().unwrap().unwrap();
    }
}
