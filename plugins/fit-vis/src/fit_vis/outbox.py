"""Messages on their way to a Visdom server: a file that keeps all of them, and a thread that sends them from it.

The file is the queue. Whoever adds a message waits for nothing but the file, what waits takes no memory, nothing is dropped when the server
is slow, and what could not be sent is still there. Its lines are those of Visdom's own log, which its client can replay.
"""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError

Message = tuple[str, dict[str, Any]]
"""An end point of the server, and what it is sent."""


class Outbox:
    """Writes messages to a file; while there is a server, a thread sends them in their order.

    Args:
        path: the file; it is appended to.
        url: of the server; None: nothing is sent.
        timeout: seconds after which a message without an answer has failed. From the first failure on nothing is sent.
        resend: send what the file has already, too.

    Attributes:
        count: how many messages the file has.
        failure: why nothing is sent any more.
        refused: how many messages the server could do nothing with.
    """

    def __init__(self, path: Path, url: str | None, timeout: float, resend: bool) -> None:
        self.path = path
        self.failure: str | None = None
        self.refused = 0
        self._url, self._timeout = url, timeout
        before = [len(text) for text in lines(path)]
        self.count, self._written = len(before), sum(before)
        self._sent = 0 if resend else self._written
        self._changed = threading.Condition()
        self._ending = self._leaving = False
        self._file: BinaryIO | None = None
        self._thread: threading.Thread | None = None

    def add(self, messages: Iterable[Message]) -> None:
        """Write messages, and let them be sent."""
        if self._file is None:
            self._file = self.path.open("ab")
        texts = [line(message) for message in messages]
        self.count += len(texts)
        self._file.write(b"".join(texts))
        self._file.flush()
        with self._changed:
            self._written = self._file.tell()
            self._changed.notify()
        if self._url is not None and self.failure is None and self._thread is None:
            self._ending = self._leaving = False
            self._thread = threading.Thread(target=self._send, args=(self._url,), name="fit-vis-outbox", daemon=True)
            self._thread.start()

    def close(self, seconds: float) -> int:
        """Wait for what is on its way, and end the thread.

        Args:
            seconds: to wait at most, and then the `timeout` of the message at work.

        Returns:
            How many messages there are that were not sent, though there was a server.
        """
        if self._thread is not None:
            self._end(leaving=False)
            self._thread.join(seconds)
            self._end(leaving=True)
            self._thread.join(self._timeout + 1)
            self._thread = None
        if self._file is not None:
            self._file.close()
            self._file = None
        return 0 if self._url is None else sum(1 for _ in lines(self.path, self._sent))

    def sync(self) -> None:
        """Bring the file to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _end(self, leaving: bool) -> None:
        with self._changed:
            self._ending, self._leaving = True, leaving
            self._changed.notify()

    def _send(self, url: str) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sent < self._written or self._ending)
                written = self._written
            if self._leaving or self._sent == written:
                return
            if not self.path.exists():
                self.failure = f"{self.path} is gone"
                return
            for text in lines(self.path, self._sent, written):
                try:
                    post(url, *parts(text), self._timeout)
                except HTTPError:
                    self.refused += 1
                except (OSError, HTTPException) as error:
                    self.failure = f"{type(error).__name__}: {error}"
                    return
                self._sent += len(text)
                if self._leaving:
                    return


def post(url: str, endpoint: str, body: bytes, timeout: float) -> None:
    """Send a message.

    Raises:
        OSError: there is no server, no answer in time, or another one than yes.
        HTTPException: the answer is none.
    """
    request = urllib.request.Request(f"{url}/{endpoint}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        answer.read()


def line(message: Message) -> bytes:
    """Return a message as a line of the file."""
    return json.dumps(message, allow_nan=False).encode() + b"\n"


def parts(text: bytes) -> tuple[str, bytes]:
    """Return end point and body of a line as `line` writes it."""
    endpoint, _, body = text.partition(b", ")
    return json.loads(endpoint[1:]), body.rstrip()[:-1]


def cut(path: Path, count: int) -> None:
    """Take back all messages of a file after so many, and a line that is not whole."""
    if path.exists():
        os.truncate(path, sum(len(text) for text in islice(lines(path), count)))


def lines(path: Path, start: int = 0, end: float = float("inf")) -> Iterator[bytes]:
    """Yield the whole lines between two places of a file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(start)
        for text in file:
            start += len(text)
            if start > end or not text.endswith(b"\n"):
                return
            yield text
