"""Child process that runs the Python code of suites, one call at a time. Imports nothing of flowai.

Usage: `python_worker.py DESCRIPTOR MAX_RESULT_BYTES`; requests and replies are frames on the socket of that descriptor.
It must run on any Python 3.9 or newer: suites may name another interpreter than flowai's.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import os
import socket
import struct
import sys
import time
import traceback
import types
from typing import Any, Callable  # noqa: UP035 - older interpreters

MAGIC = b"flo1"
INLINE_NAME = "<suite code>"
_HEADER = struct.Struct("!4sI")
_MAX_TRACEBACK_CHARS = 4000
_Function = Callable[..., Any]


class MissingFunctionError(Exception):
    """The file has no such function."""


class UnusableValueError(Exception):
    """The code returned a value that is not JSON."""


class CodeHost:
    """Loads code once and calls it.

    Args:
        max_result_bytes: limit of one returned value.
    """

    def __init__(self, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._modules: dict[str, Any] = {}
        self._inline: dict[tuple[str, tuple[str, ...]], _Function] = {}

    def reply(self, request: dict[str, Any]) -> bytes:
        """Run a request and return its reply; every exception of the code is in it."""
        head = {"id": request["id"], "cpu_s": 0.0}
        body = b""
        try:
            if request["op"] == "load":
                self._load(request)
            else:
                function = self._load(request)
                value = function(*_with_logger(request))
                if inspect.isawaitable(value):
                    value = asyncio.run(_result_of(value))
                if isinstance(value, dict) and isinstance(value.get("logger"), Logger):
                    del value["logger"]
                body = b', "value": ' + self._encode(value)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a suite must not end its worker
            body = b', "error": ' + json.dumps(_describe(error, request.get("file"))).encode()
        head["cpu_s"] = time.process_time()
        return json.dumps(head).encode()[:-1] + body + b"}"

    def _load(self, request: dict[str, Any]) -> _Function:
        file = request.get("file")
        if file is not None:
            module = self._modules.get(file)
            if module is None:
                module = self._modules[file] = _load_file(file)
            return _no_function if request["op"] == "load" else _function_of(module, request["function"], file)
        if request.get("source") is None:
            return _no_function
        key = (request["source"], tuple(request["parameters"]))
        if key not in self._inline:
            self._inline[key] = _compile_inline(*key)
        return self._inline[key]

    def _encode(self, value: Any) -> bytes:  # noqa: ANN401 - any value of the code
        try:
            encoded = json.dumps(value, allow_nan=False, default=_plain).encode()
        except ValueError as error:
            found = "a value that contains itself" if "Circular" in str(error) else "NaN or an infinite number"
            raise UnusableValueError(f"returned {found}") from None
        except TypeError as error:
            raise UnusableValueError(f"returned a value that is not JSON: {error}") from None
        except RecursionError:
            raise UnusableValueError("returned a value that is nested too deeply") from None
        if len(encoded) > self._max_result_bytes:
            found = f"returned {len(encoded):,} bytes; the limit is {self._max_result_bytes:,}"
            raise UnusableValueError(found)
        return encoded


class Logger:
    """Log of hooks: writes to stderr, which is kept apart from flowai's own output."""

    def _write(self, *parts: object) -> None:
        sys.stderr.write(" ".join(map(str, parts)) + "\n")

    debug = info = warn = warning = error = _write


def _with_logger(request: dict[str, Any]) -> list[Any]:
    """Return the arguments; those of hooks have a log."""
    arguments: list[Any] = request["arguments"]
    if not request.get("has_logger"):
        return arguments
    return [{**argument, "logger": Logger()} if isinstance(argument, dict) else argument for argument in arguments]


async def _result_of(value: Any) -> Any:  # noqa: ANN401 - any value of the code
    return await value


def _no_function() -> None:
    pass


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of the code
    """Convert numbers and arrays of numpy and pandas, which are what their Python values are."""
    for method in ("tolist", "item"):
        if type(value).__module__.split(".")[0] in {"numpy", "pandas"} and hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"`{type(value).__name__}`")


