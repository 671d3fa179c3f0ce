//! Blocks as the agreement sees them and as the chain stores them.

use std::sync::Arc;

use codec::{Compact, Decode, DecodeAll, Encode};
use commonwatt_chain::Chain;
use commonwatt_consensus::{Block, Certificate, CertifiedBlock, HeaderFacts};
use commonwatt_primitives::digest::StepDigest;
use commonwatt_runtime::Header;
use commonwatt_storage::{StorageError, StoredBlock};
use sp_runtime::traits::Header as _;

/// Extrinsics of a body that are decoded: beyond what the bytes of a block can hold, and far below what a body of empty
/// ones would take in memory.
pub const BODY_EXTRINSICS_MAX: u32 = 500_000;

/// Reads what a header says about its making; `None` for anything but the one encoding of a header with a step digest.
pub fn read_header(bytes: &[u8]) -> Option<HeaderFacts> {
    let header = Header::decode_all(&mut &bytes[..]).ok()?;
    // Its hash is that of the bytes only when no other bytes stand for it.
    if header.encode() != bytes {
        return None;
    }
    let StepDigest::V1 {
        author,
        author_rank,
        punctuality,
        ..
    } = StepDigest::find(header.digest())?;
    Some(HeaderFacts {
        height: *header.number(),
        author,
        author_rank,
        punctuality,
    })
}

/// Returns a block as the agreement carries it.
pub fn to_block(header: &Header, body: &[Vec<u8>]) -> Block {
    Block {
        header: header.encode(),
        body: Arc::new(body.encode()),
    }
}

/// Returns header and extrinsics of a block; `None` when the bytes are no such thing.
pub fn to_stored(block: &Block) -> Option<(Header, Vec<Vec<u8>>)> {
    let header = Header::decode_all(&mut &block.header[..]).ok()?;
    let count = Compact::<u32>::decode(&mut &block.body[..]).ok()?;
    if count.0 > BODY_EXTRINSICS_MAX {
        return None;
    }
    let body = Vec::<Vec<u8>>::decode_all(&mut &block.body[..]).ok()?;
    Some((header, body))
}

/// Returns a final block of a chain with its proof, to be given to whoever catches up; `None` when it is not there.
///
/// # Errors
/// The database cannot be read.
pub fn certified_block(chain: &Chain, height: u32) -> Result<Option<CertifiedBlock>, StorageError> {
    if height == 0 {
        return Ok(None);
    }
    let Some(hash) = chain.db().hash_of(height)? else {
        return Ok(None);
    };
    let Some(StoredBlock {
        header,
        body,
        justification,
    }) = chain.db().block(&hash)?
    else {
        return Ok(None);
    };
    let certificate =
        justification.and_then(|certificate| Certificate::decode_all(&mut &certificate[..]).ok());
    Ok(certificate.map(|certificate| CertifiedBlock {
        block: to_block(&header, &body),
        certificate,
    }))
}
