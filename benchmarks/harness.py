"""Ratios to a plain loop, measured pair by pair in one run, so that a busy machine slows both."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)


def ratio(ours: Callable[[], float], plain: Callable[[], float], pairs: int = 15) -> float:
    """Return the median of `ours() / plain()` over so many pairs.

    Args:
        ours: runs and returns its seconds.
        plain: likewise, what it is compared with.
        pairs: how often; a pair runs one right after the other, in turns first.
    """
    ours()
    plain()
    found = []
    for i in range(pairs):
        first, second = (ours, plain) if i % 2 else (plain, ours)
        seconds = {first: first(), second: second()}
        found.append(seconds[ours] / seconds[plain])
    return statistics.median(found)


def interleaved(runs: list[Callable[[], float]], rounds: int = 7) -> list[float]:
    """Return the median seconds of each run; they take turns, after one round that does not count."""
    found = [[run() for run in runs] for _ in range(rounds + 1)][1:]
    return [statistics.median(seconds) for seconds in zip(*found, strict=True)]


def report(file: str, about: str | None, unit: str, rows: Mapping[str, float | str]) -> None:
    """Print figures; with `--keep` write them to `results/` as well, from where the site takes them.

    Args:
        file: the program's `__file__`.
        about: its docstring.
        unit: what the figures are.
        rows: the figure of each case.
    """
    told = {name: figure if isinstance(figure, str) else f"{figure:.2f}" for name, figure in rows.items()}
    width = max(map(len, told))
    print("\n".join(f"{name:{width}}  {figure:>5}" for name, figure in told.items()))
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--keep", action="store_true", help="write the figures to results/, for the page on performance")
    if not parser.parse_args().keep:
        return
    keep(file, about, {}, unit=unit, rows=told)


def keep(file: str, about: str | None, versions: Mapping[str, str], **result: object) -> None:
    """Write what was measured to `results/`, with title and text from the docstring, and with date, machine and versions.

    Args:
        file: the program's `__file__`.
        about: its docstring; its first line ends by how to run it.
        versions: of other libraries than torch.
        result: what was measured.
    """
    first, *paragraphs = (" ".join(paragraph.split()) for paragraph in (about or "").split("\n\n"))
    title = first.partition(f": python benchmarks/{Path(file).name}.")[0]
    on = measured_on()
    written = {"title": title, "about": "\n\n".join(paragraphs), **result, **on, "versions": {**on["versions"], **versions}}
    path = Path(file).parent / "results" / f"{Path(file).stem}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(written, indent=1) + "\n")


def measured_on() -> dict[str, Any]:
    """Return date, machine and versions."""
    cpu = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    )
    busy = f"{os.getloadavg()[0]:.1f} processes at work" if hasattr(os, "getloadavg") else "how busy it was is not known"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": ", ".join([platform.platform(terse=True), *models[:1], f"{os.cpu_count()} cores", busy]),
        "versions": {"Python": platform.python_version(), "torch": torch.__version__},
    }
