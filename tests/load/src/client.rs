//! Connections to the node.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use commonwatt_primitives::{Hash, StepTiming};
use commonwatt_runtime::transaction::SigningContext;
use jsonrpsee::{core::client::ClientT, rpc_params};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};

/// How long an answer may take. Under load they take long; that is what is measured.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is taken: a full block in hexadecimal.
const ANSWER_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// Messages a subscription may be behind.
const UNREAD_MAX: usize = 4_096;

/// A node, and what must be known of its chain.
#[derive(Clone)]
pub struct Endpoint {
    url: Arc<str>,
    /// When its steps close.
    pub timing: StepTiming,
    /// What transactions are signed for.
    pub context: SigningContext,
}

impl Endpoint {
    /// Asks the node at `url` about its chain.
    pub async fn new(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let timing = client
            .request("energy_timing", rpc_params![])
            .await
            .context("the node does not tell its timing")?;
        let genesis_hash: Hash = client
            .request("chain_getBlockHash", rpc_params![0])
            .await
            .context("the node does not tell its genesis hash")?;
        Ok(Self {
            url: url.into(),
            timing,
            context: SigningContext::immortal(genesis_hash),
        })
    }

    /// Opens one more connection.
    pub async fn connect(&self) -> Result<WsClient> {
        connect(&self.url).await
    }
}

async fn connect(url: &str) -> Result<WsClient> {
    WsClientBuilder::default()
        .request_timeout(REQUEST_TIMEOUT)
        .max_response_size(ANSWER_BYTES_MAX)
        .max_buffer_capacity_per_subscription(UNREAD_MAX)
        .build(url)
        .await
        .with_context(|| format!("cannot connect to the node at {url}"))
}
