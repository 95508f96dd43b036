"""Runs that are equal to the bit."""

from __future__ import annotations

import os

from fit_core import FitError, State
from fit_device.switches import Switches

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


class Deterministic(Switches):
    """Makes torch use algorithms that give the same bits each time; an operation that has none raises an error.

    It costs speed. The process's settings are put back afterwards. Needed on accelerators only, and next to a seed.

    Args:
        warn_only: warn of an operation that has no such algorithm, instead of raising an error.

    Raises:
        FitError: on cuda, if the environment does not let cuBLAS be deterministic.
    """

    name = "deterministic"

    def __init__(self, warn_only: bool = False) -> None:
        super().__init__({"deterministic": (True, warn_only), "cudnn deterministic": True, "cudnn benchmark": False})

    def check(self, state: State) -> None:
        """Refuse an environment in which cuBLAS is not deterministic: it reads it once, when it is first used."""
        if state.device.type == "cuda" and WORKSPACE not in os.environ:
            raise FitError(f"cuBLAS is deterministic only if the environment says so before the start: export {WORKSPACE}=:4096:8")
