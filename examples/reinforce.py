"""REINFORCE, by replacing `run_update`: a policy that balances a pole on a cart; the data are where carts begin.

fit train examples/reinforce.py --plugins logging
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import State, Trainer, hookimpl

LONGEST = 200  # steps of an episode


def move(carts: Tensor, pushes: Tensor) -> Tensor:
    """Return carts a fiftieth of a second later (Barto, Sutton and Anderson 1983, with the masses and lengths given there).

    Args:
        carts: (batch, 4) position in m, speed in m/s, angle of the pole in rad, and its speed in rad/s.
        pushes: (batch,) 1 to the right, 0 to the left, with 10 N.
    """
    place, speed, angle, turn = carts.T
    force = (20 * pushes - 10 + 0.05 * turn**2 * angle.sin()) / 1.1
    spin = (9.8 * angle.sin() - angle.cos() * force) / (0.5 * (4 / 3 - 0.1 * angle.cos() ** 2 / 1.1))
    drift = force - 0.05 * spin * angle.cos() / 1.1
    return torch.stack([place + 0.02 * speed, speed + 0.02 * drift, angle + 0.02 * turn, turn + 0.02 * spin], dim=1)


@torch.no_grad()
def play(policy: nn.Module, carts: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
    """Let a policy push carts; without a generator it makes the likelier push, else it draws.

    Returns:
        What was seen (steps, batch, 4); what was done, and whether the cart was still up (steps, batch).
    """
    up, steps = torch.ones(len(carts)), []
    for _ in range(LONGEST):
        drawn = torch.full((len(carts),), 0.5) if generator is None else torch.rand(len(carts), generator=generator)
        pushes = (policy(carts).sigmoid() > drawn).float()
        steps.append((carts, pushes, up))
        carts = move(carts, pushes)
        up = up * (carts[:, 0].abs() < 2.4) * (carts[:, 2].abs() < math.radians(12))
    seen, done, alive = (torch.stack(column) for column in zip(*steps, strict=True))
    return seen, done, alive


class Reinforce:
    """Plays a batch of episodes, and makes likelier what was followed by more than usual (Williams 1992)."""

    @hookimpl
    def run_update(self, trainer: Trainer, state: State) -> bool:
        seen, done, alive = play(state.model, state.inputs, trainer.generator(self))
        returns = alive.flip(0).cumsum(0).flip(0)  # the steps that are left, at each step
        usual = returns.sum(1, keepdim=True) / alive.sum(1, keepdim=True).clamp_min(1)  # of carts that are up then
        state.inputs, state.targets = seen, (done, (returns - usual) * alive)
        state.weight = len(alive[0])  # the loss is a mean over episodes
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()
        trainer.maybe_step()
        trainer.record("length", alive.sum(0).mean(), weight=state.weight)
        return True

    @hookimpl
    def eval_step(self, trainer: Trainer, state: State) -> bool:
        state.outputs = play(state.model, state.inputs, None)[2].sum(0)  # the length of each episode
        trainer.record("length", state.outputs.mean(), weight=len(state.inputs))
        return True


def policy_gradient(logits: Tensor, targets: tuple[Tensor, Tensor]) -> Tensor:
    """Return the loss that makes likelier what was done, (steps, batch), as far as it was better than usual, likewise."""
    done, better = targets
    return (F.binary_cross_entropy_with_logits(logits, done, reduction="none") * better).sum() / logits.shape[1]


def build_trainer(lr: float = 1e-2, count: int = 640, epochs: int = 5) -> Trainer:
    """Balance poles.

    Args:
        lr: the learning rate.
        count: episodes in an epoch.
        epochs: how many epochs to train.
    """
    starts = torch.rand(count + 100, 4, generator=torch.Generator().manual_seed(0)) * 0.1 - 0.05
    return Trainer(
        nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(-2)),
        policy_gradient,
        partial(torch.optim.Adam, lr=lr),
        plugins=[Reinforce(), "clip:norm=1"],
        train_data=starts[:count],
        val_data=starts[count:],
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)
