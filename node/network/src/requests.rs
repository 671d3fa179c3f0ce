//! What peers ask each other, and its encoding (SCALE).
//!
//! Each kind has a protocol of its own, with its own bounds:
//!
//! | protocol | request | answer |
//! |---|---|---|
//! | `/commonwatt/hello/1` | [`crate::Hello`] | welcome with the other's hello, or refused with the reason |
//! | `/commonwatt/status/1` | the sender's last decided block (u32) | the receiver's |
//! | `/commonwatt/sync/1` | [`BlocksRequest`] | items, or busy |
//! | `/commonwatt/transactions/1` | [`TransactionsRequest`] | items, or busy |
//!
//! On the stream stands the length (u32 LE), then the bytes.

use codec::{Decode, DecodeAll, Encode};
use commonwatt_primitives::Hash;

use crate::limits::{
    ANSWER_BYTES_MAX, BLOCKS_PER_ANSWER_MAX, HASHES_PER_REQUEST_MAX, TRANSACTIONS_PER_REQUEST_MAX,
};

/// How much of each block is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum BlockContent {
    /// Header, body and certificate.
    #[codec(index = 1)]
    Full,
    /// Header and certificate, and for the last block of an epoch the proof of who validates next: for light nodes.
    #[codec(index = 2)]
    HeaderAndCertificate,
}

/// Asks for decided blocks by height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlocksRequest {
    /// The first height.
    pub from: u32,
    /// How many, at most [`BLOCKS_PER_ANSWER_MAX`]; the answer may hold fewer.
    pub count: u32,
    /// How much of each.
    pub content: BlockContent,
}

/// Asks for transactions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TransactionsRequest {
    /// Of a proposed or decided block: those that a compact block names and the pool lacks.
    #[codec(index = 1)]
    OfBlock {
        /// BLAKE2b-256 of its header.
        header: Hash,
        /// Their places in the block, ascending.
        positions: Vec<u32>,
    },
    /// Of the pool.
    #[codec(index = 2)]
    ByHash(Vec<Hash>),
}

/// A transaction that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FetchedTransaction {
    /// Its position in the block, or the place of its hash in the request.
    pub index: u32,
    /// The encoded transaction.
    pub bytes: Vec<u8>,
}

/// First byte of an answer that holds items.
const ANSWER_ITEMS: u8 = 1;
/// The whole of an answer of somebody who has too much to do.
pub(crate) const ANSWER_BUSY: [u8; 1] = [2];

/// An answer with a list of items.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    Items(Vec<T>),
    Busy,
}

impl BlocksRequest {
    /// Says what is wrong with its figures.
    pub(crate) fn verify(&self) -> Result<(), &'static str> {
        if self.count == 0 || self.count > BLOCKS_PER_ANSWER_MAX {
            return Err("the number of blocks is zero or above what one answer holds");
        }
        if self.from.checked_add(self.count).is_none() {
            return Err("the last height is above what a height can be");
        }
        Ok(())
    }
}

impl TransactionsRequest {
    /// Says what is wrong with its figures.
    pub(crate) fn verify(&self) -> Result<(), &'static str> {
        match self {
            Self::OfBlock { positions, .. } => {
                if positions.is_empty() || positions.len() > TRANSACTIONS_PER_REQUEST_MAX {
                    return Err("the number of positions is zero or above what one request holds");
                }
                if !positions.is_sorted_by(|earlier, later| earlier < later) {
                    return Err("the positions are not ascending");
                }
            }
            Self::ByHash(hashes) => {
                if hashes.is_empty() || hashes.len() > HASHES_PER_REQUEST_MAX {
                    return Err("the number of hashes is zero or above what one request holds");
                }
            }
        }
        Ok(())
    }

    /// Returns how many transactions are asked for.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::OfBlock { positions, .. } => positions.len(),
            Self::ByHash(hashes) => hashes.len(),
        }
    }

    /// Checks that `items` answer this request: each was asked for, in the order asked, once.
    pub(crate) fn verify_answer(&self, items: &[FetchedTransaction]) -> Result<(), &'static str> {
        let indices = items.iter().map(|item| item.index);
        if !indices.is_sorted_by(|earlier, later| earlier < later) {
            return Err("the transactions are not ascending");
        }
        let was_asked_for = |index: u32| match self {
            Self::OfBlock { positions, .. } => positions.binary_search(&index).is_ok(),
            Self::ByHash(hashes) => usize::try_from(index).is_ok_and(|index| index < hashes.len()),
        };
        if !items.iter().all(|item| was_asked_for(item.index)) {
            return Err("a transaction was not asked for");
        }
        Ok(())
    }
}

