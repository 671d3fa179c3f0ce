//! `author_*`: transactions on their way into a block.

use std::sync::Arc;

use commonwatt_runtime::Hash;
use commonwatt_txpool::{TransactionSource, TransactionStatus, hash_of};
use jsonrpsee::{
    server::{PendingSubscriptionSink, RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    arguments::Arguments,
    error::{Answer, Fault},
    limits::{Budget, KEYS_PER_QUERY_MAX},
    methods::{Methods, Node, to_json},
    news::{Subscriber, close},
    types::{Bytes, OneOrMany},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("author_submitExtrinsic", submit)?;
    methods.work("author_pendingExtrinsics", pending)?;
    methods.guarded_work("author_removeExtrinsic", remove)?;
    let names = [
        "author_submitAndWatchExtrinsic",
        "author_extrinsicUpdate",
        "author_unwatchExtrinsic",
    ];
    methods.subscription(names, submit_and_watch)
}

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
    pending: PendingSubscriptionSink,
    node: Arc<Node>,
) -> SubscriptionCloseResponse {
    let submitted = node
        .work(move |node| {
            let Bytes(extrinsic) = Arguments::parse(&params)?.required("extrinsic")?;
            Ok(node
                .chain
                .submit_and_watch(TransactionSource::External, extrinsic)?)
        })
        .await;
    let (hash, mut watch) = match submitted {
        Ok(submitted) => submitted,
        Err(fault) => {
            pending.reject(fault).await;
            return SubscriptionCloseResponse::None;
        }
    };
    let Ok(sink) = pending.accept().await else {
        return SubscriptionCloseResponse::None;
    };
    let mut subscriber = Subscriber::new(sink, node.keep_alive);
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
