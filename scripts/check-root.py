"""What scripts/check-root.sh runs inside of the root: one line for each check, exit code 1 when one fails."""

import ctypes
import importlib
import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

FAILED = []
# Modules that the server loads when it starts, beside those that `import vllm` loads.
SERVER = [
    "vllm.entrypoints.cli.main", "vllm.entrypoints.openai.api_server", "vllm.v1.engine.core", "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner", "vllm.model_executor.models.llama", "vllm._C", "vllm._moe_C", "vllm.vllm_flash_attn",
]
# Packages that send something out.
TELEMETRY = ["opentelemetry", "sentry_sdk", "fastapi_cloud_cli", "posthog", "wandb"]


def check(name):
    """Runs a check at once, and says what it found or why it fails."""
    def run(work):
        start = time.monotonic()
        try:
            found, word = work(), "pass"
        except BaseException as error:  # a check may meet anything
            found, word = f"{type(error).__name__}: {error}", "FAIL"
            FAILED.append(name)
        print(f"{word} {name}: {found} ({time.monotonic() - start:.0f} s)", flush=True)
    return run


def libraries():
    """Every ELF file with `.so` in its name, each once."""
    seen = set()
    for directory, _, names in os.walk("/usr"):
        for name in sorted(names):
            path = os.path.join(directory, name)
            real = os.path.realpath(path)
            if ".so" not in name or real in seen or not os.path.isfile(real):
                continue
            seen.add(real)
            with open(real, "rb") as file:
                head = file.read(20)
            if head[:4] == b"\x7fELF" and head[16] == 3 and head[18] == 62:  # ET_DYN, EM_X86_64
                yield real


def loads(path):
    """Loads a library in a child, so that none sees another; gives what the loader says."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            ctypes.CDLL(path, mode=os.RTLD_NOW)
        except OSError as error:
            said = str(error).encode()
        os.write(writer, said[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return said if status == 0 else f"{path}: ended with status {status}"


@check("libraries load by themselves, or after torch and tvm_ffi")
def _():
    alone = {path: loads(path) for path in libraries()}
    import torch  # noqa: F401: the second try is for libraries of packages that import these first
    import tvm_ffi  # noqa: F401
    second = {path: loads(path) for path, said in alone.items() if said}
    lost = {path: said for path, said in second.items() if said}
    if lost:
        raise RuntimeError(f"{len(lost)} of {len(alone)} do not: " + "; ".join(lost.values()))
    return f"{len(alone)} libraries, {len(alone) - len(second)} alone, {len(second)} after torch and tvm_ffi"


@check("import torch, vllm and what the server imports")
def _():
    import torch
    import vllm
    for name in SERVER:
        importlib.import_module(name)
    return f"torch {torch.__version__} for CUDA {torch.version.cuda}, vllm {vllm.__version__}, {len(SERVER)} modules of the server"


@check("ldconfig -p")
def _():
    text = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    paths = [line.split(" => ")[1] for line in text.splitlines() if " => " in line]
    lost = [path for path in paths if not os.path.exists(path)]
    if lost:
        raise RuntimeError(f"paths that the image has not: {lost}")
    wanted = ["libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-pkcs11-openssl3.so."]
    for name in wanted:
        if not any(os.path.basename(path).startswith(name) for path in paths):
            raise RuntimeError(f"no {name}")
    return f"{len(paths)} libraries, all there; " + ", ".join(wanted)


@check("Triton compiles, links and loads its own C with libcuda")
def _():
    from triton.backends.nvidia import driver
    utils = driver.CudaUtils()
    return f"{sorted(name for name in vars(utils) if not name.startswith('_'))[:3]}, libcuda in {driver.libcuda_dirs()}"


@check("Triton compiles a kernel for an H100")
def _():
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    text = textwrap.dedent("""
        import triton
        import triton.language as tl

        @triton.jit
        def add(x, y, n, SIZE: tl.constexpr):
            at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
            tl.store(y + at, tl.load(x + at, mask=at < n) + 1.0, mask=at < n)
    """)
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "kernel.py"), "w") as file:
            file.write(text)
        sys.path.insert(0, directory)
        add = importlib.import_module("kernel").add
        source = ASTSource(add, signature={"x": "*fp32", "y": "*fp32", "n": "i32", "SIZE": "constexpr"}, constexprs={"SIZE": 128})
        made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    return f"{len(made.asm['cubin'])} bytes for sm_90"


@check("Inductor's C++ compiler")
def _():
    from torch._inductor.cpp_builder import get_cpp_compiler
    with tempfile.TemporaryDirectory() as directory:
        source, out = os.path.join(directory, "x.cpp"), os.path.join(directory, "x.so")
        with open(source, "w") as file:
            file.write("#include <vector>\n#include <Python.h>\nextern \"C\" int f() { return std::vector<int>(3).size(); }\n")
        import sysconfig
        include = sysconfig.get_paths(scheme="posix_prefix")["include"]
        compiler = get_cpp_compiler()
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-fopenmp", f"-I{include}", source, "-o", out], check=True)
        return f"{compiler}, f() = {ctypes.CDLL(out).f()}"


@check("nothing is reachable")
def _():
    names = sorted(name for _, name in socket.if_nameindex())
    if names != ["lo"]:
        raise RuntimeError(f"interfaces {names}")
    for family, address in [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "2001:db8::1")]:
        try:
            socket.create_connection((address, 443), timeout=2).close()
        except OSError:
            continue
        raise RuntimeError(f"{address} answers")
    return "one loopback, which is down"


@check("telemetry")
def _():
    from vllm.usage.usage_lib import is_usage_stats_enabled
    if is_usage_stats_enabled():
        raise RuntimeError("vLLM's usage statistics are on")
    found = [name for name in TELEMETRY if importlib.util.find_spec(name)]
    if found:
        raise RuntimeError(f"packages {found}")
    return "usage statistics off; none of " + ", ".join(TELEMETRY)


sys.exit(1 if FAILED else 0)
