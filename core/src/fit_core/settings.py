"""Options of plugins in a file: `[tool.fit.plugins.NAME]` in `pyproject.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fit_core.errors import FitError, did_you_mean


def plugin_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the options by plugin from the nearest `pyproject.toml` that has a table `tool.fit`.

    Args:
        folder: where to look first; then in the folders above it.

    Raises:
        FitError: the file cannot be read, or the table has something else than options of plugins.
    """
    for place in [folder, *folder.parents]:
        file = place / "pyproject.toml"
        if file.is_file():
            tools = _read(file).get("tool", {})
            table = tools.get("fit") if isinstance(tools, dict) else None
            if table is not None:
                return _options(table, file)
    return {}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FitError(f"cannot read {file}: {error}") from None


def _options(table: Any, file: Path) -> dict[str, dict[str, Any]]:
    if not isinstance(table, dict) or not isinstance(table.get("plugins", {}), dict):
        raise FitError(f"{file}: [tool.fit] has tables of options only; write [tool.fit.plugins.NAME], and choose plugins by --plugins")
    for key in table:
        if key != "plugins":
            raise FitError(f"{file}: [tool.fit] has no key {key!r}{did_you_mean(key, ['plugins']) or '; it has: plugins'}")
    options: dict[str, dict[str, Any]] = {}
    for name, values in table.get("plugins", {}).items():
        if not isinstance(values, dict):
            raise FitError(f"{file}: [tool.fit.plugins] has {name!r}, which is no table; write [tool.fit.plugins.{name}]")
        options[name] = {key: _as_text(value) for key, value in values.items()}
    return options


def _as_text(value: Any) -> Any:
    """Write a number or boolean as on the command line, so that type hints decide what it becomes."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value
