"""A real browser, led through a page by tests: Chromium without a window, over the pipe of its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_S = 30.0
_KEYS = {"Escape": 27, "Enter": 13}
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--remote-debugging-pipe",
)

# it reads commands at descriptor 3 and writes answers to 4, whatever their numbers are here
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium() -> str | None:
    """Return the path of the browser; None without one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A page of a running browser.

    Args:
        commands: where commands are written.
        answers: where answers are read.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._selector = selectors.DefaultSelector()
        self._selector.register(answers, selectors.EVENT_READ)
        self._buffer = b""
        self._last_id = 0
        self._page: str | None = None
        self.requested: list[str] = []
        """Every requested address."""
        self.complaints: list[str] = []
        """Messages of the console: exceptions, errors, and refusals by the page's policy."""
        self.dialogs: list[str] = []
        """Messages of `alert` and its like; none should come."""

    def open(self, address: str) -> None:
        """Open an address, and wait until it is loaded."""
        if self._page is None:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._page = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._ask(f"{domain}.enable")
        self._ask("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again."""
        self.evaluate("window.isOld = true")
        self._ask("Page.reload")
        self.wait_for("!window.isOld && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        how = {"returnByValue": True, "awaitPromise": True, "allowUnsafeEvalBlockedByCSP": False}
        told = self._ask("Runtime.evaluate", expression=expression, **how)
        if "exceptionDetails" in told:
            raise AssertionError(json.dumps(told["exceptionDetails"]))
        return told["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Wait until an expression is true on the page, and return its value."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            try:
                found = self.evaluate(expression)
            except (AssertionError, RuntimeError):  # the page is on its way to another one
                found = None
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"never true on the page: {expression}")

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))

    def press(self, key: str, *, ctrl: bool = False) -> None:
        """Press a key, as a user does."""
        facts: dict[str, Any] = {"key": key, "modifiers": 2 if ctrl else 0, "windowsVirtualKeyCode": _KEYS.get(key, 0)}
        if len(key) == 1:
            facts |= {"text": key}
        elif key == "Enter" and not ctrl:
            facts |= {"text": "\r"}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **facts)
        facts.pop("text", None)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **facts)

    def write(self, text: str) -> None:
        """Insert text at the cursor."""
        self._ask("Input.insertText", text=text)

    def look(self, width: int, height: int, *, is_dark: bool = False) -> None:
        """Set the window's size and the colour scheme."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        taste = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self._ask("Emulation.setEmulatedMedia", features=taste)

    def screenshot(self, path: Path) -> None:
        """Write a screenshot to a PNG file."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def save_downloads(self, directory: Path) -> None:
        """Save files that the page offers in a directory."""
        self._ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(directory))

    def cookies(self) -> list[dict[str, Any]]:
        """Return the page's cookies."""
        found: list[dict[str, Any]] = self._ask("Network.getCookies")["cookies"]
        return found

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if self._page is not None and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._page
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._last_id:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                answer: dict[str, Any] = told["result"]
                return answer
            self._note(told)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not self._selector.select(PATIENCE_S):
                raise AssertionError("the browser does not answer")
            piece = os.read(self._answers, 1 << 20)
            if not piece:
                raise AssertionError("the browser is gone")
            self._buffer += piece
        raw, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(raw)
        return told

    def _note(self, told: dict[str, Any]) -> None:
        params = told.get("params", {})
        match told.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Page.javascriptDialogOpening":
                self.dialogs.append(params["message"])
                self._last_id += 1
                answer = {"id": self._last_id, "method": "Page.handleJavaScriptDialog", "sessionId": self._page}
                os.write(self._commands, json.dumps(answer | {"params": {"accept": True}}).encode() + b"\0")


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """Run a browser while the block runs; nothing of it is left behind.

    Args:
        program: the browser, see `find_chromium`.
    """
    to_read, commands = os.pipe()
    answers, to_write = os.pipe()
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as home:
        options = (*_OPTIONS, f"--user-data-dir={home}", "about:blank")
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(to_read), str(to_write), program, *options],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        try:
            yield Browser(commands, answers)
        finally:
            os.close(commands)
            os.close(answers)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
