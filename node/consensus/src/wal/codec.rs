//! A write-ahead log as bytes.
//!
//! ```text
//! header   magic "CWATTWAL" ‖ format (u32) ‖ genesis hash (32) ‖ height (u32) ‖ CRC-32C of all that (u32)
//! frame    kind (1) ‖ index (u32) ‖ length (u32) ‖ CRC-32C (u32) ‖ payload
//! ```
//!
//! Numbers are little-endian; the CRC of a frame covers the header's CRC, kind, index, length and payload, so a
//! frame of another log or place does not pass. Index counts entries from zero. What is synced at once is one
//! batch: entry frames, then two equal *marks* (frames without payload whose index is the number of entries so
//! far).
//!
//! A mark tells the two kinds of damage apart. What was never synced may be torn in any way by a power cut, and
//! nothing that depends on it has left the node: it is cut off. Damage *before* a mark is damage to what was
//! synced: some of it may be a vote that others have seen, so the log is refused. There are two marks so that
//! damage to one of them loses nothing.

use ::codec::{DecodeAll, Encode};
use commonwatt_primitives::Hash;
use std::{io, path::PathBuf};

use super::{WalEntry, short};
use crate::limits::{WAL_BYTES_MAX, WAL_ENTRY_BYTES_MAX};

/// First bytes of every log.
const MAGIC: [u8; 8] = *b"CWATTWAL";
/// The format described above.
const FORMAT: u32 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 8 + 4 + 32 + 4 + 4;
/// Bytes of a frame without its payload.
const FRAME_BYTES: usize = 1 + 4 + 4 + 4;
/// Bytes of the two marks that end a batch.
pub(super) const MARKS_BYTES: usize = 2 * FRAME_BYTES;
/// Kind of an entry's frame.
const ENTRY: u8 = b'E';
/// Kind of a mark.
const MARK: u8 = b'M';

/// What to do when the log cannot be used; ends such messages.
const LATER: &str = "keep a copy for analysis, remove the file, and let this validator vote again only from a \
                     height that the network has not begun, so that it cannot contradict votes it has sent";

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The operating system refused a file operation.
    #[error(
        "cannot {action} the write-ahead log {path}: {source}; free disk space or check the disk, then start the node again"
    )]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An earlier operation failed.
    #[error(
        "the write-ahead log takes no more entries since an operation on it failed; start the node again"
    )]
    Stopped,
    /// An entry before the first reset.
    #[error("the write-ahead log was not begun for a height; this is a fault of the node")]
    NotBegun,
    /// Not a log.
    #[error(
        "this is no write-ahead log: it does not begin with its magic bytes and a sound header; {LATER}"
    )]
    NotALog,
    /// Written by another version.
    #[error(
        "the write-ahead log has format {0}, this version reads format {FORMAT}; use the version that wrote it"
    )]
    OtherFormat(u32),
    /// A log of another chain.
    #[error(
        "the write-ahead log is of the chain with genesis {found}, this node's is {expected}; use another \
         folder or another chain spec"
    )]
    OtherChain {
        /// The chain of this node.
        expected: String,
        /// The chain in the log.
        found: String,
    },
    /// What was on disk has changed.
    #[error("the write-ahead log is damaged at byte {offset} ({what}), before its end; {LATER}")]
    Damaged {
        /// Where.
        offset: usize,
        /// How.
        what: String,
    },
    /// An entry above its bound.
    #[error(
        "an entry of {0} bytes is above the {WAL_ENTRY_BYTES_MAX} that the write-ahead log takes; this is a fault of the node"
    )]
    EntryTooLong(usize),
    /// A log above its bound.
    #[error("the write-ahead log of one height is above {WAL_BYTES_MAX} bytes; {LATER}")]
    TooLong,
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The height it is of.
    pub height: u32,
    /// Its entries, in order.
    pub entries: Vec<WalEntry>,
    /// How many of the bytes are sound; what follows is a torn tail and must be cut off before writing on.
    pub sound_bytes: usize,
}

/// Returns the header of the log of `height` on the chain of `genesis`.
pub fn encode_header(genesis: &Hash, height: u32) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(genesis.as_bytes());
    header.extend_from_slice(&height.to_le_bytes());
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header
}

/// Returns the batch of `entries`, the first of which has `index` in the log of `height` on the chain of
/// `genesis`.
pub fn encode_batch(
    genesis: &Hash,
    height: u32,
    index: u32,
    entries: &[WalEntry],
) -> Result<Vec<u8>, WalError> {
    let seed = seed_of(&encode_header(genesis, height));
    let mut batch = Vec::new();
    let mut index = index;
    for entry in entries {
        let payload = entry.encode();
        if payload.len() > WAL_ENTRY_BYTES_MAX {
            return Err(WalError::EntryTooLong(payload.len()));
        }
        push_frame(&mut batch, seed, ENTRY, index, &payload);
        index = index.checked_add(1).ok_or(WalError::TooLong)?;
    }
    push_frame(&mut batch, seed, MARK, index, &[]);
    push_frame(&mut batch, seed, MARK, index, &[]);
    Ok(batch)
}

