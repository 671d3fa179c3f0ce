//! Readings for the blocks of a network that runs: so many in each step, a part of them through each node.
//!
//! They come between two blocks: every node has the last block before the first of them is submitted, and the last is taken before
//! the step closes. So every pool has them all, unless gossip loses some, when the block is made.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use commonwatt_primitives::Step;
use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use jsonrpsee::core::client::Subscription;
use jsonrpsee_ws_client::WsClient;
use serde::Serialize;

use crate::{
    client::Endpoint,
    readings::{Counters, Device, Fleet, Head, follow_heads, next_head, now_ms, submit},
};

/// How blocks are filled.
pub struct FillingPlan {
    /// Readings in each step.
    pub per_step: u32,
    /// Steps.
    pub steps: u32,
    /// How long nothing is submitted when all nodes have a block, so that others can tell what it took to agree on it from what
    /// the next readings take.
    pub rest: Duration,
}

/// How the readings of one step were submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filled {
    /// The step that they were measured in, whose block is to hold them.
    pub step: u32,
    /// How many there were.
    pub readings: u32,
    /// From the first to the node's answer to the last.
    pub took_ms: u64,
    /// From then on to the step's end.
    pub before_closure_ms: u64,
}

/// A node of the network.
struct Follower {
    endpoint: Endpoint,
    client: WsClient,
    heads: Subscription<Head>,
    best: u32,
}

impl Follower {
    async fn connect(endpoint: Endpoint) -> Result<Self> {
        let client = endpoint.connect().await?;
        let mut heads = follow_heads(&client).await?;
        let best = next_head(&mut heads).await?;
        Ok(Self {
            endpoint,
            client,
            heads,
            best,
        })
    }

    async fn wait_for(&mut self, block: u32) -> Result<()> {
        while self.best < block {
            self.best = next_head(&mut self.heads).await?;
        }
        Ok(())
    }

    /// Submits some readings of a step, those of the devices in turn.
    async fn submit(
        &self,
        devices: &mut [Device],
        count: usize,
        step: Step,
        in_flight: usize,
    ) -> Result<()> {
        let counters = Counters::default();
        let devices_count = devices.len().max(1);
        let mut running = FuturesUnordered::new();
        for turn in 0..count {
            let device = devices
                .get_mut(turn % devices_count)
                .ok_or_else(|| anyhow!("there are fewer meters than nodes: give more"))?;
            let transaction = device.sign(step, &self.endpoint.context);
            running.push(submit(&self.client, transaction, &counters));
            if running.len() >= in_flight {
                running.next().await.transpose()?;
            }
        }
        while running.next().await.transpose()?.is_some() {}
        Ok(())
    }
}

/// Submits readings in the next steps, tells of each step, and checks what the chain credits.
pub async fn fill(
    endpoints: &[Endpoint],
    fleet: &mut Fleet,
    plan: &FillingPlan,
    mut tell: impl FnMut(&Filled) -> Result<()>,
) -> Result<()> {
    let (per_step, steps) = (plan.per_step, plan.steps);
    let mut nodes = Vec::new();
    for endpoint in endpoints {
        nodes.push(Follower::connect(endpoint.clone()).await?);
    }
    let (first, timing) = match nodes.first() {
        Some(node) => (node.endpoint.clone(), node.endpoint.timing),
        None => return Err(anyhow!("no node was named")),
    };
    // The step that is open now may close any moment.
    let began = timing.step_at(now_ms()).0.saturating_add(1);
    let in_flight = fleet.in_flight();
    let mut parts = fleet.hand_out(nodes.len());
    for step in (began..).take(usize::try_from(steps)?).map(Step) {
        for node in &mut nodes {
            node.wait_for(step.0.saturating_sub(1)).await?;
        }
        tokio::time::sleep(plan.rest).await;
        let submitting = Instant::now();
        let shares = shares_of(usize::try_from(per_step)?, nodes.len());
        let all: FuturesUnordered<_> = nodes
            .iter()
            .zip(&mut parts)
            .zip(shares)
            .map(|((node, part), share)| node.submit(part, share, step, in_flight))
            .collect();
        let answers: Vec<_> = all.collect().await;
        answers.into_iter().collect::<Result<()>>()?;
        let before_closure_ms = timing
            .closes_at_ms(step)
            .checked_sub(now_ms())
            .with_context(|| {
                format!(
                    "step {} had closed when the last of its {per_step} readings was taken: longer steps or fewer readings are needed",
                    step.0
                )
            })?;
        tell(&Filled {
            step: step.0,
            readings: per_step,
            took_ms: u64::try_from(submitting.elapsed().as_millis())?,
            before_closure_ms,
        })?;
    }
    let last = Step(began.saturating_add(steps).saturating_sub(1));
    for node in &mut nodes {
        node.wait_for(last.0).await?;
    }
    fleet.take_back(parts.into_iter().flatten().collect(), last);
    let credited = fleet.credited(&first).await?;
    let submitted = u64::from(per_step).saturating_mul(u64::from(steps));
    ensure!(
        credited == submitted,
        "{submitted} readings were taken, but the chain credits {credited} Wh for them when all steps have their blocks"
    );
    Ok(())
}

/// Splits a number into parts that differ by one at most.
fn shares_of(count: usize, parts: usize) -> impl Iterator<Item = usize> {
    let (share, rest) = (
        count.checked_div(parts).unwrap_or_default(),
        count.checked_rem(parts).unwrap_or_default(),
    );
    (0..parts).map(move |part| share + usize::from(part < rest))
}

/// Connects to all nodes, to ask each about its chain, and checks that it is the same.
pub async fn endpoints_of(urls: &[String]) -> Result<Vec<Endpoint>> {
    let endpoints: Vec<Result<Endpoint>> = stream::iter(urls)
        .then(|url| Endpoint::new(url))
        .collect()
        .await;
    let endpoints = endpoints.into_iter().collect::<Result<Vec<_>>>()?;
    let mut hashes = endpoints.iter().map(|one| one.context.genesis_hash);
    let first = hashes.next();
    ensure!(
        hashes.all(|hash| Some(hash) == first),
        "the nodes are of different chains"
    );
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_goes_to_one_node() {
        assert_eq!(shares_of(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(shares_of(3, 4).collect::<Vec<_>>(), [1, 1, 1, 0]);
        assert_eq!(shares_of(8, 4).sum::<usize>(), 8);
        assert_eq!(shares_of(8, 0).count(), 0);
    }
}
