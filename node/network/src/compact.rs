//! Compact blocks: a block as its header, its inherents, and eight bytes for each transaction that peers have
//! anyway.
//!
//! A short id is the first eight bytes of BLAKE2b-256 over the header's hash and the transaction's, so nobody can
//! prepare transactions whose short ids collide in a block that is not made yet. Collisions are handled all the
//! same: within a block the later transaction travels whole; in a pool neither counts as known; and when a wrong
//! transaction was taken, which the extrinsics root shows, [`Reassembly::distrust_pool`] asks for all.
//!
//! What is agreed on is the header. The caller compares the body with its extrinsics root.

use std::collections::{BTreeMap, BTreeSet};

use blake2::{Blake2b, Digest, digest::consts::U32};
use codec::{Decode, DecodeAll, Encode};
use commonwatt_primitives::Hash;

use crate::limits::{COMPACT_BODY_BYTES_MAX, COMPACT_EXTRINSICS_MAX, COMPACT_HEADER_BYTES_MAX};

/// Domain of short ids.
const SHORT_ID_DOMAIN: &[u8] = b"commonwatt/short-id/1";

/// Eight bytes for a transaction, in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ShortId(pub [u8; 8]);

/// Computes short ids for one block.
#[derive(Clone, Debug)]
pub struct ShortIdKey {
    header: Hash,
}

impl ShortIdKey {
    /// Returns the key of the block with this encoded header.
    pub fn new(header: &[u8]) -> Self {
        Self {
            header: blake2_256(&[header]),
        }
    }

    /// Returns the short id of the transaction with this hash (BLAKE2b-256 of its encoding).
    pub fn short_id(&self, transaction: &Hash) -> ShortId {
        let hash = blake2_256(&[
            SHORT_ID_DOMAIN,
            self.header.as_bytes(),
            transaction.as_bytes(),
        ]);
        let mut id = [0; 8];
        id.copy_from_slice(&hash.as_bytes()[..8]);
        ShortId(id)
    }

    /// Returns the short id of an encoded transaction.
    pub fn short_id_of_bytes(&self, transaction: &[u8]) -> ShortId {
        self.short_id(&blake2_256(&[transaction]))
    }
}

/// BLAKE2b-256 over the parts, one after the other.
fn blake2_256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2b::<U32>::new();
    for part in parts {
        hasher.update(part);
    }
    Hash::from_slice(&hasher.finalize())
}

/// An extrinsic that travels whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WholeExtrinsic {
    /// Its position in the block.
    pub position: u32,
    /// Its encoding.
    pub bytes: Vec<u8>,
}

/// A block as it is sent: without what its receiver has.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CompactBlock {
    /// The encoded header, seal included.
    pub header: Vec<u8>,
    /// Inherents, and what cannot be told apart by its short id; by ascending position.
    pub whole: Vec<WholeExtrinsic>,
    /// The others, in their order.
    pub short_ids: Vec<ShortId>,
}

/// Why bytes are no compact block, or a block cannot be made one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Not an encoding of one.
    #[error("a compact block cannot be decoded: {0}")]
    Malformed(codec::Error),
    /// The header is too long.
    #[error("a header of {0} bytes is above the {COMPACT_HEADER_BYTES_MAX} that are possible")]
    HeaderTooLong(usize),
    /// Too many extrinsics.
    #[error("a block of {0} extrinsics is above the {COMPACT_EXTRINSICS_MAX} that are possible")]
    TooManyExtrinsics(usize),
    /// Too many bytes.
    #[error("a body of {0} bytes is above the {COMPACT_BODY_BYTES_MAX} that are possible")]
    BodyTooLong(usize),
    /// Positions of whole extrinsics that no block has.
    #[error("the positions of whole extrinsics are not ascending, or beyond the block's end")]
    WrongPositions,
    /// Two extrinsics with one short id: the sender should have sent the second whole.
    #[error("two extrinsics have one short id")]
    DuplicateShortId,
}

