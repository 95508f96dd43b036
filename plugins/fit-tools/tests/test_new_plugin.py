"""`fit new-plugin`: the package that it writes is installed, passes its own tests and is used, without the network."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fit_core.cli import main
from fit_core.errors import FitError
from fit_core.hookspecs import SPECS
from fit_core.testing import TINY_SCRIPT, ForkServer, Outcome, record_hooks, tiny_trainer
from fit_tools.packaging import checked_name, class_name, contents

NAME = "seen-enough"


def install(package: Path, into: Path) -> None:
    """Do what pip does for an editable package: a path, and the metadata that pyproject.toml asks for."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    metadata = into / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"[{group}]\n" + "\n".join(f"{a} = {b}" for a, b in named.items()) for group, named in project["entry-points"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(points))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new package, which processes that are started find as if it were installed."""
    assert main(["new-plugin", NAME, "--folder", str(tmp_path), "--hook", "forward", "--hook", "on_epoch_start"]) == 0
    package = tmp_path / f"fit-{NAME}"
    install(package, package / "src")
    monkeypatch.setenv("PYTHONPATH", str(package / "src"))
    return package


def test_it_passes_its_own_tests(package: Path, fork_server: ForkServer) -> None:
    done = fork_server.run("-m", "pytest", "-q", "-p", "no:cacheprovider", package, cwd=package.parent)
    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout


def test_its_tests_notice_what_is_broken(package: Path, fork_server: ForkServer) -> None:
    plugin = package / "src" / "fit_seen_enough" / "plugin.py"
    plugin.write_text(plugin.read_text().replace('self.budget.spent = state["spent"]', "pass"))
    done = fork_server.run("-m", "pytest", "-q", "-p", "no:cacheprovider", package, cwd=package.parent)
    assert "test_a_resumed_run_counts_on" in done.stdout
    assert (
        "state round trip: state_dict() returned {'spent': 24}, and after load_state_dict of that {'spent': 0}: take all of it up"
        in done.stdout
    )
    assert "2 failed, 8 passed" in done.stdout


def test_it_is_used_by_name(package: Path, run_fit: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TINY_SCRIPT)
    trained = run_fit("train", "script.py", "--plugins", NAME, "-p", f"{NAME}:limit=24")
    assert trained.code == 0, trained.stderr
    assert "stopped in epoch 2, batch 1 (train): 24 samples are enough" in trained.stdout
    assert f"fit-{NAME} 0.1.0" in [plugin["distribution"] for plugin in trained.manifest["plugins"]]
    described = run_fit("plugins", NAME).stdout
    assert "limit: int or none (default None)" in described
    assert "Hooks: forward, on_batch_end, on_epoch_start" in described
    explained = run_fit("explain", "script.py", "--plugins", NAME).stdout
    assert f"fit-{NAME}/src/fit_seen_enough/plugin.py:" in explained


def test_it_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-plugin", NAME]) == 0
    said = capsys.readouterr().out
    for command in (f"pip install -e 'fit-{NAME}[test]'", f"pytest fit-{NAME}", f"fit train script.py -p {NAME}:limit=10000"):
        assert command in said
    assert main(["new-plugin", NAME]) == 2
    assert capsys.readouterr().err == f"fit: fit-{NAME} is there already; choose another name, or another --folder\n"


def test_a_wrong_hook_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", NAME, "--folder", str(tmp_path), "--hook", "on_step_strat"]) == 2
    assert capsys.readouterr().err == "fit: there is no hook 'on_step_strat'; did you mean 'on_step_start'?\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("GradNorm", "'GradNorm' is no name for a plugin: use small letters, digits and single hyphens.*; did you mean 'grad-norm'"),
        ("grad_norm", "did you mean 'grad-norm'"),
        ("-", "'-' is no name for a plugin"),
        ("2fast", "did you mean 'fast'"),
        ("fit-norm", "the package gets 'fit-' in front by itself: fit new-plugin norm"),
        ("console", "there is a plugin 'console' already, of fit-core; choose another name"),
        ("early-stopping", "there is a plugin 'early-stopping' already, of fit-schedulers; choose another name"),
        ("script", "there is a plugin 'script' already, of fit-core"),
        ("save-last", "there is a plugin 'save-last' already, of fit-core"),
        ("core", "there is a package fit-core already; choose another name"),
        ("tools", "there is a package fit-tools already; choose another name"),
    ],
)
def test_a_name_that_cannot_be_is_refused(name: str, says: str) -> None:
    with pytest.raises(FitError, match=says):
        checked_name(name)


def test_a_name_of_an_installed_plugin_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package / "src")
    with pytest.raises(FitError, match=f"of fit-{NAME}; choose another name, or begin anew: pip uninstall fit-{NAME}"):
        checked_name(NAME)


PARTS = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,6}){0,3}", fullmatch=True)


@given(PARTS)
def test_whatever_it_is_called_the_files_fit_each_other(name: str) -> None:
    files = contents(name)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    module, _, cls = project["entry-points"]["fit.plugins"][name].partition(":")
    source = ast.parse(files[f"src/{module.replace('.', '/')}.py"])
    assert [node.name for node in source.body if isinstance(node, ast.ClassDef)] == [cls] == [class_name(name)]
    for path, text in files.items():
        assert "$" not in text.replace("$ ", ""), path
        if path.endswith(".py"):
            compile(text, path, "exec")


def test_every_hook_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    files = contents(NAME, reversed(SPECS))
    pure = ModuleType("fit_seen_enough.samples")
    exec(files["src/fit_seen_enough/samples.py"], vars(pure))
    monkeypatch.setitem(sys.modules, "fit_seen_enough.samples", pure)
    plugin = ModuleType("fit_seen_enough.plugin")
    exec(files["src/fit_seen_enough/plugin.py"], vars(plugin))
    trainer = tiny_trainer(plugins=[plugin.SeenEnough()])
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    assert set(calls.of("seen-enough")) == set(calls.hooks)
    asked_for = [name for name in SPECS if name != "on_batch_end"]  # which the template has, before the others
    assert [name for name in vars(plugin.SeenEnough) if name in SPECS] == ["on_batch_end", *asked_for]
