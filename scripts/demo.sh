#!/bin/sh
# From a recipe to a verified answer: builds `demo`, boots it, verifies it, asks it one question.
# Installs only what booting needs (QEMU, OVMF, swtpm); needs Rust (rustup) and a C compiler.
set -eu
cd "$(dirname "$0")/.."
say() { printf '\n== %s\n' "$*"; }
retry() { for pause in 5 15 30; do "$@" && return; sleep "$pause"; done; "$@"; }
finish() {
    [ -z "$boot" ] || { kill "$boot" 2>/dev/null && wait "$boot" || true; }
    rm -rf "$scratch"
}
port=${PORT:-8443} recipe=demo boot= scratch=$(mktemp -d)
trap finish EXIT
trap 'exit 130' INT TERM

command -v cargo >/dev/null || { echo "error: cargo is missing: install Rust with rustup" >&2; exit 2; }
if ! { command -v qemu-system-x86_64 && command -v swtpm && ls /usr/share/OVMF/OVMF_CODE_4M.fd; } >/dev/null 2>&1; then
    say "installing qemu-system-x86, ovmf, swtpm"
    root=; [ "$(id -u)" = 0 ] || root=sudo
    retry $root apt-get -qq update
    retry $root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends qemu-system-x86 ovmf swtpm
fi

say "compiling cloister"
retry cargo build --release --locked -p cloister
cloister=target/release/cloister

say "fetching the locked inputs"
if ! $cloister fetch $recipe; then
    say "the archive has moved past recipes/demo/recipe.lock: locking afresh into a scratch copy"
    cp -R recipes/demo recipes/keys "$scratch"
    recipe=$scratch/demo
    $cloister lock "$recipe" && $cloister fetch "$recipe"
fi

say "building"
$cloister build "$recipe" --out "$scratch/out"
say "measurements, before it ever boots"
cat "$scratch/out/measurements/qemu-vtpm.json"

say "booting and verifying"
$cloister boot "$recipe" --out "$scratch/out" --port "$port" >"$scratch/console" & boot=$!
set -- "https://127.0.0.1:$port" --expect "$scratch/out/measurements/qemu-vtpm.json" --wait 300
$cloister verify "$@" || { tail -n 20 "$scratch/console" >&2; exit 1; }
question="Which city is the capital of France?"
say "$question"
$cloister connect "$@" --ask "$question"
