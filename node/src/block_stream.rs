//! Blocks in a file: what `export-blocks` writes and `import-blocks` reads.
//!
//! ```text
//! head    "CWBLOCKS", version u32, genesis hash [32], first block u32, last block u32, CRC-32C of all that u32
//! frame   length u32, CRC-32C u32, that many bytes: header, body, justification in SCALE
//! …       one frame for each block from the first to the last; nothing after the last
//! ```
//! Integers are little-endian. The head says how many frames follow, so a file that was cut is seen even when it was cut
//! between two frames.

use std::io::{self, ErrorKind, Read, Write};

use codec::{DecodeWithMemLimit, Encode};
use commonwatt_runtime::{Hash, Header};
use commonwatt_storage::StoredBlock;

/// What such a file begins with.
const MAGIC: [u8; 8] = *b"CWBLOCKS";

/// The format that this version reads and writes.
const VERSION: u32 = 1;

/// Bytes of the head.
const HEAD_BYTES: usize = 8 + 4 + 32 + 4 + 4 + 4;

/// Bytes of a frame before its block.
const FRAME_HEAD_BYTES: usize = 4 + 4;

/// Bytes of a block at most: twice the runtime's limit for a body.
pub const BLOCK_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// Memory that a decoded block may take, in bytes: a hostile file must not ask for more.
const BLOCK_MEMORY_MAX: usize = 256 * 1024 * 1024;

/// Says whether a file that begins like this, however early it was cut, may be one of blocks.
pub fn may_be_blocks(beginning: &[u8]) -> bool {
    beginning.starts_with(&MAGIC) || MAGIC.starts_with(beginning)
}

/// What a file of blocks says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// The chain that the blocks are of.
    pub genesis: Hash,
    /// The number of the first block.
    pub first: u32,
    /// The number of the last block.
    pub last: u32,
}

/// Why blocks cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The operating system refused.
    #[error("cannot {action} the blocks: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It is another file.
    #[error("this is no file of blocks: give one that `commonwatt export-blocks` wrote")]
    NotBlocks,
    /// It was written in another format.
    #[error(
        "the file has format {found}, this version reads format {VERSION}: import it with the version of commonwatt that \
         wrote it, or export it again"
    )]
    OtherVersion {
        /// The file's format.
        found: u32,
    },
    /// The head is not what was written.
    #[error("the file's head is damaged: copy or export it again")]
    DamagedHead,
    /// The file ends too early.
    #[error(
        "the file ends within or before block {number}, though it should go to block {last}: it was cut; copy or export it \
         again. The blocks before that one are whole"
    )]
    Truncated {
        /// The first block that is missing.
        number: u32,
        /// The last block there should be.
        last: u32,
    },
    /// The file does not end where it should.
    #[error(
        "the file goes on after its last block, {last}: it was changed; copy or export it again"
    )]
    GoesOn {
        /// The last block.
        last: u32,
    },
    /// A block is larger than any.
    #[error(
        "block {number} is said to have {bytes} bytes, more than any block ({BLOCK_BYTES_MAX}): the file is damaged; copy or \
         export it again"
    )]
    TooLarge {
        /// The block.
        number: u32,
        /// Its length.
        bytes: u64,
    },
    /// A block is not what was written.
    #[error("block {number} is damaged in the file ({what}): copy or export it again")]
    Damaged {
        /// The block.
        number: u32,
        /// What is wrong.
        what: String,
    },
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> StreamError {
    move |source| StreamError::Io { action, source }
}

impl StreamHead {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&MAGIC);
        (VERSION, self.genesis, self.first, self.last).encode_to(&mut bytes);
        let checksum = crc32c::crc32c(&bytes);
        checksum.encode_to(&mut bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StreamError> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else {
            return Err(StreamError::NotBlocks);
        };
        let (version, rest) = split_u32(rest).ok_or(StreamError::DamagedHead)?;
        if version != VERSION {
            return Err(StreamError::OtherVersion { found: version });
        }
        let (content, checksum) = bytes
            .split_at_checked(HEAD_BYTES - 4)
            .ok_or(StreamError::DamagedHead)?;
        let is_whole = split_u32(checksum)
            .is_some_and(|(checksum, rest)| rest.is_empty() && checksum == crc32c::crc32c(content));
        let (genesis, rest) = rest
            .split_first_chunk::<32>()
            .filter(|_| is_whole)
            .ok_or(StreamError::DamagedHead)?;
        let (first, rest) = split_u32(rest).ok_or(StreamError::DamagedHead)?;
        let (last, _) = split_u32(rest).ok_or(StreamError::DamagedHead)?;
        if first == 0 || first > last {
            return Err(StreamError::DamagedHead);
        }
        Ok(Self {
            genesis: genesis.into(),
            first,
            last,
        })
    }
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// Writes blocks, in their order.
pub struct BlockWriter<Output> {
    output: Output,
}

