"""The review page's server: login, requests of other pages in the same browser, and answers."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx import Client

from flowai.finetune.decisions.decision_log import DecisionLog
from flowai.finetune.records import Pair
from flowai.review.queue import ReviewQueue
from flowai.review.web.login import LoginToken
from flowai.review.web.server import Addresses, serve_review_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = {"content-type": "application/json"}


def pair(number: int) -> Pair:
    return Pair(
        id=f"c{number}",
        at="2026-05-02T12:00:00Z",
        feature="chat",
        messages=({"role": "user", "content": "Say it."},),
        output="It is said.",
        opinion="accepted",
    )


@contextmanager
def served(log: DecisionLog) -> Iterator[Addresses]:
    """Serve a review queue in a thread while the block runs."""
    queue = ReviewQueue(
        feature="chat",
        reviewer="ann",
        candidates=[pair(0), pair(1)],
        decision_log=log,
        labels={},
        now=lambda: datetime(2026, 5, 2, tzinfo=UTC),
    )
    up, found, bugs = Event(), list[Addresses](), list[BaseException]()
    ends: list[Any] = []

    async def serve() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(ended.set))
        async with serve_review_page(queue, port=0, random_bytes=os.urandom, on_bug=bugs.append) as addresses:
            found.append(addresses)
            up.set()
            await ended.wait()

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(30)
    try:
        yield found[0]
    finally:
        ends[0]()
        thread.join(30)
    assert bugs == []


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    return DecisionLog(tmp_path / "decisions.jsonl", name="decisions.jsonl")


@pytest.fixture
def addresses(log: DecisionLog) -> Iterator[Addresses]:
    with served(log) as found:
        yield found


@pytest.fixture
def base(addresses: Addresses) -> str:
    return addresses.reusable.partition("/?")[0]


@pytest.fixture
def page(addresses: Addresses, base: str) -> Iterator[Client]:
    """Return a client with a session."""
    with Client(base_url=base, follow_redirects=True) as client:
        assert client.get(addresses.reusable).status_code == 200
        yield client


def test_the_address_logs_in_and_leaves_no_token_behind(addresses: Addresses) -> None:
    with Client() as client:
        told = client.get(addresses.reusable)
        assert told.status_code == 303
        assert told.headers["location"] == "/"
        cookie = told.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert addresses.reusable.partition("token=")[2] not in cookie
        assert client.get(addresses.reusable.partition("?")[0]).status_code == 200


def test_the_address_for_the_browser_works_once(addresses: Addresses) -> None:
    assert httpx.get(addresses.single_use).status_code == 303
    assert httpx.get(addresses.single_use).status_code == 401
    assert httpx.get(addresses.reusable).status_code == 303


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=guess", "/?token=%ff", "/review.js", "/api/queue", "/api/pairs/0", "/nothing"]
)
def test_requests_without_a_session_are_refused(base: str, path: str) -> None:
    told = httpx.get(base + path, headers={"cookie": "flowai-review-1=x; \x22; a"})
    assert told.status_code == 401
    assert "flowai finetune review" in told.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "attacker.example"}, 421),
        ({"host": "127.0.0.1.attacker.example"}, 421),
        ({"origin": "http://attacker.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_do_not_get_through_even_with_the_cookie(
    page: Client, log: DecisionLog, headers: dict[str, str], status: int
) -> None:
    assert page.get("/api/queue", headers=headers).status_code == status
    told = page.post("/api/pairs/0/decisions", json={"action": "accept"}, headers=headers)
    assert told.status_code == status
    assert "access-control-allow-origin" not in told.headers
    assert log.decisions == ()


@pytest.mark.parametrize("path", ["/", "/review.js", "/review.css", "/api/queue", "/api/pairs/0", "/nothing"])
def test_every_answer_has_the_security_headers(page: Client, path: str) -> None:
    headers = page.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_the_page_has_nothing_inline_and_requests_no_other_host(page: Client) -> None:
    assert re.search(r"\s(on\w+|style)=|<script>|<style>", page.get("/").text) is None
    for path in ("/", "/review.js", "/review.css"):
        assert (
            re.search(r"https?://|innerHTML|outerHTML|insertAdjacent|document\.write|eval", page.get(path).text) is None
        )


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/pairs/0/decisions", b'{"action":"edit"}', 400),
        ("/api/pairs/0/decisions", b'{"action":"edit","text":"  "}', 400),
        ("/api/pairs/0/decisions", b'{"action":"accept","text":"x"}', 400),
        ("/api/pairs/0/decisions", b'{"action":"undo"}', 400),
        ("/api/pairs/0/decisions", b'{"action":"accept","reviewer":"bob"}', 400),
        ("/api/pairs/0/decisions", b'{"action":"edit","text":"\\ud800"}', 400),
        ("/api/pairs/0/decisions", b"[]", 400),
        ("/api/pairs/0/decisions", b"{", 400),
        ("/api/pairs/9/decisions", b'{"action":"accept"}', 400),
        ("/api/pairs/99999999999999999999999/decisions", b'{"action":"accept"}', 400),
        ("/api/pairs/-1/decisions", b'{"action":"accept"}', 404),
        ("/api/undo", b"", 400),
    ],
)
def test_invalid_requests_are_refused_and_decide_nothing(
    page: Client, log: DecisionLog, path: str, body: bytes, status: int
) -> None:
    told = page.post(path, content=body, headers=JSON)
    assert told.status_code == status
    assert told.json()["error"]["message"]
    assert log.decisions == ()


def test_a_form_cannot_decide(page: Client, log: DecisionLog) -> None:
    assert page.post("/api/pairs/0/decisions", data={"action": "accept"}).status_code == 415
    assert page.post("/api/undo", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert page.get("/api/pairs/0/decisions").status_code == 405
    assert log.decisions == ()


def test_a_decision_is_on_disk_before_it_is_answered(page: Client, log: DecisionLog) -> None:
    told = page.post("/api/pairs/1/decisions", json={"action": "edit", "text": "Say no more.", "note": " short "})
    assert told.json()["decided_count"] == 1
    (line,) = DecisionLog(log.path, name="again").decisions
    assert line.pair == "c1"
    assert line.action == "edit"
    assert line.text == "Say no more."
    assert line.note == "short"
    assert page.post("/api/undo", json={}).json()["position"] == 1
    assert page.post("/api/undo", json={}).json()["position"] is None


def test_a_failing_disk_is_reported(page: Client, log: DecisionLog) -> None:
    log.path.mkdir()
    told = page.post("/api/pairs/0/decisions", json={"action": "accept"})
    assert told.status_code >= 400
    assert told.json()["error"]["message"]


def test_tokens_are_long_and_their_own(log: DecisionLog) -> None:
    del log
    one, other = LoginToken(os.urandom), LoginToken(os.urandom)
    tokens = {one.token, one.single_use_token, other.token, other.single_use_token}
    assert len(tokens) == 4
    assert all(len(token) == 64 for token in tokens)
    assert not other.accepts(one.token)
