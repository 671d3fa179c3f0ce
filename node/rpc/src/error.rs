//! Why the server does not start, and what callers are told.

use std::{fmt, io, net::SocketAddr, time::Duration};

use commonwatt_chain::ChainError;
use commonwatt_executor::CallError;
use commonwatt_storage::{StateError, StorageError};
use commonwatt_txpool::{PoolError, Refusal};
use jsonrpsee::{
    server::{RegisterMethodError, middleware::http::AuthorityError},
    types::{
        ErrorObject, ErrorObjectOwned,
        error::{INVALID_PARAMS_CODE, INVALID_REQUEST_CODE},
    },
};
use sp_runtime::transaction_validity::InvalidTransaction;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen for JSON-RPC on {address}: {source}; another node may be using the port: stop it, or \
         choose another with --rpc-port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// A name in [`crate::Hosts::Only`] is none.
    #[error("the host {host:?} cannot be used: {source}; write it as name, name:port or name:*")]
    Host {
        /// What was given.
        host: String,
        /// What is wrong with it.
        source: AuthorityError,
    },
    /// The chain does not say when its steps close.
    #[error("the chain cannot be asked when its steps close: {0}")]
    Chain(#[from] ChainError),
    /// Two methods have one name: a fault of the software.
    #[error("the methods could not be registered: {0}")]
    Register(#[from] RegisterMethodError),
}

/// What a caller is told: code, message, and in `data` the cause and the mend where the message alone does not
/// say them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    code: i32,
    message: String,
    data: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.data {
            Some(data) => write!(f, ": {data}"),
            None => Ok(()),
        }
    }
}

/// The answer to a call.
pub(crate) type Answer<T> = Result<T, Fault>;

/// The caller has to wait; of the range JSON-RPC leaves to servers.
const BUSY: i32 = -32000;
/// The answer takes longer than it may.
const TOO_SLOW: i32 = -32001;
/// The method needs a WebSocket.
const NO_WEBSOCKET: i32 = -32002;
/// What the method works with is not there.
const UNAVAILABLE: i32 = -32003;
/// jsonrpsee's code of too many subscriptions.
const TOO_MANY_SUBSCRIPTIONS: i32 = -32006;
/// The node has to be mended.
const INTERNAL: i32 = -32603;
/// Substrate's code of a method that is not for everybody.
const UNSAFE: i32 = -32601;
/// Substrate's code of a block that cannot be read.
const CHAIN: i32 = 3000;
/// Substrate's code of too large a count.
const TOO_MANY: i32 = 4002;
/// Substrate's code of a state that cannot be read, or a call that fails.
const STATE: i32 = 4003;

