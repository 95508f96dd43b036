"""The command line, in processes of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fit_core.hookspecs import SPECS
from fit_core.testing import TINY_SCRIPT, ForkServer, Outcome

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
    assert {plugin["name"] for plugin in manifest["plugins"]} == {"console", "save-last"}
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
    "no build_trainer": ("def build_train(): pass", r"defines no build_trainer(); rename build_train() to that"),
    "no return": ("def build_trainer(): pass", "build_trainer() must return a Trainer, not NoneType; has it a return?"),
    "no default": ("def build_trainer(lr): pass", "Missing option '--lr'. See: fit train script.py --help"),
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


def test_a_script_is_a_plugin_and_can_run_itself(run_script: Run, fork_server: ForkServer) -> None:
    source = TINY_SCRIPT + "\nif __name__ == '__main__':\n    import fit_core\n    fit_core.run(build_trainer)\n"
    first = run_script(source, "--epochs", "1")
    assert first.code == 0
    again = fork_server.run("script.py", "--epochs", "1", cwd=first.cwd)
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
    assert re.search(r"^forward  \(stage\)\n    1\. mine +wraps", text, re.MULTILINE)
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
    assert (done.code, done.stderr) == (2, "fit: the script json.py has the name of a module of Python's standard library; rename it\n")


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
    assert [plugin["name"] for plugin in done.manifest["plugins"]] == ["on-fit-end", "script", "save-last"]
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

    (tmp_path / "pyproject.toml").write_text("[tool.fit.plugins.patient]\npatience = 2\nmode = 'file'\n")
    assert said("['patient']") == "patience 2, mode file"
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
    assert (again.code, again.stderr) == (
        2,
        "fit: here holds a run already; go on with it (--resume), set it aside (--fresh), or choose another --run-dir\n",
    )


LIMITED = """
from fit_core import hookimpl
from fit_core.testing import tiny_batches, tiny_trainer

@hookimpl
def on_eval_end(state):
    print(state.phase, state.batch)

@hookimpl
def on_train_epoch_end(trainer, state):
    print(state.phase, state.batch, trainer.run_dir.exists())

def build_trainer(epochs: int = 3):
    return tiny_trainer(epochs=epochs, train_data=tiny_batches(5), val_data={"a": tiny_batches(4)}, test_data=iter(tiny_batches(3)))
