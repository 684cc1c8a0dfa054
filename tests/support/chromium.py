"""Headless Chromium, driven through a pipe by its DevTools protocol; the network is shut off.

Source: Chrome DevTools Protocol, domains Page, Runtime, Log, Network and Emulation. With
``--remote-debugging-pipe`` the browser reads messages from file descriptor 3 and writes them to
4, each one JSON object and a NUL byte, so that no port is opened.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

PROGRAMS = ("chromium", "google-chrome-stable", "google-chrome")
WAIT_SECONDS = 120.0
_READ, _WRITE = 3, 4
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    # Whatever the page asks for, no name resolves.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def find_chromium() -> str:
    """Return the browser's program: the one that ``CHROMIUM`` names, or the first there is.

    Raises:
        FileNotFoundError: when there is none; ``./dev test`` installs it.
    """
    for name in (os.environ.get("CHROMIUM", ""), *PROGRAMS):
        found = shutil.which(name)
        if found:
            return found
    raise FileNotFoundError(f"none of {', '.join(PROGRAMS)} is installed")


class Page:
    """One page, and everything that it asked for or complained about.

    Attributes:
        requests: the addresses that it asked for.
        complaints: errors and warnings of its console.
        blocked: why requests were not let out, ``csp`` for its own policy.
    """

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.blocked: list[str] = []
        target = pipe.call("Target.createTarget", url="about:blank")["targetId"]
        attached = pipe.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its answer."""
        answer = self._pipe.call(method, self._session, **parameters)
        self._take_in()
        return answer

    def open(self, url: str) -> None:
        """Open an address and wait until it has loaded."""
        self._pipe.events.clear()
        self.call("Page.navigate", url=url)
        self._pipe.wait_for("Page.loadEventFired", self._session)
        self.evaluate("document.fonts.ready.then(() => true)")

    def look(
        self, width: int, height: int = 900, *, media: str = "", dark: bool = False
    ) -> None:
        """Show the page in a window of a size, on ``screen`` or for ``print``."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page, as JSON has it."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = False) -> bytes:
        """Return what the window shows, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """Return the page as it would be printed."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(answer["data"])

    def _take_in(self) -> None:
        for event in self._pipe.events:
            method, told = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            elif method == "Network.loadingFailed":
                self.blocked.append(told.get("blockedReason", told["errorText"]))
            elif method == "Log.entryAdded":
                self.complaints.append(told["entry"]["text"])
            elif method == "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(told["args"]))
            elif method == "Runtime.exceptionThrown":
                self.complaints.append(told["exceptionDetails"]["text"])
        self._pipe.events.clear()


@contextmanager
def browser() -> Iterator[Pipe]:
    """Start a browser with a profile of its own; both go at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [*_FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        process, to_browser, from_browser = _start([find_chromium(), *flags], profile)
        pipe = Pipe(to_browser, from_browser)
        try:
            yield pipe
        finally:
            with suppress(OSError, TimeoutError):
                pipe.call("Browser.close")
            os.close(to_browser)
            os.close(from_browser)
            _end(process)


def _start(command: Sequence[str], home: str) -> tuple[int, int, int]:
    """Start a program in a group of its own; return its id and our ends of its pipes."""
    theirs_in, ours_out = map(_high, os.pipe())
    ours_in, theirs_out = map(_high, os.pipe())
    process = os.posix_spawn(
        command[0],
        command,
        {**os.environ, "HOME": home, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, theirs_in, _READ),
            (os.POSIX_SPAWN_DUP2, theirs_out, _WRITE),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0o600),
        ],
        setpgroup=0,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    return process, ours_out, ours_in


def _high(descriptor: int) -> int:
    """Return a descriptor out of the way of those that the browser wants."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def _end(process: int) -> None:
    """Wait for the browser; end its group where it does not end by itself."""
    for _ in range(50):
        if os.waitpid(process, os.WNOHANG)[0]:
            break
        time.sleep(0.1)
    else:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    with suppress(ProcessLookupError):  # helpers that outlived it
        os.killpg(process, signal.SIGKILL)


class Pipe:
    """Calls to the browser, one at a time, and the events that came in between."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._number, self._held = 0, bytearray()
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method and return its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            found = self._read()
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found.get('error')}"
                return found["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Wait until an event of a session has come."""
        while not any(
            one["method"] == method and one.get("sessionId") == session for one in self.events
        ):
            self._read()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            ready, _, _ = select.select([self._from], [], [], WAIT_SECONDS)
            if not ready:
                raise TimeoutError(f"the browser said nothing for {WAIT_SECONDS} s")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise OSError("the browser has ended")
            self._held += data
        message, _, self._held = self._held.partition(b"\0")
        found = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found
