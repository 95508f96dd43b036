"""Every package has the same shape, and the main job does what it promises."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from fit_core import hookimpl
from fit_core.testing import Outcome, record_hooks, tiny_trainer

ROOT = Path(__file__).parent.parent
PLUGINS = sorted((ROOT / "plugins").glob("fit-*"))
PACKAGES = [ROOT / "core", *PLUGINS]


def name_of(package: Path) -> str:
    return package.name


def project(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_every_package_has_the_same_shape(package: Path) -> None:
    distribution = project(package)["name"]
    assert distribution == ("fit-core" if package.name == "core" else package.name)
    source = package / "src" / distribution.replace("-", "_")
    for expected in (package / "README.md", package / "CHANGELOG.md", package / "LICENSE", source / "__init__.py", source / "py.typed"):
        assert expected.exists(), expected
    assert list((package / "tests").glob("test_*.py"))
    assert project(package)["requires-python"] == ">=3.11"


@pytest.mark.parametrize("package", PLUGINS, ids=name_of)
def test_a_plugin_package_needs_the_core_and_no_other_plugin(package: Path) -> None:
    needs = [requirement.split(">")[0] for requirement in project(package)["dependencies"]]
    assert "fit-core" in needs
    assert not [name for name in needs if name.startswith("fit-") and name != "fit-core"]


@pytest.mark.parametrize("package", PACKAGES, ids=name_of)
def test_declared_entry_points_are_installed_and_load(package: Path) -> None:
    for group, declared in project(package)["entry-points"].items():
        installed = {point.name: point for point in entry_points(group=group)}
        for name, target in declared.items():
            assert installed[name].value == target
            assert installed[name].load() is not None


def test_the_loop_is_short_enough_to_read() -> None:
    source = ROOT / "core" / "src" / "fit_core"
    assert {name: len((source / name).read_text().splitlines()) < 250 for name in ("loop.py", "update.py")} == {
        "loop.py": True,
        "update.py": True,
    }


def test_the_main_job(run_fit: Callable[..., Outcome]) -> None:
    done = run_fit("train", ROOT / "examples" / "digits.py", "--plugins", "logging,schedulers", "--seed", "1")
    assert done.code == 0, done.stderr
    assert done.manifest["test"]["test_accuracy"] >= 0.98
    assert float(done.rows[-1]["val_accuracy"]) > 0.98
    assert "stopped at the end of epoch" in done.stdout or float(done.rows[-1]["lr"]) < 1e-4


SCRIPT = """
import sys
from fit_core import hookimpl
from fit_core.testing import record_hooks, tiny_trainer
from fit_schedulers import EarlyStopping, LR
from fit_logging import CSV, Progress

PLUGINS = {plugins}

def build_trainer():
    trainer = tiny_trainer(epochs=2, plugins=PLUGINS)
    original = trainer.fit
    def fit():
        with record_hooks(trainer) as calls:
            original()
        print("acting", calls.acting, file=sys.stderr)
    trainer.fit = fit
    return trainer
"""

WAYS: dict[str, tuple[str, list[str]]] = {
    "objects": ("[Progress(), CSV(), LR(warmup=0.05), EarlyStopping(strict=False)]", []),
    "names": ("['logging', 'schedulers']", []),
    "spec strings": ("['progress', 'csv', 'lr:schedule=cosine,warmup=0.05', 'early-stopping:strict=no']", []),
    "pairs": ("['progress', 'csv', ('lr', {'warmup': 0.05}), ('early-stopping', EarlyStopping(strict=False))]", []),
    "the command line": ("[]", ["--plugins", "logging,schedulers"]),
}


def test_the_order_is_the_same_in_whatever_way_plugins_come(run_script: Callable[..., Outcome]) -> None:
    heard = {}
    for way, (plugins, arguments) in WAYS.items():
        done = run_script(SCRIPT.format(plugins=plugins), *arguments, "--run-dir", way)
        assert done.code == 0, done.stderr
        heard[way] = done.stderr
    assert (
        "('on_epoch_end', 'progress'), ('on_epoch_end', 'csv'), ('on_epoch_end', 'lr'), ('on_epoch_end', 'early-stopping')"
        in heard["names"]
    )
    assert set(heard.values()) == {heard["names"]}


def test_logging_listens_to_batches_only_to_show_them(tmp_path: Path) -> None:
    class Count:
        @hookimpl
        def on_batch_end(self) -> None:
            pass

    trainer = tiny_trainer(plugins=["logging", Count()], run_dir=tmp_path)
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    assert set(calls.of("csv")) == {"on_fit_start", "on_epoch_end", "on_fit_end"}
    heard = set(calls.of("progress"))
    assert heard == {"on_fit_start", "on_batch_end", "on_eval_start", "on_eval_batch_end", "on_eval_end", "on_epoch_end", "on_fit_end"}


TELLS = """
from fit_core import hookimpl
from fit_core.testing import tiny_trainer

@hookimpl
def on_eval_start(trainer, state):
    if state.phase == "test":
        print(*trainer.plugins)

def build_trainer(epochs: int = 1):
    return tiny_trainer(epochs=epochs, quiet=True)
"""


def test_evaluate_has_the_plugins_of_the_training_unless_others_are_given(
    run_script: Callable[..., Outcome], run_fit: Callable[..., Outcome]
) -> None:
    done = run_script(TELLS, "--plugins", "csv", "-p", "early-stopping:patience=2", "--run-dir", "run")
    assert done.stdout.splitlines()[0] == "script csv early-stopping save-last"
    again = run_fit("evaluate", "script.py", "--checkpoint", "run")
    assert again.stdout.splitlines()[0] == "script csv early-stopping"
    other = run_fit("evaluate", "script.py", "--checkpoint", "run", "--plugins", "lr")
    assert other.stdout.splitlines()[0] == "script lr"
