"""Rendering a prompt: flowai beside sandboxed Jinja2, the usual way in Python.

Both render the same chat prompt (two messages, a condition, a loop over three items) from a parsed template, in
interleaved pairs. Jinja2 gives one string per message; flowai also checks the variables and gives typed messages.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.prompts import openai_messages, parse_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.prompts import Prompt
    from flowai.prompts.template.parser import PartialSource

HEADER = ("what", "flowai", "peer", "ratio", "how")
RENDERS_COUNT = 1000
PAIRS_COUNT = 15

SYSTEM = "You summarise texts for {{audience}} in {{language}}."
FLOWAI = (
    '{{role "system"}}'
    + SYSTEM
    + '{{role "user"}}{{#if title}}Title: {{title}}\n{{/if}}'
    + "{{#each points}}- {{this}}\n{{/each}}Text:\n{{text}}"
)
JINJA = (
    SYSTEM,
    "{% if title %}Title: {{title}}\n{% endif %}{% for point in points %}- {{point}}\n{% endfor %}Text:\n{{text}}",
)
VALUES = {
    "audience": "busy readers",
    "language": "English",
    "title": "Quarterly report",
    "points": ["revenue", "costs", "outlook"],
    "text": "The company grew by four percent. " * 60,
}


class NoPartials:
    """A project without partials."""

    def get(self, _: str) -> PartialSource | None:
        """Return None."""
        return None

    def names(self) -> tuple[str, ...]:
        """Return no names."""
        return ()


def prompt() -> Prompt:
    """Parse the prompt once, as a run does."""
    return parse_prompt(
        FLOWAI, id="prompts/bench_v1", path=Path("bench.prompt"), file="bench.prompt", partials=NoPartials()
    )


def jinja_renderer() -> Callable[[], list[dict[str, str]]] | None:
    """Parse the same prompt for Jinja2; None when it is not installed."""
    try:
        from jinja2.sandbox import SandboxedEnvironment
    except ImportError:
        return None
    environment = SandboxedEnvironment()
    system, user = (environment.from_string(text) for text in JINJA)
    return lambda: [
        {"role": "system", "content": system.render(VALUES)},
        {"role": "user", "content": user.render(VALUES)},
    ]


def milliseconds(render: Callable[[], object]) -> float:
    """Time RENDERS_COUNT renders, CPU time."""
    start = time.process_time()
    for _ in range(RENDERS_COUNT):
        render()
    return (time.process_time() - start) * 1000


def rows() -> list[tuple[str, ...]]:
    """Measure and return one row per comparison; cells as in HEADER."""
    ours = prompt()

    def flowai_render() -> list[dict[str, object]]:
        return openai_messages(ours.render(VALUES).messages)

    theirs = jinja_renderer()
    what = f"render {RENDERS_COUNT} prompts"
    if theirs is None:
        mine = statistics.median(milliseconds(flowai_render) for _ in range(PAIRS_COUNT))
        return [(what, f"{mine:.1f} ms", "skipped: jinja2 is not installed", "", "CPU time")]
    if flowai_render() != theirs():
        raise AssertionError("the two prompts do not say the same")
    pairs = [(milliseconds(flowai_render), milliseconds(theirs)) for _ in range(PAIRS_COUNT)]
    mine = statistics.median(pair[0] for pair in pairs)
    peer = statistics.median(pair[1] for pair in pairs)
    ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
    how = f"CPU time, medians of {PAIRS_COUNT} interleaved pairs"
    return [(what, f"{mine:.1f} ms", f"sandboxed Jinja2 {peer:.1f} ms", f"{ratio:.2f}x", how)]


def main() -> None:
    """Print the rows as Markdown."""
    for row in (HEADER, ("---",) * len(HEADER), *rows()):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
