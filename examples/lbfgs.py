"""LBFGS: logistic regression to the minimum of its loss, which evaluates the whole batch several times in each step.

fit train examples/lbfgs.py
"""

from functools import partial

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fit_core import Trainer

RATE = 0.01
"""Of weight decay: one over this and the number of samples is scikit-learn's C."""


def data() -> tuple[Tensor, Tensor]:
    """Return 30 measurements of 569 tumours, standardised, and whether each is benign."""
    tumours = load_breast_cancer()
    inputs = torch.tensor(tumours.data)
    return (inputs - inputs.mean(0)) / inputs.std(0), torch.tensor(tumours.target, dtype=torch.float64)[:, None]


def build_trainer(rate: float = RATE, epochs: int = 15) -> Trainer:
    """Tell benign tumours.

    Args:
        rate: of weight decay.
        epochs: how many epochs to train at most, of one step each.
    """
    inputs, targets = data()
    return Trainer(
        nn.Linear(30, 1, dtype=torch.float64),
        nn.BCEWithLogitsLoss(),
        partial(torch.optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe"),
        metrics=["accuracy", "grad_norm"],
        plugins=[f"weight-decay:rate={rate},params=weight", "stop-at:monitor=grad_norm,target=1e-5,mode=min"],
        train_data=DataLoader(TensorDataset(inputs, targets), batch_size=len(inputs)),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)
