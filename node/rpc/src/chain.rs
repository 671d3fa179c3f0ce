//! `chain_*`: blocks and headers.

use std::sync::Arc;

use commonwatt_chain::NewHead;
use commonwatt_primitives::digest::ENGINE_ID;
use commonwatt_runtime::{Hash, Header};
use jsonrpsee::{
    server::{RegisterMethodError, SubscriptionCloseResponse},
    types::Params,
};

use crate::{
    arguments::Arguments,
    error::{Answer, Fault},
    limits::BLOCKS_PER_QUERY_MAX,
    methods::{Methods, Node, to_json},
    news::{self, Kind, Pending, Start},
    types::{Block, BlockNumber, Bytes, OneOrMany, SignedBlock},
};

pub(crate) fn register(methods: &mut Methods) -> Result<(), RegisterMethodError> {
    methods.work("chain_getHeader", header)?;
    methods.work("chain_getBlock", block)?;
    methods.work("chain_getBlockHash", block_hash)?;
    methods.alias("chain_getBlockHash", &["chain_getHead"])?;
    // Every stored block is final.
    methods.tell("chain_getFinalizedHead", |node| node.chain.best().1)?;
    methods.alias("chain_getFinalizedHead", &["chain_getFinalisedHead"])?;

    let names = [
        "chain_subscribeNewHeads",
        "chain_newHead",
        "chain_unsubscribeNewHeads",
    ];
    methods.subscription(names, heads)?;
    methods.alias(names[0], &["chain_subscribeNewHead", "subscribe_newHead"])?;
    methods.alias(
        names[2],
        &["chain_unsubscribeNewHead", "unsubscribe_newHead"],
    )?;

    let names = [
        "chain_subscribeAllHeads",
        "chain_allHead",
        "chain_unsubscribeAllHeads",
    ];
    methods.subscription(names, heads)?;

    let names = [
        "chain_subscribeFinalizedHeads",
        "chain_finalizedHead",
        "chain_unsubscribeFinalizedHeads",
    ];
    methods.subscription(names, heads)?;
    methods.alias(names[0], &["chain_subscribeFinalisedHeads"])?;
    methods.alias(names[2], &["chain_unsubscribeFinalisedHeads"])
}

fn header(node: &Node, mut arguments: Arguments) -> Answer<Option<Header>> {
    let hash = arguments
        .optional("hash")?
        .unwrap_or_else(|| node.chain.best().1);
    Ok(node.chain.db().header(&hash)?)
}

fn block(node: &Node, mut arguments: Arguments) -> Answer<Option<SignedBlock>> {
    let hash = arguments
        .optional("hash")?
        .unwrap_or_else(|| node.chain.best().1);
    let Some(stored) = node.chain.db().block(&hash)? else {
        return Ok(None);
    };
    let extrinsics = stored.body.into_iter().map(Bytes).collect();
    Ok(Some(SignedBlock {
        block: Block {
            header: stored.header,
            extrinsics,
        },
        justifications: stored.justification.map(|proof| vec![(ENGINE_ID, proof)]),
    }))
}

/// Returns the hash of the best block, of the block with a number, or of each of many.
fn block_hash(node: &Node, mut arguments: Arguments) -> Answer<OneOrMany<Option<Hash>>> {
    let hash_of = |BlockNumber(number)| Ok::<_, Fault>(node.chain.db().hash_of(number)?);
    match arguments.optional::<OneOrMany<BlockNumber>>("number")? {
        None => Ok(OneOrMany::One(Some(node.chain.best().1))),
        Some(OneOrMany::One(number)) => Ok(OneOrMany::One(hash_of(number)?)),
        Some(OneOrMany::Many(numbers)) if numbers.len() > BLOCKS_PER_QUERY_MAX => Err(
            Fault::too_many("blocks", numbers.len(), BLOCKS_PER_QUERY_MAX),
        ),
        Some(OneOrMany::Many(numbers)) => Ok(OneOrMany::Many(
            numbers.into_iter().map(hash_of).collect::<Answer<_>>()?,
        )),
    }
}

/// Sends the best header at once, and each new one.
async fn heads(_: Params<'static>, pending: Pending, node: Arc<Node>) -> SubscriptionCloseResponse {
    let first = |node: &Node| {
        let (number, hash) = node.chain.best();
        let header = node.chain.db().header(&hash)?;
        Ok(Start {
            number,
            message: Some(to_json(&header)?),
        })
    };
    let tell = |head: &NewHead| to_json(&head.header).map(Some);
    news::follow(pending, node, Kind::Header, first, tell).await
}
