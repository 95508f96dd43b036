"""What a new plugin package is made of: names, and files filled from templates. Imports no torch."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from pathlib import Path
from string import Template

from fit_core.entrypoints import KNOWN_PACKAGES, PLUGINS, Catalog
from fit_core.errors import FitError, did_you_mean
from fit_core.hookspecs import SPECS, arguments_of
from fit_core.naming import kebab_case
from fit_core.ordering import LATER

FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "src/$module/__init__.py": "init.py.txt",
    "src/$module/plugin.py": "plugin.py.txt",
    "src/$module/samples.py": "samples.py.txt",
    "tests/test_plugin.py": "test_plugin.py.txt",
    "tests/test_samples.py": "test_samples.py.txt",
}
"""Each file of a package, and the template in the folder `template` that it is filled from. py.typed is empty, and has none."""
IMPORTED = ("Any", "Budget", "FitError", "Generator", "State", "Trainer")
"""Names in plugin.py that a class cannot have there."""
RESERVED = ("script", "defaults", *LATER)
"""Names of plugins that fit has itself, beside those with an entry point."""
IMPLEMENTED = ("on_batch_end",)
"""Hooks that the template has already."""


def checked_name(name: str) -> str:
    """Return a name if a new plugin may have it.

    Raises:
        FitError: it is not in kebab-case, or it is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        nearest = re.sub(r"[^a-z0-9]+", "-", kebab_case(name)).strip("-0123456789")
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        raise FitError(f"{name!r} is no name for a plugin: use small letters, digits and single hyphens, as in grad-norm{hint}")
    if name.startswith("fit-"):
        raise FitError(f"the package gets 'fit-' in front by itself: fit new-plugin {name.removeprefix('fit-')}")
    catalog = Catalog(PLUGINS)
    if name in catalog or name in KNOWN_PACKAGES or name in RESERVED:
        owners = sorted({point.dist.name for point in catalog if point.name == name and point.dist})
        owner = owners[0] if owners else KNOWN_PACKAGES.get(name, "fit-core")
        raise FitError(f"there is a plugin {name!r} already, of {owner}; {advice(name, owner)}")
    if f"fit-{name}" in {"fit-core", *KNOWN_PACKAGES.values()} or _is_installed(f"fit-{name}"):
        raise FitError(f"there is a package fit-{name} already; {advice(name, f'fit-{name}')}")
    return name


def advice(name: str, owner: str) -> str:
    """Say what to do about a name that an installed package has: if it is one that was made here before, it may go."""
    own = owner == f"fit-{name}" and owner not in {"fit-core", *KNOWN_PACKAGES.values()}
    return f"choose another name, or begin anew: pip uninstall {owner}" if own else "choose another name"


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def class_name(name: str) -> str:
    """Return the name of the class of a plugin: `GradNorm` for `grad-norm`."""
    found = "".join(part[0].upper() + part[1:] for part in name.split("-"))
    return f"{found}Plugin" if keyword.iskeyword(found) or found in IMPORTED else found


def stub(hook: str) -> str:
    """Return a method for a hook that changes nothing yet.

    Raises:
        FitError: there is no such hook.
    """
    if hook not in SPECS:
        raise FitError(f"there is no hook {hook!r}{did_you_mean(hook, SPECS) or '; fit hooks lists them'}")
    spec = SPECS[hook]
    says = (spec.__doc__ or "").partition("\n")[0]
    comment = f"        # {says}\n        # It may ask for: {', '.join(arguments_of(spec))}.\n"
    if spec.fit_kind in ("stage", "decision"):  # type: ignore[attr-defined]
        head = f"    @hookimpl(wrapper=True)\n    def {hook}(self) -> Generator[None, Any, Any]:\n"
        return f"{head}{comment}        return (yield)\n"
    return f"    @hookimpl\n    def {hook}(self) -> None:\n{comment}        pass\n"


def contents(name: str, hooks: Iterable[str] = ()) -> dict[str, str]:
    """Return the files of a package for a plugin: their text by their path.

    Args:
        name: of the plugin, in kebab-case.
        hooks: those that its class has beside the template's, in the order of the loop.

    Raises:
        FitError: there is no such hook.
    """
    stubs = {hook: stub(hook) for hook in hooks if hook not in IMPLEMENTED}
    stubs = {hook: stubs[hook] for hook in SPECS if hook in stubs}
    cls = class_name(name)
    wraps = any("Generator" in text for text in stubs.values())
    given = {
        "name": name,
        "package": f"fit-{name}",
        "module": f"fit_{name.replace('-', '_')}",
        "cls": cls,
        "core": ".".join(version("fit-core").split(".")[:2]),
        "imports": "from collections.abc import Generator\n" * wraps + "from typing import Any\n",
        "naming": "" if kebab_case(cls) == name else f'\n    name = "{name}"\n',
        "hooks": "".join(f"\n{text}" for text in stubs.values()),
    }
    folder = files("fit_tools") / "template"
    filled = {path: (folder / template).read_text(encoding="utf-8") for path, template in FILES.items()}
    filled["src/$module/py.typed"] = ""
    return {Template(path).substitute(given): Template(text).substitute(given) for path, text in filled.items()}


def write(folder: Path, name: str, texts: dict[str, str]) -> Path:
    """Write the files of a package into a new folder.

    Args:
        folder: in which the package's own folder is made.
        name: of the plugin.
        texts: as `contents` returned them.

    Returns:
        The folder of the package.

    Raises:
        FitError: there is such a folder already, or it cannot be written.
    """
    package = folder / f"fit-{name}"
    if package.exists():
        raise FitError(f"{package} is there already; choose another name, or another --folder")
    try:
        for path, text in texts.items():
            (package / path).parent.mkdir(parents=True, exist_ok=True)
            (package / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FitError(f"cannot write {package}: {error.strerror}") from error
    return package
