"""What is imported, and when: only what is used."""

from __future__ import annotations

import subprocess
import sys

NEEDED = {"fit_core", "pluggy", "safetensors"}
"""Top-level modules that a trainer brings beyond torch and the standard library."""
SLOW = {"click", "concurrent", "multiprocessing", "numpy", "pandas", "pydoc", "torch", "unittest", "xml"}


def imported(code: str, before: str = "") -> set[str]:
    """Return the modules that some code imports in a new process.

    Args:
        code: is run.
        before: is run first; its modules do not count.
    """
    told = f"import sys\n{before}\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_package_alone_imports_nothing_of_itself() -> None:
    found = imported("import fit_core")
    assert {name for name in found if tops({name}) - sys.stdlib_module_names} == {"fit_core"}
    assert not tops(found) & SLOW


def test_the_helps_import_nothing_slow() -> None:
    found = imported("from fit_core.cli import main\nmain(['--help'])")
    assert "fit_core.cli.train" in found, "its first line is shown"
    assert tops(found) & SLOW == {"click"}


def test_a_trainer_imports_little_beyond_torch() -> None:
    found = imported("from fit_core import Trainer", "import torch")
    assert {name for name in tops(found) if name not in sys.stdlib_module_names} == NEEDED
    assert not tops(found) & SLOW
    assert not {name for name in found if name.startswith("fit_core.") and name.split(".")[1] in ("cli", "testing", "traced", "script")}
