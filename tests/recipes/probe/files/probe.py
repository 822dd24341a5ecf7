"""A test workload: an HTTP server on a Unix socket that tries what the guest forbids and reports what happened.

  GET /report?port=P   tries everything; P is a port on which the host listens
  GET /events          five events, 0.4 s apart
  GET /aborted         how many clients of /events went away early
  GET /exit            ends the process
"""

import errno
import json
import os
import socket
import stat
import sys
import threading
import time

SOCKET = "/run/workload/http.sock"
aborted = 0


def attempt(action):
    """`ok`, or the name of the error."""
    try:
        action()
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def connect(family, kind, address):
    with socket.socket(family, kind) as peer:
        peer.settimeout(3)
        peer.connect(address)
        peer.send(b"escaped")


def own_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect(socket.AF_INET, socket.SOCK_STREAM, server.getsockname())


def report(port):
    inet, inet6 = socket.AF_INET, socket.AF_INET6
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    addresses = {
        "host": (inet, stream, ("10.0.2.2", port)),
        "resolver": (inet, datagram, ("10.0.2.3", 53)),
        "guest": (inet, stream, ("10.0.2.15", 443)),
        "gateway on loopback": (inet, stream, ("127.0.0.1", 443)),
        "elsewhere": (inet, stream, ("192.0.2.1", 443)),
        "elsewhere, version 6": (inet6, stream, ("2001:db8::1", 443)),
    }
    files = ["/dev/tpmrm0", "/dev/tpm0", "/dev/vda", "/dev/mem", "/dev/console", "/dev/ttyS0", "/dev/kmsg",
             "/sys/class/tpm/tpm0/device"]
    for stream_ in (sys.stdout, sys.stderr):
        print("MARKER-OF-THE-WORKLOAD", file=stream_, flush=True)
    return {
        "environment": dict(os.environ),
        "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "interfaces": [name for _, name in socket.if_nameindex()],
        "connect": {name: attempt(lambda: connect(*where)) for name, where in addresses.items()},
        "own loopback": attempt(own_loopback),
        "raw socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()),
        "open": {path: attempt(lambda: os.close(os.open(path, os.O_RDWR))) for path in files},
        "device node": attempt(lambda: os.mknod("/tmp/tpmrm0", 0o600 | stat.S_IFCHR, os.makedev(253, 65536))),
        "write to the root": attempt(lambda: open("/opt/probe/new", "w").close()),
        "devices": sorted(os.listdir("/dev")),
        "sys": {path: sorted(os.listdir("/sys/" + path)) for path in ("class/net", "firmware")},
        "write to sys": attempt(lambda: os.close(os.open("/sys/class/net/lo/mtu", os.O_WRONLY))),
        "processors": attempt(lambda: open("/sys/devices/system/cpu/online").close()),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    }


def answer(client):
    global aborted
    request = b""
    while b"\r\n\r\n" not in request:
        part = client.recv(65536)
        if not part:
            return
        request += part
    target = request.split(b" ")[1].decode()
    path, _, query = target.partition("?")
    if path == "/exit":
        os._exit(3)
    if path == "/events":
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        try:
            for number in range(5):
                client.sendall(f"data: {number}\n\n".encode())
                time.sleep(0.4)
                client.setblocking(False)
                try:
                    if client.recv(1) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    pass
                client.setblocking(True)
        except OSError:
            aborted += 1
        return
    body = {"aborted": aborted} if path == "/aborted" else report(int(query.removeprefix("port=") or 9))
    text = json.dumps(body).encode()
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                   b"Content-Length: %d\r\n\r\n%s" % (len(text), text))


def attend(client):
    with client:
        answer(client)


server = socket.socket(socket.AF_UNIX)
server.bind(SOCKET)
server.listen(64)
while True:
    threading.Thread(target=attend, args=(server.accept()[0],), daemon=True).start()
