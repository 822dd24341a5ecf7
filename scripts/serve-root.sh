#!/bin/sh
# Runs the workload of a recipe from its built root, without a machine: usage scripts/serve-root.sh RECIPE.toml ROOT.erofs SOCKETS
# As in the guest: read-only root, own mount, process and network namespaces with a loopback alone, the recipe's user, arguments and whole environment.
# Unlike it: no verity, no limits, not started by `cloister-init`. Needs root for the mount. Ends with the server; its socket is in the directory SOCKETS.
set -eu
[ $# = 3 ] || { sed -n 2p "$0" >&2; exit 2; }
mkdir -p "$3"
chmod 0777 "$3"
root=$(mktemp -d)
trap 'umount "$root"; rmdir "$root"' EXIT
mount -t erofs -o loop,ro "$2" "$root"
words=$(python3 - "$1" "$root" <<'EOP'
import shlex, sys, tomllib
with open(sys.argv[1], "rb") as file:
    recipe = tomllib.load(file)
workload = recipe["guest"]["workload"]
user = next(user for user in recipe["user"] if user["name"] == workload["user"])
environment = [f"{name}={value}" for name, value in workload.get("environment", {}).items()]
who = f"--userspec={user['uid']}:{user['gid']}"
print(shlex.join(["env", "-i", *environment, "/usr/sbin/chroot", who, sys.argv[2], *workload["exec"]]))
EOP
)
ROOT=$root SOCKETS=$(realpath "$3") WORDS=$words unshare --mount --net --pid --ipc --fork sh -eu -c '
    ip link set lo up
    mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
    mount -t tmpfs -o mode=0755 tmpfs "$ROOT/run"
    mkdir "$ROOT/run/workload"
    mount --bind "$SOCKETS" "$ROOT/run/workload"
    mount -t tmpfs -o mode=0755 tmpfs "$ROOT/dev"
    for device in null zero full random urandom; do
        touch "$ROOT/dev/$device"
        mount --bind "/dev/$device" "$ROOT/dev/$device"
    done
    mkdir "$ROOT/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$ROOT/dev/shm"
    mount -t proc proc "$ROOT/proc"
    mount -t sysfs -o ro sysfs "$ROOT/sys"
    eval "exec $WORDS"
'
