#!/bin/sh
# Compares the guest's gateway with nginx, haproxy and caddy and prints a table (docs/benchmarks.md).
# usage: scripts/bench-gateway.sh [BENCH_DIR [OPTIONS OF run.py...]]     default: ../shared/bench/gateway --rounds 2 --secs 1
# Needs nginx, haproxy, caddy, h2load and openssl; the gateway listens on 127.0.0.1 only and ends with the run.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
bench=${1:-$root/../shared/bench/gateway}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- --rounds 2 --secs 1

if [ ! -x "$bench/run.py" ]; then
    echo "error: no benchmark in $bench" >&2
    echo "hint: pass the directory that holds its run.py" >&2
    exit 2
fi
for tool in nginx haproxy caddy h2load openssl taskset; do
    if ! command -v "$tool" >/dev/null && [ ! -x "/usr/sbin/$tool" ]; then
        echo "error: $tool is not installed" >&2
        echo "hint: apt-get install --no-install-recommends nginx-light haproxy caddy nghttp2-client openssl" >&2
        exit 2
    fi
done

cd "$root"
cargo build --locked --profile guest --quiet -p cloister-init --example gateway
target=${CARGO_TARGET_DIR:-$root/target}
exec "$bench/run.py" "$@" --candidate \
    "cloister=$target/guest/examples/gateway --listen 127.0.0.1:{port} --to {upstream} --cert {cert} --key {key}"
