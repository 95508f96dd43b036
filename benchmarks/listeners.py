"""Plugins that hear hooks and do nothing: what they cost is what fit adds for them."""

from __future__ import annotations

from typing import Any

from fit_core import State, hookimpl


class Idle:
    """Hears no hook within a step."""

    def __init__(self, number: int) -> None:
        self.name = f"idle-{number}"

    @hookimpl
    def on_epoch_end(self) -> None:
        """Do nothing."""


class Hears:
    """Hears one hook of each step."""

    def __init__(self, number: int = 0) -> None:
        self.name = f"hears-{number}"

    @hookimpl
    def on_step_end(self, state: State) -> None:
        """Do nothing."""


class Tracker:
    """Hears numbers, so that losses and rates are logged."""

    @hookimpl
    def on_log(self, entries: list[Any]) -> None:
        """Do nothing."""
