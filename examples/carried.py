"""Truncated back-propagation through time: gradients end with a window of eight steps, memory goes on into the next.

fit train examples/carried.py --plugins logging
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl


class Memory(nn.Module):
    """Maps (batch, length, 2) signals and the memory before them, or None, to (batch, length) logits and the memory after them."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.gru = nn.GRU(2, size, batch_first=True)
        self.answer = nn.Linear(size, 1)

    def forward(self, signals: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return both."""
        seen, memory = self.gru(signals, memory)
        return self.answer(seen)[..., 0], memory


class Carry:
    """Hands the memory after a batch to the next one of the same pass, without its graph: no gradient goes further back.

    Args:
        carry: whether to do so; else each batch begins without memory.
    """

    def __init__(self, carry: bool = True) -> None:
        self.carry = carry
        self.memory: dict[str, Tensor] = {}

    @hookimpl(wrapper=True)
    def forward(self, state: State) -> Any:
        memory = self.memory[state.phase] if self.carry and state.batch > 1 else None
        state.inputs = (state.inputs, memory)
        outputs, memory = yield
        self.memory[state.phase] = memory.detach()
        return outputs

    def state_dict(self) -> dict[str, Any]:
        """Return the memory, with which a resumed run goes on in the midst of an epoch."""
        return {"memory": dict(self.memory)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.memory = dict(state["memory"])


def windows(steps: int, length: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches that follow each other in time: signs of which one in twenty is marked; and the last one that was.

    Returns:
        Pairs of (64, length, 2) signs and marks, and (64, length) targets, 0 or 1.
    """
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (64, steps), generator=generator) * 2.0 - 1
    marks = torch.rand(64, steps, generator=generator) < 0.05
    marks[:, 0] = True
    latest = torch.where(marks, torch.arange(steps), 0).cummax(1).values
    signals, targets = torch.stack([signs, marks.float()], dim=-1), (signs.gather(1, latest) + 1) / 2
    return list(zip(signals.split(length, dim=1), targets.split(length, dim=1), strict=True))


def build_trainer(lr: float = 1e-2, length: int = 8, carry: bool = True, epochs: int = 4) -> Trainer:
    """Remember a sign for longer than a window.

    Args:
        lr: the highest learning rate.
        length: of a window, in steps.
        carry: carry memory on from window to window.
        epochs: how many epochs to train.
    """
    return Trainer(
        Memory(),
        nn.BCEWithLogitsLoss(),
        partial(torch.optim.Adam, lr=lr),
        metrics=["accuracy"],
        plugins=[Carry(carry), "clip:norm=1", "lr:schedule=cosine"],
        train_data=windows(2048, length, seed=1),
        val_data=windows(1024, length, seed=2),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)
