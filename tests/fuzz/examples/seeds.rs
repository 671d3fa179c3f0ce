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
use commonwatt_executor::CallError;
use commonwatt_fuzz::{
    fixtures::{grown, report, sign},
    targets::{self, GENESIS, PASSWORD, SEPARATOR},
};
use commonwatt_keystore::{Account, Scheme};
use commonwatt_primitives::Hash;
use commonwatt_runtime::{RuntimeCall, example::account};
use commonwatt_storage::StoredBlock;
use sp_core::Pair;

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
    messages();
    logs();
    requests();
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

// ---------------------------------------------------------------------------------- requests

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
