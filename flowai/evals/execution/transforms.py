"""Transforms of an answer before it is checked: the target's own, then the case's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.evals.assertions.services import CodeError
from flowai.evals.targets.records import TargetCompletion
from flowai.evals.templates import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.evals.assertions.services import CodeRunner
    from flowai.evals.suites.records import Case, CodeRef, SuiteProvider
    from flowai.providers import Completion


def transforms_of(provider: SuiteProvider | None, case: Case) -> tuple[CodeRef, ...]:
    """Return the transforms of an answer in the order in which they are applied."""
    own = None if provider is None else provider.transform
    return tuple([code for code in (own, case.options.transform) if code is not None])


async def transform_answer(
    completion: Completion, transforms: tuple[CodeRef, ...], runner: CodeRunner | None, context: Mapping[str, Any]
) -> Completion:
    """Return an answer after its transforms.

    Raises:
        CodeError: one gave no value, or no code may run.
    """
    from flowai.evals.code.transforms import apply_transform  # not needed without transforms

    if runner is None:
        raise CodeError("no code may run (--no-code)", kind="missing")
    metadata = completion.metadata if isinstance(completion, TargetCompletion) else {}
    output = output_of(completion)
    for code in transforms:
        output = await apply_transform(runner, code, output, {**context, "metadata": metadata})
    return with_output(completion, output)


def output_of(completion: Completion) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of an answer: of a program any JSON value, else the text."""
    output = completion.output if isinstance(completion, TargetCompletion) else None
    return completion.text if output is None else output


def with_output(completion: Completion, output: Any) -> TargetCompletion:  # noqa: ANN401 - any JSON value
    """Return an answer with another value."""
    fields = {name: getattr(completion, name) for name in completion.__struct_fields__}
    is_text = isinstance(output, str)
    fields |= {"text": output if is_text else to_json(output), "output": None if is_text else output}
    return TargetCompletion(**fields)


def recorded_completion(output: Any, *, model: str, provider: str, **facts: Any) -> TargetCompletion:  # noqa: ANN401 - any JSON value, TargetCompletion's fields
    """Build the answer of a model that was not called in this run."""
    defaults: dict[str, Any] = {
        "finish_reason": None, "input_tokens": None, "output_tokens": None, "cost_usd": None, "latency_ms": 0.0,
        "ttft_ms": None,
    }  # fmt: skip
    is_text = isinstance(output, str)
    return TargetCompletion(
        text=output if is_text else to_json(output),
        output=None if is_text else output,
        model=model,
        served_model=model,
        provider=provider,
        **(defaults | facts),
    )
