//! A chain of the papers' example community, a server on it, and clients.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use commonwatt_chain::{Authored, Chain, ChainConfig, SessionPairs, Validators};
use commonwatt_executor::{BuildLimits, Executor};
use commonwatt_primitives::{Quality, Step, StepTiming, Wh, digest::Punctuality};
use commonwatt_rpc::{ChainType, NodeInfo, NodeRole, RpcConfig, RpcServer, Services, start_with};
use commonwatt_runtime::{
    RuntimeCall,
    example::{beacon_pair, genesis, pair},
    genesis::CommunityGenesis,
    transaction::{SigningContext, sign_ed25519},
};
use commonwatt_storage::{ChainDb, CommitMode, DbConfig, StatePruning};
use frame_support::storage::storage_prefix;
use jsonrpsee::core::{
    ClientError,
    client::{ClientT, Subscription, SubscriptionClientT},
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use pallet_energy_token::{Measurement, Report};
use serde_json::{Value, json, value::RawValue};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A chain with a server. Nothing makes blocks but [`TestNode::author`].
pub struct TestNode {
    pub chain: Arc<Chain>,
    pub server: RpcServer,
    timing: StepTiming,
    _folder: TempDir,
}

/// Everything configured for tests: any free port, quick pings.
pub fn config() -> RpcConfig {
    RpcConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..RpcConfig::default()
    }
}

pub fn info() -> NodeInfo {
    let properties = json!({ "ss58Format": 42, "tokenSymbol": "COIN", "tokenDecimals": 6 });
    NodeInfo {
        name: "Commonwatt".into(),
        version: "0.1.0-test".into(),
        chain_name: "Example".into(),
        chain_id: Some("example".into()),
        chain_type: ChainType::Development,
        properties: properties.as_object().expect("an object").clone(),
        roles: vec![NodeRole::Authority],
    }
}

impl TestNode {
    pub async fn start() -> Self {
        Self::start_with(config(), StatePruning::default()).await
    }

    pub async fn start_with(config: RpcConfig, pruning: StatePruning) -> Self {
        Self::start_lending(config, pruning, Services::default()).await
    }

    pub async fn start_lending(
        config: RpcConfig,
        pruning: StatePruning,
        services: Services,
    ) -> Self {
        Self::start_on(config, pruning, services, |_| {}).await
    }

    /// Starts on another genesis than the example's.
    pub async fn start_on(
        config: RpcConfig,
        pruning: StatePruning,
        services: Services,
        change: impl FnOnce(&mut CommunityGenesis),
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder for tests");
        let db_config = DbConfig {
            pruning,
            ..DbConfig::default()
        };
        let db =
            ChainDb::open(&folder.path().join("db"), db_config).expect("an empty folder opens");
        let mut genesis = genesis();
        change(&mut genesis);
        let storage = genesis.build_storage().expect("the example is valid");
        let mut chain = Chain::open(db, Executor::new(), storage, ChainConfig::default())
            .expect("an empty database opens");
        let lineup = chain.next_lineup().expect("block 1 has its author");
        let pairs = SessionPairs {
            vote: pair("X"),
            beacon: beacon_pair("X"),
        };
        let agreement = Validators::new(&lineup.validators[0], pairs).expect("X's own keys");
        chain.set_agreement(Arc::new(agreement));
        let chain = Arc::new(chain);
        let server = start_with(chain.clone(), info(), config, services)
            .await
            .expect("a free port");
        Self {
            chain,
            server,
            timing: genesis.timing,
            _folder: folder,
        }
    }

    /// Makes the next block.
    pub fn author(&self) -> Authored {
        let limits = BuildLimits {
            bytes_max: 1024 * 1024,
            misfits_max: 8,
            is_over: &|| false,
        };
        self.chain
            .author_next(
                &self.timing,
                Punctuality::OnTime,
                &limits,
                CommitMode::Durable,
            )
            .expect("a block can be made")
            .expect("by the only validator")
    }

    pub async fn client(&self) -> Client {
        let url = format!("ws://{}", self.server.local_addr());
        Client(
            WsClientBuilder::default()
                .build(url)
                .await
                .expect("the server listens"),
        )
    }

