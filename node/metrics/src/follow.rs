//! The task that looks at each new block.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use commonwatt_chain::HealthCheck;
use tokio::{
    sync::broadcast::error::RecvError,
    task::{JoinHandle, spawn_blocking},
};

use crate::Metrics;

/// Follows the chain until it is dropped.
#[derive(Debug)]
pub struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has each new block noted in the figures. Called within a tokio runtime.
pub fn follow(metrics: Arc<Metrics>, check: HealthCheck) -> Follower {
    let mut heads = check.chain().subscribe_heads();
    Follower(tokio::spawn(async move {
        loop {
            let head = match heads.recv().await {
                Ok(head) => head,
                Err(RecvError::Lagged(missed)) => {
                    metrics.note_missed(missed);
                    continue;
                }
                Err(RecvError::Closed) => return,
            };
            let at_ms = now_ms();
            let (metrics, check) = (metrics.clone(), check.clone());
            // On a thread with room for the runtime; should it panic, the next block is looked at all the same.
            let noted = spawn_blocking(move || metrics.note_head(&check, &head, at_ms)).await;
            if let Err(error) = noted {
                tracing::error!(%error, "a block is missing in the metrics");
            }
        }
    }))
}

/// Returns the system's clock in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
