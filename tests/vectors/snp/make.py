#!/usr/bin/env python3
"""Makes the synthetic firmware of this folder, its expected launch digests, and an ID block with throw-away keys.

usage: PYTHON make.py      (the interpreter of an environment with sev-snp-measure 0.0.13 and its dependencies)

Written from UEFI PI 1.8 volume 3 and edk2's OvmfPkg/ResetVector alone; packs with Python's liblzma. No code in any
image: executables are filled with a pattern.
"""
import base64, json, lzma, os, struct, subprocess, sys, tempfile, uuid

HERE = os.path.dirname(os.path.abspath(__file__))
FFS2, NVRAM = "8c8ce578-8a3d-4f1c-9935-896185c32dd3", "fff12b8d-7696-4c8b-a985-2747075b4f50"
ENTRIES = ["97d02dd8-bd20-4c94-aa78-e7714d36ab2a", "44baf731-3a2f-4bd7-9af1-41e29169781d",
           "4de79437-abd2-427f-b835-d5b172d2045b"]

def guid(text): return uuid.UUID(text).bytes_le
def section(kind, body): return (len(body) + 4).to_bytes(3, "little") + bytes([kind]) + body
def pad(data, to, fill=b"\0"): return data + fill * (-len(data) % to)
def executable(size, names):
    return (bytes(range(251)) * (size // 251 + 1))[:size - 16 * len(names)] + b"".join(map(guid, names))

def file(kind, body):
    header = bytearray(uuid.UUID(int=0x5a).bytes_le + bytes([0, 0xaa, kind, 0]) + (len(body) + 24).to_bytes(3, "little") + b"\0")
    header[16] = -(sum(header) - 0xaa) & 0xff
    header[23] = 0xf8
    return bytes(header) + body

def volume(system, files, size):
    body = b""
    for one in files: body = pad(body, 8, b"\xff") + one
    body = body.ljust(size - 72, b"\xff")
    assert len(body) == size - 72, "volume too small"
    def header(total):
        return (bytes(16) + guid(system) + struct.pack("<Q", size) + b"_FVH" + struct.pack("<IHHHBB", 0x4feff, 72, total, 0, 0, 2)
                + struct.pack("<IIQ", 1, size, 0))
    return header(-sum(struct.unpack("<36H", header(0))) & 0xffff) + body

def packed(sections):
    data = lzma.compress(sections, lzma.FORMAT_ALONE, preset=9)
    data = data[:5] + struct.pack("<Q", len(sections)) + data[13:]
    return section(2, guid("ee4e5898-3914-4259-9d6e-dc7bd79403cf") + struct.pack("<HH", 24, 1) + data)

METADATA, HASHES, RESET, FOOTER = ("dc886566-984a-4798-a75e-5585a7bf67cc", "7255371f-3a3b-4b04-927b-1da6efa8d454",
                                   "00f771de-1a7e-4fcb-890e-68c77e2fb44e", "96b582de-1fb2-45f7-baea-a366c55a082d")

def entry(data, name): return data + struct.pack("<H", len(data) + 18) + guid(name)
def metadata(sections):
    return (b"ASEV" + struct.pack("<III", 16 + 12 * len(sections), 1, len(sections))
            + b"".join(struct.pack("<III", *one) for one in sections))

def tail(entries, metadata=b"", distance=0, filling=b"\xa5" * 4096):
    """Last page of firmware: a table of `entries`, the first one farthest from the end, and metadata at `distance` from it."""
    table = b"".join(entries)
    table += struct.pack("<H", len(table) + 18) + guid(FOOTER)
    page = bytearray(filling)
    page[-32 - len(table):-32] = table
    if metadata: page[-distance:len(page) - distance + len(metadata)] = metadata
    return bytes(page)

def tables(sections, ap_reset=0x80b004, hash_table=0x810c00):
    blob = metadata(sections)
    distance = 32 + 512 + len(blob)
    entries = [entry(struct.pack("<I", distance), METADATA), entry(struct.pack("<II", hash_table, 0x400), HASHES),
               entry(struct.pack("<I", ap_reset), RESET)]
    return tail(entries, blob, distance)

def firmware(driver, sections):
    inner = volume(FFS2, [file(7, section(0x10, executable(40000, []))), file(7, section(0x10, driver))], 96 << 10)
    outer = file(0x0b, packed(pad(section(0x19, bytes(9)), 4) + section(0x17, inner)))
    return volume(NVRAM, [], 4096) + volume(FFS2, [outer], 8192) + tables(sections)

SECTIONS = [(0x800000, 0x9000, 1), (0x80d000, 0x1000, 2), (0x80e000, 0x1000, 3), (0x80f000, 0, 4), (0x810000, 0x1000, 0x10),
            (0x811000, 0xf000, 1)]
def main():
    images = {
        "enforcing.fd": firmware(executable(9000, ENTRIES), SECTIONS),
        "not-enforcing.fd": firmware(executable(9000, ENTRIES[:2]), SECTIONS),
        "unknown-section.fd": firmware(executable(9000, ENTRIES), SECTIONS + [(0x900000, 0x2000, 0x77)]),
    }
    for name, data in images.items(): open(f"{HERE}/{name}", "wb").write(data)
    open(f"{HERE}/kernel", "wb").write(b"kernel of the vectors\n")
    open(f"{HERE}/initrd", "wb").write(b"initrd of the vectors\n" * 30)

    def run(*words): return subprocess.run([os.path.join(os.path.dirname(sys.executable), "sev-snp-measure"), *words], check=True, capture_output=True, text=True).stdout.strip()

    rows = []
    def row(vmm, model, vcpus, features, cmdline, initrd=True):
        words = ["--mode", "snp", "--vmm-type", vmm, "--vcpus", str(vcpus), "--vcpu-type", model, "--guest-features", hex(features),
                 "--ovmf", f"{HERE}/enforcing.fd"]
        if cmdline is not None:
            words += ["--kernel", f"{HERE}/kernel", "--append", cmdline] + (["--initrd", f"{HERE}/initrd"] if initrd else [])
        rows.append({"host": {"QEMU": "qemu"}.get(vmm, vmm), "vcpu-model": model, "vcpus": vcpus, "guest-features": features,
                     "cmdline": cmdline, "initrd": initrd and cmdline is not None, "digest": run(*words)})
    for vmm in ["QEMU", "ec2", "gce"]:
        for vcpus in [1, 2, 3, 64, 255]: row(vmm, "EPYC-v4", vcpus, 1, "console=ttyS0")
        row(vmm, "EPYC-v4", 2, 1, None)
    for model in ["EPYC", "EPYC-IBPB", "EPYC-Rome", "EPYC-Milan-v2", "EPYC-Genoa", "EPYC-Turin"]: row("QEMU", model, 2, 0x21, "quiet")
    for cmdline in ["", " ", " a b ", "a\n", "\t", "grün=ß", "x" * 4000]: row("QEMU", "EPYC-v4", 1, 0x1, cmdline)
    row("QEMU", "EPYC-v4", 1, 0x1, "quiet", initrd=False)
    for features in [0, 0x5, 0x8021, 0xffffffffffffffff]: row("QEMU", "EPYC-v4", 2, features, "quiet")
    seed = run("--mode", "snp:ovmf-hash", "--ovmf", f"{HERE}/enforcing.fd")
    json.dump({"firmware-digest": seed, "rows": rows}, open(f"{HERE}/launch-digests.json", "w"), indent=1, ensure_ascii=False)
    print(len(rows), "rows")

    # ID block: keys and signatures are new in every run, so the public parts stand in the file.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from sevsnpmeasure import id_block

    def new_key(folder, name):
        key = ec.generate_private_key(ec.SECP384R1())
        with open(f"{folder}/{name}", "wb") as out:
            out.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint).hex()

    with tempfile.TemporaryDirectory() as folder:
        digest = rows[0]["digest"]
        keys = {name: new_key(folder, name) for name in ["id-key", "author-key"]}
        lines = id_block.snp_calc_id_block(bytes.fromhex(digest), f"{folder}/id-key", f"{folder}/author-key").splitlines()
    block, auth = (one.split("=", 1)[1] for one in lines[0].split(","))
    digests = [base64.b64decode(line.split(": ")[1]).hex() for line in lines[1:]]
    json.dump({"launch-digest": digest, **keys, "id-block": block, "id-auth": auth, "id-key-digest": digests[0],
               "author-key-digest": digests[1]}, open(f"{HERE}/id-block.json", "w"), indent=1)

if __name__ == "__main__": main()
