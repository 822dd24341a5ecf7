#!/usr/bin/env bash
# Mutation testing of crates/verify: changes the source in one place, and expects a test to fail. Hours; not in CI.
#
#   scripts/mutants.sh [GROUP]...      groups: snp tdx azure cert shared (all of them when none is named)
#   SHARD=0/8 scripts/mutants.sh snp   one part of a group
#
# Each group runs the tests that are about it, without those that flip every bit and those against other verifiers: these take
# seconds, and a check that only they notice has no case of its own. Results: target/mutants/GROUP/mutants.out/{caught,missed,timeout,
# unviable}.txt. MUTANTS_IN_PLACE=1 changes this tree instead of a copy. Exit status 0 when no mutant was missed; docs/mutation.md holds what came out last.
set -euo pipefail
cd "$(dirname "$0")/.."
retry() { for pause in 5 15 30; do "$@" && return; sleep "$pause"; done; "$@"; }

version=27.0.0
cargo mutants --version 2>/dev/null | grep -q "$version" || retry cargo install --locked cargo-mutants --version "$version"

files() {
  case $1 in
    snp) echo 'crates/verify/src/snp.rs crates/verify/src/snp/*.rs' ;;
    tdx) echo 'crates/verify/src/tdx.rs crates/verify/src/tdx/*.rs crates/verify/src/google.rs crates/verify/src/collateral/*.rs' ;;
    azure) echo 'crates/verify/src/azure.rs crates/verify/src/azure/*.rs crates/verify/src/tpm.rs crates/verify/src/tpm/*.rs' ;;
    cert) echo 'crates/verify/src/cert.rs crates/verify/src/cert/*.rs crates/verify/src/cmw.rs crates/verify/src/cmw/*.rs crates/verify/src/certificate.rs crates/verify/src/layers.rs' ;;
    shared) echo 'crates/verify/src/x509.rs crates/verify/src/x509/*.rs crates/verify/src/checks.rs crates/verify/src/verdict.rs crates/verify/src/signature.rs crates/verify/src/signature/native.rs crates/verify/src/policy.rs crates/verify/src/collateral.rs' ;;
    *) echo "error: no group \`$1\`" >&2; return 2 ;;
  esac
}

tests() {
  case $1 in
    snp) echo '--lib --test snp --test policy' ;;
    tdx) echo '--lib --test tdx --test collateral' ;;
    azure) echo '--lib --test azure --test tpm' ;;
    cert) echo '--lib --test cert --test appraisal' ;;
    shared) echo '--lib --test x509 --test snp --test tdx --test collateral --test policy' ;;
  esac
}

[ $# -gt 0 ] || set -- snp tdx azure cert shared
missed=0
for group; do
  patterns=$(files "$group") # an unknown group ends here, and does not mean every file
  chosen=()
  for file in $patterns; do chosen+=(--file "$file"); done
  read -ra run <<<"$(tests "$group")"
  out=target/mutants/$group
  mkdir -p "$out"
  status=0
  CARGO_TARGET_DIR=$PWD/target/mutants/build cargo mutants --package cloister-verify "${chosen[@]}" \
    ${SHARD:+--shard "$SHARD"} ${MUTANTS_IN_PLACE:+--in-place} --output "$out" --baseline skip --timeout 120 --no-shuffle \
    -- --locked "${run[@]}" -- --skip mutation --skip peer --skip changed || status=$?
  # 2: some were missed; 3: some ran into the time limit, which counts as noticed.
  case $status in
    0 | 3) ;;
    2) missed=1 ;;
    *) exit "$status" ;;
  esac
done
exit "$missed"
