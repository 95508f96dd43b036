"""Random numbers of plugins: streams that depend on nothing but seed, plugin and place in the run."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fit_core.modes import random_states_aside, set_seed
from fit_core.state import State


class Streams:
    """Makes a seed for every plugin at every place of a run.

    Two streams that one plugin asks for in the same batch differ; the same batch of the same run gives the same again.

    Args:
        seed: of the run; None draws one without touching any random state.

    Attributes:
        seed: the one that was given or drawn.
    """

    def __init__(self, seed: int | None) -> None:
        self.seed = secrets.randbelow(2**63) if seed is None else seed

    def generator(self, plugin: str, state: State, device: torch.device | str) -> torch.Generator:
        """Return a new generator for a plugin."""
        return torch.Generator(device).manual_seed(self.seed_for(plugin, state))

    @contextmanager
    def context(self, plugin: str, state: State) -> Iterator[None]:
        """Seed the global random states for a plugin, and put them back afterwards."""
        with random_states_aside(state.device):
            set_seed(self.seed_for(plugin, state))
            yield

    def seed_for(self, plugin: str, state: State) -> int:
        """Return the seed of the next stream of a plugin."""
        counters = state._progress.place or (state.step, state.batch_count, state.batch)
        place = (state.phase, state.epoch, *counters)
        asked = state._progress.streams  # of this pass; a nested one counts for itself
        number = asked[plugin] = asked.get(plugin, 0) + 1
        return derived_seed(self.seed, plugin, place, number)


def derived_seed(*parts: Any) -> int:
    """Return a seed that depends on nothing but these numbers and words: 63 bits of a hash."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
