//! A node, as any wallet sees it: JSON-RPC over a WebSocket, every answer bounded in size and time.
//!
//! ## Invariants
//! - Nothing is asked, and nothing signed, before the node's chain has proved to be one this wallet knows how to sign
//!   for: its genesis is the one that was named, its runtime's versions are the ones this wallet is built with.
//! - What a node says is shown without control characters, and cut.

use std::{future::Future, time::Duration};

use commonwatt_primitives::{AccountId, Hash, StepTiming};
use commonwatt_runtime::VERSION;
use jsonrpsee::{
    core::{
        client::{ClientT, Error as RpcError, Subscription, SubscriptionClientT},
        params::ArrayParams,
    },
    rpc_params,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    answers::{BlockNumber, Header},
    units::CoinFormat,
};

/// Time for a node to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for an answer: a node gives up on its own after 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// Largest answer that is read, as large as nodes give.
const ANSWER_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Largest request that is sent.
const REQUEST_BYTES_MAX: u32 = 1024 * 1024;
/// Notifications that may wait to be read.
const NEWS_MAX: usize = 1_024;
/// Requests at one time.
const REQUESTS_MAX: usize = 16;
/// Letters of what a node says that are shown.
const SAID_LETTERS_MAX: usize = 1_000;
/// What the WebSocket library says of a connection that the other side closed.
const CLOSED: &str = "CloseReason";
/// Code of an invalid transaction.
pub(crate) const INVALID_TRANSACTION: i32 = 1010;

/// Why a node is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Only the plain protocol is spoken.
    #[error(
        "{0:?} is no address this wallet can use: write ws://HOST:PORT; for a node behind TLS open a tunnel to it, such as \
         `ssh -L 9944:127.0.0.1:9944 HOST`"
    )]
    Url(String),
    /// Nobody answers.
    #[error(
        "no node can be reached at {url} ({cause}): start one, such as `commonwatt dev`, or name another with --url"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        cause: String,
    },
    /// The connection ended.
    #[error("the connection to the node ended ({0}): see whether it still runs, and try again")]
    Lost(String),
    /// No answer came in time.
    #[error(
        "the node did not answer {0} within {ANSWER_TIMEOUT:?}: try again when it is less busy"
    )]
    Deadline(&'static str),
    /// The node said no.
    #[error("{}", describe_refusal(.method, *.code, .message, .data.as_deref()))]
    Refused {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC's code.
        code: i32,
        /// What is wrong.
        message: String,
        /// The cause and what to do, if that was said.
        data: Option<String>,
    },
    /// The answer has another shape.
    #[error(
        "the node's answer to {method} is not understood ({cause}): node and wallet may be of different versions; use the \
         wallet that came with the node"
    )]
    Answer {
        /// What was asked.
        method: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// It is another chain than the one that was named.
    #[error(
        "the node at {url} has another chain: its genesis is {found:?}, and {named:?} was asked for; name the right node with \
         --url, or the right chain with --genesis"
    )]
    OtherChain {
        /// Where.
        url: String,
        /// Its genesis.
        found: Hash,
        /// The one that was asked for.
        named: Hash,
    },
    /// The chain's rules are others than this wallet's.
    #[error(
        "the chain runs {found}, and this wallet signs for {}: nothing was signed; take the wallet that came with the chain's \
         present version", describe_version(&VERSION.spec_name, VERSION.spec_version, VERSION.transaction_version)
    )]
    OtherRuntime {
        /// What the node executes.
        found: String,
    },
}

fn describe_refusal(method: &str, code: i32, message: &str, data: Option<&str>) -> String {
    let what = match code {
        INVALID_TRANSACTION => "the node does not take the transaction".to_owned(),
        -32601 => format!(
            "the node has no method {method}, so it is another version or no node of Commonwatt"
        ),
        _ => format!("the node refused {method}"),
    };
    match data {
        Some(data) => format!("{what}: {message}: {data}"),
        None => format!("{what}: {message}"),
    }
}

fn describe_version(name: &str, spec_version: u32, transaction_version: u32) -> String {
    format!("{name} of spec version {spec_version} and transaction version {transaction_version}")
}

/// Returns a stranger's text, cut and without what a terminal would obey.
pub fn harmless(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(SAID_LETTERS_MAX)
        .collect()
}

/// Which kind of chain a node says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// One to try things out on, whose keys may be public.
    Trial,
    /// One on which coins and energy are real.
    Live,
}

/// What a node says of its chain.
#[derive(Clone, Debug)]
pub struct ChainFacts {
    /// The chain's name.
    pub name: String,
    /// Whether it is for real.
    pub kind: ChainKind,
    /// The first block, by which it is known.
    pub genesis: Hash,
    /// How it writes its coin.
    pub coin: CoinFormat,
    /// When its steps close.
    pub timing: StepTiming,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    spec_name: String,
    spec_version: u32,
    transaction_version: u32,
}

