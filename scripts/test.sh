#!/bin/sh
# Sets up what the tests need and runs every one: unit tests of all crates, then the integration tests with real guests.
set -eu
cd "$(dirname "$0")/.."
retry() { for pause in 5 15 30; do "$@" && return; sleep "$pause"; done; "$@"; }

packages="ca-certificates curl gcc libc6-dev qemu-system-x86 ovmf swtpm swtpm-tools tpm2-tools erofs-utils cryptsetup-bin
 mtools dosfstools qemu-utils faketime python3 python3-venv util-linux"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    root=; [ "$(id -u)" = 0 ] || root=sudo
    retry $root apt-get -qq update
    # shellcheck disable=SC2086 # a list of names
    retry $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
if ! command -v cargo >/dev/null; then
    echo "error: cargo is missing" >&2
    echo "hint: install Rust with rustup; rust-toolchain.toml names the version" >&2
    exit 2
fi

# Oracles and clients from the Python index: an independent launch digest, libxml2, NVIDIA's reader of NVML, the real OpenAI client.
venv=target/venv
if ! [ -x $venv/bin/sev-snp-measure ] || ! $venv/bin/python -c 'import openai, lxml.etree, pynvml' 2>/dev/null; then
    python3 -m venv $venv
    retry $venv/bin/pip -q install sev-snp-measure==0.0.13 openai==3.54.0 lxml==6.1.3 nvidia-ml-py==13.615.71
fi

export CI="${CI:-1}"
retry cargo fetch --locked
cargo build --locked -p cloister
# Unit tests on real packages read this store. A lock whose bytes are gone makes them say so, not fail.
target/debug/cloister fetch demo || echo "scripts/test.sh: going on without the packages of demo" >&2
export CLOISTER_STORE="${CLOISTER_STORE:-${XDG_CACHE_HOME:-$HOME/.cache}/cloister/store}"
# Firmware, a boot loader and a kernel of Debian that the shared vectors have values of.
scripts/debian-files.sh
export CLOISTER_DEBIAN_FILES="${CLOISTER_DEBIAN_FILES:-$PWD/target/debian-files}"
cargo test --workspace --exclude cloister-tests --locked
CLOISTER_BIN="$PWD/target/debug/cloister" cargo test --locked -p cloister-tests --test it -- --test-threads=2 "$@"
