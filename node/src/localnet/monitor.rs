//! Asks the nodes of a local network how they are, as anybody could: over JSON-RPC and their metrics.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use codec::Decode;
use commonwatt_consensus::Certificate;
use commonwatt_primitives::Step;
use commonwatt_runtime::Hash;
use jsonrpsee::{core::client::ClientT, rpc_params};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use pallet_double_auction::{HistoryEntry, MarketContract};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    book::{BlockFacts, Book, Contradiction, MarketFacts},
    plan::PlannedNode,
    process::{Phase, reaches},
};
use crate::traders::ask_runtime;

/// How often a node is asked.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long a node may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Blocks that are asked for at one time, so that a node that catches up is not kept from it.
const BLOCKS_ASKED_MAX: u32 = 256;

/// Largest answer of the metrics, in bytes.
const METRICS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Whether it answered the last time it was asked.
    pub answers: bool,
    /// Whether it did since its process was started.
    pub has_answered: bool,
    /// Its peers.
    pub peers: u32,
    /// Its last block, if it has told of one.
    pub best: Option<(u32, Hash)>,
    /// Transactions in its pool.
    pub pool: Option<u64>,
}

/// Watches a node until the network ends.
pub struct Monitor {
    /// Its place among the nodes.
    pub place: usize,
    /// The node.
    pub node: PlannedNode,
    /// What it says.
    pub view: Arc<Mutex<View>>,
    /// What all say of the chain.
    pub book: Arc<Mutex<Book>>,
    /// Whether the network runs.
    pub phase: watch::Receiver<Phase>,
    /// Who is told of contradictions.
    pub contradictions: mpsc::UnboundedSender<Contradiction>,
}

#[derive(Deserialize)]
struct Health {
    peers: u32,
}

#[derive(Deserialize)]
struct Header {
    number: String,
}

#[derive(Deserialize)]
struct SignedBlock {
    justifications: Option<Vec<([u8; 4], Vec<u8>)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Auction {
    is_void: bool,
    ranking: Vec<Candidate>,
    excluded: Vec<Candidate>,
    outcome: Option<Outcome>,
}

#[derive(Deserialize)]
struct Candidate {
    account: String,
    offered: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    author: String,
    author_rank: u32,
    is_late: bool,
}

impl Auction {
    /// Returns what it tells of the block of its height; `None` as long as there is none.
    fn into_facts(self, round: Option<u32>) -> Option<BlockFacts> {
        let outcome = self.outcome?;
        let rank = usize::try_from(outcome.author_rank).unwrap_or(usize::MAX);
        let missed = match self.is_void || outcome.is_late {
            true => Vec::new(),
            false => self
                .ranking
                .iter()
                .take(rank)
                .map(|candidate| candidate.account.clone())
                .collect(),
        };
        let bidders = self
            .ranking
            .into_iter()
            .chain(self.excluded)
            .filter(|candidate| candidate.offered != "0")
            .map(|candidate| candidate.account)
            .collect();
        Some(BlockFacts {
            author: outcome.author,
            rank: outcome.author_rank,
            round,
            is_late: outcome.is_late,
            bidders,
            missed,
            market: None,
        })
    }
}

impl Monitor {
    /// Asks again and again until the network ends.
    pub async fn run(mut self) {
        let mut phase = self.phase.clone();
        tokio::select! {
            () = self.watch() => {}
            () = reaches(&mut phase, Phase::End) => {}
        }
        self.view.lock().answers = false;
    }

