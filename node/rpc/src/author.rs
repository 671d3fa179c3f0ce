//! `author_*`: transactions on their way into a block.

use std::sync::Arc;

use commonwatt_runtime::Hash;
use commonwatt_txpool::{TransactionSource, TransactionStatus, hash_of};
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    KeystoreError, SessionKeystore,
    arguments::Arguments,
    error::{Answer, Fault},
    limits::{Budget, KEYS_PER_QUERY_MAX},
    methods::{Methods, Node, to_json},
    news::{Pending, close},
    types::{Bytes, OneOrMany},
};

pub(crate) fn register(methods: &mut Methods, node: &Node) -> Result<(), RegisterMethodError> {
    register_keys(methods, node.services.keystore.is_some())?;
    methods.submission("author_submitExtrinsic", submit)?;
    methods.work("author_pendingExtrinsics", pending)?;
    methods.guarded_work("author_removeExtrinsic", remove)?;
    let names = [
        "author_submitAndWatchExtrinsic",
        "author_extrinsicUpdate",
        "author_unwatchExtrinsic",
    ];
    methods.subscription(names, submit_and_watch)
}

// ---------------------------------------------------------------------------------- keys

fn register_keys(methods: &mut Methods, has_keystore: bool) -> Result<(), RegisterMethodError> {
    if has_keystore {
        methods.guarded_work("author_rotateKeys", rotate_keys)?;
        methods.guarded_work("author_insertKey", insert_key)?;
        methods.guarded_work("author_hasKey", has_key)?;
        return methods.guarded_work("author_hasSessionKeys", has_session_keys);
    }
    for name in [
        "author_rotateKeys",
        "author_insertKey",
        "author_hasKey",
        "author_hasSessionKeys",
    ] {
        methods.refuse(name, no_keystore)?;
    }
    Ok(())
}

fn no_keystore() -> Fault {
    Fault::unavailable(
        "this node lends no keystore to JSON-RPC",
        "change its validator's keys offline: see `commonwatt key --help`",
    )
}

fn keystore(node: &Node) -> Answer<&dyn SessionKeystore> {
    node.services.keystore.as_deref().ok_or_else(no_keystore)
}

impl From<KeystoreError> for Fault {
    fn from(error: KeystoreError) -> Self {
        Self::unavailable("the keystore refused", &error.0)
    }
}

/// Makes new session keys; returns their public halves, for the registry.
fn rotate_keys(node: &Node, _: Arguments) -> Answer<Bytes> {
    Ok(Bytes(keystore(node)?.rotate()?))
}

fn insert_key(node: &Node, mut arguments: Arguments) -> Answer<()> {
    let key_type = key_type(arguments.required("keyType")?)?;
    let secret: String = arguments.required("suri")?;
    let Bytes(public) = arguments.required("publicKey")?;
    Ok(keystore(node)?.insert(key_type, &secret, &public)?)
}

fn has_key(node: &Node, mut arguments: Arguments) -> Answer<bool> {
    let Bytes(public) = arguments.required("publicKey")?;
    let key_type = key_type(arguments.required("keyType")?)?;
    Ok(keystore(node)?.has_key(&public, key_type)?)
}

fn has_session_keys(node: &Node, mut arguments: Arguments) -> Answer<bool> {
    let Bytes(keys) = arguments.required("sessionKeys")?;
    Ok(keystore(node)?.has_session_keys(&keys)?)
}

/// Reads a type of keys, such as `vote`.
fn key_type(text: String) -> Answer<[u8; 4]> {
    text.as_bytes()
        .try_into()
        .map_err(|_| Fault::parameters(format!("{text:?} is no type of keys: it has four letters")))
}

// ---------------------------------------------------------------------------------- transactions

fn submit(node: &Node, mut arguments: Arguments) -> Answer<Hash> {
    let Bytes(extrinsic) = arguments.required("extrinsic")?;
    Ok(node.chain.submit(TransactionSource::External, extrinsic)?)
}

/// Returns what is in the pool, the oldest first, as much as one answer holds.
fn pending(node: &Node, _: Arguments) -> Answer<Vec<Bytes>> {
    let pending = node.chain.pending();
    let mut budget = Budget::new();
    let fits = |extrinsic: &&Arc<[u8]>| budget.take(extrinsic.len()).is_ok();
    Ok(pending
        .iter()
        .take_while(fits)
        .map(|extrinsic| Bytes(extrinsic.to_vec()))
        .collect())
}

/// A transaction by its hash or its bytes.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum HashOrExtrinsic {
    Hash(Hash),
    Extrinsic(Bytes),
}

/// Takes transactions out of the pool; returns the hashes of those that were there.
fn remove(node: &Node, mut arguments: Arguments) -> Answer<Vec<Hash>> {
    let wanted: OneOrMany<HashOrExtrinsic> = arguments.required("bytesOrHash")?;
    let wanted = match wanted {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    };
    if wanted.len() > KEYS_PER_QUERY_MAX {
        return Err(Fault::too_many(
            "transactions",
            wanted.len(),
            KEYS_PER_QUERY_MAX,
        ));
    }
    let hashes = wanted.into_iter().map(|wanted| match wanted {
        HashOrExtrinsic::Hash(hash) => hash,
        HashOrExtrinsic::Extrinsic(Bytes(extrinsic)) => hash_of(&extrinsic),
    });
    Ok(hashes
        .filter(|hash| node.chain.remove_transaction(hash))
        .collect())
}

/// Returns a status in Substrate's words.
fn words_of(status: &TransactionStatus) -> Value {
    match status {
        TransactionStatus::Future => json!("future"),
        TransactionStatus::Ready => json!("ready"),
        TransactionStatus::InBlock(block) => json!({ "inBlock": block }),
        TransactionStatus::Finalized(block) => json!({ "finalized": block }),
        TransactionStatus::Usurped(other) => json!({ "usurped": other }),
        TransactionStatus::Dropped => json!("dropped"),
        TransactionStatus::Invalid(_) => json!("invalid"),
    }
}

/// Takes a transaction into the pool and tells what becomes of it. One that is refused at once is answered with
/// an error, since some clients wait for ever when they are only told "invalid".
async fn submit_and_watch(
    params: Params<'static>,
    pending: Pending,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let submitted = node
        .submit(pending.connection(), move |node| {
            let Bytes(extrinsic) = Arguments::parse(&params)?.required("extrinsic")?;
            Ok(node
                .chain
                .submit_and_watch(TransactionSource::External, extrinsic)?)
        })
        .await;
    let (hash, mut watch) = match submitted {
        Ok(submitted) => submitted,
        Err(fault) => return pending.reject(fault).await,
    };
    let Some(mut subscriber) = pending.accept(node.keep_alive).await else {
        return SubscriptionCloseResponse::None;
    };
    drop(node);
    let told = async {
        loop {
            let Some(status) = subscriber.wait_for(watch.recv()).await? else {
                return Err(Some(format!(
                    "the watch of {hash:?} ended early: look for the transaction in the next blocks"
                )));
            };
            if let TransactionStatus::Invalid(refusal) = &status {
                tracing::debug!(?hash, %refusal, "a watched transaction became invalid");
            }
            let message = to_json(&words_of(&status))
                .map_err(|_| Some("a status could not be told".to_owned()))?;
            subscriber.send(message).await?;
            if status.is_last() {
                return Ok(());
            }
        }
    };
    close(told.await.err().flatten())
}
