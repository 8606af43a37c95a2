"""`flowai ask`: the answer on stdout as it comes, all else on stderr; values of variables; exit status; the event."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import REGISTRY
from support.scripted_provider import Reply

from flowai.events import CallEvent, read_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

TYPED = """\
---
input: {schema: {text: string, count: integer}}
---
{{text}} {{count}}
"""


def calls_of(project: SampleProject) -> list[CallEvent]:
    events = read_events(project.root / ".flowai" / "events", on_unreadable=lambda line: pytest.fail(str(line)))
    return sorted((event for event in events if isinstance(event, CallEvent)), key=lambda event: event.at)


def user_message(provider: ScriptedProvider) -> str:
    text: str = provider.asked[-1].body["messages"][-1]["content"]
    return text


def with_fallback(project: SampleProject, provider: ScriptedProvider, chat: str) -> None:
    registry = REGISTRY.replace('"}}\nfeatures', '", provider: elsewhere}}\nfeatures')
    project.write(
        "registry.yaml",
        registry.replace("chat: {{timeout", f"chat: {{{{{chat}, timeout").format(base_url=provider.base_url),
    )


def test_the_answer_is_on_stdout_and_the_facts_are_on_stderr(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.default = Reply(text="hello\nworld")
    ran = flowai("ask", "chat", "--var", "text=some words")
    assert ran.code == 0, ran.err
    assert ran.out == "hello\nworld\n"
    assert user_message(provider) == "some words"
    (call,) = calls_of(project)
    parts = ran.err.removesuffix("\n").split("   ")
    assert parts[:2] == ["v1", "m"]
    assert parts[3:] == ["10 + 2 tokens", "<$0.0001", f"call {call.call_id}"]


def test_a_call_from_the_shell_is_no_users_call(flowai: Flowai, project: SampleProject) -> None:
    flowai("ask", "chat", "--var", "text=one", "--user", "ann")
    (call,) = calls_of(project)
    assert (call.origin, call.feature, call.release) == ("ask", "chat", "v1")
    assert call.user_hash is not None
    assert flowai("metrics", "--json").code == 5, "metrics count no call"


def test_the_answer_is_written_as_it_comes(
    flowai: Flowai, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.default = Reply(text="one two three", chunk_delay_s=0.01)
    written: list[str] = []

    class Stdout(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Stdout())
    flowai("ask", "chat", "--var", "text=x")
    assert len(written) > 2
    assert "".join(written) == "one two three\n"


def test_values_come_from_files_stdin_and_json(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("prompts/echo_v1.prompt", TYPED)
    project.write("notes.txt", "from a file")
    assert flowai("ask", "chat", "--var", "text=@notes.txt", "--var", "count:=3").code == 0
    assert user_message(provider) == "from a file 3"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    assert flowai("ask", "chat", "--var", "text=-", "--var", "count:=4", "--no-cache").code == 0
    assert user_message(provider) == "from stdin 4"
    assert flowai("ask", "chat", "--var", "text=@@ann=1", "--var", "count:=5", "--no-cache").code == 0
    assert user_message(provider) == "@ann=1 5"


def test_a_message_takes_the_place_of_the_prompt(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    assert flowai("ask", "chat", "--message", "hi").code == 0
    assert provider.asked[-1].body["messages"] == [{"role": "user", "content": "hi"}]
    assert flowai("ask", "--model", "n", "-m", "hi").code == 0
    assert provider.asked[-1].body["model"] == "other"
    assert [call.feature for call in calls_of(project)] == ["chat", None]


def test_json_is_one_document_with_the_result_and_the_call(flowai: Flowai) -> None:
    ran = flowai("ask", "chat", "--var", "text=x", "--json")
    document: dict[str, Any] = json.loads(ran.out)
    assert document["result"]["text"] == "hello world"
    assert document["call"]["origin"] == "ask"
    assert document["call"]["call_id"] == document["result"]["call_id"]


def test_a_cached_answer_is_named_unless_the_cache_is_off(flowai: Flowai, provider: ScriptedProvider) -> None:
    flowai("ask", "chat", "--var", "text=x")
    assert "   m, exact cache   " in flowai("ask", "chat", "--var", "text=x").err
    assert provider.request_count == 1
    flowai("ask", "chat", "--var", "text=x", "--no-cache")
    assert provider.request_count == 2


def test_another_release_can_be_asked(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    registry = REGISTRY.replace("current:", "  v2: {{extends: v1, chat: {{model: n}}}}\ncurrent:")
    project.write("registry.yaml", registry.format(base_url=provider.base_url))
    ran = flowai("ask", "chat", "--var", "text=x", "--release", "v2")
    assert ran.err.startswith("v2   n   ")
    assert provider.asked[-1].body["model"] == "other"
    assert flowai("ask", "chat", "--var", "text=x", "--release", "v9").code == 2


def test_explain_shows_the_attempts_as_a_waterfall(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    with_fallback(project, provider, "fallback: [n]")
    provider.answerer = lambda asked: Reply(status=500) if asked.body["model"] != "other" else Reply(delay_s=0.05)
    ran = flowai("ask", "chat", "--var", "text=x", "--explain")
    assert ran.code == 0, ran.err
    assert ran.out == "hello world\n"
    lines = ran.err.splitlines()
    assert "feature chat   release v1   prompt prompts/echo_v1" in lines[0]
    assert lines[1].startswith("answered by n (")
    assert "cache miss   tokens 10 in, 2 out   cost -   TTFT 0." in lines[1]
    assert lines[2].split() == ["model", "result", "start", "time"]
    assert lines[3].split()[:3] == ["m", "ServerError", "500"]
    assert lines[-1].split()[:2] == ["n", "ok"]
    assert lines[-1].endswith("\u2588")
    first, second = (line.index("\u2588") for line in (lines[3], lines[-1]))
    assert first <= second


def test_a_degraded_answer_has_its_disclaimer(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    with_fallback(project, provider, "degrade: {{to: n, disclaimer: in short}}")
    provider.answerer = lambda asked: Reply(status=500) if asked.body["model"] != "other" else Reply()
    ran = flowai("ask", "chat", "--var", "text=x")
    assert "degraded: in short" in ran.err.splitlines()


def test_a_failed_call_exits_with_4_and_explains(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.default = Reply(status=500)
    ran = flowai("ask", "chat", "--var", "text=x", "--explain")
    assert ran.code == 4
    assert ran.out == ""
    assert [line for line in ran.err.splitlines() if line.startswith("FAILED  AllModelsFailedError: ")]
    assert [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert [call.error_class for call in calls_of(project)] == ["AllModelsFailedError"]


def test_a_broken_stream_ends_the_line_and_fails(flowai: Flowai, provider: ScriptedProvider) -> None:
    provider.default = Reply(text="half of an answer", fault="cut")
    ran = flowai("ask", "chat", "--var", "text=x")
    assert ran.code == 4
    assert ran.err.startswith("error: ")
    assert ran.out == "" or ran.out.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("chat",), "variable `text` is missing"),
        (("chat", "--var", "text=x", "--var", "more=y"), "`more`"),
        (("chat", "--var", "text"), "--var: found `text`, expected NAME=TEXT"),
        (("chat", "--var", "text=a", "--var", "text=b"), "--var: `text` is set twice"),
        (("chat", "--var", "text:={"), "--var text: found no JSON"),
        (("chat", "--var", "text=@none.txt"), "--var text: `none.txt` cannot be read: No such file or directory"),
        (("chat", "--var", "text=x", "-m", "hi"), "--var needs FEATURE, and excludes --message"),
        (("--model", "m", "--var", "text=x"), "--var needs FEATURE, and excludes --message"),
        (("--model", "m"), "model `m` has no prompt"),
        (("--model", "o", "-m", "hi"), "no model `o`"),
        (("chat", "--model", "m", "-m", "hi"), "expected FEATURE, or --model NAME with --message"),
        ((), "expected FEATURE, or --model NAME with --message"),
        (("chart", "--var", "text=x"), "no feature `chart`"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(
    flowai: Flowai, provider: ScriptedProvider, arguments: tuple[str, ...], error: str
) -> None:
    ran = flowai("ask", *arguments)
    assert ran.code == 2, ran.err
    assert ran.err.startswith("error: ")
    assert error in ran.err
    assert provider.request_count == 0


def test_wrong_files_exit_with_3(flowai: Flowai, project: SampleProject) -> None:
    project.write("prompts/echo_v1.prompt", "---\ninput: {schema: {text: string}}\n---\n{{text}\n")
    assert flowai("ask", "chat", "--var", "text=x").code == 3
    (project.root / "registry.yaml").unlink()
    assert flowai("ask", "chat", "--var", "text=x").code == 3
