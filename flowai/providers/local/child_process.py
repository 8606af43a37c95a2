"""Child process of a local model: serves one GGUF file until its parent closes stdin or is killed."""

from __future__ import annotations

import json
import os
import threading
from typing import Any


def main() -> None:
    """Serve the model that the first line of stdin names, and write the address to stdout."""
    output = os.dup(1)
    os.dup2(2, 1)  # llama.cpp prints to stdout, which must have only the line with the address
    with os.fdopen(os.dup(0), "rb", buffering=0) as stdin:
        options = json.loads(stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = _serve(options)
    os.write(output, json.dumps({"address": server.listening_address}).encode() + b"\n")
    threading.Event().wait()


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)  # no file is open for writing


def _serve(options: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["file"]
    params.model_alias = {options["name"]}
    params.n_ctx = options["context_tokens"]
    # one request at a time and no cache, so that an answer does not depend on earlier requests
    params.n_parallel = 1
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    params.cpuparams.n_threads = options["thread_count"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [options["api_key"]]
    params.cors_origins = "http://127.0.0.1"  # the default, `*`, lets any web page in a local browser call the model
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # errors
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