/// Encodes an answer with as many items as were asked for and fit.
pub(crate) fn encode_answer<T: Encode>(items: &[T], items_max: usize) -> Vec<u8> {
    // One byte for the kind, at most five for the number of items.
    const HEAD_BYTES: usize = 6;
    let mut bytes = HEAD_BYTES;
    let fitting = items
        .iter()
        .take(items_max)
        .take_while(|item| {
            bytes = bytes.saturating_add(item.encoded_size());
            bytes <= ANSWER_BYTES_MAX
        })
        .count();
    let mut answer = Vec::with_capacity(bytes.min(ANSWER_BYTES_MAX));
    answer.push(ANSWER_ITEMS);
    items[..fitting].encode_to(&mut answer);
    answer
}

/// Decodes an answer with at most `items_max` items.
pub(crate) fn decode_answer<T: Decode>(
    bytes: &[u8],
    items_max: usize,
) -> Result<Answer<T>, String> {
    if bytes == ANSWER_BUSY {
        return Ok(Answer::Busy);
    }
    let Some((&ANSWER_ITEMS, mut rest)) = bytes.split_first() else {
        return Err("it is neither items nor busy".to_owned());
    };
    let count = codec::Compact::<u32>::decode(&mut &*rest).map_err(|error| error.to_string())?;
    if usize::try_from(count.0).is_ok_and(|count| count > items_max) {
        return Err(format!(
            "it has {} items where {items_max} were asked for",
            count.0
        ));
    }
    let items = Vec::<T>::decode_all(&mut rest).map_err(|error| error.to_string())?;
    Ok(Answer::Items(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_cut_to_what_was_asked_for_and_fits() {
        let items = vec![vec![7u8; 4 * 1024 * 1024]; 6];
        let answer = encode_answer(&items, 9);
        assert!(answer.len() <= ANSWER_BYTES_MAX);
        assert_eq!(
            decode_answer::<Vec<u8>>(&answer, 9),
            Ok(Answer::Items(items[..4].to_vec()))
        );
        let answer = encode_answer(&items, 2);
        assert_eq!(
            decode_answer(&answer, 2),
            Ok(Answer::Items(items[..2].to_vec()))
        );
        assert_eq!(
            decode_answer::<Vec<u8>>(&encode_answer::<Vec<u8>>(&[], 1), 1),
            Ok(Answer::Items(Vec::new()))
        );
    }

    #[test]
    fn an_answer_that_claims_too_much_is_refused_before_it_is_read() {
        let mut answer = vec![ANSWER_ITEMS];
        codec::Compact(u32::MAX).encode_to(&mut answer);
        assert!(decode_answer::<Vec<u8>>(&answer, 256).is_err());
        assert!(decode_answer::<Vec<u8>>(&[], 256).is_err());
        assert!(decode_answer::<Vec<u8>>(&[9], 256).is_err());
        assert_eq!(
            decode_answer::<Vec<u8>>(&ANSWER_BUSY, 256),
            Ok(Answer::Busy)
        );
        let mut trailing = encode_answer(&[vec![1u8]], 1);
        trailing.push(0);
        assert!(decode_answer::<Vec<u8>>(&trailing, 1).is_err());
    }

    #[test]
    fn requests_outside_their_bounds_are_refused() {
        let request = |from, count| BlocksRequest {
            from,
            count,
            content: BlockContent::Full,
        };
        assert!(request(1, 1).verify().is_ok());
        assert!(request(1, 0).verify().is_err());
        assert!(request(1, BLOCKS_PER_ANSWER_MAX + 1).verify().is_err());
        assert!(request(u32::MAX, 1).verify().is_err());
        let of_block = |positions| TransactionsRequest::OfBlock {
            header: Hash::zero(),
            positions,
        };
        assert!(of_block(vec![1, 5]).verify().is_ok());
        assert!(of_block(vec![]).verify().is_err());
        assert!(of_block(vec![5, 5]).verify().is_err());
        assert!(
            TransactionsRequest::ByHash(vec![Hash::zero(); HASHES_PER_REQUEST_MAX + 1])
                .verify()
                .is_err()
        );
    }

    #[test]
    fn only_transactions_that_were_asked_for_are_an_answer() {
        let request = TransactionsRequest::OfBlock {
            header: Hash::zero(),
            positions: vec![2, 4, 6],
        };
        let items = |indices: &[u32]| -> Vec<FetchedTransaction> {
            let item = |index: &u32| FetchedTransaction {
                index: *index,
                bytes: vec![1],
            };
            indices.iter().map(item).collect()
        };
        assert!(request.verify_answer(&items(&[2, 6])).is_ok());
        assert!(request.verify_answer(&items(&[])).is_ok());
        assert!(request.verify_answer(&items(&[3])).is_err());
        assert!(request.verify_answer(&items(&[4, 4])).is_err());
        let by_hash = TransactionsRequest::ByHash(vec![Hash::zero()]);
        assert!(by_hash.verify_answer(&items(&[0])).is_ok());
        assert!(by_hash.verify_answer(&items(&[1])).is_err());
    }
}
