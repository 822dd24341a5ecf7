#!/usr/bin/env python3
"""Makes tdx-*.fd, tdx-kernel.bin and tdx-expected.json; see README.md. Standard library only."""
import hashlib, json, struct, uuid

FOOTER, TDX = "96b582de-1fb2-45f7-baea-a366c55a082d", "e47a6535-984a-4798-865e-4685a7bf8ec2"
PAGE = 4096

def pattern(size, seed):
    return hashlib.shake_256(seed.encode()).digest(size)

def entry(data, name):
    return data + struct.pack("<H", len(data) + 18) + uuid.UUID(name).bytes_le

def firmware(size, seed, sections):
    """sections: offset, data size, address, memory size, type, attributes."""
    image = bytearray(pattern(size, seed))
    meta = b"TDVF" + struct.pack("<III", 16 + 32 * len(sections), 1, len(sections))
    meta += b"".join(struct.pack("<IIQQII", *s) for s in sections)
    start = size - 2048
    image[start:start + len(meta)] = meta
    table = entry(bytes(5), "11111111-2222-3333-4444-555555555555")
    table += entry(struct.pack("<I", size - start), TDX)
    table += struct.pack("<H", len(table) + 18) + uuid.UUID(FOOTER).bytes_le
    image[-32 - len(table):-32] = table
    return bytes(image)

def record(name, gpa):
    return name.ljust(16, b"\0") + struct.pack("<Q", gpa) + bytes(104)

def mrtd(image, sections, two_pass):
    stream = []
    for offset, _, gpa, size, _, attributes in sections:
        adds, extends = [], []
        for page in range(0, size, PAGE):
            add, extend = [], []
            if not attributes & 2:
                add.append(record(b"MEM.PAGE.ADD", gpa + page))
            if attributes & 1:
                for chunk in range(page, page + PAGE, 256):
                    extend.append(record(b"MR.EXTEND", gpa + chunk) + image[offset + chunk:offset + chunk + 256])
            adds.append(b"".join(add))
            extends.append(b"".join(extend))
        if two_pass:
            stream += adds + extends
        else:
            stream += [a + e for a, e in zip(adds, extends)]
    return hashlib.sha384(b"".join(stream)).hexdigest()

TOP = 1 << 32
FIRMWARE = {
    # As OVMF: variables not measured here, code measured, hand-off block and early memory added only.
    "tdx-ovmf-like.fd": (4 * PAGE, [
        (PAGE, 3 * PAGE, TOP - 3 * PAGE, 3 * PAGE, 0, 1), (0, PAGE, TOP - 4 * PAGE, PAGE, 1, 0),
        (0, 0, 0x810000, 2 * PAGE, 3, 0), (0, 0, 0x80B000, PAGE, 3, 0), (0, 0, 0x809000, 2 * PAGE, 2, 0)]),
    # Two measured sections, a late one, empty ones, an unknown type, an address above 4 GiB.
    "tdx-mixed.fd": (2 * PAGE, [
        (0, 0, 0, 0, 3, 0), (PAGE, PAGE, TOP - PAGE, PAGE, 0, 1), (0, 0, 0x100000, 4 * PAGE, 4, 2),
        (0, 2 * PAGE, 3 << 33, 2 * PAGE, 5, 1), (64, 100, 0x200000, PAGE, 0x77, 0), (0, 0, 0x300000, 0, 9, 1)]),
}

def kernel(protocol, loadflags, xloadflags, initrd_max):
    """A PE32+ image with a Linux setup header; its code is random bytes."""
    image = bytearray(pattern(0x3000, "kernel"))
    image[0x1f1] = 3                                        # setup sectors
    image[:2], image[0x3c:0x40] = b"MZ", struct.pack("<I", 0x280)
    image[0x202:0x208] = b"HdrS" + struct.pack("<H", protocol)
    image[0x211] = loadflags
    image[0x22c:0x230] = struct.pack("<I", initrd_max)
    image[0x236:0x238] = struct.pack("<H", xloadflags)
    optional = struct.pack("<HBBIIIII", 0x20b, 0, 0, 0, 0, 0, 0x1000, 0x1000)
    optional += struct.pack("<QIIHHHHHHIIIIHHQQQQII", 0, 4096, 512, 0, 0, 0, 0, 0, 0, 0, 0x4000, 0x1000, 0, 10, 0, 0, 0, 0, 0, 0, 6)
    optional += bytes(48)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x206)
    section = b".text\0\0\0" + struct.pack("<IIIIIIHHI", 0x2000, 0x1000, 0x2000, 0x1000, 0, 0, 0, 0, 0x60000020)
    head = coff + optional + section
    image[0x280:0x280 + len(head)] = head
    return bytes(image)