impl CompactBlock {
    /// Makes a block compact. The first `inherents` extrinsics travel whole: no pool has them.
    pub fn new(
        header: Vec<u8>,
        extrinsics: &[Vec<u8>],
        inherents: usize,
    ) -> Result<Self, CompactError> {
        if header.len() > COMPACT_HEADER_BYTES_MAX {
            return Err(CompactError::HeaderTooLong(header.len()));
        }
        if extrinsics.len() > COMPACT_EXTRINSICS_MAX {
            return Err(CompactError::TooManyExtrinsics(extrinsics.len()));
        }
        let bytes = extrinsics.iter().map(Vec::len).sum();
        if bytes > COMPACT_BODY_BYTES_MAX {
            return Err(CompactError::BodyTooLong(bytes));
        }
        let key = ShortIdKey::new(&header);
        let mut seen = BTreeSet::new();
        let mut whole = Vec::new();
        let mut short_ids = Vec::with_capacity(extrinsics.len());
        for (position, extrinsic) in (0u32..).zip(extrinsics) {
            let is_inherent = usize::try_from(position).is_ok_and(|at| at < inherents);
            let short_id = key.short_id_of_bytes(extrinsic);
            if is_inherent || !seen.insert(short_id) {
                let bytes = extrinsic.clone();
                whole.push(WholeExtrinsic { position, bytes });
            } else {
                short_ids.push(short_id);
            }
        }
        Ok(Self {
            header,
            whole,
            short_ids,
        })
    }

    /// Decodes one, within its bounds.
    pub fn decode_bounded(bytes: &[u8]) -> Result<Self, CompactError> {
        let compact = Self::decode_all(&mut &bytes[..]).map_err(CompactError::Malformed)?;
        compact.verify()?;
        Ok(compact)
    }

    /// Checks bounds and positions.
    fn verify(&self) -> Result<(), CompactError> {
        if self.header.len() > COMPACT_HEADER_BYTES_MAX {
            return Err(CompactError::HeaderTooLong(self.header.len()));
        }
        let count = self.count();
        if count > COMPACT_EXTRINSICS_MAX {
            return Err(CompactError::TooManyExtrinsics(count));
        }
        let bytes = self.whole.iter().map(|whole| whole.bytes.len()).sum();
        if bytes > COMPACT_BODY_BYTES_MAX {
            return Err(CompactError::BodyTooLong(bytes));
        }
        let positions = self.whole.iter().map(|whole| whole.position);
        let is_ascending = positions.is_sorted_by(|earlier, later| earlier < later);
        let is_inside = |whole: &WholeExtrinsic| {
            usize::try_from(whole.position).is_ok_and(|position| position < count)
        };
        if !is_ascending || !self.whole.iter().all(is_inside) {
            return Err(CompactError::WrongPositions);
        }
        let distinct: BTreeSet<&ShortId> = self.short_ids.iter().collect();
        if distinct.len() != self.short_ids.len() {
            return Err(CompactError::DuplicateShortId);
        }
        Ok(())
    }

    /// Returns how many extrinsics the block has.
    pub fn count(&self) -> usize {
        self.whole.len().saturating_add(self.short_ids.len())
    }

    /// Returns the hash by which the block is known: BLAKE2b-256 of its header.
    pub fn header_hash(&self) -> Hash {
        blake2_256(&[&self.header])
    }

    /// Returns the key of its short ids.
    pub fn key(&self) -> ShortIdKey {
        ShortIdKey::new(&self.header)
    }
}

/// A pool's transactions by their short ids in one block.
#[derive(Debug)]
pub struct PoolIndex<T> {
    /// `None` where two transactions have one short id.
    transactions: BTreeMap<ShortId, Option<T>>,
}

impl<T> PoolIndex<T> {
    /// Indexes a pool, given as hashes with whatever the caller finds the transaction by.
    pub fn new(key: &ShortIdKey, pool: impl IntoIterator<Item = (Hash, T)>) -> Self {
        let mut transactions = BTreeMap::new();
        for (hash, transaction) in pool {
            transactions
                .entry(key.short_id(&hash))
                .and_modify(|both| *both = None)
                .or_insert(Some(transaction));
        }
        Self { transactions }
    }

    /// Returns the one transaction with this short id.
    pub fn get(&self, id: &ShortId) -> Option<&T> {
        self.transactions.get(id)?.as_ref()
    }
}

/// What came in for a block does not belong there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SupplyError {
    /// Nobody asked for this position.
    #[error("position {0} is not missing")]
    NotMissing(u32),
    /// The transaction is not the one the block names.
    #[error("the transaction for position {0} has another short id")]
    WrongTransaction(u32),
    /// The block would be longer than a block can be.
    #[error("the block would have more than {COMPACT_BODY_BYTES_MAX} bytes")]
    BodyTooLong,
}

/// Header and extrinsics, as they were before the block was made compact.
pub type WholeBlock = (Vec<u8>, Vec<Vec<u8>>);

/// A compact block on its way back to a whole one.
#[derive(Clone, Debug)]
pub struct Reassembly {
    header: Vec<u8>,
    key: ShortIdKey,
    /// By position.
    slots: Vec<Slot>,
    missing: BTreeSet<u32>,
    bytes: usize,
}