/// A connection to a node whose chain fits.
pub struct Client {
    inner: WsClient,
    facts: ChainFacts,
}

impl Client {
    /// Connects to a node, and checks that its chain is the one that is meant and that this wallet can sign for it.
    pub async fn connect(url: &str, named: Option<Hash>) -> Result<Self, ClientError> {
        if !url.starts_with("ws://") {
            return Err(ClientError::Url(harmless(url)));
        }
        let unreachable = |cause: String| ClientError::Unreachable {
            url: harmless(url),
            cause: harmless(&cause),
        };
        let built = WsClientBuilder::default()
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(ANSWER_TIMEOUT)
            .max_response_size(ANSWER_BYTES_MAX)
            .max_request_size(REQUEST_BYTES_MAX)
            .max_concurrent_requests(REQUESTS_MAX)
            .max_buffer_capacity_per_subscription(NEWS_MAX)
            .build(url);
        let inner = tokio::time::timeout(CONNECT_TIMEOUT, built)
            .await
            .map_err(|_| unreachable(format!("nothing came within {CONNECT_TIMEOUT:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        let facts = Self::ask_facts(&inner, url, named).await?;
        Ok(Self { inner, facts })
    }

    async fn ask_facts(
        inner: &WsClient,
        url: &str,
        named: Option<Hash>,
    ) -> Result<ChainFacts, ClientError> {
        let genesis: Hash = ask(inner, "chain_getBlockHash", rpc_params![0]).await?;
        if let Some(named) = named
            && named != genesis
        {
            return Err(ClientError::OtherChain {
                url: harmless(url),
                found: genesis,
                named,
            });
        }
        let version: Version = ask(inner, "state_getRuntimeVersion", rpc_params![]).await?;
        let fits = version.spec_name == *VERSION.spec_name
            && version.spec_version == VERSION.spec_version
            && version.transaction_version == VERSION.transaction_version;
        if !fits {
            let found = describe_version(
                &version.spec_name,
                version.spec_version,
                version.transaction_version,
            );
            return Err(ClientError::OtherRuntime {
                found: harmless(&found),
            });
        }
        let name: String = ask(inner, "system_chain", rpc_params![]).await?;
        let kind: Value = ask(inner, "system_chainType", rpc_params![]).await?;
        let properties: Map<String, Value> = ask(inner, "system_properties", rpc_params![]).await?;
        let timing: StepTiming = ask(inner, "energy_timing", rpc_params![]).await?;
        timing.verify().map_err(|error| ClientError::Answer {
            method: "energy_timing",
            cause: error.to_string(),
        })?;
        Ok(ChainFacts {
            name: harmless(&name),
            kind: match kind.as_str() {
                Some("Development" | "Local") => ChainKind::Trial,
                _ => ChainKind::Live,
            },
            genesis,
            coin: coin_of(&properties)?,
            timing,
        })
    }

    /// Returns what the node says of its chain.
    pub fn facts(&self) -> &ChainFacts {
        &self.facts
    }

    /// Asks the node.
    pub async fn ask<Answer: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: ArrayParams,
    ) -> Result<Answer, ClientError> {
        ask(&self.inner, method, parameters).await
    }

    /// Asks to be told of something until the subscription is dropped.
    pub async fn follow<News: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: ArrayParams,
        end: &'static str,
    ) -> Result<Subscription<News>, ClientError> {
        let asked = self.inner.subscribe(method, parameters, end);
        in_time(method, asked).await
    }

    /// Returns the next transaction's number of an account, pending ones counted.
    pub async fn nonce(&self, account: &AccountId) -> Result<u32, ClientError> {
        self.ask("system_accountNextIndex", rpc_params![account.to_string()])
            .await
    }

    /// Returns number and hash of the best block, which is final.
    pub async fn best(&self) -> Result<(u32, Hash), ClientError> {
        let hash: Hash = self.ask("chain_getFinalizedHead", rpc_params![]).await?;
        let header: Header = self.ask("chain_getHeader", rpc_params![hash]).await?;
        let BlockNumber(number) = header.number;
        Ok((number, hash))
    }

    /// Returns the hash of a block that is there.
    pub async fn block_hash(&self, number: u32) -> Result<Hash, ClientError> {
        self.ask("chain_getBlockHash", rpc_params![number]).await
    }
}

async fn ask<Answer: DeserializeOwned>(
    inner: &WsClient,
    method: &'static str,
    parameters: ArrayParams,
) -> Result<Answer, ClientError> {
    in_time(method, inner.request(method, parameters)).await
}

/// Waits for an answer, and says what is wrong when none comes.
async fn in_time<Answer>(
    method: &'static str,
    asked: impl Future<Output = Result<Answer, RpcError>>,
) -> Result<Answer, ClientError> {
    tokio::time::timeout(ANSWER_TIMEOUT, asked)
        .await
        .map_err(|_| ClientError::Deadline(method))?
        .map_err(|error| match error {
            RpcError::Call(error) => ClientError::Refused {
                method,
                code: error.code(),
                message: harmless(error.message()),
                data: error.data().map(|data| say_data(data.get())),
            },
            RpcError::RequestTimeout => ClientError::Deadline(method),
            RpcError::ParseError(error) => ClientError::Answer {
                method,
                cause: harmless(&error.to_string()),
            },
            error => ClientError::Lost(describe_loss(&error)),
        })
}

/// Says how a connection ended.
fn describe_loss(error: &RpcError) -> String {
    let cause = match error {
        RpcError::RestartNeeded(cause) => cause.to_string(),
        RpcError::ServiceDisconnect => return "it was closed".to_owned(),
        error => error.to_string(),
    };
    // The code that a WebSocket is closed with says nothing more to a person.
    match cause.contains(CLOSED) {
        true => "the node closed it".to_owned(),
        false => harmless(&cause),
    }
}

/// Returns an error's data for people: a string without its quotation marks, anything else as it is.
fn say_data(raw: &str) -> String {
    let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
    harmless(&text)
}

fn coin_of(properties: &Map<String, Value>) -> Result<CoinFormat, ClientError> {
    let symbol = properties.get("tokenSymbol").and_then(Value::as_str);
    let decimals = properties
        .get("tokenDecimals")
        .and_then(Value::as_u64)
        .and_then(|decimals| u32::try_from(decimals).ok());
    match (symbol, decimals) {
        (None, None) => Ok(CoinFormat::default()),
        (Some(symbol), Some(decimals)) => {
            CoinFormat::new(symbol, decimals).ok_or_else(|| ClientError::Answer {
                method: "system_properties",
                cause: "tokenSymbol or tokenDecimals make no sense".to_owned(),
            })
        }
        _ => Err(ClientError::Answer {
            method: "system_properties",
            cause: "tokenSymbol and tokenDecimals belong together".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_node_says_cannot_move_the_cursor() {
        assert_eq!(harmless("a\u{1b}[2Jb\r\nc"), "a[2Jbc");
        assert_eq!(harmless(&"x".repeat(5_000)).len(), SAID_LETTERS_MAX);
        assert_eq!(say_data("\"a cause\""), "a cause");
        assert_eq!(say_data("{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn a_chain_names_its_coin_or_has_the_usual_one() {
        let of = |value: Value| coin_of(value.as_object().unwrap());
        assert_eq!(of(json!({})).unwrap(), CoinFormat::default());
        let euro = of(json!({"tokenSymbol": "EUR", "tokenDecimals": 2})).unwrap();
        assert_eq!(euro.show(5), "0.05 EUR");
        assert!(of(json!({"tokenSymbol": "EUR"})).is_err());
        assert!(of(json!({"tokenSymbol": "E\u{7}", "tokenDecimals": 2})).is_err());
        assert!(of(json!({"tokenSymbol": "EUR", "tokenDecimals": 1_000})).is_err());
    }

    #[test]
    fn a_refusal_says_cause_and_mend() {
        let refusal = ClientError::Refused {
            method: "author_submitAndWatchExtrinsic",
            code: INVALID_TRANSACTION,
            message: "Invalid Transaction".into(),
            data: Some("account not registered: ask the DSO to register it".into()),
        };
        assert_eq!(
            refusal.to_string(),
            "the node does not take the transaction: Invalid Transaction: account not registered: ask the DSO to register it"
        );
    }

    #[test]
    fn the_end_of_a_connection_is_told_in_words() {
        let lost = |cause: &str| {
            let cause = RpcError::Transport(cause.to_owned().into());
            describe_loss(&RpcError::RestartNeeded(std::sync::Arc::new(cause)))
        };
        let closed = "Connection was closed: CloseReason { code: 1000, descr: None }";
        assert_eq!(lost(closed), "the node closed it");
        assert_eq!(
            lost("The message was too large"),
            "The message was too large"
        );
        assert_eq!(describe_loss(&RpcError::ServiceDisconnect), "it was closed");
    }

    #[tokio::test]
    async fn an_address_that_cannot_work_is_refused_with_what_to_do() {
        let refused = |url: &'static str| async move {
            Client::connect(url, None)
                .await
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        let text = refused("wss://example.org").await;
        assert!(text.contains("ssh -L"), "{text}");
        // Nobody listens at port 1.
        let text = refused("ws://127.0.0.1:1").await;
        assert!(text.contains("commonwatt dev"), "{text}");
    }
}
