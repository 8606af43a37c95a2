"""The child process of a local model: serves one GGUF file until its parent is gone.

The parent holds the other end of stdin. When that end closes, on purpose or because the parent was killed, this
process ends at once.
"""

from __future__ import annotations

import json
import os
import threading
from typing import Any


def main() -> None:
    """Serve what the first line of stdin asks for."""
    answer = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints; our one line must stand alone
    with os.fdopen(os.dup(0), "rb", buffering=0) as stdin:
        order = json.loads(stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = _serve(order)
    os.write(answer, json.dumps({"address": server.listening_address}).encode() + b"\n")
    threading.Event().wait()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # nothing here is worth tidying up: no file is open for writing


def _serve(order: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["file"]
    params.model_alias = {order["name"]}
    params.n_ctx = order["context_tokens"]
    # One request at a time, each from a clean slate: only then is an answer the same whatever was asked before it.
    params.n_parallel = 1
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    params.cpuparams.n_threads = order["thread_count"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [order["api_key"]]
    params.cors_origins = "http://127.0.0.1"  # its default, `*`, lets any web page in a browser here call the model
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # errors
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
