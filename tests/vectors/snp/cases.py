#!/usr/bin/env python3
"""Makes random launches and what sev-snp-measure 0.0.13 says of them.

usage: PYTHON cases.py SEED COUNT FOLDER      (the interpreter of an environment with sev-snp-measure)

Writes firmware, kernels, initrds and command lines into FOLDER, and `cases.json`. Random are the firmware's contents, the
order of its table, entries that nobody knows, where metadata lies, its sections with their places, sizes and kinds, the
reset address, where the hash table is and whether there is one. Kept out: what that tool gets wrong or refuses, which
differences.py makes one by one.
"""
import hashlib, json, random, struct, sys, uuid

from make import HASHES, HERE, METADATA, RESET, entry, metadata, tail
from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

VOLUMES = open(f"{HERE}/enforcing.fd", "rb").read()[:-4096]
LETTERS = "abcxyz019=-.,/ \t\n\"'\\$grünß日𝄞"
HOSTS = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}

def sections(numbers, hashes):
    """Sections in random order, and the address of the hash table if there is one."""
    page = lambda: numbers.randrange(1, 0x80000) << 12
    def one():
        kind = numbers.choice([1, 1, 1, 2, 3, 4])
        return (page(), (numbers.randrange(40) if kind in (1, 4) else 1) << 12, kind)
    found = [one() for _ in range(numbers.randrange(9))]
    if not hashes: return found, 0
    # Of several hash pages the first is the one that firmware reads.
    first = page()
    found.insert(numbers.randrange(len(found) + 1), (first, 0x1000, 0x10))
    if numbers.random() < 0.1: found.append((page(), 0x1000, 0x10))
    return found, first + numbers.randrange(0x1000 - 176 + 1)

def last_page(numbers, hashes):
    found, table = sections(numbers, hashes)
    blob = metadata(found)
    distance = numbers.randrange(512 + len(blob), 4097)
    entries = [entry(struct.pack("<I", distance), METADATA), entry(struct.pack("<I", numbers.randrange(1, 1 << 32)), RESET)]
    if table or numbers.random() < 0.5: entries.append(entry(struct.pack("<II", table, 0x400), HASHES))
    for _ in range(numbers.randrange(3)):
        entries.append(entry(numbers.randbytes(numbers.randrange(40)), str(uuid.UUID(int=numbers.getrandbits(128)))))
    numbers.shuffle(entries)
    return tail(entries, blob, distance, numbers.randbytes(4096))

def main(seed, count, folder):
    numbers, cases = random.Random(seed), []
    for index in range(count):
        base = f"{folder}/{index}"
        direct, initrd = numbers.random() < 0.7, numbers.random() < 0.7
        firmware = numbers.randbytes(4096 * numbers.randrange(4)) + VOLUMES + last_page(numbers, direct or numbers.random() < 0.5)
        files = {"firmware": firmware, "kernel": numbers.randbytes(numbers.randrange(300)),
                 "initrd": numbers.randbytes(numbers.randrange(300)),
                 "cmdline": "".join(numbers.choices(LETTERS, k=numbers.choice([0, 1, 5, 300]))).encode()}
        for name, data in files.items(): open(f"{base}.{name}", "wb").write(data)
        host, model = numbers.choice(list(HOSTS)), numbers.choice(list(vcpu_types.CPU_SIGS))
        counts = sorted(numbers.sample(range(1, numbers.choice([33, 33, 600])), numbers.choice([1, 3])))
        features = numbers.choice([1, 0x21, numbers.getrandbits(64)])
        digests = [guest.calc_launch_digest(
            SevMode.SEV_SNP, vcpus, vcpu_types.CPU_SIGS[model], f"{base}.firmware", f"{base}.kernel" if direct else None,
            f"{base}.initrd" if direct and initrd else None, files["cmdline"].decode() if direct else None, features,
            vmm_type=HOSTS[host]).hex() for vcpus in counts]
        cases.append({"base": base, "host": host, "model": model, "signature": vcpu_types.CPU_SIGS[model], "direct": direct,
                      "initrd": initrd, "vcpus": counts, "features": features, "digests": digests,
                      "kernel-sha256": hashlib.sha256(files["kernel"]).hexdigest(),
                      "firmware-digest": guest.calc_snp_ovmf_hash(f"{base}.firmware").hex()})
    json.dump(cases, open(f"{folder}/cases.json", "w"))

main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
