//! Questions to a node.

use std::time::{Duration, Instant};

use jsonrpsee::{
    core::client::{ClientT, Subscription, SubscriptionClientT},
    rpc_params,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use serde_json::Value;

fn with_client<Output>(url: &str, ask: impl AsyncFnOnce(WsClient) -> Output) -> Output {
    tokio::runtime::Runtime::new()
        .expect("threads")
        .block_on(async {
            let client = WsClientBuilder::default()
                .build(url)
                .await
                .expect("the node answers");
            ask(client).await
        })
}

/// Asks for the hash of a block.
pub fn block_hash(url: &str, number: u32) -> Option<String> {
    with_client(url, async |client| {
        client
            .request("chain_getBlockHash", rpc_params![number])
            .await
            .expect("a hash or null")
    })
}

/// Asks what needs no arguments.
pub fn ask(url: &str, method: &str) -> Value {
    with_client(url, async |client| {
        client
            .request(method, rpc_params![])
            .await
            .expect("an answer")
    })
}

/// Asks for the number of the best block.
pub fn best(url: &str) -> u32 {
    let header = ask(url, "chain_getHeader");
    let number = header["number"].as_str().expect("a number");
    u32::from_str_radix(number.trim_start_matches("0x"), 16).expect("digits")
}

/// Waits until the node has block `number`, however many come between.
pub fn wait_for_block(url: &str, number: u32, patience: Duration) {
    let deadline = Instant::now() + patience;
    with_client(url, async |client| {
        let mut heads: Subscription<Value> = client
            .subscribe(
                "chain_subscribeFinalizedHeads",
                rpc_params![],
                "chain_unsubscribeFinalizedHeads",
            )
            .await
            .expect("heads are told");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let head = tokio::time::timeout(left, heads.next())
                .await
                .unwrap_or_else(|_| panic!("block {number} does not come"))
                .expect("the node goes on")
                .expect("a head");
            let found = head["number"].as_str().expect("a number");
            let found = u32::from_str_radix(found.trim_start_matches("0x"), 16).expect("digits");
            if found >= number {
                return;
            }
        }
    });
}
