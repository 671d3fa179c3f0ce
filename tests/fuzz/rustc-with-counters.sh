#!/bin/sh
# Compiles a crate, with libFuzzer's coverage counters if it is one of ours or a parser that outside bytes go through.
#
# Cargo's RUSTC_WRAPPER: "$1" is rustc. Counting in every crate would have libFuzzer look at two million counters after
# each input, most of them in code that no decoder decides. The flags are those of cargo-fuzz without a sanitizer; all are
# stable.
case "$*" in
    *--target*) ;;
    *) exec "$@" ;; # A build script or a macro.
esac
# Others' debug assertions are none that a node has.
assertions=on
case "$CARGO_MANIFEST_DIR" in
    */registry/src/*)
        case "$CARGO_PKG_NAME" in
            parity-scale-codec | serde_json | csv | csv-core | bip39 | bs58 | sp-trie | trie-db | tracing-subscriber | \
                clap_builder | clap_lex | jsonrpsee-core | jsonrpsee-types | arc-malachitebft-core-* | \
                libp2p-gossipsub | libp2p-request-response | quick-protobuf | quick-protobuf-codec) ;;
            *) exec "$@" ;;
        esac
        assertions=off
        ;;
esac
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares "-Cdebug-assertions=$assertions"
