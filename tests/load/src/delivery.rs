//! Subscriptions to heads: how soon after a block its subscribers hear of it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use commonwatt_primitives::{Step, StepTiming};
use futures::future::try_join_all;
use jsonrpsee::{
    core::client::{Subscription, SubscriptionClientT},
    rpc_params,
};
use jsonrpsee_ws_client::WsClient;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::{
    client::Endpoint,
    latency::{Latencies, Summary},
    node::Announcements,
};

/// How subscribers were told of blocks.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// How many followed the heads, each on a connection of its own.
    pub subscribers: usize,
    /// From the first sign of a block, a line of the node or a message, to each message.
    pub after_block: Summary,
    /// From the time at which a block is to be made to each message about it.
    pub after_due: Summary,
}

/// The part of a header that is looked at.
#[derive(Deserialize)]
struct Head {
    number: String,
}

/// A message about a block.
struct Told {
    step: u32,
    at: Instant,
    after_due: Duration,
}

/// Connections that follow the heads.
pub struct Subscribers {
    tasks: Vec<JoinHandle<()>>,
    told: std::sync::Arc<parking_lot::Mutex<Vec<Told>>>,
}

impl Subscribers {
    /// Connects and subscribes.
    pub async fn connect(endpoint: &Endpoint, count: usize) -> Result<Self> {
        let subscribe = (0..count).map(|_| async {
            let client = endpoint.connect().await?;
            let heads: Subscription<Head> = client
                .subscribe(
                    "chain_subscribeNewHeads",
                    rpc_params![],
                    "chain_unsubscribeNewHeads",
                )
                .await?;
            anyhow::Ok((client, heads))
        });
        let told = std::sync::Arc::default();
        let tasks = try_join_all(subscribe)
            .await?
            .into_iter()
            .map(|(client, heads)| {
                let told = std::sync::Arc::clone(&told);
                let timing = endpoint.timing;
                tokio::spawn(follow(client, heads, timing, told))
            })
            .collect();
        Ok(Self { tasks, told })
    }

    /// Ends the subscriptions and sums up.
    pub fn finish(self, announcements: &Announcements) -> Delivery {
        self.tasks.iter().for_each(JoinHandle::abort);
        let announced = announcements.lock();
        let told = self.told.lock();
        let mut first: BTreeMap<u32, Instant> = BTreeMap::new();
        for Told { step, at, .. } in told.iter() {
            let known = first.entry(*step).or_insert(*at);
            *known = (*known).min(*at);
        }
        for (step, known) in &mut first {
            if let Some(at) = announced.get(step) {
                *known = (*known).min(*at);
            }
        }
        let (mut after_block, mut after_due) = (Latencies::default(), Latencies::default());
        for message in told.iter() {
            let sign = first.get(&message.step).copied().unwrap_or(message.at);
            after_block.add(message.at.saturating_duration_since(sign));
            after_due.add(message.after_due);
        }
        Delivery {
            subscribers: self.tasks.len(),
            after_block: after_block.summarize(),
            after_due: after_due.summarize(),
        }
    }
}

async fn follow(
    client: WsClient,
    mut heads: Subscription<Head>,
    timing: StepTiming,
    told: std::sync::Arc<parking_lot::Mutex<Vec<Told>>>,
) {
    // The first message is about a block that was there before.
    let mut is_first = true;
    while let Some(Ok(head)) = heads.next().await {
        let (at, now) = (Instant::now(), SystemTime::now());
        let number = head.number.trim_start_matches("0x");
        if let (false, Ok(step)) = (is_first, u32::from_str_radix(number, 16)) {
            let due = UNIX_EPOCH + Duration::from_millis(timing.settles_at_ms(Step(step)));
            let after_due = now.duration_since(due).unwrap_or_default();
            told.lock().push(Told {
                step,
                at,
                after_due,
            });
        }
        is_first = false;
    }
    drop(client);
}
