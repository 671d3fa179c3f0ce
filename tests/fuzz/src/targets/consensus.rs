//! What validators send each other, and what one of them remembers.

use std::{fs, sync::LazyLock};

use codec::{Decode, DecodeAll, Encode};
use commonwatt_consensus::{
    Certificate, CertifiedBlock, Config, EquivocationProof, HeaderFacts, Input, Machine, Message,
    Pace, PeerId, Timing, Validator, ValidatorSet, verify_certificate, verify_evidence, wal,
};
use commonwatt_primitives::{AccountId, Hash, digest::Punctuality};
use sp_core::{Pair, ed25519};

use crate::fixtures::scratch;

/// The chain that logs and messages are of.
pub const GENESIS: Hash = Hash::repeat_byte(0x67);
/// The height at which messages arrive.
const HEIGHT: u32 = 7;
/// Validators of that height.
const VALIDATORS: u8 = 4;

/// Returns the key of a validator.
pub fn pair(node: u8) -> ed25519::Pair {
    ed25519::Pair::from_seed(&[node + 1; 32])
}

/// Returns the account of a validator.
pub fn account(node: u8) -> AccountId {
    AccountId::new([node + 0x41; 32])
}

fn set() -> &'static ValidatorSet {
    static SET: LazyLock<ValidatorSet> = LazyLock::new(|| {
        let validators = (0..VALIDATORS).map(|node| Validator {
            account: account(node),
            vote: pair(node).public(),
        });
        let ranking: Vec<_> = (0..VALIDATORS).map(account).collect();
        ValidatorSet::new(validators.collect(), &ranking).expect("four different ones")
    });
    &SET
}

/// Reads the headers of these targets: height, rank, lateness and author.
fn read_header(bytes: &[u8]) -> Option<HeaderFacts> {
    let (height, author_rank, is_late, author) =
        <(u32, u32, bool, AccountId)>::decode_all(&mut &bytes[..]).ok()?;
    Some(HeaderFacts {
        height,
        author,
        author_rank,
        punctuality: match is_late {
            true => Punctuality::Late,
            false => Punctuality::OnTime,
        },
    })
}

fn machine() -> Machine {
    let config = Config {
        genesis: GENESIS,
        voter: None,
        votes_from: 0,
        timing: Timing::for_step(900_000),
        read_header,
    };
    Machine::new(config, HEIGHT - 1, None)
}

fn handle(machine: &mut Machine, input: Input) {
    if let Err(fatal) = machine.handle(input) {
        panic!("what a peer sent ends the node: {fatal}");
    }
}

/// A message, a certified block, a certificate or an accusation, as the first byte says: what is accepted has one
/// encoding; whatever it is, a machine that gets it goes on.
pub fn consensus_message(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let peer = PeerId(1);
    match kind % 4 {
        0 => {
            let Ok(message) = Message::decode_bounded(bytes) else {
                return;
            };
            assert_eq!(message.encode(), bytes);
            let mut machine = machine();
            handle(
                &mut machine,
                Input::Message {
                    peer,
                    message: message.clone(),
                },
            );
            let start = Input::StartHeight {
                height: HEIGHT,
                validators: set().clone(),
                pace: Pace::OnTime,
            };
            handle(&mut machine, start);
            handle(&mut machine, Input::Message { peer, message });
        }
        1 => {
            if let Ok(certified) = CertifiedBlock::decode_bounded(bytes) {
                assert_eq!(certified.encode(), bytes);
            }
        }
        2 => {
            if let Ok(certificate) = Certificate::decode_all(&mut &bytes[..]) {
                assert_eq!(certificate.encode(), bytes);
                let hash = certificate.block;
                // Whether it holds is not the question.
                let _ = verify_certificate(set(), &GENESIS, HEIGHT, &hash, &certificate);
            }
        }
        _ => {
            if let Ok(proof) = EquivocationProof::decode_all(&mut &bytes[..]) {
                assert_eq!(proof.encode(), bytes);
                if let Ok(offender) = verify_evidence(set(), &GENESIS, &proof) {
                    assert_eq!(offender, *proof.offender());
                }
            }
        }
    }
}

/// A write-ahead log: what is read can be written on, and is read again. A first byte that is odd mends the checksums
/// before; one below two has the log read from a file.
pub fn consensus_log(data: &[u8]) {
    let Some((mode, log)) = data.split_first() else {
        return;
    };
    let mut log = log.to_vec();
    if mode % 2 == 1 {
        mend_log(&mut log);
    }
    let contents = wal::decode(&log, &GENESIS);
    if mode / 2 == 0 {
        let path = scratch().join("wal");
        fs::write(&path, &log).expect("the temporary folder can be written to");
        let opened = wal::FileLog::open(&path, GENESIS);
        assert_eq!(opened.is_ok(), contents.is_ok());
        if let (Ok((_, Some(recovered))), Ok(contents)) = (opened, &contents) {
            assert_eq!(recovered.entries, contents.entries);
        }
    }
    let Ok(contents) = contents else {
        return;
    };
    let mut again = log[..contents.sound_bytes].to_vec();
    let more = wal::WalEntry::Timeout {
        round: 9,
        kind: wal::LoggedTimeout::Propose,
    };
    let count = u32::try_from(contents.entries.len()).expect("a small log");
    again.extend(
        wal::encode_batch(
            &GENESIS,
            contents.height,
            count,
            std::slice::from_ref(&more),
        )
        .expect("a small entry"),
    );
    let read = wal::decode(&again, &GENESIS).expect("what was kept of a log can be written on");
    assert_eq!(read.sound_bytes, again.len());
    assert_eq!(read.entries.len(), contents.entries.len() + 1);
    assert!(read.entries.starts_with(&contents.entries));
    assert_eq!(read.entries.last(), Some(&more));
}

/// Bytes of a log's header, and of a frame before its payload.
const HEADER_BYTES: usize = wal::codec::HEADER_BYTES;
const FRAME_BYTES: usize = 13;

/// Writes into a log the checksums it should have, as far as its frames can be followed.
fn mend_log(log: &mut [u8]) {
    let Some((header, mut frames)) = log.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    let seed = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&seed.to_le_bytes());
    while let Some((frame, rest)) = frames.split_at_mut_checked(FRAME_BYTES) {
        let length = u32::decode(&mut &frame[5..9]).expect("four bytes");
        let Some((payload, rest)) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_mut_checked(length))
        else {
            return;
        };
        let checksum = crc32c::crc32c_append(crc32c::crc32c_append(seed, &frame[..9]), payload);
        frame[9..].copy_from_slice(&checksum.to_le_bytes());
        frames = rest;
    }
}
