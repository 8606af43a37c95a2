"""`flowai eval` on suites of other people, in a directory without a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.scripted_provider import Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

RUBRIC = "tests: [{vars: {word: hi}, assert: [{type: llm-rubric, value: is polite}]}]\n"
VERDICT = '{"pass": true, "score": 0.9, "reason": "polite"}'


@pytest.mark.parametrize("grader", ["", "defaultTest: {options: {provider: openai:gpt-4.1-mini}}\n"])
def test_a_rubric_needs_no_registry(
    place: Path,
    command: Callable[..., Ran],
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    grader: str,
) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.setenv(name, provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    provider.script(Reply(text=VERDICT))
    (place / "promptfooconfig.yaml").write_text(f"prompts: ['say {{{{word}}}}']\nproviders: [echo]\n{grader}{RUBRIC}")
    ran = command("eval", "--no-cache")
    assert (ran.code, ran.err.count("error")) == (0, 0), ran.err
    assert provider.request_count == 1


def test_a_rubric_without_any_key_is_a_named_error(
    place: Path, command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (place / "promptfooconfig.yaml").write_text(f"prompts: ['say {{{{word}}}}']\nproviders: [echo]\n{RUBRIC}")
    ran = command("eval", "--no-cache")
    assert ran.code == 3
    assert "needs a model that grades" in ran.err


def test_a_provider_that_cannot_be_called_may_be_replaced(
    place: Path, command: Callable[..., Ran], provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (place / "promptfooconfig.yaml").write_text(
        "prompts: ['say {{word}}']\nproviders: [{id: 'anthropic:claude-agent-sdk', config: {max_turns: 5}}]\n"
        "tests: [{vars: {word: hi}, assert: [{type: contains, value: hello}]}]\n"
    )
    assert command("eval", "--no-cache").code == 3
    assert command("eval", "--no-cache", "-m", "openai/gpt-4o-mini").code == 0
