"""A headless Chromium, spoken to through its DevTools protocol."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import websocket
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
TEXT = """
(() => {
    const text = (node) => {
        if (!node) return "";
        if (node.nodeType === Node.TEXT_NODE) return node.textContent;
        if (["STYLE", "SCRIPT", "TEMPLATE", "NOSCRIPT"].includes(node.nodeName)) return "";
        const inside = node.shadowRoot ? [...node.shadowRoot.childNodes] : node.contentDocument ? [node.contentDocument.body] : [];
        return [...inside, ...node.childNodes].map(text).join(" ");
    };
    return text(document.body).replace(/\\s+/g, " ");
})()
"""
"""All text of a page, that of shadow roots and frames too."""


class Page:
    """One tab."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, suppress_origin=True, timeout=30)
        self._numbers = itertools.count(1)

    def send(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression in JavaScript."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def text(self) -> str:
        return str(self.run(TEXT))

    def wait_for(self, *texts: str, seconds: float = 40) -> str:
        """Wait until all these texts are on the page."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            said = self.text()
            if all(text in said for text in texts):
                return said
            time.sleep(0.3)
        raise AssertionError(f"not on the page: {[text for text in texts if text not in said]}; it has: {said}")

    def still(self, seconds: float = 40) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return the page as (height, width, 3) when it has stopped to change."""
        before, until = self.pixels(), time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(1)
            now = self.pixels()
            changed = (now != before).any(axis=-1).mean()
            if changed < 0.0005:  # but for a cursor or a wheel
                return now
            before = now
        raise AssertionError(f"the page goes on changing: {changed:.2%} of it")

    def wait_for_colour(self, colour: str, least: float, seconds: float = 40) -> None:
        """Wait until so much of the page has a colour."""
        until = time.monotonic() + seconds
        while (found := share(self.pixels(), colour)) < least:
            assert time.monotonic() < until, f"{found:.5f} of the page is {colour}"
            time.sleep(0.5)

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        png = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def box(self, script: str) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom of an element, given as an expression."""
        found = self.run(f"(() => {{ const r = ({script}).getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] }})()")
        left, top, right, bottom = (round(value) for value in found)
        return left, top, right, bottom


@contextmanager
def browser(folder: Path, width: int = 1600, height: int = 1400) -> Iterator[Page]:
    """Start Chromium, and give a page of it."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert program is not None, f"there is no browser: {', '.join(NAMES)}"
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-allow-origins=*"]
    command = [program, *flags, f"--window-size={width},{height}", "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    with (folder.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        port = _port(folder.parent / "browser.log")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        page = Page(tab["webSocketDebuggerUrl"])
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        yield page
        page._socket.close()
    finally:
        process.terminate()
        process.wait(20)


def _port(log: Path) -> str:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = re.search(r"DevTools listening on ws://[^:]+:(\d+)/", log.read_text())
        if found:
            return found[1]
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def share(pixels: np.ndarray[Any, np.dtype[np.uint8]], colour: str, tolerance: int = 12) -> float:
    """Return how much of a picture has a colour `#RRGGBB`."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return float((np.abs(pixels.astype(int) - wanted).max(axis=-1) <= tolerance).mean())
