//! Writes the seeds of every target to `corpus/`, made from real objects: a chain of three blocks, its transactions,
//! keys, messages. What is there already and is not made here stays.
//!
//! ```text
//! cargo run --release --example seeds
//! ```

// Crates that were built with counters need the library that counts.
#[cfg(feature = "libfuzzer")]
use libfuzzer_sys as _;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::CommandFactory;
use codec::{DecodeLimit, Encode};
use commonwatt::{
    block_stream::{BlockWriter, StreamHead},
    cli::Cli,
};
use commonwatt_consensus::{
    Block, Certificate, CertifiedBlock, EquivocationProof, Message, PolkaCertificate, Proposal,
    ProposedBlock, RoundCertificate, RoundCertificateKind, RoundVote, SignedProposal, SignedVote,
    ValidatorSignature, Vote, VoteKind, wal,
};
use commonwatt_engine::{
    BlockAnswer, BlockRequest, EngineMessage, certified_block, to_block, to_stored,
};
use commonwatt_executor::CallError;
use commonwatt_fuzz::{
    fixtures::{author, grow, grown, new_chain, report, sign},
    targets::{self, GENESIS, MECHANISMS, PASSWORD, SEPARATOR, frame, light_block, mend, part},
};
use commonwatt_keystore::{Account, Scheme};
use commonwatt_network::{
    BlockContent, BlocksRequest, Claim, FetchedTransaction, Hello, TransactionsRequest,
    compact::CompactBlock,
};
use commonwatt_primitives::Hash;
use commonwatt_runtime::{
    RuntimeCall,
    example::{self, account},
};
use commonwatt_storage::StoredBlock;
use sp_core::Pair;
use sp_runtime::transaction_validity::TransactionSource;

/// Bytes tried as a call's or a function's arguments.
const ARGUMENT_BYTES_MAX: usize = 512;

fn main() {
    extrinsics();
    calls();
    runtime_functions();
    blocks();
    specs();
    communities();
    keys();
    databases();
    order_books();
    messages();
    logs();
    light_blocks();
    peers();
    messages_of_peers();
    requests();
    raw_requests();
    words();
}

