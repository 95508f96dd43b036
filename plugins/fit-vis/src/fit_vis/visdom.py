"""Everything that is logged and shown, on a Visdom server."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from fit_core import FitError, State, hookimpl
from fit_core.items import Item
from fit_vis.checks import check, writing_to
from fit_vis.outbox import Outbox, cut, lines, parts, post
from fit_vis.windows import Windows

if TYPE_CHECKING:
    from fit_core import Trainer
    from fit_core.log import LogEntry

LOG = "visdom.jsonl"


class Visdom:
    """Sends numbers and what plugins show to a Visdom server: `python -m visdom.server`.

    A value of training and of validation are lines in one window. Everything is written to `visdom.jsonl` in the run folder, and sent
    from there by a thread, so that a step never waits for the server, and nothing is lost if it is slow or gone: Visdom's client shows
    the file later, `Visdom().replay_log("visdom.jsonl")`. A resumed run takes back what came after its checkpoint, in the file and
    on the server. It needs `pip install "fit-vis[visdom]"`.

    Args:
        server: its address, with `http://` or `https://`.
        port: of the server.
        env: the environment to show things in; None: the name of the run folder.
        offline: what to do without a server: "warn" and write the file, "error" before anything is trained; "always": only ever write
            the file.
        points: of each line, about; of long runs not every step is sent.
        timeout: seconds that the server has for an answer.
        wait: seconds at the end of a run for what has not been sent yet.
    """

    passive = True

    def __init__(
        self,
        server: str = "http://localhost",
        port: int = 8097,
        env: str | None = None,
        offline: Literal["warn", "error", "always"] = "warn",
        points: int = 1000,
        timeout: float = 5.0,
        wait: float = 10.0,
    ) -> None:
        if points < 1:
            raise FitError(f"points must be at least 1, not {points}")
        if not server.startswith(("http://", "https://")):
            raise FitError(f"server must begin with http:// or https://, not {server!r}")
        self.url = f"{server.rstrip('/')}:{port}"
        self.env = env
        self.offline = offline
        self.points = points
        self.timeout = timeout
        self.wait = wait
        self._count: int | None = None
        self._outbox: Outbox | None = None
        self._windows: Windows | None = None
        self._running = self._told = False

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if state.resumed and self._count is not None:
            self._begin(trainer, self._count)
        elif self._outbox is None:
            self._begin(trainer, None)
        self._running, self._told = True, False

    @hookimpl
    def on_log(self, trainer: Trainer, state: State, entries: list[LogEntry]) -> None:
        every = max(1, (state.steps_total or 0) // self.points)
        outbox, windows = self._begun(trainer)
        with writing_to(outbox.path.parent):
            outbox.add(windows.lines(entries, state.validation, every))
        self._added(outbox)

    @hookimpl
    def on_show(self, trainer: Trainer, state: State, name: str, item: Item) -> None:
        check(name, item)
        outbox, windows = self._begun(trainer)
        with writing_to(outbox.path.parent):
            outbox.add([windows.shown(name, f"{name}, step {state.step}", item)])
        self._added(outbox)

    @hookimpl
    def on_fit_end(self) -> None:
        self._running = False
        if self._outbox is not None:
            self._close(self._outbox)

    @hookimpl
    def on_teardown(self) -> None:
        if self._outbox is not None:
            self._outbox.close(0)

    def state_dict(self) -> dict[str, Any]:
        """Return how many messages there are, so that a resumed run knows which are its own. All of them are on the disk then."""
        if self._outbox is None:
            return {"messages": self._count}
        self._outbox.sync()
        return {"messages": self._outbox.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._count = state["messages"]

    def _begun(self, trainer: Trainer) -> tuple[Outbox, Windows]:
        if self._outbox is None or self._windows is None:  # outside of a run: what is there stays
            self._begin(trainer, None)
        assert self._outbox is not None
        assert self._windows is not None
        return self._outbox, self._windows

    def _begin(self, trainer: Trainer, count: int | None) -> None:
        """Begin a file; or go on with one, of which so many messages are the run's, and with their windows."""
        folder = trainer.ensure_run_dir()
        path, env = folder / LOG, self.env or folder.resolve().name
        if count is None and trainer.is_fitting and path.exists():
            raise FitError(f"{path} exists already; choose another run folder, so that no run is lost")
        before = windows_in(path)
        if count is not None:
            cut(path, count)
        self._windows = Windows(env, windows_in(path))
        url = None if self.offline == "always" else self._greeted(env, path, [] if count is None else before)
        self._outbox = Outbox(path, url, self.timeout, resend=count is not None)

    def _greeted(self, env: str, path: Path, close: list[str]) -> str | None:
        """Return the address of the server if there is one, which now has the environment, without these windows."""
        try:
            post(self.url, f"env/{quote(env)}", json.dumps({"eid": env}).encode(), self.timeout)
            for window in close:
                post(self.url, "close", json.dumps({"win": window, "eid": env}).encode(), self.timeout)
        except (OSError, HTTPException) as error:
            missing = f"no Visdom server answers at {self.url} ({error})"
            if self.offline == "error":
                raise FitError(f"{missing}; start one (python -m visdom.server), or train without: offline=warn") from error
            warnings.warn(f"{missing}; {later(path)}", stacklevel=2)
            return None
        return self.url

    def _added(self, outbox: Outbox) -> None:
        if not self._running:
            self._close(outbox)
        elif outbox.failure is not None:
            self._tell(f"the Visdom server at {self.url} is gone ({outbox.failure}); {later(outbox.path)}")

    def _close(self, outbox: Outbox) -> None:
        unsent = outbox.close(self.wait)
        if outbox.failure is not None:
            self._tell(f"the Visdom server at {self.url} is gone ({outbox.failure}); {later(outbox.path)}")
        elif unsent:
            self._tell(f"{unsent} messages were not sent to {self.url} within {self.wait:g} s; {later(outbox.path)}")
        elif outbox.refused:
            self._tell(f"the Visdom server at {self.url} refused {outbox.refused} messages; {later(outbox.path)}")

    def _tell(self, what: str) -> None:
        """Warn, once in a run."""
        if not self._told:
            self._told = True
            warnings.warn(what, stacklevel=2)


def windows_in(path: Path) -> list[str]:
    """Return the windows that the messages of a file are for."""
    return list(dict.fromkeys(str(json.loads(parts(text)[1])["win"]) for text in lines(path)))


def later(path: Path) -> str:
    """Return how to see what was not sent."""
    return f"{path} has everything, and shows it later: visdom.Visdom().replay_log({str(path)!r})"
