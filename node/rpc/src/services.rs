//! What the rest of the node lends to the server. Methods that need what is not lent are not listed.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

/// Why the keystore did not do as asked: what was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeystoreError(pub String);

/// The keys of this node's validator. Called on threads that may block.
pub trait SessionKeystore: Send + Sync {
    /// Makes new session keys and keeps them; returns their public halves, encoded as the registry takes them.
    fn rotate(&self) -> Result<Vec<u8>, KeystoreError>;

    /// Keeps the key of a secret phrase or seed; `public` must be its public half.
    fn insert(&self, key_type: [u8; 4], secret: &str, public: &[u8]) -> Result<(), KeystoreError>;

    /// Returns whether the key is kept.
    fn has_key(&self, public: &[u8], key_type: [u8; 4]) -> Result<bool, KeystoreError>;

    /// Returns whether all of these session keys are kept, encoded as [`SessionKeystore::rotate`] returns them.
    fn has_session_keys(&self, session_keys: &[u8]) -> Result<bool, KeystoreError>;
}

/// A node this one is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerInfo {
    /// Its identity on the network.
    pub peer_id: String,
    /// What it does: `FULL` or `AUTHORITY`.
    pub roles: String,
    /// Its best block, as far as it is known.
    pub best_hash: commonwatt_runtime::Hash,
    /// That block's number.
    pub best_number: u32,
}

/// The node's network.
pub trait Network: Send + Sync {
    /// Returns the node's own identity.
    fn local_peer_id(&self) -> String;

    /// Returns the addresses under which it can be reached.
    fn listen_addresses(&self) -> Vec<String>;

    /// Returns whom it is connected to.
    fn peers(&self) -> Vec<PeerInfo>;

    /// Returns whether it needs peers to do its work.
    fn should_have_peers(&self) -> bool;
}

/// The filter of the node's log.
pub trait LogFilter: Send + Sync {
    /// Adds to it, until it is reset.
    ///
    /// # Errors
    /// What is wrong with the directives.
    fn add(&self, directives: &str) -> Result<(), String>;

    /// Goes back to the filter the node was started with.
    ///
    /// # Errors
    /// Why that is not possible.
    fn reset(&self) -> Result<(), String>;
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallProtocol {
    /// By an HTTP request of its own.
    Http,
    /// Over a WebSocket.
    WebSocket,
}

/// Is told of calls and connections, for figures. Called on the threads that serve connections, so it returns at
/// once.
pub trait CallObserver: Send + Sync {
    /// A call came; `method` is one that exists, or `unknown`.
    fn call_started(&self, protocol: CallProtocol, method: &'static str);

    /// A call was answered.
    fn call_finished(
        &self,
        protocol: CallProtocol,
        method: &'static str,
        is_error: bool,
        took: Duration,
    );

    /// A WebSocket was opened.
    fn session_opened(&self);

    /// A WebSocket was closed.
    fn session_closed(&self);
}

/// What the rest of the node lends to the server.
#[derive(Clone, Default)]
pub struct Services {
    /// The validator's keys, where they may be changed while the node runs.
    pub keystore: Option<Arc<dyn SessionKeystore>>,
    /// The network, for a node that is on one.
    pub network: Option<Arc<dyn Network>>,
    /// The log's filter, where it may be changed while the node runs.
    pub log_filter: Option<Arc<dyn LogFilter>>,
    /// Who counts calls and connections.
    pub observer: Option<Arc<dyn CallObserver>>,
}
