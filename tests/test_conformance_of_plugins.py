"""Every plugin of this repository passes every check."""

from __future__ import annotations

import tomllib
from functools import partial
from importlib.metadata import entry_points
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import sklearn.metrics  # noqa: F401  # which sets variables of the environment when it is imported: not in the midst of a check
import torch

from fit_core.hookspecs import SPECS
from fit_core.testing import failures
from fit_core.testing.manners import REPLACED
from fit_core.validate import find_hooks
from fit_gan import GAN, adversarial_updates

ROOT = Path(__file__).parent.parent
DECLARED = [
    name
    for package in [ROOT / "core", *sorted((ROOT / "plugins").glob("fit-*"))]
    for name in tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"].get("fit.plugins", {})
]
CLASSES = [point.name for point in entry_points(group="fit.plugins") if point.name in DECLARED and isinstance(point.load(), type)]


EXCEPT = {
    "grad-noise": {"no waits"},  # the meta device has no random numbers
    "grad-scaler": {"no waits"},  # it has to know of each step whether it overflowed, and says so
}


ON_CPU = {"no waits"}  # the check needs the meta device, which has no random numbers; fit-gan's own tests count on the CPU


def gan() -> dict[str, Any]:
    """A GAN with a layer to match and classes to tell apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GAN(torch.nn.Linear(4, 4), Judge(), latent=4)
    updates = adversarial_updates(network, partial(torch.optim.Adam, lr=1e-3))
    return {"model": network, "optimizer": updates, "loss_fn": None, "metrics": [], "plugins": ["adversarial"]}


def alone() -> dict[str, Any]:
    """The same for a plugin without which it must train too: as a plain model, by one optimizer."""
    return gan() | {"optimizer": partial(torch.optim.Adam, lr=1e-3), "loss_fn": lambda outputs, _: outputs.mean(), "plugins": []}


class Judge(torch.nn.Module):
    """Returns scores and logits of three classes."""

    def __init__(self) -> None:
        super().__init__()
        self.score, self.classes = torch.nn.Linear(4, 1), torch.nn.Linear(4, 3)

    def forward(self, samples: torch.Tensor) -> Any:
        return self.score(samples), self.classes(samples)


GANS = {"adversarial", "gradient-penalty", "r1", "r2", "feature-matching", "class-loss", "generator-ema", "samples", "sample-files"}
OPTIONS = {
    "compile": "compile:backend=aot_eager",  # needs no compiler
    "feature-matching": "feature-matching:layer=score",
    "freeze": "freeze:params=bias,until=1 epoch",
    "metrics": "metrics:names=[running_accuracy,f1]",
    "scheduled-value": "scheduled-value:of=weight_decay,base=1,start=0.01,end=0.1",
    "stop-at": "stop-at:monitor=loss,target=-1",
    "stop-after": "stop-after:time=9 h",
    "visdom": "visdom:offline=always",
}


@pytest.mark.parametrize("name", sorted(GANS))
def test_plugins_of_adversarial_training_conform(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures(OPTIONS.get(name, name), alone if name == "adversarial" else gan, quiet=False).keys() <= ON_CPU


def nested() -> dict[str, Any]:
    """A model with a part."""
    with torch.random.fork_rng(devices=[]):
        return {"model": torch.nn.Sequential(torch.nn.Linear(4, 3))}


@pytest.mark.parametrize("name", sorted(set(CLASSES) - GANS))
def test_it_conforms(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = failures(OPTIONS.get(name, name), nested if name == "activation-checkpointing" else dict, quiet=False)
    assert failed.keys() == EXCEPT.get(name, set()), failed


def test_every_plugin_is_checked() -> None:
    assert set(CLASSES) == set(DECLARED) - {"logging", "schedulers", "mixed-precision", "gan", "device", "vis"}, "all but bundles"


def test_the_kit_knows_who_replaces_which_stage() -> None:
    """What the check "conflicts" compares with; of two that replace one stage, one says which of them acts."""
    replaced: dict[str, set[str]] = {}
    ordered: set[frozenset[str]] = set()
    for point in entry_points(group="fit.plugins"):
        if point.name in CLASSES:
            plugin = point.load()
            for hook, function in find_hooks(plugin).items():
                stage = function.fit_impl["specname"] or hook
                if stage in SPECS and SPECS[stage].fit_kind in ("stage", "decision") and not function.fit_impl["wrapper"]:
                    replaced.setdefault(stage, set()).add(point.name)
            for attribute in ("replaces", "runs_before", "runs_after"):
                ordered |= {frozenset({point.name, other}) for other in getattr(plugin, attribute, ())}
    assert replaced == REPLACED
    assert {frozenset(pair) for names in replaced.values() for pair in combinations(names, 2)} <= ordered
