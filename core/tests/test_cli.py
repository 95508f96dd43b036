"""The command line, in processes of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fit_core.hookspecs import SPECS
from fit_core.testing import TINY_SCRIPT, Outcome

Run = Callable[..., Outcome]


def test_train_prints_a_line_per_epoch_and_keeps_a_manifest(run_script: Run) -> None:
    done = run_script(TINY_SCRIPT, "--lr", "0.05", "--seed", "7")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[2].startswith("test_loss ")
    assert lines[3] == f"files in {done.run_dir.relative_to(done.cwd)}"
    assert done.run_dir.parent == done.cwd / "runs" / "script"
    manifest = done.manifest
    assert (manifest["status"], manifest["seed"], manifest["epochs"]) == ("done", 7, 2)
    assert manifest["options"] == {"lr": 0.05}
    assert manifest["command"][1:3] == ["train", "script.py"]
    assert manifest["script"]["text"].strip() == TINY_SCRIPT.strip()
    assert manifest["plugins"][0]["name"] == "console"
    assert manifest["last_row"]["epoch"] == 2
    assert manifest["test"].keys() == {"test_loss"}


def test_quiet_prints_nothing(run_script: Run) -> None:
    done = run_script(TINY_SCRIPT, "-q", "--epochs", "1", "--run-dir", "here")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.run_dir == done.cwd / "here"
    assert done.manifest["epochs"] == 1


def test_the_same_seed_gives_the_same_numbers(run_script: Run) -> None:
    script = """
    import random, numpy, torch
    drawn = random.random(), numpy.random.rand(), torch.rand(1).item()
    from fit_core.testing import tiny_trainer
    def build_trainer(seed: int = 0):
        print("drawn", seed, drawn)
        return tiny_trainer(epochs=1)
    """
    first, second = run_script(script, "--seed", "5"), run_script(script, "--seed", "5")
    assert first.stdout.splitlines()[0].startswith("drawn 5 (")
    assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0]
    drawn = run_script(script)
    assert drawn.stdout.split()[1] == str(drawn.manifest["seed"]), "a seed that is not given is drawn and recorded"


SCRIPTS = {
    "no build_trainer": ("def build_train(): pass", r"defines no build_trainer(); did you mean 'build_train'?"),
    "no return": ("def build_trainer(): pass", "build_trainer() must return a Trainer, not NoneType; has it a return?"),
    "no default": ("def build_trainer(lr): pass", "build_trainer needs a default value for 'lr', so that it can be an option"),
    "no data": (
        "from fit_core.testing import tiny_trainer\ndef build_trainer(): return tiny_trainer(train_data=None, epochs=1)",
        "there is no training data: pass fit(train_data, ...) or Trainer(train_data=...)",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_mistakes_in_a_script_are_one_line_and_exit_code_2(run_script: Run, name: str) -> None:
    source, message = SCRIPTS[name]
    done = run_script(source)
    assert done.code == 2
    assert done.stderr.startswith("fit: ")
    assert done.stderr.endswith(message + "\n")
    assert done.stderr.count("\n") == 1


ARGUMENTS = {
    "plugin": (["--plugins", "loging"], "fit: no plugin named 'loging'"),
    "package": (["--plugins", "visdom"], "fit: no plugin named 'visdom'; try: pip install fit-vis"),
    "option of fit or script": (["--lrr", "1"], "No such option '--lrr'. Did you mean '--lr'?"),
    "type": (["--lr", "high"], "Invalid value for '--lr': it must be float, not 'high' See: fit train script.py --help"),
    "epochs": (["--epochs", "0"], "0 is not in the range x>=1"),
    "value": (["--lr"], "Option '--lr' requires an argument."),
    "spec": (["-p", "console:x"], "fit: cannot read the option 'x' in 'console:x'; write key=value"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_mistakes_on_the_command_line_exit_with_2(run_script: Run, name: str) -> None:
    arguments, message = ARGUMENTS[name]
    done = run_script(TINY_SCRIPT, *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert done.stderr.startswith("fit: ")
    assert done.stderr.count("\n") == 1
    assert not list(done.cwd.glob("runs/**")), "nothing is left behind"


def test_a_missing_command(run_fit: Run) -> None:
    done = run_fit("trian", "script.py")
    assert (done.code, done.stderr.split(" (")[0]) == (2, "fit: there is no command 'trian'")
    assert done.stderr.endswith("; did you mean 'train'?\n")


def test_a_folder_that_cannot_be_made(run_script: Run) -> None:
    done = run_script(TINY_SCRIPT, "--run-dir", "script.py/below")
    assert done.code == 2
    assert done.stderr == "fit: cannot make the run folder script.py/below: Not a directory; choose another with run_dir or --run-dir\n"


def test_a_missing_script(run_fit: Run) -> None:
    done = run_fit("train", "nix.py")
    assert (done.code, done.stderr) == (2, "fit: there is no script 'nix.py'\n")


def test_a_bug_keeps_its_traceback_with_a_note(run_script: Run) -> None:
    done = run_script("""
    from fit_core import hookimpl
    from fit_core.testing import tiny_trainer
    @hookimpl
    def on_batch_end(state):
        1 / 0
    def build_trainer():
        return tiny_trainer(epochs=1, plugins=[on_batch_end])
    """)
    assert done.code == 1
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "raised in hook on_batch_end of plugin 'on-batch-end'" in done.stderr
    assert (done.manifest["status"], done.manifest["error"]) == ("failed", "ZeroDivisionError: division by zero")


def test_a_run_that_fails_exits_with_1(run_script: Run) -> None:
    done = run_script("""
    import torch
    from fit_core.testing import tiny_trainer
    def build_trainer():
        return tiny_trainer(epochs=1, train_data=[(torch.full((2, 4), torch.nan), torch.zeros(2, dtype=torch.int64))])
    """)
    assert done.code == 1
    assert done.stderr.startswith("fit: loss is nan: update 'main', in epoch 1, batch 1 (train), step 1")
    assert done.stderr.count("\n") == 1


def test_an_interrupted_run_exits_with_130(run_script: Run) -> None:
    done = run_script("""
    from fit_core import hookimpl
    from fit_core.testing import tiny_trainer
    class Interrupt:
        @hookimpl
        def on_batch_end(self):
            raise KeyboardInterrupt
        @hookimpl
        def on_fit_end(self):
            print("the end was heard")
    def build_trainer():
        return tiny_trainer(epochs=1, plugins=[Interrupt()])
    """)
    assert (done.code, done.stdout, done.stderr) == (130, "the end was heard\n", "\nfit: interrupted\n")
    assert done.manifest["status"] == "interrupted"


def test_a_script_is_a_plugin_and_can_run_itself(run_script: Run) -> None:
    import subprocess
    import sys

    source = TINY_SCRIPT + "\nif __name__ == '__main__':\n    import fit_core\n    fit_core.run(build_trainer)\n"
    first = run_script(source, "--epochs", "1")
    assert first.code == 0
    again = subprocess.run([sys.executable, "script.py", "--epochs", "1"], cwd=first.cwd, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("epoch 1/1  loss ")


def test_help_of_a_script_shows_its_options(run_script: Run) -> None:
    done = run_script(
        '''
    from typing import Literal
    def build_trainer(lr: float = 0.1, deep: bool = False, norm: Literal["batch", "layer"] = "batch"):
        """Train something.

        Args:
            lr: the highest
                learning rate.
            deep: more layers.
        """
    ''',
        "--help",
    )
    assert done.code == 0
    text = " ".join(done.stdout.split())
    assert "Train something." in text
    assert "--lr FLOAT the highest learning rate. [default: 0.1]" in text
    assert "--deep / --no-deep more layers." in text
    assert "--norm BATCH OR LAYER [default: batch]" in text
    assert "--plugins NAMES" in text


def test_explain_reads_the_plan(run_script: Run) -> None:
    source = """
    from fit_core import hookimpl
    from fit_core.testing import tiny_trainer
    class Mine:
        @hookimpl(wrapper=True)
        def forward(self):
            return (yield)
        @hookimpl
        def should_step(self):
            return True
    def build_trainer():
        return tiny_trainer(epochs=1, plugins=[Mine()], quiet=False)
    """
    done = run_script(source, "--format", "json", command="explain")
    assert done.code == 0
    hooks = {hook["hook"]: hook for hook in json.loads(done.stdout)}
    assert list(hooks) == list(SPECS)
    assert [(a["plugin"], a["how"]) for a in hooks["forward"]["actors"]] == [("mine", "wraps"), ("defaults", "default")]
    assert [(a["plugin"], a["how"]) for a in hooks["should_step"]["actors"]] == [("mine", "replaces"), ("defaults", "default")]
    assert hooks["forward"]["actors"][0]["source"] == "script.py:5"
    assert hooks["on_epoch_end"]["actors"][0]["plugin"] == "console"
    text = run_script(source, command="explain").stdout
    assert "forward  (stage)\n    1. mine      wraps" in text
    assert "nobody: on_setup, " in text


def test_hooks(run_fit: Run) -> None:
    drawing = run_fit("hooks").stdout
    assert all(name in drawing for name in SPECS)
    one = run_fit("hooks", "on_epoch_end")
    assert one.stdout.startswith("on_epoch_end(trainer, state, row)  (notice)\n\nRead the row")
    wrong = run_fit("hooks", "on_epoch")
    assert (wrong.code, wrong.stderr) == (2, "fit: there is no hook 'on_epoch'; did you mean 'on_epoch_end'?\n")


def test_plugins(run_fit: Run) -> None:
    assert "console" in run_fit("plugins").stdout
    one = run_fit("plugins", "console")
    assert "Prints one line per epoch" in one.stdout
    assert "Hooks: on_epoch_end, on_fit_end" in one.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["hooks"], ["train", "--help"], ["--version"]])
def test_answers_that_need_no_torch_do_not_import_it(arguments: list[str], tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"import sys; from fit_core.cli import main; code = main({arguments!r}); sys.exit(code or ('torch' in sys.modules) * 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_script_is_imported_under_its_stem_with_its_folder_on_the_path(run_script: Run) -> None:
    """The folder of a script is importable, and its module has its stem's name."""
    done = run_script("""
    import helper_beside_the_script
    from fit_core.testing import tiny_trainer
    def build_trainer():
        print(__name__, helper_beside_the_script.VALUE)
        return tiny_trainer(epochs=1)
    """)
    assert "ModuleNotFoundError" in done.stderr
    (done.cwd / "helper_beside_the_script.py").write_text("VALUE = 3")
    done = run_script((done.cwd / "script.py").read_text())
    assert done.stdout.startswith("script 3\n")


