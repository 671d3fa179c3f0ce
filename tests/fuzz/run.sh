#!/bin/bash
# Fuzzes every target for a time, each from the same seed, and prints what came of it.
#
#   tests/fuzz/run.sh [SECONDS] [TARGET...]      60 seconds a target, all targets
#
# NO_BUILD=1 uses the targets as they were built before.
# Needs stable Rust and a C++ compiler (for libFuzzer); CARGO_TARGET_DIR and RUSTFLAGS mean what they mean to cargo. New
# inputs are kept below the target folder and used again; the corpus in git stays as it is. An input that breaks a
# promise lies in artifacts/: shrink it, mend the code, and move it to regressions/TARGET/.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
[ $# -gt 0 ] && shift
mapfile -t targets < <([ $# -gt 0 ] && printf '%s\n' "$@" || basename -s .rs fuzz_targets/*.rs)

host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR=$folder RUSTC_WRAPPER=$PWD/rustc-with-counters.sh
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
[ -n "${NO_BUILD:-}" ] || cargo build --release --features libfuzzer --target "$host" "${bins[@]}"

# What a node's threads have: a decoder that needs more overflows here too.
ulimit -s 2048
memory_mb=2048
answer_seconds=20

# Longest input of a target, in bytes.
longest() {
    case $1 in
    block_import | block_stream | chain_spec | network | order_book | rpc_* | wire) echo 16384 ;;
    database | database_file) echo 256 ;;
    *) echo 4096 ;;
    esac
}

passed=0 failed=0
printf '%-20s %12s %10s %10s %8s\n' target runs coverage new crashes
for target in "${targets[@]}"; do
    work=$folder/fuzz/$target
    mkdir -p "$work/corpus" artifacts
    options=(-seed=1 "-max_total_time=$seconds" "-rss_limit_mb=$memory_mb" "-timeout=$answer_seconds"
        "-max_len=$(longest "$target")" -print_final_stats=1 "-artifact_prefix=artifacts/$target-")
    [ -f "dictionaries/$target.dict" ] && options+=("-dict=dictionaries/$target.dict")
    # What it logs is of no use: one line an input.
    [ "$target" = log_filter ] && options+=(-close_fd_mask=2)
    inputs=("$work/corpus" "corpus/$target")
    [ -d "regressions/$target" ] && inputs+=("regressions/$target")
    log=$work/log
    crashes=0
    "$folder/$host/release/$target" "${options[@]}" "${inputs[@]}" >/dev/null 2>"$log" &
    process=$!
    wait "$process" || crashes=1
    rm -rf "/dev/shm/commonwatt-fuzz-$process" "${TMPDIR:-/tmp}/commonwatt-fuzz-$process"
    coverage() { { grep -ao ' cov: [0-9]*' "$log" || true; } | sed -n "s/ cov: //;$1p"; }
    begin=$(coverage 1) end=$(coverage '$')
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-20s %12s %10s %10s %8s\n' "$target" "${runs:-?}" "${end:-?}" "$((${end:-0} - ${begin:-0}))" "$crashes"
    if [ "$crashes" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        { grep -a -m 3 -A 4 -E 'panicked|ERROR: libFuzzer|SUMMARY|Test unit written' "$log" || tail -5 "$log"; } | sed 's/^/    /'
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
