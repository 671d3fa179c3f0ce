#![allow(missing_docs, clippy::unwrap_used)]
#[allow(dead_code)]
#[path = "../tests/server/support.rs"]
mod support;
use commonwatt_rpc::{ChainType, NodeInfo, NodeRole, RpcConfig};
#[tokio::main]
async fn main() {
    let config = RpcConfig { listen: ([127, 0, 0, 1], 9977).into(), ..support::config() };
    let node = support::TestNode::start_with(config, Default::default()).await;
    let _ = (ChainType::Live, NodeRole::Full, None::<NodeInfo>);
    for _ in 0..400 {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        node.author();
    }
}