    /// Returns the encoded transaction of one of the example's keys.
    pub fn sign(&self, signer: &str, nonce: u32, call: RuntimeCall) -> Vec<u8> {
        let context = SigningContext::immortal(self.chain.genesis_hash());
        sign_ed25519(call, nonce, &context, &pair(signer))
    }

    /// Returns a signed reading of the device `A` or `B`.
    pub fn sign_reading(&self, device: &str, nonce: u32, step: u32, energy_wh: u64) -> Vec<u8> {
        self.sign(device, nonce, report(step, energy_wh))
    }

    /// Sends one HTTP request and returns the status, the head and the body of the answer.
    pub async fn http(&self, head: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.server.local_addr())
            .await
            .expect("it listens");
        let request = format!(
            "{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .expect("the server reads");
        let mut answer = Vec::new();
        // A server that refuses early may close while the request is still being sent.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).expect("an answer is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (
            status.expect("a status"),
            head.to_lowercase(),
            body.to_owned(),
        )
    }

    /// Posts a JSON-RPC request over HTTP.
    pub async fn post(&self, body: &str) -> (u16, String) {
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
        let (status, _, body) = self.http(head, body).await;
        (status, body)
    }
}

/// Returns the report of a step.
pub fn report(step: u32, energy_wh: u64) -> RuntimeCall {
    let reading = Measurement::Interval {
        energy: Wh(energy_wh),
        version: 1,
        quality: Quality::Measured,
    };
    let report = Report {
        step: Step(step),
        reading,
    };
    RuntimeCall::EnergyToken(pallet_energy_token::Call::report {
        sequence: u64::from(step),
        report,
    })
}

pub fn remark(text: &[u8]) -> RuntimeCall {
    RuntimeCall::System(frame_system::Call::remark {
        remark: text.to_vec(),
    })
}

pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Returns the key of a storage value.
pub fn storage_key(pallet: &str, value: &str) -> Vec<u8> {
    storage_prefix(pallet.as_bytes(), value.as_bytes()).to_vec()
}

/// A refusal: code, message and data.
#[derive(Debug)]
pub struct Refused {
    pub code: i32,
    pub message: String,
    pub data: String,
}

fn refused(error: ClientError) -> Refused {
    match error {
        ClientError::Call(error) => Refused {
            code: error.code(),
            message: error.message().to_owned(),
            data: error
                .data()
                .map(RawValue::get)
                .unwrap_or_default()
                .to_owned(),
        },
        other => panic!("no answer: {other}"),
    }
}

fn parameters(list: Value) -> Vec<Value> {
    list.as_array().expect("parameters are a list").clone()
}

/// A client over WebSocket.
pub struct Client(pub WsClient);

impl Client {
    pub async fn try_call(&self, method: &str, list: Value) -> Result<Value, Refused> {
        self.0
            .request(method, parameters(list))
            .await
            .map_err(refused)
    }

    pub async fn call(&self, method: &str, list: Value) -> Value {
        self.try_call(method, list)
            .await
            .unwrap_or_else(|refused| panic!("{method}: {refused:?}"))
    }

    pub async fn refusal(&self, method: &str, list: Value) -> Refused {
        match self.try_call(method, list).await {
            Ok(answer) => panic!("{method} answered {answer}"),
            Err(refused) => refused,
        }
    }

    pub async fn try_subscribe(
        &self,
        method: &str,
        list: Value,
        end: &str,
    ) -> Result<Subscription<Value>, Refused> {
        self.0
            .subscribe(method, parameters(list), end)
            .await
            .map_err(refused)
    }

    pub async fn subscribe(&self, method: &str, list: Value, end: &str) -> Subscription<Value> {
        let subscribed = self.try_subscribe(method, list, end).await;
        subscribed.unwrap_or_else(|refused| panic!("{method}: {refused:?}"))
    }
}

/// Returns the next message of a subscription.
pub async fn next(subscription: &mut Subscription<Value>) -> Value {
    tokio::time::timeout(Duration::from_secs(30), subscription.next())
        .await
        .expect("a message comes")
        .expect("the subscription is open")
        .expect("a message is JSON")
}
