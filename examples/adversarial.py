"""Adversarial training: digits that were changed a little, just so that they are taken for others, are trained on as well.

fit train examples/adversarial.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl


class FGSM:
    """Trains on attacked images beside the clean ones, and measures how many attacks fail (Goodfellow et al. 2015, section 6).

    Args:
        epsilon: by how much each pixel is changed.
        train: whether to train on attacks; else they are measured only.
    """

    def __init__(self, epsilon: float = 0.1, train: bool = True) -> None:
        self.epsilon = epsilon
        self.train = train

    @hookimpl
    def on_batch_start(self, state: State) -> None:
        if self.train:
            state.inputs = state.inputs.detach().requires_grad_()

    @hookimpl
    def run_update(self, trainer: Trainer, state: State) -> bool | None:
        if not self.train:
            return None  # as the core does it
        self.gradients(trainer)
        clean = state.outputs, state.loss
        state.inputs = attacked(state.inputs, state.inputs.grad, self.epsilon)
        self.gradients(trainer)
        state.outputs, state.loss = clean
        trainer.maybe_step()
        return True

    def gradients(self, trainer: Trainer) -> None:
        """Add the gradients of the batch as it is now."""
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        if state.phase == "predict":
            return
        with torch.enable_grad():
            images = state.inputs.detach().requires_grad_()
            loss = nn.functional.cross_entropy(state.model(images), state.targets)
        (gradient,) = torch.autograd.grad(loss, images)
        withstood = state.model(attacked(images, gradient, self.epsilon)).argmax(1) == state.targets
        trainer.record("robust_accuracy", withstood.float().mean(), weight=len(images))


def attacked(images: Tensor, gradient: Tensor, epsilon: float) -> Tensor:
    """Return images a step up the loss, by the sign of its gradient, still between 0 and 1."""
    return (images.detach() + epsilon * gradient.sign()).clamp(0, 1)


def build_trainer(lr: float = 2e-3, epsilon: float = 0.1, defend: bool = True, epochs: int = 30) -> Trainer:
    """Learn digits that withstand an attack.

    Args:
        lr: the highest learning rate.
        epsilon: by how much an attack changes each pixel, from 0 to 1.
        defend: train on attacked images too.
        epochs: how many epochs to train.
    """
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    return Trainer(
        nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)),
        nn.CrossEntropyLoss(),
        partial(torch.optim.Adam, lr=lr),
        metrics=["accuracy"],
        plugins=[FGSM(epsilon, defend), "lr:schedule=cosine"],
        train_data=(images[:1400], labels[:1400]),
        val_data=(images[1400:], labels[1400:]),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)