#[derive(Clone, Debug)]
enum Slot {
    /// Came with the compact block.
    Whole(Vec<u8>),
    /// Was in the pool.
    Pooled(ShortId, Vec<u8>),
    /// Was fetched from a peer.
    Fetched(Vec<u8>),
    Missing(ShortId),
}

impl Slot {
    fn bytes(&self) -> Option<&Vec<u8>> {
        match self {
            Self::Whole(bytes) | Self::Pooled(_, bytes) | Self::Fetched(bytes) => Some(bytes),
            Self::Missing(_) => None,
        }
    }
}

impl Reassembly {
    /// Begins with what `lookup` finds in the pool. What it gives for a short id must be a transaction with that
    /// short id, as [`PoolIndex`] finds it.
    pub fn new(
        compact: CompactBlock,
        mut lookup: impl FnMut(&ShortId) -> Option<Vec<u8>>,
    ) -> Result<Self, CompactError> {
        compact.verify()?;
        let key = compact.key();
        let count = compact.count();
        let mut slots = Vec::with_capacity(count);
        let mut missing = BTreeSet::new();
        let mut bytes = 0usize;
        let mut whole = compact.whole.into_iter().peekable();
        let mut short_ids = compact.short_ids.into_iter();
        for position in (0u32..).take(count) {
            let slot = match whole.next_if(|next| next.position == position) {
                Some(next) => Slot::Whole(next.bytes),
                None => {
                    let id = short_ids.next().ok_or(CompactError::WrongPositions)?;
                    match lookup(&id) {
                        Some(found) => Slot::Pooled(id, found),
                        None => Slot::Missing(id),
                    }
                }
            };
            match slot.bytes() {
                Some(known) => bytes = bytes.saturating_add(known.len()),
                None => {
                    missing.insert(position);
                }
            }
            slots.push(slot);
        }
        if bytes > COMPACT_BODY_BYTES_MAX {
            return Err(CompactError::BodyTooLong(bytes));
        }
        Ok(Self {
            header: compact.header,
            key,
            slots,
            missing,
            bytes,
        })
    }

    /// Returns the hash of the block's header, by which peers are asked for what is missing.
    pub fn header_hash(&self) -> Hash {
        self.key.header
    }

    /// Returns the positions to be fetched, ascending.
    pub fn missing(&self) -> Vec<u32> {
        self.missing.iter().copied().collect()
    }

    /// Returns whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Takes a transaction that was fetched.
    pub fn supply(&mut self, position: u32, bytes: Vec<u8>) -> Result<(), SupplyError> {
        let slot = usize::try_from(position)
            .ok()
            .and_then(|position| self.slots.get_mut(position));
        let Some(slot) = slot else {
            return Err(SupplyError::NotMissing(position));
        };
        let Slot::Missing(id) = slot else {
            return Err(SupplyError::NotMissing(position));
        };
        if self.key.short_id_of_bytes(&bytes) != *id {
            return Err(SupplyError::WrongTransaction(position));
        }
        let total = self.bytes.saturating_add(bytes.len());
        if total > COMPACT_BODY_BYTES_MAX {
            return Err(SupplyError::BodyTooLong);
        }
        self.bytes = total;
        self.missing.remove(&position);
        *slot = Slot::Fetched(bytes);
        Ok(())
    }

    /// Counts everything that came from the pool as missing: the whole has another extrinsics root, so one of them
    /// is not the block's. Returns whether there was anything; if not, the block itself is wrong.
    pub fn distrust_pool(&mut self) -> bool {
        let before = self.missing.len();
        for (position, slot) in (0u32..).zip(&mut self.slots) {
            if let Slot::Pooled(id, bytes) = slot {
                self.bytes -= bytes.len();
                self.missing.insert(position);
                *slot = Slot::Missing(*id);
            }
        }
        self.missing.len() > before
    }

