"""What memory is used for, and what to do if there is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor
from torch.optim import Optimizer

from fit_core import State, hookimpl
from fit_core.batch import batch_size, tensors
from fit_core.items import Table
from fit_device.memory import advice, is_out_of_memory, peak_of, readable, size_of

if TYPE_CHECKING:
    from fit_core import Trainer

MEGABYTE = 2**20


class MemorySummary:
    """Measures what parameters, gradients and the state of optimizers take, and the peak: on cuda of the device, on the CPU of the process.

    They are logged (`memory/parameters_mb` and so on) and shown as a table after the first step, and printed in one line at the end. If
    memory runs out, the error gets a note that says what to try.
    """

    passive = True

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._missing: set[str] = set()

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        modules = trainer.modules(state.model)
        self._sizes = {
            "parameters": size_of(p for module in modules for p in module.parameters()),
            "buffers": size_of(buffer for module in modules for buffer in module.buffers()),
            "gradients": 0,
            "optimizer": 0,
        }
        self._missing = set(state.updates)

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        if not self._missing or state.update is None or state.update.name not in self._missing:
            return
        self._missing.discard(state.update.name)
        self._sizes["parameters"] = size_of(p for module in trainer.modules(state.model) for p in module.parameters())  # no lazy ones now
        self._sizes["gradients"] += size_of(state.update.gradients())
        self._sizes["optimizer"] += size_of(tensor for one in state.update.optimizers for tensor in _held(one))
        if not self._missing:  # every update has made a step
            sizes = self._measured(state)
            trainer.log({f"memory/{name}_mb": size / MEGABYTE for name, size in sizes.items()})
            trainer.show("memory", lambda: Table(["of", "MB"], [[name, round(size / MEGABYTE, 3)] for name, size in sizes.items()]))

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        sizes = self._measured(state)
        if "peak" in sizes:
            trainer.log({"memory/peak_mb": sizes["peak"] / MEGABYTE})
        if self._sizes and not trainer.quiet:
            print(f"memory: {', '.join(f'{name} {readable(size)}' for name, size in sizes.items() if size)}", flush=True)  # noqa: T201

    @hookimpl(wrapper=True)
    def eval_step(self, trainer: Trainer, state: State) -> Iterator[None]:
        try:
            return (yield)
        except RuntimeError as error:  # here: on_exception is given the state of the whole run
            self._advise(trainer, state, error)
            raise

    @hookimpl
    def on_exception(self, trainer: Trainer, state: State, exception: BaseException) -> None:
        self._advise(trainer, state, exception)

    def _advise(self, trainer: Trainer, state: State, error: BaseException) -> None:
        advised = any(note.startswith("out of memory, with") for note in getattr(error, "__notes__", ()))
        if is_out_of_memory(error) and not advised:
            accumulate = max((update.window.accumulate for update in state.updates.values()), default=trainer.accumulate)
            batch = batch_size(state.inputs, state.targets) if state.inputs is not None else 0
            training = state.phase == "train"
            error.add_note(advice(batch, accumulate, training, trainer.plugins, self._measured(state)))

    def _measured(self, state: State) -> dict[str, int]:
        peak = peak_of(state.device)
        return self._sizes | ({} if peak is None else {"peak": peak})


def _held(optimizer: Optimizer) -> Iterator[Tensor]:
    """Yield the tensors of an optimizer's state."""
    for held in optimizer.state.values():
        yield from tensors(held)
