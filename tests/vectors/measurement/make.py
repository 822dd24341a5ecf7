#!/usr/bin/env python3
"""Makes the small vectors of this folder, in the form of the shared ones; all but the log of a booted guest.

usage: python3 make.py [SEEDS]      (standard library alone; with SEEDS also writes starting points for tests/fuzz there)

Written from the TCG PC Client Platform Firmware Profile 1.06, UEFI 2.10 section 38.4.1, Microsoft's PE/COFF and Authenticode
descriptions, systemd's src/fundamental/uki.h, openvmm's igvm_attest/get.rs, AMD 56860 table 23 and Intel's TDREPORT_STRUCT.
Shares no code with the crates. Bytes that mean nothing are SHAKE-256 of a name: no firmware, loader or kernel of anybody.
"""
import base64, hashlib, json, os, struct, sys

HERE = os.path.dirname(os.path.abspath(__file__))
BANKS = {"sha1": (0x4, 20), "sha256": (0xb, 32), "sha384": (0xc, 48)}

def filling(name, size): return hashlib.shake_256(name.encode()).digest(size)
def digest(bank, data): return hashlib.new(bank, data).digest()
def extend(bank, value, data): return digest(bank, value + data)
def write(name, data): open(f"{HERE}/{name}", "wb").write(data)
def write_json(name, value): open(f"{HERE}/{name}", "w").write(json.dumps(value, indent=1) + "\n")

# --- event logs: events are (register, type, data, what is hashed) ---

def old_event(register, kind, data, hashed): return struct.pack("<II20sI", register, kind, hashed, len(data)) + data

def agile_log(banks, events):
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks))
    spec += b"".join(struct.pack("<HH", *BANKS[bank]) for bank in banks) + b"\0"
    log = old_event(0, 3, spec, bytes(20))
    for register, kind, data, hashed in events:
        log += struct.pack("<III", register, kind, len(banks))
        for bank in banks:
            log += struct.pack("<H", BANKS[bank][0]) + (bytes(BANKS[bank][1]) if kind == 3 else digest(bank, hashed))
        log += struct.pack("<I", len(data)) + data
    return log

def replay(bank, events, locality=0):
    registers = {}
    for register, kind, _, hashed in events:
        start = bytes(BANKS[bank][1] - 1) + bytes([locality if register == 0 else 0])
        if kind != 3: registers[register] = extend(bank, registers.get(register, start), digest(bank, hashed))
    return {str(register): registers[register].hex() for register in sorted(registers)}

def variable(name, data):
    return filling(name, 16) + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data

def plain(register, kind, data): return (register, kind, data, data)

def logs():
    separators = [plain(register, 4, bytes(4)) for register in range(8)]
    calling = plain(4, 0x80000007, b"Calling EFI Application from Boot Option")
    application = (4, 0x80000003, filling("device path", 40), filling("image", 500))
    line = plain(9, 0xd, "quiet\0".encode("utf-16-le"))
    secure_boot = [plain(7, 0x80000001, variable(name, data)) for name, data in [
        ("SecureBoot", b"\0"), ("PK", b""), ("KEK", b""), ("db", b""), ("dbx", filling("dbx", 76))]]
    version = (0, 0x8, "1.0\0".encode("utf-16-le"), "1.0\0".encode("utf-16-le"))
    tpm = [(0, 3, b"StartupLocality\0\x03", b""), version, *secure_boot, calling, *separators, application, line]
    old = [version, *secure_boot, calling, *separators, application, line]
    hob = (1, 0x8000000b, b"\x09TdxTable\0" + filling("hob", 24), filling("memory", 300))
    volume = (1, 0x8000000a, b"\x06Fv(cfv" + filling("volume place", 16), filling("volume", 800))
    boot = [(1, 0x80000002, variable(name, data), data) for name, data in [("BootOrder", b"\1\0"), ("Boot0001", filling("option", 60))]]
    acpi = (1, 0xa, b"ACPI DATA", filling("tables", 200))
    measured = lambda kind: [(2, kind[1], kind[2], kind[3])]
    ccel = [hob, volume, *[(1, kind, data, hashed) for _, kind, data, hashed in secure_boot], plain(1, 4, bytes(4)), acpi, *boot,
            *measured(calling), plain(2, 4, bytes(4)), *measured(application), (3, line[1], line[2], line[3]),
            plain(4, 0x6, filling("user space", 20))]
    expected = {}
    def put(name, kind, data, count, replayed):
        write(f"eventlogs/{name}", data)
        expected[name] = {"kind": kind, "size": len(data), "sha256": digest("sha256", data).hex(), "events": count, "replayed": replayed}
        if kind == "ccel": expected[name]["rtmr_map"] = {f"rtmr{int(i) - 1}": v for i, v in replayed["sha384"].items()}
        return data
    seeds = {
        "event_log/agile": put("agile-locality-3.bin", "tpm", agile_log(["sha256", "sha384"], tpm), len(tpm),
                               {bank: replay(bank, tpm, 3) for bank in ["sha256", "sha384"]}),
        "event_log/sha1": put("sha1.bin", "tpm", b"".join(old_event(r, k, d, digest("sha1", h)) for r, k, d, h in old), len(old),
                              {"sha1": replay("sha1", old)}),
        # A table of firmware is longer than its log, and ones fill it.
        "event_log/ccel": put("ccel.bin", "ccel", agile_log(["sha384"], ccel) + b"\xff" * 100, len(ccel), {"sha384": replay("sha384", ccel)}),
    }
    write_json("eventlogs/expected-replay.json", expected)
    return {**seeds, "tdx/log": b"\x05" + seeds["event_log/ccel"]}

