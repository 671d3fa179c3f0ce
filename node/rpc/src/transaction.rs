//! `transaction_v1_*`: transactions that the node keeps offering until they are in a block, or it is told to stop.
//!
//! The caller is not told what becomes of one: it looks for it in the blocks that `chainHead_v1_follow` reports.

use std::sync::{Arc, atomic::Ordering};

use commonwatt_chain::Watch;
use commonwatt_txpool::{PoolError, TransactionSource, TransactionStatus};
use jsonrpsee::server::RegisterMethodError;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    arguments::Arguments,
    connection::{Connection, lock},
    error::{Answer, Fault},
    methods::{Methods, Node},
    types::Bytes,
};

/// Transactions one connection has offered at one time; clients may count on four.
pub const BROADCASTS_PER_CONNECTION_MAX: usize = 16;

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.start("transaction_v1_broadcast", broadcast)?;
    methods.tell_to("transaction_v1_stop", stop)
}

/// Begins to offer a transaction; `None` when the connection has as many as it may. One that is invalid counts as
/// well, and its caller is not told.
fn broadcast(
    node: &Arc<Node>,
    connection: &Arc<Connection>,
    mut arguments: Arguments,
) -> Answer<Option<String>> {
    let Bytes(extrinsic) = arguments.required("transaction")?;
    if !connection.is_websocket() {
        return Err(Fault::websocket_only());
    }
    let mut broadcasts = lock(&connection.broadcasts);
    if broadcasts.len() >= BROADCASTS_PER_CONNECTION_MAX {
        return Ok(None);
    }
    let number = connection.last_broadcast.fetch_add(1, Ordering::Relaxed);
    let id = number.to_string();
    let offering = offer(node.clone(), connection.clone(), extrinsic);
    let end = connection.end();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = end => {}
            () = offering => {}
        }
    });
    broadcasts.insert(id.clone(), task.abort_handle());
    Ok(Some(id))
}

fn stop(_: &Node, connection: &Arc<Connection>, mut arguments: Arguments) -> Answer<()> {
    let id: String = arguments.required("operationId")?;
    let task = lock(&connection.broadcasts).remove(&id).ok_or_else(|| {
        Fault::parameters(
            "nothing is offered under this operationId: give what transaction_v1_broadcast answered on this connection",
        )
    })?;
    task.abort();
    Ok(())
}

/// What became of an attempt.
enum Offered {
    /// It is in the pool.
    Pooled(Watch),
    /// It may be taken after another block.
    NotNow,
    /// Nothing is left to do.
    Done,
}

fn try_offer(node: &Node, extrinsic: Vec<u8>) -> Offered {
    match node
        .chain
        .submit_and_watch(TransactionSource::External, extrinsic)
    {
        Ok((_, watch)) => Offered::Pooled(watch),
        Err(PoolError::Invalid(refusal)) if refusal.is_for_ever() => Offered::Done,
        Err(PoolError::TooLarge { .. } | PoolError::NoTags | PoolError::AlreadyIncluded { .. }) => {
            Offered::Done
        }
        Err(_) => Offered::NotNow,
    }
}

/// Offers a transaction to the pool, after each block anew while it is not in it, until it is final.
async fn offer(node: Arc<Node>, connection: Arc<Connection>, extrinsic: Vec<u8>) {
    loop {
        // Listening begins before the attempt, so that the block that changes its outcome is not missed.
        let mut heads = node.chain.subscribe_heads();
        let attempt = extrinsic.clone();
        let offered = node.submit(&connection, move |node| Ok(try_offer(node, attempt)));
        match offered.await {
            Ok(Offered::Done) => return,
            Ok(Offered::Pooled(mut watch)) => {
                while let Some(status) = watch.recv().await {
                    if matches!(status, TransactionStatus::Finalized(_)) {
                        return;
                    }
                }
            }
            Ok(Offered::NotNow) | Err(_) => {}
        }
        if let Err(RecvError::Closed) = heads.recv().await {
            return;
        }
    }
}
