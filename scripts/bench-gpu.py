#!/usr/bin/env python3
"""Compares `cloister verify gpu` with NVIDIA's own verifier: the same verdict on every pair, and how long each takes.

usage: PYTHON scripts/bench-gpu.py PROGRAM [VECTORS [ROUNDS]]     default: ../shared/vectors/gpu, 5 rounds; paths from the current directory

PYTHON is that of a virtual environment with nv-local-gpu-verifier==2.7.3 (Python 3.11). Its question to NVIDIA's OCSP service is
answered with "good" and the clock of its certificate checks is set; nothing else of it is changed. It is timed twice: as a program,
and inside, in a fork that has imported everything. Ours is the whole program both times.
Exit code: 0 when all verdicts agree and the program is 20 times faster on every pair, otherwise 1.
"""

import datetime
import json
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from OpenSSL import crypto

CLOCK = {}


class StoreContext(crypto.X509StoreContext):
    """A verification at the time that is asked for."""

    def __init__(self, store, *rest, **more):
        store.set_time(CLOCK["at"])
        super().__init__(store, *rest, **more)


crypto.X509StoreContext = StoreContext  # before anything imports it by name
HERE = pathlib.Path.cwd()
SCRIPT = str(pathlib.Path(__file__).resolve())
SCRATCH = tempfile.TemporaryDirectory()
os.chdir(SCRATCH.name)  # NVIDIA's verifier writes a log where it is imported

from verifier import cc_admin  # noqa: E402
from verifier.cc_admin_utils import CcAdminUtils  # noqa: E402
from verifier.config import BaseSettings, HopperSettings  # noqa: E402
from verifier.nvml.nvmlHandlerTest import NvmlHandlerTest  # noqa: E402

GOOD = (True, "", "good", None)
CcAdminUtils.ocsp_certificate_chain_validation = staticmethod(lambda *_: GOOD)
SAMPLES = pathlib.Path(cc_admin.__file__).parent / "samples"

NONCE = {
    "a": "4cff7f5380ead8fad8ec2c531c110aca4302a88f603792801a8ca29ee151af2e",
    "b": "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb",
    "c": "5bb22e377702d4e1e8215a903ba094826b9ac7f731dee1fe8102958bf2840aca",
}
VERSIONS = {"a": ("545.00", "96.00.5e.00.01"), "b": ("550.90.07", "96.00.9f.00.01"), "c": ("580.159.03", "96.00.74.00.20")}
FILES = {
    "a": ("a-545-complete/attestationReport.txt", "a-545-complete/gpuAkCertChain.txt"),
    "b": ("b-550.90.07/hopperAttestationReport.txt", "b-550.90.07/hopperCertChain.txt"),
    "c": ("c-580.159.03/hopperAttestationReport.txt", "c-580.159.03/hopperCertChain.txt"),
}
DRIVER_A = "a-545-complete/Driver_RIM_test_no_gpu.swidtag"
VBIOS_A = "a-545-complete/1010_0200_882_96005E0001_test_no_gpu.swidtag"
DRIVER_550 = "rims/NV_GPU_DRIVER_GH100_550.144.03.xml"
VBIOS_C = "c-580.159.03/1010_0205_862_9600740020_PROD.swidtag"
EARLY, MIDDLE, LATE = "2024-06-01", "2025-06-01", "2026-11-22"


def pairs(vectors):
    """Name, whose report, whose chain, driver RIM, VBIOS RIM, day, and what is done to the report or the nonce."""
    negative = sorted((vectors / "negative").glob("*RIM*")) + sorted((vectors / "negative").glob("*.xml"))
    yield "genuine", "a", "a", DRIVER_A, VBIOS_A, EARLY, None
    yield "expired", "a", "a", DRIVER_A, VBIOS_A, LATE, None
    yield "too early", "a", "a", DRIVER_A, VBIOS_A, "2022-06-01", None
    yield "production edition", "a", "a", DRIVER_A, SAMPLES / "1010_0200_882_96005E0001_PROD.swidtag", EARLY, None
    yield "VBIOS RIM of another version", "a", "a", DRIVER_A, VBIOS_C, EARLY, None
    yield "driver RIM of another version", "a", "a", DRIVER_550, VBIOS_A, MIDDLE, None
    yield "RIMs in each other's place", "a", "a", VBIOS_A, VBIOS_A, EARLY, None
    yield "nonce of another request", "a", "a", DRIVER_A, VBIOS_A, EARLY, "nonce"
    yield "chain of another GPU", "a", "b", DRIVER_A, VBIOS_A, EARLY, None
    yield "measurement flipped", "a", "a", DRIVER_A, VBIOS_A, EARLY, "measurement"
    yield "signature flipped", "a", "a", DRIVER_A, VBIOS_A, EARLY, "signature"
    yield "report b without its RIMs", "b", "b", DRIVER_A, VBIOS_A, EARLY, None
    yield "report c, driver RIM missing", "c", "c", DRIVER_550, VBIOS_C, MIDDLE, None
    for file in dict.fromkeys(negative):
        driver, vbios = (DRIVER_A, file) if "VBIOS" in file.name else (file, VBIOS_A)
        yield file.name, "a", "a", driver, vbios, MIDDLE, None


