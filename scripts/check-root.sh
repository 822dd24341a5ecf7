#!/bin/sh
# Looks at a built root without a machine and without a GPU: usage scripts/check-root.sh RECIPE.toml OUT (what `cloister build` wrote)
# Loads every shared library, imports the server, compiles as Triton does, asks ldconfig, and looks for a way out. As in the guest: read-only
# root, the recipe's user and whole environment, own namespaces; unlike it no device of a GPU, and not even a loopback. Needs root for the mount.
# Prints one line for each check; ends with 1 when one fails.
set -eu
[ $# = 2 ] || { sed -n 2p "$0" >&2; exit 2; }
here=$(dirname "$(realpath "$0")")
root=$(mktemp -d)
trap 'umount "$root"; rmdir "$root"' EXIT
where=$(python3 - "$2/manifest.json" <<'EOP'
import json, sys
with open(sys.argv[1], "rb") as file:
    manifest = json.load(file)
first = next(part["first-sector"] for part in manifest["partitions"] if part["name"] == "root")
print(f"offset={512 * first},sizelimit={4096 * manifest['verity']['data-blocks']}")
EOP
)
mount -t erofs -o "loop,ro,$where" "$2/disk.raw" "$root"
words=$(python3 - "$1" "$root" <<'EOP'
import shlex, sys, tomllib
with open(sys.argv[1], "rb") as file:
    recipe = tomllib.load(file)
workload = recipe["guest"]["workload"]
user = next(user for user in recipe["user"] if user["name"] == workload["user"])
environment = [f"{name}={value}" for name, value in workload.get("environment", {}).items()]
who = f"--userspec={user['uid']}:{user['gid']}"
print(shlex.join(["env", "-i", *environment, "/usr/sbin/chroot", who, sys.argv[2], workload["exec"][0], "-u", "/tmp/look.py"]))
EOP
)
ROOT=$root LOOK=$here/check-root.py WORDS=$words unshare --mount --net --pid --ipc --fork sh -eu -c '
    mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
    cp "$LOOK" "$ROOT/tmp/look.py"
    mount -t tmpfs -o mode=0755 tmpfs "$ROOT/run"
    mount -t tmpfs -o mode=0755 tmpfs "$ROOT/dev"
    for device in null zero full random urandom; do
        touch "$ROOT/dev/$device"
        mount --bind "/dev/$device" "$ROOT/dev/$device"
    done
    mkdir "$ROOT/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$ROOT/dev/shm"
    mount -t proc proc "$ROOT/proc"
    eval "$WORDS"
'
