"""What fit takes of memory beside a plain loop, in MB: python benchmarks/footprint.py.

The peak of whole processes (resident memory), fit's less the plain loop's, as medians: of a tiny model (MLP 32-64-64-4, two epochs of 3,000
batches of 32 that are ready), and of Fashion-MNIST in memory (784-128-10, two epochs of batches of 128 in a shuffled order). With
accuracy it is compared with a plain loop that counts it too.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import report

TINY = """
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
one = [(torch.randn(32, 32), torch.randint(0, 4, (32,))) for _ in range(100)]
data, how = one * 30, {}
"""
FASHION = """
model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
data, how = torch.load("DATA", mmap=False), {"batch_size": 128}
"""
START = """
import resource
from functools import partial
import torch
from torch import nn
torch.set_num_threads(1)
loss, make = nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.01, momentum=0.9)
"""
PLAIN = """
optimizer = make(model.parameters())
def batches():
    if not how:
        return data
    order = torch.randperm(len(data[0]))
    return ((data[0][index], data[1][index]) for index in order.split(128))
for _ in range(2):
    for inputs, targets in batches():
        outputs = model(inputs)
        loss(outputs, targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        COUNT
"""
COUNT = "right = right + (outputs.detach().argmax(1) == targets).sum() if 'right' in globals() else 0"
FIT = """
from fit_core import Trainer
Trainer(model, loss, make, quiet=True, SETTINGS).fit(data, epochs=2, **how)
"""
END = "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
MODELS = {"tiny": TINY, "Fashion-MNIST": FASHION}
SETTINGS = {
    "no plugins": "",
    "accuracy": "metrics=['accuracy']",
    "accuracy, logging": "metrics=['accuracy'], plugins=['logging']",
    "accuracy, logging, schedulers": "metrics=['accuracy'], plugins=['logging', 'schedulers']",
    "seed": "seed=1",
}


def peak(code: str, data: Path) -> float:
    """Return the peak of a process that runs some code, in MB.

    Args:
        code: what it runs.
        data: the file with the pictures, made beforehand: making them takes more than training on them.
    """
    whole = START + code.replace("DATA", str(data)) + END
    done = subprocess.run([sys.executable, "-c", whole], cwd=data.parent, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main(rounds: int = 3) -> None:
    """Let all take turns, and report the medians."""
    rows: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.pt"
        made = f"import in_memory, torch; torch.save((in_memory.X, in_memory.Y), {str(file)!r})"
        subprocess.run([sys.executable, "-c", made], cwd=Path(__file__).parent, check=True)  # elsewhere: a child inherits the parent's peak
        for name, model in MODELS.items():
            plains = {"plain loop": PLAIN.replace("COUNT", ""), "plain loop, accuracy": PLAIN.replace("COUNT", COUNT)}
            fits = {key: FIT.replace("SETTINGS", settings) for key, settings in SETTINGS.items()}
            codes = {key: model + code for key, code in (plains | fits).items()}
            found = [{key: peak(code, file) for key, code in codes.items()} for _ in range(rounds)]
            rows |= {f"{name}, {key}": f"{statistics.median(one[key] for one in found):.0f}" for key in plains}
            for key in SETTINGS:
                plain = "plain loop, accuracy" if "accuracy" in key else "plain loop"
                rows[f"{name}, {key}"] = f"{statistics.median(one[key] - one[plain] for one in found):+.1f}"
    report(__file__, __doc__, "MB", rows)


if __name__ == "__main__":
    main()