fn put(target: &str, name: &str, content: impl AsRef<[u8]>) {
    let folder = root().join("corpus").join(target);
    fs::create_dir_all(&folder).expect("the corpus can be written to");
    fs::write(folder.join(name), content).expect("the corpus can be written to");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn with_mode(mode: u8, content: &[u8]) -> Vec<u8> {
    [&[mode][..], content].concat()
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn stored_blocks() -> Vec<StoredBlock> {
    let db = grown().0.db();
    let block = |number| {
        let hash = db.hash_of(number).expect("in memory").expect("was made");
        db.block(&hash).expect("in memory").expect("was made")
    };
    (1..=db.best().0).map(block).collect()
}

// ---------------------------------------------------------------------------------- the chain

fn remark(text: &[u8]) -> RuntimeCall {
    RuntimeCall::System(frame_system::Call::remark {
        remark: text.to_vec(),
    })
}

fn transfer() -> RuntimeCall {
    RuntimeCall::Balances(pallet_balances::Call::transfer_allow_death {
        dest: account("Y").into(),
        value: 1_000,
    })
}

fn batch(calls: Vec<RuntimeCall>) -> RuntimeCall {
    RuntimeCall::Utility(pallet_utility::Call::batch { calls })
}

fn nested(levels: u32) -> RuntimeCall {
    (0..levels).fold(remark(b""), |call, _| batch(vec![call]))
}

fn extrinsics() {
    let chain = &grown().0;
    let signed = |name: &str, call| put("extrinsic", name, sign(chain, 0, 0, call));
    signed("remark", remark(b"hello"));
    signed("transfer", transfer());
    signed("report", report(4, 1_000));
    signed("batch", batch(vec![transfer(), remark(b"x"), report(4, 9)]));
    signed("nested", nested(12));
    signed("too-deep", nested(200));
    for (place, bytes) in stored_blocks()[0].body.iter().enumerate() {
        put("extrinsic", &format!("of-block-{place}"), bytes);
    }
}

/// Returns every call there is, with the shortest arguments of zeros that it takes, by its pallet.
fn every_call() -> Vec<(u8, Vec<RuntimeCall>)> {
    let mut pallets = Vec::new();
    for pallet in 0..=u8::MAX {
        let calls: Vec<_> = (0..=u8::MAX)
            .filter_map(|call| {
                (0..ARGUMENT_BYTES_MAX).find_map(|length| {
                    let bytes = [&[pallet, call][..], &vec![0; length]].concat();
                    RuntimeCall::decode_with_depth_limit(16, &mut &bytes[..]).ok()
                })
            })
            .collect();
        if !calls.is_empty() {
            pallets.push((pallet, calls));
        }
    }
    pallets
}

fn calls() {
    for (pallet, calls) in every_call() {
        for (part, calls) in calls.chunks(16).enumerate() {
            let bytes: Vec<u8> = calls
                .iter()
                .flat_map(|call| with_mode(0, &call.encode()))
                .collect();
            put("calls", &format!("pallet-{pallet:02}-{part}"), bytes);
        }
    }
    let signed = |calls: &[(u8, RuntimeCall)]| -> Vec<u8> {
        let calls = calls.iter();
        calls
            .flat_map(|(place, call)| with_mode(*place, &call.encode()))
            .collect()
    };
    put(
        "calls",
        "a-day",
        signed(&[
            (3, report(4, 1_000)),
            (4, report(4, 2_000)),
            (0, transfer()),
            (1, batch(vec![transfer(), remark(b"x")])),
            (5, transfer()),
        ]),
    );
    let late = [(3, report(4, 10)), (4, report(2, 5_000)), (4, report(9, 1))];
    put("calls", "late-and-early", signed(&late));
    put("calls", "nested", signed(&[(0, nested(20))]));
}

fn runtime_functions() {
    let chain = &grown().0;
    let state = chain.state(None).expect("the best state is kept");
    for (place, function) in targets::runtime_functions().iter().enumerate() {
        let is_taken = |length: &usize| {
            let answer = chain
                .executor()
                .call_raw(&state, function, &vec![0; *length]);
            !matches!(
                answer,
                Err(CallError::Panicked { .. } | CallError::Arguments { .. })
            )
        };
        let length = (0..ARGUMENT_BYTES_MAX).find(is_taken).unwrap_or(0);
        let place = u8::try_from(place).expect("few functions");
        put("runtime_api", function, with_mode(place, &vec![0; length]));
    }
    let functions = targets::runtime_functions();
    let place = |name: &str| {
        let place = functions.iter().position(|function| function == name);
        u8::try_from(place.expect("FRAME has it")).expect("few functions")
    };
    let signed = sign(chain, 0, 0, transfer());
    let length = u32::try_from(signed.len()).expect("short").encode();
    put(
        "runtime_api",
        "a-fee",
        with_mode(
            place("TransactionPaymentApi_query_info"),
            &[&signed[..], &length].concat(),
        ),
    );
    put(
        "runtime_api",
        "a-nonce",
        with_mode(
            place("AccountNonceApi_account_nonce"),
            &account("X").encode(),
        ),
    );
    put(
        "runtime_api",
        "a-trace",
        with_mode(place("EnergyApi_trace"), &(1u32, account("X")).encode()),
    );
}

fn blocks() {
    let blocks = stored_blocks();
    for block in &blocks {
        let number = block.header.number;
        put("header", &format!("block-{number}"), block.header.encode());
        put(
            "block_import",
            &format!("block-{number}"),
            with_mode(0, &block.encode()),
        );
        put(
            "block_import",
            &format!("block-{number}-mended"),
            with_mode(1, &block.encode()),
        );
    }
    let genesis = grown().0.genesis_hash();
    for (name, first, last) in [("one", 1, 1), ("three", 1, 3), ("two-of-three", 1, 3)] {
        let head = StreamHead {
            genesis,
            first,
            last,
        };
        let mut writer = BlockWriter::begin(Vec::new(), head).expect("to memory");
        let count = usize::try_from(last).expect("few") - usize::from(name == "two-of-three");
        for block in blocks.iter().take(count) {
            writer.write(block).expect("to memory");
        }
        let file = writer.finish().expect("to memory");
        put("block_stream", name, with_mode(0, &file));
        put(
            "block_stream",
            &format!("{name}-mended"),
            with_mode(1, &file),
        );
    }
}

// ---------------------------------------------------------------------------------- files

fn specs() {
    let folder = root().join("../../chain-specs");
    let spec = fs::read_to_string(folder.join("example-community.json")).expect("is shipped");
    put("chain_spec", "example-community", &spec);
    put(
        "chain_spec",
        "other-field",
        spec.replacen("\"name\"", "\"nome\"", 1),
    );
    put("chain_spec", "cut", &spec[..spec.len() / 2]);
}

fn communities() {
    let community = "id,kind,simbench_node,pv_kw,storage_kwh,storage_kw,storage_eta,annual_load_wh,annual_pv_wh,peak_load_w\n\
        p01,prosumer,n1,7.5,,,,3000000,7000000,5000\n\
        p02,consumer,n2,,,,,2500000,,4000\n\
        p03,prosumer_storage,n3,5,10.5,5,0.95,4100000,4900000,6000\n";
    let load = "step,utc_start,p01,p02,p03\n0,2016-07-03T22:00Z,63,311,74\n1,2016-07-03T22:15Z,120,75,214\n";
    let pv = "step,utc_start,p01,p03\n0,2016-07-03T22:00Z,0,0\n1,2016-07-03T22:15Z,1500,0\n";
    let join = |files: [&str; 3]| files.map(str::as_bytes).join(SEPARATOR);
    put("community_csv", "whole", join([community, load, pv]));
    put("community_csv", "loads-alone", join([community, load, ""]));
    let over = load.replace("311", "311000");
    put(
        "community_csv",
        "above-capacity",
        join([community, &over, pv]),
    );
    let quoted = community.replace("n1", "\"n,1\"");
    let marked = format!("\u{feff}{quoted}").replace('\n', "\r\n");
    put("community_csv", "spreadsheet", join([&marked, load, pv]));
    put("community_csv", "gzip-cut", {
        let head: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
        [community.as_bytes(), head, pv.as_bytes()].join(SEPARATOR)
    });
}

fn keys() {
    let secret = targets::named_secret();
    for scheme in [Scheme::Ed25519, Scheme::Sr25519] {
        let pair = secret.to_pair(scheme).expect("of both schemes");
        let clear = Account::new(&pair, None, Some("Alice"), 42).expect("nothing random");
        put("account_file", scheme.name(), clear.to_json().as_slice());
        put("keystore_file", scheme.name(), clear.to_json().as_slice());
        // Made with a random salt: kept once it is there.
        let sealed = root()
            .join("corpus/account_file")
            .join(format!("{}-sealed", scheme.name()));
        if !sealed.exists() {
            let sealed = Account::new(&pair, Some(&targets::password(PASSWORD)), None, 42);
            let sealed = sealed.expect("the system has randomness");
            let name = format!("{}-sealed", scheme.name());
            put("account_file", &name, sealed.to_json().as_slice());
            put("keystore_file", &name, sealed.to_json().as_slice());
        }
    }
    put("keystore_file", "path", "\"//Alice\"");
    put("keystore_file", "escaped", "\"\\u002f/Alice\"");
    put("keystore_file", "bare", "//Alice");
    let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
    for (kind, name, text) in [
        (0, "phrase", phrase.to_owned()),
        (0, "derived", format!("{phrase}//hard/soft///password")),
        (0, "seed", format!("0x{}", "5a".repeat(32))),
        (0, "expanded", format!("0x{}", "08".repeat(64))),
        (0, "development", "//Alice//0/1".to_owned()),
        (1, "node-key", "5a".repeat(32)),
        (1, "node-key-prefixed", format!("0x{}\n", "5a".repeat(32))),
        (2, "password", "0xabcd\nsecond line".to_owned()),
        (
            3,
            "address",
            "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY".to_owned(),
        ),
    ] {
        put("secret", name, with_mode(kind, text.as_bytes()));
    }
}

fn databases() {
    put("database", "whole", []);
    for how in 0..4 {
        let changes: Vec<u8> = (0..4)
            .flat_map(|record| [record * 9, 0, record * 5, 0, how, 0x80])
            .collect();
        put("database", &format!("changed-{how}"), changes);
    }
    for (kind, name) in [(0, "sled"), (1, "redb")] {
        put("database_file", name, [kind]);
        for how in 0..4 {
            let change = [kind, 2, 0x10, 0x27, 0, 0, how, 0xff];
            put("database_file", &format!("{name}-changed-{how}"), change);
        }
    }
}

/// Returns a file of bytes compressed with gzip, stored as they are.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short file");
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(bytes);
    let checksum = (0..=u8::MAX).map(|byte| {
        (0..8).fold(u32::from(byte), |sum, _| match sum & 1 {
            1 => sum >> 1 ^ 0xedb8_8320,
            _ => sum >> 1,
        })
    });
    let table: Vec<u32> = checksum.collect();
    let checksum = bytes.iter().fold(u32::MAX, |sum, byte| {
        let place = (sum ^ u32::from(*byte)) & 0xff;
        table[usize::try_from(place).expect("one byte")] ^ sum >> 8
    });
    file.extend((!checksum).to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

fn order_books() {
    let books = r#"[{"id": 1, "orders": [[0, 30, 10], [1, 10, 15], [0, 20, 5], [1, 20, 5], [1, 40, 7]]},
        {"id": "second", "orders": [[0, 9, 5], [1, 1, 5], [0, 9, 4]], "members": ["x", "x", 7], "loyaltyPpm": [1000000, 0, 1500000]}]"#;
    for (place, name) in (0..).zip(MECHANISMS) {
        put(
            "order_book",
            &name.replace(':', "-"),
            with_mode(place, books.as_bytes()),
        );
    }
    let one = r#"{"id": 1, "orders": [[0, 5, 4294967295], [1, 5, 4294967295]]}"#;
    let lines = format!("{one}\n{{\"id\": 2, \"orders\": []}}\n");
    put("order_book", "lines", with_mode(0, lines.as_bytes()));
    put("order_book", "gzip", with_mode(1, &gzip(lines.as_bytes())));
    for (name, text) in [
        (
            "dear",
            r#"[{"id": 1, "orders": [[0, 18446744073709551615, 1], [1, 18446744073709551615, 1]]}]"#,
        ),
        ("wrong-side", r#"[{"id": 1, "orders": [[2, 1, 1]]}]"#),
        (
            "lengths",
            r#"[{"id": 1, "orders": [[0, 1, 1]], "members": []}]"#,
        ),
        ("none", "[]"),
    ] {
        put("order_book", name, with_mode(2, text.as_bytes()));
    }
    let words = [
        "[[0,1,2],[1,1,2]]",
        "\"id\":",
        "\"orders\":",
        "\"members\":",
        "\"loyaltyPpm\":",
    ];
    put_dictionary(
        "order_book",
        words.iter().map(|word| word.replace('"', "\\\"")),
    );
    for (name, text) in [
        (
            "node",
            "# a node\n--name=my node\n\n--validator\n--rpc-port=0\n",
        ),
        (
            "spreadsheet",
            "\u{feff}--validator\r\n  \r\n#x\r\n--bootnodes\r\n/ip4/127.0.0.1/tcp/1/p2p/12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2\r\n",
        ),
        ("file-in-file", "@/dev/zero\nclear\n-"),
        ("empty", ""),
    ] {
        put("flags_file", name, text);
    }
    put("flags_file", "no-text", [0xff, 0xfe, b'-', 0]);
    put_dictionary("flags_file", tokens_of(&Cli::command()).into_iter());
}

// ---------------------------------------------------------------------------------- consensus

fn vote(node: u8, round: u32, kind: VoteKind, block: Option<Hash>) -> SignedVote {
    let vote = Vote {
        height: 7,
        round,
        kind,
        block,
        validator: targets::account(node),
    };
    let signature = targets::pair(node).sign(&vote.payload(&GENESIS));
    SignedVote { vote, signature }
}

fn block() -> Block {
    Block {
        header: (7u32, 0u32, false, targets::account(0)).encode(),
        body: Arc::new(vec![1, 2, 3]),
    }
}

fn proposal(round: u32) -> SignedProposal {
    let proposal = Proposal {
        height: 7,
        round,
        block: block().hash(),
        pol_round: None,
        validator: targets::account(0),
    };
    let signature = targets::pair(0).sign(&proposal.payload(&GENESIS));
    SignedProposal {
        proposal,
        signature,
    }
}

fn signatures(kind: VoteKind) -> Vec<ValidatorSignature> {
    let hash = block().hash();
    let of = |node| ValidatorSignature {
        validator: targets::account(node),
        signature: vote(node, 0, kind, Some(hash)).signature,
    };
    (0..3).map(of).collect()
}

fn polka() -> PolkaCertificate {
    PolkaCertificate {
        height: 7,
        round: 0,
        block: block().hash(),
        signatures: signatures(VoteKind::Prevote),
    }
}

fn messages() {
    let hash = block().hash();
    let message = |name: &str, message: Message| {
        put("consensus_message", name, with_mode(0, &message.encode()));
    };
    message(
        "prevote",
        Message::Vote(vote(1, 0, VoteKind::Prevote, Some(hash))),
    );
    message("nil", Message::Vote(vote(2, 3, VoteKind::Precommit, None)));
    message(
        "proposal",
        Message::Proposal(ProposedBlock {
            signed: proposal(0),
            block: block(),
        }),
    );
    message("polka", Message::Polka(polka()));
    for (name, kind) in [
        ("skip", RoundCertificateKind::Skip),
        ("precommits", RoundCertificateKind::Precommit),
    ] {
        let votes = (0..3).map(|node| {
            let signed = vote(node, 1, VoteKind::Precommit, None);
            RoundVote {
                kind: signed.vote.kind,
                block: None,
                validator: signed.vote.validator,
                signature: signed.signature,
            }
        });
        message(
            name,
            Message::Round(RoundCertificate {
                height: 7,
                round: 1,
                kind,
                votes: votes.collect(),
            }),
        );
    }
    let certificate = Certificate {
        height: 7,
        round: 0,
        block: hash,
        signatures: signatures(VoteKind::Precommit),
    };
    put(
        "consensus_message",
        "certificate",
        with_mode(2, &certificate.encode()),
    );
    let certified = CertifiedBlock {
        block: block(),
        certificate,
    };
    put(
        "consensus_message",
        "certified-block",
        with_mode(1, &certified.encode()),
    );
    let other = Some(Hash::repeat_byte(1));
    let votes = EquivocationProof::of_votes(
        vote(1, 0, VoteKind::Prevote, Some(hash)),
        vote(1, 0, VoteKind::Prevote, other),
    );
    put(
        "consensus_message",
        "two-votes",
        with_mode(3, &votes.encode()),
    );
    let proposals = EquivocationProof::of_proposals(proposal(0), proposal(1));
    put(
        "consensus_message",
        "two-proposals",
        with_mode(3, &proposals.encode()),
    );
}

fn light_blocks() {
    for (name, flags) in [
        ("next", 0),
        ("next_mended", mend::PLACE | mend::SIGNATURES),
        ("closes_an_epoch", mend::EPOCH),
        (
            "closes_an_epoch_mended",
            mend::EPOCH | mend::PLACE | mend::SIGNATURES,
        ),
        (
            "closes_an_epoch_of_another_state",
            mend::EPOCH | mend::PLACE | mend::SIGNATURES | mend::ROOT,
        ),
        ("unsealed_again", mend::SIGNATURES),
    ] {
        put(
            "light",
            name,
            with_mode(flags, &light_block(flags).encode()),
        );
    }
}

fn logs() {
    let entries = [
        wal::WalEntry::Block(block()),
        wal::WalEntry::Proposal(proposal(0)),
        wal::WalEntry::Judged {
            proposal: proposal(0).proposal,
            judgement: wal::Judgement::Valid,
        },
        wal::WalEntry::Vote(vote(1, 0, VoteKind::Prevote, None)),
        wal::WalEntry::Polka(polka()),
        wal::WalEntry::Timeout {
            round: 0,
            kind: wal::LoggedTimeout::Precommit,
        },
    ];
    let mut log = wal::encode_header(&GENESIS, 7);
    put("consensus_log", "empty", with_mode(0, &log));
    for (place, entry) in (0..).zip(&entries) {
        log.extend(
            wal::encode_batch(&GENESIS, 7, place, std::slice::from_ref(entry))
                .expect("a small entry"),
        );
    }
    put("consensus_log", "whole", with_mode(0, &log));
    put("consensus_log", "whole-mended", with_mode(1, &log));
    put("consensus_log", "in-memory", with_mode(3, &log));
    put(
        "consensus_log",
        "torn",
        with_mode(0, &log[..log.len() - 40]),
    );
}

// ---------------------------------------------------------------------------------- peers

/// Returns the block after those of [`grown`] with a transaction of each kind, proposed by X.
fn proposed() -> (ProposedBlock, Vec<Vec<u8>>) {
    let (chain, _) = new_chain();
    grow(&chain);
    let transaction = sign(&chain, 0, 0, remark(b"proposed"));
    chain
        .submit(TransactionSource::External, transaction)
        .expect("a transaction is taken");
    author(&chain);
    let block = certified_block(&chain, chain.best().0);
    let block = block.expect("in memory").expect("was made").block;
    let proposal = Proposal {
        height: chain.best().0,
        round: 0,
        block: block.hash(),
        pol_round: None,
        validator: account("X"),
    };
    let signature = example::pair("X").sign(&proposal.payload(&chain.genesis_hash()));
    let signed = SignedProposal {
        proposal,
        signature,
    };
    let (_, body) = to_stored(&block).expect("it was stored");
    (ProposedBlock { signed, block }, body)
}

fn in_frame(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short message");
    [&[kind][..], &length.to_le_bytes(), bytes].concat()
}

/// Returns an answer that holds items.
fn items<T: Encode>(items: &[T]) -> Vec<u8> {
    (1u8, items).encode()
}

fn peers() {
    let chain = &grown().0;
    let genesis = chain.genesis_hash();
    let (proposed, body) = proposed();
    let ProposedBlock { signed, block } = &proposed;
    let compact = CompactBlock::new(block.header.clone(), &body, 1).expect("a small block");
    let own = Vote {
        height: signed.proposal.height,
        round: 0,
        kind: VoteKind::Prevote,
        block: None,
        validator: account("X"),
    };
    let signature = example::pair("X").sign(&own.payload(&genesis));
    let own = Message::Vote(SignedVote {
        vote: own,
        signature,
    });
    let fetched: Vec<_> = (0..)
        .zip(&body)
        .map(|(index, bytes)| FetchedTransaction {
            index,
            bytes: bytes.clone(),
        })
        .collect();
    let certified: Vec<_> = (1..=chain.best().0)
        .map(|height| {
            let block = certified_block(chain, height);
            block.expect("in memory").expect("was made").encode()
        })
        .collect();
    let transaction = sign(chain, 0, 0, transfer());
    let blocks = BlocksRequest {
        from: 1,
        count: 8,
        content: BlockContent::Full,
    };
    let headers = BlocksRequest {
        content: BlockContent::HeaderAndCertificate,
        ..blocks
    };
    let of_block = TransactionsRequest::OfBlock {
        header: block.hash(),
        positions: vec![0, 1],
    };
    let by_hash = TransactionsRequest::ByHash(vec![Hash::zero(), block.hash()]);
    let hello = Hello {
        version: 1,
        genesis,
        claim: Claim::Full,
    };
    let forged = Hello {
        claim: Claim::Validator {
            account: account("X"),
            signature: [7; 64],
        },
        ..hello.clone()
    };
    // Subscribes, wants messages and offers some, as gossip's own messages do.
    let control = b"\x0a\x09\x08\x01\x12\x05votes\x1a\x24\x0a\x0d\x0a\x05votes\x12\x04abcd\x12\x06\x12\x04abcd\x1a\x07\x0a\x05votes\x22\x02\x0a\x00";
    let topic = |place: u8, bytes: Vec<u8>| in_frame(frame::GOSSIP + place, &bytes);
    for (name, frames) in [
        ("vote", vec![topic(0, own.encode())]),
        (
            "proposal-whole",
            vec![topic(1, (1u8, proposed.clone()).encode())],
        ),
        (
            "proposal-compact",
            vec![
                in_frame(frame::ANSWER_TRANSACTIONS, &items(&fetched)),
                topic(1, (2u8, signed.clone(), compact).encode()),
            ],
        ),
        ("urgent", vec![topic(2, transaction.clone())]),
        (
            "transactions",
            vec![topic(
                3,
                vec![transaction.clone(), body[0].clone()].encode(),
            )],
        ),
        (
            "gossip-control",
            (0..4)
                .map(|place| in_frame(frame::GOSSIP_RAW + place, control))
                .collect(),
        ),
        ("hello", vec![in_frame(frame::HELLO, &hello.encode())]),
        (
            "first-words",
            vec![
                in_frame(frame::FIRST_WORDS, &with_mode(0, &hello.encode())),
                in_frame(frame::FIRST_WORDS, &with_mode(1, &[2, 12, b'n', b'o', 10])),
                in_frame(frame::FIRST_WORDS, &with_mode(0, &forged.encode())),
            ],
        ),
        (
            "requests",
            vec![
                in_frame(frame::STATUS, &3u32.encode()),
                in_frame(frame::BLOCKS, &blocks.encode()),
                in_frame(frame::BLOCKS, &headers.encode()),
                in_frame(frame::TRANSACTIONS, &of_block.encode()),
                in_frame(frame::TRANSACTIONS, &by_hash.encode()),
            ],
        ),
        (
            "cut-off",
            vec![
                in_frame(frame::REQUEST_RAW, &[1, 4, 0, 0, 0, 1]),
                in_frame(frame::REQUEST_RAW, &[2, 0xff, 0xff, 0xff, 0xff]),
            ],
        ),
        (
            "catching-up",
            vec![
                in_frame(frame::ANSWER_BLOCKS, &items(&certified)),
                in_frame(frame::STATUS, &9u32.encode()),
            ],
        ),
        (
            "busy",
            vec![
                in_frame(frame::ANSWER_BLOCKS, &[2]),
                in_frame(frame::ANSWER_TRANSACTIONS, &[1, 0xfe, 0xff, 0xff, 0xff]),
            ],
        ),
    ] {
        put("network", name, frames.concat());
    }
}

fn messages_of_peers() {
    let (proposed, body) = proposed();
    let ProposedBlock { signed, block } = &proposed;
    let header = block.header.clone();
    let compact = CompactBlock::new(header.clone(), &body, 1).expect("a small block");
    let hello = Hello {
        version: 1,
        genesis: GENESIS,
        claim: Claim::Validator {
            account: account("X"),
            signature: [7; 64],
        },
    };
    let blocks = BlocksRequest {
        from: 1,
        count: 8,
        content: BlockContent::Full,
    };
    let of_block = TransactionsRequest::OfBlock {
        header: block.hash(),
        positions: vec![0, 1],
    };
    let message = EngineMessage::Agreement {
        attempt: 1,
        message: Message::Proposal(proposed.clone()),
    };
    let certified = certified_block(&grown().0, 1).expect("in memory");
    let answer = BlockAnswer {
        height: 1,
        block: certified,
    };
    let vote = EngineMessage::Agreement {
        attempt: 0,
        message: Message::Vote(vote(1, 0, VoteKind::Prevote, Some(signed.proposal.block))),
    };
    let twice = vec![
        body[0].clone(),
        b"one".to_vec(),
        b"one".to_vec(),
        Vec::new(),
    ];
    let stored = to_stored(block).expect("it was stored");
    assert_eq!(to_block(&stored.0, &stored.1), *block);
    let id = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";
    for (name, kind, bytes) in [
        ("hello", part::HELLO, hello.encode()),
        ("blocks", part::BLOCKS, blocks.encode()),
        ("transactions", part::TRANSACTIONS, of_block.encode()),
        (
            "by-hash",
            part::TRANSACTIONS,
            TransactionsRequest::ByHash(vec![Hash::zero()]).encode(),
        ),
        ("compact", part::COMPACT, compact.encode()),
        ("whole", part::WHOLE, (header.clone(), body).encode()),
        ("twice", part::WHOLE, (header.clone(), twice).encode()),
        ("proposal", part::ENGINE, message.encode()),
        ("vote", part::ENGINE, vote.encode()),
        (
            "status",
            part::ENGINE,
            EngineMessage::Status { decided: 7 }.encode(),
        ),
        ("answer", part::ENGINE_BLOCK, answer.encode()),
        (
            "request",
            part::ENGINE_BLOCK,
            BlockRequest { height: 7 }.encode(),
        ),
        ("block", part::BLOCK, (header, &*block.body).encode()),
        (
            "tcp",
            part::ADDRESS,
            format!("/ip4/192.0.2.7/tcp/30333/p2p/{id}").into_bytes(),
        ),
        (
            "quic",
            part::ADDRESS,
            format!("/dns/node.example/udp/1/quic-v1/p2p/{id}").into_bytes(),
        ),
    ] {
        put("wire", name, with_mode(kind, &bytes));
    }
}

// ---------------------------------------------------------------------------------- requests

fn raw_requests() {
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"system_name"}"#;
    let length = u8::try_from(call.len()).expect("a short call");
    // A call, a ping and the end of the connection, masked with zeros.
    let frames = [
        &[0x81, 0x80 | length, 0, 0, 0, 0][..],
        call.as_bytes(),
        &[0x89, 0x80, 0, 0, 0, 0, 0x88, 0x82, 0, 0, 0, 0, 3, 0xe8],
    ];
    let websocket = [upgrade.as_bytes(), &frames.concat()].concat();
    put("http", "websocket", with_mode(0, &websocket));
    let post = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{call}"
    );
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{call}\r\n0\r\n\r\n"
    );
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    for (name, which, text) in [
        ("post", 0, post),
        ("chunked", 0, chunked),
        ("health", 0, get("/health", "")),
        ("readiness", 0, get("/health/readiness", "")),
        (
            "stranger",
            0,
            get("/", "Origin: https://stranger.example\r\n"),
        ),
        ("two", 0, get("/health", "") + &get("/health", "")),
        ("http-2", 0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("metrics", 1, get("/metrics", "")),
        ("metrics-health", 1, get("/health", "")),
        ("metrics-post", 1, "POST /metrics HTTP/1.0\r\n\r\n".into()),
        ("cut-off", 1, "GET /met".into()),
    ] {
        put("http", name, with_mode(which, text.as_bytes()));
    }
    let words = [
        "GET ",
        "POST ",
        "OPTIONS ",
        " HTTP/1.1",
        "Host: ",
        "Origin: ",
        "Connection: ",
        "Upgrade: websocket",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "/metrics",
        "/health/readiness",
        "\\x0d\\x0a",
    ];
    put_dictionary("http", words.iter().map(|word| (*word).to_owned()));
}

fn requests() {
    let chain = &grown().0;
    let signed = hex(&sign(chain, 0, 0, remark(b"hello")));
    let unsigned = hex(&stored_blocks()[0].body[0]);
    let x = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    let key = "0x26aa394eea5630e07c48ae0c9558cef7b99d880ec681799c0cf30e8886371da9";
    let session = hex(&[7; 64]);
    // What a method is asked with, of those that need anything.
    let given = |name: &str| -> String {
        let name = name.to_lowercase();
        if name.contains("unsubscribe") || name.contains("unwatch") || name.contains("unfollow") {
            return r#"["$ID"]"#.to_owned();
        }
        match name.as_str() {
            "chainhead_v1_follow" => "[true]".to_owned(),
            "chainhead_v1_storage" => {
                format!(r#"["$ID","$HASH",[{{"key":"{key}","type":"descendantsValues"}}],null]"#)
            }
            "chainhead_v1_call" => r#"["$ID","$HASH","Core_version","0x"]"#.to_owned(),
            "chainhead_v1_continue" | "chainhead_v1_stopoperation" => r#"["$ID","1"]"#.to_owned(),
            name if name.starts_with("chainhead") => r#"["$ID","$HASH"]"#.to_owned(),
            "transaction_v1_stop" => r#"["$ID"]"#.to_owned(),
            "author_insertkey" => format!(r#"["vote","//Alice","{}"]"#, hex(&[7; 32])),
            "author_haskey" => format!(r#"["{}","vote"]"#, hex(&[7; 32])),
            "author_hassessionkeys" => format!(r#"["{session}"]"#),
            "author_removeextrinsic" => r#"[[{"hash":"$HASH"}]]"#.to_owned(),
            "author_pendingextrinsics" => "[]".to_owned(),
            name if name.contains("extrinsic") || name.starts_with("transaction") => {
                format!(r#"["{signed}"]"#)
            }
            name if name.contains("dryrun") => format!(r#"["{unsigned}","$HASH"]"#),
            name if name.starts_with("payment") => format!(r#"["{signed}",null]"#),
            name if name.contains("nextindex") => format!(r#"["{x}"]"#),
            "system_addlogfilter" => r#"["commonwatt=debug"]"#.to_owned(),
            "chain_getblockhash" => r#"[[0,"0x1",2]]"#.to_owned(),
            name if name.starts_with("chain_get") => r#"["$HASH"]"#.to_owned(),
            "state_call" | "state_callat" => r#"["Core_version","0x","$HASH"]"#.to_owned(),
            name if name.contains("querystorage") && !name.ends_with("at") => {
                format!(r#"[["{key}"],"$HASH","$HASH"]"#)
            }
            name if name.contains("readproof")
                || name.contains("querystorage")
                || name.contains("subscribestorage") =>
            {
                format!(r#"[["{key}"],"$HASH"]"#)
            }
            name if name.contains("keyspaged") => r#"["0x",10,null,"$HASH"]"#.to_owned(),
            name if name.starts_with("state_get") && !name.contains("meta") => {
                format!(r#"["{key}","$HASH"]"#)
            }
            "energy_trace" => format!(r#"[1,"{x}"]"#),
            "energy_reading" => "[0,1,null]".to_owned(),
            "energy_member" => format!(r#"["{x}",4,10]"#),
            "energy_meter" => "[0,1,3]".to_owned(),
            "energy_latecorrections" => "[1,3,null]".to_owned(),
            name if name.starts_with("energy") && !name.contains("timing") => "[1]".to_owned(),
            "auction_bids" | "auction_reputation" => format!(r#"["{x}"]"#),
            "auction_bidsfor" | "auction_beacon" | "auction_auction" | "auction_ranking" => {
                "[4]".to_owned()
            }
            "market_orderbook" | "market_matched" | "market_clearing" => "[4,0,10]".to_owned(),
            "market_orders" => format!(r#"["{x}",96]"#),
            "market_history" => "[null,96]".to_owned(),
            "market_subscribefills" | "loyalty_get" => format!(r#"["{x}"]"#),
            "grid_statement" => format!(r#"["{x}",1,3]"#),
            _ => "[]".to_owned(),
        }
    };
    let mut families: Vec<(String, Vec<String>)> = Vec::new();
    let mut ordered = targets::methods().to_vec();
    // What begins something comes before what asks about it, and that before what ends it.
    ordered.sort_by_key(|name| {
        let name = name.to_lowercase();
        let ends = ["unsub", "unfollow", "unpin", "unwatch", "stop"];
        match name.contains("v1_follow") || name.contains("_subscribe") {
            true => 0,
            false => 1 + u8::from(ends.iter().any(|end| name.contains(end))),
        }
    });
    for name in &ordered {
        let family = name.split('_').next().unwrap_or(name).to_owned();
        let line = format!("{name} {}", given(name));
        match families.iter_mut().find(|(known, _)| *known == family) {
            Some((_, lines)) => lines.push(line),
            None => families.push((family, vec![line])),
        }
    }
    for (family, lines) in families {
        for (part, lines) in lines.chunks(20).enumerate() {
            put("rpc_call", &format!("{family}-{part}"), lines.join("\n"));
        }
    }
    for (name, lines) in [
        ("by-name", r#"state_getStorage {"key":"0x00","at":null}"#),
        ("wrong-types", "energy_trace [\"1\",{}]\nstate_call [[],7]"),
        ("nested", "state_queryStorageAt [[[[[[[[]]]]]]]]"),
    ] {
        put("rpc_call", name, lines);
    }
    for (name, body) in [
        (
            "one",
            r#"{"jsonrpc":"2.0","id":1,"method":"system_name","params":[]}"#,
        ),
        (
            "batch",
            r#"[{"jsonrpc":"2.0","id":1,"method":"system_name"},{"jsonrpc":"2.0","method":"system_chain"},7]"#,
        ),
        (
            "notification",
            r#"{"jsonrpc":"2.0","method":"system_name","params":{}}"#,
        ),
        (
            "subscription",
            r#"{"jsonrpc":"2.0","id":"a","method":"chain_subscribeNewHeads"}"#,
        ),
        (
            "unknown",
            r#"{"jsonrpc":"2.0","id":null,"method":"nothing"}"#,
        ),
        ("no-json", "{\"jsonrpc\":\"2.0\",\"id\":1,"),
        ("empty-batch", "[]"),
        ("not-a-request", r#"{"a":[[[[[[{}]]]]]]}"#),
    ] {
        put("rpc_body", name, body);
    }
    let tokens = targets::methods().iter().cloned();
    put_dictionary("rpc_call", tokens.clone());
    put_dictionary("rpc_body", tokens);
}

// ---------------------------------------------------------------------------------- words

fn put_dictionary(target: &str, tokens: impl Iterator<Item = String>) {
    let folder = root().join("dictionaries");
    fs::create_dir_all(&folder).expect("the folder can be written to");
    let path: PathBuf = folder.join(target).with_extension("dict");
    let mut lines: Vec<_> = tokens.map(|token| format!("\"{token}\"\n")).collect();
    lines.sort();
    lines.dedup();
    fs::write(path, lines.concat()).expect("the folder can be written to");
}

/// Returns the names of all commands and flags.
fn tokens_of(command: &clap::Command) -> Vec<String> {
    let flags = command.get_arguments().filter_map(clap::Arg::get_long);
    let mut tokens: Vec<_> = flags.map(|flag| format!("--{flag}")).collect();
    for inner in command.get_subcommands() {
        tokens.push(inner.get_name().to_owned());
        tokens.extend(tokens_of(inner));
    }
    tokens
}

fn words() {
    for (name, text) in [
        ("levels", "warn,commonwatt=info"),
        ("targets", "commonwatt_txpool=debug,energy::step=trace,off"),
        ("spans", "commonwatt[span{field=\"value\"}]=debug,[x]=info"),
        ("wrong", "energy=loud,,=,[{}]"),
    ] {
        put("log_filter", name, text);
    }
    put_dictionary("command_line", tokens_of(&Cli::command()).into_iter());
    for (name, line) in [
        ("nothing", ""),
        ("help", "--help"),
        (
            "node",
            "--validator --chain village --rpc-port 9944 --rpc-methods safe --state-pruning archive",
        ),
        (
            "dev",
            "dev --tmp --step-ms 6000 --rpc-port 0 --no-prometheus -l debug",
        ),
        (
            "replay",
            "replay folder --key capped --database redb --state-cache 64",
        ),
        ("init", "init --chain spec.json --base-path /nowhere"),
        ("key-generate", "key generate --words 24 --scheme sr25519"),
        ("key-insert", "key insert --purpose vote --suri //Alice"),
        ("export-blocks", "export-blocks --from 1 --to 9 file"),
        ("import-blocks", "import-blocks file"),
        ("revert", "revert 3"),
        ("purge-chain", "purge-chain -y"),
        ("completions", "completions bash"),
        ("misplaced", "--base-path /x chain-info"),
    ] {
        put("command_line", name, line.replace(' ', "\n"));
    }
}