def theirs(case):
    """Verdict and seconds of NVIDIA's verifier, in a fork of its own since it keeps state in its classes."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        logging.disable(logging.CRITICAL)
        start = time.perf_counter()
        verdict = attest(case)
        os.write(sender, f"{int(verdict)} {time.perf_counter() - start}".encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        verdict, seconds = pipe.read().split()
    os.waitpid(child, 0)
    return verdict == "1", float(seconds)


def whole(case):
    """Seconds of NVIDIA's verifier as a program: the start of Python, its imports, one pair."""
    start = time.perf_counter()
    subprocess.run([sys.executable, SCRIPT, "--one", json.dumps(case)], check=False, capture_output=True, cwd=SCRATCH.name)
    return time.perf_counter() - start


def attest(case):
    """Whether NVIDIA's verifier accepts."""
    CLOCK["at"] = datetime.datetime.fromisoformat(case["day"] + "T00:00:00")
    HopperSettings.set_attestation_report_path(case["report"])
    HopperSettings.set_gpu_attestation_certificates_path(case["chain"])
    HopperSettings.set_driver_rim_path(case["driver"])
    HopperSettings.set_vbios_rim_path(case["vbios"])
    arguments = dict.fromkeys(["rim_service_url", "ocsp_url", "service_key"])
    arguments |= dict.fromkeys(["allow_hold_cert", "ocsp_nonce_disabled", "verbose", "user_mode"], False)
    arguments |= {"test_no_gpu": True, "driver_rim": case["driver"], "vbios_rim": case["vbios"]}
    try:
        evidence = NvmlHandlerTest(settings=BaseSettings)
        evidence.DriverVersion, evidence.VbiosVersion = case["versions"]
        accepted, _ = cc_admin.attest(arguments, case["nonce"], [evidence])
        return accepted is True
    except Exception:  # noqa: BLE001: whatever it stumbles over, it does not accept
        return False


def ours(program, case):
    """Verdict and seconds of the program from its start to its end."""
    command = [program, "verify", "gpu", "--report", case["report"], "--chain", case["chain"], "--nonce", case["nonce"]]
    command += ["--rim", case["driver"], case["vbios"], "--at", case["day"] + "T00:00:00Z"]
    start = time.perf_counter()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    return code == 0, time.perf_counter() - start


def prepare(vectors, directory, pair):
    """Files of one pair; an edited report is written anew."""
    name, whose, chain, driver, vbios, day, edit = pair
    report, nonce = vectors / FILES[whose][0], NONCE[whose]
    if edit == "nonce":
        nonce = "00" * 32
    elif edit:
        text = report.read_text().replace("\\x", "").replace("0x", "")
        data = bytearray.fromhex("".join(text.split()))
        data[100 if edit == "measurement" else -1] ^= 1
        report = directory / edit
        report.write_text(data.hex())
    paths = {"report": report, "chain": vectors / FILES[chain][1], "driver": vectors / driver, "vbios": vectors / vbios}
    case = {what: str(path) for what, path in paths.items()}
    return case | {"name": name, "nonce": nonce, "day": day, "versions": VERSIONS[whose]}


def main():
    """Runs every pair and prints a table."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    program = str(HERE / sys.argv[1])
    vectors = HERE / (sys.argv[2] if len(sys.argv) > 2 else "../shared/vectors/gpu")
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    differ, accepted, ratios, inside, totals = 0, 0, [], [], [0, 0]
    print(f"{'pair':56} {'NVIDIA':>6} {'ours':>6} {'program':>9} {'inside':>9} {'ours':>9}   in ms, median of {rounds}")
    for pair in pairs(vectors):
        case = prepare(vectors, pathlib.Path(SCRATCH.name), pair)
        runs = [(theirs(case), ours(program, case), whole(case)) for _ in range(rounds)]
        verdicts = {(one, two) for (one, _), (two, _), _ in runs}
        (theirs_pass, ours_pass), *others = verdicts
        differ += bool(others) or theirs_pass != ours_pass
        accepted += ours_pass
        times = [[one for (_, one), _, _ in runs], [two for _, (_, two), _ in runs], [three for _, _, three in runs]]
        fork, mine, started = map(statistics.median, times)
        ratios.append(started / mine)
        totals = [totals[0] + started, totals[1] + mine]
        inside.append(fork / mine)
        words = {True: "pass", False: "fail"}
        print(f"{case['name'][:56]:56} {words[theirs_pass]:>6} {words[ours_pass]:>6}"
              f" {started * 1e3:9.1f} {fork * 1e3:9.1f} {mine * 1e3:9.1f}   {ratios[-1]:6.1f} x {inside[-1]:6.1f} x")
    print(f"{len(ratios)} pairs, {accepted} accepted by both, {differ} verdicts differ")
    for what, all_ratios in (("as a program", ratios), ("inside alone", inside)):
        print(f"NVIDIA's takes {what} {statistics.median(all_ratios):.1f} times as long in the median,"
              f" {min(all_ratios):.1f} to {max(all_ratios):.1f}")
    print(f"the whole run: {totals[0] * 1e3:.0f} ms and {totals[1] * 1e3:.0f} ms, {totals[0] / totals[1]:.1f} times as long")
    sys.exit(0 if differ == 0 and accepted > 0 and min(ratios) >= 20 else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.exit(0 if attest(json.loads(sys.argv[2])) else 1)
    main()