impl<Output: Write> BlockWriter<Output> {
    /// Begins with the head.
    pub fn begin(mut output: Output, head: StreamHead) -> Result<Self, StreamError> {
        output
            .write_all(&head.to_bytes())
            .map_err(failed("write"))?;
        Ok(Self { output })
    }

    /// Writes the next block.
    pub fn write(&mut self, block: &StoredBlock) -> Result<(), StreamError> {
        let bytes = block.encode();
        let number = block.header.number;
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= BLOCK_BYTES_MAX)
            .ok_or(StreamError::TooLarge {
                number,
                bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            })?;
        let head = (length, crc32c::crc32c(&bytes)).encode();
        self.output
            .write_all(&head)
            .and_then(|()| self.output.write_all(&bytes))
            .map_err(failed("write"))
    }

    /// Writes what is left and returns the output.
    pub fn finish(mut self) -> Result<Output, StreamError> {
        self.output.flush().map_err(failed("write"))?;
        Ok(self.output)
    }
}

/// Reads blocks, in their order.
pub struct BlockReader<Input> {
    input: Input,
    head: StreamHead,
    /// The number of the next block; `None` after the last.
    next: Option<u32>,
}

impl<Input: Read> BlockReader<Input> {
    /// Reads the head.
    pub fn open(mut input: Input) -> Result<Self, StreamError> {
        let mut bytes = [0; HEAD_BYTES];
        let length = read_up_to(&mut input, &mut bytes)?;
        let head = StreamHead::from_bytes(&bytes[..length])?;
        Ok(Self {
            input,
            head,
            next: Some(head.first),
        })
    }

    /// Returns what the file says of itself.
    pub fn head(&self) -> StreamHead {
        self.head
    }

    /// Reads the next block; `None` after the last. Only form and number are checked.
    pub fn next_block(&mut self) -> Result<Option<StoredBlock>, StreamError> {
        let last = self.head.last;
        let Some(number) = self.next else {
            return Ok(None);
        };
        let truncated = StreamError::Truncated { number, last };
        let mut frame_head = [0; FRAME_HEAD_BYTES];
        if read_up_to(&mut self.input, &mut frame_head)? < FRAME_HEAD_BYTES {
            return Err(truncated);
        }
        let [a, b, c, d, e, f, g, h] = frame_head;
        let length = u32::from_le_bytes([a, b, c, d]);
        let checksum = u32::from_le_bytes([e, f, g, h]);
        if length > BLOCK_BYTES_MAX {
            return Err(StreamError::TooLarge {
                number,
                bytes: length.into(),
            });
        }
        let mut bytes = Vec::new();
        (&mut self.input)
            .take(length.into())
            .read_to_end(&mut bytes)
            .map_err(failed("read"))?;
        if u32::try_from(bytes.len()) != Ok(length) {
            return Err(truncated);
        }
        let damaged = |what: String| StreamError::Damaged { number, what };
        if crc32c::crc32c(&bytes) != checksum {
            return Err(damaged("its checksum differs".to_owned()));
        }
        let block = decode_block(&bytes).map_err(damaged)?;
        if block.header.number != number {
            let what = format!("block {} stands in its place", block.header.number);
            return Err(damaged(what));
        }
        self.next = number.checked_add(1).filter(|next| *next <= last);
        if self.next.is_none() && read_up_to(&mut self.input, &mut [0])? > 0 {
            return Err(StreamError::GoesOn { last });
        }
        Ok(Some(block))
    }
}

fn decode_block(bytes: &[u8]) -> Result<StoredBlock, String> {
    type Parts = (Header, Vec<Vec<u8>>, Option<Vec<u8>>);
    let mut rest = bytes;
    let (header, body, justification) = Parts::decode_with_mem_limit(&mut rest, BLOCK_MEMORY_MAX)
        .map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("it is longer than its parts".to_owned());
    }
    Ok(StoredBlock {
        header,
        body,
        justification,
    })
}