# --- PE images ---

def pe(name, sections, in_file=None, certificate=b"", behind=b""):
    """An image of sections (name, bytes) which lie in the file in the order `in_file`; and what Authenticode hashes of it."""
    optional, table = 0x40 + 24, 0x40 + 24 + 240
    headers = (table + 40 * len(sections) + 511) // 512 * 512
    places, at = {}, headers
    for section, data in in_file or sections:
        places[section], at = at, at + (len(data) + 511) // 512 * 512
    image = bytearray(at) + behind
    image[:2], image[0x3c:0x40], image[0x40:0x46] = b"MZ", struct.pack("<I", 0x40), b"PE\0\0\x64\x86"
    image[0x46:0x48], image[0x54:0x56] = struct.pack("<H", len(sections)), struct.pack("<H", 240)
    def put(offset, form, *values): struct.pack_into(form, image, optional + offset, *values)
    put(0, "<H", 0x20b)
    put(32, "<II", 4096, 512)
    put(44, "<HH", 1, 1)
    put(60, "<II", headers, int.from_bytes(filling(name, 4), "little"))
    put(108, "<I", 16)
    address = 4096
    for index, (section, data) in enumerate(sections):
        raw = (len(data) + 511) // 512 * 512
        struct.pack_into("<8sIIII", image, table + 40 * index, section.encode(), len(data), address, raw, places[section])
        image[places[section]:places[section] + len(data)] = data
        address += (len(data) + 4095) // 4096 * 4096
    end = len(image)
    if certificate:
        put(112 + 4 * 8, "<II", end, len(certificate))
        image += certificate
    checksum, directory = optional + 64, optional + 112 + 4 * 8
    hashed = image[:checksum] + image[checksum + 4:directory] + image[directory + 8:headers]
    for section, data in sorted(sections, key=lambda one: places[one[0]]):
        hashed += image[places[section]:places[section] + (len(data) + 511) // 512 * 512]
    return bytes(image), bytes(hashed + image[at:end])

def images():
    a, b, c = ((f".{name}", filling(name, size)) for name, size in [("text", 700), ("data", 90), ("reloc", 512)])
    made = {
        "plain": pe("plain", [a, b, c]),
        "out-of-file-order": pe("out-of-file-order", [a, b, c], [c, a, b]),
        "certificate": pe("certificate", [a, b], certificate=struct.pack("<IHH", 72, 0x200, 2) + filling("signature", 64)),
        "data-behind": pe("data-behind", [a, b], behind=filling("behind", 24)),
    }
    rows = []
    for name, (image, hashed) in made.items():
        write(f"pe/{name}.efi.bin", image)
        rows.append({"file": f"{name}.efi.bin", "sha256": digest("sha256", image).hex(),
                     **{f"authenticode_{bank}": digest(bank, hashed).hex() for bank in ["sha256", "sha384"]}})
    write_json("pe/authenticode-synthetic.json", rows)
    return {"uki/certificate": made["certificate"][0]}

ORDER = [".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".hwids"]

def pcr11():
    cases = []
    for note, sections in [
        ("every section that is measured once, and the one that is not", {name: filling(name, 20) for name in [*ORDER, ".pcrsig"]}),
        ("a kernel alone", {".linux": filling("kernel", 40)}),
    ]:
        expected = {}
        for bank, (_, size) in BANKS.items():
            value = bytes(size)
            for name in (name for name in ORDER if name in sections):
                for part in (name.encode() + b"\0", sections[name]): value = extend(bank, value, digest(bank, part))
            phases, words = {"before-userspace": value.hex()}, []
            for word in ["enter-initrd", "leave-initrd", "sysinit", "ready"]:
                words.append(word)
                value = extend(bank, value, digest(bank, word.encode()))
                phases[":".join(words)] = value.hex()
            expected[bank] = phases
        cases.append({"note": note, "sections": {name: data.hex() for name, data in sections.items()}, "expected": expected})
    write_json("pe/pcr11.json", cases)

# --- HCL reports ---

def url64(data): return base64.urlsafe_b64encode(data).decode().rstrip("=")

def claims(name):
    def key(kid): return {"kid": kid, "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": url64(filling(f"{name} {kid}", 256))}
    return json.dumps({"keys": [key("HCLAkPub"), key("HCLEkPub")], "vm-configuration": {
        "console-enabled": True, "secure-boot": True, "tpm-enabled": True, "vmUniqueId": name}, "user-data": "00" * 64}).encode()

def snp_report(data):
    report = bytearray(filling("snp report", 1184))
    report[:4], report[0x50:0x90] = struct.pack("<I", 3), data
    def at(place, size): return report[place:place + size].hex()
    def number(place, size): return int.from_bytes(report[place:place + size], "little")
    return bytes(report), {
        "version": 3, "guest_svn": number(4, 4), "policy": hex(number(8, 8)), "family_id": at(0x10, 16), "image_id": at(0x20, 16),
        "vmpl": number(0x30, 4), "report_data": at(0x50, 64), "measurement": at(0x90, 48), "host_data": at(0xc0, 32),
        "id_key_digest": at(0xe0, 48), "author_key_digest": at(0x110, 48)}

def td_report(data):
    report = bytearray(filling("td report", 1024)) + bytes(160)
    report[0], report[128:192] = 0x81, data
    def at(place): return report[place:place + 48].hex()
    return bytes(report), {
        "report_data": report[128:192].hex(), "attributes": hex(int.from_bytes(report[512:520], "little")), "mrtd": at(528),
        "config": [at(528 + 48 * index) for index in (1, 2, 3)], "rtmrs": [at(528 + 48 * index) for index in (4, 5, 6, 7)]}

def hcl():
    expected, seeds = {}, {}
    for name, kind, version, make in [("snp", 2, 1, snp_report), ("tdx", 4, 2, td_report)]:
        text = claims(name)
        report, facts = make(digest("sha256", text) + bytes(32))
        # Version 2 of the request has four bytes more before the claims.
        extension = bytes(4 * (version - 1))
        size = 20 + len(extension) + len(text)
        data = struct.pack("<4s7I", b"HCLA", version, 1216 + size, 2, 0, 0, 0, 0) + report
        data += struct.pack("<5I", size, version, kind, 1, len(text)) + extension + text
        pcrs = [filling(f"{name} pcr{index}", 32) for index in range(24)]
        evidence = {"version": 1, "hcl_report": url64(data + bytes(64)), "vcek": "", "tpm_quote": {
            "message": (filling(f"{name} quote", 60) + digest("sha256", b"".join(pcrs))).hex(), "signature": "",
            "pcrs": [pcr.hex() for pcr in pcrs]}}
        write_json(f"azure/{name}.json", evidence)
        expected[f"{name}.json"] = {
            "source": "made up by make.py", "pcrs_sha256": {str(index): pcr.hex() for index, pcr in enumerate(pcrs)},
            "hcl": {"signature": "HCLA", "version": version, "report_size": len(data), "request_type": 2, "report_type": kind,
                    "hash_type": 1, "variable_size": len(text), "variable_sha256": digest("sha256", text).hex()}, name: facts}
        # The first byte says: as it is.
        seeds[f"hcl_report/{name}"] = b"\0" + data
    write_json("azure/expected-values.json", expected)
    return seeds

def disk():
    """A disk with a table of four entries, two of them used."""
    table = bytearray(512 * 2 + 128 * 4)
    table[512:520], table[512 + 72:512 + 80] = b"EFI PART", struct.pack("<Q", 2)
    struct.pack_into("<II", table, 512 + 80, 4, 128)
    for index in (0, 2): table[1024 + 128 * index:1024 + 128 * index + 128] = filling(f"partition {index}", 128)
    return bytes(table)

def main():
    seeds = {**logs(), **images(), **hcl(), "uki/disk": disk()}
    pcr11()
    if sys.argv[1:]:
        for name, data in seeds.items(): open(f"{sys.argv[1]}/{name}", "wb").write(data)

main()
