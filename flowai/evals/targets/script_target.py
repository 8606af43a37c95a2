"""Calls targets that are programs: `exec:`, Python's `call_api`, and JavaScript's `callApi`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.errors import ModelNotFoundError, ServerError
from flowai.evals.assertions.services import CodeError
from flowai.evals.code.program import run_program
from flowai.evals.code.records import TARGET_LIMITS, CodeCall
from flowai.evals.targets.answers import code_error, target_error
from flowai.evals.targets.code_runners import script_environment

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuiteProvider
    from flowai.evals.targets.code_runners import CodeRunners
    from flowai.evals.targets.records import TargetRequest
    from flowai.redaction import Redactor

_PART = re.compile(r"[^\s\"']+|\"([^\"]*)\"|'([^']*)'")
_ANSI_ESCAPE = re.compile(r"\x1b(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")
_DEFAULT_FUNCTION = "call_api"
_DEFAULT_METHOD = "callApi"


async def call_program(provider: SuiteProvider, request: TargetRequest, redactor: Redactor) -> dict[str, Any]:
    """Run an `exec:` target: prompt, options and context are its last arguments, its stdout is the output.

    Raises:
        CallError: it cannot be started, failed, took too long, or wrote to stderr only.
    """
    command = split_command(provider.id.removeprefix("exec:"))
    if not command:
        raise target_error(ModelNotFoundError, "`exec:` names no program", provider, redactor)
    arguments = [request.prompt, json.dumps(_options(provider, request)), json.dumps(_context(provider, request))]
    try:
        outcome = await run_program(
            [*command, *arguments],
            folder=Path(request.folder),
            environment=script_environment(provider, request),
            limits=TARGET_LIMITS,
            timeout_s=_limit_s(provider, request),
        )
    except CodeError as error:
        raise code_error(error, provider, redactor) from None
    output, errors = _plain(outcome.output), _plain(outcome.errors)
    if outcome.status != 0:
        ended = f"exit status {outcome.status}" if outcome.status > 0 else f"killed by signal {-outcome.status}"
        raise target_error(ServerError, f"{ended}: {errors or output or 'no output'}", provider, redactor)
    if errors and not output:
        raise target_error(ServerError, errors, provider, redactor)
    return {"output": output}


async def call_script(provider: SuiteProvider, request: TargetRequest, runners: CodeRunners, redactor: Redactor) -> Any:  # noqa: ANN401 - any JSON value
    """Call a Python or JavaScript target with `(prompt, options, context)`, as promptfoo does.

    JavaScript gets `(prompt, context, options)`; a class is built with the options once per process.

    Raises:
        CallError: the script failed.
    """
    code = provider.code
    if code is None:
        raise target_error(ModelNotFoundError, "the target names no file", provider, redactor)
    options, context = _options(provider, request), _context(provider, request)
    if code.language == "python":
        call = CodeCall(code=code, arguments=(request.prompt, options, context), function=_DEFAULT_FUNCTION)
    else:
        call = CodeCall(code=code, arguments=(request.prompt, context, {}), method=_DEFAULT_METHOD, options=options)
    try:
        return await runners.of_script(provider, request).run(call, timeout_s=_limit_s(provider, request))
    except CodeError as error:
        raise code_error(error, provider, redactor) from None


def split_command(text: str) -> list[str]:
    """Split a command at white space, without a shell; quotes keep a part together, as in promptfoo."""
    return [match[1] or match[2] or match[0] for match in _PART.finditer(text)]


def _options(provider: SuiteProvider, request: TargetRequest) -> dict[str, Any]:
    return {
        "id": provider.id,
        "label": provider.name,
        "config": {**provider.config, "basePath": request.folder},
        "env": {**request.env, **provider.env},
    }


def _context(provider: SuiteProvider, request: TargetRequest) -> dict[str, Any]:
    return {
        "vars": request.variables,
        "prompt": {"raw": request.prompt, "label": request.prompt, "config": {}},
        "test": {"vars": request.variables, "metadata": request.metadata},
        "provider": {"id": provider.id, "label": provider.name},
    }


def _limit_s(provider: SuiteProvider, request: TargetRequest) -> float:
    """Return the limit of a call: the target's `timeout` in milliseconds, if it is less than the request's."""
    own = provider.config.get("timeout")
    if not isinstance(own, int | float) or isinstance(own, bool) or own <= 0:
        return request.total_timeout_s
    return min(request.total_timeout_s, own / 1000)


def _plain(text: str) -> str:
    return _ANSI_ESCAPE.sub("", text.strip())