impl Fault {
    /// Returns a fault of any code.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// Adds the cause and the mend.
    pub(crate) fn with_data(mut self, data: impl Into<String>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// The parameters are not what the method takes.
    pub(crate) fn parameters(message: impl Into<String>) -> Self {
        Self::new(
            INVALID_PARAMS_CODE,
            format!("Invalid params: {}", message.into()),
        )
    }

    /// More of something was asked for than one call gives.
    pub(crate) fn too_many(what: &str, asked: usize, max: usize) -> Self {
        Self::new(
            TOO_MANY,
            format!("{asked} {what} asked for, one call takes at most {max}"),
        )
        .with_data("ask in several calls")
    }

    /// There is more of something than one call gives.
    pub(crate) fn more_than(max: usize, what: &str, mend: &str) -> Self {
        Self::new(TOO_MANY, format!("there are more than {max} {what}")).with_data(mend)
    }

    /// The method is not for everybody.
    pub(crate) fn unsafe_method() -> Self {
        Self::new(UNSAFE, "RPC call is unsafe to be called externally").with_data(
            "it can harm the node or keep it busy: call it from the node's own machine, or start the node with \
             --rpc-methods unsafe",
        )
    }

    /// Too many callers at once.
    pub(crate) fn busy(waiting: usize) -> Self {
        Self::new(BUSY, "the node is busy").with_data(format!(
            "{waiting} requests are waiting already: try again in a moment"
        ))
    }

    /// The answer takes longer than it may.
    pub(crate) fn too_slow(limit: Duration) -> Self {
        Self::new(TOO_SLOW, "the answer takes too long").with_data(format!(
            "it was given up after {} s: ask for less, or try again when the node is less busy",
            limit.as_secs()
        ))
    }

    /// The method sends notifications, for which HTTP has no way.
    pub(crate) fn websocket_only() -> Self {
        Self::new(NO_WEBSOCKET, "the method needs a WebSocket")
            .with_data("connect to the same port with ws:// instead of http://")
    }

    /// The request has no id that an answer could carry.
    pub(crate) fn no_id() -> Self {
        Self::new(INVALID_REQUEST_CODE, "Invalid request").with_data(
            "it has no id, or one that is none, and was not carried out: give it one id, a whole number, a string or null",
        )
    }

    /// As many subscriptions are open as may be, over all connections.
    pub(crate) fn too_many_subscriptions() -> Self {
        Self::new(
            TOO_MANY_SUBSCRIPTIONS,
            "Too many subscriptions on this node",
        )
        .with_data("all of the node's subscriptions are taken: end one, or try again later")
    }

    /// What the method works with is not there.
    pub(crate) fn unavailable(what: &str, mend: &str) -> Self {
        Self::new(UNAVAILABLE, what).with_data(mend)
    }

    /// Returns whether asking again may do.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, BUSY | TOO_SLOW)
    }

    /// Something that should not happen; the log knows more.
    pub(crate) fn internal(what: &str) -> Self {
        Self::new(
            INTERNAL,
            format!("internal error: {what}; the node's log says more"),
        )
    }
}

impl From<Fault> for ErrorObjectOwned {
    fn from(fault: Fault) -> Self {
        ErrorObject::owned(fault.code, fault.message, fault.data)
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        match error {
            StateError::UnknownBlock { hash } => {
                Self::new(STATE, format!("block {hash:?} is not in this node's database")).with_data(
                    "check the hash, and that the node follows the chain it belongs to (system_chain)",
                )
            }
            StateError::StateDiscarded { number, hash, kept } => {
                Self::new(STATE, format!("State already discarded for {hash:?}")).with_data(format!(
                    "the state of block {number} was discarded, this node keeps {kept}: ask an archive node \
                     (--state-pruning archive)"
                ))
            }
            other => {
                tracing::error!(error = %other, "a state could not be read");
                Self::new(STATE, other.to_string())
            }
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        tracing::error!(%error, "a block could not be read");
        Self::new(CHAIN, error.to_string())
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        Self::new(STATE, error.to_string())
    }
}

impl From<ChainError> for Fault {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::State(error) => error.into(),
            ChainError::Storage(error) => error.into(),
            ChainError::Call(error) => error.into(),
            other => Self::new(CHAIN, other.to_string()),
        }
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        let cause = error.cause();
        let data = match mend_of(&error) {
            Some(mend) => format!("{cause}: {mend}"),
            None => cause,
        };
        Self::new(error.rpc_code(), error.rpc_message()).with_data(data)
    }
}

/// Returns what a caller of JSON-RPC can do, where the cause alone leaves it open.
fn mend_of(error: &PoolError) -> Option<&'static str> {
    let PoolError::Invalid(refusal) = error else {
        return None;
    };
    match refusal {
        Refusal::Explained {
            invalid: InvalidTransaction::Stale,
            ..
        } => Some("ask system_accountNextIndex for the next nonce and sign again"),
        // A node sees of an era that is over only that the signature is not for the era's present beginning.
        Refusal::Invalid(InvalidTransaction::BadProof) => Some(
            "and if the transaction is mortal, its era may be over: sign again with a recent block",
        ),
        _ => None,
    }
}

/// Turns what the trie says into a fault.
pub(crate) fn unreadable(error: impl std::fmt::Display) -> Fault {
    Fault::new(STATE, format!("the state cannot be read: {error}"))
}
