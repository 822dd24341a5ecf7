#!/bin/sh
# From a recipe to a verified answer: builds `demo`, boots it, verifies it, asks it one question.
# Installs only what booting needs (QEMU, OVMF, swtpm); needs Rust (rustup) and a C compiler.
set -eu
cd "$(dirname "$0")/.."
say() { printf '\n== %s\n' "$*"; }
port=${PORT:-8443}
scratch=$(mktemp -d)
boot=
finish() {
    [ -z "$boot" ] || { kill "$boot" 2>/dev/null && wait "$boot" || true; }
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT TERM

command -v cargo >/dev/null || { echo "error: cargo is missing" >&2; echo "hint: install Rust with rustup" >&2; exit 2; }
root=; [ "$(id -u)" = 0 ] || root=sudo
if ! { command -v qemu-system-x86_64 && command -v swtpm && ls /usr/share/OVMF/OVMF_CODE_4M.fd; } >/dev/null 2>&1; then
    say "installing qemu-system-x86, ovmf, swtpm"
    for try in 1 2 3; do
        $root apt-get -qq update && DEBIAN_FRONTEND=noninteractive $root apt-get -qq install -y --no-install-recommends \
            qemu-system-x86 ovmf swtpm >/dev/null && break
        [ "$try" = 3 ] && exit 2 || sleep 5
    done
fi

say "compiling cloister"
cargo build --release --locked -p cloister
cloister=target/release/cloister recipe=demo

say "fetching the locked inputs"
if ! $cloister fetch $recipe; then
    say "the archive has moved past recipes/demo/recipe.lock: locking afresh into a scratch copy"
    cp -R recipes/demo recipes/keys "$scratch"
    recipe=$scratch/demo
    $cloister lock "$recipe" && $cloister fetch "$recipe"
fi

say "building"
out=$scratch/out
$cloister build "$recipe" --out "$out"
say "measurements, before it ever boots"
cat "$out/measurements/qemu-vtpm.json"

say "booting, verifying and asking"
$cloister boot "$recipe" --out "$out" --port "$port" >"$scratch/console" & boot=$!
guest="https://127.0.0.1:$port --expect $out/measurements/qemu-vtpm.json"
$cloister verify $guest --wait 240 || { tail -n 20 "$scratch/console" >&2; exit 1; }
question="What is the capital of France?"
say "$question"
$cloister connect $guest --ask "$question"