/// Reads a whole log of the chain of `genesis`.
pub fn decode(bytes: &[u8], genesis: &Hash) -> Result<Contents, WalError> {
    let (height, seed) = decode_header(bytes, genesis)?;
    let mut entries = Vec::new();
    let mut offset = HEADER_BYTES;
    while offset < bytes.len() {
        match read_frame(bytes, offset, seed, entries.len()) {
            Ok(frame) => {
                if let Some(entry) = frame.entry {
                    entries.push(entry);
                }
                offset = frame.end;
            }
            Err(what) if has_mark_after(bytes, offset, seed) => {
                return Err(WalError::Damaged { offset, what });
            }
            Err(_) => break,
        }
    }
    Ok(Contents {
        height,
        entries,
        sound_bytes: offset,
    })
}

fn decode_header(bytes: &[u8], genesis: &Hash) -> Result<(u32, u32), WalError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(WalError::NotALog)?;
    let (content, checksum) = header
        .split_last_chunk::<4>()
        .expect("a header is longer than its checksum; qed");
    if content[..8] != MAGIC || u32::from_le_bytes(*checksum) != crc32c::crc32c(content) {
        return Err(WalError::NotALog);
    }
    let format = read_u32(content, 8).ok_or(WalError::NotALog)?;
    if format != FORMAT {
        return Err(WalError::OtherFormat(format));
    }
    let found = Hash::from_slice(&content[12..44]);
    if found != *genesis {
        return Err(WalError::OtherChain {
            expected: short(genesis),
            found: short(&found),
        });
    }
    let height = read_u32(content, 44).ok_or(WalError::NotALog)?;
    Ok((height, seed_of(header)))
}

/// Binds frames to their log: the checksum of its header. (Not the checksum over that checksum too, which is the
/// same for every header.)
fn seed_of(header: &[u8]) -> u32 {
    crc32c::crc32c(&header[..HEADER_BYTES - 4])
}

fn checksum_of(seed: u32, kind: u8, index: u32, payload: &[u8]) -> u32 {
    // A frame's payload is bounded by WAL_ENTRY_BYTES_MAX, so its length always fits.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = crc32c::crc32c_append(seed, &[kind]);
    let checksum = crc32c::crc32c_append(checksum, &index.to_le_bytes());
    let checksum = crc32c::crc32c_append(checksum, &length.to_le_bytes());
    crc32c::crc32c_append(checksum, payload)
}

fn push_frame(batch: &mut Vec<u8>, seed: u32, kind: u8, index: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    batch.push(kind);
    batch.extend_from_slice(&index.to_le_bytes());
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(&checksum_of(seed, kind, index, payload).to_le_bytes());
    batch.extend_from_slice(payload);
}

struct Frame {
    /// `None` for a mark.
    entry: Option<WalEntry>,
    end: usize,
}

