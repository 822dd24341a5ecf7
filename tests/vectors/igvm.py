#!/usr/bin/env python3
"""Prints what crates/measure/src/igvm/tests.rs compares with; see README.md. Standard library only."""
import hashlib, struct

def sha(data): return hashlib.sha384(data).digest()

NORMAL, VMSA, ZERO, UNMEASURED, SECRETS, CPUID = range(1, 7)
vmsa = bytearray(4096)
struct.pack_into("<Q", vmsa, 0x158, 0x31)                   # CR0 (AMD APM volume 2, table B-4)
PAGES = [(NORMAL, 0x100000, b"\xaa" * 4096), (NORMAL, 0x101000, b"\xbb" * 4096), (NORMAL, 0x102000, b""),
         (UNMEASURED, 0x200000, None), (SECRETS, 0x202000, None), (CPUID, 0x203000, None), (CPUID, 0x204000, None),
         (UNMEASURED, 0x300000, None), (UNMEASURED, 0x301000, None), (UNMEASURED, 0x302000, None),
         (VMSA, 0xFFFFFFFFF000, bytes(vmsa))]

def launch_digest(native_zero):
    digest = bytes(48)
    for kind, gpa, data in PAGES:
        if data == b"" and native_zero:
            kind, data = ZERO, None
        contents = bytes(48) if data is None else sha(data.ljust(4096, b"\0"))
        digest = sha(digest + contents + struct.pack("<HBBIQ", 0x70, kind, 0, 0, gpa))
    return digest

def key_digest(fill):
    return sha((struct.pack("<I", 2) + bytes([fill]) * 72 + bytes([fill + 1]) * 72).ljust(1028, b"\0"))

for name, value in [("NORMAL", launch_digest(False)), ("NATIVE", launch_digest(True)),
                    ("ID_KEY", key_digest(1)), ("AUTHOR_KEY", key_digest(5))]:
    print(f'const {name}: &str = "{value.hex()}";')
