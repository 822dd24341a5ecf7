#!/usr/bin/env python3
"""Makes random launches and what sev-snp-measure 0.0.13 says of them.

usage: PYTHON cases.py SEED COUNT FOLDER      (the interpreter of an environment with sev-snp-measure)

Writes firmware, kernels, initrds and command lines into FOLDER, and `cases.json`. Kept out: what that tool gets wrong or
refuses (sections of unknown type, no AP reset address); docs/measurement-snp.md lists it.
"""
import hashlib, json, random, sys

from make import HERE, tables
from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

VOLUMES = open(f"{HERE}/enforcing.fd", "rb").read()[:-4096]
LETTERS = "abcxyz019=-.,/ \t\n\"'\\$grünß日𝄞"
HOSTS = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}

def sections(numbers):
    def one():
        kind = numbers.choice([1, 1, 1, 2, 3, 4])
        pages = numbers.randrange(40) if kind in (1, 4) else 1
        return (numbers.randrange(0x8000) << 12, pages << 12, kind)
    found = [one() for _ in range(numbers.randrange(9))]
    hashes = numbers.randrange(1, 0x8000) << 12
    found.insert(numbers.randrange(len(found) + 1), (hashes, 0x1000, 0x10))
    return found, hashes + numbers.randrange(0x1000 - 176 + 1)

def main(seed, count, folder):
    numbers, cases = random.Random(seed), []
    for index in range(count):
        base = f"{folder}/{index}"
        layout, table = sections(numbers)
        firmware = VOLUMES + tables(layout, numbers.randrange(1, 1 << 32), table)
        files = {"firmware": firmware, "kernel": numbers.randbytes(numbers.randrange(300)),
                 "initrd": numbers.randbytes(numbers.randrange(300)),
                 "cmdline": "".join(numbers.choices(LETTERS, k=numbers.choice([0, 1, 5, 300]))).encode()}
        for name, data in files.items(): open(f"{base}.{name}", "wb").write(data)
        host, model = numbers.choice(list(HOSTS)), numbers.choice(list(vcpu_types.CPU_SIGS))
        direct, initrd = numbers.random() < 0.7, numbers.random() < 0.7
        counts = sorted(numbers.sample(range(1, 33), numbers.choice([1, 3])))
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
