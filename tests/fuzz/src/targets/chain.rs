//! What comes from other nodes and from clients: headers, blocks, transactions, calls of the runtime.

use std::sync::{Arc, LazyLock};

use codec::{Decode, DecodeAll, DecodeLimit, DecodeWithMemLimit, Encode};
use commonwatt::block_stream::{BlockReader, BlockWriter};
use commonwatt_chain::{Agreement, Chain};
use commonwatt_executor::{
    BlockDraft, BuildLimits, CallError, EXTRINSIC_DEPTH_MAX, Outcome, decode_extrinsic,
};
use commonwatt_primitives::{
    Step,
    digest::{ENGINE_ID, Punctuality, StepDigest},
};
use commonwatt_runtime::{Header, RuntimeCall};
use commonwatt_storage::{CommitMode, State, StoredBlock};
use parking_lot::Mutex;
use sp_runtime::{
    DigestItem, StateVersion,
    traits::{BlakeTwo256, Hash as _, Header as _},
};

use crate::fixtures::{BLOCKS, SIGNERS, agreement, grown, new_chain, sign, signer, timing};

/// Memory that a decoded block may take here, in bytes.
const BLOCK_MEMORY_MAX: usize = 64 * 1024 * 1024;
/// Calls of one input that are executed.
const CALLS_MAX: usize = 16;
/// Blocks of one input that are read.
const BLOCKS_READ_MAX: usize = 64;

/// An extrinsic: what is accepted has one encoding, the one that came.
pub fn extrinsic(data: &[u8]) {
    if let Ok(extrinsic) = decode_extrinsic(data) {
        assert_eq!(
            extrinsic.encode(),
            data,
            "an extrinsic has a second encoding"
        );
    }
}

/// A header: what is accepted has one encoding, and its step digest is the one that was put in.
pub fn header(data: &[u8]) {
    let Ok(header) = Header::decode_all(&mut &data[..]) else {
        return;
    };
    assert_eq!(header.encode(), data, "a header has a second encoding");
    let Some(digest) = StepDigest::find(header.digest()) else {
        return;
    };
    let payload = digest.encode();
    let is_there =
        header.digest().logs().iter().any(
            |item| matches!(item, DigestItem::PreRuntime(ENGINE_ID, found) if *found == payload),
        );
    assert!(is_there, "the digest found is not the one in the header");
}

fn best_state() -> (State, Header) {
    let chain = &grown().0;
    let hash = chain.best().1;
    let header = chain.db().header(&hash).expect("in memory");
    (
        chain.state(None).expect("the best state is kept"),
        header.expect("the best block has a header"),
    )
}

/// Calls, each with its signer, in one block: none makes the runtime panic, and whoever executes the block comes to the
/// same state as its maker.
pub fn calls(data: &[u8]) {
    let mut input = data;
    let mut calls = Vec::new();
    while calls.len() < CALLS_MAX {
        let Some((place, rest)) = input.split_first() else {
            break;
        };
        input = rest;
        match RuntimeCall::decode_with_depth_limit(EXTRINSIC_DEPTH_MAX - 2, &mut input) {
            Ok(call) => calls.push((*place, call)),
            Err(_) => break,
        }
    }
    if calls.is_empty() {
        return;
    }
    let chain = &grown().0;
    let (state, parent) = best_state();
    // Both devices have signed a reading in each block so far.
    let mut nonces = SIGNERS.map(|name| match name {
        "A" | "B" => BLOCKS,
        _ => 0,
    });
    let candidates: Vec<Vec<u8>> = calls
        .into_iter()
        .map(|(place, call)| {
            let nonce = &mut nonces[signer(place).1];
            *nonce += 1;
            sign(chain, place, *nonce - 1, call)
        })
        .collect();
    let step = Step(parent.number() + 1);
    let lineup = chain.next_lineup().expect("the best state is kept");
    let draft = BlockDraft {
        parent: parent.clone(),
        digest: agreement()
            .claim(step, 0, Punctuality::OnTime, &lineup)
            .expect("X's keys are held")
            .expect("X makes every block"),
        closes_at_ms: timing().closes_at_ms(step),
    };
    let limits = BuildLimits {
        bytes_max: 8 * 1024 * 1024,
        misfits_max: 8,
        is_over: &|| false,
    };
    let built = chain
        .executor()
        .build_block(&state, &draft, &candidates, &limits)
        .expect("a block can be made of any candidates");
    for outcome in &built.outcomes {
        assert!(
            !matches!(outcome, Outcome::Panicked(_)),
            "a transaction makes the runtime panic: {outcome:?}"
        );
    }
    let changes = chain
        .executor()
        .execute_block(&state, &built.header, &built.body)
        .expect("a block that was made is valid");
    assert_eq!(changes.state_root, built.changes.state_root);
}