def test_a_script_named_like_a_module(run_fit: Run, tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(TINY_SCRIPT)
    done = run_fit("train", "json.py")
    assert (done.code, done.stderr) == (2, "fit: the script json.py has the name of a module that is imported already; rename it\n")


def test_the_hooks_of_a_script_are_the_plugin_script(run_script: Run) -> None:
    source = """
    from fit_core import hookimpl
    from fit_core.testing import tiny_trainer
    @hookimpl
    def on_epoch_end(row):
        print("heard", row["epoch"])
    @hookimpl
    def on_fit_end():
        print("the end")
    def train_step(model, x, y):
        "A helper with the name of a stage."
    def build_trainer():
        return tiny_trainer(epochs=2, plugins=[on_fit_end])
    """
    done = run_script(source)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:3] == ["heard 1", "heard 2", "the end"]
    assert done.stdout.count("the end") == 1, "a function that is a plugin already is not called twice"
    assert [plugin["name"] for plugin in done.manifest["plugins"]] == ["on-fit-end", "script"]
    forgotten = run_script(source.replace("    @hookimpl\n    def on_epoch_end", "    def on_epoch_end"))
    assert forgotten.code == 2
    assert "is named like a hook but would never be called; put @hookimpl above it" in forgotten.stderr


PATIENT = """
from fit_core import hookimpl
from fit_core.testing import tiny_trainer

class Patient:
    def __init__(self, patience: int = 1, mode: str = "default"):
        self.patience, self.mode = patience, mode
    @hookimpl
    def on_fit_start(self):
        print(f"patience {self.patience}, mode {self.mode}")

def build_trainer():
    return tiny_trainer(epochs=1, plugins=PLUGINS)
"""


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with the plugin `patient`."""
    folder = tmp_path / "installed"
    info = folder / "fit_patient-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fit-patient\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fit.plugins]\npatient = fit_patient:Patient\n")
    (folder / "fit_patient.py").write_text(PATIENT.split("def build_trainer")[0])
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_options_come_from_the_command_line_over_the_script_over_the_file_over_defaults(
    run_script: Run, patient: None, tmp_path: Path
) -> None:
    def said(plugins: str, *arguments: str) -> str:
        done = run_script(PATIENT.replace("PLUGINS", plugins), *arguments)
        assert done.code == 0, done.stderr
        return done.stdout.splitlines()[0]

    assert said("['patient']") == "patience 1, mode default"
    (tmp_path / "pyproject.toml").write_text("[tool.fit.plugins.patient]\npatience = 2\nmode = 'file'\n")
    assert said("['patient']") == "patience 2, mode file"
    assert said("['patient:patience=3']") == "patience 3, mode file"
    assert said("['patient:patience=3']", "-p", "patient:patience=4") == "patience 4, mode file"
    assert said("[]", "-p", "patient:mode=line") == "patience 2, mode line"
    assert said("['patient']", "-p", "other=patient:patience=9").startswith("patience 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[tool.fit.plugins.patien]\npatience = 2",
            "pyproject.toml has options for plugin 'patien', which does not exist; did you mean 'patient'?",
        ),
        (
            "[tool.fit.plugins.patient]\npatienc = 2",
            "plugin 'patient' has no option 'patienc' (options: mode, patience); did you mean 'patience'?",
        ),
        ("[tool.fit.plugins.patient]\npatience = 2.5", "option 'patience' of plugin 'patient' must be int, not '2.5'"),
        ("[tool.fit]\nplugin = 2", "[tool.fit] has no key 'plugin'; did you mean 'plugins'?"),
        ("[tool.fit.plugins]\npatient = 2", "has 'patient', which is no table; write [tool.fit.plugins.patient]"),
        ("[tool.fit", "cannot read"),
    ],
)
def test_mistakes_in_the_file(run_script: Run, patient: None, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    done = run_script(PATIENT.replace("PLUGINS", "['patient']"))
    assert done.code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_parameters_named_like_options_of_fit_keep_their_defaults(run_script: Run) -> None:
    source = """
    from fit_core.testing import tiny_trainer
    def build_trainer(plugins=("no:console",), quiet=True, run_dir=None, epochs=2, seed=0):
        print(plugins, quiet, run_dir, epochs)
        return tiny_trainer(epochs=epochs)
    """
    assert run_script(source).stdout.startswith("('no:console',) True None 2\n")
    assert run_script(source, "--epochs", "1", "--run-dir", "x").stdout.startswith("('no:console',) True x 1\n")


def test_a_used_run_folder_is_refused_and_the_manifest_is_json(run_script: Run) -> None:
    source = """
    from fit_core import hookimpl
    from fit_core.testing import tiny_trainer
    class Nan:
        @hookimpl
        def on_batch_end(self, trainer):
            trainer.record("nothing", float("nan"))
        @hookimpl
        def on_teardown(self):
            raise ValueError("late")
    def build_trainer():
        return tiny_trainer(epochs=1, plugins=[Nan()])
    """
    done = run_script(source, "--run-dir", "here")
    assert done.code == 1
    text = (done.run_dir / "manifest.json").read_text()
    manifest = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert (manifest["status"], manifest["error"]) == ("failed", "ValueError: late")
    assert manifest["last_row"]["nothing"] == "nan"
    assert manifest["data"]["train"] == {"type": "list", "length": 2}
    again = run_script(source, "--run-dir", "here")
    assert (again.code, again.stderr) == (2, "fit: here holds a run already; choose another --run-dir, so that no run is lost\n")
