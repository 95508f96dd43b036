"""fit, five other trainers and the plain loop, side by side: python benchmarks/compare.py.

Everybody trains the same model from the same weights by the same rule (SGD with momentum, cross-entropy), on one thread of the
processor. Each is used as its documentation shows, with progress bars, summaries and loggers off where nobody asked for them.

`step`: batches of 32 that are ready in a list, a perceptron 32-64-64-4, and nothing but steps. The plain loop is forward, loss, backward,
step, zero_grad.

`set-up`: a real training. Fashion-MNIST, shuffled and cut into batches of 32 by the same few lines for everybody, a perceptron 784-64-10,
3 epochs; loss and accuracy over the epoch, a rate that rises and falls per step, gradients clipped by norm, a validation pass per epoch,
the best checkpoint, early stopping (which never comes to act), a CSV of epochs. The plain loop has all of it written by hand, reads
nothing from the device but at the end of an epoch, and does not look whether a loss is finite, as fit does.

`in memory`: Fashion-MNIST as two tensors, a perceptron 784-128-10, batches of 128, 2 epochs. The plain loop has torch's `DataLoader` over
a `TensorDataset`; fit, poutyne and Keras take tensors or arrays as they are, the others a loader.

Every figure is of a process of its own, in which a tenth of the workload is trained before the clock starts. The contestants take turns,
round after round. A ratio is that to the plain loop of the same round, and the median over all rounds; so are the microseconds per step.
Memory is the peak of the whole process in `set-up`, with data and imports, in MiB more than the plain loop's. A contestant that makes
another number of steps in that first tenth, where counting them costs nobody anything, or whose loss differs in the end by more than a
tenth, is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from peers import NAMES, WORKLOADS, fashion, plot

FOLDER = Path(__file__).parent
PEERS = ("pytorch-ignite", "poutyne", "accelerate", "lightning", "keras")
UNITS = {"wall": "ratio (time per step)", "processor": "ratio (time of the processor per step)"}
Figures = dict[str, float]
"""What child.py prints: seconds per step (`wall`, `processor`), peak (MiB), steps, loss."""


def run(contestant: str, workload: str, share: float) -> Figures:
    """Return the figures of one process."""
    command = [sys.executable, "-m", "peers.child", contestant, workload, str(share)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def contestants(workload: str) -> list[str]:
    """Return who takes part."""
    return [name for name in NAMES if name != "sliced" or workload == "in_memory"]


def rounds(count: int, share: float, workloads: list[str]) -> Iterator[dict[str, dict[str, Figures]]]:
    """Give the figures of each round, by workload and contestant. Every other round goes backwards."""
    for i in range(count):
        began = time.perf_counter()
        found = {of: {name: run(name, of, share) for name in contestants(of)[:: -1 if i % 2 else 1]} for of in workloads}
        print(f"round {i + 1} of {count}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
        yield found


def together(found: list[dict[str, Figures]], share: float, clock: str) -> dict[str, Figures]:
    """Return the medians over the rounds of one workload, for each contestant.

    Args:
        found: the figures of each contestant, round by round.
        share: below 1 too little is trained for losses to agree.
        clock: "wall" or "processor".
    """
    medians = {}
    for name in (name for name in NAMES if name in found[0]):
        ratios = [figures[name][clock] / figures["plain"][clock] for figures in found]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        more = [figures[name]["peak"] - figures["plain"]["peak"] for figures in found]
        medians[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "low": round(low, 3),
            "high": round(high, 3),
            "microseconds": round(statistics.median(figures[name][clock] for figures in found) * 1e6, 1),
            "memory": round(statistics.median(more)),
            "steps": found[0][name]["steps"],
            "loss": round(statistics.median(figures[name]["loss"] for figures in found), 4),
        }
    plain = medians["plain"]["loss"]
    strange = [name for name, figures in medians.items() if share == 1 and abs(figures["loss"] - plain) > 0.1 * plain]
    if strange:
        raise SystemExit(
            f"these did not train what the plain loop did, with a loss of {plain}: {[(name, medians[name]) for name in strange]}"
        )
    return medians


def rows(figures: dict[str, dict[str, Figures]]) -> dict[str, list[str]]:
    """Return the table: a row for each contestant, a column for each workload, and memory."""
    told: dict[str, list[str]] = {}
    for name, title in NAMES.items():
        cells = [f"{mine['ratio']:.2f} ({mine['microseconds']:.0f} µs)" if (mine := of.get(name)) else "" for of in figures.values()]
        memory = f"{figures['set_up'][name]['memory']:.0f}" if name in figures["set_up"] else ""
        told[title] = [*cells, memory]
    return told


def show(figures: dict[str, dict[str, Figures]]) -> None:
    """Print everything."""
    print(f"{'':12}{'':36}{'ratio':>6}  {'quartiles':>12}{'µs/step':>9}{'MiB':>6}{'steps':>7}{'loss':>8}")
    for workload, of in figures.items():
        for name, mine in of.items():
            quartiles = f"{mine['low']:.2f} to {mine['high']:.2f}"
            print(f"{workload:12}{NAMES[name]:36}{mine['ratio']:6.2f}  {quartiles:>12}{mine['microseconds']:9.1f}", end="")
            print(f"{mine['memory']:+6.0f}{mine['steps']:7.0f}{mine['loss']:8.4f}")


def main() -> None:
    """Measure, print, and keep what was measured if that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often everybody runs")
    parser.add_argument("--share", type=float, default=1.0, help="the part of each workload that is trained, for a quick look")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="these workloads")
    parser.add_argument("--clock", choices=UNITS, default="wall", help="`processor` on a machine that others use too")
    parser.add_argument("--keep", action="store_true", help="write results/compare.json and docs/compare.svg, for the page on performance")
    options = parser.parse_args()
    if options.keep and (options.share != 1 or set(options.only) != set(WORKLOADS)):
        parser.error("--keep is for all of every workload")
    fashion.require()
    found = list(rounds(options.rounds, options.share, options.only))
    figures = {
        workload: together([of[workload] for of in found], options.share, options.clock)
        for workload in WORKLOADS
        if workload in options.only
    }
    show(figures)
    if options.keep:
        from harness import keep  # it imports torch: before the rounds, a child's peak of memory would begin at ours

        unit = UNITS[options.clock]
        columns = [*WORKLOADS.values(), "memory"]
        sources = [f"benchmarks/peers/{name}.py" for name in ("tasks", *NAMES)]
        versions = {name: version(name) for name in PEERS}
        result = {"columns": columns, "rows": rows(figures), "picture": "compare.svg", "sources": sources, "figures": figures}
        keep(__file__, __doc__, versions, rounds=options.rounds, unit=unit, **result)
        plot.draw()


if __name__ == "__main__":
    main()
