#!/bin/sh
# Compiles NVIDIA's open kernel modules twice, in stores at different paths and with different numbers of jobs, compares them and
# prints their digests, whether the locked kernel takes them, and the times. Takes about ten minutes on two cores, and 2 GB of disk.
# usage: scripts/gpu-modules.sh [STORE]     default: target/modules-store, kept for the next time; fetches about 200 MB once
# The last result is recorded in docs/gpu.md.
set -eu
cd "$(dirname "$0")/.."
store=${1:-target/modules-store}
mkdir -p "$store"
CLOISTER_STORE=$(cd "$store" && pwd)
export CLOISTER_STORE
exec cargo test --locked --package cloister --bin cloister -- --ignored --exact --nocapture \
    kernel_build::tests::nvidia_modules_are_the_same_from_any_path_and_number_of_jobs
