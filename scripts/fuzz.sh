#!/bin/sh
# Builds every fuzz target of tests/fuzz and runs each, two at a time.
# usage: scripts/fuzz.sh [SECONDS [TARGET...]]     default: 60 seconds, every target
# Works on the pinned stable toolchain: coverage comes from LLVM's own pass. A crash is left in
# tests/fuzz/artifacts/TARGET-* and ends with exit 1; corpora grow in tests/fuzz/corpus/TARGET.
set -eu
cd "$(dirname "$0")/../tests/fuzz"
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=${*:-$(sed -n 's/^path = "targets\/\(.*\)\.rs"$/\1/p' Cargo.toml)}

host=$(rustc -vV | sed -n 's/^host: //p')
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
 -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing'
# An explicit target keeps the flags away from build scripts, which have no libFuzzer to link.
# shellcheck disable=SC2046
RUSTFLAGS=$(echo $flags) cargo build --locked --release --target "$host"

mkdir -p artifacts
run() {
    mkdir -p "corpus/$1" "seeds/$1"
    log=artifacts/$1.log
    if "target/$host/release/$1" "corpus/$1" "seeds/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=65536 -artifact_prefix="artifacts/$1-" >"$log" 2>&1; then
        echo "fuzz $1: ok, $(grep -E '^#[0-9]+.*DONE|^Done' "$log" | tail -1)"
    else
        tail -20 "$log"
        echo "fuzz $1: FAILED, see tests/fuzz/artifacts"
        return 1
    fi
}

failed=0
pending=
for target in $targets; do
    run "$target" & pending="$pending $!"
    # shellcheck disable=SC2086
    set -- $pending
    if [ $# -ge 2 ]; then
        wait "$1" || failed=1
        shift
        pending=$*
    fi
done
for job in $pending; do wait "$job" || failed=1; done
exit $failed