"""


def test_accumulate_on_the_command_line(run_script: Run) -> None:
    script = LIMITED + "\n@hookimpl\ndef on_step_end(state):\n    print('step', state.step)\n"
    done = run_script(script, "--accumulate", "2", "--epochs", "1")
    assert [line for line in done.stdout.splitlines() if line.startswith("step")] == ["step 1", "step 2", "step 3"]
    wrong = run_script(LIMITED, "--accumulate", "0")
    assert (wrong.code, wrong.stderr.count("\n")) == (2, 1)


def test_limits_hold_for_every_phase(run_script: Run) -> None:
    done = run_script(LIMITED, "--limit-batches", "3", "--epochs", "1")
    assert done.stdout.splitlines()[:3] == ["train 3 True", "validate 3", "test 3"]


def test_a_dry_run_keeps_nothing_and_says_what_a_full_run_would_do(run_script: Run) -> None:
    done = run_script(LIMITED.replace("tiny_trainer(epochs", "tiny_trainer(quiet=False, epochs"), "--dry-run")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.split()[0] in ("train", "validate", "test")] == ["train 2 True", "validate 2", "test 2"]
    assert lines[-5:] == [
        "dry run: nothing was kept. A full run trains 3 epochs of 5 batches, 15 in all",
        "  val_a_data: 4 batches",
        "  test_data: an unknown number of batches",
        "  plugins: script, console",
        "  files in runs/script/<time>",
    ]
    assert [path.name for path in done.cwd.iterdir() if path.name != "__pycache__"] == ["script.py"]


def test_a_dry_run_finds_the_mistakes_of_a_run(run_script: Run) -> None:
    done = run_script(LIMITED.replace("epochs=epochs", "epochs=None"), "--dry-run")
    assert (done.code, done.stderr) == (2, "fit: how long to train? pass fit(..., epochs=10) or fit(..., steps=1000)\n")


def test_nothing_is_saved_on_request(run_script: Run) -> None:
    kept = run_script(TINY_SCRIPT)
    assert [path.name for path in (kept.run_dir / "checkpoints").iterdir() if path.is_dir()] == ["step-00000004"]
    assert not (run_script(TINY_SCRIPT, "--no-save", "--run-dir", "other").cwd / "other" / "checkpoints").exists()


def test_what_cannot_be_saved_is_said_before_the_first_epoch(run_script: Run) -> None:
    script = (
        "import torch\nfrom fit_core.testing import tiny_trainer\n"
        "def build_trainer(epochs: int = 1):\n"
        "    model = torch.nn.Linear(4, 3)\n"
        "    model.register_buffer('mask', torch.eye(2).to_sparse())\n"
        "    return tiny_trainer(model=model, epochs=epochs, quiet=False)\n"
    )
    done = run_script(script)
    assert (done.code, done.stdout) == (2, "")
    what = "it is a tensor (float32, sparse_coo) that a checkpoint cannot hold"
    assert done.stderr == f"fit: cannot save 'mask' of the model: {what}; or train with --no-save\n"
    assert run_script(script, "--no-save", "--run-dir", "other").code == 0


def test_a_stop_in_mid_epoch_is_saved(run_script: Run) -> None:
    done = run_script(LIMITED + "\n@hookimpl\ndef on_step_end(trainer, state):\n    if state.step == 7: trainer.stop('enough')\n")
    assert (done.run_dir / "checkpoints" / "last").read_text() == "step-00000007\n"


OPTIONS = '''
from enum import Enum
from pathlib import Path
from typing import Literal, Optional
from fit_core.testing import tiny_trainer

class Color(Enum):
    RED = 1
    BLUE = 2

def build_trainer(
    folder: Path, color: Color = Color.RED, betas: list[float] = [0.9, 0.99], sizes: tuple[int, int] = (1, 2), name: Optional[str] = None,
    depth: int | None = None, fast: bool = True, norm: Literal["batch", "none"] = "batch", free=3, epochs: int = 1,
):
    """Build something.

    Parameters
    ----------
    folder : Path
        where the data
        lies
    color, name : anything
        two at once
    fast
        no accuracy

    Returns
    -------
    Trainer
    """
    print([folder, color, betas, sizes, name, depth, fast, norm, free])
    return tiny_trainer(epochs=epochs)
'''


def test_options_are_converted_by_their_hints(run_script: Run) -> None:
    words = "--folder a/b --color blue --betas [0.5,1] --sizes [3,4] --name x --depth 2 --no-fast --norm none --free 7"
    done = run_script(OPTIONS, *words.split())
    shown = "[PosixPath('a/b'), <Color.BLUE: 2>, [0.5, 1.0], (3, 4), 'x', 2, False, 'none', 7]"
    assert done.stdout.splitlines()[0] == shown, done.stderr
    assert done.manifest["options"]["color"] == "blue"
    assert done.manifest["options"]["sizes"] == "[3,4]"
    again = run_script(OPTIONS, "--checkpoint", str(done.run_dir), command="evaluate")
    assert again.stdout.splitlines()[0] == shown, again.stderr
    defaults = run_script(OPTIONS, "--folder", "here")
    assert defaults.stdout.splitlines()[0] == "[PosixPath('here'), <Color.RED: 1>, [0.9, 0.99], (1, 2), None, None, True, 'batch', 3]"


def test_help_reads_numpydoc_too(run_script: Run) -> None:
    text = " ".join(run_script(OPTIONS, "--help").stdout.split())
    assert "script.py [OPTIONS] Build something. Options:" in text
    assert "--folder PATH where the data lies [required]" in text
    assert "--color RED OR BLUE two at once [default: red]" in text
    assert "--fast / --no-fast no accuracy [default: true]" in text
    assert "--betas" in text
    assert "[default: [0.9,0.99]]" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--color", "green"], "Invalid value for '--color': it must be red or blue, not 'green'"),
        (["--betas", "0.5"], "Invalid value for '--betas': it must be a list of numbers in brackets, such as [1,2], not '0.5'"),
        (["--sizes", "[1]"], "Invalid value for '--sizes'"),
        (["--depth", "deep"], "Invalid value for '--depth': it must be int or none, not 'deep'"),
        (["--norm", "layer"], "Invalid value for '--norm': it must be batch or none, not 'layer'"),
    ],
)
def test_wrong_values_of_options(run_script: Run, arguments: list[str], message: str) -> None:
    done = run_script(OPTIONS, "--folder", "a", *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def distribution(folder: Path, name: str, points: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)


def test_commands_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_fit: Run) -> None:
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site))
    (site / "fit_say.py").write_text(
        "print('imported')\nimport click\n@click.command()\n@click.argument('word')\ndef say(word):\n    click.echo(word)\n"
    )
    distribution(
        site, "fit-say", "[fit.commands]\nsay = fit_say:say\nbroken = fit_say:nothing\nnone = fit_say:__name__\ntrain = fit_say:say\n"
    )
    listed = run_fit("--help")
    assert re.search(r"^  say +from fit-say 1\.0$", listed.stdout, re.MULTILINE)
    assert "imported" not in listed.stdout
    assert run_fit("say", "hello").stdout == "imported\nhello\n"
    assert "'broken' of fit-say 1.0 cannot be imported: AttributeError" in run_fit("broken").stderr
    assert run_fit("none").stderr == "fit: 'none' of fit-say 1.0 is no click command, but str\n"
    assert run_fit("sya").stderr.endswith("; did you mean 'say'?\n")
    assert "from fit-say" not in next(line for line in listed.stdout.splitlines() if line.startswith("  train"))


def test_eighty_distributions_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_fit: Run) -> None:
    for number in range(80):
        distribution(tmp_path / "site", f"fit-{number}", f"[fit.plugins]\np{number} = no_such_module_{number}:P\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    listed = run_fit("plugins")
    assert listed.code == 0
    assert "p79  " in listed.stdout
    assert run_fit("--help").code == 0


WORKERS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from functools import partial
from fit_core import Trainer
import beside

class Mine(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return torch.full((4,), float(index)) + torch.rand(()), beside.label(index)

def build_trainer(context: str = "fork", workers: int = 2):
    loader = DataLoader(Mine(), batch_size=4, shuffle=True, num_workers=workers, multiprocessing_context=context if workers else None)
    torch.manual_seed(0)
    return Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), train_data=loader, epochs=2)
"""


def test_workers_under_fork_and_spawn_find_the_script(run_script: Run, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def label(index):\n    return index % 3\n")
    losses = []
    for words in (["--workers", "0"], ["--context", "fork"], ["--context", "spawn"]):
        done = run_script(WORKERS, *words, "--seed", "3")
        assert done.code == 0, done.stderr
        losses.append(done.manifest["last_row"]["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_metrics_are_listed_and_described(run_fit: Run) -> None:
    listed = run_fit("metrics")
    assert (listed.code, listed.stderr) == (0, "")
    assert {"accuracy", "loss"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    one = run_fit("metrics", "accuracy")
    assert one.stdout.startswith("accuracy  (fit-")
    assert one.stdout.endswith("Values:\n    accuracy: more is better\n")
    assert "loss of" in run_fit("metrics", "loss").stdout
    wrong = run_fit("metrics", "acuracy")
    assert (wrong.code, wrong.stderr.endswith("did you mean 'accuracy'?\n")) == (2, True)
