"""What sinks cost per step, in microseconds more than without: python benchmarks/vis.py.

The model is tiny (a linear layer, batch 8), so that everything shows. Visdom writes its file, and sends to a server that takes 5 ms for an
answer, as Visdom's own does when lines have become long.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import warnings
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from harness import interleaved
from listeners import Tracker
from torch import nn

from fit_core import State, Trainer, hookimpl
from fit_core.items import Histogram, Images

STEPS = 3000
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(8, 16, generator=GENERATOR), torch.randint(0, 4, (8,), generator=GENERATOR)) for _ in range(STEPS)]
PICTURES = torch.rand(64, 1, 28, 28, generator=GENERATOR)


class Shows:
    """Shows 64 pictures and a histogram every 300 steps."""

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        """Show them."""
        if state.step % 300 == 0:
            trainer.show("pictures", Images(PICTURES))
            trainer.show("weights", Histogram(trainer.model.weight))


class Slow(BaseHTTPRequestHandler):
    """Takes its time."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer after 5 ms."""
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(0.005)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def run(*plugins: Any) -> float:
    """Train for an epoch, and return the seconds of its steps: what is sent when they are over does not count."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"plugins": [*plugins, Clock()], "quiet": True, "run_dir": Path(folder)}
        with Trainer(nn.Linear(16, 4), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), **settings) as trainer:
            trainer.fit(BATCHES, epochs=1)
            return float(trainer.plugins["clock"].seconds)


class Clock:
    """Measures the training pass."""

    @hookimpl
    def on_train_epoch_start(self) -> None:
        """Begin."""
        self.began = time.perf_counter()

    @hookimpl(trylast=True)
    def on_train_epoch_end(self) -> None:
        """End."""
        self.seconds = time.perf_counter() - self.began


def main() -> None:
    """Print one line per sink."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    sent = f"visdom:server=http://127.0.0.1,port={server.server_port},wait=0.1"
    warnings.simplefilter("ignore")  # that not all of it was sent in a tenth of a second
    tracked = partial(run, Tracker())
    rows: dict[str, tuple[Any, Any]] = {
        "tensorboard": (partial(run, "tensorboard"), tracked),
        "visdom, file only": (partial(run, "visdom:offline=always"), tracked),
        "visdom, sent to a slow server": (partial(run, sent), tracked),
        "pictures, tensorboard": (partial(run, "tensorboard", Shows()), partial(run, "tensorboard")),
        "pictures, visdom": (partial(run, "visdom:offline=always", Shows()), partial(run, "visdom:offline=always")),
        "pictures, show-files": (partial(run, "show-files", Shows()), run),
    }
    for name, (ours, plain) in rows.items():
        more, less = interleaved([ours, plain], rounds=9)
        print(f"{name:32}{(more - less) / STEPS * 1e6:6.1f}   (of {less / STEPS * 1e6:.0f}, x{more / less:.2f})", flush=True)
    process.terminate()


if __name__ == "__main__":
    main()
