#!/usr/bin/env bash
# Mutation testing of one library: every mutant is compiled into one copy of it, and its tests run once for each. Not in CI.
#
#   scripts/mutants.sh [PACKAGE]                 cloister-verify when none is named; also cloister-gpu, cloister-rim, ...
#   scripts/mutants.sh PACKAGE --resume          goes on with a run that was cut off
#   scripts/mutants.sh PACKAGE --survivors       those that survived the last run of all
#   scripts/mutants.sh PACKAGE --only TEXT       those with TEXT in their names, such as a file
#
# Prints each survivor while it runs, and at the end those that tests/mutants/equivalent.toml does not explain, and counts. Every outcome,
# with the test that noticed: target/mutants/PACKAGE.outcomes. Exit status 0 when each survivor is explained and each explanation needed,
# 1 when not, 2 when it could not run. docs/mutation.md holds what came out last.
set -euo pipefail
cd "$(dirname "$0")/.."
retry() { for pause in 5 15 30; do "$@" && return; sleep "$pause"; done; "$@"; }

version=27.0.0 # lists the mutants
cargo mutants --version 2>/dev/null | grep -q "$version" || retry cargo install --locked cargo-mutants --version "$version"
retry cargo fetch --quiet --locked --manifest-path tests/mutants/Cargo.toml
CARGO_TARGET_DIR=target/mutants/tool cargo build --quiet --locked --release --manifest-path tests/mutants/Cargo.toml
[ $# -gt 0 ] || set -- cloister-verify
exec nice -n 15 target/mutants/tool/release/cloister-mutants "$@"