def patched(image, initrd_size, memory, video=None):
    """What QEMU's x86_load_linux does to the header of a kernel of protocol 2.2 or newer that is loaded high."""
    out = bytearray(image)
    word = lambda at: struct.unpack_from("<H", image, at)[0]
    out[0x210] = 0xB0
    out[0x211] |= 0x80
    struct.pack_into("<I", out, 0x224, 0x20000 - 0x10000 - 0x200)
    struct.pack_into("<I", out, 0x228, 0x20000)
    if video is not None:
        struct.pack_into("<H", out, 0x1FA, video)
    if initrd_size:
        below = min(memory, 0x80000000 if memory >= 0xB0000000 else 0xB0000000)
        above = word(0x206) >= 0x20C and word(0x236) & 2
        limit = 0xFFFFFFFF if above else struct.unpack_from("<I", image, 0x22C)[0]
        if limit >= below - 0x28000:
            limit = below - 0x28000 - 1
        struct.pack_into("<II", out, 0x218, (limit - initrd_size) & ~4095, initrd_size)
    return bytes(out)

def authenticode(image):
    checksum = 0x280 + 24 + 64
    certificates = 0x280 + 24 + 112 + 4 * 8
    parts = image[:checksum] + image[checksum + 4:certificates] + image[certificates + 8:0x1000] + image[0x1000:]
    return hashlib.sha384(parts).digest()

def replay(digests):
    value = bytes(48)
    for digest in digests:
        value = hashlib.sha384(value + digest).digest()
    return value.hex()

def sha(data): return hashlib.sha384(data).digest()

def direct(image, initrd, command_line, memory, video=None):
    loaded = command_line + (" initrd=initrd" if initrd else "")
    actions = [sha(b"Calling EFI Application from Boot Option"), sha(bytes(4)),
               sha(b"Exit Boot Services Invocation"), sha(b"Exit Boot Services Returned with Success")]
    options = [sha((loaded + "\0").encode("utf-16-le"))] if loaded else []
    kernel_digests = {"patched": patched(image, len(initrd), memory, video), "as-given": image}
    return {
        "rtmr1": {name: replay([authenticode(k)] + actions) for name, k in kernel_digests.items()},
        "rtmr2": replay(options + ([sha(initrd)] if initrd else [])),
    }

KERNELS = {"modern": (0x20F, 1, 0x7F, 0x7FFFFFFF), "below-4g": (0x20F, 1, 0x01, 0x37FFFFFF)}
BOOTS = [("modern", 5000, "console=ttyS0 quiet", 2048, None), ("modern", 5000, "console=ttyS0 quiet", 2815, None),
         ("modern", 5000, "console=ttyS0 quiet", 2816, None), ("modern", 5000, "console=ttyS0 quiet", 65536, None),
         ("modern", 0, "console=ttyS0", 4096, None), ("modern", 4096, "", 512, None), ("modern", 0, "", 512, None),
         ("below-4g", 70000, "\u00e9 two  spaces ", 4096, None), ("modern", 1, "vga=0x317 x", 4096, 0x317),
         ("modern", 1, "vga=ask", 4096, 0xFFFD)]

def main():
    expected = {"mrtd": {}, "direct": []}
    for name, (size, sections) in FIRMWARE.items():
        image = firmware(size, name, sections)
        open(name, "wb").write(image)
        cfv = [s for s in sections if s[4] == 1]
        expected["mrtd"][name] = {
            "add-then-extend": mrtd(image, sections, False), "two-pass": mrtd(image, sections, True),
            "configuration-volume": sha(image[cfv[0][0]:cfv[0][0] + cfv[0][1]]).hex() if cfv else None}
    for name, fields in KERNELS.items():
        open(f"tdx-kernel-{name}.bin", "wb").write(kernel(*fields))
    for name, initrd_size, command_line, mebibytes, video in BOOTS:
        initrd = pattern(initrd_size, "initrd")
        row = direct(kernel(*KERNELS[name]), initrd, command_line, mebibytes << 20, video)
        expected["direct"].append({"kernel": f"tdx-kernel-{name}.bin", "initrd-size": initrd_size, "initrd": initrd.hex()
                                   if initrd_size <= 8 else None, "initrd-sha384": sha(initrd).hex(),
                                   "cmdline": command_line, "memory-mib": mebibytes, **row})
    open("tdx-expected.json", "w").write(json.dumps(expected, indent=1) + "\n")

if __name__ == "__main__":
    main()
