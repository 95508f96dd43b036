"""A training script: a file that defines `build_trainer(...) -> Trainer`."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fit_core.errors import FitError

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

BUILD = "build_trainer"


def run(build_trainer: Callable[..., Trainer]) -> None:
    """Be `fit train` on the file that defines `build_trainer`.

    Write it under `if __name__ == "__main__":`, and `python script.py --epochs 3` works like `fit train script.py
    --epochs 3`. Ends the process with fit's exit code.
    """
    from fit_core.cli import console_script

    file = inspect.getsourcefile(build_trainer)
    if file is None:
        raise FitError("fit_core.run needs build_trainer from a file")
    console_script(["train", file, *sys.argv[1:]])


def load_script(path: Path) -> ModuleType:
    """Import a script under its stem, with its folder on `sys.path`, so that worker processes find it.

    Raises:
        FitError: there is no such file, or its name is taken by a module.
    """
    if not path.is_file():
        raise FitError(f"there is no script {str(path)!r}")
    path = path.resolve()
    name = path.stem
    if name in sys.stdlib_module_names:
        raise FitError(f"the script {path.name} has the name of a module of Python's standard library; rename it")
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(path):
        raise FitError(f"the script {path.name} has the name of a module that is imported already; rename it")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FitError(f"{str(path)!r} is no Python file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        error.add_note(f"raised while the script {path.name} was imported")
        raise
    return module


def builder_of(module: ModuleType) -> Callable[..., Trainer]:
    """Return the `build_trainer` of a script.

    Raises:
        FitError: it defines none.
    """
    build: Callable[..., Trainer] | None = getattr(module, BUILD, None)
    if build is None:
        own = [name for name, value in vars(module).items() if inspect.isfunction(value)]
        near = get_close_matches(BUILD, own, n=1)
        hint = f"rename {near[0]}() to that" if near else "write: def build_trainer(lr: float = 0.1) -> Trainer"
        raise FitError(f"{module.__file__} defines no {BUILD}(); {hint}")
    if not callable(build):
        raise FitError(f"{BUILD} in {module.__file__} is no function but {type(build).__name__}; write: def {BUILD}() -> Trainer")
    return build


def build(function: Callable[..., Trainer], options: dict[str, Any]) -> Trainer:
    """Call `build_trainer`.

    Raises:
        FitError: it returns something else than a trainer.
    """
    from fit_core.trainer import Trainer

    trainer = function(**options)
    if not isinstance(trainer, Trainer):
        raise FitError(f"{BUILD}() must return a Trainer, not {type(trainer).__name__}; has it a return?")
    return trainer