/// Fills `bytes` as far as the input goes; returns how far that is.
fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize, StreamError> {
    let mut length = 0;
    while length < bytes.len() {
        match input.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read")(error)),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_runtime::traits::Header as _;

    const GENESIS: Hash = Hash::repeat_byte(7);

    fn block(number: u32) -> StoredBlock {
        StoredBlock {
            header: Header::new(
                number,
                Hash::repeat_byte(1),
                Hash::repeat_byte(2),
                Hash::repeat_byte(3),
                Default::default(),
            ),
            body: vec![vec![1, 2, 3], vec![4; 100]],
            justification: Some(vec![5; 64]),
        }
    }

    fn file(first: u32, last: u32) -> Vec<u8> {
        let head = StreamHead {
            genesis: GENESIS,
            first,
            last,
        };
        let mut writer = BlockWriter::begin(Vec::new(), head).unwrap();
        for number in first..=last {
            writer.write(&block(number)).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<StoredBlock>, StreamError> {
        let mut reader = BlockReader::open(bytes)?;
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block()? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    fn refusal(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    /// Puts the right checksum behind a changed head.
    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        let checksum = crc32c::crc32c(&bytes[..HEAD_BYTES - 4]);
        bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file(3, 5);
        assert_eq!(read(&bytes).unwrap(), [block(3), block(4), block(5)]);
        let head = BlockReader::open(&bytes[..]).unwrap().head();
        assert_eq!((head.genesis, head.first, head.last), (GENESIS, 3, 5));
    }

    #[test]
    fn a_file_that_was_cut_is_seen_wherever_it_was_cut() {
        let bytes = file(1, 3);
        for length in 0..bytes.len() {
            let said = refusal(&bytes[..length]);
            let expected = match length {
                0..8 => "this is no file of blocks",
                8..HEAD_BYTES => "head is damaged",
                _ => "it was cut",
            };
            assert!(said.contains(expected), "{length}: {said}");
        }
        let frame = (bytes.len() - HEAD_BYTES) / 3;
        let said = refusal(&bytes[..HEAD_BYTES + frame]);
        assert!(
            said.contains("before block 2") && said.contains("to block 3"),
            "{said}"
        );
    }

    #[test]
    fn no_changed_byte_goes_unseen() {
        let bytes = file(1, 2);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x10;
            assert!(read(&changed).is_err(), "byte {place}");
        }
    }

    #[test]
    fn other_files_and_formats_are_refused() {
        let said = refusal(b"{\"name\": \"a chain spec\"}");
        assert!(said.contains("no file of blocks"), "{said}");
        let mut bytes = file(1, 1);
        bytes[8] = 2;
        let said = refusal(&bytes);
        assert!(
            said.contains("format 2") && said.contains("format 1"),
            "{said}"
        );
    }

    #[test]
    fn a_head_that_promises_nothing_or_block_0_is_refused() {
        for (first, last) in [(0u32, 3u32), (4, 3)] {
            let mut bytes = file(1, 1);
            bytes[44..48].copy_from_slice(&first.to_le_bytes());
            bytes[48..52].copy_from_slice(&last.to_le_bytes());
            let said = refusal(&with_checksum(bytes));
            assert!(said.contains("head is damaged"), "{said}");
        }
    }

    #[test]
    fn sizes_are_bounded_before_memory_is_taken() {
        let mut bytes = file(1, 1);
        bytes[HEAD_BYTES..HEAD_BYTES + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let said = refusal(&bytes);
        assert!(said.contains("4294967295 bytes"), "{said}");
        // A body of ten million empty extrinsics would take 240 MB and more.
        let many = StoredBlock {
            body: vec![Vec::new(); 12_000_000],
            ..block(1)
        };
        let head = StreamHead {
            genesis: GENESIS,
            first: 1,
            last: 1,
        };
        let mut writer = BlockWriter::begin(Vec::new(), head).unwrap();
        writer.write(&many).unwrap();
        let said = refusal(&writer.finish().unwrap());
        assert!(said.contains("block 1 is damaged"), "{said}");
    }

    #[test]
    fn a_file_that_goes_on_is_refused() {
        let mut bytes = file(1, 2);
        bytes.push(0);
        let said = refusal(&bytes);
        assert!(said.contains("goes on after its last block, 2"), "{said}");
    }

    #[test]
    fn a_block_in_anothers_place_is_refused() {
        let head = StreamHead {
            genesis: GENESIS,
            first: 1,
            last: 2,
        };
        let mut writer = BlockWriter::begin(Vec::new(), head).unwrap();
        writer.write(&block(2)).unwrap();
        let said = refusal(&writer.finish().unwrap());
        assert!(said.contains("block 2 stands in its place"), "{said}");
    }
}
