//! The form of a record on disk: kind, payload, checksum.
//!
//! The checksum covers the column and the key as well, so that a record that turns up at another place
//! is as visible as a flipped bit.

use crate::{error::StoreError, store::Column};

/// Bytes that a record needs beside its payload.
const OVERHEAD: usize = 1 + size_of::<u32>();

/// What the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The whole value.
    Whole,
    /// The length of a value that is stored in chunks.
    Split,
    /// One chunk of a split value.
    Chunk,
}

impl RecordKind {
    const fn id(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Split => 1,
            Self::Chunk => 2,
        }
    }

    const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::Whole),
            1 => Some(Self::Split),
            2 => Some(Self::Chunk),
            _ => None,
        }
    }
}

fn compute_checksum(column: Column, key: &[u8], kind_and_payload: &[u8]) -> u32 {
    let start = crc32c::crc32c(&[column.id()]);
    crc32c::crc32c_append(crc32c::crc32c_append(start, key), kind_and_payload)
}

/// Returns the record of `payload` under `key`.
pub(crate) fn seal(column: Column, key: &[u8], kind: RecordKind, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(payload.len().saturating_add(OVERHEAD));
    record.push(kind.id());
    record.extend_from_slice(payload);
    let checksum = compute_checksum(column, key, &record);
    record.extend_from_slice(&checksum.to_le_bytes());
    record
}

/// Returns the kind and the payload of `record` after verifying its checksum.
pub(crate) fn open<'a>(
    column: Column,
    key: &[u8],
    record: &'a [u8],
) -> Result<(RecordKind, &'a [u8]), StoreError> {
    let Some((content, checksum)) = record.split_last_chunk::<4>() else {
        return Err(StoreError::corrupt(column, key, "it is too short"));
    };
    if compute_checksum(column, key, content) != u32::from_le_bytes(*checksum) {
        return Err(StoreError::corrupt(
            column,
            key,
            "its checksum does not match",
        ));
    }
    match content.split_first() {
        Some((id, payload)) => RecordKind::from_id(*id)
            .map(|kind| (kind, payload))
            .ok_or_else(|| StoreError::corrupt(column, key, format!("unknown record kind {id}"))),
        None => Err(StoreError::corrupt(column, key, "it is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_to_what_was_sealed() {
        let record = seal(Column::State, b"key", RecordKind::Whole, b"value");
        let opened = open(Column::State, b"key", &record).expect("intact");
        assert_eq!(opened, (RecordKind::Whole, &b"value"[..]));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let record = seal(Column::State, b"key", RecordKind::Whole, b"value");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(Column::State, b"key", &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_at_another_place_is_seen() {
        let record = seal(Column::State, b"key", RecordKind::Whole, b"value");
        assert!(open(Column::State, b"kez", &record).is_err());
        assert!(open(Column::Bodies, b"key", &record).is_err());
        assert!(open(Column::State, b"key", &record[..3]).is_err());
    }

    #[test]
    fn the_error_names_column_and_key() {
        let error = open(Column::Bodies, &[1, 2], &[0; 9]).expect_err("damaged");
        let text = error.to_string();
        assert!(text.contains("bodies") && text.contains("0x0102"), "{text}");
    }
}
