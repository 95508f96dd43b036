"""What it takes to start, in seconds: python benchmarks/start.py.

Medians over fresh processes, with byte code that is compiled beforehand, as in an installed package. Imports are timed inside of the
process, once torch is there; the first step is that of a linear layer, less what it takes in a plain loop; commands are timed as whole
processes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial

from harness import report

TIMED = "import time\nimport torch\nbegan = time.perf_counter()\n{}\nprint(time.perf_counter() - began)"
MODEL = """from torch import nn
model, loss = nn.Linear(8, 3), nn.CrossEntropyLoss()
data = [(torch.randn(4, 8), torch.zeros(4, dtype=torch.long))]
"""
PLAIN = """optimizer = torch.optim.SGD(model.parameters(), 0.1)
for x, y in data:
    loss(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()"""
FIT = """from fit_core import Trainer
Trainer(model, loss, torch.optim.SGD(model.parameters(), 0.1), quiet=True).fit(data, epochs=1)"""


def inside(environment: dict[str, str], code: str) -> float:
    """Return the seconds that some code takes once torch is imported."""
    done = subprocess.run([sys.executable, "-c", TIMED.format(code)], env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def whole(environment: dict[str, str], *words: str) -> float:
    """Return the seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(rounds: int = 7) -> None:
    """Let all take turns, and report the medians."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        of_code, of_process = partial(inside, environment), partial(whole, environment)
        runs = {
            "import fit_core, after torch": partial(of_code, "import fit_core"),
            "from fit_core import Trainer, after torch": partial(of_code, "from fit_core import Trainer"),
            "plain first step": partial(of_code, MODEL + PLAIN),
            "fit first step": partial(of_code, MODEL + FIT),
            "python": partial(of_process, "-c", "pass"),
            "python, import torch": partial(of_process, "-c", "import torch"),
            "fit --help": partial(of_process, "-m", "fit_core", "--help"),
            "fit plugins": partial(of_process, "-m", "fit_core", "plugins"),
        }
        found = [{name: run() for name, run in runs.items()} for _ in range(rounds + 1)][1:]
    seconds = {name: statistics.median(one[name] for one in found) for name in runs if "first" not in name}
    seconds["first step of fit, less that of a plain loop"] = statistics.median(
        one["fit first step"] - one["plain first step"] for one in found
    )
    report(__file__, __doc__, "seconds", {name: f"{figure:.3f}" for name, figure in seconds.items()})


if __name__ == "__main__":
    main()