    async fn watch(&mut self) {
        let url = format!("ws://127.0.0.1:{}", self.node.ports.rpc);
        // The next height to compare: from where the node stands when it is first asked.
        let mut next = None;
        loop {
            let client = WsClientBuilder::default()
                .connection_timeout(PATIENCE)
                .request_timeout(PATIENCE)
                .build(&url)
                .await;
            if let Ok(client) = client {
                while self.ask(&client, &mut next).await.is_ok() {
                    tokio::time::sleep(INTERVAL).await;
                }
            }
            self.view.lock().answers = false;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Asks once for everything.
    async fn ask(&mut self, client: &WsClient, next: &mut Option<u32>) -> Result<()> {
        let health: Health = client.request("system_health", rpc_params![]).await?;
        let best: Hash = client
            .request("chain_getFinalizedHead", rpc_params![])
            .await?;
        let header: Header = client.request("chain_getHeader", rpc_params![best]).await?;
        let height = u32::from_str_radix(header.number.trim_start_matches("0x"), 16)
            .with_context(|| format!("{:?} is no number", header.number))?;
        // Optional: a node may run without metrics.
        let pool = timeout(PATIENCE, read_pool(self.node.ports.metrics))
            .await
            .ok()
            .and_then(Result::ok);
        *self.view.lock() = View {
            answers: true,
            has_answered: true,
            peers: health.peers,
            best: Some((height, best)),
            pool,
        };
        self.compare(client, height, next).await
    }

    /// Compares the node's blocks with the others', up to `height`.
    async fn compare(
        &mut self,
        client: &WsClient,
        height: u32,
        next: &mut Option<u32>,
    ) -> Result<()> {
        let from = next.unwrap_or(height).min(height.saturating_add(1));
        let until = height.min(from.saturating_add(BLOCKS_ASKED_MAX - 1));
        let numbers: Vec<u32> = (from..=until).collect();
        if numbers.is_empty() {
            return Ok(());
        }
        let hashes: Vec<Option<Hash>> = client
            .request("chain_getBlockHash", rpc_params![&numbers])
            .await?;
        for (height, hash) in numbers.into_iter().zip(hashes) {
            let hash = hash.ok_or_else(|| anyhow!("block {height} is gone"))?;
            let contradiction = self.book.lock().note_block(self.place, height, hash);
            if let Some(contradiction) = contradiction {
                // Nobody listens any more once the network ends.
                let _ = self.contradictions.send(contradiction);
            }
            if height > 0 && self.book.lock().is_wanted(height, hash) {
                let facts = ask_facts(client, height, hash).await?;
                self.book.lock().note_facts(height, hash, facts);
            }
        }
        *next = Some(until.saturating_add(1));
        Ok(())
    }
}

async fn ask_facts(client: &WsClient, height: u32, hash: Hash) -> Result<BlockFacts> {
    let block: Option<SignedBlock> = client.request("chain_getBlock", rpc_params![hash]).await?;
    let round = block
        .and_then(|block| block.justifications)
        .and_then(|proofs| Certificate::decode(&mut &*proofs.into_iter().next()?.1).ok())
        .map(|certificate| certificate.round);
    let auction: Option<Auction> = client
        .request("auction_auction", rpc_params![height, hash])
        .await?;
    let facts = auction
        .and_then(|auction| auction.into_facts(round))
        .ok_or_else(|| anyhow!("the node does not tell the outcome of auction {height}"))?;
    Ok(BlockFacts {
        market: ask_market(client, height, hash).await?,
        ..facts
    })
}

/// Returns how the market of a block's step ended; `None` when nobody had an order.
async fn ask_market(client: &WsClient, height: u32, hash: Hash) -> Result<Option<MarketFacts>> {
    let question = (Step(height), 1u32);
    let history: Vec<HistoryEntry> =
        ask_runtime(client, "MarketApi_history", question, Some(hash)).await?;
    let Some(entry) = history.first() else {
        return Ok(None);
    };
    let contract: MarketContract = ask_runtime(client, "MarketApi_market", (), Some(hash)).await?;
    Ok(Some(MarketFacts::new(entry, contract.unit)))
}

/// Returns how many transactions the pool holds, by the node's metrics.
async fn read_pool(port: u16) -> Result<u64> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection
        .take(METRICS_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    sum_pool(&String::from_utf8_lossy(&answer))
}

fn sum_pool(metrics: &str) -> Result<u64> {
    let values: Vec<u64> = metrics
        .lines()
        .filter(|line| line.starts_with("commonwatt_pool_transactions{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    if values.is_empty() {
        bail!("the node's metrics do not tell of its pool");
    }
    Ok(values.into_iter().fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auction(is_void: bool, is_late: bool) -> Auction {
        let text = format!(
            r#"{{"height": 5, "isVoid": {is_void}, "bidders": 2,
                "ranking": [{{"account": "a", "offered": "30", "age": 1}}, {{"account": "b", "offered": "5"}},
                            {{"account": "c", "offered": "0"}}],
                "excluded": [{{"account": "d", "offered": "2", "reason": "authoredBefore"}}],
                "outcome": {{"author": "b", "authorRank": 1, "isLate": {is_late}, "pot": "35"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_block_tells_who_bid_and_whose_turn_passed() {
        let facts = auction(false, false).into_facts(Some(1)).unwrap();
        assert_eq!(facts.bidders, ["a", "b", "d"]);
        assert_eq!(facts.missed, ["a"]);
        assert_eq!((facts.rank, facts.round), (1, Some(1)));
    }

    #[test]
    fn nobody_misses_a_turn_of_a_void_auction_or_of_a_late_block() {
        for (is_void, is_late) in [(true, false), (false, true)] {
            let facts = auction(is_void, is_late).into_facts(None).unwrap();
            assert!(facts.missed.is_empty());
        }
    }

    #[test]
    fn the_pool_is_what_all_its_lanes_hold() {
        let metrics = "# HELP commonwatt_pool_transactions …\n\
            commonwatt_pool_transactions{chain=\"a\",lane=\"reading\",state=\"ready\"} 57\n\
            commonwatt_pool_transactions{chain=\"a\",lane=\"other\",state=\"future\"} 2\n\
            commonwatt_pool_bytes{chain=\"a\"} 9000\n";
        assert_eq!(sum_pool(metrics).unwrap(), 59);
        assert!(sum_pool("HTTP/1.1 404 Not Found").is_err());
    }
}
