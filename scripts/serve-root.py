#!/usr/bin/env python3
"""Runs the workload of a built image without a machine: usage (as root) scripts/serve-root.py OUT SOCKETS

OUT is what `cloister build` wrote. The image's own initrd is unpacked into memory, its root image mounted as PID 1 mounts it, and PID 1's program
executed as the child that becomes the workload: the same code and configuration as in the guest make namespaces, mounts, user and limits.
Unlike in the guest there is no PID 1, no dm-verity, no TPM, no `serve` and no limit of memory; where root may not raise its limit of open files
(no CAP_SYS_RESOURCE, as in some containers), the one that is there stays. The workload's socket appears in the directory SOCKETS;
its output comes here. Ends with the workload, or with this program.
"""
import ctypes
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import tempfile

FILES = 65536  # init/src/confine.rs
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


def keep_limit_of_files():
    """Lets the program believe that it has set RLIMIT_NOFILE, by a seccomp filter, where it could not."""
    try:
        return resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    except ValueError:
        pass
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    success, allow = 0x0005_0000, 0x7FFF_0000  # SECCOMP_RET_ERRNO with 0, SECCOMP_RET_ALLOW
    program = [
        (load, 0, 0, 0), (equal, 0, 5, 302),  # prlimit64 on x86-64
        (load, 0, 0, 24), (equal, 0, 3, resource.RLIMIT_NOFILE),
        (load, 0, 0, 32), (equal, 1, 0, 0),  # no new limit: only asks
        (give, 0, 0, success), (give, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    if ctypes.CDLL(None, use_errno=True).prctl(22, 2, header) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp")


def inside(root, out, sockets):
    """In namespaces of our own: makes what PID 1 has made by the time it starts the workload, and becomes that."""
    initrd = subprocess.run(["zstd", "-qdc", out / "initrd"], check=True, stdout=subprocess.PIPE).stdout
    manifest = json.loads((out / "manifest.json").read_text())
    first = next(part["first-sector"] for part in manifest["partitions"] if part["name"] == "root")
    where = f"offset={512 * first},sizelimit={4096 * manifest['verity']['data-blocks']}"
    disk = os.path.realpath(out / "disk.raw")
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
    mount("-t", "erofs", "-o", f"loop,ro,nodev,nosuid,{where}", disk, root / "root")
    keep_limit_of_files()
    os.chroot(root)
    os.chdir("/")
    os.execve("/init", ["cloister-workload"], {})


def main(arguments):
    if len(arguments) == 4 and arguments[0] == "--inside":
        try:
            inside(*map(pathlib.Path, arguments[1:]))
        except Exception as error:
            os.write(0, str(error).encode())
            raise
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    os.makedirs(arguments[1], exist_ok=True)
    if os.listdir(arguments[1]):
        raise SystemExit(f"error: `{arguments[1]}` is not empty; the guest begins with no socket there")
    report, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory() as root:
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, sys.executable, os.path.abspath(__file__), "--inside", root, *arguments]
        return run(command, report, theirs)


def run(command, report, theirs):
    """Runs `command` to its end, and says what it reports on the socket then: why the workload could not be started."""
    with subprocess.Popen(command, stdin=theirs) as child:
        theirs.close()
        status = child.wait()
    if why := report.recv(4096).decode(errors="replace"):
        print(f"error: the workload was not started: {why}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
