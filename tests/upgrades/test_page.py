"""The page of an upgrade in a real browser: no resource from outside, readable, nothing wider than the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.page_checks import MIN_CONTRAST
from support.upgrade_project import Planted, make_upgrade_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.chromium import Browser
    from support.sample_project import Ran
    from support.scripted_provider import Reply, ScriptedProvider


@pytest.mark.browser
def test_the_page_fits_and_shows_hostile_answers_as_text(
    root: Path, provider: ScriptedProvider, flowai: Callable[..., Ran], browser: Browser
) -> None:
    class Hostile(Planted):
        def __call__(self, asked: object) -> Reply:
            from dataclasses import replace

            reply = super().__call__(asked)  # type: ignore[arg-type]
            return reply if reply.text != "nope" else replace(reply, text="<img src=x onerror=alert(1)>" * 20)

    provider.answerer = Hostile(lost={"chat": 0.3}, new_tokens=30)
    make_upgrade_project(root, provider.base_url, {"chat": 80, "bare": 0})
    flowai("upgrade", "m", "n")

    browser.open((root / "reports" / "upgrade" / "m-n" / "report.html").as_uri())
    for width in (1280, 700):
        browser.look(width, 900)
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.evaluate(MIN_CONTRAST) >= 4.5
    text = browser.text("main")

    assert "WORSE  chat" in text or "WORSE chat" in text
    assert "flowai rollback" in text
    assert "+    chat: {model: n}" in text
    assert not browser.dialogs
    assert not browser.complaints
    assert all(address.startswith("file:") for address in browser.requested)
