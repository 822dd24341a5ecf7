#!/usr/bin/env python3
"""Makes one launch for each difference from sev-snp-measure 0.0.13 that docs/measurement-snp.md lists.

usage: PYTHON differences.py FOLDER      (the interpreter of an environment with sev-snp-measure)

Writes the last pages of firmware into FOLDER, and `differences.json`: arguments of `cloister measure snp`, what the tool says
(null: it refuses), and what `cloister` has to say: words of the refusal, or the digest that the tool has for tables which say
the same in a way that it understands, or that its parts give when they are put together as QEMU or the host does.
"""
import json, struct, sys

from make import HASHES, METADATA, RESET, entry, metadata, tail
from sevsnpmeasure import guest, vcpu_types
from sevsnpmeasure.gctx import GCTX
from sevsnpmeasure.sev_hashes import SevHashes
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType
from sevsnpmeasure.vmsa import VMSA

# Digest of pages that are the same in every case, so that tables alone decide.
PAGES = "5a" * 48
MEMORY, SECRETS, CPUID, HASH_PAGE = (0x800000, 0x2000, 1), (0x80d000, 0x1000, 2), (0x80e000, 0x1000, 3), (0x810000, 0x1000, 0x10)

def reset(address): return entry(struct.pack("<I", address), RESET)
def table(address): return entry(struct.pack("<II", address, 0x400), HASHES)

def firmware(sections, entries=(table(0x810c00), reset(0x80b004)), with_metadata=True):
    blob = metadata(sections)
    place = [entry(struct.pack("<I", 1000), METADATA)] if with_metadata else []
    return tail(place + list(entries), blob, 1000)

def main(folder):
    kernel = f"{folder}/kernel"
    open(kernel, "wb").write(b"k")
    cases = []
    def tool(path, vcpus, direct, vmm):
        try:
            return guest.calc_launch_digest(SevMode.SEV_SNP, vcpus, vcpu_types.CPU_SIGS["EPYC-v4"], path, kernel if direct else None,
                                            None, "quiet" if direct else None, 1, snp_ovmf_hash_str=PAGES, vmm_type=vmm).hex()
        except Exception:
            return None
    def case(what, image, same=None, here=None, refusal=None, vcpus=1, direct=False, vmm=VMMType.QEMU):
        path = f"{folder}/{len(cases)}.fd"
        open(path, "wb").write(image)
        if same:
            open(f"{path}.same", "wb").write(same)
            here = tool(f"{path}.same", vcpus, direct, vmm)
        words = ["--firmware", path, "--firmware-digest", PAGES, "--vcpus", str(vcpus), "--vcpu-model", "EPYC-v4",
                 "--host-profile", vmm.name.lower()] + (["--kernel", kernel, "--cmdline", "quiet"] if direct else [])
        cases.append({"what": what, "arguments": words, "tool": tool(path, vcpus, direct, vmm), "here": here,
                      "refusal": refusal})

    def parts(normal, vmsas):
        chain = GCTX(seed=bytes.fromhex(PAGES))
        chain.update_normal_pages(HASH_PAGE[0], normal)
        for vmsa in vmsas: chain.update_vmsa_page(bytes(vmsa))
        return chain.hex_ld()

    all_sections = [MEMORY, SECRETS, CPUID, HASH_PAGE]
    for kind in (2, 3):
        case(f"two pages of type {kind}", firmware([(0x80d000, 0x2000, kind)]),
             firmware([(0x80d000, 0x1000, kind), (0x80e000, 0x1000, kind)]))
        case(f"no page of type {kind}", firmware([MEMORY, (0x80d000, 0, kind)]), firmware([MEMORY]))
    case("unknown type", firmware([MEMORY, (0x900000, 0x2000, 0x77)]), firmware([MEMORY, (0x900000, 0x2000, 1)]))
    case("type above a byte", firmware([MEMORY, (0x900000, 0x1000, 0x102)]), firmware([MEMORY, (0x900000, 0x1000, 1)]))
    case("entry twice", firmware([MEMORY], [reset(0x1000), reset(0x80b004)]), firmware([MEMORY]), vcpus=2)
    case("no reset entry, one vCPU", firmware([MEMORY], []), firmware([MEMORY]))
    case("hash table elsewhere", firmware(all_sections, [table(0x999c00), reset(1)]), refusal="looks for kernel hashes at 0x999c00",
         direct=True)
    boot = VMSA.build_save_area(VMSA.BSP_EIP, 1, vcpu_types.CPU_SIGS["EPYC-v4"])
    hashes = SevHashes(kernel, None, "quiet").construct_page(0xc00)
    case("two hash pages", firmware([(0x810000, 0x2000, 0x10)]), here=parts(hashes + bytes(4096), [boot]), direct=True)
    boot, other = (VMSA.build_save_area(VMSA.BSP_EIP, 1, 0, VMMType.ec2) for _ in range(2))
    other.cs.attrib = 0x9b
    case("others start where the first does", firmware([], [reset(VMSA.BSP_EIP)]), here=parts(b"", [boot, other]), vcpus=2,
         vmm=VMMType.ec2)
    case("section off page boundaries", firmware([(0x800001, 0x1000, 2)]), refusal="not made of whole pages")
    case("no SEV metadata", firmware([], with_metadata=False), refusal="no SEV metadata")
    for what, count in [("no vCPU", 0), ("more vCPUs than KVM has", 4097)]:
        case(what, firmware([MEMORY]), refusal=f"'{count}' for '--vcpus <N|N-N,...>': wanted 1 to 4096", vcpus=count)
    json.dump(cases, open(f"{folder}/differences.json", "w"))

main(sys.argv[1])