/// Reads the frame at `offset`, where `count` entries came before; says what is wrong with it.
fn read_frame(bytes: &[u8], offset: usize, seed: u32, count: usize) -> Result<Frame, String> {
    let frame = &bytes[offset..];
    let (Some(&kind), Some(index), Some(length), Some(checksum)) = (
        frame.first(),
        read_u32(frame, 1),
        read_u32(frame, 5),
        read_u32(frame, 9),
    ) else {
        return Err("a frame is cut short".into());
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > WAL_ENTRY_BYTES_MAX {
        return Err(format!("an entry of {length} bytes is impossible"));
    }
    let Some(payload) = frame.get(FRAME_BYTES..FRAME_BYTES + length) else {
        return Err("an entry is cut short".into());
    };
    if checksum != checksum_of(seed, kind, index, payload) {
        return Err("a checksum does not match".into());
    }
    if usize::try_from(index) != Ok(count) {
        return Err(format!("entry {count} is expected, {index} is there"));
    }
    let entry = match kind {
        ENTRY => Some(
            WalEntry::decode_all(&mut &payload[..])
                .map_err(|error| format!("an entry cannot be decoded: {error}"))?,
        ),
        MARK if payload.is_empty() => None,
        _ => return Err(format!("a frame of kind {kind} is impossible")),
    };
    Ok(Frame {
        entry,
        end: offset + FRAME_BYTES + length,
    })
}

/// Returns whether a mark of this log stands anywhere after `offset`.
///
/// Its bytes alone are looked at, since damage can hide where frames begin. A block could carry such bytes on
/// purpose; then a torn tail would be refused instead of cut off, which is the safe side.
fn has_mark_after(bytes: &[u8], offset: usize, seed: u32) -> bool {
    let candidates = bytes.get(offset + 1..).unwrap_or_default();
    candidates.windows(FRAME_BYTES).any(|frame| {
        frame[0] == MARK
            && read_u32(frame, 5) == Some(0)
            && read_u32(frame, 1).is_some_and(|index| {
                read_u32(frame, 9) == Some(checksum_of(seed, MARK, index, &[]))
            })
    })
}

fn read_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::LoggedTimeout;

    const GENESIS: Hash = Hash::repeat_byte(7);

    fn entry(round: u32) -> WalEntry {
        WalEntry::Timeout {
            round,
            kind: LoggedTimeout::Propose,
        }
    }

    /// A log of two batches, and where the second begins.
    fn log() -> (Vec<u8>, usize) {
        let mut log = encode_header(&GENESIS, 5);
        log.extend(encode_batch(&GENESIS, 5, 0, &[entry(0), entry(1)]).unwrap());
        let second = log.len();
        log.extend(encode_batch(&GENESIS, 5, 2, &[entry(2), entry(3)]).unwrap());
        (log, second)
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let (log, _) = log();
        let contents = decode(&log, &GENESIS).unwrap();
        assert_eq!(contents.height, 5);
        assert_eq!(contents.entries, [entry(0), entry(1), entry(2), entry(3)]);
        assert_eq!(contents.sound_bytes, log.len());
        let empty = decode(&encode_header(&GENESIS, 9), &GENESIS).unwrap();
        assert_eq!((empty.height, empty.entries.len()), (9, 0));
    }

    #[test]
    fn a_log_cut_anywhere_keeps_what_is_whole_and_can_be_written_on() {
        let (log, second) = log();
        for cut in HEADER_BYTES..log.len() {
            let contents = decode(&log[..cut], &GENESIS).unwrap();
            if cut >= second {
                assert!(contents.entries.starts_with(&[entry(0), entry(1)]), "{cut}");
            }
            let mut mended = log[..contents.sound_bytes].to_vec();
            let index = u32::try_from(contents.entries.len()).unwrap();
            mended.extend(encode_batch(&GENESIS, 5, index, &[entry(9)]).unwrap());
            let again = decode(&mended, &GENESIS).unwrap();
            assert_eq!(again.entries.last(), Some(&entry(9)));
            assert_eq!(again.sound_bytes, mended.len());
        }
        for cut in 0..HEADER_BYTES {
            assert!(matches!(
                decode(&log[..cut], &GENESIS),
                Err(WalError::NotALog)
            ));
        }
    }

    #[test]
    fn no_flipped_bit_loses_an_entry_that_was_synced() {
        let (log, _) = log();
        let whole = decode(&log, &GENESIS).unwrap().entries;
        let mut refused = 0;
        for bit in 0..log.len() * 8 {
            let mut damaged = log.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match decode(&damaged, &GENESIS) {
                Ok(contents) => assert_eq!(contents.entries, whole, "bit {bit}"),
                Err(_) => refused += 1,
            }
        }
        // Only the very last mark can be damaged without harm.
        assert_eq!(refused, (log.len() - FRAME_BYTES) * 8);
    }

    #[test]
    fn a_tail_of_garbage_or_zeros_is_cut_off() {
        let (log, second) = log();
        for tail in [
            vec![0; 4096],
            vec![0xff; 50],
            log[second..second + 20].to_vec(),
        ] {
            let mut torn = log.clone();
            torn.extend(&tail);
            let contents = decode(&torn, &GENESIS).unwrap();
            assert_eq!(contents.entries.len(), 4);
            assert_eq!(contents.sound_bytes, log.len());
        }
    }

    #[test]
    fn a_batch_that_reached_the_disk_in_part_is_cut_off() {
        let (log, second) = log();
        // The first page of the batch is missing, the rest is there, but no mark.
        let mut torn = log[..log.len() - 2 * FRAME_BYTES].to_vec();
        torn[second..second + 4].fill(0);
        let contents = decode(&torn, &GENESIS).unwrap();
        assert_eq!(contents.entries, [entry(0), entry(1)]);
        assert_eq!(contents.sound_bytes, second);
    }

    #[test]
    fn logs_of_other_chains_formats_and_programs_are_refused() {
        let (log, _) = log();
        assert!(matches!(
            decode(&log, &Hash::zero()),
            Err(WalError::OtherChain { .. })
        ));
        assert!(matches!(
            decode(b"SQLite format 3", &GENESIS),
            Err(WalError::NotALog)
        ));
        let mut later = encode_header(&GENESIS, 5);
        later[8] = 2;
        let checksum = crc32c::crc32c(&later[..HEADER_BYTES - 4]);
        later[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
        assert!(matches!(
            decode(&later, &GENESIS),
            Err(WalError::OtherFormat(2))
        ));
    }

    #[test]
    fn a_frame_of_another_height_is_refused() {
        let mut mixed = encode_header(&GENESIS, 5);
        mixed.extend(encode_batch(&GENESIS, 6, 0, &[entry(0)]).unwrap());
        mixed.extend(encode_batch(&GENESIS, 5, 0, &[entry(0)]).unwrap());
        assert!(matches!(
            decode(&mixed, &GENESIS),
            Err(WalError::Damaged {
                offset: HEADER_BYTES,
                ..
            })
        ));
    }

    #[test]
    fn the_errors_say_what_to_do() {
        let error = WalError::Damaged {
            offset: 7,
            what: "x".into(),
        };
        assert!(error.to_string().contains("vote again only from a height"));
    }
}
