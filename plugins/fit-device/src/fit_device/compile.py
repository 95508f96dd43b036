"""The model, compiled."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Literal, get_args

import torch
from torch import nn

from fit_core import FitError, hookimpl
from fit_core.errors import did_you_mean, listed

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


class Compile:
    """Compiles the model with `torch.compile`, when it is first called; `trainer.model` and checkpoints stay as they are.

    Where there is no compiler, or it fails, one warning says why, and the model runs uncompiled. Averaged weights are evaluated
    uncompiled.

    Args:
        backend: a name of `torch.compiler.list_backends()`, or a function (from Python only).
        mode: of inductor: "default", "reduce-overhead", "max-autotune" or "max-autotune-no-cudagraphs".
        dynamic: false compiles for each size of a batch anew, true for any at once; none, as torch has it, for any once a second one
            has come, after which a resumed run may differ in rounding from one that was not interrupted.
        fullgraph: make it an error if a part of the model cannot be compiled, instead of running this part as it is.

    Raises:
        FitError: there is no such backend or mode, the backend takes no mode, or the model is compiled already.
    """

    def __init__(
        self,
        backend: str | Callable[..., Any] = "inductor",
        mode: Mode | None = None,
        dynamic: bool | None = False,
        fullgraph: bool = False,
    ) -> None:
        if not isinstance(backend, str) and not callable(backend):
            raise FitError(f"backend must be a name or a function, not {backend!r}")
        if mode is not None and mode not in get_args(Mode):
            raise FitError(f"mode must be {listed(map(repr, get_args(Mode)))}, not {mode!r}")
        if dynamic not in (True, False, None):
            raise FitError(f"dynamic must be True, False or None, not {dynamic!r}")
        if mode is not None and backend != "inductor":
            raise FitError(f"mode={mode!r} is for the backend inductor; leave it out with {backend!r}")
        self.backend = backend
        self.mode = mode
        self.dynamic = dynamic
        self.fullgraph = fullgraph

    @hookimpl(wrapper=True)
    def prepare_model(self) -> Generator[None, nn.Module, nn.Module]:
        from torch._dynamo import OptimizedModule

        from fit_device.compiled import compiled  # importing torch's compiler takes a second

        if isinstance(self.backend, str):
            known = torch.compiler.list_backends(exclude_tags=())
            if self.backend not in known:
                raise FitError(f"no backend {self.backend!r} (there are: {listed(known)}){did_you_mean(self.backend, known)}")
        module = yield
        if isinstance(module, OptimizedModule):
            raise FitError("the model is compiled already; give the trainer the module itself, or leave compile out")
        if isinstance(module, torch.jit.ScriptModule):
            raise FitError("torch cannot compile a model that torch.jit made; leave compile out")
        return compiled(module, backend=self.backend, mode=self.mode, dynamic=self.dynamic, fullgraph=self.fullgraph)
