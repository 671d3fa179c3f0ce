//! Reads of single values.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use jsonrpsee::{core::client::ClientT, rpc_params};
use serde::Serialize;

use crate::{
    client::Endpoint,
    latency::{Latencies, Summary},
};

/// Keys that are read in turn: one page of what the node tells.
const KEYS: u32 = 1_000;

/// How reading went.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reads {
    /// Connections that read, one value at a time.
    pub connections: usize,
    /// Values read a second.
    pub per_second: f64,
    /// From the question to the answer.
    pub latency: Summary,
}

/// Reads values on `connections` connections for a while.
pub async fn measure(endpoint: &Endpoint, connections: usize, duration: Duration) -> Result<Reads> {
    let client = endpoint.connect().await?;
    let keys: Vec<String> = client
        .request("state_getKeysPaged", rpc_params!["0x", KEYS])
        .await?;
    ensure!(!keys.is_empty(), "the node has no state");
    let began = Instant::now();
    let until = began + duration;
    let read = (0..connections).map(|index| {
        let keys = &keys;
        async move {
            let client = endpoint.connect().await?;
            let mut latencies = Latencies::default();
            // Every connection begins elsewhere, so that they don't read the same value at one time.
            let start = index.saturating_mul(keys.len()) / connections.max(1);
            for key in keys.iter().cycle().skip(start) {
                let asked = Instant::now();
                if asked >= until {
                    break;
                }
                let _: Option<String> =
                    client.request("state_getStorage", rpc_params![key]).await?;
                latencies.add(asked.elapsed());
            }
            anyhow::Ok(latencies)
        }
    });
    let mut all = Latencies::default();
    try_join_all(read)
        .await?
        .into_iter()
        .for_each(|some| all.append(some));
    let elapsed = began.elapsed();
    let latency = all.summarize();
    Ok(Reads {
        connections,
        per_second: latency.count as f64 / elapsed.as_secs_f64(),
        latency,
    })
}