/// A runtime function, the first byte says which, and its arguments: the only panic of the runtime is the one over
/// arguments that do not decode. Functions that are for blocks only may panic as they like: clients cannot call them.
pub fn runtime_api(data: &[u8]) {
    let Some((place, arguments)) = data.split_first() else {
        return;
    };
    let functions = runtime_functions();
    let function = &functions[usize::from(*place) % functions.len()];
    let answer = grown()
        .0
        .executor()
        .call_raw(&best_state().0, function, arguments);
    let is_for_blocks = matches!(
        function.as_str(),
        "Core_execute_block" | "Core_initialize_block"
    ) || function.starts_with("BlockBuilder_");
    match answer {
        Err(CallError::Panicked { reason, .. }) if !is_for_blocks => {
            assert!(
                reason.contains("Bad input data provided to"),
                "{function} panics: {reason}"
            );
        }
        Err(CallError::UnknownFunction(_)) => panic!("{function} is in the metadata alone"),
        _ => {}
    }
}

/// Returns the names of all runtime functions, as the metadata lists them.
pub fn runtime_functions() -> &'static [String] {
    static FUNCTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let metadata: Option<sp_core::OpaqueMetadata> = grown()
            .0
            .executor()
            .call(&best_state().0, "Metadata_metadata_at_version", 15u32)
            .expect("the runtime has metadata");
        let metadata = metadata.expect("version 15 is known");
        let metadata = frame_metadata::RuntimeMetadataPrefixed::decode(&mut &metadata[..])
            .expect("metadata decodes");
        let frame_metadata::RuntimeMetadata::V15(metadata) = metadata.1 else {
            panic!("version 15 was asked for");
        };
        let names = metadata.apis.iter().flat_map(|api| {
            let of_api = api.methods.iter();
            of_api.map(|method| format!("{}_{}", api.name, method.name))
        });
        names.collect()
    });
    &FUNCTIONS
}

/// A block from somewhere: imported or refused, and a block that is refused changes nothing. A first byte that is odd
/// makes it the next block, with the right root of its extrinsics, so that its content is what is judged.
pub fn block_import(data: &[u8]) {
    static CHAIN: Mutex<Option<Arc<Chain>>> = Mutex::new(None);
    let Some((mode, mut input)) = data.split_first() else {
        return;
    };
    type Parts = (Header, Vec<Vec<u8>>, Option<Vec<u8>>);
    let Ok((mut header, body, justification)) =
        Parts::decode_with_mem_limit(&mut input, BLOCK_MEMORY_MAX)
    else {
        return;
    };
    let chain = CHAIN
        .lock()
        .get_or_insert_with(|| Arc::new(new_chain().0))
        .clone();
    let best = chain.best();
    if mode % 2 == 1 {
        header.set_number(best.0 + 1);
        header.set_parent_hash(best.1);
        header.set_extrinsics_root(BlakeTwo256::ordered_trie_root(
            body.clone(),
            StateVersion::V0,
        ));
    }
    let block = StoredBlock {
        header,
        body,
        justification,
    };
    match chain.import(block, CommitMode::Durable) {
        // The next input begins with a new chain.
        Ok(_) => *CHAIN.lock() = None,
        Err(error) => {
            assert_eq!(chain.best(), best, "a refused block was kept");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// A file of blocks: what is read is written as it was. A first byte that is odd mends the checksums before, so that
/// what they guard is read too.
pub fn block_stream(data: &[u8]) {
    let Some((mode, file)) = data.split_first() else {
        return;
    };
    let mut file = file.to_vec();
    if mode % 2 == 1 {
        mend_stream(&mut file);
    }
    let Ok(mut reader) = BlockReader::open(&file[..]) else {
        return;
    };
    let mut writer = BlockWriter::begin(Vec::new(), reader.head()).expect("written to memory");
    for _ in 0..BLOCKS_READ_MAX {
        match reader.next_block() {
            Ok(Some(block)) => writer.write(&block).expect("written to memory"),
            Ok(None) => {
                let written = writer.finish().expect("written to memory");
                assert_eq!(written, file, "a file of blocks has a second encoding");
                return;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        }
    }
}

/// Bytes of the head of a file of blocks, and of a frame's head.
const STREAM_HEAD_BYTES: usize = 56;
const FRAME_HEAD_BYTES: usize = 8;

fn mend_stream(file: &mut [u8]) {
    let Some((head, mut frames)) = file.split_at_mut_checked(STREAM_HEAD_BYTES) else {
        return;
    };
    let checksum = crc32c::crc32c(&head[..STREAM_HEAD_BYTES - 4]);
    head[STREAM_HEAD_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    while let Some((head, rest)) = frames.split_at_mut_checked(FRAME_HEAD_BYTES) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let Some((block, rest)) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.split_at_mut_checked(length))
        else {
            return;
        };
        head[4..].copy_from_slice(&crc32c::crc32c(block).to_le_bytes());
        frames = rest;
    }
}
