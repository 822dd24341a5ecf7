#!/usr/bin/env python3
"""Runs the workload of a built image without a machine: usage (as root) scripts/serve-root.py OUT SOCKETS

OUT is what `cloister build` wrote. The image's own initrd is unpacked into memory, its root image mounted as PID 1 mounts it, and PID 1's program
executed as the child that becomes the workload: the same code and configuration as in the guest make namespaces, mounts, user and limits.
Unlike in the guest there is no PID 1, no dm-verity, no TPM, no `serve` and no limit of memory. The workload's socket appears in the directory SOCKETS;
its output comes here. Ends with the workload, or with this program.
"""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

SERVE_GROUP = 65533  # SERVE_ID of crates/evidence/src/guest.rs
NAMESPACES = ["--mount", "--propagation", "private", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]


def members(archive):
    """Paths, modes and contents of a cpio archive in the newc format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    at = 0
    while True:
        if archive[at:at + 6] != b"070701":
            raise SystemExit(f"error: initrd has no cpio header at byte {at}")
        fields = [int(archive[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name = fields[1], fields[6], fields[11]
        start = at + 110
        path = archive[start:start + name - 1].decode()
        start = start + name + -(start + name) % 4
        if path == "TRAILER!!!":
            return
        yield path, mode, archive[start:start + size]
        at = start + size + -(start + size) % 4


def unpack(archive, directory):
    for path, mode, content in members(archive):
        target = directory / path
        if mode & 0o170000 == 0o040000:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(content)
        target.chmod(mode & 0o7777)


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def workload_user(directory):
    lines = (directory / "cloister/guest.conf").read_text().splitlines()
    words = next(line.split() for line in lines if line.startswith("workload-user "))
    return int(words[1])


def inside(out, sockets):
    """In namespaces of our own: makes what PID 1 has made by the time it starts the workload, and becomes that."""
    root = pathlib.Path(tempfile.gettempdir())
    initrd = subprocess.run(["zstd", "-qdc", out / "initrd"], check=True, stdout=subprocess.PIPE).stdout
    image = os.path.realpath(out / "root.erofs")
    sockets = os.path.realpath(sockets)
    mount("-t", "tmpfs", "-o", "mode=0755", "initramfs", root)
    unpack(initrd, root)
    for kind, target in [("devtmpfs", "dev"), ("proc", "proc"), ("sysfs", "sys"), ("cgroup2", "sys/fs/cgroup"), ("tmpfs", "run")]:
        mount("-t", kind, kind, root / target)
    (root / "sys/fs/cgroup/workload").mkdir(exist_ok=True)
    shared = root / "run/workload"
    shared.mkdir()
    mount("--bind", sockets, shared)
    os.chown(shared, workload_user(root), SERVE_GROUP)
    shared.chmod(0o2770)
    mount("-t", "erofs", "-o", "loop,ro,nodev,nosuid", image, root / "root")
    os.chroot(root)
    os.chdir("/")
    os.execve("/init", ["cloister-workload"], {})


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--inside":
        inside(pathlib.Path(arguments[1]), arguments[2])
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    os.makedirs(arguments[1], exist_ok=True)
    report, theirs = socket.socketpair()
    command = ["unshare", *NAMESPACES, sys.executable, os.path.abspath(__file__), "--inside", *arguments]
    with subprocess.Popen(command, stdin=theirs) as child:
        theirs.close()
        why = b"".join(iter(lambda: report.recv(4096), b"")).decode(errors="replace")
        print(f"error: the workload was not started: {why}" if why else "the workload runs", file=sys.stderr, flush=True)
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