def _load_file(file: str) -> Any:  # noqa: ANN401 - a module
    folder = os.path.dirname(file)  # noqa: PTH120 - pathlib costs time at each start
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = os.path.basename(file).rsplit(".", 1)[0]  # noqa: PTH119 - as above
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise MissingFunctionError(f"`{file}` is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # dataclasses and pickle look a class's module up
    spec.loader.exec_module(module)
    return module


def _function_of(module: Any, name: str, file: str) -> _Function:  # noqa: ANN401 - a module
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    known = [
        key for key, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    listed = ", ".join(f"`{key}`" for key in known[:12] if not key.startswith("_")) or "none"
    raise MissingFunctionError(f"no function `{name}` in {os.path.basename(file)}; it has {listed}")  # noqa: PTH119


def _compile_inline(source: str, parameters: tuple[str, ...]) -> _Function:
    """Compile an expression, or the body of a function with `return`."""
    head = f"def main({', '.join(parameters)}):\n"
    text = source.strip("\n").rstrip()
    is_body = "\n" in text.strip() and "return" in text
    variants = [(_body_code, head, text), (_expression_code, head, text)]
    first: SyntaxError | None = None
    for build, *arguments in variants if is_body else reversed(variants):
        try:
            code = compile(build(*arguments), INLINE_NAME, "exec")
        except SyntaxError as error:
            first = first or error
            continue
        space: dict[str, Any] = {"__name__": "suite_code", "json": json}
        exec(code, space)  # noqa: S102 - this process exists for it
        return space["main"]  # type: ignore[no-any-return]
    assert first is not None  # noqa: S101 - the loop ran
    raise first


def _body_code(head: str, text: str) -> str:
    indents = [line[: len(line) - len(line.lstrip())] for line in text.split("\n") if line.strip()]
    unit = next((indent for indent in indents if indent), "    ")
    return head + "\n".join(unit + line for line in text.split("\n")) + "\n"


def _expression_code(head: str, text: str) -> str:
    expression = text.strip().removeprefix("return ")
    return f"{head} return (\n{expression}\n)\n"


def _describe(error: BaseException, file: str | None) -> dict[str, Any]:
    kind = "raised"
    if isinstance(error, UnusableValueError):
        kind = "nonsense"
    elif isinstance(error, MissingFunctionError):
        kind = "missing"
    message = str(error) if kind != "raised" else f"{type(error).__name__}: {error}".rstrip(": ")
    names = {file, INLINE_NAME}
    line = next((number for name, number in reversed(_frames(error)) if name in names), None)
    if isinstance(error, SyntaxError) and error.filename in names:
        message, line = f"{type(error).__name__}: {error.msg}", error.lineno
    own = error.__traceback__ and error.__traceback__.tb_next  # without this worker's own frame
    shown = "".join(traceback.format_exception(type(error), error, own)) if kind == "raised" else ""
    return {
        "kind": kind,
        "message": message,
        "line": line if file is not None or line is None else max(1, line - 1),  # the head of an inline function
        "traceback": shown[-_MAX_TRACEBACK_CHARS:],
        "is_out_of_memory": isinstance(error, MemoryError),
    }


def _frames(error: BaseException) -> list[tuple[str, int | None]]:
    return [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def main() -> None:
    """Answer requests until the parent closes the socket."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    host = CodeHost(int(sys.argv[2]))
    sys.argv = ["suite"]
    sys.path[:] = [os.getcwd(), *(entry for entry in sys.path if entry and entry != os.path.dirname(__file__))]  # noqa: PTH109, PTH120
    module = types.ModuleType("promptfoo_logger")  # hooks may import it
    module.logger = Logger()  # type: ignore[attr-defined] # a module made here
    sys.modules[module.__name__] = module
    own_id = os.getpid()
    while True:
        header = _read(connection, _HEADER.size)
        if not header:
            return
        request = json.loads(_read(connection, _HEADER.unpack(header)[1]))
        reply = host.reply(request)
        if os.getpid() != own_id:  # the code forked, and this is the copy
            os._exit(0)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # the code closed or replaced it
                continue
        connection.sendall(_HEADER.pack(MAGIC, len(reply)) + reply)


if __name__ == "__main__":
    main()
