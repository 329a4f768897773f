"""Headless Chromium through its remote-debugging pipe: no driver, no web socket, and nothing that listens on a port.

Chromium reads commands as JSON from file descriptor 3 and answers on 4, each message ended by a zero byte.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
_PATIENCE_S = 120.0
"""For a busy machine; what is waited for takes a fraction of a second."""


def find_chromium() -> str | None:
    """The program, where there is one."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """One page."""

    def __init__(self, process: "subprocess.Popen[bytes]", write: int, read: int) -> None:
        self._process, self._write, self._read = process, write, read
        self._pending = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """Errors, warnings and failed or attempted network requests, since the start."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self._note(answer)

    def open(self, page: Path, width: int, height: int) -> None:
        """Load a file, in a window of this size, and wait until it is there."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.command("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + _PATIENCE_S
        while self.value("document.readyState") != "complete" or self.value("location.protocol") != "file:":
            assert time.monotonic() < end, "the page does not load"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Of JavaScript."""
        found = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, x: float, y: float) -> None:
        """Press and let go of the left button."""
        self.drag((x, y), (x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, and let go at another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            options = {"button": "left", "buttons": 0 if kind == "mouseReleased" else 1, "clickCount": 1}
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)

    def key(self, name: str, code: int) -> None:
        """Press and let go; ``code`` is the key's number on Windows."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Of the window, or of the whole page, as PNG."""
        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + _PATIENCE_S
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._read, 1 << 16)
            assert part, f"Chromium has ended with {self._process.poll()}"
            self._pending += part
        text, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        given = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(given["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(given["args"]))
        elif event.get("method") == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.complaints.append(given["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            url = given["request"]["url"]
            if not url.startswith(("data:", "file:", "about:")):
                self.complaints.append(f"asks the network for {url}")


@contextlib.contextmanager
def open_browser(program: str) -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it."""
    to_browser, from_browser = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        options = [
            *(
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-first-run",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ),
            *("--no-sandbox", "--hide-scrollbars", "--disable-background-networking", f"--user-data-dir={profile}"),
        ]
        # Chromium's ends of the pipes have to be descriptors 3 and 4, whatever they are here
        shell = f'exec "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", program, *options],
            pass_fds=(to_browser[0], from_browser[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        try:
            browser = Browser(process, to_browser[1], from_browser[0])
            yield browser
            browser._session = None
            browser.command("Browser.close")
            process.wait(timeout=_PATIENCE_S)
        finally:
            os.close(to_browser[1])
            os.close(from_browser[0])
            if process.poll() is None:
                process.kill()
                process.wait()