    /// Returns header and extrinsics; itself while something is missing.
    pub fn finish(self) -> Result<WholeBlock, Box<Self>> {
        if !self.is_complete() {
            return Err(Box::new(self));
        }
        let take = |slot: Slot| match slot {
            Slot::Whole(bytes) | Slot::Pooled(_, bytes) | Slot::Fetched(bytes) => Some(bytes),
            Slot::Missing(_) => None,
        };
        Ok((
            self.header,
            self.slots.into_iter().filter_map(take).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transaction(number: u32) -> Vec<u8> {
        [vec![4; 150], number.to_le_bytes().to_vec()].concat()
    }

    fn block(transactions: u32) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut extrinsics = vec![b"timestamp".to_vec()];
        extrinsics.extend((0..transactions).map(transaction));
        (b"header".to_vec(), extrinsics)
    }

    fn pool_of(extrinsics: &[Vec<u8>]) -> impl Iterator<Item = (Hash, &Vec<u8>)> {
        extrinsics
            .iter()
            .map(|extrinsic| (blake2_256(&[extrinsic]), extrinsic))
    }

    /// Takes a block apart and puts it together, with `pool` at the receiver and `source` at the sender.
    fn relay(compact: CompactBlock, pool: &[Vec<u8>]) -> Reassembly {
        let received = CompactBlock::decode_bounded(&compact.encode()).unwrap();
        let index = PoolIndex::new(&received.key(), pool_of(pool));
        Reassembly::new(received, |id| index.get(id).map(|bytes| (*bytes).clone())).unwrap()
    }

    #[test]
    fn a_block_of_ten_thousand_known_transactions_travels_in_eight_bytes_each() {
        let (header, extrinsics) = block(10_000);
        let compact = CompactBlock::new(header.clone(), &extrinsics, 1).unwrap();
        assert!(compact.encode().len() < 10_000 * 8 + 100);
        let reassembly = relay(compact, &extrinsics[1..]);
        assert!(reassembly.is_complete());
        assert_eq!(reassembly.finish().unwrap(), (header, extrinsics));
    }

    #[test]
    fn what_the_pool_lacks_is_named_and_supplied() {
        let (header, extrinsics) = block(20);
        let compact = CompactBlock::new(header.clone(), &extrinsics, 1).unwrap();
        let mut reassembly = relay(compact, &extrinsics[4..]);
        assert_eq!(reassembly.missing(), [1, 2, 3]);
        let mut reassembly = {
            assert_eq!(
                reassembly.supply(2, transaction(99)),
                Err(SupplyError::WrongTransaction(2))
            );
            assert_eq!(
                reassembly.supply(9, transaction(8)),
                Err(SupplyError::NotMissing(9))
            );
            assert_eq!(
                reassembly.supply(900, transaction(8)),
                Err(SupplyError::NotMissing(900))
            );
            *reassembly.finish().unwrap_err()
        };
        for position in reassembly.missing() {
            let index = usize::try_from(position).unwrap();
            reassembly
                .supply(position, extrinsics[index].clone())
                .unwrap();
        }
        assert_eq!(reassembly.finish().unwrap(), (header, extrinsics));
    }

    #[test]
    fn the_same_extrinsic_twice_travels_whole_the_second_time() {
        let (header, mut extrinsics) = block(3);
        extrinsics.push(extrinsics[2].clone());
        let compact = CompactBlock::new(header.clone(), &extrinsics, 1).unwrap();
        let positions: Vec<u32> = compact.whole.iter().map(|whole| whole.position).collect();
        assert_eq!(positions, [0, 4]);
        let reassembly = relay(compact, &extrinsics[1..4]);
        assert_eq!(reassembly.finish().unwrap(), (header, extrinsics));
    }

    #[test]
    fn transactions_of_the_pool_that_collide_are_fetched() {
        let key = ShortIdKey::new(b"header");
        let twice = Hash::repeat_byte(1);
        let index = PoolIndex::new(&key, [(twice, 1), (twice, 2), (Hash::zero(), 3)]);
        assert_eq!(index.get(&key.short_id(&twice)), None);
        assert_eq!(index.get(&key.short_id(&Hash::zero())), Some(&3));
    }

    #[test]
    fn a_wrong_transaction_of_the_pool_is_mended_by_fetching_all() {
        let (header, extrinsics) = block(5);
        let compact = CompactBlock::new(header.clone(), &extrinsics, 1).unwrap();
        let wrong = compact.short_ids[2];
        // A lookup that finds something else, as two transactions with one short id would make it.
        let mut reassembly = Reassembly::new(compact, |id| {
            let position = if *id == wrong { 77 } else { 0 };
            Some(transaction(position))
        })
        .unwrap();
        assert!(reassembly.is_complete());
        assert!(reassembly.distrust_pool());
        assert_eq!(reassembly.missing(), [1, 2, 3, 4, 5]);
        for position in reassembly.missing() {
            let index = usize::try_from(position).unwrap();
            reassembly
                .supply(position, extrinsics[index].clone())
                .unwrap();
        }
        assert!(!reassembly.distrust_pool(), "nothing is of the pool now");
        assert_eq!(reassembly.finish().unwrap(), (header, extrinsics));
    }

    #[test]
    fn short_ids_are_of_one_block_only() {
        let hash = Hash::repeat_byte(3);
        let id = |header: &[u8]| ShortIdKey::new(header).short_id(&hash);
        assert_eq!(id(b"a"), id(b"a"));
        assert_ne!(id(b"a"), id(b"b"));
    }

    #[test]
    fn what_no_honest_sender_makes_is_refused() {
        let (header, extrinsics) = block(3);
        let good = CompactBlock::new(header.clone(), &extrinsics, 1).unwrap();
        let refused = |change: fn(&mut CompactBlock)| {
            let mut bad = good.clone();
            change(&mut bad);
            CompactBlock::decode_bounded(&bad.encode()).unwrap_err()
        };
        assert_eq!(
            refused(|bad| bad.whole[0].position = 4),
            CompactError::WrongPositions
        );
        assert_eq!(
            refused(|bad| bad.whole.push(bad.whole[0].clone())),
            CompactError::WrongPositions
        );
        assert_eq!(
            refused(|bad| bad.short_ids[1] = bad.short_ids[0]),
            CompactError::DuplicateShortId
        );
        assert_eq!(
            refused(|bad| bad.header = vec![0; COMPACT_HEADER_BYTES_MAX + 1]),
            CompactError::HeaderTooLong(COMPACT_HEADER_BYTES_MAX + 1)
        );
        assert_eq!(
            refused(|bad| bad.short_ids = vec![ShortId([0; 8]); COMPACT_EXTRINSICS_MAX]),
            CompactError::TooManyExtrinsics(COMPACT_EXTRINSICS_MAX + 1)
        );
        assert_eq!(
            refused(|bad| bad.whole[0].bytes = vec![0; COMPACT_BODY_BYTES_MAX + 1]),
            CompactError::BodyTooLong(COMPACT_BODY_BYTES_MAX + 1)
        );
        assert!(matches!(
            CompactBlock::decode_bounded(b"garbage that means nothing"),
            Err(CompactError::Malformed(_))
        ));
    }

    #[test]
    fn a_block_that_becomes_too_long_is_not_put_together() {
        let large = vec![1; COMPACT_BODY_BYTES_MAX / 2 + 1];
        let other = vec![2; COMPACT_BODY_BYTES_MAX / 2 + 1];
        let key = ShortIdKey::new(b"header");
        let compact = CompactBlock {
            header: b"header".to_vec(),
            whole: Vec::new(),
            short_ids: [&large, &other]
                .map(|bytes| key.short_id_of_bytes(bytes))
                .to_vec(),
        };
        let mut reassembly = Reassembly::new(compact.clone(), |_| None).unwrap();
        reassembly.supply(0, large.clone()).unwrap();
        assert_eq!(reassembly.supply(1, other), Err(SupplyError::BodyTooLong));
        let both_known = Reassembly::new(compact, |_| Some(large.clone()));
        assert!(matches!(both_known, Err(CompactError::BodyTooLong(_))));
    }

    proptest! {
        #[test]
        fn every_block_comes_back_whatever_the_pool_has(
            extrinsics in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..60),
            inherents in 0usize..4,
            known in prop::collection::vec(any::<bool>(), 60),
            strangers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..20),
        ) {
            let header = b"header".to_vec();
            let compact = CompactBlock::new(header.clone(), &extrinsics, inherents).unwrap();
            prop_assert_eq!(compact.count(), extrinsics.len());
            let of_block = extrinsics.iter().zip(&known).filter(|(_, known)| **known);
            let pool: BTreeSet<Vec<u8>> =
                of_block.map(|(extrinsic, _)| extrinsic.clone()).chain(strangers).collect();
            let pool: Vec<Vec<u8>> = pool.into_iter().collect();
            let mut reassembly = relay(compact, &pool);
            for position in reassembly.missing() {
                let index = usize::try_from(position).unwrap();
                prop_assert!(!pool.contains(&extrinsics[index]));
                reassembly.supply(position, extrinsics[index].clone()).unwrap();
            }
            prop_assert_eq!(reassembly.finish().unwrap(), (header, extrinsics));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(compact) = CompactBlock::decode_bounded(&bytes) {
                let count = compact.count();
                let reassembly = Reassembly::new(compact, |_| Some(vec![1])).unwrap();
                prop_assert_eq!(reassembly.finish().unwrap().1.len(), count);
            }
        }
    }
}
